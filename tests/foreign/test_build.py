"""`import`: conversations of the published shapes become a dataset's folder that check, show and export read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from alfworld_sft.check.cli import check_command
from alfworld_sft.collect.run import collect, resume_run
from alfworld_sft.config import build_config
from alfworld_sft.dataset.read import Columns, read_rows
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import ConfigError, DatasetError, UserError
from alfworld_sft.export.cli import Target, export_command
from alfworld_sft.export.write import export_rows
from alfworld_sft.foreign.build import Result, import_foreign
from alfworld_sft.foreign.config import ImportConfig
from alfworld_sft.foreign.read import Format
from alfworld_sft.foreign.tally import warnings_of
from alfworld_sft.games import find_games
from alfworld_sft.games.generator.write import write_games as generate
from alfworld_sft.runs.journal import read_journal
from alfworld_sft.show.cli import show_command
from alfworld_sft.world import Game
from alfworld_sft.world.plan import shortest_plan
from tests.collecting import play, stamp_of, start, write_games
from tests.foreign.records import STYLES, older, record


def write(tmp_path: Path, records: list[dict[str, Any]], name: str = "foreign.json") -> Path:
    """Write a file of records."""
    (tmp_path / name).write_text(json.dumps(records))
    return tmp_path / name


def imported(
    tmp_path: Path, data: Path, records: list[dict[str, Any]], *words: str, kind: Format = "sharegpt"
) -> Result:
    """Import records into `tmp_path / "out"`."""
    config = build_config(ImportConfig, [f"games.source={data}", *words])
    return import_foreign([write(tmp_path, records)], kind, config, tmp_path / "out")


def rows_in(folder: Path, *splits: str) -> list[dict[str, Any]]:
    """The rows of a dataset, extra_info and reward_model as dicts."""
    found = [
        row for split in splits or ("train", "val") for row in pq.read_table(folder / f"{split}.parquet").to_pylist()
    ]
    return [row | {name: json.loads(row[name]) for name in ("extra_info", "reward_model")} for row in found]


@pytest.mark.parametrize("kind", STYLES)
def test_each_format_becomes_rows_with_the_conversations_as_they_were_recorded(
    tmp_path: Path, data: Path, games: list[Game], kind: Format
) -> None:
    records = [record(game, kind) for game in games]
    result = imported(tmp_path, data, records, kind=kind)
    rows = rows_in(tmp_path / "out")
    assert (result.tally.replayed, result.summary.won, len(rows)) == (12, 12, sum(len(shortest_plan(g)) for g in games))
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(
        [*DATA_FILES, "README.md", "episodes.jsonl", "run.json"]
    )
    last = next(row for row in rows if row["extra_info"]["turn"] == row["extra_info"]["turns"])
    number = int(last["extra_info"]["record"].rpartition(" ")[2])
    told = records[number]["conversations"][:-1]  # the game's last words follow the last reply
    assert [message["content"] for message in last["messages"]] == [message["value"] for message in told]
    assert last["extra_info"]["game_id"] == games[number].id
    assert last["extra_info"]["untrained_turns"] == [1], "the acknowledgement of the instruction"
    assert last["prompt_data"]["content"] == "user: " + "\n\n".join(message["value"] for message in told[:-1])
    assert (last["response_data"]["content"], last["reward_model"]["ground_truth"]) == (told[-1]["value"], 1.0)


def test_no_game_is_in_both_train_and_val(tmp_path: Path, data: Path, games: list[Game]) -> None:
    records = [record(game, "eto", game_id=game.id) for game in games] * 2
    result = imported(tmp_path, data, records, "dataset.val_fraction=0.3", kind="eto")
    train, val = ({row["extra_info"]["game_id"] for row in rows_in(tmp_path / "out", s)} for s in ("train", "val"))
    assert (len(train), len(val)) == (result.summary.games_train, result.summary.games_val)
    assert train | val == {game.id for game in games}
    assert val
    assert not train & val


def test_check_and_show_read_what_was_imported(
    tmp_path: Path, data: Path, games: list[Game], capsys: pytest.CaptureFixture[str]
) -> None:
    imported(tmp_path, data, [record(game, "eto", game_id=game.id) for game in games], kind="eto")
    check_command(tmp_path / "out", jobs=1)
    assert "12 episodes of 12 replayed" in capsys.readouterr().out
    show_command(tmp_path / "out")
    assert "games: 12 games of train in " in capsys.readouterr().out
    show_command(tmp_path / "out", episode=3)
    assert f"episode 3: {games[3].id}" in capsys.readouterr().out
    with pytest.raises(UserError, match="conversations as they were recorded, without a template"):
        show_command(tmp_path / "out", episode=3, model="tiny")


@pytest.mark.parametrize("template", ["default", "compact", "eto"])
def test_an_exported_dataset_comes_back_as_it_was(tmp_path: Path, data: Path, template: str) -> None:
    """The same conversations, the same games, and the same replies without loss."""
    words = (f"games.source={data}", f"prompt.template={template}", "policy.noise=0.3", "dataset.rows_per=episode")
    play(start(tmp_path, *words))
    export_rows(tmp_path / "run", "sharegpt", tmp_path / "shared")
    config = build_config(ImportConfig, [f"games.source={data}", "dataset.rows_per=episode"])
    files = [tmp_path / "shared" / f"{split}.jsonl" for split in ("train", "val")]
    result = import_foreign(files, "sharegpt", config, tmp_path / "back")
    assert (result.tally.imported, result.tally.replayed) == (12, 12)

    def facts(folder: Path) -> dict[str, Any]:
        found = {row["extra_info"]["game_id"]: row for row in rows_in(folder)}
        return {g: (row["messages"], row["extra_info"]["untrained_turns"]) for g, row in found.items()}

    assert facts(tmp_path / "back") == facts(tmp_path / "run")
    assert any(untrained for _, untrained in facts(tmp_path / "back").values()), "mistakes stay without loss"


def test_a_template_makes_what_the_same_replies_would_have_made_in_a_collection(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    """Prompts, commands in the games' words, replies in tags; predictions are what really came."""
    records = [json.loads(older(json.dumps(record(game, "eto")))) for game in games]
    result = imported(tmp_path, data, records, "prompt.template=add_wm1", "dataset.val_fraction=0", kind="eto")
    assert result.tally.reworded > 0
    episode = next(read_journal(tmp_path / "out" / "episodes.jsonl").episodes())
    plan = shortest_plan(games[0])
    assert [step.reply.text for step in episode.steps] == [
        f"<think>I go on.</think>\n<prediction>{step.next_observation}</prediction>\n<action>{command}</action>"
        for step, command in zip(episode.steps, plan, strict=True)
    ]
    first = rows_in(tmp_path / "out")[0]
    assert first["messages"][0]["content"].startswith("You are an agent in a house")
    assert first["prompt_data"]["content"].startswith("user: You are an agent in a house")
    assert first["extra_info"]["template"] == "add_wm1"


