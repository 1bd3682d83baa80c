"""Can a model be loaded here? Its config, its tokenizer with a chat template that we can mask, and its weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from alfworld_sft.counts import size_in_words
from alfworld_sft.doctor.line import Line, fine, fix
from alfworld_sft.errors import UserError

NEEDED = ("torch", "transformers", "jinja2")


def judge_model(name: str, memory: int | None) -> Iterator[Line]:
    """Yield a line for the tokenizer and one for the weights of a model; `memory` is what is available, in bytes."""
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        yield fix("model", f"{', '.join(missing)} not installed", "pip install 'alfworld-sft[train]'")
        return
    from alfworld_sft.models.chat_encoder import ChatEncoder  # noqa: PLC0415
    from alfworld_sft.models.load import load_config, load_tokenizer  # noqa: PLC0415

    try:
        config = load_config(name)
        ChatEncoder(load_tokenizer(name))
    except UserError as error:
        yield fix("model", f"{name} cannot be loaded", str(error))
        return
    yield fine("model", f"{name}: a {config.model_type} with a chat template")
    if Path(name).is_dir():
        yield _judge_weights(Path(name), memory)


def _judge_weights(folder: Path, memory: int | None) -> Line:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not size:
        return fix("weights", f"{folder} holds no .safetensors file", "copy the model's weights into the folder")
    found = f"{size_in_words(size)} in {folder}"
    if memory is not None and size > memory:
        return fix(
            "weights", f"{found}, but {size_in_words(memory)} of memory are available", "free memory, or use a server"
        )
    return fine("weights", found)
