"""How is a model played at an OpenAI chat endpoint: vLLM, SGLang, llama.cpp, OpenAI, …?

Every turn is an independent request. `retry` repeats it if that may help; a persistent failure becomes the episode's
error, or ends the run if no other turn can succeed.

`connection` knows the key, and `wording` removes it from a server's messages before they are shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from alfworld_sft.errors import PolicyError, PolicyUnavailableError
from alfworld_sft.policies.base import Player, short_name
from alfworld_sft.policies.llm.connection import Connection, check_url
from alfworld_sft.policies.llm.protocol import (
    FilteredError,
    MalformedAnswerError,
    NoTextError,
    has_reasoning,
    names_refused,
    read_answer,
    request_body,
    stopped_in_thought,
    suspects,
)
from alfworld_sft.policies.llm.refusals import (
    Complaint,
    about,
    complaint_in,
    is_unknown_model,
    names_parameter,
    read_complaint,
    room_left,
)
from alfworld_sft.policies.llm.retry import (
    Outcomes,
    Patience,
    RedrawError,
    RejectedError,
    SetbackError,
    ask_patiently,
    retry_after_s,
)
from alfworld_sft.policies.llm.sampling import Sampling, cut_reply
from alfworld_sft.policies.llm.structured import RESTRICTIONS, keeps_to, restriction_in, until_action
from alfworld_sft.policies.llm.wording import ComplaintError, Wording
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.usage import with_tokens_of
from alfworld_sft.world import Game

if TYPE_CHECKING:
    from alfworld_sft.policies.llm.managed_server import ManagedServer

logger = logging.getLogger(__name__)

SECOND_TRY = 1000
"""Added to the number of a draw that is repeated: another seed, which no other draw of the turn has."""
STOPPING = frozenset({"stop", "include_stop_str_in_output"})
"""The parameters that stop a reply at a string."""


class OpenAIServer:
    """A policy that queries a server.

    `truncated` decides about a reply that did not end within `max_tokens`: `retry` draws it again and eventually fails
    the episode, `keep` keeps it (usually an invalid action). With `constrain` the server restricts the action of every
    reply to the admissible commands (`structured`), and continues a reply that was cut off before it. A `managed`
    server runs, at its own address, while the policy is in service.

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
        self._managed = managed
        self.model = managed.model if managed else model
        self.base_url = "" if managed else check_url(base_url or os.environ.get("OPENAI_BASE_URL", ""))
        self._sampling = sampling or Sampling()
        self._patience = patience or Patience()
        self._connection = Connection(self.base_url, self._patience.timeout_s, managed=managed is not None)
        self._truncated = truncated
        self._keep_token_ids = keep_token_ids
        self._constrain = constrain
        self._refused: set[str] = set()  # parameters that this server rejects
        self._accepted: set[str] = set()  # parameters of requests that it has answered
        self._said_of_reasoning: set[bool] = set()
        self._said_of_continuing = False
        self._outcomes = Outcomes()

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        is_folder = self._managed is not None or self.model.startswith(("/", "~", "."))  # else a name of the server's
        return f"server:{short_name(self.model) if is_folder else self.model}"

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
        """Ask once, and once more for each parameter that the server may reject.

        A restriction that the server ignores shows in two replies to one prompt; one alone may be an accident.
        """
        broken: set[str] = set()
        while True:
            answer, restricted_by, room = await self._answer_to(prompt, draw=draw + SECOND_TRY * bool(broken))
            reply, truncated = self._read(answer, prompt)
            if stopped_in_thought(answer, prompt) and not self._keep_token_ids:  # a text that is cut has no ids
                answer, restricted_by, room = await self._answer_to(prompt, draw=draw, without=STOPPING)
                first, (reply, truncated) = reply, self._read(answer, prompt)
                reply = with_tokens_of(reply, [first, reply])
            if not self._constrain or truncated or keeps_to(reply.text, prompt):
                break
            if restricted_by <= broken:
                self._go_without(restricted_by)
            broken |= restricted_by
        reasons = has_reasoning(answer)
        if self._constrain and truncated and not reasons:
            reply, truncated = await self._continue(reply, prompt, draw=draw)
        if self._constrain:
            reply = replace(reply, constrained_from=0)
        if reasons:
            self._say_where_reasoning_goes(reply, prompt)
        if truncated and self._truncated == "retry" and room is None:  # else another draw has no more of it
            thinking = ": its reasoning used them up" if reasons else ""
            reason = f"the reply did not end within policy.max_tokens={self._sampling.max_tokens}{thinking}"
            raise RedrawError(reason, reply)
        return reply

    async def _continue(self, cut: Reply, prompt: Prompt, *, draw: int) -> tuple[Reply, bool]:
        """Ask for the action of a reply that was cut off before it; return the reply, and whether it is still cut off.

        Its tokens were not all sampled, so their ids are not kept.
        """
        begun = until_action(cut.text, prompt.tags)
        try:
            answer, *_ = await self._answer_to(prompt, draw=draw, begun=begun)
            rest, _ = self._read(answer, prompt)
        except RejectedError as failure:
            if not self._said_of_continuing:
                self._said_of_continuing = True
                logger.warning("a reply that was cut off was not continued: %s", failure)
            return cut, True
        text = cut_reply(begun + rest.text, prompt)
        if not keeps_to(text, prompt):
            return with_tokens_of(cut, [cut, rest]), True
        return with_tokens_of(replace(cut, text=text, token_ids=None, logprobs=None), [cut, rest]), False

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

    async def _answer_to(
        self, prompt: Prompt, *, draw: int, begun: str | None = None, without: frozenset[str] = frozenset()
    ) -> tuple[Any, set[str], int | None]:
        """Return the JSON answer to a prompt, or to a reply that has `begun`, the parameter that restricted it, and the
        room that there was for it, where that is less than `max_tokens`.

        Parameters in `without` are not sent. A prompt that leaves less room than `max_tokens` gets what there is, as in
        this process. A parameter is dropped from later requests only if this prompt succeeds without it. One that the
        server does not name is a suspect only until a request with it has succeeded.
        """
        refused: set[str] = set()
        suspected: set[str] = set()
        first: ComplaintError | None = None
        room: int | None = None
        while True:
            body = request_body(
                prompt, self.model, self._sampling, draw=draw, keep_token_ids=self._keep_token_ids,
                refused=self._refused | refused | suspected | without, constrain=self._constrain, begun=begun,
                room=room,
            )  # fmt: skip
            if self._constrain and not restriction_in(body):
                raise self._wording.no_restriction(first)
            try:
                answer = await self._post(body)
                break
            except ComplaintError as error:
                complaint = error.complaint
                if room is None and begun is None and (room := room_left(complaint)) is not None:
                    continue
                blamed = names_refused(body, complaint) if self._may_be_a_parameter(complaint) else set()
                if blamed and blamed == suspects(body) and not names_parameter(complaint):
                    blamed -= self._accepted
                    suspected |= blamed
                else:
                    refused |= blamed
                if not blamed:
                    raise self._wording.verdict(
                        first if first and self._explains_nothing(complaint) else error
                    ) from None
                first = first or error
        self._go_without(refused | (suspected - self._accepted))
        self._accepted |= body.keys()
        return answer, restriction_in(body), room

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

        Raises SetbackError, RefusedError, ComplaintError, or PolicyUnavailableError if a managed server has ended.
        """
        openai, timeout_s = self._connection.library, self._patience.timeout_s
        rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
        content = b""
        try:
            async with asyncio.timeout(timeout_s):  # for the complete answer, however slowly it arrives
                create = self._client().chat.completions.with_raw_response.create
                answer = await create(model=body["model"], messages=body["messages"], extra_body=rest)
            content = answer.http_response.content
            data = json.loads(content)
        except openai.APIStatusError as error:
            complaint = read_complaint(error.status_code, error.response.text)
            raise ComplaintError(complaint, retry_after_s(error.response.headers)) from None
        except (TimeoutError, openai.APITimeoutError):
            raise SetbackError(f"the server at {self.base_url} timed out after {timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            if self._managed and (end := self._managed.ended()):
                raise PolicyUnavailableError(end) from None
            raise self._wording.lost(error, answered=self._outcomes.answered) from None
        except (ValueError, RecursionError):
            page = content.decode("utf-8", "replace")
            raise self._wording.not_json(page, answered=self._outcomes.answered) from None
        if complaint_found := complaint_in(data):
            raise ComplaintError(complaint_found)
        return data

    @property
    def _wording(self) -> Wording:
        """What words the failures of the server at its present address."""
        key, proxy, managed = self._connection.key, self._connection.proxy, self._managed is not None
        return Wording(self.base_url, self.model, key, proxy, self._sampling, managed)

    def _client(self) -> Any:
        if not self.base_url:
            raise PolicyUnavailableError(f"the server of {self.model} is not running; policy.serve starts one per run")
        return self._connection.client(self.base_url)

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
