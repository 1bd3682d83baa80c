import json

import pytest

from alfworld_sft.errors import ComparisonError, ConfigError
from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.evaluate.config import EvaluateConfig, config_of
from alfworld_sft.evaluate.protocols import PRESETS
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from tests.collecting import write_games
from tests.fake_server import fails, serving
from tests.test_cli import command


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 6, "valid_seen")


def test_the_presets_fix_what_the_published_programs_do():
    keys = ("prompt.template", "prompt.form", "prompt.history_length", "env.max_steps", "policy.temperature")
    assert {name: [preset.fixed.get(key, "free") for key in keys] for name, preset in PRESETS.items()} == {
        "verl-agent": ["verl-agent", "single", 2, 50, 0.4],
        "react": ["react", "single", None, 49, 0.0],
        "eto": ["eto", "multi", "free", 40, 0.0],
        "trinity": ["trinity", "multi", "free", 30, 1.0],
    }
    assert [PRESETS[name].fixed.get("policy.max_tokens") for name in PRESETS] == [512, 100, 512, None]


@pytest.mark.parametrize("name", PRESETS)
def test_a_protocol_gives_a_config_that_holds_what_it_fixes(name):
    config = config_of(["policy.name=server", "policy.model=m", "games.split=valid_unseen"], name)
    assert config.protocol == name
    assert (config.prompt.template, config.games.split) == (name, "valid_unseen")
    assert EvaluateConfig.model_validate(config.model_dump()) == config


def test_a_fixed_key_can_be_named_with_its_own_value_only():
    assert config_of(["env.max_steps=49"], "react").env.max_steps == 49
    with pytest.raises(ConfigError, match=r"--protocol react fixes env.max_steps=49: leave out env.max_steps=30, or"):
        config_of(["env.max_steps=30"], "react")
    with pytest.raises(ConfigError, match="unknown protocol 'reakt'; there are verl-agent, react, eto, trinity"):
        config_of([], "reakt")


def test_the_name_cannot_be_had_without_the_protocol():
    with pytest.raises(ConfigError, match=r"protocol=eto fixes .*env.max_steps=40.*; set by --protocol eto"):
        config_of(["protocol=eto"])


def test_a_result_carries_its_protocol_and_is_not_compared_with_another(data, tmp_path):
    def result(name, words, protocol):
        config = config_of([f"games.source={data}", "policy.search=sweep", *words], protocol)
        job = start_evaluation(config, tmp_path, name=name)
        with job.run:
            evaluate(job)
        return read_result(job.run.path)

    named = result("named", [], "verl-agent")
    same = ["prompt.template=verl-agent", "prompt.history_length=2"]
    plain = result("plain", same, None)
    assert named.stamp["protocol"]["protocol"] == "verl-agent"
    with pytest.raises(ComparisonError, match=r"cannot be compared: protocol verl-agent or null \("):
        compare(named, plain)
    assert compare(named, result("again", [], "verl-agent")).difference == 0


def test_seeds_play_every_game_so_often_and_report_each_play(data, tmp_path):
    words = ("--output-dir", str(tmp_path), "--name", "run", f"games.source={data}", "policy.name=random")
    done = command("evaluate", *words, "--seeds", "3", "env.max_steps=5")
    assert done.returncode == 0, done.stderr
    assert "success by play: 0.0%, 0.0%, 0.0%; mean 0.0%, 95 % interval over the games 0.0% to " in done.stdout
    metrics = json.loads((tmp_path / "run/metrics.json").read_bytes())
    assert metrics["success_by_play"] == [0.0, 0.0, 0.0]
    assert metrics["stamp"]["protocol"]["repeats"] == 3
    both = command("evaluate", *words, "--seeds", "3", "repeats=2")
    assert (both.returncode, both.stderr) == (
        2,
        "error: --seeds 3 and repeats=… say the same thing: leave out one of them\n",
    )


def test_an_evaluation_in_which_every_episode_failed_does_not_end_as_a_success(data, tmp_path):
    with serving(lambda body, number: fails(400, "this prompt is too long for the context")) as server:
        done = command(
            "evaluate", "--output-dir", str(tmp_path), "--name", "run", f"games.source={data}", "policy.name=server",
            "policy.model=m", f"policy.base_url={server.url}", "policy.attempts=1",
        )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: all 6 episodes failed (episode ")
    assert line.endswith(f"once that is fixed: alfworld-sft evaluate --resume {tmp_path / 'run'}")
