"""Episodes → preference pairs: in one context, an action that brings the goal closer and one that does not.

The distance is the length of the shortest plan: as the run recorded it (`env.record_distance` with
`worldmodel.alternatives`), else found by replaying the episode in its game. The chosen reply is the recorded one; the
rejected reply is the same text with another admissible action. In an episode with a teacher, the chosen reply is the
teacher's, and the rejected one the policy's own where that does not bring the goal closer. Where the template asks for
a prediction, each has what its action showed or would have shown: a pair is not about who guesses better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

from alfworld_sft.dataset.rows import Rendering, answer_text, as_dicts, is_target, predicting, training_text
from alfworld_sft.errors import DatasetError
from alfworld_sft.export.targets import Record
from alfworld_sft.prompts.formats import read_reply, with_action
from alfworld_sft.prompts.tags import strip_empty_thought
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.runs.played_games import PlayedGames
from alfworld_sft.runs.probes import try_command
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Alternative, Episode, Form, Step
from alfworld_sft.world import Env, Game

SETTINGS = (
    "`DPOTrainer` reads `prompt`, `chosen` and `rejected` as they stand. `distance` is the number of steps to the goal"
    " before the turn, `chosen_distance` and `rejected_distance` after it (null where the goal can no longer be"
    " reached)."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a turn: the distance before it, the tries of its own commands, and those of others.

    `teacher` is None without a teacher. `others` are in random order.
    """

    distance: int | None
    played: Alternative
    teacher: Alternative | None
    others: Iterator[Alternative]


def preference_pairs(
    episode: Episode, game: Game | None, rendering: Rendering, form: Form = "multi"
) -> Iterator[Record]:
    """Yield a pair for each trained turn that brings the goal closer, where another action does not.

    The prompt is the conversation so far, or the single-turn prompt with the history in it, as `form` says. `game` may
    be None where `has_distances`. Raises DatasetError where the game does not answer as the episode says: it was played
    in another game.
    """
    measured = _recorded(episode) if game is None else _replayed(episode, game)
    transcript = Transcript(rendering.template, episode, form, rendering.history_length)
    for turn, (step, known) in enumerate(zip(episode.steps, measured, strict=True), 1):
        prompt = transcript.prompt(step.observation, step.admissible_commands)
        chosen = known.teacher or known.played
        if is_target(step) and _is_closer(chosen.distance, known.distance):
            text = predicting(answer_text(step, rendering), chosen.next_observation, rendering.template)
            own = [known.played] if step.teacher and step.problem is None else []
            worse = (other for other in chain(own, known.others) if not _is_closer(other.distance, known.distance))
            other = next(worse, None)
            said = (
                predicting(_as_played(step, rendering), other.next_observation, rendering.template)
                if other is known.played
                else _reply_with(text, other, rendering)
            )
            if other and said:
                yield {
                    "prompt": as_dicts(prompt.messages),
                    "chosen": [{"role": "assistant", "content": text}],
                    "rejected": [{"role": "assistant", "content": said}],
                    "distance": known.distance,
                    "chosen_distance": chosen.distance,
                    "rejected_distance": other.distance,
                    "game_id": episode.game_id,
                    "episode_id": episode.id,
                    "turn": turn,
                }
        transcript.add(prompt, training_text(step, rendering), step.command)


def has_distances(episode: Episode) -> bool:
    """Return whether an episode records all that its pairs need, so that no game is needed."""
    return all(step.distance is not None and step.alternatives for step in episode.steps)


def game_of(episode: Episode, games: PlayedGames, run: Path) -> Game:
    """Return the game that an episode of a run played; raises DatasetError where it is not among the games."""
    ref = games.ref(episode.game_id, episode.split, episode.index)
    if ref is None:
        raise DatasetError(
            f"{run}: episode {episode.index} played {episode.game_id}, which is not at hand; name the folder that holds"
            " it with --source FOLDER"
        )
    return ref.load()


def _is_closer(after: int | None, before: int | None) -> bool:
    return after is not None and (before is None or after < before)


def _random(episode: Episode, turn: int) -> Random:
    return Random(derive_seed(episode.seed, "preference", turn))


def _recorded(episode: Episode) -> Iterator[Measured]:
    """Yield what the run recorded of each turn."""
    for turn, step in enumerate(episode.steps, 1):
        if step.distance is None:
            raise AssertionError("asked only where distances are recorded")
        others = _random(episode, turn).sample(step.alternatives, len(step.alternatives))
        said = step.teacher
        teacher = Alternative(said.command, said.next_observation, said.distance) if said else None
        played = Alternative(step.command, step.next_observation, step.distance.after)
        yield Measured(step.distance.before, played, teacher, iter(others))


def _replayed(episode: Episode, game: Game) -> Iterator[Measured]:
    """Yield what a replay in the game says of each turn; raises DatasetError where it answers otherwise."""
    env = Env(game, max_steps=len(episode.steps) + 1)
    env.reset()
    for turn, step in enumerate(episode.steps, 1):
        before = env.fork()
        answer = env.step(step.command).text
        if answer != step.next_observation:
            raise DatasetError(f"{episode.id}, turn {turn}: {game.id} answers otherwise; is it another version?")
        tried = {step.command, *([step.teacher.command] if step.teacher else [])}
        commands = [command for command in step.admissible_commands if command not in tried]
        shuffled = _random(episode, turn).sample(commands, len(commands))
        yield Measured(
            before.distance(),
            Alternative(step.command, answer, env.distance()),
            try_command(step.teacher.command, env=before) if step.teacher else None,
            map(partial(try_command, env=before), shuffled),
        )


def _as_played(step: Step, rendering: Rendering) -> str:
    """Return the policy's own reply in the form that rows have."""
    return strip_empty_thought(step.reply.text, rendering.template.written_tags)


def _reply_with(text: str, other: Alternative | None, rendering: Rendering) -> str | None:
    """Return a reply with another action; None without one, or where the reply's form does not let it be replaced."""
    if other is None:
        return None
    template = rendering.template
    text = predicting(text, other.next_observation, template)
    said = with_action(template.reply_format, text, template.tags, other.command)
    read = read_reply(template.reply_format, said, template.tags, (other.command,))
    return said if (read.action, read.problem) == (other.command, None) else None
