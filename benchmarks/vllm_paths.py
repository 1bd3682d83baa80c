"""Does `rl` play with each step's adapter at a real vLLM, and can every reply restricted there be played?

Tiny models learn on generated easy games by our own commands; a vLLM on the CPU, in an environment of its own, serves
them. Claims:

- rl: `alfworld-sft rl policy.name=server` plays each step with the adapter of that step: the log-probabilities of all
  replies, as the server reports them at a temperature of 0.7, are those of that step's checkpoint in our own process,
  and not those of the other steps' adapters; `policy_kl` is rounding.
- refused: a server without adapters, one with too small a rank, and one of another model each end `rl` with one line.
- constrain: with `policy.constrain=action` every reply can be played, for the whole reply of `compact` and for the tags
  of `default`, and 99 % or more are those of `policy.name=local` to equal prompts. `continued` counts replies that used
  up `policy.max_tokens` before their action, so that the server was asked a second time.

    scripts/make_vllm_env.sh
    python -m benchmarks.vllm_paths
    python -m benchmarks.vllm_paths --models DIR      # keep the models there, and take them from there the next time
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from alfworld_sft.errors import UserError
from alfworld_sft.models.merge import load_whole
from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.rollout import Group, Rollout
from alfworld_sft.rl.run import reinforce
from alfworld_sft.types import Episode, Reply
from benchmarks._result import versions_of, write_result
from benchmarks.learn import steps_of
from benchmarks.vllm_cpu import SERVER_OPTIONS, parser_of, play, prepare, run, served, share_equal, version_of

EASY = ("games.difficulty=easy", "games.task_types=[pick_and_place_simple,look_at_obj_in_light]")
STEPS, RANK, TEMPERATURE = 3, 16, 0.7
CLAIMED_DIFFERENCE, CLAIMED_AGREEMENT = 1e-4, 0.99
MODELS = {"compact": ("word", 1500, 4), "default": ("bpe", 400, 3)}
"""The tokenizer, episodes and epochs of each template's model."""
MAX_TOKENS = {"compact": 24, "default": 160}


