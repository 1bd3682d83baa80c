"""A run over Ray leaves the bytes of the run without, whatever becomes of the workers. (Ray is started for it.)"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from alfworld_sft import __version__
from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, resume_run, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, PolicyUnavailableError, UserError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.games import GameStream, ShuffledGames
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs import on_ray as sharding
from alfworld_sft.runs.job import play
from alfworld_sft.runs.on_ray import Orders, Worker, over_ray
from alfworld_sft.runs.rollout import Protocol
from tests.collecting import contents, write_games
from tests.fake_server import KEY, free_port, says, serving
from tests.test_cli import command


@pytest.fixture(scope="module")
def cluster():
    """A Ray with two workers, whose environment has the key, and the folder of its logs."""
    ray = pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", KEY)
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        context = ray.init(
            "local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False,
            logging_level="error",
        )  # fmt: skip
    yield Path(context.address_info["session_dir"])
    ray.shutdown()


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 24)


def started(parent, *overrides, name):
    return start_run(build_config(CollectConfig, overrides), parent, name=name)


def played(job, how=play, on_episode=lambda _: None):
    with job.run:
        collect(job, on_episode, how)
    return contents(job.run.path)


def both_ways(parent, *overrides):
    """What the run leaves without Ray, and with it."""
    plain = played(started(parent, *overrides, name="plain"))
    return plain, played(started(parent, *overrides, name="sharded"), over_ray("auto"))


def workers():
    with suppress(psutil.NoSuchProcess):
        return [process for process in psutil.Process().children(recursive=True) if "ray::Worker" in process.name()]
    return []


@pytest.mark.parametrize(
    "more", [(), ("policy.teacher=expert", "worldmodel.alternatives=2", "env.record_distance=true")]
)
def test_the_dataset_has_the_bytes_of_the_run_without_ray(cluster, tmp_path, more):
    overrides = ("games.source=generate", "num_episodes=70", "prompt.template=add_wm1", "policy.noise=0.2")
    plain, sharded = both_ways(tmp_path, *overrides, *more)
    assert plain == sharded


def kills_workers(*, until):
    """A listener that kills the workers whenever an episode is played, until something holds."""

    def kill(_):
        for process in () if until() else workers():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    return kill


def test_a_worker_that_is_killed_changes_nothing(cluster, data, tmp_path, caplog):
    overrides = (f"games.source={data}", "num_episodes=160")
    lost = "a worker of Ray's died; what it was playing is played again"
    plain = played(started(tmp_path, *overrides, name="plain"))
    assert (
        played(
            started(tmp_path, *overrides, name="killed"),
            over_ray("auto"),
            kills_workers(until=lambda: lost in caplog.messages),
        )
        == plain
    )
    assert lost in caplog.messages


def test_episodes_on_which_workers_die_again_and_again_stay_owed(cluster, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MAX_LOSSES", 1)
    overrides = (f"games.source={data}", "num_episodes=160", "runner.concurrency=1")
    job = started(tmp_path, *overrides, name="run")
    played(job, over_ray("auto"), kills_workers(until=lambda: job.run.failed))
    assert 0 < len(job.run.failed) <= 2 * sharding.SHARD_EPISODES
    assert all("of Ray's died while" in reason for reason in job.run.failed.values())
    rest = []
    resumed = played(resume_run(tmp_path / "run"), play, rest.append)
    assert {episode.index for episode in rest} == job.run.failed.keys()
    assert (
        resumed["raw_trajectories.json"] == played(started(tmp_path, *overrides, name="plain"))["raw_trajectories.json"]
    )


class StoppedError(Exception):
    """Somebody stops the run."""


def test_a_stopped_run_goes_on_with_ray_and_without(cluster, data, tmp_path):
    overrides = (f"games.source={data}", "num_episodes=120", "runner.concurrency=8")
    heard = []

    def stop(episode):
        heard.append(episode.index)
        if len(heard) % 40 == 0:
            raise StoppedError

    with pytest.raises(StoppedError):
        played(started(tmp_path, *overrides, name="run"), over_ray("auto"), stop)
    with pytest.raises(StoppedError):
        played(resume_run(tmp_path / "run"), play, stop)
    resumed = played(resume_run(tmp_path / "run"), over_ray("auto"), lambda episode: heard.append(episode.index))
    assert sorted(heard) == list(range(120)), "every episode is played once"
    assert resumed == played(started(tmp_path, *overrides, name="whole"))


def chosen(request, _):
    """Answer as a model would: the seed and the prompt decide, and nothing else does."""
    verb = ("look", "inventory", "help me")[(request["seed"] + len(request["messages"][-1]["content"])) % 3]
    return says(f"<think>So.</think>\n<action>{verb}")


def test_a_server_s_model_plays_with_the_key_of_the_workers_environment(cluster, data, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(chosen) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)  # of this process: the workers have none
        plain, sharded = both_ways(
            tmp_path,
            f"games.source={data}",
            "num_episodes=12",
            "env.max_steps=3",
            "policy.name=server",
            "policy.model=tiny",
        )
    assert plain == sharded
    assert len(fake.requests) == 2 * 12 * 3
    assert {key.removeprefix("Bearer ") for key in fake.keys} == {KEY}
    written = [file for folder in (cluster, tmp_path) for file in folder.rglob("*") if file.is_file()]
    assert len(written) > 20
    assert [file for file in written if KEY.encode() in file.read_bytes()] == []


def test_a_server_that_nobody_reaches_ends_the_run_and_leaves_no_folder(cluster, data, tmp_path):
    server = f"policy.base_url=http://127.0.0.1:{free_port()}/v1"
    job = started(tmp_path, f"games.source={data}", "policy.name=server", "policy.model=tiny", server, name="run")
    with pytest.raises(PolicyUnavailableError, match=r"Ray's worker on \S+: cannot reach the server at "):
        played(job, over_ray("auto"))
    assert not (tmp_path / "run").exists()


def test_an_evaluation_of_a_local_model_measures_the_same(cluster, data, tmp_path):
    pytest.importorskip("peft", reason="local models are an extra: pip install 'alfworld-sft[train]'")
    from tests.train.helpers_loop import write_model

    words = [
        f"games.source={data}", "games.split=train", "num_games=6", "env.max_steps=2", "policy.name=local",
        f"policy.model={write_model(tmp_path / 'tiny')}", "policy.max_tokens=6", "runner.concurrency=1",
    ]  # fmt: skip
    found = []
    for name, how in (("plain", play), ("sharded", over_ray("auto"))):
        job = start_evaluation(build_config(EvaluateConfig, words), tmp_path, name=name)
        with job.run:
            evaluate(job, play=how)
            assert job.run.played == 6
        found.append(contents(tmp_path / name))
    assert found[0] == found[1]


def test_a_worker_of_another_version_ends_the_run_with_one_line(cluster, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "__version__", "9.9")
    with pytest.raises(UserError, match=rf"Ray's worker on .+: it has alfworld-sft {__version__}, but 9\.9 is needed"):
        played(started(tmp_path, f"games.source={data}", "runner.concurrency=1", name="run"), over_ray("auto"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_ray_that_was_started_and_loses_nothing(cluster, data, tmp_path, number, code):
    """Ctrl-C goes to the whole group, as a terminal sends it; SIGTERM to the process, as `kill` does."""
    words = [sys.executable, "-m", "alfworld_sft", "collect", "--ray", "local", "--output-dir", str(tmp_path)]
    process = subprocess.Popen(
        [*words, "--name", "run", f"games.source={data}", "num_episodes=1000000", "runner.concurrency=1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    journal = tmp_path / "run" / "episodes.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.05)
    helpers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    *before, last = stderr.splitlines()
    assert all(line.startswith("INFO: ") for line in before), stderr
    assert f"resume with: alfworld-sft collect --resume {tmp_path / 'run'}" in last
    assert stdout == ""
    assert len(helpers) > 3
    assert psutil.wait_procs(helpers, timeout=30)[1] == []
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


NOWHERE = ShuffledGames((), 1, "train", "games", folder=Path("/nowhere"))
MADE = GameStream(1)
ORDERS = Orders(
    __version__, PolicySection(), None, load_template("default"), Protocol(), seed=1, games=NOWHERE
)  # fmt: skip


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (ORDERS, "it does not find the games in /nowhere; copy or mount them there on every machine of the cluster"),
        (replace(ORDERS, games=MADE, sampling={"dtype": "bfloat16"}), r"it would sample with None, .*policy\.dtype"),
        (replace(ORDERS, games=MADE, policy=PolicySection(name="server")), r"which model plays: policy\.model=NAME"),
    ],
)  # fmt: skip
def test_a_worker_says_on_which_machine_what_is_missing(orders, message):
    with pytest.raises(UserError, match=rf"^Ray's worker on \S+: .*{message}"):
        asyncio.run(Worker().prepare(orders))


def test_a_missing_ray_is_told_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UserError, match=r"--ray needs the package ray; install it with: pip install 'alfworld-sft\[ray"
    ):
        over_ray("local")


@pytest.mark.parametrize("address", ["locl", "ray://head:10001", "head", "head:", ":6379", "http://head:80"])
def test_an_address_that_is_none_is_refused(address):
    pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
    with pytest.raises(UserError, match=rf"--ray {address}: use local .*, auto .*, or HOST:PORT"):
        over_ray(address)


def test_a_cluster_that_does_not_answer_is_named(data, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(
        UserError, match=rf"--ray {address}: cannot use Ray there \(.*refused\); start it with 'ray start'"
    ):
        played(started(tmp_path, f"games.source={data}", name="run"), over_ray(address))


@pytest.fixture
def unconnected(monkeypatch):
    """A process that is not connected to Ray, as a command's is, and does not wait long."""
    ray = pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(sharding, "CONNECT_S", 3.0)


