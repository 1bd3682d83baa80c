"""Which rows does an episode become? One per turn that is a training target, or one for the full conversation.

A turn is not a target if the policy made a deliberate mistake (`Reply.trained`), or if the game could not execute its
reply. Such a turn stays in the conversation; `extra_info.untrained_turns` names it (turns count from 1).

In an episode with a teacher, a turn's row has the teacher's answer after the conversation that was played up to there.
What was said in play is context, as it was said, and an untrained turn unless it is that answer to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from alfworld_sft.prompts.tags import replace_section, strip_empty_thought
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import Transcript, prompts_of
from alfworld_sft.runs.store import IMPORT
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode, Message, Prompt, Step

DATA_SOURCE = "agent_sft_collection"
USER_LABEL = "user: "
"""Prefix of prompts in the documented format; a trainer removes it before it applies a chat template."""

Row = dict[str, Any]
RowsPer = Literal["turn", "episode"]
Predictions = Literal["grounded", "grounded_answer", "model"]
"""What stands in `<prediction>`. grounded: the observation that followed; grounded_answer: that in the reply that a row
trains, and in the conversation before it what the policy said, as when it plays; model: what the policy said."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How episodes become rows: the template, the history window of single-turn prompts, the source of predictions,
    and one row per turn or one row per episode (the conversation up to its last target)."""

    template: Template
    history_length: int | None = None
    predictions: Predictions = "grounded"
    rows_per: RowsPer = "turn"


def predictions_of_run(stamp: Mapping[str, Any]) -> Predictions:
    """Return what stands in `<prediction>` in the conversations of a stored run, as its stamp says.

    In a dataset that is the observation that followed, unless its `worldmodel.predictions` says otherwise; in any
    other run it is what the policy said.
    """
    if stamp.get("kind", "collect") not in ("collect", IMPORT):
        return "model"
    config = stamp.get("config")
    world = config.get("worldmodel") if isinstance(config, Mapping) else None
    name = world.get("predictions") if isinstance(world, Mapping) else None
    return next((known for known in get_args(Predictions) if known == name), "grounded")


def rows_of(episode: Episode, rendering: Rendering) -> Iterator[Row]:
    """Yield the rows of one episode in turn order."""
    prompts = list(prompts_of(episode, rendering.template, history_length=rendering.history_length))
    messages = as_dicts(conversation_of(episode, rendering))
    opening = len(messages) - 2 * len(episode.steps)  # a system message, where the template has one
    untrained = [turn for turn, step in enumerate(episode.steps, 1) if not is_reply_trained(step, rendering)]
    wanted = _turns_with_a_row(episode, rendering.rows_per)
    elsewhere = _alternatives_without_a_row(episode, prompts, wanted)
    for turn, (prompt, step) in enumerate(zip(prompts, episode.steps, strict=True), 1):
        if turn not in wanted:
            continue
        before = opening + 2 * turn - 1
        answer = messages[before]
        info = _extra_info(episode, turn, [t for t in untrained if t < turn])
        leaves = turn in untrained
        if leaves:
            answer = {"role": "assistant", "content": answer_text(step, rendering)}
            if _is_taught(step):
                info["answer_by"] = "teacher"
        if tried := [*_tried_commands(step, leaves=leaves), *elsewhere.get(turn, [])]:
            info["alternatives"] = tried
        yield make_row([*messages[:before], answer], prompt.messages[-1].content, float(episode.success), info)


def make_row(messages: list[dict[str, str]], prompt: str, won: float | None, info: Mapping[str, Any]) -> Row:
    """Return a row: the conversation up to and including the reply to train on, and the same as a single turn.

    Columns: data_source, messages, prompt_data and response_data ({"content": …}), ability, reward_model and extra_info
    (JSON strings).
    """
    return {
        "data_source": DATA_SOURCE,
        "messages": messages,
        "prompt_data": {"content": USER_LABEL + prompt},
        "response_data": {"content": messages[-1]["content"]},
        "ability": "agent",
        "reward_model": compact_json({"style": "rule", "ground_truth": won}),
        "extra_info": compact_json(info),
    }


def count_rows(episode: Episode, rows_per: RowsPer) -> int:
    """Return how many rows `rows_of` yields."""
    return len(_turns_with_a_row(episode, rows_per))


def _turns_with_a_row(episode: Episode, rows_per: RowsPer) -> list[int]:
    return with_a_row([turn for turn, step in enumerate(episode.steps, 1) if is_target(step)], rows_per)


def with_a_row(targets: list[int], rows_per: RowsPer) -> list[int]:
    """Return which of an episode's targets, in their order, get a row of their own."""
    return targets if rows_per == "turn" else targets[-1:]


