"""Does our world say what the reference says? All real games, two hash seeds, three grammar versions.

    python -m benchmarks.parity                      # the full run; writes benchmarks/results/parity.json
    python -m benchmarks.parity --per-type 1         # one game of each task type; prints, writes no result

One worker process for each hash seed runs the reference (a process of its own, with the same seed) and our world side
by side. Each game has one reset and one sequence of commands in each worker: the first worker reaches the goal first
and goes on from there, the second wanders first. The embedded grammar is played on every game chosen; `logic` and
`older` (see tests/reference/variants.py) on a few of each task type.

Every game is one line in a journal in `--work`, so a run that was stopped goes on where it was. A journal's lines
count only for the same world code, the same commands and the same number of steps. Exit status: 0 no difference,
1 differences or games that could not be compared.
"""

import argparse
import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks._result import write_result
from tests.reference.client import Reference, ReferenceFailedError, why_no_reference
from tests.reference.differential import OurWorld, compare_game
from tests.reference.facts import read_facts
from tests.reference.real import REAL_GAMES, REPOSITORY, game_files, game_id, sample, task_type
from tests.reference.variants import GRAMMARS, Grammar, write_variant

HASH_SEEDS = (0, 1)
DEFAULT_WORK = Path(tempfile.gettempdir()) / "alfworld-sft-parity"
GAMES_PER_PROCESS = 40
"""The reference is started afresh after so many games, lest it grow."""


def code_of(*packages: str) -> str:
    """SHA-256 over the code of the packages' modules in this process; comments and layout do not count."""
    whole = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.startswith(packages) and module.__file__:
            tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
            whole.update(f"{name}\0{ast.dump(tree)}\0".encode())
    return whole.hexdigest()


WORLD = code_of("alfworld_sft.world")
TESTER = code_of("tests.reference")


@dataclass(frozen=True)
class Job:
    """One game in one grammar, to be played in one worker."""

    grammar: Grammar
    game: str
    path: Path


def main() -> int:
    """Run the workers, add up their journals, write and report."""
    options = read_options()
    if why := why_no_reference():
        sys.exit(why)
    if options.worker is not None:
        return work(options, options.worker)
    jobs = jobs_of(options)
    if not jobs:
        sys.exit(f"no game.tw-pddl below {options.data}")
    report(f"{len(jobs)} games and grammars, {options.steps} steps each, hash seeds {HASH_SEEDS}")
    options.work.mkdir(parents=True, exist_ok=True)
    failed = [seed for seed, status in run_workers() if status != 0]
    lines = [line for seed in HASH_SEEDS for line in journal_lines(options, seed)]
    result = summary(options, jobs, lines)
    for difference in result["differences"]:
        print(json.dumps(difference, ensure_ascii=False))
    print(json.dumps(result["totals"], indent=2))
    owed = len(jobs) * len(HASH_SEEDS) - len(lines)
    if code_of("alfworld_sft.world") != WORLD:
        sys.exit("the world's code has changed while this ran; run it again")
    if not (options.per_type or options.games or failed or owed):
        print(write_result("parity", result).relative_to(REPOSITORY))
    if owed or failed:
        report(f"{owed} comparisons are owed; run the same command again to go on")
    return 1 if result["differences"] or owed or failed else 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=REAL_GAMES, help="folder with the real games")
    parser.add_argument("--steps", type=int, default=60, help="commands a game (default 60)")
    parser.add_argument("--games", type=int, help="only the first N games, in the order of their paths")
    parser.add_argument("--per-type", type=int, help="only N games of each task type")
    parser.add_argument("--other-per-type", type=int, default=4, help="games of each task type in the other grammars")
    parser.add_argument("--seed", type=int, default=0, help="seed of the commands")
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder of the journals")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """Every game and grammar of this run, the same list in every worker."""
    paths = game_files(options.data)[: options.games]
    if options.per_type is not None:
        paths = sample(paths, options.per_type)
    others = sample(paths, options.other_per_type)
    return [
        Job(grammar, game_id(path, options.data), path)
        for grammar in GRAMMARS
        for path in (paths if grammar == "embedded" else others)
    ]


def run_workers() -> Iterator[tuple[int, int]]:
    """Run this program once for each hash seed, at the same time; seed and exit status of each."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.parity", *sys.argv[1:], "--worker", str(seed)],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            cwd=REPOSITORY,
        )
        for seed in HASH_SEEDS
    ]
    try:
        for seed, process in zip(HASH_SEEDS, running, strict=True):
            yield seed, process.wait()
    finally:
        for process in running:
            process.terminate()


