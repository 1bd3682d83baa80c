"""What does a training run do around its steps, whatever it trains on? Load, restore, test, save, stop.

`train` and `rl` bring their steps as an iterator that does one whenever it is advanced.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alfworld_sft.errors import AlfworldSftError, DatasetError, UserError
from alfworld_sft.models.load import base_of, layers_of
from alfworld_sft.models.products import products_of
from alfworld_sft.models.stamp import base_fingerprint
from alfworld_sft.signals import StopRequest, ignore_further_sigterm, sigterm_noted
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.checkpoint import Checkpoint, Position
from alfworld_sft.train.config import TrainingConfig
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.distributed import Ranks, distribute
from alfworld_sft.train.hooks import Hook, Moment
from alfworld_sft.train.log import RunLog
from alfworld_sft.train.model.attention import Segments
from alfworld_sft.train.model.flops import FlopCounter, peak_flops
from alfworld_sft.train.model.loss import LIKELIHOOD, TokenLoss
from alfworld_sft.train.model.memory import pass_limits
from alfworld_sft.train.model.objectives import Objective
from alfworld_sft.train.model.optim import Optimizer, lr_factor
from alfworld_sft.train.model.prepare import LossModule
from alfworld_sft.train.model.trainable import compute_dtype, load_trainable
from alfworld_sft.train.session import move_later_aside

logger = logging.getLogger(__name__)

ONE_ROW = 1
"""The token budget for a micro-batch of one sample, however long."""

Figures = dict[str, float | None]
"""What a step reports to the log."""


class DivergedError(UserError):
    """A loss or gradient that is not finite."""


class StoppedError(AlfworldSftError):
    """SIGTERM was received, the step was finished, and a checkpoint was saved."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The results of a run: the final model's folder, the last checkpoint, and the number of steps in this call."""

    final: Path
    checkpoint: Path
    steps: int


