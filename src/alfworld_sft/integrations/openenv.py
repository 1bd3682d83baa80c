"""How does OpenEnv play our games? An environment with OpenEnv's task API, and the server of `alfworld-sft serve`.

Written for openenv 0.10. Each web socket is a session with an environment of its own; all of them share one
`Catalogue`, so that a game is read once.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, ConcurrencyConfig, EnvironmentMetadata, Observation, State
from pydantic import Field

from alfworld_sft import __version__
from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.games import Games, ShuffledGames, check_split
from alfworld_sft.integrations.pool import load_once
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import MAX_STEPS, MOST_STEPS, TaskType
from alfworld_sft.world import Env, Game
from alfworld_sft.world import Observation as Seen

logger = logging.getLogger(__name__)

NAME = "alfworld"
"""The environment's name, which the paths of the task API begin with."""
MAX_MESSAGE_BYTES = 16 * 2**20
"""The longest message of a client; a longer one closes its connection (web socket status 1009)."""


class CommandAction(Action):
    """One command of the game, as in "go to desk 1"; the game answers one that is not admissible, too."""

    command: str = Field(description="The command, such as one of the last observation's admissible_commands.")


class GameObservation(Observation):
    """What the player receives. `reward` is 1.0 on the step that reaches the goal, else 0.0, and None after a reset."""

    text: str = Field(description="The game's words; after a reset the opening, with the task in its last sentence.")
    task: str = Field(description="The goal in one sentence.")
    admissible_commands: list[str] = Field(description="All commands that the game would execute now, sorted.")
    won: bool = Field(description="Whether the goal is reached.")
    truncated: bool = Field(description="Whether the step limit ended the episode.")


class GameState(State):
    """Which game is being played; all None before the first reset."""

    split: str | None = Field(None, description="The game's split.")
    index: int | None = Field(None, description="The game's place in its split, from 0.")
    game_id: str | None = Field(None, description="The game's folder: TASK/TRIAL.")
    task_type: TaskType | None = Field(None, description="One of ALFWorld's six task types.")
    task: str | None = Field(None, description="The goal in one sentence.")
    max_steps: int | None = Field(None, description="The episode's step limit.")


class Catalogue:
    """The games that a server offers, by split and index; safe to share between threads.

    `default_split` is that of a reset which names none. Raises UserError where the games have no such split.
    """

    def __init__(self, found: Sequence[Games], default_split: str | None = None) -> None:
        self.games_by_split = {games.split: games for games in found if len(games)}
        self.default_split = default_split or next(iter(self.games_by_split))
        self.games(self.default_split)
        self._orders: dict[str, tuple[itertools.count[int], ShuffledGames]] = {
            split: (itertools.count(), games.shuffled(0)) for split, games in self.games_by_split.items()
        }
        self._order_lock = threading.Lock()

    def games(self, split: str | None) -> Games:
        """Return the games of a split, None for the default one; raises UserError where there are none."""
        name = split or self.default_split
        if name not in self.games_by_split:
            check_split(name)
            raise UserError(f"there are no games of the split {name!r} here, only of {', '.join(self.games_by_split)}")
        return self.games_by_split[name]

    def choose(self, split: str | None, index: int | None, seed: int | None) -> int:
        """Return the index of the game to play: the one named, or the seed's.

        Without either it is the next in an order that all sessions share, in which each game comes once before any
        comes again. Raises UserError for an index that the split does not have.
        """
        games = self.games(split)
        if index is not None:
            if not 0 <= index < len(games):
                raise UserError(f"there is no game {index} of the split {games.split!r}: it has 0 to {len(games) - 1}")
            return index
        if seed is not None:
            return derive_seed(seed, "games", games.split) % len(games)
        count, order = self._orders[games.split]
        with self._order_lock:
            ref = order.ref(next(count))
        return games.refs.index(ref)

    def load(self, split: str | None, index: int) -> Game:
        """Read a game, or take it from memory; raises GameFileError where its file has changed or gone."""
        return load_once(self.games(split).refs[index])


