"""An adapter's or a model's folder is data: nothing in it is run, and nothing is fetched that it alone names."""

import json
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from alfworld_sft.models import load as models
from alfworld_sft.models.adapter import AdapterError
from alfworld_sft.models.load import ModelError, load_config, load_model, load_tokenizer
from alfworld_sft.models.merge import merge
from alfworld_sft.models.reference import fetched_folder
from alfworld_sft.policies.llm.local import LocalModel
from tests.test_cli import command
from tests.train.helpers_loop import write_model


class Mark:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def adapter(model, tmp_path):
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(folder, name="adapter_config.json", **values):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@contextmanager
def a_hub_that_counts():
    """Yield the address of a hub, and a way to tell whether anybody called."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def was_called():
            try:
                listener.accept()[0].close()
                return True
            except TimeoutError:
                return False

        yield f"http://127.0.0.1:{listener.getsockname()[1]}", was_called


def test_a_base_that_only_the_adapter_names_is_not_fetched(adapter, tmp_path):
    change(adapter, base_model_name_or_path="someone/large")
    with a_hub_that_counts() as (address, was_called):
        done = command("merge", str(adapter), str(tmp_path / "out"), HF_ENDPOINT=address, HF_HUB_CACHE=str(tmp_path))
        assert not was_called()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: {adapter}/adapter_config.json names the base model someone/large, which is not on this machine;"
        f" to fetch it, name it: alfworld-sft merge {adapter} DIR --base someone/large"
    )


def test_a_base_that_was_fetched_before_is_used_without_asking_the_hub(adapter, model, tmp_path):
    change(adapter, base_model_name_or_path="someone/tiny")
    kept = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(model, kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)
    with a_hub_that_counts() as (address, was_called):
        hub = {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "hub")}
        done = command("merge", str(adapter), str(tmp_path / "out"), **hub)
        assert not was_called()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_base_that_is_named_is_looked_for_on_the_hub(adapter, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "_hub_answers", lambda: bool(asked.append("hub")))
    with pytest.raises(ModelError, match="someone/large: cannot be had from the Hugging Face hub"):
        merge(adapter, tmp_path / "out", base="someone/large")
    assert asked


def test_an_adapter_is_played_by_the_same_rule(adapter):
    change(adapter, base_model_name_or_path="someone/large")
    with pytest.raises(AdapterError, match="names the base model someone/large, which is not on this machine"):
        LocalModel.load(str(adapter))


def test_pickled_weights_of_an_adapter_are_not_read(adapter, tmp_path):
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"weight": Mark(tmp_path / "mark")}, adapter / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors; weights are read from safetensors"):
        merge(adapter, tmp_path / "out")
    assert not (tmp_path / "mark").exists()


def test_pickled_weights_of_a_model_are_not_read(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    torch.save({"weight": Mark(tmp_path / "mark")}, copy / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_model(str(copy), torch.float32, torch.device("cpu"))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "someone/tokenizer"},
            "peft_type=PROMPT_TUNING is not",
        ),
        ({"peft_type": "XLORA", "adapters": {"a": "someone/adapter"}}, "peft_type=XLORA is not supported"),
        ({"megatron_config": {"x": 1}, "megatron_core": "evil"}, "megatron_config makes PEFT import code"),
        ({"base_model_name_or_path": None}, "names no base model; name it: alfworld-sft merge"),
    ],
)
def test_an_adapter_that_would_do_more_than_add_its_weights_is_refused(adapter, tmp_path, values, message):
    change(adapter, **values)
    with pytest.raises(AdapterError, match=message):
        merge(adapter, tmp_path / "out")


def test_an_adapter_is_not_taken_for_a_base(adapter, tmp_path):
    second = shutil.copytree(adapter, tmp_path / "second")
    change(second, base_model_name_or_path=str(adapter))
    change(adapter, base_model_name_or_path="someone/large")
    with pytest.raises(ModelError, match="holds an adapter, not a full model; merge it first"):
        merge(second, tmp_path / "out")


@pytest.mark.parametrize(
    "load", [load_config, load_tokenizer, lambda name: load_model(name, "auto", torch.device("cpu"))]
)
def test_code_in_a_model_s_folder_is_not_run_and_nobody_is_asked_to(model, tmp_path, monkeypatch, load):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass Evil: pass\n")
    names = ("AutoConfig", "AutoModelForCausalLM")
    change(copy, "config.json", model_type="evil", auto_map=dict.fromkeys(names, "evil.Evil"))
    change(
        copy, "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    )
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append("code") or "y")
    with pytest.raises(ModelError, match=r"brings code of its own \(auto_map\), which is never run"):
        load(str(copy))
    assert asked == []
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("variables", "hub"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "x"}, "x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "x", "HF_HOME": "h"}, "h/hub"),
        ({"HF_HOME": "h", "HF_HUB_CACHE": "c"}, "c"),
    ],
)
def test_the_hub_s_cache_is_found_where_its_client_keeps_it(tmp_path, monkeypatch, variables, hub):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    assert fetched_folder("org/model") is None
    kept = tmp_path / hub / "models--org--model"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    assert fetched_folder("org/model") == kept / "snapshots" / "abc"
