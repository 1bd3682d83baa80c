"""How fast, in how much memory and how well does the trainer train, beside TRL's SFTTrainer?

Both train the same model on the same dataset, with the same batch, epochs, learning rate and adapters, each in a
process of its own, one after the other in one run. Claims, on a CPU: rows of conversations at least 5 times as fast,
single-turn rows 1.3 times, the final validation loss (measured by one evaluator) equal within what another seed
changes, peak memory no higher; and a model of 0.8 M parameters trains at 10,000 tokens/s or more on two threads.
Where there is a GPU: Qwen2.5-1.5B's shape with random weights and the real vocabulary size, LoRA 32, at 2,048 and
8,192 tokens.

    python -m benchmarks.sft --data ../shared/alfworld_data      # collects episodes from these games first
    python -m benchmarks.sft --dataset DIR --smoke               # a minute, writes nothing
    python -m benchmarks.sft --only gpu
    python -m benchmarks.sft --model DIR --data DATA --threads 1     # a pretrained model, instead of all of that

With --model both take the same few steps of LoRA on it: a step's rows are equal, in conversations those of one episode.
TRL computes in float32, and once more in bfloat16 where this CPU multiplies that; ours as it does by default. Seconds a
step leave out the first step; row_tokens_per_s counts each row's tokens, tokens_per_s those that were computed, and
cpu_seconds are those of the whole process. Speed and memory are claimed as above. Instead of a validation loss, the
losses of all steps are listed; TRL's single turns have a trained newline more, which lowers their mean a little.

TRL packs or leaves out padding only with flash attention, which has no wheel; it is given what it has without it:
batches of similar length, and no gradient checkpointing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, pstdev
from typing import Any

from benchmarks._result import peak_mib, versions_of, write_result
from benchmarks._sft_rows import choose_rows, compare_rows, trl_dataset, trl_template
from benchmarks.learn import steps_of

FORMS = ("multi", "single")
CLAIMED_SPEEDUP = {"multi": 5.0, "single": 1.3}
CLAIMED_TOKENS_PER_S = 10_000
NOISE_SEEDS = (1, 2, 3)
QWEN_1_5B: dict[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 32_768, "rope_theta": 1e6,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip


def main() -> None:
    """Run the parts that this machine can, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="ALFWorld data folder to collect from; default: $ALFWORLD_DATA")
    parser.add_argument("--dataset", type=Path, help="a dataset at hand, instead of collecting one")
    parser.add_argument("--episodes", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--model", type=Path, help="folder of a pretrained ChatML model, e.g. of alfworld-sft smollm2")
    parser.add_argument("--steps", type=int, default=3, help="steps with --model, the first of which warms up")
    parser.add_argument("--batch", type=int, help="rows a step; default: 32, with --model 6")
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["peer", "speed", "gpu"])
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything; the result is not written")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](json.loads(sys.stdin.read()))))
        return
    if options.smoke:
        options.epochs = 1
        options.episodes = options.episodes if options.model else 24
    options.batch = options.batch or (6 if options.model else 32)  # turns of the median episode within 2,048 tokens
    if options.batch % options.micro:
        parser.error(f"--batch {options.batch} is no multiple of --micro {options.micro}, and TRL's steps would differ")
    if options.steps < 2:
        parser.error(f"--steps {options.steps}: the first warms up, so there must be 2 or more")
    with tempfile.TemporaryDirectory() as folder:
        result = (compare_on_model if options.model else run_parts)(options, Path(folder))
    print(json.dumps(result, indent=2))
    if not options.smoke:
        packages = versions_of("torch", "transformers", "peft", "trl", "accelerate")
        write_result("sft_pretrained" if options.model else "sft", {**result, "versions": packages})


