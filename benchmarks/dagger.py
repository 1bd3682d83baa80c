"""Does a teacher on the student's path teach more than as many tokens of fresh expert episodes?

    OMP_NUM_THREADS=1 python -m benchmarks.dagger --folder DIR --data DATA
    OMP_NUM_THREADS=1 python -m benchmarks.dagger --folder DIR --episodes 300 --per-round 60 --rounds 1 --seeds 1

Everything is done by the commands that a user types. Round 0 trains a model of `make demo`'s size on `--episodes`
episodes of a noisy expert, in generated games. In each further round the last model plays `--per-round` new games with
the expert as its teacher, and a new model is trained on all rounds together. Beside every round stands a model trained
on as many tokens of noisy expert episodes alone. All play the same games, the real valid_seen ones under DATA or the
package's own, greedily.

What is done is kept in DIR: run the same command again to continue after an interruption, or after `--minutes`, which
ends the benchmark before a command that would begin later. The result, benchmarks/results/dagger.json, is written again
after every model.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from alfworld_sft.evaluate.statistics import wilson_interval
from benchmarks._paired import against
from benchmarks._result import versions_of, write_result
from benchmarks.learn import command_words, execute, making, steps_of

COMPACT = ("prompt.template=compact", "prompt.form=multi")
GENERATED = ("games.source=generate", "dataset.val_fraction=0")
STUDENT = ("policy.name=local", "policy.temperature=0", "policy.max_tokens=24", "env.max_repeats=8")
PUPIL = (
    "policy.name=local", "policy.temperature=0.4", "policy.max_tokens=24", "env.max_repeats=2",
    "policy.teacher_share=0.3",
)  # fmt: skip
"""How the model plays with its teacher.

It stops soon after it begins to repeat itself, for each further turn would have the same answer again; the teacher acts
now and then, so that games go on.
"""
NOISE = "policy.noise=0.15"
MODEL = ("--model-type", "qwen3", "--chat", "short", "--head-dim", "32")
TRAIN = (
    "data.multiturn.enable=true", "model.lora_rank=0", "worldmodel.observation_loss=0.3", "trainer.total_epochs=1",
    "optim.name=muon", "optim.lr=5e-3", "optim.warmup_steps_ratio=0.03", "trainer.logger=[console]",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is collected, and until when (seconds on the monotonic clock) a command may begin."""

    episodes: int
    per_round: int
    rounds: int
    end: float
    pupil: tuple[str, ...] = PUPIL
    """How the model plays its rounds."""


class Lab:
    """One seed's folder: every method makes what is not there yet, by a command, and returns its path or figures."""

    def __init__(self, folder: Path, seed: int, data: Path | None, budget: Budget) -> None:
        self.folder, self.seed, self.data, self.budget = folder, seed, data, budget
        folder.mkdir(parents=True, exist_ok=True)

    def collect(self, name: str, number: int, episodes: int, *words: str) -> Path:
        """Collect episodes of generated games that no other collection of this seed has."""
        target = self.folder / name
        new = (*GENERATED, *COMPACT, f"num_episodes={episodes}", f"seed={1000 * self.seed + number}", *words)
        self._execute(making("collect", target, *new))
        return target

    def start(self, corpus: Path) -> Path:
        """Make the random weights that all models begin with; their words are those of a dataset."""
        target = self.folder / "random"
        if not target.exists():
            self._execute(command_words("tiny-model", target, "--corpus", corpus, "--seed", self.seed, *MODEL))
        return target

    def train(self, name: str, data: Sequence[Path], *words: str, start: Path | None = None) -> Path:
        """Train a model on datasets, a new one unless it has a start, in steps of about 16 episodes."""
        target = self.folder / name
        if not (target / "final").exists():
            start = start or self.start(data[0])
            rows = sum(pq.ParquetFile(one / "train.parquet").metadata.num_rows for one in data)
            episodes = sum(counts_of(one)["episodes"] for one in data)
            line = command_words(
                "train", f"data.train_files=[{','.join(map(str, data))}]", f"model.path={start}", *TRAIN,
                f"data.train_batch_size={max(1, round(16 * rows / episodes))}", f"trainer.seed={self.seed}",
                f"trainer.default_local_dir={target}", *words,
            )  # fmt: skip
            self._execute(line)
        return target / "final"

    def play(self, name: str, model: Path) -> dict[str, Any]:
        """Play the evaluation's games; return the success."""
        target = self.folder / name
        source = "embedded" if self.data is None else str(self.data)
        games = (f"games.source={source}", "games.split=valid_seen")
        self._execute(making("evaluate", target, *games, *COMPACT, *STUDENT, f"policy.model={model}"))
        metrics = json.loads((target / "metrics.json").read_text())
        return {key: metrics[key] for key in ("success", "invalid_actions")}

    def _execute(self, line: Sequence[str]) -> None:
        if line and time.monotonic() > self.budget.end:
            sys.exit("the minutes are over; run the same command again to continue")
        execute(line)