def test_a_thought_that_is_not_there_is_not_made_up(tmp_path: Path, data: Path, games: list[Game]) -> None:
    silent = json.loads(json.dumps(record(games[0], "sharegpt")).replace("THOUGHT: I go on. ", ""))
    imported(tmp_path, data, [silent], "prompt.template=default", "dataset.val_fraction=0")
    assert rows_in(tmp_path / "out")[0]["response_data"]["content"] == f"<action>{shortest_plan(games[0])[0]}</action>"


@pytest.mark.parametrize(("place", "imports"), [("valid_seen", 0), ("train", 1), ("valid_train", 1), ("elsewhere", 1)])
def test_a_game_that_is_not_at_hand_is_of_the_split_that_its_record_names(
    tmp_path: Path, data: Path, games: list[Game], place: str, imports: int
) -> None:
    unknown = json.loads(json.dumps(record(games[0], "sharegpt", success=True)).replace("shelf 1", "throne 1"))
    unknown["game_file"] = f"json_2.1.1/{place}/TASK/TRIAL/game.tw-pddl"
    result = imported(tmp_path, data, [unknown, record(games[2], "sharegpt")])
    assert result.tally.imported == 1 + imports
    if not imports:
        assert "a game of valid_seen, not of games.split=train" in result.tally.unwanted.first


