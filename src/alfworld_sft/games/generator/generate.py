"""New games, as many as one likes: a seed and options → a game that can be won, in a room like the real ones.

A task is chosen, then a room that has what it needs, then every thing its place, all with the chances that were
counted in the real train games. The shortest plan proves that the game can be won, and is stored as walkthrough.
The same seed and options give the same bytes with every Python, but for a new version of this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.blueprint import Blueprint, file_bytes, game_of, sha256_of
from alfworld_sft.games.generator.dice import Dice
from alfworld_sft.games.generator.facts import Room
from alfworld_sft.games.generator.furnish import furnish
from alfworld_sft.games.generator.rooms import (
    ENDLESS_SCENES,
    NORMAL,
    TRAIN_SCENES,
    UNSEEN_SCENES,
    Difficulty,
    House,
    Scenes,
    build,
    sketch,
)
from alfworld_sft.games.generator.tasks import Task, check_tasks, choose_task, choose_type
from alfworld_sft.types import TaskType
from alfworld_sft.world.game import Game
from alfworld_sft.world.plan import UnsolvableError, shortest_plan

GeneratedSplit = Literal["train", "valid_seen", "valid_unseen"]
SPLITS: tuple[GeneratedSplit, ...] = get_args(GeneratedSplit)
SCENES: Mapping[GeneratedSplit, Scenes] = {
    "train": TRAIN_SCENES,
    "valid_seen": TRAIN_SCENES,
    "valid_unseen": UNSEEN_SCENES,
}
"""The rooms of each split: those of valid_seen are the training rooms, with other things and tasks in them."""
ROOMS_TRIED = 64
TASKS_TRIED = 256


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

    Raises UserError where the options leave no task, or no room that has what it needs.
    """
    pairs = check_tasks(task_types, rooms)
    scenes = ENDLESS_SCENES if endless and split == "train" else SCENES[split]
    dice = Dice(f"game {seed} {split} {scenes.first} {tuple(difficulty)} {pairs}")
    task_type = choose_type(dice, pairs)
    for _ in range(TASKS_TRIED):
        found = _room_for_a_task(dice, task_type, pairs, scenes, difficulty)
        blueprint = furnish(dice, *found, difficulty) if found else None
        generated = from_blueprint(blueprint, split) if blueprint else None
        if generated is not None:
            return generated
    places = ", ".join(sorted({room for t, room in pairs if t == task_type}))
    raise UserError(f"no room of the split {split} has what a task of the type {task_type} needs (rooms: {places})")


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


def generate_games(
    number: int,
    seed: int,
    *,
    split: GeneratedSplit = "train",
    task_types: Sequence[TaskType] | None = None,
    rooms: Sequence[Room] | None = None,
    difficulty: Difficulty = NORMAL,
) -> Iterator[GeneratedGame]:
    """Yield a set of `number` games without duplicates; raises UserError as `generate_game`."""
    seen: set[str] = set()
    index = 0
    while len(seen) < number:
        game_seed = f"{seed}/{index}"
        made = generate_game(game_seed, split=split, task_types=task_types, rooms=rooms, difficulty=difficulty)
        index += 1
        if made.sha256 not in seen:
            seen.add(made.sha256)
            yield made
