"""What could go wrong here? A command that is not the right one, for episodes with noise and for random players."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from alfworld_sft.policies.expert.belief import Belief, class_of
from alfworld_sft.policies.expert.decide import Mind
from alfworld_sft.world.language import CLOSE, EXAMINE, GO, HELP, INVENTORY, LOOK, OPEN, TAKE, USE, verb_of


def mistake(mind: Mind, right: str, rng: Random) -> str:
    """Return a command other than `right`.

    The kinds are equally frequent: to go somewhere; to do something at the place, wrong objects and all; and to try
    what the game refuses, for a model in training does so even where its prompt lists the admissible commands. Without
    the list, the first two are what a player could think of.
    """
    commands = mind.belief.view.admissible_commands
    options = [c for c in (imaginable(mind) if commands is None else commands) if c not in (right, HELP.format())]
    going = [command for command in options if verb_of(command) == "go"]
    doing = [command for command in options if verb_of(command) != "go"]
    refused = [command for command in impossible(mind) if command != right and command not in (commands or ())]
    kinds: list[Sequence[str]] = [going, doing, refused]
    return rng.choice(rng.choice([kind for kind in kinds if kind]))


def impossible(mind: Mind) -> list[str]:
    """Return commands that have no effect: those of a player that miscounts, misremembers or acts too early.

    A trained model makes such mistakes itself, and must have seen how to recover from them.
    """
    belief, wanted = mind.belief, mind.goal.object
    counts = Counter(map(class_of, belief.places))
    elsewhere = sorted(belief.places.keys() - belief.in_reach())
    commands = [GO.format(f"{kind} {count + 1}") for kind, count in sorted(counts.items())]
    commands += [EXAMINE.format(name) for name in elsewhere]
    if belief.here is not None:
        commands += [GO.format(belief.here)] * len(counts)
        if not belief.held:
            there = belief.place(belief.here).contents or ()
            guesses = [f"{wanted} {n}" for n in (1, 2, 3)]
            commands += [TAKE.format(name, belief.here) for name in guesses if name not in there] * 3
    if belief.held:
        commands += [mind.putting(belief.held, name) for name in elsewhere]
    return commands


def imaginable(mind: Mind) -> list[str]:
    """Return commands that what was seen suggests; some of them the game may refuse."""
    belief = mind.belief
    commands = [INVENTORY.format(), LOOK.format(), *(GO.format(name) for name in sorted(belief.places))]
    for name in sorted(belief.in_reach()):
        place = belief.place(name)
        commands.append(EXAMINE.format(name))
        if place.access in ("closed", "open"):
            commands.append((OPEN if place.access == "closed" else CLOSE).format(name))
        if place.access != "closed":
            commands += _with_hands(mind, belief, name)
    if belief.held:
        commands.append(EXAMINE.format(belief.held))
    commands += [USE.format(lamp) for lamp, place in belief.seen("desklamp") if place in belief.in_reach()]
    return commands


def _with_hands(mind: Mind, belief: Belief, place: str) -> list[str]:
    if belief.held:
        return [mind.putting(belief.held, place)]
    return [TAKE.format(name, place) for name in belief.place(place).contents or ()]
