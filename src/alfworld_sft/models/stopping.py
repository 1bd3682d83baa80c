"""Where does a trained model stop? At the token that ends a reply in its chat template, and at its base's end tokens.

A base model may end texts with a different token than its chat template ends turns with (Qwen2.5: `<|endoftext|>` and
`<|im_end|>`). After training on replies it generates the latter, so the generation config must list it as an end token.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

SAMPLING_ONLY = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
"""Values without effect where a config does not sample; transformers refuses to save a changed config that has them."""


def end_ids_of(*values: Any) -> list[int]:
    """Return the tokens listed in some `eos_token_id`s: each a number, a list of numbers, or None."""
    found: list[int] = []
    for value in values:
        found += value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return list(dict.fromkeys(found))


def stop_at(model: Any, end_id: int | None) -> None:
    """Add this token to the end tokens of a transformers model's generation config, which is saved with the model."""
    generation = model.generation_config
    known = end_ids_of(generation.eos_token_id, model.config.eos_token_id)
    if end_id is None or end_id in end_ids_of(generation.eos_token_id):
        return
    generation.eos_token_id = [end_id, *(number for number in known if number != end_id)]
    if not generation.do_sample:
        for name in SAMPLING_ONLY:
            if getattr(generation, name, None) is not None:
                setattr(generation, name, None)
    logger.info("the generation config stops at token %d, which ends a reply in the chat template", end_id)
