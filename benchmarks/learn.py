"""What does a small model learn from generated games alone, in fifteen minutes of two cores?

    python -m benchmarks.learn --data DATA             three seeds, then the ablations, then the plot
    python -m benchmarks.learn --data DATA --processes 1 --only seeds        on one core
    python -m benchmarks.learn --data DATA --processes 1 --only ablations    on the other, meanwhile
    python -m benchmarks.learn --data DATA --at-once 3   as many runs side by side, each on one thread
    python -m benchmarks.learn --data DATA --keep DIR    the same again goes on where it was interrupted
    python -m benchmarks.learn --data DATA --gpu       on a GPU: larger models, the documented prompts in full

Everything is done by the commands that a user types: collect (generated train games, a noisy expert), tiny-model,
train, evaluate. The clock of a run counts collection and training, in CPU minutes: fifteen minutes of two cores are
thirty. The model then plays all real valid_seen games under DATA, of which it was trained on none: greedily, and after
the full recipe also at the guide's temperature, and with actions restricted to the admissible commands.
Results go to benchmarks/results/learn.json (the seeds and the learning curves), learn_ablations.json, learn_gpu.json;
the curves to docs/learning.svg, which needs matplotlib (extra `plot`).
"""

import argparse
import json
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from alfworld_sft.evaluate.statistics import wilson_interval
from benchmarks._result import RESULTS, versions_of, write_result

REPOSITORY = Path(__file__).resolve().parent.parent
PLOT = REPOSITORY / "docs" / "learning.svg"
GOAL_ONCE = Path(__file__).with_name("templates") / "goal_once.toml"
VERSIONS = ("torch", "transformers", "tokenizers", "numpy")
CURVE_POINTS = 3
NEW = "games.source=generate"
LATE = "games.task_types=[look_at_obj_in_light,pick_two_obj_and_place]"
"""The task types that are learned last."""
LAST_FILES = {"collect": "README.md", "evaluate": "metrics.json"}
"""The file that a command writes last."""
GREEDY = ("policy.temperature=0",)
PLAYS = {
    "valid_seen": GREEDY,
    "valid_seen_sampled": ("policy.temperature=0.4",),
    "valid_seen_constrained": (*GREEDY, "policy.constrain=action"),
}
"""How the full recipe's models play: greedily, at the guide's temperature, and with actions that can be played."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run: what is collected, what is trained, how. `passes` over the episodes make its budget of tokens."""

    name: str
    episodes: int
    passes: int = 1
    template: str = "compact"
    form: str = "multi"
    observation_loss: float = 0.3
    noise: float = 0.15
    model: tuple[str, ...] = ("--model-type", "qwen3", "--chat", "short", "--head-dim", "32")
    train: tuple[str, ...] = ("optim.name=muon", "optim.lr=5e-3", "data.train_batch_size=16")
    taught: int = 0
    """Episodes that the trained model plays with the expert as its teacher; it is then trained further on them."""
    taught_late: int = 0
    """The same in games of the task types that are learned last."""
    again_by_expert: int = 0
    """Episodes of the noisy expert in the games that the model lost there."""
    again_by_student: int = 0
    """Episodes of the model with its teacher in the same games."""
    beside: int = 0
    """New episodes of the noisy expert beside these, of the task types that are learned last."""
    evaluate: tuple[str, ...] = ("policy.max_tokens=24", "policy.max_batch=140", "runner.concurrency=140")
    processes: int = 2
    training_processes: int = 2


