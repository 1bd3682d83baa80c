"""Does a real vLLM play as our own model does, adapter and merged model alike, 64 episodes at once?

A tiny model learns on the expert's episodes, an adapter of rank 32 learns on top of it and is merged. vLLM, on the CPU
in an environment of its own, serves the adapter and then the merged model, started and stopped as `policy.serve` does
it; each plays sampled (`collect`) and greedily (`evaluate`). Claims, for every reply of every episode: the token ids
say what the text says, each has its log-probability, and the prompt's ids are those that training sees. Greedy replies
to equal prompts are those of the same adapter in our own process, for 99 % or more of them (float32 sums differ in
their last bits), while its base answers otherwise.

    scripts/make_vllm_env.sh
    python -m benchmarks.vllm_cpu
    python -m benchmarks.vllm_cpu --models DIR      # keep the models there, and take them from there the next time

Speed is measured on whatever else the machine does; it is no claim.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.policies.llm.managed_server import ManagedServer
from alfworld_sft.policies.llm.sampling import ACTION_CLOSE, end_reply
from alfworld_sft.policies.llm.serve_command import serve_command
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.runs.records import from_line
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.types import Episode, Prompt, Reply
from benchmarks._result import versions_of, write_result

ROOT = Path(__file__).parents[1]
RANK = 32
EPISODES_LEARNED = 128
CLAIMED_AGREEMENT = 0.99
SERVER_OPTIONS = (
    "--dtype", "float32", "--max-model-len", "4096", "--enforce-eager",
    # On a CPU, vLLM 0.32.0 ends when the prompt of a request with a seed is read in more than one step
    # ("CPU Generator does not use offset").
    "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096",
)  # fmt: skip
SERVER_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
TEMPLATE, PROTOCOL = load_template("default"), Protocol(max_steps=5, form="multi")
PLAYED_ALIKE = [
    "games.source=embedded", "games.split=valid_seen", f"prompt.template={TEMPLATE.name}",
    f"prompt.form={PROTOCOL.form}", f"env.max_steps={PROTOCOL.max_steps}", "policy.max_tokens=96",
    "policy.truncated=keep", "policy.keep_token_ids=true",
]  # fmt: skip
OURS, BASE = "adapter in our process, greedy", "its base in our process, greedy, first replies"
START_TIMEOUT_S, REPLY_TIMEOUT_S = 3600, 1200


@dataclass(frozen=True)
class Models:
    """Folders of the base model, of the adapter on top of it, and of both merged."""

    base: Path
    adapter: Path
    merged: Path


@dataclass(frozen=True)
class Played:
    """The episodes of a run in the order of their numbers, and how long the command took, its own start included."""

    episodes: list[Episode]
    seconds: float


def main() -> None:
    """Train, play, check, print and write the result; exits with 1 where a claim does not hold."""
    parser = parser_of(__doc__)
    parser.add_argument("--episodes", type=int, default=64, help="episodes of each run, all at once; 64 at most")
    options = parser.parse_args()
    prepare(options.vllm)
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(options.models or Path(folder, "models"))
        played = play_all(models, options.vllm, options.episodes, Path(folder))
    runs = {name: check(run.episodes, load_tokenizer(str(models.base))) for name, run in played.items()}
    pairs = compare(played)
    holds = claims_hold(runs, pairs)
    result = {
        "options": {"episodes": options.episodes, "at_once": options.episodes, "lora_rank": RANK,
                    "template": TEMPLATE.name, "form": PROTOCOL.form, "max_steps": PROTOCOL.max_steps,
                    "server": " ".join(SERVER_OPTIONS)},
        "claims_hold": holds,
        "runs": runs,
        "replies_to_equal_prompts": pairs,
        "speed": {"note": "the machine did other things too", **{name: speed(run) for name, run in played.items()}},
        "versions": {"vllm": version_of(options.vllm), **versions_of("torch", "transformers", "peft")},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    write_result("vllm_cpu", result)
    sys.exit(not holds)


def parser_of(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that the benchmarks of a served vLLM share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, default=ROOT / ".venv-vllm/bin/vllm", help="vLLM's command")
    parser.add_argument("--models", type=Path, help="where the models are made, or lie already; default: nowhere")
    return parser


def prepare(vllm: Path, **environment: str) -> None:
    """Set what servers of this process shall find in their environment, and log; exits where there is no vLLM."""
    if not vllm.is_file():
        sys.exit(f"{vllm}: there is no such command; make it with scripts/make_vllm_env.sh")
    os.environ.update({**SERVER_ENVIRONMENT, **environment})
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def make_models(folder: Path) -> Models:
    """Return the models in a folder; they are made there where they are not."""
    folder = folder.absolute()
    models = Models(folder / "base/final", folder / "adapter/final", folder / "merged")
    if not models.merged.is_dir():
        data, untrained = folder / "data", folder / "untrained"
        run("collect", "--output-dir", folder, "--name", "data", "games.source=embedded", "policy.noise=0.1",
            f"prompt.template={TEMPLATE.name}", f"num_episodes={EPISODES_LEARNED}")  # fmt: skip
        run("tiny-model", untrained, "--corpus", data)
        train(data, untrained, folder / "base", "model.lora_rank=0", "trainer.total_epochs=4")
        train(data, models.base, folder / "adapter", f"model.lora_rank={RANK}", "trainer.total_epochs=1")
        run("merge", models.adapter, models.merged)
    return models


def train(data: Path, model: Path, output: Path, *overrides: str) -> None:
    run("train", f"data.train_files={data}", f"model.path={model}", f"trainer.default_local_dir={output}",
        "data.multiturn.enable=true", "data.train_batch_size=32", "optim.lr=3e-3", "trainer.device=cpu",
        "trainer.logger=console", "trainer.save_freq=0", "worldmodel.observation_loss=0.3", *overrides)  # fmt: skip


def run(*words: object) -> None:
    """Run a command of ours to its end; what it prints goes to stderr."""
    subprocess.run([sys.executable, "-m", "alfworld_sft", *map(str, words)], check=True, stdout=sys.stderr)


def play_all(models: Models, vllm: Path, episodes: int, folder: Path) -> dict[str, Played]:
    """Play with every model: at vLLM sampled and greedily, in our own process greedily."""
    sampled = ["collect", "--allow-eval-split", *PLAYED_ALIKE, f"num_episodes={episodes}", "policy.temperature=0.4"]
    greedy = ["evaluate", *PLAYED_ALIKE, f"num_games={episodes}", "policy.temperature=0"]
    at_once = f"runner.concurrency={episodes}"
    played = {}
    for name, model in (("adapter", models.adapter), ("merged", models.merged)):
        with served(model, vllm) as (served_name, address):
            asked = [at_once, "policy.name=server", f"policy.model={served_name}", f"policy.base_url={address}",
                     f"policy.timeout_s={REPLY_TIMEOUT_S}"]  # fmt: skip
            played[f"{name}, sampled"] = play(folder / f"{name}_sampled", *sampled, *asked)
            played[f"{name}, greedy"] = play(folder / f"{name}_greedy", *greedy, *asked)
    local = [*greedy, at_once, "policy.name=local"]
    played[OURS] = play(folder / "ours", *local, f"policy.model={models.adapter}")
    played[BASE] = play(folder / "base", *local, f"policy.model={models.base}", "env.max_steps=1")
    return played


@contextmanager
def served(model: Path, vllm: Path, *options: str) -> Iterator[tuple[str, str]]:
    """Serve a model for a block, and give the name that it has there, and the server's address."""
    words = shlex.join([str(vllm), *SERVER_OPTIONS, *options])
    server = ManagedServer(serve_command(words, str(model)), START_TIMEOUT_S)
    try:
        yield server.model, server.start()
    finally:
        server.stop()


