"""The game that a person plays: commands, undo, the expert's hints, the distance, and the episode that it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.formats import read_reply, shown_answer, write_reply
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.runs.rollout import record_episode, record_step
from alfworld_sft.types import Episode, Prompt, Reply, Step
from alfworld_sft.world import Env, Game, Observation
from alfworld_sft.world.observations import opening_look

POLICY = "person"
"""The policy's name in a saved episode."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What the expert does at this state, and why, in its own words."""

    action: str
    reason: str


class Session:
    """One game at hand.

    `observation` is what the game said last, `seen` what the template shows of it, without banner and task; `steps` is
    what was played and not undone.
    """

    def __init__(self, game: Game, template: Template, max_steps: int) -> None:
        self.game = game
        self._template = template
        self._env = Env(game, max_steps)
        self._before: list[tuple[Env, Observation, str]] = []  # the game before each step, and what was seen
        self.observation = self._env.reset()
        self.seen = opening_look(game)
        self.steps: list[Step] = []

    def play(self, command: str, thought: str = "") -> Observation:
        """Play a command as the template's reply with an optional thought; one that is not admissible costs a step.

        Raises ValueError when the game is over.
        """
        if self.observation.over:
            raise ValueError("the game is over")
        reply_format, before = self._template.reply_format, self.observation
        parts = {"think": thought, "action": command}
        reply = write_reply(reply_format, [tag for tag in self._template.tags if parts.get(tag)], parts)
        parsed = read_reply(reply_format, reply, self._template.tags, before.admissible_commands)
        self._before.append((self._env.fork(), before, self.seen))
        self.observation = self._env.step(parsed.action or "")
        self.steps.append(record_step(self.seen, before.admissible_commands, Reply(reply), parsed, self.observation))
        self.seen = shown_answer(reply_format, parsed, self.observation.text)
        return self.observation

    def undo(self) -> bool:
        """Take back the last step, as if it had not been played; False where there is none."""
        if not self.steps:
            return False
        self._env, self.observation, self.seen = self._before.pop()
        self.steps.pop()
        return True

    def hint(self) -> Hint:
        """Return what the expert would do now; raises PolicyError for a task that it does not know."""
        prompt = replace(self._prompt(), tags=("think", "action"))
        reply = Expert().begin(self.game, seed=0).reply(prompt)
        said = parse_reply(reply.text, prompt.tags, self.observation.admissible_commands)
        return Hint(said.action or "", said.think or "")

    def distance(self) -> int | None:
        """Return how many steps a shortest plan from here has; None where the game can no longer be won."""
        return self._env.distance()

    def episode(self) -> Episode:
        """Return what was played, won or not, as a record."""
        return record_episode(
            self.game,
            self.steps,
            success=self.observation.won,
            max_steps=self._env.max_steps,
            index=0,
            seed=0,
            template=self._template.name,
            policy=POLICY,
        )

    def _prompt(self) -> Prompt:
        transcript = Transcript(self._template, self.game)
        for step in self.steps:
            transcript.add(transcript.prompt(step.observation, step.admissible_commands), step.reply.text, step.command)
        return transcript.prompt(self.seen, self.observation.admissible_commands)
