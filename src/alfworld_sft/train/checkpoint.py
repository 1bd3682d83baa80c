"""How are checkpoints `global_step_N/` written, completely or not at all, found again, and rejected if they do not fit?

The folder itself is what other tools load: the adapter in PEFT's layout (or the full model), its tokenizer, and the
stamp `alfworld_sft.json` (position, config, versions, identity of model and data). `trainer/` has the files needed only
for resuming: `optimizer.safetensors`, `random.safetensors`, and, written last, `manifest.json` with the size of every
file; a folder without a manifest is not a checkpoint. Nothing is read with pickle.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import __version__ as transformers

from alfworld_sft import __version__
from alfworld_sft.files import remove_folder, whole_folder
from alfworld_sft.models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from alfworld_sft.models.load import base_of, load_model
from alfworld_sft.models.stamp import STAMP_FILE, STAMP_FORMAT, CheckpointError, read_stamp
from alfworld_sft.strict_json import to_json
from alfworld_sft.train.distributed import Ranks, full_tensor
from alfworld_sft.train.model.optim import Optimizer, OptimizerState, clean_name, trained_parameters

logger = logging.getLogger(__name__)

TRAINER = "trainer"
MANIFEST = "manifest.json"
PREFIX = "global_step_"
FINAL = "final"
ASIDE = "set_aside"
"""Folder for the later checkpoints of a run that resumes from an earlier one."""
_BEFORE = {"loss.kind": "nll"}
"""What was so in checkpoints from before they recorded it."""
_SEPARATOR = "::"
_RESTART = "remove it, or name another trainer.default_local_dir"
_OTHER_RUN = (
    "give that as it was, or make it a run of its own: another trainer.default_local_dir, without trainer.resume_mode"
)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run is: total steps done, current epoch (from 0), and batches of that epoch done.

    A run of `rl` has no epochs; its `batch` counts the games drawn.
    """

    step: int
    epoch: int
    batch: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path
    position: Position
    identity: dict[str, Any]
    config: dict[str, Any]


def save(
    folder: Path,
    position: Position,
    *,
    model: Any,
    tokenizer: Any,
    optimizer: Optimizer,
    identity: Mapping[str, Any],
    config: Mapping[str, Any],
    ranks: Ranks,
    keep: int | None = None,
) -> Path:
    """Write `global_step_N/`, and keep the newest `keep` checkpoints up to it; every process must take part.

    `model` is the PEFT or transformers model. Raises CheckpointError if it cannot be written; then nothing of it is
    left.
    """
    path = folder / f"{PREFIX}{position.step}"
    weights = {name: _gather(parameter, ranks) for name, parameter in _weights_to_save(model)}
    states = optimizer.state(keep=ranks.first)
    randoms = ranks.gather(_random_states(ranks.device))
    problem = None
    if ranks.first:
        try:
            with whole_folder(path, replace=True) as partial:
                _write_model(partial, model, weights, tokenizer)
                trainer = partial / TRAINER
                trainer.mkdir()
                save_file(_flatten(states), trainer / "optimizer.safetensors")
                save_file(_key_by_rank(randoms), trainer / "random.safetensors")
                _write_json(partial / STAMP_FILE, _make_stamp(position, identity, config))
                _write_json(trainer / MANIFEST, {"files": _sizes(partial)})
            _drop_old(folder, position.step, keep)
        except OSError as error:
            problem = f"{path}: the checkpoint cannot be written: {error.strerror or error}"
        except SafetensorError as error:
            problem = f"{path}: the checkpoint cannot be written: {error}"
    problem = ranks.share(problem)
    if problem:
        raise CheckpointError(problem)
    return path


def write_adapter(folder: Path, model: Any, tokenizer: Any, ranks: Ranks) -> None:
    """Write a model's present adapter for other programs, without what resuming needs; every process must take part.

    Raises CheckpointError if it cannot be written.
    """
    weights = {name: _gather(parameter, ranks) for name, parameter in _weights_to_save(model)}
    problem = None
    if ranks.first:
        try:
            with whole_folder(folder, replace=True) as partial:
                _write_model(partial, model, weights, tokenizer)
        except (OSError, SafetensorError) as error:
            problem = f"{folder}: the adapter cannot be written: {getattr(error, 'strerror', None) or error}"
    problem = ranks.share(problem)
    if problem:
        raise CheckpointError(problem)


def write_final(checkpoint: Path, folder: Path) -> Path:
    """Put a checkpoint's model into the run's `final/`, without the files needed only for resuming; return its path.

    Weights take no more room; what one may want to edit there, such as a chat template, is a copy.
    """
    final = folder / FINAL
    with whole_folder(final, replace=True) as partial:
        for file in sorted(checkpoint.iterdir()):
            if file.is_file():
                put = _link_or_copy if file.suffix == ".safetensors" else shutil.copy2
                put(file, partial / file.name)
    return final


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint of a run's folder; incomplete ones are skipped with a warning."""
    for path in sorted(checkpoint_folders(folder), key=_step_of, reverse=True):
        missing = _missing_part(path)
        if missing is None:
            return open_checkpoint(path)
        logger.warning("%s is incomplete (%s); trying an older checkpoint", path, missing)
    return None


