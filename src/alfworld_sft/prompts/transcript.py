"""How is an episode rendered turn by turn, for playing and for training?

Playing and training render by the same class, so a model is trained on exactly the messages it sees when it plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Protocol

from alfworld_sft.prompts.tags import strip_empty_thought
from alfworld_sft.prompts.template import Template
from alfworld_sft.types import Episode, Exchange, Form, Message, Prompt, TaskType


class Told(Protocol):
    """What prompts tell of a game besides its observations: a `Game`, or the `Episode` that is recorded of one."""

    @property
    def task(self) -> str:
        """The goal sentence."""

    @property
    def task_type(self) -> TaskType:
        """One of the six."""

    @property
    def grammar(self) -> str:
        """`put` where a command puts things down with this word, else they are moved."""


class Transcript:
    """An episode's history as prompts show it: inside a single-turn prompt's only message, or as a conversation.

    `history_length` bounds the history in a single-turn prompt (None: no bound). `messages` is the conversation so far
    in multi-turn form, and the last prompt with its reply in single-turn form.
    """

    def __init__(
        self,
        template: Template,
        game: Told,
        form: Form = "single",
        history_length: int | None = None,
    ) -> None:
        self._template = template
        self._game = game
        self._form = form
        self.messages: tuple[Message, ...] = ()
        self._window = history_length if form == "single" else None
        self._history: list[Exchange] = []

    def prompt(self, observation: str, admissible_commands: tuple[str, ...], seed: int = 0) -> Prompt:
        """Return the prompt for the present observation."""
        view = replace(
            self._template.view(self._game.task, self._history, observation, admissible_commands, self._window),
            wording="put" if self._game.grammar == "put" else "move",
            task_type=self._game.task_type,
        )
        if self._form == "single":
            messages: tuple[Message, ...] = (Message("user", self._template.single_turn(view)),)
        else:
            before = self.messages or self._template.opening(view)
            messages = (*before, Message("user", self._template.multi_turn(view)))
        template = self._template
        return Prompt(view, messages, template.tags, seed, template.reply_format, admissible_commands)

    def add(self, prompt: Prompt, reply: str, command: str) -> None:
        """Append an answered prompt: the text of the reply, and the command that the game was given."""
        self._history.append(Exchange(prompt.view.observation, command))
        self.messages = (*prompt.messages, Message("assistant", strip_empty_thought(reply, prompt.written_tags)))

    def fork(self) -> Transcript:
        """Return a copy that continues by itself."""
        twin = copy(self)
        twin._history = list(self._history)
        return twin


def prompts_of(
    episode: Episode, template: Template, form: Form = "single", history_length: int | None = None
) -> Iterator[Prompt]:
    """Yield the prompt of each step of a recorded episode; every seed is 0."""
    transcript = Transcript(template, episode, form, history_length)
    for step in episode.steps:
        prompt = transcript.prompt(step.observation, step.admissible_commands)
        yield prompt
        transcript.add(prompt, step.reply.text, step.command)
