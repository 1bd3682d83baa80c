import json
import sys
from pathlib import Path

import pytest

from alfworld_sft.errors import ConfigError, UserError
from alfworld_sft.policies.llm.serve_command import serve_command

PYTHON = f"{sys.executable} -m server --port {{port}}"


@pytest.fixture
def vllm(tmp_path):
    """A command of vLLM's name, somewhere off the PATH."""
    path = tmp_path / "env/bin/vllm"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return str(path)


def write_adapter(folder: Path, **config) -> str:
    folder.mkdir(parents=True)
    values = {"base_model_name_or_path": "org/base", "r": 32, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return str(folder)


def rank_of(vllm, model):
    words = serve_command(vllm, model).words
    return words[words.index("--max-lora-rank") + 1]


def test_vllm_serves_a_model_of_the_hub_by_its_name(vllm):
    command = serve_command(vllm, "Qwen/Qwen2.5-1.5B-Instruct")
    assert command.model == "Qwen/Qwen2.5-1.5B-Instruct"
    assert command.on(8123) == [
        vllm, "serve", "Qwen/Qwen2.5-1.5B-Instruct", "--host", "127.0.0.1", "--port", "8123",
        "--served-model-name", "Qwen/Qwen2.5-1.5B-Instruct",
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["{} --dtype float32 --seed 'a b'", "{} serve --dtype float32 --seed 'a b'"])
def test_vllm_takes_options_of_its_own(vllm, said):
    words = serve_command(said.format(vllm), "org/m").on(1)
    assert words[:3] == [vllm, "serve", "org/m"]
    assert words[-4:] == ["--dtype", "float32", "--seed", "a b"]


def test_vllm_serves_the_adapter_of_a_checkpoint_with_its_base(vllm, tmp_path):
    adapter = write_adapter(tmp_path / "sft=models,1/final")
    command = serve_command(vllm, adapter)
    assert command.model == "sft=models,1/final"
    assert command.words == (
        vllm, "serve", "org/base", "--host", "127.0.0.1", "--port", "{port}", "--enable-lora",
        "--lora-modules", json.dumps({"name": "sft=models,1/final", "path": adapter}), "--max-lora-rank", "32",
    )  # fmt: skip


@pytest.mark.parametrize(("rank", "accepted"), [(1, "8"), (8, "8"), (9, "16"), (33, "64"), (257, "320"), (512, "512")])
def test_the_rank_is_rounded_up_to_one_that_vllm_takes(vllm, tmp_path, rank, accepted):
    assert rank_of(vllm, write_adapter(tmp_path / "adapter", r=rank)) == accepted


def test_the_highest_rank_of_all_layers_counts(vllm, tmp_path):
    assert rank_of(vllm, write_adapter(tmp_path / "adapter", r=8, rank_pattern={"q_proj": 48})) == "64"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"r": 513}, "up to rank 512, not 513; merge it first"),
        ({"base_model_name_or_path": "/no/such/base"}, "names /no/such/base as its base model"),
        ({"r": None}, "cannot be read as an adapter's: TypeError"),
    ],
)
def test_an_adapter_that_cannot_be_served_is_refused(vllm, tmp_path, config, line):
    with pytest.raises(UserError, match=line):
        serve_command(vllm, write_adapter(tmp_path / "adapter", **config))


def test_any_other_command_gets_model_and_port_where_it_wants_them():
    command = serve_command(f"{PYTHON} --model {{model}} --extra '{{\"top_k\": 1}}'", "org/m")
    assert command.model == "org/m"
    assert command.on(99) == [
        sys.executable, "-m", "server", "--port", "99", "--model", "org/m", "--extra", '{"top_k": 1}',
    ]  # fmt: skip


def test_a_command_is_found_in_the_environment_of_this_python(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert serve_command("python --port {port}", "org/m").words[0] == str(Path(sys.executable).parent / "python")


@pytest.mark.parametrize(
    ("serve", "line"),
    [
        ("sglang", r"name vllm, .* or a full command line with \{port\} in it"),
        ("", "name vllm"),
        ("server 'half --port {port}", "No closing quotation"),
        ("vllm --api-key=sk-123", "leave out --api-key"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(serve, line):
    with pytest.raises(ConfigError, match=line) as caught:
        serve_command(serve, "org/m")
    assert "sk-123" not in str(caught.value)


def test_without_vllm_it_is_said_what_would_work_instead():
    with pytest.raises(UserError, match=r"install vLLM.*policy\.name=local.*policy\.base_url.*policy\.name=expert"):
        serve_command("/nowhere/bin/vllm", "org/m")
    with pytest.raises(UserError, match="there is no command 'no-such-server'"):
        serve_command("no-such-server {port}", "org/m")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        serve_command(PYTHON, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="holds neither a model nor an adapter"):
        serve_command(PYTHON, str(tmp_path))
