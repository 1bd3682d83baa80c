"""How does a run of `rl` go from a fine-tuned model to its last checkpoint?

In each step games are drawn and played by the model as it is, their episodes get advantages, and the tokens that were
sampled are trained on. Steps, checkpoints, tests and logs are those of `train`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from alfworld_sft.games.sources import GENERATE
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import base_of, load_tokenizer
from alfworld_sft.models.stopping import stop_at
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.rl.config import RLConfig
from alfworld_sft.rl.credit import Credit, credit_of, numbers_of
from alfworld_sft.rl.figures import game_figures
from alfworld_sft.rl.inputs import games_of_tests, training_games
from alfworld_sft.rl.limits import DRY_GAMES, NothingWonError, Watch, dry_games_in
from alfworld_sft.rl.players import StepPlayers, make_players
from alfworld_sft.rl.probe import probe_samples
from alfworld_sft.rl.reference import reference_of
from alfworld_sft.rl.rollout import Group, Rollout
from alfworld_sft.rl.start import with_full_model
from alfworld_sft.rl.update import Updater
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.train.checkpoint import Checkpoint, Position
from alfworld_sft.train.data.batches import lengths_of
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.folder import OPTION
from alfworld_sft.train.hooks import Hook
from alfworld_sft.train.learner import Figures, Learner, TrainingResult
from alfworld_sft.train.log import METRICS_FILE
from alfworld_sft.train.play import GamePlay
from alfworld_sft.train.session import find_checkpoint, refuse_shorter, run_session

logger = logging.getLogger(__name__)


def reinforce(config: RLConfig, hooks: Sequence[Hook] = ()) -> TrainingResult:
    """Train by reinforcement learning as configured; called by every process.

    Raises UserError for problems the user can fix, and StoppedError after SIGTERM, once a checkpoint is saved.
    """
    with run_session(config) as ranks:
        if config.trainer.eval_games:
            hooks = [GamePlay(games_of_tests(config), ranks), *hooks]
        start = find_checkpoint(config, ranks)
        refuse_shorter(config, "total_training_steps", config.trainer.total_training_steps, start)
        config = with_full_model(config, ranks, resumes=start is not None)
        tokenizer = load_tokenizer(config.model.partial_pretrain)
        encoder = ChatEncoder(tokenizer)
        run = _Run(config, ranks, tokenizer, encoder, start)
        stop_at(base_of(run.learner.model), encoder.end_id)
        try:
            return run.go(hooks)
        finally:
            run.close()


class _Run:
    """The parts of one run, ready to start."""

    def __init__(
        self, config: RLConfig, ranks: Ranks, tokenizer: Any, encoder: ChatEncoder, start: Checkpoint | None
    ) -> None:
        self.config, self.ranks = config, ranks
        self.template, self.games = load_template(config.prompt.template), training_games(config)
        self.rollout = Rollout(
            games=self.games,
            template=self.template,
            protocol=Protocol(
                config.env.max_steps, config.prompt.form, config.prompt.history_length, config.env.max_repeats
            ),
            seed=config.trainer.seed,
            generations=config.rl.num_generations,
            concurrency=config.policy.max_batch,
        )
        self.learner = Learner(
            config,
            ranks,
            tokenizer,
            probe_samples(self.games.ref(0).load(), self.template, encoder),
            total=config.trainer.total_training_steps,
            identity=_identity(config, self.games.sha256, self.template),
            start=start,
            temperature=config.policy.temperature,
        )
        self.updater = Updater(self.learner, config, reference_of(self.learner, config))
        self.players: StepPlayers = make_players(config, tokenizer, ranks)
        dry = dry_games_in(config.local_dir / METRICS_FILE, self.learner.position.step) if ranks.first else 0
        self.watch = Watch(config.rl, _easier_games(config), self.learner.kept, ranks.share(dry))

    def go(self, hooks: Sequence[Hook]) -> TrainingResult:
        """Do the remaining steps, test and save along the way, and write the final model."""
        rl = self.config.rl
        if self.ranks.first and self.games.warning:
            logger.warning("%s", self.games.warning)
        self.learner.log_outline(
            f"{rl.games_per_step} games a step, {rl.num_generations} episodes each: {self.games.description}"
        )
        return self.learner.go(self._steps(), hooks)

    def close(self) -> None:
        """Close the log, and free the models."""
        del self.updater
        self.learner.close()

    def _steps(self) -> Iterator[tuple[Position, Figures]]:
        while self.learner.position.step < self.learner.total:
            yield self.step(self.learner.position)

    def step(self, before: Position) -> tuple[Position, Figures]:
        """Play games and train on their episodes; `Position.batch` counts the games drawn. Raises RunawayError."""
        started = time.perf_counter()
        number = before.step + 1
        groups, credit = self._play(before)
        try:
            self.watch.games_played(number, groups)
        except NothingWonError:
            self.learner.save_unless_saved()
            raise
        played = time.perf_counter()
        samples = credit.samples(self.config.rl.loss_type, self.config.env.max_steps * self.config.policy.max_tokens)
        figures = self.updater.update(number, samples)
        if self.config.policy.name == "server":
            self.watch.played_elsewhere(number, figures.get("policy_kl") or 0.0)
        self.watch.diverged(number, figures.get("kl") or 0.0)
        ended = time.perf_counter()
        tokens = sum(lengths_of(samples))
        return Position(number, 0, before.batch + len(groups)), {
            **game_figures(groups, credit.rewards, credit.without_signal),
            DRY_GAMES: self.watch.dry_games,
            **figures,
            "sequences": len(samples),
            "tokens": tokens,
            "tokens_per_s": tokens * self.config.rl.num_iterations / (ended - played),
            "seconds_playing": played - started,
            "seconds_training": ended - played,
            **self.learner.mfu(lengths_of(samples) * self.config.rl.num_iterations, ended - played),
        }

    def _play(self, before: Position) -> tuple[list[Group], Credit]:
        """Play batches of games until enough of them have something to learn from, or no more batch may be played."""
        rl = self.config.rl
        groups: list[Group] = []
        with self.players.at(before.step, self.learner.model) as policy:
            for _ in range(rl.max_num_gen_batches):
                first = before.batch + len(groups)
                groups += self.rollout.play(policy, range(first, first + rl.games_per_step), self.ranks)
                credit = credit_of(groups, self.config)
                if len(groups) - credit.without_signal >= rl.games_per_step:
                    break
        return groups, credit


def _identity(config: RLConfig, games: str, template: Template) -> dict[str, Any]:
    """Return what decides which episodes a step plays and learns from; the keys are the options to check."""
    policy, prompt, rl = config.policy, config.prompt, config.rl
    return {
        "source of games": games,
        "prompt.template": hashlib.sha256("\n".join(template.texts).encode()).hexdigest(),
        "prompt.form": prompt.form,
        "prompt.history_length": prompt.history_length,
        "env.max_steps": config.env.max_steps,
        "env.max_repeats": config.env.max_repeats,
        "policy.temperature": policy.temperature,
        "policy.top_p": policy.top_p,
        "policy.max_tokens": policy.max_tokens,
        "rl.method": rl.method,
        "rl.num_generations": rl.num_generations,
        "rl.games_per_step": rl.games_per_step,
        "rl.max_num_gen_batches": rl.max_num_gen_batches,
        "rl.loss_type": rl.loss_type,
        **{f"rl.{name}": getattr(rl, name) for name in numbers_of(rl)},
    }


def _easier_games(config: RLConfig) -> str:
    """Say how the run would get easier games: those of another source or difficulty are another run's."""
    options = "games.difficulty=easy" if config.games.source == GENERATE else "another games.source"
    return f"play easier games ({options}, with another {OPTION})"
