"""A run of `rl`: what it leaves and reports, and that it ends where an uninterrupted run of one process does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from safetensors.torch import load_file

from alfworld_sft.errors import UserError
from alfworld_sft.models.merge import load_whole, merge
from alfworld_sft.models.stamp import CheckpointError
from alfworld_sft.rl.rollout import Group, Rollout
from alfworld_sft.train.checkpoint import last_step
from tests.rl.helpers import learn, learn_as, options, played, steps
from tests.train.helpers_loop import metrics, run_together


@pytest.fixture(scope="module")
def calm(agent, games, tmp_path_factory):
    """The folder of an uninterrupted run of adapters."""
    folder = tmp_path_factory.mktemp("calm")
    learn(options(agent, games, folder))
    return folder


def adapters(folder):
    return load_file(folder / "final" / "adapter_model.safetensors")


def test_a_run_leaves_a_checkpoint_a_step_and_the_final_adapter(calm):
    assert sorted(path.name for path in calm.iterdir()) == [
        "final", "global_step_1", "global_step_2", "global_step_3", "metrics.jsonl",
    ]  # fmt: skip
    assert (calm / "final" / "adapter_config.json").is_file()


def test_every_step_reports_how_it_played_and_what_it_learned(calm):
    lines = metrics(calm)
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert line["reward"] == line["success"]  # no penalty, and a win is 1
        assert (line["episodes"], line["clip_fraction"], line["dry_games"]) == (8, 0, 0)
        assert 0 < line["invalid_rate"] < 1 <= line["mean_steps"] <= 8
        assert line["seconds_playing"] > 0 < line["seconds_training"]
        assert line["tokens"] > line["trained_tokens"] > 0 < line["entropy"]
    assert lines[0]["kl"] == 0 < lines[2]["kl"]


def test_the_first_update_finds_the_sampled_log_probabilities(calm):
    """The k3 estimate of the KL divergence between sampling and training is about half of the squared difference."""
    assert all(abs(line["policy_kl"]) < 1e-7 for line in metrics(calm))


def test_a_killed_run_resumes_bit_for_bit(calm, agent, games, tmp_path):
    words = options(agent, games, tmp_path, "trainer.save_freq=2")
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    endless = [*words, "trainer.total_training_steps=1000"]
    process = subprocess.Popen([sys.executable, "-m", "alfworld_sft", "rl", *endless], env=environ)
    while process.poll() is None and (last_step(tmp_path) or 0) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL
    for later in tmp_path.glob("global_step_[3-9]*"):
        pytest.fail(f"{later.name}: the run was killed too late for this test")
    assert learn(words).steps == 1
    assert steps(tmp_path) == steps(calm)
    expected, found = adapters(calm), adapters(tmp_path)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


@pytest.mark.parametrize(("rank", "strategy"), [(0, "ddp"), (4, "ddp"), (4, "fsdp2")])
def test_two_processes_learn_as_one_does(calm, agent, games, tmp_path, rank, strategy):
    more = ("trainer.total_training_steps=2", f"model.lora_rank={rank}", f"model.strategy={strategy}")
    one = calm
    if rank == 0:
        one = tmp_path / "one"
        learn(options(agent, games, one, *more))
    run_together(2, learn_as, options(agent, games, tmp_path / "two", *more))
    for alone, together in zip(steps(one)[:2], steps(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6)


def test_a_run_starts_from_an_adapter_as_from_the_merged_model(calm, games, tmp_path):
    """Then its own adapter is one of the merged model, which it keeps."""
    merged = merge(calm / "final", tmp_path / "merged")
    learn(options(merged, games, tmp_path / "of model", "trainer.total_training_steps=2"))
    learn(options(calm / "final", games, tmp_path / "of adapter", "trainer.total_training_steps=2"))
    assert steps(tmp_path / "of adapter") == steps(tmp_path / "of model")
    assert learn(options(calm / "final", games, tmp_path / "of adapter")).steps == 1
    with pytest.raises(CheckpointError, match="was started from another adapter than"):
        learn(options(calm / "global_step_1", games, tmp_path / "of adapter"))
    learned, _ = load_whole(str(tmp_path / "of adapter" / "final"))
    started, _ = load_whole(str(merged))
    changed = learned.state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(changed, started.state_dict()["model.layers.0.mlp.up_proj.weight"])


def test_what_a_run_would_merge_over_is_refused(calm, games, tmp_path):
    mine = tmp_path / "mine" / "start"
    shutil.copytree(calm / "final", mine)
    with pytest.raises(UserError, match=r"lies in trainer\.default_local_dir=.*, where this run writes its own"):
        learn(options(mine, games, mine.parent))
    with pytest.raises(UserError, match="is no model that rl has merged; move it"):
        learn(options(calm / "final", games, mine.parent))
    assert (mine / "adapter_model.safetensors").is_file()


def test_the_base_of_the_given_adapter_is_not_merged_over(calm, games, tmp_path):
    first, kept = tmp_path / "first", tmp_path / "kept"
    learn(options(calm / "final", games, first, "trainer.total_training_steps=1"))
    (first / "final").rename(kept)
    shutil.rmtree(first / "global_step_1")
    with pytest.raises(UserError, match=r"is an adapter of .*start, which this run would replace"):
        learn(options(kept, games, first))
    assert load_whole(str(kept))


def test_a_shorter_run_is_refused(calm, agent, games):
    with pytest.raises(CheckpointError, match=r"makes 2 steps, but .* has 3 already"):
        learn(options(agent, games, calm, "trainer.total_training_steps=2"))


@pytest.mark.parametrize(
    ("differs", "drawn"),
    [(2, [[0, 1], [2, 3], [4, 5], [6, 7]]), (100, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]])],
)
def test_games_are_drawn_until_enough_of_them_differ_or_the_limit_is_met(
    agent, games, tmp_path, monkeypatch, differs, drawn
):
    """Every game after the first `differs` - 1, and then every `differs`-th, has a won and a lost episode."""
    asked = []

    def play(_, policy, numbers, ranks):
        asked.append(list(numbers))
        lost = {number: (number + 1) % differs == 0 for number in numbers}
        return [Group(n, None, (played(turns=2), played(turns=3, success=not lost[n]))) for n in numbers]

    monkeypatch.setattr(Rollout, "play", play)
    learn(options(agent, games, tmp_path, "trainer.total_training_steps=2", "rl.max_num_gen_batches=3"))
    assert asked == drawn
    assert [line["episodes"] for line in metrics(tmp_path)] == [2 * len(drawn)] * 2  # half of them in each step


def test_episodes_longer_than_a_models_window_are_trained_as_they_were_played(agent, games, tmp_path):
    """Also those beyond data.max_length, for which memory is not planned."""
    windowed = shutil.copytree(agent, tmp_path / "windowed")
    config = json.loads((agent / "config.json").read_text())
    window = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0}
    window["layer_types"] = ["sliding_attention"] * config["num_hidden_layers"]
    (windowed / "config.json").write_text(json.dumps(config | window))
    words = ("trainer.total_training_steps=1", "rl.invalid_penalty=0.1", "data.max_length=64")
    learn(options(windowed, games, tmp_path / "run", *words))
    (line,) = steps(tmp_path / "run")
    assert line["tokens"] / line["sequences"] > 64
    assert line["policy_kl"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        ("rl.method=best_of",),
        ("rl.advantage=gigpo", "rl.num_iterations=2", "rl.epsilon_high=0.3"),
        ("rl.advantage=progress", "rl.num_generations=1", "rl.games_per_step=4", "rl.beta=0.1"),
        (
            "rl.advantage=rloo",
            "rl.loss_type=grpo",
            "rl.importance_sampling_level=sequence",
            "policy.temperature=0.9",
            "rl.num_generations=8",
        ),
        ("rl.invalid_penalty=0.1", "rl.loss_type=dr_grpo", "rl.max_num_gen_batches=3", "model.lora_rank=0"),
        ("rl.advantage=progress", "prompt.form=single", "prompt.history_length=2", "rl.num_generations=8"),
    ],
)
def test_every_method_finds_the_sampled_log_probabilities_and_changes_the_policy(agent, games, tmp_path, more):
    learn(options(agent, games, tmp_path, "trainer.total_training_steps=1", "trainer.save_freq=0", *more))
    (line,) = steps(tmp_path)
    moved = 0.02 if "rl.num_iterations=2" in more else 1e-7
    assert (line["kl"], line["policy_kl"]) == (pytest.approx(0, abs=moved), pytest.approx(0, abs=moved))
    assert line["grad_norm"] > 0 < line["trained_tokens"]
