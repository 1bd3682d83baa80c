"""What does `policy.serve` mean: which command serves a model, and under which name? Starts nothing.

It is either vLLM with optional arguments (`vllm`, `/opt/vllm/bin/vllm --max-model-len 4096`), completed here into a
full command, adapter included; or any other command line, with `{port}` and `{model}` as placeholders.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alfworld_sft.errors import ConfigError, UserError
from alfworld_sft.models.adapter import ADAPTER_CONFIG
from alfworld_sft.policies.base import short_name

HOST = "127.0.0.1"
PORT, MODEL = "{port}", "{model}"
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as --max-lora-rank: https://docs.vllm.ai/en/v0.22.1/api/vllm/config/lora/"""


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """A command with optional `{port}` placeholders, and the server's name for the model."""

    words: tuple[str, ...]
    model: str

    def on(self, port: int) -> list[str]:
        """Return the command for one port."""
        return [word.replace(PORT, str(port)) for word in self.words]


def serve_command(serve: str, model: str) -> ServeCommand:
    """Return the command for `policy.serve` and `policy.model`; raises UserError if it cannot be run."""
    try:
        words = shlex.split(serve)
    except ValueError as error:
        raise ConfigError(f"policy.serve={serve}: {error}") from None
    if any(word.partition("=")[0] == "--api-key" for word in words):
        raise ConfigError(
            f"policy.serve: leave out --api-key: it would be written to run.json, and {HOST} is not seen from outside"
        )
    is_vllm = bool(words) and Path(words[0]).name == "vllm"
    completed = any(PORT in word for word in words)
    if not completed and not is_vllm:
        raise ConfigError(
            f"policy.serve={serve}: name vllm, with options of its own if it needs any; or a full command line with"
            f" {PORT} in it, and {MODEL} where the model belongs"
        )
    _check_folder(model)
    executable = _found(words[0])
    if completed:
        return ServeCommand((executable, *(word.replace(MODEL, model) for word in words[1:])), model)
    options = words[2:] if words[1:2] == ["serve"] else words[1:]
    return _vllm(executable, model, options)


def _vllm(executable: str, model: str, options: Sequence[str]) -> ServeCommand:
    """Return the vLLM command for a model on the hub, a model's folder, or a base model with a checkpoint's adapter."""
    name, listening = short_name(model), ("--host", HOST, "--port", PORT)
    adapter = Path(model, ADAPTER_CONFIG)
    if not adapter.is_file():
        return ServeCommand((executable, "serve", model, *listening, "--served-model-name", name, *options), name)
    base, rank = _read_adapter(adapter)
    module = json.dumps({"name": name, "path": model})  # the form name=path allows neither '=' nor ','
    lora = ("--enable-lora", "--lora-modules", module, "--max-lora-rank", str(_rank_for_vllm(rank, adapter)))
    return ServeCommand((executable, "serve", base, *listening, *lora, *options), name)


def _read_adapter(path: Path) -> tuple[str, int]:
    """Return an adapter's base model and its highest rank."""
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        base = str(config["base_model_name_or_path"])
        rank = max(int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values()), 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as an adapter's: {type(error).__name__} ({error})") from None
    if base.startswith("-"):
        raise UserError(f"{path} names the base model {base}, which vLLM would read as an option")
    if base.startswith("/") and not Path(base).is_dir():
        raise UserError(
            f"{path} names {base} as its base model, and there is no such folder; merge the adapter with the base's"
            " new place (alfworld-sft merge --base PATH), and play what comes out"
        )
    return base, rank


def _rank_for_vllm(rank: int, adapter: Path) -> int:
    for accepted in LORA_RANKS:
        if rank <= accepted:
            return accepted
    raise UserError(f"{adapter}: vLLM serves adapters up to rank {LORA_RANKS[-1]}, not {rank}; merge it first")


def _check_folder(model: str) -> None:
    """Refuse a path that is not a model's folder, rather than let a server look for it on a hub."""
    folder = Path(model)
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise UserError(f"policy.model={model}: there is no such folder")
    elif not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        raise UserError(
            f"policy.model={model} holds neither a model nor an adapter; give global_step_N or final of a run"
        )


def _found(word: str) -> str:
    """Return the path of a command: on $PATH, or in this Python's environment."""
    name = str(Path(word).expanduser())
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found:
        return found
    if Path(word).name == "vllm":
        raise UserError(
            f"policy.serve={word}: there is no such command; install vLLM, best in an environment of its own, and name"
            " it: policy.serve=/…/bin/vllm. Without it: policy.name=local plays in this process, policy.base_url=… at"
            " a server that runs already, and policy.name=expert needs no model"
        )
    raise UserError(f"policy.serve: there is no command '{word}'")
