import pytest

from alfworld_sft.prompts.listing import list_history, list_special_commands, shorten
from alfworld_sft.types import Exchange


def test_special_commands_leave_out_what_is_always_possible():
    commands = ["examine desk 1", "go to bed 1", "help", "inventory", "look", "open drawer 1", "use desklamp 1"]
    assert list_special_commands(commands) == "open drawer 1; use desklamp 1"


def test_special_commands_are_grouped_by_place_and_by_object():
    commands = [
        "move mug 1 to shelf 1",
        "move mug 1 to shelf 2",
        "put mug 1 in/on desk 1",
        "take pen 1 from desk 1",
        "take pen 2 from desk 1",
        "take cd 1 from desk 2",
    ]
    assert list_special_commands(commands) == (
        "move mug 1 to (shelf 1-2); put mug 1 in/on desk 1; take (pen 1-2) from desk 1; take cd 1 from desk 2"
    )


def test_what_is_in_reach_is_told_where_there_is_a_choice():
    commands = ["examine desk 1", "examine drawer 1", "examine drawer 2", "go to bed 1", "look"]
    assert list_special_commands(commands) == "examine (desk 1, drawer 1-2)"


def test_a_place_without_special_commands_says_so():
    assert list_special_commands(["look", "inventory"]) == "nothing else"


def test_history_numbers_its_steps_and_shows_a_missing_action():
    history = [Exchange("You see a desk.", "go to desk 1"), Exchange("You arrive.", "")]
    assert list_history(history, 4) == (
        "[step 4] You saw: You see a desk.\n[step 4] You did: go to desk 1\n"
        "[step 5] You saw: You arrive.\n[step 5] You did: (no valid action)"
    )


@pytest.mark.parametrize(
    ("observation", "short"),
    [
        (
            "You are in the middle of a room. Looking quickly around you, you see a cabinet 3, a cabinet 2, "
            "a cabinet 1, a desk 1, a drawer 4, and a drawer 2.",
            "cabinet 1 2 3 desk 1 drawer 2 4",
        ),
        ("You are in the middle of a room. Looking quickly around you, you see nothing.", "nothing"),
        ("You arrive at desk 1. On the desk 1, you see a pen 2, and a mug 1.", "desk 1: pen 2 mug 1"),
        ("You arrive at loc 7. On the desk 1, you see nothing.", "desk 1: nothing"),
        ("You arrive at drawer 1. The drawer 1 is closed.", "drawer 1 closed"),
        ("You open the drawer 1. The drawer 1 is open. In it, you see a cd 1.", "drawer 1 open: cd 1"),
        ("On the desk 1, you see a pen 2.", "desk 1: pen 2"),
        ("You pick up the pen 2 from the desk 1.", "ok"),
        ("You put the pen 2 in/on the desk 1.", "ok"),
        ("You turn on the desklamp 1.", "ok"),
        ("Nothing happens.", "Nothing happens."),
        ("You are carrying: a pen 2.", "You are carrying: a pen 2."),
        ("This is a hot mug 1.", "This is a hot mug 1."),
    ],
)
def test_an_observation_is_shortened_without_loss(observation, short):
    assert shorten(observation) == short
