"""Which game begins with this task and this room? Games → candidates; several trials can begin alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alfworld_sft.errors import GameFileError
from alfworld_sft.games.layout import GAME_SUFFIX, may_stand_for, read_task_folder
from alfworld_sft.games.refs import GameRef
from alfworld_sft.world import Game
from alfworld_sft.world.language import IN_ROOM, WITH_ARTICLE
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.sentence import read_task

_Key = tuple[str, str]
_MOST_LOADED = 512
"""Games kept in memory: about 100 KB each."""


class GameFinder:
    """Finds games by what they say at their start; a game is loaded when it may be one that is looked for.

    Games that may stand for those of the `split` come first: one game can be in two splits.
    """

    def __init__(self, refs: Iterable[GameRef], split: str | None = None) -> None:
        self._by_key: dict[_Key | None, list[GameRef]] = {}
        self._refs = sorted(refs, key=lambda ref: (split is not None and not may_stand_for(ref.split, split), ref))
        for ref in self._refs:
            self._by_key.setdefault(_key_of_folder(ref.id), []).append(ref)
        self._loaded: dict[GameRef, Game | None] = {}

    def find(self, task: str, opening: str, named: str | None = None) -> Iterator[Game]:
        """Yield the games whose goal and whose room these are; the one that is named, by path or id, comes first.

        A goal may be worded otherwise, and a room's furniture listed in another order. Without a task the name alone
        counts.
        """
        if not task:
            loaded = (self._load(ref) for ref in self._refs if is_named(ref.id, named))
            yield from (game for game in loaded if game is not None)
            return
        goal, furniture = read_task(task), _furniture(opening)
        key = (goal.object, goal.place or goal.lamp) if goal else None
        refs = [*self._by_key.get(key, ()), *(self._by_key.get(None, ()) if key else ())]
        for ref in sorted(refs, key=lambda ref: not is_named(ref.id, named)):
            game = self._load(ref)
            if game is None or _furniture(opening_look(game)) != furniture:
                continue
            if game.task == task or (goal is not None and read_task(game.task) == goal):
                yield game

    def _load(self, ref: GameRef) -> Game | None:
        if ref not in self._loaded:
            while len(self._loaded) >= _MOST_LOADED:
                del self._loaded[next(iter(self._loaded))]
            try:
                self._loaded[ref] = ref.load()
            except GameFileError:
                self._loaded[ref] = None
        return self._loaded[ref]


def _key_of_folder(game_id: str) -> _Key | None:
    """Return the classes of object and place that a task's folder names, None for a game of another layout."""
    folder = game_id.split("/", 1)[0]
    if read_task_folder(folder) is None:
        return None
    _, target, _, place, _ = folder.lower().split("-")
    return target, place


def _furniture(opening: str) -> frozenset[str]:
    said = IN_ROOM.parse(opening.strip())
    return frozenset(WITH_ARTICLE.parse(said[0])) if said else frozenset()


def beginning_of(task: str, opening: str) -> str:
    """Return what a game's beginning says, the same for each wording of its goal and order of the room's furniture."""
    goal, furniture = read_task(task), _furniture(opening)
    return f"{goal or task}\n{' '.join(sorted(furniture)) or opening}"


def is_named(game_id: str, named: str | None) -> bool:
    """Return whether a record that names its game, by id or by a path, names this one."""
    return named is not None and f"/{game_id}/" in f"/{named.removesuffix(GAME_SUFFIX)}/"
