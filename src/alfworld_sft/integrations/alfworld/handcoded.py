"""What would ALFWorld's handcoded expert do next? Its decisions, with its habits and its blind spots.

It pursues one subgoal at a time (find, take, treat, put) and reads the game's text, the admissible commands and a few
hidden facts. That it is weaker than it could be is part of what its users compare with: it never notices `move`, takes
words apart by searching for substrings, and looks only at the object that it took first. Where several things will do
it draws one by `random`.

Which furniture is worth a look for an object is `furniture.json`: what AI2-THOR lets the furniture hold, as ALFRED
lists it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from alfworld_sft.errors import UserError
from alfworld_sft.games.layout import TRAJ_FILE
from alfworld_sft.integrations.alfworld.facts import NEGATION, Proposition
from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world.language import (
    CLOSE,
    EXAMINE,
    GO,
    LOOK,
    NOTHING_HAPPENS,
    OPEN,
    OPENED,
    PUT,
    TAKE,
    TASK_PREFIX,
    TREAT,
    USE,
)
from alfworld_sft.world.treatments import TREATMENTS_BY_TASK, Treatment

_OPENABLE = frozenset({"fridge", "cabinet", "microwave", "drawer", "safe", "box"})
_OTHER_FURNITURE = frozenset({"paintinghanger"})
_BASIN, _BATHTUB = "sinkbasin", "bathtubbasin"
_KEEPS_SHUT = frozenset({*TREAT, "slice"})
"""After these a closed door is not opened."""


class HandCodedAgentTimeout(NameError):  # noqa: N818 (alfworld's name)
    """The expert has acted as often as it may."""


class HandCodedAgentFailed(NameError):  # noqa: N818 (alfworld's name)
    """The expert does not know what to do."""


class Task(NamedTuple):
    """What the game asks for, in classes as "mug"."""

    task_type: str
    object: str
    place: str
    lamp: str

    @property
    def treatment(self) -> Treatment | None:
        """What is to be done to the object first."""
        return next((t for kind, t in TREATMENTS_BY_TASK.items() if kind == self.task_type), None)


class Subgoal(NamedTuple):
    """What the expert is about to do, and to what class of things."""

    verb: str
    target: str


def read_task(game_file: str | Path) -> Task:
    """Read the task from the `traj_data.json` beside a game file; raises UserError where that is not to be had."""
    file = Path(game_file).parent / TRAJ_FILE
    try:
        data = json.loads(file.read_bytes())
        params = {name: str(value).lower() for name, value in data["pddl_params"].items()}
        task = Task(data["task_type"], params["object_target"], params["parent_target"], params["toggle_target"])
    except OSError as error:
        raise UserError(f"{file}: the handcoded expert reads the task from it: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: it does not say the task as ALFRED does (task_type, pddl_params)") from None
    if task.task_type not in TASK_TYPES:
        raise UserError(f"{file}: unknown task type {task.task_type!r}; there are {', '.join(TASK_TYPES)}")
    return task


class HandCodedTWAgent:
    """The expert for one game after another."""

    def __init__(self, max_steps: int = 150) -> None:
        self.max_steps = max_steps

    def reset(self, game: str | Path) -> None:
        """Begin a game, given by its file; raises UserError where its task is not to be had."""
        self.policy = _Policy(read_task(game), self.max_steps)

    def observe(self, obs: str) -> None:
        """Read a text of the game."""
        self.policy.observe(obs)

    def act(self, game_state: Any, reward: float, done: bool, last_action: str = "") -> str:
        """Return the next command; raises HandCodedAgentTimeout or HandCodedAgentFailed."""
        del reward, done
        action = self.policy.act(game_state, last_action)
        admissible = game_state["admissible_commands"]
        if action == last_action or (last_action == LOOK.template and action not in admissible):
            return str(random.choice(admissible))
        return action


class _Policy:
    """What the expert remembers of one game, and how it decides."""

    def __init__(self, task: Task, max_steps: int) -> None:
        self.task = task
        self.max_steps = max_steps
        self.steps = 0
        self.receptacles: dict[str, str] = {}  # name → class
        self.visible: dict[str, str] = {}  # name → class
        self.last_seen: dict[str, str] = {}  # class → receptacle
        self.texts: dict[str, str] = {}  # receptacle → what was last read there
        self.here = ""
        self.looked_inside = False
        self.owed: list[str] = []  # receptacles to look at, the next one last
        self.to_close: list[str] = []  # commands
        self.inventory: list[str] = []
        self.taken_from = ""
        self.done_with: list[str] = []
        self.holds_target = False

    def act(self, state: Any, last: str) -> str:
        """Return the next command."""
        text = state["feedback"]
        self.steps += 1
        if self.steps > self.max_steps:
            raise HandCodedAgentTimeout
        self._track(text, last)
        self.observe(text)
        verb, target = self._subgoal(state)
        wanted = [name for name, kind in self.visible.items() if kind == target]
        if target == _BASIN and not any(_BASIN in kind for kind in self.receptacles.values()):
            target = _BATHTUB
        if verb == "find" and not self._has_found(target, wanted):
            return self._search(target, text, last)
        if verb == "find":
            self.to_close = []
        self.owed = []
        match verb:
            case "goto":
                return GO.format(_any_of(self._of_class(target), first=True))
            case "take":
                return self._take(target, wanted, text)
            case "put" if not self._should_open(text):
                return PUT["move"].format(self._in_hand(), self.here)
            case "use":
                return USE.format(_any_of(wanted)) if self.visible else EXAMINE.format(self.here)
            case "clean" | "heat" | "cool":
                return TREAT[verb].format(self._in_hand(), self.here)
            case "find" if self.inventory and not self.holds_target:
                return self._put_back()
            case "find" if "closed" not in text:
                return EXAMINE.format(self.here)
        return OPEN.format(self.here)

    def observe(self, text: str) -> None:
        """Take note of what a text shows."""
        if "Welcome" in text:
            self.receptacles = _read_list(text)
        elif "you see nothing" in text:
            self.visible = {}
        elif "you see" in text:
            place = _place_of(text)
            self.visible = {name: kind for name, kind in _read_list(text).items() if name not in self.done_with}
            self.texts[place] = text
            self.last_seen.update(dict.fromkeys(self.visible.values(), place))

    def _track(self, text: str, last: str) -> None:
        """Take note of what the last command did."""
        if "go to" in last:
            self.here = last.replace("go to", "").strip()
            if self.here in self.owed:
                self.owed.remove(self.here)
            self.looked_inside = self.receptacles.get(self.here) not in _OPENABLE or "open" in text
        if NOTHING_HAPPENS in text:
            return
        closing = CLOSE.format(self.here)
        if "open" in last:
            if last == OPEN.format(self.here):
                self.looked_inside = True
                self.to_close.append(closing)
        elif "close" in last:
            if last == closing and closing in self.to_close:
                self.to_close.remove(closing)
        elif "take" in last:
            self.taken_from = " ".join(last.split()[-2:])
            self.inventory.append(" ".join(last.split()[1:3]))
            self._forget(self.inventory[-1])
        elif "put" in last:
            put_down = self._in_hand(-1)
            self.inventory.pop()
            self.taken_from = ""
            self._forget(put_down)
            if self.task.object in last:
                self.done_with.append(put_down)

    def _forget(self, name: str) -> None:
        self.last_seen.pop(_class_of(name), None)
        self.visible.pop(name, None)
        if self.here in self.texts:
            self.texts[self.here] = self.texts[self.here].replace(name, "")

    def _has_found(self, target: str, wanted: list[str]) -> bool:
        if wanted:
            return True
        seen_here = target in self.last_seen and self.here == self.last_seen[target]
        is_there = seen_here or self.receptacles.get(self.here) == target
        return is_there and self.looked_inside and (not self.inventory or self.holds_target)

    def _search(self, target: str, text: str, last: str) -> str:
        """Return the command that looks on: a place remembered, else a likely one, else any."""
        if target in self.last_seen:
            self.owed = [self.last_seen[target]]
        elif not self.owed:
            self.owed = self._places_for(target) or list(self.receptacles)
        if self.here in self.owed and self.looked_inside:
            self.owed.remove(self.here)
        if self.inventory and not self.holds_target:
            return self._put_back()
        if target not in self.last_seen and self._should_open(text) and not _KEEPS_SHUT & set(last.split()[:1]):
            return OPEN.format(self.here)
        return self.to_close.pop() if self.to_close else GO.format(_any_of(self.owed[-1:], first=True))

    def _places_for(self, target: str) -> list[str]:
        """Return the receptacles to look at for a class of things; the last is looked at first."""
        if target in _furniture() or target in _OTHER_FURNITURE:
            return self._of_class(target)
        likely = [name for name, kind in self.receptacles.items() if target in _furniture().get(kind, ())]
        return [name for name in self.receptacles if name not in likely] + likely

    def _take(self, target: str, wanted: list[str], text: str) -> str:
        if self._should_open(text) and not self.visible:
            return OPEN.format(self.here)
        if not any(target in name for name in self.visible):
            return EXAMINE.format(self.here)
        return TAKE.format(_any_of(wanted), self.here)

    def _put_back(self) -> str:
        if self.here == self.taken_from:
            return PUT["move"].format(self.inventory[0], self.taken_from)
        return GO.format(self.taken_from)

    def _should_open(self, text: str) -> bool:
        return "closed" in text and not self.looked_inside

    def _in_hand(self, index: int = 0) -> str:
        if not self.inventory:
            raise HandCodedAgentFailed
        return self.inventory[index]

    def _of_class(self, kind: str) -> list[str]:
        return [name for name, other in self.receptacles.items() if other == kind]

    def _subgoal(self, state: Any) -> Subgoal:
        """Return the furthest subgoal whose conditions hold."""
        task, facts = self.task, state["facts"]
        commands = [_without_numbers(command) for command in state["admissible_commands"]]
        self.holds_target = any(f.name == "holds" and _without_numbers(f.names[1]) == task.object for f in facts)
        text = self.texts.get(self.here, "")
        sees_target = "you see" in text and f" {task.object} " in text
        can_take = sees_target and any(TAKE.prefix + task.object in command for command in commands)
        put_done = self.holds_target and task.place in self.here
        can_put = put_done and PUT["move"].format(task.object, task.place) in commands
        if task.task_type == "pick_two_obj_and_place":
            placed = _first_placed(facts, task)
            can_take = can_take and (placed is None or not _offers_to_take(placed, state["admissible_commands"]))
        if self.holds_target:
            return self._with_target_in_hand(facts, commands, can_put)
        return Subgoal("take" if can_take else "find", task.object)

    def _with_target_in_hand(self, facts: Iterable[Proposition], commands: list[str], can_put: bool) -> Subgoal:
        task, treatment = self.task, self.task.treatment
        if task.task_type == "look_at_obj_in_light":
            return Subgoal("use" if USE.format(task.lamp) in commands else "find", task.lamp)
        if treatment and not self._is_treated(facts, treatment):
            appliance = treatment.appliance
            can_treat = TREAT[treatment.verb].format(task.object, appliance) in commands
            return Subgoal(treatment.verb, task.object) if can_treat else Subgoal("goto", appliance)
        return Subgoal("put" if can_put else "find", task.place)

    def _is_treated(self, facts: Iterable[Proposition], treatment: Treatment) -> bool:
        predicate = treatment.predicate.lower()
        first = self.inventory[:1]
        return any(fact.name == predicate and [fact.names[0].strip()] == first for fact in facts)


def _read_list(text: str) -> dict[str, str]:
    """Return the things that a text lists last, each with its class."""
    listed = re.split("you see", text, flags=re.IGNORECASE)[-1].replace(" and a ", "").replace(" a ", "")
    names = listed.split(TASK_PREFIX.strip(": "), 1)[0].strip(".,\n\r").split(",")
    return {name: _class_of(name) for name in names}


def _place_of(text: str) -> str:
    """Return the receptacle that a text shows; two words of it where it shows none."""
    opening = OPENED.prefix.strip()
    if opening in text:
        words = text.split(opening, 1)[-1].split()[:2]
    elif "is open." in text:
        words = text.split("is open.", 1)[0].split()[-2:]
    else:
        words = text.split("On the", 1)[-1].split()[:2]
    return " ".join(words).strip(",.")


def _class_of(name: str) -> str:
    return name.partition(" ")[0]


def _without_numbers(text: str) -> str:
    return " ".join("".join(c for c in text if not c.isdigit()).split())


def _any_of(names: list[str], *, first: bool = False) -> str:
    """Return one of the names, drawn or the first; raises HandCodedAgentFailed where there is none."""
    if not names:
        raise HandCodedAgentFailed
    return names[0] if first else random.choice(names)


def _first_placed(facts: Iterable[Proposition], task: Task) -> str | None:
    """Return an object of the task's class that is, or was, in a place of the task's; None while none is in one.

    Where several are, the reference's choice depends on its hash seed; this one on the order of the facts.
    """
    pair = [task.object, task.place]
    found = [
        fact
        for fact in facts
        if fact.name in ("inreceptacle", f"{NEGATION}inreceptacle") and [*map(_without_numbers, fact.names)] == pair
    ]
    if not any(fact.name == "inreceptacle" for fact in found):
        return None
    return found[0].names[0].strip()


def _offers_to_take(name: str, commands: Iterable[str]) -> bool:
    return any(TAKE.prefix + name in command for command in commands)


@cache
def _furniture() -> dict[str, frozenset[str]]:
    """Return what each class of furniture may hold."""
    table: dict[str, str] = json.loads(files(__package__).joinpath("furniture.json").read_text("utf-8"))
    return {place: frozenset(names.split()) for place, names in table.items()}
