"""How the expert says what it knows and why it acts, and what it sees: short, true, and varied.

Each phrasing is true whenever it may be chosen: it says only what the belief holds. The random generator, made from
the prompt's seed, chooses among the phrasings that fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from alfworld_sft.policies.expert.belief import OPENABLE, Belief, class_of
from alfworld_sft.policies.expert.decide import Decision, Mind
from alfworld_sft.policies.expert.goal import Goal
from alfworld_sft.policies.expert.reading import Reading
from alfworld_sft.world.language import GO, verb_of
from alfworld_sft.world.treatments import TREATMENTS

_INSIDE = OPENABLE | {"bathtubbasin", "garbagecan", "laundryhamper", "sinkbasin", "toaster"}
_UNCOUNTED = {
    "bread": "some bread",
    "boots": "some boots",
    "lettuce": "some lettuce",
    "toiletpaper": "some toiletpaper",
}
_PLURALS = {
    "boots": "pairs of boots",
    "bread": "loaves of bread",
    "butterknife": "butterknives",
    "knife": "knives",
    "lettuce": "heads of lettuce",
    "shelf": "shelves",
    "toiletpaper": "rolls of toiletpaper",
}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_LIKELY = 0.15
"""From this chance on a place is called a likely one."""


def think(mind: Mind, decision: Decision, rng: Random) -> str:
    """Return one to three sentences: where things stand, and why the command comes next."""
    belief = mind.belief
    verb = verb_of(decision.command) or ""
    sentences = []
    if belief.last.kind == "refused":
        sentences.append(_refusal(belief, decision, rng))
    elif belief.view.step == 0 or rng.random() < 0.2:
        sentences.append(rng.choice(_GOAL).format(goal=describe_goal(mind.goal)))
    state = _state(mind, decision, rng)
    if state and len(sentences) < 2:
        sentences.append(state)
    sentences.append(rng.choice(_reasons(mind, decision, verb)).format_map(_vocabulary(mind, decision)))
    if decision.aim == "fetch" and verb == "take" and len(sentences) < 3 and rng.random() < 0.4:
        sentences.append(rng.choice(_next_steps(mind)))
    return " ".join(_sentence(text) for text in sentences)


def describe_goal(goal: Goal) -> str:
    """Return the goal as an infinitive: "put a clean mug on a desk"."""
    if goal.lamp:
        return f"look at {a(goal.object)} in the light of {a(goal.lamp)}"
    where = f"{preposition(goal.place)} {a(goal.place)}"
    if goal.count > 1:
        return f"put {_NUMBERS[goal.count]} {plural(goal.object)} {preposition(goal.place)} the same {goal.place}"
    if goal.treatment:
        return f"put {a(goal.object, TREATMENTS[goal.treatment].flag)} {where}"
    return f"put {a(goal.object)} {where}"


_GOAL = (
    "I have to {goal}.",
    "The task is to {goal}.",
    "My task is to {goal}.",
    "What I need to do is {goal}.",
    "The goal is to {goal}.",
)


def _refusal(belief: Belief, decision: Decision, rng: Random) -> str:
    (place,) = GO.parse(belief.view.history[-1].action if belief.view.history else "") or ("",)
    if place and place != belief.here and place == decision.place and place in belief.in_reach():
        refused_way = (
            f"Nothing happened, so {place} must be within reach from here.",
            f"I could not go to {place}: I must be standing at it already.",
        )
        return rng.choice(refused_way)
    return rng.choice(("Nothing happened.", "That had no effect.", "My last action did nothing."))


def _state(mind: Mind, decision: Decision, rng: Random) -> str:
    """Return a sentence on what has been found out so far, "" for none."""
    belief, goal = mind.belief, mind.goal
    if decision.aim != "find" or rng.random() < 0.25:
        return ""
    wanted = decision.object
    at_home = [(name, place) for name, place in belief.seen(wanted) if class_of(place) == goal.place]
    options: list[str] = []
    if goal.count > 1 and at_home:
        name, place = at_home[0]
        options += [
            f"{name} is {preposition(place)} {place} already, and I still need another {wanted}.",
            f"One {wanted} is in its place, {preposition(place)} {place}; one more is missing.",
        ]
    elif wanted == goal.lamp:
        options += [
            f"I hold {belief.held} and now need {a(wanted)}.",
            f"With {belief.held} in my hand, I still have to find {a(wanted)}.",
        ]
    elif not belief.seen(wanted):
        options += [f"I do not know yet where {a(wanted)} is.", f"First I need to find {a(wanted)}."]
        options += _searched_places(belief, wanted)
    return rng.choice(options) if options else ""


def _searched_places(belief: Belief, wanted: str) -> list[str]:
    """Return what can be said of places that were seen and do not hold what is wanted."""
    options: list[str] = []
    last = belief.last
    if last.kind in ("arrive", "open", "sight") and last.contents is not None:
        options += [
            f"There is no {wanted} {preposition(last.place)} {last.place}.",
            f"{last.place} does not have {a(wanted)}.",
        ]
    seen = sum(place.complete for place in belief.places.values())
    if seen > 1 and not belief.windowed:
        options += [
            f"I have looked into {number(seen)} places and seen no {wanted} so far.",
            f"None of the {number(seen)} places seen so far has {a(wanted)}.",
        ]
    return options


def _reasons(mind: Mind, decision: Decision, verb: str) -> Sequence[str]:
    """Return the phrasings for this command and aim; each is true in the situation at hand."""
    belief, goal = mind.belief, mind.goal
    match decision.aim, verb:
        case "find", "go":
            kind = class_of(decision.place)
            if mind.prior.known and mind.prior.chance(decision.object, kind) >= _LIKELY:
                return (*_REASONS["find", "go"], *_LIKELY_REASONS)
            return _REASONS["find", "go"]
        case "deliver", "go" if goal.treatment:
            return _TREATED_REASONS
        case "deliver", "go" if goal.count > 1 and _companion(mind, decision):
            return _JOIN_REASONS
        case "deliver", "put" if goal.count > 1 and not _companion(mind, decision):
            return _FIRST_REASONS
        case "light", _ if decision.object in belief.lit:
            return ("{obj} is on already, and I bring {held} to it.", "The light of {obj} is on, so I go to it.")
        case aim, verb:
            return _REASONS.get((aim, verb), _REASONS["lost", "look"])


def _next_steps(mind: Mind) -> Sequence[str]:
    """Return what can be said of the step after taking the object."""
    goal = mind.goal
    if goal.lamp:
        lamp = mind.lamp()
        if lamp is None:
            return (f"Then I have to find {a(goal.lamp)}.", f"After that I need {a(goal.lamp)}.")
        return (f"Then I bring it to {lamp[0]}.", f"I have seen {lamp[0]} already, and I bring it there.")
    if goal.treatment:
        return (
            f"Then it has to be {TREATMENTS[goal.treatment].done}.",
            f"It must be {TREATMENTS[goal.treatment].done} before I put it away.",
        )
    where = f"{preposition(goal.place)} {a(goal.place)}"
    return (f"Then I can put it {where}.", f"It has to end up {where}.")


def _companion(mind: Mind, decision: Decision) -> str | None:
    """Return another object of the goal's class that is where this one is brought to."""
    contents = mind.belief.place(decision.place).contents or ()
    return next((n for n in contents if class_of(n) == mind.goal.object and n != decision.object), None)


_REASONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("find", "go"): (
        "I will look {in_place} next.",
        "Next I check {place}.",
        "I go to {place} to see whether {a_obj} is there.",
        "{place} is worth a look.",
    ),
    ("find", "open"): (
        "{place} is closed, so I open it to see what is inside.",
        "I open {place}, because {a_obj} could be in it.",
        "{a_obj} may be inside {place}, so I open it.",
        "To see what {place} holds, I have to open it.",
    ),
    ("find", "examine"): (
        "I examine {place} to see what it holds.",
        "{place} is right here, so I take a look at it.",
        "A look at {place} will tell whether {a_obj} is there.",
    ),
    ("fetch", "go"): (
        "{obj} is {in_place}, so I go there to take it.",
        "I know that {obj} is {in_place}; I go and get it.",
        "I need {obj}, which is {in_place}.",
    ),
    ("fetch", "open"): (
        "{obj} is in {place}, which is closed, so I open it.",
        "To get {obj} out of {place}, I have to open it first.",
    ),
    ("fetch", "examine"): (
        "{obj} should be {in_place}, so I take a look at it.",
        "I look at {place}, where {obj} should be.",
    ),
    ("fetch", "take"): (
        "{obj} is {in_place} and it is what I need, so I take it.",
        "I see {obj} {in_place}; I pick it up.",
        "{obj} is what the task asks for, and it is right here {in_place}.",
        "Here is {obj}, so I take it.",
    ),
    ("treat", "go"): (
        "I hold {obj}, which must be {to_be} first, so I go to {place}.",
        "{obj} has to be {to_be} before I put it away; {place} is the place for that.",
        "Now that I have {obj}, I go to {place}, where it can be {to_be}.",
        "The next step is to {treat} {obj} with {place}.",
    ),
    **{
        ("treat", treatment.verb): (
            f"I am at {{place}} with {{obj}} in my hand, so I {treatment.verb} it now.",
            f"{{place}} is here, so {{obj}} can be {treatment.done}.",
            f"{{obj}} must be {treatment.flag}, and {{place}} will do that.",
        )
        for treatment in TREATMENTS.values()
    },
    ("deliver", "go"): (
        "I have {obj} and bring it to {place}.",
        "Now that I hold {obj}, I go to {place} to put it down there.",
        "{obj} belongs {in_place}, so I carry it there.",
        "With {obj} in my hand, the next stop is {place}.",
    ),
    ("deliver", "open"): (
        "{place} is closed, so I open it to put {obj} in.",
        "Before {obj} can go into {place}, I have to open it.",
        "I open {place} to put {obj} in it.",
    ),
    ("deliver", "examine"): (
        "I want to put {obj} {in_place}, so I check how it is.",
        "{place} is right here; I look whether it is open before I put {obj} there.",
    ),
    ("deliver", "put"): (
        "I am at {place} with {obj}; putting it down here completes the task.",
        "{place} is where {obj} belongs, and that is the last step.",
        "All that is left is to put {obj} {in_place}.",
        "I put {obj} {in_place}, which should finish the task.",
    ),
    ("light", "go"): (
        "I hold {obj_held}, and {obj} is {in_place}, so I go there.",
        "{obj} is {in_place}; I bring {held} to it.",
        "I need {obj} now, which is {in_place}.",
    ),
    ("light", "use"): (
        "With {held} in my hand, I turn on {obj} to see it in the light.",
        "{obj} is here and I hold {held}, so I turn on the light.",
        "I have {held}; all that is left is to turn on {obj}.",
    ),
    ("drop", "go"): (
        "I hold {obj}, which the task does not ask for, so I go to {place} to put it down.",
        "My hand must be free, so I take {obj} to {place}.",
    ),
    ("drop", "open"): (
        "I open {place} to put {obj} down and free my hand.",
        "{obj} is not what I need; I open {place} to put it away.",
    ),
    ("drop", "examine"): ("I check {place}, because I want to put {obj} down there.",),
    ("drop", "put"): (
        "I hold {obj}, which the task does not ask for, so I put it down {in_place}.",
        "{obj} is not what I need, and my hand must be free.",
        "To free my hand, I put {obj} {in_place}.",
    ),
    ("lost", "go"): (
        "I see no better way on, so I go to {place} and look there.",
        "What I know does not lead further, so I have a look at {place}.",
    ),
    ("lost", "open"): ("I see no better way on, so I open {place}.", "I open {place} to see what is inside."),
    ("lost", "look"): ("I do not know how to go on, so I look around.", "I look around to find out where I am."),
}
_LIKELY_REASONS = (
    "{a_place} is a likely place for {a_obj}, so I go to {place}.",
    "{a_obj} could well be {on} {a_place}, so I try {place}.",
    "I try {place}, a likely place for {a_obj}.",
)
_TREATED_REASONS = (
    "{obj} is {done} now, so I take it to {place}.",
    "Now that {obj} is {done}, it can go to {place}.",
    "I have {to_be} {obj} and bring it to {place}.",
)
_JOIN_REASONS = (
    "I bring {obj} to {place}, where {companion} is already.",
    "{companion} is {in_place} already, so {obj} must go there too.",
)
_FIRST_REASONS = (
    "I put {obj} {in_place}; then one more is needed.",
    "This is the first of two: I put {obj} {in_place}.",
    "{obj} goes {in_place}, and then I need another {kind}.",
)


