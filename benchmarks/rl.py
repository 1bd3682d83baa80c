"""Does reinforcement learning help a small agent, by which estimator, and how fast is it beside TRL?

    python -m benchmarks.rl learn --data DATA --keep DIR                three seeds, 30 minutes of two cores an arm
    python -m benchmarks.rl learn --data DATA --keep DIR --minutes 5 --seeds 1 --arms grpo,sft   a quick look
    python -m benchmarks.rl learn --data DATA --keep DIR --start once   from other agents
    python -m benchmarks.rl learn --data DATA --keep DIR --start strong --agents LEARNED
    python -m benchmarks.rl speed --keep DIR                            seconds a step, beside TRL's GRPOTrainer

learn: an agent is fine-tuned on generated episodes; then every arm continues from it for as many CPU minutes: `rl` by
each estimator, and `train` on the episodes that it was fine-tuned on. The agents then play all real valid_seen games
under DATA greedily; each arm is compared with the agent that it started from, and with more fine-tuning, on the same
games. Everything is done by the commands that a user types, in the folder of --keep; the same command resumes there.

--start says which agent that is: `few`, fine-tuned on few episodes again and again; `once`, on more episodes, each
once; `strong`, one that wins nearly all games, of `benchmarks.learn --keep LEARNED`, before its teacher's part.

speed: both trainers take the same steps from the agent of seed 1, which is fine-tuned first unless --keep holds it. TRL
plays by our rollout function, since its own needs a model that calls tools: once with the player of `rl`, which reads
only what is new in a conversation, once by transformers' `generate` from the first token on, as it does by itself
without vLLM. It trains all episodes; ours leaves out games whose episodes all ended alike. The first step is not
counted, except in cpu_seconds, which are those of the whole process.

Results go to benchmarks/results: rl_START.json (the curves of `few` to docs/reinforcement-learning.svg), rl_speed.json.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from alfworld_sft.evaluate.compare import Result, compare, read_result
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.types import Prompt, Reply
from benchmarks._result import versions_of, write_result
from benchmarks.learn import FULL, Recipe, children_cpu, collect, folder_of, step_of, steps_of, train
from benchmarks.playing import Together

REPOSITORY = Path(__file__).resolve().parent.parent
PLOT = REPOSITORY / "docs" / "reinforcement-learning.svg"
VERSIONS = ("torch", "transformers", "trl", "numpy")
POLL_S = 2.0
PLAYING = ("prompt.form=multi", "policy.max_tokens=24", "env.max_repeats=8")
CURVE_POINTS = 4
STARTS = {
    "few": Recipe("start", episodes=2_500, passes=5, processes=1),
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
    Arm("progress", "rl", (*RL, "rl.advantage=progress")),
    Arm("progress_soon", "rl", (*RL, "rl.advantage=progress", "rl.lam=0.5")),
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
        run: dict[str, Any] = {"seed": seed, **known_of_start, "arms": {}}
        runs.append(run)
        for arm in arms:
            source = (f"data.train_files=[{','.join(map(str, data))}]",) if arm.command == "train" else ()
            run["arms"][arm.name] = learned(arm, (*arm.options, *source), start, seed, place, options)
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
    if options.start == "few":
        plot(runs)


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
        if not (data[0] / "train.parquet").is_file():
            collect(recipe, seed, place)
        if not (place / "model").is_dir():
            command("tiny-model", place / "model", "--corpus", data[0], "--seed", seed, *recipe.model)
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
    tokens = {line["step"]: sum(each["tokens"] for each in steps[:number]) for number, line in enumerate(steps, 1)}
    checkpoints = sorted(out.glob("global_step_*"), key=step_of)
    chosen = checkpoints[:: max(1, len(checkpoints) // CURVE_POINTS)][-CURVE_POINTS:]
    curve = []
    for checkpoint in dict.fromkeys([*chosen, checkpoints[-1]]):
        success = play(options, checkpoint, place / f"played_{arm.name}_{step_of(checkpoint)}")
        curve.append({"step": step_of(checkpoint), "tokens": tokens[step_of(checkpoint)], **success})
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


def play(options: argparse.Namespace, model: Path, out: Path) -> dict[str, Any]:
    """Play all real valid_seen games greedily, once; return the success."""
    if not (out / "metrics.json").is_file():
        resume = ("--resume", out, "--trust") if out.is_dir() else ("--output-dir", out.parent, "--name", out.name)
        words = (
            f"games.source={options.data}", "games.split=valid_seen", "policy.name=local", f"policy.model={model}",
            f"prompt.template={template_of(options)}", "policy.temperature=0", "policy.max_batch=140",
            "runner.concurrency=140", *PLAYING,
        )  # fmt: skip
        command("evaluate", *resume, *(() if out.is_dir() else words))
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
                found = compare(self.of(runs, other), self.of(runs, name))
                yield other, {"difference": found.difference, "interval_95": list(found.interval), "p": found.p_value}

    def of(self, runs: Sequence[Mapping[str, Any]], name: str) -> Result:
        """Return an arm's plays: each game once for each seed."""
        last = [f"played_{name}_{run['arms'][name]['step']}" if name != "start" else "played_start" for run in runs]
        places = (place_of(self.keep, self.start, run["seed"]) for run in runs)
        results = [read_result(place / folder) for place, folder in zip(places, last, strict=True)]
        outcomes = {
            task_type: {game: tuple(chain(*(each.outcomes[task_type][game] for each in results))) for game in by_game}
            for task_type, by_game in results[0].outcomes.items()
        }
        return replace(results[0], name=name, outcomes=outcomes)


def speed(options: argparse.Namespace) -> None:
    """Measure seconds a step and memory, of ours and of TRL's trainer with the same model, games and sizes."""
    start, _ = fine_tuned(STARTS["once"], 1, place_of(options.keep, "once", 1))
    found = {}
    for name in SIDES:
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.rl", "side", name, str(start),
                                    str(options.keep), str(options.steps)], cwd=REPOSITORY)  # fmt: skip
        peak = peak_memory(process)
        if process.returncode:
            sys.exit(f"error: {name} failed, see above")
        found[name] = json.loads((options.keep / f"{name}.json").read_text()) | {"peak_gib": peak}
        print(f"{name:12} {found[name]}", flush=True)
    own = found.pop("ours")
    write_result("rl_speed", {
        "steps": options.steps, "threads": int(os.environ["OMP_NUM_THREADS"]), **SPEED, "ours": own, "peers": found,
        "speedup": {name: round(peer["seconds_a_step"] / own["seconds_a_step"], 2) for name, peer in found.items()},
        "memory_ratio": {name: round(own["peak_gib"] / peer["peak_gib"], 3) for name, peer in found.items()},
        "versions": versions_of(*VERSIONS),
    })  # fmt: skip


SPEED = {"games": 8, "generations": 8, "max_steps": 30, "max_tokens": 24, "max_length": 4096, "lr": 1e-4, "seed": 1}
"""What both sides do in a step: the same games of one stream, all weights trained, in float32, once per episode."""


def ours(start: Path, keep: Path, steps: int) -> dict[str, float]:
    """Run `rl` for a few steps; the first one warms up and is not counted."""
    from alfworld_sft.rl.config import build_rl_config
    from alfworld_sft.rl.run import reinforce

    out = keep / "speed_ours"
    shutil.rmtree(out, ignore_errors=True)
    reinforce(build_rl_config([
        f"model.path={start}", "model.lora_rank=0", "model.dtype=float32", "policy.dtype=float32",
        f"trainer.default_local_dir={out}", f"trainer.total_training_steps={steps + 1}", "trainer.logger=[]",
        "trainer.save_freq=0", f"trainer.seed={SPEED['seed']}", f"optim.lr={SPEED['lr']}", "rl.advantage=grpo",
        f"rl.games_per_step={SPEED['games']}", f"rl.num_generations={SPEED['generations']}", "rl.kl_limit=null",
        f"env.max_steps={SPEED['max_steps']}", "prompt.template=compact", f"policy.max_tokens={SPEED['max_tokens']}",
        f"policy.max_batch={SPEED['games'] * SPEED['generations']}", f"data.max_length={SPEED['max_length']}",
    ]))  # fmt: skip
    lines = steps_of(out)[1:]
    return speeds(
        sum(line["seconds_playing"] for line in lines) / len(lines),
        sum(line["seconds_training"] for line in lines) / len(lines),
        turns=[line["mean_steps"] for line in lines],
        won=[line["success"] for line in lines],
        trained=[line["sequences"] for line in lines],
    )


def trl_side(start: Path, keep: Path, steps: int) -> dict[str, float]:
    """Run TRL's GRPOTrainer with our rollouts for a few steps; the first one warms up and is not counted."""
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from alfworld_sft.integrations.trl import Games, success_reward

    ends: list[float] = []
    played: list[tuple[float, dict[str, list[Any]]]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.perf_counter())

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        began = time.perf_counter()
        found = games.rollout(prompts, trainer)
        played.append((time.perf_counter() - began, found))
        return found

    games = Games(
        "generate", games_seed=SPEED["seed"], max_steps=SPEED["max_steps"], template="compact",
        max_tokens=SPEED["max_tokens"], max_batch=SPEED["games"] * SPEED["generations"],
    )  # fmt: skip
    args = GRPOConfig(
        output_dir=str(keep / "speed_trl"), per_device_train_batch_size=SPEED["generations"],
        gradient_accumulation_steps=SPEED["games"], num_generations=SPEED["generations"], max_steps=steps + 1,
        max_completion_length=SPEED["max_length"], learning_rate=SPEED["lr"], lr_scheduler_type="constant", beta=0.0,
        adam_beta2=0.95, weight_decay=0.01, shuffle_dataset=False, gradient_checkpointing=False, save_strategy="no",
        report_to="none", use_cpu=True, bf16=False, model_init_kwargs={"dtype": "float32"}, seed=SPEED["seed"],
        logging_steps=1, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        str(start), success_reward, args, games.dataset(SPEED["games"] * (steps + 1)), rollout_func=rollout,
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    counted = played[1:]
    playing = sum(seconds for seconds, _ in counted) / steps
    return speeds(
        playing,
        (ends[-1] - ends[0]) / steps - playing,
        turns=[statistics.mean(found["steps"]) for _, found in counted],
        won=[statistics.mean(found["won"]) for _, found in counted],
        trained=[len(found["won"]) for _, found in counted],
    )


def trl_with_generate(start: Path, keep: Path, steps: int) -> dict[str, float]:
    """Run the same with a player that reads every conversation anew in every turn."""
    with patch("alfworld_sft.integrations.trl.LocalModel", GenerateModel):
        return trl_side(start, keep, steps)


class GenerateModel:
    """What a rollout needs of a player: samples by `generate`, for all episodes at once, from their first token on."""

    def __init__(self, model: Any, tokenizer: Any, name: str, sampling: Any, **_: object) -> None:
        self._model, self._sampling, self.name = model, sampling, name
        self.encoder = ChatEncoder(tokenizer)
        self._together = Together(self._sample)

    async def answer(self, prompt: Prompt, player: object, ids: list[int]) -> Reply:
        """Wait for the reply to the tokens of a conversation."""
        return await self._together.ask(ids)

    def close(self) -> None:
        """Do nothing: the model belongs to the trainer."""

    def _sample(self, conversations: list[list[int]]) -> list[Reply]:
        import torch

        longest, end = max(map(len, conversations)), self.encoder.end_id
        rows = [[end] * (longest - len(ids)) + ids for ids in conversations]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in conversations]
        with torch.inference_mode():
            out = self._model.generate(
                torch.tensor(rows), attention_mask=torch.tensor(mask), max_new_tokens=self._sampling.max_tokens,
                do_sample=True, temperature=self._sampling.temperature, top_k=0, top_p=1.0, eos_token_id=end,
                pad_token_id=end, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            scores = self._model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        replies = []
        for ids, said, logprobs in zip(
            conversations, out.sequences[:, longest:].tolist(), scores.tolist(), strict=True
        ):
            length = said.index(end) + 1 if end in said else len(said)
            text = self.encoder.tokenizer.decode(said[:length], skip_special_tokens=True)
            replies.append(
                Reply(
                    text, prompt_token_ids=tuple(ids), token_ids=tuple(said[:length]), logprobs=tuple(logprobs[:length])
                )
            )
        return replies


SIDES = {"ours": ours, "trl": trl_side, "trl_generate": trl_with_generate}


def speeds(
    playing: float, training: float, *, turns: Sequence[float], won: Sequence[float], trained: Sequence[int]
) -> dict[str, float]:
    """Return the seconds of a step and what was done in it, on average of the counted steps."""
    episodes = SPEED["games"] * SPEED["generations"]
    return {
        "seconds_a_step": round(playing + training, 2),
        "seconds_playing": round(playing, 2),
        "seconds_training": round(training, 2),
        "episodes_per_s": round(episodes / (playing + training), 3),
        "turns_an_episode": round(statistics.mean(turns), 2),
        "won": round(statistics.mean(won), 3),
        "episodes_trained": round(statistics.mean(trained), 1),
    }


def peak_memory(process: "subprocess.Popen[bytes]") -> float:
    """Wait for a process and return the most memory that it and its children held, in GiB."""
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(each.memory_info().rss for each in family))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.2)
    return round(peak / 2**30, 2)


