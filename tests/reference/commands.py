"""Which commands are tried? Seeded sequences that reach the rare cases of the text world.

A *motif* is a chain of commands with an aim, written as a generator: it reads the latest reply from the `Situation`
after each `yield` and picks among the admissible commands; where a command is not to be had, it goes on without it. A
`Player` mixes motifs, random and invalid commands into one sequence for one game, and says of each which kind it is.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from tests.reference.client import Reply
from tests.reference.facts import Facts
from tests.reference.invalid import invalid_command

Kind = Literal["goal", "aimed", "random", "invalid"]

INVALID_SHARE = 1 / 8
KNIVES = ("knife", "butterknife")
SLICEABLE = ("apple", "bread", "egg", "lettuce", "potato", "tomato")
HOT_AND_COLD = ("apple", "bread", "cup", "egg", "mug", "pan", "plate", "potato", "tomato")
WASHABLE = (*HOT_AND_COLD, "cloth", "dishsponge", "fork", "kettle", "ladle", "lettuce", "soapbar", "spatula", "spoon")
CONTAINERS = ("bowl", "box", "cup", "mug", "pan", "plate", "pot")
LAMPS = ("desklamp", "floorlamp")
VERB_WEIGHTS = {
    "clean": 8.0,
    "close": 1.5,
    "cool": 8.0,
    "examine": 2.0,
    "go": 5.0,
    "heat": 8.0,
    "help": 0.2,
    "inventory": 0.5,
    "look": 1.0,
    "move": 5.0,
    "open": 5.0,
    "put": 5.0,
    "slice": 8.0,
    "take": 6.0,
    "use": 6.0,
}


@dataclass(frozen=True, slots=True)
class Play:
    """One command to try, and why it is tried."""

    kind: Kind
    command: str


@dataclass
class Situation:
    """What a motif sees: the hidden facts of the first state, the latest reply, and a source of chance."""

    facts: Facts
    rng: random.Random
    reply: Reply
    seen: set[str] = field(default_factory=set)

    def can(self, command: str) -> bool:
        """Whether the command is admissible now."""
        return command in self.reply.admissible_commands

    def starting(self, *starts: str) -> list[str]:
        """The admissible commands that start so."""
        return [command for command in self.reply.admissible_commands if command.startswith(starts)]

    def if_can(self, *commands: str) -> Iterator[str]:
        """Each command in turn that is admissible when its turn comes."""
        for command in commands:
            if self.can(command):
                yield command

    def one_of(self, *starts: str) -> Iterator[str]:
        """One admissible command that starts so, if there is one."""
        found = self.starting(*starts)
        if found:
            yield self.rng.choice(found)

    @property
    def held(self) -> str | None:
        """The object in the hand: the only one that can be examined."""
        things = (command.removeprefix("examine ") for command in self.starting("examine "))
        return next((thing for thing in things if thing not in self.facts.receptacles), None)

    def shuffled(self, things: list[str]) -> list[str]:
        """The things in a chance order."""
        return self.rng.sample(things, k=len(things))


Motif = Callable[[Situation], Iterator[str]]


class Player:
    """Chooses the commands of one game: `play` gives the next, `saw` takes the reply to it.

    With `goal_first` the game goes on after it is won; otherwise it is won, if at all, in a world turned upside down.
    """

    def __init__(self, facts: Facts, first: Reply, *, seed: int | str, steps: int, goal_first: bool) -> None:
        self._here = Situation(facts, random.Random(seed), first)
        self._goal_at = 0 if goal_first else steps // 2
        self._count = 0
        self._kind: Kind = "random"
        self._commands: Iterator[str] = iter(())
        self.saw(first)

    def play(self) -> Play:
        """The next command to try."""
        here, now = self._here, self._count
        self._count += 1
        if now == self._goal_at:
            self._kind, self._commands = "goal", reach_goal(here)
        if here.rng.random() < INVALID_SHARE:
            return Play("invalid", invalid_command(here.rng, here.reply.admissible_commands, sorted(here.seen)))
        while (command := next(self._commands, None)) is None:
            self._kind, self._commands = self._begin()
        return Play(self._kind, command)

    def saw(self, reply: Reply) -> None:
        """Take the reply to the last command."""
        self._here.reply = reply
        self._here.seen.update(reply.admissible_commands)

    def _begin(self) -> tuple[Kind, Iterator[str]]:
        rng = self._here.rng
        if rng.random() < 0.25:
            return "random", islice(at_random(self._here), rng.randint(2, 6))
        return "aimed", rng.choice(AIMS)(self._here)


# --- Steps that motifs share -----------------------------------------------------------------------------------------


def visit(here: Situation, receptacle: str) -> Iterator[str]:
    """Be at the receptacle, and have it open."""
    yield from here.if_can(f"go to {receptacle}", f"open {receptacle}")


def put_down(here: Situation) -> Iterator[str]:
    """Empty the hand, here or at one of a few other places."""
    for receptacle in here.shuffled(list(here.facts.receptacles))[:4]:
        if here.held is None:
            return
        yield from here.one_of("move ", "put ")
        if here.held is not None:
            yield from visit(here, receptacle)


def fetch(here: Situation, thing: str) -> Iterator[str]:
    """Hold the thing, if it still lies where it lay at first."""
    if here.held == thing:
        return
    yield from put_down(here)
    for receptacle in here.facts.holders.get(thing, ()):
        yield from visit(here, receptacle)
        yield from here.if_can(f"take {thing} from {receptacle}")
        if here.held == thing:
            return


def fetch_one(here: Situation, *classes: str) -> Iterator[str]:
    """Hold something of one of the classes."""
    things = [thing for thing in here.facts.of_class(*classes) if thing in here.facts.holders]
    if things:
        yield from fetch(here, here.rng.choice(things))


def visit_one(here: Situation, *classes: str, opened: bool = True) -> Iterator[str]:
    """Be at a receptacle of one of the classes."""
    places = [place for place in here.facts.of_class(*classes) if place in here.facts.receptacles]
    if places:
        place = here.rng.choice(places)
        yield from visit(here, place) if opened else here.if_can(f"go to {place}")


def place_into(here: Situation, thing: str, receptacle: str) -> Iterator[str]:
    """Put the held thing there, in the words of either grammar."""
    yield from here.if_can(f"move {thing} to {receptacle}", f"put {thing} in/on {receptacle}")


def inspect(here: Situation) -> Iterator[str]:
    """Look at what is in the hand."""
    if here.held is not None:
        yield f"examine {here.held}"


# --- The goal --------------------------------------------------------------------------------------------------------


def reach_goal(here: Situation) -> Iterator[str]:
    """The stored walkthrough if the file has one in displayed names, otherwise what an expert would do."""
    walkthrough = here.facts.walkthrough
    if walkthrough and not any("_bar_" in command for command in walkthrough):
        yield from (_in_this_grammar(here, command) for command in walkthrough)
    else:
        yield from _like_an_expert(here)


def _in_this_grammar(here: Situation, command: str) -> str:
    older = re.sub(r"^move (.+) to (.+)$", r"put \1 in/on \2", command)
    return older if here.can(older) else command


def _like_an_expert(here: Situation) -> Iterator[str]:
    goal = here.facts.goal
    if goal.lamp:
        lamps = here.facts.of_class(goal.lamp)
        yield from fetch_one(here, goal.target)
        for lamp in lamps:
            for receptacle in here.facts.holders.get(lamp, ()):
                yield from here.if_can(f"go to {receptacle}", f"use {lamp}")
        return
    places = here.facts.of_class(goal.receptacle)
    if not places:
        return
    place = here.rng.choice(places)
    things = here.shuffled([thing for thing in here.facts.of_class(goal.target) if thing in here.facts.holders])
    for thing in things[: 2 if goal.task_type == "pick_two_obj_and_place" else 1]:
        yield from fetch(here, thing)
        yield from _treat(here, goal.task_type)
        yield from visit(here, place)
        yield from place_into(here, thing, place)


def _treat(here: Situation, task_type: str) -> Iterator[str]:
    verb, *tools = {
        "pick_clean_then_place_in_recep": ("clean ", "sinkbasin", "sink"),
        "pick_heat_then_place_in_recep": ("heat ", "microwave"),
        "pick_cool_then_place_in_recep": ("cool ", "fridge"),
    }.get(task_type, ("",))
    if tools:
        yield from visit_one(here, *tools, opened=False)
        yield from here.one_of(verb)


# --- The aims --------------------------------------------------------------------------------------------------------


def shuttle(here: Situation) -> Iterator[str]:
    """Carry an object between receptacles that share a location, and look each time."""
    neighbours = here.facts.neighbours
    shared = [(t, r) for t, holders in here.facts.holders.items() for r in holders if neighbours.get(r)]
    if not shared:
        return
    thing, home = here.rng.choice(shared)
    away = here.rng.choice(neighbours[home])
    yield from put_down(here)
    yield from here.if_can(f"go to {home}", f"open {home}", f"open {away}", f"take {thing} from {home}", "look")
    for receptacle, other in ((away, home), (home, away)):
        yield from place_into(here, thing, receptacle)
        yield from here.if_can("look", f"examine {other}", f"take {thing} from {receptacle}", "look")
    yield from here.one_of(f"move {thing} ", f"put {thing} ")
    yield from here.if_can("look")


def take_twice(here: Situation) -> Iterator[str]:
    """Take an object from one of the receptacles that it is in, put it elsewhere, and take it from another."""
    doubled = [thing for thing, holders in here.facts.holders.items() if len(holders) > 1]
    if not doubled:
        return
    thing = here.rng.choice(doubled)
    yield from fetch(here, thing)
    yield from here.if_can("inventory")
    for receptacle in here.facts.holders[thing]:
        yield from here.if_can(f"examine {receptacle}")
    yield from here.one_of(f"move {thing} ", f"put {thing} ")
    for receptacle in here.facts.holders[thing]:
        yield from visit(here, receptacle)
        yield from here.if_can(f"take {thing} from {receptacle}", "look")
        yield from here.one_of(f"move {thing} ", f"put {thing} ")


def heat_and_cool(here: Situation) -> Iterator[str]:
    """Heat, cool, heat again (or the other way round), wash, and look each time what has become of the thing."""
    yield from fetch_one(here, *HOT_AND_COLD)
    tools = [("microwave", "heat "), ("fridge", "cool ")]
    here.rng.shuffle(tools)
    for tool, verb in (*tools, tools[0]):
        yield from visit_one(here, tool, opened=here.rng.random() < 0.5)
        yield from here.one_of(verb)
        yield from inspect(here)
    yield from here.one_of("heat ", "cool ")
    yield from visit_one(here, "sinkbasin", opened=False)
    yield from here.one_of("clean ")
    yield from inspect(here)
    yield from here.one_of("move ", "put ")


def wash(here: Situation) -> Iterator[str]:
    """Clean a thing twice; try the bathtub too."""
    yield from fetch_one(here, *WASHABLE)
    yield from visit_one(here, "sinkbasin", "sink", "bathtubbasin", opened=False)
    yield from here.one_of("clean ")
    yield from inspect(here)
    yield from here.one_of("clean ")
    yield from here.one_of("move ", "put ")


def slice_up(here: Situation) -> Iterator[str]:
    """Slice with a knife in the hand, twice; then take what was sliced, wash it, heat it, cool it."""
    yield from fetch_one(here, *KNIVES)
    food = [thing for thing in here.facts.of_class(*SLICEABLE) if thing in here.facts.holders]
    if here.held is None or not food:
        return
    thing = here.rng.choice(food)
    for receptacle in here.facts.holders[thing]:
        yield from visit(here, receptacle)
        yield from here.one_of(f"slice {thing} ")
        yield from here.one_of("slice ")
    yield from inspect(here)
    yield from here.one_of("move ", "put ")
    yield from here.one_of(f"take {thing} ")
    yield from inspect(here)
    for place, verb in here.rng.sample((("sinkbasin", "clean "), ("microwave", "heat "), ("fridge", "cool ")), k=2):
        yield from visit_one(here, place, opened=False)
        yield from here.one_of(verb)
        yield from inspect(here)


def use_lamp(here: Situation) -> Iterator[str]:
    """Use a lamp, twice, with something in the hand or without; then pick the lamp up."""
    lamps = [thing for thing in here.facts.of_class(*LAMPS) if thing in here.facts.holders]
    if not lamps:
        return
    lamp = here.rng.choice(lamps)
    if here.rng.random() < 0.6:
        yield from fetch(here, here.rng.choice(sorted(here.facts.holders)))
    for receptacle in here.facts.holders[lamp]:
        yield from here.if_can(f"go to {receptacle}", f"use {lamp}", f"use {lamp}", "look")
    yield from inspect(here)
    yield from put_down(here)
    yield from here.one_of(f"take {lamp} ")
    yield from inspect(here)


def hold_a_container(here: Situation) -> Iterator[str]:
    """Examine an object that can hold others, before and after it is washed and moved."""
    yield from fetch_one(here, *CONTAINERS)
    yield from inspect(here)
    yield from visit_one(here, "sinkbasin", "microwave", "fridge")
    yield from here.one_of("clean ", "heat ", "cool ")
    yield from inspect(here)
    yield from here.one_of("move ", "put ")
    yield from here.one_of("examine ")


def doors(here: Situation) -> Iterator[str]:
    """Open, look inside, close, look, open again, and try to take through a closed door."""
    if not here.facts.openable:
        return
    place = here.rng.choice(sorted(here.facts.openable))
    examine = f"examine {place}"
    yield from here.if_can(f"go to {place}", examine, f"open {place}", examine)
    yield from here.one_of("take ", "move ", "put ")
    yield from here.if_can(f"close {place}", examine, "look", f"open {place}")
    yield from here.one_of("move ", "put ", "take ")


def wander(here: Situation) -> Iterator[str]:
    """Do a little of everything: rare verbs first, and a look after each change."""
    for _ in range(here.rng.randint(4, 10)):
        by_verb: dict[str, list[str]] = {}
        for command in here.reply.admissible_commands:
            by_verb.setdefault(command.split(" ", 1)[0], []).append(command)
        verbs = sorted(by_verb)
        verb = here.rng.choices(verbs, [VERB_WEIGHTS[verb] for verb in verbs])[0]
        yield here.rng.choice(by_verb[verb])
        if verb in {"take", "move", "put", "use"} and here.rng.random() < 0.5:
            yield from here.if_can("look")


def at_random(here: Situation) -> Iterator[str]:
    """Any admissible command, for ever."""
    while True:
        yield here.rng.choice(here.reply.admissible_commands)


AIMS: tuple[Motif, ...] = (
    shuttle,
    shuttle,
    take_twice,
    heat_and_cool,
    wash,
    slice_up,
    use_lamp,
    hold_a_container,
    doors,
    wander,
)
