"""How is a game file played as textworld's `PddlEnv`? Entities with names to change, and the state of each step."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from alfworld_sft.integrations.alfworld.core import EnvInfos, Environment, GameNotRunningError, GameState
from alfworld_sft.integrations.alfworld.facts import Facts, Proposition, Variable
from alfworld_sft.world import Game, load_game, observations, parse_game, rules
from alfworld_sft.world.admissible import admissible_actions
from alfworld_sft.world.language import NOTHING_HAPPENS
from alfworld_sft.world.plan import UnsolvableError, shortest_plan
from alfworld_sft.world.sexpr import parse_sexpr

GAMES_KEPT = 512
"""So many games stay in memory for their next reset."""
_NAMED_KINDS = ("object", "receptacle", "location")
_TEMPLATE = re.compile(r'template\s*::\s*"([^"]*)"')


class EntityInfo:
    """A thing of a game: its id, its type, and the name that texts and commands have for it."""

    __slots__ = ("adj", "definite", "desc", "id", "indefinite", "name", "noun", "room_type", "synonyms", "type")

    def __init__(self, id: str, type: str) -> None:  # noqa: A002 (textworld's names)
        self.id, self.type, self.name = id, type, id
        self.definite: str | None = "the"
        self.indefinite: str | None = "a"
        self.noun = self.adj = self.synonyms = self.desc = self.room_type = None

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Info({self.name}: {self.adj} | {self.noun})"


@dataclass(frozen=True, eq=False)
class GameSource:
    """A game file read: the game in ALFWorld's names, and what only textworld's interface asks for.

    `kinds` gives each entity's type by id, sorted by id; `init` is the file's `:init` section, numbers left out;
    `is_alfworlds` says that the rules are ALFWorld's text, not ours.
    """

    game: Game
    kinds: Mapping[str, str]
    init: tuple[tuple[str, ...], ...]
    command_templates: tuple[str, ...]
    is_alfworlds: bool
    walkthrough: list[str] | None

    def named(self, infos: Mapping[str, EntityInfo]) -> Game:
        """Return the game with the entities' present names."""
        game = self.game
        names = [infos[i].name for kind in _NAMED_KINDS for i, k in self.kinds.items() if k == kind]
        if names == [thing.name for group in (game.objects, game.receptacles, game.locations) for thing in group]:
            return game
        given = iter(names)
        return replace(
            game,
            objects=tuple(replace(thing, name=next(given)) for thing in game.objects),
            receptacles=tuple(replace(place, name=next(given)) for place in game.receptacles),
            locations=tuple(replace(location, name=next(given)) for location in game.locations),
            action_cache={},
        )


