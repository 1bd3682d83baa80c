"""Which rows probe whether the model's loss is computed rightly, before there are episodes? The opening of a game."""

from __future__ import annotations

import numpy as np

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look


def probe_samples(game: Game, template: Template, encoder: ChatEncoder) -> list[Sample]:
    """Return the first prompt of a game as a sample."""
    transcript = Transcript(template, game)
    prompt = transcript.prompt(opening_look(game), Env(game).reset().admissible_commands)
    ids = np.array(encoder.encode_prompt(prompt.messages), dtype=np.int32)
    prompt_kind = np.full(len(ids), int(TokenKind.PROMPT), dtype=np.uint8)
    return [Sample(ids, np.ones(len(ids), dtype=np.float32), prompt_kind, 1, False, game.id)]
