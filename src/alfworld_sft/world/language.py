"""What can be said to the game, and what does it say? Every command and every sentence once, to write and to read.

The wording has two versions (`Wording`). They differ in how things are put down, and in what is arrived at: a
receptacle ("You arrive at desk 1.") or a location ("You arrive at loc 4."). Reading needs no version: no text of the
one is a text of the other with another meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Literal, NamedTuple, get_args

from alfworld_sft.types import Wording

TreatmentVerb = Literal["clean", "heat", "cool"]
CommandVerb = Literal[
    "go", "open", "close", "take", "put", "clean", "heat", "cool", "use", "slice", "examine", "look", "inventory",
    "help",
]  # fmt: skip
"""What a command does, in either version: "put" is `move` or `put`."""

_NAME = r"[^\s.,]+ \d+"
"""Objects, receptacles and locations: a class and a number."""
_SLOTS = {
    "object": _NAME,
    "receptacle": _NAME,
    "knife": _NAME,
    "thing": _NAME,  # an object or a receptacle
    "place": _NAME,  # a receptacle or a location
    "number": r"\d+",
    "condition": r"[a-z ]+",
    "treatment": "|".join(get_args(TreatmentVerb)),
    "list": r"[^.]+",  # as a `NameList` writes it
    "sight": r".+",  # one of the sentences on what a receptacle holds
}


class Pattern:
    """A text with slots, such as "open {receptacle}"; `format` and `parse` undo each other.

    `format` returns the text with a value in each slot, in their order; it raises TypeError unless there is one for
    each. `prefix` and `suffix` are what stands before the first slot and behind the last.
    """

    __slots__ = ("_fullmatch", "format", "prefix", "slots", "suffix", "template")

    def __init__(self, template: str) -> None:
        """Raises KeyError for a slot of an unknown type."""
        parts = [(literal, slot) for literal, slot, _, _ in Formatter().parse(template)]
        if parts[-1][1]:
            parts.append(("", None))
        literals = [literal for literal, _ in parts]
        self.template = template
        self.slots = tuple(slot for _, slot in parts if slot)
        self.prefix, self.suffix = literals[0], literals[-1]
        self.format: Callable[..., str] = _filler(literals)
        regex = "".join(re.escape(literal) + (f"({_SLOTS[slot]})" if slot else "") for literal, slot in parts)
        self._fullmatch = re.compile(regex).fullmatch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.template!r})"

    def parse(self, text: str) -> tuple[str, ...] | None:
        """Return the values of the slots, None for a text that is no such text."""
        match = self._fullmatch(text)
        return None if match is None else match.groups()


def _filler(literals: Sequence[str]) -> Callable[..., str]:
    """Return the function that puts one value between each two literals; f-strings, as every step formats two."""
    match literals:
        case [a]:
            return lambda: a
        case [a, b]:
            return lambda x: f"{a}{x}{b}"
        case [a, b, c]:
            return lambda x, y: f"{a}{x}{b}{y}{c}"
        case [a, b, c, d]:
            return lambda x, y, z: f"{a}{x}{b}{y}{c}{z}{d}"
    raise ValueError(f"{len(literals) - 1} slots are more than any text of the game has")


class Sentence(Pattern):
    """Something that the game says."""

    __slots__ = ()


class Command(Pattern):
    """Something that the game understands."""

    __slots__ = ("verb",)

    def __init__(self, verb: CommandVerb, template: str) -> None:
        super().__init__(template)
        self.verb: CommandVerb = verb


class NameList:
    """How the game lists names: "nothing", "a mug 1", "a mug 2, and a mug 1"; `format` and `parse` undo each other."""

    __slots__ = ("_article", "_separator")

    def __init__(self, article: str = "") -> None:
        self._article = article
        self._separator = f", {article}"

    def format(self, names: Sequence[str]) -> str:
        """Return the names as a list."""
        if not names:
            return NOTHING
        article = self._article
        if len(names) == 1:
            return article + names[0]
        return f"{article}{self._separator.join(names[:-1])}, and {article}{names[-1]}"

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the names in a list."""
        return tuple(_FIND_NAMES(text))


_FIND_NAMES = re.compile(_NAME).findall
NOTHING = "nothing"
"""A list of no names."""
WITH_ARTICLE = NameList("a ")
WITHOUT_ARTICLE = NameList()

# The commands

GO = Command("go", "go to {receptacle}")
OPEN = Command("open", "open {receptacle}")
CLOSE = Command("close", "close {receptacle}")
TAKE = Command("take", "take {object} from {receptacle}")
PUT: Mapping[Wording, Command] = {
    "move": Command("put", "move {object} to {receptacle}"),
    "put": Command("put", "put {object} in/on {receptacle}"),
}
TREAT: Mapping[TreatmentVerb, Command] = {
    verb: Command(verb, verb + " {object} with {receptacle}") for verb in get_args(TreatmentVerb)
}
USE = Command("use", "use {object}")
SLICE = Command("slice", "slice {object} with {knife}")
EXAMINE = Command("examine", "examine {thing}")
LOOK = Command("look", "look")
INVENTORY = Command("inventory", "inventory")
HELP = Command("help", "help")

