"""Can a run start with these options? Its games, its prompts and the games of its tests, before a model is loaded."""

from __future__ import annotations

from alfworld_sft.games import GameSource, check_split_is_trainable
from alfworld_sft.policies.llm.server import OpenAIServer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.rl.config import RLConfig
from alfworld_sft.runs.job import games_of
from alfworld_sft.train.eval_games import EvalGames, eval_games_of


def check_inputs(config: RLConfig) -> None:
    """Raise UserError if there are no games, for training or for tests, or for an unusable template or server."""
    training_games(config)
    load_template(config.prompt.template)
    if config.trainer.eval_games:
        games_of_tests(config)
    if config.policy.name == "server":
        OpenAIServer("", config.policy.base_url)


def training_games(config: RLConfig) -> GameSource:
    """Return the games that a run learns from; raises UserError."""
    check_split_is_trainable(config.games.split, allow=config.games.allow_eval_split)
    return games_of(config.games, config.trainer.seed)


def games_of_tests(config: RLConfig) -> EvalGames:
    """Return the games of the run's tests; raises UserError if there are none."""
    return eval_games_of(config.trainer, config.prompt)
