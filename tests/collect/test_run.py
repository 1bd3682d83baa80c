import json
import random
import signal
import subprocess
import sys
import time

import datasets
import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, resume_run, start_run
from alfworld_sft.config import build_config
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import DatasetError, GamesNotFoundError, RunFolderError, UserError
from alfworld_sft.runs.trust import read_allowed
from tests.collecting import contents, write_games


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 24)


def collected(data, parent, *overrides, name="run"):
    job = start_run(build_config(CollectConfig, [f"games.source={data}", *overrides]), parent, name=name)
    with job.run:
        summary = collect(job)
    return job.run.path, summary


def test_a_run_s_folder_holds_the_documented_files(data, tmp_path):
    folder, _ = collected(data, tmp_path)
    assert {file.name for file in folder.iterdir()} == {*DATA_FILES, "README.md", "run.json", "episodes.jsonl"}


def test_the_expert_wins_and_every_game_is_played_once(data, tmp_path):
    _, summary = collected(data, tmp_path)
    assert (summary.episodes, summary.won) == (24, 24)
    assert set(summary.success_by_task_type.values()) == {(4, 4)}


@pytest.mark.parametrize("template", ["default", "add_wm1", "add_wm2", "compact"])
def test_datasets_reads_the_folder(data, tmp_path, template, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, summary = collected(data, tmp_path, f"prompt.template={template}")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == {
        "train": summary.rows_train,
        "validation": summary.rows_val,
    }
    assert loaded["train"].column_names == [
        "data_source", "messages", "prompt_data", "response_data", "ability", "reward_model", "extra_info",
    ]  # fmt: skip


def test_no_game_is_in_both_splits(data, tmp_path, monkeypatch):
    folder, _ = collected(data, tmp_path, "num_episodes=60")
    games = {
        split: {json.loads(row)["game_id"] for row in _column(folder / f"{split}.parquet", "extra_info")}
        for split in ("train", "val")
    }
    assert games["train"].isdisjoint(games["val"])
    assert len(games["train"] | games["val"]) == 24


def test_every_row_is_traceable_to_its_episode(data, tmp_path):
    folder, _ = collected(data, tmp_path, "prompt.template=add_wm1")
    raw = {e["task_info"]["episode_id"]: e for e in json.loads((folder / "raw_trajectories.json").read_bytes())}
    for split in ("train", "val"):
        infos = _column(folder / f"{split}.parquet", "extra_info")
        assert infos
        for info, response in zip(infos, _column(folder / f"{split}.parquet", "response_data"), strict=True):
            found = json.loads(info)
            step = raw[found["episode_id"]]["steps"][found["turn"] - 1]
            assert f"<action>{step['command']}</action>" in response["content"]
            assert f"<prediction>{step['next_observation']}</prediction>" in response["content"]


def test_the_same_seed_gives_the_same_bytes(data, tmp_path):
    overrides = ("prompt.template=add_wm1", "num_episodes=40", "policy.noise=0.2")
    first, _ = collected(data, tmp_path, *overrides, name="first")
    second, _ = collected(data, tmp_path, *overrides, name="second")
    assert contents(first) == contents(second)


def test_another_seed_gives_other_bytes(data, tmp_path):
    first, _ = collected(data, tmp_path, name="first")
    second, _ = collected(data, tmp_path, "seed=43", name="second")
    assert contents(first)["train.csv"] != contents(second)["train.csv"]


def test_require_success_drops_lost_episodes_and_says_how_many(data, tmp_path):
    overrides = ("policy.name=random", "env.max_steps=40", "num_episodes=48")
    _, everything = collected(data, tmp_path, *overrides, name="all")
    folder, won = collected(data, tmp_path, *overrides, "dataset.require_success=True", name="won")
    assert everything.kept == 48
    assert 0 < won.kept == won.won == everything.won < 48
    assert json.loads((folder / "run.json").read_bytes())["counts"]["dropped"] == 48 - won.kept
    assert len(json.loads((folder / "raw_trajectories.json").read_bytes())) == won.kept


def test_nothing_left_is_an_error_and_leaves_no_dataset(data, tmp_path):
    with pytest.raises(DatasetError, match="none of the 24 episodes was won"):
        collected(data, tmp_path, "policy.name=random", "env.max_steps=1", "dataset.require_success=True")
    assert not any((tmp_path / "run" / name).exists() for name in DATA_FILES)


def test_the_rows_of_a_run_can_be_made_anew_with_other_options(data, tmp_path):
    with pytest.raises(DatasetError) as error:
        collected(data, tmp_path, "policy.name=random", "env.max_steps=1", "dataset.require_success=true")
    command = f"alfworld-sft collect --resume {tmp_path / 'run'} "
    assert str(error.value).endswith(f"keep lost episodes as well: {command}dataset.require_success=false")
    journal = (tmp_path / "run/episodes.jsonl").read_bytes()
    resumed = resume_run(tmp_path / "run", read_allowed(["dataset.require_success=false"], trust=False))
    assert resumed.run.stamp["status"] == "running"
    with resumed.run:
        assert collect(resumed).kept == 24
    assert (tmp_path / "run/episodes.jsonl").read_bytes() == journal
    stamp = json.loads((tmp_path / "run/run.json").read_bytes())
    assert (stamp["status"], stamp["config"]["dataset"]["require_success"]) == ("complete", False)
    named = read_allowed(["dataset.rows_per=episode", "dataset.val_fraction=0"], trust=False)
    resumed = resume_run(tmp_path / "run", named)
    with resumed.run:
        summary = collect(resumed)
    assert (summary.rows_train, summary.rows_val) == (summary.kept, 0)


def test_a_disk_that_fills_up_while_writing_loses_nothing(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    job = start_run(build_config(CollectConfig, [f"games.source={data}"]), tmp_path, name="run")
    with monkeypatch.context() as context, job.run:
        context.setattr("alfworld_sft.dataset.write.RowWriter.write", full)
        with pytest.raises(RunFolderError, match=r"No space left on device; .*collect --resume"):
            collect(job)
    assert not any((tmp_path / "run" / name).exists() for name in DATA_FILES)
    job = resume_run(tmp_path / "run")
    with job.run:
        assert collect(job).won == 24


def test_mistakes_on_purpose_are_context_and_never_a_row(data, tmp_path):
    folder, summary = collected(data, tmp_path, "policy.noise=0.3", "policy.noise_episodes=1")
    assert summary.turns_without_row > 0
    assert summary.rows_train + summary.rows_val + summary.turns_without_row == summary.steps
    infos = [json.loads(info) for info in _column(folder / "train.parquet", "extra_info")]
    assert any(info["untrained_turns"] for info in infos)
    assert all(info["turn"] not in info["untrained_turns"] for info in infos)


def test_the_stamp_tells_how_the_data_was_made(data, tmp_path):
    folder, summary = collected(data, tmp_path, "prompt.template=add_wm1", "seed=9")
    stamp = json.loads((folder / "run.json").read_bytes())
    assert stamp["status"] == "complete"
    assert stamp["policy"] == "expert"
    assert stamp["protocol"] | {"template_sha256": ""} == {
        "split": "train",
        "max_steps": 50,
        "max_repeats": None,
        "form": "single",
        "history_length": None,
        "template": "add_wm1",
        "template_sha256": "",
        "seed": 9,
    }
    assert stamp["counts"]["rows_train"] == summary.rows_train
    assert stamp["games"]["count"] == 24
    assert set(stamp["sha256"]) == set(DATA_FILES)


def test_skipped_games_are_counted_by_reason_in_the_stamp_and_on_the_card(data, tmp_path):
    spoilt = sorted(data.rglob("game.tw-pddl"))[:3]
    for file in spoilt[:2]:
        file.write_bytes(b"{")
    spoilt[2].write_bytes(spoilt[2].read_bytes().replace(b'"solvable": true', b'"solvable": false'))
    folder, _ = collected(data, tmp_path)
    games = json.loads((folder / "run.json").read_bytes())["games"]
    assert (games["count"], games["skipped"]) == (21, {"broken (not a JSON object)": 2, "marked unsolvable": 1})
    card = (folder / "README.md").read_text()
    assert "`); skipped: 2 broken (not a JSON object), 1 marked unsolvable. Template: `default`.\n" in card


@pytest.mark.parametrize(
    ("rows_per", "told"), [("turn", "one for each assistant turn."), ("episode", "one for each episode.")]
)
def test_the_card_says_what_a_row_is(data, tmp_path, rows_per, told):
    folder, _ = collected(data, tmp_path, f"dataset.rows_per={rows_per}")
    assert told in (folder / "README.md").read_text()


def test_evaluation_splits_are_refused_unless_allowed(tmp_path):
    data = write_games(tmp_path / "data", 6, "valid_seen")
    with pytest.raises(UserError, match="--allow-eval-split"):
        collected(data, tmp_path, "games.split=valid_seen")
    folder, _ = collected(data, tmp_path, "games.split=valid_seen", "games.allow_eval_split=true")
    assert json.loads((folder / "run.json").read_bytes())["games"]["eval_split_allowed"] is True


def test_task_types_can_be_chosen(data, tmp_path):
    _, summary = collected(data, tmp_path, "games.task_types=[look_at_obj_in_light,pick_two_obj_and_place]")
    assert set(summary.success_by_task_type) == {"look_at_obj_in_light", "pick_two_obj_and_place"}


def test_task_types_without_games_are_named(tmp_path):
    data = write_games(tmp_path / "data", 1)
    with pytest.raises(GamesNotFoundError, match="no games of the task types look_at_obj_in_light"):
        collected(data, tmp_path, "games.task_types=[look_at_obj_in_light]")


def test_a_run_whose_games_changed_is_not_resumed(data, tmp_path):
    folder, _ = collected(data, tmp_path)
    next(data.rglob("game.tw-pddl")).unlink()
    with pytest.raises(RunFolderError, match="its games changed since it was started; start a new run"):
        resume_run(folder)


def test_a_finished_run_can_be_resumed_to_make_its_files_again(data, tmp_path):
    folder, _ = collected(data, tmp_path)
    before = contents(folder)
    (folder / "train.csv").unlink()
    job = resume_run(folder)
    with job.run:
        collect(job)
    assert contents(folder) == before


def test_a_killed_run_goes_on_to_the_same_bytes(data, tmp_path):
    overrides = ("num_episodes=700", "prompt.template=add_wm1", "policy.noise=0.1")
    expected, _ = collected(data, tmp_path, *overrides, name="undisturbed")
    whole = (expected / "episodes.jsonl").stat().st_size
    run = tmp_path / "killed"
    journal = run / "episodes.jsonl"
    command = [sys.executable, "-m", "alfworld_sft", "collect"]
    start = [*command, "--output-dir", str(tmp_path), "--name", "killed", f"games.source={data}", *overrides]
    rng = random.Random(0)
    moments = [
        *(lambda share=share: journal.stat().st_size > share * whole for share in (0.0, 0.2, 0.4, 0.6, 0.9)),
        *[lambda: any(run.glob("*.partial"))] * 3,
    ]
    killed = 0
    for moment in moments:
        process = subprocess.Popen(
            [*command, "--resume", str(run)] if run.exists() else start,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not (run.exists() and moment()):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 6, "most of the kills must have hit a running process"
    subprocess.run([*command, "--resume", str(run)], check=True, capture_output=True)
    assert contents(run) == contents(expected)


def _column(parquet, name):
    import pyarrow.parquet as pq

    return pq.read_table(parquet, columns=[name])[name].to_pylist()


def test_a_template_of_one_s_own_is_found_again_from_another_folder(data, tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text('extends = "default"\n[sections]\nrole = "Act."\n')
    monkeypatch.chdir(tmp_path)
    folder, _ = collected(data, tmp_path, "prompt.template=own.toml")
    monkeypatch.chdir("/")
    job = resume_run(folder)
    with job.run:
        assert job.template.name == "own"


def test_a_dataset_without_validation_rows_is_loaded_by_datasets(data, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the reader is Hugging Face's: pip install datasets")
    folder, _ = collected(data, tmp_path, "dataset.val_fraction=0")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: part.num_rows for split, part in loaded.items()} == {
        "train": len(_column(folder / "train.parquet", "messages"))
    }
