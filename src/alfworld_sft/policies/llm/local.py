"""How is a language model played in this process? A Hugging Face model, or a checkpoint of ours (adapter or merged).

Every episode asks when it is ready. Waiting turns are answered together, as one batch, in a separate thread; a reply is
returned to its episode as soon as it ends, while the rest of the batch continues.

A turn reads only the tokens that are new since its episode's last turn: the model keeps the keys and values of up to
`max_batch` episodes, each until it ends, so they take no more memory than those of a full batch. Other episodes, and
models with a cache that cannot be cut, read every prompt from its start. A batch is padded (`padded_batch`), or for
large models on a CPU packed (`packed_batch`).

All randomness is the turn's own: token n uses the n-th number of a generator seeded by the prompt, and that number
picks from the model's distribution. So a reply depends neither on the device's generator nor on the rest of the batch,
except for rounding of the logits: with other turns in the batch, about one token in a million may differ in float32,
more in bfloat16.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from alfworld_sft.errors import ConfigError, PolicyError, UserError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import cast_weights, context_of, load_tokenizer
from alfworld_sft.models.merge import load_whole
from alfworld_sft.models.products import products_of
from alfworld_sft.models.reference import unusable_path
from alfworld_sft.models.stopping import end_ids_of
from alfworld_sft.policies.base import Player, short_name
from alfworld_sft.policies.llm.constrain import Spelling
from alfworld_sft.policies.llm.packed_batch import Kept, PackedBatch, may_be_packed
from alfworld_sft.policies.llm.padded_batch import PaddedBatch, Past, may_be_kept, of_like_length
from alfworld_sft.policies.llm.picking import pick_tokens, restrict
from alfworld_sft.policies.llm.reply_reader import ReplyReader
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.llm.structured import room_for_action
from alfworld_sft.policies.llm.turn import Turn
from alfworld_sft.types import DType, Prompt, Reply
from alfworld_sft.world import Game

GATHER_S = 0.002
"""How long a batch waits for episodes that are about to ask."""


class LocalModel:
    """A policy that computes its replies in this process.

    A reply ends with its closing tag or the model's end of turn. One that reaches `max_tokens` is kept as it is, since
    the same seed would produce it again. With `constrain`, its action is one of the admissible commands (`constrain`).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        sampling: Sampling | None = None,
        *,
        max_batch: int = 64,
        keep_token_ids: bool = False,
        tempered_logprobs: bool = False,
        constrain: bool = False,
    ) -> None:
        """Play a transformers model in evaluation mode, on its own device and in its own dtype.

        Log-probabilities are those of the model, or with `tempered_logprobs` those at the temperature of sampling.
        """
        self._model = model
        self._device, self._dtype = model.device, model.dtype
        self._encoder = ChatEncoder(tokenizer)
        self._context = context_of(model.config)
        ends = (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id)
        end_ids = frozenset(end_ids_of(self._encoder.end_id, *ends))  # a model's configs may disagree
        self._reader = ReplyReader(self._encoder, end_ids)
        self._sampling = sampling or Sampling()
        self._temperature, self._top_p = _numbers_of(self._sampling)
        self._max_batch = max_batch
        self._keep_token_ids = keep_token_ids
        self._logprob_temperature = (self._temperature or 1.0) if tempered_logprobs else 1.0
        text_config = model.config.get_text_config(decoder=True)
        self._spelling = Spelling(self._encoder, end_ids, text_config.vocab_size) if constrain else None
        self._last = torch.tensor([-1], device=model.device)  # as an index, which copies: see `_forward`
        self._width = text_config.hidden_size
        self._name = f"local:{name}"
        self._thread = ThreadPoolExecutor(1, "local-model")
        self._waiting: list[Turn] = []
        self._answering: asyncio.Task[None] | None = None
        self._keeps_pasts = may_be_kept(model)
        self._packed = may_be_packed(model)
        self._nothing: Callable[[], Past | Kept] = Kept if self._packed else Past
        self._pasts: WeakKeyDictionary[object, Past | Kept] = WeakKeyDictionary()  # filled only in the thread

    @classmethod
    def load(
        cls,
        model: str,
        sampling: Sampling | None = None,
        *,
        dtype: DType = "auto",
        max_batch: int = 64,
        keep_token_ids: bool = False,
        constrain: bool = False,
        device: str | None = None,
    ) -> LocalModel:
        """Load a hub name, a model's folder or a checkpoint, by default onto the first GPU, else the CPU.

        Raises UserError if it cannot be loaded.
        """
        _numbers_of(sampling or Sampling())
        if reason := unusable_path(model):
            raise UserError(f"policy.model={model}: {reason}")
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        whole = cast_weights(load_whole(model)[0], playing_dtype(dtype, place)).to(place).eval()
        tokenizer = load_tokenizer(model)
        return cls(
            whole, tokenizer, short_name(model), sampling,
            max_batch=max_batch, keep_token_ids=keep_token_ids, constrain=constrain,
        )  # fmt: skip

    @property
    def encoder(self) -> ChatEncoder:
        """What makes token ids of its prompts."""
        return self._encoder

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return self._name

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling parameters, for the stamp; each turn has its own seed."""
        return self._sampling.as_dict() | {"truncated": "keep", "dtype": str(self._dtype).removeprefix("torch.")}

    def close(self) -> None:
        """End the computing thread: while it lives, its torch threads slow down those of other threads."""
        self._thread.shutdown()

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of an episode."""
        return LocalPlayer(self)

    async def answer(self, prompt: Prompt, player: LocalPlayer, ids: list[int] | None = None) -> Reply:
        """Wait for the reply; `ids` are the prompt's tokens, by default those of its messages.

        Raises PolicyError for a prompt that fills the model's context or the memory.
        """
        loop = asyncio.get_running_loop()
        if ids is None:
            ids = self._encoder.encode_prompt(prompt.messages)
        for_action = room_for_action(prompt) if self._spelling else 0
        room = min(self._sampling.max_tokens, self._context - len(ids) - for_action)
        if room <= 0:
            kept = f", of which policy.constrain keeps {for_action} for the action" if for_action else ""
            raise PolicyError(f"the prompt has {len(ids)} tokens, and the model's context {self._context}{kept}")
        turn = Turn(player, prompt, ids, room, loop.create_future(), self._spelling)
        if self._answering is None or self._answering.done() or self._answering.get_loop() is not loop:
            self._waiting = []
            self._answering = loop.create_task(self._answer_all())
        self._waiting.append(turn)
        return await turn.answer

    async def _answer_all(self) -> None:
        """Answer waiting turns, batch after batch, until none is left."""
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        batch: list[Turn] = []
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                batch = [turn for turn in batch if not turn.answer.done()]  # some may have been cancelled
                if batch:
                    await loop.run_in_executor(self._thread, partial(self._answer, batch, stopped))
        finally:
            stopped.set()  # on Ctrl-C the thread ends after its current token
            batch = []  # a cancelled task's traceback would keep the episodes alive

    def _answer(self, batch: list[Turn], stopped: threading.Event) -> None:
        """Answer a batch, in the thread; errors are passed to the waiting callers."""
        try:
            with torch.inference_mode():
                self._decode(batch, stopped)
            return
        except torch.OutOfMemoryError:
            pass  # continue out here, where the exception no longer keeps the memory alive
        except BaseException as error:  # a bug: pass it to the episodes, or they would wait forever
            for turn in batch:
                turn.settle(error)
            return
        crowded = any(past.ids for past in self._pasts.values())
        self._pasts.clear()
        torch.cuda.empty_cache()
        if len(batch) == 1 and not crowded:
            lack = PolicyError(f"the device's memory does not suffice for a prompt of {len(batch[0].ids)} tokens")
            batch[0].settle(lack)
            return
        for turn in batch:
            turn.begin()
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            if part:
                self._answer(part, stopped)

    def _decode(self, turns: list[Turn], stopped: threading.Event) -> None:
        """Generate the replies of a batch token by token; a turn leaves the batch when it ends.

        The tokens that one turn was forced to say are read in one pass, beside the last ones of the others.
        """
        pasts = [self._take_past(turn) for turn in turns]
        batch = self._batch_of(pasts, turns)
        unread = [turn.ids[len(past.ids) :] for past, turn in zip(pasts, turns, strict=True)]
        del pasts  # a padded batch has copied them
        while not stopped.is_set():
            with products_of(self._width, self._device):
                logits = batch.read(unread)
            if isinstance(batch, PaddedBatch) and not batch.is_plain:
                self._keeps_pasts = False
            for turn, new in zip(turns, unread, strict=True):
                turn.read = min(turn.read + len(new), len(turn.said))
            self._pick(logits, turns)
            staying = [row for row, turn in enumerate(turns) if not self._reader.has_ended(turn)]
            for row in set(range(len(turns))) - set(staying):
                turns[row].settle(self._reader.read(turns[row], keep_token_ids=self._keep_token_ids))
                self._keep_past(turns[row], batch, row)
            if not staying:
                return
            if len(staying) < len(turns):
                batch.keep(staying)
                turns = [turns[row] for row in staying]
            most = None if self._keeps_pasts else 1  # other caches take no padding within a row
            unread = [turn.said[turn.read :][:most] for turn in turns]

    def _batch_of(self, pasts: list[Any], turns: Sequence[Turn]) -> PaddedBatch | PackedBatch:
        """Begin a batch with a Past or Kept of each turn.

        If it is padded, prompts much longer than the others are first read by themselves, but for their last token.
        """
        if self._packed:
            return PackedBatch(self._model, pasts)
        *long, _ = of_like_length([len(turn.ids) - len(past.ids) for turn, past in zip(turns, pasts, strict=True)])
        for rows in long if self._keeps_pasts else ():
            batch = PaddedBatch(self._forward, [pasts[row] for row in rows], self._device)
            with products_of(self._width, self._device):
                batch.read([turns[row].ids[len(pasts[row].ids) : -1] for row in rows])
            if batch.is_plain:
                for place, row in enumerate(rows):
                    pasts[row] = batch.past(place, turns[row].ids[:-1])
        return PaddedBatch(self._forward, pasts, self._device)

    def _forward(self, feed: Tensor, positions: Tensor, mask: Tensor, cache: Any) -> Any:
        """Return the model's output for new tokens, with logits for the last one only.

        A slice of the hidden states instead of a copy would make oneDNN multiply one row at a time (measured: 6.5 s for
        32 rows and 49,152 words of vocabulary, and 0.02 s for the copy).
        """
        return self._model(
            input_ids=feed, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=self._last,
        )  # fmt: skip

    def _take_past(self, turn: Turn) -> Past | Kept:
        """Return the cached past of a prompt. An episode's first turn reserves a slot if one is free."""
        past = self._pasts.get(turn.player) or self._nothing()
        if turn.player in self._pasts or (self._keeps_pasts and len(self._pasts) < self._max_batch):
            self._pasts[turn.player] = self._nothing()  # frees the memory for the batch; the episode keeps its slot
        return past.shared_with(turn.ids)

    def _keep_past(self, turn: Turn, batch: PaddedBatch | PackedBatch, row: int) -> None:
        """Keep the cache of a finished turn for the episode's next one; its last tokens were never read."""
        if self._keeps_pasts and turn.player in self._pasts:
            self._pasts[turn.player] = batch.past(row, turn.ids + turn.said[: turn.read])

    def _pick(self, logits: Tensor, turns: Sequence[Turn]) -> None:
        """Choose the next tokens of each turn that has read its last ones, from logits (batch, vocabulary)."""
        choices = [turn.choice() for turn in turns]
        rows = [row for row, choice in enumerate(choices) if choice is not None]
        if not rows:
            return
        if len(rows) < len(turns):
            logits, turns = logits[rows], [turns[row] for row in rows]
        logits = restrict(logits, [choice for choice in choices if choice is not None])
        if self._temperature == 0:
            tokens = logits.argmax(-1)
        else:
            draws = torch.tensor([turn.draws.random() for turn in turns], dtype=torch.float64, device=logits.device)
            tokens = pick_tokens(logits, draws, self._temperature, self._top_p)
        logprobs = [0.0] * len(turns)
        if self._keep_token_ids:
            tempered = (logits.float() / self._logprob_temperature).log_softmax(-1)
            logprobs = tempered.gather(1, tokens[:, None])[:, 0].tolist()
        for turn, token, logprob in zip(turns, tokens.tolist(), logprobs, strict=True):
            turn.say(token, logprob)


class LocalPlayer:
    """The player of one episode; the model keeps the episode's cache for as long as the player lives."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model

    async def act(self, prompt: Prompt, ids: list[int] | None = None) -> Reply:
        """Wait for the reply, see `LocalModel.answer`; raises PolicyError if there can be none."""
        return await self._model.answer(prompt, self, ids)


def _numbers_of(sampling: Sampling) -> tuple[float, float]:
    """Return temperature and top_p; raises ConfigError if they are left to a server, since there is none."""
    if sampling.temperature is None or sampling.top_p is None:
        names = " and ".join(f"policy.{name}=null" for name in sorted(sampling.left_out))
        raise ConfigError(f"{names}: a model in this process has no server to decide; give a number")
    return sampling.temperature, sampling.top_p


def playing_dtype(name: DType, device: torch.device) -> torch.dtype:
    """Return the dtype that a model plays in; auto: bfloat16 on a GPU, float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
