"""What the game says, word for word."""

import pytest

from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look
from tests.handmade import Furniture, make_game


def told(game: Game, *commands: str) -> str:
    """What the game says of the last of these commands."""
    env = Env(game)
    words = env.reset().text
    for command in commands:
        words = env.step(command).text
    return words


def test_the_opening_has_a_banner_a_look_around_and_the_task(kitchen: Game):
    assert told(kitchen) == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a countertop 1, a drawer 2, a drawer 1, "
        "a fridge 1, a microwave 1, a sidetable 1, and a sinkbasin 1.\n\n"
        "Your task is to: heat some apple and put it in fridge."
    )


def test_a_look_in_the_middle_of_the_room_sees_nothing(kitchen: Game):
    nothing = "You are in the middle of a room. Looking quickly around you, you see nothing."
    assert told(kitchen, "look") == nothing


def test_one_who_starts_at_a_receptacle_faces_it():
    game = make_game("pick_and_place_simple", "mug", "desk", [Furniture("desk 1", 1), Furniture("shelf 1", 2)], start=2)
    assert opening_look(game) == "You are facing the shelf 1. Next to it, you see nothing."


def test_a_receptacle_without_a_location_is_not_seen():
    game = make_game("pick_and_place_simple", "mug", "desk", [Furniture("desk 1", 1), Furniture("shelf 1", None)])
    assert opening_look(game).endswith("you see a desk 1.")


COUNTER = "On the countertop 1, you see a apple 1, a knife 1, a mug 1, and a plate 1."
AT_COUNTER = ("go to countertop 1",)
AT_FRIDGE = ("go to fridge 1",)


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        (AT_COUNTER, f"You arrive at countertop 1. {COUNTER}"),
        (AT_FRIDGE, "You arrive at fridge 1. The fridge 1 is closed."),
        (("go to sinkbasin 1",), "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."),
        (("go to drawer 2",), "You arrive at drawer 2. On the drawer 2, you see a fork 1."),
        (
            (*AT_FRIDGE, "open fridge 1"),
            "You open the fridge 1. The fridge 1 is open. In it, you see a apple 2, and a lettuce 1.",
        ),
        ((*AT_FRIDGE, "open fridge 1", "close fridge 1"), "You close the fridge 1."),
        ((*AT_COUNTER, "examine countertop 1"), COUNTER),
        ((*AT_COUNTER, "take apple 1 from countertop 1"), "You pick up the apple 1 from the countertop 1."),
        (
            (*AT_COUNTER, "take apple 1 from countertop 1", "move apple 1 to drawer 2"),
            "You move the apple 1 to the drawer 2.",
        ),
        (
            (*AT_COUNTER, "look"),
            "You are facing the countertop 1, drawer 2, and drawer 1. Next to it, you see nothing.",
        ),
        (("inventory",), "You are not carrying anything."),
        ((*AT_COUNTER, "take apple 1 from countertop 1", "inventory"), "You are carrying: a apple 1."),
        (("go to sidetable 1", "use desklamp 1"), "You turn on the desklamp 1."),
        (("go to sidetable 1", "use desklamp 1", "use desklamp 1"), "You turn on the desklamp 1."),
        (
            (*AT_COUNTER, "take knife 1 from countertop 1", "slice apple 1 with knife 1"),
            "You sliced the apple 1 with the knife 1.",
        ),
        ((*AT_COUNTER, *AT_COUNTER), "Nothing happens."),
        (("fly to the moon",), "Nothing happens."),
        (("",), "Nothing happens."),
    ],
)
def test_what_the_game_says(kitchen: Game, commands: tuple[str, ...], text: str):
    assert told(kitchen, *commands) == text


def test_two_receptacles_are_listed_with_a_comma():
    game = make_game("pick_and_place_simple", "mug", "desk", [Furniture("desk 1", 1), Furniture("shelf 1", 2)])
    assert opening_look(game).endswith("you see a desk 1, and a shelf 1.")


def test_a_look_finds_what_was_moved_to_another_receptacle_here(kitchen: Game):
    moved = (*AT_COUNTER, "take apple 1 from countertop 1", "move apple 1 to drawer 2", "look")
    assert told(kitchen, *moved).endswith("Next to it, you see a apple 1.")


