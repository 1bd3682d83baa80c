"""A `game.tw-pddl` file → `Game`, validated and never executed.

The file is JSON with `pddl_domain`, `grammar`, `pddl_problem` and, sometimes, `walkthrough`. Names follow the
reference's demangler (alfworld 0.4.2, `agents/utils/misc.py`): ids sorted, the class is the text before the first
`_bar_` (plus `basin` where that occurs in the id), and within a class the first sorted id gets the highest number.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from alfworld_sft.errors import GameFileError
from alfworld_sft.types import TaskType
from alfworld_sft.world.game import NOTHING, Game, LightGoal, Location, Object, PlaceGoal, Receptacle, State, SymbolKind
from alfworld_sft.world.grammar import recognise, split_task
from alfworld_sft.world.sentence import Goal, contradiction
from alfworld_sft.world.sexpr import SExpr, parse_sexpr
from alfworld_sft.world.treatments import TREATMENTS, TREATMENTS_BY_FLAG

MAX_FILE_BYTES = 4 * 2**20
"""The largest published game file has under 200 KB."""
MAX_ENTITIES = 5_000
MAX_REASON_CHARS = 300
_ENTITY_ID = re.compile(r"([a-z][a-z0-9]*)_bar_[a-z0-9_]+")

_SIGNATURES: dict[str, tuple[SymbolKind, ...]] = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "wasinreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "receptacletype": ("receptacle", "rtype"),
    "objecttype": ("object", "otype"),
    "cancontain": ("rtype", "otype"),
    "isreceptacleobjectfull": ("object",),
    "isreceptacleobject": ("object",),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    "full": ("receptacle",),
    "pickupable": ("object",),
    "moveable": ("object",),
    "sliceable": ("object",),
    "toggleable": ("object",),
    "issliced": ("object",),
    "istoggled": ("object",),
    "ison": ("object",),
    **{treatment.ability: ("object",) for treatment in TREATMENTS.values()},
    **{treatment.predicate.lower(): ("object",) for treatment in TREATMENTS.values()},
}
_ABILITIES = ("pickupable", *(t.ability for t in TREATMENTS.values()), "sliceable", "toggleable", "isreceptacleobject")
_TREATMENT_VERBS = {treatment.predicate.lower(): treatment.verb for treatment in TREATMENTS.values()}


def load_game(path: str | Path, *, game_id: str | None = None, split: str = "", sha256: str | None = None) -> Game:
    """Read and validate one game file, which must have this `sha256` if one is given.

    `game_id` defaults to the last two folders for a file in ALFWorld's layout, else to the file's name.
    Raises GameFileError, which names the file and the reason.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise GameFileError(str(path), "it is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise GameFileError(str(path), error.strerror or str(error)) from None
    except ValueError as error:  # a name that no file can have
        raise GameFileError(str(path), str(error)) from None
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise GameFileError(str(path), "it has changed since the games were listed; start anew")
    return parse_game(content, game_id=game_id or default_game_id(path), split=split, file=str(path))


def default_game_id(path: Path) -> str:
    """Return `task folder/trial folder` for `…/game.tw-pddl`, else the file's name without its ending."""
    if path.name == "game.tw-pddl":
        return "/".join(path.absolute().parent.parts[-2:])
    return path.name.removesuffix(".tw-pddl")


def parse_game(content: bytes, *, game_id: str, split: str = "", file: str | None = None) -> Game:
    """Validate the bytes of a game file; raises GameFileError naming `file` (or the id) and the reason."""
    try:
        return _parse(content, game_id, split)
    except ValueError as error:
        reason = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error)[:MAX_REASON_CHARS])
        raise GameFileError(file or game_id, reason) from None


def sentence_problem(data: dict[str, Any]) -> str | None:
    """Return why the task sentence of a game file's JSON does not ask for its goal; None where it does.

    Much cheaper than reading the game, so other faults of the file are left to that, and also give None.
    """
    try:
        _, task = split_task(_text(data, "grammar"))
        problem = _text(data, "pddl_problem").lower()
        section = parse_sexpr("(" + problem[problem.rindex("(:goal") :])[0][0]
        return contradiction(task, _goal_of(_goal_facts(cast("tuple[SExpr, ...]", section[1:]))))
    except (ValueError, LookupError):
        return None


