"""Inspect: `inspect eval` finds our task by its entry point, and scores a model as our own runner does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'inspect' is not installed: make integration-inspect")

import tiktoken
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import ChatMessage, ModelOutput, get_model

from alfworld_sft.errors import UserError
from alfworld_sft.games import EMBEDDED, find_games
from alfworld_sft.integrations.inspect import alfworld
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from tests.integrations.expert_server import expert_reply, games_by_task

MAX_STEPS = 12
"""So few that the expert loses some games."""
BYTES = """
import tiktoken
bytes_alone = tiktoken.Encoding("bytes", pat_str=".", mergeable_ranks={bytes([i]): i for i in range(256)},
                                special_tokens={})
tiktoken.get_encoding = lambda name: bytes_alone
"""
"""Counts bytes instead of tokens: for the counts of its mock model Inspect would download a vocabulary."""


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiktoken, "get_encoding", tiktoken.get_encoding)  # restores what the next line replaces
    exec(BYTES, {})


def test_inspect_finds_the_task_and_a_model_without_actions_wins_nothing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BYTES)
    program = Path(sys.executable).with_name("inspect")
    options = ["-T", "source=embedded", "-T", "max_steps=3", "--limit", "5", "--display", "plain", "--log-dir", "logs"]
    done = subprocess.run(
        [program, "eval", "alfworld_sft/alfworld", "--model", "mockllm/model", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_eval_log(list_eval_logs(str(tmp_path / "logs"))[0])
    assert log.status == "success"
    assert log.samples is not None
    assert [s.id for s in log.samples] == [ref.id for ref in find_games(EMBEDDED, "valid_seen").refs[:5]]
    assert [s.store for s in log.samples] == [{"won": False, "steps": 3, "invalid_replies": 3}] * 5
    assert [len(s.messages) for s in log.samples] == [6] * 5


def test_a_templates_system_message_comes_first():
    for name, roles in (("trinity", ["system", "user"]), ("eto", None)):
        asked = alfworld(source=EMBEDDED, template=name).dataset[0].input
        assert roles == (None if isinstance(asked, str) else [message.role for message in asked])


@pytest.mark.usefixtures("no_download")
def test_scores_and_actions_are_those_of_our_own_runner(tmp_path):
    refs = find_games(EMBEDDED, "valid_seen").refs
    games = games_by_task(refs)

    def reply(messages: list[ChatMessage], *_: object) -> ModelOutput:
        return ModelOutput.from_content(
            "expert", expert_reply([{"role": m.role, "content": m.text} for m in messages], games)
        )

    log = evaluate(reply, tmp_path, max_steps=MAX_STEPS)
    won_by_type: dict[str, list[float]] = defaultdict(list)
    for ref, sample in zip(refs, log.samples or [], strict=True):
        episode = asyncio.run(
            run_episode(ref.load(), Expert(), load_template("default"), Protocol(MAX_STEPS, form="multi"))
        )
        assert sample.store == {"won": episode.success, "steps": len(episode.steps), "invalid_replies": 0}
        assert sample.scores is not None
        assert sample.scores["success"].value == float(episode.success)
        replies = [message.text for message in sample.messages if message.role == "assistant"]
        assert list(map(read_action, replies)) == [step.action for step in episode.steps]
        won_by_type[episode.task_type].append(float(episode.success))
    assert log.results is not None
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    every = [won for group in won_by_type.values() for won in group]
    assert 0 < sum(every) < len(every) == 64
    assert metrics.pop("stderr") > 0
    assert metrics == pytest.approx(
        {"all": sum(every) / 64, **{name: sum(group) / len(group) for name, group in won_by_type.items()}}
    )


def evaluate(reply: object, folder: Path, **options: object) -> EvalLog:
    (log,) = inspect_eval(
        alfworld(source=EMBEDDED, **options),
        model=get_model("mockllm/model", custom_outputs=reply),
        log_dir=str(folder),
        display="none",
    )
    assert log.status == "success"
    return log


@pytest.mark.usefixtures("no_download")
def test_a_limit_of_inspects_own_ends_the_episode_unwon(tmp_path):
    def reply(*_: object) -> ModelOutput:
        return ModelOutput.from_content("idle", "<think>.</think><action>look</action>")

    (log,) = inspect_eval(
        alfworld(source=EMBEDDED),
        model=get_model("mockllm/model", custom_outputs=reply),
        log_dir=str(tmp_path),
        display="none",
        limit=1,
        message_limit=6,
    )
    assert log.samples is not None
    assert log.samples[0].scores is not None
    assert log.samples[0].scores["success"].value == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid_sen"}, "unknown split 'valid_sen'; did you mean 'valid_seen'?"),
        ({"max_steps": 0}, "max_steps must be between 1 and 1000, not 0"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, message):
    with pytest.raises(UserError) as raised:
        alfworld(source=EMBEDDED, **options)
    assert str(raised.value) == message
