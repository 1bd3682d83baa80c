"""Does reinforcement learning help a small agent, and by which estimator?

    python -m benchmarks.rl --data DATA --keep DIR                three seeds, 30 minutes of two cores an arm
    python -m benchmarks.rl --data DATA --keep DIR --minutes 5 --seeds 1 --arms grpo,sft   a quick look
    python -m benchmarks.rl --data DATA --keep DIR --start once   from other agents
    python -m benchmarks.rl --data DATA --keep DIR --start strong --agents LEARNED

An agent is fine-tuned on generated episodes; then every arm continues from it for as many CPU minutes: `rl` by each
estimator, and `train` on the episodes that it was fine-tuned on. The agents then play all real valid_seen games under
DATA greedily; each arm is compared with the agent that it started from, and with more fine-tuning, on the same games.
Everything is done by the commands that a user types, in the folder of --keep; the same command resumes there.

--start says which agent that is: `few`, fine-tuned on few episodes again and again; `once`, on more episodes, each
once; `strong`, one that wins nearly all games, of `benchmarks.learn --keep LEARNED`, before its teacher's part. Strong
agents also play 1,000 generated games that none was trained on, since 140 games cannot tell 97 % from 99 %.

The result is benchmarks/results/rl_START.json; the curves of several arms go to docs/reinforcement-learning-START.svg,
which needs matplotlib (extra `plot`).
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks._paired import against
from benchmarks._result import versions_of, write_result
from benchmarks.learn import (
    FULL,
    REPOSITORY,
    Recipe,
    children_cpu,
    collect,
    command_words,
    execute,
    folder_of,
    make_model,
    making,
    step_of,
    steps_of,
    tokens_until,
    train,
)

VERSIONS = ("torch", "transformers", "numpy")
POLL_S = 2.0
PLAYING = ("prompt.form=multi", "policy.max_tokens=24", "env.max_repeats=8")
GENERATED = ("games.source=generate", "num_games=1000", "seed=777")
CURVE_POINTS = 4
STARTS = {
    "few": Recipe("start", episodes=4_000, passes=4, processes=1),
    "once": Recipe("start", episodes=12_000, processes=1),
    "strong": FULL,
}


@dataclass(frozen=True, slots=True)
class Arm:
    """What is done with the agent's minutes: a command of ours and its options."""

    name: str
    command: str
    options: tuple[str, ...]


# At 1e-4 the policy gradients and best_of gained; 3e-4 lost part of its gain later, 1e-3 unlearned (docs).
RL = (
    "rl.num_generations=8", "policy.max_batch=128", "model.lora_rank=0", "optim.lr=1e-4",
    "env.max_steps=30", "rl.kl_limit=null", "trainer.save_freq=5", *PLAYING,
)  # fmt: skip
ARMS = (
    Arm("grpo", "rl", (*RL, "rl.advantage=grpo")),
    Arm("gigpo", "rl", (*RL, "rl.advantage=gigpo")),
    Arm("progress", "rl", (*RL, "rl.advantage=progress", "rl.cut_off=kept")),
    Arm("progress_soon", "rl", (*RL, "rl.advantage=progress", "rl.cut_off=kept", "rl.lam=0.5")),
    Arm("progress_exact", "rl", (*RL, "rl.advantage=progress", "rl.cut_off=zero")),
    Arm("penalty", "rl", (*RL, "rl.advantage=grpo", "rl.invalid_penalty=0.05")),
    Arm("best_of", "rl", (*RL, "rl.method=best_of")),
    Arm("sft", "train", (
        "model.lora_rank=0", "data.multiturn.enable=true", "worldmodel.observation_loss=0.3", "optim.lr=1e-4",
        "optim.lr_scheduler=constant", "optim.warmup_steps_ratio=0", "data.train_batch_size=16",
        "trainer.save_freq=100",
    )),
)  # fmt: skip