def conversation_of(episode: Episode, rendering: Rendering) -> tuple[Message, ...]:
    """Return the full episode as a conversation, with the text used in training."""
    transcript = Transcript(rendering.template, episode, "multi")
    for step in episode.steps:
        prompt = transcript.prompt(step.observation, step.admissible_commands)
        transcript.add(prompt, training_text(step, rendering), step.command)
    return transcript.messages


def training_text(step: Step, rendering: Rendering) -> str:
    """Return the reply as the conversation shows it: a grounded prediction is replaced by the actual next observation.

    In an episode with a teacher, or where answers alone are grounded, the reply stays as it was said.
    """
    if _is_shown_as_said(step, rendering):
        return step.reply.text
    return _ground(step.reply.text, step.next_observation, rendering)


def answer_text(step: Step, rendering: Rendering) -> str:
    """Return what a turn's row trains: the teacher's reply or the policy's own.

    A grounded prediction is what came, or what came where the teacher's action was tried.
    """
    said = step.teacher or step
    text = _ground(said.reply.text, said.next_observation, rendering)
    return strip_empty_thought(text, rendering.template.written_tags)


def is_target(step: Step) -> bool:
    """Return whether a turn is a training target: the reply, or its teacher's answer where there is one."""
    said = step.teacher or step
    return said.reply.trained and said.problem is None


def is_reply_trained(step: Step, rendering: Rendering) -> bool:
    """Return whether the reply carries loss as the conversation shows it, being what the turn's row trains."""
    said = strip_empty_thought(training_text(step, rendering), rendering.template.written_tags)
    return is_target(step) and said == answer_text(step, rendering)


def _is_shown_as_said(step: Step, rendering: Rendering) -> bool:
    """Return whether the conversation shows the reply as it was said, which the turn's answer may then differ from."""
    return _is_taught(step) or rendering.predictions == "grounded_answer"


def _is_taught(step: Step) -> bool:
    """Return whether a teacher wrote the turn's answer: beside the policy, or in its place."""
    return step.teacher is not None or step.reply.said_by == "teacher"


def _ground(text: str, observation: str, rendering: Rendering) -> str:
    return text if rendering.predictions == "model" else predicting(text, observation, rendering.template)


def predicting(text: str, observation: str, template: Template) -> str:
    """Return a reply with an observation as its prediction, where the template asks for one."""
    return replace_section(text, "prediction", observation, template.tags) if "prediction" in template.tags else text


def _extra_info(episode: Episode, turn: int, untrained_turns: list[int]) -> dict[str, Any]:
    writers = [step.reply.think_by for step in episode.steps[:turn]]
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
        **({"think_by": writers} if any(writers) else {}),
    }


def _tried_commands(step: Step, *, leaves: bool) -> list[dict[str, str]]:
    """Return the alternatives of a turn, with the game's answers.

    Where the row's answer `leaves` the conversation, which then does not continue it, its command is among them, and
    so is the policy's own.
    """
    tried = {other.command: other.next_observation for other in step.alternatives}
    if leaves:
        if step.teacher:
            tried[step.teacher.command] = step.teacher.next_observation
        if step.problem is None:
            tried[step.command] = step.next_observation
    return [{"action": command, "observation": answer} for command, answer in tried.items()]


def _alternatives_without_a_row(
    episode: Episode, prompts: Sequence[Prompt], wanted: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return, by the turn of the row that holds them, the alternatives of turns that have no row.

    That is the next row, or the last one. Each comes with its turn and the prompt that it answers.
    """
    found: dict[int, list[dict[str, Any]]] = {}
    for turn, (step, prompt) in enumerate(zip(episode.steps, prompts, strict=True), 1):
        if turn not in wanted and wanted:
            row = next((later for later in wanted if later > turn), wanted[-1])
            context = {"turn": turn, "prompt": prompt.messages[-1].content}
            found.setdefault(row, []).extend({**tried, **context} for tried in _tried_commands(step, leaves=False))
    return found


def as_dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Return messages as plain `{role, content}` dicts."""
    return [{"role": message.role, "content": message.content} for message in messages]


def compact_json(value: object) -> str:
    """Return standard JSON without spaces, as in all of a dataset's files."""
    return to_json(value, separators=(",", ":"))
