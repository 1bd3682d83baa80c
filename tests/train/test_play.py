"""A model that is being trained plays as its checkpoint does, and training does not notice."""

import os
import shutil
from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from safetensors.torch import load_file, save_file

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.models.load import ModelError, load_model
from alfworld_sft.models.merge import load_whole
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.train import play
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model, texts_of_files
from tests.collecting import write_games
from tests.episodes import episode
from tests.train.helpers_loop import fill_architecture, losses, metrics, run, run_as, run_together

MAX_STEPS, MAX_TOKENS = 6, 10


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    return write_games(tmp_path_factory.mktemp("games"), 3)


@pytest.fixture(scope="module")
def data(games, tmp_path_factory):
    overrides = [f"games.source={games}", "prompt.template=compact", "dataset.val_fraction=0"]
    job = start_run(build_config(CollectConfig, overrides), tmp_path_factory.mktemp("data"), name="run")
    with job.run:
        collect(job)
    return job.run.path


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    """A model that has learned to play these games for a while."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "random", texts_of_files([data]), TinyOptions(width=64, layers=2, head_dim=32))
    more = ("model.lora_rank=0", "trainer.total_epochs=20", "optim.lr=1e-2")
    return run(plain_options(data, folder / "random", folder / "out", *more)).final


def options(data, model, out, games, *more):
    return [
        *plain_options(data, model, out),
        f"trainer.eval_source={games}",
        "trainer.eval_split=train",
        "trainer.eval_games=3",
        f"trainer.eval_max_steps={MAX_STEPS}",
        f"trainer.eval_max_tokens={MAX_TOKENS}",
        *more,
    ]


def plain_options(data, model, out, *more):
    return [
        f"data.train_files={data}",
        f"model.path={model}",
        f"trainer.default_local_dir={out}",
        "trainer.device=cpu",
        "trainer.logger=[]",
        "data.multiturn.enable=true",
        "data.train_batch_size=8",
        "data.max_length=512",
        "optim.lr=3e-3",
        "model.lora_rank=4",
        "trainer.total_epochs=1",
        *more,
    ]


def played(out):
    """Return the figures of the games by step."""
    return {
        line["step"]: {key: value for key, value in line.items() if key != "step"}
        for line in metrics(out)
        if "val/success" in line
    }


def evaluated(checkpoint, games, parent, form="multi"):
    """Return what `alfworld-sft evaluate` finds, under the names of the log."""
    overrides = [
        f"games.source={games}", "games.split=train", "num_games=3", "prompt.template=compact", f"prompt.form={form}",
        f"env.max_steps={MAX_STEPS}", "policy.name=local", f"policy.model={checkpoint}", "policy.temperature=0",
        f"policy.max_tokens={MAX_TOKENS}",
    ]  # fmt: skip
    job = start_evaluation(build_config(EvaluateConfig, overrides), parent)
    with job.run:
        found = evaluate(job).metrics
    by_type = {f"val/success_{task_type}": found.success(task_type).rate for task_type in found.task_types}
    return by_type | {
        "val/success": found.success().rate,
        "val/invalid_rate": found.invalid_rate,
        "val/mean_steps": found.mean_steps,
    }


@pytest.mark.parametrize(("rank", "form"), [(0, "single"), (4, "multi")])
def test_the_figures_are_those_of_evaluating_the_checkpoint(data, model, games, tmp_path, rank, form):
    more = (f"model.lora_rank={rank}", f"data.multiturn.enable={form == 'multi'}")
    trained = run(options(data, model, tmp_path / "out", games, *more))
    [figures] = played(tmp_path / "out").values()
    assert figures == pytest.approx(evaluated(trained.checkpoint, games, tmp_path, form))
    assert figures["val/mean_steps"] > 0


def test_a_model_that_plays_is_trained_as_one_that_does_not(data, model, games, tmp_path):
    """Weights, optimizer and the states of all random generators end in the same bytes."""
    files = ("adapter_model.safetensors", "trainer/optimizer.safetensors", "trainer/random.safetensors")
    ends = []
    playing = options(data, model, tmp_path / "plays", games, "trainer.save_freq=0", "trainer.test_freq=1")
    for words in (playing, plain_options(data, model, tmp_path / "plain", "trainer.save_freq=0")):
        trained = run(words)
        ends.append([(trained.checkpoint / file).read_bytes() for file in files])
    assert losses(tmp_path / "plays") == losses(tmp_path / "plain")
    assert ends[0] == ends[1]
    assert list(played(tmp_path / "plays")) == [step for step, *_ in losses(tmp_path / "plain")]


def test_a_resumed_run_plays_on(data, model, games, tmp_path):
    more = ("trainer.test_freq=1", "trainer.save_freq=1", "trainer.total_epochs=2", "optim.lr_scheduler=constant")
    more = (*more, "optim.warmup_steps_ratio=0")
    run(options(data, model, tmp_path / "whole", games, *more))
    run(options(data, model, tmp_path / "torn", games, *more, "trainer.total_training_steps=2"))
    run(options(data, model, tmp_path / "torn", games, *more))
    assert played(tmp_path / "torn") == played(tmp_path / "whole")
    assert len(played(tmp_path / "torn")) > 2


def test_an_adapter_is_added_bit_for_bit_as_merging_adds_it(data, model, games, tmp_path, monkeypatch):
    weights = {}
    plain = play.playable_copy

    def kept(*arguments):
        found = plain(*arguments)
        weights.update({name: tensor.clone() for name, tensor in found.state_dict().items()})
        return found

    monkeypatch.setattr(play, "playable_copy", kept)
    trained = run(options(data, model, tmp_path, games))
    merged = load_whole(str(trained.final))[0].state_dict()
    assert weights.keys() == merged.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in merged.items())


CHANGED = {
    "experts": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}, "all-linear"),
    "embedding": ("qwen2", {"tie_word_embeddings": True}, "[q_proj,embed_tokens]"),
    "convolution": ("lfm2", {"layer_types": ["conv", "full_attention"]}, "[in_proj,q_proj]"),
}


@pytest.mark.parametrize("strategy", ["one process", "fsdp2"])
@pytest.mark.parametrize("kind", CHANGED)
def test_what_plays_has_every_weight_of_what_is_trained(kind, strategy, data, model, games, tmp_path):
    """The figures are those of the checkpoint, and so are the weights, of experts and of untied embeddings, too."""
    architecture, config, modules = CHANGED[kind]
    folder = architecture_of(architecture, model, tmp_path / "model", config)
    more = (f"model.target_modules={modules}", "trainer.total_training_steps=3", "optim.lr=3e-2")
    overrides = options(data, folder, tmp_path / "out", games, *more)
    if strategy == "fsdp2":
        run_together(2, run_and_keep, [*overrides, "model.strategy=fsdp2"], tmp_path / "played.safetensors")
    else:
        run_and_keep({}, overrides, tmp_path / "played.safetensors")
    played_ = load_file(tmp_path / "played.safetensors")
    merged = load_whole(str(tmp_path / "out" / "final"))[0].state_dict()
    assert played_.keys() == merged.keys()
    for name, tensor in merged.items():
        assert (played_[name] - tensor).abs().max() < 1e-6, name
    plain = load_whole(str(folder))[0].state_dict()
    assert any(not torch.equal(plain[name], tensor) for name, tensor in merged.items())


def run_and_keep(environ, overrides, path):
    """Train, and write the weights of the model that played last."""
    os.environ.update(environ)
    plain = play.playable_copy

    def kept(*arguments):
        found = plain(*arguments)
        if os.environ.get("RANK", "0") == "0":
            save_file({name: tensor.clone().contiguous() for name, tensor in found.state_dict().items()}, path)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(play, "playable_copy", kept)
        run(overrides)


def architecture_of(model_type, model, folder, config):
    """Write a model of another architecture that knows the words of these games."""
    shutil.copytree(model, folder)
    for file in [*folder.glob("*.safetensors"), folder / "alfworld_sft.json"]:
        file.unlink(missing_ok=True)
    return fill_architecture(folder, model_type, **config)


def test_a_model_whose_weights_would_be_missing_does_not_play(model):
    base = load_model(str(model), torch.float32, torch.device("cpu"))
    weights = dict(base.state_dict())
    del weights["model.layers.1.mlp.up_proj.weight"]
    with torch.device("meta"):
        found = type(base)(base.config)
    with pytest.raises(ModelError, match=r"1 weights of .* such as model\.layers\.1\.mlp\.up_proj\.weight"):
        play._fill(found, weights, dict(base.named_buffers()))


def test_rotary_frequencies_keep_their_type_in_a_model_that_plays_in_bfloat16(model):
    player = LocalModel.load(str(model), dtype="bfloat16", device="cpu")
    with closing(player):
        assert {p.dtype for p in player._model.parameters()} == {torch.bfloat16}
        assert player._model.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize(("strategy", "rank"), [("ddp", 0), ("fsdp2", 4)])
def test_two_processes_share_the_games(data, model, games, tmp_path, strategy, rank):
    more = (f"model.strategy={strategy}", f"model.lora_rank={rank}")
    run_together(2, run_as, options(data, model, tmp_path / "out", games, *more))
    [(step, figures)] = played(tmp_path / "out").items()
    checkpoint = tmp_path / "out" / f"global_step_{step}"
    assert figures == pytest.approx(evaluated(checkpoint, games, tmp_path))


def test_a_game_that_ends_in_an_error_is_told_and_counts_as_lost(caplog):
    figures = play.play_figures([episode(0, success=True), episode(1, error="the prompt has 900 tokens")])
    assert figures["val/success"] == 0.5
    assert "1 of 2 games failed and count as lost: the prompt has 900 tokens" in caplog.text


def test_where_no_game_was_played_to_its_end_there_are_no_steps_to_count():
    assert play.play_figures([episode(0, error="no")]).keys() & {"val/success", "val/mean_steps"} == {"val/success"}
