"""How does a person play through textworld's `HumanAgent`? Commands are read from stdin, one a line."""

from __future__ import annotations

import sys
from typing import Any

from alfworld_sft.integrations.alfworld.core import Agent


class HumanAgent(Agent):
    """Asks the person at the terminal; with `autocompletion` it lists the admissible commands."""

    def __init__(self, autocompletion: bool = True, oracle: bool = False) -> None:
        self.autocompletion = autocompletion
        self.oracle = oracle

    def reset(self, env: Any) -> None:
        """Ask the environment for what is shown."""
        env.display_command_during_render = False
        if self.autocompletion:
            env.request_infos.admissible_commands = True
        if self.oracle:
            env.request_infos.policy_commands = True
            env.request_infos.intermediate_reward = True

    def act(self, game_state: Any, reward: float, done: bool) -> str:
        """Return what the person types."""
        if self.oracle and game_state.get("policy_commands") and not done:
            sys.stdout.write(f"Oracle: {' > '.join(game_state['policy_commands'])}\n\n")
        if self.autocompletion and game_state.get("admissible_commands"):
            sys.stdout.write(f"Available actions: {game_state['admissible_commands']}\n\n")
        return input("> ")