def _parse(content: bytes, game_id: str, split: str) -> Game:
    data = _read_json(content)
    domain_text, grammar_text, problem_text = (_text(data, key) for key in ("pddl_domain", "grammar", "pddl_problem"))
    blanked, task = split_task(grammar_text)
    variant = recognise(domain_text, blanked)
    sections = _sections(problem_text)
    scene = _Entities(sections[":init"], _declared_kinds(sections[":objects"]))
    objects, receptacles, locations = scene.objects(), scene.receptacles(), scene.locations()
    asked = _goal_facts(sections[":goal"])
    goal, task_type = _read_goal(asked, objects, receptacles)
    if reason := contradiction(task, _goal_of(asked)):
        raise ValueError(reason)
    return Game(
        id=game_id,
        split=split,
        task=task,
        task_type=task_type,
        scene=_scene_of(game_id),
        variant=variant,
        objects=objects,
        receptacles=receptacles,
        locations=locations,
        initial=scene.initial_state(),
        goal=goal,
        walkthrough=_read_walkthrough(data.get("walkthrough"), scene.name_of),
    )


def _read_json(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes; no game is")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {str(error)[:80]}") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object")
    return data


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"it lacks the text {key!r}")
    return value


def _sections(problem_text: str) -> dict[str, tuple[SExpr, ...]]:
    """Return the parts of `(define (problem …) …)` by their names."""
    try:
        expressions = parse_sexpr(problem_text)
    except ValueError as error:
        raise ValueError(f"its PDDL problem cannot be read: {error}") from None
    if len(expressions) != 1 or isinstance(expressions[0], str) or expressions[0][:1] != ("define",):
        raise ValueError("its PDDL problem is not a single (define …)")
    parts = expressions[0][1:]
    sections: dict[str, tuple[SExpr, ...]] = {}
    for part in parts:
        if not isinstance(part, tuple) or not part or not isinstance(part[0], str) or part[0] in sections:
            raise ValueError("its PDDL problem is not made of (:name …) parts, each once")
        sections[part[0]] = part[1:]
    if not {":objects", ":init", ":goal"} <= sections.keys():
        raise ValueError("its PDDL problem lacks one of :objects, :init and :goal")
    if sections.get(":domain", ("alfred",)) != ("alfred",):
        raise ValueError("its PDDL problem belongs to another domain than 'alfred'")
    unknown = sections.keys() - {"problem", ":domain", ":objects", ":init", ":goal", ":metric"}
    if unknown:
        raise ValueError(f"its PDDL problem has the unknown part {_show(min(unknown))}")
    return sections


def _declared_kinds(objects: tuple[SExpr, ...]) -> dict[SExpr, SExpr]:
    """Read `a - object b - location`, the form of all published files; raises ValueError for any other."""
    names, dashes, kinds = objects[0::3], objects[1::3], objects[2::3]
    if len(objects) % 3 or dashes.count("-") != len(dashes):
        raise ValueError("its :objects are not of the form 'name - kind'")
    declared = dict(zip(names, kinds, strict=True))
    if len(declared) != len(names):
        raise ValueError("its :objects declare a name twice")
    return declared


def _show(expression: SExpr) -> str:
    """Write an expression as in the file, cut short."""
    text = expression if isinstance(expression, str) else f"({' '.join(map(_show, expression))})"
    return text if len(text) <= 80 else f"{text[:79]}…"