def work(options: argparse.Namespace, hash_seed: int) -> int:
    """Play what the journal does not have yet; 1 if a game could not be compared."""
    stamp = stamp_of(options)
    jobs = jobs_of(options)
    done = {(line["grammar"], line["game"]) for line in journal_lines(options, hash_seed)}
    owed = [job for job in jobs if (job.grammar, job.game) not in done]
    progress = Progress(hash_seed, total=len(jobs), owed=len(owed))
    with journal(options, hash_seed).open("a", encoding="utf-8") as lines:
        lines.write("\n")  # a line torn by a kill ends here
        while owed:
            with Reference(hash_seed) as reference:
                for _ in range(min(GAMES_PER_PROCESS, len(owed))):
                    job = owed.pop(0)
                    try:
                        line = play(job, options, hash_seed, reference)
                    except ReferenceFailedError as error:
                        progress.failed(job, error)
                        break  # the process may be dead or confused: the next game gets a new one
                    lines.write(json.dumps(stamp | line, ensure_ascii=False) + "\n")
                    lines.flush()
                    progress.compared(len(line["differences"]))
    return 1 if progress.failures else 0


class Progress:
    """How far one worker is, said on stderr every tenth game."""

    def __init__(self, hash_seed: int, total: int, owed: int) -> None:
        self.name, self.total, self.owed = f"hash seed {hash_seed}", total, owed
        self.played, self.differing, self.failures = 0, 0, 0
        self.started = time.perf_counter()

    def compared(self, differences: int) -> None:
        """One more game is done."""
        self.played += 1
        self.differing += bool(differences)
        left = self.owed - self.played
        if self.played % 10 == 0 or not left or differences:
            pace = (time.perf_counter() - self.started) / self.played
            report(
                f"{self.name}: {self.total - left}/{self.total} games, {self.differing} with differences, "
                f"{pace:.1f} s a game, {pace * left / 60:.0f} min to go"
            )

    def failed(self, job: Job, error: ReferenceFailedError) -> None:
        """One game could not be compared."""
        self.failures += 1
        report(f"{self.name}: {job.grammar} {job.game}: {error}")


def play(job: Job, options: argparse.Namespace, hash_seed: int, reference: Reference) -> dict[str, Any]:
    """Compare one game; its line for the journal."""
    path = job.path
    if job.grammar != "embedded":
        path = write_variant(path, job.grammar, options.work / f"variants-{hash_seed}")
    commands_seed = f"{options.seed}/{hash_seed}/{job.grammar}/{job.game}"
    result = compare_game(
        reference,
        OurWorld(),
        path,
        read_facts(path),
        seed=commands_seed,
        steps=options.steps,
        goal_first=hash_seed == 0,
    )
    return {
        "grammar": job.grammar,
        "game": job.game,
        "hash_seed": hash_seed,
        "reference": reference.versions,
        "steps": dict(result.steps),
        "shapes": dict(result.shapes),
        "won": result.won,
        "steps_after_winning": result.steps_after_winning,
        "differences": [asdict(difference) for difference in result.differences],
    }


def summary(options: argparse.Namespace, jobs: list[Job], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The result: counts by grammar, hash seed, kind of command and shape of answer, and every difference."""
    by_run: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for line in lines:
        run = f"{line['grammar']}, hash seed {line['hash_seed']}"
        by_run[run, "games"] += 1
        by_run[run, "steps"] += sum(line["steps"].values())
        by_run[run, "won"] += line["won"]
        kinds.update(line["steps"])
        shapes.update(line["shapes"])
    found = [
        {key: line[key] for key in ("grammar", "game", "hash_seed")} | difference
        for line in lines
        for difference in line["differences"]
    ]
    return {
        "totals": {
            "games": len({job.game for job in jobs}),
            "games_by_task_type": dict(Counter(task_type(job.path) for job in jobs if job.grammar == "embedded")),
            "comparisons": len(lines),
            "resets": len(lines),
            "steps": sum(kinds.values()),
            "steps_after_winning": sum(line["steps_after_winning"] for line in lines),
            "fewest_steps_a_comparison": min((sum(line["steps"].values()) for line in lines), default=0),
            "differences": len(found),
        },
        "runs": {
            run: {name: by_run[run, name] for name in ("games", "steps", "won")}
            for run in sorted({r for r, _ in by_run})
        },
        "steps_by_kind": dict(sorted(kinds.items())),
        "answers_by_shape": dict(shapes.most_common()),
        "differences": found,
        "steps_a_game": options.steps,
        "hash_seeds": list(HASH_SEEDS),
        "seed": options.seed,
        "versions": lines[0]["reference"] if lines else {},
        "world_sha256": WORLD,
    }


def journal(options: argparse.Namespace, hash_seed: int) -> Path:
    """The journal of one worker."""
    return options.work / f"hash-seed-{hash_seed}.jsonl"


def journal_lines(options: argparse.Namespace, hash_seed: int) -> list[dict[str, Any]]:
    """The journal's lines that belong to this run; a torn line is none."""
    path, stamp = journal(options, hash_seed), stamp_of(options)
    wanted = {(job.grammar, job.game) for job in jobs_of(options)}
    found = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line.items() >= stamp.items() and (line["grammar"], line["game"]) in wanted:
            found[line["grammar"], line["game"]] = line
    return list(found.values())


def stamp_of(options: argparse.Namespace) -> dict[str, Any]:
    """What must be equal for a line of an earlier run to count: world, tester, steps, seed."""
    return {"world": WORLD, "tester": TESTER, "max_steps": options.steps, "seed": options.seed}


def report(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
