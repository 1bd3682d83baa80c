"""How is a small random Qwen model made, with a tokenizer of our own texts? For tests, demos, training from scratch.

The folder has the Hugging Face layout, so anything that loads Qwen2.5 or Qwen3 by path loads it. Equal options and
texts give equal bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers import logging as transformers_logging

from alfworld_sft.dataset.cells import parse_cell
from alfworld_sft.dataset.read import SUFFIXES, dataset_file, read_records
from alfworld_sft.dataset.rows import Rendering, rows_of
from alfworld_sft.errors import UserError, file_errors
from alfworld_sft.files import whole_folder
from alfworld_sft.games.refs import Games
from alfworld_sft.prompts.tags import compose_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.train.choices import Architecture, ChatFormat, TokenizerKind
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game
from alfworld_sft.world.language import LOOK

TURN_START, TURN_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
CONTROL_TOKENS = (TURN_START, TURN_END, TEXT_END, *ROLE_TOKENS)
NUMBERS = tuple(f" {number}" for number in range(50))
"""Tokens of a word tokenizer: an object's number with the space before it, which Qwen2's rules would split."""
BPE_VOCABULARY = 1024
"""Default number of tokens of a bpe tokenizer."""
_NO_LIMIT = 1_000_000
CHAT_TEMPLATE = """\
{%- if messages and messages[0]['role'] != 'system' and default_system %}
{{- '<|im_start|>system\\n' + default_system + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
"""A conversation as Qwen2.5 writes it. A default system message comes first if one is set (see `chat_template`)."""
SHORT_CHAT_TEMPLATE = """\
{%- if messages and messages[0]['role'] != 'system' and default_system %}
{{- '<|system|>' + default_system }}
{%- endif %}
{%- for message in messages %}
{{- '<|' + message['role'] + '|>' + message['content'] }}
{%- if message['role'] == 'assistant' %}{{- '<|im_end|>' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- endif %}"""
"""The same with three tokens per turn instead of ten."""

PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenisation pattern of Qwen2.5: transformers gives every Qwen2 model this one."""

TEMPLATES = ("default", "add_wm1", "add_wm2", "compact")


@dataclass(frozen=True, slots=True)
class TinyOptions:
    """The shape. `vocab_size` bounds the vocabulary, control tokens included; None: 1,024 for bpe, all words for word.

    `system` is the default system message; None sets none. `chat` is the format of a conversation: that of Qwen2.5, or
    one token per role and no line breaks. `model_type` is the architecture: qwen3 has no biases and normalises queries
    and keys, and learns from scratch in a fraction of the episodes (`docs/learning.md`).
    """

    model_type: Architecture = "qwen2"
    tokenizer: TokenizerKind = "word"
    vocab_size: int | None = None
    width: int = 128
    layers: int = 4
    head_dim: int = 64
    kv_heads: int | None = None
    feed_forward: int | None = None
    tied: bool = True
    system: str | None = None
    chat: ChatFormat = "chatml"
    max_length: int = 8192
    seed: int = 0


def make_tiny_model(folder: Path, texts: Iterable[str], options: TinyOptions) -> tuple[int, int]:
    """Write a model and its tokenizer to a folder; return the numbers of parameters and tokens.

    The folder appears complete or not at all. Raises UserError if the shape is impossible, or if the folder is not
    empty.
    """
    check_options(folder, options)
    tokenizer = train_tokenizer(texts, options)
    model = random_model(len(tokenizer), tokenizer, options)
    transformers_logging.disable_progress_bar()
    way_out = "make room for it, or name a folder that can be written"
    with file_errors("write", folder, way_out), whole_folder(folder) as partial:
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)
    return sum(weight.numel() for weight in model.parameters()), len(tokenizer)


def random_model(vocab_size: int, tokenizer: Any, options: TinyOptions) -> Any:
    """Return a Qwen2ForCausalLM or Qwen3ForCausalLM with random float32 weights determined by the seed."""
    heads = options.width // options.head_dim
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, TEXT_END)]
    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": options.width,
        "intermediate_size": options.feed_forward or 3 * options.width,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": options.kv_heads or heads,
        "max_position_embeddings": options.max_length,
        "tie_word_embeddings": options.tied,
        "bos_token_id": None,
        "eos_token_id": ends[0],
        "pad_token_id": ends[1],
        "dtype": torch.float32,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model: Any
        if options.model_type == "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=options.head_dim))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[1], do_sample=False)
    return model


def train_tokenizer(texts: Iterable[str], options: TinyOptions) -> Any:
    """Return a byte-level BPE tokenizer with Qwen's control tokens. It is lossless: any text decodes to itself.

    bpe: merges up to the vocabulary's size. word: merges until every word (and mark) of the texts is one token, and so
    are the NUMBERS with the space before them; an unknown word is split into pieces.
    """
    numbers = NUMBERS if options.tokenizer == "word" else ()
    size = options.vocab_size or (_NO_LIMIT if options.tokenizer == "word" else BPE_VOCABULARY)
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(CONTROL_TOKENS) - len(numbers),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=0,
        show_progress=False,
    )
    trained.train_from_iterator([*texts, "system\nuser\nassistant\n"], trainer)  # the last: the template's own text
    model = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        unk_token=None,
        eos_token=TURN_END,
        pad_token=TEXT_END,
        additional_special_tokens=[TURN_START, *ROLE_TOKENS],
        model_max_length=options.max_length,
        chat_template=chat_template(options.system, options.chat),
    )
    tokenizer.add_tokens([AddedToken(number, normalized=False) for number in numbers])
    return tokenizer


def chat_template(system: str | None = None, chat: ChatFormat = "chatml") -> str:
    """Return the template; a default system message is put before a conversation that has none."""
    template = CHAT_TEMPLATE if chat == "chatml" else SHORT_CHAT_TEMPLATE
    if system is None:
        return template
    quoted = system.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"{{%- set default_system = '{quoted}' %}}\n{template}"


def check_options(folder: Path, options: TinyOptions) -> None:
    """Raise UserError for an impossible shape, or for a folder that is not empty."""
    heads, rest = divmod(options.width, options.head_dim)
    if rest or not heads:
        raise UserError(f"--width {options.width} is not a multiple of --head-dim {options.head_dim}")
    if options.head_dim % 2:
        raise UserError(f"--head-dim {options.head_dim} is odd; rotary positions need pairs: give an even number")
    if options.kv_heads and heads % options.kv_heads:
        raise UserError(f"--kv-heads {options.kv_heads} does not divide the {heads} heads (width / head-dim)")
    if options.vocab_size is not None and options.vocab_size < 320:
        raise UserError(f"--vocab-size {options.vocab_size} is too small: bytes, control tokens and numbers need 320")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; delete it, or name another folder")


def _plain_text(file: Path) -> str:
    try:
        with file_errors("read", file, "name files of --corpus that can be read"):
            return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"--corpus {file}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def texts_of_files(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the texts of datasets (folders or files) and of plain text files; raises DatasetError."""
    for path in paths:
        file = dataset_file(path, "train.parquet", "--corpus")
        if file.suffix not in SUFFIXES:
            yield _plain_text(file)
            continue
        wanted = {"messages": "data.multiturn.messages_key", "prompt_data": "data.prompt_key"}
        known: list[object] = []
        for record in read_records(file, wanted, "--corpus"):
            yield str(record["prompt_data"]).replace("\\n", "\n")
            said = record["messages"]
            messages = parse_cell(said) if isinstance(said, str) else said  # a CSV file holds text
            if not isinstance(messages, list):
                raise UserError(f"--corpus {file}: 'messages' holds no list of messages")
            new = messages[len(known) :] if messages[: len(known)] == known else messages  # rows of an episode overlap
            yield from (str(message["content"]) for message in new)
            known = messages


def texts_of_games(games: Games, *, seed: int = 0, max_games: int = 200) -> Iterator[str]:
    """Yield the prompt texts of all templates during random play (half of it along the walkthrough)."""
    refs = random.Random(seed).sample(games.refs, min(max_games, len(games)))
    templates = [load_template(name) for name in TEMPLATES]
    for index, ref in enumerate(refs):
        game = ref.load()
        episode = asyncio.run(
            run_episode(game, _Wanderer(), templates[0], Protocol(max_steps=20), seed=derive_seed(seed, index))
        )
        for template in templates:
            rows = list(rows_of(episode, Rendering(template)))
            if rows:
                yield rows[-1]["prompt_data"]["content"]
                yield from (message["content"] for message in rows[-1]["messages"])


class _Wanderer:
    """A policy that collects vocabulary: the walkthrough's next command, or sometimes any admissible one."""

    name = "wanderer"
    sampling = None

    def begin(self, game: Game, seed: int) -> _Wanderer:
        self._walk = list(game.walkthrough or ())
        return self

    async def act(self, prompt: Prompt) -> Reply:
        rng = random.Random(prompt.seed)
        if self._walk and rng.random() < 0.5:
            action = self._walk.pop(0)
        else:
            action = rng.choice(prompt.view.admissible_commands or (LOOK.format(),))
        return Reply(compose_reply(prompt.tags, {"think": f"I {action}.", "action": action}))
