"""Conversations, datasets and a tiny tokenizer for tests of the data side. Importing this needs no torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.rows import Rendering, rows_of, training_text
from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.template import load_template
from alfworld_sft.types import Advice, Episode, Message, Reply
from tests.episodes import episode, step

WM = Rendering(load_template("add_wm1"))


def wandering(index: int = 0, turns: int = 5, noisy: Sequence[int] = ()) -> Episode:
    """Return an episode whose turns differ; those numbered in `noisy` (from 1) are no training targets."""
    words = ["cup", "plate", "drawer", "lamp", "apple", "shelf"]
    steps = tuple(
        step(n, action=f"take {words[(index + n) % 6]} {n} from desk {index}", trained=n not in noisy, won=n == turns)
        for n in range(1, turns + 1)
    )
    return episode(index, steps=steps)


def taught(index: int = 0, turns: int = 5, agreed: Sequence[int] = ()) -> Episode:
    """Return such an episode with a teacher, which says the same in the turns `agreed` (from 1) and else another thing.

    What both say begins alike, so that the two share tokens after the prompt.
    """
    steps = []
    for n, said in enumerate(wandering(index, turns).steps, 1):
        text = said.reply.text if n in agreed else said.reply.text.replace("take ", "take shelf 9 and put ")
        advice = Advice(Reply(text), read_action(text) or "", None, f"Seen {n + 1}.")
        own = replace(said.reply, text=training_text(said, WM)) if n in agreed else said.reply
        steps.append(replace(said, reply=own, teacher=advice))
    return episode(index, steps=tuple(steps))


def rows(episodes: Iterable[Episode], rendering: Rendering = WM) -> list[dict[str, Any]]:
    """Return the dataset rows of episodes."""
    return [row for one in episodes for row in rows_of(one, rendering)]


def write(path: Path, records: Sequence[dict[str, Any]], schema: pa.Schema | None = SCHEMA) -> Path:
    """Write records as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(records), schema), path)
    return path


def messages(record: dict[str, Any]) -> tuple[Message, ...]:
    """Return a row's conversation."""
    return tuple(Message(m["role"], m["content"]) for m in record["messages"])


def conversation(*contents: str) -> tuple[Message, ...]:
    """Return user and assistant messages in turn."""
    return tuple(Message("assistant" if i % 2 else "user", content) for i, content in enumerate(contents))


def extra(record: dict[str, Any]) -> dict[str, Any]:
    """Return a row's extra_info."""
    parsed: dict[str, Any] = json.loads(record["extra_info"])
    return parsed


@functools.cache
def tiny_tokenizer(kind: str = "bpe") -> Any:
    """Return a tokenizer trained on the prompts of a few episodes; do not change it."""
    from alfworld_sft.train.tiny import TinyOptions, train_tokenizer

    texts = [m["content"] for row in rows(wandering(i) for i in range(3)) for m in row["messages"]]
    return train_tokenizer(texts, TinyOptions(tokenizer=kind, vocab_size=500))


def with_template(template: str, kind: str = "bpe") -> Any:
    """Return a copy of the tiny tokenizer with another chat template."""
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer(kind))
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(tokenizer: Any, *, layers: int = 2, width: int = 64, head_dim: int = 16, tied: bool = True) -> Any:
    """Return a random float32 model for a tokenizer."""
    from alfworld_sft.train.tiny import TinyOptions, random_model

    options = TinyOptions(width=width, layers=layers, head_dim=head_dim, kv_heads=2, tied=tied)
    return random_model(len(tokenizer), tokenizer, options)


def write_tokenizer_only(folder: Path) -> Path:
    """Write what commands need of a model that only counts and shows tokens: no weights."""
    tiny_tokenizer("word").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return folder
