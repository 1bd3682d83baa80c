"""A real server of another make, `transformers serve`, and a checkpoint of ours: trained, merged, served, played."""

import json
import os

import pytest

for module in ("openai", "torch", "peft", "uvicorn", "fastapi"):
    pytest.importorskip(module, reason=f"needs {module}: pip install -e '.[dev]'")

import pyarrow.parquet as pq

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import UserError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.models.merge import merge
from alfworld_sft.policies.llm.managed_server import ManagedServer
from alfworld_sft.policies.llm.serve_command import serve_command
from alfworld_sft.runs.store import RunFolder
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model
from tests.collecting import write_games
from tests.test_cli import command
from tests.train.helpers_loop import options, run

SERVE = "transformers serve {model} --host 127.0.0.1 --port {port}"
START_S = 600.0


@pytest.fixture(scope="module", autouse=True)
def environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("OPENAI_BASE_URL", raising=False)
        yield


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    return write_games(tmp_path_factory.mktemp("games"), 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory, games):
    """A tiny model that learned the expert's episodes: first whole, then by LoRA adapters that are merged into it."""
    folder = tmp_path_factory.mktemp("trained")
    words = [f"games.source={games}", "prompt.template=compact", "prompt.form=multi", "dataset.val_fraction=0"]
    job = start_run(build_config(CollectConfig, words), folder, name="data")
    with job.run:
        collect(job)
    rows = pq.read_table(folder / "data/train.parquet", columns=["messages"]).to_pylist()
    texts = [message["content"] for row in rows for message in row["messages"]]
    make_tiny_model(folder / "random", texts, TinyOptions(width=64, layers=2, head_dim=32, kv_heads=1))
    fixed = ("data.multiturn.enable=true", "data.val_files=null", "data.max_length=1024", "trainer.save_freq=0")
    whole = ("model.lora_rank=0", "optim.lr=3e-3", "trainer.total_epochs=20")
    base = run(options(folder / "data", folder / "random", folder / "whole", *fixed, *whole)).final
    adapters = ("model.lora_rank=16", "optim.lr=1e-2", "trainer.total_epochs=4")
    trained = run(options(folder / "data", base, folder / "adapters", *fixed, *adapters))
    return merge(trained.final, folder / "merged")


def evaluated(folder, games, *words):
    """The episodes of a greedy evaluation, as their replies."""
    fixed = [
        f"games.source={games}", "games.split=train", "env.max_steps=6", "prompt.template=compact",
        "prompt.form=multi", "policy.temperature=0", "policy.max_tokens=24", "runner.concurrency=2",
    ]  # fmt: skip
    job = start_evaluation(build_config(EvaluateConfig, [*fixed, *words]), folder, name=words[0].rpartition("=")[2])
    with job.run:
        evaluate(job)
        assert job.run.failed == {}
        return [[step.reply.text for step in episode.steps] for episode in job.run.episodes()]


def test_a_trained_checkpoint_says_over_http_what_it_says_here(model, games, tmp_path):
    server = ManagedServer(serve_command(SERVE, str(model)), START_S)
    try:
        url = server.start()
        there = evaluated(tmp_path, games, "policy.name=server", f"policy.model={model}", f"policy.base_url={url}")
        stranger = ("policy.name=server", "policy.model=stranger", f"policy.base_url={url}")
        with pytest.raises(UserError, match="stranger"):
            evaluated(tmp_path / "stranger", games, *stranger)
    finally:
        server.stop()
    here = evaluated(tmp_path, games, "policy.name=local", f"policy.model={model}", "policy.dtype=float32")
    assert there == here
    assert len({reply for replies in here for reply in replies}) > 3, "nothing was learned"


def test_the_commands_start_it_play_and_end_it(model, games, tmp_path):
    done = command(
        "collect", "--output-dir", str(tmp_path), "--name", "run", f"games.source={games}", "env.max_steps=4",
        "prompt.template=compact", "prompt.form=multi", "policy.name=server", f"policy.model={model}",
        f"policy.serve={SERVE}", "policy.temperature=0", "policy.max_tokens=24", "policy.truncated=keep",
        PATH=os.defpath,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with RunFolder(tmp_path / "run") as played:
        replies = [step.reply for episode in played.episodes() for step in episode.steps]
    assert all(reply.prompt_tokens > 10 and 0 < reply.reply_tokens <= 24 for reply in replies)
    stamp = json.loads((tmp_path / "run/run.json").read_bytes())
    assert (stamp["status"], stamp["counts"]["episodes"]) == ("complete", 6)
    assert stamp["policy"] == f"server:{model.parent.name}/merged"
