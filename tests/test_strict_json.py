"""JSON that strict readers take: there is no NaN and no infinity in it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.config import build_config
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.dataset.write import dataset_files, raw_trajectory
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.records import from_line, to_line
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode, Reply
from tests.episodes import episode, step

ODD = (-0.5, math.nan, -math.inf, math.inf)


def strict(text: str | bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def odd_episode() -> Episode:
    said = Reply("<think>x</think>\n<action>look</action>", token_ids=(1, 2, 3, 4), logprobs=ODD)
    return episode(steps=(replace(step(), reply=said),))


def test_numbers_that_are_not_finite_become_null_wherever_they_are() -> None:
    value = {"a": [1.5, math.nan, (math.inf,)], "b": {"c": -math.inf}, "d": "NaN", "é": None, "n": 7}
    assert to_json(value) == '{"a": [1.5, null, [null]], "b": {"c": null}, "d": "NaN", "é": null, "n": 7}'


def test_the_journal_holds_odd_log_probabilities_as_null_and_reads_them_as_nan() -> None:
    line = to_line(odd_episode())
    assert strict(line)["steps"][0]["reply"]["logprobs"] == [-0.5, None, None, None]
    read = from_line(line).steps[0].reply.logprobs
    assert read is not None
    assert read[0] == -0.5
    assert [math.isnan(value) for value in read] == [False, True, True, True]
    assert to_line(from_line(line)) == line


def test_raw_trajectories_can_be_read_strictly(tmp_path: Path) -> None:
    with dataset_files(tmp_path) as files:
        files.write(raw_trajectory(odd_episode(), Rendering(load_template("default"))), [], held_out=False)
    (raw,) = strict((tmp_path / "raw_trajectories.json").read_bytes())
    assert raw["steps"][0]["reply"]["logprobs"] == [-0.5, None, None, None]


@pytest.mark.parametrize("number", ["nan", "inf", "1e999"])
def test_no_option_takes_a_number_that_is_not_finite(number: str) -> None:
    with pytest.raises(ConfigError, match=r"^policy.temperature=\w+: input should be a finite number"):
        build_config(EvaluateConfig, [f"policy.temperature={number}"])
