"""What does train read from a dataset in each form? Problems, lengths of samples, and tokens with loss."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from alfworld_sft.dataset.read import dataset_file, first_rows, stand_for_episodes
from alfworld_sft.train.check import Report, check_dataset, report_lengths
from alfworld_sft.train.config import TrainConfig, build_train_config
from alfworld_sft.train.data.inputs import columns_of
from alfworld_sft.train.draw import draw_sample

if TYPE_CHECKING:
    from alfworld_sft.train.data.samples import LoadedSamples


@dataclass
class FormReport:
    """Findings for one form of the rows; `lengths` and `samples` only if a model counts tokens."""

    form: str
    report: Report
    lengths: list[Report] = field(default_factory=list)
    samples: list[Text] = field(default_factory=list)

    @property
    def reports(self) -> list[Report]:
        """All findings, in order."""
        return [self.report, *self.lengths]


def check_forms(
    data: Path, words: Sequence[str], *, model: str | None = None, shown: int = 0, plain: bool = True, jobs: int = 1
) -> Iterator[FormReport]:
    """Yield the findings for the single-turn and the multi-turn form, or for the one that the overrides choose.

    `model` names the model of the tokenizer that counts tokens; the masks of the first `shown` samples are drawn. With
    `jobs` above 1 each form is read in its own process, unless a model is loaded.
    """
    forms = _forms(words)
    chosen = forms == (None,)
    check = partial(_check_form, data, tuple(words), model=model, shown=shown, plain=plain)
    if jobs == 1 or chosen or model is not None:
        yield from map(check, forms)
        return
    with ProcessPoolExecutor(len(forms)) as pool:
        yield from pool.map(check, forms)


def refuse_wrong(words: Sequence[str]) -> None:
    """Raise UserError for overrides that `check_forms` would refuse."""
    for form in _forms(words):
        _config_of(words, form)


def _forms(words: Sequence[str]) -> tuple[str | None, ...]:
    """Return the forms to check: both, or None for the one that the overrides choose."""
    chosen = any(word.removeprefix("+").startswith("data.multiturn.enable=") for word in words)
    return (None,) if chosen else ("false", "true")


def _config_of(words: Sequence[str], form: str | None) -> TrainConfig:
    both = form is not None  # options needed by one form have no effect in the other
    return build_train_config([*words, f"data.multiturn.enable={form}"] if both else list(words), idle=both)


def _check_form(
    data: Path, words: tuple[str, ...], form: str | None, *, model: str | None, shown: int, plain: bool
) -> FormReport:
    """Check one form: the one that the overrides choose (None), single-turn ("false") or multi-turn ("true")."""
    train = dataset_file(data, "train.parquet", "DIR")
    val = data / "val.parquet" if data.is_dir() and (data / "val.parquet").is_file() else None
    config = _config_of(words, form)
    name = "multi-turn" if config.data.multiturn.enable else "single-turn"
    found = FormReport(name, check_dataset([train], [val] if val else [], columns_of(config)))
    single = not config.data.multiturn.enable
    if single and not found.report.problems and stand_for_episodes(first_rows(train, columns_of(config))):
        found.report.warnings.append(
            "train: it has one row for each episode, so training single turns is refused: it would read the last"
            " reply alone"
        )
    if model is not None and not found.report.problems:
        _count_tokens(found, config, model, {"val": val, "train": train}, shown=shown, plain=plain)
    return found


def _count_tokens(
    found: FormReport, config: TrainConfig, model: str, files: dict[str, Path | None], *, shown: int, plain: bool
) -> None:
    """Tokenise everything; record lengths, and the masks of the first samples."""
    from alfworld_sft.models.chat_encoder import ChatEncoder  # noqa: PLC0415
    from alfworld_sft.models.load import ModelError, context_of, load_config, load_tokenizer  # noqa: PLC0415
    from alfworld_sft.train.data.options import sample_options  # noqa: PLC0415
    from alfworld_sft.train.data.samples import beyond_context, load_samples  # noqa: PLC0415

    options = sample_options(config)
    if not config.data.multiturn.enable:
        options = replace(options, observation_weight=0.0)
    tokenizer = load_tokenizer(model)
    encoder = ChatEncoder(tokenizer)
    try:
        context = context_of(load_config(model))
    except ModelError:  # a tokenizer alone counts tokens as well
        context = sys.maxsize
    loaded: LoadedSamples | None = None
    for name, file in files.items():
        if file is not None:
            loaded = load_samples([file], encoder, columns_of(config), options, option=f"data.{name}_files")
            lengths = report_lengths(name, loaded, options)
            if wrong := beyond_context(loaded.samples, context):
                lengths.problems.append(f"{name}: {wrong}")
            found.lengths.append(lengths)
    first = loaded.samples[:shown] if loaded else []
    found.samples = [draw_sample(sample, tokenizer, plain=plain) for sample in first]
