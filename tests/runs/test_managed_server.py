"""`policy.serve` through the commands: a server is started, played at, and gone in the end, however the run ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collecting import write_games
from tests.policies.llm.program import serve_words
from tests.policies.llm.test_managed_server import pids, wait_until_gone
from tests.test_cli import REPOSITORY, command, script


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def words(tmp_path):
    """The arguments of a run of 12 games in `tmp_path / "run"`, less the server's command."""
    data = write_games(tmp_path / "data", 12)
    return [
        "--output-dir", str(tmp_path), "--name", "run", f"games.source={data}", "env.max_steps=2",
        "policy.name=server", "policy.model=tiny",
    ]  # fmt: skip


def stamp(run: Path) -> dict:
    return json.loads((run / "run.json").read_bytes())


def test_collect_starts_the_server_plays_and_ends_it(words, tmp_path):
    done = command("collect", *words, f"policy.serve={serve_words('--pids', tmp_path / 'pids')}")
    assert done.returncode == 0, done.stderr
    assert "the server answers, after" in done.stderr
    assert stamp(tmp_path / "run")["counts"]["episodes"] == 12
    assert stamp(tmp_path / "run")["policy"] == "server:tiny"
    assert b"127.0.0.1" not in (tmp_path / "run/run.json").read_bytes()  # the next start takes another port
    wait_until_gone(pids(tmp_path / "pids"))


def test_evaluate_does_so_too(words, tmp_path):
    serve = f"policy.serve={serve_words('--pids', tmp_path / 'pids')}"
    done = command("evaluate", *words, "games.split=train", serve)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/metrics.json").read_bytes())["status"] == "complete"
    wait_until_gone(pids(tmp_path / "pids"))


def test_a_server_that_dies_ends_the_run_with_one_line_and_resume_plays_what_is_owed(words, tmp_path):
    serve = serve_words("--pids", tmp_path / "pids", "--die-after", 15)
    done = command("collect", *words, "runner.concurrency=1", f"policy.serve={serve}")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: the server of tiny ended (exit code 3): loading the weights | out of memory")
    assert line.endswith(
        f"; 7 of 12 episodes are played, resume with: alfworld-sft collect --resume {tmp_path / 'run'}"
    )
    assert "Traceback" not in done.stderr
    wait_until_gone(pids(tmp_path / "pids"))
    again = command("collect", "--resume", str(tmp_path / "run"))
    assert again.returncode == 0, again.stderr
    assert stamp(tmp_path / "run")["counts"]["episodes"] == 12


def test_a_server_that_does_not_start_leaves_no_folder(words, tmp_path):
    done = command("collect", *words, f"policy.serve={serve_words('--no-such-option')}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the server of tiny ended (exit code 2): ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_no_process_stays_behind_a_run_that_is_stopped(words, tmp_path, number, code):
    serve = f"policy.serve={serve_words('--never', '--pids', tmp_path / 'pids')}"
    program = [sys.executable, "-m", "alfworld_sft", "collect", *words, serve]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        while "waiting for the server" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == code
    assert "Traceback" not in said
    wait_until_gone(pids(tmp_path / "pids"))


def test_the_script_starts_what_serve_says(tmp_path):
    data = write_games(tmp_path / "data", 12)
    done = script(
        "env.max_steps=2", ALFWORLD_DATA=str(data), OUTPUT_DIR=str(tmp_path), MODEL="tiny", SERVE=serve_words()
    )
    assert done.returncode == 0, done.stderr
    assert "the server answers, after" in done.stderr


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"SERVE": "vllm"}, "error: SERVE=vllm serves a model: name it in MODEL"),
        (
            {"SERVE": "vllm", "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "MODEL": "tiny"},
            "error: SERVE starts a server, and OPENAI_BASE_URL names a running one; set only one of them",
        ),
    ],
)
def test_the_script_refuses_what_cannot_be_meant(variables, line):
    done = script(**variables)
    assert (done.returncode, done.stderr.splitlines()) == (2, [line])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["policy.name=expert", "policy.serve=vllm"],
            "policy.serve=vllm has no effect without policy.name=server; add that, or leave it out",
        ),
        (["policy.base_url=http://127.0.0.1:8000/v1", "policy.serve=vllm"], "set only one of them"),
        (["policy.serve=/nowhere/vllm"], "policy.serve=/nowhere/vllm: there is no such command; install vLLM"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(words, tmp_path, options, line):
    done = command("collect", *words, *options)
    assert done.returncode == 2
    assert line in done.stderr
    assert not (tmp_path / "run").exists()
