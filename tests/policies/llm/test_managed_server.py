"""Real processes: `tests/policies/program.py` stands for a model's server."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from alfworld_sft.errors import PolicyUnavailableError
from alfworld_sft.policies.llm.managed_server import ManagedServer
from alfworld_sft.policies.llm.serve_command import serve_command
from tests.policies.llm.program import serve_words

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def managed(*options, timeout_s=60.0, grace_s=60.0) -> ManagedServer:
    return ManagedServer(serve_command(serve_words(*options), "tiny"), timeout_s, grace_s=grace_s)


def pids(file: Path) -> list[int]:
    return json.loads(file.read_text())


def is_alive(pid: int) -> bool:
    """A process that has ended counts as gone, also where nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, f"still there: {processes}"
        time.sleep(0.05)


def test_it_answers_between_start_and_stop_and_leaves_nothing(tmp_path):
    server = managed("--pids", tmp_path / "pids")
    address = server.start()
    assert urllib.request.urlopen(f"{address}/models").status == 200
    assert address.startswith("http://127.0.0.1:")
    program, worker = pids(tmp_path / "pids")
    assert (is_alive(program), is_alive(worker), server.ended()) == (True, True, None)
    log = server._log
    assert log.read_text() == "loading the weights\n"
    server.stop()
    assert (is_alive(program), log.exists()) == (False, False)
    wait_until_gone([worker])  # it was killed, but nobody waits for a grandchild


def test_one_that_takes_no_notice_of_sigterm_is_killed(tmp_path):
    server = managed("--deaf", "--pids", tmp_path / "pids", grace_s=0.2)
    server.start()
    server.stop()
    program, worker = pids(tmp_path / "pids")
    assert not is_alive(program)
    wait_until_gone([worker])


def test_one_that_ends_at_its_start_is_quoted():
    server = managed("--no-such-option")
    with pytest.raises(PolicyUnavailableError, match=r"the server of tiny ended \(exit code 2\)") as caught:
        server.start()
    assert "unrecognized arguments: --no-such-option" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(server._log) in str(caught.value)
    assert server._log.exists()


def test_one_that_does_not_come_to_answer_is_given_up(tmp_path):
    server = managed("--never", "--pids", tmp_path / "pids", timeout_s=2)
    with pytest.raises(PolicyUnavailableError, match=r"did not answer within policy\.serve_timeout_s=2"):
        server.start()
    wait_until_gone(pids(tmp_path / "pids") if (tmp_path / "pids").exists() else [])


def test_a_server_that_is_killed_is_told_of_and_its_worker_goes_too(tmp_path):
    server = managed("--pids", tmp_path / "pids")
    server.start()
    program, worker = pids(tmp_path / "pids")
    os.kill(program, signal.SIGKILL)
    wait_until_gone([program, worker])
    server._keeper.wait()
    assert server.ended().startswith("the server of tiny ended (exit code 137): loading the weights")
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_process_that_started_it(tmp_path, number):
    starter = f"""
import time
from tests.policies.llm.test_managed_server import managed
managed("--pids", {str(tmp_path / "pids")!r}).start()
print("ready", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
    wait_until_gone(pids(tmp_path / "pids"))


def test_the_key_of_another_server_is_not_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890abcdef")
    server = managed("--environment", tmp_path / "names")
    server.start()
    server.stop()
    names = json.loads((tmp_path / "names").read_text())
    assert "PATH" in names
    assert "OPENAI_API_KEY" not in names
