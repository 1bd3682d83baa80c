"""How is a model played at an OpenAI chat endpoint: vLLM, SGLang, llama.cpp, OpenAI, …?

Every turn is an independent request. `retry` repeats it if that may help; a persistent failure becomes the episode's
error, or ends the run if no other turn can succeed.

The key is read only from $OPENAI_API_KEY. It is in no config and therefore in no file, and it is removed from a
server's messages before they are shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from alfworld_sft.errors import ConfigError, PolicyError, PolicyUnavailableError, UserError
from alfworld_sft.policies.base import Player, short_name
from alfworld_sft.policies.llm.open_files import is_out_of_files
from alfworld_sft.policies.llm.protocol import (
    FilteredError,
    MalformedAnswerError,
    NoTextError,
    has_reasoning,
    names_refused,
    read_answer,
    request_body,
    suspects,
)
from alfworld_sft.policies.llm.proxy_and_tls import proxy_for, tls_context
from alfworld_sft.policies.llm.refusals import (
    Complaint,
    about,
    complaint_in,
    is_unknown_model,
    named,
    names_parameter,
    read_complaint,
    working_temperature,
)
from alfworld_sft.policies.llm.retry import (
    Outcomes,
    Patience,
    RedrawError,
    RefusedError,
    RejectedError,
    SetbackError,
    ask_patiently,
    retry_after_s,
)
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.llm.structured import RESTRICTIONS, keeps_to, restriction_in
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game

if TYPE_CHECKING:
    from alfworld_sft.policies.llm.managed_server import ManagedServer

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 3.0
"""Idle connections are closed before the server closes them (uvicorn: 5 s), which could break a request in flight."""
_NO_KEY = "none"  # sent to servers without keys; the client library requires one


class _ComplaintError(Exception):
    """A server's error message in place of an answer."""

    def __init__(self, complaint: Complaint, retry_after_s: float = 0.0) -> None:
        super().__init__(complaint.words)
        self.complaint = complaint
        self.retry_after_s = retry_after_s


