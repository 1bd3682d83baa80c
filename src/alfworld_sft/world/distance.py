"""How far is a state from the goal? `distance` counts the commands of a shortest plan and remembers what it counted."""

from __future__ import annotations

from alfworld_sft.world.game import Game, State
from alfworld_sft.world.plan import UnsolvableError, shortest_actions

_CACHE_ENTRIES = 512
"""How many distances a game keeps: at most a few hundred KB, and enough for a group of episodes of one game."""


def distance(game: Game, state: State) -> int | None:
    """Return the length of a shortest plan from `state`: 0 where the goal holds, None where no commands can win.

    The result is exact, so it obeys `distance(s) = 1 + min(distance(s'))` over the states s' one command away.
    """
    cache = game.distance_cache
    key = _relevant(state)
    try:
        return cache[key]
    except KeyError:
        pass
    if len(cache) >= _CACHE_ENTRIES:
        cache.clear()
    cache[key] = length = _plan_length(game, state)
    return length


def _relevant(state: State) -> tuple[object, ...]:
    """Return what plans depend on. The other fields decide only what can be sliced and what a look mentions."""
    return (
        state.location,
        state.held,
        state.contents,
        state.opened,
        state.clean,
        state.hot,
        state.cool,
        state.toggled,
    )


def _plan_length(game: Game, state: State) -> int | None:
    try:
        return len(shortest_actions(game, state))
    except UnsolvableError:
        return None
