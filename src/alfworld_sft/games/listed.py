"""Which games are at hand, by id? Those of named sources, or all that this machine has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alfworld_sft.errors import GamesNotFoundError
from alfworld_sft.games.layout import EVAL_SPLITS
from alfworld_sft.games.refs import GameRef
from alfworld_sft.games.sources import EMBEDDED, find_all_games


@dataclass(frozen=True, slots=True)
class ListedGames:
    """Games that lie somewhere, by id; of several with one id that of the episode's split is preferred."""

    by_id: Mapping[str, Sequence[GameRef]]

    @property
    def refs(self) -> list[GameRef]:
        """All of them."""
        return [ref for refs in self.by_id.values() for ref in refs]

    def ref(self, game_id: str, split: str, index: int) -> GameRef | None:
        """Return the game of an episode, None where it is unknown."""
        return min(self.by_id.get(game_id, ()), key=lambda ref: ref.split != split, default=None)

    @property
    def evaluation_games(self) -> frozenset[str]:
        """The ids of the games that results are reported on, and that are no training games as well."""
        splits = {game_id: {ref.split for ref in refs} for game_id, refs in self.by_id.items()}
        return frozenset(game_id for game_id, found in splits.items() if found <= EVAL_SPLITS)


def list_games(sources: Iterable[str | None]) -> ListedGames:
    """Return the games of all sources, the first ones preferred; raises GamesNotFoundError for a source without any."""
    by_id: dict[str, list[GameRef]] = {}
    for source in dict.fromkeys(sources):
        for games in find_all_games(source):
            for ref in games:
                by_id.setdefault(ref.id, []).append(ref)
    return ListedGames(by_id)


def known_games(named: Sequence[str]) -> ListedGames:
    """Return the games of the named sources, or else all that are at hand: $ALFWORLD_DATA's and the embedded ones."""
    return list_games(named) if named else games_at_hand([None])


def games_at_hand(sources: Sequence[str | None]) -> ListedGames:
    """Return the games of the sources that can be read, and the embedded ones."""
    readable: list[str | None] = []
    for source in sources:
        try:
            list_games([source])
        except GamesNotFoundError:
            continue
        readable.append(source)
    return list_games([*readable, EMBEDDED])
