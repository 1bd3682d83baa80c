from dataclasses import replace

import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.types import Reply
from alfworld_sft.usage import Prices, Usage, usage_in_words, usage_of, with_tokens_of
from tests.episodes import episode, step


def of_tokens(*counts: tuple[int, int, int | None]):
    """An episode whose replies took these tokens: read, said, cached."""
    replies = [Reply("x", prompt_tokens=read, reply_tokens=said, cached_tokens=cached) for read, said, cached in counts]
    return episode(steps=tuple(replace(step(), reply=reply) for reply in replies))


def test_the_tokens_of_episodes_are_added_up():
    usage = Usage()
    usage.add(of_tokens((100, 20, None), (130, 25, 64)))
    usage.add(of_tokens((1000, 1, None)))
    assert usage == Usage(replies=3, prompt_tokens=1230, cached_tokens=64, completion_tokens=46)


def test_replies_without_counts_are_not_counted():
    assert usage_of(episode()) == Usage()


def test_cached_tokens_have_a_price_of_their_own():
    usage = Usage(replies=1, prompt_tokens=3_000_000, cached_tokens=1_000_000, completion_tokens=500_000)
    assert usage.cost_usd(Prices(prompt=0.4, completion=1.6, cached=0.1)) == pytest.approx(2 * 0.4 + 0.1 + 0.8)


def test_without_prices_there_is_no_cost():
    assert Usage(1, 2, 0, 3).with_cost(None)["cost_usd"] is None
    assert usage_in_words(Usage(1, 1200, 0, 3).with_cost(None)) == "tokens: 1,200 read, 3 said"


def test_usage_is_told_in_one_sentence():
    told = Usage(9, 1_200_000, 400, 30_000).with_cost(Prices(1.0, 2.0, 1.0))
    assert usage_in_words(told) == "tokens: 1,200,000 read (400 of them cached), 30,000 said, $1.2600"


def test_a_reply_has_the_tokens_of_all_that_was_spent_on_it():
    first = Reply("a", prompt_tokens=10, reply_tokens=2)
    last = Reply("b", prompt_tokens=12, reply_tokens=3, cached_tokens=8)
    assert with_tokens_of(last, [first, last]) == Reply("b", prompt_tokens=22, reply_tokens=5, cached_tokens=8)
    assert with_tokens_of(Reply("c"), [Reply("d")]) == Reply("c")


def test_the_cached_price_is_the_prompt_s_unless_it_is_told():
    words = ["policy.name=server", "policy.price_prompt=0.4", "policy.price_completion=1.6"]
    assert build_config(EvaluateConfig, words).policy.prices == Prices(0.4, 1.6, 0.4)
    assert build_config(EvaluateConfig, [*words, "policy.price_cached=0"]).policy.prices == Prices(0.4, 1.6, 0.0)
    assert build_config(CollectConfig, []).policy.prices is None


@pytest.mark.parametrize("word", ["policy.price_prompt=1", "policy.price_completion=1", "policy.price_cached=1"])
def test_half_of_the_prices_is_no_price(word):
    with pytest.raises(ConfigError, match="a cost needs both prices"):
        build_config(CollectConfig, [word])
