"""What each framework reads: the record of one dialogue, and the settings with which it trains on the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from alfworld_sft.dataset.extra_info import own_turn
from alfworld_sft.dataset.rows import DATA_SOURCE, as_dicts
from alfworld_sft.export.dialogues import Dialogue
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.template import reply_format_of

Record = dict[str, Any]
SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True, slots=True)
class RowTarget:
    """How dialogues become one framework's files.

    `records` turns a dialogue into any number of records: none where the framework cannot keep a reply of it as
    context without loss. `settings` tells the reader what to set there.
    """

    suffix: Literal[".jsonl", ".parquet"]
    records: Callable[[Dialogue, int], Iterator[Record]]
    settings: str


def _trl(dialogue: Dialogue, _: int) -> Iterator[Record]:
    for turn in dialogue.turns():
        yield {"prompt": as_dicts(turn.messages[:-1]), "completion": as_dicts(turn.messages[-1:]), **_facts(turn)}


def _verl(dialogue: Dialogue, _: int) -> Iterator[Record]:
    replies = {position for position, message in enumerate(dialogue.messages) if message.role == "assistant"}
    if replies == dialogue.trained:
        yield {"messages": as_dicts(dialogue.messages), **_facts(dialogue)}


def _verl_rl(dialogue: Dialogue, first: int) -> Iterator[Record]:
    for index, turn in enumerate(dialogue.turns(), first):
        reply = turn.messages[-1].content
        action = read_action(reply, reply_format_of(turn.extra.get("template")))
        yield {
            "data_source": DATA_SOURCE,
            "prompt": as_dicts(turn.messages[:-1]),
            "ability": "agent",
            "reward_model": {"style": "rule", "ground_truth": action or reply.strip()},
            "extra_info": {"split": str(turn.extra.get("split", "")), "index": index, **_facts(turn)},
        }


def _llamafactory(dialogue: Dialogue, _: int) -> Iterator[Record]:
    for turn in dialogue.turns():
        yield {"messages": as_dicts(turn.messages), **_facts(turn)}


def _openai(dialogue: Dialogue, _: int) -> Iterator[Record]:
    messages = [
        {**message, "weight": int(position in dialogue.trained)} if message["role"] == "assistant" else message
        for position, message in enumerate(as_dicts(dialogue.messages))
    ]
    yield {"messages": messages}


def _sharegpt(dialogue: Dialogue, _: int) -> Iterator[Record]:
    conversations = [
        {"from": SHAREGPT_ROLES[message.role], "value": message.content}
        | ({"loss": position in dialogue.trained} if message.role == "assistant" else {})
        for position, message in enumerate(dialogue.messages)
    ]
    yield {"conversations": conversations, **_facts(dialogue)}


def _facts(dialogue: Dialogue) -> Record:
    """Return what traces a record to its game and episode."""
    names = ("game_id", "task_type", "episode_id")
    turn = own_turn(dialogue.extra)
    return {name: str(dialogue.extra.get(name, "")) for name in names} | {"turn": 0 if turn is None else turn + 1}


TARGETS: dict[str, RowTarget] = {
    "trl": RowTarget(
        ".jsonl",
        _trl,
        "`SFTTrainer` trains the completion alone (`completion_only_loss` is its default for prompt and completion)."
        " Each reply is trained once, in its own context.",
    ),
    "verl": RowTarget(
        ".parquet",
        _verl,
        "`data.messages_key=messages`. verl trains every reply of a conversation and cannot keep one as context, so"
        " a conversation that holds a reply without loss is left out; with `--form single` every trained reply has a"
        " row of its own and nothing is left out.",
    ),
    "verl-rl": RowTarget(
        ".parquet",
        _verl_rl,
        "`data.prompt_key=prompt`. `reward_model.ground_truth` is the action that was taken; a reward function"
        " compares the reply's action with it.",
    ),
    "llamafactory": RowTarget(
        ".jsonl",
        _llamafactory,
        "`dataset_dir` is this folder, `dataset: alfworld_train`, `eval_dataset: alfworld_val`, `mask_history: true`:"
        " each record is trained on its last reply only. With a reasoning template, LLaMA-Factory removes `<think>`"
        " from the earlier replies of such a record.",
    ),
    "openai": RowTarget(
        ".jsonl",
        _openai,
        "`weight` is 0 for a reply that is context without loss. `train.jsonl` is the training file, `val.jsonl` the"
        " validation file.",
    ),
    "sharegpt": RowTarget(
        ".jsonl",
        _sharegpt,
        "`loss` is false for a reply that is context without loss, as in AgentInstruct; a reader that ignores it trains"
        " deliberate mistakes.",
    ),
}
