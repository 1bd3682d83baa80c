"""Plays the model behind any endpoint that speaks OpenAI's chat protocol: vLLM, SGLang, llama.cpp, OpenAI, …

Every turn is a request of its own and waits for nobody else's. What goes wrong on the way is tried again within a
budget of attempts, with pauses that double (their jitter comes from the turn's seed, and a server's Retry-After is
kept to); what is left becomes the episode's error. Before the server has answered for the first time, a failure that
no patience mends (nobody listens, the key is refused, the model is unknown) is a UserError and ends the run.

The key is read from $OPENAI_API_KEY alone. It is in no config, so in no file, and it is struck out of what a server
says before anybody reads it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from time import time
from typing import Any, Literal
from urllib.parse import urlsplit

from alfworld_sft.errors import ConfigError, PolicyError, UserError
from alfworld_sft.policies.base import Player
from alfworld_sft.policies.completions import MalformedAnswerError, names_refused, read_answer, request_body
from alfworld_sft.policies.sampling import Sampling
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 3.0
"""An idle connection is given up before the server does so (uvicorn after 5 s), or a request might meet its end."""
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
"""A server that asks for more patience than this gets none: the episode stays owed."""
FAILURES_BEFORE_CONTACT = 8
"""So many turns may fail before the first one succeeds; then the run ends rather than fail every episode."""
_NO_KEY = "none"  # what servers without keys are sent; the client library insists on one


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reply is waited for. `pause_s` is the first pause between two attempts; each one doubles."""

    timeout_s: float = 120.0
    attempts: int = 6
    pause_s: float = 1.0


