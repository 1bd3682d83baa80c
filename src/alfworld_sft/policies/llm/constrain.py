"""What may come next in a reply whose action is restricted to the admissible commands (`policy.constrain=action`)?

Between the tags of the action, or after the thought of a reply without tags, only tokens are allowed that keep the text
a beginning of an admissible command with its closing tag. The check is made on text, so every way to split a command
into tokens is open, also tokens that contain an end of a tag and a beginning of a command. Once a single command is
left, its remainder is written without asking the model.

Whatever comes before is free, except that it cannot end the reply: where the model ends its turn without an action, or
the free part has used up `max_tokens`, the open section is closed and the action's tag is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from alfworld_sft.errors import PolicyError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.policies.llm.sampling import ACTION_CLOSE, ACTION_OPEN, find_reply_end
from alfworld_sft.policies.llm.structured import LEADS, until_action
from alfworld_sft.policies.llm.vocabulary import Vocabulary, in_bytes
from alfworld_sft.prompts.tags import TagSection, find_sections
from alfworld_sft.types import Prompt

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Choice:
    """What may come next: the `forced` tokens if there are any, else one `allowed` token.

    With `allowed` None any token may come except the `forbidden` ones.
    """

    forced: tuple[int, ...] = ()
    allowed: tuple[int, ...] | None = None
    forbidden: tuple[int, ...] = ()


ANYTHING = Choice()


class Spelling:
    """How one model's tokens spell text, and end a reply."""

    def __init__(self, encoder: ChatEncoder, ends: Collection[int], size: int) -> None:
        self.encoder = encoder
        self.ends = tuple(sorted(ends))
        self.end: tuple[int, ...] = self.ends[:1] if encoder.end_id is None else (encoder.end_id,)
        self.vocabulary = Vocabulary(encoder.tokenizer, encoder.control_ids | set(ends), size)

    def spell(self, text: str) -> tuple[int, ...] | None:
        """Return the tokens of a text, one character per byte; None if the tokenizer cannot write it as it stands."""
        try:
            ids = tuple(self.encoder.encode_text(text.encode("latin-1").decode()))
        except UnicodeDecodeError:  # it begins inside a character
            return None
        return ids if "".join(map(self.vocabulary.text, ids)) == text else None


class RestrictedReply:
    """A reply in progress whose action must be one of the prompt's admissible commands.

    `done` becomes true when the reply is complete. `since` is the index of its first token whose choice was
    restricted, None so far.
    """

    def __init__(self, spelling: Spelling, prompt: Prompt) -> None:
        self._spelling, self._vocabulary = spelling, spelling.vocabulary
        self._tags = prompt.tags
        self._commands = tuple(map(in_bytes, prompt.admissible_commands))
        if not self._commands:
            raise PolicyError("policy.constrain=action: the prompt comes without admissible commands")
        self._close = ACTION_CLOSE if self._tags else ""
        self._text = in_bytes(spelling.encoder.opening)
        self._inserted = () if self._tags else tuple(spelling.encoder.inserted_ids)
        self._start = self._action_start(self._text)
        self._said = 0
        self.since: int | None = None
        self.done = False

    def choice(self, *, cut: bool) -> Choice:
        """Return what may come next; `cut` says that the free part has used up its tokens."""
        if self._said < len(self._inserted):
            return Choice(forced=self._inserted)
        if self._start is None:
            return self._restricted(Choice(forced=self._now())) if cut else Choice(forbidden=tuple(self._forbidden()))
        ways = self._ways(self._text[self._start :])
        left = {command for command, _ in ways}
        if len(left) == 1 and _THINK_OPEN not in left:
            rest = self._spelling.spell(ways[0][1]) if ways[0][1] else ()
            end = () if self._tags else self._spelling.end
            if rest is not None and rest + end:
                return self._restricted(Choice(forced=rest + end))
        return self._restricted(Choice(allowed=self._allowed(ways)))

    def say(self, token: int) -> tuple[int, ...]:
        """Add a token and return what is really written: an end of turn before the action stands for the tag."""
        if token not in self._spelling.ends:
            self._add(token)
            return (token,)
        if self._start is None:
            written = self._restricted(Choice(forced=self._now())).forced
            for number in written:
                self._add(number)
            return written
        self.done = True
        return (token,)

    def _add(self, token: int) -> None:
        self._said += 1
        if self._said <= len(self._inserted):
            return
        text = self._vocabulary.text(token)
        self._text += text
        if ">" in text:  # where a tag may end
            self._start = self._action_start(self._text)
            self.done = bool(self._tags) and find_reply_end(self._text, self._tags) is not None
        if self._start is not None and not self._tags and not self._spelling.ends:
            self.done = self._text[self._start :].strip() in self._commands

    def _restricted(self, choice: Choice) -> Choice:
        if self.since is None:
            self.since = self._said
        return choice

    def _sections(self, text: str) -> list[TagSection]:
        return find_sections(text, {"think", *self._tags})

    def _action_start(self, text: str) -> int | None:
        """Return where the action begins in a text, None if it is not within the action."""
        last = self._sections(text)[-1:]
        if self._tags:
            return next((section.start for section in last if section.tag == "action" and not section.closed), None)
        return next((section.after if section.closed else None for section in last), 0)

    def _ways(self, begun: str) -> list[tuple[str, str]]:
        """Return the commands that an action may still become, each with the text that is missing."""
        wholes = [(command, lead + command + self._close) for lead in LEADS for command in self._commands]
        if not self._tags and self._start == 0 and len(self._commands) > 1:
            wholes.append((_THINK_OPEN, _THINK_OPEN))  # a model may think first, as a reader of replies allows
        return [(command, whole[len(begun) :]) for command, whole in wholes if whole.startswith(begun)]

    def _allowed(self, ways: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        found: set[int] = set()
        for command, rest in ways:
            found.update(self._vocabulary.beginnings(rest))
            if self._tags:
                found.update(self._vocabulary.starting(rest))
            elif command == _THINK_OPEN:  # what follows it in the same token begins the thought
                found.update(filter(self._is_possible, self._vocabulary.starting(rest)))
            elif not rest:
                found.update(self._spelling.ends)
        if not found:
            raise PolicyError("policy.constrain=action: the model's tokenizer cannot write any admissible command")
        return tuple(sorted(found))

    def _forbidden(self) -> Iterator[int]:
        """Yield the tokens that would end the reply without an action, or begin an impossible one within a tag."""
        for mark in (ACTION_OPEN, ACTION_CLOSE) if self._tags else (_THINK_CLOSE,):
            begun = next((n for n in range(len(mark) - 1, 0, -1) if self._text.endswith(mark[:n])), 0)
            ending = self._vocabulary.starting(mark[begun:]) if begun else ()
            for token in {*ending, *self._vocabulary.containing(mark)}:
                if not self._is_possible(token):
                    yield token

    def _is_possible(self, token: int) -> bool:
        """Return whether a reply that has been free so far, or is now, may continue with this token."""
        text = self._text + self._vocabulary.text(token)
        if self._tags and find_reply_end(text, self._tags) is not None:
            last = self._sections(text)[-1:]
            return any(s.tag == "action" and text[s.start : s.end].strip() in self._commands for s in last)
        start = self._action_start(text)
        return start is None or bool(self._ways(text[start:]))

    def _now(self) -> tuple[int, ...]:
        """Return the tokens that close what is open, and begin the action."""
        text = until_action(self._text, self._tags)[len(self._text) :]
        tokens = self._spelling.spell(text)
        if tokens is None:
            raise PolicyError(f"policy.constrain=action: the model's tokenizer cannot write {text!r}")
        return tokens