def learn(options: argparse.Namespace) -> None:
    """Run every arm of every seed, and write what is known after each."""
    runs: list[dict[str, Any]] = []
    arms = [arm for arm in ARMS if arm.name in options.arms]
    result = f"rl_{options.start}"
    known = {
        "minutes": options.minutes,
        "arms": [asdict(arm) for arm in arms],
        "runs": runs,  # filled below
        "versions": versions_of(*VERSIONS),
    }
    for seed in options.seeds:
        place = place_of(options.keep, options.start, seed)
        recipe = STARTS[options.start]
        strong = options.start == "strong"
        start, data = learned_before(options.agents, seed) if strong else fine_tuned(recipe, seed, place)
        before = play(options, start, place / "played_start")
        known_of_start = {"start": before, "episodes": recipe.episodes, "passes": recipe.passes}
        if strong:
            known_of_start["start_generated"] = play(options, start, place / "generated_start", generated=True)
        run: dict[str, Any] = {"seed": seed, **known_of_start, "arms": {}}
        runs.append(run)
        for arm in arms:
            source = (f"data.train_files=[{','.join(map(str, data))}]",) if arm.command == "train" else ()
            run["arms"][arm.name] = learned(arm, (*arm.options, *source), start, seed, place, options)
            if strong:
                newest = place / arm.name / f"global_step_{run['arms'][arm.name]['step']}"
                run["arms"][arm.name]["generated"] = play(
                    options, newest, place / f"generated_{arm.name}", generated=True
                )
            write_result(result, known)
            print(
                f"=== {arm.name}, seed {seed}: {before['rate']:.1%} → {run['arms'][arm.name]['rate']:.1%}", flush=True
            )
        last = LastPlays(options.keep, options.start)
        for name, found in run["arms"].items():
            found["against"] = dict(last.compare([run], name))
        known["summary"] = {name: last.summary(runs, name) for name in run["arms"]}
        write_result(result, known)
    print(json.dumps(known["summary"], indent=2))
    if len(arms) > 1:
        plot(runs, REPOSITORY / "docs" / f"reinforcement-learning-{options.start}.svg")


def learned_before(agents: Path, seed: int) -> tuple[Path, list[Path]]:
    """Return an agent of `benchmarks.learn`, as it was before its teacher's part, and what it was trained on."""
    place = folder_of(agents, FULL, seed)
    return place / "run" / "final", [place / "data0"]


def place_of(keep: Path, start: str, seed: int) -> Path:
    """Return the folder of a seed's agents."""
    return keep / f"{start}_{seed}"


def fine_tuned(recipe: Recipe, seed: int, place: Path) -> tuple[Path, list[Path]]:
    """Return an agent fine-tuned on generated episodes, and their datasets; made once."""
    final, data = place / "run" / "final", [place / "data0"]
    if not final.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        collect(recipe, seed, place)
        make_model(recipe, seed, place, data)
        train(recipe, seed, place, data, curve=False)
    return final, data


