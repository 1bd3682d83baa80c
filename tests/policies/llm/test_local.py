"""A model in this process says what transformers says, whoever shares its batch."""

import asyncio
import math
import shutil
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoModelForCausalLM, AutoTokenizer

from alfworld_sft.errors import ConfigError, PolicyError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.policies.llm import packed_batch
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.policies.llm.picking import pick_tokens
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.make import make_policy
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import create_run
from alfworld_sft.types import Message
from tests.collecting import write_games
from tests.policies.llm.test_protocol import prompt
from tests.train.helpers_loop import options, run, write_dataset, write_model
from tests.train.templates import CHANNELS, DEEPSEEK_R1

PROMPTS = [
    replace(prompt(seed=n), messages=(Message("user", "You arrive at desk 1. " * (n + 1) + "Your task?"),))
    for n in range(5)
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def local(folder, temperature=1.0, max_tokens=12, **options):
    return LocalModel.load(
        str(folder), Sampling(temperature, options.pop("top_p", 1.0), max_tokens), device="cpu", **options
    )


def ask(policy, prompts=PROMPTS):
    async def all_at_once():
        return await asyncio.gather(*(policy.begin(None, 0).act(asked) for asked in prompts), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_greedy_replies_are_those_of_transformers(folder):
    policy = local(folder, temperature=0.0, keep_token_ids=True)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for asked, reply in zip(PROMPTS, ask(policy), strict=True):
        ids = torch.tensor([policy.encoder.encode_prompt(asked.messages)])
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert list(reply.token_ids) == said[0, ids.shape[1] :].tolist()
        assert list(reply.prompt_token_ids) == ids[0].tolist()
        assert (reply.prompt_tokens, reply.reply_tokens) == (ids.shape[1], len(reply.token_ids))


def test_log_probabilities_are_the_model_s_own(folder):
    [reply] = ask(local(folder, keep_token_ids=True), PROMPTS[:1])
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([reply.prompt_token_ids + reply.token_ids])
    with torch.no_grad():
        logprobs = model(ids).logits[0, len(reply.prompt_token_ids) - 1 : -1].log_softmax(-1)
    expected = [logprobs[n, token].item() for n, token in enumerate(reply.token_ids)]
    assert reply.logprobs == pytest.approx(expected, abs=1e-4)


def test_the_same_seed_says_the_same_whoever_shares_the_batch(folder):
    together = ask(local(folder))
    alone = [ask(local(folder), [asked])[0] for asked in PROMPTS]
    in_pairs = ask(local(folder, max_batch=2))
    assert together == alone == in_pairs


def test_another_seed_says_something_else(folder):
    texts = {reply.text for reply in ask(local(folder), [replace(PROMPTS[0], seed=seed) for seed in range(8)])}
    assert len(texts) == 8


def test_token_ids_are_kept_only_when_asked_for(folder):
    [reply] = ask(local(folder), PROMPTS[:1])
    assert (reply.prompt_token_ids, reply.token_ids, reply.logprobs) == (None, None, None)
    assert reply.reply_tokens > 0


TASKS = ["Put a mug on the desk 1.", "Cool an apple in the fridge 1. " * 6, "Find the book.", "Take pen 1. " * 3]
SEEN = ["You arrive at desk 1.", "The fridge 1 is closed. " * 4, "Nothing happens.", "You see a pen 1."]


def episodes(policy, form, *, reuse):
    """Play four made-up conversations of 3 to 6 turns at once; without `reuse` each turn has a player of its own."""

    async def play(number):
        player = policy.begin(None, 0)
        said, messages, history = [], [], TASKS[number]
        for turn in range(3 + number):
            messages.append(Message("user", SEEN[(number + turn) % 4] if turn else TASKS[number]))
            shown = tuple(messages) if form == "multi" else (Message("user", f"{history}\nYour turn?"),)
            asked = replace(prompt(seed=100 * number + turn), messages=shown)
            said.append(await (player if reuse else policy.begin(None, 0)).act(asked))
            messages.append(Message("assistant", said[-1].text))
            history += f"\n{said[-1].text}\n{SEEN[(number + turn) % 4]}"
        return said

    async def all_at_once():
        return await asyncio.gather(*map(play, range(4)))

    return asyncio.run(all_at_once())


class Witness:
    """A model that notes how many rows and new tokens each pass has; `trouble` is called before one."""

    def __init__(self, model, trouble=lambda: None):
        self.model, self.trouble, self.shapes = model, trouble, []

    @property
    def config(self):
        return self.model.config

    def __call__(self, input_ids, **rest):
        self.trouble()
        self.shapes.append(tuple(input_ids.shape))
        return self.model(input_ids=input_ids, **rest)


def watched(policy, trouble=lambda: None):
    policy._model = Witness(policy._model, trouble)
    return policy._model.shapes


def read_in(shapes):
    return sum(rows * new for rows, new in shapes if new > 1)


@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("form", ["single", "multi"])
def test_what_the_last_turn_has_read_changes_no_reply(folder, monkeypatch, form, temperature, attention):
    monkeypatch.setattr("alfworld_sft.policies.llm.sampling.ACTION_CLOSE", "o")  # this model says it now and then
    if attention == "packed":
        monkeypatch.setattr(packed_batch, "WIDE", 1)
    policy = local(folder, temperature, keep_token_ids=True)
    assert policy._packed == (attention == "packed")
    if attention == "eager":
        policy._model.set_attn_implementation(attention)
    shapes = watched(policy)
    afresh = episodes(policy, form, reuse=False)
    read_afresh = read_in(shapes)
    shapes.clear()
    again = episodes(policy, form, reuse=True)
    assert [[(r.text, r.token_ids, r.prompt_token_ids) for r in said] for said in again] == [
        [(r.text, r.token_ids, r.prompt_token_ids) for r in said] for said in afresh
    ]
    assert read_in(shapes) < read_afresh
    if temperature:
        replies = [reply for said in again for reply in said]
        texts = [reply.text for reply in replies]
        assert any(text.endswith("o") for text in texts)
        assert any(policy.encoder.tokenizer(r.text)["input_ids"] != list(r.token_ids) for r in replies)


def test_a_turn_reads_only_what_is_new(folder):
    policy = local(folder, keep_token_ids=True, max_tokens=1)
    shapes, player = watched(policy), policy.begin(None, 0)
    asked = PROMPTS[4]
    first = asyncio.run(player.act(asked))
    more = (*asked.messages, Message("assistant", "go"), Message("user", "You arrive."))
    second = asyncio.run(player.act(replace(asked, messages=more)))
    known = len(first.prompt_token_ids)
    assert second.prompt_token_ids[:known] == first.prompt_token_ids
    assert shapes == [(1, known), (1, len(second.prompt_token_ids) - known)]


def test_a_window_s_cache_is_not_kept(folder):
    policy = local(folder, temperature=0.0)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["full_attention", "sliding_attention"]
    policy._model = AutoModelForCausalLM.from_pretrained(folder, config=config).eval()
    shapes = watched(policy)
    afresh = episodes(policy, "multi", reuse=False)
    read_afresh = read_in(shapes)
    shapes.clear()
    assert episodes(policy, "multi", reuse=True) == afresh
    assert read_in(shapes) == read_afresh


def test_what_was_read_goes_with_its_episode(folder):
    policy = local(folder)
    player = policy.begin(None, 0)
    asyncio.run(player.act(PROMPTS[0]))
    episodes(policy, "multi", reuse=True)
    policy._thread.submit(int).result()  # the thread is done with the last batch
    assert list(policy._pasts) == [player]
    del player
    assert not policy._pasts


def test_no_more_episodes_are_kept_than_a_batch_has(folder):
    policy = local(folder, max_batch=2)
    players = [policy.begin(None, 0) for _ in PROMPTS]

    async def all_at_once():
        return await asyncio.gather(*(p.act(asked) for p, asked in zip(players, PROMPTS, strict=True)))

    first = asyncio.run(all_at_once())
    assert set(policy._pasts) == set(players[:2])
    assert asyncio.run(all_at_once()) == first
    assert set(policy._pasts) == set(players[:2]), "an episode keeps its place"


def test_a_long_prompt_does_not_pad_the_others(folder):
    long = replace(PROMPTS[0], messages=(Message("user", "You arrive at desk 1. " * 80),))
    batch = [*PROMPTS[:3], long]
    alone = [ask(local(folder), [asked])[0] for asked in batch]
    policy = local(folder)
    shapes = watched(policy)
    assert ask(policy, batch) == alone
    assert shapes[:2] == [(1, alone[3].prompt_tokens - 1), (4, alone[2].prompt_tokens)]


def test_memory_that_other_episodes_hold_is_given_back(folder):
    policy = local(folder)
    expected = ask(local(folder), PROMPTS[1:2])

    def no_room_beside_a_past():
        if any(past.ids for past in policy._pasts.values()):
            raise torch.OutOfMemoryError

    watched(policy, no_room_beside_a_past)
    player = policy.begin(None, 0)
    asyncio.run(player.act(PROMPTS[0]))
    assert ask(policy, PROMPTS[1:2]) == expected
    assert player not in policy._pasts


class Parrot:
    """A model that says given tokens: row by row of the batch it was first given; `largest` batch that it can hold."""

    def __init__(self, texts, tokenizer, largest=100):
        self.texts = {len(key): tokenizer(text, add_special_tokens=False)["input_ids"] for key, text in texts}
        self.tokenizer, self.largest, self.batches = tokenizer, largest, []

    def __call__(self, input_ids, attention_mask, past_key_values, **_):
        self.batches.append(len(input_ids))
        if len(input_ids) > self.largest:
            raise torch.OutOfMemoryError
        if past_key_values is None:
            past_key_values = Said([list(self.texts[n]) for n in attention_mask.sum(1).tolist()])
        logits = torch.zeros(len(input_ids), 1, len(self.tokenizer))
        for row, left in enumerate(past_key_values.left):
            logits[row, 0, left.pop(0) if left else self.tokenizer.eos_token_id] = 100.0
        return SimpleNamespace(logits=logits, past_key_values=past_key_values)


class Said:
    def __init__(self, left):
        self.left = left

    def batch_select_indices(self, rows):
        self.left = [self.left[row] for row in rows.tolist()]


def parrot(folder, texts, largest=100, **options):
    policy = local(folder, temperature=0.0, max_tokens=60, **options)
    keyed = [(policy.encoder.encode_prompt(asked.messages), text) for asked, text in zip(PROMPTS, texts, strict=False)]
    policy._model = Parrot(keyed, policy.encoder.tokenizer, largest)
    return policy


def test_a_reply_ends_with_its_closing_tag_or_with_its_turn(folder):
    texts = ["<action>go to desk 1</action> and so on", "You arrive", "<think>next desk 1</think>\n<action>go</action>"]
    policy = parrot(folder, texts)
    replies = ask(policy, PROMPTS[:3])
    assert [reply.text for reply in replies] == ["<action>go to desk 1</action>", *texts[1:]]
    assert replies[1].reply_tokens == len(policy.encoder.tokenizer(texts[1])["input_ids"]) + 1, "the end of turn counts"


def test_an_action_in_a_thought_ends_no_reply(folder):
    text = "<think>not <action>go</action></think>\n<action>look</action>"
    [reply] = ask(parrot(folder, [text]), PROMPTS[:1])
    assert reply.text == text


def with_template(folder, target, template, special=()):
    """Return a copy of a model with another chat template and more special tokens."""
    shutil.copytree(folder, target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    tokenizer.chat_template = template or tokenizer.chat_template
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *special]})
    tokenizer.save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(target)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(target)
    return target


def test_a_reply_begins_with_the_thought_that_the_prompt_opened(folder, tmp_path):
    opened = with_template(folder, tmp_path / "r1", DEEPSEEK_R1)
    said = ["not <action>go</action></think>\n<action>look</action>", "so <action>go to desk 1</action>"]
    replies = ask(parrot(opened, said), PROMPTS[:2])
    assert [reply.text for reply in replies] == ["<think>\n" + text for text in said]
    actions = [parse_reply(reply.text, ("think", "action"), ["look", "go to desk 1"]).action for reply in replies]
    assert actions == ["look", None]


def test_tags_that_are_special_tokens_are_kept_in_a_reply(folder, tmp_path):
    tagged = with_template(folder, tmp_path / "tagged", None, ["<think>", "</think>", "<action>", "</action>"])
    text = "<think>next</think>\n<action>go to desk 1</action>"
    [reply] = ask(parrot(tagged, [text + " and so on"]), PROMPTS[:1])
    assert reply.text == text


def test_control_tokens_that_a_template_puts_before_replies_are_no_text(folder, tmp_path):
    channels = with_template(folder, tmp_path / "channels", CHANNELS, ["<|channel|>", "<|message|>"])
    [reply] = ask(parrot(channels, ["<|channel|>final<|message|>go to desk 1"]), [replace(PROMPTS[0], tags=())])
    assert reply.text == "go to desk 1"


