"""Results with and without `policy.constrain` are told apart: in the stamp, in the figures, in comparisons."""

import pytest

from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.config import config_of
from tests.collecting import server_words, stamp_of, write_games
from tests.fake_server import says, serving
from tests.test_cli import command

HIDDEN = "action, by commands that the prompt does not list"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a free and a restricted evaluation, and what the second printed."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_games(folder / "data", 2, "valid_seen")
    with serving([says("look")]) as fake:
        words = ("evaluate", "--output-dir", str(folder), *server_words(data, fake, "env.max_steps=2"))
        command(*words, "--name", "free", "prompt.template=compact")
        printed = command(*words, "--name", "restricted", "prompt.template=compact", "policy.constrain=action")
    return folder / "free", folder / "restricted", printed


def test_the_stamp_and_the_figures_name_the_restriction(runs):
    free, restricted, printed = runs
    assert printed.returncode == 0, printed.stderr
    assert f"policy.constrain: {HIDDEN}" in printed.stdout.splitlines()
    assert stamp_of(restricted)["protocol"].pop("constrain") == HIDDEN
    assert "constrain" not in stamp_of(free)["protocol"]


def test_results_with_and_without_it_are_not_compared_unless_asked(runs):
    free, restricted, _ = runs
    refused = command("evaluate", "--compare", str(free), str(restricted))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: {free} and {restricted} cannot be compared: constrain null or {HIDDEN}"
        " (--different-protocols compares them anyway)\n"
    )
    compared = command("evaluate", "--compare", str(free), str(restricted), "--different-protocols")
    assert f"A: {free} (server:tiny)" in compared.stdout.splitlines()
    assert f"B: {restricted} (server:tiny, policy.constrain: {HIDDEN})" in compared.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["policy.constrain=action"], r"policy\.constrain=action has no effect without policy\.name=server or local; "),
        (["policy.constrain=actions"], r"policy\.constrain=actions: input should be 'none' or 'action'"),
    ],
)
def test_where_nothing_can_be_restricted_the_option_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        config_of(words)


def test_published_protocols_are_played_free():
    with pytest.raises(ConfigError, match=r"--protocol react fixes policy\.constrain=none: leave out "):
        config_of(["policy.name=server", "policy.model=m", "policy.constrain=action"], "react")
