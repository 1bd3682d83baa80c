"""Which tokens of an episode or a row carry loss? Encoded by the model's tokenizer, as training would, and drawn."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text

from alfworld_sft.dataset.read import Columns, TrainingRow, parse_row
from alfworld_sft.dataset.rows import Rendering, predictions_of_run, rows_of
from alfworld_sft.errors import UserError
from alfworld_sft.runs.template import template_of_run
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.draw import draw_sample
from alfworld_sft.types import Episode

MULTI_TURN = Columns(multiturn=True)


def draw_tokens(rows: Sequence[TrainingRow], model: str, *, multiturn: bool, plain: bool) -> list[Text]:
    """Return the samples that training makes of the rows, each with its loss mask, however long it is.

    Raises UserError for the model.
    """
    from alfworld_sft.models.chat_encoder import ChatEncoder  # noqa: PLC0415
    from alfworld_sft.models.load import load_tokenizer  # noqa: PLC0415
    from alfworld_sft.train.data.options import sample_options  # noqa: PLC0415
    from alfworld_sft.train.data.samples import samples_of  # noqa: PLC0415

    config = build_train_config([f"data.multiturn.enable={str(multiturn).lower()}"], idle=True)
    options = replace(sample_options(config), max_length=sys.maxsize)  # what was asked for is shown whole
    tokenizer = load_tokenizer(model)
    samples = samples_of(rows, ChatEncoder(tokenizer), options, multiturn=multiturn)
    return [draw_sample(sample, tokenizer, plain=plain) for sample in samples]


def rows_for_tokens(
    episode: Episode, stamp: Mapping[str, Any], folder: Path, template: str | None
) -> list[TrainingRow]:
    """Return the rows of an episode, one per training target, as the run in `folder` renders them.

    Raises UserError where the run's template is not to be had (see `template_of_run`), and where the episode has no
    training target.
    """
    rendering = _rendering(stamp, folder, template)
    place = f"episode {episode.index}"
    rows = [parse_row(record, MULTI_TURN, place) for record in rows_of(episode, rendering)]
    if not rows:
        raise UserError(f"episode {episode.index}: none of its turns is a training target, so no token carries loss")
    return rows


def _rendering(stamp: Mapping[str, Any], folder: Path, template: str | None) -> Rendering:
    config = stamp.get("config")
    config = config if isinstance(config, Mapping) else {}
    prompt = config.get("prompt")
    if isinstance(prompt, Mapping) and prompt.get("template", "") is None:
        raise UserError("the rows are conversations as they were recorded, without a template; show one with --row N")
    return Rendering(template_of_run(stamp, folder, template), predictions=predictions_of_run(stamp))