def test_a_template_without_tags_is_not_cut(folder):
    policy = parrot(folder, ["<action>x</action> on"])
    [reply] = ask(policy, [replace(PROMPTS[0], tags=())])
    assert reply.text == "<action>x</action> on"


def test_too_little_memory_makes_smaller_batches(folder):
    texts = [f"<action>go to desk {n}</action>" for n in range(5)]
    policy = parrot(folder, texts, largest=2)
    assert [reply.text for reply in ask(policy)] == texts
    assert policy._model.batches[:3] == [5, 2, 2], "the first half, then on with it"
    errors = ask(parrot(folder, texts, largest=0), PROMPTS[:2])
    assert all(isinstance(error, PolicyError) and "memory" in str(error) for error in errors)


def test_a_bug_in_the_thread_reaches_the_episodes(folder):
    policy = local(folder)
    policy._model = None
    assert all(isinstance(error, TypeError) for error in ask(policy))


def test_a_run_s_folder_is_refused_by_what_it_should_be(tmp_path):
    (tmp_path / "final").mkdir()
    with pytest.raises(UserError, match=r"holds neither an adapter nor a model; give global_step_N or final of a"):
        LocalModel.load(str(tmp_path))


def test_a_prompt_that_fills_the_context_is_the_episode_s_error(folder):
    policy = local(folder)
    policy._context = 20
    [error] = ask(policy, PROMPTS[4:])
    assert isinstance(error, PolicyError)
    assert "and the model's context 20" in str(error)


