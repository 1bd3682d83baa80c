"""A task and a room → a blueprint: every thing gets a place, with the chances that were counted in the real games."""

from __future__ import annotations

from typing import TypeAlias

from alfworld_sft.games.generator.blueprint import Blueprint, Thing, in_id_order
from alfworld_sft.games.generator.dice import Choices, Dice
from alfworld_sft.games.generator.facts import BANDS, statistics
from alfworld_sft.games.generator.rooms import Difficulty, House, Space
from alfworld_sft.games.generator.tasks import Task, copies, sentence
from alfworld_sft.world.game import NOTHING
from alfworld_sft.world.treatments import TREATMENTS

PLACES_TRIED = 6
DRAWS_TRIED = 40

Holders: TypeAlias = "tuple[int, ...]"
"""The numbers of the furniture that holds a thing: mostly one, () for none."""


def furnish(dice: Dice, task: Task, house: House, difficulty: Difficulty) -> Blueprint | None:
    """Put the things of a game into a room; None where the wanted ones find no place."""
    space = Space(dice, house.spots, house.fixtures)
    filling = _Filling(dice, house, space, difficulty)
    if not filling.add_targets(task, copies(dice, task)):
        return None
    for thing_type in statistics().rooms[house.room].things:
        if thing_type in house.sketch.things and thing_type != task.target:
            filling.add_others(thing_type)
    filling.nest()
    words = sentence(dice, task)
    return _in_order(task, words, house, filling.things, space, start=space.new_spot())


