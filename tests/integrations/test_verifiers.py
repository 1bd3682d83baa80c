"""verifiers: its own commands validate our games, and score a model on them as `alfworld-sft evaluate` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verifiers.v1", reason="the extra 'verifiers' is not installed: make integration-verifiers")

from verifiers.v1.utils.loaders import taskset_class

from alfworld_sft.errors import GamesNotFoundError
from alfworld_sft.games import EMBEDDED, find_games
from alfworld_sft.integrations.verifiers import AlfworldConfig, AlfworldTaskset
from tests.integrations.expert_server import expert_serving

NAME = "alfworld-sft-verifiers"
MAX_STEPS = 12
"""So few that the expert loses some games."""


def run(command: str, *options: str, folder: Path) -> str:
    """Run a command of the environment that the tests run in; return what it printed."""
    program = Path(sys.executable).with_name(command)
    environment = {**os.environ, "ALFWORLD_DATA": "", "STUB_KEY": "none", "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        [program, *options], cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_the_name_leads_to_the_taskset():
    assert taskset_class(NAME) is AlfworldTaskset


def test_tasks_are_the_games_of_the_split():
    tasks = list(AlfworldTaskset(AlfworldConfig(source=EMBEDDED, split="valid_unseen")))
    refs = find_games(EMBEDDED, "valid_unseen").refs
    assert [task.key for task in tasks] == [ref.id for ref in refs]
    assert tasks[5].data.task == refs[5].load().task
    assert tasks[5].data.task in tasks[5].data.prompt_text


def test_a_templates_system_message_is_the_tasks():
    task = next(iter(AlfworldTaskset(AlfworldConfig(source=EMBEDDED, template="trinity"))))
    assert "<action>" in (task.data.system_prompt or "")
    assert next(iter(AlfworldTaskset(AlfworldConfig(source=EMBEDDED)))).data.system_prompt is None


def test_a_source_without_games_is_an_error():
    with pytest.raises(GamesNotFoundError, match="does not exist"):
        list(AlfworldTaskset(AlfworldConfig(source="no/such/folder")))


def test_a_reward_needs_a_game_that_was_won(tmp_path):
    """vf-validate: every shortest plan wins, and nobody playing earns nothing."""
    run(
        "vf-validate",
        NAME,
        "-n",
        "8",
        "--runtime.type",
        "subprocess",
        "--no-rich",
        "--output-dir",
        ".",
        folder=tmp_path,
    )
    rows = lines(next(tmp_path.glob("*/results.jsonl")))
    assert [(row["reason"], row["gold"]["valid"], row["noop"]["rewards"]) for row in rows] == [
        ("valid", True, {"success": 0.0})
    ] * 8


def test_rewards_are_those_of_evaluate(tmp_path):
    with expert_serving(find_games(EMBEDDED, "valid_seen")) as server:
        run(
            "vf-eval", NAME, "-n", "64", "-m", "stub", "--client.base-url", server.url,
            "--client.api-key-var", "STUB_KEY", "--env.taskset.max-steps", str(MAX_STEPS),
            "--no-push", "--no-rich", "--output-dir", "eval", folder=tmp_path,
        )  # fmt: skip
        run(
            "alfworld-sft", "evaluate", "--name", "ours", "policy.name=server", f"policy.base_url={server.url}",
            "policy.model=stub", "prompt.form=multi", "games.source=embedded", f"env.max_steps={MAX_STEPS}",
            folder=tmp_path,
        )  # fmt: skip
    traces = [trace for row in lines(next(tmp_path.glob("eval/*/traces.jsonl"))) for trace in row["traces"]]
    theirs = {t["task"]["data"]["id"]: (t["rewards"]["success"]["score"], t["metrics"]["steps"]) for t in traces}
    ours = {e["game_id"]: (float(e["success"]), len(e["steps"])) for e in lines(tmp_path / "ours" / "episodes.jsonl")}
    assert len(ours) == 64
    assert 0 < sum(success for success, _ in ours.values()) < 64
    assert theirs == ours
