"""A game in short: the furniture and things of a room, and a task. It becomes a `Game`, or the text of a game file.

Both ways give the same game: `game_of(b) == parse_game(file_bytes(b, …))`, which a test holds. The first leaves out
writing and reading 50 KB of text, and serves games that are played once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from alfworld_sft.games.generator.facts import ABILITIES, statistics
from alfworld_sft.games.generator.logic import domain_text, grammar_text
from alfworld_sft.types import TaskType
from alfworld_sft.world.game import NOTHING, Game, LightGoal, Location, Object, PlaceGoal, Receptacle, State
from alfworld_sft.world.grammar import Variant, recognise, split_task
from alfworld_sft.world.language import LOCATION
from alfworld_sft.world.treatments import TREATMENTS, TREATMENTS_BY_TASK

_NO_TASK = "no task yet."
_PREDICATES = {ability: ability for ability in ABILITIES} | {"holds_objects": "isReceptacleObject"}


class Point(NamedTuple):
    """A point in the room, in centimetres."""

    x: int
    y: int
    z: int


class Spot(NamedTuple):
    """A place to stand: on a grid of 25 cm, turned by quarter turns, looking up or down by degrees."""

    x: int
    z: int
    rotation: int
    horizon: int

    @property
    def id(self) -> str:
        """The id in a game file, as `loc_bar_4_bar__minus_8_bar_2_bar_60`."""
        return "loc" + "".join(f"_bar_{n}" if n >= 0 else f"_bar__minus_{-n}" for n in self)


class Furniture(NamedTuple):
    """A receptacle; `spot` is the number of the spot that it is used from."""

    type: str
    at: Point
    spot: int
    openable: bool

    @property
    def id(self) -> str:
        """The id in a game file: the type and the position, and for basins the type again at the end."""
        return entity_id(self.type, self.at)


class Thing(NamedTuple):
    """An object: the furniture that holds it, the spot it is recorded at, the thing it lies in (or NOTHING)."""

    type: str
    at: Point
    holders: tuple[int, ...]
    spot: int
    inside: int = NOTHING
    cool: bool = False

    @property
    def id(self) -> str:
        """The id in a game file."""
        return entity_id(self.type, self.at)


class Blueprint(NamedTuple):
    """All that distinguishes one game from another. Furniture, things and spots are in the order of their ids."""

    task_type: TaskType
    target: str
    goal: str
    task: str
    scene: int
    furniture: tuple[Furniture, ...]
    things: tuple[Thing, ...]
    spots: tuple[Spot, ...]
    start: int


def sha256_of(blueprint: Blueprint) -> str:
    """Return a hash of the complete content: equal hashes mean the same game."""
    return hashlib.sha256(pack(blueprint)).hexdigest()


def entity_id(entity_type: str, at: Point) -> str:
    """Return an id in AI2-THOR's style, as `Sink_bar__plus_00_dot_46_bar_…_bar_SinkBasin`."""
    position = "".join(map(_coordinate, at))
    if entity_type.endswith("Basin"):
        return f"{entity_type.removesuffix('Basin')}{position}_bar_{entity_type}"
    return entity_type + position


@lru_cache(maxsize=2048)
def _coordinate(cm: int) -> str:
    return f"_bar__{'plus' if cm >= 0 else 'minus'}_{abs(cm) // 100:02d}_dot_{abs(cm) % 100:02d}"


def pack(blueprint: Blueprint) -> bytes:
    """Return the blueprint as one line of JSON; the same blueprint gives the same bytes."""
    return json.dumps(blueprint, separators=(",", ":")).encode()


def unpack(line: bytes | str) -> Blueprint:
    """Return the blueprint that `pack` wrote; raises ValueError for other text."""
    try:
        task_type, target, goal, task, scene, furniture, things, spots, start = json.loads(line)
        return Blueprint(
            task_type,
            target,
            goal,
            task,
            scene,
            tuple(Furniture(t, Point(*at), spot, openable) for t, at, spot, openable in furniture),
            tuple(
                Thing(t, Point(*at), tuple(holders), spot, inside, cool)
                for t, at, holders, spot, inside, cool in things
            ),
            tuple(Spot(*spot) for spot in spots),
            start,
        )
    except TypeError as error:
        raise ValueError(f"not a blueprint: {error}") from None


