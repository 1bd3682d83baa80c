"""Do generated games look like real ones, and play like them? Side by side, by task type.

    python -m benchmarks.generated_vs_real [--games N] [--plot]

The 200 real train games beside N generated ones (seed 0, split train): receptacles and objects a scene, objects a
receptacle, shared and unopenable receptacles, the shortest plan, the expert's steps and success, and, over the
expert's episodes, the length of an observation and of the admissible list. `--plot` draws the distributions into
docs/generated-games.svg. The real games' expert leaves out its prior of the game's own scene.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from alfworld_sft.games.generator.generate import generate_games
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import TASK_TYPES, Episode
from alfworld_sft.world import Game, load_game
from alfworld_sft.world.plan import shortest_plan
from benchmarks._result import write_result

REPOSITORY = Path(__file__).parents[1]
REAL_TRAIN = REPOSITORY.parent / "shared" / "alfworld_data" / "json_2.1.1" / "valid_train"
PLOT = REPOSITORY / "docs" / "generated-games.svg"
SHORT_NAMES = dict(zip(TASK_TYPES, ("pick", "look", "clean", "heat", "cool", "two"), strict=True))
TOLERANCE = 0.15


@dataclass(frozen=True)
class Played:
    """A game and the expert's episode of it."""

    game: Game
    episode: Episode


def receptacles(played: Played) -> float:
    return len(played.game.receptacles)


def objects(played: Played) -> float:
    return len(played.game.objects)


def objects_held(played: Played) -> float:
    return len({o for contents in played.game.initial.contents for o in contents})


def objects_a_receptacle(played: Played) -> float:
    return fmean(map(len, played.game.initial.contents))


def shared(played: Played) -> float:
    game = played.game
    return fmean(place.location is not None and _neighbours(game, place.location) for place in game.receptacles)


def _neighbours(game: Game, location: int) -> bool:
    return len(game.locations[location].receptacles) > 1


def openable(played: Played) -> float:
    return fmean(place.openable for place in played.game.receptacles)


def shortest(played: Played) -> float:
    return len(shortest_plan(played.game))


def expert_steps(played: Played) -> float:
    return len(played.episode.steps) if played.episode.success else math.nan


def expert_success(played: Played) -> float:
    return float(played.episode.success)


def observation_chars(played: Played) -> float:
    return fmean(len(step.observation) for step in played.episode.steps)


def admissible_commands(played: Played) -> float:
    return fmean(len(step.admissible_commands) for step in played.episode.steps)


MEASURES: dict[str, Callable[[Played], float]] = {
    "receptacles a scene": receptacles,
    "objects a scene": objects,
    "objects in receptacles": objects_held,
    "objects a receptacle": objects_a_receptacle,
    "share that can be opened": openable,
    "share at a shared location": shared,
    "shortest plan": shortest,
    "expert's steps when won": expert_steps,
    "expert's success": expert_success,
    "characters an observation": observation_chars,
    "admissible commands": admissible_commands,
}
PLOTTED = (
    "receptacles a scene",
    "objects a scene",
    "objects a receptacle",
    "shortest plan",
    "expert's steps when won",
    "characters an observation",
    "admissible commands",
    "share at a shared location",
)


async def play(games: Iterable[Game]) -> list[Played]:
    """Let the expert play each game once."""
    policy, template, protocol = Expert(), load_template("default"), Protocol()
    return [
        Played(game, await run_episode(game, policy, template, protocol, index=i, seed=derive_seed("beside", i)))
        for i, game in enumerate(games)
    ]


Values = dict[str, dict[str, list[float]]]


def measure(played: Sequence[Played]) -> Values:
    """Measure → task type (or "all") → a value for each game."""
    values: Values = {}
    for name, measured in MEASURES.items():
        by_type = {short: [measured(p) for p in played if p.game.task_type == t] for t, short in SHORT_NAMES.items()}
        by_type["all"] = [value for of_type in by_type.values() for value in of_type]
        values[name] = {t: [v for v in of_type if not math.isnan(v)] for t, of_type in by_type.items()}
    return values


