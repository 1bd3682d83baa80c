"""Conversations in the shapes of the published sets, with the answers of the games themselves."""

from __future__ import annotations

import re
from typing import Any

from alfworld_sft.foreign.read import Format
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.plan import shortest_plan

STYLES: dict[Format, dict[str, str]] = {
    "sharegpt": {
        "start": "Here is your task. {look}\nYour task is to: {task}\nAVAILABLE ACTIONS: look, inventory",
        "reply": "THOUGHT: I go on. ACTION: {command}",
        "answer": "{text}",
    },
    "agentgym": {
        "start": "{look}\n\nYour task is to: {task}\n AVAILABLE ACTIONS: look,inventory",
        "reply": "Thought:\nI go on.\n\nAction:\n{command}",
        "answer": "{text}\nAVAILABLE ACTIONS: look,inventory",
    },
    "eto": {
        "start": "{look}\n\nYour task is to: {task}",
        "reply": "Thought: I go on.\nAction: {command}",
        "answer": "Observation: {text}",
    },
}


def record(game: Game, kind: Format, commands: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A conversation in another project's shape; the answers are the game's own."""
    style, env = STYLES[kind], Env(game)
    env.reset()
    look = opening_look(game)
    conversation = [
        {"from": "human", "value": "Interact with a household. Your output: ACTION: your next action"},
        {"from": "gpt", "value": "OK. I'll follow your instructions."},
        {"from": "human", "value": style["start"].format(look=look, task=game.task)},
    ]
    for command in shortest_plan(game) if commands is None else commands:
        text = env.step(command).text
        conversation.append({"from": "gpt", "value": style["reply"].format(command=command)})
        conversation.append({"from": "human", "value": style["answer"].format(text=text)})
    return {"id": "x", "item_id": "alfworld_7", "conversations": conversation, **more}


def older(text: str) -> str:
    text = re.sub(r"Action: move (\w+ \d+) to (\w+ \d+)", r"Action: put \1 in/on \2", text)
    text = re.sub(r"You move the (\w+ \d+) to the (\w+ \d+)\.", r"You put the \1 in/on the \2.", text)
    return re.sub(r"You arrive at \w+ \d+\. ", "", text)
