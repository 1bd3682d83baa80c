import asyncio

import pytest

from alfworld_sft.errors import PolicyError
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.policies.scripted import Scripted
from tests.policies.play import ROOM, commands, play, prompt, study, view

WAY = ("go to drawer 2", "open drawer 2", "take mug 1 from drawer 2", "go to shelf 1", "move mug 1 to shelf 1")


def test_a_script_is_played_as_it_stands():
    episode = play(study(), Scripted(WAY))
    assert episode.success
    assert commands(episode) == list(WAY)


def test_a_script_can_be_one_for_each_game():
    assert play(study(), Scripted({study().id: WAY})).success
    with pytest.raises(PolicyError, match="no commands for the game"):
        Scripted({"other": WAY}).begin(study(), 0)


def test_a_script_that_ends_too_early_ends_the_episode_with_the_reason():
    episode = play(study(), Scripted(WAY[:2]))
    assert commands(episode) == list(WAY[:2])
    assert episode.error == "the script has 2 commands, and step 3 needs one more"


def test_the_random_player_takes_each_admissible_command_about_equally_often():
    admissible = ("go to desk 1", "inventory", "look")
    player = RandomPlayer().begin(study(), 0)
    shown = view(now=ROOM, admissible=admissible)
    texts = [asyncio.run(player.act(prompt(shown, (), seed=seed))).text for seed in range(600)]
    assert all(150 < texts.count(command) < 250 for command in admissible)


@pytest.mark.parametrize("template", ["default", "compact", "add_wm2"])
def test_the_random_player_is_decided_by_the_seed(template):
    episodes = [play(study(), RandomPlayer(), template, seed=seed, max_steps=20) for seed in (1, 1, 2)]
    assert episodes[0] == episodes[1]
    assert commands(episodes[0]) != commands(episodes[2])
