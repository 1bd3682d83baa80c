"""Collection with alternatives and distances: what is recorded of them is true, and the game is played as without."""

import json
from dataclasses import replace

import pytest

from alfworld_sft.check.replay import find_differences
from alfworld_sft.check.run import in_words
from alfworld_sft.errors import ConfigError
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.types import Alternative, Distance
from tests.collecting import collected, episodes, game_of, rows, stamp_of, start, write_games

PROBED = ("worldmodel.alternatives=3", "env.record_distance=true")


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 6)


def test_alternatives_and_distances_are_those_of_the_game(data, tmp_path):
    run = collected(tmp_path, data, *PROBED, "policy.noise=0.3")
    played = episodes(run)
    for episode in played:
        assert find_differences(episode, game_of(episode, data)) == []
        for step in episode.steps:
            commands = [other.command for other in step.alternatives]
            assert len(commands) == len({step.command, *commands} - {step.command}) == 3
            assert set(commands) < set(step.admissible_commands)
    assert stamp_of(run)["counts"]["alternatives"] == sum(3 * len(episode.steps) for episode in played)
    in_rows = sum(len(json.loads(row["extra_info"])["alternatives"]) for row in rows(run))
    assert in_rows == stamp_of(run)["counts"]["alternatives"]
    assert "; `alternatives`: what other actions were shown |" in (run / "README.md").read_text()
    assert all(one.steps[-1].distance.after == 0 for one in played)


def test_what_is_played_is_the_same_without_them(data, tmp_path):
    def bare(step):
        return replace(step, alternatives=(), distance=None)

    with_them = episodes(collected(tmp_path, data, *PROBED, "policy.name=random", name="with"))
    without = episodes(collected(tmp_path, data, "policy.name=random", name="without"))
    assert [replace(one, steps=tuple(map(bare, one.steps))) for one in with_them] == without


def test_a_row_holds_its_turn_s_alternatives(data, tmp_path):
    run = collected(tmp_path, data, *PROBED)
    by_id = {episode.id: episode for episode in episodes(run)}
    for row in rows(run):
        info = json.loads(row["extra_info"])
        step = by_id[info["episode_id"]].steps[info["turn"] - 1]
        tried = [{"action": one.command, "observation": one.next_observation} for one in step.alternatives]
        assert info["alternatives"] == tried


def test_alternatives_of_a_turn_without_a_row_are_in_the_next_one_with_their_prompt(data, tmp_path):
    run = collected(tmp_path, data, *PROBED, "policy.noise=0.5", "policy.noise_episodes=1", "prompt.history_length=2")
    by_id = {episode.id: episode for episode in episodes(run)}
    template, carried = load_template("default"), 0
    for row in rows(run):
        info = json.loads(row["extra_info"])
        episode = by_id[info["episode_id"]]
        prompts = [prompt.messages[-1].content for prompt in prompts_of(episode, template, history_length=2)]
        for tried in (one for one in info["alternatives"] if "turn" in one):
            step = episode.steps[tried["turn"] - 1]
            assert not step.reply.trained
            assert tried["turn"] < info["turn"]
            assert tried["prompt"] == prompts[tried["turn"] - 1]
            assert (tried["action"], tried["observation"]) in {
                (other.command, other.next_observation) for other in step.alternatives
            }
            carried += 1
    mistakes = sum(not step.reply.trained for episode in by_id.values() for step in episode.steps)
    assert carried == 3 * mistakes > 0


def test_a_taught_row_holds_what_became_of_both_actions(data, tmp_path):
    run = collected(tmp_path, data, "policy.name=random", "policy.teacher=expert", "env.max_steps=5")
    by_id = {episode.id: episode for episode in episodes(run)}
    for row in rows(run):
        info = json.loads(row["extra_info"])
        step = by_id[info["episode_id"]].steps[info["turn"] - 1]
        tried = {one["action"]: one["observation"] for one in info["alternatives"]}
        assert tried == {step.teacher.command: step.teacher.next_observation, step.command: step.next_observation}


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"alternatives": (Alternative("inventory", "You carry a dragon.", 3),)}, "alternative"),
        ({"alternatives": (Alternative("fly", "Nothing happens.", 3),)}, "alternative"),
        ({"distance": Distance(99, 98)}, "distance"),
    ],
)
def test_false_records_are_found(data, tmp_path, change, about):
    episode = episodes(collected(tmp_path, data, *PROBED, "num_episodes=1"))[0]
    false = replace(episode, steps=(replace(episode.steps[0], **change), *episode.steps[1:]))
    found = find_differences(false, game_of(episode, data))
    assert about in {difference.about for difference in found}
    assert all(", turn 1: " in in_words(false, difference) for difference in found)


def test_predictions_of_the_model_need_a_template_that_asks_for_them(tmp_path):
    with pytest.raises(ConfigError, match="the template default asks for no <prediction>"):
        start(tmp_path, "worldmodel.predictions=model")


def test_rows_per_episode_cannot_hold_alternatives(tmp_path):
    with pytest.raises(ConfigError, match="a turn's alternatives belong to the turn's row"):
        start(tmp_path, "worldmodel.alternatives=2", "dataset.rows_per=episode")


def test_guesses_that_no_row_would_show_are_refused(tmp_path):
    hopeful = ("policy.guesses=hopeful", "prompt.template=add_wm1")
    with pytest.raises(ConfigError, match="predictions=grounded writes what came in place of every guess"):
        start(tmp_path, *hopeful)
    for words in (("worldmodel.predictions=grounded_answer",), ("policy.teacher=expert",)):
        start(tmp_path / words[0], *hopeful, *words)
