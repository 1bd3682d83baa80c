"""A merged model says what the adapter on its base says, and loads without this package."""

import json
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alfworld_sft.models import merge as merging
from alfworld_sft.models.adapter import AdapterError
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.models.merge import MergeError, load_whole, merge
from tests.train.helpers_loop import (
    MOE,
    held_out,
    metrics,
    options,
    own_mean,
    run,
    run_as,
    run_together,
    write_architecture,
    write_dataset,
    write_model,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    data = write_dataset(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("out")
    return run(options(data, model, out, "model.lora_alpha=24", "optim.lr=3e-2"))


@pytest.fixture(scope="module")
def merged(trained, tmp_path_factory):
    return merge(trained.checkpoint, tmp_path_factory.mktemp("merged") / "model", dtype="float32")


IDS = torch.arange(40)[None] + 5


def test_the_merged_model_equals_the_adapter_on_its_base(model, trained, merged):
    base = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        plain = base(IDS).logits
        adapted = PeftModel.from_pretrained(base, trained.final)(IDS).logits
        whole = AutoModelForCausalLM.from_pretrained(merged)(IDS).logits
    assert (whole - adapted).abs().max() < 1e-4
    assert (whole - plain).abs().max() > 0.1, "the adapter changes something"


def test_alpha_is_kept(trained):
    config = json.loads((trained.final / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 24)


def test_both_load_in_a_fresh_process_without_this_package(trained, merged):
    """The base is found by the path that the adapter names."""
    script = f"""
import sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
ids = torch.arange(40)[None] + 5
with torch.no_grad():
    whole = AutoModelForCausalLM.from_pretrained({str(merged)!r})(ids).logits
    adapted = AutoPeftModelForCausalLM.from_pretrained({str(trained.checkpoint)!r})(ids).logits
assert (whole - adapted).abs().max() < 1e-4
assert AutoTokenizer.from_pretrained({str(merged)!r}).chat_template
assert "alfworld_sft" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/", timeout=400)


def test_the_type_is_the_bases_own_unless_it_is_said(trained, model, tmp_path):
    assert json.loads((merge(trained.final, tmp_path / "a") / "config.json").read_text())["dtype"] == "float32"
    small = merge(trained.final, tmp_path / "b", dtype="bfloat16")
    assert json.loads((small / "config.json").read_text())["dtype"] == "bfloat16"
    assert next(AutoModelForCausalLM.from_pretrained(small).parameters()).dtype == torch.bfloat16


def test_another_base_is_refused(trained, tmp_path):
    other = write_model(tmp_path / "other", seed=3)
    with pytest.raises(MergeError, match=r"was trained on another model than .*; name the right one with --base"):
        merge(trained.final, tmp_path / "merged", base=str(other))
    assert not (tmp_path / "merged").exists()


def test_a_base_beside_a_whole_model_is_refused(model, tmp_path):
    with pytest.raises(MergeError, match=r"--base elsewhere has no effect: .* holds a full model and no adapter"):
        merge(model, tmp_path / "merged", base="elsewhere")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_that_does_not_fit_is_one_line(trained, tmp_path):
    other = write_model(tmp_path / "other", layers=1)
    bare = shutil.copytree(trained.final, tmp_path / "bare")
    (bare / "alfworld_sft.json").unlink()  # an adapter from elsewhere does not say what it was trained on
    with pytest.raises(MergeError, match=r"its adapter does not fit .*: there is no place for base_model.*layers\.1\."):
        merge(bare, tmp_path / "merged", base=str(other))


def test_what_is_there_is_not_overwritten(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MergeError, match="exists already; name another folder"):
        merge(trained.checkpoint, tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_checkpoint_is_said(tmp_path, name):
    with pytest.raises(MergeError, match=r"there is no such folder|holds neither an adapter nor a model"):
        merge(tmp_path / name, tmp_path / "merged")


def test_a_base_that_was_moved_is_named_with_the_command_for_it(trained, tmp_path):
    moved = shutil.copytree(trained.final, tmp_path / "moved")
    file = moved / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "/gone/base"}))
    with pytest.raises(
        MergeError, match=r"its adapter is /gone/base, and there is no such .*merge \S*/moved DIR --base MODEL$"
    ):
        merge(moved, tmp_path / "merged")


def test_gguf_weights_are_answered_with_the_command_for_them(tmp_path):
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(
        MergeError, match=r"GGUF weights are not loaded; for SmolLM2's: alfworld-sft smollm2 DIR --file"
    ):
        merge(tmp_path / "weights.gguf", tmp_path / "merged")


def test_a_checkpoint_of_all_weights_becomes_a_model_too(model, tmp_path):
    data = write_dataset(tmp_path / "data", train_episodes=2, val_episodes=0)
    more = ("model.lora_rank=0", "data.val_files=null", "trainer.total_epochs=1")
    trained = run(options(data, model, tmp_path / "out", *more))
    whole = merge(trained.checkpoint, tmp_path / "merged")
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(trained.checkpoint)(IDS).logits
        assert torch.equal(AutoModelForCausalLM.from_pretrained(whole)(IDS).logits, expected)
    assert not (whole / "trainer").exists()


EXPERTS = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": MOE,
    "qwen2_moe": MOE,
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 4.0},
}
TIED = "model.target_modules=[q_proj,embed_tokens]"


def val_loss(out):
    return [line["val/loss"] for line in metrics(out) if "val/loss" in line][-1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), train_episodes=4)


@pytest.mark.parametrize("kind", EXPERTS)
def test_adapters_of_a_mixture_of_experts_are_merged_to_the_loss_of_training(kind, data, tmp_path):
    folder = write_architecture(tmp_path / "model", kind, **EXPERTS[kind])
    overrides = options(data, folder, tmp_path / "out", "trainer.total_training_steps=3")
    trained = run(overrides)
    whole = merge(trained.final, tmp_path / "merged")
    expected = val_loss(tmp_path / "out")
    assert own_mean(whole, held_out(overrides)) == pytest.approx(expected, rel=1e-4)
    assert abs(own_mean(folder, held_out(overrides)) - expected) > 0.01, "the adapter changes something"


@pytest.mark.parametrize("tie", [True, False])
def test_adapters_on_embeddings_are_merged_to_the_loss_of_training(tie, data, tmp_path):
    folder = write_architecture(tmp_path / "model", "qwen2", tie_word_embeddings=tie)
    overrides = options(data, folder, tmp_path / "out", TIED, "trainer.total_training_steps=6", "optim.lr=5e-2")
    trained = run(overrides)
    whole = merge(trained.final, tmp_path / "merged")
    expected = val_loss(tmp_path / "out")
    assert own_mean(whole, held_out(overrides)) == pytest.approx(expected, rel=1e-4)
    assert json.loads((whole / "config.json").read_text())["tie_word_embeddings"] is False


def test_adapters_on_embeddings_are_stored_under_the_names_that_peft_reads(data, tmp_path):
    folder = write_architecture(tmp_path / "model", "qwen2", tie_word_embeddings=True)
    trained = run(options(data, folder, tmp_path / "out", TIED, "trainer.total_training_steps=3", "optim.lr=5e-2"))
    stored = load_file(trained.final / "adapter_model.safetensors")
    assert "base_model.model.model.embed_tokens.lora_embedding_A" in stored
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), trained.final)
    with torch.no_grad():
        said = adapted(IDS).logits
        whole, _ = load_whole(str(trained.final))
        assert (whole(IDS).logits - said).abs().max() < 1e-4


KINDS = {
    "dora": {"use_dora": True, "target_modules": ["q_proj", "down_proj"]},
    "rslora": {"use_rslora": True, "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 2}},
    "bias": {"bias": "lora_only", "target_modules": ["q_proj"]},
    "head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "norm": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    "embedding-lora": {"target_modules": ["embed_tokens"]},
    "both-ends": {"target_modules": ["embed_tokens", "lm_head"]},
    "one-tensor": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [7, 9]},
}


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_that_others_trained_are_merged_to_what_peft_says(kind, tie, tmp_path):
    folder = write_architecture(tmp_path / "model", "qwen2", tie_word_embeddings=tie)
    adapter = write_adapter(folder, tmp_path / "adapter", LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]))
    whole = merge(adapter, tmp_path / "merged")
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(folder)
        plain = base(IDS).logits
        expected = PeftModel.from_pretrained(base, adapter)(IDS).logits
        found = AutoModelForCausalLM.from_pretrained(whole)(IDS).logits
    assert (found - expected).abs().max() < 1e-3
    assert (plain - expected).abs().max() > 0.01, "the adapter changes something"


def write_adapter(folder, out, config):
    """Write an adapter whose every weight differs from where it began."""
    torch.manual_seed(1)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.1
    adapted.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out


@pytest.mark.parametrize("named", [True, False])
def test_an_adapter_as_peft_saves_it_has_the_tokenizer_of_its_base(model, tmp_path, named):
    adapter = write_adapter(model, tmp_path / "adapter", LoraConfig(r=4, task_type="CAUSAL_LM"))
    for file in [*adapter.glob("tokenizer*"), adapter / "chat_template.jinja"]:
        file.unlink()
    whole = merge(adapter, tmp_path / "merged", base=str(model) if named else None)
    ours, base = (AutoTokenizer.from_pretrained(folder) for folder in (whole, model))
    assert (ours.get_vocab(), ours.chat_template) == (base.get_vocab(), base.chat_template)
    assert load_tokenizer(str(adapter)).get_vocab() == base.get_vocab()


def test_an_adapter_that_is_no_change_of_weights_is_refused_by_its_kind(model, tmp_path):
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    adapter = write_adapter(model, tmp_path / "adapter", config)
    with pytest.raises(AdapterError, match="peft_type=PROMPT_TUNING is not supported, only LORA is"):
        merge(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_merge_that_says_something_else_is_refused(trained, monkeypatch, tmp_path):
    said = iter([torch.zeros(3), torch.full((3,), 0.5)])
    monkeypatch.setattr(merging, "_logits", lambda _: next(said))
    with pytest.raises(MergeError, match=r"merged, its LORA adapter says something else \(logits differ by 0\.5\)"):
        merge(trained.final, tmp_path / "merged")


def test_an_adapter_that_lacks_a_weight_is_one_line(trained, tmp_path):
    torn = shutil.copytree(trained.final, tmp_path / "torn")
    weights = load_file(torn / "adapter_model.safetensors")
    gone = min(weights)
    del weights[gone]
    (torn / "adapter_model.safetensors").unlink()
    save_file(weights, torn / "adapter_model.safetensors")
    with pytest.raises(MergeError, match=f"its adapter does not fit .*: it lacks {gone}"):
        merge(torn, tmp_path / "merged")


def test_weights_that_are_not_finite_are_one_line(trained, tmp_path):
    broken = shutil.copytree(trained.final, tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    weights[min(weights)][0, 0] = float("nan")
    (broken / "adapter_model.safetensors").unlink()
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(MergeError, match="its LORA adapter cannot be merged: NaNs"):
        merge(broken, tmp_path / "merged")


def test_a_pickled_adapter_is_not_read(trained, tmp_path):
    pickled = shutil.copytree(trained.final, tmp_path / "pickled")
    torch.save(load_file(pickled / "adapter_model.safetensors"), pickled / "adapter_model.bin")
    (pickled / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors"):
        merge(pickled, tmp_path / "merged")


def test_the_type_of_a_base_without_a_dtype_in_its_config_is_that_of_its_weights(data, tmp_path):
    folder = write_model(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["dtype"]
    (folder / "config.json").write_text(json.dumps(config))
    trained = run(options(data, folder, tmp_path / "out", "trainer.total_training_steps=2"))
    whole = merge(trained.final, tmp_path / "merged")
    assert {tensor.dtype for tensor in load_file(whole / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((whole / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_experts_that_two_processes_trained_are_merged(strategy, data, tmp_path):
    folder = write_architecture(tmp_path / "model", "mixtral", **EXPERTS["mixtral"])
    overrides = options(data, folder, tmp_path / "out", "trainer.total_training_steps=3", f"model.strategy={strategy}")
    run_together(2, run_as, overrides)
    whole = merge(tmp_path / "out" / "final", tmp_path / "merged")
    assert own_mean(whole, held_out(overrides)) == pytest.approx(val_loss(tmp_path / "out"), rel=1e-4)


def test_a_run_of_all_weights_of_experts_is_resumed(data, tmp_path):
    folder = write_architecture(tmp_path / "model", "qwen3_moe", **MOE)
    more = ("model.lora_rank=0", "trainer.save_freq=2", "optim.lr_scheduler=constant", "optim.warmup_steps_ratio=0")
    whole = run(options(data, folder, tmp_path / "whole", *more, "trainer.total_training_steps=4"))
    run(options(data, folder, tmp_path / "torn", *more, "trainer.total_training_steps=2"))
    torn = run(options(data, folder, tmp_path / "torn", *more, "trainer.total_training_steps=4"))
    assert torn.steps == 2
    a, b = (load_file(run_.final / "model.safetensors") for run_ in (whole, torn))
    assert a.keys() == b.keys()
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
