"""How does the expert act while a language model writes the reasoning?

At every turn the expert is asked first. The model then gets the same prompt with the expert's action as a hint, which
appears in the request only; the prompt is stored without it. Only the reasoning is taken from the model's reply, the
text of `<think>`: the action stays the same, and `<prediction>` and `<observation>` stay the expert's, since nothing
here could check a model's. (A dataset with grounded predictions replaces the prediction by the real next observation
anyway.)

A rejected reply is requested again, with another seed and the reason for the rejection, so that a greedy model also
gets another chance. After the last attempt the expert's own reasoning is used. `Reply.think_by` and `Reply.rejected`
record this.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from alfworld_sft.policies.base import Player, Policy, in_service
from alfworld_sft.prompts.rationale import Rejection, ask_for_reason, read_rationale
from alfworld_sft.prompts.tags import read_sections, replace_section
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.usage import with_tokens_of
from alfworld_sft.world import Game


@dataclass(frozen=True, slots=True)
class Rationalizer:
    """The expert, with a model writing its reasoning in at most `attempts` replies per turn.

    The template's tags must include think and action.
    """

    expert: Policy
    writer: Policy
    attempts: int = 3

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return f"{self.expert.name}, reasons by {self.writer.name}"

    @property
    def sampling(self) -> Mapping[str, object] | None:
        """The sampling of the writer."""
        return self.writer.sampling

    def in_service(self) -> AbstractContextManager[object]:
        """Return the context in which the writer can be asked."""
        return in_service(self.writer)

    def begin(self, game: Game, seed: int) -> RationalizerPlayer:
        """Return the player of one episode."""
        return RationalizerPlayer(self.expert.begin(game, seed), self.writer.begin(game, seed), self.attempts)


@dataclass(frozen=True, slots=True)
class RationalizerPlayer:
    """The expert and its writer in one episode."""

    expert: Player
    writer: Player
    attempts: int

    async def act(self, prompt: Prompt) -> Reply:
        """Answer with the expert's action and the writer's reasoning; raises PolicyError if either fails.

        A deliberate mistake is never trained on and needs no reasoning, so the writer is not asked.
        """
        own = await self.expert.act(prompt)
        sections = read_sections(own.text, prompt.tags)
        if sections is None:
            raise AssertionError(f"the expert's own reply does not parse: {own.text!r}")
        if not own.trained:
            return replace(own, think_by="expert", rejected=())
        spent: list[Reply] = []
        rejected: list[Rejection] = []
        think = None
        while think is None and len(spent) < self.attempts:
            asked = ask_for_reason(prompt, sections["action"], rejected[-1] if rejected else None)
            seed = derive_seed(prompt.seed, "reason", len(spent))
            spent.append(await self.writer.act(replace(asked, seed=seed)))
            found = read_rationale(spent[-1].text, prompt.tags, sections["action"])
            think = found.think
            if found.rejection is not None:
                rejected.append(found.rejection)
        reply = own
        if think is not None:
            text = replace_section(own.text, "think", think)
            reply = replace(own, text=text, reasoning=spent[-1].reasoning)
        reply = replace(reply, think_by="expert" if think is None else "model", rejected=tuple(rejected))
        return with_tokens_of(reply, spent)
