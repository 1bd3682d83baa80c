"""New games, as many as one likes: a seed and options → a game that can be won, in a room like the real ones.

A task is chosen, then a room that has what it needs, then every thing its place, all with the chances that were
counted in the real train games. The shortest plan proves that the game can be won, and is stored as walkthrough.
The same seed and options give the same bytes with every Python, but for a new version of this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from alfworld_sft.types import TaskType
from alfworld_sft.world.blueprint import Blueprint, Thing, file_bytes, game_of, in_id_order, sha256_of
from alfworld_sft.world.dice import Choices, Dice
from alfworld_sft.world.gamefile import NOTHING, Game
from alfworld_sft.world.houses import (
    ENDLESS_SCENES,
    NORMAL,
    TRAIN_SCENES,
    UNSEEN_SCENES,
    Difficulty,
    House,
    Scenes,
    Space,
    build,
    sketch,
)
from alfworld_sft.world.plan import UnsolvableError, shortest_plan
from alfworld_sft.world.statistics import Room, statistics
from alfworld_sft.world.tasks import Task, check_tasks, choose_task, choose_type, copies, sentence

GeneratedSplit = Literal["train", "valid_seen", "valid_unseen"]
SCENES: dict[str, Scenes] = {"train": TRAIN_SCENES, "valid_seen": TRAIN_SCENES, "valid_unseen": UNSEEN_SCENES}
"""The rooms of each split: those of valid_seen are the training rooms, with other things and tasks in them."""
ROOMS_TRIED = 64
TASKS_TRIED = 64
PLACES_TRIED = 6


@dataclass(frozen=True, slots=True)
class GeneratedGame:
    """A game with all that its two files say. Equal `sha256` (of the blueprint) mean the same game."""

    blueprint: Blueprint
    sha256: str
    game: Game

    @property
    def id(self) -> str:
        """Task folder and trial folder, as ALFWorld names them; the trial's name is a hash of the content."""
        return self.game.id

    def file_bytes(self) -> bytes:
        """Return the content of `game.tw-pddl`."""
        return file_bytes(self.blueprint, self.game.walkthrough or (), f"plan_{self.id.split('/')[1]}")

    def traj_bytes(self) -> bytes:
        """Return the content of `traj_data.json`."""
        return json.dumps(traj_data(self.blueprint, self.id), indent=1).encode() + b"\n"


def generate_game(
    seed: int | str,
    *,
    task_types: Sequence[TaskType] | None = None,
    rooms: Sequence[Room] | None = None,
    difficulty: Difficulty = NORMAL,
    split: GeneratedSplit = "train",
    endless: bool = False,
) -> GeneratedGame:
    """Return the game of a seed. `endless` sets train games in a room of their own, not in one of the 60 of a kind.

    Raises UserError where the options leave no task.
    """
    pairs = check_tasks(task_types, rooms)
    scenes = ENDLESS_SCENES if endless and split == "train" else SCENES[split]
    dice = Dice(f"game {seed} {split} {scenes.first} {tuple(difficulty)} {pairs}")
    task_type = choose_type(dice, pairs)
    while True:
        found = _room_for_a_task(dice, task_type, pairs, scenes, difficulty)
        if found is None:
            continue
        blueprint = furnish(dice, *found, difficulty)
        if blueprint is not None:
            generated = from_blueprint(blueprint, split)
            if generated is not None:
                return generated


def from_blueprint(blueprint: Blueprint, split: str) -> GeneratedGame | None:
    """Return the game, its shortest plan as walkthrough; None where there is no plan, or the game is won already."""
    sha256 = sha256_of(blueprint)
    game = game_of(blueprint, game_id=game_id(blueprint, sha256), split=split)
    try:
        plan = shortest_plan(game)
    except UnsolvableError:
        return None
    return GeneratedGame(blueprint, sha256, replace(game, walkthrough=plan)) if plan else None


def game_id(blueprint: Blueprint, sha256: str) -> str:
    """Return `TASK/TRIAL`, as in `pick_heat_then_place_in_recep-Egg-None-Fridge-43/trial_T0123456789abcdef`."""
    task = f"{blueprint.task_type}-{blueprint.target}-None-{blueprint.goal}-{blueprint.scene}"
    return f"{task}/trial_T{sha256[:16]}"


def traj_data(blueprint: Blueprint, name: str) -> dict[str, Any]:
    """Return what ALFRED's file beside a game says of it, as far as the text games know it."""
    looks = blueprint.task_type == "look_at_obj_in_light"
    return {
        "task_id": name.split("/")[1],
        "task_type": blueprint.task_type,
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": blueprint.target,
            "parent_target": "" if looks else blueprint.goal,
            "toggle_target": blueprint.goal if looks else "",
        },
        "scene": {"floor_plan": f"Generated{blueprint.scene}", "scene_num": blueprint.scene},
        "plan": {"high_pddl": [], "low_actions": []},
        "images": [],
        "turk_annotations": {
            "anns": [{"assignment_id": "generated", "high_descs": [], "task_desc": blueprint.task, "votes": []}]
        },
    }


def _room_for_a_task(
    dice: Dice, task_type: TaskType, pairs: tuple[tuple[TaskType, Room], ...], scenes: Scenes, difficulty: Difficulty
) -> tuple[Task, House] | None:
    """Choose a task, then a room that has its furniture, lamp and things; None where no such room was met."""
    task = choose_task(dice, task_type, pairs)
    for _ in range(ROOMS_TRIED):
        number = scenes.number(task.room, dice.below(scenes.rooms))
        there = sketch(task.room, number, difficulty)
        if task.target in there.things and (task.goal in there.furniture or task.goal in there.fixtures):
            house = build(task.room, number, difficulty)
            if task.goal in there.furniture or any(lamp.holders for lamp in house.fixtures if lamp.type == task.goal):
                return task, house
    return None


