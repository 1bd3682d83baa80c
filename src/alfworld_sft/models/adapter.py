"""Does an adapter's folder hold only data? Checked before PEFT reads it, since it may come from anywhere. No torch."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.models.reference import fetched_folder, is_path

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter, as PEFT names them."""


class AdapterError(UserError):
    """An adapter that cannot be used, or that would do more than add its weights."""


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's config; raises AdapterError if it cannot be read or would load more than weights.

    Without `adapter_model.safetensors`, PEFT falls back to pickled weights and then to the hub. A `megatron_config`
    makes it import a module named in the config. Adapters other than LoRA load tokenizers or further adapters named in
    their configs.
    """
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_bytes())
        kind, megatron = config.get("peft_type"), config.get("megatron_config")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise AdapterError(f"{folder / ADAPTER_CONFIG} cannot be read: {error}") from None
    if kind != "LORA":
        raise AdapterError(f"{folder / ADAPTER_CONFIG}: peft_type={kind} is not supported, only LORA is")
    if megatron:
        raise AdapterError(
            f"{folder / ADAPTER_CONFIG}: megatron_config makes PEFT import code that it names; not supported"
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise AdapterError(f"{folder} has no {ADAPTER_WEIGHTS}; weights are read from safetensors alone")
    return config


def base_of_adapter(folder: Path) -> str:
    """Return the local folder of the base model named in an adapter's config.

    Raises AdapterError if the base would have to be downloaded: an adapter does not decide which hosts are contacted.
    """
    name = read_adapter_config(folder).get("base_model_name_or_path")
    merge = f"alfworld-sft merge {shlex.quote(str(folder))} DIR --base"
    if not isinstance(name, str) or not name:
        raise AdapterError(f"{folder / ADAPTER_CONFIG} names no base model; name it: {merge} NAME")
    place = name if is_path(name) else fetched_folder(name)
    if place is None:
        raise AdapterError(
            f"{folder / ADAPTER_CONFIG} names the base model {name}, which is not on this machine; to fetch it, name"
            f" it: {merge} {shlex.quote(name)}"
        )
    return str(place)
