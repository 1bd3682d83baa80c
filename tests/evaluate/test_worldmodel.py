from dataclasses import replace

import pytest

from alfworld_sft.evaluate.worldmodel import ACTION_KINDS, PREDICTORS, f1, kind_of, names_in, score_predictions
from alfworld_sft.types import Reply
from tests.episodes import episode, step


def acted(command, answer, prediction=None, *, seen="Seen.", problem=None):
    said = "" if prediction is None else f"<prediction>{prediction}</prediction>"
    return replace(
        step(1, problem=problem),
        observation=seen,
        reply=Reply(f"{said}<action>{command}</action>"),
        command=command,
        next_observation=answer,
    )


def scored(*steps):
    return score_predictions(lambda: [replace(episode(), steps=steps)])


FLAT = "You arrive at desk 1. On the desk 1, you see a mug 2, and a pen 1."
CLOSED = "You arrive at drawer 1. The drawer 1 is closed."
OPENED = "You open the drawer 1. The drawer 1 is open. In it, you see a mug 1."
CASES = [
    ("go to desk 1", FLAT, "go to open receptacle"),
    ("go to drawer 1", CLOSED, "go to closed receptacle"),
    (
        "go to drawer 1",
        "You arrive at drawer 1. The drawer 1 is open. In it, you see nothing.",
        "go to open receptacle",
    ),
    ("open drawer 1", OPENED, "open"),
    ("close drawer 1", "You close the drawer 1.", "close"),
    ("take mug 1 from desk 1", "You pick up the mug 1 from the desk 1.", "take"),
    ("move mug 1 to desk 1", "You move the mug 1 to the desk 1.", "move"),
    ("put mug 1 in/on desk 1", "You put the mug 1 in/on the desk 1.", "move"),
    ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1.", "clean/heat/cool"),
    ("heat mug 1 with microwave 1", "You heat the mug 1 using the microwave 1.", "clean/heat/cool"),
    ("cool mug 1 with fridge 1", "You cool the mug 1 using the fridge 1.", "clean/heat/cool"),
    ("use desklamp 1", "You turn on the desklamp 1.", "use"),
    ("look", "You are facing the desk 1. Next to it, you see nothing.", "look/inventory"),
    ("inventory", "You are not carrying anything.", "look/inventory"),
    ("examine mug 1", "There's nothing special about mug 1.", "examine"),
    ("slice apple 1 with knife 1", "You sliced the apple 1 with the knife 1.", "other"),
]


@pytest.mark.parametrize(("command", "answer", "kind"), CASES)
def test_every_command_has_its_kind(command, answer, kind):
    assert kind_of(acted(command, answer)) == kind


def test_what_the_game_could_not_play_is_invalid_whatever_it_was():
    assert kind_of(acted("go to desk 1", "Nothing happens.", problem="not admissible")) == "invalid"


def test_a_perfect_predictor_scores_exactly_one_everywhere():
    invalid = acted("fly", "Nothing happens.", "Nothing happens.", problem="not admissible")
    score = scored(*(acted(command, answer, answer) for command, answer, _ in CASES), invalid)
    assert score.kinds == ACTION_KINDS
    for kind in (*ACTION_KINDS, None):
        found = score.of("policy", kind).as_dict()
        assert (found["exact_match"], found["f1"]) == (1.0, 1.0)
    assert score.missing == 0


def test_names_are_words_with_numbers_but_no_locations():
    assert names_in("You arrive at loc 12. On the Desk 1, you see a mug 2, a mug 10, and nothing.") == {
        "desk 1", "mug 2", "mug 10",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ("mug 1", "mug 1", 1.0),
        ("mug 1", "mug 2", 0.0),
        ("mug 1 pen 1", "mug 1", 2 / 3),
        ("", "", 1.0),
        ("", "mug 1", 0.0),
    ],
)
def test_f1_weighs_what_is_missing_and_what_is_too_much(predicted, true, expected):
    assert f1(names_in(predicted), names_in(true)) == pytest.approx(expected)


def test_a_guess_that_names_the_right_things_in_other_words_has_f1_alone():
    found = scored(acted("go to desk 1", FLAT, "There is pen 1 with mug 2 on desk 1")).of("policy")
    assert (found.exact, found.f1_sum) == (0, 1.0)


def test_spacing_does_not_count():
    assert scored(acted("look", "You see\nnothing.", " You see  nothing. ")).of("policy").exact == 1


def test_a_reply_without_a_prediction_scores_nothing_and_is_counted():
    score = scored(acted("look", "Seen."), acted("look", "Seen.", "Seen."))
    assert score.missing == 1
    assert score.of("policy").as_dict() == {"cases": 2, "exact_match": 0.5, "f1": 0.5}


def test_copying_the_last_observation_is_a_baseline():
    score = scored(acted("look", FLAT, "x", seen=FLAT), acted("look", CLOSED, "x", seen=FLAT))
    assert score.of("copy of the last observation").exact == 1


def test_the_most_frequent_answer_to_the_command_is_a_baseline():
    steps = [acted("go to desk 1", answer, "x") for answer in (FLAT, CLOSED, FLAT)]
    other = acted("go to drawer 1", CLOSED, "x")
    score = scored(*steps, other)
    assert score.of("most frequent answer").exact == 3
    assert score.of("most frequent answer", "go to closed receptacle").as_dict()["exact_match"] == 0.5


def test_of_equally_frequent_answers_the_order_of_the_episodes_decides_nothing():
    steps = [acted("go to desk 1", answer, "x") for answer in (FLAT, CLOSED)]
    assert scored(*steps).as_dict() == scored(*steps[::-1]).as_dict()


def test_the_scores_are_written_for_every_predictor_and_kind_with_cases():
    found = scored(acted("look", "Seen.", "Seen.")).as_dict()
    assert found.keys() == {"missing", *PREDICTORS}
    assert found["policy"]["by_kind"] == {"look/inventory": {"cases": 1, "exact_match": 1.0, "f1": 1.0}}
