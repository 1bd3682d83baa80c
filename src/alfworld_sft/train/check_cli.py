"""The commands `check` and `tiny-model`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from alfworld_sft.counts import counted
from alfworld_sft.dataset.read import dataset_file
from alfworld_sft.errors import UserError
from alfworld_sft.train.check import Report, check_dataset, escape_controls, report_lengths, token_spans
from alfworld_sft.train.config import TrainConfig, build_train_config
from alfworld_sft.train.data.inputs import columns_of

if TYPE_CHECKING:
    from alfworld_sft.train.data.samples import LoadedSamples, Sample

KIND_NAMES = ("prompt", "observation", "think", "prediction", "action", "tags and end")
KIND_STYLES = ("dim", "blue", "magenta", "yellow", "green", "cyan")


def check(
    data: Annotated[Path, typer.Argument(help="A dataset's folder, or one of its files.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of train, such as data.max_length=4096.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    show_mask: Annotated[bool, typer.Option("--show-mask", help="Show which tokens carry loss.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="Number of samples that --show-mask shows.")] = 2,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Mark trained tokens with brackets instead of colours.")
    ] = False,
) -> None:
    """Check a dataset against the options of train: schema, keys, roles, tags, lengths; and show the loss mask."""
    if show_mask and model is None:
        raise UserError("--show-mask needs --model: a folder, or a name on the hub, whose tokenizer is used")
    words = list(overrides or [])
    train = dataset_file(data, "train.parquet", "DIR")
    val = data / "val.parquet" if data.is_dir() and (data / "val.parquet").is_file() else None
    console = Console(no_color=no_color, highlight=False, soft_wrap=True)
    chosen = any(word.removeprefix("+").startswith("data.multiturn.enable=") for word in words)
    failed = False
    for form in (None,) if chosen else ("false", "true"):
        both = form is not None  # what one form needs has no effect in the other
        config = build_train_config([*words, f"data.multiturn.enable={form}"] if both else words, idle=both)
        console.print(Text("multi-turn" if config.data.multiturn.enable else "single-turn", "bold"))
        report = check_dataset([train], [val] if val else [], columns_of(config))
        _print_report(console, report)
        failed |= bool(report.problems)
        if model is not None and not report.problems:
            plain = no_color or console.color_system is None  # e.g. a pipe, which would lose the colours
            _check_tokens(console, config, model, train, val, shown=samples if show_mask else 0, plain=plain)
    if failed:
        raise typer.Exit(2)


def _print_report(console: Console, report: Report) -> None:
    for name, value in report.facts:
        console.print(Text(f"  {name}: {escape_controls(value)}"))
    for line in report.warnings:
        console.print(Text(f"  warning: {escape_controls(line)}", "yellow"))
    for line in report.problems:
        console.print(Text(f"  error: {escape_controls(line)}", "red"))


def _check_tokens(
    console: Console, config: TrainConfig, model: str, train: Path, val: Path | None, *, shown: int, plain: bool
) -> None:
    """Tokenise everything, print lengths, and show the masks of the first samples."""
    from alfworld_sft.models.chat_encoder import ChatEncoder  # noqa: PLC0415
    from alfworld_sft.models.load import load_tokenizer  # noqa: PLC0415
    from alfworld_sft.train.data.samples import load_samples, sample_options  # noqa: PLC0415

    options = sample_options(config)
    if not config.data.multiturn.enable:
        options = replace(options, observation_weight=0.0)
    tokenizer = load_tokenizer(model)
    encoder = ChatEncoder(tokenizer)
    loaded: LoadedSamples | None = None
    for name, file in (("val", val), ("train", train)):
        if file is not None:
            loaded = load_samples([file], encoder, columns_of(config), options, option=f"data.{name}_files")
            _print_report(console, report_lengths(name, loaded, options))
    for sample in loaded.samples[:shown] if loaded else ():
        console.print(_render_sample(sample, tokenizer, plain=plain))


def _render_sample(sample: Sample, tokenizer: Any, *, plain: bool) -> Text:
    """Return a sample's text with its trained tokens in the colour of their kind, or in ⟦kind|brackets⟧."""
    trained = int((sample.weight != 0).sum())
    rendered = Text(f"\n{escape_controls(sample.key)}: {counted(len(sample), 'token')}, {trained} with loss\n", "bold")
    legend = [
        (kind, name) for kind, name in enumerate(KIND_NAMES) if ((sample.kind == kind) & (sample.weight != 0)).any()
    ]
    for kind, name in legend:
        rendered.append(f"{name}  ", "" if plain else f"bold {KIND_STYLES[kind]}")
    rendered.append("\n")
    for text, kind, weight in token_spans(sample.ids.tolist(), sample.kind.tolist(), sample.weight.tolist(), tokenizer):
        times = "" if weight in (0, 1) else f" x{weight:g}"
        if weight == 0:
            rendered.append(text, "" if plain else "dim")
        elif plain:
            rendered.append(f"⟦{KIND_NAMES[kind]}{times}|{text}⟧", "not bold")
        else:
            rendered.append(text, f"not bold {KIND_STYLES[kind]} reverse")
    return rendered
