"""On Windows every command says in one line where the package runs. (Its missing modules and functions are hidden.)"""

import os
import subprocess
import sys

import pytest

HIDE = """
import os, platform, runpy, signal, sys
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("fork", "geteuid", "getpgid", "killpg", "pread", "setsid"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL"):
    delattr(signal, name)
platform.system = lambda: "Windows"
"""
REFUSAL = (
    "error: alfworld-sft runs on Linux and macOS, not on Windows; on Windows, use WSL"
    " (the Windows Subsystem for Linux)\n"
)
START = HIDE + "runpy.run_module(sys.argv.pop(1), run_name='__main__')"


def on_windows(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("alfworld_sft", "games", "list"),
        ("alfworld_sft", "--version"),
        ("alfworld_sft", "collect", "num_episodes=1"),
        ("alfworld_sft", "evaluate", "--keys"),
        ("alfworld_sft.train", "--keys"),
    ],
    ids=" ".join,
)
def test_every_command_says_in_one_line_that_linux_and_macos_are_supported(arguments):
    result = on_windows(START, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == REFUSAL


def test_the_installed_script_says_so_too():
    result = on_windows(HIDE + "from alfworld_sft.cli import main; main()", "games", "list")
    assert (result.returncode, result.stderr) == (2, REFUSAL)


def test_the_world_as_a_library_needs_no_posix():
    result = on_windows(HIDE + "from alfworld_sft.games import find_games; print(len(find_games('embedded')))")
    assert (result.stdout, result.stderr) == ("512\n", "")
