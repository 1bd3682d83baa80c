"""Collection with a teacher: its answers are the rows, in contexts that another policy made."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from alfworld_sft.check.replay import find_differences
from alfworld_sft.collect.run import resume_run
from alfworld_sft.dataset.rows import Rendering, rows_of
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.config import config_of
from alfworld_sft.evaluate.worldmodel import score_predictions
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.tags import read_section
from alfworld_sft.prompts.template import load_template
from alfworld_sft.report.turns import turns_of
from alfworld_sft.runs.records import from_line, to_line
from alfworld_sft.show.draw import draw_episode
from tests.collecting import (
    collected,
    contents,
    episodes,
    game_of,
    play,
    rows,
    server_words,
    stamp_of,
    start,
    write_games,
)
from tests.fake_server import says, serving
from tests.policies.expert.claims import false_claims

WORDS = ("policy.name=random", "policy.teacher=expert", "env.max_steps=12")
PROBED = ("worldmodel.alternatives=2", "env.record_distance=true")


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data")


def test_a_row_has_the_teacher_s_answer_after_what_the_student_said(data, tmp_path):
    run = collected(tmp_path, data, *WORDS)
    by_id = {episode.id: episode for episode in episodes(run)}
    found = rows(run)
    assert len(found) == sum(len(episode.steps) for episode in by_id.values()) > 100
    for row in found:
        info = json.loads(row["extra_info"])
        played = by_id[info["episode_id"]].steps[: info["turn"]]
        *context, answer = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert context == [step.reply.text for step in played[:-1]]
        assert answer == row["response_data"]["content"] == played[-1].teacher.reply.text
        assert info["answer_by"] == "teacher"
        assert info["untrained_turns"] == list(range(1, info["turn"]))


def test_the_teacher_s_reasons_are_true_of_the_state_that_the_student_got_into(data, tmp_path):
    run = collected(tmp_path, data, "policy.teacher=expert", "policy.noise=0.5", "policy.noise_episodes=1")
    of_the_turn_before = []
    for episode in episodes(run):
        answers = [step.teacher.reply.text for step in episode.steps]
        game = game_of(episode, data)
        assert false_claims(game, episode, dict(enumerate(answers))) == []
        of_the_turn_before += false_claims(game, episode, dict(enumerate(answers, 1)))
    assert of_the_turn_before, "the claims tell one state from another"


def test_a_grounded_prediction_is_what_came_where_the_teacher_s_action_was_tried(data, tmp_path):
    run = collected(tmp_path, data, *WORDS, "prompt.template=add_wm1")
    by_id = {episode.id: episode for episode in episodes(run)}
    for row in rows(run):
        info, text = json.loads(row["extra_info"]), row["response_data"]["content"]
        step = by_id[info["episode_id"]].steps[info["turn"] - 1]
        assert read_section(text, "prediction") == step.teacher.next_observation
        assert read_action(text) == step.teacher.command


def test_where_both_say_the_same_the_student_s_turn_carries_loss(data, tmp_path):
    run = collected(tmp_path, data, "policy.teacher=expert", "policy.noise=0.4", "prompt.template=compact")
    by_id = {episode.id: episode for episode in episodes(run)}
    for row in rows(run):
        info = json.loads(row["extra_info"])
        steps = by_id[info["episode_id"]].steps
        differing = [turn for turn, step in enumerate(steps, 1) if step.command != step.teacher.command]
        assert info["untrained_turns"] == [turn for turn in differing if turn < info["turn"]]
        assert ("answer_by" in info) == (info["turn"] in differing)
    teacher = stamp_of(run)["teacher"]
    steps = [step for episode in by_id.values() for step in episode.steps]
    agreed = sum(step.command == step.teacher.command for step in steps)
    assert teacher == {"answers": len(steps), "agreed": agreed, "acted": 0}
    assert 0 < agreed < len(steps)
    card = (run / "README.md").read_text()
    assert f"Teacher: {len(steps)} answers, {agreed} of them the policy's own action" in card
    known = "`answer_by`: `teacher`, where its answer is not what was played"
    assert f"untrained turns; {known}; `alternatives`: what answers that the conversation does not hold" in card


def test_the_teacher_acts_in_its_share_of_the_turns(data, tmp_path):
    run = collected(tmp_path, data, *WORDS, "policy.teacher_share=0.5")
    steps = [step for episode in episodes(run) for step in episode.steps]
    acted = [step for step in steps if step.reply.said_by == "teacher"]
    assert 0.35 < len(acted) / len(steps) < 0.65
    assert all((step.teacher is None) == (step.reply.said_by == "teacher") for step in steps)
    infos = [json.loads(row["extra_info"]) for row in rows(run)]
    assert sum("answer_by" not in info for info in infos) == len(acted)
    always = episodes(collected(tmp_path, data, *WORDS, "policy.teacher_share=1", name="always"))
    alone = episodes(collected(tmp_path, data, "env.max_steps=12", name="alone"))
    said = [[step.reply.text for step in episode.steps] for episode in (*always, *alone)]
    assert said[:12] == said[12:]


def test_the_planner_teaches_the_shortest_way_from_wherever_the_student_is(data, tmp_path):
    run = collected(tmp_path, data, "policy.name=random", "policy.teacher=planner", "prompt.history_length=1")
    for episode in episodes(run):
        game = game_of(episode, data)
        assert not find_differences(episode, game)
        assert all(step.teacher.problem is None for step in episode.steps)


def test_a_server_s_replies_that_cannot_be_played_are_context_and_the_teacher_s_answers_rows(data, tmp_path):
    with serving(lambda request, _: says("I dance.")) as fake:
        words = server_words(data, fake, "policy.teacher=expert", "env.max_steps=3", "num_episodes=2")
        play(start(tmp_path, *words))
    found = rows(tmp_path / "run")
    assert len(found) == 6
    for row in found:
        *context, answer = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert set(context) <= {"I dance."}
        assert answer.endswith("</action>")


def test_a_server_s_reply_that_was_cut_off_is_taught_too(data, tmp_path):
    with serving(lambda request, _: says("I dance and", finish="length")) as fake:
        words = server_words(data, fake, "policy.teacher=expert", "env.max_steps=3", "num_episodes=2")
        play(start(tmp_path, *words))
    assert len(rows(tmp_path / "run")) == 6
    assert json.loads((tmp_path / "run/run.json").read_text())["config"]["policy"]["truncated"] == "keep"


def test_an_empty_thought_before_the_teacher_s_answer_is_the_same_answer(data, tmp_path):
    """Models that may think write one, and a conversation does not keep it."""
    rendering = Rendering(load_template("compact"))
    run = collected(tmp_path, data, "policy.teacher=expert", "policy.noise=0.4", "prompt.template=compact")
    for episode in episodes(run):
        steps = [
            replace(step, reply=replace(step.reply, text=f"<think>\n\n</think>\n\n{step.reply.text}"))
            for step in episode.steps
        ]
        assert list(rows_of(replace(episode, steps=tuple(steps)), rendering)) == list(rows_of(episode, rendering))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["policy.teacher=expert", "dataset.rows_per=episode"], "dataset.rows_per=episode: a teacher's answers leave"),
        (
            ["policy.teacher=expert", "prompt.template=add_wm1", "worldmodel.predictions=grounded_answer"],
            "with policy.teacher only answers are grounded anyway",
        ),
        (["policy.teacher=expert", "policy.guesses=hopeful"], "the template default asks for no <prediction>"),
        (["policy.teacher_share=0.5"], "policy.teacher_share=0.5 has no effect without policy.teacher"),
        (["policy.teacher=planner", "prompt.history_length=0"], "policy.teacher=planner follows the game by"),
        (
            ["policy.name=planner", "policy.teacher=expert", "policy.teacher_share=0.5", "prompt.history_length=2"],
            "policy.teacher_share: policy.name=planner follows the game by the steps that its prompts show",
        ),
        (
            ["policy.teacher=expert", "policy.name=server", "policy.model=m", "policy.rationalize=true"],
            "policy.teacher: with policy.rationalize the expert acts already",
        ),
    ],
)
def test_what_cannot_be_taught_is_refused(tmp_path, words, line):
    with pytest.raises(ConfigError, match=line):
        start(tmp_path, *words)


def test_a_false_record_of_the_teacher_is_found(data, tmp_path):
    episode = episodes(collected(tmp_path, data, *WORDS, "num_episodes=1"))[0]
    game = game_of(episode, data)
    assert not find_differences(episode, game)
    line = json.loads(to_line(episode))
    line["steps"][2]["teacher"]["next_observation"] = "The mug sings."
    false = from_line(json.dumps(line).encode())
    assert [(d.about, d.turn, d.recorded) for d in find_differences(false, game)] == [("teacher", 3, "The mug sings.")]


def test_a_killed_and_resumed_run_ends_in_the_same_bytes(data, tmp_path):
    words = (f"games.source={data}", *WORDS, *PROBED, "policy.teacher_share=0.3", "num_episodes=200")
    collected(tmp_path, data, *words[1:], name="calm")
    command = [sys.executable, "-m", "alfworld_sft", "collect", "--output-dir", str(tmp_path), "--name", "killed"]
    with subprocess.Popen([*command, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        journal = tmp_path / "killed" / "episodes.jsonl"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > 50_000):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 0 < len(journal.read_bytes().splitlines()) < 200
    play(resume_run(tmp_path / "killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_show_draws_the_teacher_s_answer_beside_the_student_s(data, tmp_path):
    episode = episodes(collected(tmp_path, data, *WORDS, "num_episodes=1"))[0]
    drawn = draw_episode(episode).plain
    for step in episode.steps:
        assert f"{step.reply.text}\nthe teacher:\n{step.teacher.reply.text}\n" in drawn
    assert [turn.teacher for turn in turns_of(episode, None, None)] == [s.teacher.command for s in episode.steps]


def test_where_the_teacher_acted_its_turns_are_marked_and_its_guesses_not_the_policy_s(data, tmp_path):
    words = (*WORDS, "prompt.template=add_wm1", "policy.teacher_share=0.5", "num_episodes=1")
    episode = episodes(collected(tmp_path, data, *words))[0]
    acted = [step for step in episode.steps if step.reply.said_by]
    drawn = draw_episode(episode).plain
    assert drawn.count("the teacher acts:\n") == len(acted) > 0
    assert all(f"the teacher acts:\n{step.reply.text}\n" in drawn for step in acted)
    given = [step.command if step.reply.said_by else step.teacher.command for step in episode.steps]
    assert [turn.teacher for turn in turns_of(episode, None, None)] == given
    assert score_predictions(lambda: [episode]).of("policy").cases == len(episode.steps) - len(acted)


def test_an_evaluated_policy_has_no_teacher():
    with pytest.raises(ConfigError, match=r"'policy\.teacher'; an evaluated policy plays alone"):
        config_of(["policy.teacher=expert"])
