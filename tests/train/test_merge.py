"""A merged model says what the adapter on its base says, and loads without this package."""

import json
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from peft import PeftModel
from transformers import AutoModelForCausalLM

from alfworld_sft.train.merge import MergeError, merge
from tests.train.helpers_loop import options, run, write_dataset, write_model


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


def test_a_checkpoint_of_all_weights_becomes_a_model_too(model, tmp_path):
    data = write_dataset(tmp_path / "data", train_episodes=2, val_episodes=0)
    more = ("model.lora_rank=0", "data.val_files=null", "trainer.total_epochs=1")
    trained = run(options(data, model, tmp_path / "out", *more))
    whole = merge(trained.checkpoint, tmp_path / "merged")
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(trained.checkpoint)(IDS).logits
        assert torch.equal(AutoModelForCausalLM.from_pretrained(whole)(IDS).logits, expected)
    assert not (whole / "trainer").exists()
