"""How does a checkpoint become one model in the Hugging Face layout? transformers and vLLM load it by its path.

The adapter is added to its base model in float32, scaled by alpha/rank; the sum is stored in the base's own dtype (or
another one).
"""

from __future__ import annotations

import logging
import shlex
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.files import whole_folder
from alfworld_sft.models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of_adapter, read_adapter_config
from alfworld_sft.models.chat_encoder import read_end_id
from alfworld_sft.models.load import base_of, cast_weights, first_line, load_config, load_model, load_tokenizer
from alfworld_sft.models.reference import expand_home, unusable_path
from alfworld_sft.models.stamp import CheckpointError, base_fingerprint, read_stamp
from alfworld_sft.models.stopping import stop_at
from alfworld_sft.types import DType

logger = logging.getLogger(__name__)

SAME = 1e-3
"""Largest difference of a logit, relative to the largest one, that rounding causes when an adapter is merged."""


class MergeError(UserError):
    """A checkpoint that cannot be merged."""


def merge(checkpoint: Path, output: Path, *, base: str | None = None, dtype: DType = "auto") -> Path:
    """Write the full model of a checkpoint (`global_step_N`, `final` or any PEFT adapter) to a new folder.

    `base` overrides the adapter's path to its base model. A checkpoint of all weights is written in the requested
    dtype. Raises UserError and then leaves no folder behind.
    """
    if unusable := unusable_path(str(checkpoint)):
        raise MergeError(f"{checkpoint}: {unusable}")
    if not checkpoint.is_dir():
        raise MergeError(f"{checkpoint}: there is no such folder")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise MergeError(f"{output} exists already; name another folder")
    model, stored = load_whole(str(checkpoint), base)
    kept = stored if dtype == "auto" else getattr(torch, dtype)
    tokenizer = load_tokenizer(str(checkpoint), base)
    stop_at(model, read_end_id(tokenizer))
    _write(cast_weights(model, kept), tokenizer, output)
    return output


def load_whole(name: str, base: str | None = None) -> tuple[Any, torch.dtype]:
    """Return a model in float32 with any adapter merged, and the stored dtype of its base.

    `name` is a hub name, a model's folder, or a checkpoint; raises UserError.
    """
    folder = Path(name)
    if (folder / ADAPTER_CONFIG).is_file():
        return _load_adapter(folder, base)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise MergeError(f"{folder} holds neither an adapter nor a model; give global_step_N or final of a run")
    if base is not None:
        raise MergeError(f"--base {base} has no effect: {folder} holds a full model and no adapter; leave it out")
    return _load_base(name)


def _load_adapter(checkpoint: Path, base: str | None) -> tuple[Any, torch.dtype]:
    """Return the base with the adapter merged, in float32, and the stored dtype of the base."""
    from peft import PeftModel  # noqa: PLC0415 - slow to import

    read_adapter_config(checkpoint)
    name = expand_home(base) if base else base_of_adapter(checkpoint)
    if not base and (unusable := unusable_path(name)):
        raise MergeError(
            f"{checkpoint}: the base of its adapter is {name}, and {unusable}; name it where it is now:"
            f" alfworld-sft merge {shlex.quote(str(checkpoint))} DIR --base MODEL"
        )
    model, stored = _load_base(name)
    _check_base(checkpoint, name, model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about PEFT's own use of transformers, and the embeddings it saves
            adapted = PeftModel.from_pretrained(model, str(checkpoint))
            _check_names(checkpoint, adapted)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:  # the files are data
        raise MergeError(f"{checkpoint}: its adapter does not fit {name}: {first_line(error)}") from error
    return _merge_weights(checkpoint, adapted), stored


def _merge_weights(checkpoint: Path, adapted: Any) -> Any:
    """Return the base with the adapter in its weights; raises MergeError if the merged model's logits differ."""
    kind = str(adapted.active_peft_config.peft_type.value)
    expected = _logits(adapted)
    _untie(adapted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the two matrices are no longer tied
            model = adapted.merge_and_unload(safe_merge=True)  # refuses weights that are not finite
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise MergeError(f"{checkpoint}: its {kind} adapter cannot be merged: {first_line(error)}") from None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is not None and head.weight is not embedding.weight:
        _set_untied(model)
    change = float((_logits(model) - expected).abs().max() / expected.abs().max().clamp(min=1))
    if not change < SAME:
        raise MergeError(
            f"{checkpoint}: merged, its {kind} adapter says something else (logits differ by {change:.2g});"
            " adapters of its kind are not supported"
        )
    return model


def _untie(adapted: Any) -> None:
    """Untie the output layer if an adapter changes the embedding or the output layer of tied weights, or both."""
    base = base_of(adapted)
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    plain = [end.get_base_layer() if hasattr(end, "get_base_layer") else end for end in ends]
    if plain[1] is None or all(end is inner for end, inner in zip(ends, plain, strict=True)):
        return
    if getattr(plain[1], "weight", None) is getattr(plain[0], "weight", plain):
        plain[1].weight = torch.nn.Parameter(plain[1].weight.detach().clone(), requires_grad=False)


def _set_untied(model: Any) -> None:
    """Make the embedding and the output layer be saved and loaded as two matrices."""
    model.config.tie_word_embeddings = False
    model.config.get_text_config(decoder=True).tie_word_embeddings = False
    model.all_tied_weights_keys = {}


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    """Return a model's logits for a few tokens."""
    model.eval()
    ids = torch.arange(24)[None] % model.config.get_text_config(decoder=True).vocab_size
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def _check_names(checkpoint: Path, adapted: Any) -> None:
    """Raise ValueError for a stored weight without a place or a place without a weight: PEFT silently ignores both."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415

    with safe_open(checkpoint / ADAPTER_WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
    allowed = set(get_peft_model_state_dict(adapted, save_embedding_layers=True))
    needed = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if stored - allowed:
        raise ValueError(f"there is no place for {min(stored - allowed)}")
    if needed - stored:
        raise ValueError(f"it lacks {min(needed - stored)}")


def _check_base(checkpoint: Path, name: str, model: Any) -> None:
    """Reject a base other than the one the adapter was trained on, if the checkpoint records it."""
    try:
        expected = read_stamp(checkpoint)["identity"].get("base model")
    except CheckpointError:
        logger.info("%s does not say which weights it was trained on; %s is taken as its base", checkpoint, name)
        return
    if expected is not None and expected != base_fingerprint(model):
        raise MergeError(f"{checkpoint} was trained on another model than {name}; name the right one with --base")


def _load_base(name: str) -> tuple[Any, torch.dtype]:
    """Return a model in float32 and its stored dtype: the one in its config, else that of its weights."""
    cpu = torch.device("cpu")
    stored = _dtype_in_config(load_config(name))
    if stored is not None:
        return load_model(name, torch.float32, cpu), stored
    model = load_model(name, "auto", cpu)
    stored = next(model.parameters()).dtype
    return cast_weights(model, torch.float32), stored


def _dtype_in_config(config: Any) -> torch.dtype | None:
    """Return the dtype of the weights named in a model's config, if any."""
    for part in (config, config.get_text_config(decoder=True)):
        dtype = getattr(part, "dtype", None) or getattr(part, "torch_dtype", None)
        if isinstance(dtype, str):
            dtype = getattr(torch, dtype, None)
        if isinstance(dtype, torch.dtype):
            return dtype
    return None


def _write(model: Any, tokenizer: Any, output: Path) -> None:
    model.config.use_cache = True
    try:
        with whole_folder(output) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    except OSError as error:
        raise MergeError(f"{output}: cannot be written: {os_reason(error)}") from None
