"""A packed batch says of each row what the model says of it alone, whatever its neighbours are."""

import asyncio
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoModelForCausalLM

from alfworld_sft.policies.llm import packed_batch
from alfworld_sft.policies.llm.packed_batch import Kept, PackedBatch, may_be_packed
from tests.policies.llm.test_local import PROMPTS, ask, local
from tests.train.helpers_loop import write_model

ROWS = [[5, 6, 7, 8, 9], [11], [12, 13, 14]]
MORE = [[20], [21, 22, 23], [24, 25]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def alone(model, ids):
    return model(torch.tensor([ids])).logits[0, -1]


@torch.inference_mode()
def test_each_row_is_read_as_if_alone_and_goes_on_from_what_was_read(model, monkeypatch):
    monkeypatch.setattr(packed_batch, "_ROOM", 1)
    kept = [Kept() for _ in ROWS]
    batch = PackedBatch(model, kept)
    for row, logits in zip(ROWS, batch.read(ROWS), strict=True):
        torch.testing.assert_close(logits, alone(model, row), rtol=1e-4, atol=1e-5)
    batch.keep([1, 2])
    for row, more, logits in zip(ROWS[1:], MORE[1:], batch.read(MORE[1:]), strict=True):
        torch.testing.assert_close(logits, alone(model, row + more), rtol=1e-4, atol=1e-5)
    assert batch.past(0, ROWS[1] + MORE[1]) is kept[1]
    assert [one.ids for one in kept] == [ROWS[0], ROWS[1] + MORE[1], ROWS[2] + MORE[2]]
    assert model.config._attn_implementation == "sdpa", "the model is as it was"


@torch.inference_mode()
def test_a_prompt_that_leaves_what_was_read_is_read_from_there(model):
    [kept] = [Kept()]
    PackedBatch(model, [kept]).read([[5, 6, 7, 8, 9]])
    assert kept.shared_with([5, 6, 30, 31]).ids == [5, 6]
    [logits] = PackedBatch(model, [kept]).read([[30, 31]])
    torch.testing.assert_close(logits, alone(model, [5, 6, 30, 31]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_what_a_failed_pass_has_written_does_not_count(model, monkeypatch):
    kept = Kept()
    PackedBatch(model, [kept]).read([[5, 6, 7]])
    with monkeypatch.context() as patch:
        patch.setattr(model.lm_head, "forward", None)
        with pytest.raises(TypeError):
            PackedBatch(model, [kept]).read([[8, 9]])
    assert kept.ids == [5, 6, 7]
    assert model.config._attn_implementation == "sdpa"
    [logits] = PackedBatch(model, [kept]).read([[10]])
    torch.testing.assert_close(logits, alone(model, [5, 6, 7, 10]), rtol=1e-4, atol=1e-5)


def test_replies_are_those_of_padded_batches(folder, monkeypatch):
    padded = ask(local(folder, keep_token_ids=True))
    monkeypatch.setattr(packed_batch, "WIDE", 1)
    packed = local(folder, keep_token_ids=True)
    assert packed._packed
    for ours, theirs in zip(ask(packed), padded, strict=True):
        assert (ours.text, ours.token_ids) == (theirs.text, theirs.token_ids)
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


def test_an_episode_s_room_is_its_own_and_grows_rarely(folder, monkeypatch):
    monkeypatch.setattr(packed_batch, "WIDE", 1)
    policy = local(folder, max_tokens=20)
    player = policy.begin(None, 0)
    asyncio.run(player.act(PROMPTS[0]))
    policy._thread.submit(int).result()  # the thread is done with the batch
    [kept] = policy._pasts.values()
    room = [layer.data_ptr() for layer in kept.layers]
    asyncio.run(player.act(PROMPTS[0]))
    policy._thread.submit(int).result()
    assert list(policy._pasts.values()) == [kept]
    assert [layer.data_ptr() for layer in kept.layers] == room


@pytest.mark.parametrize(
    ("change", "packed"),
    [
        ({}, True),
        ({"hidden_size": 16}, False),
        ({"model_type": "gemma3_text"}, False),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}, False),
        ({"rope_parameters": {"rope_type": "dynamic"}}, False),
        ({"_attn_implementation": "eager"}, False),
    ],
)
def test_only_wide_models_with_plain_attention_are_packed(model, monkeypatch, change, packed):
    monkeypatch.setattr(packed_batch, "WIDE", 17)
    for name, value in change.items():
        monkeypatch.setattr(model.config, name, value)
    assert may_be_packed(model) is packed


def test_a_config_of_several_parts_is_none_of_ours():
    config = SimpleNamespace(
        model_type="gemma3", _attn_implementation="sdpa", get_text_config=lambda decoder: SimpleNamespace()
    )
    assert not may_be_packed(SimpleNamespace(device=torch.device("cpu"), config=config))