def table(real: Values, generated: Values) -> str:
    """Markdown: real → generated means, and the difference in per cent where it is more than the tolerance."""
    columns = [*SHORT_NAMES.values(), "all"]
    lines = [f"| mean, real → generated | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name in MEASURES:
        cells = []
        for column in columns:
            a, b = fmean(real[name][column]), fmean(generated[name][column])
            digits = 2 if a < 10 else 1 if a < 100 else 0
            off = difference(a, b)
            cells.append(f"{a:.{digits}f} → {b:.{digits}f}" + (f" ({off:+.0%})" if abs(off) > TOLERANCE else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(real: float, generated: float) -> float:
    """How much larger the second is, as a share of the first."""
    return (generated - real) / real if real else 0.0


def plot(real: Values, generated: Values, path: Path) -> None:
    """Draw both distributions of each measure, as histograms over the same bins."""
    panels = [_panel(name, real[name]["all"], generated[name]["all"]) for name in PLOTTED]
    width, height, columns = 250, 150, 4
    rows = -(-len(panels) // columns)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width}" height="{rows * height + 24}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<rect x="10" y="8" width="14" height="10" fill="#b9c9dc"/><text x="29" y="17">real train games</text>',
        '<path d="M140 13 h16" stroke="#c2410c" stroke-width="2"/><text x="161" y="17">generated</text>',
    ]
    for i, panel in enumerate(panels):
        lines.append(f'<g transform="translate({i % columns * width},{i // columns * height + 24})">{panel}</g>')
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")


def _panel(name: str, real: list[float], generated: list[float]) -> str:
    """A histogram of 220 by 90 with its title and the ends of its axis."""
    low, high = min(real + generated), max(real + generated)
    whole = all(float(value).is_integer() for value in real + generated)
    step = max(1.0, math.ceil((high - low + 1) / 24)) if whole else (high - low) / 24
    bins = int((high - low) / step) + 1
    shares = [[0.0] * bins for _ in range(2)]
    for values, share in zip((real, generated), shares, strict=True):
        for value in values:
            share[int((value - low) / step)] += 1 / len(values)
    top = max(map(max, shares))
    wide = 220 / bins
    bars = "".join(
        f'<rect x="{15 + i * wide:.1f}" y="{115 - 90 * share / top:.1f}" width="{wide:.1f}"'
        f' height="{90 * share / top:.1f}"/>'
        for i, share in enumerate(shares[0])
        if share
    )
    line = "".join(f"V{115 - 90 * share / top:.1f}h{wide:.1f}" for share in shares[1])
    ends = (f"{value:.0f}" if whole or value >= 10 else f"{value:.2f}" for value in (low, high))
    return (
        f'<text x="15" y="18">{name}</text><g fill="#b9c9dc">{bars}</g>'
        f'<path d="M15 115{line}V115" fill="none" stroke="#c2410c" stroke-width="1.5"/>'
        f'<path d="M15 115h220" stroke="#555"/><text x="15" y="129">{next(ends)}</text>'
        f'<text x="235" y="129" text-anchor="end">{next(ends)}</text>'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--plot", action="store_true", help=f"draw {PLOT.name}")
    options = parser.parse_args()
    paths = sorted(REAL_TRAIN.rglob("game.tw-pddl"))
    if not paths:
        parser.error(f"no real games in {REAL_TRAIN}")
    real = measure(asyncio.run(play(map(load_game, paths))))
    generated = measure(asyncio.run(play(made.game for made in generate_games(options.games, 0))))
    print(table(real, generated))
    means = {
        name: {
            t: {
                "real": round(fmean(real[name][t]), 4),
                "generated": round(fmean(generated[name][t]), 4),
                "difference": round(difference(fmean(real[name][t]), fmean(generated[name][t])), 4),
            }
            for t in real[name]
        }
        for name in MEASURES
    }
    outside = [
        f"{name}, {t}"
        for name, by_type in means.items()
        for t, mean in by_type.items()
        if abs(mean["difference"]) > TOLERANCE
    ]
    print(f"{len(outside)} means differ by more than {TOLERANCE:.0%}: {', '.join(outside)}")
    counts = {t: [len(real["shortest plan"][t]), len(generated["shortest plan"][t])] for t in real["shortest plan"]}
    result = {"games": counts, "tolerance": TOLERANCE, "outside": outside, "means": means}
    print(write_result("generated_vs_real", result).relative_to(REPOSITORY))
    if options.plot:
        plot(real, generated, PLOT)


if __name__ == "__main__":
    main()
