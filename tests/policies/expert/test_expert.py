import asyncio
import dataclasses
from collections import Counter

import pytest

from alfworld_sft.games import find_games
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.policies.scripted import Scripted
from alfworld_sft.policies.teacher import Taught
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world.language import PUT, read_command
from tests.handmade import Furniture, make_game
from tests.policies.play import ROOM, act, commands, play, prompt, study, view

KITCHEN = [
    Furniture("countertop 1", 1, ("apple 1", "knife 1", "bread 1")),
    Furniture("countertop 2", 2, ("mug 1",)),
    Furniture("fridge 1", 3, ("mug 2",)),
    Furniture("microwave 1", 4),
    Furniture("sinkbasin 1", 5),
    Furniture("sidetable 1", 6, ("desklamp 1",)),
    Furniture("shelf 1", 7),
]


@pytest.mark.parametrize(
    ("task_type", "target", "place", "task", "played"),
    [
        (
            "pick_and_place_simple", "bread", "shelf", "put some bread on shelf.",
            ["go to countertop 1", "take bread 1 from countertop 1", "go to shelf 1", "move bread 1 to shelf 1"],
        ),
        (
            "pick_heat_then_place_in_recep", "apple", "fridge", "heat some apple and put it in fridge.",
            [
                "go to countertop 1", "take apple 1 from countertop 1", "go to microwave 1",
                "heat apple 1 with microwave 1", "go to fridge 1", "open fridge 1", "move apple 1 to fridge 1",
            ],
        ),
        (
            "pick_cool_then_place_in_recep", "apple", "shelf", "put a cool apple in shelf.",
            [
                "go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1",
                "cool apple 1 with fridge 1", "go to shelf 1", "move apple 1 to shelf 1",
            ],
        ),
        (
            "pick_clean_then_place_in_recep", "mug", "shelf", "put a clean mug in shelf.",
            [
                "go to countertop 1", "go to countertop 2", "take mug 1 from countertop 2", "go to sinkbasin 1",
                "clean mug 1 with sinkbasin 1", "go to shelf 1", "move mug 1 to shelf 1",
            ],
        ),
        (
            "look_at_obj_in_light", "mug", "desklamp", "look at mug under the desklamp.",
            [
                "go to countertop 1", "go to countertop 2", "take mug 1 from countertop 2", "go to shelf 1",
                "go to sidetable 1", "use desklamp 1",
            ],
        ),
    ],
)  # fmt: skip
def test_each_kind_of_task_is_played_to_its_end(task_type, target, place, task, played):
    """Without a prior the search goes by name, through what needs no opening first."""
    episode = play(make_game(task_type, target, place, KITCHEN, task=task), Expert(prior=False))
    assert commands(episode) == played
    assert episode.success


def test_two_things_go_to_the_same_receptacle():
    game = make_game(
        "pick_two_obj_and_place",
        "cd",
        "drawer",
        [
            Furniture("desk 1", 1, ("cd 1", "cd 2")),
            Furniture("drawer 1", 2),
            Furniture("drawer 2", 3, ("cd 3",)),
        ],
        task="find two cd and put them in drawer.",
    )
    assert commands(play(game, Expert())) == [
        "go to desk 1",
        "take cd 1 from desk 1",
        "go to drawer 1",
        "open drawer 1",
        "move cd 1 to drawer 1",
        "go to desk 1",
        "take cd 2 from desk 1",
        "go to drawer 1",
        "move cd 2 to drawer 1",
    ]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("template", ["default", "compact"])
def test_both_wordings_are_played_with_and_without_admissible_commands(older, template):
    game = study(task="put a mug in shelf.", older=older)
    episode = play(game, Expert(), template)
    assert episode.success
    put = "put mug 1 in/on shelf 1" if older else "move mug 1 to shelf 1"
    assert commands(episode)[-3:] == ["take mug 1 from drawer 2", "go to shelf 1", put]


def test_what_is_in_reach_is_taken_without_going_there():
    game = make_game(
        "pick_and_place_simple",
        "mug",
        "shelf",
        [Furniture("desk 1", 1), Furniture("safe 1", 1, ("mug 1",), opened=True), Furniture("shelf 1", 2)],
        task="put a mug in shelf.",
    )
    assert commands(play(game, Expert())) == [
        "go to desk 1", "take mug 1 from safe 1", "go to shelf 1", "move mug 1 to shelf 1",
    ]  # fmt: skip


def test_without_the_list_a_receptacle_in_reach_is_found_out_by_a_refusal_and_examined():
    game = make_game(
        "pick_and_place_simple",
        "mug",
        "shelf",
        [Furniture("desk 1", 1), Furniture("safe 1", 1, ("mug 1",)), Furniture("shelf 1", 2)],
        task="put a mug in shelf.",
    )
    episode = play(game, Expert(), "compact")
    assert commands(episode) == [
        "go to desk 1", "go to safe 1", "examine safe 1", "open safe 1", "take mug 1 from safe 1",
        "go to shelf 1", "move mug 1 to shelf 1",
    ]  # fmt: skip