class _SetbackError(Exception):
    """A failure that another attempt may mend."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class _TruncatedError(Exception):
    """A reply that did not end within `max_tokens`."""


class _RejectedError(Exception):
    """A failure that no other attempt mends, for this turn."""


class _RefusedError(_RejectedError):
    """A failure that no other attempt mends, for any turn."""


class OpenAIServer:
    """A policy that asks a server. `truncated` says what becomes of a reply that did not end within `max_tokens`:
    `retry` draws it again and in the end fails the episode, `keep` takes it as it is (mostly an invalid action).

    Raises ConfigError where the address or the key cannot be meant, UserError where the client library is missing.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        sampling: Sampling | None = None,
        patience: Patience | None = None,
        *,
        truncated: Literal["retry", "keep"] = "retry",
        keep_token_ids: bool = False,
    ) -> None:
        self._openai = _client_library()
        self.model = model
        self.base_url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL", ""))
        self._key = _checked_key(os.environ.get("OPENAI_API_KEY", ""))
        self._sampling = sampling or Sampling()
        self._patience = patience or Patience()
        self._truncated = truncated
        self._keep_token_ids = keep_token_ids
        self._refused: set[str] = set()  # parameters that this server does not know
        self._answered = False
        self._failures = 0
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        return f"server:{self.model}"

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling, for the stamp; each turn has a seed of its own."""
        return self._sampling.as_dict() | {"truncated": self._truncated}

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of an episode; it keeps nothing between turns, so all episodes have the same."""
        return self

    async def act(self, prompt: Prompt) -> Reply:
        """Ask the server; raises PolicyError when the attempts are used up, UserError where no turn ever succeeded."""
        try:
            reply = await self._ask_patiently(prompt)
        except _RejectedError as failure:
            self._failures += 1
            fatal = isinstance(failure, _RefusedError) or self._failures >= FAILURES_BEFORE_CONTACT
            if fatal and not self._answered:
                raise UserError(str(failure)) from None
            raise PolicyError(str(failure)) from None
        self._answered = True
        return reply

    async def _ask_patiently(self, prompt: Prompt) -> Reply:
        """Ask until there is a reply or no attempt left; raises _RejectedError then."""
        rng = Random(derive_seed(prompt.seed, "pauses"))
        draw = 0
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return await self._ask(prompt, draw)
            except _TruncatedError as failure:
                if self._sampling.temperature == 0:
                    raise _RejectedError(f"{failure}; greedy, it would say the same again") from None
                reason, retry_after_s, pause_s = str(failure), 0.0, 0.0
                draw += 1  # the same seed would say the same again
            except _SetbackError as failure:
                reason, retry_after_s = str(failure), failure.retry_after_s
                pause_s = min(self._patience.pause_s * 2 ** (attempt - 1), LONGEST_PAUSE_S)
            if attempt == self._patience.attempts or retry_after_s > LONGEST_RETRY_AFTER_S:
                asked = f", which asks to wait {retry_after_s:.0f} s" if retry_after_s > LONGEST_RETRY_AFTER_S else ""
                raise _RejectedError(f"{reason}{asked} ({_times(attempt)})")
            await asyncio.sleep(max(pause_s / 2, retry_after_s) + rng.random() * pause_s)
        raise AssertionError("there is at least one attempt")

    async def _ask(self, prompt: Prompt, draw: int) -> Reply:
        """Ask once, and once more for each parameter that the server turns out not to know."""
        openai = self._openai
        while True:
            body = request_body(
                prompt, self.model, self._sampling, draw=draw, keep_token_ids=self._keep_token_ids,
                refused=self._refused,
            )  # fmt: skip
            try:
                answer = await self._post(body)
                break
            except openai.APIStatusError as error:
                unknown = names_refused(body, str(error.message)) if error.status_code in (400, 422) else set()
                if not unknown:
                    raise self._verdict(error) from None
                self._go_without(unknown)
        try:
            reply, truncated = read_answer(answer, prompt)
        except MalformedAnswerError as problem:
            raise _SetbackError(f"the server gave a malformed answer: {problem}") from None
        if truncated and self._truncated == "retry":
            raise _TruncatedError(f"the reply did not end within policy.max_tokens={self._sampling.max_tokens}")
        return reply

    async def _post(self, body: Mapping[str, Any]) -> Any:
        """Send a request and return the JSON that comes back; raises _SetbackError, _RefusedError or APIStatusError."""
        openai, timeout_s = self._openai, self._patience.timeout_s
        rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
        try:
            async with asyncio.timeout(timeout_s):  # for the whole answer, however slowly it drips in
                create = self._connected().chat.completions.with_raw_response.create
                answer = await create(model=body["model"], messages=body["messages"], extra_body=rest)
            return json.loads(answer.http_response.content)
        except (TimeoutError, openai.APITimeoutError):
            raise _SetbackError(f"the server at {self.base_url} timed out after {timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            reason = self._said(error.__cause__ or error)
            if type(error.__cause__).__name__ == "ConnectError" and not self._answered:  # httpx's, or httpx2's
                raise _RefusedError(
                    f"cannot reach the server at {self.base_url} ({reason}); start it, or set OPENAI_BASE_URL"
                ) from None
            raise _SetbackError(f"the connection to the server at {self.base_url} was lost ({reason})") from None
        except (ValueError, RecursionError):
            raise _SetbackError("the server gave a malformed answer: it is not JSON") from None

    def _verdict(self, error: Any) -> Exception:
        """Return what an HTTP status other than 200 means."""
        status, said = int(error.status_code), self._said(error)
        where = f"the server at {self.base_url}"
        if status in (401, 403):  # what it says is not passed on: it may quote the key
            advice = "check OPENAI_API_KEY" if self._key else "set OPENAI_API_KEY"
            return _RefusedError(f"{where} refuses access ({status}); {advice}")
        if status == 404:
            return _RefusedError(f"{where} does not know the model '{self.model}', or has no chat there (404: {said})")
        if status == 429 and getattr(error, "code", None) == "insufficient_quota":
            return _RefusedError(f"{where} says that the account's quota is used up (429: {said})")
        if status in (408, 409, 425, 429) or status >= 500:
            return _SetbackError(f"{where} answered {status}: {said}", _retry_after_s(error.response.headers))
        return _RejectedError(f"{where} refused the request ({status}: {said})")

    def _go_without(self, names: set[str]) -> None:
        for name in sorted(names - self._refused):
            meaning = "; the same seed may give other replies" if name == "seed" else ""
            logger.warning("the server does not take '%s' and is asked without it%s", name, meaning)
        self._refused |= names

    def _said(self, error: BaseException) -> str:
        """Return one short line of an error, without the key."""
        body = getattr(error, "body", None)
        text = str(body.get("message") or body) if isinstance(body, dict) else str(error)
        text = " ".join(text.replace(self._key, "***").split() if self._key else text.split())
        text = "".join(character for character in text if character.isprintable())
        return text if len(text) <= 200 else f"{text[:200]}…"

    def _connected(self) -> Any:
        """Return the client of the running event loop: its connections are of no use in another one."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            openai = self._openai
            limits = type(openai.DEFAULT_CONNECTION_LIMITS)(  # of httpx, or of httpx2
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S
            )
            timeout = openai.Timeout(self._patience.timeout_s, connect=CONNECT_TIMEOUT_S, pool=None)
            self._loop = loop
            self._client = openai.AsyncOpenAI(
                api_key=self._key or _NO_KEY,
                base_url=self.base_url,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout),
            )
        return self._client


def _client_library() -> Any:
    try:
        import openai  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise UserError(
            "policy.name=server needs the package openai; install it with: pip install 'alfworld-sft[server]'"
        ) from None
    return openai


def _checked_url(url: str) -> str:
    """Return the address; what is wrong with it is told without repeating it: it may hold a password."""
    if not url:
        raise ConfigError("policy.name=server needs an address: set OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query:
        raise ConfigError("the server's address holds a password or a query; put the key into OPENAI_API_KEY alone")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the server's address (OPENAI_BASE_URL) must begin with http:// or https:// and name a host")
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    key = key.strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError("OPENAI_API_KEY holds a blank or another character that no key has")
    return key


def _retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time) -> float:
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


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
