"""A trained checkpoint and a dataset go on elsewhere: the scripts of docs/further-training.md, run as they stand.

Each runs in a process of its own that cannot import this package.
"""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("trl", reason="the documented scripts use TRL: pip install trl")

import pyarrow.parquet as pq
from safetensors.torch import load_file

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.models.merge import merge
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.policies.make import make_policy
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model
from alfworld_sft.types import Message, Prompt, View
from tests.collecting import write_games
from tests.train.helpers_loop import options, run

GUIDE = Path(__file__).parents[1] / "docs" / "further-training.md"
SCRIPTS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE.read_text(), re.DOTALL))
DATA = "sft_data_20241211_143022"
ALONE = "import runpy, sys; sys.modules['alfworld_sft'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the guide supposes it; its model has learned a few conversations by heart."""
    place = tmp_path_factory.mktemp("hand_over")
    words = [f"games.source={write_games(place / 'games', 4)}", "prompt.template=default"]
    job = start_run(build_config(CollectConfig, words), place, name=DATA)
    with job.run:
        collect(job)
    rows = pq.read_table(place / DATA / "train.parquet").to_pylist()
    texts = [message["content"] for row in rows for message in row["messages"]]
    make_tiny_model(place / "random", texts, TinyOptions(width=64, layers=2, head_dim=32, kv_heads=1))
    both = ("data.multiturn.enable=true", "data.max_length=2048", "data.val_files=null", "trainer.save_freq=0")
    whole = ("model.lora_rank=0", "optim.lr=4e-3", "trainer.total_epochs=60")
    base = run(options(place / DATA, place / "random", place / "base", *both, *whole)).final
    trained = run(options(place / DATA, base, place / "sft_models", *both, "trainer.total_epochs=2"))
    merge(trained.final, place / "sft_models" / "merged")
    for name, text in SCRIPTS.items():
        (place / name).write_text(text)
    return place


def alone(folder, script):
    """Run a script of the guide without this package, and return what it prints."""
    environ = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, script],
        check=False, cwd=folder, capture_output=True, text=True, timeout=400,
        env={**environ, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def first_prompt(folder):
    row = pq.read_table(folder / DATA / "train.parquet").slice(0, 1).to_pylist()[0]
    messages = tuple(Message(m["role"], m["content"]) for m in row["messages"][:-1])
    return Prompt(View("", 0, (), "", ()), messages, ("think", "action"), seed=1)


@pytest.mark.parametrize(
    ("script", "model"), [("generate.py", "merged"), ("generate_adapter.py", "final")], ids=["transformers", "peft"]
)
def test_another_library_says_what_our_policy_says(folder, kitchen, script, model):
    section = PolicySection(name="local", model=str(folder / "sft_models" / model), temperature=0.0, max_tokens=256)
    ours = asyncio.run(make_policy(section).begin(kitchen, 1).act(first_prompt(folder))).text
    assert re.search(r"<action>.+</action>$", ours), "nothing was learned"
    assert alone(folder, script).strip() == ours.strip()


@pytest.mark.parametrize("script", ["sft", "grpo"])
def test_trl_goes_on_for_two_steps_from_our_dataset(folder, script):
    alone(folder, f"trl_{script}.py")
    out = folder / "trl_models" / script
    assert json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())["global_step"] == 2
    before = load_file(folder / "sft_models" / "final" / "adapter_model.safetensors")
    after = load_file(out / "adapter_model.safetensors")
    assert after.keys() == before.keys()
    if script == "sft":  # replies that all earn the same teach nothing
        assert any(not torch.equal(after[name], before[name]) for name in before)


def test_verl_s_files_hold_each_episode_once_and_each_turn_with_its_action(folder):
    lines = re.findall(r"^alfworld-sft (export .*verl.*)$", GUIDE.read_text(), re.MULTILINE)
    for line in lines:
        subprocess.run([sys.executable, "-m", "alfworld_sft", *line.split()], cwd=folder, check=True, timeout=400)
    ours = pq.read_table(folder / DATA / "train.parquet").to_pylist()
    facts = [json.loads(row["extra_info"]) for row in ours]
    longest = [row["messages"] for row, fact in zip(ours, facts, strict=True) if fact["turn"] == fact["turns"]]
    assert pq.read_table(folder / "verl_sft" / "train.parquet")["messages"].to_pylist() == longest
    turns = pq.read_table(folder / "verl_rl" / "train.parquet").to_pylist()
    assert [turn["prompt"] for turn in turns] == [row["messages"][:-1] for row in ours]
    score = {}
    exec(SCRIPTS["verl_reward.py"], score)
    for turn, row in zip(turns, ours, strict=True):
        truth = turn["reward_model"]["ground_truth"]
        assert score["compute_score"]("", row["response_data"]["content"], truth) == 1.0
        assert score["compute_score"]("", "<action>dance</action>", truth) == 0.0