def game_of(blueprint: Blueprint, *, game_id: str, split: str = "", walkthrough: tuple[str, ...] | None = None) -> Game:
    """Return the game, ready to play."""
    furniture, things, spots = blueprint.furniture, blueprint.things, blueprint.spots
    names = display_names(blueprint)
    facts = statistics()
    contents: list[list[int]] = [[] for _ in furniture]
    inner: dict[int, list[int]] = {}
    cool = 0
    for o, thing in enumerate(things):
        for r in thing.holders:
            contents[r].append(o)
        if thing.inside != NOTHING:
            inner.setdefault(thing.inside, []).append(o)
        cool |= thing.cool << o
    objects = tuple(
        Object(name, _type_without_suffix(thing.type), *_abilities(thing.type), tuple(inner.get(o, ())))
        for o, (thing, name) in enumerate(zip(things, names, strict=False))
    )
    present = frozenset(thing.type for thing in things)
    can_contain = {
        t: frozenset(map(_type_without_suffix, facts.can_contain[t] & present))
        for t in {place.type for place in furniture}
    }
    receptacles = tuple(
        Receptacle(name, _type_without_suffix(place.type), place.spot, place.openable, can_contain[place.type])
        for place, name in zip(furniture, names[len(things) :], strict=False)
    )
    within: list[list[int]] = [[] for _ in spots]
    for r, place in enumerate(furniture):
        within[place.spot].append(r)
    locations = tuple(
        Location(name, tuple(there)) for name, there in zip(names[len(things) + len(furniture) :], within, strict=True)
    )
    initial = State(
        location=blueprint.start,
        held=NOTHING,
        contents=tuple(map(tuple, contents)),
        object_at=frozenset((o, thing.spot) for o, thing in enumerate(things)),
        taken_from=frozenset(),
        opened=0,
        clean=0,
        hot=0,
        cool=cool,
        sliced=0,
        toggled=0,
    )
    return Game(
        id=game_id,
        split=split,
        task=blueprint.task,
        task_type=blueprint.task_type,
        scene=blueprint.scene,
        variant=own_texts().variant,
        objects=objects,
        receptacles=receptacles,
        locations=locations,
        initial=initial,
        goal=_goal_of(blueprint),
        walkthrough=walkthrough,
    )


def display_names(blueprint: Blueprint) -> list[str]:
    """Return the names of things, furniture and spots, in this order: in each class the last id is number 1."""
    names: list[str] = []
    numbers: Counter[str] = Counter()
    for kind in (blueprint.things, blueprint.furniture):
        classes = [entity.type.lower() for entity in kind]
        numbers.update(classes)
        for entity_class in classes:
            names.append(f"{entity_class} {numbers[entity_class]}")
            numbers[entity_class] -= 1
    spots = len(blueprint.spots)
    return [*names, *(LOCATION.format(str(spots - i)) for i in range(spots))]


def _goal_of(blueprint: Blueprint) -> PlaceGoal | LightGoal:
    targets = frozenset(o for o, thing in enumerate(blueprint.things) if thing.type == blueprint.target)
    if blueprint.task_type == "look_at_obj_in_light":
        return LightGoal(targets, frozenset(o for o, t in enumerate(blueprint.things) if t.type == blueprint.goal))
    places = tuple(r for r, place in enumerate(blueprint.furniture) if place.type == blueprint.goal)
    treatment = TREATMENTS_BY_TASK.get(blueprint.task_type)
    flags = (treatment.flag,) if treatment else ()
    return PlaceGoal(targets, places, flags, 2 if blueprint.task_type == "pick_two_obj_and_place" else 1)


@lru_cache(maxsize=256)
def _abilities(thing_type: str) -> tuple[bool, bool, bool, bool, bool, bool, bool]:
    able = statistics().abilities[thing_type]
    pickupable, cleanable, heatable, coolable, sliceable, toggleable, holds = (a in able for a in ABILITIES)
    return pickupable, cleanable, heatable, coolable, sliceable, toggleable, holds


@lru_cache(maxsize=256)
def _type_without_suffix(type_name: str) -> str:
    return f"{type_name.lower()}type"


class OwnTexts(NamedTuple):
    """Our domain and grammar as they go into a game file (JSON strings), and the rules that they stand for."""

    domain: str
    grammar_before: str
    grammar_after: str
    variant: Variant


@lru_cache(maxsize=1)
def own_texts() -> OwnTexts:
    """Return the texts that all our games share."""
    domain, grammar = domain_text(), grammar_text(_NO_TASK)
    before, after = json.dumps(grammar).split(_NO_TASK)
    return OwnTexts(json.dumps(domain), before, after, recognise(domain, split_task(grammar)[0]))


