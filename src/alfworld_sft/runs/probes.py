"""What is asked of a turn besides what is played? A teacher, other commands, the distance to the goal.

Commands are tried in forks of the game, so nothing here changes what is played.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from random import Random

from alfworld_sft.policies.base import Player
from alfworld_sft.policies.teacher import Advised
from alfworld_sft.prompts.formats import read_reply
from alfworld_sft.prompts.template import Template
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Advice, Alternative, Distance, Prompt, Step
from alfworld_sft.world import Env
from alfworld_sft.world.language import HELP, verb_of


@dataclass(frozen=True, slots=True)
class Probes:
    """What a run records of each turn: how many alternatives, and whether the distance to the goal."""

    alternatives: int = 0
    distance: bool = False


NO_PROBES = Probes()
"""Only what is played, and a teacher's answers where there is one."""


async def ask_teacher(
    player: Player, prompt: Prompt, template: Template, env: Env, admissible_commands: Collection[str]
) -> Advice | None:
    """Return what a player's teacher would do, and what the game answers; None for a player without a teacher.

    `env` is where the prompt was rendered, and stays there. Raises PolicyError if the teacher has no answer.
    """
    if not isinstance(player, Advised):
        return None
    reply = await player.advise(prompt)
    parsed = read_reply(template.reply_format, reply.text, template.tags, admissible_commands)
    command = parsed.action or ""
    return Advice(reply, command, parsed.problem, env.fork().step(command).text)


def probe(step: Step, before: Env, after: Env, probes: Probes, seed: int) -> Step:
    """Return the step with what a run records of it; `before` and `after` are the game around the step's command."""
    taken = [step.command.strip(), step.teacher.command.strip() if step.teacher else ""]
    others = [command for command in step.admissible_commands if command not in taken]
    chosen = choose_alternatives(others, probes.alternatives, derive_seed(seed, "alternatives"))
    tried = tuple(try_command(command, before, measure=probes.distance) for command in chosen)
    if not probes.distance:
        return replace(step, alternatives=tried)
    teacher = step.teacher
    if teacher is not None:
        teacher = replace(teacher, distance=try_command(teacher.command, before).distance)
    distance = Distance(before.distance(), after.distance())
    return replace(step, alternatives=tried, teacher=teacher, distance=distance)


def choose_alternatives(commands: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` of the commands, or as many as there are, spread over their kinds: one of each kind in turn.

    The seed decides the order of the kinds and the choice within each. `help`, which always has the same answer, is
    left out.
    """
    random = Random(seed)
    kinds: dict[object, list[str]] = {}
    for command in random.sample(commands, len(commands)):
        if command != HELP.format():
            kinds.setdefault(verb_of(command), []).append(command)
    rounds = max(map(len, kinds.values()), default=0)
    spread = [kind[number] for number in range(rounds) for kind in kinds.values() if number < len(kind)]
    return spread[:count]


def try_command(command: str, env: Env, *, measure: bool = True) -> Alternative:
    """Return what a command does in a fork of the game, with the distance to the goal after it if measured."""
    fork = env.fork()
    answer = fork.step(command).text
    return Alternative(command, answer, fork.distance() if measure else None)
