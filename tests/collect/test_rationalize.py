"""Collection with the expert's actions and a model's reasons, from the command to the dataset."""

import json
import re

import pyarrow.parquet as pq
import pytest

from alfworld_sft.collect.run import resume_run
from alfworld_sft.errors import ConfigError
from tests import collecting
from tests.collecting import contents, play, server_words, stamp_of, write_games
from tests.fake_server import fails, says, serving
from tests.test_cli import command


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data")


def reasoning(request, _=0):
    """Write a reason; instead of taking, dance at first, and of opening, tell who said so."""
    asked = request["messages"][-1]["content"]
    action = re.search(r"The best action now is:\n(.+)\n", asked)[1]
    if action.startswith("take ") and "could not be used" not in asked:
        return says("<think>No.</think>\n<action>dance")
    think = "The hint told me." if action.startswith("open ") else f"Somebody has to {action}."
    return says(f"<think>{think}</think>\n<action>{action}")


def start(data, parent, fake, *overrides, name="run"):
    return collecting.start(parent, *server_words(data, fake, "policy.rationalize=true", *overrides), name=name)


def test_the_dataset_has_the_model_s_reasons_and_no_hint(data, tmp_path):
    with serving(reasoning) as fake:
        summary = play(start(data, tmp_path, fake))
    assert summary.won == summary.episodes == 12
    rows = pq.read_table(tmp_path / "run/train.parquet").to_pylist()
    assert any("Somebody has to go to" in row["response_data"]["content"] for row in rows)
    assert not any(re.search(r"\bhint", json.dumps(row), re.IGNORECASE) for row in rows)
    assert all("\n\nHint, for this turn only." in request["messages"][-1]["content"] for request in fake.requests)


def test_each_row_tells_whose_its_reasons_are(data, tmp_path):
    with serving(reasoning) as fake:
        play(start(data, tmp_path, fake))
    rows = pq.read_table(tmp_path / "run/train.parquet").to_pylist()
    assert rows
    for row in rows:
        info = json.loads(row["extra_info"])
        assert len(info["think_by"]) == info["turn"]
        assert (info["think_by"][-1] == "model") == ("Somebody has to" in row["response_data"]["content"])


def test_accepted_and_rejected_replies_and_their_tokens_are_counted(data, tmp_path):
    with serving(reasoning) as fake:
        play(start(data, tmp_path, fake, "policy.price_prompt=1", "policy.price_completion=10"))
    raw = json.loads((tmp_path / "run/raw_trajectories.json").read_bytes())
    actions = [step["command"] for episode in raw for step in episode["steps"]]
    taken, opened = (sum(action.startswith(verb) for action in actions) for verb in ("take ", "open "))
    assert min(taken, opened) > 0
    stamp = stamp_of(tmp_path / "run")
    assert stamp["reasons"] == {
        "by": {"model": len(actions) - opened, "expert": opened},
        "rejected": {"action": taken, "hint": 3 * opened},
    }
    requests = len(fake.requests)
    assert requests == len(actions) + taken + 2 * opened
    assert stamp["usage"] == {
        "replies": len(actions), "prompt_tokens": 100 * requests, "cached_tokens": 0,
        "completion_tokens": 20 * requests, "cost_usd": round(requests * (100 * 1 + 20 * 10) / 1e6, 6),
    }  # fmt: skip
    assert sum(episode["usage"]["prompt_tokens"] for episode in raw) == 100 * requests
    card = (tmp_path / "run/README.md").read_text()
    assert f"Reasons: {len(actions) - opened} written by the model, {opened} the expert's own;" in card
    assert f"Tokens: {100 * requests:,} read, {20 * requests:,} said, $" in card


def test_a_stopped_run_goes_on_to_the_same_bytes(data, tmp_path):
    with serving(reasoning) as calm:
        play(start(data, tmp_path, calm, "policy.temperature=0", name="calm"))
    broken = True

    def troubled(request, _):
        hot = "You arrive at microwave 1." in request["messages"][-1]["content"]
        return fails(500) if broken and hot else reasoning(request)

    with serving(troubled) as fake:
        words = ("policy.temperature=0", "policy.attempts=1", "runner.concurrency=3")
        assert 0 < play(start(data, tmp_path, fake, *words, name="troubled")).episodes < 12
        broken = False
        play(resume_run(tmp_path / "troubled"))
    calm_run, troubled_run = contents(tmp_path / "calm"), contents(tmp_path / "troubled")
    for files in (calm_run, troubled_run):
        del files["episodes.jsonl"]  # of a failed episode it keeps the failure, too
    assert calm_run == troubled_run


@pytest.mark.parametrize("template", ["compact", "eto", "react"])
def test_a_template_without_reasons_in_tags_is_refused_before_a_folder_is_made(data, tmp_path, template):
    with serving(reasoning) as fake, pytest.raises(ConfigError, match=f"the template {template} asks for no <think>"):
        start(data, tmp_path / "runs", fake, f"prompt.template={template}")
    assert not (tmp_path / "runs").exists()


def test_the_command_says_how_many_reasons_are_whose_and_what_they_cost(data, tmp_path):
    words = ["--output-dir", str(tmp_path), f"games.source={data}", "policy.model=tiny", "num_episodes=2"]
    prices = ["policy.price_prompt=0.4", "policy.price_completion=1.6"]
    with serving(reasoning) as fake:
        result = command("collect", "--rationalize", *words, *prices, OPENAI_BASE_URL=fake.url)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^reasons: \d+ written by the model, \d+ the expert's own; replies", result.stdout, re.M)
    assert re.search(r"^tokens: [\d,]+ read, [\d,]+ said, \$0\.\d{4}$", result.stdout, re.M)
    *_, reasons, tokens, folder = result.stdout.splitlines()
    assert {reasons, tokens} <= set(command("show", folder).stdout.splitlines())


def test_the_expert_alone_leaves_no_trace_of_it(data, tmp_path):
    play(collecting.start(tmp_path, f"games.source={data}"))
    assert stamp_of(tmp_path / "run").keys().isdisjoint({"reasons", "usage"})
    written = (tmp_path / "run/raw_trajectories.json").read_text() + (tmp_path / "run/train.csv").read_text()
    assert "think_by" not in written
    assert '"usage"' not in written