SEEDS = (1, 2, 3)
# Told once, the goal leaves room for a third more episodes in as many tokens.
FULL = Recipe(
    "full recipe", episodes=42_000, passes=2, template=str(GOAL_ONCE), taught=2_500, taught_late=2_000,
    again_by_expert=1_800, again_by_student=200, beside=6_000,
)  # fmt: skip
SHORT = Recipe("all of it", episodes=18_000)
ABLATIONS = (
    SHORT,
    replace(SHORT, name="goal told once", episodes=24_600, template=str(GOAL_ONCE)),
    replace(SHORT, name="no loss on observations", observation_loss=0.0),
    replace(SHORT, name="1,000 episodes, 18 times", episodes=1_000, passes=18),
    replace(SHORT, name="qwen2 instead of qwen3", model=("--chat", "short", "--head-dim", "32")),
)
"""A third of the budget for each, in tokens."""
LARGE = ("--model-type", "qwen3", "--width", "512", "--layers", "8", "--max-length", "8192")
GPU = tuple(
    Recipe(
        f"{template}, {form}-turn",
        episodes=60_000 if form == "multi" else 24_000,
        template=template,
        form=form,
        observation_loss=0.3 if form == "multi" else 0.0,
        model=(*LARGE, "--chat", "chatml"),
        train=("optim.name=muon", "optim.lr=2e-3", "data.max_length=4096", "data.micro_batch_size_per_gpu=16",
               "data.train_batch_size=32" if form == "multi" else "data.train_batch_size=128"),
        evaluate=("policy.max_tokens=256", "policy.max_batch=140", "runner.concurrency=140"),
        processes=8,
        training_processes=1,
    )
    for template in ("default", "add_wm1")
    for form in ("single", "multi")
)  # fmt: skip


class Bench:
    """Runs recipes in a folder of their own and keeps what came out."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder

    def run(self, recipe: Recipe, seed: int, *, curve: bool = False) -> dict[str, Any]:
        """Collect, train and evaluate; return the figures."""
        place = folder_of(self.folder, recipe, seed)
        print(f"\n=== {recipe.name}, seed {seed}", flush=True)
        known = place / "trained.json"
        if not known.exists():
            place.mkdir(exist_ok=True)
            known.write_text(json.dumps(self.train(recipe, seed, place, curve=curve)))
        result: dict[str, Any] = json.loads(known.read_text())
        final = place / result["model"]
        for name, options in PLAYS.items() if curve else [("valid_seen", GREEDY)]:
            result[name] = self.play(recipe, final, place / f"played_{name}", options)
        for point in result["curve"]:
            out = place / f"played_{point['model'].replace('/', '_')}"
            point["success"] = self.play(recipe, place / point["model"], out, GREEDY)["success"]
        rate = result["valid_seen"]["success"]["rate"]
        print(
            f"=== {recipe.name}, seed {seed}: {rate:.1%} of valid_seen, {result['cpu_minutes']} CPU minutes", flush=True
        )
        return result

    def train(self, recipe: Recipe, seed: int, place: Path, *, curve: bool) -> dict[str, Any]:
        """Collect and train, or go on with it; return what it took."""
        clock = Clock(place / "clock.json")
        with clock.running("collecting"):
            parts = collect(recipe, seed, place)
        with clock.running("training"):
            make_model(recipe, seed, place, parts)
            train(recipe, seed, place, parts, curve=curve)
        runs = [place / "run"]
        if recipe.taught:
            with clock.running("teaching"):
                runs.append(teach(recipe, seed, place))
        steps = [step for run in runs for step in steps_of(run)]
        return {
            "seed": seed,
            **clock.figures(),
            "tokens_per_s": round(sum(step["tokens"] for step in steps) / clock.cpu_s("training", "teaching")),
            "episodes": recipe.episodes,
            "passes": recipe.passes,
            "tokens": sum(step["tokens"] for step in steps),
            "training_loss": smoothed([step["loss"] for step in steps]),
            "model": str(runs[-1].relative_to(place) / "final"),
            "curve": list(points_of(runs)) if curve else [],
        }

    def play(self, recipe: Recipe, model: Path, out: Path, options: Sequence[str]) -> dict[str, Any]:
        """Play all real valid_seen games, once; return success in all and by task type, and what else is known."""
        execute(
            making(
                "evaluate", out, f"games.source={self.data}", "games.split=valid_seen",
                f"prompt.template={recipe.template}", f"prompt.form={recipe.form}", "policy.name=local",
                f"policy.model={model}", "env.max_repeats=8", *recipe.evaluate, *options,
            )
        )  # fmt: skip
        metrics = json.loads((out / "metrics.json").read_text())
        kept = ("success", "success_by_task_type", "mean_steps_when_won", "invalid_actions", "failures", "world_model")
        return {key: metrics[key] for key in kept if metrics.get(key) is not None}


def folder_of(keep: Path, recipe: Recipe, seed: int) -> Path:
    """Return where a recipe's run is kept."""
    return keep / f"{recipe.name.replace(' ', '_').replace(',', '')}_{seed}"


