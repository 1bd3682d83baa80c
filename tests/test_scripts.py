"""The modules beside the package: each can be imported, and what `make demo` plans with runs."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collecting import write_games

ROOT = Path(__file__).parents[1]
MODULES = [
    f"{folder}.{file.stem}"
    for folder in ("scripts", "benchmarks")
    for file in sorted((ROOT / folder).glob("*.py"))
    if file.stem != "__init__"
]


@pytest.mark.parametrize("name", MODULES)
def test_every_script_and_benchmark_finds_what_it_imports(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("alfworld_sft", "benchmarks", "scripts"):
            raise
        pytest.skip(f"{error.name} is not installed")


def test_the_demo_plans_as_many_episodes_as_the_time_left_allows(tmp_path):
    pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")

    def run(*words):
        return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, capture_output=True, text=True)

    games = write_games(tmp_path / "data", 12)
    asked = ("prompt.template=compact", "prompt.form=multi", "dataset.rows_per=episode", "dataset.val_fraction=0")
    run("alfworld_sft", "collect", "--output-dir", tmp_path, "--name", "first", f"games.source={games}", *asked)
    run("alfworld_sft", "tiny-model", tmp_path / "random", "--corpus", tmp_path / "first")
    recipe = ("data.multiturn.enable=true", "model.lora_rank=0", "trainer.total_epochs=1", "data.train_batch_size=2")
    files = (f"data.train_files={tmp_path / 'first'}", f"model.path={tmp_path / 'random'}")
    where = f"trainer.default_local_dir={tmp_path / 'first_run'}"
    run("alfworld_sft", "train", *files, *recipe, where, "trainer.logger=[console]")
    assert json.loads((tmp_path / "first_run/metrics.jsonl").read_text().splitlines()[0])["tokens_per_s"] > 0
    plans = [run("scripts.demo_plan", tmp_path, left, "1", "20", "3") for left in ("60", "600")]
    few, many = (list(map(int, plan.stdout.split())) for plan in plans)
    assert 100 <= few[0] < many[0]
    assert few[1] == many[1] >= 1
    assert "tokens/s" in plans[0].stderr
