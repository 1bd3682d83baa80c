"""Rows → samples: weights by token, truncation, folding, next-state rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
pytest.importorskip("transformers", reason="training is not installed (pip install -e '.[train]')")

from dataclasses import replace

import numpy as np

from alfworld_sft.dataset.read import Columns
from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.errors import DatasetError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import LoadedSamples, load_samples, more_rows_than_a_step
from tests.train.helpers_data import WM, messages, rows, taught, tiny_tokenizer, wandering, with_template, write
from tests.train.templates import DEEPSEEK_R1, QWEN3, STRIPPING

TOKENIZER = tiny_tokenizer()
ENCODER = ChatEncoder(TOKENIZER)
SINGLE, MULTI = Columns(), Columns(multiturn=True)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_records(
        records: list[dict[str, Any]],
        columns: Columns = MULTI,
        encoder: ChatEncoder = ENCODER,
        schema: Any = SCHEMA,
        **options: Any,
    ) -> LoadedSamples:
        file = write(tmp_path / "train.parquet", records, schema)
        return load_samples([file], encoder, columns, SampleOptions(**options))

    return load_records


def said(sample: Sample, weight: float | None = None) -> str:
    """Return the text of tokens that carry (just this much) loss."""
    chosen = sample.weight != 0 if weight is None else sample.weight == np.float32(weight)
    return str(TOKENIZER.decode(sample.ids[chosen].tolist()))


def test_a_single_turn_row_is_a_sample_with_loss_on_its_response(load: Any) -> None:
    records = rows([wandering(turns=2)])
    loaded = load(records, SINGLE)
    assert [sample.rows for sample in loaded.samples] == [1, 1]
    assert [said(sample) for sample in loaded.samples] == [
        r["response_data"]["content"] + "<|im_end|>" for r in records
    ]
    text = TOKENIZER.decode(loaded.samples[0].ids.tolist())
    assert text.startswith("<|im_start|>user\n" + records[0]["prompt_data"]["content"].removeprefix("user: "))


def test_loading_says_how_far_it_is(load: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("alfworld_sft.train.data.samples.CONSOLE_INTERVAL_S", 0.0)
    caplog.set_level("INFO")
    loaded = load(rows([wandering(turns=2)]), SINGLE)
    first, both = len(loaded.samples[0]), sum(map(len, loaded.samples))
    assert caplog.messages == [
        f"data.train_files: 1 sequence with {first:,} tokens so far",
        f"data.train_files: 2 sequences with {both:,} tokens so far",
    ]


def test_a_trajectory_is_one_sample_that_stands_for_its_rows(load: Any, tmp_path: Path) -> None:
    loaded = load(rows([wandering(0, turns=3), wandering(1, turns=2)]), weighting="cumulative")
    assert [(sample.rows, sample.key) for sample in loaded.samples] == [
        (3, f"{tmp_path}/train.parquet row 2"),
        (2, f"{tmp_path}/train.parquet row 4"),
    ]
    first = loaded.samples[0]
    replies = [m.content + "<|im_end|>" for m in messages(rows([wandering(0, turns=3)])[-1]) if m.role == "assistant"]
    assert [said(first, weight) for weight in (3, 2, 1)] == replies
    assert first.weight.dtype == np.float32
    assert first.ids.dtype == np.int32


def test_rows_of_a_trajectory_may_lie_apart(load: Any) -> None:
    records = rows([wandering(0, turns=2), wandering(1, turns=2)])
    loaded = load([records[3], records[0], records[2], records[1]])
    assert [sample.rows for sample in loaded.samples] == [2, 2]


def test_rows_without_an_episode_id_are_folded_where_each_continues_the_one_before(load: Any) -> None:
    named = [*rows([wandering(turns=3)]), *rows([wandering(turns=2)])]
    bare = [{**row, "extra_info": "{}"} for row in named]
    samples = load(bare).samples
    assert [sample.rows for sample in samples] == [3, 2]
    assert load([bare[2], bare[1], bare[2]]).samples[0].rows == 1, "the order of the rows tells"
    assert [sample.rows for sample in load([bare[0], bare[0]]).samples] == [1, 1], "a row twice counts twice"
    whole = load(rows([wandering(turns=3)])).samples[0]
    assert (samples[0].ids == whole.ids).all()
    assert (samples[0].weight == whole.weight).all()


def test_a_row_that_is_no_prefix_is_trained_alone_and_reported(load: Any) -> None:
    records = rows([wandering(turns=3)])
    begun = {"role": "user", "content": "Another beginning."}
    records[1] = {**records[1], "messages": [begun, *records[1]["messages"][1:]]}
    loaded = load(records)
    assert [sample.rows for sample in loaded.samples] == [2, 1]
    assert "1 row does not continue" in " ".join(loaded.report.warnings(SampleOptions()))


def test_a_teacher_s_answers_are_branches_of_one_sample(load: Any) -> None:
    records = rows([taught(turns=3, agreed=(2,))])
    loaded = load(records)
    (sample,) = loaded.samples
    assert (sample.rows, len(sample.branches), loaded.report.branches) == (3, 1, 0)
    answers = [messages(row)[-1].content + "<|im_end|>" for row in records]
    assert sorted(said(sample).split("<|im_end|>")) == sorted("".join(answers).split("<|im_end|>"))
    assert len(sample) < sum(map(len, load(records, fold=False).samples))


def test_rows_that_are_cut_off_are_dropped_and_counted_folded_as_alone(load: Any) -> None:
    records = rows([taught(turns=6, agreed=(2,))])
    limit = len(load(records, fold=False).samples[2])
    folded, alone = (load(records, fold=fold, max_length=limit, truncation="right") for fold in (True, False))
    assert sum(sample.rows for sample in folded.samples) == len(alone.samples) == 3
    assert folded.report.dropped_rows == alone.report.dropped_rows == 3


def test_episodes_with_more_rows_than_a_step_are_said(load: Any) -> None:
    samples = load(rows([wandering(0, turns=3), wandering(1, turns=5)])).samples
    assert more_rows_than_a_step(samples, 5) is None
    assert more_rows_than_a_step(samples, 4) == (
        "1 of 2 sequences stands for more than data.train_batch_size=4 rows, up to 5: a step takes each whole, so an"
        " epoch has fewer steps"
    )


def test_where_a_template_rewrites_earlier_turns_a_teacher_s_answers_are_sequences_of_their_own(load: Any) -> None:
    records = rows([taught(turns=3, agreed=(2,))])
    loaded = load(records, encoder=ChatEncoder(with_template(STRIPPING)))
    assert [sample.branches for sample in loaded.samples] == [(), (), ()]
    answers = {messages(row)[-1].content + "<|im_end|>" for row in records}
    assert {said(sample) for sample in loaded.samples} == answers


def test_untrained_turns_have_no_loss(load: Any) -> None:
    (sample,) = load(rows([wandering(turns=3, noisy=(2,))])).samples
    assert sample.rows == 2
    assert "take plate 1" in said(sample)
    assert "take drawer 2" not in said(sample)


def test_replies_that_are_marked_as_context_have_no_loss(load: Any) -> None:
    records = [{"messages": [dict(m) for m in row["messages"]]} for row in rows([wandering(turns=3)])[-1:]]
    records[0]["messages"][3]["weight"] = 0
    (sample,) = load(records, schema=None).samples
    assert "take plate 1" in said(sample)
    assert "take drawer 2" not in said(sample)
    assert "take lamp 3" in said(sample)


def test_a_response_that_is_marked_as_context_is_not_trained(load: Any) -> None:
    records = rows([wandering(turns=2)])
    records[1]["extra_info"] = json.dumps({"turn": 2, "untrained_turns": [2.0]})
    loaded = load(records, SINGLE)
    assert [said(sample) for sample in loaded.samples] == [records[0]["response_data"]["content"] + "<|im_end|>"]
    assert loaded.report.warnings(SampleOptions()) == [
        "1 of 2 rows was dropped: no trained token is left (too long, as context, or nothing new to learn)"
    ]


def test_replies_in_a_prompt_are_context(load: Any) -> None:
    talk = [{"role": m["role"], "content": m["content"]} for m in rows([wandering(turns=3)])[-1]["messages"]]
    columns = Columns(prompt_key="prompt", response_key="completion")
    (sample,) = load([{"prompt": talk[:-1], "completion": talk[-1:]}], columns, schema=None).samples
    assert said(sample) == talk[-1]["content"] + "<|im_end|>"


def test_what_is_read_in_its_own_way_is_told(load: Any) -> None:
    talk = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "look", "reasoning": "A mug."}]
    loaded = load([{"messages": talk}, {"messages": talk}], schema=None)
    assert said(loaded.samples[0]) == "<think>A mug.</think>\nlook<|im_end|>"
    assert loaded.report.warnings(SampleOptions()) == [
        "2 of 2 rows: 'reasoning' is read as <think>…</think> before the reply"
    ]


def test_episodes_of_two_folders_stay_apart(tmp_path: Path) -> None:
    folders = []
    for name, turns in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.parquet", rows([wandering(0, turns=turns)]))
        folders.append(tmp_path / name)
    loaded = load_samples(folders, ENCODER, MULTI, SampleOptions())
    assert [(sample.rows, sample.key) for sample in loaded.samples] == [
        (2, f"{tmp_path}/a/train.parquet row 1"),
        (3, f"{tmp_path}/b/train.parquet row 2"),
    ]
    with pytest.raises(DatasetError, match=r"data.train_files names .*/a/train.parquet twice; name each file once"):
        load_samples([folders[0], folders[1], folders[0]], ENCODER, MULTI, SampleOptions())


def test_loss_weight_scales_what_stands_in_predictions(load: Any) -> None:
    (sample,) = load(rows([wandering(turns=1)]), prediction_weight=0.25).samples
    assert "Seen 2." in said(sample, 0.25)
    assert set(sample.kind[sample.weight == 0.25]) == {TokenKind.PREDICTION}
    assert "thought 1" in said(sample, 1)


def test_observation_loss_weighs_user_messages_after_the_first_also_after_untrained_turns(load: Any) -> None:
    records = rows([wandering(turns=3, noisy=(2,))])
    (sample,) = load(records, observation_weight=0.5).samples
    seen = [m["content"] for m in records[-1]["messages"] if m["role"] == "user"]
    assert said(sample, 0.5) == "".join(seen[1:])
    (sample,) = load(records, observation_weight=0.5, weighting="cumulative").samples
    assert said(sample, 0.5) == "".join(seen[1:])  # only the row of turn 3 holds them


def test_a_conversation_that_is_too_long_is_cut_after_the_last_reply_that_fits(load: Any) -> None:
    records = rows([wandering(turns=4)])
    ends = ENCODER.encode_conversation(messages(records[-1])).ends
    loaded = load(records, max_length=ends[2] - 1, weighting="cumulative")
    (sample,) = loaded.samples
    assert (len(sample), sample.rows, sample.truncated) == (ends[1], 4, True)
    assert sorted(set(sample.weight.tolist())) == [0, 3, 4]
    assert loaded.report.warnings(SampleOptions(max_length=9)) == [
        "1 of 1 sequence is longer than data.max_length=9 and was cut after the last reply that fits"
    ]


def test_a_reply_that_just_fits_stays(load: Any) -> None:
    records = rows([wandering(turns=4)])
    ends = ENCODER.encode_conversation(messages(records[-1])).ends
    assert len(load(records, max_length=ends[1]).samples[0]) == ends[1]
    assert len(load(records, max_length=ends[1] - 1).samples[0]) == ends[0]


def test_a_conversation_that_just_fits_is_whole(load: Any) -> None:
    records = rows([wandering(turns=4)])
    length = len(ENCODER.encode_conversation(messages(records[-1])))
    assert not load(records, max_length=length).samples[0].truncated


def test_what_has_no_trained_token_left_is_dropped_and_counted(load: Any) -> None:
    loaded = load(rows([wandering(turns=2)]), max_length=20)
    assert loaded.samples == []
    assert loaded.report.dropped_rows == 2
    assert "2 of 2 rows were dropped" in loaded.report.warnings(SampleOptions())[0]
    assert load(rows([wandering(turns=1)]), SINGLE, max_length=20).samples == []


def test_right_and_left_cut_at_that_end(load: Any) -> None:
    records = rows([wandering(turns=1)])
    whole = load(records).samples[0]
    right = load(records, truncation="right", max_length=len(whole) - 5).samples[0]
    left = load(records, truncation="left", max_length=len(whole) - 5).samples[0]
    assert right.ids.tolist() == whole.ids[:-5].tolist()
    assert left.ids.tolist() == whole.ids[5:].tolist()


def test_cut_at_the_left_only_rows_that_fit_are_folded(load: Any) -> None:
    records = rows([wandering(turns=4)])
    ends = ENCODER.encode_conversation(messages(records[-1])).ends
    loaded = load(records, truncation="left", max_length=ends[1])
    assert [(sample.rows, len(sample)) for sample in loaded.samples] == [(2, ends[1]), (1, ends[1]), (1, ends[1])]
    assert said(loaded.samples[2]) == records[3]["response_data"]["content"] + "<|im_end|>"


def test_too_long_is_an_error_where_it_is_wanted(load: Any) -> None:
    with pytest.raises(DatasetError, match=r"row 0: \d+ tokens are more than data.max_length=20; raise it, or set"):
        load(rows([wandering(turns=1)]), truncation="error", max_length=20)


def test_the_first_token_never_carries_loss(load: Any) -> None:
    loaded = load(rows([wandering(turns=1)]), truncation="left", max_length=10)
    assert loaded.samples[0].weight[0] == 0
    assert loaded.samples[0].weight[1:].all()


def test_a_template_that_rewrites_earlier_turns_is_trained_row_by_row_and_reported(load: Any) -> None:
    encoder = ChatEncoder(with_template(STRIPPING))
    records = rows([wandering(turns=3)])
    for weighting in ("uniform", "cumulative"):
        loaded = load(records, MULTI, encoder, weighting=weighting)
        assert [said(sample) for sample in loaded.samples] == [
            r["response_data"]["content"] + "<|im_end|>" for r in records
        ]
    assert "the chat template rewrites earlier turns" in loaded.report.warnings(SampleOptions())[0]
    assert "thought 1" not in TOKENIZER.decode(loaded.samples[1].ids.tolist())


def replies_of(record: dict[str, Any]) -> list[str]:
    return [m["content"] for m in record["messages"] if m["role"] == "assistant"]


@pytest.mark.parametrize("template", [STRIPPING, QWEN3, DEEPSEEK_R1], ids=["stripping", "qwen3", "r1"])
@pytest.mark.parametrize("fold", [True, False])
def test_every_reply_of_one_row_a_conversation_is_trained_where_a_template_rewrites_turns(
    load: Any, template: str, fold: bool
) -> None:
    encoder = ChatEncoder(with_template(template))
    [record] = rows([wandering(turns=3)], replace(WM, rows_per="episode"))
    loaded = load([record], MULTI, encoder, fold=fold)
    talk = messages(record)
    for turn, sample in enumerate(loaded.samples):
        prompt = encoder.encode_prompt(talk[: 2 * turn + 1])
        assert sample.ids[: len(prompt)].tolist() == prompt
        assert np.flatnonzero(sample.weight).tolist() == list(range(len(prompt), len(sample)))
        assert ["take plate 1", "take drawer 2", "take lamp 3"][turn] in said(sample)
        assert f"thought {turn + 1}" in said(sample)
    assert [sample.rows for sample in loaded.samples] == [1, 1, 1]
    assert [sample.key.rpartition("/")[2] for sample in loaded.samples] == [
        "train.parquet row 0, reply 1", "train.parquet row 0, reply 2", "train.parquet row 0"
    ]  # fmt: skip
    assert loaded.report.unstable == 1


def test_replies_trained_one_by_one_weigh_what_their_rows_give_them(load: Any) -> None:
    encoder = ChatEncoder(with_template(QWEN3))
    records = rows([wandering(turns=3, noisy=(2,))])
    loaded = load(records, MULTI, encoder, weighting="cumulative")
    assert [sorted(set(sample.weight.tolist())) for sample in loaded.samples] == [[0, 2], [0, 1]]
    [whole] = rows([wandering(turns=3, noisy=(2,))], replace(WM, rows_per="episode"))
    loaded = load([whole], MULTI, encoder)
    assert [replies_of(whole).index(r) for r in replies_of(whole) if any(
        r.split("<action>")[1] in said(sample) for sample in loaded.samples
    )] == [0, 2]  # fmt: skip


def test_a_row_without_a_trained_reply_is_dropped_where_a_template_rewrites_turns(load: Any) -> None:
    encoder = ChatEncoder(with_template(QWEN3))
    record = rows([wandering(turns=2)])[-1]
    record = {**record, "extra_info": '{"untrained_turns": [1, 2]}'}
    loaded = load([record], MULTI, encoder)
    assert (loaded.samples, loaded.report.dropped_rows) == ([], 1)


def test_a_prompt_with_earlier_replies_trains_its_response_alone(load: Any, tmp_path: Path) -> None:
    record = rows([wandering(turns=2)])[-1]
    line = json.dumps({"prompt": record["messages"][:-1], "response": "look"})
    (tmp_path / "verl.jsonl").write_text(line + "\n")
    columns = Columns(prompt_key="prompt", response_key="response", prompt_dict_keys=None, response_dict_keys=None)
    (sample,) = load_samples([tmp_path / "verl.jsonl"], ENCODER, columns, SampleOptions()).samples
    assert said(sample) == "look<|im_end|>"


def test_a_conversation_that_begins_with_the_assistant_trains_its_other_replies_and_is_reported(load: Any) -> None:
    record = rows([wandering(turns=2)])[-1]
    record = {**record, "messages": [{"role": "assistant", "content": "Welcome."}, *record["messages"]]}
    for encoder in (ENCODER, ChatEncoder(with_template(QWEN3))):
        loaded = load([{**record, "extra_info": "{}"}], MULTI, encoder)
        text = "".join(map(said, loaded.samples))
        assert text.count("<action>") == 2
        assert "Welcome." not in text
        assert "it is context and not trained (conversations: 1)" in " ".join(loaded.report.warnings(SampleOptions()))


@pytest.mark.parametrize("columns", [SINGLE, MULTI])
def test_what_a_template_refuses_names_file_and_row(load: Any, columns: Columns) -> None:
    refusing = "{{ raise_exception('no plates') if 'take plate' in messages[-1].content }}" + TOKENIZER.chat_template
    encoder = ChatEncoder(with_template(refusing))
    records = rows([wandering(1, turns=1), wandering(0, turns=1)])
    with pytest.raises(DatasetError, match=r"train.parquet row 1: the model's chat template refuses .*: no plates"):
        load(records, columns, encoder)


@pytest.mark.parametrize("multiturn", [False, True])
def test_next_state_rows_ask_for_what_comes_after_an_action_and_are_mixed_with_action_rows(
    load: Any, multiturn: bool
) -> None:
    records = rows([wandering(turns=4)])
    columns = Columns(multiturn=multiturn, next_state=True)
    plain = load(records, Columns(multiturn=multiturn))
    loaded = load(records, columns, next_state_rows=0.5, prediction_weight=0.0)
    asked = loaded.samples[len(plain.samples) :]
    assert (len(asked), loaded.report.next_state) == (2, 2)
    for sample in asked:
        assert set(sample.kind[sample.weight == 1].tolist()) == {TokenKind.PREDICTION}
        turn = int(sample.key.split("row ")[1].split(",")[0])
        text = TOKENIZER.decode(sample.ids.tolist())
        assert f"Suppose you answer with this action: take {['plate', 'drawer', 'lamp'][turn]}" in text
        assert said(sample) == records[turn + 1]["messages"][-2]["content"] + "<|im_end|>"


def with_alternatives(record: dict[str, Any], *tried: tuple[str, str]) -> dict[str, Any]:
    listed = [{"action": action, "observation": observation} for action, observation in tried]
    return {**record, "extra_info": json.dumps({**json.loads(record["extra_info"]), "alternatives": listed})}


def test_actions_that_were_only_tried_ask_for_the_game_s_answer(load: Any) -> None:
    records = [with_alternatives(row, ("open desk 1", "It is locked.")) for row in rows([wandering(turns=3)])]
    loaded = load(records, Columns(next_state=True), next_state_rows=2.0)
    tried = [sample for sample in loaded.samples if sample.key.endswith("next state of open desk 1")]
    assert (len(tried), loaded.report.next_state, loaded.report.next_state_missing) == (3, 5, 1)
    for sample in tried:
        text = TOKENIZER.decode(sample.ids.tolist())
        assert "Suppose you answer with this action: open desk 1\nDo not act now. Write only the game's answer" in text
        assert said(sample) == "It is locked.<|im_end|>"
    warnings = " ".join(loaded.report.warnings(SampleOptions(next_state_rows=2.0)))
    assert "worldmodel.next_state_rows=2 asks for 6 rows, of which the data has 5; collect with" in warnings


@pytest.mark.parametrize("tag", ["prediction", "plan"])
def test_a_weight_of_predictions_that_no_reply_has_is_said(load: Any, tag: str) -> None:
    records = json.loads(json.dumps(rows([wandering()])).replace("prediction>", f"{tag}>"))
    warnings = load(records, prediction_weight=0.3).report.warnings(SampleOptions(prediction_weight=0.3))
    line = "worldmodel.loss_weight=0.3 has no effect: no reply has a <prediction>"
    assert warnings.count(line) == (tag != "prediction")
    assert not load(records).report.warnings(SampleOptions())


def test_an_action_tried_in_a_turn_without_a_row_is_asked_about_in_its_own_prompt(load: Any) -> None:
    (record,) = rows([wandering(turns=1)])
    listed = [
        {"action": "open desk 1", "observation": f"Answer {turn}.", "turn": turn, "prompt": f"Prompt {turn}."}
        for turn in (2, 3)
    ]
    record["extra_info"] = json.dumps({**json.loads(record["extra_info"]), "alternatives": listed})
    samples = load([record], Columns(next_state=True), next_state_rows=9.0).samples
    tried = {sample.key.rpartition("next state of ")[2]: sample for sample in samples if "next state of" in sample.key}
    assert sorted(tried) == ["open desk 1 in turn 2", "open desk 1 in turn 3"]
    for turn in (2, 3):
        sample = tried[f"open desk 1 in turn {turn}"]
        assert f"Prompt {turn}.\n\nSuppose you answer with this action: open desk 1" in TOKENIZER.decode(
            sample.ids.tolist()
        )
        assert said(sample) == f"Answer {turn}.<|im_end|>"


def test_what_followed_the_student_s_action_is_never_the_answer_to_the_teacher_s(load: Any) -> None:
    records = rows([taught(turns=4, agreed=(2,))])
    loaded = load(records, Columns(multiturn=True, next_state=True), next_state_rows=100.0)
    asked = {sample.key.split(" ", 1)[1] for sample in loaded.samples if "next state" in sample.key}
    both = [f"row {n}, next state of take {put}{words}" for n, words in ((0, "plate 1"), (2, "lamp 3"), (3, "apple 4"))
            for put in ("", "shelf 9 and put ")]  # fmt: skip
    assert asked == {"row 1, next state", *(f"{one} from desk 0" for one in both)}


def test_what_followed_in_another_run_s_conversation_is_never_the_answer(load: Any) -> None:
    """Two runs of one seed in one file share the ids of their episodes."""
    one = rows([wandering(turns=3)])
    other = json.loads(json.dumps(one))
    for message in (message for row in other for message in row["messages"] if message["role"] == "user"):
        message["content"] = message["content"].replace("You are in", "You stand in").replace("Seen", "Found")
    loaded = load([*one, *other], Columns(multiturn=True, next_state=True), next_state_rows=100.0)
    asked = {sample.key.split(" ", 1)[1]: said(sample) for sample in loaded.samples if "next state" in sample.key}
    for row in (*range(len(one) - 1), *range(len(one), 2 * len(one) - 1)):
        expected = [*one, *other][row + 1]["messages"][-2]["content"] + "<|im_end|>"
        assert asked[f"row {row}, next state"] == expected


@pytest.mark.parametrize("listed", ["locked", [{"action": "go"}], {"action": "go", "observation": 7}, [3]])
def test_alternatives_that_are_none_are_refused(load: Any, listed: Any) -> None:
    (record,) = rows([wandering(turns=1)])
    record["extra_info"] = json.dumps({"alternatives": listed})
    with pytest.raises(DatasetError, match=r"row 0: extra_info.alternatives is .*; it must be a list of objects"):
        load([record], Columns(next_state=True), next_state_rows=1.0)


def test_a_reply_of_two_actions_asks_for_no_next_state(load: Any) -> None:
    records = rows([wandering(turns=4)])
    torn = {"content": "<action>go</action> or <action>look</action>"}
    records[0] = {**records[0], "response_data": torn}
    loaded = load(records, Columns(next_state=True), next_state_rows=1.0)
    asked = [sample for sample in loaded.samples if "Suppose you answer" in TOKENIZER.decode(sample.ids.tolist())]
    assert len(asked) == loaded.report.next_state == 2


def test_next_state_rows_are_chosen_by_the_seed(load: Any) -> None:
    records = rows([wandering(turns=6)])
    columns = Columns(next_state=True)
    chosen = [[s.key for s in load(records, columns, next_state_rows=0.3, seed=seed).samples] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_next_state_rows_are_chosen_alike_wherever_the_files_are(tmp_path: Path) -> None:
    chosen = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.parquet", rows([wandering(turns=6)]))
        options = SampleOptions(next_state_rows=0.3)
        samples = load_samples([tmp_path / name], ENCODER, Columns(next_state=True), options).samples
        chosen.append([sample.key.removeprefix(f"{tmp_path}/{name}/") for sample in samples])
    assert chosen[0] == chosen[1]
    assert chosen[0][6:] == ["train.parquet row 2, next state", "train.parquet row 4, next state"]


def test_next_state_rows_of_several_files_are_chosen_alike_whatever_the_files_are_called(tmp_path: Path) -> None:
    chosen = []
    for names in (("a", "m"), ("z", "m")):
        for index, name in enumerate(names):
            (tmp_path / name).mkdir(exist_ok=True)
            write(tmp_path / name / "train.parquet", rows([wandering(index)]))
        files = [tmp_path / name for name in names]
        samples = load_samples(files, ENCODER, Columns(next_state=True), SampleOptions(next_state_rows=1.0)).samples
        chosen.append([sample.ids.tolist() for sample in samples])
    assert chosen[0] == chosen[1]


def test_a_file_without_rows_gives_no_samples(load: Any) -> None:
    loaded = load([])
    assert (loaded.samples, loaded.report.rows, loaded.report.warnings(SampleOptions())) == ([], 0, [])
