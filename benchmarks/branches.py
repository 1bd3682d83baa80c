"""How much does folding a teacher's answers into one pass save, and is it exact?

    OMP_NUM_THREADS=1 python -m benchmarks.branches

A random player's episodes with the expert as its teacher, on the embedded games. The gradient of one batch is computed
row by row, each row a sequence of its own, and folded: one pass over each conversation, with the answers as branches.
The model is that of `make demo`, with random weights; seconds are those of the process's CPU time.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._result import versions_of, write_result

EPISODES = {"compact": 6, "add_wm1": 2}
BUDGET = 4096


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = {}
    for template in EPISODES:
        with tempfile.TemporaryDirectory() as folder:
            found[template] = measure(Path(folder), template)
        print(template, json.dumps(found[template]), flush=True)
    claim = "a teacher's answers are trained in one pass over each conversation, as exactly as row by row"
    write_result("branches", {"claim": claim, "by_template": found, "versions": versions_of("torch", "transformers")})


def measure(folder: Path, template: str) -> dict[str, Any]:
    import torch

    from alfworld_sft.dataset.read import Columns
    from alfworld_sft.models.chat_encoder import ChatEncoder
    from alfworld_sft.train.data.options import SampleOptions
    from alfworld_sft.train.data.samples import load_samples
    from alfworld_sft.train.model.prepare import PACKED
    from alfworld_sft.train.tiny import TinyOptions, random_model, train_tokenizer

    run = collect_run(folder, template)
    texts = [message["content"] for row in conversations(run) for message in row]
    options = TinyOptions(model_type="qwen3", tokenizer="word" if template == "compact" else "bpe", head_dim=32)
    tokenizer = train_tokenizer(texts, options)
    torch.manual_seed(0)
    model = random_model(len(tokenizer), tokenizer, options)
    model.set_attn_implementation(PACKED)
    columns, encoder = Columns(multiturn=True), ChatEncoder(tokenizer)
    ways, gradients = {}, {}
    for name, fold in (("row by row", False), ("folded", True)):
        chosen = SampleOptions(max_length=100_000, fold=fold, observation_weight=0.3)
        began = time.process_time()
        samples = load_samples([run], encoder, columns, chosen).samples
        loading = time.process_time() - began
        seconds, gradients[name] = backward(model, samples)
        ways[name] = {
            "sequences": sum(1 + len(sample.branches) for sample in samples),
            "rows": sum(sample.rows for sample in samples),
            "tokens": sum(map(len, samples)),
            "cpu_seconds_loading": round(loading, 2),
            "cpu_seconds": round(seconds, 2),
        }
    one, other = gradients["row by row"], gradients["folded"]
    return {
        **ways,
        "times_as_fast": round(ways["row by row"]["cpu_seconds"] / ways["folded"]["cpu_seconds"], 2),
        "relative_gradient_error": float((one - other).norm() / one.norm()),
    }


def collect_run(folder: Path, template: str) -> Path:
    from alfworld_sft.collect.config import CollectConfig
    from alfworld_sft.collect.run import collect, start_run
    from alfworld_sft.config import build_config

    words = [
        "games.source=embedded",
        f"num_episodes={EPISODES[template]}",
        f"prompt.template={template}",
        "prompt.form=multi",
    ]
    words += [
        "policy.name=random",
        "policy.teacher=expert",
        "policy.teacher_share=0.3",
        "env.max_steps=12",
        "dataset.val_fraction=0",
    ]
    job = start_run(build_config(CollectConfig, words), folder, name="run")
    with job.run:
        collect(job)
    return job.run.path


def conversations(run: Path) -> list[list[dict[str, str]]]:
    raw = json.loads((run / "raw_trajectories.json").read_bytes())
    return [episode["messages_list"] for episode in raw]


def backward(model: Any, samples: Any) -> tuple[float, Any]:
    """Return the CPU seconds of a batch's gradient, and the gradient."""
    import torch

    from alfworld_sft.train.data.batches import micro_batches
    from alfworld_sft.train.learner import forward
    from alfworld_sft.train.model.prepare import LossModule

    model.zero_grad()
    module = LossModule(model)
    total = sum(float(sample.weight.sum()) for sample in samples)
    began = time.process_time()
    for batch in micro_batches(samples, 0, 1, BUDGET):
        (forward(module, batch, torch.device("cpu"))[0] / total).backward()
    seconds = time.process_time() - began
    return seconds, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


if __name__ == "__main__":
    main()
