"""The commands `check` and `tiny-model`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from alfworld_sft.counts import counted
from alfworld_sft.errors import UserError
from alfworld_sft.train.check import Report, check_dataset, report_lengths, runs_of, visible
from alfworld_sft.train.config import TrainConfig, build_train_config
from alfworld_sft.train.inputs import columns_of
from alfworld_sft.train.table import dataset_file

if TYPE_CHECKING:
    from alfworld_sft.train.dataset import Loaded, Sample

KIND_NAMES = ("prompt", "observation", "think", "prediction", "action", "tags and end")
KIND_STYLES = ("dim", "blue", "magenta", "yellow", "green", "cyan")


def check(
    data: Annotated[Path, typer.Argument(help="A dataset's folder, or one of its files.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Keys of train, as data.max_length=4096.")] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    show_mask: Annotated[bool, typer.Option("--show-mask", help="Show which tokens carry loss.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="How many samples --show-mask shows.")] = 2,
    no_color: Annotated[bool, typer.Option("--no-color", help="Mark trained tokens with brackets instead.")] = False,
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
        config = build_train_config(words if form is None else [*words, f"data.multiturn.enable={form}"])
        console.print(Text("multi-turn" if config.data.multiturn.enable else "single-turn", "bold"))
        report = check_dataset([train], [val] if val else [], columns_of(config))
        _print(console, report)
        failed |= bool(report.problems)
        if model is not None and not report.problems:
            plain = no_color or console.color_system is None  # a pipe, say, where colours would be lost
            _check_tokens(console, config, model, train, val, shown=samples if show_mask else 0, plain=plain)
    if failed:
        raise typer.Exit(2)


def tiny_model(
    folder: Annotated[Path, typer.Argument(help="Where the model is written, in the Hugging Face layout.")],
    model_type: Annotated[
        Literal["qwen2", "qwen3"], typer.Option(help="Architecture; from nothing, qwen3 learns much faster.")
    ] = "qwen2",
    tokenizer: Annotated[
        Literal["word", "bpe"], typer.Option(help="word: one token a word; bpe: byte-level pairs.")
    ] = "word",
    corpus: Annotated[
        list[Path] | None, typer.Option(help="Datasets or text files for the tokenizer; without: the games.source.")
    ] = None,
    games: Annotated[str | None, typer.Option(help="Data folder or game files to take the words from.")] = None,
    split: Annotated[str, typer.Option(help="Split of the games.")] = "train",
    vocab_size: Annotated[int | None, typer.Option(help="Most tokens; without: all words, or 1024 for bpe.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Hidden size.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Number of layers.")] = 4,
    head_dim: Annotated[int, typer.Option(min=2, help="Size of an attention head.")] = 64,
    kv_heads: Annotated[int | None, typer.Option(min=1, help="Key-value heads; without: as many as heads.")] = None,
    feed_forward: Annotated[int | None, typer.Option(min=1, help="Inner size; without: 3 x width.")] = None,
    max_length: Annotated[int, typer.Option(min=64, help="Longest sequence in tokens.")] = 8192,
    system: Annotated[str | None, typer.Option(help="Default system message of the chat template.")] = None,
    chat: Annotated[
        Literal["chatml", "short"],
        typer.Option(help="chatml: turns as Qwen2.5 writes them; short: three tokens a turn."),
    ] = "chatml",
    seed: Annotated[int, typer.Option(min=0, help="Decides the weights.")] = 0,
) -> None:
    """Make a small Qwen model with random weights, for tests, demos, and training from nothing."""
    from alfworld_sft.games.sources import find_games  # noqa: PLC0415
    from alfworld_sft.train import tiny  # noqa: PLC0415

    options = tiny.TinyOptions(
        model_type=model_type,
        tokenizer=tokenizer,
        chat=chat,
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        head_dim=head_dim,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        system=system,
        max_length=max_length,
        seed=seed,
    )
    tiny.check_options(folder, options)
    texts = tiny.texts_of_files(corpus) if corpus else tiny.texts_of_games(find_games(games, split))
    parameters, tokens = tiny.make_tiny_model(folder, texts, options)
    typer.echo(f"{folder}: {parameters:,} parameters, {tokens:,} tokens")


def _print(console: Console, report: Report) -> None:
    for name, value in report.facts:
        console.print(Text(f"  {name}: {visible(value)}"))
    for line in report.warnings:
        console.print(Text(f"  warning: {visible(line)}", "yellow"))
    for line in report.problems:
        console.print(Text(f"  error: {visible(line)}", "red"))


def _check_tokens(
    console: Console, config: TrainConfig, model: str, train: Path, val: Path | None, *, shown: int, plain: bool
) -> None:
    """Tokenise everything, print lengths, and show the masks of the first samples."""
    from alfworld_sft.chat import ChatEncoder  # noqa: PLC0415
    from alfworld_sft.train.dataset import load_samples, sample_options  # noqa: PLC0415
    from alfworld_sft.train.model import load_tokenizer  # noqa: PLC0415

    options = sample_options(config)
    if not config.data.multiturn.enable:
        options = replace(options, observation_weight=0.0)
    tokenizer = load_tokenizer(model)
    encoder = ChatEncoder(tokenizer)
    loaded: Loaded | None = None
    for name, file in (("val", val), ("train", train)):
        if file is not None:
            loaded = load_samples([file], encoder, columns_of(config), options, option=f"data.{name}_files")
            _print(console, report_lengths(name, loaded, options))
    for sample in loaded.samples[:shown] if loaded else ():
        console.print(_drawn(sample, tokenizer, plain=plain))


def _drawn(sample: Sample, tokenizer: Any, *, plain: bool) -> Text:
    """Return a sample's text with its trained tokens in the colour of their kind, or in ⟦kind|brackets⟧."""
    trained = int((sample.weight != 0).sum())
    drawn = Text(f"\n{visible(sample.key)}: {counted(len(sample), 'token')}, {trained} with loss\n", "bold")
    legend = [
        (kind, name) for kind, name in enumerate(KIND_NAMES) if ((sample.kind == kind) & (sample.weight != 0)).any()
    ]
    for kind, name in legend:
        drawn.append(f"{name}  ", "" if plain else f"bold {KIND_STYLES[kind]}")
    drawn.append("\n")
    for text, kind, weight in runs_of(sample.ids.tolist(), sample.kind.tolist(), sample.weight.tolist(), tokenizer):
        times = "" if weight in (0, 1) else f" x{weight:g}"
        if weight == 0:
            drawn.append(text, "" if plain else "dim")
        elif plain:
            drawn.append(f"⟦{KIND_NAMES[kind]}{times}|{text}⟧", "not bold")
        else:
            drawn.append(text, f"not bold {KIND_STYLES[kind]} reverse")
    return drawn
