"""A checkpoint → one model in the Hugging Face layout, which transformers and vLLM load by its path.

The adapter is added to the base that it was trained on, scaled by alpha/rank, in float32; then the sum is stored in
the base's own type (or another one).
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from alfworld_sft.chat import read_end_id
from alfworld_sft.errors import UserError
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.model import load_config, load_model, load_tokenizer
from alfworld_sft.train.stopping import stop_at

logger = logging.getLogger(__name__)

DType = Literal["auto", "bfloat16", "float16", "float32"]


class MergeError(UserError):
    """A checkpoint that cannot be merged."""


def merge(checkpoint: Path, output: Path, *, base: str | None = None, dtype: DType = "auto") -> Path:
    """Write the whole model of a checkpoint (`global_step_N`, `final` or any PEFT adapter) to a new folder.

    `base` is another place of the base model than the one that the adapter names. A checkpoint of all weights is
    written in the wanted type. Raises UserError; then no folder is left.
    """
    if not checkpoint.is_dir():
        raise MergeError(f"{checkpoint}: there is no such folder")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise MergeError(f"{output} exists already; name another folder")
    model, stored = load_whole(str(checkpoint), base)
    kept = stored if dtype == "auto" else getattr(torch, dtype)
    tokenizer = load_tokenizer(str(checkpoint))
    stop_at(model, read_end_id(tokenizer))
    _write(model.to(kept), tokenizer, output)
    return output


def load_whole(name: str, base: str | None = None) -> tuple[Any, torch.dtype]:
    """Return a model in float32, an adapter added to its weights, and the type that its base is stored in.

    `name` is a hub name, a model's folder, or a checkpoint; raises UserError.
    """
    folder = Path(name)
    if (folder / "adapter_config.json").is_file():
        return _adapted(folder, base)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise MergeError(f"{folder} holds neither an adapter nor a model; give global_step_N or final of a run")
    return _loaded(name)


def _adapted(checkpoint: Path, base: str | None) -> tuple[Any, torch.dtype]:
    """Return the base with the adapter added to its weights, in float32, and the type that the base is stored in."""
    from peft import PeftModel  # noqa: PLC0415 - slow to import

    name = base or _base_named_by(checkpoint)
    model, stored = _loaded(name)
    _check_base(checkpoint, name, model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own use of transformers
            adapted = PeftModel.from_pretrained(model, str(checkpoint))
        _check_names(checkpoint, adapted)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        raise MergeError(f"{checkpoint}: its adapter does not fit {name}: {str(error).splitlines()[0]}") from None
    merge_weights: Any = adapted.merge_and_unload
    return merge_weights(safe_merge=True), stored  # refuses weights that are not finite


def _check_names(checkpoint: Path, adapted: Any) -> None:
    """Raise ValueError where a stored weight has no place: PEFT passes over it in silence."""
    with safe_open(checkpoint / "adapter_model.safetensors", framework="pt") as file:
        stored = set(file.keys())
    missing = stored - {name.replace(".default.", ".") for name, _ in adapted.named_parameters()}
    if missing:
        raise ValueError(f"there is no place for {min(missing)}")


def _base_named_by(checkpoint: Path) -> str:
    try:
        config = json.loads((checkpoint / "adapter_config.json").read_bytes())
        return str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MergeError(f"{checkpoint / 'adapter_config.json'} cannot be read: {error}") from None


def _check_base(checkpoint: Path, name: str, model: Any) -> None:
    """Refuse another base than the adapter was trained on, where the checkpoint says which that was."""
    try:
        expected = checkpoints.read_stamp(checkpoint)["identity"].get("base model")
    except checkpoints.CheckpointError:
        logger.info("%s does not say which weights it was trained on; %s is taken as its base", checkpoint, name)
        return
    if expected is not None and expected != checkpoints.base_fingerprint(model):
        raise MergeError(f"{checkpoint} was trained on another model than {name}; name the right one with --base")


def _loaded(name: str) -> tuple[Any, torch.dtype]:
    model = load_model(name, torch.float32, torch.device("cpu"))
    return model, _stored_dtype(name, model)


def _stored_dtype(name: str, model: Any) -> torch.dtype:
    """Return the type in which a model's weights are stored, as its config says."""
    config = load_config(name)
    dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    return dtype if isinstance(dtype, torch.dtype) else next(model.parameters()).dtype


def _write(model: Any, tokenizer: Any, output: Path) -> None:
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        model.config.use_cache = True
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    except OSError as error:
        raise MergeError(f"{output}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
