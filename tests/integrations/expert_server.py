"""A server that answers as our expert does, to whoever plays our games as a conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from alfworld_sft.games import GameRef
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look
from tests.fake_server import Answer, FakeServer, says, serving

TEMPLATE = load_template("default")


def replay(game: Game, messages: list[dict[str, Any]]) -> Prompt | None:
    """The prompt that such a conversation about this game ends with; None where it is about another game."""
    env = Env(game)
    seen = env.reset()
    words = opening_look(game)
    transcript = Transcript(TEMPLATE, game, "multi")
    for place in range(0, len(messages), 2):
        prompt = transcript.prompt(words, seen.admissible_commands)
        if prompt.messages[-1].content != messages[place]["content"]:
            return None
        if place + 1 == len(messages):
            return prompt
        reply = messages[place + 1]["content"]
        command = parse_reply(reply, TEMPLATE.tags, seen.admissible_commands).action or ""
        seen = env.step(command)
        words = seen.text
        transcript.add(prompt, reply, command)
    return None


def _outcome(acting: Coroutine[Any, Any, Reply]) -> Reply:
    """What a coroutine that waits for nothing returns, in or out of an event loop."""
    try:
        acting.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the expert waits for something")


def games_by_task(refs: Iterable[GameRef]) -> dict[str, list[Game]]:
    """The games, by their goal sentences."""
    games: dict[str, list[Game]] = defaultdict(list)
    for ref in refs:
        game = ref.load()
        games[game.task].append(game)
    return games


def expert_reply(messages: list[dict[str, Any]], games: Mapping[str, Sequence[Game]]) -> str:
    """What the expert says at the end of such a conversation."""
    candidates = [game for task, about in games.items() if task in messages[0]["content"] for game in about]
    for game in candidates:
        if prompt := replay(game, messages):
            return _outcome(Expert().begin(game, 0).act(prompt)).text
    raise AssertionError(f"a conversation about no game: {messages}")


@contextmanager
def expert_serving(refs: Iterable[GameRef]) -> Iterator[FakeServer]:
    """Serve the expert's replies to conversations about these games."""
    games = games_by_task(refs)

    def answer(request: dict[str, Any], _: int) -> Answer:
        return says(expert_reply(request["messages"], games))

    with serving(answer) as server:
        yield server
