"""What does a server say when it refuses a request, and what is the refusal about? Pure, without network access.

Servers word the same error in many ways: OpenAI's error object, the same without its wrapping, FastAPI's list of
problems, a list around all of that, plain text, a web page. `read_complaint` extracts the words; the rest classifies
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

About = Literal["too long", "filtered", "messages"]
"""The kind of complaint about a prompt: no room for a reply, stopped by a content filter, or its form is refused."""

_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window|limit)|maximum model length|max(imum)?[ _]model[ _]len|reduce the length"
    r"|\b(prompt|inputs?|requests?|messages?|conversation)\b.{0,60}\b(too (long|large)|longer than|exceeds?)\b"
    r"|context_length_exceeded|exceed_context_size|too many (input |prompt )?tokens|inputs?`? tokens \+"
    r"|max_\w*tokens\b.{0,30}(at least 1\b|positive|greater than (or equal to )?[01]\b|>=? ?[01]\b)",
    re.IGNORECASE | re.DOTALL,
)
_FILTERED = re.compile(
    r"content.?(filter|management|policy|moderation)|content exists risk|data_inspection|inappropriate content"
    r"|safety (system|filter|settings|reasons)|blocked by .{0,40}safety|\bflagged\b|\bmoderation\b|usage polic"
    r"|responsible ?ai|敏感内容",
    re.IGNORECASE,
)
_MESSAGES = re.compile(
    r"roles? must alternate|alternat\w+ (between )?(the )?(user|roles)|chat.?template|jinja|system role|conversation"
    r"|\bmessages\b|last message",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(
    r"\bmodels?\b.{0,120}\b(not (found|exist|available|loaded|served|supported|recognized)|unknown|invalid|no access)\b"
    r"|\bmodels?\b.{0,120}\bdoes(n't| not) exist\b|\b(unknown|invalid|unsupported|no such|not a valid) model\b",
    re.IGNORECASE | re.DOTALL,
)
_NO_SUCH_ADDRESS = re.compile(r"\bendpoint\b|\bcannot post\b|method not allowed|no route|^not found$", re.IGNORECASE)
_PROBLEM_KEYS = ("error", "message", "detail", "details", "msg", "errors", "error_message", "error_msg", "reason")


@dataclass(frozen=True, slots=True)
class Complaint:
    """A refusal: its HTTP status, the server's words, and OpenAI's `param` and `code` if given.

    `shown` is the status as shown to the user, never a guessed one.
    """

    status: int
    words: str
    param: str = ""
    code: str = ""
    guessed: bool = False

    @property
    def shown(self) -> str:
        """The status in words."""
        return "200, with an error" if self.guessed else str(self.status)

    @property
    def text(self) -> str:
        """All text that may name the cause."""
        return " ".join(filter(None, (self.words, self.param and f"'{self.param}'", self.code)))


def read_complaint(status: int, body: str) -> Complaint:
    """Return the complaint in an answer with this status; `body` is JSON of any shape, a web page or plain text."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return Complaint(status, _plain(body) or "it says nothing more")
    error = _error_object(data)
    return Complaint(
        status, _words(data) or "it says nothing more", _text(error.get("param")), _text(error.get("code"))
    )


def complaint_in(data: object) -> Complaint | None:
    """Return the complaint of a status 200 answer with an error instead of a reply or of one choice; else None.

    Its status is the error's own code if that is an HTTP status; otherwise it is guessed: 404 for an address without a
    chat, 400 if the prompt, the model or a parameter is to blame, else 500.
    """
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        return None
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = choice.get("error") or (data if not choices and (data.get("error") or data.get("detail")) else None)
    if not error and not choices and data.get("object") == "error":
        error = data
    if not error:
        return None
    found = read_complaint(200, json.dumps(error))
    if re.fullmatch(r"[45]\d\d", found.code):
        return replace(found, status=int(found.code))
    if _NO_SUCH_ADDRESS.search(found.words):
        status = 404
    else:
        status = 400 if about(found) or names_parameter(found) or _NO_SUCH_MODEL.search(found.text) else 500
    return replace(found, status=status, guessed=True)


def about(complaint: Complaint) -> About | None:
    """Return which aspect of the prompt a complaint is about; None if it is about something else or does not say."""
    if _TOO_LONG.search(complaint.text) or complaint.status == 413:
        return "too long"
    if _FILTERED.search(complaint.text):
        return "filtered"
    form = complaint.param.startswith("messages") or _MESSAGES.search(complaint.words)
    return "messages" if form and not names_parameter(complaint) else None


