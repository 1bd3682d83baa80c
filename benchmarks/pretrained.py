"""What does the guide make of a real pretrained model, on a machine without a GPU?

The guide's three commands, the scripts under `examples/` and `alfworld-sft evaluate`, with SmolLM2-135M-Instruct
(`alfworld-sft smollm2`): collect from generated games, fine-tune, play the real valid_seen games, before and after.
Beside it the same with random weights of the same size. Defaults as documented but for DIFFERENCES.

    python -m benchmarks.pretrained --data ../shared/alfworld_data --state DIR --only compact --minutes 300

It takes hours, and may be interrupted: the same command resumes from --state. When its minutes are over, it stops in
the same way. The result, also of what is unfinished, is rewritten after every piece of work.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.files import whole_folder
from benchmarks._result import machine, versions_of, write_result
from benchmarks.learn import LATE, children_cpu, command_words, log_of, making, smoothed, step_of

REPOSITORY = Path(__file__).parents[1]
KEPT = ("success", "success_by_task_type", "mean_steps_when_won", "invalid_actions", "failures", "world_model", "usage")
VERSIONS = ("torch", "transformers", "peft", "tokenizers", "gguf")
DIFFERENCES = {
    "model.path": "SmolLM2-135M-Instruct: 1.5 billion parameters would take ten times as long",
    "num_episodes, trainer.total_epochs": "as many different episodes as the time allows, each trained once; default 3",
    "optim.lr": "1e-3 to 3e-3 for adapters (default 1e-4): a smaller model, and fewer steps; all weights: 5e-4",
    "model.dtype": "bfloat16 products for random weights (default float32 where all weights are trained): faster",
    "data.train_batch_size": "16 rows (default 128): so few episodes would give few steps",
    "data.micro_batch_size_per_gpu": "1 (default 2) in the runs until 2026-11-29, where `overrides` has it; without"
    " effect on a CPU, where a pass of this model holds less than one row may have",
    "prompt.form": "multi (default single) for conversations: one pass of the model reads a whole game",
    "policy.noise": "0.15 (default 0), with won games only: without mistakes in its data the student, after its first"
    " one, repeats it until the game ends",
    "data.max_length": "4,096 tokens (default 2,048) for the guide's prompts: 7 % (`default`) and 24 % (`add_wm1`) of"
    " the conversations are longer; runs until 2026-11-29 have the default",
    "worldmodel.observation_loss": "0.3 in conversations (default 0), as documented for small models",
    "policy.temperature": "0 (default 0.4): one play of each game then needs no second",
    "policy.dtype": "bfloat16 for single turns (default float32 on a CPU): each has 800 tokens to read, which is"
    " 1.5 times as fast",
    "policy.max_tokens, env.max_repeats": "24 or 256, more than any reply of the expert has, and 8 (defaults 512,"
    " none): an untrained model talks to the end of every reply and game",
    "runner.concurrency": "32 (default 64): keys and values of a conversation take 46 KB a token",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One run of the guide.

    `base` is the pretrained model, random weights of Qwen3's kind of the same size, or another arm: its model then is
    trained further, on what a teacher says to episodes that it plays, or on the expert's with `guesses`.
    """

    name: str
    template: str
    form: str
    episodes: int
    max_tokens: int
    before_games: int
    """Games that the model plays before training: all, or a subset where each takes minutes."""
    base: str = "smollm2"
    rows_per_step: int = 16
    lr: str = "1e-3"
    seed: int = 42
    """Of the games: a model that learned from some is trained further on others."""
    guesses: bool = False
    """Whether the conversations hold what the expert guessed, not what came, as predictions before a row's answer."""
    late_episodes: int = 0
    """Further episodes, in a dataset of their own, of the two task types that are learned last."""
    after_games: int | None = None
    """Games that the trained model plays: all (None), or a subset, for time."""
    ways: tuple[str, ...] = ("free", "constrained")
    """How it plays: freely, and with actions restricted to the admissible ones."""

    @property
    def training(self) -> list[str]:
        """Overrides of the training script."""
        whole = ["model.lora_rank=0", "model.dtype=bfloat16"] if self.base == "random" else []
        world = ["worldmodel.observation_loss=0.3"] if self.form == "multi" else []
        longest = [] if self.template == "compact" else ["data.max_length=4096"]
        batch = [] if self.rows_per_step == 128 else [f"data.train_batch_size={self.rows_per_step}"]
        return [*whole, f"optim.lr={self.lr}", *world, *longest, *batch, "trainer.total_epochs=1"]

    @property
    def playing(self) -> list[str]:
        """Overrides with which a model of this arm plays in any way."""
        reading = ["policy.dtype=bfloat16"] if self.form == "single" else []
        return [
            f"prompt.template={self.template}", f"prompt.form={self.form}", f"policy.max_tokens={self.max_tokens}",
            *reading,
        ]  # fmt: skip

    @property
    def folder(self) -> str:
        """The name of the arm's folder."""
        return re.sub(r"\W+", "_", f"{self.name} {self.episodes}")


TAUGHT = (
    "policy.teacher=expert", "policy.teacher_share=0.3", "policy.temperature=0.4", "env.max_repeats=2",
    "dataset.val_fraction=0", "runner.concurrency=32",
)  # fmt: skip
"""How a model plays with its teacher, as `docs/learning.md` recommends."""
LATE_TYPES = "compact, 3e-3, more look and pick two"
MORE = "add_wm1, multi, more episodes"
GUESSED = "add_wm1, multi, then guesses"
AGAIN = "add_wm1, multi, then guesses, look and pick two"
GUESSES = ("worldmodel.predictions=grounded_answer", "policy.guesses=hopeful")

ARMS = (
    Arm("compact", "compact", "multi", 3000, 24, 140),
    Arm("compact, steps of 128 rows", "compact", "multi", 3000, 24, 140, rows_per_step=128),
    Arm(LATE_TYPES, "compact", "multi", 2200, 24, 0, lr="3e-3", late_episodes=800),
    Arm("compact, taught", "compact", "multi", 600, 24, 0, LATE_TYPES, lr="2e-3", seed=4242, late_episodes=400),
    Arm("compact, random weights", "compact", "multi", 2000, 24, 20, base="random", lr="5e-4"),
    Arm("default, multi", "default", "multi", 800, 256, 20),
    Arm("default, multi, 3e-3", "default", "multi", 500, 256, 20, lr="3e-3"),
    Arm("default, multi, 3e-3, more episodes", "default", "multi", 1900, 256, 20, lr="3e-3"),
    Arm("default, multi, taught", "default", "multi", 150, 256, 0, base="default, multi, 3e-3", seed=4242),
    Arm("default, multi, taught twice", "default", "multi", 150, 256, 0, base="default, multi, taught", seed=4243),
    Arm("add_wm1, multi", "add_wm1", "multi", 400, 256, 20, lr="3e-3"),
    Arm(MORE, "add_wm1", "multi", 1400, 256, 20, lr="3e-3"),
    Arm(GUESSED, "add_wm1", "multi", 500, 256, 0, MORE, lr="2e-3", seed=4242, guesses=True),
    Arm(AGAIN, "add_wm1", "multi", 250, 256, 0, GUESSED, lr="2e-3", seed=4343, guesses=True, late_episodes=350),
    Arm("add_wm1, multi, taught", "add_wm1", "multi", 150, 256, 0, base="add_wm1, multi", seed=4242),
    Arm("default, single", "default", "single", 200, 256, 12, after_games=24, ways=("free",)),
    Arm("add_wm1, single", "add_wm1", "single", 200, 256, 12, lr="3e-3", after_games=24, ways=("free",)),
)


class OutOfTimeError(Exception):
    """The minutes are over; the same command resumes."""


class Bench:
    """Does one arm piece by piece, and keeps what is known of it in `arm.json` of the arm's folder."""

    def __init__(self, arm: Arm, options: argparse.Namespace, ends: float) -> None:
        self.arm, self.options, self.ends = arm, options, min(ends, time.monotonic() + 60 * options.minutes)
        self.state = options.state.resolve()
        self.place = self.state / arm.folder
        self.student = next((self.state / other.folder for other in ARMS if other.name == arm.base), None)
        self.place.mkdir(parents=True, exist_ok=True)
        new = {"arm": asdict(arm), "overrides": arm.training, "machine": machine(), "cpu_minutes": {}, "curve": []}
        self.known: dict[str, Any] = {**new, **(read_json(self.place / "arm.json") or {}), "status": "unfinished"}

    def run_all(self) -> None:
        """Do what is left of the arm; raises OutOfTimeError when its minutes are over."""
        model = self.make_model(self.arm.base)
        datasets = self.collect(model)
        few = self.options.curve_games if self.options.smoke else None
        if not self.student:
            self.play_all(model, "before", few or self.arm.before_games)
        self.play_all(self.train(model, datasets), "after", few or self.arm.after_games)
        for name in self.known["after"]:
            before = self.student / f"after {name}" if self.student else self.place / f"before {name}"
            if (before / "metrics.json").exists():
                self.known.setdefault("paired", {})[name] = pair(before, self.place / f"after {name}")
        self.known["status"] = "complete"
        self.keep()

    def make_model(self, base: str) -> Path:
        """Make the base model's folder, unless it is there; of an arm whose model goes on learning, a merged one."""
        if self.student:
            final, merged = self.student / "sft_models/final", self.place / "student"
            if not final.exists():
                sys.exit(f"error: {self.arm.name} needs the model of another arm first: --only {self.arm.base!r}")
            if not merged.exists():
                self.command("model", command_words("merge", final, merged))
            return merged
        folder = self.state / base
        if base == "smollm2" and self.options.model:
            return Path(self.options.model.resolve())
        if not folder.exists() and base == "random":
            write_random(self.make_model("smollm2"), folder)
        elif not folder.exists():
            self.command("model", command_words("smollm2", folder))
        return folder

    def collect(self, model: Path) -> list[Path]:
        """Collect by the guide's script, and return the datasets' folders; `model` plays if it has a teacher."""
        arm, folder = self.arm, self.state / f"data_{self.arm.template}_{self.arm.form}_{self.arm.episodes}"
        if self.student:
            folder = self.place / "data"
        self.known["dataset"] = self.collect_one(folder, model, arm.episodes, arm.seed)
        if not arm.late_episodes:
            return [folder]
        late = self.place / "data_late"
        self.known["dataset_late"] = self.collect_one(late, model, arm.late_episodes, arm.seed + 1, LATE)
        return [folder, late]

    def collect_one(self, folder: Path, model: Path, episodes: int, seed: int, *extra: str) -> dict[str, Any]:
        """Collect one dataset, or resume it; return its counts."""
        arm = self.arm
        if not folder.exists():
            script = REPOSITORY / "examples/ppo_trainer/run_alfworld_sft_collection.sh"
            variables = {"PROMPT_TEMPLATE": arm.template, "NUM_EPISODES": str(episodes)}
            words = [script, "--name", folder.name, "games.source=generate", f"seed={seed}", *extra]
            if self.student and not arm.guesses:
                words += ["policy.name=local", f"policy.model={model}", *TAUGHT, *arm.playing]
            else:
                words += ["policy.noise=0.15", f"prompt.form={arm.form}"]
                words += GUESSES if arm.guesses else ()
                variables["SFT_REQUIRE_SUCCESS"] = "True"
            self.command("collecting", words, OUTPUT_DIR=str(folder.parent), **variables)
        elif read_json(folder / "run.json")["status"] != "complete":
            self.command("collecting", command_words("collect", "--resume", folder))
        counts: dict[str, Any] = read_json(folder / "run.json")["counts"]
        return counts

    def train(self, model: Path, datasets: list[Path]) -> Path:
        """Train by the guide's script, with a break at each point of the curve to play; return the final model."""
        out = self.place / "sft_models"
        name = "multiturn" if self.arm.form == "multi" else "single"
        rows = sum(read_json(folder / "run.json")["counts"]["rows_train"] for folder in datasets)
        every = math.ceil(rows / self.arm.rows_per_step / self.options.points)
        script = REPOSITORY / f"examples/sft/run_alfworld_sft_{name}.sh"
        words = [script, self.options.processes, out, datasets[0], f"model.path={model}"]
        if len(datasets) > 1:
            files = f"[{','.join(map(str, datasets))}]"
            words += [f"data.train_files={files}", f"data.val_files={files}"]
        words += [*self.arm.training, f"trainer.save_freq={every}", "trainer.max_ckpt_to_keep=3"]
        while True:
            for checkpoint in self.unplayed(out, every):
                step = step_of(checkpoint)
                success = self.play(checkpoint, f"step {step}", self.options.curve_games)["success"]
                tokens = training_figures(out, step)["tokens"]
                self.known["curve"].append({"step": step, "tokens": tokens, "success": success})
                self.keep()
            if (out / "final").exists():
                return out / "final"
            try:
                self.command("training", words, until=lambda: self.unplayed(out, every))
            finally:
                if (out / "metrics.jsonl").exists():
                    self.known["training"] = training_figures(out)
                    self.keep()

    def unplayed(self, out: Path, every: int) -> list[Path]:
        """Return the checkpoints at points of the curve that have not played yet."""
        played = {point["step"] for point in self.known["curve"]}
        found = sorted(out.glob("global_step_*"), key=step_of)
        return [path for path in found if step_of(path) % every == 0 and step_of(path) not in played]

    def play_all(self, model: Path, when: str, games: int | None) -> None:
        """Play the real valid_seen games in all ways of the arm."""
        known = self.known.setdefault(when, {})
        for name in self.arm.ways:
            extra = ["policy.constrain=action"] if name == "constrained" else []
            if name not in known:
                known[name] = self.play(model, f"{when} {name}", games, *extra)
                self.keep()

    def play(self, model: Path, name: str, games: int | None, *extra: str) -> dict[str, Any]:
        """Evaluate by the documented command, or resume it; return the figures that are kept."""
        out, arm = self.place / name, self.arm
        words = making(
            "evaluate", out, f"games.source={self.options.data.resolve()}",
            *arm.playing, "policy.name=local", f"policy.model={model}", "policy.temperature=0", "env.max_repeats=8",
            "runner.concurrency=32", *extra, *([f"num_games={games}"] if games else []),
        )  # fmt: skip
        if words:
            self.command("playing", words)
        return {key: value for key, value in read_json(out / "metrics.json").items() if key in KEPT and value}

    def command(
        self, piece: str, words: Sequence[object], until: Callable[[], object] = lambda: False, **variables: str
    ) -> None:
        """Run a command, at most until the time or a condition says so: SIGTERM then makes it save and end.

        Raises OutOfTimeError when the time is over, and ends the program where the command fails.
        """
        cpu = children_cpu()
        environ = {**os.environ, "VIRTUAL_ENV": sys.prefix, **variables}
        process = subprocess.Popen([str(word) for word in words], cwd=REPOSITORY, env=environ)
        try:
            while process.poll() is None and time.monotonic() < self.ends and not until():
                time.sleep(1)
        finally:
            over = process.poll() is None
            if over:
                process.terminate()
                process.send_signal(signal.SIGCONT)  # one that somebody has stopped would not end
            process.wait()
            spent = self.known["cpu_minutes"]
            spent[piece] = round(spent.get(piece, 0) + (children_cpu() - cpu) / 60, 2)
            self.keep()
        if process.returncode not in ((0, 143, -signal.SIGTERM) if over else (0,)):
            sys.exit(f"error: {words[0]} … failed, see above")
        if time.monotonic() >= self.ends:
            raise OutOfTimeError

    def keep(self) -> None:
        """Write what is known of the arm, and the result of all arms in the state folder."""
        whole = self.place / "arm.json.new"
        whole.write_text(json.dumps(self.known, indent=2), encoding="utf-8")
        whole.replace(self.place / "arm.json")
        if not self.options.smoke:
            arms = [read_json(path) for path in sorted(self.state.glob("*/arm.json"))]
            write_result("pretrained", {"differences": DIFFERENCES, "arms": arms, "versions": versions_of(*VERSIONS)})


def pair(before: Path, after: Path) -> dict[str, Any]:
    """Compare two evaluations on the games that both played, as `alfworld-sft evaluate --compare` does.

    An episode that outgrows the model's context would do so again, and counts as lost.
    """
    results = (read_result(folder, failed_as_lost=True) for folder in (before, after))
    return asdict(compare(*results, different_protocols=True))


def training_figures(run: Path, last: float = math.inf) -> dict[str, Any]:
    """Return what a training's log says, up to a step: its minutes are those of the steps, on the wall's clock."""
    log = log_of(run)
    steps = [line for line in log if "loss" in line and line["step"] <= last]
    tokens = sum(step["tokens"] for step in steps)
    seconds = sum(step["tokens"] / step["tokens_per_s"] for step in steps)
    return {
        "steps": len(steps),
        "tokens": tokens,
        "minutes": round(seconds / 60, 1),
        "tokens_per_s": round(tokens / seconds, 1) if steps else None,
        "tokens_per_s_median": round(statistics.median(step["tokens_per_s"] for step in steps), 1) if steps else None,
        "loss": smoothed([step["loss"] for step in steps]),
        "val_loss": [line["val/loss"] for line in log if "val/loss" in line],
    }


def write_random(like: Path, folder: Path) -> None:
    """Write a Qwen3 with random weights, of the shape and with the tokenizer of a Llama folder."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    shape = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "rope_parameters", "rms_norm_eps",
        "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    llama = AutoConfig.from_pretrained(like).to_dict()
    torch.manual_seed(1)
    model = Qwen3ForCausalLM(Qwen3Config(**{key: llama[key] for key in shape}))
    with whole_folder(folder) as partial:
        AutoTokenizer.from_pretrained(like).save_pretrained(partial)
        model.save_pretrained(partial)


def read_json(path: Path) -> Any:
    """Return what a file holds, or None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> None:
    """Run the arms that are wanted, as far as the minutes go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real games (ALFWORLD_DATA)")
    parser.add_argument("--state", type=Path, required=True, help="folder to work in and to resume from")
    parser.add_argument("--only", choices=[arm.name for arm in ARMS], help="one arm; default: all, one after the other")
    parser.add_argument("--minutes", type=float, default=600, help="stop an arm after so many minutes")
    parser.add_argument("--total-minutes", type=float, default=3000, help="stop everything after so many minutes")
    parser.add_argument("--episodes", type=int, help="episodes to collect, instead of the arm's own number")
    parser.add_argument("--curve-games", type=int, default=30, help="games that each point of the curve plays")
    parser.add_argument("--processes", type=int, default=1, help="processes that train, over the cores of the machine")
    parser.add_argument("--points", type=int, default=6, help="points of the learning curve")
    parser.add_argument("--model", type=Path, help="a folder that alfworld-sft smollm2 made; default: make it")
    parser.add_argument("--smoke", action="store_true", help="play as few games as the curve does, and write no result")
    options = parser.parse_args()
    if not (options.data / "json_2.1.1" / "valid_seen").is_dir():
        sys.exit(f"error: --data {options.data} holds no json_2.1.1/valid_seen")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the command in progress as well
    ends = time.monotonic() + 60 * options.total_minutes
    for arm in (arm for arm in ARMS if options.only in (None, arm.name)):
        chosen = replace(arm, episodes=options.episodes or arm.episodes)
        try:
            Bench(chosen, options, ends).run_all()
        except OutOfTimeError:
            print(f"{arm.name}: its minutes are over; the same command resumes", flush=True)


if __name__ == "__main__":
    main()
