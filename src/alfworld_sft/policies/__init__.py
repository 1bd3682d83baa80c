"""Who plays: the expert, the planner, a random player, a script; later language models."""

from __future__ import annotations

from alfworld_sft.config import PolicySection
from alfworld_sft.policies.base import Player, Policy

__all__ = ["Player", "Policy", "make_policy"]


def make_policy(options: PolicySection) -> Policy:
    """Return the policy that the options name."""
    match options.name:
        case "expert":
            from alfworld_sft.policies.expert import Expert  # noqa: PLC0415

            return Expert(
                search=options.search,
                prior=options.prior,
                noise=options.noise,
                noise_episodes=options.noise_episodes,
            )
        case "planner":
            from alfworld_sft.policies.planner import Planner  # noqa: PLC0415

            return Planner()
        case "random":
            from alfworld_sft.policies.random_player import RandomPlayer  # noqa: PLC0415

            return RandomPlayer()
