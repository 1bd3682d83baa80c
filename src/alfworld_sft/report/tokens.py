"""How long is an episode's conversation, and which tokens of its replies carry loss?

Without a tokenizer the length is an estimate (`dataset.show.count_tokens`). With one it is exact, and the tokens are
those that multi-turn training sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from alfworld_sft.dataset.rows import Rendering, conversation_of, is_reply_trained, predictions_of_run
from alfworld_sft.dataset.show import count_tokens
from alfworld_sft.report.read import Run, template_of
from alfworld_sft.types import Episode, Message

if TYPE_CHECKING:
    from alfworld_sft.models.chat_encoder import ChatEncoder
    from alfworld_sft.models.loss_mask import Encoded


class Token(NamedTuple):
    """One token of a reply: its text, and whether it carries loss."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """The length of a conversation, and, where a model is named, the tokens of each reply."""

    length: int
    replies: list[list[Token]] | None = None


def rendering_of(run: Run) -> Rendering | None:
    """Return how the episodes of a run become conversations; None where the template is unknown."""
    template = template_of(run)
    return Rendering(template, predictions=predictions_of_run(run.stamp)) if template else None


def load_encoder(model: str) -> ChatEncoder:
    """Load the tokenizer of a model; raises UserError where it, or the extra `train`, is missing."""
    from alfworld_sft.models.chat_encoder import ChatEncoder  # noqa: PLC0415 - needs transformers
    from alfworld_sft.models.load import load_tokenizer  # noqa: PLC0415

    return ChatEncoder(load_tokenizer(model))


def count(episode: Episode, rendering: Rendering, encoder: ChatEncoder | None) -> Counted:
    """Count the tokens of an episode's conversation; of one without turns there are none."""
    messages = conversation_of(episode, rendering)  # may begin with a system message
    if encoder is None or not messages:
        return Counted(sum(count_tokens(message.content) for message in messages), None if encoder is None else [])
    untrained = {turn for turn, step in enumerate(episode.steps) if not is_reply_trained(step, rendering)}
    encoded = encoder.encode_conversation(messages, untrained)
    turns = range(len(episode.steps))
    if encoded.stable:
        return Counted(len(encoded), [_reply(encoded, turn, encoder) for turn in turns])
    ends = range(len(messages) - 2 * len(turns) + 2, len(messages) + 1, 2)
    replies = [_rendered_last(messages[:end], turn, turn not in untrained, encoder) for turn, end in enumerate(ends)]
    return Counted(len(encoded), replies)


def _rendered_last(messages: Sequence[Message], turn: int, trained: bool, encoder: ChatEncoder) -> list[Token]:
    """Return the tokens of a reply as the end of its conversation: some templates write earlier ones differently."""
    tokens = _reply(encoder.encode_reply(messages), turn, encoder)
    return [token._replace(trained=token.trained and trained) for token in tokens]


def _reply(encoded: Encoded, turn: int, encoder: ChatEncoder) -> list[Token]:
    from alfworld_sft.models.loss_mask import TokenKind  # noqa: PLC0415

    said = (TokenKind.THINK, TokenKind.PREDICTION, TokenKind.ACTION, TokenKind.OTHER_REPLY)
    return [
        Token(encoder.tokenizer.decode([token]), mask)
        for token, mask, kind, of_turn in zip(encoded.ids, encoded.mask, encoded.kind, encoded.turn, strict=True)
        if of_turn == turn and (mask or kind in said)
    ]