class _Entities:
    """The things that the `:init` facts speak of, numbered in id order (which is the reference's list order)."""

    def __init__(self, init: tuple[SExpr, ...], declared: Mapping[SExpr, SExpr]) -> None:
        by_predicate: dict[SExpr, list[tuple[SExpr, ...]]] = {}
        for fact in init:
            if not isinstance(fact, tuple) or not fact:
                raise ValueError(f"its :init has a stray {_show(fact)}")
            by_predicate.setdefault(fact[0], []).append(fact[1:])
        by_predicate.pop("=", None)  # distances and costs: they change neither text nor commands
        self.facts: dict[str, list[tuple[str, ...]]] = {predicate: [] for predicate in _SIGNATURES}
        kinds: dict[str, SymbolKind] = {}
        for predicate, facts in by_predicate.items():
            signature = _SIGNATURES.get(str(predicate))
            if signature is None or {len(arguments) for arguments in facts} != {len(signature)}:
                unknown = next(fact for fact in facts if signature is None or len(fact) != len(signature))
                raise ValueError(f"its :init has the unknown fact {_show((predicate, *unknown))}")
            for column, kind in zip(zip(*facts, strict=True), signature, strict=True):
                for argument in set(column):
                    if not isinstance(argument, str) or kinds.setdefault(argument, kind) != kind:
                        other = kinds.get(str(argument), "a list")
                        raise ValueError(f"its :init uses {_show(argument)} as {other} and as {kind}")
            self.facts[str(predicate)] = cast("list[tuple[str, ...]]", facts)
        if not kinds.items() <= declared.items():
            wrong = min(name for name, kind in kinds.items() if declared.get(name) != kind)
            raise ValueError(f"its :objects do not declare {_show(wrong)} as the {kinds[wrong]} that its :init uses")
        if len(kinds) > MAX_ENTITIES:
            raise ValueError(f"it names {len(kinds)} things; {MAX_ENTITIES} is the limit")
        ids = sorted(kinds)
        self._names = _display_names([i for i in ids if kinds[i] in ("object", "receptacle", "location")])
        self._ids = {kind: [i for i in ids if kinds[i] == kind] for kind in ("object", "receptacle", "location")}
        self._rank = {i: rank for of_kind in self._ids.values() for rank, i in enumerate(of_kind)}

    def name_of(self, entity_id: str) -> str | None:
        """Return the displayed name of an id, in any case, or None."""
        return self._names.get(entity_id.lower())

    def objects(self) -> tuple[Object, ...]:
        types = self._single_values("objecttype")
        inner: dict[str, list[int]] = {}
        for held, holder in sorted(set(self.facts["inreceptacleobject"])):
            if held != holder:  # as the reference, which gives two variables two values
                inner.setdefault(holder, []).append(self._rank[held])
        able = {predicate: {arguments[0] for arguments in self.facts[predicate]} for predicate in _ABILITIES}
        return tuple(
            Object(
                name=self._names[i],
                type=types.get(i, ""),
                pickupable=i in able["pickupable"],
                cleanable=i in able["cleanable"],
                heatable=i in able["heatable"],
                coolable=i in able["coolable"],
                sliceable=i in able["sliceable"],
                toggleable=i in able["toggleable"],
                holds_objects=i in able["isreceptacleobject"],
                inner=tuple(inner.get(i, ())),
            )
            for i in self._ids["object"]
        )

    def receptacles(self) -> tuple[Receptacle, ...]:
        types = self._single_values("receptacletype")
        places = self._single_values("receptacleatlocation")
        openable = {arguments[0] for arguments in self.facts["openable"]}
        contained: dict[str, set[str]] = {}
        for receptacle_type, object_type in self.facts["cancontain"]:
            contained.setdefault(receptacle_type, set()).add(object_type)
        by_type = {name: frozenset(object_types) for name, object_types in contained.items()}
        return tuple(
            Receptacle(
                name=self._names[i],
                type=types.get(i, ""),
                location=self._rank[places[i]] if i in places else None,
                openable=i in openable,
                can_contain=by_type.get(types.get(i, ""), frozenset()),
            )
            for i in self._ids["receptacle"]
        )

    def locations(self) -> tuple[Location, ...]:
        within: list[list[int]] = [[] for _ in self._ids["location"]]
        for receptacle, location in sorted(set(self.facts["receptacleatlocation"])):
            within[self._rank[location]].append(self._rank[receptacle])
        names = (self._names[i] for i in self._ids["location"])
        return tuple(Location(name, tuple(there)) for name, there in zip(names, within, strict=True))

    def initial_state(self) -> State:
        starts = set(self.facts["atlocation"])
        if len(starts) != 1:
            raise ValueError(f"its :init puts an agent at a location {len(starts)} times, not once")
        ((_, start),) = starts
        contents: list[list[int]] = [[] for _ in self._ids["receptacle"]]
        for held, receptacle in sorted(set(self.facts["inreceptacle"])):
            contents[self._rank[receptacle]].append(self._rank[held])
        return State(
            location=self._rank[start],
            held=NOTHING,
            contents=tuple(map(tuple, contents)),
            object_at=frozenset((self._rank[o], self._rank[place]) for o, place in self.facts["objectatlocation"]),
            taken_from=frozenset(),
            opened=self._bits("opened"),
            clean=self._bits("isclean"),
            hot=self._bits("ishot"),
            cool=self._bits("iscool"),
            sliced=self._bits("issliced"),
            toggled=self._bits("istoggled"),
        )

    def _bits(self, predicate: str) -> int:
        return sum(1 << rank for rank in {self._rank[i] for (i,) in self.facts[predicate]})

    def _single_values(self, predicate: str) -> dict[str, str]:
        values: dict[str, str] = {}
        for entity, value in self.facts[predicate]:
            if values.setdefault(entity, value) != value:
                raise ValueError(f"its :init gives {_show(entity)} two values of {predicate}")
        return values


