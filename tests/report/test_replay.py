"""What the world says of recorded turns."""

import asyncio
from dataclasses import replace

from alfworld_sft.policies.scripted import Scripted
from alfworld_sft.prompts.template import load_template
from alfworld_sft.report.read import read_runs
from alfworld_sft.report.replay import Replayed, game_finder, replay
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.types import Episode
from alfworld_sft.world import Game
from alfworld_sft.world.plan import shortest_plan
from tests.report.runs import episodes, play


def played(game: Game, *commands: str) -> Episode:
    protocol = Protocol(max_steps=len(commands))
    return asyncio.run(run_episode(game, Scripted(commands), load_template("default"), protocol))


def test_along_a_shortest_plan_the_distance_falls_by_one(kitchen: Game):
    plan = shortest_plan(kitchen)
    turns = replay(kitchen, played(kitchen, *plan))
    assert [(turn.before, turn.after) for turn in turns] == [(n, n - 1) for n in range(len(plan), 0, -1)]
    assert all(turn.world_says is None for turn in turns)


def test_a_command_without_effect_keeps_the_distance_and_the_expert_differs(kitchen: Game):
    distance = len(shortest_plan(kitchen))
    (turn,) = replay(kitchen, played(kitchen, "look"))
    assert (turn.before, turn.after) == (distance, distance)
    assert turn.expert is not None
    assert turn.expert != "look"


def test_the_expert_acts_as_when_it_plays(tmp_path):
    run = play(tmp_path, "eval")
    find = game_finder(read_runs([run])[0])
    for episode in episodes(run):
        known = find(episode)
        assert known is not None
        assert [turn.expert for turn in replay(known, episode)] == [step.command for step in episode.steps]


def test_a_false_observation_is_named_and_ends_the_replay(kitchen: Game):
    episode = played(kitchen, *shortest_plan(kitchen))
    true = episode.steps[1].next_observation
    steps = (episode.steps[0], replace(episode.steps[1], next_observation="You fly."), *episode.steps[2:])
    turns = replay(kitchen, replace(episode, steps=steps))
    assert [turn.world_says for turn in turns] == [None, true]


def test_what_a_protocol_adds_to_the_game_s_answer_does_not_end_the_replay(kitchen: Game):
    script, protocol = Scripted(("fly to the moon", "look")), Protocol(max_steps=2)
    episode = asyncio.run(run_episode(kitchen, script, load_template("trinity"), protocol))
    assert episode.steps[1].observation != episode.steps[0].next_observation
    assert [turn.world_says for turn in replay(kitchen, episode)] == [None, None]


def test_an_opening_of_another_game_is_named(kitchen: Game):
    episode = played(kitchen, "look")
    true = episode.steps[0].observation
    steps = (replace(episode.steps[0], observation="You are in a field."),)
    assert replay(kitchen, replace(episode, steps=steps)) == [Replayed(None, None, None, world_says=true)]


def test_games_that_have_moved_are_found_where_the_user_says(tmp_path):
    run = play(tmp_path, "eval")
    (tmp_path / "games").rename(tmp_path / "moved")
    read = read_runs([run])[0]
    episode = episodes(run)[0]
    assert game_finder(read)(episode) is None
    assert game_finder(read, str(tmp_path / "moved"))(episode) is not None


def test_generated_games_are_made_again(tmp_path):
    collected = play(tmp_path, "sft", "games.source=generate", "num_episodes=2", kind="collect")
    evaluated = play(tmp_path, "eval", "games.source=generate", "num_games=2", "repeats=2")
    for run in read_runs([collected, evaluated]):
        find = game_finder(run)
        assert [find(episode) is not None for episode in episodes(run.path)] == [True] * len(episodes(run.path))
