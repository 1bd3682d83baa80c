"""A small dataset, a small model and short runs, for the tests of the training loop; imports torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.inputs import columns_of, val_files
from alfworld_sft.train.data.options import sample_options
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import load_samples
from alfworld_sft.train.hooks import Hook
from alfworld_sft.train.learner import TrainingResult
from alfworld_sft.train.loop import train
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model

PLACES = ("desk", "shelf", "drawer", "fridge", "cabinet")
THINGS = ("mug", "apple", "pen", "book")


def messages_of(episode: int, turns: int) -> list[dict[str, str]]:
    """Return a conversation of an invented household; different episodes differ."""
    thing = THINGS[episode % len(THINGS)]
    said = [{"role": "user", "content": f"Your task is to: put some {thing} in the fridge 1. You see a {thing} 1."}]
    for turn in range(turns):
        place = f"{PLACES[(episode + turn) % len(PLACES)]} {turn % 3 + 1}"
        action = f"take {thing} 1 from {place}" if turn % 2 else f"go to {place}"
        text = f"<think>next {place}</think>\n<prediction>at {place}</prediction>\n<action>{action}</action>"
        said += [{"role": "assistant", "content": text}, {"role": "user", "content": f"You arrive at {place}."}]
    return said[:-1]


def rows_of(episodes: range, turns: int = 4) -> list[dict[str, Any]]:
    """Return cumulative rows, one a turn."""
    rows = []
    for episode in episodes:
        messages = messages_of(episode, turns)
        for turn in range(1, turns + 1):
            named = {"episode_id": f"{episode:06d}:game", "game_id": f"game-{episode}"}
            extra = named | {"turn": turn, "turns": turns, "untrained_turns": []}
            rows.append(
                {
                    "data_source": "agent_sft_collection",
                    "messages": messages[: 2 * turn],
                    "prompt_data": {"content": "user: " + messages[2 * turn - 2]["content"]},
                    "response_data": {"content": messages[2 * turn - 1]["content"]},
                    "ability": "agent",
                    "reward_model": "{}",
                    "extra_info": json.dumps(extra),
                }
            )
    return rows


def write_dataset(folder: Path, train_episodes: int = 8, val_episodes: int = 2, turns: int = 4) -> Path:
    """Write train.parquet and val.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": range(train_episodes), "val": range(train_episodes, train_episodes + val_episodes)}
    for name, episodes in parts.items():
        pq.write_table(pa.Table.from_pylist(rows_of(episodes, turns), SCHEMA), folder / f"{name}.parquet")
    return folder


def write_model(
    folder: Path, *, seed: int = 0, layers: int = 2, model_type: Literal["qwen2", "qwen3"] = "qwen2"
) -> Path:
    """Write a model of 32-wide heads that knows the words of the dataset."""
    texts = [message["content"] for episode in range(10) for message in messages_of(episode, 4)]
    options = TinyOptions(model_type=model_type, width=64, layers=layers, head_dim=32, kv_heads=1, seed=seed)
    make_tiny_model(folder, texts, options)
    return folder


def options(data: Path, model: Path, out: Path, *more: str) -> list[str]:
    """Return the overrides of a short quiet run on the CPU; later ones win."""
    return [
        f"data.train_files={data}",
        f"data.val_files={data}",
        f"model.path={model}",
        f"trainer.default_local_dir={out}",
        "trainer.device=cpu",
        "trainer.logger=[]",
        "data.train_batch_size=8",
        "data.max_length=256",
        "optim.lr=1e-2",
        "model.lora_rank=4",
        *more,
    ]


def run(overrides: Sequence[str], hooks: Sequence[Hook] = ()) -> TrainingResult:
    """Train in this process, on one thread."""
    torch.set_num_threads(1)
    return train(build_train_config(overrides), hooks)


def metrics(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics file."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float, float]]:
    """Return step, loss and gradient norm of every step."""
    return [(line["step"], line["loss"], line["grad_norm"]) for line in metrics(out) if "loss" in line]


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["alfworld_sft.train.loop", "alfworld_sft.train.tiny", "peft"])


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a function in a process that has torch loaded already."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def run_as(environ: Mapping[str, str], overrides: Sequence[str]) -> None:
    """Train as one of several processes."""
    os.environ.update(environ)
    run(overrides)


def ranks_environ(world: int) -> list[dict[str, str]]:
    """Return what torchrun would tell each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]


def run_together(world: int, target: Callable[..., None], *arguments: Any) -> None:
    """Run a function in several processes that find one another; fail where one fails."""
    processes = [start(target, environ, *arguments) for environ in ranks_environ(world)]
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * world


COMMON = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}


def write_architecture(folder: Path, model_type: str, seed: int = 0, **config: Any) -> Path:
    """Write a random model of any architecture of transformers, with the tokenizer of `write_model`."""
    write_model(folder)
    (folder / "model.safetensors").unlink()
    return fill_architecture(folder, model_type, seed, **config)


def fill_architecture(folder: Path, model_type: str, seed: int = 0, **config: Any) -> Path:
    """Write a random model beside the tokenizer that a folder has."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**{**COMMON, **ids, **config}))
    model.save_pretrained(folder)
    return folder


def own_mean(folder: Path, samples: Sequence[Sample]) -> float:
    """Return the weighted mean loss of the plain transformers model in a folder, row by row."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32).eval()
    return mean_loss(model, samples)


def mean_loss(model: Any, samples: Sequence[Sample]) -> float:
    """Return the weighted mean loss of a model, row by row, from its own logits."""
    total = weight = 0.0
    for sample in samples:
        ids = torch.from_numpy(sample.ids.astype("int64"))
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1].float()
        nll = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
        weights = torch.from_numpy(sample.weight[1:])
        total, weight = total + float((nll * weights).sum()), weight + float(weights.sum())
    return total / weight


def held_out(overrides: Sequence[str]) -> list[Sample]:
    """Return the samples that a run validates on."""
    config = build_train_config(overrides)
    encoder = ChatEncoder(load_tokenizer(config.model.partial_pretrain))
    return load_samples(val_files(config), encoder, columns_of(config), sample_options(config)).samples
