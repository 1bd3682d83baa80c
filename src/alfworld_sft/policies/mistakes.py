"""What could go wrong here? A command that is not the right one, for episodes with noise and for random players."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from alfworld_sft.policies.belief import Belief
from alfworld_sft.policies.decide import Mind


def mistake(mind: Mind, right: str, rng: Random) -> str:
    """Return a command other than `right`: an admissible one, or without the list one that a player could think of.

    Half of the mistakes go somewhere; the others do something at the place, wrong objects and all.
    """
    commands = mind.belief.view.admissible_commands
    options = [c for c in (imaginable(mind) if commands is None else commands) if c not in (right, "help")]
    going = [command for command in options if command.startswith("go to ")]
    doing = [command for command in options if not command.startswith("go to ")]
    chosen: Sequence[str] = going if doing == [] or (going and rng.random() < 0.5) else doing
    return rng.choice(chosen)


def imaginable(mind: Mind) -> list[str]:
    """Return commands that what was seen suggests; some of them the game may refuse."""
    belief = mind.belief
    commands = ["inventory", "look", *(f"go to {name}" for name in sorted(belief.places))]
    for name in sorted(belief.in_reach()):
        place = belief.place(name)
        commands.append(f"examine {name}")
        if place.access in ("closed", "open"):
            commands.append(f"open {name}" if place.access == "closed" else f"close {name}")
        if place.access != "closed":
            commands += _with_hands(mind, belief, name)
    if belief.held:
        commands.append(f"examine {belief.held}")
    return commands


def _with_hands(mind: Mind, belief: Belief, place: str) -> list[str]:
    if belief.held:
        return [mind.putting(belief.held, place)]
    return [f"take {name} from {place}" for name in belief.place(place).contents or ()]
