"""What does each published protocol fix? `--protocol NAME` plays by one, and the result carries its name.

A preset fixes keys of the config: how the policy is prompted, how long a game lasts, how a model is sampled. The
prompt's words are our own, with the information that the protocol's prompts give; `docs/protocols.md` says for each
preset where its facts were read, and what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ProtocolName = Literal["verl-agent", "react", "eto", "trinity"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A protocol: the keys that it fixes, with their values, and a line on what it is."""

    name: ProtocolName
    summary: str
    fixed: Mapping[str, Any]


def _fixed(template: str, form: str, max_steps: int, **sampling: object) -> Mapping[str, Any]:
    return {
        "prompt.template": template,
        "prompt.form": form,
        "env.max_steps": max_steps,
        "env.max_repeats": None,
        **{f"policy.{name}": value for name, value in sampling.items()},
        "policy.truncated": "keep",
        "policy.constrain": "none",
    }


_GREEDY: Mapping[str, object] = {"temperature": 0.0, "top_p": 1.0}
PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "verl-agent",
            "one message a turn with the last two steps and the admissible commands, 50 steps, temperature 0.4",
            {
                **_fixed("verl-agent", "single", 50, temperature=0.4, top_p=1.0, max_tokens=512),
                "prompt.history_length": 2,
            },
        ),
        Preset(
            "react",
            "two examples of the task type and the whole game as lines, no listing, 49 steps, greedy",
            {**_fixed("react", "single", 49, **_GREEDY, max_tokens=100), "prompt.history_length": None},
        ),
        Preset(
            "eto",
            "a conversation of thoughts and actions with one example, no listing, 40 steps, greedy",
            _fixed("eto", "multi", 40, **_GREEDY, max_tokens=512),
        ),
        Preset(
            "trinity",
            "a conversation after a system message that names the commands, no listing, 30 steps, temperature 1",
            _fixed("trinity", "multi", 30, temperature=1.0, top_p=1.0),
        ),
    )
}


def departures(preset: Preset, values: Mapping[str, Any]) -> list[str]:
    """Return the keys, of those that a config has `values` for, in which it departs from a preset: `key=value` each."""
    return [f"{key}={_shown(value)}" for key, value in preset.fixed.items() if key in values and values[key] != value]


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
