"""Which games does a run play at its test steps? Those of `alfworld-sft evaluate num_games=N`, prompted as in its data.

This module imports neither torch nor transformers, so a missing game is reported before anything heavy is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.dataset.read import read_rows
from alfworld_sft.errors import DatasetError, RunFolderError
from alfworld_sft.evaluate.config import EvaluateConfig, EvaluatedGamesSection
from alfworld_sft.evaluate.run import choose_games
from alfworld_sft.games import GameRef, ShuffledGames
from alfworld_sft.policies.config import EvaluatedPolicySection
from alfworld_sft.policies.make import check_constrain
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.config import EnvSection, PromptSection
from alfworld_sft.runs.store import read_stamp
from alfworld_sft.runs.template import template_of_run
from alfworld_sft.train.config import RunSection, TrainConfig
from alfworld_sft.train.data.inputs import columns_of, train_files
from alfworld_sft.types import Form

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvalGames:
    """The games of a run's test steps; `config` is an evaluation that plays the same games in the same way."""

    config: EvaluateConfig
    games: ShuffledGames
    template: Template

    def share(self, rank: int, world: int) -> Iterator[tuple[int, GameRef]]:
        """Yield one process's games, each with its episode number."""
        for index in range(rank, self.games.total, world):
            yield index, self.games.ref(index)


def find_eval_games(config: TrainConfig) -> EvalGames:
    """Choose the games; raises UserError if there are none, or if the data does not record how to prompt them."""
    template, history_length = _prompt_options(config)
    form: Form = "multi" if config.data.multiturn.enable else "single"
    return eval_games_of(config.trainer, PromptSection(template=template, form=form, history_length=history_length))


def eval_games_of(trainer: RunSection, prompt: PromptSection) -> EvalGames:
    """Choose the games, to be prompted in this way; raises UserError if there are none."""
    evaluation = EvaluateConfig(
        num_games=trainer.eval_games,
        games=EvaluatedGamesSection(source=trainer.eval_source, split=trainer.eval_split),
        env=EnvSection(max_steps=trainer.eval_max_steps),
        policy=EvaluatedPolicySection(
            name="local",
            temperature=0.0,
            max_tokens=trainer.eval_max_tokens,
            constrain=trainer.eval_constrain,
        ),
        prompt=prompt,
    )
    template = load_template(prompt.template)
    check_constrain(evaluation.policy, template)
    return EvalGames(evaluation, choose_games(evaluation), template)


def _prompt_options(config: TrainConfig) -> tuple[str, int | None]:
    """Return the training data's template and history window; raises DatasetError if it has no single one."""
    wanted = config.trainer.eval_template
    found = {
        (wanted or template, window)
        for f in train_files(config)
        for template, window in _file_prompt_options(f, config)
    }
    (template, window), *others = sorted(found, key=repr)
    if others:
        kinds = [f"{t or 'an unknown template'} with history_length={w}" for t, w in ((template, window), *others)]
        raise DatasetError(
            f"trainer.eval_games: data.train_files mix {' and '.join(kinds)};"
            " train on files of one kind, or set trainer.eval_games=0"
        )
    if template is None:
        raise DatasetError(
            "trainer.eval_games: data.train_files do not say which template their prompts use;"
            " set trainer.eval_template"
        )
    if template.endswith(".toml") and not wanted:
        _check_template(config)
    return template, window


def _check_template(config: TrainConfig) -> None:
    """Raise DatasetError if the template file of a dataset has changed, or is one that only others have named."""
    for file in train_files(config):
        try:
            template_of_run(read_stamp(file.parent), file.parent, option="trainer.eval_template=")
        except RunFolderError as error:
            raise DatasetError(f"trainer.eval_games: {error}") from None


def _file_prompt_options(file: Path, config: TrainConfig) -> set[tuple[str | None, int | None]]:
    """Return the template and window of a file's run; without its stamp, the templates that its rows name."""
    try:
        prompt = PromptSection.model_validate(read_stamp(file.parent)["config"]["prompt"])
        return {(prompt.template, None if config.data.multiturn.enable else prompt.history_length)}
    except (RunFolderError, KeyError, TypeError, ValueError):
        if not config.data.multiturn.enable:
            logger.warning(
                "trainer.eval_games: %s has no run.json beside it that tells the history in its prompts; games are"
                " played with all of it",
                file,
            )
        named = {row.extra.get("template") for row in read_rows([file], columns_of(config))} or {None}
        return {(name if isinstance(name, str) else None, None) for name in named}