def run_parts(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of each part that is wanted and possible here."""
    result: dict[str, Any] = {}
    if options.only != "gpu":
        dataset = options.dataset or collect(options.data, options.episodes, folder, "add_wm1")
        if options.only != "speed":
            result["peer"] = compare_with_peer(options, dataset, folder)
        if options.only != "peer":
            compact = options.dataset or collect(options.data, options.episodes, folder, "compact")
            result["speed"] = measure_speed(options, compact, folder)
    if options.only in (None, "gpu"):
        result["gpu"] = worker("gpu_name", {}, options.threads)["name"] and compare_on_gpu(options, folder)
    return result


def collect(data: str | None, episodes: int, folder: Path, template: str) -> Path:
    """Collect a dataset with the expert."""
    words = [sys.executable, "-m", "alfworld_sft", "collect", "--output-dir", folder, "--name", template]
    words += [f"num_episodes={episodes}", f"prompt.template={template}", "policy.noise=0.1"]
    words += [f"games.source={data}"] if data else []
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / template


def worker(name: str, job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sft", "--worker", name], input=json.dumps(job, default=str), env=environ,
        stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_with_peer(options: argparse.Namespace, dataset: Path, folder: Path) -> dict[str, Any]:
    """Train by both on the CPU, in both forms."""
    model = folder / "peer_model"
    size = worker("make_model", {"dataset": dataset, "model": model, "tokenizer": "bpe"}, options.threads)
    found: dict[str, Any] = {"model": size, "epochs": options.epochs, "batch": options.batch, "micro": options.micro}
    for form in FORMS:
        job = {
            "dataset": dataset, "model": model, "form": form, "epochs": options.epochs, "batch": options.batch,
            "micro": options.micro, "lr": 3e-3, "rank": 32, "alpha": 16, "max_length": 2048, "device": "cpu",
        }  # fmt: skip
        ours = []
        for seed in NOISE_SEEDS[:1] if options.smoke else NOISE_SEEDS:
            out = folder / f"ours_{form}_{seed}"
            ours.append(worker("ours", {**job, "out": out, "seed": seed}, options.threads))
            ours[-1]["val_loss"] = worker("evaluate", {**job, "adapter": out / "final"}, options.threads)["val_loss"]
        out = folder / f"trl_{form}"
        trl = worker("trl", {**job, "out": out, "seed": 1}, options.threads)
        trl["val_loss"] = worker("evaluate", {**job, "adapter": out}, options.threads)["val_loss"]
        losses = [run["val_loss"] for run in ours]
        found[form] = {
            "ours": ours, "trl": trl,
            "speedup": round(trl["seconds"] / median(run["seconds"] for run in ours), 2),
            "claimed_speedup": CLAIMED_SPEEDUP[form],
            "val_loss_difference": round(trl["val_loss"] - losses[0], 4),
            "val_loss_noise": round(max(pstdev(losses) * 3, 0.01 * losses[0]), 4),
            "memory_ratio": round(max(run["peak_mib"] for run in ours) / trl["peak_mib"], 3),
        }  # fmt: skip
    return found


def compare_on_model(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Take the same steps of LoRA on a pretrained model by both, in both forms."""
    dataset = options.dataset or collect(options.data, options.episodes, folder, "add_wm1")
    job = {
        "dataset": dataset, "rows": folder / "rows", "model": options.model.resolve(), "epochs": 1,
        "batch": options.batch, "micro": options.micro, "lr": 1e-4, "rank": 32, "alpha": 16, "max_length": 2048,
        "device": "cpu", "seed": 1, "steps": options.steps, "warm_up": 1,
    }  # fmt: skip
    chosen = worker("choose_rows", job, options.threads)
    kept = ("batch", "micro", "rank", "alpha", "max_length", "lr", "steps", "warm_up")
    found: dict[str, Any] = {"threads": options.threads, **{key: job[key] for key in kept}, "data": chosen}
    peers = ["float32", *(["bfloat16"] if worker("multiplies_bfloat16", {}, 1)["known"] else [])]
    for form in FORMS:
        ours = worker("ours", {**job, "dataset": job["rows"], "form": form, "out": folder / form}, options.threads)
        found[form] = {"ours": ours, "claimed_speedup": CLAIMED_SPEEDUP[form]}
        for dtype in peers:
            peer = {**job, "form": form, "out": folder / f"trl_{form}_{dtype}", "dtype": dtype}
            trl = worker("trl", {**peer, "train_file": job["rows"] / f"trl_{form}.parquet"}, options.threads)
            found[form] |= {"data": worker("compare_rows", peer, 1), f"trl_{dtype}": trl}
            found[form] |= {
                f"speedup_{dtype}": round(trl["seconds_per_step"] / ours["seconds_per_step"], 2),
                f"memory_ratio_{dtype}": round(ours["peak_mib"] / trl["peak_mib"], 3),
            }
        for run in (ours, *(found[form][f"trl_{dtype}"] for dtype in peers)):
            run["rows_per_s"] = round(options.batch / run["seconds_per_step"], 3)
            run["row_tokens_per_s"] = round(found[form]["data"]["tokens_a_step"] / run["seconds_per_step"])
        print(json.dumps({form: found[form]}), file=sys.stderr, flush=True)
    return found


def measure_speed(options: argparse.Namespace, dataset: Path, folder: Path) -> dict[str, Any]:
    """Train all weights of a model of 0.8 M parameters on compact conversations."""
    model = folder / "speed_model"
    size = worker("make_model", {"dataset": dataset, "model": model, "tokenizer": "word", "feed_forward": 336}, 2)
    job = {
        "dataset": dataset, "model": model, "form": "multi", "epochs": options.epochs, "batch": 128, "micro": 2,
        "lr": 3e-3, "rank": 0, "alpha": 16, "max_length": 2048, "device": "cpu", "out": folder / "speed", "seed": 1,
        "extra": ["worldmodel.observation_loss=0.3"],
    }  # fmt: skip
    done = worker("ours", job, options.threads)
    return {"model": size, "threads": options.threads, "claimed_tokens_per_s": CLAIMED_TOKENS_PER_S, **done}


def compare_on_gpu(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Train adapters on Qwen2.5-1.5B's shape by both, at two lengths."""
    model, dataset = folder / "qwen", folder / "long"
    worker("make_large", {"model": model, "dataset": dataset, "rows": 256}, 8)
    found = []
    for length in (2048, 8192):
        wide = min(8, 40_000 // length)
        for trainer, micro, extra in (
            ("ours", 2, []), ("ours", wide, []), ("ours", wide, ["model.compile=true"]),
            ("trl", 2, []), ("trl", wide, []),
        ):  # fmt: skip
            name = f"{trainer} {micro} x {length} {' '.join(extra)}".strip()
            job = {
                "dataset": dataset / str(length), "model": model, "form": "single", "epochs": 1, "batch": 32,
                "micro": micro, "lr": 1e-4, "rank": 32, "alpha": 16, "max_length": length, "device": "cuda",
                "out": folder / name.replace(" ", "_"), "seed": 1, "extra": extra, "steps": 6,
            }  # fmt: skip
            try:
                found.append({"run": name, **worker(trainer, job, 8)})
            except subprocess.CalledProcessError as error:
                found.append({"run": name, "failed": error.returncode})  # most often: out of memory
    return found


# Each function below runs in a process of its own; torch is imported there only.


def make_model(job: dict[str, Any]) -> dict[str, Any]:
    """Write a small model whose tokenizer was trained on the dataset."""
    import pyarrow.parquet as pq

    from alfworld_sft.train.tiny import TinyOptions, make_tiny_model

    rows = pq.read_table(Path(job["dataset"]) / "train.parquet", columns=["messages", "prompt_data"]).to_pylist()
    texts = [message["content"] for row in rows for message in row["messages"]]
    texts += [row["prompt_data"]["content"] for row in rows]
    options = TinyOptions(tokenizer=job["tokenizer"], feed_forward=job.get("feed_forward"))
    parameters, vocabulary = make_tiny_model(Path(job["model"]), texts, options)
    return {"parameters": parameters, "vocabulary": vocabulary}


def make_large(job: dict[str, Any]) -> dict[str, Any]:
    """Write random weights of Qwen2.5-1.5B's shape with a small tokenizer, and rows of full length."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from alfworld_sft.train.tiny import TinyOptions, make_tiny_model

    model, dataset = Path(job["model"]), Path(job["dataset"])
    words = [f"{consonant}{vowel}" for consonant in "bcdfghklmnprstvw" for vowel in "aeiou"]
    make_tiny_model(model, [" ".join(words)], TinyOptions())
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = Qwen2Config(**QWEN_1_5B, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    with torch.device("cuda"):
        large = Qwen2ForCausalLM(config).to(torch.bfloat16)
    large.save_pretrained(model)
    for length in (2048, 8192):
        (dataset / str(length)).mkdir(parents=True)
        text = [" ".join(words[(i * 7 + n) % len(words)] for n in range(length - 32)) for i in range(job["rows"])]
        cut = [3 * (length - 32) // 4 * 3] * len(text)  # three characters a word
        table = {
            "prompt_data": [{"content": whole[:end]} for whole, end in zip(text, cut, strict=True)],
            "response_data": [{"content": whole[end:]} for whole, end in zip(text, cut, strict=True)],
        }
        for name in ("train", "val"):
            pq.write_table(pa.table(table), dataset / str(length) / f"{name}.parquet")
    return {}


def train_ours(job: dict[str, Any]) -> dict[str, Any]:
    """Train by this package."""
    from alfworld_sft.train.config import build_train_config
    from alfworld_sft.train.loop import train

    out = Path(job["out"])
    config = build_train_config(
        [
            f"data.train_files={job['dataset']}", f"model.path={job['model']}", f"trainer.default_local_dir={out}",
            f"data.multiturn.enable={job['form'] == 'multi'}",
            *(["data.multiturn.weighting=cumulative"] if job["form"] == "multi" else []),
            f"data.max_length={job['max_length']}", f"data.train_batch_size={job['batch']}",
            f"data.micro_batch_size_per_gpu={job['micro']}", f"model.lora_rank={job['rank']}",
            *([f"model.lora_alpha={job['alpha']}"] if job["rank"] else []),
            f"optim.lr={job['lr']}", f"trainer.seed={job['seed']}",
            f"trainer.total_epochs={job['epochs']}", f"trainer.device={job['device']}", "trainer.logger=[]",
            "trainer.save_freq=0", "trainer.test_freq=0", "optim.warmup_steps_ratio=0",
            *([f"trainer.total_training_steps={job['steps']}"] if "steps" in job else []), *job.get("extra", []),
        ]
    )  # fmt: skip
    started = time.monotonic()
    train(config)
    seconds = time.monotonic() - started
    steps = steps_of(out)
    warm = steps[job.get("warm_up", 2) :] or steps
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "steps": len(steps),
        "tokens": sum(step["tokens"] for step in steps),
        "seconds_per_step": round(sum(s["tokens"] / s["tokens_per_s"] for s in warm) / len(warm), 4),
        "tokens_per_s": round(sum(s["tokens"] for s in warm) / sum(s["tokens"] / s["tokens_per_s"] for s in warm)),
        **({"mfu": round(median(step["mfu"] for step in warm), 4)} if "mfu" in steps[0] else {}),
        "train_loss": round(steps[-1]["loss"], 4),
        **({"losses": [round(step["loss"], 4) for step in steps]} if "rows" in job else {}),
        **peak_memory(),
    }


def train_trl(job: dict[str, Any]) -> dict[str, Any]:
    """Train by TRL's SFTTrainer, on the same tokens, with the same loss."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    started = time.monotonic()
    gpu = job["device"] == "cuda"
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if job["form"] == "multi":
        tokenizer.chat_template = trl_template(tokenizer)
    order = "sequential" if "train_file" in job else "group_by_length"
    bf16 = gpu or job.get("dtype") == "bfloat16"
    arguments = SFTConfig(
        output_dir=job["out"], num_train_epochs=job["epochs"], max_steps=job.get("steps", -1),
        per_device_train_batch_size=job["micro"], gradient_accumulation_steps=job["batch"] // job["micro"],
        learning_rate=job["lr"], lr_scheduler_type="cosine", warmup_steps=0, weight_decay=0.01, adam_beta2=0.95,
        max_grad_norm=1.0, max_length=job["max_length"], gradient_checkpointing=False, use_cpu=not gpu, bf16=bf16,
        assistant_only_loss=job["form"] == "multi", train_sampling_strategy=order, save_strategy="no",
        report_to="none", logging_steps=1, seed=job["seed"], disable_tqdm=True, dataloader_pin_memory=gpu,
    )  # fmt: skip
    lora = LoraConfig(r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16 if bf16 else torch.float32),
        args=arguments,
        train_dataset=trl_dataset(Path(job.get("train_file", f"{job['dataset']}/train.parquet")), job["form"]),
        processing_class=tokenizer,
        peft_config=lora if job["rank"] else None,
        callbacks=[Clock()],
    )
    trainer.train()
    trainer.save_model(job["out"])
    seconds = time.monotonic() - started
    if "rows" in job:
        read = [(row["input_ids"], [int(label >= 0) for label in row["labels"]]) for row in trainer.train_dataset]
        (Path(job["out"]) / "rows.json").write_text(json.dumps(read))
    logged = [line for line in trainer.state.log_history if "loss" in line]
    warm = times[job.get("warm_up", 2) - 1 :]
    per_step = (warm[-1] - warm[0]) / (len(warm) - 1) if len(warm) > 1 else float("nan")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "steps": trainer.state.global_step,
        "seconds_per_step": round(per_step, 4),
        **({"tokens_per_s": round(job["batch"] * job["max_length"] / per_step)} if gpu else {}),
        "train_loss": round(logged[-1]["loss"], 4),
        **({"losses": [round(line["loss"], 4) for line in logged]} if "rows" in job else {}),
        **peak_memory(),
    }


def evaluate(job: dict[str, Any]) -> dict[str, Any]:
    """Return the validation loss of an adapter on its base, by one evaluator for both trainers."""
    import torch
    from peft import PeftModel

    from alfworld_sft.dataset.read import Columns
    from alfworld_sft.models.chat_encoder import ChatEncoder
    from alfworld_sft.models.load import load_model, load_tokenizer
    from alfworld_sft.train.data.batches import micro_batches
    from alfworld_sft.train.data.options import SampleOptions
    from alfworld_sft.train.data.samples import load_samples
    from alfworld_sft.train.distributed import Ranks
    from alfworld_sft.train.model.attention import PACKED
    from alfworld_sft.train.model.prepare import LossModule
    from alfworld_sft.train.validate import validate

    device = torch.device("cpu")
    tokenizer = load_tokenizer(job["model"])
    model = PeftModel.from_pretrained(load_model(job["model"], torch.float32, device, PACKED), job["adapter"])
    file = Path(job["dataset"]) / "val.parquet"
    columns, options = Columns(multiturn=job["form"] == "multi"), SampleOptions(max_length=job["max_length"])
    samples = load_samples([file], ChatEncoder(tokenizer), columns, options, option="data.val_files").samples
    batches = micro_batches(samples, 0, 1, 4096)
    return {"val_loss": validate(LossModule(model), batches, tokenizer.decode, Ranks(0, 1, device))["val/loss"]}


def gpu_name(_: dict[str, Any]) -> dict[str, Any]:
    """Return the GPU's name, or None."""
    import torch

    return {"name": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None}


def multiplies_bfloat16(_: dict[str, Any]) -> dict[str, Any]:
    """Return whether this CPU has instructions for bfloat16 products."""
    from alfworld_sft.train.model import on_cpu

    return {"known": on_cpu.multiplies_bfloat16()}


def peak_memory() -> dict[str, Any]:
    """Return the most memory that this process has held, and the most that tensors took on the GPU."""
    import torch

    found = {"peak_mib": round(peak_mib())}
    if torch.cuda.is_available():
        found["peak_gpu_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


WORKERS = {
    "make_model": make_model,
    "make_large": make_large,
    "ours": train_ours,
    "trl": train_trl,
    "evaluate": evaluate,
    "gpu_name": gpu_name,
    "multiplies_bfloat16": multiplies_bfloat16,
    "choose_rows": choose_rows,
    "compare_rows": compare_rows,
}

if __name__ == "__main__":
    main()
