"""What does the world say of each recorded turn? The game is played again with the commands of the episode.

Three things come of it: the distance to the goal (the length of a shortest plan) before and after the command, what
the expert would do at that very state, and whether the recorded observation is what the world answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from alfworld_sft.errors import PolicyError, UserError
from alfworld_sft.games import GENERATE, GameRef, GameStream, find_games
from alfworld_sft.policies.expert.expert import Expert, ExpertPlayer
from alfworld_sft.prompts.formats import formats_that_show
from alfworld_sft.report.read import Run
from alfworld_sft.types import Episode, Exchange, View
from alfworld_sft.world import Env, Game
from alfworld_sft.world.distance import distance
from alfworld_sft.world.game import State
from alfworld_sft.world.observations import opening_look

MOST_GAMES = 256
"""Games that are kept in memory, with the distances found in them."""

FindGame: TypeAlias = "Callable[[Episode], KnownGame | None]"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One turn in the world. Distances are in commands, None where the state cannot be won from any more.

    `world_says` is the world's own answer where the episode records another one; the turns after it are not replayed.
    """

    before: int | None
    after: int | None
    expert: str | None
    world_says: str | None = None


@dataclass(slots=True)
class KnownGame:
    """A game with what was found out about it."""

    game: Game

    def distance(self, state: State) -> int | None:
        """Return how many commands a shortest plan from a state has; None where there is none."""
        return distance(self.game, state)


def replay(known: KnownGame, episode: Episode) -> list[Replayed]:
    """Return what the world says of an episode's turns, up to the first that it answers differently."""
    env, player = Env(known.game, max(1, len(episode.steps))), Expert().begin(known.game, episode.seed)
    observation = env.reset()
    seen = opening_look(known.game)
    history: list[Exchange] = []
    turns: list[Replayed] = []
    reply, possible = "", observation.admissible_commands
    for step in episode.steps:
        before = known.distance(env.game_state)
        view = View(episode.task, len(history), tuple(history), seen, observation.admissible_commands)
        expert = _decide(player, view)
        if step.observation != seen and not formats_that_show(step.observation, reply, possible, seen):
            turns.append(Replayed(None, None, None, world_says=seen))
            break
        reply, possible = step.reply.text, observation.admissible_commands
        observation = env.step(step.command)
        differs = observation.text != step.next_observation
        after = known.distance(env.game_state)
        turns.append(Replayed(before, after, expert, observation.text if differs else None))
        if differs:
            break
        history.append(Exchange(seen, step.command))
        seen = observation.text
    return turns


def game_finder(run: Run, source: str | None = None) -> FindGame:
    """Return what finds the game of an episode, or None where it is not to be had.

    Games are sought where the run's stamp says, or in `source`; raises UserError for a `source` without games.
    """
    ref_of = _as_stamped(run) if source is None else _by_id(source, _split_of(run))

    @lru_cache(maxsize=MOST_GAMES)
    def load(ref: GameRef) -> KnownGame | None:
        try:
            return KnownGame(ref.load())
        except UserError:
            return None

    def find(episode: Episode) -> KnownGame | None:
        ref = ref_of(episode)
        return load(ref) if ref is not None else None

    return find


def _decide(player: ExpertPlayer, view: View) -> str | None:
    try:
        return player.mind(view).decide().command
    except PolicyError:
        return None


def _as_stamped(run: Run) -> Callable[[Episode], GameRef | None]:
    games = run.stamped("config", "games")
    try:
        if isinstance(games, Mapping) and games.get("source") == GENERATE:
            return _generated(run, games)
        named = games.get("source") if isinstance(games, Mapping) else None
        return _by_id(named if isinstance(named, str) else None, _split_of(run))
    except UserError:
        return lambda _: None


def _split_of(run: Run) -> str:
    return str(run.stamped("games", "split") or "train")


def _by_id(source: str | None, split: str) -> Callable[[Episode], GameRef | None]:
    refs = {ref.id: ref for ref in find_games(source, split)}
    return lambda episode: refs.get(episode.game_id)


def _generated(run: Run, games: Mapping[str, object]) -> Callable[[Episode], GameRef | None]:
    types = games.get("task_types")
    seed, total = run.stamped("config", "seed"), run.stamped("config", "num_games")
    stream = GameStream(
        seed if isinstance(seed, int) else 0,
        str(games.get("split")),
        [t for t in types if isinstance(t, str)] if isinstance(types, list) else None,  # type: ignore[misc]
        str(games.get("difficulty", "normal")),
    )
    made = stream.first(total) if isinstance(total, int) else stream  # an evaluation plays the first ones, shuffled

    def find(episode: Episode) -> GameRef | None:
        ref = made.ref(episode.index)
        return ref if ref.id == episode.game_id else None

    return find
