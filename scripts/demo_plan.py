"""How many episodes can `make demo` collect and train on in the time that is left, on this machine?

    python -m scripts.demo_plan FOLDER LEFT_S COLLECT_S TRAIN_S PLAY_S

FOLDER holds a small collection, `first`, and a short training on it, `first_run`, that was evaluated once. COLLECT_S is
how long this collection took in one process without its start, TRAIN_S the whole training, PLAY_S playing as many games
as will be played at the end. Prints the number of episodes and that of the processes to collect them with; says on
stderr what was measured.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.system import usable_cores
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.inputs import columns_of, train_files
from alfworld_sft.train.data.options import sample_options
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import load_samples
from benchmarks._result import machine

FURTHER_EVALUATIONS = 4
"""The training plays five times, the first one once."""
EVALUATION = 12 / 40 * 30 / 50
"""An evaluation's share of the play at the end: 12 of 40 games, 30 of 50 steps."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: for each episode, collected, read and trained on; and for all that does not grow with their number."""

    episode: float
    fixed: float

    def episodes(self, left_s: float) -> int:
        """Return how many episodes fit, at least 100."""
        return max(100, int((left_s - self.fixed) / self.episode))


def main() -> None:
    folder = Path(sys.argv[1])
    left, collect, train, play = map(float, sys.argv[2:])
    lines = [json.loads(line) for line in (folder / "first_run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "tokens_per_s" in line]
    speed = statistics.median(step["tokens_per_s"] for step in steps[len(steps) // 3 :])
    began = time.perf_counter()
    samples = _read(folder)
    read = time.perf_counter() - began
    tokens = statistics.mean(len(sample) for sample in samples)
    cores = usable_cores()
    stepping = sum(step["tokens"] / step["tokens_per_s"] for step in steps)
    costs = Costs(
        episode=(collect / cores + read) / len(samples) + tokens / speed,
        fixed=(train - stepping) + play * (1 + FURTHER_EVALUATIONS * EVALUATION),
    )
    print(
        f"{machine()['cpu']}, {cores} cores: {speed:,.0f} tokens/s, {tokens:.0f} tokens an episode;"
        f" {left:.0f} s are left, {costs.fixed:.0f} of them for playing and starting",
        file=sys.stderr,
    )
    print(costs.episodes(left), cores)


def _read(folder: Path) -> list[Sample]:
    """Read the first collection as training does."""
    config = build_train_config([f"data.train_files={folder / 'first'}", "data.multiturn.enable=true"])
    encoder = ChatEncoder(load_tokenizer(str(folder / "random")))
    return load_samples(train_files(config), encoder, columns_of(config), sample_options(config)).samples


if __name__ == "__main__":
    main()