def collect(recipe: Recipe, seed: int, place: Path) -> list[Path]:
    """Play generated train games by several processes, each with a seed of its own; return their datasets."""
    share = math.ceil(recipe.episodes / recipe.processes)
    rows = f"dataset.rows_per={'episode' if recipe.form == 'multi' else 'turn'}"
    parts = [place / f"data{part}" for part in range(recipe.processes)]
    execute(
        *(
            collecting(recipe, part, share, 1000 * seed + number, *by_expert(recipe), rows)
            for number, part in enumerate(parts)
        )
    )
    return parts


def collecting(recipe: Recipe, out: Path, episodes: int, seed: int, *options: str, games: str = NEW) -> list[str]:
    """Return the command line that collects from generated games, all of it to train on; empty where it is done."""
    return making(
        "collect", out, games, f"num_episodes={episodes}", f"prompt.template={recipe.template}",
        f"prompt.form={recipe.form}", f"seed={seed}", "dataset.val_fraction=0", *options,
    )  # fmt: skip


def by_expert(recipe: Recipe) -> tuple[str, ...]:
    """Return the words of a collection by the noisy expert."""
    return f"policy.noise={recipe.noise}", "dataset.require_success=true"


def make_model(recipe: Recipe, seed: int, place: Path, parts: Sequence[Path]) -> None:
    """Make the random weights that are trained; their words are those of the first dataset."""
    if not (place / "model").exists():
        command("tiny-model", place / "model", "--corpus", parts[0], "--seed", seed, *recipe.model)


def train(recipe: Recipe, seed: int, place: Path, parts: Sequence[Path], *, curve: bool) -> None:
    """Train all weights of a new model, with checkpoints on the way where a curve is wanted."""
    batch = int(next(word for word in recipe.train if "train_batch_size" in word).rpartition("=")[2])
    every = math.ceil(recipe.episodes * recipe.passes / batch / CURVE_POINTS) if curve else 0
    fine_tune(
        recipe, seed, parts, place / "model", place / "run", f"trainer.total_epochs={recipe.passes}",
        f"trainer.save_freq={every}", *recipe.train,
    )  # fmt: skip


def teach(recipe: Recipe, seed: int, place: Path) -> Path:
    """Train the model further on what its teacher says to it, most of all in the games that it loses.

    It plays with the expert as its teacher. The games that it loses then are played again and again, by the expert with
    mistakes and by itself with its teacher. New episodes of the expert are beside these, for the model would forget
    what it no longer sees. Returns the run's folder.
    """
    model = place / "run" / "final"
    student = (
        "policy.name=local", f"policy.model={model}", "policy.temperature=0.4", "env.max_repeats=4",
        "policy.teacher=expert", *recipe.evaluate,
    )  # fmt: skip
    lost = f"games.lost_by=[{place / 'taught'},{place / 'taught_late'}]"
    parts = {
        "taught": (recipe.taught, NEW, student),
        "taught_late": (recipe.taught_late, NEW, (*student, LATE)),
        "again_by_expert": (recipe.again_by_expert, lost, by_expert(recipe)),
        "again_by_student": (recipe.again_by_student, lost, student),
        "beside": (recipe.beside, NEW, (*by_expert(recipe), LATE)),
    }
    for number, (name, (episodes, games, options)) in enumerate(parts.items()):
        execute(collecting(recipe, place / name, episodes, 1000 * seed + 900 + number, *options, games=games))
    out = place / "run_taught"
    fine_tune(
        recipe, seed, [place / name for name in parts], model, out, "trainer.total_epochs=1",
        "trainer.save_freq=0", *recipe.train, "optim.lr=1.5e-3", "data.train_batch_size=128",
    )  # fmt: skip
    return out