def test_the_published_part_of_train_can_be_chosen(tmp_path: Path, data: Path, games: list[Game]) -> None:
    unknown = json.loads(json.dumps(record(games[0], "sharegpt", success=True)).replace("shelf 1", "throne 1"))
    unknown["game_file"] = "json_2.1.1/valid_train/TASK/TRIAL/game.tw-pddl"
    result = imported(tmp_path, data, [unknown, record(games[2], "sharegpt")], "games.split=valid_train")
    assert result.tally.imported == 1
    assert "a game of train, not of games.split=valid_train" in result.tally.unwanted.first


def test_episodes_of_unknown_games_are_kept_as_recorded_and_split_by_their_start(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    unknown = json.loads(json.dumps(record(games[0], "sharegpt", success=True)).replace("shelf 1", "throne 1"))
    silent = json.loads(json.dumps(record(games[2], "sharegpt")).replace("shelf 1", "throne 1"))
    result = imported(tmp_path, data, [unknown, unknown, silent, record(games[2], "sharegpt")])
    assert (result.tally.imported, result.tally.replayed, result.tally.unknown.records) == (4, 1, 3)
    assert (
        "3 records of games that are not at hand, kept as recorded, and won only where the record says so"
        in warnings_of(result.tally, rewritten=False)[0]
    )
    found = {row["extra_info"]["record"]: row for row in rows_in(tmp_path / "out")}
    one, two, other, known = (found[f"foreign.json record {n}"] for n in range(4))
    assert one["extra_info"]["game_id"] == two["extra_info"]["game_id"] != other["extra_info"]["game_id"]
    assert one["extra_info"]["game_id"].startswith("unknown/")
    assert [row["extra_info"]["success"] for row in (one, other, known)] == [True, None, True]
    assert [row["reward_model"]["ground_truth"] for row in (one, other, known)] == [1.0, None, 1.0]
    assert [row["extra_info"]["replayed"] for row in (one, other, known)] == [False, False, True]
    raw = json.loads((tmp_path / "out" / "raw_trajectories.json").read_bytes())
    assert [len(entry["steps"]) > 0 for entry in raw] == [False, False, False, True]


@pytest.fixture(scope="module")
def both_splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Game], list[Game]]:
    """A folder with games of train, the same in valid_train, and others in valid_seen."""
    folder = tmp_path_factory.mktemp("both")
    generate(folder, {"train": 6, "valid_seen": 2}, seed=7, difficulty="easy")
    shutil.copytree(folder / "json_2.1.1" / "train", folder / "json_2.1.1" / "valid_train")
    found = [[ref.load() for ref in find_games(folder, split)] for split in ("train", "valid_seen")]
    return folder, found[0], found[1]


def spoilt(game: Game) -> dict[str, Any]:
    """A record of the game with answers that it does not give."""
    told = record(game, "sharegpt", success=True)
    for message in told["conversations"][4::2]:
        message["value"] = "The lights flicker for a while."
    return told


def test_an_evaluation_game_with_changed_answers_is_left_out(
    tmp_path: Path, both_splits: tuple[Path, list[Game], list[Game]]
) -> None:
    folder, train, seen = both_splits
    result = imported(tmp_path, folder, [spoilt(seen[0]), record(train[0], "sharegpt")])
    assert (result.tally.imported, result.tally.unwanted.records) == (1, 1)
    assert "a game of valid_seen, not of games.split=train" in result.tally.unwanted.first