def play(folder: Path, command: str, *words: str) -> Played:
    """Play a run of that name, and read its episodes back."""
    started = time.monotonic()
    run(command, "--output-dir", folder.parent, "--name", folder.name, *words)
    seconds = time.monotonic() - started
    lines = (folder / "episodes.jsonl").read_bytes().splitlines()
    return Played(sorted(map(from_line, lines), key=lambda episode: episode.index), seconds)


def compare(played: Mapping[str, Played]) -> dict[str, dict[str, float]]:
    """Compare the replies of runs that should be equal, and those of a model with its base's."""
    pairs = {
        "adapter and ours": ("adapter, greedy", OURS),
        "merged and ours": ("merged, greedy", OURS),
        "adapter and merged": ("adapter, greedy", "merged, greedy"),
        "adapter and merged, sampled": ("adapter, sampled", "merged, sampled"),
        "ours and its base": (OURS, BASE),
    }
    return {what: agreement(played[a].episodes, played[b].episodes) for what, (a, b) in pairs.items()}


def claims_hold(runs: Mapping[str, dict[str, Any]], pairs: Mapping[str, dict[str, float]]) -> bool:
    """Tell whether all runs kept their replies, and greedy replies agree with ours but not with the base's."""
    shares = {what: found["share_of_replies_equal"] for what, found in pairs.items()}
    alike = all(shares[what] >= CLAIMED_AGREEMENT for what in ("adapter and ours", "merged and ours"))
    return all(map(is_whole, runs.values())) and alike and shares["ours and its base"] < CLAIMED_AGREEMENT


