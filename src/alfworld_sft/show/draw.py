"""How are an episode and a row drawn? Colours for tags and roles; without them the text alone says the same."""

from __future__ import annotations

import json

from rich.text import Text

from alfworld_sft.counts import counted
from alfworld_sft.dataset.read import TrainingRow
from alfworld_sft.dataset.rows import is_target
from alfworld_sft.prompts.tags import find_sections
from alfworld_sft.terminal import printable
from alfworld_sft.types import Episode, Message, Step

_TAG_STYLES = {"think": "magenta", "prediction": "yellow", "observation": "blue", "action": "bold green"}
_ROLE_STYLES = {"system": "dim", "user": "blue", "assistant": ""}


def draw_episode(episode: Episode) -> Text:
    """Return an episode: what it is, then each turn with what was seen, said and sent, and how it ended."""
    drawn = Text()
    _add(drawn, f"episode {episode.index}: {episode.game_id}\n", "bold")
    _add(drawn, f"{episode.task}\n{episode.policy}, template {episode.template}, seed {episode.seed}\n")
    for turn, step in enumerate(episode.steps, 1):
        _add_turn(drawn, turn, step)
    if episode.steps:
        _add(drawn, f"\n{episode.steps[-1].next_observation}\n")
    turns = counted(len(episode.steps), "turn")
    _add(
        drawn,
        f"\n{'won' if episode.success else 'lost'} after {turns}\n",
        "bold green" if episode.success else "bold red",
    )
    if episode.error:
        _add(drawn, f"{episode.error}\n", "red")
    return drawn


def draw_row(row: TrainingRow) -> Text:
    """Return a row: where it comes from, its prompt and response, or its conversation where it has no prompt."""
    drawn = Text()
    _add(drawn, f"{row.place}\n", "bold")
    for key, value in row.extra.items():
        _add(drawn, f"{key}: {value if isinstance(value, str) else json.dumps(value, default=str)}\n")
    said = row.prompt or row.messages
    for message in (*said, *((Message("assistant", row.response),) if row.prompt else ())):
        _add_message(drawn, message)
    return drawn


def _add_turn(drawn: Text, turn: int, step: Step) -> None:
    _add(drawn, f"\n--- turn {turn}{'' if is_target(step) else ' (not a training target)'}\n", "dim")
    _add(drawn, f"{step.observation}\n")
    if step.reply.said_by:
        _add(drawn, f"the {step.reply.said_by} acts:\n", "dim")
    _add_reply(drawn, step.reply.text)
    if step.problem:
        _add(drawn, f"problem: {step.problem}\n", "red")
    if step.teacher:
        _add(drawn, "the teacher:\n", "dim")
        _add_reply(drawn, step.teacher.reply.text)


def _add_message(drawn: Text, message: Message) -> None:
    _add(drawn, f"\n--- {message.role}\n", "dim")
    if message.role == "assistant":
        _add_reply(drawn, message.content)
    else:
        _add(drawn, f"{message.content}\n", _ROLE_STYLES[message.role])


def _add_reply(drawn: Text, reply: str) -> None:
    """Add a reply with each section in the colour of its tag."""
    end = 0
    for section in find_sections(reply):
        _add(drawn, reply[end : section.outer])
        _add(drawn, reply[section.outer : section.after], _TAG_STYLES[section.tag])
        end = section.after
    _add(drawn, f"{reply[end:]}\n")


def _add(drawn: Text, text: str, style: str = "") -> None:
    drawn.append(printable(text), style)
