"""How does TRL's GRPOTrainer play our games? A rollout function with our tags, and an environment with a tool.

    games = Games(split="train", max_steps=30)
    GRPOTrainer(model, success_reward, args, games.dataset(64), rollout_func=games.rollout)
    GRPOTrainer(model, args=args, train_dataset=games.tool_dataset(64), environment_factory=games.environment)

Written for TRL 1.16, where both are experimental. A rollout function sees nothing of a row but its prompt, so a message
of the prompt names the game: `game` is its number or id, `split` its split.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import datasets
from trl.models import unwrap_model_for_generation

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.pool import STREAM_NUMBERS, GamePool, shared_pool
from alfworld_sft.integrations.trl_rewards import progress_of, progress_reward, success_reward
from alfworld_sft.integrations.trl_tool import AlfworldTool
from alfworld_sft.policies.llm.growing import GrowingModel, join_turns
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import MAX_STEPS, Episode, TaskType
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look

__all__ = ["TOOL_PROMPT", "Games", "first_messages", "progress_of", "progress_reward", "success_reward"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

TOOL_PROMPT = "Play a household game to its end. Call the tool `act` once for every step, with one of the commands.\n\n"
"""What a prompt of `Games.tool_dataset` says before the game's own text."""
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "use_vllm": (False,),
    "top_k": (0, None),
    "min_p": (None, 0.0),
    "repetition_penalty": (1.0,),
    "generation_kwargs": (None, {}),
    "chat_template_kwargs": (None, {}),
}
"""Options of GRPOConfig that a rollout does not follow, with the values that change nothing."""