def last_step(folder: Path) -> int | None:
    """Return the step of the newest complete checkpoint in a run's folder, or None if there is none."""
    return max((_step_of(path) for path in checkpoint_folders(folder) if _missing_part(path) is None), default=None)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's stamp; raises CheckpointError if it is missing or incomplete."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    missing = _missing_part(path)
    if missing is not None:
        raise CheckpointError(f"{path} is not a complete checkpoint ({missing})")
    stamp = read_stamp(path)
    try:
        position = Position(int(stamp["step"]), int(stamp["epoch"]), int(stamp["batch"]))
        return Checkpoint(path, position, dict(stamp["identity"]), dict(stamp["config"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / STAMP_FILE} is not a checkpoint's stamp: {error!r}") from None


def check_same_run(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a checkpoint belongs to another model, other adapters or other data.

    It names all that differs.
    """
    different = []
    for key in dict.fromkeys((*identity, *checkpoint.identity)):
        was, now = checkpoint.identity.get(key, _identity_before(checkpoint, key)), identity.get(key)
        if was != now and not (key == "base model" and _is_from_before_full_hashes(was)):
            is_hash = isinstance(was, str) and len(was) > 40
            different.append(
                f"of another {key}" if is_hash else f"with {key}={_format_value(was)}, not {_format_value(now)}"
            )
    if different:
        raise CheckpointError(f"{checkpoint.path} was made {'; '.join(different)}; {_OTHER_RUN}")


def _is_from_before_full_hashes(base_model: object) -> bool:
    """Return whether a checkpoint of all weights recorded only the shapes of the model that it began with."""
    return isinstance(base_model, str) and ";" in base_model


def _identity_before(checkpoint: Checkpoint, key: str) -> Any:
    """Return what a checkpoint was made with, where it is from before its identity had this key."""
    value: Any = checkpoint.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return _BEFORE.get(key, value)


def restore_weights(checkpoint: Checkpoint, model: Any) -> None:
    """Restore the weights, before the model is wrapped or sharded; raises CheckpointError."""
    with _report_damage(checkpoint.path):
        _restore_weights(checkpoint.path, model)


def restore_progress(checkpoint: Checkpoint, optimizer: Optimizer, ranks: Ranks) -> None:
    """Restore the optimizer's state and the random states; raises CheckpointError."""
    with _report_damage(checkpoint.path):
        optimizer.load(_unflatten(load_file(checkpoint.path / TRAINER / "optimizer.safetensors")))
        _set_random_states(load_file(checkpoint.path / TRAINER / "random.safetensors"), ranks)


def refuse_existing(folder: Path) -> None:
    """Raise CheckpointError if a run from the start would mix its checkpoints with those of another."""
    found = sorted(checkpoint_folders(folder), key=_step_of)
    if found:
        raise CheckpointError(
            f"{folder} holds checkpoints up to {found[-1].name}: {_RESTART}; or resume: trainer.resume_mode=auto"
        )


def set_aside_later(folder: Path, step: int, *, copied: Sequence[str], moved: Sequence[str]) -> Path | None:
    """Move a run's files of steps after this one into `set_aside/after_step_N/`; return that folder, if any.

    These are all later checkpoints, complete or not, a later `final/`, and what `moved` names. Beside them the files
    named in `copied` are copied there.
    """
    later = [path for path in sorted(checkpoint_folders(folder), key=_step_of) if _step_of(path) > step]
    final = folder / FINAL
    if final.is_dir() and _step_of_final(final) > step:
        later.append(final)
    later += [folder / name for name in moved if (folder / name).exists()]
    if not later:
        return None
    aside = _unused_path(folder / ASIDE / f"after_step_{step}")
    aside.mkdir(parents=True)
    for name in copied:
        if (folder / name).is_file():
            shutil.copy2(folder / name, aside / name)
    for path in later:
        path.rename(aside / path.name)
    return aside


@contextmanager
def _report_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, ValueError, KeyError, RuntimeError, OSError) as error:  # RuntimeError: other shapes
        raise CheckpointError(f"{path} is damaged: {error}; {_RESTART}") from error


def _weights_to_save(model: Any) -> Iterable[tuple[str, nn.Parameter]]:
    """Yield the weights to save: the adapters, or all weights of a model without adapters."""
    if hasattr(model, "peft_config"):
        return trained_parameters(model)
    return [(clean_name(name), parameter) for name, parameter in model.named_parameters()]


def _gather(parameter: Tensor, ranks: Ranks) -> Tensor:
    tensor = full_tensor(parameter.detach())
    return tensor.cpu().contiguous() if ranks.first else torch.empty(0)


def _write_model(folder: Path, model: Any, weights: dict[str, Tensor], tokenizer: Any) -> None:
    tokenizer.save_pretrained(folder)
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder, state_dict=_add_tied_weight(model, weights))
        return
    save_file({_peft_name(name): tensor for name, tensor in weights.items()}, folder / ADAPTER_WEIGHTS)
    base_of(model).generation_config.save_pretrained(folder)
    config = model.peft_config["default"]
    base = Path(config.base_model_name_or_path or "")
    record = config.to_dict() | {"inference_mode": True, "base_model_name_or_path": str(base)}
    if base.is_dir():
        record["base_model_name_or_path"] = str(base.absolute())
    _write_json(folder / ADAPTER_CONFIG, {key: _json_value(value) for key, value in sorted(record.items())})


def _add_tied_weight(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add a tied output matrix as well: save_pretrained knows which of the two to leave out."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embedding.weight and "lm_head.weight" not in weights:
        weights = weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
    return weights


def _peft_name(name: str) -> str:
    """Return PEFT's name for an adapter's weight on disk: without the adapter's own name."""
    return re.sub(r"\.default(?=\.|$)", "", name)


def _restore_weights(path: Path, model: Any) -> None:
    adapted = hasattr(model, "peft_config")
    files = [path / ADAPTER_WEIGHTS] if adapted else sorted(path.glob("model*.safetensors"))
    stored = {name: tensor for file in files for name, tensor in load_file(file).items()}
    if adapted:  # older versions kept the adapter's name at the end of an embedding's weights
        stored = {_peft_name(name): tensor for name, tensor in stored.items()}
    elif any(
        name not in stored for name, _ in _weights_to_save(model)
    ):  # experts: some weights are stored under other names
        stored = load_model(str(path), torch.float32, torch.device("cpu")).state_dict()
    for name, parameter in _weights_to_save(model):
        tensor = stored[_peft_name(name) if adapted else name]
        if tensor.shape != parameter.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(tensor)


def _flatten(states: OptimizerState) -> dict[str, Tensor]:
    return {
        f"{name}{_SEPARATOR}{key}": torch.as_tensor(value).contiguous()
        for name, values in states.items()
        for key, value in values.items()
    }


def _unflatten(flat: Mapping[str, Tensor]) -> OptimizerState:
    states: OptimizerState = {}
    for key, value in flat.items():
        name, _, kind = key.rpartition(_SEPARATOR)
        states.setdefault(name, {})[kind] = value
    return states


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of all random generators of this process, as tensors."""
    _, python, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=True)
    _, keys, position, has_gauss, cached = numpy
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([*python, float("nan") if gauss is None else gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss, cached], dtype=torch.float64),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(stored: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Restore this process's states; a process that did not exist then gets those of rank 0."""
    rank = ranks.rank if f"torch.{ranks.rank}" in stored else 0
    torch.set_rng_state(stored[f"torch.{rank}"])
    if ranks.device.type == "cuda" and f"cuda.{rank}" in stored:
        torch.cuda.set_rng_state(stored[f"cuda.{rank}"], ranks.device)
    *python, gauss = stored[f"python.{rank}"].tolist()
    random.setstate((3, tuple(int(value) for value in python), None if math.isnan(gauss) else gauss))
    *keys, position, has_gauss, cached = stored[f"numpy.{rank}"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), int(position), int(has_gauss), cached))