def _display_names(ids: list[str]) -> dict[str, str]:
    classes: dict[str, str] = {}
    for entity_id in ids:
        match = _ENTITY_ID.fullmatch(entity_id)
        if match is None:
            raise ValueError(f"its :init names {_show(entity_id)}, which is no id of the form Class_bar_position")
        classes[entity_id] = match[1] + ("basin" if "basin" in entity_id else "")
    left = Counter(classes.values())
    names: dict[str, str] = {}
    for entity_id in ids:
        entity_class = classes[entity_id]
        names[entity_id] = f"{entity_class} {left[entity_class]}"
        left[entity_class] -= 1
    return names


def _read_walkthrough(value: object, name_of: Any) -> tuple[str, ...] | None:
    """Return the stored commands with raw ids replaced by names: published files have the one or the other."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(command, str) and command.isprintable() for command in value):
        raise ValueError("its walkthrough is not a list of commands")
    return tuple(" ".join(name_of(word) or word for word in command.split(" ")) for command in value)


def _scene_of(game_id: str) -> int | None:
    match = re.match(r"[^/]*-(\d{1,7})(?:/|$)", game_id)
    return int(match[1]) if match else None


def _goal_of(facts: set[tuple[str, ...]]) -> Goal:
    """Return the goal of one of the six formulas in the classes that a task sentence names."""
    types = {fact[1]: fact[2].removesuffix("type") for fact in facts if fact[0] in ("objecttype", "receptacletype")}
    treatment = next((_TREATMENT_VERBS[fact[0]] for fact in facts if fact[0] in _TREATMENT_VERBS), None)
    if "?ot" in types:
        return Goal(types["?o"], lamp=types["?ot"])
    if "?o2" in types:
        return Goal(types["?o1"], types["?r"], count=2)
    return Goal(types["?o"], types["?r"], treatment)


def _read_goal(
    facts: set[tuple[str, ...]], objects: tuple[Object, ...], receptacles: tuple[Receptacle, ...]
) -> tuple[PlaceGoal | LightGoal, TaskType]:
    """Recognise one of the six goal formulas; raises ValueError for any other."""

    def value_of(predicate: str, variable: str) -> str:
        found = {fact[2] for fact in facts if fact[:2] == (predicate, variable)}
        if len(found) != 1:
            raise ValueError("its goal is none of ALFWorld's six")
        return found.pop()

    def having(object_type: str) -> frozenset[int]:
        return frozenset(i for i, thing in enumerate(objects) if thing.type == object_type)

    def within(receptacle_type: str) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(receptacles) if place.type == receptacle_type)

    shape = {fact if fact[0] not in ("objecttype", "receptacletype") else fact[:2] for fact in facts}
    if shape == _LIGHT_SHAPE:
        lamps = having(value_of("objecttype", "?ot"))
        lamps = frozenset(i for i in lamps if objects[i].toggleable)
        return LightGoal(having(value_of("objecttype", "?o")), lamps), "look_at_obj_in_light"
    if shape == _PAIR_SHAPE:
        object_type = value_of("objecttype", "?o1")
        if value_of("objecttype", "?o2") != object_type:
            raise ValueError("its goal asks for two objects of different types, which no ALFWorld task does")
        goal_places = within(value_of("receptacletype", "?r"))
        return PlaceGoal(having(object_type), goal_places, (), 2), "pick_two_obj_and_place"
    for flag, (task_type, flag_shape) in _PLACE_SHAPES.items():
        if shape == flag_shape:
            able = having(value_of("objecttype", "?o"))
            if flag:
                able = frozenset(i for i in able if getattr(objects[i], TREATMENTS_BY_FLAG[flag].ability))
            flags = (flag,) if flag else ()
            return PlaceGoal(able, within(value_of("receptacletype", "?r")), flags, 1), task_type
    raise ValueError("its goal is none of ALFWorld's six")


def _goal_facts(goal: tuple[SExpr, ...]) -> set[tuple[str, ...]]:
    """Flatten (and …) and (exists (vars) …) into the set of facts asked for; (not (= a b)) becomes `different`.

    Flattening keeps the meaning only while every variable is bound once; the agent is the exception: there is one.
    """
    facts: set[tuple[str, ...]] = set()
    bound: list[str] = []
    owed: list[SExpr] = list(goal)
    while owed:
        formula = owed.pop()
        match formula:
            case ("and", *parts):
                owed.extend(parts)
            case ("exists", tuple(variables), body):
                bound += _bound_variables(variables)
                owed.append(body)
            case ("not", ("=", str(left), str(right))):
                facts.add(("different", *sorted((left, right))))
            case (str(predicate), *arguments) if arguments and all(isinstance(a, str) for a in arguments):
                facts.add((predicate, *map(str, arguments)))
            case _:
                raise ValueError("its goal is none of ALFWorld's six")
    used = {word for fact in facts for word in fact[1:] if word.startswith("?")}
    if used != set(bound) or len(bound) - bound.count("?a") != len(set(bound) - {"?a"}):
        raise ValueError("its goal is none of ALFWorld's six")
    return facts


_VARIABLE_KINDS = {
    "?o": "object",
    "?o1": "object",
    "?o2": "object",
    "?ot": "object",
    "?r": "receptacle",
    "?a": "agent",
    "?l": "location",
}


def _bound_variables(declaration: tuple[SExpr, ...]) -> list[str]:
    """Read `?o - object ?r - receptacle`; each of the known variables must have its own kind."""
    names, dashes, kinds = declaration[0::3], declaration[1::3], declaration[2::3]
    if len(declaration) % 3 or set(dashes) != {"-"} or [_VARIABLE_KINDS.get(str(n)) for n in names] != list(kinds):
        raise ValueError("its goal is none of ALFWorld's six")
    return [str(name) for name in names]


_PLACE_SHAPE: set[tuple[str, ...]] = {("inreceptacle", "?o", "?r"), ("objecttype", "?o"), ("receptacletype", "?r")}
_PLACE_SHAPES: dict[str, tuple[TaskType, set[tuple[str, ...]]]] = {
    "": ("pick_and_place_simple", _PLACE_SHAPE),
    **{
        flag: (treatment.task_type, _PLACE_SHAPE | {(treatment.ability, "?o"), (treatment.predicate.lower(), "?o")})
        for flag, treatment in TREATMENTS_BY_FLAG.items()
    },
}
_PAIR_SHAPE: set[tuple[str, ...]] = {
    ("objecttype", "?o1"),
    ("objecttype", "?o2"),
    ("receptacletype", "?r"),
    ("inreceptacle", "?o1", "?r"),
    ("inreceptacle", "?o2", "?r"),
    ("different", "?o1", "?o2"),
}
_LIGHT_SHAPE: set[tuple[str, ...]] = {
    ("objecttype", "?ot"),
    ("toggleable", "?ot"),
    ("istoggled", "?ot"),
    ("receptacleatlocation", "?r", "?l"),
    ("atlocation", "?a", "?l"),
    ("inreceptacle", "?ot", "?r"),
    ("objecttype", "?o"),
    ("holds", "?a", "?o"),
}
