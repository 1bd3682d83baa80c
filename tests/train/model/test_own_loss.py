"""Every run asks the model for its own loss first: other losses are refused, rows that leak do not share a pass."""

import logging

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoModelForCausalLM

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import ModelError, load_model, load_tokenizer
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.batches import micro_batches
from alfworld_sft.train.data.inputs import columns_of, train_files
from alfworld_sft.train.data.options import sample_options
from alfworld_sft.train.data.samples import load_samples
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.model.attention import PACKED, choose_attention
from alfworld_sft.train.model.own_loss import may_be_packed, own_loss, probe_rows
from alfworld_sft.train.model.prepare import LossModule
from alfworld_sft.train.model.trainable import compute_dtype, load_trainable
from alfworld_sft.train.validate import validate
from tests.train.helpers_loop import (
    LINEAR,
    MOE,
    losses,
    options,
    own_mean,
    run,
    run_as,
    run_together,
    write_architecture,
    write_dataset,
)

CPU = torch.device("cpu")
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 16,
    "long_factor": [3.0] * 16,
    "original_max_position_embeddings": 64,
}
SHARING = {
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "granitemoe": {"logits_scaling": 4.0, "num_local_experts": 4, "num_experts_per_tok": 2},
    "cohere": {"logit_scale": 0.25},
    "mistral": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "gemma3_text": {"sliding_window": 8},
    "mixtral": {"num_local_experts": 4, "sliding_window": None},
    "qwen3_moe": MOE,
}
ALONE = {
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"], **LINEAR},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"], **LINEAR, **MOE},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "attn_layer_indices": [1]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1,
                  "lm_head_multiplier": 0.3},
    "phi3": {"sliding_window": None, "rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), train_episodes=4)


def first_loss(folder, data, out, *more):
    """Return the validation loss of a run that changes nothing, and what its rows' own mean is."""
    config = build_train_config(options(data, folder, out, "data.multiturn.enable=true", *more))
    encoder = ChatEncoder(load_tokenizer(str(folder)))
    samples = load_samples(train_files(config), encoder, columns_of(config), sample_options(config)).samples
    ranks = Ranks(0, 1, CPU)
    model, may_share = load_trainable(config, ranks, compute_dtype(config, CPU), samples)
    batches = micro_batches(samples, 0, 1, config.token_budget if may_share else 1)
    found = validate(LossModule(model), batches, encoder.tokenizer.decode, ranks)
    return found["val/loss"], own_mean(folder, samples), may_share


@pytest.mark.parametrize("kind", SHARING)
def test_the_loss_is_the_models_own_and_rows_share_a_pass(kind, data, tmp_path, caplog):
    folder = write_architecture(tmp_path / "model", kind, **SHARING[kind])
    found, own, may_share = first_loss(folder, data, tmp_path / "out")
    assert found == pytest.approx(own, rel=1e-5)
    assert may_share
    assert "each pass takes one row" not in caplog.text


@pytest.mark.parametrize("kind", ALONE)
def test_rows_that_change_one_another_do_not_share_a_pass(kind, data, tmp_path, caplog):
    folder = write_architecture(tmp_path / "model", kind, **ALONE[kind])
    found, own, may_share = first_loss(folder, data, tmp_path / "out", "model.lora_rank=0")
    assert found == pytest.approx(own, rel=1e-5)
    assert not may_share
    [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "one row" in r.getMessage()]
    assert line.startswith(f"{folder}: ")
    assert "lets rows in one pass change one another's loss" in line


@pytest.mark.parametrize("kind", ["qwen3_5_text", "lfm2"])
def test_rows_that_leak_are_found_in_bfloat16_too(kind, data, tmp_path):
    folder = write_architecture(tmp_path / "model", kind, **ALONE[kind], initializer_range=0.02)
    more = ("model.dtype=bfloat16", "model.lora_rank=0")
    assert not may_share_as(folder, data, tmp_path / "out", *more)


@pytest.mark.parametrize("kind", ["granite", "mistral", "mixtral", "qwen3_moe", "gemma3_text"])
@pytest.mark.parametrize("rank", [0, 4])
def test_rounding_in_bfloat16_is_no_leak(kind, rank, data, tmp_path):
    folder = write_architecture(tmp_path / "model", kind, **SHARING[kind])
    assert may_share_as(folder, data, tmp_path / "out", "model.dtype=bfloat16", f"model.lora_rank={rank}")


def may_share_as(folder, data, out, *more):
    config = build_train_config(options(data, folder, out, *more))
    encoder = ChatEncoder(load_tokenizer(str(folder)))
    samples = load_samples(train_files(config), encoder, columns_of(config), sample_options(config)).samples
    return load_trainable(config, Ranks(0, 1, CPU), compute_dtype(config, CPU), samples)[1]


def test_a_loss_that_is_not_the_models_own_is_refused(data, tmp_path):
    """RecurrentGemma caps its logits, which nothing here knows of."""
    more = {"lru_width": 64, "attention_window_size": 256, "num_hidden_layers": 3, "logits_soft_cap": 2.0}
    folder = write_architecture(tmp_path / "model", "recurrent_gemma", **more)
    with pytest.raises(ModelError, match="RecurrentGemmaForCausalLM computes another loss than") as error:
        run(options(data, folder, tmp_path / "out"))
    assert "it cannot be trained here" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob("global_step_*"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_single_tokens_may_round_in_bfloat16(dtype, data, tmp_path):
    """Those of a model far from its data: attention in float32 and in bfloat16 then differ by half a nat."""
    folder = write_architecture(tmp_path / "model", "mistral")
    model = load_model(str(folder), torch.float32, CPU, PACKED)
    autocast = None if dtype == torch.float32 else dtype
    own = own_loss(model, (torch.arange(40), torch.arange(24)), autocast)
    for nll in own.nll:
        nll[3] += 0.14 * nll.mean()
    if dtype == torch.bfloat16:
        assert may_be_packed(str(folder), LossModule(model, autocast=autocast), own)
    else:
        with pytest.raises(ModelError, match="computes another loss"):
            may_be_packed(str(folder), LossModule(model), own)


def test_a_window_that_was_overlooked_is_refused(data, tmp_path):
    """Our attention knows no window: should it be chosen for a model that has one, the run stops."""
    folder = write_architecture(tmp_path / "model", "mistral", sliding_window=8)
    model = load_model(str(folder), torch.float32, CPU, PACKED)
    config = build_train_config(options(data, folder, tmp_path / "out"))
    encoder = ChatEncoder(load_tokenizer(str(folder)))
    samples = load_samples(train_files(config), encoder, columns_of(config), sample_options(config)).samples
    own = own_loss(model, probe_rows(samples, model.config, 256), None)
    with pytest.raises(ModelError, match=r"write model\.attention=sdpa$"):
        may_be_packed(str(folder), LossModule(model), own)


def test_the_longer_row_exceeds_windows_that_rows_can_exceed(data, tmp_path):
    folder = write_architecture(tmp_path / "model", "mistral", sliding_window=100)
    config = build_train_config(options(data, folder, tmp_path / "out"))
    encoder = ChatEncoder(load_tokenizer(str(folder)))
    samples = load_samples(train_files(config), encoder, columns_of(config), sample_options(config)).samples
    stored = AutoModelForCausalLM.from_pretrained(folder).config
    assert [len(row) for row in probe_rows(samples, stored, 2048)] == [108, 24]
    assert [len(row) for row in probe_rows(samples, stored, 104)] == [104, 24]
    assert [len(row) for row in probe_rows(samples, stored, 64)] == [40, 24]


def test_a_window_without_layer_types_is_kept(tmp_path):
    for kind in ("mistral", "phi3"):
        folder = write_architecture(tmp_path / kind, kind, sliding_window=64)
        assert choose_attention(str(folder), "auto", 64) == PACKED, "no sequence is longer than the window"
        assert choose_attention(str(folder), "auto", 65) == "sdpa"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_agree_that_rows_go_alone(strategy, data, tmp_path):
    folder = write_architecture(tmp_path / "model", "lfm2", **ALONE["lfm2"])
    more = ("trainer.total_training_steps=3", "model.lora_rank=0", "optim.lr=1e-3")
    run(options(data, folder, tmp_path / "one", *more))
    run_together(2, run_as, options(data, folder, tmp_path / "two", *more, f"model.strategy={strategy}"))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 3
    assert [loss for _, loss, _ in two] == pytest.approx([loss for _, loss, _ in one], rel=1e-4)


def test_a_run_whose_rows_go_alone_is_resumed_to_the_same_bytes(data, tmp_path):
    folder = write_architecture(tmp_path / "model", "lfm2", **ALONE["lfm2"])
    more = ("trainer.save_freq=2", "model.target_modules=[in_proj,q_proj]", "optim.lr_scheduler=constant")
    whole = run(options(data, folder, tmp_path / "whole", *more, "trainer.total_training_steps=4"))
    run(options(data, folder, tmp_path / "torn", *more, "trainer.total_training_steps=2"))
    torn = run(options(data, folder, tmp_path / "torn", *more, "trainer.total_training_steps=4"))
    assert torn.steps == 2
    for file in ("adapter_model.safetensors", "trainer/optimizer.safetensors", "trainer/random.safetensors"):
        assert (torn.checkpoint / file).read_bytes() == (whole.checkpoint / file).read_bytes()
