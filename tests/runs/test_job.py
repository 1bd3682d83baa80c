"""What is left of a run that failed: nothing before the first episode, everything after it."""

import fcntl

import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import PolicyUnavailableError, RunFolderError, UserError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.runs.job import play
from alfworld_sft.runs.store import resume_command
from tests.collecting import write_games
from tests.fake_server import free_port
from tests.test_cli import command

FAILURES = [
    UserError("Ray does not answer"),
    PolicyUnavailableError("nobody listens"),
    ValueError("Unknown scheme for proxy URL"),
    OSError(24, "Too many open files"),
    SystemExit(143),
]


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 2)


def fail_with(error, *, after_playing=False):
    def failing(job, on_episode):
        if after_playing:
            play(job, on_episode)
        raise error

    return failing


def started(data, parent):
    return start_run(build_config(CollectConfig, [f"games.source={data}"]), parent, name="run")


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_a_collection_that_fails_before_its_first_episode_leaves_no_folder(data, tmp_path, failure):
    job = started(data, tmp_path)
    with pytest.raises(type(failure)) as raised, job.run:
        collect(job, play=fail_with(failure))
    assert raised.value is failure
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_an_evaluation_that_fails_before_its_first_episode_leaves_no_folder(data, tmp_path, failure):
    config = build_config(EvaluateConfig, [f"games.source={data}", "games.split=train"])
    job = start_evaluation(config, tmp_path, name="run")
    with pytest.raises(type(failure)), job.run:
        evaluate(job, play=fail_with(failure))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_a_run_that_fails_later_keeps_its_folder(data, tmp_path, failure):
    job = started(data, tmp_path)
    with pytest.raises(type(failure)), job.run:
        collect(job, play=fail_with(failure, after_playing=True))
    assert (tmp_path / "run" / "episodes.jsonl").stat().st_size > 0


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RunFolderError("make room, then: … --resume run")], ids=repr)
def test_a_folder_stays_where_the_message_says_how_to_resume_it(data, tmp_path, failure):
    job = started(data, tmp_path)
    with pytest.raises(type(failure)), job.run:
        collect(job, play=fail_with(failure))
    assert (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_locked_is_deleted_again(data, tmp_path, monkeypatch):
    def refuse(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunFolderError):
        started(data, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["collect", "evaluate"])
def test_a_bad_proxy_leaves_no_folder(data, tmp_path, kind):
    words = (f"games.source={data}", "games.split=train", "policy.name=server", "policy.model=m")
    proxy = {"ALL_PROXY": f"socks5://127.0.0.1:{free_port()}", "OPENAI_BASE_URL": "http://models.example/v1"}
    done = command(kind, "--output-dir", str(tmp_path), "--name", "run", *words, **proxy)
    assert done.returncode != 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["collect", "evaluate"])
def test_a_ray_that_is_not_there_leaves_no_folder(data, tmp_path, kind):
    pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
    ray = f"127.0.0.1:{free_port()}"
    words = (f"games.source={data}", "games.split=train", "--ray", ray)
    done = command(kind, "--output-dir", str(tmp_path), "--name", "run", *words)
    assert done.returncode == 2
    assert f"--ray {ray}: cannot use Ray there" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_endless_run_begins_at_once_and_is_named_with_a_blank_in_quotes(data, tmp_path):
    """What is owed is not listed: 10^15 numbers would fill the memory."""
    words = [f"games.source={data}", f"num_episodes={10**15}"]
    job = start_run(build_config(CollectConfig, words), tmp_path, name="my run")
    seen = []

    def tell(episode):
        seen.append(episode)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), job.run:
        play(job, tell)
    assert len(seen) == 3
    assert resume_command("collect", job.run.path) == f"alfworld-sft collect --resume '{tmp_path}/my run'"
