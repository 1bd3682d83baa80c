"""How does a training run go from its config to its last checkpoint?

In each step the batch's samples are distributed over the processes and packed into micro-batches; each adds Σ
weight·nll divided by the weight of the global batch; then the gradient is clipped and the optimizer updates the
weights. So the loss is the weighted mean over tokens, however they are split into micro-batches and processes.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import logging as transformers_logging

from alfworld_sft.errors import AlfworldSftError, DatasetError, UserError, os_reason
from alfworld_sft.files import remove_partial
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import base_of, layers_of, load_config, load_model, load_tokenizer
from alfworld_sft.models.stamp import CheckpointError, base_fingerprint
from alfworld_sft.models.stopping import stop_at
from alfworld_sft.signals import StopRequest, ignore_further_sigterm, sigterm_noted
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.checkpoint import Checkpoint, Position
from alfworld_sft.train.config import TrainConfig
from alfworld_sft.train.data.batches import Batch, BatchSchedule, fingerprint, lengths_of, micro_batches, total_weight
from alfworld_sft.train.data.inputs import columns_of, train_files, val_files
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import load_samples, sample_options
from alfworld_sft.train.distributed import Ranks, distribute, gradient_sync, join_processes
from alfworld_sft.train.eval_games import find_eval_games
from alfworld_sft.train.folder import output_folder
from alfworld_sft.train.hooks import Hook, Moment
from alfworld_sft.train.log import METRICS_FILE, RunLog, require_loggers
from alfworld_sft.train.model.attention import Segments, choose_attention
from alfworld_sft.train.model.flops import FlopCounter, peak_flops
from alfworld_sft.train.model.lora import add_lora
from alfworld_sft.train.model.memory import tokens_per_pass
from alfworld_sft.train.model.on_cpu import multiplies_bfloat16
from alfworld_sft.train.model.optim import Optimizer, lr_factor
from alfworld_sft.train.model.own_loss import may_be_packed, own_loss, probe_rows
from alfworld_sft.train.model.prepare import LossModule, compile_each_layer, prepare
from alfworld_sft.train.play import GamePlay
from alfworld_sft.train.validate import validate

logger = logging.getLogger(__name__)

WIDE = 512
"""Width of a model from which adapters are trained in bfloat16 on a CPU that multiplies it faster."""

ONE_ROW = 1
"""The token budget for a micro-batch of one sample, however long."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""malloc.h's numbers of two mallopt settings."""


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


