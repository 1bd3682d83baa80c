"""The OpenAI chat protocol: what a request says, and what an answer holds. Pure; nothing here speaks to a server."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from alfworld_sft.policies.sampling import Sampling, end_reply, stop_of
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
)
"""What a server may refuse to know without changing what is asked for; see `request_body`."""

_PLAIN = frozenset({"logprobs", "seed", "stop"})  # OpenAI's own; the others are vLLM's and SGLang's
_SEEDS = 2**31  # a signed 32-bit integer is what every server takes


class MalformedAnswerError(Exception):
    """An answer that is not what the protocol promises."""


def request_body(
    prompt: Prompt, model: str, sampling: Sampling, *, draw: int, keep_token_ids: bool, refused: Collection[str]
) -> dict[str, Any]:
    """Return a request, less the parameters that the server has `refused` to know.

    Sampling is always said in full, or a server takes what the model's own generation config says (vLLM does: Qwen2.5
    has top_k=20 and repetition_penalty=1.1 there). `draw` counts the replies asked for at this turn: 0 takes the
    prompt's seed as it is. A server that does not know `max_tokens` is asked in the name of OpenAI's newer models.
    """
    stop = stop_of(prompt.tags)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens" if "max_tokens" in refused else "max_tokens": sampling.max_tokens,
        "seed": (derive_seed(prompt.seed, "draw", draw) if draw else prompt.seed) % _SEEDS,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    if stop is not None:
        body |= {"stop": [stop], "include_stop_str_in_output": True}
    if keep_token_ids:
        body |= {"logprobs": True, "return_token_ids": True}
    return {name: value for name, value in body.items() if name not in refused}


def names_refused(body: Mapping[str, Any], complaint: str) -> set[str]:
    """Return which optional parameters of a request a server's complaint is about.

    One that names none is laid to all those that are not OpenAI's own, if there are any.
    """
    droppable = {name for name in (*OPTIONAL, "max_tokens") if name in body}
    if re.search(r"\b(context|too long|too large)\b", complaint):  # of the prompt, whatever else it names
        return set()
    named = {name for name in droppable if re.search(rf"\b{name}\b", complaint)}
    if named or re.search(r"\b(temperature|top_p)\b", complaint):
        return named
    return droppable - _PLAIN - {"max_tokens"}


def read_answer(data: object, prompt: Prompt) -> tuple[Reply, bool]:
    """Return the reply, and whether it was cut off at `max_tokens`; raises MalformedAnswerError.

    Token ids are kept where they say what the text says, and log-probabilities where there is one for each.
    """
    try:
        choice = data["choices"][0]  # type: ignore[index]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedAnswerError("the answer holds no message") from None
    if not isinstance(text, str):
        raise MalformedAnswerError(f"the answer's message is {type(text).__name__}, not text (it ended by {finish!r})")
    truncated = finish == "length"
    said = end_reply(text, prompt.tags, stopped=not truncated)
    whole: Mapping[str, Any] = data  # type: ignore[assignment]
    usage = whole.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    token_ids = _numbers(choice.get("token_ids"), int) if said.startswith(text) else None
    logprobs = _logprobs(choice.get("logprobs")) if said.startswith(text) else None
    if token_ids is not None and logprobs is not None and len(token_ids) != len(logprobs):
        logprobs = None
    reply = Reply(
        said,
        prompt_token_ids=_numbers(whole.get("prompt_token_ids"), int),
        token_ids=token_ids,
        logprobs=logprobs,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        reply_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(_cached(usage)),
    )
    return reply, truncated and said == text and not _is_ended(said, prompt)


def _is_ended(said: str, prompt: Prompt) -> bool:
    stop = stop_of(prompt.tags)
    return stop is not None and said.endswith(stop)


def _cached(usage: Mapping[str, Any]) -> object:
    details = usage.get("prompt_tokens_details")
    return details.get("cached_tokens") if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(values: object, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) for value in values):
        return None
    return tuple(kind(value) for value in values)


def _logprobs(value: object) -> tuple[float, ...] | None:
    try:
        return tuple(float(token["logprob"]) for token in value["content"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
