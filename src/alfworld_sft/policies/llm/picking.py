"""How is the next token of each turn picked from the model's distribution, or from a part of it?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alfworld_sft.policies.llm.constrain import Choice


def restrict(logits: Tensor, choices: Sequence[Choice]) -> Tensor:
    """Return logits (batch, vocabulary) that are -inf where a row's choice excludes the token."""
    rows = [row for row, choice in enumerate(choices) if choice.allowed is not None or choice.forbidden]
    if not rows:
        return logits
    restricted = logits.clone()
    for row in rows:
        allowed, forbidden = choices[row].allowed, choices[row].forbidden
        if allowed is None:
            restricted[row, torch.tensor(forbidden, device=logits.device)] = -torch.inf
        else:
            kept = torch.tensor(allowed, device=logits.device)
            restricted[row] = -torch.inf
            restricted[row, kept] = logits[row, kept]
    return restricted


def pick_tokens(logits: Tensor, draws: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return the token selected by each draw from [0, 1); (batch, vocabulary) and (batch,) → (batch,).

    Tokens outside the smallest set of most probable ones that reaches `top_p` are never selected.
    """
    chances = (logits.double() / temperature).softmax(-1)
    if top_p < 1:
        falling, order = chances.sort(dim=-1, descending=True, stable=True)
        falling = falling.where(falling.cumsum(-1) - falling < top_p, 0.0)
        chances = torch.zeros_like(chances).scatter(-1, order, falling)
    reached = chances.cumsum(-1)
    return torch.searchsorted(reached, draws[:, None] * reached[:, -1:], right=True)[:, 0].clamp(
        max=chances.shape[-1] - 1
    )