class AlfworldEnvironment(Environment[CommandAction, GameObservation, GameState]):
    """One session: plays one game after the other, and answers for the task API.

    Raises UserError, whose one line reaches the client, for whatever it cannot do.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._env: Env | None = None
        self._over = False
        self._closed = False
        self._state = GameState()

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        max_steps: int | None = None,
        **unknown: Any,
    ) -> GameObservation:
        """Begin the game that `split` and `index` name, or that `seed` chooses, or else the next one."""
        self._check_open()
        if unknown:
            known = "seed, episode_id, split, index and max_steps"
            raise UserError(f"reset has no argument {', '.join(map(repr, unknown))}; there are {known}")
        _check_type("split", split, str)
        for name, value in (("seed", seed), ("index", index), ("max_steps", max_steps)):
            _check_type(name, value, int)
        limit = MAX_STEPS if max_steps is None else max_steps
        if not 1 <= limit <= MOST_STEPS:
            raise UserError(f"max_steps must be between 1 and {MOST_STEPS}, not {limit}")
        chosen = self._catalogue.choose(split, index, seed)
        game = self._catalogue.load(split, chosen)
        self._env = Env(game, limit)
        self._state = GameState(
            episode_id=str(episode_id) if episode_id is not None else None,
            split=self._catalogue.games(split).split,
            index=chosen,
            game_id=game.id,
            task_type=game.task_type,
            task=game.task,
            max_steps=limit,
        )
        return self._observe(self._env.reset(), reward=None)

    def step(self, action: CommandAction, timeout_s: float | None = None, **_: Any) -> GameObservation:
        """Play one command; a step takes microseconds, so `timeout_s` has no effect."""
        self._check_open()
        if self._env is None:
            raise UserError("no game has begun; send a reset first, on the same web socket")
        if self._over:
            raise UserError("the episode is over; send a reset to begin another")
        seen = self._env.step(action.command)
        return self._observe(seen, reward=float(seen.won))

    async def step_async(self, action: CommandAction, timeout_s: float | None = None, **_: Any) -> GameObservation:
        """Play one command in the server's own thread: handing it to another takes longer than the step."""
        return self.step(action)

    @property
    def state(self) -> GameState:
        """Which game is being played, and how many steps were taken."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Describe the environment."""
        return EnvironmentMetadata(
            name=NAME,
            description="ALFWorld's household text games, played in pure Python by alfworld-sft.",
            version=__version__,
        )

    def close(self) -> None:
        """End the session: OpenEnv closes one that was idle too long, and leaves its web socket open."""
        self._closed = True
        self._env = None

    def list_splits(self) -> list[dict[str, str]]:
        """Return each split's name and its type as OpenEnv knows it."""
        kinds = {"train": "train", "valid_train": "train"}
        return [{"name": name, "type": kinds.get(name, "validation")} for name in self._catalogue.games_by_split]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return all tasks of a split: index, game and task type."""
        return self.get_task_range(split)

    def num_tasks(self, split: str) -> int:
        """Return the number of a split's games."""
        return len(self._catalogue.games(split))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return one task; raises UserError for an index that the split does not have."""
        return _task(self._catalogue.games(split), self._catalogue.choose(split, index, None))

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """Return the tasks from `start` to before `stop`, with a slice's meaning of both."""
        games = self._catalogue.games(split)
        return [_task(games, index) for index in range(len(games))[start:stop]]

    def _observe(self, seen: Seen, reward: float | None) -> GameObservation:
        self._over = seen.over
        assert self._env is not None
        self._state.step_count = self._env.steps
        return GameObservation(
            text=seen.text,
            task=self._env.game.task,
            admissible_commands=list(seen.admissible_commands),
            won=seen.won,
            truncated=seen.truncated,
            done=seen.over,
            reward=reward,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("the session was idle for too long, and its place given away; connect again")


def _check_type(name: str, value: object, kind: type) -> None:
    """Raise UserError where an argument of a client's reset is of another type; None counts as not given."""
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise UserError(f"{name} must be {'an integer' if kind is int else 'a string'}, not {repr(value)[:80]}")


def _task(games: Games, index: int) -> dict[str, Any]:
    ref = games.refs[index]
    return {"id": ref.id, "split": games.split, "index": index, "task_type": ref.task_type}


def make_app(catalogue: Catalogue, max_envs: int, idle_timeout_s: float) -> FastAPI:
    """Return OpenEnv's web application over these games, for up to `max_envs` sessions at once."""
    app: FastAPI = create_app(
        partial(AlfworldEnvironment, catalogue),
        CommandAction,
        GameObservation,
        env_name=NAME,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=max_envs, session_timeout=idle_timeout_s),
        state_cls=GameState,
    )
    app.add_exception_handler(UserError, _bad_request)
    return app


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=400)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, on a free port where `port` is 0; raises UserError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os_reason(error).partition(" (while")[0]  # where Python repeats the address
        raise UserError(
            f"cannot listen on {host}, port {port}: {reason}; name others with --host and --port (0 takes a free port)"
        ) from None


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM.

    The server sends no pings: a client that generates for minutes without reading would fail to answer them, and be
    cut off. What a client that vanished holds is freed when its connection breaks, or else by the idle timeout.
    """
    config = uvicorn.Config(
        app, log_level="warning", ws_max_size=MAX_MESSAGE_BYTES, ws_ping_interval=None, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listener])
