"""The expert: plays from the text alone and explains its actions. A pure function of the prompt.

At every turn it rebuilds what it believes from the prompt's view, decides, and writes the reply: it keeps no state
between turns, so it can continue from any prompt. At the start it receives two public facts about the game: the version
of the wording, and the scene's number, only to leave that scene out of the prior. Without admissible commands in the
view it uses none.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import get_args

from alfworld_sft.policies.expert.belief import Belief
from alfworld_sft.policies.expert.decide import Mind
from alfworld_sft.policies.expert.goal import read_goal
from alfworld_sft.policies.expert.mistakes import mistake
from alfworld_sft.policies.expert.predict import Guesses, predict
from alfworld_sft.policies.expert.prior import NO_PRIOR, Prior, learned_prior
from alfworld_sft.policies.expert.search import Search
from alfworld_sft.policies.expert.thoughts import summarise, think
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.types import Prompt, Reply, View, Wording
from alfworld_sft.world import Game

_MISTAKEN_THOUGHTS = ("I try something else.", "Perhaps this helps.", "I will try this.")


@dataclass(frozen=True, slots=True)
class Expert:
    """Wins every game that we know of in about eight steps.

    `search`: how it looks for things, see `search.py`; `sweep` suits prompts with a short history.
    `prior`: whether it has learned where things lie (never from the game's own scene).
    `noise`: the share of turns that are deliberate mistakes, never trained on, in the share `noise_episodes`
    of the episodes.
    `guesses`: what it predicts of places that it has not seen, see `predict.py`.
    """

    search: Search = "prior"
    prior: bool = True
    noise: float = 0.0
    noise_episodes: float = 1.0
    guesses: Guesses = "likeliest"

    def __post_init__(self) -> None:
        if self.search not in ("prior", "sweep"):
            raise ValueError(f"search must be 'prior' or 'sweep', not {self.search!r}")
        if self.guesses not in get_args(Guesses):
            raise ValueError(f"guesses must be 'likeliest' or 'hopeful', not {self.guesses!r}")
        for name in ("noise", "noise_episodes"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is a share between 0 and 1, not {value}")

    @property
    def name(self) -> str:
        """The word expert, with what differs from the defaults."""
        differing = []
        if self.search != "prior":
            differing.append(f"search={self.search}")
        if not self.prior:
            differing.append("no prior")
        if self.noise:
            where = "every episode" if self.noise_episodes == 1 else f"{self.noise_episodes:g} of the episodes"
            differing.append(f"noise={self.noise:g} in {where}")
        if self.guesses != "likeliest":
            differing.append(f"{self.guesses} guesses")
        return f"expert ({', '.join(differing)})" if differing else "expert"

    @property
    def sampling(self) -> None:
        """None: no language model is sampled."""
        return None

    def begin(self, game: Game, seed: int) -> ExpertPlayer:
        """Return the player of one episode; the seed decides whether it has noise."""
        return ExpertPlayer(
            grammar=game.variant.version,
            prior=learned_prior(game.scene) if self.prior else NO_PRIOR,
            search=self.search,
            noise=self.noise if self.noise and Random(seed).random() < self.noise_episodes else 0.0,
            guesses=self.guesses,
        )


@dataclass(frozen=True, slots=True)
class ExpertPlayer:
    """The expert in one episode: what stays the same through it."""

    grammar: Wording
    prior: Prior
    search: Search
    noise: float
    guesses: Guesses

    async def act(self, prompt: Prompt) -> Reply:
        """Answer one prompt; raises PolicyError for a task that is none of ALFWorld's."""
        return self.reply(prompt)

    def reply(self, prompt: Prompt) -> Reply:
        """Answer one prompt: the same prompt always gets the same reply."""
        mind = self.mind(prompt.view)
        decision = mind.decide()
        rng = Random(prompt.seed)
        erring = rng.random() < self.noise
        command = mistake(mind, decision.command, rng) if erring else decision.command
        parts = {"action": command}
        if "think" in prompt.tags:
            parts["think"] = rng.choice(_MISTAKEN_THOUGHTS) if erring else think(mind, decision, rng)
        if "prediction" in prompt.tags:
            parts["prediction"] = predict(mind, command, rng if self.guesses == "hopeful" else None)
        if "observation" in prompt.tags:
            parts["observation"] = summarise(mind.belief.last, rng)
        return Reply(write_reply(prompt.reply_format, prompt.tags, parts), trained=not erring)

    def mind(self, view: View) -> Mind:
        """Return what the expert makes of a view: its belief with the goal."""
        return Mind(Belief(view), read_goal(view.task), self.prior, self.search, self.grammar)
