"""What is read from a game file, and what is said of one that cannot be played."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.errors import GameFileError
from alfworld_sft.world import Game, load_game, parse_game
from alfworld_sft.world.game import LightGoal, PlaceGoal
from alfworld_sft.world.gamefile import default_game_id
from tests.handmade import Furniture, id_of, kitchen_file, make_game

MUGS = [Furniture("desk 1", 1, ("mug 1", "desklamp 1")), Furniture("shelf 1", 2, ("mug 2",))]


def names(game: Game, indices: Any) -> set[str]:
    return {game.objects[i].name for i in indices}


def test_names_are_numbered_within_a_class_from_the_last_id_on(kitchen: Game):
    assert [thing.name for thing in kitchen.receptacles] == [
        "countertop 1",
        "drawer 2",
        "drawer 1",
        "fridge 1",
        "microwave 1",
        "sidetable 1",
        "sinkbasin 1",
    ]


def test_an_id_with_basin_in_it_is_of_a_class_of_its_own(kitchen: Game):
    assert kitchen.receptacles[-1].name == "sinkbasin 1"


def test_objects_know_what_can_be_done_with_them(kitchen: Game):
    apple = next(thing for thing in kitchen.objects if thing.name == "apple 1")
    assert (apple.type, apple.pickupable, apple.cleanable, apple.heatable) == ("appletype", True, True, True)
    assert (apple.coolable, apple.sliceable, apple.toggleable, apple.holds_objects) == (True, True, False, False)


def test_an_object_can_lie_in_two_receptacles(kitchen: Game):
    mug = next(i for i, thing in enumerate(kitchen.objects) if thing.name == "mug 1")
    holders = [kitchen.receptacles[r].name for r, held in enumerate(kitchen.initial.contents) if mug in held]
    assert holders == ["countertop 1", "microwave 1"]


def test_receptacles_can_share_a_location(kitchen: Game):
    shared = kitchen.locations[kitchen.receptacles[0].location or 0].receptacles
    assert [kitchen.receptacles[r].name for r in shared] == ["countertop 1", "drawer 2", "drawer 1"]


def test_the_agent_starts_where_the_file_says():
    game = make_game("pick_and_place_simple", "mug", "desk", MUGS, start=2)
    assert [game.receptacles[r].name for r in game.locations[game.initial.location].receptacles] == ["shelf 1"]


def test_what_is_inside_an_object_is_listed_with_it(kitchen: Game):
    mug = next(thing for thing in kitchen.objects if thing.name == "mug 1")
    assert names(kitchen, mug.inner) == {"spoon 1"}


def test_nothing_is_listed_inside_itself():
    """The reference gives two variables two values."""
    game = make_game("pick_and_place_simple", "mug", "desk", MUGS, facts=["inreceptacleobject <mug 1> <mug 1>"])
    assert [thing.inner for thing in game.objects] == [(), (), ()]


def test_flags_that_hold_at_the_start_are_kept():
    facts = ["isclean <mug 1>", "iscool <mug 2>", "istoggled <desklamp 1>", "opened <desk 1>"]
    start = make_game("pick_and_place_simple", "mug", "desk", MUGS, facts=facts).initial
    assert (start.clean, start.cool, start.toggled, start.opened) == (0b100, 0b010, 0b001, 0b01)


@pytest.mark.parametrize(
    ("task_type", "flags", "count"),
    [
        ("pick_and_place_simple", (), 1),
        ("pick_clean_then_place_in_recep", ("clean",), 1),
        ("pick_heat_then_place_in_recep", ("hot",), 1),
        ("pick_cool_then_place_in_recep", ("cool",), 1),
        ("pick_two_obj_and_place", (), 2),
    ],
)
def test_the_goal_says_what_is_to_lie_where(task_type: Any, flags: tuple[str, ...], count: int):
    game = make_game(task_type, "mug", "desk", MUGS)
    assert game.task_type == task_type
    assert game.goal == PlaceGoal(frozenset({1, 2}), (0,), flags, count)


def test_what_cannot_get_the_flag_is_no_goal_object():
    game = make_game("pick_clean_then_place_in_recep", "mug", "desk", MUGS, without=["cleanable <mug 1>"])
    assert isinstance(game.goal, PlaceGoal)
    assert names(game, game.goal.objects) == {"mug 2"}


def test_the_goal_of_a_light_says_what_is_to_be_held_beside_which_lamp():
    game = make_game("look_at_obj_in_light", "mug", "desklamp", MUGS)
    assert game.task_type == "look_at_obj_in_light"
    assert game.goal == LightGoal(frozenset({1, 2}), frozenset({0}))


def test_a_walkthrough_of_raw_ids_is_told_in_names():
    raw = (f"go to {id_of('desk 1')}", f"take {id_of('mug 1').upper()} from {id_of('desk 1')}", "look")
    game = make_game("pick_and_place_simple", "mug", "desk", MUGS, walkthrough=raw)
    assert game.walkthrough == ("go to desk 1", "take mug 1 from desk 1", "look")


def test_a_walkthrough_of_names_is_kept():
    game = make_game("pick_and_place_simple", "mug", "desk", MUGS, walkthrough=("go to desk 1",))
    assert game.walkthrough == ("go to desk 1",)


def test_a_file_is_known_by_its_two_folders_and_its_scene_by_the_number_there(tmp_path: Path):
    file = tmp_path / "pick_heat_then_place_in_recep-Apple-None-Fridge-7" / "trial_1" / "game.tw-pddl"
    file.parent.mkdir(parents=True)
    file.write_bytes(kitchen_file())
    game = load_game(file)
    assert game.id == "pick_heat_then_place_in_recep-Apple-None-Fridge-7/trial_1"
    assert game.scene == 7


def test_a_file_with_another_name_is_known_by_that():
    assert default_game_id(Path("a/b/mine.tw-pddl")) == "mine"


@pytest.mark.real_games
def test_published_files_can_be_read(real_game_paths: list[Path]):
    """All of them play by the same rules."""
    assert {load_game(path).variant.version for path in real_game_paths} == {"move"}


# Files that cannot be played.


def edited(**changes: Any) -> bytes:
    """The kitchen's file with some keys replaced; None leaves one out."""
    data = json.loads(kitchen_file()) | changes
    return json.dumps({key: value for key, value in data.items() if value is not None}).encode()


