"""The expert on the 340 real games: what the project promises of it."""

from collections import Counter

import pytest

from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.expert.goal import read_goal
from alfworld_sft.policies.expert.prior import FILE
from alfworld_sft.types import TASK_TYPES, Episode
from alfworld_sft.world import Game, load_game
from tests.policies.expert.claims import false_claims
from tests.policies.play import play
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES, game_files

pytestmark = [
    pytest.mark.real_games,
    pytest.mark.skipif(not REAL_GAMES.is_dir(), reason=NO_REAL_GAMES),
]


@pytest.fixture(scope="module")
def games() -> list[Game]:
    return [load_game(path) for path in game_files()]


def lost(episodes: list[Episode]) -> list[str]:
    return [episode.game_id for episode in episodes if not episode.success]


def test_every_goal_sentence_is_understood_as_the_game_means_it(games):
    assert len(games) == 340
    kinds = {
        "look_at_obj_in_light": lambda goal: goal.lamp == "desklamp",
        "pick_and_place_simple": lambda goal: (goal.treatment, goal.count, goal.lamp) == (None, 1, ""),
        "pick_clean_then_place_in_recep": lambda goal: goal.treatment == "clean",
        "pick_heat_then_place_in_recep": lambda goal: goal.treatment == "heat",
        "pick_cool_then_place_in_recep": lambda goal: goal.treatment == "cool",
        "pick_two_obj_and_place": lambda goal: goal.count == 2,
    }
    for game in games:
        goal = read_goal(game.task)
        _, thing, _, place, _ = game.id.split("/")[0].lower().split("-")
        assert (goal.object, goal.place or goal.lamp) == (thing, place)
        assert kinds[game.task_type](goal)


def test_every_game_is_won_in_at_most_eight_steps_in_the_mean(games):
    episodes = [play(game, Expert(), seed=index) for index, game in enumerate(games)]
    assert lost(episodes) == []
    assert Counter(episode.task_type for episode in episodes).keys() == set(TASK_TYPES)
    assert sum(len(episode.steps) for episode in episodes) / len(episodes) <= 8.0
    assert [claim for game, e in zip(games, episodes, strict=True) for claim in false_claims(game, e)] == []


def test_every_game_is_won_without_the_list_of_admissible_commands(games):
    assert lost([play(game, Expert(), "compact", form="multi") for game in games]) == []


def test_the_sweep_wins_every_game_from_a_window_of_two_steps(games):
    assert lost([play(game, Expert(search="sweep"), window=2) for game in games]) == []


def test_mistakes_in_a_fifth_of_all_turns_cost_less_than_one_game_in_a_hundred(games):
    episodes = [play(game, Expert(noise=0.2), seed=index) for index, game in enumerate(games)]
    assert len(lost(episodes)) <= 3
    assert [claim for game, e in zip(games, episodes, strict=True) for claim in false_claims(game, e)] == []


def test_the_prior_is_what_the_train_games_give(tmp_path):
    from scripts.learn_prior import learn

    assert learn(REAL_GAMES / "valid_train", tmp_path / "prior.json").read_bytes() == FILE.read_bytes()
