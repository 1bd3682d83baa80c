"""What is asked of a turn besides what is played? What a teacher would do, tried in a fork of the game."""

from __future__ import annotations

from collections.abc import Collection

from alfworld_sft.policies.base import Player
from alfworld_sft.policies.teacher import Advised
from alfworld_sft.prompts.formats import read_reply
from alfworld_sft.prompts.template import Template
from alfworld_sft.types import Advice, Prompt
from alfworld_sft.world import Env


async def ask_teacher(
    player: Player, prompt: Prompt, template: Template, env: Env, admissible_commands: Collection[str]
) -> Advice | None:
    """Return what a player's teacher would do, and what the game answers; None for a player without a teacher.

    `env` is where the prompt was rendered, and stays there. Raises PolicyError if the teacher has no answer.
    """
    if not isinstance(player, Advised):
        return None
    reply = await player.advise(prompt)
    parsed = read_reply(template.reply_format, reply.text, template.tags, admissible_commands)
    command = parsed.action or ""
    return Advice(reply, command, parsed.problem, env.fork().step(command).text)
