"""When is a request retried, how long is the wait before that, and when does the run give up?

A turn has a budget of attempts. Pauses double, with jitter from the turn's seed, and a server's Retry-After is
respected. A failed turn is one episode's error, unless no other turn can succeed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from time import monotonic, time

from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Reply
from alfworld_sft.usage import with_tokens_of

LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
"""A longer Retry-After is not waited for: the episode stays owed."""
FAILURES_IN_A_ROW = 8
"""After this many failed turns without a success the run ends, instead of failing every episode."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a reply. `pause_s` is the first pause between two attempts; each one doubles."""

    timeout_s: float = 120.0
    attempts: int = 6
    pause_s: float = 1.0


class SetbackError(Exception):
    """A failure that may succeed on retry."""

    def __init__(self, reason: str, retry_after_s: float = 0.0, *, nobody_listens: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.nobody_listens = nobody_listens


class RedrawError(Exception):
    """A useless reply: it did not end within `max_tokens` or has no text. The same seed would produce it again."""

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


class RejectedError(Exception):
    """A non-retryable failure of this turn."""


class RefusedError(RejectedError):
    """A non-retryable failure of every turn."""


class ExhaustedError(RejectedError):
    """All attempts of a turn have failed."""

    def __init__(self, reason: str, *, nobody_listens: bool) -> None:
        super().__init__(reason)
        self.nobody_listens = nobody_listens


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time) -> float:
    """Return the requested wait, given in seconds or as a date; 0 without one."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "0")
        try:
            return max(0.0, float(value))
        except ValueError:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, TypeError, OverflowError):
        return 0.0


class Outcomes:
    """The outcomes of a server's turns so far, which decide how to treat the next failure.

    No turn can succeed: before the first answer, after a non-retryable failure (connection refused, key refused, model
    unknown); later, if the connection is refused, or if many turns fail and none succeeds.
    """

    def __init__(self) -> None:
        self.answered = False
        self._answered_at = 0.0  # monotonic clock
        self._failures = 0  # since then

    def note_answer(self) -> None:
        """Note that a turn has succeeded."""
        self.answered = True
        self._answered_at, self._failures = monotonic(), 0

    def is_final(self, failure: RejectedError, asked_at: float) -> bool:
        """Return whether a turn's failure means that all other turns would fail as well; `asked_at` is monotonic."""
        if self.answered and type(failure) is RejectedError:  # affects only this turn: the server itself works
            self.note_answer()
            return False
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            return True
        if isinstance(failure, ExhaustedError):
            return failure.nobody_listens and self._answered_at < asked_at
        return isinstance(failure, RefusedError) and not self.answered


async def ask_patiently(
    ask: Callable[[int], Awaitable[Reply]], patience: Patience, seed: int, *, greedy: bool
) -> Reply:
    """Ask until there is a reply; raises RejectedError if all attempts fail.

    `ask` receives the number of useless replies so far: the same draw would give the same reply again, and with
    `greedy` sampling any draw would. The tokens of all draws count.
    """
    rng = Random(derive_seed(seed, "pauses"))
    spent: list[Reply] = []
    for attempt in range(1, patience.attempts + 1):
        try:
            reply = await ask(len(spent))
            return with_tokens_of(reply, [*spent, reply]) if spent else reply
        except RedrawError as failure:
            if greedy:
                raise RejectedError(f"{failure}; with greedy sampling it would give the same reply") from None
            reason, asked_s, pause_s, setback = str(failure), 0.0, 0.0, None
            spent.append(failure.reply)
        except SetbackError as failure:
            reason, asked_s, setback = str(failure), failure.retry_after_s, failure
            pause_s = min(patience.pause_s * 2 ** (attempt - 1), LONGEST_PAUSE_S)
        if attempt == patience.attempts or asked_s > LONGEST_RETRY_AFTER_S:
            asked = f", which asks to wait {asked_s:.0f} s" if asked_s > LONGEST_RETRY_AFTER_S else ""
            told = f"{reason}{asked} ({_times(attempt)})"
            raise ExhaustedError(told, nobody_listens=setback.nobody_listens) if setback else RejectedError(told)
        await asyncio.sleep(max(pause_s / 2, asked_s) + rng.random() * pause_s)
    raise AssertionError("there is at least one attempt")


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