def check(episodes: Sequence[Episode], tokenizer: Any) -> dict[str, Any]:
    """Count the replies, and of them those that are kept as they should be, claim by claim."""
    encoder = ChatEncoder(tokenizer)
    turns = [turn for episode in episodes for turn in turns_of(episode)]
    replies = [reply for _, reply in turns]
    claims: Counter[str] = Counter()
    for prompt, reply in turns:
        claims.update(kept(prompt, reply, encoder))
    return {
        "episodes": len(episodes),
        "won": sum(episode.success for episode in episodes),
        "failed": sum(episode.error is not None for episode in episodes),
        "replies": len(replies),
        "with_closing_tag": sum(reply.text.endswith(ACTION_CLOSE) for reply in replies),
        "prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
        "reply_tokens": sum(reply.reply_tokens or 0 for reply in replies),
        "replies_kept": dict(claims),
    }


def kept(prompt: Prompt, reply: Reply, encoder: ChatEncoder) -> dict[str, bool]:
    """Tell which claims hold for a reply. Its last token may say more than the closing tag, which ends the text."""
    prompt_ids, ids, logprobs = reply.prompt_token_ids or (), reply.token_ids or (), reply.logprobs or ()
    said = encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return {
        "ids say the text": end_reply(said, prompt.tags, stopped=False) == reply.text,
        "a log-probability for each id": bool(ids) and len(ids) == len(logprobs) and max(logprobs) <= 0,
        "prompt ids are those of training": list(prompt_ids) == encoder.encode_prompt(prompt.messages),
        "counts are those of the ids": (len(prompt_ids), len(ids)) == (reply.prompt_tokens, reply.reply_tokens),
    }


def is_whole(checked: dict[str, Any]) -> bool:
    """Tell whether a run kept every reply as claimed, and some had a closing tag to keep."""
    counts = {checked["replies"], *checked["replies_kept"].values()}
    return len(counts) == 1 and not checked["failed"] and checked["with_closing_tag"] > 0


def turns_of(episode: Episode) -> list[tuple[Prompt, Reply]]:
    """Return the prompts that an episode's replies answered, rendered anew from what is recorded."""
    prompts = prompts_of(episode, TEMPLATE, PROTOCOL.form, PROTOCOL.history_length)
    return [(prompt, step.reply) for prompt, step in zip(prompts, episode.steps, strict=True)]


def agreement(these: Sequence[Episode], those: Sequence[Episode]) -> dict[str, float]:
    """Compare two runs of the same games: of each pair of episodes the replies up to the first that differs.

    `largest_logprob_difference` is over the tokens of equal replies.
    """
    assert [episode.game_id for episode in these] == [episode.game_id for episode in those]
    ids, other_ids = ([[step.reply.token_ids for step in episode.steps] for episode in run] for run in (these, those))
    largest = 0.0
    for this, that, *both in zip(these, those, ids, other_ids, strict=True):
        for a, b in islice(zip(this.steps, that.steps, strict=False), equal_start(*both)):
            gaps = (abs(x - y) for x, y in zip(a.reply.logprobs or (), b.reply.logprobs or (), strict=True))
            largest = max(largest, *gaps)
    return {**share_equal(ids, other_ids), "largest_logprob_difference": round(largest, 6)}


def share_equal(these: Sequence[Sequence[object]], those: Sequence[Sequence[object]]) -> dict[str, float]:
    """Compare replies by episode up to the first that differs: after it the prompts differ, too."""
    compared = equal = alike = 0
    for ours, theirs in zip(these, those, strict=True):
        most, same = min(len(ours), len(theirs)), equal_start(ours, theirs)
        compared, equal, alike = compared + min(same + 1, most), equal + same, alike + (same == most)
    share = round(equal / max(compared, 1), 4)
    return {"replies_compared": compared, "share_of_replies_equal": share, "episodes_equal": alike}


def equal_start(these: Sequence[object], those: Sequence[object]) -> int:
    """Return how many members are equal before the first that differs."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(these, those, strict=False))))


def speed(run: Played) -> dict[str, float]:
    replies = [step.reply for episode in run.episodes for step in episode.steps]
    return {
        "seconds": round(run.seconds, 1),
        "requests_per_s": round(len(replies) / run.seconds, 1),
        "reply_tokens_per_s": round(sum(reply.reply_tokens or 0 for reply in replies) / run.seconds, 1),
        "prompt_tokens_per_s": round(sum(reply.prompt_tokens or 0 for reply in replies) / run.seconds, 1),
        "episodes_per_s": round(len(run.episodes) / run.seconds, 2),
    }


def version_of(vllm: Path) -> str:
    """Return the version of the vLLM that a command belongs to."""
    ask = "from importlib.metadata import version; print(version('vllm'))"
    return subprocess.check_output([vllm.with_name("python"), "-c", ask], text=True).strip()


if __name__ == "__main__":
    main()
