"""What the expert says must be true, varied and short."""

import re
from random import Random

import pytest

from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.expert.goal import read_goal
from alfworld_sft.policies.expert.reading import read_observation
from alfworld_sft.policies.expert.thoughts import a, describe_goal, plural, summarise
from alfworld_sft.prompts.tags import parse_reply
from tests.policies.expert.claims import false_claims
from tests.policies.play import ROOM, play, prompt, study, view


def thoughts(shown, seeds=200):
    """Return the different thoughts that a view gets."""
    player = Expert().begin(study(), 0)
    texts = (player.reply(prompt(shown, seed=seed)).text for seed in range(seeds))
    return {parse_reply(text, ("think", "action"), ()).think for text in texts}


@pytest.mark.parametrize(
    ("noun", "text"),
    [("mug", "a mug"), ("apple", "an apple"), ("egg", "an egg"), ("bread", "some bread"), ("armchair", "an armchair")],
)
def test_articles_are_english(noun, text):
    assert a(noun) == text


@pytest.mark.parametrize(
    ("noun", "text"),
    [
        ("mug", "mugs"), ("knife", "knives"), ("tomato", "tomatoes"), ("watch", "watches"), ("box", "boxes"),
        ("shelf", "shelves"), ("bread", "loaves of bread"), ("statue", "statues"),
    ],
)  # fmt: skip
def test_plurals_are_english(noun, text):
    assert plural(noun) == text


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("put some egg on shelf.", "put an egg on a shelf"),
        ("put a clean apple in fridge.", "put a clean apple in a fridge"),
        ("heat some bread and put it in countertop.", "put some hot bread on a countertop"),
        ("find two knife and put them in drawer.", "put two knives in the same drawer"),
        ("examine the vase with the desklamp.", "look at a vase in the light of a desklamp"),
    ],
)
def test_goals_are_restated_in_english(task, words):
    assert describe_goal(read_goal(task)) == words


def test_thoughts_vary_with_the_seed_alone():
    shown = view((ROOM, "go to desk 1"), now="You arrive at desk 1. On the desk 1, you see a pen 1.")
    assert len(thoughts(shown)) >= 20
    assert thoughts(shown) == thoughts(shown)


def test_thoughts_have_one_to_three_sentences():
    for shown in (
        view(now=ROOM),
        view((ROOM, "go to desk 1"), now="You arrive at desk 1. On the desk 1, you see a mug 1."),
        view((ROOM, "dance"), now="Nothing happens."),
    ):
        for thought in thoughts(shown):
            assert 1 <= len(re.findall(r"[.!?](?: |$)", thought)) <= 3
            assert thought[0].isupper()


def test_a_thing_in_sight_is_named_with_its_place():
    shown = view((ROOM, "go to desk 1"), now="You arrive at desk 1. On the desk 1, you see a mug 1.")
    assert all("mug 1" in thought.lower() for thought in thoughts(shown))
    assert any("on desk 1" in thought for thought in thoughts(shown))


def test_taking_a_thing_may_say_what_comes_then():
    shown = view((ROOM, "go to desk 1"), now="You arrive at desk 1. On the desk 1, you see a mug 1.")
    assert any(thought.endswith("Then I can put it on a shelf.") for thought in thoughts(shown))


def test_a_window_makes_no_claim_about_all_that_was_seen():
    shown = view(
        ("You arrive at shelf 1. On the shelf 1, you see nothing.", "go to desk 1"),
        now="You arrive at desk 1. On the desk 1, you see a pen 1.",
        step=9,
        admissible=("examine desk 1", "go to drawer 1", "go to shelf 1", "help", "inventory", "look"),
    )
    assert not any("so far" in thought for thought in thoughts(shown))


def test_thoughts_are_true_in_noisy_games_too():
    for seed in range(60):
        for template in ("default", "compact"):
            episode = play(study(), Expert(noise=0.2), template, seed=seed)
            assert false_claims(study(), episode) == []


def test_the_checker_of_claims_finds_a_false_one():
    episode = play(study(), Expert())
    step = episode.steps[1]
    for claim in (
        "Mug 1 is on desk 1.",
        "I hold mug 1.",
        "There is no pen on desk 1.",
        "Drawer 2 is open and shelf 1 is closed.",
    ):
        text = f"<think>{claim}</think>\n<action>{step.command}</action>"
        assert false_claims(study(), episode, {1: text}) != []


@pytest.mark.parametrize(
    ("observation", "sentences"),
    [
        (
            "You arrive at shelf 1. On the shelf 1, you see nothing.",
            {"Shelf 1 is empty.", "I am at shelf 1, which is empty."},
        ),
        ("You arrive at safe 1. The safe 1 is closed.", {"Safe 1 is closed.", "I am at safe 1, which is closed."}),
        (
            "You open the safe 1. The safe 1 is open. In it, you see a cd 2, and a cd 1.",
            {"In safe 1 I see cd 2 and cd 1.", "I have opened safe 1, where I see cd 2 and cd 1."},
        ),
        (
            "You are in the middle of a room. Looking quickly around you, you see a bed 1, a shelf 2, and a shelf 1.",
            {"I am in a room with a bed and two shelves.", "Around me are a bed and two shelves."},
        ),
        ("You heat the egg 1 using the microwave 1.", {"Egg 1 is hot now.", "I have heated egg 1 with microwave 1."}),
        ("Nothing happens.", {"Nothing happened.", "My last action had no effect."}),
    ],
)  # fmt: skip
def test_an_observation_is_summed_up_in_one_sentence(observation, sentences):
    assert {summarise(read_observation(observation), Random(seed)) for seed in range(30)} == sentences
