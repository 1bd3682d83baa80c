"""How is one request sent to a server, and which parameters does the server take?

An `Endpoint` finds out the second from what the server says: a request is repeated without what it complains of. It
knows the key, and `wording` removes it from a server's messages before they are shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alfworld_sft.errors import PolicyUnavailableError
from alfworld_sft.policies.llm.connection import Connection, check_url
from alfworld_sft.policies.llm.protocol import names_refused, suspects
from alfworld_sft.policies.llm.refusals import (
    Complaint,
    about,
    complaint_in,
    is_unknown_model,
    names_parameter,
    read_complaint,
    room_left,
)
from alfworld_sft.policies.llm.retry import Outcomes, SetbackError, retry_after_s
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.llm.structured import RESTRICTIONS, restriction_in
from alfworld_sft.policies.llm.wording import ComplaintError, Wording

if TYPE_CHECKING:
    from alfworld_sft.policies.llm.managed_server import ManagedServer

logger = logging.getLogger(__name__)

Body = Mapping[str, Any]
"""A request."""
MakeBody = Callable[[Collection[str], int | None], Body]
"""Returns a request without the parameters named, for a reply of at most so many tokens, where that is less than
`max_tokens`.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON answer to a request.

    `restricted_by` is the parameter that restricted the reply, `room` the number of tokens that there was room for,
    where that is less than `max_tokens`.
    """

    data: Any
    restricted_by: set[str]
    room: int | None


class Endpoint:
    """The chat of a model at a server: at an address, or of a `managed` server while it runs.

    `refused` has the parameters that the server rejects. Raises ConfigError for an unusable address or key, and
    UserError if the client library is missing.
    """

    def __init__(
        self, model: str, base_url: str | None, sampling: Sampling, timeout_s: float, managed: ManagedServer | None
    ) -> None:
        self.model = managed.model if managed else model
        self.base_url = "" if managed else check_url(base_url or os.environ.get("OPENAI_BASE_URL", ""))
        self.is_managed = managed is not None
        self.connection = Connection(self.base_url, timeout_s, managed=self.is_managed)
        self.refused: set[str] = set()
        self.outcomes = Outcomes()
        self._accepted: set[str] = set()  # parameters of requests that were answered
        self._managed = managed
        self._sampling = sampling
        self._timeout_s = timeout_s

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

    @property
    def wording(self) -> Wording:
        """What words the failures of the server at its present address."""
        key, proxy = self.connection.key, self.connection.proxy
        return Wording(self.base_url, self.model, key, proxy, self._sampling, self.is_managed)

    def client(self) -> Any:
        """Return the client of the running event loop; raises PolicyUnavailableError if the server does not run."""
        if not self.base_url:
            raise PolicyUnavailableError(f"the server of {self.model} is not running; policy.serve starts one per run")
        return self.connection.client(self.base_url)

    async def answer(self, make_body: MakeBody, *, constrain: bool, may_trim: bool) -> Answer:
        """Return the answer to a prompt: asked again, if need be, without what the server complains of.

        With `may_trim` a prompt that leaves less room than `max_tokens` gets what there is, as in this process. A
        parameter is dropped from later requests only if this prompt succeeds without it. With `constrain` one of them
        has to restrict the reply. Raises what `_post` raises, but an error of `Wording` for a ComplaintError.
        """
        trial = _Trial(self.model, self._accepted)
        room: int | None = None
        while True:
            body = make_body(self.refused | trial.refused | trial.suspected, room)
            if constrain and not restriction_in(body):
                raise self.wording.no_restriction(trial.first)
            try:
                data = await self._post(body)
                break
            except ComplaintError as error:
                if may_trim and room is None and (room := room_left(error.complaint)) is not None:
                    continue
                if not trial.finds_fault(body, error):
                    raise self.wording.verdict(trial.reason_in(error)) from None
        self.go_without(trial.refused | (trial.suspected - self._accepted))
        self._accepted |= body.keys()
        return Answer(data, restriction_in(body), room)

    def go_without(self, names: set[str]) -> None:
        """Leave these parameters out of every later request."""
        for name in sorted(names - self.refused):
            meaning = "; the same seed may give other replies" if name == "seed" else ""
            meaning = "; another way to restrict replies is tried" if name in RESTRICTIONS else meaning
            logger.warning("the server does not take '%s' and is asked without it%s", name, meaning)
        self.refused |= names

    async def _post(self, body: Body) -> Any:
        """Send a request and return the JSON answer.

        Raises SetbackError, RefusedError, ComplaintError, or PolicyUnavailableError if a managed server has ended.
        """
        openai = self.connection.library
        rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
        content = b""
        try:
            async with asyncio.timeout(self._timeout_s):  # for the complete answer, however slowly it arrives
                create = self.client().chat.completions.with_raw_response.create
                answer = await create(model=body["model"], messages=body["messages"], extra_body=rest)
            content = answer.http_response.content
            data = json.loads(content)
        except openai.APIStatusError as error:
            complaint = read_complaint(error.status_code, error.response.text)
            raise ComplaintError(complaint, retry_after_s(error.response.headers)) from None
        except (TimeoutError, openai.APITimeoutError):
            raise SetbackError(f"the server at {self.base_url} timed out after {self._timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            if self._managed and (end := self._managed.ended()):
                raise PolicyUnavailableError(end) from None
            raise self.wording.lost(error, answered=self.outcomes.answered) from None
        except (ValueError, RecursionError):
            page = content.decode("utf-8", "replace")
            raise self.wording.not_json(page, answered=self.outcomes.answered) from None
        if complaint_found := complaint_in(data):
            raise ComplaintError(complaint_found)
        return data


@dataclass(slots=True)
class _Trial:
    """What the complaints about one prompt's requests say of parameters.

    A parameter that the server does not name is a suspect only until a request with it has been `accepted`.
    """

    model: str
    accepted: set[str]
    refused: set[str] = field(default_factory=set)
    suspected: set[str] = field(default_factory=set)
    first: ComplaintError | None = None

    def finds_fault(self, body: Body, error: ComplaintError) -> bool:
        """Return whether a complaint is about parameters of a request, and note which."""
        complaint = error.complaint
        blamed = names_refused(body, complaint) if self._may_be_a_parameter(complaint) else set()
        if blamed and blamed == suspects(body) and not names_parameter(complaint):
            blamed -= self.accepted
            self.suspected |= blamed
        else:
            self.refused |= blamed
        if blamed:
            self.first = self.first or error
        return bool(blamed)

    def reason_in(self, error: ComplaintError) -> ComplaintError:
        """Return the complaint that says why the prompt failed: the first one, if the last gives no reason."""
        complaint = error.complaint
        told = about(complaint) or names_parameter(complaint) or is_unknown_model(complaint, self.model)
        return self.first if self.first and complaint.status in (400, 422) and not told else error

    def _may_be_a_parameter(self, complaint: Complaint) -> bool:
        """Return whether a refusal may be about a parameter; a server-side error counts only if it names one."""
        if complaint.status in (400, 422):
            return not is_unknown_model(complaint, self.model)
        unexpected = complaint.status == 500 and "unexpected keyword argument" in complaint.words
        return (unexpected or complaint.status in (404, 501)) and names_parameter(complaint)
