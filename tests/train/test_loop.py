"""What a run does from its config to its last checkpoint, on a model of a few thousand weights."""

import json
import math
import re
import shutil

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.train import loop
from alfworld_sft.train.hooks import Moment
from alfworld_sft.train.learner import DivergedError
from alfworld_sft.train.model import memory
from alfworld_sft.train.model.prepare import LossModule
from alfworld_sft.train.preflight import check_forms
from tests.train.helpers_loop import losses, metrics, options, rows_of, run, write_dataset


def test_a_run_leaves_a_checkpoint_an_epoch_and_the_final_adapter(data, model, tmp_path):
    trained = run(options(data, model, tmp_path, "trainer.total_epochs=2"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final", "global_step_4", "global_step_8", "metrics.jsonl"]
    assert trained.final == tmp_path / "final"
    names = {p.name for p in trained.final.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names


def test_every_step_has_its_figures(data, model, tmp_path):
    run(options(data, model, tmp_path, "trainer.total_epochs=1"))
    steps = [line for line in metrics(tmp_path) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["epoch"] for line in steps] == [0.25, 0.5, 0.75, 1.0]
    assert all(line.keys() >= {"lr", "grad_norm", "tokens", "tokens_per_s"} for line in steps)
    assert "mfu" not in steps[0], "a CPU has no known peak"


def test_validation_tells_kinds_and_verbs_apart(data, model, tmp_path):
    run(options(data, model, tmp_path, "trainer.total_epochs=1"))
    (tested,) = [line for line in metrics(tmp_path) if "val/loss" in line]
    assert {k for k in tested if k.startswith("val/loss_")} == {
        "val/loss_think",
        "val/loss_prediction",
        "val/loss_action",
    }
    assert {"val/action_accuracy", "val/action_accuracy_go", "val/action_accuracy_take"} <= tested.keys()


@pytest.mark.parametrize("multiturn", ["true", "false"])
@pytest.mark.parametrize("rank", [0, 4])
def test_the_loss_falls(data, model, tmp_path, multiturn, rank):
    more = (f"data.multiturn.enable={multiturn}", f"model.lora_rank={rank}", "trainer.total_epochs=4")
    run(options(data, model, tmp_path, *more))
    curve = [loss for _, loss, _ in losses(tmp_path)]
    assert curve[-1] < (0.9 if rank else 0.7) * curve[0], "adapters on random weights learn less"


def test_the_loss_does_not_depend_on_the_micro_batch(data, model, tmp_path):
    curves = []
    for size in (1, 64):
        out = tmp_path / str(size)
        run(options(data, model, out, f"data.micro_batch_size_per_gpu={size}", "trainer.total_epochs=1"))
        curves.append(losses(out))
    for (_, loss, norm), (_, other_loss, other_norm) in zip(*curves, strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-4)


@pytest.mark.parametrize("extra", ["model.enable_gradient_checkpointing=true", "model.attention=sdpa"])
def test_what_saves_memory_or_time_changes_no_number(data, model, tmp_path, extra):
    run(options(data, model, tmp_path / "plain", "trainer.total_epochs=1"))
    run(options(data, model, tmp_path / "other", "trainer.total_epochs=1", extra))
    for (_, loss, _), (_, other, _) in zip(losses(tmp_path / "plain"), losses(tmp_path / "other"), strict=True):
        assert loss == pytest.approx(other, rel=1e-5)


def test_rows_whose_activations_are_recomputed_change_no_number(data, model, tmp_path, monkeypatch):
    run(options(data, model, tmp_path / "plain", "trainer.total_epochs=1"))
    over, recompute = [], LossModule.recompute_over
    monkeypatch.setattr(LossModule, "recompute_over", lambda *given: over.append(given[1]) or recompute(*given))
    monkeypatch.setattr(memory, "KEPT_BYTES", 1)
    run(options(data, model, tmp_path / "other", "trainer.total_epochs=1"))
    assert over == [0]
    assert losses(tmp_path / "other") == losses(tmp_path / "plain")


def write_taught(folder):
    """Write a dataset in which every reply is a teacher's, beside the reply that the conversation continues with."""
    folder.mkdir()
    for name, episodes in (("train", range(3)), ("val", range(3, 5))):
        rows = rows_of(episodes)
        for row in rows:
            facts = json.loads(row["extra_info"])
            facts["untrained_turns"] = list(range(1, facts["turn"]))
            answer = {"role": "assistant", "content": "<think>no</think>\n<action>go to shelf 2</action>"}
            row |= {"messages": [*row["messages"][:-1], answer], "extra_info": json.dumps(facts)}
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("extra", ["data.micro_batch_size_per_gpu=1", "model.attention=sdpa"])
def test_rounds_with_a_teacher_train_together_and_alike_folded_or_row_by_row(data, model, tmp_path, extra):
    taught = write_taught(tmp_path / "taught")
    rounds = [f"data.train_files=[{data},{taught}]", f"data.val_files=[{data},{taught}]", "data.train_batch_size=1000"]
    words = [*rounds, "data.multiturn.enable=true", "trainer.total_epochs=1"]
    found = {}
    for name, more in {"folded": (), "alone": ("data.multiturn.fold=false",), "other": (extra,)}.items():
        run(options(data, model, tmp_path / name, *words, *more))
        (step, tested) = (line for line in metrics(tmp_path / name) if "loss" in line or "val/loss" in line)
        found[name] = [step["loss"], step["grad_norm"], tested["val/loss"], tested["val/loss_action"]]
    assert found["folded"] == pytest.approx(found["alone"], rel=1e-4)
    assert found["folded"] == pytest.approx(found["other"], rel=1e-4)


def test_games_that_are_held_out_of_one_dataset_and_trained_in_another_are_told(data, model, tmp_path, caplog):
    turned = tmp_path / "turned"
    turned.mkdir()
    for name, other in (("train", "val"), ("val", "train")):
        shutil.copy(data / f"{name}.parquet", turned / f"{other}.parquet")
    words = ["data.multiturn.enable=true", "trainer.total_training_steps=1"]
    run(options(data, model, tmp_path / "apart", *words))
    assert "is trained on" not in caplog.text
    both = [f"data.train_files=[{data},{turned}]", f"data.val_files={data}"]
    run(options(data, model, tmp_path / "both", *words, *both))
    assert "trained on, so the validation loss will be too optimistic; collect what is trained together" in caplog.text


def test_rows_that_the_model_has_no_positions_for_are_refused(data, model, tmp_path):
    short = shutil.copytree(model, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60}))
    with pytest.raises(UserError) as error:
        run(options(data, short, tmp_path / "run", "data.multiturn.enable=true"))
    refused = r"data\.train_files=.*: \d+ of \d+ sequences are longer than the model's context of 60 tokens, up to \d+;"
    assert re.fullmatch(f"{refused} set data.max_length=60", str(error.value))
    assert not list((tmp_path / "run").glob("global_step_*"))
    [form] = check_forms(data, ["data.multiturn.enable=true", "data.max_length=256"], model=str(short))
    assert [line for report in form.reports for line in report.problems if "context of 60 tokens" in line]
    assert run(options(data, short, tmp_path / "run", "data.multiturn.enable=true", "data.max_length=60")).steps


def test_bfloat16_adapters_stay_float32(data, model, tmp_path):
    from safetensors.torch import load_file

    trained = run(options(data, model, tmp_path, "trainer.total_epochs=1", "model.dtype=bfloat16"))
    weights = load_file(trained.final / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert math.isfinite(losses(tmp_path)[-1][1])


def test_rates_of_an_optimizer_that_has_no_weight_are_refused(data, model, tmp_path):
    with pytest.raises(UserError, match=r"optim\.betas has no effect: with these adapters Muon trains every weight"):
        run(options(data, model, tmp_path / "out", "optim.name=muon", "optim.betas=[0.9,0.99]"))


def test_muon_learns_too(data, model, tmp_path):
    run(options(data, model, tmp_path, "optim.name=muon", "model.lora_rank=0", "trainer.total_epochs=3"))
    curve = [loss for _, loss, _ in losses(tmp_path)]
    assert curve[-1] < 0.6 * curve[0]


def test_total_training_steps_decides_the_length_of_a_run(data, model, tmp_path):
    run(options(data, model, tmp_path, "trainer.total_training_steps=6", "trainer.total_epochs=1"))
    assert [step for step, _, _ in losses(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "global_step_6").is_dir()


def test_test_freq_and_save_freq_count_steps(data, model, tmp_path):
    run(options(data, model, tmp_path, "trainer.total_epochs=1", "trainer.test_freq=3", "trainer.save_freq=2"))
    assert [line["step"] for line in metrics(tmp_path) if "val/loss" in line] == [3, 4]
    assert sorted(p.name for p in tmp_path.glob("global_step_*")) == ["global_step_2", "global_step_4"]


def test_hooks_are_called_at_test_steps_and_their_figures_logged(data, model, tmp_path):
    seen: list[int] = []

    def hook(moment: Moment) -> dict[str, float]:
        seen.append(moment.step)
        return {"games/success": 0.5}

    run(options(data, model, tmp_path, "trainer.total_epochs=2"), [hook])
    assert seen == [4, 8]
    assert [line["games/success"] for line in metrics(tmp_path) if "games/success" in line] == [0.5, 0.5]


def test_a_tiny_model_learns_a_handful_of_episodes_by_heart(model, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from alfworld_sft.models.chat_encoder import ChatEncoder
    from alfworld_sft.types import Message

    data = write_dataset(tmp_path / "data", train_episodes=3, val_episodes=0, turns=3)
    more = ("data.multiturn.enable=true", "model.lora_rank=0", "data.val_files=null", "trainer.total_epochs=150")
    out = tmp_path / "out"
    trained = run(options(data, model, out, *more, "trainer.save_freq=0", "data.train_batch_size=9"))
    assert losses(out)[-1][1] < 0.05
    tokenizer = AutoTokenizer.from_pretrained(trained.final)
    learned = AutoModelForCausalLM.from_pretrained(trained.final)
    for row in rows_of(range(3), turns=3):
        *asked, reply = [Message(**message) for message in row["messages"]]
        prompt = torch.tensor([ChatEncoder(tokenizer).encode_prompt(asked)])
        said = learned.generate(prompt, do_sample=False, max_new_tokens=60)[0, prompt.shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True) == reply.content


def test_an_empty_validation_file_is_told_and_training_goes_on(data, model, tmp_path, caplog):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.Table.from_pylist([], SCHEMA), empty)
    run(options(data, model, tmp_path / "out", f"data.val_files={empty}", "trainer.total_epochs=1"))
    assert "no rows; training continues without validation" in caplog.text
    assert not any("val/loss" in line for line in metrics(tmp_path / "out"))


def test_an_empty_training_file_is_an_error(data, model, tmp_path):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.Table.from_pylist([], SCHEMA), empty)
    with pytest.raises(DatasetError, match="nothing to train on"):
        run(options(data, model, tmp_path / "out", f"data.train_files={empty}"))


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_step_and_rows(data, model, tmp_path, monkeypatch):
    plain = loop.forward

    def spoiled(*arguments):
        found = plain(*arguments)
        return found._replace(loss=found.loss * math.nan)

    monkeypatch.setattr(loop, "forward", spoiled)
    with pytest.raises(DivergedError, match=r"step 1: the loss is nan, on the batch of .*; there is no checkpoint yet"):
        run(options(data, model, tmp_path))


def test_a_batch_without_trained_tokens_is_skipped_and_told(data, model, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loop, "total_weight", lambda samples: 0.0)
    run(options(data, model, tmp_path, "trainer.total_epochs=1", "data.val_files=null"))
    assert [line["loss"] for line in metrics(tmp_path)] == [None] * 4
    assert "step 1: no token of its 8 rows is trained; skipped" in caplog.text


def test_running_out_of_memory_says_what_to_try(data, model, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(loop, "forward", full)
    with pytest.raises(
        UserError, match=r"out of memory with 2 x 256 tokens at a time; try data.micro_batch_size_per_gpu=1"
    ):
        run(options(data, model, tmp_path))
