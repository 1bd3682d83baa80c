"""When is a server asked again, how long is waited before that, and when does the run give up?

A turn has a budget of attempts. Pauses double, with jitter from the turn's seed, and a server's Retry-After is
respected. A turn that fails is one episode's error, unless no other turn can succeed.
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
"""A server that asks for more patience than this gets none: the episode stays owed."""
FAILURES_IN_A_ROW = 8
"""So many turns may fail while none succeeds; then the run ends rather than fail every episode."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reply is waited for. `pause_s` is the first pause between two attempts; each one doubles."""

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
    """A reply that is of no use, as it did not end within `max_tokens` or holds no text; the same seed would give it
    again."""

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


class RejectedError(Exception):
    """A non-retryable failure of this turn."""


class RefusedError(RejectedError):
    """A non-retryable failure of every turn."""


class ExhaustedError(RejectedError):
    """A turn whose attempts all failed."""

    def __init__(self, reason: str, *, nobody_listens: bool) -> None:
        super().__init__(reason)
        self.nobody_listens = nobody_listens


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time) -> float:
    """Return how long a server asks to be left alone, 0 where it does not say; it may name seconds or a date."""
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
    """How a server's turns went so far, which decides what the next failure means.

    No turn can succeed: before the first answer, after a non-retryable failure (connection refused, key refused, model
    unknown); later, when the connection is refused, or when many turns fail and none succeeds.
    """

    def __init__(self) -> None:
        self.answered = False
        self._answered_at = 0.0  # by the monotonic clock
        self._failures = 0  # since then

    def note_answer(self) -> None:
        """Note that a turn has succeeded."""
        self.answered = True
        self._answered_at, self._failures = monotonic(), 0

    def is_final(self, failure: RejectedError, asked_at: float) -> bool:
        """Return whether a turn's failure means that all other turns would also fail; `asked_at` is monotonic."""
        if self.answered and type(failure) is RejectedError:  # about this turn alone: the server is well
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
    """Ask until there is a reply or no attempt left; raises RejectedError then.

    `ask` is given how many replies were of no use so far: the same draw would be the same reply again, and a `greedy`
    one always is. The tokens of all draws count.
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