COMMANDS: tuple[Command, ...] = (
    GO, OPEN, CLOSE, TAKE, *PUT.values(), *TREAT.values(), USE, SLICE, EXAMINE, LOOK, INVENTORY, HELP,
)  # fmt: skip

# The sentences: what a receptacle holds, what came of a command, what is around, what is in the hand

IS_CLOSED = Sentence("The {receptacle} is closed.")
IS_OPEN = Sentence("The {receptacle} is open. In it, you see {list}.")
HOLDS = Sentence("On the {receptacle}, you see {list}.")

ARRIVED = Sentence("You arrive at {place}. {sight}")
OPENED = Sentence("You open the {receptacle}. {sight}")
CLOSED = Sentence("You close the {receptacle}.")
TAKEN = Sentence("You pick up the {object} from the {receptacle}.")
PUT_DOWN: Mapping[Wording, Sentence] = {
    "move": Sentence("You move the {object} to the {receptacle}."),
    "put": Sentence("You put the {object} in/on the {receptacle}."),
}
TREATED = Sentence("You {treatment} the {object} using the {receptacle}.")
TURNED_ON = Sentence("You turn on the {object}.")
SLICED = Sentence("You sliced the {object} with the {knife}.")

IN_ROOM = Sentence("You are in the middle of a room. Looking quickly around you, you see {list}.")
FACING = Sentence("You are facing the {list}. Next to it, you see {list}.")

CARRYING = Sentence("You are carrying: a {object}.")
CONTAINS = Sentence("This is a normal {object}. In it, you see {list}.")
CHANGED = Sentence("This is a {condition} {object}.")
IS_ON = Sentence("This {object} is on.")
NOT_SPECIAL = Sentence("There's nothing special about {object}.")

SIGHTS: tuple[Sentence, ...] = (IS_CLOSED, IS_OPEN, HOLDS)
"""What a slot `sight` holds."""
SENTENCES: tuple[Sentence, ...] = (
    *SIGHTS, ARRIVED, OPENED, CLOSED, TAKEN, *PUT_DOWN.values(), TREATED, TURNED_ON, SLICED, IN_ROOM, FACING, CARRYING,
    CONTAINS, CHANGED, IS_ON, NOT_SPECIAL,
)  # fmt: skip

LOCATION = Pattern("loc {number}")
"""The name of a location."""

# What is always said in the same words

EMPTY_HANDED = "You are not carrying anything."
NOTHING_HAPPENS = "Nothing happens."
BANNER = "-= Welcome to TextWorld, ALFRED! =-"
TASK_PREFIX = "Your task is to: "
HELP_TEXT = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def condition(*, hot: bool = False, cool: bool = False, clean: bool = False, sliced: bool = False) -> str:
    """Return how an object is: "hot and clean sliced", or "" where it is nothing of this.

    What is only cool is "cold".
    """
    words = " and ".join(filter(None, ("hot" if hot else "cool" if cool else "", "clean" if clean else "")))
    if sliced:
        return f"{words} sliced" if words else "sliced"
    return "cold" if words == "cool" else words


class SaidCommand(NamedTuple):
    """A command understood, with the names it speaks of."""

    command: Command
    names: tuple[str, ...]


class SaidSentence(NamedTuple):
    """A sentence understood, with the values of its slots."""

    sentence: Sentence
    values: tuple[str, ...]


_BY_WORD = {command.template.partition(" ")[0]: command for command in COMMANDS}
_LONGEST_PREFIX_FIRST = sorted(((s.prefix, s) for s in SENTENCES), key=lambda pair: -len(pair[0]))


@lru_cache(maxsize=1 << 15)
def verb_of(command: str) -> CommandVerb | None:
    """Return what a command does by its first word, whatever follows; None for a word of no command."""
    found = _BY_WORD.get(command.partition(" ")[0])
    return None if found is None else found.verb


@lru_cache(maxsize=1 << 15)
def read_command(text: str) -> SaidCommand | None:
    """Understand a command of either version; None for any other text."""
    command = _BY_WORD.get(text.partition(" ")[0])
    names = command.parse(text) if command else None
    return SaidCommand(command, names) if command and names is not None else None


@lru_cache(maxsize=1 << 15)
def read_sentence(text: str) -> SaidSentence | None:
    """Understand a sentence of either version that has slots; None for any other text."""
    for prefix, sentence in _LONGEST_PREFIX_FIRST:
        if text.startswith(prefix):
            values = sentence.parse(text)
            if values is not None:
                return SaidSentence(sentence, values)
    return None
