"""What can be done after some commands, for the tests of the rules and of the admissible commands."""

from alfworld_sft.world import Game
from alfworld_sft.world.admissible import admissible_actions
from alfworld_sft.world.game import State
from alfworld_sft.world.rules import transition
from tests.handmade import Furniture

CUPBOARD = [Furniture("cabinet 1", 1, ("mug 1",)), Furniture("desk 1", 2)]


def played(game: Game, *commands: str) -> State:
    """The state after these commands, all of which must be admissible."""
    state = game.initial
    for command in commands:
        action = admissible_actions(game, state).action(command)
        assert action is not None, f"{command!r} is not among {commands_in(game, state)}"
        state = transition(game, state, action)
    return state


def commands_in(game: Game, state: State, *verbs: str) -> tuple[str, ...]:
    """The admissible commands, or those that begin with one of the verbs."""
    return tuple(c for c in admissible_actions(game, state).commands if not verbs or c.startswith(verbs))


def commands_after(game: Game, *commands: str, verbs: tuple[str, ...] = ()) -> tuple[str, ...]:
    return commands_in(game, played(game, *commands), *verbs)
