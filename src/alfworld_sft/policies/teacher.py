"""How does a teacher accompany a policy? The policy plays, and the teacher says what it would do in its place.

This is DAgger (Ross et al., 2011): the teacher answers in the contexts that the policy's own actions lead to, which an
expert's path does not hold. Both are given the same prompt. In a share of the turns, chosen by the seed, the teacher
acts and the policy is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, runtime_checkable

from alfworld_sft.policies.base import Player, Policy, in_service
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game


@runtime_checkable
class Advised(Protocol):
    """A player with a teacher."""

    async def advise(self, prompt: Prompt) -> Reply:
        """Return what the teacher would answer to a prompt; raises PolicyError where it has no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Taught:
    """A policy with a teacher, which acts in the share `teacher_share` of the turns."""

    student: Policy
    teacher: Policy
    teacher_share: float = 0.0

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        acting = f", which acts in {self.teacher_share:g} of the turns" if self.teacher_share else ""
        return f"{self.student.name}, taught by {self.teacher.name}{acting}"

    @property
    def sampling(self) -> Mapping[str, object] | None:
        """The sampling of the student."""
        return self.student.sampling

    def in_service(self) -> AbstractContextManager[object]:
        """Return the context in which the student can play."""
        return in_service(self.student)

    def begin(self, game: Game, seed: int) -> TaughtPlayer:
        """Return the player of one episode."""
        return TaughtPlayer(self.student.begin(game, seed), self.teacher.begin(game, seed), self.teacher_share)


@dataclass(frozen=True, slots=True)
class TaughtPlayer:
    """A student and its teacher in one episode."""

    student: Player
    teacher: Player
    teacher_share: float

    async def act(self, prompt: Prompt) -> Reply:
        """Return the reply to play: the student's, or the teacher's where the seed has it act."""
        if Random(derive_seed(prompt.seed, "teacher")).random() < self.teacher_share:
            return replace(await self.teacher.act(prompt), said_by="teacher")
        return await self.student.act(prompt)

    async def advise(self, prompt: Prompt) -> Reply:
        """Return the teacher's reply."""
        return await self.teacher.act(prompt)
