"""What a model's tokens cost, in an evaluation's figures."""

import pytest

from tests.collecting import write_games
from tests.evaluate.test_run import evaluated, written
from tests.fake_server import says, serving
from tests.test_cli import command

PLAY = ("policy.name=server", "policy.model=tiny", "env.max_steps=3", "num_games=4")
PRICES = ("policy.price_prompt=2", "policy.price_completion=5")


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 12, "valid_seen")


def test_the_metrics_tell_tokens_and_cost(data, tmp_path):
    with serving([says()]) as fake:
        folder, _ = evaluated(data, tmp_path, *PLAY, *PRICES, f"policy.base_url={fake.url}")
    assert written(folder)["usage"] == {
        "replies": 12, "prompt_tokens": 1200, "cached_tokens": 0, "completion_tokens": 240, "cost_usd": 0.0036,
    }  # fmt: skip


def test_a_policy_that_reads_no_tokens_has_no_usage(data, tmp_path):
    assert written(evaluated(data, tmp_path)[0])["usage"] is None


def test_the_command_prints_the_cost(data, tmp_path):
    with serving([says()]) as fake:
        words = [f"games.source={data}", "--output-dir", str(tmp_path), *PLAY]
        told = command("evaluate", *words, *PRICES, OPENAI_BASE_URL=fake.url)
        silent = command("evaluate", *words, OPENAI_BASE_URL=fake.url)
    assert "tokens: 1,200 read, 240 said, $0.0036\n" in told.stdout
    assert "tokens: 1,200 read, 240 said\n" in silent.stdout


def test_a_cost_that_cannot_be_told_is_a_warning(data, tmp_path):
    with serving([says(usage=None)]) as fake:
        words = [f"games.source={data}", "--output-dir", str(tmp_path), *PLAY, *PRICES]
        result = command("evaluate", *words, OPENAI_BASE_URL=fake.url)
    assert "WARNING: no reply came with token counts, so the run's cost is unknown" in result.stderr