class Learner:
    """A model in training with its optimizer, its checkpoints and its log.

    `position` is how far it is of `total` steps, `budget` the maximum of tokens in one pass; `branches` says whether
    its attention knows branches.
    """

    def __init__(
        self,
        config: TrainingConfig,
        ranks: Ranks,
        tokenizer: Any,
        probe: Sequence[Sample],
        *,
        total: int,
        identity: Mapping[str, Any],
        start: Checkpoint | None,
        temperature: float = 1.0,
    ) -> None:
        """Load the model and restore it from `start`; some samples `probe` whether its loss is computed rightly.

        `identity` is what must be equal to resume, beside model and optimizer. The loss is that of the model at a
        sampling `temperature`.
        """
        self.config, self.ranks, self.tokenizer, self.total = config, ranks, tokenizer, total
        self.position = start.position if start else Position(0, 0, 0)
        self._saved: Position | None = start.position if start else None
        self.last_saved: Path | None = start.path if start else None
        self._temperature = temperature
        self.compute = compute_dtype(config, ranks.device)
        self.model, may_share = load_trainable(config, ranks, self.compute, probe)
        loss = self.loss_module(self.model)
        self.branches = loss.packed
        self.budget = config.token_budget if may_share else ONE_ROW
        if ranks.device.type == "cpu":
            limits = pass_limits(loss)
            self.budget = min(self.budget, limits.together)
            if not config.model.enable_gradient_checkpointing:
                loss.recompute_over(limits.kept)
        self._identity = _identity(config, self.model) | dict(identity)
        if start:
            checkpoints.check_same_run(start, self._identity)
            checkpoints.restore_weights(start, self.model)
        self._count_flops = FlopCounter(self.model, base_of(self.model).config).of
        self._peak = peak_flops(ranks.device)
        self.module = distribute(loss, layers_of(self.model), ranks, config.model.strategy, self.compute)
        self.optimizer = Optimizer(
            self.module,
            name=config.optim.name,
            lr=config.optim.lr,
            betas=config.optim.betas,
            weight_decay=config.optim.weight_decay,
            momentum=config.optim.momentum,
        )
        if "betas" in config.optim.model_fields_set and not self.optimizer.uses_adamw:
            raise UserError("optim.betas has no effect: with these adapters Muon trains every weight; leave it out")
        if start:
            checkpoints.restore_progress(start, self.optimizer, ranks)
        move_later_aside(config.local_dir, start, ranks)
        self._log = self._open_log() if ranks.first else None

    def go(self, steps: Iterable[tuple[Position, Figures]], hooks: Sequence[Hook]) -> TrainingResult:
        """Do the remaining steps, test and save along the way, and write the final model.

        Each step ends at the position that it yields. Hooks are called at the test steps, in order.
        """
        done = 0
        with sigterm_noted() as request:
            if self._is_test_owed():
                self._test_unless_stopped(hooks, request)
                self._stop_if_asked(request)
            for after, figures in steps:
                self.position = after
                done += 1
                if self._log:
                    self._log.step(after.step, figures)
                if self._is_due(self.config.trainer.test_freq):
                    self._test_unless_stopped(hooks, request)
                if self._is_due(self.config.trainer.save_freq):
                    self.save()
                self._stop_if_asked(request)
        if self.last_saved is None:
            raise DatasetError("data.train_files: there is nothing to train on")
        final = self.ranks.share(
            checkpoints.write_final(self.last_saved, self.config.local_dir) if self.ranks.first else None
        )
        return TrainingResult(final, self.last_saved, done)

    def loss_module(self, model: Any) -> LossModule:
        """Return a model with the loss of this run."""
        autocast = self.compute if self.compute != torch.float32 else None
        return LossModule(model, autocast=autocast, temperature=self._temperature)

    def products(self) -> AbstractContextManager[None]:
        """Return what a forward and backward pass should run in: see `attention`, whose gradient has no context."""
        return products_of(base_of(self.model).config.get_text_config(decoder=True).hidden_size, self.ranks.device)

    def lr_factor(self, step: int) -> float:
        """Return the fraction of the peak learning rate at a step, counted from 1."""
        optim = self.config.optim
        return lr_factor(step - 1, self.total, optim.warmup_steps_ratio, optim.lr_scheduler, optim.min_lr_ratio)

    def mfu(self, lengths: Sequence[int], seconds: float) -> dict[str, float | None]:
        """Return the share of the device's peak that a step over rows of these lengths reached, if that is known."""
        if not self._peak:
            return {}
        return {"mfu": self._count_flops(lengths) / seconds / (self._peak * self.ranks.world)}

    def check_finite(self, step: int, loss: float, norm: float, trained_on: str) -> None:
        """Raise DivergedError if the loss or the gradient's norm of a step is not finite."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise DivergedError(
            f"step {step}: {what}, on the batch of {trained_on}; {self.kept()};"
            f" try a smaller optim.lr (now {self.config.optim.lr:g})"
        )

    def kept(self) -> str:
        """Say which checkpoint there is."""
        return f"the last checkpoint is {self.last_saved}" if self.last_saved else "there is no checkpoint yet"

    def test(self, hooks: Sequence[Hook]) -> dict[str, float]:
        """Call the hooks, and log their figures."""
        figures: dict[str, float] = {}
        for hook in hooks:
            figures |= hook(Moment(self.position.step, self.model, self.tokenizer, self.ranks))
        if self._log and figures:
            self._log.test(self.position.step, figures)
        return figures

    def _test_unless_stopped(self, hooks: Sequence[Hook], request: StopRequest) -> None:
        """Test unless SIGTERM has arrived or arrives meanwhile; several processes complete a test they have begun."""
        if self._is_asked_to_stop(request):
            return
        try:
            with request.interrupting() if self.ranks.world == 1 else nullcontext():
                self.test(hooks)
        except KeyboardInterrupt:
            if not request.received:
                raise

    def _is_asked_to_stop(self, request: StopRequest) -> bool:
        """Return whether any process has received SIGTERM: all of them stop at the same step."""
        return bool(self.ranks.largest(int(request.received)))

    def _stop_if_asked(self, request: StopRequest) -> None:
        """Save and raise StoppedError if SIGTERM was received."""
        if self._is_asked_to_stop(request):
            self.save_unless_saved()
            ignore_further_sigterm()  # torchrun sends one when another process has ended first
            raise StoppedError(f"stopped by SIGTERM after step {self.position.step}; saved {self.last_saved}")

    def _is_test_owed(self) -> bool:
        """Return whether the run was stopped between its last step and the test due after it."""
        owed = self.ranks.share(self._log is not None and self._log.owes_test)
        return bool(owed) and self._is_due(self.config.trainer.test_freq)

    def save(self) -> None:
        """Write a checkpoint."""
        self.last_saved = checkpoints.save(
            self.config.local_dir,
            self.position,
            model=self.model,
            tokenizer=self.tokenizer,
            optimizer=self.optimizer,
            identity=self._identity,
            config=self.config.model_dump(mode="json"),
            ranks=self.ranks,
            keep=self.config.trainer.max_ckpt_to_keep,
        )
        self._saved = self.position

    def save_unless_saved(self) -> None:
        """Write a checkpoint, unless there is one of this step or no step is done."""
        if self.position.step and self._saved != self.position:
            self.save()

    def close(self) -> None:
        """Close the log, and free the model.

        DDP must be freed before the process group is destroyed; freeing it later can deadlock at interpreter exit (seen
        with gloo, once in ten runs).
        """
        if self._log:
            self._log.close()
        del self.module, self.optimizer, self.model
        gc.collect()

    def _is_due(self, every: int) -> bool:
        """Return whether an action due every `every` steps, or at the end of each epoch (-1), is due now."""
        step = self.position.step
        if step == self.total:
            return True
        ends_epoch = self.position.batch == 0
        return ends_epoch if every < 0 else every > 0 and step % every == 0

    def _open_log(self) -> RunLog:
        trainer = self.config.trainer
        return RunLog(
            self.config.local_dir,
            trainer.logger,
            project=trainer.project_name,
            experiment=trainer.experiment_name,
            config=self.config.model_dump(mode="json"),
            done=self.position.step,
            total=self.total,
        )

    def log_outline(self, trained_on: str) -> None:
        """Log what is trained, on what, and how far the run is."""
        if not self.ranks.first:
            return
        parameters = list(self.model.parameters())
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        logger.info(
            "training %s of %s weights of %s on %s, %d steps, %s",
            f"{trained:,}", f"{sum(p.numel() for p in parameters):,}", self.config.model.partial_pretrain,
            trained_on, self.total,
            f"{self.ranks.world} process{'es' if self.ranks.world > 1 else ''} on {self.ranks.device.type}",
        )  # fmt: skip
        if self.position.step:
            logger.info("resuming from %s", self.last_saved)
        if self.position.step >= self.total:
            logger.info("all %d steps are already done", self.total)


def forward(
    module: torch.nn.Module,
    packed: Packed,
    device: torch.device,
    objective: Objective = LIKELIHOOD,
    *,
    entropy: bool = False,
) -> TokenLoss:
    """Run one micro-batch through a LossModule, wrapped or not."""
    fields = (packed.input_ids, packed.position_ids, packed.labels, packed.weights)
    moved = [tensor.to(device, non_blocking=True) for tensor in fields]
    result: TokenLoss = module(*moved, Segments.of(packed.cu_seqlens, device, packed.prefixes), objective, entropy)
    return result


def _identity(config: TrainingConfig, model: Any) -> dict[str, Any]:
    """Return what of model and optimizer must be equal to resume; the keys are the options to check."""
    modules = config.model.target_modules
    return {
        "base model": base_fingerprint(model),
        "model.lora_rank": config.model.lora_rank,
        "model.lora_alpha": float(config.model.lora_alpha),
        "model.target_modules": modules if isinstance(modules, str) else sorted(modules),
        "optim.name": config.optim.name,
        "trainer.seed": config.trainer.seed,
    }


@contextmanager
def report_out_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn running out of memory in the block into a UserError that says what to try."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        words = ("out of memory", "can't allocate memory")
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in words):
            raise
        rows, length = config.data.micro_batch_size_per_gpu, config.data.max_length
        smaller = "data.micro_batch_size_per_gpu=1" if rows > 1 else "a smaller data.max_length"
        wider = "" if config.model.enable_gradient_checkpointing else " or model.enable_gradient_checkpointing=true"
        raise UserError(f"out of memory with {rows} x {length} tokens at a time; try {smaller}{wider}") from None
