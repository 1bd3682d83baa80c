"""What comes of an action: one oddity of the reference a test."""

from alfworld_sft.world import Game
from alfworld_sft.world.rules import goal_reached
from tests.handmade import Furniture, make_game
from tests.world.commands import CUPBOARD, played


def test_closing_undoes_opening():
    game = make_game("pick_and_place_simple", "mug", "desk", CUPBOARD)
    assert played(game, "go to cabinet 1", "open cabinet 1", "close cabinet 1").opened == 0


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


def test_using_a_lamp_again_does_not_turn_it_off(kitchen: Game):
    on = played(kitchen, "go to sidetable 1", "use desklamp 1")
    assert played(kitchen, "go to sidetable 1", "use desklamp 1", "use desklamp 1") == on


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