class _Filling:
    """The things that a game puts into a room, one after the other."""

    def __init__(self, dice: Dice, house: House, space: Space, difficulty: Difficulty) -> None:
        self.things: list[Thing] = list(house.fixtures)
        self._dice, self._house, self._space, self._difficulty = dice, house, space, difficulty
        self._facts = statistics()
        self._held = [0] * len(house.furniture)
        self._most = [self._facts.most[place.type] for place in house.furniture]
        for thing in self.things:
            for r in thing.holders:
                self._held[r] += 1

    def add_targets(self, task: Task, copies: int) -> bool:
        """Put what is wanted where it lies in such games; False where fewer than needed find a place.

        In the real games it is seldom that all of it lies where such things seldom do, and how seldom is counted by
        task type: so a band is chosen first, then places are drawn until the best of them is in the band.
        """
        facts = self._facts.tasks[task.task_type]
        furniture = self._house.furniture

        def factor(holders: Holders) -> float:
            if any(furniture[r].type in task.barred for r in holders):
                return 0
            return facts.in_openable if furniture[holders[0]].openable else 1

        usual = self._house.places(task.target, self._facts.rooms[task.room].things[task.target])
        anywhere = self._anywhere(task.target)
        usual, anywhere = (choices.weighed(factor) if choices else None for choices in (usual, anywhere))
        low, high = self._dice.choose(facts.bands)
        if self._dice.chance(self._difficulty.unlikely):
            usual, low = anywhere, 0.0
            high = BANDS[-1][1]
        drawn: list[Holders] = []
        for _ in range(DRAWS_TRIED):
            drawn = self._draw(task.target, copies, usual or anywhere, facts.together)
            if low <= self._likeliness(task, drawn) < high and sum(map(bool, drawn)) >= task.needed:
                break
        self._put(task.target, drawn, in_fridge_cool=True)
        return sum(map(bool, drawn)) >= task.needed

    def _likeliness(self, task: Task, drawn: list[Holders]) -> float:
        """Return how usual the best of the places is, against the most usual place in this room."""
        rates = self._facts.rooms[task.room].things[task.target].places
        types = {place.type for place in self._house.furniture} - task.barred
        most = max((rates.get(t, 0) for t in types), default=0)
        if not most:
            return 1.0
        places = ("+".join(sorted(self._house.furniture[r].type for r in holders)) for holders in drawn)
        return min(1.0, max((rates.get(place, 0) for place in places), default=0) / most)

    def add_others(self, thing_type: str) -> None:
        """Put as many things that are not wanted into the room as it is difficult."""
        facts = self._facts.rooms[self._house.room].things[thing_type]
        copies = self._dice.choose(facts.copies)
        if self._difficulty.things != 1:
            copies = self._dice.round(copies * self._difficulty.things)
        usual = self._house.places(thing_type, facts)
        self._put(thing_type, self._draw(thing_type, copies, usual, self._facts.together, self._difficulty.unlikely))

    def _draw(
        self, thing_type: str, copies: int, usual: Choices[Holders] | None, together: float, unlikely: float = 0.0
    ) -> list[Holders]:
        """Choose a place for each copy; () for those that no furniture holds."""
        dice = self._dice
        nowhere = self._facts.rooms[self._house.room].things[thing_type].nowhere
        drawn: list[Holders] = []
        before: Holders = ()
        for _ in range(copies):
            places = (self._anywhere(thing_type) or usual) if unlikely and dice.chance(unlikely) else usual
            holders: Holders = ()
            if before and dice.chance(together) and self._has_room(before, drawn):
                holders = before
            elif places and not dice.chance(nowhere):
                holders = self._free(places, drawn)
            drawn.append(holders)
            before = holders or before
        return drawn

    def _put(self, thing_type: str, drawn: list[Holders], *, in_fridge_cool: bool = False) -> None:
        for holders in drawn:
            thing = self._space.put(thing_type, holders, self._house.furniture)
            for r in holders:
                self._held[r] += 1
            if holders and self._dice.chance(self._facts.astray):
                thing = thing._replace(spot=self._space.new_spot())
            if in_fridge_cool and any(
                self._house.furniture[r].type == TREATMENTS["cool"].appliance_type for r in holders
            ):
                thing = thing._replace(cool=True)  # so it is in the real games, for what is wanted alone
            self.things.append(thing)

    def _free(self, places: Choices[Holders], drawn: list[Holders]) -> Holders:
        """Return a place with room left beside what is drawn already; () where the tries meet none."""
        for _ in range(PLACES_TRIED):
            holders = self._dice.choose(places)
            if self._has_room(holders, drawn):
                return holders
        return ()

    def _has_room(self, holders: Holders, drawn: list[Holders]) -> bool:
        return all(self._held[r] + sum(r in others for others in drawn) < self._most[r] for r in holders)

    def _anywhere(self, thing_type: str) -> Choices[Holders] | None:
        """Return all the furniture that such a thing fits in, each as likely as the other."""
        able = self._facts.can_contain
        fitting = [((r,), 1.0) for r, place in enumerate(self._house.furniture) if thing_type in able[place.type]]
        return Choices(fitting) if fitting else None

    def nest(self) -> None:
        """Put a few objects into others next to them, such as a fork in a mug; they also stay where they are."""
        able = self._facts.abilities
        for outer, container in enumerate(self.things):
            if "holds_objects" not in able[container.type] or not container.holders:
                continue
            if not self._dice.chance(self._facts.nested):
                continue
            beside = [
                o
                for o, thing in enumerate(self.things)
                if thing.holders == container.holders
                and thing.inside == NOTHING
                and "pickupable" in able[thing.type]
                and "holds_objects" not in able[thing.type]
            ]
            if beside:
                o = self._dice.pick(beside)
                self.things[o] = self.things[o]._replace(inside=outer)


def _in_order(task: Task, words: str, house: House, things: list[Thing], space: Space, *, start: int) -> Blueprint:
    """Return the blueprint, with everything in the order of its ids."""
    spots, furniture, order = in_id_order(space.spots), in_id_order(house.furniture), in_id_order(things)
    spot_rank, furniture_rank, thing_rank = _ranks(spots), _ranks(furniture), _ranks(order)
    return Blueprint(
        task_type=task.task_type,
        target=task.target,
        goal=task.goal,
        task=words,
        scene=house.number,
        furniture=tuple(
            place._replace(spot=spot_rank[place.spot]) for place in (house.furniture[i] for i in furniture)
        ),
        things=tuple(
            thing._replace(
                holders=tuple(sorted(furniture_rank[r] for r in thing.holders)),
                spot=spot_rank[thing.spot],
                inside=NOTHING if thing.inside == NOTHING else thing_rank[thing.inside],
            )
            for thing in (things[i] for i in order)
        ),
        spots=tuple(space.spots[i] for i in spots),
        start=spot_rank[start],
    )


def _ranks(order: list[int]) -> list[int]:
    ranks = [0] * len(order)
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks
