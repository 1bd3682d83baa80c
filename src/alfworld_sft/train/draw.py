"""How is a sample drawn, token by token? Trained tokens are coloured by kind, or bracketed without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from alfworld_sft.counts import counted
from alfworld_sft.terminal import printable
from alfworld_sft.train.check import token_spans

if TYPE_CHECKING:
    from alfworld_sft.train.data.sample import Sample

KIND_NAMES = ("prompt", "observation", "think", "prediction", "action", "tags and end")
KIND_STYLES = ("dim", "blue", "magenta", "yellow", "green", "cyan")


def draw_sample(sample: Sample, tokenizer: Any, *, plain: bool) -> Text:
    """Return a sample's text with its trained tokens coloured by kind, or in ⟦kind|brackets⟧."""
    trained = int((sample.weight != 0).sum())
    drawn = Text(f"\n{printable(sample.key)}: {counted(len(sample), 'token')}, {trained} with loss\n", "bold")
    legend = [
        (kind, name) for kind, name in enumerate(KIND_NAMES) if ((sample.kind == kind) & (sample.weight != 0)).any()
    ]
    for kind, name in legend:
        drawn.append(f"{name}  ", "" if plain else f"bold {KIND_STYLES[kind]}")
    drawn.append("\n")
    _draw_tokens(drawn, sample, 0, sample.trunk, tokenizer, plain=plain)
    first = sample.trunk
    for start, length in sample.branches:
        drawn.append(f"\n--- or after {counted(start + 1, 'token')}:\n", "bold")
        _draw_tokens(drawn, sample, first + 1, first + length, tokenizer, plain=plain)
        first += length
    return drawn


def _draw_tokens(drawn: Text, sample: Sample, first: int, last: int, tokenizer: Any, *, plain: bool) -> None:
    ids, kinds, weights = (values[first:last].tolist() for values in (sample.ids, sample.kind, sample.weight))
    for text, kind, weight in token_spans(ids, kinds, weights, tokenizer):
        times = "" if weight in (0, 1) else f" x{weight:g}"
        if weight == 0:
            drawn.append(text, "" if plain else "dim")
        elif plain:
            drawn.append(f"⟦{KIND_NAMES[kind]}{times}|{text}⟧", "not bold")
        else:
            drawn.append(text, f"not bold {KIND_STYLES[kind]} reverse")
