"""What do the teacher's rounds, other actions and other losses add to an expert's episodes, at equal tokens?

    OMP_NUM_THREADS=1 python -m benchmarks.beyond_expert --folder DIR --data DATA
    OMP_NUM_THREADS=1 python -m benchmarks.beyond_expert --folder DIR --first 200000 --tokens 100000 --seeds 1

In each seed a model of `make demo`'s size learns from the expert's episodes (`--first` tokens of generated games). From
there every way goes on for as many tokens (`--tokens`): `expert` on more such episodes, the others on their own. In the
teacher's ways that model plays a third of the episodes. All play the real valid_seen games under DATA (or the package's
own) greedily, and each way is compared with the expert's alone, game by game.

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

from alfworld_sft.evaluate.statistics import wilson_interval
from benchmarks._paired import against
from benchmarks._result import versions_of, write_result
from benchmarks.dagger import NOISE, Budget, Lab, tokens_of

CORPUS, PILOT = 3000, 300
"""Episodes whose words the models know; episodes that tell how many tokens one has."""
TAUGHT = 1 / 3
"""Share of the episodes that a student plays with a teacher."""
STUDENT = ("policy.name=local", "policy.temperature=0.4", "policy.max_tokens=24", "env.max_repeats=4")
FURTHER = ("optim.lr=1.5e-3",)


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
    """Train one way on so many tokens more, and return its figures."""
    name, start = way.slug, lab.folder / "model_first" / "final"
    expert = [NOISE, *way.collect]
    each = tokens_an_episode(lab, f"pilot_{name}", way, expert)
    if not way.taught:
        episodes = round(tokens / each)
        data = [lab.collect(f"data_{name}", 1, episodes, *expert)]
    else:
        taught = [*STUDENT, f"policy.model={start}", "policy.teacher=expert", *way.collect]
        each_taught = tokens_an_episode(lab, f"pilot_{name}_taught", way, taught)
        episodes = round(tokens / (each * (1 - TAUGHT) + each_taught * TAUGHT))
        data = [
            lab.collect(f"data_{name}", 1, round(episodes * (1 - TAUGHT)), *expert),
            lab.collect(f"data_{name}_taught", 2, round(episodes * TAUGHT), *taught),
        ]
    model = lab.train(f"model_{name}", data, *FURTHER, *way.train, start=start)
    played = lab.play(f"played_{name}", model)
    return {"way": way.name, "episodes": episodes, "tokens": tokens_of(lab.folder / f"model_{name}"), **played}


def begin(lab: Lab, tokens: int) -> dict[str, Any]:
    """Train the model that all ways begin with on the expert's episodes, and return its figures."""
    lab.start(lab.collect("corpus", 98, CORPUS, NOISE))
    episodes = round(tokens / tokens_an_episode(lab, "pilot_first", Way("first"), [NOISE]))
    model = lab.train("model_first", [lab.collect("data_first", 0, episodes, NOISE)])
    played = lab.play("played_first", model)
    return {"episodes": episodes, "tokens": tokens_of(lab.folder / "model_first"), **played}


def tokens_an_episode(lab: Lab, name: str, way: Way, words: Sequence[str]) -> float:
    """Return the mean tokens that an episode has in training."""
    data = lab.collect(name, 99, PILOT, *words)
    lab.train(f"{name}_model", [data], *way.train)
    return tokens_of(lab.folder / f"{name}_model") / PILOT


def against_expert(labs: Sequence[Lab], way: str) -> dict[str, Any]:
    """Compare a way with the expert's alone on the same games, the labs' seeds together."""
    played = f"played_{Way(way).slug}"
    return against([lab.folder / "played_expert" for lab in labs], [lab.folder / played for lab in labs])


def summary(runs: Sequence[Mapping[str, Any]], labs: Mapping[int, Lab]) -> list[dict[str, Any]]:
    """Return the mean rate of each way over the seeds, with Wilson's interval of one run with that rate.

    Each is compared with the expert's alone, in the seeds that have both.
    """
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
                "against_expert": against_expert([labs[run["seed"]] for run in mine], way),
            }
        )
    return lines


def main() -> None:
    """Measure every way of every seed; print and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept, for continuing")
    parser.add_argument("--data", type=Path, help="ALFWorld's data folder; without it the package's games are played")
    parser.add_argument("--first", type=int, default=2_500_000, help="tokens of the model that all ways begin with")
    parser.add_argument("--tokens", type=int, default=800_000, help="to train on from there, for each way")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", type=lambda text: text.split(","), default=[way.name for way in WAYS])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no command later than this")
    options = parser.parse_args()
    budget = Budget(0, 0, 0, time.monotonic() + 60 * options.minutes)
    first: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    labs: dict[int, Lab] = {}
    for seed in options.seeds:
        lab = Lab(options.folder.absolute() / f"seed{seed}", seed, options.data and options.data.absolute(), budget)
        labs[seed] = lab
        first.append({"seed": seed, **begin(lab, options.first)})
        for way in (way for way in WAYS if way.name in {"expert", *options.ways}):
            found = measure(lab, way, options.tokens)
            runs.append({"seed": seed, **found, "against_expert": against_expert([lab], way.name)})
            result = {
                "claim": "ways to train on more than an expert's episodes, at equal tokens",
                "games": "embedded valid_seen" if options.data is None else "ALFWorld's valid_seen",
                "first_tokens": options.first,
                "tokens": options.tokens,
                "first": first,
                "summary": summary(runs, labs),
                "runs": runs,
                "versions": versions_of("torch", "transformers", "tokenizers", "numpy"),
            }
            write_result("beyond_expert", result)
    print(json.dumps(summary(runs, labs), indent=2))


if __name__ == "__main__":
    main()
