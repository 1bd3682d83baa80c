"""How does `train` go from its config to its last checkpoint?

In each step the batch's samples are distributed over the processes and packed into micro-batches; each adds Σ
weight·loss divided by the weight of the global batch; then the gradient is clipped and the optimizer updates the
weights. So the loss is the weighted mean over tokens, however they are split into micro-batches and processes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.errors import DatasetError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import base_of, context_of, load_config, load_tokenizer
from alfworld_sft.models.stopping import stop_at
from alfworld_sft.train.checkpoint import Checkpoint, Position
from alfworld_sft.train.config import TrainConfig
from alfworld_sft.train.data.batches import Batch, BatchSchedule, fingerprint, lengths_of, micro_batches, total_weight
from alfworld_sft.train.data.inputs import columns_of, train_files, val_files
from alfworld_sft.train.data.options import sample_options
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import beyond_context, load_samples, more_rows_than_a_step
from alfworld_sft.train.distributed import Ranks, gradient_sync
from alfworld_sft.train.eval_games import find_eval_games
from alfworld_sft.train.hooks import Hook, Moment
from alfworld_sft.train.learner import Figures, Learner, TrainingResult, forward, report_out_of_memory
from alfworld_sft.train.model.objectives import make_objective
from alfworld_sft.train.play import GamePlay
from alfworld_sft.train.session import find_checkpoint, refuse_shorter, run_session
from alfworld_sft.train.validate import validate

logger = logging.getLogger(__name__)


def train(config: TrainConfig, hooks: Sequence[Hook] = ()) -> TrainingResult:
    """Train as configured; called by every process.

    Raises UserError for problems the user can fix, and StoppedError after SIGTERM, once a checkpoint is saved.
    """
    with run_session(config) as ranks:
        if config.trainer.eval_games:
            hooks = [GamePlay(find_eval_games(config), ranks), *hooks]
        start = find_checkpoint(config, ranks)
        tokenizer = load_tokenizer(config.model.partial_pretrain)
        encoder = ChatEncoder(tokenizer)
        samples, held_out = _load_data(config, encoder, ranks)
        run = _Run(config, ranks, tokenizer, samples, held_out, start)
        stop_at(base_of(run.learner.model), encoder.end_id)
        try:
            return run.go(hooks)
        finally:
            run.learner.close()


class _Run:
    """The parts of one run, ready to start."""

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        tokenizer: Any,
        samples: list[Sample],
        held_out: list[Sample],
        start: Checkpoint | None,
    ) -> None:
        self.config, self.ranks, self.samples = config, ranks, samples
        self.schedule = BatchSchedule(
            [sample.rows for sample in samples],
            config.data.train_batch_size,
            config.trainer.seed,
            epochs=config.trainer.total_epochs,
            steps=config.trainer.total_training_steps,
        )
        self.objective = make_objective(config.loss)
        key = "total_training_steps" if config.trainer.total_training_steps else "total_epochs"
        refuse_shorter(config, key, self.schedule.total, start)
        identity = {
            "data.multiturn.enable": config.data.multiturn.enable,  # before the data, which differ with it
            "training data": fingerprint(samples),
            "data.train_batch_size": config.data.train_batch_size,
            "loss.kind": config.loss.as_options,
        }
        learner = Learner(config, ranks, tokenizer, samples, total=self.schedule.total, identity=identity, start=start)
        self.learner = learner
        self.tests = self._micro_batches(held_out) if held_out else []

    def go(self, hooks: Sequence[Hook]) -> TrainingResult:
        """Do the remaining steps, validate and save along the way, and write the final model."""
        rows = sum(sample.rows for sample in self.samples)
        self.learner.log_outline(f"{rows} rows in {len(self.samples)} sequences")
        return self.learner.go(self._steps(), [self.validate, *hooks] if self.tests else hooks)

    def _steps(self) -> Iterator[tuple[Position, Figures]]:
        for batch in self.schedule.batches(self.learner.position):
            yield batch.after, self.step(batch)

    def validate(self, moment: Moment) -> Mapping[str, float]:
        """Return the figures on the held-out data."""
        return validate(self.learner.module, self.tests, moment.tokenizer.decode, self.ranks)

    def step(self, batch: Batch) -> Figures:
        """Train on one batch, and return its figures. Raises DivergedError."""
        started = time.perf_counter()
        learner = self.learner
        samples = [self.samples[index] for index in batch.indices]
        weight = total_weight(samples)
        lengths = lengths_of(samples)
        loss: float | None = None
        norm: float | None = None
        factor = learner.lr_factor(batch.after.step)
        if weight > 0:
            with report_out_of_memory(self.config):
                micro = self._micro_batches(samples)
                loss = self.ranks.sums(self._backward(micro, weight))[0]
                norm = learner.optimizer.clip(self.config.optim.clip_grad)
            learner.check_finite(batch.after.step, loss, norm, _names_of(samples))
            learner.optimizer.step(factor)
        else:
            logger.warning("step %d: no token of its %d rows is trained; skipped", batch.after.step, len(samples))
        seconds = time.perf_counter() - started
        return {
            "epoch": round(batch.epochs, 4),
            "loss": loss,
            "lr": self.config.optim.lr * factor,
            "grad_norm": norm,
            "tokens": sum(lengths),
            "tokens_per_s": sum(lengths) / seconds,
            **learner.mfu(lengths, seconds),
        }

    def _micro_batches(self, samples: Sequence[Sample]) -> list[Packed]:
        learner = self.learner
        return micro_batches(samples, self.ranks.rank, self.ranks.world, learner.budget, branches=learner.branches)

    def _backward(self, micro: Sequence[Packed], weight: float) -> float:
        """Add the gradient of the batch's mean loss; return this process's part of that loss."""
        module = self.learner.module
        total = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        for number, packed in enumerate(micro, 1):
            with gradient_sync(module, last=number == len(micro)), self.learner.products():
                loss = forward(module, packed, self.ranks.device, self.objective).loss
                # Gradients are averaged over processes but should be summed.
                (loss * (self.ranks.world / weight)).backward()
            total += loss.detach()
        return float(total) / weight


def _names_of(samples: Sequence[Sample]) -> str:
    """Return the keys of a batch's samples, or of the first few."""
    keys = [sample.key for sample in samples]
    return ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def _load_data(config: TrainConfig, encoder: ChatEncoder, ranks: Ranks) -> tuple[list[Sample], list[Sample]]:
    """Return samples for training and for validation; an empty validation file is reported, and means none.

    Raises DatasetError where nothing is left to train on, or a sequence is longer than the model's context.
    """
    options = sample_options(config)
    columns = columns_of(config)
    loaded = load_samples(train_files(config), encoder, columns, options)
    warnings = loaded.report.warnings(options)
    if not loaded.samples:
        why = "; ".join(warnings) or "there are no rows"
        raise DatasetError(f"data.train_files={', '.join(config.data.train_files or [])}: nothing to train on: {why}")
    context = context_of(load_config(config.model.partial_pretrain))
    if wrong := beyond_context(loaded.samples, context):
        raise DatasetError(f"data.train_files={', '.join(config.data.train_files or [])}: {wrong}")
    files = val_files(config)
    held_out = load_samples(files, encoder, columns, options, option="data.val_files") if files else None
    if longer := more_rows_than_a_step(loaded.samples, config.data.train_batch_size):
        warnings.append(longer)
    if both := loaded.report.games & (held_out.report.games if held_out else set()):
        warnings.append(
            f"{counted(len(both), 'game')} of data.val_files ({min(both)}) {noun_for(len(both), 'is', 'are')} trained"
            " on, so the validation loss will be too optimistic; collect what is trained together with"
            " dataset.val_fraction=0"
        )
    if ranks.first:
        for line in warnings:
            logger.warning("%s", line)
    if held_out is None:
        return loaded.samples, []
    if wrong := beyond_context(held_out.samples, context):
        raise DatasetError(f"data.val_files={', '.join(map(str, files))}: {wrong}")
    of_validation = held_out.report.warnings(options)
    if not held_out.samples:
        names, why = ", ".join(map(str, files)), "; ".join(of_validation) or "no rows"
        of_validation = [f"data.val_files={names}: {why}; training continues without validation"]
    if ranks.first:
        for line in of_validation:
            logger.warning("%s", line if line.startswith("data.val_files") else f"data.val_files: {line}")
    return loaded.samples, held_out.samples
