"""From games to a model that plays them, by the commands that a user types."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.cli import app

SEED = 1
GAMES = 6
MAX_STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def alfworld_sft(*words: object) -> None:
    """Run a command as a user would."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with six games, the dataset of an expert who won each of them once, and a model of random weights."""
    folder = tmp_path_factory.mktemp("run")
    games = ("--num", GAMES, "--seed", SEED, "--splits", "train", "--difficulty", "easy")
    alfworld_sft("games", "generate", folder / "games", *games)
    alfworld_sft(
        "collect", "--output-dir", folder, "--name", "data", f"games.source={folder / 'games'}", f"seed={SEED}",
        "prompt.template=compact", "dataset.val_fraction=0",
    )  # fmt: skip
    shape = ("--width", 128, "--layers", 2, "--seed", SEED)
    alfworld_sft("tiny-model", folder / "model", "--corpus", folder / "data", *shape)
    return folder


def success(model: Path, folder: Path, form: str, name: str) -> float:
    """Return the share of the trained games that a model wins."""
    alfworld_sft(
        "evaluate", "--output-dir", model.parent, "--name", name, f"games.source={folder / 'games'}",
        "games.split=train", "policy.name=local", f"policy.model={model}", "policy.temperature=0",
        "policy.max_tokens=16", "prompt.template=compact", f"prompt.form={form}", f"env.max_steps={MAX_STEPS}",
    )  # fmt: skip
    found = json.loads((model.parent / name / "metrics.json").read_bytes())["success"]
    assert found["played"] == GAMES
    return float(found["rate"])


@pytest.mark.parametrize("form", ["single", "multi"])
def test_a_model_of_random_weights_learns_to_win_its_games(folder, form):
    out = folder / form
    alfworld_sft(
        "train", f"data.train_files={folder / 'data'}", f"data.multiturn.enable={str(form == 'multi').lower()}",
        f"model.path={folder / 'model'}", "model.lora_rank=0", "optim.lr=3e-3", "data.train_batch_size=8",
        "trainer.total_epochs=60", "trainer.save_freq=0", "trainer.test_freq=0", f"trainer.default_local_dir={out}",
        f"trainer.eval_games={GAMES}", f"trainer.eval_source={folder / 'games'}", "trainer.eval_split=train",
        f"trainer.eval_max_steps={MAX_STEPS}", "trainer.eval_max_tokens=16", "trainer.logger=jsonl",
        f"trainer.seed={SEED}",
    )  # fmt: skip
    assert success(folder / "model", folder, form, f"before-{form}") == 0
    after = success(out / "final", folder, form, "after")
    assert after >= 0.8
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val/success"] == after