def test_a_look_lists_it_once_for_each_receptacle_that_it_was_taken_from(kitchen: Game):
    taken_twice = (
        *AT_COUNTER,
        "open drawer 1",
        *("take apple 1 from countertop 1", "move apple 1 to drawer 1"),
        *("take apple 1 from drawer 1", "move apple 1 to drawer 2"),
    )
    assert told(kitchen, *taken_twice, "look").endswith("Next to it, you see a apple 1, and a apple 1.")


def test_a_look_finds_it_no_more_when_it_is_back(kitchen: Game):
    back = (*AT_COUNTER, "take apple 1 from countertop 1", "move apple 1 to countertop 1", "look")
    assert told(kitchen, *back).endswith("Next to it, you see nothing.")


def test_the_help_ends_with_a_line_break(kitchen: Game):
    text = told(kitchen, "help")
    assert text.startswith(
        "Available commands:\n  look:                             look around your current location\n"
    )
    assert text.endswith("  slice (object) with (object):     slice an object using a sharp object\n")
    assert len(text.splitlines()) == 14


def test_in_older_games_one_arrives_at_a_location_and_puts_things_in_or_on():
    furniture = [Furniture("desk 1", 1, ("mug 1",)), Furniture("shelf 1", 2)]
    game = make_game("pick_and_place_simple", "mug", "shelf", furniture, older=True)
    taken = ("go to desk 1", "take mug 1 from desk 1")
    assert told(game, "go to desk 1") == "You arrive at loc 1. On the desk 1, you see a mug 1."
    assert told(game, *taken, "put mug 1 in/on desk 1") == "You put the mug 1 in/on the desk 1."
    assert told(game, "help") == "Nothing happens."


# Examining what is held: which of its states is told.


def examined(*flags: str, thing: str = "apple", facts: tuple[str, ...] = ()) -> str:
    furniture = [Furniture("desk 1", 1, (f"{thing} 1",)), Furniture("shelf 1", 2)]
    more = (*(f"{flag} <{thing} 1>" for flag in flags), *facts)
    game = make_game("pick_and_place_simple", thing, "shelf", furniture, facts=more)
    return told(game, "go to desk 1", f"take {thing} 1 from desk 1", f"examine {thing} 1")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ((), "There's nothing special about apple 1."),
        (("ishot",), "This is a hot apple 1."),
        (("iscool",), "This is a cold apple 1."),
        (("isclean",), "This is a clean apple 1."),
        (("issliced",), "This is a sliced apple 1."),
        (("isclean", "ishot"), "This is a hot and clean apple 1."),
        (("isclean", "iscool"), "This is a cool and clean apple 1."),
        (("ishot", "issliced"), "This is a hot sliced apple 1."),
        (("iscool", "issliced"), "This is a cool sliced apple 1."),
        (("isclean", "issliced"), "This is a clean sliced apple 1."),
        (("isclean", "ishot", "issliced"), "This is a hot and clean sliced apple 1."),
        (("isclean", "iscool", "issliced"), "This is a cool and clean sliced apple 1."),
        (("ishot", "iscool"), "This is a hot apple 1."),
    ],
)
def test_the_states_of_a_held_object(flags: tuple[str, ...], text: str):
    assert examined(*flags) == text


def test_a_held_object_that_can_hold_others_tells_what_is_in_it_whatever_its_state():
    facts = ("objecttype <spoon 1> spoontype", "inreceptacleobject <spoon 1> <mug 1>")
    assert examined("ishot", thing="mug") == "This is a normal mug 1. In it, you see nothing."
    assert examined("ishot", thing="mug", facts=facts) == "This is a normal mug 1. In it, you see a spoon 1."


def test_a_held_lamp_tells_that_it_is_on():
    lamp = {"thing": "desklamp", "facts": ("pickupable <desklamp 1>",)}
    assert examined("istoggled", **lamp) == "This desklamp 1 is on."
    assert examined(**lamp) == "There's nothing special about desklamp 1."
