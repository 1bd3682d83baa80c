"""Who plays a step's episodes? The model in training, in this process or at a server that loads its adapter."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from alfworld_sft.errors import UserError
from alfworld_sft.files import remove_folder
from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.llm.adapters import AdapterServer
from alfworld_sft.policies.llm.local import LocalModel, playing_dtype
from alfworld_sft.policies.llm.open_files import allow_connections
from alfworld_sft.policies.llm.retry import Patience
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.rl.config import RLConfig, SampledPolicySection
from alfworld_sft.train.checkpoint import write_adapter
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.play import playable_copy

SERVED = "served"
"""Folder of the adapters that a server is to load, inside the run's folder; it may hold what others put there."""
_NAMES = "alfworld-sft-{run}-step-{step}"


class StepPlayers(Protocol):
    """Gives the policy of each step; its replies carry token ids and log-probabilities at the sampling temperature."""

    def at(self, step: int, model: Any) -> AbstractContextManager[Policy]:
        """Return the block in which a policy plays with the model's present weights; every process enters it."""
        ...


def make_players(config: RLConfig, tokenizer: Any, ranks: Ranks) -> StepPlayers:
    """Return what plays, as configured."""
    if config.policy.name == "server":
        return ServedPlayers(config.policy, tokenizer, config.local_dir / SERVED, ranks)
    return LocalPlayers(config.policy, tokenizer)


class LocalPlayers:
    """Plays with a copy of the weights in this process (adapters merged), made anew for each step."""

    def __init__(self, options: SampledPolicySection, tokenizer: Any) -> None:
        self._options, self._tokenizer = options, tokenizer

    @contextmanager
    def at(self, step: int, model: Any) -> Iterator[Policy]:
        """Yield a policy that holds the model's present weights."""
        options = self._options
        device = next(model.parameters()).device
        policy = LocalModel(
            playable_copy(model, playing_dtype(options.dtype, device)),
            self._tokenizer,
            "the model in training",
            sampling_of(options),
            max_batch=options.max_batch,
            keep_token_ids=True,
            tempered_logprobs=True,
        )
        with closing(policy):
            yield policy


class ServedPlayers:
    """Plays at a vLLM server of the starting model, which loads the adapter of each step under a name of its own.

    No other run, nor this one before it was resumed, has used the name. vLLM refuses a name twice, and its prefix cache
    would answer from what an earlier adapter of the same name and path had computed.
    """

    def __init__(self, options: SampledPolicySection, tokenizer: Any, folder: Path, ranks: Ranks) -> None:
        self._options, self._tokenizer, self._folder, self._ranks = options, tokenizer, folder, ranks
        self._run = ranks.share(secrets.token_hex(4))
        allow_connections(options.max_batch, "policy.max_batch")

    @contextmanager
    def at(self, step: int, model: Any) -> Iterator[Policy]:
        """Yield a policy whose server has loaded the model's present adapter. Raises UserError if it does not."""
        options = self._options
        policy = AdapterServer(
            _NAMES.format(run=self._run, step=step),
            options.base_url,
            sampling_of(options),
            Patience(options.timeout_s, options.attempts),
            truncated="keep",
            keep_token_ids=True,
        )
        folder = self._folder / policy.model
        if self._ranks.first:
            self._remove_adapters()  # a killed run has left one
        try:
            write_adapter(folder, model, self._tokenizer, self._ranks)
            self._let_first(lambda: policy.load(folder))
            yield policy
        finally:
            if self._ranks.first:
                self._remove_adapters()
        self._let_first(policy.unload)

    def _remove_adapters(self) -> None:
        """Delete this run's adapters, and the folder if nothing else is in it."""
        for adapter in self._folder.glob(_NAMES.format(run="*", step="*")):
            remove_folder(adapter)
        with suppress(OSError):
            self._folder.rmdir()

    def _let_first(self, act: Callable[[], None]) -> None:
        """Let the first process act; raise its UserError in every process."""
        problem: UserError | None = None
        if self._ranks.first:
            try:
                act()
            except UserError as error:
                problem = error
        problem = self._ranks.share(problem)
        if problem:
            raise problem


def sampling_of(options: SampledPolicySection) -> Sampling:
    """Return how replies are sampled."""
    return Sampling(options.temperature, options.top_p, options.max_tokens)
