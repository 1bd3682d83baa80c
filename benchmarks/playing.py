"""How fast does a model play in our own process, beside transformers' `generate` and beside a CPU vLLM?

The same model plays the same embedded games greedily, all episodes at once, in conversations that grow by a turn a step
(template `compact`). Each side is a process of its own with the same number of threads, one after the other:

- local: `policy.name=local`, which reads only what is new in a conversation;
- generate: one left-padded batch of complete prompts a turn, through the chat template and `model.generate`, with its
  cache within the turn. That is what a script does without a player of its own;
- vllm: `policy.name=server` with a vLLM on the CPU, prefix caching on, served in the environment of --vllm.

Claims: `local` says more reply tokens a second than `generate`, and 99 % or more of its replies to equal prompts are
those of the other sides (float32 sums differ in their last bits).

    python -m benchmarks.playing --model DIR                                    # local and generate
    scripts/make_vllm_env.sh && python -m benchmarks.playing --model DIR --vllm .venv-vllm/bin/vllm
    python -m benchmarks.playing --model DIR --episodes 8 --max-steps 3 --smoke   # a minute, writes nothing

DIR is a model in the Hugging Face layout, such as `alfworld-sft smollm2` makes. The clock runs while episodes are
played: neither loading nor a first turn, played before, counts. CPU seconds are those of the side's processes, the
server's included. `prompt_tokens` is the length of all prompts, `prompt_tokens_read` what was computed of them: padding
included, cached tokens excluded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import psutil

from alfworld_sft.games.sources import find_games
from alfworld_sft.policies.base import Policy, in_service
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import EpisodePlayer
from alfworld_sft.types import Episode, Prompt, Reply
from benchmarks._result import machine, versions_of, write_result
from benchmarks.vllm_cpu import SERVER_ENVIRONMENT, START_TIMEOUT_S, share_equal, version_of

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
TEMPLATE, MAX_TOKENS = "compact", 24
FORM: Literal["multi"] = "multi"
CLAIMED_AGREEMENT, CLAIMED_RATIO = 0.99, 1.0
GATHER_S = 0.01
"""How long a batch of `generate` waits for the other episodes, which all continue at the same moment."""
VLLM_OPTIONS = (
    # See benchmarks.vllm_cpu for chunked prefill.
    "--dtype", "float32", "--max-model-len", "4096", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096",
    # Of a conversation whole blocks are kept; the CPU's default of 128 tokens is more than some have.
    "--enable-prefix-caching", "--block-size", "32", "--enable-prompt-tokens-details",
)  # fmt: skip
CACHE_GIB = "4"


def main() -> None:
    """Play on every side, compare, print and write the result; exits with 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder")
    parser.add_argument("--vllm", type=Path, help="vLLM's command; default: without that side")
    parser.add_argument("--vllm-options", default="", help="more options of `vllm serve`, e.g. --enforce-eager")
    parser.add_argument("--episodes", type=int, default=64, help="all of them at once")
    parser.add_argument("--max-steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=machine()["cores"], help="default: one for each core")
    parser.add_argument("--smoke", action="store_true", help="the result is printed, not written")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    sides = {name: worker(name, options) for name in ("local", "generate", "vllm") if name != "vllm" or options.vllm}
    texts = {name: side.pop("texts") for name, side in sides.items()}
    others = [name for name in sides if name != "local"]
    ratios = {f"local over {name}": ratio(sides["local"], sides[name]) for name in others}
    equal = {f"local and {name}": share_equal(texts["local"], texts[name]) for name in others}
    holds = ratios["local over generate"]["reply_tokens_per_s"] > CLAIMED_RATIO
    holds = holds and all(share["share_of_replies_equal"] >= CLAIMED_AGREEMENT for share in equal.values())
    result = {
        "options": {"model": options.model.name, "episodes": options.episodes, "at_once": options.episodes,
                    "max_steps": options.max_steps, "max_tokens": MAX_TOKENS, "template": TEMPLATE, "form": FORM,
                    "threads": options.threads, "dtype": "float32",
                    "server": " ".join((*VLLM_OPTIONS, *shlex.split(options.vllm_options))) if options.vllm else None},
        "claims_hold": holds,
        "sides": sides,
        "ratios": ratios,
        "replies_to_equal_prompts": equal,
        "versions": versions_of("torch", "transformers") | ({"vllm": version_of(options.vllm)} if options.vllm else {}),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if not options.smoke:
        write_result("playing", result)
    sys.exit(not holds)


def worker(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Play on one side, in a process of its own; what it logs goes to stderr."""
    words = [sys.executable, "-m", "benchmarks.playing", "--side", side, "--model", options.model.absolute()]
    words += ["--episodes", options.episodes, "--max-steps", options.max_steps, "--threads", options.threads]
    words += ["--vllm", options.vllm.absolute(), f"--vllm-options={options.vllm_options}"] if options.vllm else []
    threads = {"OMP_NUM_THREADS": str(options.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environ = {**os.environ, **SERVER_ENVIRONMENT, **threads, "VLLM_CPU_KVCACHE_SPACE": CACHE_GIB}
    done = subprocess.run(
        list(map(str, words)), env=environ, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return a side's figures, and the texts of its replies by episode."""
    policy, tokens_read = SIDES[options.side](options)
    with in_service(policy):
        episodes, wall_s, cpu_s = asyncio.run(play(policy, options.episodes, options.max_steps))
    replies = [step.reply for episode in episodes for step in episode.steps]
    said = sum(reply.reply_tokens or 0 for reply in replies)
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "replies": len(replies),
        "reply_tokens": said,
        "reply_tokens_per_s": round(said / wall_s, 1),
        "reply_tokens_per_cpu_s": round(said / cpu_s, 1),
        "prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
        "prompt_tokens_read": tokens_read(replies),
        "won": sum(episode.success for episode in episodes),
        "failed": sum(episode.error is not None for episode in episodes),
        "texts": [[step.reply.text for step in episode.steps] for episode in episodes],
    }


async def play(policy: Policy, count: int, max_steps: int) -> tuple[list[Episode], float, float]:
    """Return the episodes, and the wall and CPU seconds that they took after one turn in another game."""
    template = load_template(TEMPLATE)
    other, games = (find_games("embedded", split).shuffled(0) for split in ("valid_unseen", "valid_seen"))
    await EpisodePlayer(policy, template, Protocol(1, FORM), 0).play(0, other)
    player = EpisodePlayer(policy, template, Protocol(max_steps, FORM), 0)
    started, cpu_before = time.monotonic(), cpu_seconds()
    played = await asyncio.gather(*(player.play(index, games) for index in range(count)))
    wall_s, cpu_s = time.monotonic() - started, cpu_seconds() - cpu_before
    return [episode for episode in played if isinstance(episode, Episode)], wall_s, cpu_s


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all that it started."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


TokensRead = Callable[[Sequence[Reply]], int]
"""How many tokens of prompts were computed for some replies."""


def local_side(options: argparse.Namespace) -> tuple[Policy, TokensRead]:
    """Our own player."""
    from alfworld_sft.policies.llm.local import LocalModel
    from alfworld_sft.policies.llm.sampling import Sampling

    sampling = Sampling(temperature=0, max_tokens=MAX_TOKENS)
    policy = LocalModel.load(str(options.model), sampling, dtype="float32", max_batch=options.episodes, device="cpu")
    return policy, count_read(policy._model)


def generate_side(options: argparse.Namespace) -> tuple[Policy, TokensRead]:
    """Transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    return GeneratePolicy(model, tokenizer), count_read(model)


def vllm_side(options: argparse.Namespace) -> tuple[Policy, TokensRead]:
    """A server of vLLM, started for the run."""
    from alfworld_sft.policies.llm.managed_server import ManagedServer
    from alfworld_sft.policies.llm.retry import Patience
    from alfworld_sft.policies.llm.sampling import Sampling
    from alfworld_sft.policies.llm.serve_command import serve_command
    from alfworld_sft.policies.llm.server import OpenAIServer

    words = shlex.join([str(options.vllm), *VLLM_OPTIONS, *shlex.split(options.vllm_options)])
    server = ManagedServer(serve_command(words, str(options.model)), START_TIMEOUT_S)
    sampling = Sampling(temperature=0, max_tokens=MAX_TOKENS)
    policy = OpenAIServer("", None, sampling, Patience(START_TIMEOUT_S), truncated="keep", managed=server)
    return policy, lambda replies: sum((r.prompt_tokens or 0) - (r.cached_tokens or 0) for r in replies)


SIDES = {"local": local_side, "generate": generate_side, "vllm": vllm_side}


def count_read(model: Any) -> TokensRead:
    """Count, from now on, the tokens that a model is fed more than one a row: those of prompts, padding included."""
    fed: list[int] = []

    def count(_: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        lengths = [row.new for row in kwargs["rows"]] if "rows" in kwargs else [ids.shape[1]] * ids.shape[0]
        fed.append(sum(length for length in lengths if length > 1))

    model.register_forward_pre_hook(count, with_kwargs=True)
    return lambda _: sum(fed)


class Together(Generic[Asked, Answer]):
    """Answers all that is asked at the same moment by one call, in a thread; the first to ask gathers the others."""

    def __init__(self, answer_all: Callable[[list[Asked]], list[Answer]]) -> None:
        self._answer_all = answer_all
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []

    async def ask(self, asked: Asked) -> Answer:
        """Wait for the answer."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if len(self._waiting) == 1:
            await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting, []
            answers = await asyncio.to_thread(self._answer_all, [each for each, _ in batch])
            for (_, waiting), found in zip(batch, answers, strict=True):
                waiting.set_result(found)
        return await answer


class GeneratePolicy:
    """Answers all waiting prompts by one call of `generate`, from their first token on."""

    name, sampling = "generate", None

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._together = Together(self._generate)
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])

    def begin(self, *_: object) -> GeneratePolicy:
        """Return the player of an episode, which keeps nothing."""
        return self

    async def act(self, prompt: Prompt) -> Reply:
        """Wait for the batch that this prompt is in."""
        return await self._together.ask(prompt)

    def _generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        chats = [[{"role": m.role, "content": m.content} for m in prompt.messages] for prompt in prompts]
        fed = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        out = self._model.generate(
            **fed, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=self._tokenizer.pad_token_id
        )
        said = out[:, fed["input_ids"].shape[1] :]
        texts = self._tokenizer.batch_decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [
            Reply(text, prompt_tokens=int(length), reply_tokens=self._length(ids))
            for text, ids, length in zip(texts, said.tolist(), fed["attention_mask"].sum(1), strict=True)
        ]

    def _length(self, ids: Sequence[int]) -> int:
        """Return how many tokens a row says, its end included, the padding not."""
        return min(len(list(takewhile(lambda token: token not in self._ends, ids))) + 1, len(ids))


def ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Return how many times as much we say a second, by the clock and by the CPU."""
    names = ("reply_tokens_per_s", "reply_tokens_per_cpu_s")
    return {name: round(ours[name] / theirs[name], 2) for name in names}


if __name__ == "__main__":
    main()
