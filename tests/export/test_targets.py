import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alfworld_sft.cli import app
from alfworld_sft.dataset.read import Columns, read_rows
from alfworld_sft.dataset.rows import Rendering, rows_of
from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.errors import DatasetError
from alfworld_sft.export.write import ExportError, export_rows
from alfworld_sft.prompts.template import load_template, template_names
from tests.collecting import collected, write_games
from tests.collecting import episodes as played_in
from tests.episodes import episode, step

TEMPLATE = load_template("default")
MISTAKE = (step(1), step(2, trained=False), step(3, won=True))


@pytest.fixture
def run(tmp_path):
    """A dataset of two episodes for training, the second with a deliberate mistake, and one for validation."""
    return written(tmp_path / "run", [episode(0, turns=2), episode(1, steps=MISTAKE)], [episode(2, turns=1)])


def written(folder, train, val, **rendering):
    folder.mkdir()
    for name, episodes in (("train", train), ("val", val)):
        rows = [row for one in episodes for row in rows_of(one, Rendering(TEMPLATE, **rendering))]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{name}.parquet")
    return folder


def lines(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def conversation(run, number):
    """The full conversation of the episode with this number in train."""
    rows = pq.read_table(run / "train.parquet").to_pylist()
    return [r["messages"] for r in rows if json.loads(r["extra_info"])["episode_id"].startswith(f"{number:06d}")][-1]


def test_trl_reads_every_trained_turn_once_with_all_before_it_as_the_prompt(run, tmp_path):
    exported = export_rows(run, "trl", tmp_path / "out")
    records = lines(tmp_path / "out" / "train.jsonl")
    assert (exported.records, exported.left_out) == ({"train": 4, "val": 1}, {"train": 0, "val": 0})
    plain, erring = conversation(run, 0), conversation(run, 1)
    assert [(r["prompt"], r["completion"]) for r in records] == [
        (plain[:1], plain[1:2]),
        (plain[:3], plain[3:4]),
        (erring[:1], erring[1:2]),
        (erring[:5], erring[5:6]),
    ]
    assert [r["turn"] for r in records] == [1, 2, 1, 3]


def test_verl_leaves_out_a_conversation_whose_mistake_it_would_train(run, tmp_path):
    exported = export_rows(run, "verl", tmp_path / "out")
    assert (exported.records["train"], exported.left_out["train"]) == (1, 1)
    assert pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()[0]["messages"] == conversation(run, 0)


def test_an_export_that_would_hold_nothing_is_refused(tmp_path):
    erring = written(tmp_path / "run", [episode(1, steps=MISTAKE)], [episode(2, turns=1)])
    with pytest.raises(ExportError, match=r"verl could read none of its 1 conversations.*use --form single"):
        export_rows(erring, "verl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_without_records_has_no_file(tmp_path):
    run = written(tmp_path / "run", [episode(0, turns=2)], [episode(1, steps=MISTAKE)])
    export_rows(run, "verl", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["README.md", "train.parquet"]


def test_verl_has_every_trained_turn_in_single_turn_form(run, tmp_path):
    exported = export_rows(run, "verl", tmp_path / "out", "single")
    assert (exported.records["train"], exported.left_out["train"]) == (4, 0)
    ours = pq.read_table(run / "train.parquet").to_pylist()
    assert pq.read_table(tmp_path / "out" / "train.parquet")["messages"].to_pylist() == [
        [
            {"role": "user", "content": row["prompt_data"]["content"].removeprefix("user: ")},
            {"role": "assistant", "content": row["response_data"]["content"]},
        ]
        for row in ours
    ]


def test_verl_s_reinforcement_learning_reads_structs_and_the_action(run, tmp_path):
    export_rows(run, "verl-rl", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [row["reward_model"] for row in rows] == [{"style": "rule", "ground_truth": "look"}] * 4
    assert [row["extra_info"]["index"] for row in rows] == [0, 1, 2, 3]
    assert rows[3]["prompt"] == conversation(run, 1)[:5]


def test_verl_s_reinforcement_learning_reads_the_action_of_every_packaged_template(tmp_path):
    games = write_games(tmp_path / "games", 6)
    for name in template_names():
        folder = collected(tmp_path, games, f"prompt.template={name}", "policy.name=planner", name=f"run {name}")
        export_rows(folder, "verl-rl", tmp_path / name)
        said = {
            row["reward_model"]["ground_truth"]
            for split in ("train", "val")
            for row in pq.read_table(tmp_path / name / f"{split}.parquet").to_pylist()
        }
        assert said == {step.command for one in played_in(folder) for step in one.steps}


def test_openai_s_weight_and_sharegpt_s_loss_mark_the_mistake(run, tmp_path):
    export_rows(run, "openai", tmp_path / "openai")
    export_rows(run, "sharegpt", tmp_path / "sharegpt")
    weighted, shared = (lines(tmp_path / name / "train.jsonl")[1] for name in ("openai", "sharegpt"))
    assert [m.get("weight") for m in weighted["messages"]] == [None, 1, None, 0, None, 1]
    assert [m.get("loss") for m in shared["conversations"]] == [None, True, None, False, None, True]
    assert [m["from"] for m in shared["conversations"]] == ["human", "gpt"] * 3
    assert [m["value"] for m in shared["conversations"]] == [m["content"] for m in conversation(run, 1)]


def test_our_own_reader_takes_the_openai_file_for_what_it_was(run, tmp_path):
    export_rows(run, "openai", tmp_path / "out")
    again = list(read_rows([tmp_path / "out" / "train.jsonl"], Columns(multiturn=True)))
    assert [(row.turns, row.untrained) for row in again] == [(2, frozenset()), (3, frozenset({1}))]


def test_llama_factory_finds_the_files_by_its_index(run, tmp_path):
    export_rows(run, "llamafactory", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert index["alfworld_train"]["file_name"] == "train.jsonl"
    assert index["alfworld_train"]["tags"]["user_tag"] == "user"
    assert [len(r["messages"]) for r in lines(tmp_path / "out" / "train.jsonl")] == [2, 4, 2, 6]


def test_a_dataset_with_a_row_an_episode_gives_the_same_conversations(run, tmp_path):
    by_episode = written(
        tmp_path / "by", [episode(0, turns=2), episode(1, steps=MISTAKE)], [episode(2, turns=1)], rows_per="episode"
    )
    for name, source in (("turn", run), ("episode", by_episode)):
        export_rows(source, "trl", tmp_path / name)
    assert lines(tmp_path / "turn" / "train.jsonl") == lines(tmp_path / "episode" / "train.jsonl")
    with pytest.raises(DatasetError, match=r"use --form multi, or collect with dataset.rows_per=turn"):
        export_rows(by_episode, "trl", tmp_path / "single", "single")
    assert not (tmp_path / "single").exists()


def test_bad_input_is_one_line_and_leaves_nothing(run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="it exists already; name a new folder"):
        export_rows(run, "trl", tmp_path / "there")
    with pytest.raises(DatasetError, match=r"no train\.parquet"):
        export_rows(tmp_path / "there", "trl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(app, ["export", str(run), "--to", "nobody", "-o", "x"]).exit_code == 2


def test_the_command_says_what_it_wrote_and_what_it_left_out(run, tmp_path):
    done = CliRunner().invoke(app, ["export", str(run), "--to", "verl", "-o", str(tmp_path / "out")])
    assert done.output.splitlines() == [
        f"{tmp_path / 'out'}: train: 1 record; left out: 1 conversation with untrained replies",
        f"{tmp_path / 'out'}: val: 1 record",
    ]


def test_rows_of_an_episode_that_do_not_stand_together_are_refused(run, tmp_path):
    """Otherwise each part of an episode would be taken for one, and replies trained more than once."""
    rows = pq.read_table(run / "train.parquet")
    pq.write_table(rows.take([0, 2, 1, *range(3, len(rows))]), run / "train.parquet")
    with pytest.raises(DatasetError, match=r"row 2: other rows stand between those of episode 000000:.*; sort them by"):
        export_rows(run, "trl", tmp_path / "out", "multi")
    assert not (tmp_path / "out").exists()


def test_a_file_is_refused_which_would_be_written_for_both_splits(run, tmp_path):
    for form in ("multi", "single"):
        with pytest.raises(DatasetError, match=r"train\.parquet is a file; export the folder that holds it"):
            export_rows(run / "train.parquet", "trl", tmp_path / "out", form)


@pytest.mark.parametrize("target", ["trl", "llamafactory", "verl"])
def test_a_turn_has_its_number_in_both_forms(run, tmp_path, target):
    turns = {}
    for form in ("multi", "single"):
        export_rows(run, target, tmp_path / form, form)
        file = tmp_path / form / ("train.parquet" if target == "verl" else "train.jsonl")
        if target == "llamafactory":
            file = next((tmp_path / form).glob("*train*.jsonl"))
        records = pq.read_table(file).to_pylist() if target == "verl" else lines(file)
        turns[form] = [record.get("turn", record.get("extra_info", {}).get("turn")) for record in records]
    assert turns["single"] == [1, 2, 1, 3]
    assert target == "verl" or turns["multi"] == turns["single"]


def with_extra(run, folder, change):
    """A copy of a dataset whose extra_info is changed; None removes it."""
    folder.mkdir()
    for name in ("train", "val"):
        rows = pq.read_table(run / f"{name}.parquet").to_pylist()
        for row in rows:
            row["extra_info"] = change(json.loads(row["extra_info"]))
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("extra", [lambda _: None, lambda info: json.dumps({**info, "episode_id": None})])
def test_rows_that_name_no_episode_are_one_where_each_continues_the_one_before(tmp_path, extra):
    plain = written(tmp_path / "plain", [episode(0, turns=3), episode(1, turns=2)], [episode(2, turns=1)])
    unnamed = with_extra(plain, tmp_path / "unnamed", extra)
    counts = [export_rows(one, "trl", tmp_path / f"of_{one.name}").records for one in (plain, unnamed)]
    assert counts == [{"train": 5, "val": 1}] * 2
    said = [
        [(r["prompt"], r["completion"]) for r in lines(tmp_path / f"of_{n}/train.jsonl")] for n in ("plain", "unnamed")
    ]
    assert said[0] == said[1]


@pytest.mark.parametrize("written_as", [lambda _: None, lambda turn: f"{turn}.0", lambda _: "second"])
def test_a_turn_may_be_missing_or_text(run, tmp_path, written_as):
    odd = with_extra(run, tmp_path / "odd", lambda info: json.dumps({**info, "turn": written_as(info["turn"])}))
    assert export_rows(odd, "trl", tmp_path / "out").records == {"train": 4, "val": 1}
    single = export_rows(odd, "sharegpt", tmp_path / "single", "single")
    assert single.records == {"train": 4, "val": 1}