def main() -> None:
    """Train, play, check, print and write the result; exits with 1 where a claim does not hold."""
    parser = parser_of(__doc__)
    parser.add_argument("--games", type=int, default=12, help="games of each restricted run, all at once")
    options = parser.parse_args()
    prepare(options.vllm, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {template: make_model(options.models or folder / "models", template) for template in MODELS}
        result = measure(models, options.vllm, options.games, folder)
    print(json.dumps(result, indent=2))
    write_result("vllm_paths", result)
    sys.exit(not result["claims_hold"])


def make_model(folder: Path, template: str) -> Path:
    """Return the model of a template in a folder; it is made there where it is not."""
    folder = folder.absolute() / template
    tokenizer, episodes, epochs = MODELS[template]
    final = folder / "sft/final"
    if not final.is_dir():
        run("collect", "--output-dir", folder, "--name", "data", "games.source=generate", *EASY, "policy.noise=0.15",
            f"prompt.template={template}", "prompt.form=multi", f"num_episodes={episodes}", "seed=1",
            "dataset.rows_per=episode", "dataset.require_success=true", "dataset.val_fraction=0")  # fmt: skip
        run("tiny-model", folder / "random", "--corpus", folder / "data", "--model-type", "qwen3", "--width", 96,
            "--layers", 3, "--head-dim", 32, "--tokenizer", tokenizer)  # fmt: skip
        run("train", f"data.train_files={folder / 'data'}", f"model.path={folder / 'random'}", "model.lora_rank=0",
            f"trainer.default_local_dir={folder / 'sft'}", f"trainer.total_epochs={epochs}", "trainer.save_freq=0",
            "data.multiturn.enable=true", "data.train_batch_size=16", "optim.name=muon", "optim.lr=5e-3",
            "worldmodel.observation_loss=0.3", "trainer.device=cpu", "trainer.logger=console")  # fmt: skip
    return final


def measure(models: Mapping[str, Path], vllm: Path, games: int, folder: Path) -> dict[str, Any]:
    """Serve the models one after the other, play, and return what came out."""
    compact = models["compact"]
    lora = ("--enable-lora", "--max-lora-rank", "32", "--logprobs-mode", "processed_logprobs")
    with served(compact, vllm, *lora) as (_, address):
        learned = learn(compact, address, folder / "rl")
        refused = {
            "rank above the server's": refusal(compact, address, folder / "rank", "model.lora_rank=64"),
            "another model": refusal(compact.parents[1] / "random", address, folder / "other", "rl.min_valid_share=0"),
        }
    constrained = {}
    for template, model in models.items():
        with served(model, vllm) as (name, address):
            at_server = [f"policy.model={name}", f"policy.base_url={address}", "policy.truncated=keep"]
            constrained[template] = constrain(template, model, at_server, games, folder)
            if template == "compact":
                refused["a server without adapters"] = refusal(model, address, folder / "plain")
    holds = (
        learned["largest_difference"] <= CLAIMED_DIFFERENCE < learned["smallest_to_another_steps_adapter"]
        and all(refused.values())
        and all(found["unplayable"] == 0 < found["replies"] for found in constrained.values())
        and all(found["share_of_replies_equal"] >= CLAIMED_AGREEMENT for found in constrained.values())
    )
    return {
        "options": {"server": " ".join(SERVER_OPTIONS), "rl_server": " ".join(lora), "rl_steps": STEPS,
                    "lora_rank": RANK, "temperature": TEMPERATURE, "constrained_games": games},
        "claims_hold": holds,
        "rl": learned,
        "refused": refused,
        "constrain": constrained,
        "versions": {"vllm": version_of(vllm), **versions_of("torch", "transformers", "peft")},
    }  # fmt: skip


def learn(model: Path, address: str, out: Path) -> dict[str, Any]:
    """Run `rl` at the server, and compare each step's replies with the adapters of all steps in this process."""
    played: list[list[Episode]] = []
    play = Rollout.play

    def play_and_keep(self: Rollout, *args: Any) -> list[Group]:
        groups = play(self, *args)
        played.append([episode for group in groups for episode in group.episodes])
        return groups

    with patch.object(Rollout, "play", play_and_keep):
        reinforce(build_rl_config(rl_words(model, address, out)))
    metrics = steps_of(out)
    adapters = [model, *(out / f"global_step_{step}" for step in range(1, STEPS))]
    replies = [[step.reply for episode in episodes for step in episode.steps] for episodes in played]
    apart = [[difference(step, adapter) for adapter in adapters] for step in replies]
    own = [apart[step][step] for step in range(STEPS)]
    others = [value for step, row in enumerate(apart) for other, value in enumerate(row) if other != step]
    return {
        "success": [line["success"] for line in metrics],
        "policy_kl": [line["policy_kl"] for line in metrics if "policy_kl" in line],  # a step may have learned nothing
        "replies": [len(step) for step in replies],
        "reply_tokens": [sum(len(reply.token_ids or ()) for reply in step) for step in replies],
        "largest_difference": max(own),
        "smallest_to_another_steps_adapter": min(others),
        "largest_difference_of_steps_by_adapters": apart,
    }


def rl_words(model: Path, address: str, out: Path, *more: str) -> list[str]:
    """Return the options of a short run of `rl`."""
    return [
        f"model.path={model}", f"trainer.default_local_dir={out}", *EASY, "prompt.template=compact",
        "policy.name=server", f"policy.base_url={address}", f"policy.temperature={TEMPERATURE}",
        f"policy.max_tokens={MAX_TOKENS['compact']}", f"model.lora_rank={RANK}", "optim.lr=1e-3",
        "rl.games_per_step=4", "rl.num_generations=4", "env.max_steps=12", f"trainer.total_training_steps={STEPS}",
        "trainer.save_freq=1", "trainer.device=cpu", "trainer.logger=[]", *more,
    ]  # fmt: skip


@torch.inference_mode()
def difference(replies: Sequence[Reply], adapter: Path) -> float:
    """Return the largest difference of replies' log-probabilities from those of a model or an adapter's folder."""
    model = load_whole(str(adapter))[0].eval()
    largest = 0.0
    for reply in replies:
        prompt, said = list(reply.prompt_token_ids or ()), list(reply.token_ids or ())
        logits = model(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
        own = logits.log_softmax(-1)[range(len(said)), said]
        largest = max(largest, float((own - torch.tensor(reply.logprobs)).abs().max()))
    return round(largest, 7)


def refusal(model: Path, address: str, out: Path, *more: str) -> str | None:
    """Return the one line with which `rl` ends, without the address and the server's own words; None: it did not."""
    try:
        reinforce(build_rl_config(rl_words(model, address, out, *more)))
    except UserError as error:
        text = str(error).replace(address, "ADDRESS")
        return None if "\n" in text else re.sub(r"(\d{3}): .*?\)(?=;)", r"\1: …)", text)
    return None


def constrain(template: str, model: Path, at_server: Sequence[str], games: int, folder: Path) -> dict[str, Any]:
    """Play restricted, at the server and in our own process, and compare."""
    limit = MAX_TOKENS[template]
    asked = [
        "evaluate", "games.source=embedded", f"num_games={games}", f"runner.concurrency={games}",
        f"prompt.template={template}", "prompt.form=multi", "env.max_steps=8", "policy.temperature=0",
        f"policy.max_tokens={limit}", "policy.constrain=action",
    ]  # fmt: skip
    server = play(folder / f"server_{template}", *asked, "policy.name=server", *at_server).episodes
    local = play(folder / f"local_{template}", *asked, "policy.name=local", f"policy.model={model}").episodes
    return {
        "replies": sum(len(episode.steps) for episode in server),
        "continued": sum((step.reply.reply_tokens or 0) > limit for episode in server for step in episode.steps),
        "unplayable": unplayable(server),
        "unplayable_in_our_process": unplayable(local),
        **share_equal(texts(server), texts(local)),
    }


def unplayable(episodes: Sequence[Episode]) -> int:
    return sum(step.problem is not None for episode in episodes for step in episode.steps)


def texts(episodes: Sequence[Episode]) -> list[list[str]]:
    return [[step.reply.text for step in episode.steps] for episode in episodes]


if __name__ == "__main__":
    main()
