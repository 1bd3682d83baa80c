"""What does one text say? An observation → `Reading`, a list of admissible commands → `Offers`.

Both are pure and cached: texts repeat themselves within an episode (each prompt shows the history again) and
between episodes. Both wordings of the game are understood ("move x to y", and "put x in/on y" before it).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Access = Literal["flat", "closed", "open"]
"""How a receptacle gives what it holds: it cannot be opened and needs not be, or it is closed or open now."""

ReadingKind = Literal[
    "room", "arrive", "open", "close", "take", "put", "treat", "use", "here", "sight", "hand", "object", "refused",
    "other",
]  # fmt: skip


class Reading(NamedTuple):
    """What an observation tells. Only the fields of its kind are set.

    room: `names` are the receptacles of the room. arrive, open, sight: `place` with `access` and `contents` (None
    where it is closed). take, put, treat: `object` and `place`, and `how` it was treated. use: the lamp `object`.
    here: `names` are the receptacles in reach. hand: `object` is held, "" for none. arrive: `how` is the
    location's name as the game tells it.
    """

    kind: ReadingKind
    place: str = ""
    object: str = ""
    access: Access | None = None
    contents: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    how: str = ""


_NAMED = re.compile(r"\ban? ([^\s,.]+ \d+)")
_NAMES = re.compile(r"([^\s,.]+ \d+)")
_ARRIVAL = re.compile(r"You arrive at ([^.]+)\. (.*)", re.DOTALL)
_OPENING = re.compile(r"You open the ([^.]+)\. (.*)", re.DOTALL)
_CLOSED = re.compile(r"The (.+) is closed\.")
_OPEN = re.compile(r"The (.+) is open\. In it, you see (.*)\.", re.DOTALL)
_FLAT = re.compile(r"On the (.+?), you see (.*)\.", re.DOTALL)
_TAKEN = re.compile(r"You pick up the (.+) from the (.+)\.")
_MOVED = re.compile(r"You move the (.+) to the (.+)\.")
_PUT = re.compile(r"You put the (.+) in/on the (.+)\.")
_TREATED = re.compile(r"You (clean|heat|cool) the (.+) using the (.+)\.")
_CLOSING = re.compile(r"You close the (.+)\.")
_USED = re.compile(r"You turn on the (.+)\.")
_CARRYING = re.compile(r"You are carrying: an? (.+)\.")
_OBJECT = re.compile(r"This is a ([a-z ]*?)([^\s.]+ \d+)\.(?: |$)")
_PLAIN = re.compile(r"There's nothing special about (.+)\.")
_FACING = re.compile(r"You are facing the (.*)\. Next to it", re.DOTALL)
_ROOM = "You are in the middle of a room."
_REFUSED = Reading("refused")
_OTHER = Reading("other")


@lru_cache(maxsize=1 << 15)
def read_observation(text: str) -> Reading:
    """Understand one observation; what tells nothing of use is of the kind "other"."""
    if text == "Nothing happens.":
        return _REFUSED
    if text.startswith(_ROOM):
        names = tuple(_NAMED.findall(text))
        return Reading("room", names=names) if names else _OTHER
    match = _ARRIVAL.fullmatch(text)
    if match is not None:
        sight = _sight(match[2])
        return sight._replace(kind="arrive", how=match[1]) if sight else _OTHER
    match = _OPENING.fullmatch(text)
    if match is not None:
        sight = _sight(match[2])
        return sight._replace(kind="open") if sight else _OTHER
    return _sight(text) or _deed(text) or _OTHER


def _sight(text: str) -> Reading | None:
    match = _FLAT.fullmatch(text)
    if match is not None:
        return Reading("sight", match[1], access="flat", contents=tuple(_NAMED.findall(match[2])))
    match = _OPEN.fullmatch(text)
    if match is not None:
        return Reading("sight", match[1], access="open", contents=tuple(_NAMED.findall(match[2])))
    match = _CLOSED.fullmatch(text)
    return None if match is None else Reading("sight", match[1], access="closed")


def _deed(text: str) -> Reading | None:
    """Read what was done, or what the hand holds."""
    if match := _TAKEN.fullmatch(text):
        return Reading("take", match[2], match[1])
    if match := _MOVED.fullmatch(text) or _PUT.fullmatch(text):
        return Reading("put", match[2], match[1])
    if match := _TREATED.fullmatch(text):
        return Reading("treat", match[3], match[2], how=match[1])
    if match := _CLOSING.fullmatch(text):
        return Reading("close", match[1])
    if match := _USED.fullmatch(text):
        return Reading("use", object=match[1])
    if match := _FACING.match(text):
        return Reading("here", names=tuple(_NAMES.findall(match[1])))
    if match := _CARRYING.fullmatch(text):
        return Reading("hand", object=match[1])
    if text == "You are not carrying anything.":
        return Reading("hand")
    if match := _PLAIN.fullmatch(text):
        return Reading("object", object=match[1])
    if match := _OBJECT.match(text):
        return Reading("object", object=match[2], how=match[1].strip())
    return None


class Offers(NamedTuple):
    """What the admissible commands tell of the place and the hand.

    `put` and `treat` hold pairs (object, receptacle), `take` too; `examine` names receptacles in reach and the
    held object alike.
    """

    go: tuple[str, ...]
    examine: tuple[str, ...]
    open: tuple[str, ...]
    close: tuple[str, ...]
    take: tuple[tuple[str, str], ...]
    put: tuple[tuple[str, str], ...]
    treat: tuple[tuple[str, str], ...]
    use: tuple[str, ...]

    @property
    def held(self) -> str | None:
        """What the hand holds as far as the offers tell."""
        for object_name, _ in (*self.put, *self.treat):
            return object_name
        return None


@lru_cache(maxsize=1 << 14)
def read_offers(commands: tuple[str, ...]) -> Offers:
    """Sort the admissible commands by what they tell."""
    go: list[str] = []
    single: dict[str, list[str]] = {"examine": [], "open": [], "close": [], "use": []}
    take: list[tuple[str, str]] = []
    put: list[tuple[str, str]] = []
    treat: list[tuple[str, str]] = []
    for command in commands:
        if command.startswith("go to "):
            go.append(command[6:])
            continue
        verb, _, rest = command.partition(" ")
        if verb in single:
            single[verb].append(rest)
        elif verb == "take":
            take.append(_pair(rest, " from "))
        elif verb == "move":
            put.append(_pair(rest, " to "))
        elif verb == "put":
            put.append(_pair(rest, " in/on "))
        elif verb in ("clean", "heat", "cool"):
            treat.append(_pair(rest, " with "))
    one = {verb: tuple(names) for verb, names in single.items()}
    return Offers(
        tuple(go), one["examine"], one["open"], one["close"], tuple(take), tuple(put), tuple(treat), one["use"]
    )


def _pair(rest: str, word: str) -> tuple[str, str]:
    first, _, second = rest.partition(word)
    return first, second
