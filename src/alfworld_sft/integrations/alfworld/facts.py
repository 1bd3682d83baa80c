"""Which facts hold in a game, as textworld lists them for `EnvInfos(facts=True)`?

The list begins with the `:init` section of the game file. After that it is what Fast Downward reports of each action:
an effect stands in the list from then on, also one that says that something is not so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import total_ordering

from alfworld_sft.world.game import NOTHING, Game, State
from alfworld_sft.world.rules import Action
from alfworld_sft.world.treatments import TREATMENTS, Treatment

NEGATION = "not_"


@total_ordering
class Variable:
    """A thing with its type; prints as "mug 1: object"."""

    __slots__ = ("_hash", "name", "type")

    def __init__(self, name: str, type: str | None = None) -> None:  # noqa: A002 (textworld's name)
        self.name = name
        self.type = name if type is None else type
        self._hash = hash((self.name, self.type))

    def __str__(self) -> str:
        return self.name if self.type == self.name else f"{self.name}: {self.type}"

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.type!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and (self.name, self.type) == (other.name, other.type)

    def __lt__(self, other: Variable) -> bool:
        return (self.name, self.type) < (other.name, other.type)

    def __hash__(self) -> int:
        return self._hash


@total_ordering
class Proposition:
    """A fact; prints as "inreceptacle(mug 1: object, shelf 2: receptacle)"."""

    __slots__ = ("_hash", "arguments", "name")

    def __init__(self, name: str, arguments: Iterable[Variable] = ()) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self._hash = hash((self.name, self.arguments))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arguments."""
        return tuple(variable.name for variable in self.arguments)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the arguments."""
        return tuple(variable.type for variable in self.arguments)

    @property
    def is_negation(self) -> bool:
        """Whether it says that something is not so."""
        return self.name.startswith(NEGATION)

    def negate(self) -> Proposition:
        """Return the opposite."""
        name = self.name.removeprefix(NEGATION) if self.is_negation else NEGATION + self.name
        return Proposition(name, self.arguments)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"

    def __repr__(self) -> str:
        return f"Proposition({self.name!r}, {self.arguments!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proposition) and (self.name, self.arguments) == (other.name, other.arguments)

    def __lt__(self, other: Proposition) -> bool:
        return (self.name, self.arguments) < (other.name, other.arguments)

    def __hash__(self) -> int:
        return self._hash


class Facts:
    """The facts of a game in progress."""

    def __init__(self, initial: Iterable[Proposition], agent: Variable, *, reports_more: bool) -> None:
        """`reports_more` says that the domain is ALFWorld's, whose `open` and `use` have effects that ours lack."""
        self._facts = dict.fromkeys(initial)
        self._agent = agent
        self._reports_more = reports_more

    def __iter__(self) -> Iterator[Proposition]:
        return iter(self._facts)

    def apply(self, game: Game, before: State, action: Action) -> None:
        """Take note of what an action does, played in the state `before` it."""
        effects = _effects(game, before, action, self._agent)
        if not self._reports_more and action.verb in ("open", "use"):
            effects = effects[:1]
        for predicate, *arguments in effects:
            effect = Proposition(str(predicate), arguments)  # type: ignore[arg-type]
            self._facts.pop(effect.negate(), None)
            self._facts[effect] = None


def _effects(game: Game, before: State, action: Action, agent: Variable) -> list[tuple[str | Variable, ...]]:
    """Return the effects of the domain's action, each as its predicate and arguments."""
    verb, o, r = action
    here = Variable(game.locations[before.location].name, "location")
    thing = Variable(game.objects[o].name, "object") if o != NOTHING else agent
    place = Variable(game.receptacles[r].name, "receptacle") if r != NOTHING else agent
    match verb:
        case "go":
            there = game.receptacles[r].location
            assert there is not None
            arrived = Variable(game.locations[there].name, "location")
            return [("not_atlocation", agent, here), ("atlocation", agent, arrived)]
        case "open":
            return [("opened", place), ("checked", place)]
        case "close":
            return [("not_opened", place)]
        case "take":
            gone = [("not_inreceptacle", thing, place), ("not_objectatlocation", thing, here)]
            return [*gone, ("holds", agent, thing), ("holdsany", agent)]
        case "put":
            left = [("not_holds", agent, thing), ("not_holdsany", agent)]
            return [*left, ("inreceptacle", thing, place), ("objectatlocation", thing, here)]
        case "clean" | "heat" | "cool":
            treatment = TREATMENTS[verb]
            undone = TREATMENTS[treatment.undoes] if treatment.undoes else None
            done: list[tuple[str | Variable, ...]] = [(treatment.predicate.lower(), thing)]
            return (
                [*done, (NEGATION + undone.predicate.lower(), thing)] if undone and _occurs(game, o, undone) else done
            )
        case "slice":
            return [("issliced", thing)]
        case "use":
            # The domain turns what is on off, and what is off on; Fast Downward reports the turning off last.
            return [("istoggled", thing), ("not_ison", thing)]
        case "look":
            return [("checked", here)]
        case "inventory" | "help":
            return [("checked", agent)]
        case "examine receptacle":
            return [("checked", place)]
        case "examine object":
            return [("checked", thing)]


def _occurs(game: Game, o: int, treatment: Treatment) -> bool:
    """Return whether an object can ever have a treatment's flag: Fast Downward drops effects on what never holds."""
    if getattr(game.initial, treatment.flag) >> o & 1:
        return True
    reached = (r for r, receptacle in enumerate(game.receptacles) if receptacle.location is not None)
    return getattr(game.objects[o], treatment.ability) and any(game.treatment_at(r) is treatment for r in reached)
