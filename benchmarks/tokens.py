"""How long are the prompts and conversations in tokens of Qwen2.5's vocabulary?

Claim: at least 90 % of the expert's episodes fit 2,048 tokens as a conversation. The vocabulary is the one inside the
PyPI package `dashscope`, which Qwen2.5 shares; messages are counted with the chat template's own tokens around them
(`<|im_start|>role\\n … <|im_end|>\\n`) and the default system message. The peer is the same conversation with the
full list of admissible commands in every turn, as agents in the field are prompted.

    python -m benchmarks.tokens --data ../shared/alfworld_data
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import sys
from pathlib import Path
from statistics import mean, median, quantiles

import tiktoken

from alfworld_sft.dataset.rows import Rendering, conversation_of, rows_of
from alfworld_sft.dataset.show import count_tokens
from alfworld_sft.games import find_games
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.listing import list_commands
from alfworld_sft.prompts.template import Template, load_template, template_names
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Episode, Message
from benchmarks._result import write_result

LIMIT = 2048
SYSTEM_TOKENS = 20
"""Qwen2.5's template puts a default system message of about this length before a conversation that has none."""
MESSAGE_TOKENS = 5  # <|im_start|> role \n … <|im_end|> \n
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load_qwen() -> tiktoken.Encoding:
    """Return Qwen's byte-level BPE; exits with a hint where the package that holds it is missing."""
    spec = importlib.util.find_spec("dashscope")
    if spec is None or spec.origin is None:
        sys.exit("error: the package 'dashscope', which holds Qwen's vocabulary, is missing: pip install dashscope")
    lines = (Path(spec.origin).parent / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    return tiktoken.Encoding("qwen", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})


def count(encoding: tiktoken.Encoding, messages: list[Message]) -> int:
    """Return the tokens of a conversation under the chat template."""
    texts = encoding.encode_ordinary_batch([message.content for message in messages])
    return SYSTEM_TOKENS + sum(MESSAGE_TOKENS + len(ids) for ids in texts)


def described(lengths: list[int]) -> dict[str, float]:
    """Return what a reader wants to know of some lengths."""
    return {
        "median": median(lengths),
        "mean": round(mean(lengths), 1),
        "p95": round(quantiles(lengths, n=20)[-1]),
        "max": max(lengths),
        f"share within {LIMIT}": round(sum(n <= LIMIT for n in lengths) / len(lengths), 4),
    }


def with_full_lists(episode: Episode, template: Template, rendering: Rendering) -> list[Message]:
    """Return the conversation with every admissible command in every turn: the peer."""
    messages = list(conversation_of(episode, rendering))
    for turn, prompt in enumerate(prompts_of(episode, template)):
        view = prompt.view
        if turn:
            text = f"{view.observation}\nYour task: {view.task}\n{list_commands(view.admissible_commands or ())}"
            messages[2 * turn] = Message("user", text)
    return messages


def measure(template: Template, episodes: list[Episode], encoding: tiktoken.Encoding) -> dict[str, object]:
    """Return lengths of both forms of one template."""
    rendering = Rendering(template)
    conversations = [count(encoding, list(conversation_of(e, rendering))) for e in episodes]
    rows: list[int] = []
    for episode in episodes:
        for row in rows_of(episode, rendering):
            prompt = Message("user", row["prompt_data"]["content"].removeprefix("user: "))
            rows.append(count(encoding, [prompt, Message("assistant", row["response_data"]["content"])]))
    texts = [message.content for e in episodes for message in conversation_of(e, rendering)]
    exact = sum(map(len, encoding.encode_ordinary_batch(texts)))
    result: dict[str, object] = {"multi-turn episodes": described(conversations), "single-turn rows": described(rows)}
    result["estimate of 'show' / exact"] = round(sum(map(count_tokens, texts)) / exact, 3)
    if template.lists_admissible:
        peer = [count(encoding, with_full_lists(e, template, rendering)) for e in episodes]
        result["multi-turn episodes with full lists (peer)"] = described(peer)
    return result


def main() -> None:
    """Play every train game with the expert, count, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=None, help="data folder; default: $ALFWORLD_DATA or the embedded games")
    games = find_games(parser.parse_args().data, "train")
    encoding = load_qwen()
    results: dict[str, object] = {"games": games.description.rsplit(" in ", 1)[0], "episodes": len(games)}
    for name in template_names():
        template = load_template(name)
        episodes = [
            asyncio.run(
                run_episode(ref.load(), Expert(), template, Protocol(), index=i, seed=derive_seed(42, "episode", i))
            )
            for i, ref in enumerate(games)
        ]
        results[name] = measured = measure(template, episodes, encoding)
        print(name)
        for what, figures in measured.items():
            print(f"  {what}: {figures}")
    write_result("tokens", results)


if __name__ == "__main__":
    main()
