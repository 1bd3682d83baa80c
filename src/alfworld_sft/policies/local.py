"""Plays a language model in this process: a Hugging Face model, or a checkpoint of ours (adapter or merged).

Every episode asks when it is ready. The turns that wait are answered together, as one left-padded batch, in a thread
of their own; a reply goes back to its episode as soon as it ends, whatever the others of its batch still say.

All chance is the turn's own: token n takes the n-th number of a generator seeded by the prompt, and the number picks
from the model's distribution. So a reply depends neither on the device's generator nor on who shares its batch, but
for the rounding of the logits: in float32 about one token in a million may differ where other turns share the batch,
in bfloat16 more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from alfworld_sft.chat import ChatEncoder
from alfworld_sft.errors import PolicyError, UserError
from alfworld_sft.policies.base import Player
from alfworld_sft.policies.sampling import Sampling, end_reply, stop_of
from alfworld_sft.train.inputs import is_path
from alfworld_sft.train.merge import load_whole
from alfworld_sft.train.model import load_tokenizer
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game

DType = Literal["auto", "float32", "bfloat16", "float16"]

GATHER_S = 0.002
"""How long a batch waits for episodes that are about to ask."""
_TAIL = 16  # tokens that hold any stop string: its characters are no more


@dataclass(eq=False)
class _Turn:
    """A prompt under way: what it is in tokens, what has been said so far, and who waits for the reply."""

    prompt: Prompt
    ids: list[int]
    room: int  # tokens that the reply may have
    answer: asyncio.Future[Reply]
    draws: Random
    said: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class LocalModel:
    """A policy that computes its replies here, on the first GPU or on the CPU.

    A reply ends with its closing tag, or with the model's end of turn; one that reaches `max_tokens` is kept as it is,
    since the same seed would say the same again. Raises UserError where the model cannot be had.
    """

    def __init__(
        self,
        model: str,
        sampling: Sampling | None = None,
        *,
        dtype: DType = "auto",
        max_batch: int = 64,
        keep_token_ids: bool = False,
        device: str | None = None,
    ) -> None:
        if is_path(model) and not Path(model).is_dir():
            raise UserError(f"policy.model={model}: there is no such folder")
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = _dtype(dtype, self._device)
        self._tokenizer = load_tokenizer(model)
        self._encoder = ChatEncoder(self._tokenizer)
        self._model = load_whole(model)[0].to(device=self._device, dtype=self._dtype).eval()
        self._context: int = self._model.config.max_position_embeddings
        self._ends = _end_ids(self._model, self._tokenizer)
        self._sampling = sampling or Sampling()
        self._max_batch = max_batch
        self._keep_token_ids = keep_token_ids
        self._name = f"local:{_short_name(model)}"
        self._thread = ThreadPoolExecutor(1, "local-model")
        self._closing: dict[int, bool] = {}
        self._waiting: list[_Turn] = []
        self._answering: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling, for the stamp; each turn has a seed of its own."""
        return self._sampling.as_dict() | {"truncated": "keep", "dtype": str(self._dtype).removeprefix("torch.")}

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of an episode; it keeps nothing between turns, so all episodes have the same."""
        return self

    async def act(self, prompt: Prompt) -> Reply:
        """Wait for the reply; raises PolicyError for a prompt that fills the model's context or its memory."""
        loop = asyncio.get_running_loop()
        ids = self._encoder.encode_prompt(prompt.messages)
        room = min(self._sampling.max_tokens, self._context - len(ids))
        if room <= 0:
            raise PolicyError(f"the prompt has {len(ids)} tokens, and the model's context {self._context}")
        turn = _Turn(prompt, ids, room, loop.create_future(), Random(prompt.seed))
        if self._answering is None or self._answering.done() or self._answering.get_loop() is not loop:
            self._waiting = []
            self._answering = loop.create_task(self._answer_all())
        self._waiting.append(turn)
        return await turn.answer

    async def _answer_all(self) -> None:
        """Answer what waits, batch after batch, until nothing does."""
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                batch = [turn for turn in batch if not turn.answer.done()]  # some may have been given up
                if batch:
                    await loop.run_in_executor(self._thread, partial(self._answer, batch, loop, stopped))
        finally:
            stopped.set()  # on Ctrl-C the thread ends after its current token

    def _answer(self, batch: list[_Turn], loop: asyncio.AbstractEventLoop, stopped: threading.Event) -> None:
        """Answer a batch, in the thread; what goes wrong is told to those who wait."""
        try:
            with torch.inference_mode():
                self._decode(batch, loop, stopped)
            return
        except torch.OutOfMemoryError:
            pass  # go on out here, where the exception no longer holds on to the memory
        except BaseException as error:  # a bug: it belongs to the episodes, or they would wait for ever
            for turn in batch:
                _tell(loop, turn.answer, error)
            return
        torch.cuda.empty_cache()
        if len(batch) == 1:
            lack = PolicyError(f"the device's memory does not suffice for a prompt of {len(batch[0].ids)} tokens")
            _tell(loop, batch[0].answer, lack)
            return
        for turn in batch:  # from the start: the same generator says the same again
            turn.draws, turn.said, turn.logprobs = Random(turn.prompt.seed), [], []
        self._answer(batch[: len(batch) // 2], loop, stopped)
        self._answer(batch[len(batch) // 2 :], loop, stopped)

    def _decode(self, turns: list[_Turn], loop: asyncio.AbstractEventLoop, stopped: threading.Event) -> None:
        """Say the replies of a batch token by token; a turn that has ended leaves it."""
        feed, mask = _left_padded([turn.ids for turn in turns], self._device)  # (batch, width)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache: Any = None
        while not stopped.is_set():
            out = self._model(
                input_ids=feed, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            cache = out.past_key_values
            tokens = self._pick(out.logits[:, -1], turns)
            staying = [row for row, turn in enumerate(turns) if not self._has_ended(turn)]
            for row in set(range(len(turns))) - set(staying):
                _tell(loop, turns[row].answer, self._reply(turns[row]))
            if not staying:
                return
            if len(staying) < len(turns):
                rows = torch.tensor(staying, device=self._device)
                cache.batch_select_indices(rows)
                tokens, mask, positions = tokens[rows], mask[rows], positions[rows]
                turns = [turns[row] for row in staying]
            feed = tokens[:, None]
            mask = torch.cat((mask, mask.new_ones(len(turns), 1)), dim=1)
            positions = positions[:, -1:] + 1

    def _pick(self, logits: Tensor, turns: Sequence[_Turn]) -> Tensor:
        """Choose each turn's next token from its logits, (batch, vocabulary), and note it; return them, (batch,)."""
        temperature, top_p = self._sampling.temperature, self._sampling.top_p
        if temperature == 0:
            tokens = logits.argmax(-1)
        else:
            draws = torch.tensor([turn.draws.random() for turn in turns], dtype=torch.float64, device=logits.device)
            tokens = pick_tokens(logits, draws, temperature, top_p)
        for turn, token in zip(turns, tokens.tolist(), strict=True):
            turn.said.append(token)
        if self._keep_token_ids:
            said = logits.float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
            for turn, logprob in zip(turns, said.tolist(), strict=True):
                turn.logprobs.append(logprob)
        return tokens

    def _has_ended(self, turn: _Turn) -> bool:
        stop = stop_of(turn.prompt.tags)
        if turn.said[-1] in self._ends or len(turn.said) >= turn.room:
            return True
        if stop is None or not self._closes(turn.said[-1], stop[-1]):
            return False
        return stop in self._text(turn.said[-_TAIL:])

    def _closes(self, token: int, character: str) -> bool:
        """Tell whether a token holds the stop string's last character: only then the whole is looked for."""
        known = self._closing.get(token)
        if known is None:
            known = self._closing[token] = character in self._text([token])
        return known

    def _reply(self, turn: _Turn) -> Reply:
        """Return what was said. Its ids are all that were sampled: the end of turn, or a tag's last token, included."""
        ended = turn.said[-1] in self._ends
        text = self._text(turn.said[:-1] if ended else turn.said)
        kept = self._keep_token_ids
        return Reply(
            end_reply(text, turn.prompt.tags, stopped=False),
            prompt_token_ids=tuple(turn.ids) if kept else None,
            token_ids=tuple(turn.said) if kept else None,
            logprobs=tuple(turn.logprobs) if kept else None,
            prompt_tokens=len(turn.ids),
            reply_tokens=len(turn.said),
        )

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def pick_tokens(logits: Tensor, draws: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return the token that each draw from [0, 1) falls on; (batch, vocabulary) and (batch,) → (batch,).

    Tokens outside of the most probable ones that together reach `top_p` are never taken.
    """
    chances = (logits.double() / temperature).softmax(-1)
    if top_p < 1:
        falling, order = chances.sort(dim=-1, descending=True, stable=True)
        falling = falling.where(falling.cumsum(-1) - falling < top_p, 0.0)
        chances = torch.zeros_like(chances).scatter(-1, order, falling)
    reached = chances.cumsum(-1)
    return torch.searchsorted(reached, draws[:, None] * reached[:, -1:], right=True)[:, 0].clamp(
        max=chances.shape[-1] - 1
    )


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask of a batch whose rows end together, both (batch, width)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), mask.to(device)


def _tell(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Reply], result: Reply | BaseException) -> None:
    """Hand a result from the thread to the episode that waits for it."""

    def settle() -> None:
        if answer.done():
            return
        if isinstance(result, BaseException):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a turn: a model's several configs need not agree."""
    found: set[int] = set()
    for ends in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])
    return frozenset(found)


def _dtype(name: DType, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _short_name(model: str) -> str:
    """Return a hub name as it is, of a folder its last two parts: the whole path is nobody's business."""
    path = Path(model).expanduser()
    return "/".join(path.absolute().parts[-2:]).strip("/") if path.exists() else model
