"""A vLLM server plays with the adapter of each step, which it loads by its path."""

import json
import re
import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
import torch

from alfworld_sft.errors import PolicyUnavailableError, UserError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.models.merge import load_whole
from alfworld_sft.rl.limits import OtherModelError
from alfworld_sft.types import Message
from tests.fake_server import Answer, fails, says, serving
from tests.rl.helpers import learn, options, steps

LOADED = Answer(body=b"Success", headers={"Content-Type": "text/plain"})
COMMANDS = ("go to desk 1", "look", "inventory", "take pen 1 from desk 1")


class FakeVLLM:
    """Answers as vLLM does. Every reply is one of a few commands; `adapted` gives its adapter's log-probabilities."""

    def __init__(self, agent: Path, *, with_ids: bool = True, adapted: bool = True) -> None:
        self.encoder = ChatEncoder(load_tokenizer(str(agent)))
        self.with_ids, self.adapted = with_ids, adapted
        self.calls: list[str] = []
        self.models: dict[str, torch.nn.Module] = {}
        self.lock = threading.Lock()

    def __call__(self, request, number: int) -> Answer:
        with self.lock, torch.inference_mode():
            return self.command(request) if "lora_name" in request else self.reply(request)

    def command(self, request) -> Answer:
        name = request["lora_name"]
        if "lora_path" not in request:
            self.calls.append(f"unload {name}")
            del self.models[name]
            return LOADED
        self.calls.append(f"load {name}")
        if name in self.models:
            return fails(400, f"The lora adapter '{name}' has already been loaded.")
        assert json.loads((Path(request["lora_path"]) / "adapter_config.json").read_text())["r"] == 4
        self.models[name] = load_whole(request["lora_path"])[0].eval()
        return LOADED

    def reply(self, request) -> Answer:
        text = COMMANDS[request["seed"] % len(COMMANDS)]
        if not self.with_ids:
            return says(text)
        prompt = self.encoder.encode_prompt([Message(each["role"], each["content"]) for each in request["messages"]])
        ids = [*self.encoder.tokenizer(text)["input_ids"], self.encoder.end_id]
        logprobs = [-1.0] * len(ids)
        if self.adapted:
            logits = self.models[request["model"]](torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
            logprobs = logits.log_softmax(-1)[range(len(ids)), ids].tolist()
        content = [{"token": "", "logprob": logprob} for logprob in logprobs]
        return says(text, choice={"token_ids": ids, "logprobs": {"content": content}}, prompt_token_ids=prompt)


def served(agent, games, out, fake, *more):
    words = ("policy.name=server", f"policy.base_url={fake.url}", "rl.invalid_penalty=0.1", "env.max_steps=4")
    return options(agent, games, out, *words, "trainer.total_training_steps=2", *more)


def test_each_step_is_played_by_its_own_adapter_and_learned_from(agent, games, tmp_path, openai_key):
    vllm = FakeVLLM(agent)
    with serving(vllm) as fake:
        learn(served(agent, games, tmp_path, fake))
    names = [call.removeprefix("load ") for call in vllm.calls[::2]]
    assert vllm.calls == [f"{what} {name}" for name in names for what in ("load", "unload")]
    assert [name.rpartition("-step-")[2] for name in names] == ["0", "1"]
    asked = [request for request in fake.requests if "messages" in request]
    assert [request["model"] for request in asked] == sorted(request["model"] for request in asked)
    assert {request["model"] for request in asked} == set(names)
    assert all(request["return_token_ids"] and request["logprobs"] for request in asked)
    assert all(line["grad_norm"] > 0 and abs(line["policy_kl"]) < 1e-6 for line in steps(tmp_path))
    assert not (tmp_path / "served").exists()


def test_what_others_put_beside_the_adapters_stays(agent, games, tmp_path, openai_key):
    notes, left = tmp_path / "served" / "notes.txt", tmp_path / "served" / "alfworld-sft-0123abcd-step-7"
    left.mkdir(parents=True)
    notes.write_text("mine")
    with serving(FakeVLLM(agent)) as fake:
        learn(served(agent, games, tmp_path, fake))
    assert list((tmp_path / "served").iterdir()) == [notes]


def test_no_run_reuses_an_adapters_name(agent, games, tmp_path, openai_key):
    vllm = FakeVLLM(agent)
    with serving(vllm) as fake:
        for _ in range(2):
            learn(served(agent, games, tmp_path / "run", fake))
            shutil.rmtree(tmp_path / "run")
    loaded = [call for call in vllm.calls if call.startswith("load ")]
    assert len(set(loaded)) == len(loaded) == 4


def test_a_server_of_another_model_ends_the_run(agent, games, tmp_path, openai_key):
    with serving(FakeVLLM(agent, adapted=False)) as fake, pytest.raises(OtherModelError) as error:
        learn(served(agent, games, tmp_path, fake))
    assert re.fullmatch(
        r"step 1: the log-probabilities of the server's replies are not those of the model in training \(policy_kl \S+"
        r" per token\); serve the model of model\.path, with --logprobs-mode processed_logprobs if policy\.temperature"
        r" is not 1",
        str(error.value),
    )


def test_a_server_that_loads_no_adapters_ends_the_run(agent, games, tmp_path, openai_key):
    with serving([fails(404, "Not Found")]) as fake, pytest.raises(PolicyUnavailableError) as error:
        learn(served(agent, games, tmp_path / "run", fake))
    assert str(error.value) == (
        f"the server at {fake.url} refused load_lora_adapter (404: Not Found); start it with"
        " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and a --max-lora-rank that suffices, where it can read"
        " the run's folder"
    )
    assert not tmp_path.joinpath("run").exists()


def test_an_address_without_its_version_gets_a_hint(agent, games, tmp_path, openai_key):
    with serving([fails(404, "Not Found")]) as fake, pytest.raises(PolicyUnavailableError) as error:
        learn(served(agent, games, tmp_path, fake, f"policy.base_url={fake.url.removesuffix('/v1')}"))
    assert str(error.value).endswith(f"refused load_lora_adapter (404: Not Found); did you mean {fake.url}?")


def test_a_server_that_reports_no_tokens_ends_the_run(agent, games, tmp_path, openai_key):
    with serving(FakeVLLM(agent, with_ids=False)) as fake, pytest.raises(UserError, match="does not report token ids"):
        learn(served(agent, games, tmp_path, fake))
