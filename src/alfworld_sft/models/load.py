"""How are models and tokenizers loaded, from the hub or a folder? Errors report which of the two failed."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from alfworld_sft.errors import UserError
from alfworld_sft.models.adapter import ADAPTER_CONFIG, base_of_adapter
from alfworld_sft.models.reference import is_path, unusable_path

logger = logging.getLogger(__name__)

_NO_MODEL = "is not a causal language model that can be loaded"
_LONG = 300
"""Characters of an error that takes several lines."""


class ModelError(UserError):
    """A model or tokenizer that cannot be loaded or trained."""


def base_of(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def layers_of(model: Any) -> Sequence[nn.Module]:
    """Return the decoder's layers."""
    return list(base_of(model).model.layers)


def load_tokenizer(name: str, base: str | None = None) -> Any:
    """Load a model's tokenizer; of an adapter that has none, that of its base, or of another `base`. Raises UserError.

    PEFT saves an adapter without one.
    """
    folder = Path(name)
    if (folder / ADAPTER_CONFIG).is_file() and not any(folder.glob("tokenizer*")):
        name = base or base_of_adapter(folder)
        logger.info("%s has no tokenizer; that of %s is used", folder, name)
    with _one_line(name, "its tokenizer cannot be loaded" if (Path(name) / "config.json").is_file() else _NO_MODEL):
        return AutoTokenizer.from_pretrained(name, local_files_only=_only_local(name), trust_remote_code=False)


def load_config(name: str) -> Any:
    """Load a model's config; raises ModelError, also for an adapter's folder."""
    if (Path(name) / ADAPTER_CONFIG).is_file():  # transformers would load the base that it names
        raise ModelError(f"{name} holds an adapter, not a full model; merge it first: alfworld-sft merge {name} DIR")
    with _one_line(name):
        return AutoConfig.from_pretrained(name, local_files_only=_only_local(name), trust_remote_code=False)


def context_of(config: Any) -> int:
    """Return the most tokens that a model reads, as its config says; without a limit there, sys.maxsize."""
    return int(getattr(config, "max_position_embeddings", sys.maxsize))


def empty_model(name: str) -> Any:
    """Return a model as its config describes it, without weights: on the meta device; raises ModelError."""
    config = load_config(name)
    with _one_line(name), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def load_model(name: str, dtype: torch.dtype | Literal["auto"], device: torch.device, attention: str = "sdpa") -> Any:
    """Load a causal language model; raises ModelError with one line that names the problem and the fix."""
    config = load_config(name)
    with _one_line(name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=_only_local(name),
            output_loading_info=True,
        )
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name}: {len(missing)} weights of {type(model).__name__} are missing, such as {missing[0]}")
    if not hasattr(getattr(model, "model", None), "layers"):
        raise ModelError(f"{name}: {type(model).__name__} is not a decoder of the usual shape")
    if getattr(config, "final_logit_softcapping", None):
        raise ModelError(f"{name}: {type(model).__name__} changes its logits after the output layer; not supported")
    with _one_line(name):
        return model.to(device)


@contextmanager
def _one_line(name: str, failed: str = _NO_MODEL) -> Iterator[None]:
    """Turn any exception of transformers in the block into one line; none of our own code belongs inside.

    `failed` says what is wrong where nothing better is known.
    """
    if reason := unusable_path(name):
        raise ModelError(f"{name}: {reason}")
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # for reading shards; the progress bar of a download stays
    try:
        yield
    except Exception as error:  # a model's files are data, and transformers raises all kinds of exceptions on them
        raise ModelError(f"{name}: {_reason(name, error) or f'{failed}: {first_line(error)}'}") from error
    finally:
        transformers_logging.set_verbosity(level)


def _only_local(name: str) -> bool:
    """Return whether to use only local files: for a folder, or if the hub does not answer."""
    return is_path(name) or not _hub_answers()


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Check once whether the hub is reachable: its client would retry for most of a minute, again and again."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=10):
            return True
    except OSError:
        return False


def _reason(name: str, error: Exception) -> str | None:
    """Return what an exception means where it is a known one."""
    if isinstance(error, OSError) and not Path(name).is_dir():
        why, way_out = _hub_failure(name, error)
        return f"cannot be had from the Hugging Face hub ({why}); {way_out}"
    if "trust_remote_code" in str(error):
        return "brings code of its own (auto_map), which is never run; take a model that transformers itself knows"
    short = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    if short or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "not enough memory to load it; use a smaller model or a larger device"
    return None


def _hub_failure(name: str, error: OSError) -> tuple[str, str]:
    """Return why the hub did not deliver a model, and the fix; transformers wraps the hub client's exceptions."""
    elsewhere = "give the folder of a model, or make a small one: alfworld-sft tiny-model DIR"
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case GatedRepoError():
                return "it is gated", f"accept its terms at https://huggingface.co/{name}, then log in: hf auth login"
            case RepositoryNotFoundError():
                return "no such model, or a private one", "check the name, or log in: hf auth login"
            case LocalEntryNotFoundError() | OfflineModeIsEnabled():
                return "no network, and no copy on this machine", elsewhere
            case EntryNotFoundError():
                return f"a file is missing there: {first_line(cause)}", "take a model that transformers can load"
            case HfHubHTTPError():
                return f"it says: {first_line(cause)}", f"try again later, or {elsewhere}"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "no network, or no such model", elsewhere


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error, with the next ones where it leads to them; else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines)[:_LONG] if lines[0].endswith(":") else lines[0]


def plain_name(name: str) -> str:
    """Return a base weight's name without adapters; PEFT nests a layer in `base_layer`."""
    return re.sub(r"(^|\.)base_layer(?=\.)", "", name)


def cast_weights(model: Any, dtype: torch.dtype) -> Any:
    """Convert a model's weights in place, and return it.

    Its buffers keep their type: rotary frequencies in bfloat16 are off by a radian after a few hundred tokens.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
