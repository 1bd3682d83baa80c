"""A transcript: what a policy is asked at each turn of an episode, and what a model is trained on afterwards.

Playing and training render by this one class, so a model is trained on exactly the messages that it will be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alfworld_sft.prompts.tags import without_empty_thought
from alfworld_sft.prompts.template import Template
from alfworld_sft.types import Episode, Exchange, Form, Message, Prompt, TaskType, Wording


class Transcript:
    """The past of an episode, as prompts show it: in the one message of a single-turn prompt, or as a conversation.

    `history_length` bounds the past of a single-turn prompt (None: all of it). `messages` is what has been said: in
    multi-turn form the conversation so far, in single-turn form the last prompt and its reply.
    """

    def __init__(
        self,
        template: Template,
        task: str,
        form: Form = "single",
        history_length: int | None = None,
        *,
        wording: Wording = "move",
        task_type: TaskType | None = None,
    ) -> None:
        self._template = template
        self._task = task
        self._form = form
        self.messages: tuple[Message, ...] = ()
        self._window = history_length if form == "single" else None
        self._history: list[Exchange] = []
        self._wording: Wording = wording
        self._task_type = task_type

    def prompt(self, observation: str, admissible_commands: tuple[str, ...], seed: int = 0) -> Prompt:
        """Return what to ask now."""
        view = replace(
            self._template.view(self._task, self._history, observation, admissible_commands, self._window),
            wording=self._wording,
            task_type=self._task_type,
        )
        if self._form == "single":
            messages: tuple[Message, ...] = (Message("user", self._template.single_turn(view)),)
        else:
            before = self.messages or self._template.opening(view)
            messages = (*before, Message("user", self._template.multi_turn(view)))
        return Prompt(view, messages, self._template.tags, seed, self._template.reply_format)

    def add(self, prompt: Prompt, reply: str, command: str) -> None:
        """Take note of an answered prompt: what the reply said, and the command that the game was given."""
        self._history.append(Exchange(prompt.view.observation, command))
        self.messages = (*prompt.messages, Message("assistant", without_empty_thought(reply, prompt.written_tags)))


def prompts_of(
    episode: Episode, template: Template, form: Form = "single", history_length: int | None = None
) -> Iterator[Prompt]:
    """Yield what a template asks at each step of a recorded episode; every seed is 0."""
    wording: Wording = "put" if episode.grammar == "put" else "move"
    transcript = Transcript(template, episode.task, form, history_length, wording=wording, task_type=episode.task_type)
    for step in episode.steps:
        prompt = transcript.prompt(step.observation, step.admissible_commands)
        yield prompt
        transcript.add(prompt, step.reply.text, step.command)