def fine_tune(recipe: Recipe, seed: int, parts: Sequence[Path], model: Path, out: Path, *options: str) -> None:
    """Train all weights of a model on datasets, or go on from the last checkpoint."""
    if (out / "final").exists():
        return
    command(
        "train", f"data.train_files=[{','.join(map(str, parts))}]", f"model.path={model}",
        f"data.multiturn.enable={str(recipe.form == 'multi').lower()}", "model.lora_rank=0",
        f"worldmodel.observation_loss={recipe.observation_loss}", f"trainer.default_local_dir={out}",
        f"trainer.seed={seed}", "trainer.logger=[console]", f"trainer.processes={recipe.training_processes}",
        "optim.warmup_steps_ratio=0.03", *options,
    )  # fmt: skip


def steps_of(run: Path) -> list[dict[str, Any]]:
    """Return what a training logged of its steps."""
    return [line for line in log_of(run) if "loss" in line]


def log_of(run: Path) -> list[dict[str, Any]]:
    """Return all that a training logged: steps, and tests between them."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def points_of(runs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the checkpoints of trainings that follow each other, with the tokens trained on until then."""
    before = 0
    for run in runs:
        steps = steps_of(run)
        for checkpoint in sorted(run.glob("global_step_*"), key=step_of):
            tokens = before + tokens_until(steps, checkpoint)
            yield {"model": f"{run.name}/{checkpoint.name}", "tokens": tokens}
        before += sum(step["tokens"] for step in steps)


def tokens_until(steps: Sequence[Mapping[str, Any]], checkpoint: Path) -> int:
    """Return the tokens trained on until a checkpoint of these steps."""
    return sum(step["tokens"] for step in steps[: step_of(checkpoint)])


def step_of(checkpoint: Path) -> int:
    """Return the step of global_step_N."""
    return int(checkpoint.name.rpartition("_")[2])