def _vocabulary(mind: Mind, decision: Decision) -> dict[str, str]:
    belief, goal = mind.belief, mind.goal
    name, place = decision.object, decision.place
    another = goal.count > 1 and name == goal.object and any(class_of(p) == goal.place for _, p in belief.seen(name))
    words = {
        "obj": name,
        "held": belief.held or "",
        "obj_held": belief.held or "",
        "kind": class_of(name),
        "a_obj": f"another {name}" if another else a(name),
        "place": place,
        "a_place": a(class_of(place)),
        "on": preposition(place),
        "in_place": f"{preposition(place)} {place}",
        "treat": goal.treatment or "",
        "done": TREATMENTS[goal.treatment].flag if goal.treatment else "",
        "to_be": TREATMENTS[goal.treatment].done if goal.treatment else "",
    }
    if goal.count > 1 and decision.aim == "deliver":
        words["companion"] = _companion(mind, decision) or ""
    return words


def summarise(reading: Reading, rng: Random) -> str:
    """Return one sentence on what the current observation says."""
    name, place = reading.object, reading.place
    match reading.kind:
        case "room":
            options = [
                f"I am in a room with {_count_names(reading.names)}.",
                f"Around me are {_count_names(reading.names)}.",
            ]
        case "arrive" | "open" | "sight":
            options = _sight(reading)
        case "take":
            options = [f"I now hold {name}.", f"I have picked up {name} from {place}."]
        case "put":
            where = f"{preposition(place)} {place}"
            options = [f"{name} is now {where}.", f"I have put {name} {where}."]
        case "treat":
            treatment = TREATMENTS[reading.how]
            options = [f"{name} is {treatment.flag} now.", f"I have {treatment.done} {name} with {place}."]
        case "use":
            options = [f"{name} is on now.", f"I have turned on {name}."]
        case "close":
            options = [f"{place} is closed now.", f"I have closed {place}."]
        case "here":
            options = [f"I am facing {_join_names(reading.names)}.", f"In reach I have {_join_names(reading.names)}."]
        case "hand":
            options = [f"I am carrying {name}."] if name else ["My hands are empty.", "I am not carrying anything."]
        case "object":
            options = [f"I looked at {name}, which I hold.", f"I have {name} in my hand."]
        case "refused":
            options = ["Nothing happened.", "My last action had no effect."]
        case _:
            options = ["I see nothing new.", "This tells me nothing new."]
    return _sentence(rng.choice(options))


