"""Do two worlds say the same? One game, one sequence of commands, both sides compared after every one."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from alfworld_sft.world import Env, Observation, load_game
from tests.reference.client import Reply, World
from tests.reference.commands import Player
from tests.reference.facts import Facts

ENDLESS = 10**9
NAME = re.compile(r"\b[a-z]+ \d+\b")
THINGS = re.compile(r"(?:a X, )+and a X")


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which the worlds differ. Step 0 is the reset; at step -1 a world failed to load."""

    step: int
    kind: str
    command: str
    field: str
    reference: object
    ours: object


@dataclass
class Comparison:
    """What came of one game: commands by kind, the shapes of the answers, steps after winning, and differences."""

    steps: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    won: bool = False
    steps_after_winning: int = 0
    differences: list[Difference] = field(default_factory=list)


class OurWorld:
    """`alfworld_sft.world` with the reference's manners: no step limit, and it goes on after winning."""

    def load(self, path: Path) -> None:
        """Load the game file at `path`."""
        self._env = Env(load_game(path), max_steps=ENDLESS)

    def reset(self) -> Reply:
        """Begin the loaded game."""
        return _reply(self._env.reset())

    def step(self, command: str) -> Reply:
        """Play one command."""
        return _reply(self._env.step(command))


def _reply(observation: Observation) -> Reply:
    return Reply(observation.text, observation.admissible_commands, observation.won, observation.terminated)


def compare_game(
    reference: World, ours: World, path: Path, facts: Facts, *, seed: int | str, steps: int, goal_first: bool
) -> Comparison:
    """Play `steps` commands on both sides, or until they first differ: the states may have parted there.

    The commands are chosen from what the reference says. A crash on our side is a difference; one of the reference
    is raised, as nothing is known then.
    """
    result = Comparison()
    reference.load(path)
    theirs = reference.reset()
    try:
        ours.load(path)
        mine = ours.reset()
    except Exception as error:
        result.differences.append(Difference(-1, "load", "", "error", None, _described(error)))
        return result
    result.differences = differences(0, "reset", "", theirs, mine)
    player = Player(facts, theirs, seed=seed, steps=steps, goal_first=goal_first)
    for step in range(1, steps + 1):
        if result.differences:
            return result
        play = player.play()
        theirs = reference.step(play.command)
        try:
            mine = ours.step(play.command)
        except Exception as error:
            result.differences.append(Difference(step, play.kind, play.command, "error", None, _described(error)))
            return result
        result.differences = differences(step, play.kind, play.command, theirs, mine)
        result.steps[play.kind] += 1
        result.shapes[shape(theirs.text)] += 1
        result.steps_after_winning += result.won
        result.won = result.won or theirs.won
        player.saw(theirs)
    return result


def differences(step: int, kind: str, command: str, reference: Reply, ours: Reply) -> list[Difference]:
    """Every field in which the replies differ; of the admissible commands only those on one side, or the order."""
    found = [
        Difference(step, kind, command, name, getattr(reference, name), getattr(ours, name))
        for name in ("text", "won", "done")
        if getattr(reference, name) != getattr(ours, name)
    ]
    theirs, mine = reference.admissible_commands, ours.admissible_commands
    if theirs != mine:
        only_theirs = [command for command in theirs if command not in set(mine)]
        only_mine = [command for command in mine if command not in set(theirs)]
        if only_theirs or only_mine:
            found.append(Difference(step, kind, command, "admissible_commands", only_theirs, only_mine))
        else:
            found.append(Difference(step, kind, command, "order of admissible_commands", list(theirs), list(mine)))
    return found


def shape(text: str) -> str:
    """The sentence without its names, to count which of them were reached: `You pick up the X from the X.`"""
    text = NAME.sub("X", text.split("\n", 1)[0])
    return THINGS.sub("a X, …", text).replace("X, and X", "X, …")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