TOO_LATE = "no answer within 3 s; what an earlier Ray left is cleared by 'ray stop'"
WAY_OUT = (
    "start it with 'ray start' (if it asks for a token, set RAY_AUTH_MODE=token), or play with --ray local"
)  # fmt: skip


def test_an_address_where_something_else_listens_is_given_up_after_a_time(unconnected, data, tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError) as error:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        played(started(tmp_path, f"games.source={data}", name="run"), over_ray(address))
    assert str(error.value) == f"--ray {address}: cannot use Ray there ({TOO_LATE}); {WAY_OUT}"
    assert capfd.readouterr() == ("", "")


def test_a_stale_address_in_the_environment_is_given_up_after_a_time(unconnected, data, tmp_path, monkeypatch, capfd):
    stale = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", stale)
    with pytest.raises(UserError) as error:
        played(started(tmp_path, f"games.source={data}", name="run"), over_ray("auto"))
    assert str(error.value) == f"--ray auto: cannot use Ray at RAY_ADDRESS={stale} ({TOO_LATE}); {WAY_OUT}"
    assert capfd.readouterr() == ("", "")


def test_a_command_plays_over_the_ray_that_runs_at_an_address(cluster, data, tmp_path):
    address = ray_address()
    words = ["evaluate", "--ray", address, "--output-dir", str(tmp_path), "num_games=2", f"games.source={data}"]
    result = command(*words, "games.split=train", "runner.concurrency=1")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 episodes, 100.0% won" in result.stderr


def ray_address():
    """Where the cluster of these tests can be reached."""
    import ray

    return ray.get_runtime_context().gcs_address


def test_a_server_that_would_be_started_here_is_refused(data, tmp_path):
    command = f"{sys.executable} -m http.server {{port}}"
    options = (f"games.source={data}", "policy.name=server", "policy.model=m", f"policy.serve={command}")
    job = started(tmp_path, *options, name="served")
    with job.run, pytest.raises(ConfigError, match=r"policy\.serve=.*policy\.base_url"):
        collect(job, lambda _: None, over_ray("local"))
