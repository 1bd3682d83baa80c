import json
import re
from dataclasses import replace

import pytest

from alfworld_sft.dataset.rows import Rendering, conversation_of, predictions_of_run, rows_of, training_text
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.types import Reply
from tests.episodes import episode, step

WORLD_MODEL = Rendering(load_template("add_wm1"))


def test_there_is_one_row_for_each_assistant_turn():
    rows = list(rows_of(episode(turns=3), WORLD_MODEL))
    assert [json.loads(row["extra_info"])["turn"] for row in rows] == [1, 2, 3]
    assert [len(row["messages"]) for row in rows] == [2, 4, 6]


def test_messages_of_a_row_are_the_beginning_of_the_next_row_s():
    rows = list(rows_of(episode(turns=3), WORLD_MODEL))
    assert rows[2]["messages"][:4] == rows[1]["messages"]
    assert [m["role"] for m in rows[2]["messages"]] == ["user", "assistant"] * 3


def test_prompt_and_response_are_the_documented_pair():
    row = next(rows_of(episode(), WORLD_MODEL))
    assert row["prompt_data"]["content"].startswith("user: You are an agent")
    assert row["response_data"]["content"] == (
        "<think>thought 1</think>\n<prediction>Seen 2.</prediction>\n<action>look</action>"
    )
    assert row["messages"][1] == {"role": "assistant", "content": row["response_data"]["content"]}


@pytest.mark.parametrize(
    ("stamp", "said"),
    [
        ({"kind": "collect", "config": {"worldmodel": {"predictions": "grounded_answer"}}}, "grounded_answer"),
        ({"kind": "collect", "config": {"worldmodel": {"predictions": "true"}}}, "grounded"),
        ({"kind": "collect", "config": None}, "grounded"),
        ({"kind": "import", "config": {}}, "grounded"),
        ({"kind": "evaluate", "config": {"worldmodel": {"predictions": "grounded"}}}, "model"),
    ],
)
def test_a_stored_run_says_what_its_conversations_predict(stamp, said):
    assert predictions_of_run(stamp) == said


def test_grounded_predictions_say_what_really_came_next():
    said = step(2)
    assert "<prediction>Seen 3.</prediction>" in training_text(said, WORLD_MODEL)
    assert "<prediction>guess 2</prediction>" in training_text(said, replace(WORLD_MODEL, predictions="model"))


def test_grounded_answers_stand_in_their_own_row_alone():
    """A model that reads true predictions before learns to believe its own."""
    rows = list(rows_of(episode(turns=3), replace(WORLD_MODEL, predictions="grounded_answer")))
    said = [[m["content"] for m in row["messages"] if m["role"] == "assistant"] for row in rows]
    assert [re.findall("<prediction>(.*?)</prediction>", "".join(texts)) for texts in said] == [
        ["Seen 2."],
        ["guess 1", "Seen 3."],
        ["guess 1", "guess 2", "Seen 4."],
    ]
    infos = [json.loads(row["extra_info"]) for row in rows]
    assert [info["untrained_turns"] for info in infos] == [[], [1], [1, 2]]
    assert infos[0]["alternatives"] == [{"action": "look", "observation": "Seen 2."}]
    assert [row["response_data"] for row in rows] == [
        row["response_data"] for row in rows_of(episode(turns=3), WORLD_MODEL)
    ]


def test_a_guess_that_came_true_is_trained_where_it_stands():
    true = replace(step(1), reply=Reply(step(1).reply.text.replace("guess 1", "Seen 2.")))
    rows = list(rows_of(episode(steps=(true, step(2, won=True))), replace(WORLD_MODEL, predictions="grounded_answer")))
    assert [json.loads(row["extra_info"])["untrained_turns"] for row in rows] == [[], []]


def test_an_answer_that_leaves_the_conversation_has_no_empty_thought_either():
    said = tuple(replace(step(n), reply=Reply("<think>\n\n</think>\n\n" + step(n).reply.text)) for n in (1, 2))
    rendering = replace(WORLD_MODEL, predictions="grounded_answer")
    assert list(rows_of(episode(steps=said), rendering)) == list(rows_of(episode(steps=(step(1), step(2))), rendering))


def test_where_the_teacher_acted_its_guess_stays_and_the_row_has_what_came():
    acted = replace(step(1), reply=replace(step(1).reply, said_by="teacher"))
    rows = list(rows_of(episode(steps=(acted, step(2, won=True))), WORLD_MODEL))
    assert ["guess 1" in message["content"] for message in rows[1]["messages"]].count(True) == 1
    assert "Seen 2." in rows[0]["response_data"]["content"]
    infos = [json.loads(row["extra_info"]) for row in rows]
    assert [info["untrained_turns"] for info in infos] == [[], [1]]
    assert [info.get("answer_by") for info in infos] == ["teacher", None]


def test_a_template_without_predictions_leaves_the_reply_alone():
    assert training_text(step(), Rendering(load_template("default"))) == step().reply.text


def test_an_empty_thought_before_the_own_one_is_not_written():
    said = replace(step(), reply=Reply("<think>\n\n</think>\n\n" + step().reply.text))
    conversation = conversation_of(episode(steps=(said,)), Rendering(load_template("default")))
    assert conversation[1].content == step().reply.text


def test_untrained_and_unplayable_turns_get_no_row_and_are_named():
    steps = (step(1), step(2, trained=False), step(3, problem="two actions"), step(4, won=True))
    rows = list(rows_of(episode(steps=steps), WORLD_MODEL))
    infos = [json.loads(row["extra_info"]) for row in rows]
    assert [info["turn"] for info in infos] == [1, 4]
    assert [info["untrained_turns"] for info in infos] == [[], [2, 3]]
    assert len(rows[1]["messages"]) == 8


def test_a_row_can_be_traced_to_its_game():
    info = json.loads(next(rows_of(episode(7, success=False), WORLD_MODEL))["extra_info"])
    assert info == {
        "game_id": "pick_and_place_simple-Mug-None-Desk-7/trial_T7",
        "split": "train",
        "task_type": "pick_and_place_simple",
        "episode_id": "000007:pick_and_place_simple-Mug-None-Desk-7/trial_T7",
        "turn": 1,
        "turns": 3,
        "success": False,
        "seed": 7,
        "template": "add_wm1",
        "policy": "scripted",
        "untrained_turns": [],
    }


def test_the_success_flag_is_the_game_s():
    assert json.loads(next(rows_of(episode(success=True), WORLD_MODEL))["reward_model"])["ground_truth"] == 1.0
    assert json.loads(next(rows_of(episode(success=False), WORLD_MODEL))["reward_model"])["ground_truth"] == 0.0


def test_a_window_shortens_single_turn_prompts_but_never_the_conversation():
    last = list(rows_of(episode(turns=4), replace(WORLD_MODEL, history_length=1)))[-1]
    assert "[step 3]" in last["prompt_data"]["content"]
    assert "[step 2]" not in last["prompt_data"]["content"]
    assert len(last["messages"]) == 8


@pytest.mark.parametrize("name", template_names())
def test_the_rows_of_every_template_end_with_their_own_reply(name):
    steps = (step(1), step(2, trained=False), step(3, won=True))
    rows = list(rows_of(episode(steps=steps), Rendering(load_template(name), predictions="model")))
    replies = [[m["content"] for m in row["messages"] if m["role"] == "assistant"] for row in rows]
    assert [len(said) for said in replies] == [1, 3]
    for row, said in zip(rows, replies, strict=True):
        assert row["messages"][-1] == {"role": "assistant", "content": row["response_data"]["content"]}
        assert said[-1] == row["response_data"]["content"]
