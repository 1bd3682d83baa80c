"""Episodes → preference pairs: in one context, an action that brings the goal closer and one that does not.

The distance is the length of the shortest plan, found by replaying the episode in its game. The chosen reply is the
recorded one; the rejected reply is the same text with another admissible action and, where the template asks for a
prediction, with what that action would have shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from alfworld_sft.dataset.rows import Rendering, as_dicts, is_target, training_text
from alfworld_sft.errors import DatasetError
from alfworld_sft.export.targets import Record
from alfworld_sft.games import GameSource
from alfworld_sft.prompts.tags import replace_section
from alfworld_sft.prompts.transcript import transcript_of
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Episode, Step
from alfworld_sft.world import Env, admissible, observations, rules
from alfworld_sft.world.distance import distance as steps_to_goal
from alfworld_sft.world.game import Game, State

SETTINGS = (
    "`DPOTrainer` reads `prompt`, `chosen` and `rejected` as they stand. `distance` is the number of steps to the goal"
    " before the turn, `chosen_distance` and `rejected_distance` after it (null where the goal can no longer be"
    " reached)."
)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another admissible action, what the game answers to it, and the distance to the goal after it."""

    command: str
    observation: str
    distance: int | None


def preference_pairs(episode: Episode, game: Game, rendering: Rendering) -> Iterator[Record]:
    """Yield a pair for each trained turn that brings the goal closer, where another action does not.

    Raises DatasetError where the game does not answer as the episode says: it was played in another game.
    """
    env = Env(game, max_steps=len(episode.steps) + 1)
    env.reset()
    transcript = transcript_of(episode, rendering.template, "multi")
    for turn, step in enumerate(episode.steps, 1):
        before = env.game_state
        prompt = transcript.prompt(step.observation, step.admissible_commands)
        observation = env.step(step.command)
        if observation.text != step.next_observation:
            raise DatasetError(f"{episode.id}, turn {turn}: {game.id} answers otherwise; is it another version?")
        distance, reached = steps_to_goal(game, before), steps_to_goal(game, env.game_state)
        if is_target(step) and _is_closer(reached, distance):
            seed = derive_seed(episode.seed, "preference", turn)
            other = _worse_action(game, before, step.command, distance, Random(seed))
            if other:
                yield {
                    "prompt": as_dicts(prompt.messages),
                    "chosen": [{"role": "assistant", "content": training_text(step, rendering)}],
                    "rejected": [{"role": "assistant", "content": _reply_with(step, other, rendering)}],
                    "distance": distance,
                    "chosen_distance": reached,
                    "rejected_distance": other.distance,
                    "game_id": episode.game_id,
                    "episode_id": episode.id,
                    "turn": turn,
                }
        transcript.add(prompt, training_text(step, rendering), step.command)


def game_of(episode: Episode, games: GameSource, source: Path) -> Game:
    """Return the game that an episode of a run played; raises DatasetError where the games are others now."""
    ref = games.ref(episode.index)
    if ref.id != episode.game_id:
        raise DatasetError(
            f"{source}: episode {episode.index} played {episode.game_id}, but {games.description} has {ref.id} there;"
            " name the data folder of that time with games.source=…"
        )
    return ref.load()


def _is_closer(after: int | None, before: int | None) -> bool:
    return after is not None and (before is None or after < before)


def _worse_action(game: Game, state: State, taken: str, distance: int | None, random: Random) -> Alternative | None:
    """Return an admissible action, drawn at random, that does not bring the goal closer; None where each one does."""
    possible = admissible.admissible_actions(game, state)
    commands = [command for command in possible.commands if command != taken]
    for command in random.sample(commands, len(commands)):
        action = possible.action(command)
        if action is None:
            continue
        after = rules.transition(game, state, action)
        reached = steps_to_goal(game, after)
        if not _is_closer(reached, distance):
            return Alternative(command, observations.feedback(game, after, action), reached)
    return None


def _reply_with(step: Step, other: Alternative, rendering: Rendering) -> str:
    text = step.reply.text
    tags = rendering.template.tags
    if "prediction" in tags:
        text = replace_section(text, "prediction", other.observation)
    return replace_section(text, "action", other.command) if "action" in tags else other.command
