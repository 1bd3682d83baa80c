"""What do the environments and wrappers of `textworld.core` look like to a program that uses them?

The protocol of textworld 1.7.0, which ALFWorld's users subclass and call: an `Environment` loads a game and gives
`GameState`s, a `Wrapper` stands around one, `EnvInfos` says what is asked for beside the text.
"""

from __future__ import annotations

import copy
import sys
import textwrap
from typing import Any

from alfworld_sft.errors import UserError


class UncoveredError(UserError):
    """The real package has this, the drop-in does not; names the thing and the way out."""


class EnvInfos:
    """What an environment is to tell beside the text, one attribute each; `extras` lists names of further facts."""

    __slots__ = (  # noqa: RUF023 (textworld's order)
        "feedback", "description", "inventory", "location", "facts", "win_facts", "fail_facts", "last_action",
        "last_command", "game", "won", "lost", "score", "moves", "max_score", "objective", "entities",
        "typed_entities", "verbs", "command_templates", "admissible_commands", "possible_admissible_commands",
        "possible_commands", "intermediate_reward", "policy_commands", "extras",
    )  # fmt: skip
    __hash__ = None  # type: ignore[assignment]
    admissible_commands: bool
    command_templates: bool
    facts: bool
    moves: bool
    policy_commands: bool

    def __init__(self, **kwargs: Any) -> None:
        """Raises ValueError for an unknown name."""
        unknown = sorted(kwargs.keys() - set(self.__slots__))
        if unknown:
            raise ValueError(f"Unknown information requested: {unknown}. Available: {sorted(self.__slots__)}")
        for name in self.__slots__[:-1]:
            setattr(self, name, kwargs.get(name, False))
        self.extras: list[str] = kwargs.get("extras", [])

    @property
    def basics(self) -> list[str]:
        """The names asked for, without the extras."""
        return [name for name in self.__slots__[:-1] if getattr(self, name)]

    def __len__(self) -> int:
        return len(self.basics) + len(self.extras)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnvInfos) and (self.basics, self.extras) == (other.basics, other.extras)

    def copy(self) -> EnvInfos:
        """Return a request for the same."""
        return EnvInfos(**dict.fromkeys(self.basics, True), extras=list(self.extras))


class GameState(dict[str, Any]):
    """What is known after a reset or a step; an attribute that is not there reads as None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def copy(self) -> GameState:
        """Return a deep copy."""
        return GameState(copy.deepcopy(dict(self)))


class Environment:
    """One game that can be loaded, reset and played."""

    display_command_during_render = False

    def __init__(self, request_infos: EnvInfos | None = None) -> None:
        self.state = GameState()
        self.request_infos = request_infos or EnvInfos()

    def load(self, path: Any) -> None:
        """Load a game."""
        raise NotImplementedError

    def reset(self) -> Any:
        """Begin the game; returns its first state."""
        raise NotImplementedError

    def step(self, command: str) -> Any:
        """Play a command; returns (state, score, done)."""
        raise NotImplementedError

    def seed(self, seed: int | None = None) -> list[int]:
        """Do nothing: these games have no chance in them."""
        del seed
        return []

    def render(self, mode: str = "human") -> str | None:
        """Write the last text to stdout; with mode "text" or "ansi" return it instead."""
        text = str(self.state.feedback).rstrip() + "\n"
        if self.display_command_during_render and self.state.last_command is not None:
            text = f"> {self.state.last_command}\n{text}"
        if mode in ("text", "ansi"):
            return text + "\n"
        lines = ["\n".join(textwrap.wrap(paragraph, width=80)) for paragraph in text.split("\n")]
        sys.stdout.write("\n".join(lines) + "\n")
        return None

    def close(self) -> None:
        """End the game."""

    def copy(self) -> Environment:
        """Return a copy in the same state."""
        raise NotImplementedError

    def __str__(self) -> str:
        return type(self).__name__


class Wrapper:
    """Stands around an environment, given now or later by a call; what it lacks is the environment's."""

    def __init__(self, env: Any = None) -> None:
        self._wrap(env)

    def __call__(self, env: Any) -> Wrapper:
        """Stand around `env` from now on."""
        self._wrap(env)
        return self

    def _wrap(self, env: Any) -> None:
        self._wrapped_env = env

    def __getattr__(self, name: str) -> Any:
        wrapped = self.__dict__.get("_wrapped_env")
        if wrapped is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(wrapped, name)

    @property
    def unwrapped(self) -> Any:
        """The innermost environment."""
        wrapped = self._wrapped_env
        return wrapped.unwrapped if hasattr(wrapped, "unwrapped") else wrapped

    def load(self, path: Any) -> None:
        """Load a game."""
        self._wrapped_env.load(path)

    def reset(self) -> Any:
        """Begin the game."""
        return self._wrapped_env.reset()

    def step(self, command: str) -> Any:
        """Play a command."""
        return self._wrapped_env.step(command)

    def seed(self, seed: int | None = None) -> list[int]:
        """Seed the environment."""
        seeds: list[int] = self._wrapped_env.seed(seed)
        return seeds

    def render(self, mode: str = "human") -> Any:
        """Show the last text."""
        return self._wrapped_env.render(mode)

    def close(self) -> None:
        """End the game."""
        if self._wrapped_env:
            self._wrapped_env.close()

    def copy(self) -> Any:
        """Return a copy in the same state."""
        raise NotImplementedError

    @property
    def display_command_during_render(self) -> bool:
        """Whether `render` shows the command, too."""
        return bool(self._wrapped_env.display_command_during_render)

    @display_command_during_render.setter
    def display_command_during_render(self, value: bool) -> None:
        self._wrapped_env.display_command_during_render = value

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._wrapped_env}"


class Agent:
    """Plays a game of `Environment`."""

    def reset(self, env: Any) -> None:
        """Ask the environment for what the agent reads."""

    def act(self, game_state: Any, reward: float, done: bool) -> str:
        """Return the next command."""
        raise NotImplementedError

    def finish(self, game_state: Any, reward: float, done: bool) -> None:
        """Learn that the game is over."""

    @property
    def wrappers(self) -> list[Any]:
        """The wrappers that the agent needs around its environment."""
        return []


class GameNotRunningError(RuntimeError):
    """No game is being played."""

    def __init__(self, msg: str = "") -> None:
        super().__init__(msg or "no game is being played; call reset() to begin one")
