"""How does GEM play our games? `game:ALFWorld-v0`, with `spawn`, alone or in GEM's vector environments.

    import alfworld_sft.integrations.gem
    gem.make("game:ALFWorld-v0", split="valid_seen")

Written for gem-llm 0.1. An observation is the next user message of a conversation, an action the model's reply with the
template's tags. The reward is 1.0 on the step that wins, else 0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from random import Random
from typing import Any

import gem
from gem.envs.registration import ENV_REGISTRY

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.conversation import Conversation
from alfworld_sft.integrations.pool import GamePool, shared_pool
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.types import MAX_STEPS, TaskType

ID = "game:ALFWorld-v0"


class ALFWorldEnv(gem.Env):
    """One game at a time: a reset draws one by the seed, unless `game` names the one to play.

    `source`, `split`, `task_types` and `games_seed` say which games there are, see `GamePool`. `template` words the
    messages. `seed` is that of the first reset without one; GEM's `make_vec` sets it. Python's and numpy's global
    generators are left alone.
    """

    def __init__(
        self,
        source: str | Path | GamePool | None = None,
        split: str = "train",
        task_types: Sequence[TaskType] | None = None,
        games_seed: int = 0,
        *,
        game: int | str | None = None,
        template: str = "default",
        max_turns: int = MAX_STEPS,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if max_turns < 1:
            raise UserError(f"max_turns must be at least 1, not {max_turns}")
        self._config = {
            "source": source,
            "split": split,
            "task_types": task_types,
            "games_seed": games_seed,
            "game": game,
            "template": template,
            "max_turns": max_turns,
        }
        self._games = shared_pool(source, split, task_types, games_seed)
        self._game = None if game is None else self._games.load(game)
        self._template = load_template(template)
        if self._template.multi_system is not None:
            raise UserError(f"template={template}: GEM has no place for its system message; choose one without")
        self._max_turns = max_turns
        self._rng = Random(seed)
        self._conversation: Conversation | None = None

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Start a game and return its first message; the info names the game, its task and its task type."""
        if seed is not None:
            self._rng = Random(seed)
        game = self._game or self._games.draw(self._rng.randrange)
        self._conversation = Conversation(game, self._template, self._max_turns)
        return self._conversation.message, self._conversation.info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play the action of a reply; raises RuntimeError before the first reset and after the end."""
        turn = self._playing().answer(action)
        return turn.message, turn.reward, turn.terminated, turn.truncated, turn.info

    def sample_random_action(self) -> str:
        """Return a reply with a random admissible command."""
        command = self._rng.choice(self._playing().admissible_commands)
        parts: dict[str, str] = dict.fromkeys(self._template.tags, "…")
        return write_reply(self._template.reply_format, self._template.tags, parts | {"action": command})

    def spawn(self, same_state: bool = False, **changes: Any) -> ALFWorldEnv:
        """Return another environment with the same arguments, or with `changes`; from the same state if asked to.

        A copy in the same state draws later games as this one would. Raises UserError for changes to such a copy.
        """
        if not same_state:
            twin = type(self)(**{**self._config, **changes})
        elif changes:
            raise UserError(f"an environment in the same state cannot have another {min(changes)}")
        else:
            twin = copy(self)
            twin._rng = Random()
            twin._rng.setstate(self._rng.getstate())
            twin._conversation = self._conversation and self._conversation.fork()
        for name in ("env_id", "entry_point"):  # what gem.make notes
            if hasattr(self, name):
                setattr(twin, name, getattr(self, name))
        return twin

    def _playing(self) -> Conversation:
        if self._conversation is None:
            raise RuntimeError("call reset() first")
        return self._conversation


if ID not in ENV_REGISTRY:
    gem.register(ID, f"{__name__}:ALFWorldEnv")
