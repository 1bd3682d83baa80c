"""Which commands are admissible: one oddity of the reference a test."""

import pytest

from alfworld_sft.world import Game
from tests.handmade import Furniture, make_game
from tests.world.commands import CUPBOARD, commands_after


def test_in_the_middle_of_the_room_one_can_go_everywhere(kitchen: Game):
    assert commands_after(kitchen) == (
        "go to countertop 1",
        "go to drawer 1",
        "go to drawer 2",
        "go to fridge 1",
        "go to microwave 1",
        "go to sidetable 1",
        "go to sinkbasin 1",
        "help",
        "inventory",
        "look",
    )


def test_at_a_place_all_that_is_in_reach_can_be_used(kitchen: Game):
    assert commands_after(kitchen, "go to countertop 1") == (
        "examine countertop 1",
        "examine drawer 1",
        "examine drawer 2",
        "go to fridge 1",
        "go to microwave 1",
        "go to sidetable 1",
        "go to sinkbasin 1",
        "help",
        "inventory",
        "look",
        "open drawer 1",
        "take apple 1 from countertop 1",
        "take fork 1 from drawer 2",
        "take knife 1 from countertop 1",
        "take mug 1 from countertop 1",
        "take plate 1 from countertop 1",
    )


def test_the_commands_are_sorted_and_each_once(kitchen: Game):
    listed = commands_after(kitchen, "go to countertop 1", "take knife 1 from countertop 1")
    assert list(listed) == sorted(set(listed))


def test_older_games_have_no_help_and_other_words():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD, older=True)
    taken = ("go to cabinet 1", "open cabinet 1", "take mug 1 from cabinet 1")
    assert commands_after(game, *taken, verbs=("help", "put", "move")) == ("put mug 1 in/on cabinet 1",)


def test_what_is_closed_gives_and_takes_nothing():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD)
    assert commands_after(game, "go to cabinet 1", verbs=("open", "close", "take")) == ("open cabinet 1",)


def test_what_is_open_can_be_closed_and_taken_from():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD)
    after = commands_after(game, "go to cabinet 1", "open cabinet 1", verbs=("open", "close", "take"))
    assert after == ("close cabinet 1", "take mug 1 from cabinet 1")


def test_the_hand_holds_one_thing(kitchen: Game):
    assert commands_after(kitchen, "go to countertop 1", "take apple 1 from countertop 1", verbs=("take",)) == ()


def test_what_is_held_can_be_put_where_its_type_may_lie():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD, without=["cancontain desktype mugtype"])
    taken = ("go to cabinet 1", "open cabinet 1", "take mug 1 from cabinet 1")
    assert commands_after(game, *taken, verbs=("move",)) == ("move mug 1 to cabinet 1",)
    assert commands_after(game, *taken, "go to desk 1", verbs=("move",)) == ()


def test_only_what_is_held_can_be_examined(kitchen: Game):
    taken = ("go to countertop 1", "take apple 1 from countertop 1")
    examined = [c for c in commands_after(kitchen, *taken, verbs=("examine",)) if "drawer" not in c]
    assert examined == ["examine apple 1", "examine countertop 1"]


def test_a_closed_microwave_heats_and_a_closed_fridge_cools(kitchen: Game):
    taken = ("go to countertop 1", "take apple 1 from countertop 1")
    assert commands_after(kitchen, *taken, "go to microwave 1", verbs=("heat",)) == ("heat apple 1 with microwave 1",)
    assert commands_after(kitchen, *taken, "go to fridge 1", verbs=("cool",)) == ("cool apple 1 with fridge 1",)


@pytest.mark.parametrize(
    ("place", "older", "cleans"),
    [
        ("sinkbasin", False, True),
        ("sink", False, True),
        ("bathtubbasin", False, False),
        ("sinkbasin", True, True),
        ("sink", True, False),
    ],
)
def test_one_cleans_in_a_sink_basin_and_since_2024_in_a_sink(place: str, older: bool, cleans: bool):
    furniture = [Furniture(f"{place} 1", 1, ("mug 1",)), Furniture("desk 1", 2)]
    game = make_game("pick_clean_then_place_in_recep", "mug", "desk", furniture, older=older)
    taken = (f"go to {place} 1", f"take mug 1 from {place} 1")
    assert bool(commands_after(game, *taken, verbs=("clean",))) == cleans


def test_a_lamp_can_be_used_in_a_closed_drawer():
    furniture = [Furniture("drawer 1", 1, ("desklamp 1",)), Furniture("desk 1", 2, ("mug 1",))]
    game = make_game("look_at_obj_in_light", "mug", "desklamp", furniture)
    assert commands_after(game, "go to drawer 1", verbs=("use",)) == ("use desklamp 1",)


def test_with_a_knife_one_slices_what_is_at_the_same_location(kitchen: Game):
    taken = ("go to countertop 1", "take knife 1 from countertop 1")
    assert commands_after(kitchen, *taken, verbs=("slice",)) == ("slice apple 1 with knife 1",)


def test_with_a_knife_one_slices_what_cannot_be_seen(kitchen: Game):
    taken = ("go to countertop 1", "take knife 1 from countertop 1", "go to fridge 1")
    after = commands_after(kitchen, *taken, verbs=("slice",))
    assert after == ("slice apple 2 with knife 1", "slice lettuce 1 with knife 1")


def test_a_butterknife_slices_and_a_fork_does_not():
    furniture = [Furniture("desk 1", 1, ("apple 1", "butterknife 1", "fork 1"))]
    game = make_game("pick_and_place_simple", "apple", "desk", furniture)
    assert commands_after(game, "go to desk 1", "take butterknife 1 from desk 1", verbs=("slice",)) != ()
    assert commands_after(game, "go to desk 1", "take fork 1 from desk 1", verbs=("slice",)) == ()


def test_taking_forgets_the_objects_location_only_here():
    """In half of the real games some object's recorded location is not its receptacle's."""
    furniture = [Furniture("desk 1", 1, ("apple 1", "knife 1")), Furniture("shelf 1", 2)]
    facts = ["objectatlocation <apple 1> <loc 2>"]
    game = make_game("pick_and_place_simple", "apple", "desk", furniture, facts=facts)
    sliced = ("go to desk 1", "take apple 1 from desk 1", "go to shelf 1", "move apple 1 to shelf 1")
    after = (*sliced, "take apple 1 from shelf 1", "go to desk 1", "move apple 1 to desk 1", "take knife 1 from desk 1")
    assert commands_after(game, *after, verbs=("slice",)) == ("slice apple 1 with knife 1",)
    assert commands_after(game, *after, "go to shelf 1", verbs=("slice",)) == ()


def test_the_list_of_commands_is_kept_only_while_it_holds(kitchen: Game):
    """Lists are cached by what decides them; a knife's depend on where things lie as well."""
    before = ("go to countertop 1", "take knife 1 from countertop 1")
    assert commands_after(kitchen, *before, verbs=("slice",)) == ("slice apple 1 with knife 1",)
    moved = (
        "go to countertop 1",
        "take apple 1 from countertop 1",
        "go to sinkbasin 1",
        "move apple 1 to sinkbasin 1",
        *before,
    )
    assert commands_after(kitchen, *moved, verbs=("slice",)) == ()
