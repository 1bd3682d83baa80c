"""A vLLM server plays with the adapter of each step, which it loads by its path."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("openai", reason="a server is an extra: pip install 'alfworld-sft[server]'")

from alfworld_sft.errors import PolicyUnavailableError, UserError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.types import Message
from tests.fake_server import Answer, fails, says, serving
from tests.rl.helpers import learn, options, steps

LOADED = Answer(body=b"Success", headers={"Content-Type": "text/plain"})
COMMANDS = ("go to desk 1", "look", "inventory", "take pen 1 from desk 1")


class FakeVLLM:
    """Answers as vLLM does; every reply is one of a few commands, said with probability 1/e a token."""

    def __init__(self, agent: Path, *, with_ids: bool = True) -> None:
        self.encoder = ChatEncoder(load_tokenizer(str(agent)))
        self.with_ids = with_ids
        self.calls: list[str] = []

    def __call__(self, request, number: int) -> Answer:
        if "lora_name" in request:
            path = request.get("lora_path")
            self.calls.append(f"load {request['lora_name']}" if path else f"unload {request['lora_name']}")
            if path:
                assert json.loads((Path(path) / "adapter_config.json").read_text())["r"] == 4
                assert (Path(path) / "adapter_model.safetensors").is_file()
            return LOADED
        text = COMMANDS[request["seed"] % len(COMMANDS)]
        if not self.with_ids:
            return says(text)
        ids = [*self.encoder.tokenizer(text)["input_ids"], self.encoder.end_id]
        messages = [Message(message["role"], message["content"]) for message in request["messages"]]
        logprobs = {"content": [{"token": "", "logprob": -1.0} for _ in ids]}
        choice = {"token_ids": ids, "logprobs": logprobs}
        return says(text, choice=choice, prompt_token_ids=self.encoder.encode_prompt(messages))


def served(agent, games, out, fake, *more):
    words = ("policy.name=server", f"policy.base_url={fake.url}", "rl.invalid_penalty=0.1", "env.max_steps=4")
    return options(agent, games, out, *words, "trainer.total_training_steps=2", *more)


def test_each_step_is_played_by_its_own_adapter_and_learned_from(agent, games, tmp_path, openai_key):
    vllm = FakeVLLM(agent)
    with serving(vllm) as fake:
        learn(served(agent, games, tmp_path, fake))
    names = ["alfworld-sft-step-0", "alfworld-sft-step-1"]
    assert vllm.calls == [f"{what} {name}" for name in names for what in ("load", "unload")]
    asked = [request for request in fake.requests if "messages" in request]
    assert [request["model"] for request in asked] == sorted(request["model"] for request in asked)
    assert {request["model"] for request in asked} == set(names)
    assert all(request["return_token_ids"] and request["logprobs"] for request in asked)
    assert all(line["grad_norm"] > 0 and line["policy_kl"] > 0.01 for line in steps(tmp_path))
    assert not (tmp_path / "served").exists()


def test_a_server_that_loads_no_adapters_ends_the_run(agent, games, tmp_path, openai_key):
    with serving([fails(404, "Not Found")]) as fake, pytest.raises(PolicyUnavailableError) as error:
        learn(served(agent, games, tmp_path, fake))
    assert str(error.value) == (
        f"the server at {fake.url} refused load_lora_adapter (404: Not Found); start it with"
        " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and a --max-lora-rank that suffices"
    )


def test_a_server_that_reports_no_tokens_ends_the_run(agent, games, tmp_path, openai_key):
    with serving(FakeVLLM(agent, with_ids=False)) as fake, pytest.raises(UserError, match="does not report token ids"):
        learn(served(agent, games, tmp_path, fake))