def train(config: TrainConfig, hooks: Sequence[Hook] = ()) -> TrainingResult:
    """Train as configured; called by every process.

    Raises UserError for problems the user can fix, and StoppedError after SIGTERM, once a checkpoint is saved.
    """
    require_loggers(config.trainer.logger)
    with join_processes(config.trainer.device) as ranks, output_folder(config.local_dir, ranks):
        _quiet_logs(ranks)
        _keep_freed_memory()
        if config.trainer.eval_games:
            hooks = [GamePlay(find_eval_games(config), ranks), *hooks]
        start = _find_checkpoint(config, ranks)
        tokenizer = load_tokenizer(config.model.partial_pretrain)
        encoder = ChatEncoder(tokenizer)
        samples, held_out = _load_data(config, encoder, ranks)
        run = _Run(config, ranks, tokenizer, samples, held_out, start)
        stop_at(base_of(run.model), encoder.end_id)
        try:
            return run.go(hooks)
        finally:
            run.close()


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
        self.config, self.ranks, self.tokenizer, self.samples = config, ranks, tokenizer, samples
        self.schedule = BatchSchedule(
            [sample.rows for sample in samples],
            config.data.train_batch_size,
            config.trainer.seed,
            epochs=config.trainer.total_epochs,
            steps=config.trainer.total_training_steps,
        )
        self.position = start.position if start else Position(0, 0, 0)
        self.saved: Position | None = start.position if start else None
        self.last_saved: Path | None = start.path if start else None
        _refuse_shorter(config, self.schedule, start)
        compute = compute_dtype(config, ranks.device)
        self.model, may_share = load_trainable(config, ranks, compute, samples)
        loss = LossModule(self.model, autocast=compute if compute != torch.float32 else None)
        self.branches = loss.packed
        self.budget = config.token_budget if may_share else ONE_ROW
        if ranks.device.type == "cpu":
            self.budget = min(self.budget, tokens_per_pass(loss))
        self.identity = _identity(config, self.model, samples)
        if start:
            checkpoints.check_same_run(start, self.identity)
            checkpoints.restore_weights(start, self.model)
        flops = FlopCounter(self.model, base_of(self.model).config)
        self.count_flops = flops.of
        self.peak = peak_flops(ranks.device)
        self.module = distribute(loss, layers_of(self.model), ranks, config.model.strategy, compute)
        self.optimizer = Optimizer(
            self.module,
            name=config.optim.name,
            lr=config.optim.lr,
            betas=config.optim.betas,
            weight_decay=config.optim.weight_decay,
            momentum=config.optim.momentum,
        )
        if start:
            checkpoints.restore_progress(start, self.optimizer, ranks)
        _move_later_aside(config.local_dir, start, ranks)
        self.tests = self._micro_batches(held_out) if held_out else []
        self.log = self._open_log() if ranks.first else None

    def go(self, hooks: Sequence[Hook]) -> TrainingResult:
        """Do the remaining steps, validate and save along the way, and write the final model."""
        done = 0
        self._log_outline()
        with sigterm_noted() as request:
            if self._is_test_owed():
                self._test_unless_stopped(hooks, request)
                self._stop_if_asked(request)
            for batch in self.schedule.batches(self.position):
                figures = self.step(batch)
                self.position = batch.after
                done += 1
                if self.log:
                    self.log.step(batch.after.step, figures)
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

    def step(self, batch: Batch) -> dict[str, float | None]:
        """Train on one batch, and return its figures. Raises DivergedError."""
        started = time.perf_counter()
        samples = [self.samples[index] for index in batch.indices]
        weight = total_weight(samples)
        lengths = lengths_of(samples)
        loss: float | None = None
        norm: float | None = None
        optim = self.config.optim
        factor = lr_factor(
            batch.after.step - 1, self.schedule.total, optim.warmup_steps_ratio, optim.lr_scheduler, optim.min_lr_ratio
        )
        if weight > 0:
            with _report_out_of_memory(self.config):
                micro = self._micro_batches(samples)
                loss = self.ranks.sums(self._backward(micro, weight))[0]
                norm = self.optimizer.clip(optim.clip_grad)
            self._check_finite(batch, samples, loss, norm)
            self.optimizer.step(factor)
        else:
            logger.warning("step %d: no token of its %d rows is trained; skipped", batch.after.step, len(samples))
        seconds = time.perf_counter() - started
        mfu = self.count_flops(lengths) / seconds / (self.peak * self.ranks.world) if self.peak else None
        return {
            "epoch": round(batch.epochs, 4),
            "loss": loss,
            "lr": optim.lr * factor,
            "grad_norm": norm,
            "tokens": sum(lengths),
            "tokens_per_s": sum(lengths) / seconds,
            **({"mfu": mfu} if mfu is not None else {}),
        }

    def _micro_batches(self, samples: Sequence[Sample]) -> list[Packed]:
        return micro_batches(samples, self.ranks.rank, self.ranks.world, self.budget, branches=self.branches)

    def _backward(self, micro: Sequence[Packed], weight: float) -> float:
        """Add the gradient of the batch's mean loss; return this process's part of that loss."""
        total = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        for number, packed in enumerate(micro, 1):
            with gradient_sync(self.module, last=number == len(micro)):
                loss, _, _ = forward(self.module, packed, self.ranks.device)
                # Gradients are averaged over processes but should be summed.
                (loss * (self.ranks.world / weight)).backward()
            total += loss.detach()
        return float(total) / weight

    def _check_finite(self, batch: Batch, samples: Sequence[Sample], loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        keys = [sample.key for sample in samples]
        shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
        kept = f"the last checkpoint is {self.last_saved}" if self.last_saved else "there is no checkpoint yet"
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise DivergedError(
            f"step {batch.after.step}: {what}, on the batch of {shown}; {kept};"
            f" try a smaller optim.lr (now {self.config.optim.lr:g})"
        )

    def test(self, hooks: Sequence[Hook]) -> dict[str, float]:
        """Validate, call the hooks, and log their figures."""
        figures: dict[str, float] = {}
        if self.tests:
            figures |= validate(self.module, self.tests, self.tokenizer.decode, self.ranks)
        for hook in hooks:
            figures |= hook(Moment(self.position.step, self.model, self.tokenizer, self.ranks))
        if self.log and figures:
            self.log.test(self.position.step, figures)
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
            if self.saved != self.position:
                self.save()
            ignore_further_sigterm()  # torchrun sends one when another process has ended first
            raise StoppedError(f"stopped by SIGTERM after step {self.position.step}; saved {self.last_saved}")

    def _is_test_owed(self) -> bool:
        """Return whether the run was stopped between its last step and the test due after it."""
        owed = self.ranks.share(self.log is not None and self.log.owes_test)
        return bool(owed) and self._is_due(self.config.trainer.test_freq)

    def save(self) -> None:
        """Write a checkpoint."""
        self.last_saved = checkpoints.save(
            self.config.local_dir,
            self.position,
            model=self.model,
            tokenizer=self.tokenizer,
            optimizer=self.optimizer,
            identity=self.identity,
            config=self.config.model_dump(mode="json"),
            ranks=self.ranks,
            keep=self.config.trainer.max_ckpt_to_keep,
        )
        self.saved = self.position

    def close(self) -> None:
        """Close the log, and free the model.

        DDP must be freed before the process group is destroyed; freeing it later can deadlock at interpreter exit (seen
        with gloo, once in ten runs).
        """
        if self.log:
            self.log.close()
        del self.module, self.optimizer, self.model
        gc.collect()

    def _is_due(self, every: int) -> bool:
        """Return whether an action due every `every` steps, or at the end of each epoch (-1), is due now."""
        step = self.position.step
        if step == self.schedule.total:
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
            total=self.schedule.total,
        )

    def _log_outline(self) -> None:
        if not self.ranks.first:
            return
        parameters = list(self.model.parameters())
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        logger.info(
            "training %s of %s weights of %s on %d rows in %d sequences, %d steps, %s",
            f"{trained:,}", f"{sum(p.numel() for p in parameters):,}", self.config.model.partial_pretrain,
            sum(s.rows for s in self.samples), len(self.samples), self.schedule.total,
            f"{self.ranks.world} process{'es' if self.ranks.world > 1 else ''} on {self.ranks.device.type}",
        )  # fmt: skip
        if self.position.step:
            logger.info("resuming from %s", self.last_saved)
        if self.position.step >= self.schedule.total:
            logger.info("all %d steps are already done", self.schedule.total)


