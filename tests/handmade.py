"""Small games made by hand: the bytes of a `game.tw-pddl` file from a few lines of Python.

The real games may not be committed, so most tests play these. Objects are named as they are displayed, and their ids
are made to fit: within a class ALFWorld gives the highest number to the first id in sorted order.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from alfworld_sft.games.generator.logic import domain_text, grammar_text
from alfworld_sft.types import TaskType
from alfworld_sft.world import Game, parse_game

CONTAINERS = ("bowl", "box", "cup", "mug", "pan", "plate", "pot")
SLICEABLE = ("apple", "bread", "lettuce", "potato", "tomato")
WASHABLE = (
    "apple",
    "bowl",
    "cup",
    "fork",
    "knife",
    "lettuce",
    "mug",
    "pan",
    "plate",
    "pot",
    "potato",
    "spoon",
    "tomato",
)
HOT_AND_COLD = ("apple", "bread", "cup", "egg", "mug", "plate", "potato", "tomato")
LAMPS = ("desklamp", "floorlamp")
CLOSABLE = ("cabinet", "drawer", "fridge", "microwave", "safe")

_GOALS: dict[str, str] = {
    "pick_and_place_simple": """(and (exists (?r - receptacle) (exists (?o - object) (and
        (inReceptacle ?o ?r) (objectType ?o {target}) (receptacleType ?r {place})))))""",
    "look_at_obj_in_light": """(and
        (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
            (objectType ?ot {place}) (toggleable ?ot) (isToggled ?ot)
            (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
        (exists (?o - object ?a - agent) (and (objectType ?o {target}) (holds ?a ?o))))""",
    "pick_two_obj_and_place": """(and (exists (?r - receptacle) (exists (?o1 - object) (and
        (objectType ?o1 {target}) (receptacleType ?r {place}) (inReceptacle ?o1 ?r)
        (exists (?o2 - object) (and
            (not (= ?o1 ?o2)) (objectType ?o2 {target}) (receptacleType ?r {place}) (inReceptacle ?o2 ?r)))))))""",
}
for _verb, _flag in (("clean", "Clean"), ("heat", "Hot"), ("cool", "Cool")):
    _GOALS[f"pick_{_verb}_then_place_in_recep"] = f"""(and (exists (?r - receptacle) (exists (?o - object) (and
        ({_verb}able ?o) (objectType ?o {{target}}) (receptacleType ?r {{place}}) (is{_flag} ?o)
        (inReceptacle ?o ?r)))))"""


@dataclass(frozen=True)
class Furniture:
    """A receptacle: its name, the number of its location (None: it has none), what lies in it, whether it opens."""

    name: str
    location: int | None
    objects: tuple[str, ...] = ()
    openable: bool | None = None
    """None: as most of its class."""
    opened: bool = False


def game_file(
    task_type: TaskType,
    target: str,
    place: str,
    furniture: Iterable[Furniture],
    *,
    task: str = "put it there.",
    facts: Iterable[str] = (),
    without: Iterable[str] = (),
    start: int | None = None,
    older: bool = False,
    walkthrough: tuple[str, ...] | None = None,
) -> bytes:
    """Return the bytes of a game: `target` in `place`, two classes as `mug` and `desk` (for a light, the lamp's).

    Objects can do what their class can in ALFWorld, and everything can lie everywhere. `facts` are added to the :init
    and `without` taken from it, with names in angle brackets: `isclean <mug 1>`. The agent starts at location
    `start`; None is one of its own. `older` gives the rules and words of alfworld 0.3.
    """
    furniture = tuple(furniture)
    excluded = set(without)
    init = [fact for fact in dict.fromkeys((*_facts(furniture, start), *facts)) if fact not in excluded]
    lines = [_with_ids(fact) for fact in init]
    goal = _GOALS[task_type].format(target=f"{target}Type", place=f"{place}Type")
    problem = "(define (problem by_hand)\n(:domain alfred)\n(:objects\n{}\n)\n(:init\n{}\n)\n(:goal {})\n)\n".format(
        "\n".join(_declarations(lines)), "\n".join(f"({line})" for line in lines), goal
    )
    data: dict[str, Any] = {
        "pddl_domain": older_domain() if older else domain_text(),
        "grammar": older_grammar(task) if older else grammar_text(task),
        "pddl_problem": problem,
        "solvable": True,
    }
    if walkthrough is not None:
        data["walkthrough"] = walkthrough
    return json.dumps(data).encode()


def make_game(task_type: TaskType, target: str, place: str, furniture: Iterable[Furniture], **more: Any) -> Game:
    """Return the game that `game_file` describes."""
    return parse_game(game_file(task_type, target, place, furniture, **more), game_id="by_hand")


def kitchen_file(**more: Any) -> bytes:
    """Return a game that has a bit of everything: heat some apple and put it in the fridge.

    Two drawers share a location with the counter; one of them cannot be opened. A mug lies in two receptacles.
    """
    furniture = (
        Furniture("countertop 1", 1, ("apple 1", "knife 1", "mug 1", "plate 1")),
        Furniture("drawer 1", 1, ("spoon 1",)),
        Furniture("drawer 2", 1, ("fork 1",), openable=False),
        Furniture("fridge 1", 2, ("apple 2", "lettuce 1")),
        Furniture("microwave 1", 3, ("mug 1",)),
        Furniture("sinkbasin 1", 4),
        Furniture("sidetable 1", 5, ("desklamp 1", "book 1")),
    )
    given = {"task": "heat some apple and put it in fridge.", "facts": ("inreceptacleobject <spoon 1> <mug 1>",)}
    return game_file("pick_heat_then_place_in_recep", "apple", "fridge", furniture, **(given | more))


def older_domain() -> str:
    """Return our rules as alfworld 0.3 had them: no help, and cleaning in basins only."""
    text = re.sub(r"\(:action help\n.*?\n\n?(?=\)\n$)", "", domain_text(), flags=re.DOTALL)
    return _replaced(
        text, "(or (receptacleType ?r SinkBasinType) (receptacleType ?r SinkType))", "(receptacleType ?r SinkBasinType)"
    )


def older_grammar(task: str) -> str:
    """Return our words as alfworld 0.3 had them."""
    text = re.sub(r"action help {.*?\n}\n", "", grammar_text(task), flags=re.DOTALL)
    text = _replaced(text, "You arrive at {r.name}.", "You arrive at {to.name}.")
    text = _replaced(text, "You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}.")
    return _replaced(text, "move {o} to {r}", "put {o} in/on {r}")


def id_of(name: str) -> str:
    """Return the id of a thing or a location by its displayed name."""
    kind, number = name.rsplit(" ", 1)
    basin = kind.endswith("basin")
    return f"{kind.removesuffix('basin')}_bar_{99 - int(number):02}{'_bar_basin' if basin else ''}"


def _facts(furniture: tuple[Furniture, ...], start: int | None) -> Iterable[str]:
    locations = {place.location for place in furniture} - {None}
    yield f"atlocation agent1 <loc {max(locations, default=0) + 1 if start is None else start}>"
    objects = {o for place in furniture for o in place.objects}
    for place in furniture:
        kind = _class_of(place.name)
        yield f"receptacletype <{place.name}> {kind}type"
        if place.location is not None:
            yield f"receptacleatlocation <{place.name}> <loc {place.location}>"
        if kind in CLOSABLE if place.openable is None else place.openable:
            yield f"openable <{place.name}>"
        if place.opened:
            yield f"opened <{place.name}>"
        for o in place.objects:
            yield f"inreceptacle <{o}> <{place.name}>"
            if place.location is not None:
                yield f"objectatlocation <{o}> <loc {place.location}>"
        for other in sorted({_class_of(o) for o in objects}):
            yield f"cancontain {kind}type {other}type"
    for o in sorted(objects):
        kind = _class_of(o)
        yield f"objecttype <{o}> {kind}type"
        for able, kinds in (
            ("cleanable", WASHABLE),
            ("heatable", HOT_AND_COLD),
            ("coolable", HOT_AND_COLD),
            ("sliceable", SLICEABLE),
            ("toggleable", LAMPS),
            ("isreceptacleobject", CONTAINERS),
        ):
            if kind in kinds:
                yield f"{able} <{o}>"
        if kind not in LAMPS:
            yield f"pickupable <{o}>"


def _declarations(facts: list[str]) -> list[str]:
    kinds: dict[str, str] = {"agent1": "agent"}
    for fact in facts:
        predicate, *arguments = fact.split()
        for argument in arguments:
            if argument.startswith("loc_"):
                kinds[argument] = "location"
            elif argument.endswith("type"):
                kinds[argument] = "rtype" if argument == arguments[0] or predicate == "receptacletype" else "otype"
        if predicate == "receptacletype":
            kinds[arguments[0]] = "receptacle"
    for fact in facts:
        for argument in fact.split()[1:]:
            kinds.setdefault(argument, "object")
    return [f"{name} - {kind}" for name, kind in kinds.items()]


def _with_ids(fact: str) -> str:
    return re.sub(r"<([^>]*)>", lambda match: id_of(match[1]), fact)


def _class_of(name: str) -> str:
    return name.rsplit(" ", 1)[0]


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"{old!r} is {text.count(old)} times in the text")
    return text.replace(old, new)