def smoothed(losses: Sequence[float], points: int = 60) -> list[float]:
    """Return means of equal stretches."""
    size = max(1, len(losses) // points)
    return [round(statistics.mean(losses[i : i + size]), 4) for i in range(0, len(losses) - size + 1, size)]


def children_cpu() -> float:
    """Return the CPU seconds of all commands that have ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summary(runs: Sequence[Mapping[str, Any]], played: str = "valid_seen") -> dict[str, Any]:
    """Return the mean success of runs on the same games, in all and by task type, with Wilson's 95 % interval.

    The interval is that of one run with the mean rate: seeds on the same games are no new games.
    """
    tables = [{"all": run[played]["success"], **run[played]["success_by_task_type"]} for run in runs]
    found: dict[str, Any] = {}
    for name in tables[0]:
        won = sum(table[name]["won"] for table in tables)
        total = sum(table[name]["played"] for table in tables)
        low, high = wilson_interval(won / total, total / len(runs))
        found[name] = {"won": won, "played": total, "rate": won / total, "interval_95": [low, high]}
    return found


def plot(runs: Sequence[Mapping[str, Any]], ablations: Sequence[Mapping[str, Any]]) -> None:
    """Draw success over training steps for each seed, and the ablations beside it."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "learning"  # equal data, equal file
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(3, 2))
    for run in runs:
        tokens = [point["tokens"] / 1e6 for point in run["curve"]]
        left.plot(tokens, [100 * p["success"]["rate"] for p in run["curve"]], marker="o", label=f"seed {run['seed']}")
    left.set(xlabel="million tokens", ylabel="won of 140 real valid_seen games, %", ylim=(0, 100))
    left.legend()
    left.grid(alpha=0.3)
    if ablations:
        names = [run["name"] for run in ablations]
        rates = [100 * run["valid_seen"]["success"]["rate"] for run in ablations]
        low = [
            r - 100 * run["valid_seen"]["success"]["interval_95"][0] for r, run in zip(rates, ablations, strict=True)
        ]
        high = [
            100 * run["valid_seen"]["success"]["interval_95"][1] - r for r, run in zip(rates, ablations, strict=True)
        ]
        right.barh(names, rates, xerr=[low, high], color="tab:gray", capsize=3)
        right.invert_yaxis()
        right.set(xlabel="won, %, at a third of the budget", xlim=(0, 100))
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real games (ALFWORLD_DATA)")
    parser.add_argument("--only", choices=("seeds", "ablations", "plot"))
    parser.add_argument("--gpu", action="store_true", help="larger models and the documented prompts, on a GPU")
    parser.add_argument("--episodes", type=int, help="episodes of the full recipe, for other machines or a quick look")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, each on one thread")
    parser.add_argument("--processes", type=int, default=2, help="processes that collect and train a run")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    options = parser.parse_args()
    if not (options.data / "json_2.1.1" / "valid_seen").is_dir():
        sys.exit(f"error: --data {options.data} holds no json_2.1.1/valid_seen")
    if not options.gpu and find_spec("matplotlib") is None:
        sys.exit("error: the plot at the end needs matplotlib: pip install -e '.[plot]'")
    signal.signal(signal.SIGTERM, _stop)
    with TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(options.data.resolve(), folder.resolve())
        if options.gpu:
            _measure_on_gpu(bench)
            return
        if options.at_once > 1 or options.processes == 1:
            os.environ["OMP_NUM_THREADS"] = "1"
        processes = 1 if options.at_once > 1 else options.processes
        by = partial(replace, processes=processes, training_processes=processes)
        play_all = partial(_runs, bench, options.at_once)
        if options.only in (None, "seeds"):
            recipe = by(replace(FULL, episodes=options.episodes or FULL.episodes))
            for runs in play_all([recipe] * len(SEEDS), SEEDS, curve=True):
                summaries = {"summary": summary(runs)} | {f"summary_{name}": summary(runs, name) for name in PLAYS}
                del summaries["summary_valid_seen"]
                _keep("learn", at_once=options.at_once, recipe=_plain(recipe), **summaries, runs=runs)
        if options.only in (None, "ablations"):
            recipes = list(map(by, ABLATIONS))
            for runs in play_all(recipes, [SEEDS[0]] * len(recipes), curve=False):
                known = zip(recipes[: len(runs)], runs, strict=True)
                named = [{"name": recipe.name, "recipe": _plain(recipe), **run} for recipe, run in known]
                _keep("learn_ablations", at_once=options.at_once, runs=named)
    seeds, ablations = (_known(name) for name in ("learn", "learn_ablations"))
    if seeds:
        plot(seeds["runs"], ablations.get("runs", []))
        _print(seeds["summary"])


def _stop(*_: object) -> None:
    """End this program and the runs that it has begun, so that each keeps what it has done."""
    for run in multiprocessing.active_children():
        run.terminate()
    sys.exit(143)