def problem(old: str, new: str) -> bytes:
    """The kitchen's file with one thing replaced in its PDDL problem."""
    text = json.loads(kitchen_file())["pddl_problem"]
    assert old in text
    return edited(pddl_problem=text.replace(old, new, 1))


APPLE = id_of("apple 1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "it is not a JSON object"),
        (b'{"a": "\xff"}', "it is not JSON: 'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
        (b"[" * 100_000, "it is not JSON: "),
        (b" " * (4 * 2**20 + 1), "it is larger than 4194304 bytes; no game is"),
        (edited(grammar=None), "it lacks the text 'grammar'"),
        (edited(pddl_problem=5), "it lacks the text 'pddl_problem'"),
        (edited(pddl_domain="(define)"), "its PDDL domain is not one of ALFWorld's; changed rules cannot be played"),
        (edited(pddl_domain="("), "its PDDL domain cannot be read: an opening bracket is never closed"),
        (edited(grammar=""), "its grammar has no plain 'task' rule (\"Your task is to: …\")"),
        (edited(walkthrough="look"), "its walkthrough is not a list of commands"),
        (edited(walkthrough=["look\n"]), "its walkthrough is not a list of commands"),
        (edited(pddl_problem="(define))"), "its PDDL problem cannot be read: a closing bracket has no opening one"),
        (edited(pddl_problem="()"), "its PDDL problem is not a single (define …)"),
        (edited(pddl_problem="(define x)"), "its PDDL problem is not made of (:name …) parts, each once"),
        (edited(pddl_problem="(define (:init))"), "its PDDL problem lacks one of :objects, :init and :goal"),
        (problem("alfred", "chess"), "its PDDL problem belongs to another domain than 'alfred'"),
        (problem("(:init", "(:inits) (:init"), "its PDDL problem has the unknown part :inits"),
        (problem("(:init", "(:init) (:init"), "its PDDL problem is not made of (:name …) parts, each once"),
        (problem("(:init", "(:init stray"), "its :init has a stray stray"),
        (problem("(:init", "(:init (on a b)"), "its :init has the unknown fact (on a b)"),
        (problem("(:init", "(:init (opened)"), "its :init has the unknown fact (opened)"),
        (problem("(:init", "(:init (openable x y)"), "its :init has the unknown fact (openable x y)"),
        (problem("(:init", "(:init (not (opened x))"), "its :init has the unknown fact (not (opened x))"),
        (problem("(:init", f"(:init (opened {APPLE})"), f"its :init uses {APPLE} as receptacle and as object"),
        (
            problem(f"{APPLE} - object", ""),
            f"its :objects do not declare {APPLE} as the object that its :init uses",
        ),
        (
            problem(f"{APPLE} - object", f"{APPLE} - receptacle"),
            f"its :objects do not declare {APPLE} as the object that its :init uses",
        ),
        (problem("(:objects", f"(:objects {APPLE} - object"), "its :objects declare a name twice"),
        (problem("(:objects", "(:objects mug"), "its :objects are not of the form 'name - kind'"),
        (
            problem("(:init", f"(:init (objecttype {APPLE} mugtype)"),
            f"its :init gives {APPLE} two values of objecttype",
        ),
        (problem("(atlocation", "(atlocation2"), "its :init has the unknown fact"),
        (problem("(isHot", "(isCool"), "its goal is none of ALFWorld's six"),
        (problem("(:goal (and", "(:goal (or"), "its goal is none of ALFWorld's six"),
        (problem("(:goal (and", "(:goal (and (openable ?r)"), "its goal is none of ALFWorld's six"),
    ],
)
def test_a_file_that_cannot_be_played_is_refused_with_the_reason(content: bytes, reason: str):
    with pytest.raises(GameFileError) as caught:
        parse_game(content, game_id="kitchen", file="folder/game.tw-pddl")
    assert str(caught.value).startswith(f"folder/game.tw-pddl: {reason}")