def counts_of(dataset: Path) -> dict[str, Any]:
    """Return the counts in a dataset's run.json."""
    counts: dict[str, Any] = json.loads((dataset / "run.json").read_bytes())["counts"]
    return counts


def tokens_of(run: Path) -> int:
    """Return the tokens of a training."""
    return sum(step["tokens"] for step in steps_of(run))


def rounds(lab: Lab) -> list[dict[str, Any]]:
    """Return the figures of every round of one seed: the teacher's way, and the expert's with as many tokens."""
    budget = lab.budget
    first = lab.collect("round0", 0, budget.episodes, NOISE)
    taught = [first]
    model = lab.train("taught0", taught)
    per_episode = tokens_of(lab.folder / "taught0") / budget.episodes
    found = [figures(lab, 0, "taught0", budget.episodes)]
    for number in range(1, budget.rounds + 1):
        words = (*budget.pupil, f"policy.model={model}", "policy.teacher=expert")
        taught.append(lab.collect(f"round{number}", number, budget.per_round, *words))
        model = lab.train(f"taught{number}", taught)
        tokens = tokens_of(lab.folder / f"taught{number}")
        more = max(1, round(tokens / per_episode) - budget.episodes)
        fresh = lab.collect(f"fresh{number}", 100 + number, more, NOISE)
        lab.train(f"expert{number}", [first, fresh])
        found.append(figures(lab, number, f"taught{number}", budget.episodes + number * budget.per_round))
        found.append(figures(lab, number, f"expert{number}", budget.episodes + more))
    return found


def figures(lab: Lab, number: int, name: str, episodes: int) -> dict[str, Any]:
    """Return what is known of one model."""
    played = lab.play(f"played_{name}", lab.folder / name / "final")
    known = {"round": number, "way": name.rstrip("0123456789"), "episodes": episodes}
    return {**known, "tokens": tokens_of(lab.folder / name), **played}


def summary(runs: Sequence[dict[str, Any]], labs: Mapping[int, Lab]) -> list[dict[str, Any]]:
    """Return the mean rate of each round and way over the seeds, with Wilson's interval of one run with that rate.

    The teacher's way is compared with as many tokens of the expert's, game by game, the seeds together.
    """
    lines = []
    for number, way in sorted({(run["round"], run["way"]) for run in runs}):
        mine = [run for run in runs if (run["round"], run["way"]) == (number, way)]
        rate = statistics.mean(run["success"]["rate"] for run in mine)
        games = mine[0]["success"]["played"]
        low, high = wilson_interval(rate, games)
        tokens = round(statistics.mean(run["tokens"] for run in mine))
        rates = [run["success"]["rate"] for run in mine]
        line = {"round": number, "way": way, "seeds": len(mine), "rate": rate, "interval_95": [low, high]}
        lines.append(line | {"rates": rates, "tokens": tokens})
        if way == "taught" and number:
            played = [labs[run["seed"]].folder for run in mine]
            lines[-1]["against_expert"] = against(
                [folder / f"played_expert{number}" for folder in played],
                [folder / f"played_taught{number}" for folder in played],
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept, for continuing")
    parser.add_argument("--data", type=Path, help="ALFWorld's data folder; without it the package's games are played")
    parser.add_argument("--episodes", type=int, default=18_000, help="of the noisy expert, before the first round")
    parser.add_argument("--per-round", type=int, default=2_000, help="episodes with the teacher in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--greedy", action="store_true", help="the model plays as in an evaluation, and alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no command later than this")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    pupil = STUDENT if options.greedy else PUPIL
    budget = Budget(options.episodes, options.per_round, options.rounds, end, pupil)
    runs: list[dict[str, Any]] = []
    labs: dict[int, Lab] = {}
    for seed in options.seeds:
        lab = Lab(options.folder.absolute() / f"seed{seed}", seed, options.data and options.data.absolute(), budget)
        labs[seed] = lab
        runs += [{"seed": seed, **found} for found in rounds(lab)]
        result = {
            "claim": "rounds with a teacher beside as many tokens of fresh expert episodes",
            "games": "embedded valid_seen" if options.data is None else "ALFWorld's valid_seen",
            "budget": {key: getattr(budget, key) for key in ("episodes", "per_round", "rounds")},
            "summary": summary(runs, labs),
            "runs": runs,
            "versions": versions_of("torch", "transformers", "tokenizers", "numpy"),
        }
        write_result("dagger_greedy" if options.greedy else "dagger", result)
    print(json.dumps(summary(runs, labs), indent=2))


if __name__ == "__main__":
    main()