def furnish(dice: Dice, task: Task, house: House, difficulty: Difficulty) -> Blueprint | None:
    """Put the things of a game into a room; None where the targets find no place."""
    space = Space(dice, house.spots, house.fixtures)
    filling = Filling(dice, house, space, difficulty)
    facts = statistics().rooms[house.room].things
    for t in facts:
        if t == task.target:
            if not filling.add_targets(task, copies(dice, task)):
                return None
        elif t in house.sketch.things:
            filling.add_others(t)
    things = [
        thing._replace(
            cool=thing.type == task.target and any(house.furniture[r].type == "Fridge" for r in thing.holders)
        )
        for thing in filling.things
    ]
    filling.nest(things)
    start = space.new_spot()
    return _in_order(task, sentence(dice, task), house, things, space, start)


Places: TypeAlias = "Choices[tuple[int, ...]]"
"""Where a thing can be: the numbers of the furniture that holds it."""


class Filling:
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
        """Put what is wanted where it lies in such games; False where fewer than needed find a place."""
        facts = self._facts.tasks[task.task_type]
        furniture = self._house.furniture

        def pull(holders: tuple[int, ...]) -> float:
            if any(furniture[r].type in task.barred for r in holders):
                return 0
            return facts.in_openable if furniture[holders[0]].openable else 1

        usual = self._house.places(task.target, self._facts.rooms[task.room].things[task.target])
        anywhere = self._anywhere(task.target)
        usual, anywhere = (choices.weighed(pull) if choices else None for choices in (usual, anywhere))
        return self._add(task.target, copies, usual or anywhere, anywhere, facts.together) >= task.needed

    def add_others(self, thing_type: str) -> None:
        """Put as many things that are not wanted into the room as it is difficult."""
        facts = self._facts.rooms[self._house.room].things[thing_type]
        copies = self._dice.choose(facts.copies)
        if self._difficulty.things != 1:
            copies = self._dice.round(copies * self._difficulty.things)
        self._add(thing_type, copies, self._house.places(thing_type, facts), None, self._facts.together)

    def _add(self, thing_type: str, copies: int, usual: Places | None, anywhere: Places | None, together: float) -> int:
        """Put the copies somewhere; return how many of them furniture holds."""
        dice = self._dice
        nowhere = self._facts.rooms[self._house.room].things[thing_type].nowhere
        held = 0
        before: tuple[int, ...] = ()
        for _ in range(copies):
            places = usual
            if dice.chance(self._difficulty.unlikely):
                places = anywhere or self._anywhere(thing_type) or usual
            holders: tuple[int, ...] = ()
            if before and dice.chance(together) and self._has_room(before):
                holders = before
            elif places and not dice.chance(nowhere):
                holders = self._free(places)
            thing = self._space.put(thing_type, holders, self._house.furniture)
            for r in holders:
                self._held[r] += 1
            if holders:
                held += 1
                before = holders
                if dice.chance(self._facts.astray):
                    thing = thing._replace(spot=self._space.new_spot())
            self.things.append(thing)
        return held

    def _free(self, places: Places) -> tuple[int, ...]:
        """Return a place with room left; () where the tries meet none."""
        for _ in range(PLACES_TRIED):
            holders = self._dice.choose(places)
            if self._has_room(holders):
                return holders
        return ()

    def _has_room(self, holders: tuple[int, ...]) -> bool:
        return all(self._held[r] < self._most[r] for r in holders)

    def _anywhere(self, thing_type: str) -> Places | None:
        """Return all the furniture that such a thing fits in, each as likely as the other."""
        able = self._facts.can_contain
        fitting = [((r,), 1.0) for r, place in enumerate(self._house.furniture) if thing_type in able[place.type]]
        return Choices(fitting) if fitting else None

    def nest(self, things: list[Thing]) -> None:
        """Let a few things lie in others beside them, as a fork in a mug; they stay where they are all the same."""
        holding = {t for t, able in self._facts.abilities.items() if "holds_objects" in able}
        for outer, container in enumerate(things):
            if container.type not in holding or not container.holders or not self._dice.chance(self._facts.nested):
                continue
            beside = [
                o
                for o, thing in enumerate(things)
                if o != outer and thing.holders == container.holders and thing.type not in holding
                and "pickupable" in self._facts.abilities[thing.type] and thing.inside == NOTHING
            ]  # fmt: skip
            if beside:
                o = self._dice.pick(beside)
                things[o] = things[o]._replace(inside=outer)


def _in_order(task: Task, words: str, house: House, things: list[Thing], space: Space, start: int) -> Blueprint:
    """Return the blueprint, with everything in the order of its ids."""
    spots, furniture = in_id_order(space.spots), in_id_order(house.furniture)
    spot_rank, furniture_rank = _ranks(spots), _ranks(furniture)
    order = in_id_order(things)
    thing_rank = _ranks(order)
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


def generate_games(
    number: int,
    seed: int,
    *,
    split: GeneratedSplit = "train",
    task_types: Sequence[TaskType] | None = None,
    rooms: Sequence[Room] | None = None,
    difficulty: Difficulty = NORMAL,
) -> Iterator[GeneratedGame]:
    """Yield a set of `number` games without duplicates."""
    seen: set[str] = set()
    index = 0
    while len(seen) < number:
        game = generate_game(f"{seed}/{index}", split=split, task_types=task_types, rooms=rooms, difficulty=difficulty)
        index += 1
        if game.sha256 not in seen:
            seen.add(game.sha256)
            yield game
