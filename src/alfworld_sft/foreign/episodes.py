"""How does a recorded conversation become an Episode? Its actions are played in its game, and the world says the rest.

Observations, admissible commands and the win are the game's own. Replies stay as they were recorded, or are written
anew in a template's form from their thought and their action; a thought that is not there is not made up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from alfworld_sft.foreign.read import ForeignEpisode
from alfworld_sft.foreign.replay import command_for
from alfworld_sft.prompts.formats import read_reply, shown_answer, write_reply
from alfworld_sft.prompts.tags import ParsedReply, strip_tags
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.rollout import record_episode, record_step
from alfworld_sft.types import Episode, Reply, Step
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look

RECORDED = "recorded"
"""Where an Episode names its template: none, the prompts are those of the record."""
IMPORTED = "imported"
"""The policy's name: who played is not known."""


@dataclass(frozen=True, slots=True)
class Played:
    """A recorded conversation, and the Episode that its actions make. `positions` holds, for each step, the place of
    its reply in the conversation."""

    recorded: ForeignEpisode
    episode: Episode
    positions: tuple[int, ...]


def play_recorded(recorded: ForeignEpisode, game: Game, template: Template | None, *, index: int, seed: int) -> Played:
    """Play a conversation's actions in a game, up to the win; replies without an action are left out.

    With a template the replies are written as it has them. An action in other words is played in the game's.
    """
    env = Env(game, max_steps=max(1, len(recorded.turns)))
    now, seen = env.reset(), opening_look(game)
    steps: list[Step] = []
    positions: list[int] = []
    for turn in recorded.turns:
        if now.over:
            break
        if turn.action is None:
            continue
        command = command_for(turn.action, game, now.admissible_commands)
        if template is None:
            text, parsed = recorded.messages[turn.position].content, _judge(command, now.admissible_commands)
        else:
            text = _write(template, turn.thought, command, seen, env)
            parsed = read_reply(template.reply_format, text, template.tags, now.admissible_commands)
        before, now = now, env.step(parsed.action or "")
        steps.append(record_step(seen, before.admissible_commands, Reply(text, trained=turn.trained), parsed, now))
        positions.append(turn.position)
        seen = now.text if template is None else shown_answer(template.reply_format, parsed, now.text)
    name = template.name if template else RECORDED
    episode = record_episode(
        game, steps, success=now.won, max_steps=env.max_steps, index=index, seed=seed, template=name, policy=IMPORTED
    )
    return Played(recorded, episode, tuple(positions))


def _judge(command: str, admissible: Collection[str]) -> ParsedReply:
    return ParsedReply(command, None if command in admissible else "not admissible", None, None, None)


def _write(template: Template, thought: str, command: str, seen: str, env: Env) -> str:
    """Return a reply in a template's form; of tags, those without content are left out."""
    predicted = env.fork().step(command).text
    said = {"observation": seen, "think": thought, "prediction": predicted, "action": command}
    parts = {name: strip_tags(text) for name, text in said.items()}
    tags = [tag for tag in template.tags if parts[tag]] if template.reply_format == "tags" else template.tags
    return write_reply(template.reply_format, tags, parts)
