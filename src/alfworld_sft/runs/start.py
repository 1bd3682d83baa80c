"""How does a new run start? Everything that can be checked is checked before its folder exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alfworld_sft.policies.make import check_constrain, make_policy
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.config import PREFIXES, RunKind
from alfworld_sft.runs.job import Chosen, ConfigT, Job
from alfworld_sft.runs.run_json import stamp_of
from alfworld_sft.runs.store import create_run
from alfworld_sft.runs.trust import remember


def start_job(
    kind: RunKind,
    config: ConfigT,
    choose: Callable[[ConfigT], Chosen],
    output_dir: Path,
    *,
    name: str | None = None,
    notes: dict[str, dict[str, Any]] | None = None,
) -> Job[ConfigT]:
    """Check everything that can be checked, then create the run's folder; raises UserError before it exists.

    `notes` go into the stamp, each into the part with its name.
    """
    config = with_absolute_paths(config)
    template = load_template(config.prompt.template)
    check_constrain(config.policy, template)
    policy = make_policy(config.policy)
    chosen = choose(config)
    stamp = stamp_of(kind, config, chosen.games, chosen.total, template, policy)
    for part, values in (notes or {}).items():
        stamp[part] |= values
    run = create_run(output_dir, stamp, name=name, prefix=PREFIXES[kind])
    remember(stamp, config, run.path)
    return Job(run, config, chosen.games, template, policy, chosen.total)


def with_absolute_paths(config: ConfigT) -> ConfigT:
    """Return the config with paths that stay valid when the run is resumed from another folder."""
    policy, prompt = config.policy, config.prompt
    updates: dict[str, Any] = {"games": config.games.with_absolute_paths()}
    if policy.model and policy.loads_model_here and Path(policy.model).is_dir():
        updates["policy"] = policy.model_copy(update={"model": str(Path(policy.model).absolute())})
    if prompt.template.endswith(".toml"):
        updates["prompt"] = prompt.model_copy(update={"template": str(Path(prompt.template).absolute())})
    return config.model_copy(update=updates)
