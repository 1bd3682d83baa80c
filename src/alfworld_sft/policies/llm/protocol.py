"""What does a request of the OpenAI chat protocol contain, and what does an answer? Pure, without network access."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from alfworld_sft.policies.llm.reasoning import PlaceOfReasoning, becomes_thought, read_message, with_reasoning
from alfworld_sft.policies.llm.refusals import Complaint, about, named
from alfworld_sft.policies.llm.sampling import ACTION_CLOSE, ACTION_OPEN, Sampling, cut_reply, stop_of
from alfworld_sft.policies.llm.structured import RESTRICTIONS, restriction, room_for_action
from alfworld_sft.prompts.tags import find_sections
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Prompt, Reply

OPTIONAL = (
    "include_stop_str_in_output",
    "logprobs",
    "min_p",
    "repetition_penalty",
    "return_token_ids",
    "seed",
    "stop",
    "top_k",
    *RESTRICTIONS,
)
"""Parameters that a server may reject without changing what is asked for; see `request_body`."""

_PLAIN = frozenset({"logprobs", "seed", "stop"})  # OpenAI's own; the others are vLLM's and SGLang's
_SEEDS = 2**31  # every server accepts a signed 32-bit integer


CUT_OFF = ("length", "max_tokens")
"""Finish reasons for a reply that did not end within its token limit."""

BROKEN_OFF = ("abort", "error")
"""Finish reasons for a reply that the server did not complete (vLLM, SGLang)."""


class MalformedAnswerError(Exception):
    """An answer that violates the protocol."""


class NoTextError(MalformedAnswerError):
    """An answer without any playable text from the model; `reply` has its token counts."""

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


class FilteredError(Exception):
    """An answer cut off or withheld by a content filter."""


def request_body(
    prompt: Prompt,
    model: str,
    sampling: Sampling,
    *,
    draw: int,
    keep_token_ids: bool,
    refused: Collection[str],
    constrain: bool = False,
    begun: str | None = None,
    room: int | None = None,
) -> dict[str, Any]:
    """Return a request without the parameters that the server has `refused`.

    Sampling parameters are always sent in full; otherwise a server uses the model's own generation config (vLLM does:
    Qwen2.5 has top_k=20 and repetition_penalty=1.1 there). `draw` counts the replies requested at this turn: 0 uses the
    prompt's seed as it is. A server that rejects `max_tokens` gets `max_completion_tokens`, the name in OpenAI's newer
    models. With `constrain` the reply is restricted, unless the server has refused every parameter that does so.
    `begun` is a reply as far as its action, which the server is then asked for. `room` is the most tokens that a reply
    has room for, if the server has said so.
    """
    stop = stop_of(prompt)
    most = sampling.max_tokens if room is None else min(room, sampling.max_tokens)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens" if "max_tokens" in refused else "max_tokens": most,
        "seed": (derive_seed(prompt.seed, "draw", draw) if draw else prompt.seed) % _SEEDS,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    if stop is not None:
        body |= {"stop": [stop], "include_stop_str_in_output": True}
    if keep_token_ids:
        body |= {"logprobs": True, "return_token_ids": True}
    if constrain:
        body |= restriction(prompt, refused, begun=begun is not None)
    if begun is not None:
        body["max_completion_tokens" if "max_tokens" in refused else "max_tokens"] = room_for_action(prompt)
    if begun:
        body["messages"].append({"role": "assistant", "content": begun})
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    return {name: value for name, value in body.items() if name not in refused and name not in sampling.left_out}


def names_refused(body: Mapping[str, Any], complaint: str | Complaint) -> set[str]:
    """Return the optional parameters of a request that a server's complaint may be about.

    A complaint that names none may be about any parameter that is not OpenAI's own (`suspects`). A top_p of 1 has no
    effect, and max_tokens has another name (see `request_body`); other values are the user's to change.
    """
    complaint = Complaint(400, complaint) if isinstance(complaint, str) else complaint
    if about(complaint) in ("too long", "filtered"):
        return set()
    droppable = {name for name in (*OPTIONAL, "max_tokens") if name in body}
    droppable |= {"top_p"} if body.get("top_p") == 1 else set()
    found = named(complaint, droppable)
    if found or about(complaint) or named(complaint, ("temperature", "top_p", "max_tokens", "max_completion_tokens")):
        return found
    return suspects(body)


def suspects(body: Mapping[str, Any]) -> set[str]:
    """Return the parameters of a request that are not OpenAI's own."""
    return {name for name in OPTIONAL if name in body} - _PLAIN


