"""What a turn may take from the last one, and which turns are read together."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from transformers import DynamicCache, LlamaConfig, Qwen2Config

from alfworld_sft.policies.llm.padded_batch import (
    PaddedBatch,
    Past,
    give_room,
    is_plain,
    joined,
    may_be_kept,
    of_like_length,
)


def past(*ids):
    """One layer of one head of width 1, whose keys are the ids and whose values are ten times as much."""
    keys = torch.tensor(ids, dtype=torch.float32)[:, None, None]
    return Past(ids, [(keys, keys * 10)])


@pytest.mark.parametrize(
    ("known", "prompt", "shared"),
    [
        ((1, 2, 3), [1, 2, 3, 4], [1, 2, 3]),
        ((1, 2, 3), [1, 9, 3, 4], [1]),
        ((1, 2, 3), [1, 2, 3], [1, 2]),
        ((1, 2, 3), [1, 2], [1]),
        ((1, 2, 3), [9], []),
    ],
)
def test_a_prompt_shares_its_beginning_but_never_its_last_token(known, prompt, shared):
    cut = past(*known).shared_with(prompt)
    assert cut.ids == shared
    assert [keys.flatten().tolist() for keys, _ in cut.layers] == ([shared] if shared else [])


def test_ragged_pasts_share_a_batch_and_come_out_again():
    pasts = [past(1, 2, 3), Past(), past(4)]

    def forward(ids, positions, mask, cache):
        assert cache.layers[0].keys[:, 0, :, 0].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 4]]
        assert ids.tolist() == [[0, 7], [5, 6], [8, 9]]
        assert mask.tolist() == [[1, 1, 1, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]
        assert positions.tolist() == [[2, 3], [0, 1], [1, 2]]
        new = ids[:, None, :, None].float()
        cache.update(new, new * 10, 0)
        return SimpleNamespace(past_key_values=cache, logits=new[:, 0, -1:])

    batch = PaddedBatch(forward, pasts, torch.device("cpu"))
    assert batch.read([[7], [5, 6], [8, 9]]).tolist() == [[7], [6], [9]]
    batch.keep([0, 2])
    keys, values = batch.past(1, [4, 8, 9]).layers[0]
    assert (keys.flatten().tolist(), values.flatten().tolist()) == ([4, 8, 9], [40, 80, 90])


def test_a_cache_grows_within_its_room_and_beyond_as_a_dynamic_cache_does():
    generator = torch.Generator().manual_seed(1)
    first = [torch.rand(3, 2, 5, 4, generator=generator) for _ in range(2)]
    plain, roomy = DynamicCache(), DynamicCache()
    for cache in (plain, roomy):
        cache.update(*first, 0)
    give_room(roomy)
    assert is_plain(roomy)
    for step in range(100):
        new = [torch.rand(len(plain.layers[0].keys), 2, 1, 4, generator=generator) for _ in range(2)]
        for cache in (plain, roomy):
            cache.update(*new, 0)
            if step == 40:
                cache.batch_select_indices(torch.tensor([0, 2]))
        assert torch.equal(roomy.layers[0].keys, plain.layers[0].keys)
        assert torch.equal(roomy.layers[0].values, plain.layers[0].values)
        assert roomy.get_seq_length() == plain.get_seq_length() == 6 + step


def test_a_new_token_does_not_copy_those_before_it():
    cache = joined([past(1, 2, 3), past(4)])
    places = set()
    for _ in range(8):
        cache.update(torch.ones(2, 1, 1, 1), torch.ones(2, 1, 1, 1), 0)
        places.add(cache.layers[0].keys.data_ptr())
    assert len(places) == 1


def test_without_any_past_the_model_makes_the_cache():
    assert joined([Past(), Past()]) is None


def test_windows_are_not_kept():
    shape = {"num_hidden_layers": 2, "sliding_window": 4, "use_sliding_window": True}
    sliding = Qwen2Config(**shape, layer_types=["full_attention", "sliding_attention"])
    assert not is_plain(DynamicCache(config=sliding))
    assert is_plain(DynamicCache(config=Qwen2Config(num_hidden_layers=2)))


@pytest.mark.parametrize(("kind", "kept"), [("default", True), ("linear", True), ("dynamic", False)])
def test_keys_that_a_longer_prompt_rescales_are_not_kept(kind, kept):
    config = LlamaConfig(rope_parameters={"rope_type": kind, "rope_theta": 1e4, "factor": 2.0})
    assert may_be_kept(SimpleNamespace(config=config)) is kept


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([7], [[0]]),
        ([30, 900, 20, 40], [[1], [3, 0, 2]]),
        ([30, 90, 20, 40], [[1, 3, 0, 2]]),
        ([1500, 300, 1400] + [10] * 50, [[0, 2], [1], [*range(3, 53)]]),
    ],
)
def test_long_prompts_are_read_apart_where_padding_would_cost_more(lengths, groups):
    assert of_like_length(lengths) == groups
