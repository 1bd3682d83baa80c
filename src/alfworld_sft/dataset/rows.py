"""Episode → rows, one for each turn that is a training target.

A turn is none where the policy erred on purpose (`Reply.trained`), or where its reply held nothing that the game
could play. Such a turn stays in the conversation; `extra_info.untrained_turns` names it (turns count from 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from alfworld_sft.prompts.tags import replace_section
from alfworld_sft.prompts.template import Template
from alfworld_sft.rollout import views_of
from alfworld_sft.types import Episode, Message, Step

DATA_SOURCE = "agent_sft_collection"
USER_LABEL = "user: "
"""The documented format puts this before a prompt; a trainer removes it before it applies a chat template."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rendering:
    """How episodes become text: the template, the window of single-turn prompts, and whose predictions are written."""

    template: Template
    history_length: int | None = None
    predictions: Literal["grounded", "model"] = "grounded"


def rows_of(episode: Episode, rendering: Rendering) -> Iterator[Row]:
    """Yield the rows of one episode in the order of its turns.

    Columns: data_source, messages (the conversation up to and including this turn), prompt_data and response_data
    ({"content": …}), ability, reward_model and extra_info (JSON strings).
    """
    views = views_of(episode, rendering.template, rendering.history_length)
    messages = _plain(conversation_of(episode, rendering))
    untrained = [turn for turn, step in enumerate(episode.steps, 1) if not is_target(step)]
    reward_model = compact_json({"style": "rule", "ground_truth": float(episode.success)})
    for turn, (step, view) in enumerate(zip(episode.steps, views, strict=True), 1):
        if not is_target(step):
            continue
        yield {
            "data_source": DATA_SOURCE,
            "messages": messages[: 2 * turn],
            "prompt_data": {"content": USER_LABEL + rendering.template.single_turn(view)},
            "response_data": {"content": messages[2 * turn - 1]["content"]},
            "ability": "agent",
            "reward_model": reward_model,
            "extra_info": compact_json(_extra_info(episode, turn, [t for t in untrained if t < turn])),
        }


def conversation_of(episode: Episode, rendering: Rendering) -> tuple[Message, ...]:
    """Return the whole episode as a conversation, in the words that training sees."""
    replies = [training_text(step, rendering) for step in episode.steps]
    return rendering.template.conversation(views_of(episode, rendering.template), replies)


def training_text(step: Step, rendering: Rendering) -> str:
    """Return the reply as training sees it: a grounded prediction says what really came next."""
    if rendering.predictions == "model" or "prediction" not in rendering.template.tags:
        return step.reply.text
    return replace_section(step.reply.text, "prediction", step.next_observation)


def is_target(step: Step) -> bool:
    """Tell whether a turn is to be learned."""
    return step.reply.trained and step.problem is None


def _extra_info(episode: Episode, turn: int, untrained_turns: list[int]) -> dict[str, Any]:
    return {
        "game_id": episode.game_id,
        "split": episode.split,
        "task_type": episode.task_type,
        "episode_id": episode.id,
        "turn": turn,
        "turns": len(episode.steps),
        "success": episode.success,
        "seed": episode.seed,
        "template": episode.template,
        "policy": episode.policy,
        "untrained_turns": untrained_turns,
    }


def _plain(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def compact_json(value: object) -> str:
    """Return JSON without spaces, as all of a dataset's files hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