def forward(module: nn.Module, packed: Packed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run one micro-batch through a LossModule, wrapped or not."""
    fields = (packed.input_ids, packed.position_ids, packed.labels, packed.weights)
    moved = [tensor.to(device, non_blocking=True) for tensor in fields]
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = module(
        *moved, Segments.of(packed.cu_seqlens, device, packed.prefixes)
    )
    return result


def compute_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: by default bfloat16 where the device multiplies it faster, float32 elsewhere.

    On a CPU that is with AMX or AVX512-BF16, and adapters on a model that is wide enough for products to be most of
    the work. Measured on a core of an EPYC: 135 M parameters, 576 wide, 245 tokens/s instead of 160; a model 128 wide
    gains nothing.
    """
    if config.model.dtype != "auto":
        return torch.bfloat16 if config.model.dtype == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        width = getattr(load_config(config.model.partial_pretrain), "hidden_size", 0)
        fast = config.model.lora_rank > 0 and width >= WIDE and multiplies_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def load_trainable(
    config: TrainConfig, ranks: Ranks, compute: torch.dtype, samples: Sequence[Sample]
) -> tuple[Any, bool]:
    """Load the model with trained weights in float32: adapters on a base in the compute dtype, or all weights.

    Also return whether its rows may share a pass. Raises ModelError if the loss would not be the model's own.
    """
    options = config.model
    name, autocast = options.partial_pretrain, compute if compute != torch.float32 else None
    attention = choose_attention(name, options.attention, config.data.max_length)
    model = load_model(name, compute if options.lora_rank else torch.float32, ranks.device, attention)
    own = own_loss(model, probe_rows(samples, model.config, config.data.max_length), autocast)
    if options.lora_rank:
        torch.manual_seed(config.trainer.seed)
        model = add_lora(
            model, options.lora_rank, options.lora_alpha, options.target_modules, autocast=autocast is not None
        )
    prepare(model, gradient_checkpointing=options.enable_gradient_checkpointing, compile_layers=False)
    may_share = _agree(ranks, lambda: may_be_packed(name, LossModule(model, autocast=autocast), own))
    if options.compile:
        compile_each_layer(model)
    return model, may_share


def _agree(ranks: Ranks, ask: Callable[[], bool]) -> bool:
    """Return rank 0's answer in every process, or raise its UserError in every process."""
    answer: bool | UserError
    try:
        answer = ask()
    except UserError as error:
        answer = error
    answer = ranks.share(answer)
    if isinstance(answer, UserError):
        raise answer
    return answer


def _load_data(config: TrainConfig, encoder: ChatEncoder, ranks: Ranks) -> tuple[list[Sample], list[Sample]]:
    """Return samples for training and for validation; an empty validation file is reported, and means none."""
    options = sample_options(config)
    columns = columns_of(config)
    loaded = load_samples(train_files(config), encoder, columns, options)
    warnings = loaded.report.warnings(options)
    if not loaded.samples:
        why = "; ".join(warnings) or "there are no rows"
        raise DatasetError(f"data.train_files={', '.join(config.data.train_files or [])}: nothing to train on: {why}")
    files = val_files(config)
    held_out = load_samples(files, encoder, columns, options, option="data.val_files").samples if files else []
    if ranks.first:
        for line in warnings:
            logger.warning("%s", line)
        if files and not held_out:
            names = ", ".join(map(str, files))
            logger.warning("data.val_files=%s: no rows; training continues without validation", names)
    return loaded.samples, held_out


def _find_checkpoint(config: TrainConfig, ranks: Ranks) -> Checkpoint | None:
    """Return the checkpoint to resume from; rank 0 looks for it, so that all processes agree."""
    found: Checkpoint | UserError | None = None
    if ranks.first:
        try:
            found = _look_for_checkpoint(config.local_dir, config.trainer.resume_mode)
        except UserError as error:
            found = error
        except OSError as error:
            found = UserError(f"trainer.default_local_dir={config.local_dir}: {os_reason(error)}")
    found = ranks.share(found)
    if isinstance(found, UserError):
        raise found
    return found


def _look_for_checkpoint(folder: Path, mode: str) -> Checkpoint | None:
    remove_partial(folder)
    if mode == "auto":
        return checkpoints.newest_checkpoint(folder)
    if mode == "disable":
        checkpoints.refuse_existing(folder)
        return None
    return checkpoints.open_checkpoint(Path(mode).expanduser())


def _refuse_shorter(config: TrainConfig, schedule: BatchSchedule, start: Checkpoint | None) -> None:
    """Raise CheckpointError if more steps are done than configured: the final model would be of the longer run."""
    if start is None or start.position.step <= schedule.total:
        return
    trainer = config.trainer
    key = "total_training_steps" if trainer.total_training_steps else "total_epochs"
    raise CheckpointError(
        f"trainer.{key}={getattr(trainer, key)} makes {schedule.total} steps, but {start.path} has"
        f" {start.position.step} already; for a shorter run, resume from an earlier checkpoint:"
        " trainer.resume_mode=PATH/global_step_N"
    )


def _move_later_aside(folder: Path, start: Checkpoint | None, ranks: Ranks) -> None:
    """Move checkpoints out of the run's folder unless its next steps continue from them."""
    problem = None
    if ranks.first:
        try:
            _move_aside(folder, start)
        except OSError as error:
            problem = f"{folder}: later checkpoints cannot be moved to {checkpoints.ASIDE}/: {os_reason(error)}"
    problem = ranks.share(problem)
    if problem:
        raise CheckpointError(problem)


def _move_aside(folder: Path, start: Checkpoint | None) -> None:
    """Keep the checkpoints that lead to the start; if it is in another folder, none here does."""
    own = start is not None and start.path.resolve().parent == folder.resolve()
    aside = checkpoints.set_aside_later(folder, start.position.step if start and own else 0, others=[METRICS_FILE])
    if aside is None:
        return
    if not own:
        (folder / METRICS_FILE).unlink(missing_ok=True)
    origin = start.path if start else "the start"
    logger.warning("training resumes from %s; later checkpoints of this folder were moved to %s", origin, aside)


def _identity(config: TrainConfig, model: Any, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return everything that must be equal to resume from a checkpoint; the keys are the options to check."""
    modules = config.model.target_modules
    return {
        "base model": base_fingerprint(model) if config.model.lora_rank else _describe_shapes(model),
        "training data": fingerprint(samples),
        "data.train_batch_size": config.data.train_batch_size,
        "model.lora_rank": config.model.lora_rank,
        "model.lora_alpha": float(config.model.lora_alpha),
        "model.target_modules": modules if isinstance(modules, str) else sorted(modules),
        "optim.name": config.optim.name,
        "trainer.seed": config.trainer.seed,
    }


def _describe_shapes(model: Any) -> str:
    """Return a text that is equal for models of one shape, for when all weights come from the checkpoint."""
    return "; ".join(sorted(f"{name} {tuple(p.shape)}" for name, p in model.named_parameters()))


@contextmanager
def _report_out_of_memory(config: TrainConfig) -> Iterator[None]:
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


def _keep_freed_memory() -> None:
    """Make glibc reuse memory freed by a step: on a CPU, page faults otherwise take a tenth of the time."""
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _quiet_logs(ranks: Ranks) -> None:
    """Let only rank 0 log, and hide the libraries' progress bars."""
    transformers_logging.disable_progress_bar()
    if not ranks.first:
        logging.getLogger("alfworld_sft").setLevel(logging.ERROR)
