"""A person plays on a real terminal: completion by Tab, history by the arrow keys, and an end by Ctrl-D."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collecting import write_games

pytest.importorskip("prompt_toolkit", reason="completion needs the extra play: pip install 'alfworld-sft[play]'")
PATIENCE_S = 30
CARRYING_NOTHING = "You are not carrying anything."


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        self.screen, inside = pty.openpty()
        self.unread = ""
        environment = os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "200", "LINES": "50"}
        self.process = subprocess.Popen(words, stdin=inside, stdout=inside, stderr=inside, env=environment)
        os.close(inside)

    def press(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def read_until(self, text: str) -> None:
        """Wait until the program shows a text after what was waited for last."""
        while text not in self.unread:
            ready, _, _ = select.select([self.screen], [], [], PATIENCE_S)
            assert ready, f"{text!r} does not appear after {self.unread!r}"
            self.unread += os.read(self.screen, 65536).decode(errors="replace")
            self.unread = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.unread)
        self.unread = self.unread.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Terminal]:
    games = write_games(tmp_path / "data", 12)
    terminal = Terminal(sys.executable, "-m", "alfworld_sft", "play", "--source", str(games))
    terminal.read_until(">")
    yield terminal
    terminal.close()


def test_tab_completes_a_command_and_the_arrow_brings_it_back(playing: Terminal) -> None:
    playing.press("inven")
    playing.read_until("inventory")  # in the menu
    playing.press("\t\r")
    playing.read_until(CARRYING_NOTHING)
    playing.read_until(">")
    playing.press("\x1b[A\r")
    playing.read_until(CARRYING_NOTHING)


def test_words_of_the_program_are_completed_too(playing: Terminal) -> None:
    playing.press("dist")
    playing.read_until("distance")
    playing.press("\t\r")
    playing.read_until(" steps")


@pytest.mark.parametrize("keys", ["\x04", "quit\r"], ids=["Ctrl-D", "quit"])
def test_a_person_leaves(playing: Terminal, keys: str) -> None:
    playing.press(keys)
    assert playing.process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.parametrize("options", [[], ["--live", "60"]], ids=["Enter", "seconds"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_one_signal_ends_watching(tmp_path: Path, options: list[str], number: int) -> None:
    words = ("play", "--source", str(write_games(tmp_path / "data", 1)), "--policy", "expert", *options)
    terminal = Terminal(sys.executable, "-m", "alfworld_sft", *words)
    try:
        terminal.read_until("You are in the middle of a room.")
        time.sleep(1)  # the message is shown, and then it waits
        terminal.process.send_signal(number)
        assert terminal.process.wait(timeout=PATIENCE_S) == 128 + number
    finally:
        terminal.close()