def file_bytes(blueprint: Blueprint, walkthrough: Iterable[str], name: str) -> bytes:
    """Return the content of a `game.tw-pddl` file; `name` goes into the problem's."""
    texts = own_texts()
    task = json.dumps(blueprint.task)[1:-1]
    return (
        f'{{"pddl_domain": {texts.domain}, "grammar": {texts.grammar_before}{task}{texts.grammar_after},'
        f' "pddl_problem": {json.dumps(problem_text(blueprint, name))}, "solvable": true,'
        f' "walkthrough": {json.dumps(list(walkthrough))}}}\n'
    ).encode()


def problem_text(blueprint: Blueprint, name: str) -> str:
    """Return the PDDL problem."""
    furniture, things, spots = blueprint.furniture, blueprint.things, blueprint.spots
    facts = statistics()
    places, objects, locations = ([entity.id for entity in kind] for kind in (furniture, things, spots))
    present = sorted({thing.type for thing in things})
    present_furniture = sorted({place.type for place in furniture})
    lines = [f"(define (problem {name})", "(:domain alfred)", "(:objects", "agent1 - agent", _declared_types()]
    lines += [f"{i} - object" for i in objects]
    lines += [f"{i} - receptacle" for i in places]
    lines += [f"{i} - location" for i in locations]
    lines += [")", "(:init"]
    lines += [f"(receptacleType {i} {place.type}Type)" for i, place in zip(places, furniture, strict=True)]
    lines += [f"(objectType {i} {thing.type}Type)" for i, thing in zip(objects, things, strict=True)]
    for t in present_furniture:
        able = facts.can_contain[t]
        lines += [f"(canContain {t}Type {o}Type)" for o in present if o in able]
    for ability, predicate in _PREDICATES.items():
        lines += [
            f"({predicate} {i})" for i, t in zip(objects, things, strict=True) if ability in facts.abilities[t.type]
        ]
    lines += [f"(openable {i})" for i, place in zip(places, furniture, strict=True) if place.openable]
    lines.append(f"(atLocation agent1 {locations[blueprint.start]})")
    lines += [f"({TREATMENTS['cool'].predicate} {i})" for i, thing in zip(objects, things, strict=True) if thing.cool]
    for i, thing in zip(objects, things, strict=True):
        lines += [f"(inReceptacle {i} {places[r]})" for r in thing.holders]
        if thing.inside != NOTHING:
            lines.append(f"(inReceptacleObject {i} {objects[thing.inside]})")
    lines += [f"(receptacleAtLocation {i} {locations[p.spot]})" for i, p in zip(places, furniture, strict=True)]
    lines += [f"(objectAtLocation {i} {locations[t.spot]})" for i, t in zip(objects, things, strict=True)]
    lines += [")", _goal_text(blueprint), ")", ""]
    return "\n".join(lines)


@lru_cache(maxsize=1)
def _declared_types() -> str:
    """Declare every type, as the rules speak of some that a room may lack."""
    facts = statistics()
    lines = [f"{t}Type - otype" for t in facts.abilities]
    lines += [f"{t}Type - rtype" for t in facts.can_contain]
    return "\n".join(lines)


def _goal_text(blueprint: Blueprint) -> str:
    target, goal = f"{blueprint.target}Type", f"{blueprint.goal}Type"
    if blueprint.task_type == "look_at_obj_in_light":
        return f"""(:goal (and
  (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
    (objectType ?ot {goal}) (toggleable ?ot) (isToggled ?ot)
    (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
  (exists (?o - object ?a - agent) (and (objectType ?o {target}) (holds ?a ?o)))
))"""
    if blueprint.task_type == "pick_two_obj_and_place":
        return f"""(:goal (and
  (exists (?r - receptacle) (exists (?o1 - object) (and
    (objectType ?o1 {target}) (receptacleType ?r {goal}) (inReceptacle ?o1 ?r)
    (exists (?o2 - object) (and
      (not (= ?o1 ?o2)) (objectType ?o2 {target}) (receptacleType ?r {goal}) (inReceptacle ?o2 ?r))))))
))"""
    treatment = TREATMENTS_BY_TASK.get(blueprint.task_type)
    flag = f" ({treatment.ability} ?o) ({treatment.predicate} ?o)" if treatment else ""
    return f"""(:goal (and
  (exists (?r - receptacle) (exists (?o - object) (and
    (objectType ?o {target}) (receptacleType ?r {goal}) (inReceptacle ?o ?r){flag})))
))"""


def in_id_order(entities: Sequence[Any]) -> list[int]:
    """Return the numbers of the entities in the order of their ids, as the game's lists have it."""
    ids = [entity.id.lower() for entity in entities]
    return sorted(range(len(ids)), key=ids.__getitem__)