def _key_by_rank(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}.{rank}": tensor for rank, of_rank in enumerate(states) for name, tensor in of_rank.items()}


def _make_stamp(position: Position, identity: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": STAMP_FORMAT,
        "step": position.step,
        "epoch": position.epoch,
        "batch": position.batch,
        "identity": dict(identity),
        "config": dict(config),
        "versions": {"alfworld-sft": __version__, "torch": str(torch.__version__), "transformers": transformers},
    }


def _drop_old(folder: Path, saved: int, keep: int | None) -> None:
    """Of the checkpoints up to the step just saved, keep the newest complete ones; leave later ones alone."""
    if keep is None:
        return
    past = sorted((path for path in checkpoint_folders(folder) if _step_of(path) <= saved), key=_step_of)
    complete = [path for path in past if _missing_part(path) is None]
    for path in past:
        if _step_of(path) < _step_of(complete[-keep:][0]):
            remove_folder(path)


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the checkpoints of a run's folder, complete or not, in no order."""
    return [p for p in folder.glob(f"{PREFIX}*") if p.is_dir() and p.name.removeprefix(PREFIX).isdigit()]


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def _step_of_final(final: Path) -> int:
    """Return the step of a final model, or -1 if it is not recorded."""
    try:
        return int(read_stamp(final)["step"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return -1


def _unused_path(path: Path) -> Path:
    """Return the path, with a number appended if it is taken."""
    candidates = (path.with_name(f"{path.name}_{number}") for number in count(2))
    return next(candidate for candidate in chain([path], candidates) if not candidate.exists())


def _missing_part(path: Path) -> str | None:
    """Return the first missing part of a checkpoint, or None if it is complete."""
    try:
        files = list(json.loads((path / TRAINER / MANIFEST).read_bytes())["files"].items())
    except OSError:
        return f"{TRAINER}/{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{TRAINER}/{MANIFEST} is damaged"
    for name, size in files:
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
    return None


def _sizes(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _write_json(path: Path, value: object) -> None:
    path.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json_value(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
