import pytest

from alfworld_sft.policies.expert.reading import Offers, Reading, read_observation, read_offers
from alfworld_sft.prompts.formats import read_reply, shown_answer

FLIES = read_reply("trinity", "<action>fly</action>", (), ())
"""A reply that no game can play."""


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (
            "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 2, and a desk 1.",
            Reading("room", names=("bed 1", "desk 2", "desk 1")),
        ),
        ("You are in the middle of a room. Looking quickly around you, you see nothing.", Reading("other")),
        (
            "You arrive at desk 1. On the desk 1, you see a mug 2, and a pen 1.",
            Reading("arrive", "desk 1", access="flat", contents=("mug 2", "pen 1"), how="desk 1"),
        ),
        (
            "You arrive at loc 3. On the countertop 1, you see a apple 1.",
            Reading("arrive", "countertop 1", access="flat", contents=("apple 1",), how="loc 3"),
        ),
        (
            "You arrive at shelf 1. On the shelf 1, you see nothing.",
            Reading("arrive", "shelf 1", access="flat", contents=(), how="shelf 1"),
        ),
        (
            "You arrive at loc 12. The drawer 2 is closed.",
            Reading("arrive", "drawer 2", access="closed", how="loc 12"),
        ),
        (
            "You arrive at fridge 1. The fridge 1 is open. In it, you see a egg 1.",
            Reading("arrive", "fridge 1", access="open", contents=("egg 1",), how="fridge 1"),
        ),
        (
            "You open the safe 1. The safe 1 is open. In it, you see nothing.",
            Reading("open", "safe 1", access="open", contents=()),
        ),
        ("You close the safe 1.", Reading("close", "safe 1")),
        ("On the bed 1, you see a book 1.", Reading("sight", "bed 1", access="flat", contents=("book 1",))),
        ("The safe 1 is closed.", Reading("sight", "safe 1", access="closed")),
        ("The safe 1 is open. In it, you see a cd 1.", Reading("sight", "safe 1", access="open", contents=("cd 1",))),
        ("You pick up the mug 2 from the desk 1.", Reading("take", "desk 1", "mug 2")),
        ("You move the mug 2 to the shelf 3.", Reading("put", "shelf 3", "mug 2")),
        ("You put the mug 2 in/on the shelf 3.", Reading("put", "shelf 3", "mug 2")),
        ("You clean the mug 2 using the sinkbasin 1.", Reading("treat", "sinkbasin 1", "mug 2", how="clean")),
        ("You heat the egg 1 using the microwave 1.", Reading("treat", "microwave 1", "egg 1", how="heat")),
        ("You cool the egg 1 using the fridge 1.", Reading("treat", "fridge 1", "egg 1", how="cool")),
        ("You turn on the desklamp 1.", Reading("use", object="desklamp 1")),
        (
            "You are facing the desk 1, and drawer 3. Next to it, you see nothing.",
            Reading("here", names=("desk 1", "drawer 3")),
        ),
        ("You are carrying: a mug 2.", Reading("hand", object="mug 2")),
        ("You are not carrying anything.", Reading("hand")),
        ("This is a hot and clean apple 1.", Reading("object", object="apple 1", how="hot and clean")),
        ("This is a normal plate 1. In it, you see a egg 1.", Reading("object", object="plate 1", how="normal")),
        ("There's nothing special about pen 1.", Reading("object", object="pen 1")),
        ("Nothing happens.", Reading("refused")),
        (shown_answer("trinity", FLIES, "Nothing happens."), Reading("refused")),
        ("Available commands:\n  look: …", Reading("other")),
    ],
)  # fmt: skip
def test_each_form_of_observation_is_read(text, reading):
    assert read_observation(text) == reading


def test_admissible_commands_are_sorted_by_what_they_tell():
    offers = read_offers(
        (
            "clean mug 1 with sinkbasin 1", "close drawer 1", "examine drawer 1", "examine mug 1", "go to bed 1",
            "help", "inventory", "look", "move mug 1 to drawer 1", "open drawer 2", "use desklamp 1",
        )
    )  # fmt: skip
    assert offers == Offers(
        go=("bed 1",),
        examine=("drawer 1", "mug 1"),
        open=("drawer 2",),
        close=("drawer 1",),
        take=(),
        put=(("mug 1", "drawer 1"),),
        treat=(("mug 1", "sinkbasin 1"),),
        use=("desklamp 1",),
    )
    assert offers.held == "mug 1"


def test_offers_in_the_older_wording_name_the_held_object():
    assert read_offers(("put mug 1 in/on shelf 2",)).put == (("mug 1", "shelf 2"),)


def test_offers_to_take_name_object_and_receptacle():
    offers = read_offers(("take mug 1 from shelf 2",))
    assert offers.take == (("mug 1", "shelf 2"),)
    assert offers.held is None
