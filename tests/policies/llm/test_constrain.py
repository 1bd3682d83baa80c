"""A restricted reply can always be played, however tokens are cut, and a model that was right says the same."""

import asyncio
import json
import re
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

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
    for seed in range(30):
        said = babble(spelling, asked, seed)
        text = cut_reply(text_of(spelling, said), asked, stopped=False)
        parsed = parse_reply(text, tags, COMMANDS)
        assert parsed.problem is None, (seed, text)
        played.add(parsed.action)
    assert len(played) >= 4


def random_model(tokenizer, seed=0):
    """Return a random model of one small layer for a tokenizer."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=4096, initializer_range=0.3,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def local(kind="word", temperature=1.0, max_tokens=12, constrain=True, **options):
    tokenizer = TOKENIZERS[kind](REPLIES)
    sampling = Sampling(temperature, options.pop("top_p", 1.0), max_tokens)
    return LocalModel(random_model(tokenizer), tokenizer, kind, sampling, constrain=constrain, **options)


def asking(number=0, commands=COMMANDS, tags=TAGS):
    words = (Message("user", "look at desk 1. " * (number + 1)),)
    return replace(prompt(tags=tags, seed=number), messages=words, admissible_commands=commands)


def ask(policy, prompts):
    async def all_at_once():
        return await asyncio.gather(*(policy.begin(None, 0).act(asked) for asked in prompts))

    return asyncio.run(all_at_once())


@pytest.mark.parametrize(("template", "form"), [("default", "multi"), ("add_wm1", "single"), ("compact", "multi")])
@pytest.mark.parametrize("kind", ["word", "unsplit"])
def test_a_random_model_plays_no_invalid_action(kind, template, form):
    policy = local(kind, temperature=1.5, max_tokens=6)
    episodes = [play(study(), policy, template, seed=seed, form=form, max_steps=6) for seed in range(3)]
    steps = [step for episode in episodes for step in episode.steps]
    assert [step.problem for step in steps] == [None] * len(steps)
    assert all(step.command in step.admissible_commands for step in steps)
    assert len(steps) >= 9
    assert len({step.command for step in steps}) > 3


def watched(policy):
    """Note the shapes of what the policy's model reads."""
    model, shapes = policy._model, []

    def forward(input_ids, **rest):
        shapes.append(tuple(input_ids.shape))
        return model(input_ids=input_ids, **rest)

    policy._model = forward
    return shapes


@pytest.mark.parametrize(("tags", "said"), [(TAGS, "<action>look</action>"), ((), "look")])
def test_nothing_is_sampled_where_one_command_is_left(tags, said):
    policy = local(keep_token_ids=True, max_tokens=1)
    shapes = watched(policy)
    [reply] = ask(policy, [asking(commands=("look",), tags=tags)])
    assert reply.text.endswith(said)
    assert reply.reply_tokens == len(reply.token_ids) > 1
    free = reply.constrained_from
    assert free == len(tags[:1])
    assert set(reply.logprobs[free:]) == {0.0}
    assert shapes == [(1, reply.prompt_tokens)]


def test_the_tag_that_is_forced_is_read_in_one_pass():
    policy = local(keep_token_ids=True, max_tokens=1)
    shapes = watched(policy)
    [reply] = ask(policy, [asking()])
    assert shapes[0] == (1, reply.prompt_tokens)
    assert shapes[1][1] > 2
    assert set(shapes[2:]) <= {(1, 1)}
    assert reply.constrained_from == 1


class Scripted:
    """A model that wants given tokens of its reply one after the other, then its end; it may be given others."""

    def __init__(self, policy, texts):
        self.wanted = {len(policy.encoder.encode_prompt(asked.messages)): text for asked, text in texts}
        self.policy = policy

    def __call__(self, input_ids, attention_mask, past_key_values, **_):
        said = past_key_values or Read([[] for _ in input_ids])
        for row, tokens in enumerate(input_ids.tolist()):
            new = attention_mask[row, -len(tokens) :].tolist()
            said.rows[row].extend(token for token, real in zip(tokens, new, strict=True) if real)
        logits = torch.zeros(len(input_ids), 1, len(self.policy.encoder.tokenizer))
        for row, tokens in enumerate(said.rows):
            length = next(n for n in self.wanted if tokens[:n] and len(tokens) >= n and n == said.prompts(row, n))
            text = self.policy._reader.text(tokens[length:])
            wanted = self.wanted[length]
            rest = wanted[len(text) :] if wanted.startswith(text) else ""
            ids = self.policy.encoder.encode_text(rest)
            logits[row, 0, ids[0] if ids else self.policy.encoder.tokenizer.eos_token_id] = 100.0
        return SimpleNamespace(logits=logits, past_key_values=said)


class Read:
    """What each row has read; `prompts` gives the length of a row's prompt."""

    def __init__(self, rows):
        self.rows, self.first = rows, {}

    def prompts(self, row, length):
        return self.first.setdefault(row, len(self.rows[row]))

    def batch_select_indices(self, rows):
        kept = rows.tolist()
        self.first = {new: self.first[old] for new, old in enumerate(kept)}
        self.rows = [self.rows[row] for row in kept]