def test_a_wrong_thing_in_the_hand_is_put_down_where_it_came_from_without_the_list():
    past = (
        (ROOM, "go to desk 1"),
        ("You arrive at desk 1. On the desk 1, you see a pen 1.", "take pen 1 from desk 1"),
        ("You pick up the pen 1 from the desk 1.", "go to shelf 1"),
    )
    assert act(view(*past, now="You arrive at shelf 1. On the shelf 1, you see nothing.")) == "go to desk 1"


def test_the_reply_has_the_tags_that_are_asked_for_in_their_order():
    player = Expert().begin(study(), 0)
    shown = view((ROOM, "go to desk 1"), now="You arrive at desk 1. On the desk 1, you see a mug 1.")
    assert player.reply(prompt(shown, ())).text == "take mug 1 from desk 1"
    text = player.reply(prompt(shown, ("observation", "prediction", "action"))).text
    assert text in {
        f"<observation>{seen}</observation>\n"
        "<prediction>You pick up the mug 1 from the desk 1.</prediction>\n"
        "<action>take mug 1 from desk 1</action>"
        for seen in ("On desk 1 I see mug 1.", "I am at desk 1, where I see mug 1.")
    }


def test_the_same_prompt_gets_the_same_reply_whatever_was_asked_before():
    episode = play(study(), Expert(), "add_wm2", seed=3)
    views = [asked.view for asked in prompts_of(episode, load_template("add_wm2"))]
    tags = load_template("add_wm2").tags
    again = Expert().begin(study(), 3)
    backwards = [again.reply(prompt(shown, tags, seed=7)).text for shown in reversed(views)][::-1]
    fresh = [Expert().begin(study(), 99).reply(prompt(shown, tags, seed=7)).text for shown in views]
    assert backwards == fresh


def test_games_that_differ_in_what_cannot_be_seen_get_the_same_replies():
    """The mug is in the last place that is looked into, or nowhere: until then nothing may differ."""
    here, gone = (play(study(drawer), Expert(), "add_wm2") for drawer in (("mug 1",), ("cup 1",)))
    until = commands(here).index("open drawer 2") + 1
    assert until >= 3
    assert [step.reply for step in here.steps[:until]] == [step.reply for step in gone.steps[:until]]
    assert commands(here)[until] == "take mug 1 from drawer 2"


def test_hidden_fields_of_the_game_are_never_read():
    """`begin` may read the wording and the scene; everything else may be missing."""
    game = study()
    bare = type("Bare", (), {"variant": game.variant, "scene": game.scene, "grammar": game.grammar})()
    shown = view(now=ROOM)
    assert Expert().begin(bare, 0).reply(prompt(shown)) == Expert().begin(game, 0).reply(prompt(shown))


def test_without_the_list_in_the_view_the_list_changes_nothing():
    """`compact` shows no list, so the same texts give the same actions, whatever was admissible."""
    episode = play(study(), Expert(), "compact")
    views = [asked.view for asked in prompts_of(episode, load_template("compact"))]
    assert all(shown.admissible_commands is None for shown in views)
    assert [act(shown) for shown in views] == commands(episode)


def test_noise_errs_in_its_share_of_the_turns_and_says_so():
    replies = [
        step.reply for seed in range(60) for step in play(study(), Expert(noise=0.3), seed=seed, max_steps=30).steps
    ]
    share = sum(not reply.trained for reply in replies) / len(replies)
    assert 0.2 < share < 0.4


def test_noise_is_kept_to_its_share_of_the_episodes():
    expert = Expert(noise=1.0, noise_episodes=0.25)
    noisy = [not play(study(), expert, seed=seed, max_steps=1).steps[0].reply.trained for seed in range(200)]
    assert 30 <= sum(noisy) <= 70


def test_a_mistake_is_admissible_or_refused_and_never_the_right_command():
    """A third is of each kind: to go somewhere, to do something here, to try what the game refuses."""
    kinds: Counter[str] = Counter()
    for seed in range(40):
        episode = play(study(), Expert(noise=1.0), seed=seed, max_steps=12)
        for asked, step in zip(prompts_of(episode, load_template("default")), episode.steps, strict=True):
            listed = step.command in asked.view.admissible_commands
            assert listed == (step.problem is None) == (step.next_observation != "Nothing happens.")
            assert step.command != act(asked.view)
            kinds["go" if listed and step.command.startswith("go to ") else "do" if listed else "refused"] += 1
    assert all(0.28 < kinds[kind] / kinds.total() < 0.39 for kind in ("go", "do", "refused"))


def test_without_the_list_mistakes_are_those_of_a_player_who_saw_as_much():
    seen = {"desk 1", "drawer 1", "drawer 2", "drawer 3", "shelf 1", "sinkbasin 1", "pen 1", "book 2", "mug 1"}
    named: set[str] = set()
    refused = 0
    for seed in range(20):
        for step in play(study(), Expert(noise=1.0), "compact", seed=seed, max_steps=12).steps:
            refused += step.next_observation == "Nothing happens."
            for word in ("go to ", "open ", "close ", "examine ", "take ", "move "):
                if step.command.startswith(word):
                    named |= set(step.command.removeprefix(word).replace(" from ", " to ").split(" to "))
    assert {name.partition(" ")[0] for name in named} <= {name.partition(" ")[0] for name in seen}
    assert "drawer 4" in named  # miscounted
    assert "drawer 5" not in named
    assert refused > 40


