import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import fmean

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.blueprint import Blueprint
from alfworld_sft.games.generator.facts import ROOMS, STATIONS, statistics
from alfworld_sft.games.generator.generate import GeneratedGame, generate_game, generate_games, traj_data
from alfworld_sft.games.generator.rooms import EASY, HARD, NORMAL, build, difficulty_of
from alfworld_sft.games.generator.tasks import check_tasks
from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world import Env, Game
from alfworld_sft.world.game import LightGoal

NUMBER = 600


@pytest.fixture(scope="module")
def train() -> list[GeneratedGame]:
    return list(generate_games(NUMBER, seed=0))


@pytest.fixture(scope="module")
def seen() -> list[GeneratedGame]:
    return list(generate_games(80, seed=0, split="valid_seen"))


@pytest.fixture(scope="module")
def unseen() -> list[GeneratedGame]:
    return list(generate_games(80, seed=0, split="valid_unseen"))


def held_by(blueprint: Blueprint, thing_type: str) -> list[set[str]]:
    """The types of the furniture that holds each thing of a type."""
    return [{blueprint.furniture[r].type for r in t.holders} for t in blueprint.things if t.type == thing_type]


DIGEST = """
import hashlib
from alfworld_sft.games.generator.generate import generate_game, generate_games
from alfworld_sft.games.generator.rooms import HARD
games = [*generate_games(12, 7), *generate_games(6, 7, split="valid_unseen", difficulty=HARD)]
games += [generate_game(i, endless=True) for i in range(6)]
print(hashlib.sha256(b"".join(made.file_bytes() + made.traj_bytes() for made in games)).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_gives_the_same_bytes_in_every_process(hash_seed: str):
    found = subprocess.run(
        [sys.executable, "-c", DIGEST], env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == "f88457fa2aaf560dc25cd377743fb041c1a664f015ed023f3d34c0931a28ba6f"


def test_another_seed_gives_another_game():
    assert generate_game(1).sha256 != generate_game(2).sha256


def test_a_set_has_no_game_twice(train: list[GeneratedGame]):
    assert len({made.sha256 for made in train}) == len({made.id for made in train}) == NUMBER


def test_no_game_is_won_at_the_start_and_the_walkthrough_wins_with_its_last_command(train: list[GeneratedGame]):
    for made in train:
        env = Env(made.game)
        assert not env.reset().won
        won = [env.step(command).won for command in made.game.walkthrough or ()]
        assert won[-1:] == [True], made.id
        assert not any(won[:-1]), made.id


def test_task_types_come_in_the_real_proportions(train: list[GeneratedGame]):
    counts = Counter(made.game.task_type for made in train)
    for task_type in TASK_TYPES:
        real = statistics().tasks[task_type].games / 200
        assert counts[task_type] / NUMBER == pytest.approx(real, abs=0.05), task_type


def test_ids_look_like_the_real_ones_and_say_what_the_game_is(train: list[GeneratedGame]):
    for made in train:
        task, trial = made.id.split("/")
        blueprint = made.blueprint
        assert task == f"{made.game.task_type}-{blueprint.target}-None-{blueprint.goal}-{blueprint.scene}"
        assert trial == f"trial_T{made.sha256[:16]}"


def test_goals_are_told_in_the_real_sentences():
    tasks = {made.game.task for made in generate_games(40, 0, task_types=["pick_two_obj_and_place"])}
    starts = Counter(" ".join(task.split(" ")[:2]) for task in tasks)
    assert set(starts) == {"find two", "put two"}


def test_what_is_wanted_is_not_yet_where_it_is_wanted_or_treated(train: list[GeneratedGame]):
    for made in train:
        blueprint = made.blueprint
        barred = STATIONS.get(blueprint.task_type, blueprint.goal)
        assert all(barred not in holders for holders in held_by(blueprint, blueprint.target)), made.id


def test_two_things_are_there_where_two_are_wanted():
    for made in generate_games(60, 3, task_types=["pick_two_obj_and_place"]):
        held = [holders for holders in held_by(made.blueprint, made.blueprint.target) if holders]
        assert len(held) >= 2, made.id


def test_furniture_holds_no_more_than_was_ever_seen(train: list[GeneratedGame]):
    most = statistics().most
    for made in train:
        held = Counter(r for thing in made.blueprint.things for r in thing.holders)
        assert all(number <= most[made.blueprint.furniture[r].type] for r, number in held.items()), made.id


def test_look_tasks_have_a_lamp_that_can_be_turned_on():
    for made in generate_games(60, 3, task_types=["look_at_obj_in_light"]):
        assert isinstance(made.game.goal, LightGoal)
        contents = {o for held in made.game.initial.contents for o in held}
        assert made.game.goal.lamps & contents, made.id


def test_what_is_wanted_is_cool_where_it_lies_in_a_fridge():
    cool = total = 0
    for made in generate_games(60, 3, task_types=["pick_heat_then_place_in_recep"]):
        for thing in made.blueprint.things:
            in_fridge = any(made.blueprint.furniture[r].type == "Fridge" for r in thing.holders)
            assert thing.cool == (in_fridge and thing.type == made.blueprint.target)
            cool += thing.cool
            total += 1
    assert 0 < cool < total


def test_furniture_opens_or_not_by_the_piece(train: list[GeneratedGame]):
    by_type: defaultdict[str, list[bool]] = defaultdict(list)
    mixed = 0
    for made in train:
        of_game = defaultdict(set)
        for place in made.blueprint.furniture:
            by_type[place.type].append(place.openable)
            of_game[place.type].add(place.openable)
        mixed += any(len(kinds) == 2 for kinds in of_game.values())
    assert fmean(by_type["Drawer"]) == pytest.approx(0.85, abs=0.08)
    assert fmean(by_type["Cabinet"]) == pytest.approx(0.81, abs=0.08)
    assert set(by_type["Fridge"]) == {True}
    assert set(by_type["CounterTop"]) == {False}
    assert mixed > 0.4 * NUMBER


def test_as_much_furniture_shares_a_location_as_in_real_games(train: list[GeneratedGame]):
    shared = total = 0
    for made in train:
        for location in made.game.locations:
            total += len(location.receptacles)
            shared += len(location.receptacles) if len(location.receptacles) > 1 else 0
    assert shared / total == pytest.approx(0.177, abs=0.03)


def test_furniture_that_shares_a_location_cannot_be_gone_to_from_there(train: list[GeneratedGame]):
    game, pair = next(
        (made.game, location.receptacles[:2])
        for made in train
        for location in made.game.locations
        if len(location.receptacles) > 1
    )
    first, second = (game.receptacles[r].name for r in pair)
    env = Env(game)
    env.reset()
    assert f"go to {second}" not in env.step(f"go to {first}").admissible_commands
    assert env.step(f"go to {second}").text == "Nothing happens."


def test_a_scene_is_the_same_room_in_every_game(train: list[GeneratedGame], seen: list[GeneratedGame]):
    rooms: dict[int, object] = {}
    for made in [*train, *seen]:
        layout = [(place.name, place.openable) for place in made.game.receptacles]
        assert rooms.setdefault(made.blueprint.scene, layout) == layout


def scenes(games: list[GeneratedGame]) -> set[int]:
    return {made.blueprint.scene for made in games}


def test_seen_validation_has_training_rooms_and_unseen_has_rooms_of_its_own(
    train: list[GeneratedGame], seen: list[GeneratedGame], unseen: list[GeneratedGame]
):
    possible = {base + n for base in (0, 200, 300, 400) for n in range(31, 91)}
    assert scenes(train) | scenes(seen) <= possible
    assert len(scenes(train) & scenes(seen)) > 0.8 * len(scenes(seen))
    assert scenes(unseen) <= {base + n for base in (0, 200, 300, 400) for n in range(91, 100)}


def test_no_scene_has_the_number_of_a_real_one(train: list[GeneratedGame]):
    assert all(scene % 100 > 30 for scene in scenes(train))


def test_endless_games_have_rooms_that_no_set_has():
    found = [generate_game(i, endless=True) for i in range(40)]
    assert len(scenes(found)) == 40
    assert min(scenes(found)) >= 1_000_000
    assert found[0].game.scene == found[0].blueprint.scene


def test_task_types_and_rooms_can_be_chosen():
    chosen = generate_games(20, 0, task_types=["pick_two_obj_and_place"], rooms=["bathroom"])
    assert {(made.game.task_type, made.blueprint.scene // 100) for made in chosen} == {("pick_two_obj_and_place", 4)}


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_every_split_and_room_of_a_task_type_can_be_played(task_type):
    for room in statistics().tasks[task_type].rooms:
        for split in ("train", "valid_seen", "valid_unseen"):
            made = generate_game("any", task_types=[task_type], rooms=[room], split=split)
            assert made.game.task_type == task_type


def error_of(**options) -> str:
    with pytest.raises(UserError) as error:
        generate_game(0, **options)
    return str(error.value)


def test_a_task_that_no_such_room_has_is_refused():
    assert error_of(task_types=["pick_heat_then_place_in_recep"], rooms=["bathroom"]) == (
        "no bathroom has a task of the type pick_heat_then_place_in_recep; it is set in: kitchen"
    )


def test_no_rooms_and_no_task_types_are_refused():
    assert error_of(rooms=[]) == f"no rooms are named; there are {', '.join(ROOMS)}"
    assert error_of(task_types=[]) == f"no task types are named; there are {', '.join(TASK_TYPES)}"


def test_rooms_alone_leave_out_the_task_types_that_they_do_not_have():
    assert {task_type for task_type, _ in check_tasks(None, ["bathroom"])} == {
        "pick_and_place_simple",
        "pick_clean_then_place_in_recep",
        "pick_two_obj_and_place",
    }


def mean_of(games: list[Game]) -> tuple[float, float, float]:
    return (
        fmean(len(game.receptacles) for game in games),
        fmean(fmean(place.openable for place in game.receptacles) for game in games),
        fmean(len(game.objects) for game in games),
    )


def test_harder_games_have_more_of_everything():
    easy, normal, hard = (
        mean_of([made.game for made in generate_games(60, 0, difficulty=difficulty)])
        for difficulty in (EASY, NORMAL, HARD)
    )
    assert all(low < high for levels in zip(easy, normal, hard, strict=True) for low, high in pairwise(levels))


def test_a_difficulty_is_a_name_or_a_number():
    assert (difficulty_of("easy"), difficulty_of("1"), difficulty_of("2")) == (EASY, NORMAL, HARD)
    assert difficulty_of("1.5").things == 1.25


@pytest.mark.parametrize("value", ["harder", "3", "-1", "nan"])
def test_another_difficulty_is_refused(value: str):
    with pytest.raises(UserError) as error:
        difficulty_of(value)
    assert str(error.value) == f"unknown difficulty {value!r}; there are easy, normal, hard, or a number from 0 to 2"


def test_traj_data_says_what_is_wanted():
    made = generate_game(5, task_types=["look_at_obj_in_light"])
    data = traj_data(made.blueprint, made.id)
    assert (data["task_type"], data["scene"]["scene_num"]) == ("look_at_obj_in_light", made.blueprint.scene)
    assert data["pddl_params"] == {
        "mrecep_target": "",
        "object_sliced": False,
        "object_target": made.blueprint.target,
        "parent_target": "",
        "toggle_target": "DeskLamp",
    }
    assert data["task_id"] == made.id.split("/")[1]


def test_a_room_is_built_the_same_every_time():
    house = build("kitchen", 31)
    build.cache_clear()
    assert build("kitchen", 31) == house
    assert hashlib.sha256(repr(house.furniture).encode()).hexdigest()[:12] == "7de2fa487e67"