def _known(name: str) -> dict[str, Any]:
    """Return a result that was written, now or before; empty where there is none."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _runs(
    bench: Bench, at_once: int, recipes: Sequence[Recipe], seeds: Sequence[int], *, curve: bool
) -> Iterator[list[dict[str, Any]]]:
    """Run recipes, so many at once; yield the figures known so far after each."""
    runs: list[dict[str, Any]] = []
    with ProcessPoolExecutor(at_once) as pool:
        work = partial(bench.run, curve=curve)
        for run in map(work, recipes, seeds) if at_once == 1 else pool.map(work, recipes, seeds):
            runs.append(run)
            yield runs


def _measure_on_gpu(bench: Bench) -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("error: --gpu needs a CUDA device and there is none; without --gpu the CPU's benchmark runs")
    runs: list[dict[str, Any]] = []
    for recipe in GPU:
        runs.append({"name": recipe.name, "recipe": _plain(recipe), **bench.run(recipe, SEEDS[0])})
        _keep("learn_gpu", gpu=torch.cuda.get_device_name(), runs=runs)
    for run in runs:
        success = run["valid_seen"]["success"]
        print(f"{run['name']:24} {success['rate']:6.1%} of {success['played']} in {run['minutes']} minutes")


def _keep(name: str, **result: object) -> None:
    """Write what is known so far: a run is too long to be lost with the next one."""
    write_result(name, {**result, "versions": versions_of(*VERSIONS)})


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe without the place of its template."""
    return asdict(recipe) | {"template": Path(recipe.template).stem}


def _print(table: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"{'task type':34} {'won':>5} {'played':>7} {'rate':>7}  95 %")
    for name, row in table.items():
        low, high = row["interval_95"]
        print(f"{name:34} {row['won']:>5} {row['played']:>7} {row['rate']:>7.1%}  {low:.1%} to {high:.1%}")


class Clock:
    """The time that the commands of a run take, kept in a file: a run may be interrupted and gone on with.

    What a command took that was killed (SIGKILL), with this program, is lost.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def running(self, piece: str) -> Iterator[None]:
        """Add what the commands inside take to a piece of the run."""
        began, cpu = time.monotonic(), children_cpu()
        try:
            yield
        finally:
            known = self._known()
            before = known.get(piece, {"s": 0.0, "cpu_s": 0.0})
            known[piece] = {
                "s": before["s"] + time.monotonic() - began,
                "cpu_s": before["cpu_s"] + children_cpu() - cpu,
            }
            self._file.write_text(json.dumps(known))

    def cpu_s(self, *pieces: str) -> float:
        """Return the CPU seconds of some pieces."""
        known = self._known()
        return sum(known[piece]["cpu_s"] for piece in pieces if piece in known)

    def figures(self) -> dict[str, Any]:
        """Return the minutes of the whole run, and of its pieces."""
        known = self._known()
        cpu_s = self.cpu_s(*known)
        return {
            "minutes": round(sum(piece["s"] for piece in known.values()) / 60, 2),
            "minutes_collecting": round(known["collecting"]["s"] / 60, 2),
            "cpu_minutes": round(cpu_s / 60, 2),
            "two_core_minutes": round(cpu_s / 120, 2),
            "cpu_minutes_by_piece": {name: round(piece["cpu_s"] / 60, 2) for name, piece in known.items()},
        }

    def _known(self) -> dict[str, dict[str, float]]:
        return dict(json.loads(self._file.read_text())) if self._file.exists() else {}


def making(kind: Literal["collect", "evaluate"], target: Path, *words: object) -> list[str]:
    """Return the command line that makes a run in this folder, or goes on with it; empty where it is whole."""
    if (target / LAST_FILES[kind]).exists():
        return []
    new = ("--output-dir", target.parent, "--name", target.name, *words)
    return command_words(kind, *(("--resume", target) if target.exists() else new))


def execute(*lines: Sequence[str]) -> None:
    """Run command lines side by side, but for empty ones; end where one fails.

    Those that are interrupted may save what they have done.
    """
    running = [subprocess.Popen(line, cwd=REPOSITORY) for line in lines if line]
    try:
        codes = [process.wait() for process in running]
    except BaseException:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        raise
    if any(codes):
        failed = next(process.args for process, code in zip(running, codes, strict=True) if code)
        sys.exit(f"error: {' '.join(failed[1:4])} failed, see above")


def command(*words: object) -> None:
    """Run one of our commands as a user does; end where it fails."""
    execute(command_words(*words))


def command_words(*words: object) -> list[str]:
    """Return the command line of one of our commands."""
    return [sys.executable, "-m", "alfworld_sft", *map(str, words)]


if __name__ == "__main__":
    main()