def read_answer(data: object, prompt: Prompt) -> tuple[Reply, bool]:
    """Return the reply, and whether it was cut off at `max_tokens`.

    Reasoning from a separate field is put into <think> if the template asks for one and the text has none; otherwise it
    becomes the reply's `reasoning`. Token ids are kept if they match the text, log-probabilities if there is one per
    id. Raises MalformedAnswerError, NoTextError for a missing text although the reply was not cut off, and
    FilteredError if a content filter left no action.
    """
    try:
        choice = data["choices"][0]  # type: ignore[index]
        message, finish = choice["message"], choice.get("finish_reason")
        content, reasoning = read_message(message)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedAnswerError("the answer holds no message") from None
    whole: Mapping[str, Any] = data  # type: ignore[assignment]
    if content is not None and not isinstance(content, str):
        raise MalformedAnswerError(
            f"the answer's message is {type(content).__name__}, not text (it ended by {finish!r})"
        )
    if finish in BROKEN_OFF:
        raise MalformedAnswerError(f"the server broke its reply off ({finish!r})")
    truncated = finish in CUT_OFF
    if content is None and not truncated and finish != "content_filter" and not reasoning:
        reason = f"the answer's message holds no text (it ended by {finish!r})"
        raise NoTextError(reason, _with_token_counts(Reply(""), whole))
    text = content or ""
    said = cut_reply(text, prompt, stopped=not truncated)
    if finish == "content_filter" and not _is_ended(said, prompt):
        raise FilteredError("a content filter cut the reply off")
    token_ids = _ids(choice.get("token_ids")) if said.startswith(text) and not reasoning else None
    logprobs = _logprobs(choice.get("logprobs")) if said.startswith(text) and not reasoning else None
    if token_ids is not None and logprobs is not None and len(token_ids) != len(logprobs):
        logprobs = None
    cut_off = truncated and said == text and not _is_ended(said, prompt)
    said, kept = with_reasoning(said, reasoning, prompt.written_tags, ended=bool(text) or not truncated)
    reply = Reply(
        said,
        prompt_token_ids=_ids(whole.get("prompt_token_ids")),
        token_ids=token_ids,
        logprobs=logprobs,
        reasoning=kept,
    )
    return _with_token_counts(reply, whole), cut_off


def stopped_in_thought(data: object, prompt: Prompt) -> bool:
    """Return whether an answer ended at the stop string inside a thought, where it closes nothing.

    A reasoning model that quotes the prompt's tags is stopped there before it has acted.
    """
    if stop_of(prompt) != ACTION_CLOSE:
        return False
    try:
        choice = data["choices"][0]  # type: ignore[index]
        finish, (content, reasoning) = choice.get("finish_reason"), read_message(choice["message"])
    except (KeyError, IndexError, TypeError, AttributeError):
        return False
    if finish != "stop":
        return False
    if not isinstance(content, str) or not content:
        return ACTION_OPEN in reasoning
    last = find_sections(content, {"think", *prompt.tags})[-1:]
    return any(one.tag == "think" and not one.closed and ACTION_OPEN in content[one.start : one.end] for one in last)


def place_of_reasoning(data: object, prompt: Prompt) -> PlaceOfReasoning:
    """Return where `read_answer` puts the reasoning of an answer that it accepts: into <think>, or beside the text."""
    content, reasoning = read_message(data["choices"][0]["message"])  # type: ignore[index]
    if not reasoning:
        return "nowhere"
    return "thought" if becomes_thought(str(content or ""), prompt.written_tags) else "apart"


def _with_token_counts(reply: Reply, whole: Mapping[str, Any]) -> Reply:
    """Return the reply with its answer's token counts."""
    usage = whole.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return replace(
        reply,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        reply_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(_cached_tokens(usage)),
    )


def _is_ended(said: str, prompt: Prompt) -> bool:
    stop = stop_of(prompt)
    return stop is not None and said.endswith(stop)


def _cached_tokens(usage: Mapping[str, Any]) -> object:
    details = usage.get("prompt_tokens_details")
    return details.get("cached_tokens") if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ids(values: object) -> tuple[int, ...] | None:
    if not isinstance(values, list) or not all(type(value) is int for value in values):  # bool is an int, too
        return None
    return tuple(values)


def _logprobs(value: object) -> tuple[float, ...] | None:
    try:
        return tuple(float(token["logprob"]) for token in value["content"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
