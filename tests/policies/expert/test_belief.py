import pytest

from alfworld_sft.policies.expert.belief import Belief
from tests.policies.play import ROOM, view


def known(belief, name):
    """Return what is believed of a receptacle, as (access, contents)."""
    place = belief.places[name]
    return place.access, place.contents


def test_the_opening_names_the_receptacles_and_nothing_else():
    belief = Belief(view(now=ROOM))
    assert list(belief.places) == ["desk 1", "drawer 2", "drawer 1", "shelf 1", "sinkbasin 1"]
    assert known(belief, "desk 1") == (None, None)
    assert (belief.here, belief.held, belief.in_reach()) == (None, "", set())


def test_what_was_seen_is_remembered_and_follows_what_was_done():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see a pen 1, and a mug 1.", "take mug 1 from desk 1"),
            ("You pick up the mug 1 from the desk 1.", "go to sinkbasin 1"),
            ("You arrive at sinkbasin 1. On the sinkbasin 1, you see a fork 1.", "clean mug 1 with sinkbasin 1"),
            now="You clean the mug 1 using the sinkbasin 1.",
        )
    )
    assert known(belief, "desk 1") == ("flat", ("pen 1",))
    assert known(belief, "sinkbasin 1") == ("flat", ("fork 1",))
    assert (belief.here, belief.held, belief.treated) == ("sinkbasin 1", "mug 1", {("mug 1", "clean")})


def test_a_thing_put_down_lies_where_the_game_would_list_it():
    belief = Belief(
        view(
            ("You pick up the mug 2 from the desk 1.", "go to shelf 1"),
            ("You arrive at shelf 1. On the shelf 1, you see a book 1, a mug 3, and a mug 1.", "move mug 2 to shelf 1"),
            now="You move the mug 2 to the shelf 1.",
        )
    )
    assert known(belief, "shelf 1") == ("flat", ("book 1", "mug 3", "mug 2", "mug 1"))
    assert belief.held == ""


def test_heating_takes_the_cold_away():
    belief = Belief(
        view(
            ("You cool the egg 1 using the fridge 1.", "go to microwave 1"),
            ("You arrive at microwave 1. The microwave 1 is closed.", "heat egg 1 with microwave 1"),
            now="You heat the egg 1 using the microwave 1.",
        )
    )
    assert belief.treated == {("egg 1", "heat")}


def test_a_refused_way_to_a_known_receptacle_means_that_it_is_in_reach():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see nothing.", "go to drawer 1"),
            now="Nothing happens.",
        )
    )
    assert belief.in_reach() == {"desk 1", "drawer 1"}
    assert known(belief, "drawer 1") == (None, None)


def test_a_refused_way_to_a_thing_that_nobody_saw_means_nothing():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see nothing.", "go to moon 1"),
            now="Nothing happens.",
        )
    )
    assert belief.in_reach() == {"desk 1"}


def test_a_refusal_of_what_is_no_command_teaches_nothing():
    """The game refused the wording, so nothing follows about the receptacle."""
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see nothing.", "go drawer 1"),
            now="Nothing happens.",
        )
    )
    assert belief.in_reach() == {"desk 1"}


def test_being_in_reach_of_each_other_is_remembered_after_leaving():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see nothing.", "go to drawer 1"),
            ("Nothing happens.", "go to shelf 1"),
            ("You arrive at shelf 1. On the shelf 1, you see nothing.", "go to drawer 1"),
            now="You arrive at drawer 1. The drawer 1 is closed.",
        )
    )
    assert belief.in_reach() == {"desk 1", "drawer 1"}


def test_a_refused_put_into_an_accessible_receptacle_means_that_it_does_not_take_such_things():
    belief = Belief(
        view(
            ("You pick up the mug 2 from the desk 1.", "go to shelf 1"),
            ("You arrive at shelf 1. On the shelf 1, you see nothing.", "move mug 2 to shelf 1"),
            now="Nothing happens.",
        )
    )
    assert belief.places["shelf 1"].refuses == {"mug"}


@pytest.mark.parametrize("said", ["put mug 2 in/on shelf 1", "heat mug 2 with shelf 1"])
def test_a_refusal_of_what_no_shelf_understands_teaches_nothing_about_it(said):
    shelf = Belief(
        view(
            ("You pick up the mug 2 from the desk 1.", "go to shelf 1"),
            ("You arrive at shelf 1. On the shelf 1, you see nothing.", said),
            now="Nothing happens.",
        )
    ).places["shelf 1"]
    assert (shelf.refuses, shelf.untreated, shelf.useless) == (frozenset(), frozenset(), False)


def test_an_appliance_that_does_not_treat_a_thing_may_treat_another():
    microwave = Belief(
        view(
            ("You pick up the book 1 from the desk 1.", "go to microwave 1"),
            ("You arrive at microwave 1. The microwave 1 is closed.", "heat book 1 with microwave 1"),
            now="Nothing happens.",
        )
    ).places["microwave 1"]
    assert microwave.untreated == {"book"}
    assert not microwave.useless


def test_looking_around_tells_what_is_in_reach():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            ("You arrive at desk 1. On the desk 1, you see nothing.", "look"),
            now="You are facing the desk 1, and drawer 1. Next to it, you see nothing.",
        )
    )
    assert belief.in_reach() == {"desk 1", "drawer 1"}


def test_admissible_commands_tell_what_is_in_reach_and_how():
    belief = Belief(
        view(
            (ROOM, "go to desk 1"),
            now="You arrive at desk 1. On the desk 1, you see a pen 1.",
            admissible=(
                "examine desk 1", "examine drawer 1", "examine drawer 2", "examine drawer 3", "go to shelf 1",
                "help", "inventory", "look", "close drawer 2", "open drawer 1",
                "take book 1 from drawer 3", "take pen 1 from desk 1",
            ),
        )
    )  # fmt: skip
    assert belief.in_reach() == {"desk 1", "drawer 1", "drawer 2", "drawer 3"}
    assert known(belief, "drawer 1") == ("closed", None)
    assert known(belief, "drawer 2") == ("open", ())
    assert known(belief, "drawer 3") == ("flat", ("book 1",))


def test_a_window_does_not_tell_what_the_hand_holds():
    assert Belief(view(now="You arrive at desk 1. On the desk 1, you see nothing.", step=9)).held is None


def test_admissible_commands_tell_what_the_hand_holds_where_the_window_does_not():
    offers = ("examine bed 1", "examine mug 1", "go to desk 1", "help", "inventory", "look")
    shown = view(now="You arrive at bed 1. On the bed 1, you see nothing.", step=9, admissible=offers)
    assert Belief(shown).held == "mug 1"


def test_an_empty_hand_is_told_by_admissible_commands_too():
    offers = ("examine bed 1", "go to desk 1", "help", "inventory", "look")
    shown = view(now="You arrive at bed 1. On the bed 1, you see nothing.", step=9, admissible=offers)
    assert Belief(shown).held == ""
