"""What we export, read by those who are to read it: `datasets` and TRL."""

import json
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
trl = pytest.importorskip("trl", reason="TRL reads the export: pip install trl")

import datasets
from peft import LoraConfig

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.dataset.read import Columns
from alfworld_sft.export.cli import export_pairs
from alfworld_sft.export.targets import TARGETS
from alfworld_sft.export.write import export_rows
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.samples import load_samples
from alfworld_sft.types import Message
from tests.collecting import write_games
from tests.train.helpers_data import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module", params=["alone", "taught"])
def run(request, tmp_path_factory):
    """A collection by an expert that errs now and then, alone or with a teacher."""
    place = tmp_path_factory.mktemp("export")
    words = [f"games.source={write_games(place / 'games', 12)}", "policy.noise=0.3", "prompt.template=add_wm1"]
    words += ["policy.teacher=expert"] if request.param == "taught" else []
    job = start_run(build_config(CollectConfig, words), place, name="run")
    with job.run:
        assert (collect(job).turns_without_row > 0) == (request.param == "alone")
    return job.run.path


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_datasets_loads_every_target(run, tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exported = export_rows(run, name, tmp_path / "out")
    kind = "parquet" if TARGETS[name].suffix == ".parquet" else "json"
    files = {split: str(tmp_path / "out" / f"{split}{TARGETS[name].suffix}") for split in ("train", "val")}
    files = {split: file for split, file in files.items() if exported.records[split]}
    loaded = datasets.load_dataset(kind, data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == {s: n for s, n in exported.records.items() if n}


def trainer_of(kind, folder, records, **options):
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    config = {"SFT": trl.SFTConfig, "DPO": trl.DPOConfig}[kind](
        str(folder), max_steps=2, per_device_train_batch_size=2, report_to="none", use_cpu=True, bf16=False,
        learning_rate=1e-2, save_strategy="no", max_length=4096, **options,
    )  # fmt: skip
    maker = {"SFT": trl.SFTTrainer, "DPO": trl.DPOTrainer}[kind]
    peft = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    return maker(model=model, args=config, train_dataset=records, processing_class=tokenizer, peft_config=peft)


def read(file):
    return datasets.Dataset.from_list([json.loads(line) for line in file.read_text("utf-8").splitlines()])


def test_trl_trains_the_tokens_that_we_train_and_the_newline_after_them(run, tmp_path):
    export_rows(run, "trl", tmp_path / "out")
    records = read(tmp_path / "out" / "train.jsonl").select(range(8))
    trainer = trainer_of("SFT", tmp_path / "trained", records)
    encoder = ChatEncoder(trainer.processing_class)
    for record, seen in zip(records, trainer.train_dataset, strict=True):
        messages = tuple(Message(m["role"], m["content"]) for m in (*record["prompt"], *record["completion"]))
        ours = encoder.encode_reply(messages)
        mine = [token for token, trained in zip(ours.ids, ours.mask, strict=True) if trained]
        theirs = [i for i, trained in zip(seen["input_ids"], seen["labels"], strict=True) if trained != -100]
        assert theirs[: len(mine)] == mine
        # TRL also trains what the template writes after the end token, on which no reply depends.
        assert trainer.processing_class.decode(theirs[len(mine) :]) == "\n"
    assert trainer.train().global_step == 2


def test_trl_is_given_every_token_with_loss_once(run, tmp_path):
    tokenizer = tiny_tokenizer()
    encoder = ChatEncoder(tokenizer)
    export_rows(run, "trl", tmp_path / "out")
    theirs = Counter()
    for record in read(tmp_path / "out" / "train.jsonl"):
        encoded = encoder.encode_reply([Message(**message) for message in (*record["prompt"], *record["completion"])])
        theirs.update(token for token, trained in zip(encoded.ids, encoded.mask, strict=True) if trained)
    samples = load_samples([run], encoder, Columns(multiturn=True), SampleOptions(max_length=100_000)).samples
    ours = Counter(token for one in samples for token in one.ids[one.weight > 0].tolist())
    assert ours == theirs
    assert {weight for one in samples for weight in one.weight.tolist()} == {0.0, 1.0}


def test_trl_s_dpo_takes_two_steps_on_the_pairs(run, tmp_path):
    assert export_pairs(run, tmp_path / "out", None)["train"] > 0
    records = read(tmp_path / "out" / "train.jsonl").select(range(8))
    trainer = trainer_of("DPO", tmp_path / "trained", records)
    assert trainer.train().global_step == 2