@pytest.mark.parametrize(
    ("draw", "top_p", "token"),
    [
        (0.0, 1.0, 0),
        (0.09, 1.0, 0),
        (0.11, 1.0, 1),
        (0.69, 1.0, 1),
        (0.71, 1.0, 2),
        (1 - 1e-12, 1.0, 3),
        (0.0, 0.7, 1),
        (0.76, 0.7, 2),
        (1 - 1e-12, 0.7, 2),
        (0.5, 1e-9, 1),
    ],
)
def test_a_draw_falls_on_the_token_whose_share_it_is_in(draw, top_p, token):
    logits = torch.tensor([[math.log(share) for share in (0.1, 0.6, 0.2, 0.1)]])
    assert pick_tokens(logits, torch.tensor([draw], dtype=torch.float64), 1.0, top_p).tolist() == [token]


def test_tokens_come_as_often_as_the_temperature_says():
    rng, draws = Random(1), 20_000
    logits = torch.log(torch.tensor([[0.2, 0.8]])).expand(draws, 2)
    us = torch.tensor([rng.random() for _ in range(draws)], dtype=torch.float64)
    share = pick_tokens(logits, us, 0.5, 1.0).double().mean().item()
    assert share == pytest.approx(0.64 / (0.64 + 0.04), abs=0.01)


def test_a_checkpoint_plays_as_adapter_and_as_merged_model(folder, tmp_path):
    trained = run(options(write_dataset(tmp_path / "data"), folder, tmp_path / "out", "optim.lr=3e-2"))
    from alfworld_sft.models.merge import merge

    merged = merge(trained.checkpoint, tmp_path / "merged", dtype="float32")
    by_adapter, by_merged, by_base = (ask(local(at, temperature=0.0)) for at in (trained.final, merged, folder))
    assert by_adapter == by_merged != by_base


def test_the_same_seed_gives_the_same_episodes_at_any_concurrency(folder, tmp_path):
    games = find_games(write_games(tmp_path / "data", 4)).shuffled(1)
    played = []
    for concurrency in (1, 4):
        with create_run(tmp_path, {}, name=f"run{concurrency}") as journal:
            asyncio.run(
                run_episodes(
                    journal, 4, games, local(folder), load_template("compact"), Protocol(max_steps=3, form="multi"),
                    seed=1, concurrency=concurrency, on_episode=lambda _: None,
                )
            )  # fmt: skip
            played.append(list(journal.episodes()))
    assert played[0] == played[1]
    assert len(played[0]) == 4


def test_the_options_make_the_policy(folder):
    policy = make_policy(PolicySection(name="local", model=str(folder), temperature=0.0, max_tokens=9))
    assert policy.name == f"local:{folder.parent.name}/tiny"
    assert (policy.sampling["temperature"], policy.sampling["max_tokens"]) == (0.0, 9)


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        local(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_a_model_in_this_process_cannot_leave_its_sampling_to_a_server(name, folder):
    with pytest.raises(ConfigError, match=rf"^policy\.{name}=null: a model in this process has no server to decide"):
        make_policy(PolicySection(name="local", model=str(folder), **{name: None}))
