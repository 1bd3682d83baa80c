"""What does `alfworld-sft tiny-model` do?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alfworld_sft.errors import ConfigError
from alfworld_sft.train.choices import Architecture, ChatFormat, TokenizerKind


def tiny_model(
    folder: Annotated[Path, typer.Argument(help="Where the model is written, in the Hugging Face layout.")],
    model_type: Annotated[
        Architecture, typer.Option(help="Architecture; qwen3 learns much faster from scratch.")
    ] = "qwen2",
    tokenizer: Annotated[TokenizerKind, typer.Option(help="word: one token per word; bpe: byte-level BPE.")] = "word",
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help="Datasets or text files for the tokenizer. Default: the text of the games."),
    ] = None,
    games: Annotated[
        str | None, typer.Option(help="Data folder or game file whose text the tokenizer is trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the games.")] = "train",
    vocab_size: Annotated[
        int | None, typer.Option(help="Maximum vocabulary size. Default: all words, or 1024 for bpe.")
    ] = None,
    width: Annotated[int, typer.Option(min=1, help="Hidden size.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Number of layers.")] = 4,
    head_dim: Annotated[int, typer.Option(min=2, help="Size of an attention head.")] = 64,
    kv_heads: Annotated[
        int | None, typer.Option(min=1, help="Number of key-value heads. Default: as many as heads.")
    ] = None,
    feed_forward: Annotated[int | None, typer.Option(min=1, help="Feed-forward size. Default: 3 x width.")] = None,
    max_length: Annotated[int, typer.Option(min=64, help="Maximum sequence length in tokens.")] = 8192,
    system: Annotated[str | None, typer.Option(help="Default system message of the chat template.")] = None,
    chat: Annotated[
        ChatFormat,
        typer.Option(help="chatml: Qwen2.5's format; short: three tokens per turn."),
    ] = "chatml",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random weights.")] = 0,
) -> None:
    """Make a small Qwen model with random weights, for tests, demos and training from scratch."""
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
    if corpus and games is not None:
        raise ConfigError(f"--games {games} has no effect with --corpus, which has the tokenizer's text; leave one out")
    texts = tiny.texts_of_files(corpus) if corpus else tiny.texts_of_games(find_games(games, split))
    parameters, tokens = tiny.make_tiny_model(folder, texts, options)
    typer.echo(f"{folder}: {parameters:,} parameters, {tokens:,} tokens")