def thinned(steps: Sequence[Mapping[str, Any]], points: int = 60) -> list[dict[str, Any]]:
    """Return what some of a run's steps reported."""
    kept = ("step", "tokens", "success", "reward", "mean_steps", "invalid_rate", "no_signal", "entropy", "kl", "loss")
    return [
        {key: line[key] for key in kept if line.get(key) is not None} for line in steps[:: max(1, len(steps) // points)]
    ]


def plot(runs: Sequence[Mapping[str, Any]]) -> None:
    """Draw success on the real games over the tokens trained on: the mean of the seeds, by arm."""
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
    figure.savefig(PLOT, metadata={"Date": None})


def command(*words: object) -> None:
    """Run one of our commands as a user does; end where it fails."""
    if subprocess.run(command_words(*words), cwd=REPOSITORY, check=False).returncode:
        sys.exit(f"error: alfworld-sft {words[0]} failed, see above")


def command_words(*words: object) -> list[str]:
    """Return the command line of one of our commands."""
    return [sys.executable, "-m", "alfworld_sft", *map(str, words)]


def main() -> None:
    if sys.argv[1:2] == ["side"]:  # a process of its own, so that its memory can be measured
        name, start, keep, steps = sys.argv[2:]
        result = SIDES[name](Path(start), Path(keep), int(steps))
        result["cpu_seconds"] = round(time.process_time(), 1)
        (Path(keep) / f"{name}.json").write_text(json.dumps(result))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("learn", "speed"))
    parser.add_argument("--data", type=Path, help="folder with the real games (ALFWORLD_DATA), for learn")
    parser.add_argument("--keep", type=Path, required=True, help="work in this folder; the same command resumes there")
    parser.add_argument("--start", choices=sorted(STARTS), default="few", help="the agent that all arms start from")
    parser.add_argument("--agents", type=Path, help="for --start strong: the folder that benchmarks.learn kept")
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of two cores for each arm")
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--arms", type=lambda text: text.split(","), default=[arm.name for arm in ARMS])
    parser.add_argument("--games", type=int, default=16, help="games that an arm of rl plays in a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that speed counts")
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    options.keep.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if options.part == "speed":
        speed(options)
        return
    if options.data is None or not (options.data / "json_2.1.1" / "valid_seen").is_dir():
        sys.exit(f"error: --data {options.data} holds no json_2.1.1/valid_seen")
    options.data = options.data.resolve()
    if (options.start == "strong") != (options.agents is not None):
        sys.exit("error: --start strong needs --agents, and nothing else takes it")
    options.agents = options.agents and options.agents.resolve()
    learn(options)


if __name__ == "__main__":
    main()