class Games:
    """The games of a source, for one trainer.

    `source`, `task_types` and `games_seed` say which games there are, see `GamePool`; `split` is that of the datasets,
    which may have another. `template` words the prompts of rollouts; a reply has at most `max_tokens` tokens, and
    `max_batch` games are played at once. Raises UserError where there are no such games, and for a template that cannot
    be used.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        split: str = "train",
        task_types: Sequence[TaskType] | None = None,
        games_seed: int = 0,
        *,
        template: str = "default",
        max_steps: int = MAX_STEPS,
        max_tokens: int = 512,
        max_batch: int = 64,
    ) -> None:
        for name, number in {"max_steps": max_steps, "max_tokens": max_tokens, "max_batch": max_batch}.items():
            if number < 1:
                raise UserError(f"{name} must be at least 1, not {number}")
        self._source, self._task_types, self._games_seed = source, task_types, games_seed
        self._split = split
        self._template = load_template(template)
        self._protocol = Protocol(max_steps, "multi")
        self._max_tokens = max_tokens
        self._max_batch = max_batch
        self._rollouts = 0
        self._pool(split)

    def dataset(self, num_games: int | None = None, *, split: str | None = None, seed: int = 0) -> datasets.Dataset:
        """Return a row for each of `num_games` games in random order, by default for all, with its first prompt."""
        return self._rows(num_games, split, seed, lambda game: first_messages(game, self._template))

    def tool_dataset(
        self, num_games: int | None = None, *, split: str | None = None, seed: int = 0
    ) -> datasets.Dataset:
        """Return the same rows for `environment`, which appends the game's own text to the prompt."""
        return self._rows(num_games, split, seed, lambda game: [{"role": "user", "content": TOOL_PROMPT}])

    def rollout(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        """Play the games that the prompts name, each once, with the model in training: TRL's `rollout_func`.

        The trainer repeats a row's prompt for each of its generations. Each has its own seed, which depends on
        `args.seed`, the step and the process.

        `env_mask` is 1 exactly where the model sampled a token. For reward functions there are `won`, `steps`,
        `progress` (see `progress_of`) and `invalid_replies`, the number of replies without an admissible command. An
        episode without room for another reply in `max_completion_length` or the model's context ends there as lost.

        Raises UserError for options that would have no effect, and where there is no room for a first reply.
        """
        self._check_options(trainer)
        games = [self._game_of(prompt) for prompt in prompts]
        args = trainer.args
        room: int | None = args.max_completion_length
        self._rollouts += 1
        place = (args.seed, trainer.state.global_step, self._rollouts, trainer.accelerator.process_index)
        with _playable(trainer) as model:
            tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
            sampling = Sampling(args.temperature, args.top_p, self._max_tokens)
            player = LocalModel(
                model, tokenizer, "the model in training", sampling,
                max_batch=self._max_batch, keep_token_ids=True, tempered_logprobs=True,
            )  # fmt: skip
            with closing(player):
                policy = GrowingModel(player, self._max_tokens, room and room - 1)  # one for the end token
                episodes = _run(self._play(policy, games, [derive_seed(*place, n) for n in range(len(games))]))
            _report_cut(episodes)
            return _output(episodes, games, player.encoder.end_id)

    def environment(self) -> AlfworldTool:
        """Return a new environment for these games: TRL's `environment_factory`."""
        return AlfworldTool(self._game_of, self._protocol.max_steps)

    async def _play(self, policy: GrowingModel, games: Sequence[Game], seeds: Sequence[int]) -> list[Episode]:
        played = (
            run_episode(game, policy, self._template, self._protocol, index=index, seed=seed)
            for index, (game, seed) in enumerate(zip(games, seeds, strict=True))
        )
        return await asyncio.gather(*played)

    def _pool(self, split: str) -> GamePool:
        return shared_pool(self._source, split, self._task_types, self._games_seed)

    def _rows(
        self,
        num_games: int | None,
        split: str | None,
        seed: int,
        messages_of: Callable[[Game], list[dict[str, str]]],
    ) -> datasets.Dataset:
        split = split or self._split
        pool = self._pool(split)
        total = pool.total if num_games is None else num_games
        if total is None:
            raise UserError("generated games have no end; say how many with num_games")
        if total < 1 or (pool.total is not None and total > pool.total):
            raise UserError(f"num_games={num_games}: there are {pool.total or 'endless'} games of {pool.description}")
        numbers = random.Random(seed).sample(range(pool.total or STREAM_NUMBERS), total)
        rows = []
        for number in numbers:
            game = pool.load(number)
            *before, last = messages_of(game)
            named = {**last, "game": number if pool.total is None else game.id, "split": split}
            rows.append({"prompt": [*before, named], "task_type": game.task_type})
        return datasets.Dataset.from_list(rows)

    def _game_of(self, prompt: Any) -> Game:
        """Return the game that a prompt names."""
        last = prompt[-1] if isinstance(prompt, list) and prompt else None
        if not isinstance(last, Mapping) or last.get("game") is None:
            raise UserError("a prompt's last message names no game; make the dataset with Games.dataset")
        return self._pool(last.get("split") or self._split).load(last["game"])

    def _check_options(self, trainer: Any) -> None:
        args = trainer.args
        for name, neutral in _UNSUPPORTED.items():
            if getattr(args, name) not in neutral:
                raise UserError(f"{name}={getattr(args, name)!r} has no effect on Games.rollout; leave it out")
        if trainer.is_fsdp_enabled:
            raise UserError("Games.rollout cannot play with a model that FSDP has sharded; use DDP")
        room: int | None = args.max_completion_length
        if room is not None and self._max_tokens >= room:
            raise UserError(
                f"max_completion_length={room} must hold a complete episode, and here not even"
                f" one reply of max_tokens={self._max_tokens}; raise it in GRPOConfig, or lower max_tokens"
            )


def first_messages(game: Game, template: Template) -> list[dict[str, str]]:
    """Return what a model is asked first."""
    transcript = Transcript(template, game, "multi")
    asked = transcript.prompt(opening_look(game), Env(game).reset().admissible_commands)
    return [{"role": message.role, "content": message.content} for message in asked.messages]


def _output(episodes: Sequence[Episode], games: Sequence[Game], end_id: int | None) -> dict[str, list[Any]]:
    """Return the episodes as TRL wants them; one that was cut lacks the token that ends a conversation."""
    for episode in episodes:
        if not episode.steps:
            raise UserError(f"{episode.game_id} cannot be played: {episode.error}")
    joined = [join_turns([step.reply for step in e.steps], None if e.error else end_id) for e in episodes]
    return {
        "prompt_ids": [tokens.prompt_ids for tokens in joined],
        "completion_ids": [tokens.completion_ids for tokens in joined],
        "logprobs": [tokens.logprobs for tokens in joined],
        "env_mask": [tokens.sampled for tokens in joined],
        "won": [episode.success for episode in episodes],
        "steps": [len(episode.steps) for episode in episodes],
        "progress": [
            progress_of(game, [step.command for step in episode.steps])
            for game, episode in zip(games, episodes, strict=True)
        ],
        "invalid_replies": [sum(step.problem is not None for step in episode.steps) for episode in episodes],
    }


def _report_cut(episodes: Sequence[Episode]) -> None:
    errors = [episode.error for episode in episodes if episode.error]
    if errors:
        logger.warning("%d of %d episodes were cut and count as lost: %s", len(errors), len(episodes), errors[0])


@contextmanager
def _playable(trainer: Any) -> Iterator[Any]:
    """Give the model in training without its wrappers, in evaluation mode for the length of the block."""
    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    ) as model:
        trained = [module for module in model.modules() if module.training]
        model.eval()
        try:
            yield model
        finally:
            for module in trained:
                module.training = True


def _run(played: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also in a notebook, where this thread has a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(played)
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, played).result()
