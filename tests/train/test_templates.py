"""Whatever a chat template does to a conversation: what is trained is what is asked for, said and read in play."""

import asyncio
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoTokenizer

from alfworld_sft.dataset.write import SCHEMA
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.prompts.tags import parse_reply, strip_empty_thought
from alfworld_sft.types import Message, Prompt
from tests.policies.llm.test_protocol import prompt
from tests.train.helpers_loop import messages_of, options, rows_of, run, write_model
from tests.train.templates import DEEPSEEK_R1, EMPTY_FIRST, QWEN3

TAGGED = ("think", "prediction", "action")


def write_episode(folder, messages):
    """Write a dataset of one row that holds a whole conversation."""
    folder.mkdir()
    row = rows_of(range(1))[-1] | {"messages": messages, "extra_info": json.dumps({"episode_id": "0"})}
    for name in ("train", "val"):
        pq.write_table(pa.Table.from_pylist([row], SCHEMA), folder / f"{name}.parquet")
    return folder


async def play(policy, messages, tags):
    """Return the actions read from a model's replies to a conversation's user messages, with its own past."""
    player = policy.begin(None, 0)
    past, actions = [], []
    for message in messages[::2]:
        past.append(Message("user", message["content"]))
        reply = await player.act(Prompt(prompt().view, tuple(past), tags, 0))
        past.append(Message("assistant", strip_empty_thought(reply.text, tags)))
        actions.append(parse_reply(reply.text, tags, ()).action)
    return actions


@pytest.mark.parametrize(
    ("template", "tags"),
    [(QWEN3, TAGGED), (QWEN3, ()), (DEEPSEEK_R1, TAGGED), (EMPTY_FIRST, TAGGED)],
    ids=["qwen3", "qwen3, bare", "r1", "empty first"],
)
def test_a_model_plays_what_one_row_a_conversation_taught_it(tmp_path, template, tags):
    model = write_model(tmp_path / "model", model_type="qwen3")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(model)
    talk = messages_of(0, 3)
    expected = [parse_reply(m["content"], TAGGED, ()).action for m in talk[1::2]]
    if not tags:
        for message, action in zip(talk[1::2], expected, strict=True):
            message["content"] = action
    trained = run(
        options(
            write_episode(tmp_path / "data", talk), model, tmp_path / "out", "data.multiturn.enable=true",
            "model.lora_rank=0", "trainer.total_training_steps=80", "optim.lr=5e-3",
            "optim.warmup_steps_ratio=0.1",
        )
    )  # fmt: skip
    policy = LocalModel.load(str(trained.final), Sampling(0.0, 1.0, 60), device="cpu")
    assert asyncio.run(play(policy, talk, tags)) == expected
