"""Which config keys does `evaluate` have?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from alfworld_sft.config import Needs, build_config, value_of
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.protocols import PRESETS, Preset, ProtocolName, departures
from alfworld_sft.games.layout import SPLITS_IN_WORDS, Split
from alfworld_sft.policies.config import EvaluatedPolicySection
from alfworld_sft.runs.config import GamesToPlay, RunConfig


class EvaluatedGamesSection(GamesToPlay):
    """The games that a policy is evaluated on."""

    split: Split = Field("valid_seen", description=f"{SPLITS_IN_WORDS}.")


class EvaluateConfig(RunConfig):
    """Everything that determines an evaluation."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        # Collections accept a window with either form, since it also bounds the single-turn rows.
        Needs(("prompt.history_length",), lambda config: config.prompt.form == "single", "prompt.form=single"),
    )

    games: EvaluatedGamesSection = EvaluatedGamesSection()
    policy: EvaluatedPolicySection = EvaluatedPolicySection()
    num_games: int | None = Field(
        None, ge=1, description="Number of games to play, chosen by the seed; null plays all."
    )
    repeats: int = Field(1, ge=1, le=1000, description="Plays of each game; more than 1 gives pass@k.")
    protocol: ProtocolName | None = Field(
        None, description="Published protocol that is played by; set by --protocol, which also sets what it fixes."
    )

    @model_validator(mode="after")
    def _is_what_its_protocol_fixes(self) -> Self:
        if self.protocol is not None:
            preset = PRESETS[self.protocol]
            if missing := departures(preset, {key: value_of(self, key) for key in preset.fixed}):
                raise ValueError(
                    f"protocol={self.protocol} fixes {', '.join(missing)}; set by --protocol {preset.name}"
                )
        return self


_ALONE = "an evaluated policy plays alone, a teacher goes with collect"
_HINTS = {"policy.teacher": _ALONE, "policy.teacher_share": _ALONE}


def config_of(words: Sequence[str], protocol: str | None = None) -> EvaluateConfig:
    """Return the config that the overrides make, by a published protocol where one is named.

    A key that the protocol fixes cannot have another value: what is published under a protocol's name would not be that
    protocol. Raises ConfigError.
    """
    if protocol is None:
        return build_config(EvaluateConfig, words, hints=_HINTS)
    preset = PRESETS.get(protocol)
    if preset is None:
        raise ConfigError(f"unknown protocol '{protocol}'; there are {', '.join(PRESETS)}")
    _refuse_departures(words, preset)
    kept = [word for word in words if _key(word) not in preset.fixed]
    return build_config(EvaluateConfig, kept, hints=_HINTS, presets={**preset.fixed, "protocol": preset.name})


def _refuse_departures(words: Sequence[str], preset: Preset) -> None:
    """Raise ConfigError where an override sets a fixed key to another value."""
    named = [word for word in words if _key(word) in preset.fixed]
    plain = build_config(EvaluateConfig, named, idle=True)
    if wanted := departures(preset, {_key(word): value_of(plain, _key(word)) for word in named}):
        others = [word for word in named if any(_key(word) == _key(option) for option in wanted)]
        raise ConfigError(
            f"--protocol {preset.name} fixes {', '.join(wanted)}: leave out {' '.join(others)}, or play without"
            " --protocol and set what you want of it by its keys"
        )


def _key(word: str) -> str:
    return word.lstrip("+").partition("=")[0]
