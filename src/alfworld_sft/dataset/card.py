"""What does the dataset card say? `README.md`, with the YAML that `datasets.load_dataset(folder)` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alfworld_sft.counts import counted
from alfworld_sft.dataset.build import lessons_in_words, reasons_in_words
from alfworld_sft.games.refs import skipped_in_words
from alfworld_sft.usage import usage_in_words

_HEADER = """---
{license}language:
- en
task_categories:
- text-generation
tags:
- alfworld
- agents
- sft
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
{validation}---

"""
_VALIDATION = """\
  - split: validation
    path: val.parquet
"""
_CARD = """\
# ALFWorld episodes for supervised fine-tuning

{episodes} of ALFWorld text games, played by `{policy}`, {won} of them won; {kept} kept, which give
{rows_train} for training and {rows_val} for validation, one for each {row_of}. No game is in both.

| task type | won | played |
|---|---|---|
{by_type}

Games: {num_games} of the split `{split}` (hash `{games_sha256}`){skipped}. Template: `{template}`.
Predictions: {predictions}. Seed: {seed}. Steps at most: {max_steps}. Made with alfworld-sft {version};
`run.json` has the full protocol.
{model_notes}
| column | content |
|---|---|
| `messages` | the conversation up to and including this turn, for multi-turn training |
| `prompt_data`, `response_data` | this turn's prompt with its history, and the reply, for single-turn training |
| `data_source`, `ability`, `reward_model` | what reinforcement-learning trainers expect |
| `extra_info` | JSON: game, split, task type, episode, turn, success, seed, template, policy, untrained turns{extra} |

`raw_trajectories.json` has every episode in full; `episodes.jsonl` is the journal that it was made from.
"""


def dataset_card(stamp: dict[str, Any]) -> str:
    """Return the card of a finished run, made from its stamp."""
    counts, games, protocol = stamp["counts"], stamp["games"], stamp["protocol"]
    return card_header(counts, "mit") + _CARD.format(
        by_type=success_by_type(counts),
        policy=stamp["policy"],
        num_games=games["count"],
        split=games["split"],
        games_sha256=games["sha256"][:16],
        skipped=f"; skipped: {skipped}" if (skipped := skipped_in_words(games.get("skipped", {}))) else "",
        template=protocol["template"],
        extra=_more_facts(stamp),
        predictions=stamp["config"]["worldmodel"]["predictions"],
        seed=stamp["config"]["seed"],
        max_steps=protocol["max_steps"],
        version=stamp["versions"]["alfworld-sft"],
        model_notes="".join(f"\n{note[0].upper()}{note[1:]}.\n" for note in model_notes(stamp)),
        episodes=counted(counts["episodes"], "episode"),
        row_of="episode" if stamp["config"]["dataset"].get("rows_per") == "episode" else "assistant turn",
        rows_train=counted(counts["rows_train"], "row"),
        **{key: counts[key] for key in ("won", "kept", "rows_val")},
    )


def card_header(counts: Mapping[str, Any], license_id: str | None = None) -> str:
    """Return the YAML that a card begins with, from the counts of a stamp; no license where it is not ours to name."""
    size = _size_category(counts["rows_train"] + counts["rows_val"])
    return _HEADER.format(
        license=f"license: {license_id}\n" if license_id else "",
        size=size,
        validation=_VALIDATION if counts["rows_val"] else "",  # `datasets` fails on a split without rows
    )


def success_by_type(counts: Mapping[str, Any]) -> str:
    """Return the lines of a card's table: task type, won, played."""
    return "\n".join(
        f"| {task_type} | {found['won']} | {found['played']} |"
        for task_type, found in counts["success_by_task_type"].items()
    )


def model_notes(stamp: Mapping[str, Any]) -> list[str]:
    """Return the notes on a run that had a teacher or used a language model: its reasoning, tokens and cost."""
    notes = []
    if "teacher" in stamp:
        notes.append(lessons_in_words(stamp["teacher"]))
    if "reasons" in stamp:
        notes.append(reasons_in_words(stamp["reasons"]))
    if "usage" in stamp:
        notes.append(usage_in_words(stamp["usage"]))
    return notes


def _more_facts(stamp: Mapping[str, Any]) -> str:
    """Return what `extra_info` has besides: who answered where there is a teacher, and what else was tried."""
    facts = "; `answer_by`: `teacher`, where its answer is not what was played" if "teacher" in stamp else ""
    tried = ["other actions"] if stamp["counts"].get("alternatives") else []
    leaves = "teacher" in stamp or stamp["config"]["worldmodel"]["predictions"] == "grounded_answer"
    tried += ["answers that the conversation does not hold"] if leaves else []
    return facts + (f"; `alternatives`: what {' and '.join(tried)} were shown" if tried else "")


def _size_category(rows: int) -> str:
    for bound, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < bound:
            return name
    return "1M<n<10M"