def test_the_expert_recovers_from_its_mistakes():
    episodes = [play(study(), Expert(noise=0.3), seed=seed) for seed in range(50)]
    assert all(episode.success for episode in episodes)


@pytest.mark.parametrize("template", ["default", "compact"])
@pytest.mark.parametrize("task_type", [each for each in TASK_TYPES if each != "look_at_obj_in_light"])
def test_a_student_s_refused_command_does_not_lead_its_teacher_astray(task_type, template):
    """Not the other version's wording, nor a treatment with what is no appliance."""
    game = next(ref for ref in find_games("embedded") if ref.task_type == task_type).load()
    path = commands(play(game, Expert(), template, form="multi"))
    turn = next(n for n, command in enumerate(path) if read_command(command).command.verb == "put")
    thing, place = read_command(path[turn]).names
    other = PUT["put" if game.grammar == "move" else "move"]
    for slip in (other.format(thing, place), f"heat {thing} with {place}"):
        student = Scripted([*path[:turn], slip, *path[turn:]])
        episode = play(game, Taught(student, Expert()), template, form="multi")
        assert episode.steps[turn].observation != episode.steps[turn + 1].observation == "Nothing happens."
        assert [step.teacher.command for step in episode.steps[turn + 1 :]] == path[turn:]


def test_sweep_goes_on_after_the_place_that_the_window_shows():
    names = [f"go to {name}" for name in ("desk 1", "shelf 1", "sidetable 1", "sofa 1")]
    shown = view(
        now="You arrive at dresser 1. On the dresser 1, you see nothing.",
        step=12,
        task="put a mug in desk.",
        admissible=("examine dresser 1", *names, "help", "inventory", "look"),
    )
    order = []
    for _ in range(5):
        command = act(shown, Expert(search="sweep"))
        order.append(command)
        place = command.removeprefix("go to ")
        rest = [f"go to {n}" for n in ("desk 1", "dresser 1", "shelf 1", "sidetable 1", "sofa 1") if n != place]
        now = f"You arrive at {place}. On the {place}, you see nothing."
        shown = dataclasses.replace(
            shown, observation=now, admissible_commands=(f"examine {place}", *rest, "help", "inventory", "look")
        )
    # The desk is where a mug would count as brought: it cannot be there. All others come once, and then around again.
    assert sorted(order[:4]) == ["go to dresser 1", "go to shelf 1", "go to sidetable 1", "go to sofa 1"]
    assert order[4] == order[0]


@pytest.mark.parametrize("window", [2, 4, None])
def test_sweep_wins_from_any_window(window):
    assert play(study(), Expert(search="sweep"), window=window).success


def test_the_search_without_a_prior_takes_places_that_need_no_opening_first():
    assert commands(play(study(), Expert(prior=False)))[:4] == [
        "go to desk 1", "go to sinkbasin 1", "go to drawer 1", "open drawer 1",
    ]  # fmt: skip


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="noise is a share between 0 and 1, not 2"):
        Expert(noise=2)
    with pytest.raises(ValueError, match="search must be 'prior' or 'sweep', not 'random'"):
        Expert(search="random")
    with pytest.raises(ValueError, match="guesses must be 'likeliest' or 'hopeful', not 'true'"):
        Expert(guesses="true")


def test_the_name_tells_what_differs_from_the_defaults():
    assert Expert().name == "expert"
    assert Expert(search="sweep", prior=False, noise=0.2, guesses="hopeful").name == (
        "expert (search=sweep, no prior, noise=0.2 in every episode, hopeful guesses)"
    )


def test_act_is_reply_for_a_runner():
    player = Expert().begin(study(), 0)
    shown = prompt(view(now=ROOM))
    assert asyncio.run(player.act(shown)) == player.reply(shown)


@pytest.mark.parametrize("window", [0, 1, 3, None])
@pytest.mark.parametrize("template", ["default", "compact", "add_wm2"])
@pytest.mark.parametrize("search", ["prior", "sweep"])
def test_any_history_gets_an_answer_that_the_game_can_play(template, window, search):
    """Histories that the expert would never make, as a model's would be."""
    shape = load_template(template)
    player = Expert(search=search).begin(study(), 0)
    for seed in range(10):
        episode = play(study(), RandomPlayer(), template, seed=seed, max_steps=30)
        for asked, step in zip(prompts_of(episode, shape, history_length=window), episode.steps, strict=True):
            reply = player.reply(prompt(asked.view, shape.tags, seed))
            parsed = parse_reply(reply.text, shape.tags, step.admissible_commands)
            assert parsed.problem is None or (template == "compact" and parsed.problem == "not admissible")
