"""How is a model played at an OpenAI chat endpoint: vLLM, SGLang, llama.cpp, OpenAI, …?

Every turn is an independent request. `retry` repeats it if that may help; a persistent failure becomes the episode's
error, or ends the run if no other turn can succeed. `endpoint` sends the requests.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from alfworld_sft.errors import PolicyError, PolicyUnavailableError
from alfworld_sft.policies.base import Player, short_name
from alfworld_sft.policies.config import Truncated
from alfworld_sft.policies.llm.endpoint import Answer, Endpoint
from alfworld_sft.policies.llm.protocol import (
    FilteredError,
    MalformedAnswerError,
    NoTextError,
    place_of_reasoning,
    read_answer,
    request_body,
    stopped_in_thought,
)
from alfworld_sft.policies.llm.reasoning import PlaceOfReasoning
from alfworld_sft.policies.llm.retry import Patience, RedrawError, RejectedError, SetbackError, ask_patiently
from alfworld_sft.policies.llm.sampling import Sampling, cut_reply
from alfworld_sft.policies.llm.structured import RESTRICTIONS, keeps_to, until_action
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

    Raises ConfigError for an unusable address or key.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        sampling: Sampling | None = None,
        patience: Patience | None = None,
        *,
        truncated: Truncated = "retry",
        keep_token_ids: bool = False,
        constrain: bool = False,
        managed: ManagedServer | None = None,
    ) -> None:
        self._sampling = sampling or Sampling()
        self._patience = patience or Patience()
        self._endpoint = Endpoint(model, base_url, self._sampling, self._patience.timeout_s, managed)
        self._truncated = truncated
        self._keep_token_ids = keep_token_ids
        self._constrain = constrain
        self._said_of_reasoning: set[PlaceOfReasoning] = set()
        self._said_of_continuing = False

    @property
    def model(self) -> str:
        """The model's name at the server."""
        return self._endpoint.model

    @property
    def base_url(self) -> str:
        """The server's address; "" while a managed server does not run."""
        return self._endpoint.base_url

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        is_folder = self._endpoint.is_managed or self.model.startswith(("/", "~", "."))  # else a name of the server's
        return f"server:{short_name(self.model) if is_folder else self.model}"

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling parameters, for the stamp: those really sent, and `not_sent` for those the server rejects.

        Each turn has its own seed.
        """
        renamed = {"max_tokens", *RESTRICTIONS}  # sent by another name
        omitted = (self._endpoint.refused - renamed) | self._sampling.left_out
        sent = {name: value for name, value in self._sampling.as_dict().items() if name not in omitted}
        return sent | {"truncated": self._truncated} | ({"not_sent": sorted(omitted)} if omitted else {})

    def in_service(self) -> AbstractContextManager[None]:
        """Run the managed server, if there is one; raises PolicyUnavailableError if it never becomes ready."""
        return self._endpoint.in_service()

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
            if self._endpoint.outcomes.is_final(failure, asked_at):
                raise PolicyUnavailableError(str(failure)) from None
            raise PolicyError(str(failure)) from None
        self._endpoint.outcomes.note_answer()
        return reply

    async def _ask(self, prompt: Prompt, *, draw: int) -> Reply:
        """Ask for one reply; raises RedrawError for one that was cut off, where such replies are drawn again."""
        answer, reply, truncated = await self._draw(prompt, draw=draw)
        reasoning = place_of_reasoning(answer.data, prompt)
        if self._constrain:
            if truncated and reasoning != "nowhere":
                self._say_not_continued("the server keeps the model's reasoning apart; raise policy.max_tokens")
            elif truncated:
                reply, truncated = await self._continue(reply, prompt, draw=draw)
            reply = replace(reply, constrained_from=0)
        self._say_where_reasoning_goes(reasoning, prompt)
        if truncated and self._truncated == "retry" and answer.room is None:  # else another draw has no more of it
            thinking = ": its reasoning used them up" if reasoning != "nowhere" else ""
            reason = f"the reply did not end within policy.max_tokens={self._sampling.max_tokens}{thinking}"
            raise RedrawError(reason, reply)
        return reply

    async def _draw(self, prompt: Prompt, *, draw: int) -> tuple[Answer, Reply, bool]:
        """Return an answer, its reply, and whether it was cut off; asks once more for each restriction that is broken.

        A restriction that the server ignores shows in two replies to one prompt; one alone may be an accident.
        """
        broken: set[str] = set()
        while True:
            answer = await self._answer_to(prompt, draw=draw + SECOND_TRY * bool(broken))
            reply, truncated = self._read(answer, prompt)
            if stopped_in_thought(answer.data, prompt) and not self._keep_token_ids:  # a text that is cut has no ids
                answer = await self._answer_to(prompt, draw=draw, without=STOPPING)
                first, (reply, truncated) = reply, self._read(answer, prompt)
                reply = with_tokens_of(reply, [first, reply])
            if not self._constrain or truncated or keeps_to(reply.text, prompt):
                return answer, reply, truncated
            if answer.restricted_by <= broken:
                self._endpoint.go_without(answer.restricted_by)
            broken |= answer.restricted_by

    async def _continue(self, cut: Reply, prompt: Prompt, *, draw: int) -> tuple[Reply, bool]:
        """Ask for the action of a reply that was cut off before it; return the reply, and whether it is still cut off.

        Its tokens were not all sampled, so their ids are not kept.
        """
        begun = until_action(cut.text, prompt.tags)
        try:
            rest, _ = self._read(await self._answer_to(prompt, draw=draw, begun=begun), prompt)
        except (RedrawError, RejectedError) as failure:
            self._say_not_continued(str(failure))
            return cut, True
        text = cut_reply(begun + rest.text, prompt)
        if not keeps_to(text, prompt):
            self._say_not_continued(f"the server at {self.base_url} answered it without one of the commands")
            return with_tokens_of(cut, [cut, rest]), True
        return with_tokens_of(replace(cut, text=text, token_ids=None, logprobs=None), [cut, rest]), False

    def _read(self, answer: Answer, prompt: Prompt) -> tuple[Reply, bool]:
        """Return the reply of an answer, and whether it was cut off."""
        try:
            return read_answer(answer.data, prompt)
        except NoTextError as problem:
            raise RedrawError(str(problem), problem.reply) from None
        except FilteredError as problem:
            raise RejectedError(f"{problem} (the server at {self.base_url})") from None
        except MalformedAnswerError as problem:
            raise SetbackError(f"the server gave a malformed answer: {problem}") from None

    async def _answer_to(
        self, prompt: Prompt, *, draw: int, begun: str | None = None, without: frozenset[str] = frozenset()
    ) -> Answer:
        """Return the answer to a prompt, or to a reply that has `begun`; parameters in `without` are not sent."""

        def make_body(refused: Collection[str], room: int | None) -> dict[str, Any]:
            return request_body(
                prompt, self.model, self._sampling, draw=draw, keep_token_ids=self._keep_token_ids,
                refused={*refused, *without}, constrain=self._constrain, begun=begun, room=room,
            )  # fmt: skip

        return await self._endpoint.answer(make_body, constrain=self._constrain, may_trim=begun is None)

    def _say_not_continued(self, why: str) -> None:
        if not self._said_of_continuing:
            self._said_of_continuing = True
            logger.warning("a reply that was cut off before its action was not continued: %s", why)

    def _say_where_reasoning_goes(self, place: PlaceOfReasoning, prompt: Prompt) -> None:
        if place == "nowhere" or place in self._said_of_reasoning:
            return
        self._said_of_reasoning.add(place)
        if place == "thought":
            logger.warning("the server keeps the model's reasoning apart from its text; it is put into <think>")
            return
        asked = "think" in prompt.written_tags
        why = "the text has a <think> of its own" if asked else "the template asks for no <think>"
        logger.warning(
            "the server keeps the model's reasoning apart from its text; %s, so it is kept in raw_trajectories.json"
            " alone, as 'reasoning'",
            why,
        )
