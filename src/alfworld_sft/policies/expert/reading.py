"""What does one text say? An observation → `Reading`, a list of admissible commands → `Offers`.

Both are pure and cached: texts repeat themselves within an episode (each prompt shows the history again) and
between episodes. Both versions of the game's wording are understood.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from alfworld_sft.world.language import (
    ARRIVED,
    CARRYING,
    CHANGED,
    CLOSED,
    CONTAINS,
    EMPTY_HANDED,
    FACING,
    HOLDS,
    IN_ROOM,
    IS_CLOSED,
    IS_OPEN,
    NOT_SPECIAL,
    NOTHING_HAPPENS,
    OPENED,
    PUT_DOWN,
    TAKEN,
    TREAT,
    TREATED,
    TURNED_ON,
    WITH_ARTICLE,
    WITHOUT_ARTICLE,
    Sentence,
    read_command,
    read_sentence,
)

Access = Literal["flat", "closed", "open"]
"""How a receptacle gives what it holds: it cannot be opened and needs not be, or it is closed or open now."""

ReadingKind = Literal[
    "room", "arrive", "open", "close", "take", "put", "treat", "use", "here", "sight", "hand", "object", "refused",
    "other",
]  # fmt: skip


class Reading(NamedTuple):
    """The content of an observation. Only the fields of its kind are set.

    room: `names` are the receptacles of the room. arrive, open, sight: `place` with `access` and `contents` (None
    where it is closed). take, put, treat: `object` and `place`, and `how` it was treated. use: the lamp `object`.
    here: `names` are the receptacles in reach. hand: `object` is held, "" for none. arrive: `how` is the
    location's name as the game prints it.
    """

    kind: ReadingKind
    place: str = ""
    object: str = ""
    access: Access | None = None
    contents: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    how: str = ""


_REFUSED = Reading("refused")
_OTHER = Reading("other")


@lru_cache(maxsize=1 << 15)
def read_observation(text: str) -> Reading:
    """Parse one observation; one without useful content has the kind "other"."""
    if text.startswith(NOTHING_HAPPENS):  # some formats add advice
        return _REFUSED
    if text == EMPTY_HANDED:
        return Reading("hand")
    said = read_sentence(text)
    read = _READERS.get(said.sentence) if said else None
    return read(*said.values) if said and read else _OTHER


def _sight(place: str, access: Access, listed: str) -> Reading:
    return Reading("sight", place, access=access, contents=WITH_ARTICLE.parse(listed))


def _read_arrival(location: str, sight: str) -> Reading:
    seen = read_observation(sight)
    return seen._replace(kind="arrive", how=location) if seen.kind == "sight" else _OTHER


def _read_opening(_: str, sight: str) -> Reading:
    seen = read_observation(sight)
    return seen._replace(kind="open") if seen.kind == "sight" else _OTHER


def _room(listed: str) -> Reading:
    names = WITH_ARTICLE.parse(listed)
    return Reading("room", names=names) if names else _OTHER


_READERS: Mapping[Sentence, Callable[..., Reading]] = {
    IN_ROOM: _room,
    ARRIVED: _read_arrival,
    OPENED: _read_opening,
    HOLDS: lambda place, listed: _sight(place, "flat", listed),
    IS_OPEN: lambda place, listed: _sight(place, "open", listed),
    IS_CLOSED: lambda place: Reading("sight", place, access="closed"),
    TAKEN: lambda name, place: Reading("take", place, name),
    PUT_DOWN["move"]: lambda name, place: Reading("put", place, name),
    PUT_DOWN["put"]: lambda name, place: Reading("put", place, name),
    TREATED: lambda verb, name, place: Reading("treat", place, name, how=verb),
    CLOSED: lambda place: Reading("close", place),
    TURNED_ON: lambda name: Reading("use", object=name),
    FACING: lambda here, _: Reading("here", names=WITHOUT_ARTICLE.parse(here)),
    CARRYING: lambda name: Reading("hand", object=name),
    NOT_SPECIAL: lambda name: Reading("object", object=name),
    CONTAINS: lambda name, _: Reading("object", object=name, how="normal"),
    CHANGED: lambda how, name: Reading("object", object=name, how=how),
}
"""How the slots of each useful sentence are read."""


class Offers(NamedTuple):
    """What the admissible commands show about the place and the hand.

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
        """What the hand holds, as far as the commands show."""
        for object_name, _ in (*self.put, *self.treat):
            return object_name
        return None


@lru_cache(maxsize=1 << 14)
def read_offers(commands: tuple[str, ...]) -> Offers:
    """Sort the admissible commands by what they show."""
    one: dict[str, list[str]] = defaultdict(list)
    two: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text in commands:
        said = read_command(text)
        if said is None:
            continue
        command, names = said
        if len(names) == 1:
            one[command.verb].append(names[0])
        elif len(names) == 2:
            two["treat" if command.verb in TREAT else command.verb].append((names[0], names[1]))
    return Offers(
        go=tuple(one["go"]),
        examine=tuple(one["examine"]),
        open=tuple(one["open"]),
        close=tuple(one["close"]),
        take=tuple(two["take"]),
        put=tuple(two["put"]),
        treat=tuple(two["treat"]),
        use=tuple(one["use"]),
    )
