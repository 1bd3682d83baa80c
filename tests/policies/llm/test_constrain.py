"""A restricted reply can always be played, however tokens are cut, and a model that was right says the same."""

import asyncio
import json
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from alfworld_sft.errors import ConfigError, PolicyError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.stopping import end_ids_of
from alfworld_sft.policies.config import EvaluatedPolicySection
from alfworld_sft.policies.llm.constrain import RestrictedReply, Spelling
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.policies.llm.picking import restrict
from alfworld_sft.policies.llm.sampling import Sampling, cut_reply
from alfworld_sft.policies.make import check_constrain
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.train.tiny import CONTROL_TOKENS, TURN_END, TinyOptions, chat_template, train_tokenizer
from alfworld_sft.types import Message
from tests.policies.llm.test_protocol import prompt
from tests.policies.play import play, study
from tests.train.templates import CHANNELS, DEEPSEEK_R1

COMMANDS = (
    "go to desk 1", "go to desk 12", "go to drawer 1", "look", "look at mug 1", "put café 1 in/on <desk> 2",
)  # fmt: skip
REPLIES = [f"<think>I need that: {command}.</think>\n<action>{command}</action>" for command in COMMANDS]
TAGS = ("think", "action")


def unsplit(texts, chat=None):
    """Return a byte-level tokenizer that merges across everything: tags, commands, spaces."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token=TURN_END, additional_special_tokens=list(CONTROL_TOKENS),
        chat_template=chat_template(),
    )  # fmt: skip


def spaced(texts):
    """Return a tokenizer whose tokens have their space before them, and that spells unknown characters in bytes."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    plain.train_from_iterator(
        [text.replace("é", "").replace("\n", "") for text in texts],
        trainers.BpeTrainer(vocab_size=120, show_progress=False),
    )
    made = json.loads(plain.to_str())["model"]
    size = len(made["vocab"])
    byte_tokens = {f"<0x{byte:02X}>": size + byte for byte in range(256)}
    trained = Tokenizer(
        models.BPE(vocab=made["vocab"] | byte_tokens, merges=list(map(tuple, made["merges"])), byte_fallback=True)
    )
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token=TURN_END, additional_special_tokens=list(CONTROL_TOKENS),
        chat_template=chat_template(),
    )  # fmt: skip


def tagged(texts):
    """Return a tokenizer whose tags are special tokens."""
    tokenizer = train_tokenizer(texts, TinyOptions())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "<action>", "</action>"]})
    return tokenizer


TOKENIZERS = {
    "word": lambda texts: train_tokenizer(texts, TinyOptions()),
    "bpe": lambda texts: train_tokenizer(texts, TinyOptions(tokenizer="bpe", vocab_size=330)),
    "unsplit": unsplit,
    "tagged": tagged,
    "spaced": spaced,
}


def spelling_of(kind, chat=None):
    tokenizer = TOKENIZERS[kind](REPLIES)
    tokenizer.chat_template = chat or tokenizer.chat_template
    if chat:
        tokenizer.add_special_tokens({"additional_special_tokens": [*CONTROL_TOKENS, "<|channel|>", "<|message|>"]})
    encoder = ChatEncoder(tokenizer)
    ends = frozenset(end_ids_of(encoder.end_id, tokenizer.eos_token_id))
    return Spelling(encoder, ends, len(tokenizer))


def text_of(spelling, said):
    """Return a reply's text as a local model reads it."""
    encoder = spelling.encoder
    inserted = encoder.inserted_ids
    said = said[len(inserted) :] if inserted and said[: len(inserted)] == inserted else said
    said = [token for token in said if token not in encoder.control_ids and token not in spelling.ends]
    return encoder.opening + encoder.tokenizer.decode(
        said, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def babble(spelling, asked, seed, room=25):
    """Return the tokens of a reply by a model that says tags, commands and noise in any order."""
    rng, reply, said = Random(seed), RestrictedReply(spelling, asked), []
    tokens = range(len(spelling.encoder.tokenizer))
    words = ["<action>", "</action>", "<think>", "</think>", "<prediction>", "</prediction>", *COMMANDS]
    queue: list[int] = []
    while not reply.done:
        choice = reply.choice(cut=len(said) >= room)
        if choice.forced:
            for token in choice.forced:
                said += reply.say(token)
            continue
        if not queue and rng.random() < 0.8:
            queue = list(spelling.encoder.encode_text(rng.choice(words)))
        token = queue.pop(0) if queue else rng.choice(tokens)
        if choice.allowed is not None and token not in choice.allowed:
            token, queue = rng.choice(choice.allowed), []
        if token not in choice.forbidden:
            said += reply.say(token)
        else:
            queue = []
            if rng.random() < 0.1:  # do not wait for ever where only the forbidden is wanted
                room = 0
    return said


@pytest.mark.parametrize("chat", [None, DEEPSEEK_R1, CHANNELS], ids=["plain", "opens a thought", "channels"])
@pytest.mark.parametrize("tags", [TAGS, (), ("think", "prediction", "action")], ids=["tags", "bare", "predicting"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_reply_can_be_played_however_tokens_are_cut(kind, tags, chat):
    spelling = spelling_of(kind, chat)
    asked = replace(prompt(tags=tags), admissible_commands=COMMANDS)
    played = set()
    for seed in range(60):
        said = babble(spelling, asked, seed)
        text = cut_reply(text_of(spelling, said), asked, stopped=False)
        parsed = parse_reply(text, tags, COMMANDS)
        assert parsed.problem is None, (seed, text)
        played.add(parsed.action)
    assert len(played) >= 4
