"""Checkpoints: whole or not at all, found again, refused where they do not fit; a killed run goes on unchanged."""

import json
import random
import shutil
import time

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

import numpy as np
from safetensors.torch import load_file

from alfworld_sft.errors import UserError
from alfworld_sft.models.stamp import STAMP_FILE, CheckpointError, read_stamp
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.checkpoint import newest_checkpoint, open_checkpoint, write_final
from alfworld_sft.train.distributed import Ranks
from tests.train.helpers_loop import losses, metrics, options, run, run_as, start, write_model

RUN = ("data.multiturn.enable=true", "trainer.total_epochs=6", "trainer.save_freq=3", "data.train_batch_size=4")


@pytest.fixture(scope="module")
def finished(data, model, tmp_path_factory):
    """A run of eight steps with checkpoints at 4 and 8."""
    out = tmp_path_factory.mktemp("finished")
    run(options(data, model, out, "trainer.total_epochs=2"))
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize(
    "kind", [("model.lora_rank=4",), ("model.lora_rank=0", "optim.name=muon")], ids=["lora", "full"]
)
def test_a_run_killed_at_ten_random_moments_is_bit_identical(data, model, tmp_path, kind):
    """Every line of the metrics but the speed, and the final weights, equal those of a run that nobody disturbed."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    process = start(run_as, {}, options(data, model, calm, *RUN, *kind))
    process.join(400)
    assert process.exitcode == 0
    moments = random.Random(7)
    kills, seen = 0, 0
    while kills < 10:
        process = start(run_as, {}, options(data, model, killed, *RUN, *kind))
        target = _lines(killed) + moments.randrange(1, 5)
        while process.is_alive() and _lines(killed) < target:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.03)
        kills += process.is_alive()
        process.kill()
        process.join()
        seen += 1
        if _lines(killed) >= _lines(calm) and (killed / "final").is_dir():
            shutil.rmtree(killed)  # it came to its end before ten kills: again from the start
        assert seen < 60
    process = start(run_as, {}, options(data, model, killed, *RUN, *kind))
    process.join(400)
    assert process.exitcode == 0
    assert _without_speed(killed) == _without_speed(calm)
    name = "adapter_model.safetensors" if kind[0] == "model.lora_rank=4" else "model.safetensors"
    one, other = load_file(calm / "final" / name), load_file(killed / "final" / name)
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    assert not list(killed.glob(".*")), "nothing half-written is left"


def _lines(out):
    file = out / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _without_speed(out):
    return [{key: value for key, value in line.items() if key != "tokens_per_s"} for line in metrics(out)]


def test_a_finished_run_is_not_trained_again(copied, data, model):
    before = (copied / "metrics.jsonl").read_bytes()
    trained = run(options(data, model, copied, "trainer.total_epochs=2"))
    assert trained.steps == 0
    assert trained.checkpoint == copied / "global_step_8"
    assert (copied / "metrics.jsonl").read_bytes() == before


def test_a_run_can_be_made_longer(copied, data, model):
    assert run(options(data, model, copied, "trainer.total_epochs=3")).steps == 4
    assert [step for step, _, _ in losses(copied)] == list(range(1, 13))


def test_a_path_to_resume_from(copied, data, model, tmp_path):
    out = tmp_path / "elsewhere"
    trained = run(options(data, model, out, "trainer.total_epochs=2", f"trainer.resume_mode={copied}/global_step_4"))
    assert trained.steps == 4


def test_a_path_that_is_no_checkpoint_is_an_error(data, model, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: there is no such checkpoint"):
        run(options(data, model, tmp_path / "out", f"trainer.resume_mode={tmp_path}/nowhere"))


def test_starting_over_does_not_mix_with_what_is_there(copied, data, model):
    with pytest.raises(CheckpointError, match=r"holds checkpoints up to global_step_8: remove it, or name another"):
        run(options(data, model, copied, "trainer.resume_mode=disable"))


@pytest.mark.parametrize(
    "victim", ["trainer/manifest.json", "trainer/optimizer.safetensors", "adapter_model.safetensors"]
)
def test_an_incomplete_checkpoint_is_passed_over_for_an_older_one(copied, caplog, victim):
    (copied / "global_step_8" / victim).unlink()
    assert newest_checkpoint(copied).path == copied / "global_step_4"
    assert f"global_step_8 is incomplete ({victim} is missing)" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"files": []}', '{"files": {'])
def test_a_damaged_manifest_is_no_checkpoint_s(copied, caplog, content):
    (copied / "global_step_8" / "trainer" / "manifest.json").write_text(content)
    assert newest_checkpoint(copied).path == copied / "global_step_4"
    assert "global_step_8 is incomplete (trainer/manifest.json is damaged)" in caplog.text


def test_a_cut_file_is_noticed_by_its_size(copied):
    file = copied / "global_step_8" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"adapter_model.safetensors has \d+ bytes, not \d+"):
        open_checkpoint(copied / "global_step_8")


def test_a_run_goes_on_over_an_incomplete_checkpoint_and_mends_it(copied, data, model):
    (copied / "global_step_8" / "trainer" / "manifest.json").unlink()
    assert run(options(data, model, copied, "trainer.total_epochs=2")).steps == 4
    assert newest_checkpoint(copied).path == copied / "global_step_8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.lora_rank=8", "with model.lora_rank=4, not 8"),
        ("model.lora_alpha=32", "with model.lora_alpha=16, not 32"),
        ("data.train_batch_size=4", "with data.train_batch_size=8, not 4"),
        ("trainer.seed=2", "with trainer.seed=1, not 2"),
        ("data.multiturn.enable=true", "with data.multiturn.enable=false, not true"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(copied, data, model, change, message):
    with pytest.raises(CheckpointError) as error:
        run(options(data, model, copied, change))
    assert message in str(error.value)
    assert str(error.value).endswith(
        "give that as it was, or make it a run of its own: another trainer.default_local_dir, without"
        " trainer.resume_mode"
    )
    assert "\n" not in str(error.value)


def test_a_refusal_names_all_that_differs(copied, data, model):
    with pytest.raises(CheckpointError, match=r"was made (with [^;]*; ){3}give that as it was") as e:
        run(options(data, model, copied, "model.lora_rank=8", "data.train_batch_size=4", "trainer.seed=2"))
    for named in ("model.lora_rank=4, not 8", "data.train_batch_size=8, not 4", "trainer.seed=1, not 2"):
        assert f"with {named};" in str(e.value)


def test_what_is_edited_in_the_final_model_changes_no_checkpoint(copied):
    write_final(copied / "global_step_8", copied)  # a copied folder shares no file
    kept = (copied / "global_step_8" / "generation_config.json").read_bytes()
    with (copied / "final" / "generation_config.json").open("ab") as file:
        file.write(b"\n")
    assert (copied / "global_step_8" / "generation_config.json").read_bytes() == kept
    assert newest_checkpoint(copied).path == copied / "global_step_8"


@pytest.mark.parametrize("rank", [4, 0])
def test_a_checkpoint_of_another_base_is_refused(data, model, tmp_path, rank):
    out, other = tmp_path / "run", write_model(tmp_path / "other", seed=1)
    more = (f"model.lora_rank={rank}", "trainer.total_training_steps=1")
    run(options(data, model, out, *more))
    with pytest.raises(CheckpointError, match="was made of another base model"):
        run(options(data, other, out, *more))


def test_a_checkpoint_from_before_the_base_of_all_weights_was_recorded_resumes(data, model, tmp_path):
    more = ("model.lora_rank=0", "trainer.total_epochs=2", "trainer.save_freq=4")
    run(options(data, model, tmp_path, *more, "trainer.total_training_steps=4"))
    stamp = tmp_path / "global_step_4" / STAMP_FILE
    text, recorded = stamp.read_text(), read_stamp(stamp.parent)["identity"]["base model"]
    shapes = "lm_head.weight (9, 8); ".ljust(len(recorded))  # what was recorded then; the file's size is checked
    stamp.write_text(text.replace(recorded, shapes))
    assert run(options(data, model, tmp_path, *more)).steps == 4  # the remaining ones


def test_a_damaged_file_is_one_line(copied, data, model):
    file = copied / "global_step_8" / "trainer" / "optimizer.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(CheckpointError, match="global_step_8 is damaged: "):
        run(options(data, model, copied, "trainer.total_epochs=3"))


def test_only_the_newest_checkpoints_are_kept(data, model, tmp_path):
    run(options(data, model, tmp_path, "trainer.save_freq=1", "trainer.total_epochs=1", "trainer.max_ckpt_to_keep=2"))
    assert sorted(p.name for p in tmp_path.glob("global_step_*")) == ["global_step_3", "global_step_4"]


def steps_in(folder):
    return sorted(int(p.name.removeprefix("global_step_")) for p in folder.glob("global_step_*"))


def test_going_back_sets_later_checkpoints_aside_and_keeps_what_it_saves(data, model, tmp_path, caplog):
    common = ("trainer.save_freq=2", "trainer.total_training_steps=10")
    run(options(data, model, tmp_path, *common))
    back = f"trainer.resume_mode={tmp_path}/global_step_4"
    cut = (*common, "trainer.max_ckpt_to_keep=2", "trainer.total_training_steps=6")
    trained = run(options(data, model, tmp_path, *cut, back))
    assert trained.checkpoint == tmp_path / "global_step_6"
    assert steps_in(tmp_path) == [4, 6]
    aside = tmp_path / "set_aside" / "after_step_4"
    assert steps_in(aside) == [6, 8, 10]
    assert read_stamp(aside / "final")["step"] == 10
    assert f"what this folder held of later steps was moved to {aside}" in caplog.text
    assert [line["step"] for line in metrics(aside) if "loss" in line] == list(range(1, 11))
    assert [step for step, _, _ in losses(tmp_path)] == list(range(1, 7))
    resumed = run(options(data, model, tmp_path, *common, "trainer.max_ckpt_to_keep=2"))
    assert resumed.steps == 4, "auto resumes from the step 6 that was just trained"
    assert read_stamp(tmp_path / "final")["step"] == 10


def test_going_back_twice_sets_aside_twice(copied, data, model):
    back = ("trainer.total_epochs=2", f"trainer.resume_mode={copied}/global_step_4")
    run(options(data, model, copied, *back))
    run(options(data, model, copied, *back))
    assert steps_in(copied) == [4, 8]
    assert steps_in(copied / "set_aside" / "after_step_4") == [8]
    assert steps_in(copied / "set_aside" / "after_step_4_2") == [8]


def test_a_start_from_another_folder_sets_aside_all_that_is_here(copied, finished, data, model):
    start = f"trainer.resume_mode={finished}/global_step_4"
    trained = run(options(data, model, copied, "trainer.total_training_steps=5", start))
    assert trained.final == copied / "final", "never the other run's"
    assert (steps_in(copied), steps_in(finished)) == ([5], [4, 8])
    assert steps_in(copied / "set_aside" / "after_step_0") == [4, 8]
    assert [step for step, _, _ in losses(copied)] == [5]


def test_a_start_from_another_folder_keeps_no_line_of_a_run_that_died_here(finished, data, model, tmp_path):
    dead = tmp_path / "dead"
    run(options(data, model, dead, "trainer.total_training_steps=2", "trainer.save_freq=0"))
    for checkpoint in dead.glob("global_step_*"):
        shutil.rmtree(checkpoint)
    shutil.rmtree(dead / "final")
    assert [step for step, _, _ in losses(dead)] == [1, 2]
    start = f"trainer.resume_mode={finished}/global_step_4"
    run(options(data, model, dead, "trainer.total_training_steps=5", start))
    assert [step for step, _, _ in losses(dead)] == [5]
    assert [step for step, _, _ in losses(dead / "set_aside" / "after_step_0")] == [1, 2]


@pytest.mark.parametrize("place", ["final", "global_step_4"])
def test_a_model_that_the_run_would_replace_is_refused(data, model, tmp_path, place):
    own = tmp_path / "run" / place
    shutil.copytree(model, own)
    with pytest.raises(UserError, match=r"lies in trainer\.default_local_dir=.*, where this run writes its own"):
        run(options(data, own, tmp_path / "run", "trainer.resume_mode=auto"))
    assert (own / "model.safetensors").is_file()


def test_a_finished_checkpoint_of_another_folder_leaves_that_run_alone(finished, data, model, tmp_path):
    before = (finished / "final" / "alfworld_sft.json").stat().st_mtime_ns
    start = f"trainer.resume_mode={finished}/global_step_8"
    trained = run(options(data, model, tmp_path, "trainer.total_epochs=2", start))
    assert (trained.steps, trained.final) == (0, tmp_path / "final")
    assert (finished / "final" / "alfworld_sft.json").stat().st_mtime_ns == before


def test_an_incomplete_checkpoint_does_not_count_among_those_kept(copied, data, model):
    (copied / "global_step_8" / "trainer" / "manifest.json").unlink()
    run(options(data, model, copied, "trainer.total_training_steps=6", "trainer.max_ckpt_to_keep=2"))
    assert steps_in(copied) == [4, 6]
    (copied / "global_step_4" / "trainer" / "manifest.json").unlink()
    run(options(data, model, copied, "trainer.total_training_steps=7", "trainer.max_ckpt_to_keep=1"))
    assert steps_in(copied) == [7]


@pytest.mark.parametrize(
    ("shorter", "said"),
    [
        ("trainer.total_training_steps=6", "trainer.total_training_steps=6 makes 6 steps"),
        ("trainer.total_epochs=1", "trainer.total_epochs=1 makes 4 steps"),
    ],
)
def test_fewer_steps_than_were_done_are_refused(copied, data, model, shorter, said):
    with pytest.raises(CheckpointError) as error:
        run(options(data, model, copied, shorter))
    assert str(error.value) == (
        f"{said}, but {copied}/global_step_8 has 8 already; for a shorter run, resume from an earlier checkpoint:"
        " trainer.resume_mode=PATH/global_step_N"
    )
    assert read_stamp(copied / "final")["step"] == 8


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(data, model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(
        CheckpointError, match="global_step_4: the checkpoint cannot be written: No space left on device"
    ):
        run(options(data, model, tmp_path))
    assert not list(tmp_path.glob("*global_step*"))


def test_nothing_is_stored_with_pickle(finished):
    names = {file.suffix for file in (finished / "global_step_8").rglob("*") if file.is_file()}
    assert names <= {".json", ".safetensors", ".jinja", ".txt"}


def test_the_stamp_holds_position_config_and_identity(finished):
    state = json.loads((finished / "global_step_4" / "alfworld_sft.json").read_text())
    assert (state["step"], state["epoch"], state["batch"]) == (4, 1, 0)
    assert state["config"]["optim"]["lr"] == 0.01
    assert state["identity"]["model.lora_rank"] == 4


def test_random_states_come_back():
    ranks = Ranks(0, 1, torch.device("cpu"))
    random.gauss(0, 1)
    stored = checkpoints._key_by_rank([checkpoints._random_states(ranks.device)])
    drawn = (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item())
    checkpoints._set_random_states(stored, ranks)
    assert (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()) == drawn
