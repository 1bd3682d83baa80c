"""A model in this process says what transformers says, whoever shares its batch."""

import asyncio
import math
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoModelForCausalLM

from alfworld_sft.config import PolicySection
from alfworld_sft.errors import PolicyError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.policies import make_policy
from alfworld_sft.policies.local import LocalModel, pick_tokens
from alfworld_sft.policies.sampling import Sampling
from alfworld_sft.prompts.template import load_template
from alfworld_sft.rollout import Protocol
from alfworld_sft.runner import run_episodes
from alfworld_sft.store import create_run
from alfworld_sft.types import Message
from tests.collecting import write_games
from tests.policies.test_completions import prompt
from tests.train.helpers_loop import options, run, write_dataset, write_model

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
    return LocalModel(
        str(folder), Sampling(temperature, options.pop("top_p", 1.0), max_tokens), device="cpu", **options
    )


def ask(policy, prompts=PROMPTS):
    async def all_at_once():
        return await asyncio.gather(*(policy.act(asked) for asked in prompts), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_greedy_replies_are_those_of_transformers(folder):
    policy = local(folder, temperature=0.0, keep_token_ids=True)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for asked, reply in zip(PROMPTS, ask(policy), strict=True):
        ids = torch.tensor([policy._encoder.encode_prompt(asked.messages)])
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
    keyed = [(policy._encoder.encode_prompt(asked.messages), text) for asked, text in zip(PROMPTS, texts, strict=False)]
    policy._model = Parrot(keyed, policy._tokenizer, largest)
    return policy


def test_a_reply_ends_with_its_closing_tag_or_with_its_turn(folder):
    texts = ["<action>go to desk 1</action> and so on", "You arrive", "<think>next desk 1</think>\n<action>go</action>"]
    policy = parrot(folder, texts)
    replies = ask(policy, PROMPTS[:3])
    assert [reply.text for reply in replies] == ["<action>go to desk 1</action>", *texts[1:]]
    assert replies[1].reply_tokens == len(policy._tokenizer(texts[1])["input_ids"]) + 1, "the end of turn counts"


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
    from alfworld_sft.train.merge import merge

    merged = merge(trained.checkpoint, tmp_path / "merged", dtype="float32")
    by_adapter, by_merged, by_base = (ask(local(at, temperature=0.0)) for at in (trained.final, merged, folder))
    assert by_adapter == by_merged != by_base


def test_the_same_seed_gives_the_same_episodes_at_any_concurrency(folder, tmp_path):
    refs = find_games(write_games(tmp_path / "data", 4)).refs
    played = []
    for concurrency in (1, 4):
        with create_run(tmp_path, {}, name=f"run{concurrency}") as journal:
            asyncio.run(
                run_episodes(
                    journal, 4, refs, local(folder), load_template("compact"), Protocol(max_steps=3, form="multi"),
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