class OpenAIServer:
    """A policy that queries a server.

    `truncated` decides about a reply that did not end within `max_tokens`: `retry` draws it again and eventually fails
    the episode, `keep` keeps it (usually an invalid action). With `constrain` the server restricts the action of every
    reply to the admissible commands (`structured`). A `managed` server runs, at its own address, while the
    policy is in service.

    Raises ConfigError for an unusable address or key, and UserError if the client library is missing.
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
        constrain: bool = False,
        managed: ManagedServer | None = None,
    ) -> None:
        self._openai = _client_library()
        self._managed = managed
        self.model = managed.model if managed else model
        self.base_url = "" if managed else _check_url(base_url or os.environ.get("OPENAI_BASE_URL", ""))
        self._key, self._organization, self._project = (
            "" if managed else _read_header(name) for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
        )
        limits = type(self._openai.DEFAULT_CONNECTION_LIMITS)
        library = limits.__module__.partition(".")[0]  # httpx, or httpx2
        self._proxy = None if managed else proxy_for(self.base_url, library)
        self._tls = None if managed else tls_context()
        self._sampling = sampling or Sampling()
        self._patience = patience or Patience()
        self._truncated = truncated
        self._keep_token_ids = keep_token_ids
        self._constrain = constrain
        self._refused: set[str] = set()  # parameters that this server rejects
        self._accepted: set[str] = set()  # parameters of requests that it has answered
        self._said_of_reasoning: set[bool] = set()
        self._outcomes = Outcomes()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return f"server:{short_name(self.model)}"

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling parameters, for the stamp: those really sent, and `not_sent` for those the server rejects.

        Each turn has its own seed.
        """
        renamed = {"max_tokens", *RESTRICTIONS}  # sent by another name
        omitted = (self._refused - renamed) | self._sampling.left_out
        sent = {name: value for name, value in self._sampling.as_dict().items() if name not in omitted}
        return sent | {"truncated": self._truncated} | ({"not_sent": sorted(omitted)} if omitted else {})

    @contextmanager
    def in_service(self) -> Iterator[None]:
        """Run the managed server, if there is one; raises PolicyUnavailableError if it never becomes ready."""
        if self._managed is None:
            yield
            return
        try:
            self.base_url = self._managed.start()
            yield
        finally:
            self._managed.stop()
            self.base_url = ""

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of an episode; it keeps no state between turns, so all episodes share it."""
        return self

    async def act(self, prompt: Prompt) -> Reply:
        """Ask the server; raises PolicyError if this turn fails, PolicyUnavailableError if every turn would."""
        asked_at = monotonic()
        try:
            reply = await ask_patiently(
                lambda draw: self._ask(prompt, draw=draw),
                self._patience,
                prompt.seed,
                greedy=self._sampling.temperature == 0,
            )
        except RejectedError as failure:
            if self._outcomes.is_final(failure, asked_at):
                raise PolicyUnavailableError(str(failure)) from None
            raise PolicyError(str(failure)) from None
        self._outcomes.note_answer()
        return reply

    async def _ask(self, prompt: Prompt, *, draw: int) -> Reply:
        """Ask once, and once more for each parameter that the server may reject, or ignore."""
        while True:
            answer, restricted_by = await self._answer_to(prompt, draw=draw)
            reply, truncated = self._read(answer, prompt)
            if not self._constrain or truncated or keeps_to(reply.text, prompt):
                break
            self._go_without(restricted_by)
        if self._constrain:
            reply = replace(reply, constrained_from=0)
        reasons = has_reasoning(answer)
        if reasons:
            self._say_where_reasoning_goes(reply, prompt)
        if truncated and self._truncated == "retry":
            thinking = ": its reasoning used them up" if reasons else ""
            reason = f"the reply did not end within policy.max_tokens={self._sampling.max_tokens}{thinking}"
            raise RedrawError(reason, reply)
        return reply

    def _read(self, answer: Any, prompt: Prompt) -> tuple[Reply, bool]:
        """Return the reply of an answer, and whether it was cut off."""
        try:
            return read_answer(answer, prompt)
        except NoTextError as problem:
            raise RedrawError(str(problem), problem.reply) from None
        except FilteredError as problem:
            raise RejectedError(f"{problem} (the server at {self.base_url})") from None
        except MalformedAnswerError as problem:
            raise SetbackError(f"the server gave a malformed answer: {problem}") from None

    async def _answer_to(self, prompt: Prompt, *, draw: int) -> tuple[Any, set[str]]:
        """Return the JSON answer to a prompt, and the parameter that restricted it.

        A parameter is dropped from later requests only if this prompt succeeds without it. One that the server does not
        name is a suspect only until a request with it has succeeded.
        """
        refused: set[str] = set()
        suspected: set[str] = set()
        first: _ComplaintError | None = None
        while True:
            body = request_body(
                prompt, self.model, self._sampling, draw=draw, keep_token_ids=self._keep_token_ids,
                refused=self._refused | refused | suspected, constrain=self._constrain,
            )  # fmt: skip
            if self._constrain and not restriction_in(body):
                raise self._no_restriction(first)
            try:
                answer = await self._post(body)
                break
            except _ComplaintError as error:
                complaint = error.complaint
                blamed = names_refused(body, complaint) if self._may_be_a_parameter(complaint) else set()
                if blamed and blamed == suspects(body) and not names_parameter(complaint):
                    blamed -= self._accepted
                    suspected |= blamed
                else:
                    refused |= blamed
                if not blamed:
                    raise self._verdict(first if first and self._explains_nothing(complaint) else error) from None
                first = first or error
        self._go_without(refused | (suspected - self._accepted))
        self._accepted |= body.keys()
        return answer, restriction_in(body)

    def _no_restriction(self, error: _ComplaintError | None) -> RefusedError:
        """Return the error for a server that has no parameter to restrict replies."""
        said = f" ({error.complaint.shown}: {self._short(error.complaint.words)})" if error else ""
        return RefusedError(
            f"policy.constrain=action: the server at {self.base_url} refuses or ignores {', '.join(RESTRICTIONS)}"
            f"{said}; serve the model with vLLM or SGLang, play it with policy.name=local, or leave out"
            " policy.constrain"
        )

    def _explains_nothing(self, complaint: Complaint) -> bool:
        """Return whether a refusal gives no reason of its own, so that an earlier one for the same prompt stands."""
        told = about(complaint) or names_parameter(complaint) or is_unknown_model(complaint, self.model)
        return complaint.status in (400, 422) and not told

    def _may_be_a_parameter(self, complaint: Complaint) -> bool:
        """Return whether a refusal may be about a parameter; a server-side error counts only if it names one."""
        if complaint.status in (400, 422):
            return not is_unknown_model(complaint, self.model)
        unexpected = complaint.status == 500 and "unexpected keyword argument" in complaint.words
        return (unexpected or complaint.status in (404, 501)) and names_parameter(complaint)

    async def _post(self, body: Mapping[str, Any]) -> Any:
        """Send a request and return the JSON answer.

        Raises SetbackError, RefusedError, _ComplaintError, or PolicyUnavailableError if a managed server has ended.
        """
        openai, timeout_s = self._openai, self._patience.timeout_s
        rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
        content = b""
        try:
            async with asyncio.timeout(timeout_s):  # for the complete answer, however slowly it arrives
                create = self._connected().chat.completions.with_raw_response.create
                answer = await create(model=body["model"], messages=body["messages"], extra_body=rest)
            content = answer.http_response.content
            data = json.loads(content)
        except openai.APIStatusError as error:
            complaint = read_complaint(error.status_code, error.response.text)
            raise _ComplaintError(complaint, retry_after_s(error.response.headers)) from None
        except (TimeoutError, openai.APITimeoutError):
            raise SetbackError(f"the server at {self.base_url} timed out after {timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise self._lost(error) from None
        except (ValueError, RecursionError):
            raise self._not_json(content.decode("utf-8", "replace")) from None
        if complaint_found := complaint_in(data):
            raise _ComplaintError(complaint_found)
        return data

    def _lost(self, error: BaseException) -> Exception:
        """Return the error for a failed connection."""
        if self._managed and (end := self._managed.ended()):
            return PolicyUnavailableError(end)
        if is_out_of_files(error):
            return PolicyUnavailableError(
                f"no more files may be open, so no connection to the server at {self.base_url} can be made; set a lower"
                " runner.concurrency, or raise the limit (ulimit -n)"
            )
        reason = self._short(str(error.__cause__ or error))
        if self._proxy:
            reason = f"through the proxy of {self._proxy.variable}: {reason}"
        nobody_listens = type(error.__cause__).__name__ in ("ConnectError", "ProxyError")  # httpx's, or httpx2's
        if nobody_listens and not self._outcomes.answered and self._managed is None:  # a managed server is ending
            advice = "start it, or set OPENAI_BASE_URL"
            if self._proxy:
                host = urlsplit(self.base_url).hostname
                advice = f"correct or unset {self._proxy.variable}, add {host} to NO_PROXY, or {advice}"
            elif "CERTIFICATE_VERIFY_FAILED" in reason:
                advice = "set SSL_CERT_FILE to the certificates of the authority that signed its own"
            elif "[SSL" in reason:
                advice = f"did you mean {self.base_url.replace('https://', 'http://', 1)}?"
            return RefusedError(f"cannot reach the server at {self.base_url} ({reason}); {advice}")
        return SetbackError(
            f"the connection to the server at {self.base_url} was lost ({reason})", nobody_listens=nobody_listens
        )

    def _not_json(self, content: str) -> Exception:
        """Return the error for an answer that is not JSON: at first, a web page means a wrong address."""
        said = self._short(read_complaint(200, content).words)
        if not self._outcomes.answered and content.lstrip().startswith("<") and self._hint():
            return RefusedError(
                f"the server at {self.base_url} has no chat there: it sent a page ({said}){self._hint()}"
            )
        return SetbackError(f"the server gave a malformed answer: it is not JSON: {said}")

    def _verdict(self, error: _ComplaintError) -> Exception:
        """Return the error for a server's complaint."""
        complaint, said = error.complaint, self._short(error.complaint.words)
        status, shown, where = complaint.status, complaint.shown, f"the server at {self.base_url}"
        refused = f"{where} refused the request ({shown}: {said})"
        what = about(complaint) if 400 <= status < 600 else None
        if status == 407 and self._proxy:
            return RefusedError(
                f"the proxy of {self._proxy.variable} refuses access (407); give it a name and password"
            )
        if status in (401, 407) or (status == 403 and what != "filtered"):  # the text of a 401 may quote the key
            advice = "check OPENAI_API_KEY" if self._key else "set OPENAI_API_KEY"
            quoted = f": {said}" if status == 403 and not self._quotes_the_key(complaint.words) else ""
            return RefusedError(f"{where} refuses access ({status}{quoted}); {advice}")
        nowhere = status in (404, 405) and not names_parameter(complaint)
        if nowhere or (status == 400 and is_unknown_model(complaint, self.model)):
            hint = self._hint() if nowhere and not is_unknown_model(complaint, self.model) else ""
            return RefusedError(
                f"{where} does not know the model '{self.model}', or has no chat there ({shown}: {said}){hint}"
            )
        if status == 402 or (status == 429 and complaint.code == "insufficient_quota"):
            return RefusedError(f"{where} says that the account's quota is used up ({shown}: {said})")
        if what == "too long" and status != 429:
            return RejectedError(f"the prompt is too long: {refused}")
        if what == "filtered" and status != 429:
            return RejectedError(f"a content filter stopped the prompt: {refused}")
        if status in (408, 409, 425, 429) or status >= 500:
            return SetbackError(f"{where} answered {shown}: {said}", error.retry_after_s)
        if status in (400, 422) and (advice := self._advice(complaint)):
            return RefusedError(f"{refused}; {advice}")
        return RejectedError(refused)

    def _advice(self, complaint: Complaint) -> str:
        """Return how to fix a refused parameter, or "" if the user cannot set it."""
        sampling = self._sampling
        if named(complaint, ("temperature",)) and sampling.temperature is not None:
            other = " or policy.top_p=null" if named(complaint, ("top_p",)) and sampling.top_p is not None else ""
            value = "null" if other else working_temperature(complaint)
            return f"set policy.temperature={value}{other}"
        if named(complaint, ("top_p",)) and sampling.top_p is not None:
            return "set policy.top_p=null"
        if named(complaint, ("max_tokens", "max_completion_tokens")):
            return f"change policy.max_tokens={sampling.max_tokens}"
        return ""

    def _hint(self) -> str:
        """Return a hint with the probably intended address if this one does not end in a version."""
        plain = self.base_url.removesuffix("/completions").removesuffix("/chat")
        if not re.search(r"/v\d\w*(/openai)?$", plain):
            plain += "/v1"
        return f"; did you mean {plain}?" if plain != self.base_url else ""

    def _say_where_reasoning_goes(self, reply: Reply, prompt: Prompt) -> None:
        is_kept = reply.reasoning is not None
        if is_kept in self._said_of_reasoning:
            return
        self._said_of_reasoning.add(is_kept)
        if not is_kept:
            logger.warning("the server keeps the model's reasoning apart from its text; it is put into <think>")
            return
        why = "the text has a <think> of its own" if "think" in prompt.tags else "the template asks for no <think>"
        logger.warning(
            "the server keeps the model's reasoning apart from its text; %s, so it is kept in raw_trajectories.json"
            " alone, as 'reasoning'",
            why,
        )

    def _go_without(self, names: set[str]) -> None:
        for name in sorted(names - self._refused):
            meaning = "; the same seed may give other replies" if name == "seed" else ""
            meaning = "; another way to restrict replies is tried" if name in RESTRICTIONS else meaning
            logger.warning("the server does not take '%s' and is asked without it%s", name, meaning)
        self._refused |= names

    def _quotes_the_key(self, words: str) -> bool:
        """Return whether a text contains the key, or either end of it, as servers often show it."""
        return bool(self._key) and (self._key[:5] in words or self._key[-4:] in words)

    def _short(self, text: str) -> str:
        """Shorten a text to one line, without the key."""
        text = " ".join(text.replace(self._key, "***").split() if self._key else text.split())
        text = "".join(character for character in text if character.isprintable())
        return text if len(text) <= 200 else f"{text[:200]}…"

    def _connected(self) -> Any:
        """Return the running event loop's client: connections cannot be shared between loops."""
        loop = asyncio.get_running_loop()
        if not self.base_url:
            raise PolicyUnavailableError(f"the server of {self.model} is not running; policy.serve starts one per run")
        if self._client is None or self._loop is not loop:
            openai = self._openai
            limits = type(openai.DEFAULT_CONNECTION_LIMITS)(  # from httpx or httpx2
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S
            )
            timeout = openai.Timeout(self._patience.timeout_s, connect=CONNECT_TIMEOUT_S, pool=None)
            self._loop = loop
            self._client = openai.AsyncOpenAI(
                api_key=self._key or _NO_KEY,
                organization=self._organization or None,
                project=self._project or None,
                base_url=self.base_url,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAsyncHttpxClient(
                    limits=limits,
                    timeout=timeout,
                    trust_env=False,  # `proxy_and_tls` reads the environment
                    proxy=self._proxy.url if self._proxy else None,
                    verify=self._tls or True,
                ),
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


def _check_url(url: str) -> str:
    """Return the address; error messages do not repeat it, as it may contain a password."""
    url = url.strip()
    if not url:
        raise ConfigError("policy.name=server needs an address: set OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query:
        raise ConfigError("the server's address holds a password or a query; put the key into OPENAI_API_KEY alone")
    if not url.isprintable() or " " in url:
        raise ConfigError("the server's address (OPENAI_BASE_URL) holds a blank or a character that no address has")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the server's address (OPENAI_BASE_URL) must begin with http:// or https:// and name a host")
    return url.rstrip("/")


def _read_header(variable: str) -> str:
    """Return the value of a variable that is sent as a header of every request."""
    value = os.environ.get(variable, "").strip()
    if not all("!" <= character <= "~" for character in value):
        raise ConfigError(f"{variable} holds a blank or another character that no key has")
    return value
