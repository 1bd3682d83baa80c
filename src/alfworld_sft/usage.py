"""How much did a language model read and say, and what did it cost? Pure; prices are the user's.

Counts are those that came with the replies, of the episodes in the journal that were played to their ends: what was
spent on an episode that failed and was played again is not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from alfworld_sft.types import Episode, Reply

PER_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens. `cached` is for prompt tokens that the server had in its cache."""

    prompt: float
    completion: float
    cached: float


@dataclass
class Usage:
    """Sums of token counts. `replies` counts those that came with counts; cached tokens are part of the prompt's."""

    replies: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def add(self, episode: Episode) -> None:
        """Count the replies of an episode."""
        for step in episode.steps:
            reply = step.reply
            if reply.prompt_tokens is None and reply.reply_tokens is None:
                continue
            self.replies += 1
            self.prompt_tokens += reply.prompt_tokens or 0
            self.cached_tokens += reply.cached_tokens or 0
            self.completion_tokens += reply.reply_tokens or 0

    def cost_usd(self, prices: Prices) -> float:
        """Return dollars."""
        read = (self.prompt_tokens - self.cached_tokens) * prices.prompt + self.cached_tokens * prices.cached
        return (read + self.completion_tokens * prices.completion) / PER_TOKENS

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "replies": self.replies,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def with_cost(self, prices: Prices | None) -> dict[str, Any]:
        """Return plain values with `cost_usd`, which is None where no prices are known."""
        return {**self.as_dict(), "cost_usd": None if prices is None else round(self.cost_usd(prices), 6)}


def usage_of(episode: Episode) -> Usage:
    """Return what one episode took."""
    usage = Usage()
    usage.add(episode)
    return usage


def usage_in_words(usage: dict[str, Any]) -> str:
    """Return the figures of `Usage.with_cost` as one sentence."""
    cached = f" ({usage['cached_tokens']:,} of them cached)" if usage["cached_tokens"] else ""
    cost = "" if usage["cost_usd"] is None else f", ${usage['cost_usd']:,.4f}"
    return f"tokens: {usage['prompt_tokens']:,} read{cached}, {usage['completion_tokens']:,} said{cost}"


def with_tokens_of(reply: Reply, spent: Sequence[Reply]) -> Reply:
    """Return the reply with the token counts of all the replies that were spent on it."""
    return replace(
        reply,
        prompt_tokens=_sum([other.prompt_tokens for other in spent]),
        cached_tokens=_sum([other.cached_tokens for other in spent]),
        reply_tokens=_sum([other.reply_tokens for other in spent]),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
