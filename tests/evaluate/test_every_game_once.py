"""The result of a served model does not depend on how many games are in flight, nor on the order of files on disk."""

import os
import shutil

import pytest

for module in ("openai", "torch", "peft", "uvicorn", "fastapi"):
    pytest.importorskip(module, reason=f"needs {module}: pip install -e '.[dev]'")

import pyarrow.parquet as pq

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.policies.llm.managed_server import ManagedServer
from alfworld_sft.policies.llm.serve_command import serve_command
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model
from tests.collecting import write_games
from tests.train.helpers_loop import options, run

SERVE = "transformers serve {model} --host 127.0.0.1 --port {port}"
GAMES = 140


@pytest.fixture
def copies(tmp_path):
    """Two data folders with the same games, whose files were made in opposite orders."""
    first = write_games(tmp_path / "first", GAMES, "valid_seen")
    second = tmp_path / "second"
    for file in sorted((path for path in first.rglob("*") if path.is_file()), reverse=True):
        place = second / file.relative_to(first)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return first, second


@pytest.fixture
def model(tmp_path, copies):
    """A tiny model that learned a few of the expert's episodes, so that games get different replies."""
    words = [
        f"games.source={copies[0]}", "games.split=valid_seen", "games.allow_eval_split=true", "num_episodes=6",
        "prompt.template=compact",
        "dataset.val_fraction=0",
    ]  # fmt: skip
    job = start_run(build_config(CollectConfig, words), tmp_path, name="data")
    with job.run:
        collect(job)
    rows = pq.read_table(tmp_path / "data/train.parquet", columns=["messages"]).to_pylist()
    texts = [message["content"] for row in rows for message in row["messages"]]
    make_tiny_model(tmp_path / "random", texts, TinyOptions(width=64, layers=2, head_dim=32, kv_heads=1))
    fixed = ("data.val_files=null", "data.max_length=1024", "trainer.save_freq=0")
    whole = ("model.lora_rank=0", "optim.lr=3e-3", "trainer.total_epochs=20")
    return run(options(tmp_path / "data", tmp_path / "random", tmp_path / "trained", *fixed, *whole)).final


def replies_by_game(folder, source, model, url, in_flight):
    words = [
        f"games.source={source}", "env.max_steps=3", "prompt.template=compact", "policy.name=server",
        f"policy.model={model}", f"policy.base_url={url}", "policy.temperature=0", "policy.max_tokens=12",
        "policy.timeout_s=500", f"runner.concurrency={in_flight}",
    ]  # fmt: skip
    job = start_evaluation(build_config(EvaluateConfig, words), folder, name=f"{source.name}_{in_flight}")
    with job.run:
        evaluate(job)
        assert job.run.failed == {}
        episodes = list(job.run.episodes())
    assert len(episodes) == len({episode.game_id for episode in episodes}) == GAMES
    return {
        episode.game_id: (episode.seed, episode.success, [step.reply.text for step in episode.steps])
        for episode in episodes
    }


def test_every_game_is_played_once_with_one_outcome_whatever_is_in_flight_and_however_the_files_lie(
    copies, model, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    first, second = copies
    server = ManagedServer(serve_command(SERVE, str(model)), 600.0)
    try:
        url = server.start()
        found = [
            replies_by_game(tmp_path, source, model, url, in_flight)
            for source, in_flight in ((first, 1), (second, 64), (second, 128), (first, 140))
        ]
    finally:
        server.stop()
    assert found[0] == found[1] == found[2] == found[3]
    assert len({reply for _, _, replies in found[0].values() for reply in replies}) > 1, "the model says one thing only"


def test_the_order_in_which_a_disk_lists_files_changes_nothing(copies, tmp_path, monkeypatch):
    def order(source, name):
        job = start_evaluation(build_config(EvaluateConfig, [f"games.source={source}"]), tmp_path, name=name)
        with job.run:
            return [job.games.ref(index).id for index in range(job.total)]

    plain = order(copies[0], "plain")
    scandir = os.scandir

    class Backwards:
        def __init__(self, path="."):
            with scandir(path) as entries:
                self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def __iter__(self):
            return self._entries

        def __next__(self):
            return next(self._entries)

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    walked = [name for _, names, _ in os.walk(copies[1] / "json_2.1.1" / "valid_seen") for name in names]
    assert walked[:GAMES] == sorted(walked[:GAMES], reverse=True)
    assert order(copies[1], "backwards") == plain
    assert len(set(plain)) == GAMES