def test_a_game_and_what_begins_like_it_are_not_in_train_and_val(
    tmp_path: Path, both_splits: tuple[Path, list[Game], list[Game]]
) -> None:
    folder, train, _ = both_splits
    records = [kind for game in train for kind in (record(game, "sharegpt"), spoilt(game))]
    result = imported(tmp_path, folder, records, "dataset.val_fraction=0.5")
    assert (result.tally.replayed, result.tally.unknown.records) == (len(train), len(train))
    first = [{row["messages"][2]["content"] for row in rows_in(tmp_path / "out", split)} for split in ("train", "val")]
    assert first[0]
    assert first[1]
    assert not first[0] & first[1]


def test_a_game_that_is_in_train_and_in_valid_train_is_imported_as_either(
    tmp_path: Path, both_splits: tuple[Path, list[Game], list[Game]]
) -> None:
    folder, train, _ = both_splits
    for split in ("train", "valid_train"):
        place = tmp_path / split
        place.mkdir()
        result = imported(place, folder, [record(train[0], "sharegpt")], f"games.split={split}")
        assert (result.tally.imported, result.tally.replayed) == (1, 1)


def test_with_a_template_or_require_success_the_unknown_is_left_out(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    silent = json.loads(json.dumps(record(games[1], "sharegpt")).replace("shelf 1", "throne 1"))
    records = [silent, record(games[2], "sharegpt"), record(games[3], "sharegpt", ["look"])]
    (tmp_path / "a").mkdir()
    result = imported(tmp_path / "a", data, records, "prompt.template=default")
    assert (result.tally.imported, result.tally.unknown.records) == (2, 1)
    (tmp_path / "b").mkdir()
    result = imported(tmp_path / "b", data, records, "dataset.require_success=true")
    assert (result.summary.episodes, result.summary.kept) == (3, 1)
    assert {row["extra_info"]["game_id"] for row in rows_in(tmp_path / "b" / "out")} == {games[2].id}


def test_a_game_that_begins_alike_but_answers_otherwise_is_not_its_game(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    told = record(games[0], "eto", ["go to garbagecan 1", *shortest_plan(games[0])])
    for message in told["conversations"][3:]:
        if message["from"] == "human":
            message["value"] = "Observation: On the throne 1, you see a unicorn 1."
    assert imported(tmp_path, data, [told], kind="eto").tally.unknown.records == 1
    named = {**told, "game_file": f"data/json_2.1.1/train/{games[0].id}"}
    (tmp_path / "named").mkdir()
    assert imported(tmp_path / "named", data, [named], kind="eto").tally.replayed == 1


def test_what_the_game_refuses_and_what_is_no_action_carry_no_loss(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    told = record(games[0], "sharegpt", ["fly to moon 1", "look", *shortest_plan(games[0])])
    told["conversations"][5]["value"] = "I wonder."
    result = imported(tmp_path, data, [told], "dataset.val_fraction=0")
    assert (result.tally.refused, result.tally.missing) == (1, 1)
    rows = rows_in(tmp_path / "out")
    assert len(rows) == len(shortest_plan(games[0]))
    assert rows[-1]["extra_info"]["untrained_turns"] == [1, 2, 3]
    columns = Columns(multiturn=True)
    assert list(read_rows([tmp_path / "out" / "train.parquet"], columns))[-1].untrained == {0, 1, 2}


def test_games_of_an_evaluation_split_are_left_out(tmp_path: Path) -> None:
    data = write_games(tmp_path / "data", 2, "valid_seen")
    told = [record(ref.load(), "eto") for ref in find_games(data, "valid_seen")]
    with pytest.raises(
        DatasetError, match=r"2 left out, the first: .* a game of valid_seen, not of games\.split=train"
    ):
        imported(tmp_path, data, told, kind="eto")
    with pytest.raises(UserError, match="split 'valid_seen' is for evaluation"):
        imported(tmp_path, data, told, "games.split=valid_seen", kind="eto")
    words = ("games.split=valid_seen", "games.allow_eval_split=true")
    assert imported(tmp_path, data, told, *words, kind="eto").tally.replayed == 2
    assert stamp_of(tmp_path / "out")["games"]["eval_split_allowed"] is True


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not JSON"),
        (b"7", "not a list of records"),
        (b"[]", "none of 0 records can be imported: there are none"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'[{"conversations": "x"}]', "none of 1 records can be imported: 1 not read, the first: "),
        (b'[{"conversations": [{"from": "robot", "value": "x"}]}]', "unknown role 'robot'"),
        (
            json.dumps([{"conversations": [{"from": "human", "value": "x" * 10**6}]}]).encode(),
            "no message shows a room",
        ),
    ],
)
def test_a_file_that_gives_nothing_is_one_line_and_leaves_no_folder(
    tmp_path: Path, data: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    config = build_config(ImportConfig, [f"games.source={data}"])
    with pytest.raises(DatasetError) as caught:
        import_foreign([tmp_path / "bad.json"], "sharegpt", config, tmp_path / "out")
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert [file.name for file in tmp_path.iterdir()] == ["bad.json"]


def test_bad_options_are_one_line(tmp_path: Path, data: Path, games: list[Game]) -> None:
    file = write(tmp_path, [record(games[0], "sharegpt")])
    config = build_config(ImportConfig, [f"games.source={data}"])
    with pytest.raises(UserError, match=r"FILE names .* twice"):
        import_foreign([file, file], "sharegpt", config, tmp_path / "out")
    with pytest.raises(UserError, match=r"cannot read .*missing\.json: No such file"):
        import_foreign([tmp_path / "missing.json"], "sharegpt", config, tmp_path / "out")
    with pytest.raises(UserError, match="it exists already; name a new folder"):
        import_foreign([file], "sharegpt", config, tmp_path)
    with pytest.raises(UserError, match=r"games\.source=generate has no end"):
        import_foreign([file], "sharegpt", build_config(ImportConfig, ["games.source=generate"]), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"prompt.history_length=2 .*prompt.template=default"):
        build_config(ImportConfig, ["prompt.history_length=2"])


def test_the_same_files_give_the_same_bytes(tmp_path: Path, data: Path, games: list[Game]) -> None:
    records = [record(game, "eto") for game in games]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        imported(tmp_path / name, data, records, kind="eto")
    first, second = ({name: (tmp_path / n / "out" / name).read_bytes() for name in DATA_FILES} for n in ("a", "b"))
    assert first == second


def test_what_needs_a_collection_says_so(tmp_path: Path, data: Path, games: list[Game]) -> None:
    imported(tmp_path, data, [record(games[0], "eto")], kind="eto")
    targets: tuple[Target, ...] = ("dpo", "inspect")
    for target in targets:
        with pytest.raises(UserError, match=f"imported; --to {target} needs episodes that this package has played"):
            export_command(tmp_path / "out", target, tmp_path / "exported")
    (tmp_path / "out" / "val.parquet").unlink()
    with pytest.raises(UserError, match=r"val\.parquet is missing; import its files again, into a new folder"):
        show_command(tmp_path / "out")


def test_check_says_how_many_were_not_replayed(
    tmp_path: Path, data: Path, games: list[Game], capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = json.loads(json.dumps(record(games[2], "sharegpt")).replace("shelf 1", "throne 1"))
    imported(tmp_path, data, [unknown, record(games[0], "sharegpt")])
    check_command(tmp_path / "out", jobs=1)
    out = capsys.readouterr().out
    assert "1 episode of 1 replayed" in out
    assert "warning: 1 episode imported without a game, and not verified" in out


def test_an_imported_run_is_not_resumed_by_collect(tmp_path: Path, data: Path, games: list[Game]) -> None:
    imported(tmp_path, data, [record(games[0], "eto")], kind="eto")
    with pytest.raises(UserError, match="was imported"):
        collect(resume_run(tmp_path / "out"))


def test_a_line_that_is_not_json_is_named(tmp_path: Path, data: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"conversations": []}\n\n{"conversations": [\n')
    config = build_config(ImportConfig, [f"games.source={data}"])
    with pytest.raises(DatasetError, match=r"bad\.jsonl line 3: not JSON"):
        import_foreign([tmp_path / "bad.jsonl"], "sharegpt", config, tmp_path / "out")
