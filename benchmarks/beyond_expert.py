"""What do the teacher's rounds, other actions and other losses add to an expert's episodes, at equal tokens?

    OMP_NUM_THREADS=1 python -m benchmarks.beyond_expert --folder DIR --data DATA
    OMP_NUM_THREADS=1 python -m benchmarks.beyond_expert --folder DIR --tokens 200000 --seeds 1 --ways expert,dft

Every way trains a new model of `make demo`'s size, from the same random weights, on the same number of tokens from
generated games; all play the real valid_seen games under DATA (or the package's own) greedily, and each way is compared
with the expert's alone, game by game. A sixth of the episodes of the teacher's ways are played by a student that was
trained on the expert's episodes of the way `expert`; that training is not counted.

What is done is kept in DIR: the same command continues after an interruption, or after `--minutes`. The result,
benchmarks/results/beyond_expert.json, is written again after every model.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.evaluate.statistics import wilson_interval
from benchmarks._result import versions_of, write_result
from benchmarks.dagger import NOISE, STUDENT, Budget, Lab, tokens_of

CORPUS, PILOT = 3000, 300
"""Episodes whose words the models know; episodes that tell how many tokens one has."""
TAUGHT = 1 / 6
"""Share of the episodes that a student plays with a teacher."""


@dataclass(frozen=True, slots=True)
class Way:
    """What is collected and how it is trained: options of the two commands."""

    name: str
    taught: bool = False
    collect: tuple[str, ...] = ()
    train: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name in file names."""
        return self.name.replace(" ", "_")


TRY_OTHERS, LEARN_OTHERS = ("worldmodel.alternatives=2",), ("worldmodel.next_state_rows=0.25",)
WAYS = (
    Way("expert"),
    Way("teacher", taught=True),
    Way("other actions", collect=TRY_OTHERS, train=LEARN_OTHERS),
    Way("teacher and other actions", taught=True, collect=TRY_OTHERS, train=LEARN_OTHERS),
    Way("dft", train=("loss.kind=dft",)),
    Way("clip", train=("loss.kind=clip",)),
)


def measure(lab: Lab, way: Way, tokens: int) -> dict[str, Any]:
    """Train one way on so many tokens, and return its figures."""
    name = way.slug
    lab.start(lab.collect("corpus", 98, CORPUS, NOISE))
    expert, taught = [NOISE, *way.collect], [*STUDENT, "policy.teacher=expert", *way.collect]
    if not way.taught:
        episodes = round(tokens / tokens_an_episode(lab, f"pilot_{name}", way, expert))
        data = [lab.collect(f"data_{name}", 0, episodes, *expert)]
    else:
        taught.append(f"policy.model={lab.folder / 'model_expert' / 'final'}")
        each = tokens_an_episode(lab, f"pilot_{name}", way, expert)
        each_taught = tokens_an_episode(lab, f"pilot_{name}_taught", way, taught)
        episodes = round(tokens / (each * (1 - TAUGHT) + each_taught * TAUGHT))
        data = [
            lab.collect(f"data_{name}", 0, round(episodes * (1 - TAUGHT)), *expert),
            lab.collect(f"data_{name}_taught", 1, round(episodes * TAUGHT), *taught),
        ]
    model = lab.train(f"model_{name}", data, *way.train)
    played = lab.play(f"played_{name}", model)
    return {"way": way.name, "episodes": episodes, "tokens": tokens_of(lab.folder / f"model_{name}"), **played}


def tokens_an_episode(lab: Lab, name: str, way: Way, words: Sequence[str]) -> float:
    """Return the mean tokens that an episode has in training."""
    data = lab.collect(name, 99, PILOT, *words)
    lab.train(f"{name}_model", [data], *way.train)
    return tokens_of(lab.folder / f"{name}_model") / PILOT


def paired(lab: Lab, way: Way) -> dict[str, Any]:
    """Compare a way with the expert's alone on the same games."""
    found = compare(read_result(lab.folder / "played_expert"), read_result(lab.folder / f"played_{way.slug}"))
    return {"difference": found.difference, "interval_95": list(found.interval), "p": found.p_value}


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean rate of each way over the seeds, with Wilson's interval of one run with that rate."""
    lines = []
    for way in dict.fromkeys(run["way"] for run in runs):
        mine = [run for run in runs if run["way"] == way]
        rate = statistics.mean(run["success"]["rate"] for run in mine)
        low, high = wilson_interval(rate, mine[0]["success"]["played"])
        lines.append(
            {
                "way": way,
                "seeds": len(mine),
                "rate": rate,
                "interval_95": [low, high],
                "rates": [run["success"]["rate"] for run in mine],
                "tokens": round(statistics.mean(run["tokens"] for run in mine)),
                "difference": statistics.mean(run["against_expert"]["difference"] for run in mine),
            }
        )
    return lines


def main() -> None:
    """Measure every way of every seed; print and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept, for continuing")
    parser.add_argument("--data", type=Path, help="ALFWorld's data folder; without it the package's games are played")
    parser.add_argument("--tokens", type=int, default=3_900_000, help="to train on, for each way")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", type=lambda text: text.split(","), default=[way.name for way in WAYS])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no command later than this")
    options = parser.parse_args()
    budget = Budget(0, 0, 0, time.monotonic() + 60 * options.minutes)
    runs: list[dict[str, Any]] = []
    for seed in options.seeds:
        lab = Lab(options.folder.absolute() / f"seed{seed}", seed, options.data and options.data.absolute(), budget)
        for way in (way for way in WAYS if way.name in {"expert", *options.ways}):
            found = measure(lab, way, options.tokens)
            runs.append({"seed": seed, **found, "against_expert": paired(lab, way)})
            result = {
                "claim": "ways to train on more than an expert's episodes, at equal tokens",
                "games": "embedded valid_seen" if options.data is None else "ALFWorld's valid_seen",
                "tokens": options.tokens,
                "summary": summary(runs),
                "runs": runs,
                "versions": versions_of("torch", "transformers", "tokenizers", "numpy"),
            }
            write_result("beyond_expert", result)
    print(json.dumps(summary(runs), indent=2))


if __name__ == "__main__":
    main()