def learned(
    arm: Arm, words: Sequence[str], start: Path, seed: int, place: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Spend an arm's minutes, and return the success of its checkpoints on the way and at the end."""
    out = place / arm.name
    size = (
        (f"rl.games_per_step={options.games}", f"prompt.template={template_of(options)}") if arm.command == "rl" else ()
    )
    spent = spend(
        [
            arm.command, f"model.path={start}", f"trainer.default_local_dir={out}", f"trainer.seed={seed}",
            "trainer.total_training_steps=1000000", "trainer.logger=[]", *words, *size,
        ],
        out, 60 * options.minutes * 2,
    )  # fmt: skip
    if not list(out.glob("global_step_*")):
        sys.exit(f"error: {out.name} saved nothing in its {options.minutes:g} minutes, see above")
    steps = steps_of(out)
    checkpoints = sorted(out.glob("global_step_*"), key=step_of)
    chosen = checkpoints[:: max(1, len(checkpoints) // CURVE_POINTS)][-CURVE_POINTS:]
    curve = []
    for checkpoint in dict.fromkeys([*chosen, checkpoints[-1]]):
        success = play(options, checkpoint, place / f"played_{arm.name}_{step_of(checkpoint)}")
        curve.append({"step": step_of(checkpoint), "tokens": tokens_until(steps, checkpoint), **success})
    return {**curve[-1], "cpu_minutes": round(spent / 60, 2), "curve": curve, "training": thinned(steps)}


def spend(words: Sequence[object], out: Path, budget_s: float) -> float:
    """Run one of our commands until it has used its CPU seconds, then stop it by SIGTERM; return those used.

    A run that was killed is resumed, with the seconds that it had left.
    """
    clock = out.with_name(f"{out.name}_cpu_seconds")
    before = float(clock.read_text()) if clock.exists() else 0.0
    if before >= budget_s:
        return before
    ended = children_cpu()
    process = subprocess.Popen(command_words(*words), cwd=REPOSITORY)
    watched, used = psutil.Process(process.pid), before
    while process.poll() is None:
        time.sleep(POLL_S)
        try:
            times = watched.cpu_times()
        except psutil.NoSuchProcess:
            break
        used = before + times.user + times.system
        if used >= budget_s:
            process.send_signal(signal.SIGTERM)
            process.wait()
        out.parent.mkdir(parents=True, exist_ok=True)
        clock.write_text(str(used))
    used = before + children_cpu() - ended
    if process.wait() not in (0, 143):
        print(f"=== {out.name} ended by itself, see above; what it had saved is played", flush=True)
        used = max(used, budget_s)
    clock.write_text(str(used))
    return used


def template_of(options: argparse.Namespace) -> Path | str:
    """Return the template that the agents were fine-tuned with."""
    return STARTS[options.start].template


def play(options: argparse.Namespace, model: Path, out: Path, *, generated: bool = False) -> dict[str, Any]:
    """Play all real valid_seen games greedily, once, or generated ones; return the success."""
    execute(
        making(
            "evaluate", out, *(GENERATED if generated else (f"games.source={options.data}", "games.split=valid_seen")),
            "policy.name=local", f"policy.model={model}", f"prompt.template={template_of(options)}",
            "policy.temperature=0", "policy.max_batch=250", "runner.concurrency=250", *PLAYING,
        )
    )  # fmt: skip
    return dict(json.loads((out / "metrics.json").read_text())["success"])


@dataclass(frozen=True, slots=True)
class LastPlays:
    """How the agents at the end of each arm played, seeds together."""

    keep: Path
    start: str

    def summary(self, runs: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
        """Return an arm's success over the seeds, and the comparisons of all their plays."""
        rates = [run["arms"][name]["rate"] for run in runs]
        return {"rate": statistics.mean(rates), "rates": rates, "against": dict(self.compare(runs, name))}

    def compare(self, runs: Sequence[Mapping[str, Any]], name: str) -> Iterator[tuple[str, Any]]:
        """Yield the comparisons of an arm with the agents at its start, and with more fine-tuning, game by game."""
        for other in ("start", "sft"):
            if other != name and (other == "start" or other in runs[0]["arms"]):
                yield other, against(self.of(runs, other), self.of(runs, name))

    def of(self, runs: Sequence[Mapping[str, Any]], name: str) -> list[Path]:
        """Return an arm's evaluations, one for each seed."""
        last = [f"played_{name}_{run['arms'][name]['step']}" if name != "start" else "played_start" for run in runs]
        places = (place_of(self.keep, self.start, run["seed"]) for run in runs)
        return [place / folder for place, folder in zip(places, last, strict=True)]


def thinned(steps: Sequence[Mapping[str, Any]], points: int = 20) -> list[dict[str, Any]]:
    """Return what some of a run's steps reported."""
    kept = ("step", "tokens", "success", "reward", "mean_steps", "invalid_rate", "no_signal", "entropy", "kl", "loss")
    return [
        {key: round(line[key], 4) for key in kept if line.get(key) is not None}
        for line in steps[:: max(1, len(steps) // points)]
    ]


def plot(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw success on the real games over the tokens trained on: a colour for each arm, a line for each seed."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "rl"  # equal data, equal file
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for name in runs[0]["arms"]:
        for number, run in enumerate(runs):
            curve = [{"tokens": 0, **run["start"]}, *run["arms"][name]["curve"]]
            axes.plot([p["tokens"] / 1e6 for p in curve], [100 * p["rate"] for p in curve], marker="o", markersize=3,
                      color=f"C{list(runs[0]['arms']).index(name)}", label=None if number else name)  # fmt: skip
    axes.set(xlabel="million tokens trained on", ylabel="won of 140 real valid_seen games, %")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the arms that are wanted from the agents that are wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real games (ALFWORLD_DATA)")
    parser.add_argument("--keep", type=Path, required=True, help="work in this folder; the same command resumes there")
    parser.add_argument("--start", choices=sorted(STARTS), default="few", help="the agent that all arms start from")
    parser.add_argument("--agents", type=Path, help="for --start strong: the folder that benchmarks.learn kept")
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of two cores for each arm")
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--arms", type=lambda text: text.split(","), default=[arm.name for arm in ARMS])
    parser.add_argument("--games", type=int, default=16, help="games that an arm of rl plays in a step")
    options = parser.parse_args()
    if not (options.data / "json_2.1.1" / "valid_seen").is_dir():
        sys.exit(f"error: --data {options.data} holds no json_2.1.1/valid_seen")
    if (options.start == "strong") != (options.agents is not None):
        sys.exit("error: --start strong needs --agents, and nothing else takes it")
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    options.keep.mkdir(parents=True, exist_ok=True)
    options.keep, options.data = options.keep.resolve(), options.data.resolve()
    options.agents = options.agents and options.agents.resolve()
    learn(options)


if __name__ == "__main__":
    main()