def scripted(texts, prompts, kind="word", max_tokens=60):
    policy = local(kind, temperature=0.0, max_tokens=max_tokens)
    policy._model = Scripted(policy, list(zip(prompts, texts, strict=True)))
    return policy


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_model_that_was_right_says_the_same(kind):
    texts = [
        "<think>go, not <action>go</action></think>\n<action>go to desk 12</action>",
        "<action> look at mug 1</action>",
        "<think>a desk</think>\n<action>\nput café 1 in/on <desk> 2</action>",
        "the drawer 1? <action>go to drawer 1</action>",
    ]
    prompts = [asking(number) for number in range(len(texts))]
    assert [reply.text for reply in ask(scripted(texts, prompts, kind), prompts)] == texts
    bare = ["look", "<think>\n\n</think>\n\ngo to desk 12", "\nlook at mug 1", "go to desk 1"]
    prompts = [asking(number, tags=()) for number in range(len(bare))]
    assert [reply.text for reply in ask(scripted(bare, prompts, kind), prompts)] == bare


@pytest.mark.parametrize(
    ("wanted", "tags", "max_tokens", "said"),
    [
        ("<action>go to mug 1</action>", TAGS, 60, r"<action>go to (desk|drawer) 1\d?</action>"),
        ("I go", TAGS, 60, r"I go\n<action>.*</action>"),
        ("<think>I go", TAGS, 60, r"<think>I go</think>\n<action>.*</action>"),
        ("<think>look look look look", TAGS, 5, r"<think>look( look)*</think>\n<action>.*</action>"),
        ("look</action>", TAGS, 60, r"look<(.|\n)*\n<action>.*</action>"),
        ("<think>look", (), 60, r"<think>look</think>\n\n.*"),
        ("go to desk", (), 60, r"go to desk 12?"),
    ],
)
def test_a_model_that_was_wrong_is_put_right(wanted, tags, max_tokens, said):
    asked = asking(tags=tags)
    [reply] = ask(scripted([wanted], [asked], max_tokens=max_tokens), [asked])
    assert re.fullmatch(said, reply.text), reply.text
    assert parse_reply(reply.text, tags, COMMANDS).problem is None


@pytest.mark.parametrize("keeps_pasts", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "unsplit"])
def test_the_same_seed_says_the_same_whoever_shares_the_batch(kind, keeps_pasts):
    prompts = [asking(number, COMMANDS[: 6 - number], tags=TAGS if number % 3 else ()) for number in range(6)]
    policy = local(kind, max_tokens=8)
    policy._keeps_pasts = keeps_pasts
    together = ask(policy, prompts)
    assert together == [ask(local(kind, max_tokens=8), [asked])[0] for asked in prompts]
    assert len({reply.text for reply in together}) == 6


def test_log_probabilities_are_those_among_what_was_allowed():
    asked = asking()
    policy = local("bpe", keep_token_ids=True)
    [reply] = ask(policy, [asked])
    state = RestrictedReply(policy._spelling, asked)
    ids = torch.tensor([reply.prompt_token_ids + reply.token_ids])
    with torch.no_grad():
        logits = policy._model(ids).logits[0, len(reply.prompt_token_ids) - 1 : -1]
    sampled = 0
    for place, token in enumerate(reply.token_ids):
        choice = state.choice(cut=place >= 12)
        state.say(token)
        if choice.forced or choice.allowed is None:
            continue
        chances = restrict(logits[place : place + 1], [choice]).log_softmax(-1)[0]
        assert chances[list(choice.allowed)].exp().sum().item() == pytest.approx(1.0)
        assert chances.exp().count_nonzero() <= len(choice.allowed) < len(chances)
        assert reply.logprobs[place] == pytest.approx(chances[token].item(), abs=1e-4)
        assert place >= reply.constrained_from
        sampled += 1
    assert sampled
    assert len(reply.logprobs) == len(reply.token_ids)


def test_what_the_last_turn_has_read_changes_no_reply():
    def conversation(*, reuse):
        policy = local("word", max_tokens=6, keep_token_ids=True)
        shapes, player, messages, said = watched(policy), policy.begin(None, 0), [], []
        for turn in range(4):
            messages.append(Message("user", f"You arrive at desk {turn}."))
            asked = replace(asking(turn), messages=tuple(messages))
            said.append(asyncio.run((player if reuse else policy.begin(None, 0)).act(asked)))
            messages.append(Message("assistant", said[-1].text))
        return said, sum(width for _, width in shapes)

    (again, less), (afresh, more) = conversation(reuse=True), conversation(reuse=False)
    assert [reply.text for reply in again] == [reply.text for reply in afresh]
    assert less < more


def test_a_context_that_is_nearly_full_keeps_room_for_the_action():
    policy = local(max_tokens=500)
    [asked] = [asking()]
    length = len(policy.encoder.encode_prompt(asked.messages))
    policy._context = length + 90
    [reply] = ask(policy, [asked])
    assert parse_reply(reply.text, TAGS, COMMANDS).problem is None
    assert reply.reply_tokens <= 90
    policy._context = length + 20
    with pytest.raises(PolicyError, match=r"of which policy\.constrain keeps"):
        ask(policy, [asked])


def test_a_prompt_without_commands_cannot_be_answered():
    with pytest.raises(PolicyError, match=r"^policy\.constrain=action: the prompt comes without admissible commands$"):
        ask(local(), [asking(commands=())])


@pytest.mark.parametrize("name", template_names())
def test_formats_of_published_protocols_are_refused(name):
    options = EvaluatedPolicySection(name="local", constrain="action")
    template = load_template(name)
    if template.reply_format == "tags":
        check_constrain(options, template)
        return
    with pytest.raises(ConfigError, match=rf"^policy.constrain=action takes templates .*, not {name}: "):
        check_constrain(options, template)
