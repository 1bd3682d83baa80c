"""Does the world repeat what an episode records? An episode and its game → their differences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from alfworld_sft.prompts.formats import FORMATS, formats_that_show
from alfworld_sft.types import Advice, Alternative, Distance, Episode, Step
from alfworld_sft.world import Env, Game, Observation
from alfworld_sft.world.observations import opening_look

About = Literal[
    "record", "task", "task_type", "grammar", "length", "observation", "admissible_commands", "problem",
    "next_observation", "reward", "won", "success", "teacher", "alternative", "distance",
]  # fmt: skip
"""What differs: a field of the episode or of a step; `record` is one whose fields are of the wrong types."""


class Difference(NamedTuple):
    """A field that is not what the world gives. `turn` counts from 1; None is the episode as a whole."""

    about: About
    turn: int | None
    recorded: object
    real: object


def find_differences(episode: Episode, game: Game) -> list[Difference]:
    """Return the first difference of each kind between an episode and its replay; none where the record is true."""
    if problem := _wrong_types(episode):
        return [problem]
    first: dict[str, Difference] = {}
    for difference in _differences(episode, game):
        first.setdefault(difference.about, difference)
    return list(first.values())


def _wrong_types(episode: Episode) -> Difference | None:
    """Return what cannot even be replayed: a journal is data, and may hold anything."""
    if type(episode.max_steps) is not int or episode.max_steps < 1:
        return Difference("record", None, episode.max_steps, "a number of steps, 1 or more")
    for turn, step in enumerate(episode.steps, 1):
        commands = [step.command, *(other.command for other in step.alternatives)]
        for command in [*commands, step.teacher.command] if step.teacher else commands:
            if not isinstance(command, str):
                return Difference("record", turn, command, "a command's text")
    return None


def _differences(episode: Episode, game: Game) -> Iterator[Difference]:
    if episode.task != game.task:
        yield Difference("task", None, episode.task, game.task)
    if episode.task_type != game.task_type:
        yield Difference("task_type", None, episode.task_type, game.task_type)
    if episode.grammar != game.grammar:
        yield Difference("grammar", None, episode.grammar, game.grammar)
    env = Env(game, episode.max_steps)
    now, seen = env.reset(), opening_look(game)
    reply, possible = "", now.admissible_commands
    formats = set(FORMATS)
    for turn, step in enumerate(episode.steps, 1):
        if now.over:
            yield Difference("length", turn, "another step", "the end of the game")
        if step.observation != seen:
            formats &= formats_that_show(step.observation, reply, possible, seen)
            if not formats:
                yield Difference("observation", turn, step.observation, seen)
        yield from _differences_of_tries(step, turn, now, env)
        measured = step.distance is not None
        start = env.distance() if measured else None
        before, now = now, env.step(step.command)
        yield from _differences_of(step, turn, before, now)
        if measured and step.distance != (start, end := env.distance()):
            yield Difference("distance", turn, step.distance, Distance(start, end))
        reply, possible, seen = str(step.reply.text), before.admissible_commands, now.text
    if episode.success is not now.won:
        yield Difference("success", None, episode.success, now.won)


def _differences_of(step: Step, turn: int, before: Observation, after: Observation) -> Iterator[Difference]:
    if step.admissible_commands != before.admissible_commands:
        yield Difference("admissible_commands", turn, step.admissible_commands, before.admissible_commands)
    playable = step.command.strip() in before.admissible_commands
    if (step.problem is None) is not playable and not _is_read_so(step, before):
        yield Difference("problem", turn, step.problem, None if playable else "not admissible")
    if step.next_observation != after.text:
        yield Difference("next_observation", turn, step.next_observation, after.text)
    if step.reward != float(after.won):
        yield Difference("reward", turn, step.reward, float(after.won))
    if step.won is not after.won:
        yield Difference("won", turn, step.won, after.won)


def _is_read_so(step: Step, before: Observation) -> bool:
    """Return whether a published format reads the reply so: one has thoughts that are steps, one faults an action."""
    read = (rules.parse(str(step.reply.text), before.admissible_commands) for rules in FORMATS.values())
    return any((parsed.action or "", parsed.problem) == (step.command, step.problem) for parsed in read)


def _differences_of_tries(step: Step, turn: int, now: Observation, env: Env) -> Iterator[Difference]:
    """Yield what differs in the commands of the teacher and of the alternatives, tried in forks of the game."""
    if advice := step.teacher:
        playable = advice.command.strip() in now.admissible_commands
        if (advice.problem is None) is not playable:
            yield Difference("teacher", turn, advice.problem, None if playable else "not admissible")
        yield from _differences_of_try("teacher", advice, turn, step, env)
    for other in step.alternatives:
        if other.command not in now.admissible_commands:
            yield Difference("alternative", turn, other.command, "an admissible command")
        yield from _differences_of_try("alternative", other, turn, step, env)


def _differences_of_try(
    about: Literal["teacher", "alternative"], tried: Advice | Alternative, turn: int, step: Step, env: Env
) -> Iterator[Difference]:
    fork = env.fork()
    answer = fork.step(tried.command).text
    if tried.next_observation != answer:
        yield Difference(about, turn, tried.next_observation, answer)
    if step.distance is not None and tried.distance != (real := fork.distance()):
        yield Difference("distance", turn, tried.distance, real)