_CONTEXT = re.compile(r"context (?:length|window|size)(?: is| of)? (?:only )?(\d+)", re.IGNORECASE)
_READ = re.compile(
    r"(\d+) (?:input tokens|(?:tokens? )?in (?:the|your) (?:messages|prompt|input)"
    r"|(?P<sglang>tokens from the input messages))",
    re.IGNORECASE,
)


def room_left(complaint: Complaint) -> int | None:
    """Return how many tokens a reply has room for, where a complaint names the context's length and the prompt's.

    vLLM words it so: "maximum context length is 2048 tokens and your request has 1700 input tokens"; SGLang, which may
    refuse a request that fills the context to the last token: "maximum context length of 2048 tokens. You requested a
    total of 2212 tokens: 1700 tokens from the input messages". None without room.
    """
    context, read = _CONTEXT.search(complaint.text), _READ.search(complaint.text)
    if context is None or read is None:
        return None
    room = int(context[1]) - int(read[1]) - bool(read["sglang"])
    return room if room > 0 else None


def named(complaint: Complaint, names: Collection[str]) -> set[str]:
    """Return the parameters that a complaint names."""
    return {name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", complaint.text)}


_PARAMETERS = (
    "guided_regex", "include_stop_str_in_output", "logprobs", "max_completion_tokens", "max_tokens", "min_p",
    "repetition_penalty", "return_token_ids", "structured_outputs", "temperature", "top_k", "top_p",
)  # fmt: skip
"""Parameters with names that are not ordinary words: any occurrence refers to the parameter."""


def names_parameter(complaint: Complaint) -> bool:
    """Return whether a complaint names a request parameter."""
    quoted = re.search(r"""['"`](seed|stop)['"`]|\bbody\.(seed|stop)\b""", complaint.text)
    return bool(quoted or named(complaint, _PARAMETERS))


def is_unknown_model(complaint: Complaint, model: str) -> bool:
    """Return whether a complaint says that the server lacks this model, rather than merely mentioning it."""
    if complaint.param == "model" or re.search(r"model_not_found|invalid_model|model_not_exist", complaint.code):
        return True
    if complaint.param or names_parameter(complaint) or about(complaint):
        return False
    quoted = re.search(rf"""['"`]{re.escape(model)}['"`]""", complaint.words)
    talks_of_models = re.search(r"\b(model|serve)", complaint.words, re.IGNORECASE)
    return bool(_NO_SUCH_MODEL.search(complaint.words) or (quoted and talks_of_models))


def working_temperature(complaint: Complaint) -> str:
    """Return the `policy.temperature` to use after its refusal: a number, or null if none is accepted."""
    words = complaint.words
    exact = re.search(
        r"\b[Oo]nly\D{0,40}?(\d+(?:\.\d+)?)|must be (?:set to |equal to |exactly )?(\d+(?:\.\d+)?)\b", words
    )
    if exact:
        return exact[1] or exact[2]
    most = re.search(
        r"(?:less than or equal to|at most|<=|≤|no more than|between \S+ and|\.\.|[\[(]\s*\d[\d.]*\s*,)"
        r"\s*(\d+(?:\.\d+)?)",
        words,
    )
    return most[1] if most else "null"


def _error_object(data: object) -> Mapping[str, Any]:
    """Return the innermost object that describes the error, as OpenAI's `error` does."""
    while True:
        if isinstance(data, list) and data:
            data = data[0]
        elif isinstance(data, dict) and isinstance(data.get("error"), (dict, list)) and data["error"]:
            data = data["error"]
        else:
            return data if isinstance(data, dict) else {}


def _words(value: object) -> str:
    """Return the text of an error in JSON."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value)))
    if not isinstance(value, dict):
        return _plain(_text(value))
    found: list[str] = []
    for key in _PROBLEM_KEYS:
        words = _words(value[key]) if value.get(key) else ""
        if words and not any(words in other for other in found):
            found.append(words)
    metadata = value.get("metadata")  # a router puts the upstream server's message here
    if isinstance(metadata, dict) and metadata.get("raw"):
        found.append(read_complaint(0, _text(metadata["raw"])).words)
    place = value.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    words = ": ".join(filter(None, (where, *found)))
    return words or (json.dumps(value, ensure_ascii=False) if value else "")


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Return a text without a web page's markup."""
    if not re.match(r"\s*<", text):
        return text.strip()
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return " ".join((title[1] if title else re.sub(r"<[^>]*>", " ", text)).split())