def test_an_id_that_the_reference_could_not_name_is_refused():
    content = kitchen_file().replace(APPLE.encode(), b"apple99")
    with pytest.raises(GameFileError, match="its :init names apple99, which is no id of the form Class_bar_position"):
        parse_game(content, game_id="kitchen")


def test_an_agent_in_two_places_is_refused():
    content = kitchen_file(facts=["atlocation agent1 <loc 1>"])
    with pytest.raises(GameFileError, match="its :init puts an agent at a location 2 times, not once"):
        parse_game(content, game_id="kitchen")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(GameFileError, match=r"^no/game\.tw-pddl: No such file or directory$"):
        load_game("no/game.tw-pddl")


def test_a_folder_is_no_game(tmp_path: Path):
    with pytest.raises(GameFileError, match=r": it is not a regular file$"):
        load_game(tmp_path)


def test_a_pipe_does_not_keep_us_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "game.tw-pddl")
    with pytest.raises(GameFileError, match=r": it is not a regular file$"):
        load_game(tmp_path / "game.tw-pddl")


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(GameFileError, match=r"^'a.x00b': .*null (byte|character)"):
        load_game("a\0b")


def test_the_message_stays_one_line_whatever_the_file_is_called(tmp_path: Path):
    file = tmp_path / "a\nb\x1b[31m.tw-pddl"
    file.write_bytes(b"{}")
    with pytest.raises(GameFileError) as caught:
        load_game(file)
    assert str(caught.value).isprintable()
    assert r"a\nb\x1b[31m.tw-pddl" in str(caught.value)


def test_a_reason_is_never_longer_than_a_few_lines():
    content = edited(pddl_problem="(define (:objects) (:goal) (:init (" + "x" * 100_000 + ")))")
    with pytest.raises(GameFileError) as caught:
        parse_game(content, game_id="kitchen")
    assert len(str(caught.value)) < 400
