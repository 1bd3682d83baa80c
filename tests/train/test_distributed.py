"""Two processes, by DDP and by FSDP2, compute what one does."""

import os

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from safetensors.torch import load_file, save_file

from alfworld_sft.errors import UserError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.train import loop
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.batches import micro_batches, total_weight
from alfworld_sft.train.distributed import choose_device, full_tensor, join_processes
from alfworld_sft.train.model.optim import trained_parameters
from tests.train.helpers_loop import losses, options, run, run_as, run_together, write_dataset, write_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), train_episodes=9)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def write_gradient(environ, overrides, path):
    """Write the whole gradient of the first batch, and its loss."""
    torch.set_num_threads(1)
    config = build_train_config(overrides)
    os.environ.update(environ)
    config.local_dir.mkdir(parents=True, exist_ok=True)
    with join_processes("cpu", environ) as ranks:
        tokenizer = load_tokenizer(config.model.partial_pretrain)
        samples, _ = loop._load_data(config, ChatEncoder(tokenizer), ranks)
        run_ = loop._Run(config, ranks, tokenizer, samples, [], None)
        batch = next(run_.schedule.batches(run_.learner.position))
        chosen = [samples[i] for i in batch.indices]
        micro = micro_batches(chosen, ranks.rank, ranks.world, config.token_budget)
        loss = ranks.sums(run_._backward(micro, total_weight(chosen)))[0]
        gradient = {name: full_tensor(p.grad).contiguous() for name, p in trained_parameters(run_.learner.module)}
        if ranks.first:
            save_file({**gradient, "loss": torch.tensor(loss)}, path)
        run_.learner.close()


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_compute_the_gradient_of_one(data, model, tmp_path, strategy, rank):
    common = ("data.multiturn.enable=true", "data.micro_batch_size_per_gpu=1", f"model.lora_rank={rank}")
    write_gradient({}, options(data, model, tmp_path / "one", *common), tmp_path / "one.safetensors")
    two = options(data, model, tmp_path / "two", *common, f"model.strategy={strategy}")
    run_together(2, write_gradient, two, tmp_path / "two.safetensors")
    alone, together = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        error = (together[name] - expected).norm() / expected.norm().clamp(min=1e-6)
        assert error < 1e-5, name


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_run_of_two_processes_goes_like_a_run_of_one(data, model, tmp_path, strategy):
    more = ("trainer.total_epochs=1", "data.train_batch_size=5")  # the last batch has one row, fewer than processes
    run(options(data, model, tmp_path / "one", *more))
    run_together(2, run_as, options(data, model, tmp_path / "two", *more, f"model.strategy={strategy}"))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 8
    for (_, loss, norm), (_, other, other_norm) in zip(one, two, strict=True):
        assert other == pytest.approx(loss, rel=1e-4)
        assert other_norm == pytest.approx(norm, rel=1e-3)
    a, b = (load_file(tmp_path / name / "final" / "adapter_model.safetensors") for name in ("one", "two"))
    assert {name: t.shape for name, t in a.items()} == {name: t.shape for name, t in b.items()}


@pytest.mark.parametrize("begun_by", [1, 2])
def test_one_process_goes_on_with_what_two_have_begun_and_two_with_what_one_has(data, model, tmp_path, begun_by):
    """A checkpoint of FSDP2 is whole, its optimizer's state too: it does not depend on how many processes wrote it."""
    more = ("trainer.total_epochs=2", "model.lora_rank=0", "optim.lr=1e-3", "model.strategy=fsdp2")
    more = (*more, "optim.lr_scheduler=constant", "optim.warmup_steps_ratio=0")
    run(options(data, model, tmp_path / "one", *more))
    for processes, last in ((begun_by, 5), (3 - begun_by, 10)):
        words = options(data, model, tmp_path / "both", *more, f"trainer.total_training_steps={last}")
        if processes == 2:
            run_together(2, run_as, words)
        else:
            run(words)
    curve, expected = losses(tmp_path / "both"), losses(tmp_path / "one")
    assert [step for step, _, _ in curve] == list(range(1, 11))
    assert [loss for _, loss, _ in curve] == pytest.approx([loss for _, loss, _ in expected], rel=1e-4)


def test_a_checkpoint_after_a_validation_holds_what_is_trained_not_what_was_computed_with(data, model, tmp_path):
    more = ("model.lora_rank=0", "model.dtype=bfloat16", "trainer.total_training_steps=1", "model.strategy=fsdp2")
    run_together(2, run_as, options(data, model, tmp_path, *more))
    weights = load_file(tmp_path / "final" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_muon_over_shards_is_refused(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from alfworld_sft.train.model.optim import Optimizer

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        module = torch.nn.Module()
        module.decoder = torch.nn.Module()
        module.decoder.layers = torch.nn.Sequential(torch.nn.Linear(4, 4))
        fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(UserError, match=r"write model\.strategy=ddp"):
            Optimizer(module, name="muon", lr=1.0, betas=(0.9, 0.95), weight_decay=0.0)
    finally:
        torch.distributed.destroy_process_group()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 1, 2) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="4 processes were started, but there are 2 GPUs: start 2"):
        choose_device("auto", 3, 4)


def test_a_wish_for_a_gpu_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto", 0, 1) == torch.device("cpu")
    with pytest.raises(UserError, match="PyTorch sees no GPU"):
        choose_device("cuda", 0, 1)
