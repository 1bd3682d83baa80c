from collections import Counter
from random import Random

import pytest

from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.expert.predict import predict
from alfworld_sft.prompts.tags import parse_reply
from tests.policies.play import ROOM, play, study, view

SEEN = (
    (ROOM, "go to drawer 1"),
    ("You arrive at drawer 1. The drawer 1 is closed.", "open drawer 1"),
    ("You open the drawer 1. The drawer 1 is open. In it, you see a pen 2, and a mug 1.", "take mug 1 from drawer 1"),
    ("You pick up the mug 1 from the drawer 1.", "go to desk 1"),
)
NOW = "You arrive at desk 1. On the desk 1, you see nothing."


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("go to drawer 1", "You arrive at drawer 1. The drawer 1 is open. In it, you see a pen 2."),
        ("go to desk 1", "Nothing happens."),
        ("go to drawer 2", "You arrive at drawer 2. The drawer 2 is closed."),
        ("move mug 1 to desk 1", "You move the mug 1 to the desk 1."),
        ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1."),
        ("examine desk 1", "On the desk 1, you see nothing."),
        ("examine mug 1", "There's nothing special about mug 1."),
        ("inventory", "You are carrying: a mug 1."),
        ("look", "You are facing the desk 1. Next to it, you see nothing."),
        ("use desklamp 1", "You turn on the desklamp 1."),
    ],
)
def test_what_is_known_is_predicted_exactly(command, answer):
    mind = Expert().begin(study(), 0).mind(view(*SEEN, now=NOW))
    assert predict(mind, command) == answer


def test_the_older_wording_names_the_location_that_was_heard():
    past = (
        (ROOM, "go to desk 1"),
        ("You arrive at loc 4. On the desk 1, you see a pen 1.", "go to shelf 1"),
    )
    mind = (
        Expert()
        .begin(study(older=True), 0)
        .mind(view(*past, now="You arrive at loc 2. On the shelf 1, you see nothing."))
    )
    assert predict(mind, "go to desk 1") == "You arrive at loc 4. On the desk 1, you see a pen 1."
    assert predict(mind, "put mug 1 in/on shelf 1") == "You put the mug 1 in/on the shelf 1."


def test_every_prediction_that_the_belief_decides_comes_true():
    """In a game, all but the first sight of a place is decided."""
    decided = 0
    for seed in range(20):
        seen: set[str] = set()
        for step in play(study(), Expert(noise=0.2), "add_wm2", seed=seed).steps:
            prediction = parse_reply(step.reply.text, ("observation", "think", "prediction", "action"), ()).prediction
            verb, _, place = step.command.partition(" ")
            if verb in ("take", "move", "use", "clean", "close", "inventory") or place in seen:
                decided += 1
                assert prediction == step.next_observation
            if "you see" in step.next_observation and verb in ("go", "open", "examine"):
                seen.add(place)
    assert decided > 50


def test_hopeful_guesses_know_what_is_known():
    mind = Expert().begin(study(), 0).mind(view(*SEEN, now=NOW))
    for command in ("go to drawer 1", "go to drawer 2", "move mug 1 to desk 1", "examine desk 1", "inventory"):
        assert predict(mind, command, Random(0)) == predict(mind, command)


def test_hopeful_guesses_hold_what_is_looked_for_half_of_the_time():
    mind = Expert().begin(study(), 0).mind(view(now=ROOM, task="put a mug in desk"))
    assert mind.goal.object == "mug"
    guesses = [predict(mind, "go to shelf 1", Random(seed)) for seed in range(400)]
    assert sum("mug" in guess for guess in guesses) == pytest.approx(200, abs=40)
    assert all(guess.count("mug") <= 1 for guess in guesses)
    numbers = Counter(guess.split("mug ")[1][0] for guess in guesses if "mug" in guess)
    assert set(numbers) == {"1", "2", "3"}
    assert len(set(guesses)) > 50, "what else there is is drawn"


def test_with_the_thing_in_hand_a_hopeful_guess_holds_the_lamp():
    past = ((ROOM, "go to desk 1"), ("You arrive at desk 1. On the desk 1, you see a mug 1.", "take mug 1 from desk 1"))
    lit = view(*past, now="You pick up the mug 1 from the desk 1.", task="look at mug under the desklamp")
    mind = Expert().begin(study(), 0).mind(lit)
    guesses = [predict(mind, "go to shelf 1", Random(seed)) for seed in range(100)]
    assert sum("desklamp" in guess for guess in guesses) == pytest.approx(50, abs=20)


def test_the_same_prompt_gets_the_same_hopeful_guess_and_the_same_action():
    def replies(guesses):
        expert = Expert(guesses=guesses, noise=0.2)
        return [step.reply.text for step in play(study(), expert, "add_wm1", seed=3).steps]

    hopeful, likeliest = replies("hopeful"), replies("likeliest")
    assert hopeful == replies("hopeful") != likeliest
    tags = ("think", "prediction", "action")
    for texts in zip(hopeful, likeliest, strict=True):
        one, other = (parse_reply(text, tags, ()) for text in texts)
        assert (one.think, one.action) == (other.think, other.action)
