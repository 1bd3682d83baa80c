"""What can be done, and what comes of it: one oddity of the reference a test."""

import pytest

from alfworld_sft.world import Game
from alfworld_sft.world.game import State
from alfworld_sft.world.rules import admissible_actions, goal_reached, transition
from tests.handmade import Furniture, make_game

CUPBOARD = [Furniture("cabinet 1", 1, ("mug 1",)), Furniture("desk 1", 2)]


def played(game: Game, *commands: str) -> State:
    """The state after these commands, all of which must be admissible."""
    state = game.initial
    for command in commands:
        action = admissible_actions(game, state).action(command)
        assert action is not None, f"{command!r} is not among {commands_in(game, state)}"
        state = transition(game, state, action)
    return state


def commands_in(game: Game, state: State, *verbs: str) -> tuple[str, ...]:
    """The admissible commands, or those that begin with one of the verbs."""
    return tuple(c for c in admissible_actions(game, state).commands if not verbs or c.startswith(verbs))


def commands_after(game: Game, *commands: str, verbs: tuple[str, ...] = ()) -> tuple[str, ...]:
    return commands_in(game, played(game, *commands), *verbs)


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


def test_closing_undoes_opening():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD)
    assert played(game, "go to cabinet 1", "open cabinet 1", "close cabinet 1").opened == 0


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


def test_taking_from_one_of_two_receptacles_leaves_the_object_in_the_other(kitchen: Game):
    after = played(
        kitchen, "go to countertop 1", "take mug 1 from countertop 1", "go to microwave 1", "open microwave 1"
    )
    mug = next(i for i, thing in enumerate(kitchen.objects) if thing.name == "mug 1")
    assert after.held == mug
    assert mug in after.contents[4]


def test_putting_into_a_receptacle_twice_is_putting_once(kitchen: Game):
    taken = ("go to countertop 1", "take mug 1 from countertop 1", "go to microwave 1", "open microwave 1")
    after = played(kitchen, *taken, "move mug 1 to microwave 1")
    assert [kitchen.objects[o].name for o in after.contents[4]] == ["mug 1"]


def test_objects_are_listed_in_the_order_of_their_ids_whatever_was_moved(kitchen: Game):
    at_counter = ("go to countertop 1", "take apple 1 from countertop 1", "move apple 1 to countertop 1")
    assert played(kitchen, *at_counter).contents == kitchen.initial.contents


def test_a_closed_microwave_heats_and_a_closed_fridge_cools(kitchen: Game):
    taken = ("go to countertop 1", "take apple 1 from countertop 1")
    assert commands_after(kitchen, *taken, "go to microwave 1", verbs=("heat",)) == ("heat apple 1 with microwave 1",)
    assert commands_after(kitchen, *taken, "go to fridge 1", verbs=("cool",)) == ("cool apple 1 with fridge 1",)


def test_heat_and_cool_undo_each_other_and_leave_clean_alone(kitchen: Game):
    heated = (
        "go to countertop 1",
        "take apple 1 from countertop 1",
        "go to sinkbasin 1",
        "clean apple 1 with sinkbasin 1",
        "go to microwave 1",
        "heat apple 1 with microwave 1",
    )
    apple = 1 << next(i for i, thing in enumerate(kitchen.objects) if thing.name == "apple 1")
    hot = played(kitchen, *heated)
    cold = played(kitchen, *heated, "go to fridge 1", "cool apple 1 with fridge 1")
    assert (hot.hot, hot.cool, hot.clean) == (apple, 0, apple)
    assert (cold.hot, cold.cool, cold.clean) == (0, apple, apple)


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


def test_using_a_lamp_again_does_not_turn_it_off(kitchen: Game):
    on = played(kitchen, "go to sidetable 1", "use desklamp 1")
    assert played(kitchen, "go to sidetable 1", "use desklamp 1", "use desklamp 1") == on


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


def test_what_changes_nothing_leaves_the_state_as_it_is(kitchen: Game):
    start = played(kitchen, "go to countertop 1")
    assert played(kitchen, "go to countertop 1", "look", "inventory", "help", "examine drawer 1") == start


# Goals.


def test_an_object_in_the_receptacle_wins():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD)
    taken = ("go to cabinet 1", "open cabinet 1", "take mug 1 from cabinet 1", "go to desk 1")
    assert not goal_reached(game, played(game, *taken))
    assert goal_reached(game, played(game, *taken, "move mug 1 to desk 1"))


def test_the_object_must_have_the_flag(kitchen: Game):
    taken = ("go to countertop 1", "take apple 1 from countertop 1")
    put = ("go to fridge 1", "open fridge 1", "move apple 1 to fridge 1")
    assert not goal_reached(kitchen, played(kitchen, *taken, *put))
    assert goal_reached(kitchen, played(kitchen, *taken, "go to microwave 1", "heat apple 1 with microwave 1", *put))


def test_an_object_that_is_in_two_receptacles_wins_while_it_is_held():
    furniture = [Furniture("desk 1", 1, ("mug 1",)), Furniture("shelf 1", 2, ("mug 1",)), Furniture("sinkbasin 1", 3)]
    game = make_game("pick_clean_then_place_in_recep", "mug", "shelf", furniture)
    taken = ("go to desk 1", "take mug 1 from desk 1", "go to sinkbasin 1", "clean mug 1 with sinkbasin 1")
    assert goal_reached(game, played(game, *taken))


def test_two_objects_must_be_in_one_receptacle():
    furniture = [Furniture("shelf 1", 1, ("mug 1",)), Furniture("shelf 2", 2, ("mug 2",))]
    game = make_game("pick_two_obj_and_place", "mug", "shelf", furniture)
    assert not goal_reached(game, game.initial)
    moved = ("go to shelf 2", "take mug 2 from shelf 2", "go to shelf 1", "move mug 2 to shelf 1")
    assert goal_reached(game, played(game, *moved))


LAMP = [Furniture("desk 1", 1, ("desklamp 1",)), Furniture("shelf 1", 2, ("mug 1",))]


def test_holding_the_object_beside_the_lamp_wins_when_the_lamp_is_turned_on():
    game = make_game("look_at_obj_in_light", "mug", "desklamp", LAMP)
    held = ("go to shelf 1", "take mug 1 from shelf 1", "go to desk 1")
    assert not goal_reached(game, played(game, *held))
    assert goal_reached(game, played(game, *held, "use desklamp 1"))


def test_the_lamp_can_be_turned_on_first():
    game = make_game("look_at_obj_in_light", "mug", "desklamp", LAMP)
    held = ("go to desk 1", "use desklamp 1", "go to shelf 1", "take mug 1 from shelf 1")
    assert not goal_reached(game, played(game, *held))
    assert goal_reached(game, played(game, *held, "go to desk 1"))


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