def read_source(path: str | Path) -> GameSource:
    """Read a game file; one that has not changed is not read again. Raises GameFileError."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        load_game(path)  # raises with the reason
        raise
    return _read_file(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=GAMES_KEPT)
def _read_file(path: str, size: int, mtime_ns: int, inode: int) -> GameSource:
    del size, mtime_ns, inode  # they tell one content of a path from the next
    game = load_game(path)
    return _source_of(game, json.loads(Path(path).read_bytes()))


def _source_of(game: Game, data: Mapping[str, Any]) -> GameSource:
    """Complete a game that was found valid."""
    sections = {
        str(part[0]): part[1:] for part in parse_sexpr(data["pddl_problem"].lower())[0] if isinstance(part, tuple)
    }
    facts = [cast("tuple[str, ...]", fact) for fact in sections[":init"] if fact[0] != "="]
    declared = sections[":objects"]
    kinds = dict(zip(declared[0::3], declared[2::3], strict=True))
    ids = sorted({argument for fact in facts for argument in fact[1:]})
    return GameSource(
        game=game,
        kinds={i: str(kinds[i]) for i in ids},
        init=tuple(facts),
        command_templates=tuple(sorted(set(_TEMPLATE.findall(data["grammar"])))),
        is_alfworlds="ison" in data["pddl_domain"].lower(),
        walkthrough=data.get("walkthrough"),
    )


class PddlEnv(Environment):
    """Plays a `.tw-pddl` file. Names are the file's ids until a wrapper, as `AlfredDemangler`, gives others."""

    def __init__(self, infos: EnvInfos | None = None) -> None:
        super().__init__(infos)
        self._source: GameSource | None = None
        self._game: Game | None = None

    def load(self, filename_or_data: str | Path | Mapping[str, Any]) -> None:
        """Load a game file, or the JSON object of one; raises GameFileError."""
        if isinstance(filename_or_data, Mapping):
            data = dict(filename_or_data)
            self._source = _source_of(parse_game(json.dumps(data).encode(), game_id="given as data"), data)
        else:
            self._source = read_source(filename_or_data)
        self.walkthrough = self._source.walkthrough
        self._entity_infos = {i: EntityInfo(i, kind) for i, kind in self._source.kinds.items()}
        self._game = None

    def reset(self) -> GameState:
        """Begin the game; raises GameNotRunningError where none is loaded."""
        if self._source is None:
            raise GameNotRunningError("no game is loaded; call load(FILE) before reset()")
        game = self._game = self._source.named(self._entity_infos)
        self._now, self._moves = game.initial, 0
        self._facts = self._initial_facts(self._source) if self.request_infos.facts else None
        self.state = self._observe(observations.opening(game))
        if "walkthrough" in self.request_infos.extras:
            self.state["extra.walkthrough"] = self.walkthrough or self._plan(game)
        return self.state

    def step(self, command: str) -> tuple[GameState, int, bool]:
        """Play a command; one that is not admissible changes nothing.

        The score is 1 while the task is done, else 0. Raises GameNotRunningError before the first reset, TypeError for
        a command that is no text.
        """
        game = self._game
        if game is None:
            raise GameNotRunningError()
        if not isinstance(command, str):
            raise TypeError(f"a command is a text, not {command!r}")
        command = command.strip()
        walkthrough = self.state.get("extra.walkthrough")
        action = self._admissible.action(command)
        if action is None:
            self.state = self._observe(NOTHING_HAPPENS, command)
        else:
            before, self._now = self._now, rules.transition(game, self._now, action)
            self._moves += 1
            if self._facts is not None:
                self._facts.apply(game, before, action)
            self.state = self._observe(observations.feedback(game, self._now, action), command)
        if "walkthrough" in self.request_infos.extras:
            self.state["extra.walkthrough"] = walkthrough
        won = self.state["won"]
        self.state["score"], self.state["done"] = int(won), won
        return self.state, int(won), won

    def _observe(self, words: str, command: str | None = None) -> GameState:
        game, asked = self._game, self.request_infos
        assert game is not None
        assert self._source is not None
        self._admissible = admissible_actions(game, self._now)
        state = GameState(
            feedback=words,
            raw=words,
            won=rules.goal_reached(game, self._now),
            lost=False,
            last_action=None,
            admissible_commands=list(self._admissible.commands),
        )
        if command is not None:
            state["last_command"] = command
        if asked.command_templates:
            state["command_templates"] = list(self._source.command_templates)
        if self._facts is not None:
            state["facts"] = list(self._facts)
        if asked.moves:
            state["moves"] = self._moves
        if asked.policy_commands:
            state["policy_commands"] = self._plan(game)
        return state

    def _plan(self, game: Game) -> list[str]:
        """Return a shortest plan from here; none where there is none, as the reference."""
        try:
            return list(shortest_plan(game, self._now))
        except UnsolvableError:
            return []

    def _initial_facts(self, source: GameSource) -> Facts:
        infos = self._entity_infos
        variables = {i: Variable(info.name, info.type) for i, info in infos.items()}
        agent = next(variables[i] for i, kind in source.kinds.items() if kind == "agent")
        initial = (Proposition(name, [variables[i] for i in ids]) for name, *ids in source.init)
        return Facts(initial, agent, reports_more=source.is_alfworlds)