def _sight(reading: Reading) -> list[str]:
    place, on = reading.place, preposition(reading.place)
    at = {"arrive": f"I am at {place}", "open": f"I have opened {place}", "sight": f"I look at {place}"}[reading.kind]
    if reading.contents is None:
        return [f"{place} is closed.", f"{at}, which is closed."]
    if not reading.contents:
        return [f"{place} is empty.", f"{at}, which is empty."]
    things = _join_names(reading.contents)
    return [f"{on} {place} I see {things}.", f"{at}, where I see {things}."]


def a(noun: str, adjective: str = "") -> str:
    """Return the noun with its article, "some" where it cannot be counted: "an apple", "a clean apple"."""
    if noun in _UNCOUNTED:
        return f"some {adjective} {noun}" if adjective else _UNCOUNTED[noun]
    words = f"{adjective} {noun}" if adjective else noun
    return f"an {words}" if words[:1] in "aeiou" else f"a {words}"


def plural(noun: str) -> str:
    """Return the plural: "knives", "tomatoes", "loaves of bread"."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh", "ato")) else f"{noun}s"


def preposition(place: str) -> str:
    """Return "in" for what things are put into, else "on"; takes a class or a name."""
    return "in" if class_of(place) in _INSIDE else "on"


def number(value: int) -> str:
    """Return small numbers as words."""
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count_names(names: Sequence[str]) -> str:
    kinds = Counter(class_of(name) for name in names)
    return _join_names([a(kind) if count == 1 else f"{number(count)} {plural(kind)}" for kind, count in kinds.items()])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
