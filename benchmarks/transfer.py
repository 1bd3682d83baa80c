"""Does what is learned from generated games hold in real ones? The expert's prior, learned from the one or the other.

    python -m benchmarks.transfer [--games N]          # writes benchmarks/results/transfer.json

The expert plays the 340 real games with a prior from N generated train games alone, with the one that comes with the
package (from real train scenes other than the game's own), and without any. 50 steps; nothing else differs.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from alfworld_sft.games.generator.generate import generate_games
from alfworld_sft.policies.expert.expert import ExpertPlayer
from alfworld_sft.policies.expert.prior import NO_PRIOR, Prior, SceneCounts, learned_prior
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import TASK_TYPES, Episode
from alfworld_sft.world import Game, load_game
from benchmarks._result import write_result
from scripts.learn_prior import count_game

REPOSITORY = Path(__file__).parents[1]
REAL_GAMES = REPOSITORY.parent / "shared" / "alfworld_data" / "json_2.1.1"
SHORT_NAMES = dict(zip(TASK_TYPES, ("pick", "look", "clean", "heat", "cool", "two"), strict=True))


@dataclass(frozen=True)
class ExpertWith:
    """The expert with a prior of the benchmark's choice for each game."""

    name: str
    prior_of: Callable[[Game], Prior]

    def begin(self, game: Game, seed: int) -> ExpertPlayer:
        """As the expert's own, but for the prior."""
        return ExpertPlayer(grammar=game.variant.version, prior=self.prior_of(game), search="prior", noise=0.0)


def prior_of_generated(number: int, seed: int) -> Prior:
    """Count where things lie in generated train games."""
    counts: dict[int, SceneCounts] = {}
    for made in generate_games(number, seed):
        count_game(made.game, counts)
    return Prior(counts)


async def play(policy: ExpertWith, games: list[Game]) -> list[Episode]:
    """Play every game once."""
    template, protocol = load_template("default"), Protocol()
    return [
        await run_episode(game, policy, template, protocol, index=i, seed=derive_seed("transfer", i))
        for i, game in enumerate(games)
    ]


def summary(episodes: list[Episode]) -> dict[str, Any]:
    """Success and steps when won, by task type and over all."""
    by_type = {short: [e for e in episodes if e.task_type == t] for t, short in SHORT_NAMES.items()}
    return {
        name: {
            "games": len(found),
            "success": round(fmean(e.success for e in found), 4),
            "steps_when_won": round(fmean(len(e.steps) for e in found if e.success), 3),
        }
        for name, found in {**by_type, "all": episodes}.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", type=int, default=2000, help="generated games to learn from")
    options = parser.parse_args()
    paths = sorted(REAL_GAMES.rglob("game.tw-pddl"))
    if not paths:
        parser.error(f"no real games in {REAL_GAMES}")
    games = [load_game(path) for path in paths]
    generated = prior_of_generated(options.games, 0)
    policies = (
        ExpertWith("generated games", lambda _: generated),
        ExpertWith("real scenes but the game's own", lambda game: learned_prior(game.scene)),
        ExpertWith("none", lambda _: NO_PRIOR),
    )
    found = {policy.name: summary(asyncio.run(play(policy, games))) for policy in policies}
    print(f"| prior learned from | {' | '.join([*SHORT_NAMES.values(), 'all'])} |\n|---|{'---|' * 7}")
    for name, by_type in found.items():
        cells = (f"{line['success']:.1%}, {line['steps_when_won']:.2f}" for line in by_type.values())
        print(f"| {name} | {' | '.join(cells)} |")
    first, second = (found[policy.name]["all"]["steps_when_won"] for policy in policies[:2])
    result = {"generated_games": options.games, "priors": found, "steps_above_real": round(first / second - 1, 4)}
    print(f"{result['steps_above_real']:+.1%} steps; {write_result('transfer', result).name}")


if __name__ == "__main__":
    main()
