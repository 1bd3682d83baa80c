"""Is an adapter's folder only data? Checked before PEFT reads it, for it may come from anywhere. Imports no torch."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.models.reference import fetched_folder, is_path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class AdapterError(UserError):
    """An adapter that cannot be used, or would do more than add its weights."""


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's config; raises AdapterError where it cannot be read, or would load more than weights.

    PEFT falls back to pickled weights, and then to the hub, where there is no `adapter_model.safetensors`; a
    `megatron_config` makes it import a module that the config names; other kinds than LoRA load tokenizers or further
    adapters that their configs name.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        kind, megatron = config.get("peft_type"), config.get("megatron_config")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise AdapterError(f"{folder / CONFIG} cannot be read: {error}") from None
    if kind != "LORA":
        raise AdapterError(f"{folder / CONFIG}: peft_type={kind} is not supported, only LORA is")
    if megatron:
        raise AdapterError(f"{folder / CONFIG}: megatron_config makes PEFT import code that it names; not supported")
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder} has no {WEIGHTS}; weights are read from safetensors alone")
    return config


def base_of_adapter(folder: Path) -> str:
    """Return the folder on this machine of the base model that an adapter's config names.

    Raises AdapterError for one that would have to be fetched: an adapter does not decide what is contacted.
    """
    name = read_adapter_config(folder).get("base_model_name_or_path")
    merge = f"alfworld-sft merge {shlex.quote(str(folder))} DIR --base"
    if not isinstance(name, str) or not name:
        raise AdapterError(f"{folder / CONFIG} names no base model; name it: {merge} NAME")
    place = name if is_path(name) else fetched_folder(name)
    if place is None:
        raise AdapterError(
            f"{folder / CONFIG} names the base model {name}, which is not on this machine; to fetch it, name it:"
            f" {merge} {shlex.quote(name)}"
        )
    return str(place)
