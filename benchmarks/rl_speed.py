"""How fast is a step of `rl`, playing and training, beside TRL's GRPOTrainer?

    OMP_NUM_THREADS=1 python -m benchmarks.rl_speed --keep DIR

Both trainers take the same steps from an agent that wins most games: the one of seed 1 of `benchmarks.rl --start once`,
which is fine-tuned first unless --keep holds it. TRL plays by our rollout function, since its own needs a model that
calls tools: once with the player of `rl`, which reads only what is new in a conversation, once by transformers'
`generate` from the first token on, as it does by itself without vLLM. It trains all episodes; ours leaves out games
whose episodes all ended alike. The first step is not counted, except in cpu_seconds, which are those of the whole
process. The result is benchmarks/results/rl_speed.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.types import Prompt, Reply
from benchmarks._result import versions_of, write_result
from benchmarks.learn import REPOSITORY, steps_of
from benchmarks.playing import Together
from benchmarks.rl import STARTS, VERSIONS, fine_tuned, place_of


def speed(options: argparse.Namespace) -> None:
    """Measure seconds a step and memory, of ours and of TRL's trainer with the same model, games and sizes."""
    start, _ = fine_tuned(STARTS["once"], 1, place_of(options.keep, "once", 1))
    found = {}
    for name in SIDES:
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.rl_speed", "side", name, str(start),
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
        "versions": versions_of(*VERSIONS, "trl"),
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


def main() -> None:
    """Measure every side in a process of its own, so that its memory can be measured."""
    if sys.argv[1:2] == ["side"]:
        name, start, keep, steps = sys.argv[2:]
        result = SIDES[name](Path(start), Path(keep), int(steps))
        result["cpu_seconds"] = round(time.process_time(), 1)
        (Path(keep) / f"{name}.json").write_text(json.dumps(result))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="work in this folder")
    parser.add_argument("--steps", type=int, default=5, help="steps that are counted")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    options.keep = options.keep.resolve()
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    speed(options)


if __name__ == "__main__":
    main()
