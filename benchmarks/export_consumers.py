"""Do verl's and LLaMA-Factory's own loaders train the tokens of our exports that our trainer trains?

    python -m benchmarks.export_consumers --verl VENV/bin/python --llamafactory VENV/bin/python

Each loader runs in an environment of its own, on the same collections (by an expert that errs now and then, and by a
random player with the expert as its teacher, whose rows branch) and the same tokenizer, and lists the trained tokens of
every record; they are compared with the mask of `models.loss_mask`. Neither package can share our environment: verl
0.9.1 needs transformers < 5.11, LLaMA-Factory 0.9.5 needs <= 5.6. Text needs none of their image and audio packages:
torchaudio, which LLaMA-Factory imports, may be missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks._result import versions_of, write_result

WORKERS = {
    "verl": """
import json, sys
import torch
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
config = OmegaConf.create({"messages_key": "messages", "max_length": 8192, "pad_mode": "no_padding"})
rows = MultiTurnSFTDataset(sys.argv[2] + "/train.parquet", tokenizer, config)
found = []
for row in rows:
    ids, mask = row["input_ids"].tolist(), row["loss_mask"].tolist()
    found.append([i for i, trained in zip(ids, mask) if trained])
import transformers
print(json.dumps({"trained": found, "transformers": transformers.__version__}))
""",
    "llamafactory": """
import importlib.machinery, importlib.util, json, sys, types
if importlib.util.find_spec("torchaudio") is None:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
from transformers import AutoTokenizer, Seq2SeqTrainingArguments
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
data = DataArguments(
    template="qwen", dataset="alfworld_train", dataset_dir=sys.argv[2], cutoff_len=8192, mask_history=True
)
model = ModelArguments(model_name_or_path=sys.argv[1])
training = Seq2SeqTrainingArguments(output_dir=sys.argv[2] + "/out", use_cpu=True, do_train=True, report_to="none")
template = get_template_and_fix_tokenizer(tokenizer, data)
rows = get_dataset(template, model, data, training, stage="sft", tokenizer=tokenizer)["train_dataset"]
found = [[i for i in row["labels"] if i != -100] for row in rows]
import transformers
print(json.dumps({"trained": found, "transformers": transformers.__version__}))
""",
}
VERSIONS = {"verl": "0.9.1", "llamafactory": "0.9.5"}
PLAYERS = {
    "expert": ["policy.noise=0.1"],
    "teacher": ["policy.name=random", "policy.teacher=expert", "policy.teacher_share=0.8"],
}
"""Who plays, by overrides of collect: a random player's games are won now and then where its teacher acts often."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verl", type=Path, required=True, help="Python of an environment with verl 0.9.1")
    parser.add_argument("--llamafactory", type=Path, required=True, help="Python with LLaMA-Factory 0.9.5")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), {"verl": options.verl, "llamafactory": options.llamafactory})
    result = {"claim": "the trained tokens of an export are those of our mask", "targets": found}
    print(json.dumps(result, indent=2))
    write_result("export_consumers", result | {"versions": versions_of("transformers", "torch")})


def measure(folder: Path, pythons: dict[str, Path]) -> dict[str, Any]:
    from alfworld_sft.export.write import export_rows
    from tests.train.helpers_data import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    found = {}
    for player, words in PLAYERS.items():
        run = collect_run(folder, player, words)
        for name, form in product(pythons, ("single", "multi")):
            out = folder / f"{player}-{name}-{form}"
            export_rows(run, name, out, form)
            theirs = in_environment(pythons[name], name, folder / "tokenizer", out)
            ours = our_tokens(run, name, form, tokenizer)
            found[f"{name} {form}, {player}"] = {"version": VERSIONS[name]} | compare(ours, theirs, tokenizer)
    return found


def collect_run(folder: Path, name: str, words: Sequence[str]) -> Path:
    from alfworld_sft.collect.config import CollectConfig
    from alfworld_sft.collect.run import collect, start_run
    from alfworld_sft.config import build_config

    config = build_config(CollectConfig, ["games.source=embedded", "num_episodes=40", *words])
    job = start_run(config, folder, name=name)
    with job.run:
        collect(job)
    return job.run.path


def in_environment(python: Path, name: str, tokenizer: Path, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-c", WORKERS[name], str(tokenizer), str(out)],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def our_tokens(run: Path, name: str, form: str, tokenizer: Any) -> list[list[int]]:
    """The tokens that our mask trains in each dialogue that the target holds, in its order."""
    from alfworld_sft.export.dialogues import read_conversations, read_single_turns
    from alfworld_sft.models.chat_encoder import ChatEncoder

    encoder = ChatEncoder(tokenizer)
    read = read_conversations if form == "multi" else read_single_turns
    found = []
    for dialogue in read(run, "train"):
        replies = [p for p, message in enumerate(dialogue.messages) if message.role == "assistant"]
        if name == "verl" and set(replies) == dialogue.trained:
            encoded = [encoder.encode_conversation(dialogue.messages)]
        elif name == "verl":
            continue
        else:
            encoded = [encoder.encode_reply(turn.messages) for turn in dialogue.turns()]
        found += [[i for i, trained in zip(e.ids, e.mask, strict=True) if trained] for e in encoded]
    return found


def compare(ours: list[list[int]], theirs: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """How many records have the same trained tokens, and how many if newlines are left out."""
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    same = sum(a == b for a, b in zip(ours, theirs["trained"], strict=True))
    without = [[i for i in row if i not in newline] for row in theirs["trained"]]
    plain = [[i for i in row if i not in newline] for row in ours]
    return {
        "transformers": theirs["transformers"],
        "records": len(ours),
        "same_tokens": same,
        "same_tokens_but_for_newlines": sum(a == b for a, b in zip(plain, without, strict=True)),
    }


if __name__ == "__main__":
    main()
