import pytest

from alfworld_sft.policies.llm.protocol import MalformedAnswerError, names_refused, read_answer, request_body
from alfworld_sft.policies.llm.sampling import Sampling, end_reply
from alfworld_sft.types import Message, Prompt, View

TAGS = ("think", "action")


def prompt(tags=TAGS, seed=2**52 + 7) -> Prompt:
    view = View("put a mug on the desk", 0, (), "You see a mug 1.", ("look",))
    return Prompt(view, (Message("user", "You see a mug 1."),), tags, seed)


def body(draw=0, keep_token_ids=False, refused=(), asked=None):
    sampling = Sampling(0.4, 0.9, 64)
    return request_body(
        asked or prompt(), "m", sampling, draw=draw, keep_token_ids=keep_token_ids, refused=frozenset(refused)
    )


def answer(text="x", finish="stop", **choice):
    return {"choices": [{"message": {"content": text}, "finish_reason": finish, **choice}]}


def test_a_request_says_its_sampling_in_full():
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "You see a mug 1."}],
        "temperature": 0.4,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 7,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop": ["</action>"],
        "include_stop_str_in_output": True,
    }


def test_a_template_without_tags_has_no_stop_string():
    assert not {"stop", "include_stop_str_in_output"} & body(asked=prompt(tags=())).keys()


def test_another_draw_has_another_seed_and_the_same_draw_the_same():
    seeds = [body(draw=draw)["seed"] for draw in (0, 1, 2, 1)]
    assert seeds[1] == seeds[3]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_a_server_refused_is_left_out():
    asked = body(keep_token_ids=True, refused={"seed", "top_k", "max_tokens"})
    assert not {"seed", "top_k", "max_tokens"} & asked.keys()
    assert (asked["max_completion_tokens"], asked["return_token_ids"], asked["logprobs"]) == (64, True, True)


@pytest.mark.parametrize(
    ("complaint", "names"),
    [
        ("Unrecognized request arguments supplied: min_p, top_k", {"min_p", "top_k"}),
        ("Unsupported parameter: 'max_tokens'; use 'max_completion_tokens'", {"max_tokens"}),
        ("extra inputs", {"include_stop_str_in_output", "min_p", "repetition_penalty", "top_k"}),
        ("Unsupported value: 'temperature' does not support 0.4", set()),
        ("maximum context length is 2048 tokens", set()),
        ("'max_tokens' is too large: 512; the maximum context length is 2048 tokens", set()),
    ],
)
def test_a_complaint_names_what_can_be_left_out(complaint, names):
    assert names_refused(body(), complaint) == names


def test_a_complaint_without_names_drops_nothing_twice():
    refused = names_refused(body(), "extra inputs")
    assert names_refused(body(refused=refused), "extra inputs") == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<action>look", "<action>look</action>"),  # the stop string is dropped by most servers
        ("<action>look</action>", "<action>look</action>"),
        ("<action>look</action> and more", "<action>look</action>"),
        ("I do not know", "I do not know"),
        ("<think><action>go</action></think><action>look", "<think><action>go</action></think><action>look</action>"),
        ("<think>not <action>go</action> but", "<think>not <action>go</action> but"),
        ("<think><action>go</action></think> no", "<think><action>go</action></think> no"),
    ],
)
def test_a_reply_ends_with_its_closing_tag(text, said):
    assert end_reply(text, TAGS) == said
    assert end_reply(text, ()) == text


def test_an_action_that_was_cut_off_is_not_closed():
    reply, truncated = read_answer(answer("<action>go to the", "length"), prompt())
    assert (reply.text, truncated) == ("<action>go to the", True)


def test_a_whole_action_before_the_limit_is_not_truncated():
    reply, truncated = read_answer(answer("<action>look</action> and", "length"), prompt())
    assert (reply.text, truncated) == ("<action>look</action>", False)


def test_token_counts_ids_and_log_probabilities_are_kept():
    data = answer("ok", token_ids=[5, 6], logprobs={"content": [{"logprob": -0.5}, {"logprob": -1}]})
    data |= {"prompt_token_ids": [1, 2, 3], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    reply, _ = read_answer(data, prompt())
    assert (reply.prompt_token_ids, reply.token_ids, reply.logprobs) == ((1, 2, 3), (5, 6), (-0.5, -1.0))
    assert (reply.prompt_tokens, reply.reply_tokens) == (3, 2)


@pytest.mark.parametrize(("details", "cached"), [({"cached_tokens": 2}, 2), ({}, None), (None, None), ("2", None)])
def test_cached_tokens_are_kept_where_the_server_tells_them(details, cached):
    reply, _ = read_answer(answer("ok") | {"usage": {"prompt_tokens": 3, "prompt_tokens_details": details}}, prompt())
    assert reply.cached_tokens == cached


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 5.5, True, "5"])
def test_ids_that_are_no_whole_numbers_are_dropped(odd):
    reply, _ = read_answer(answer("ok", token_ids=[5, odd]) | {"prompt_token_ids": [odd]}, prompt())
    assert (reply.text, reply.token_ids, reply.prompt_token_ids) == ("ok", None, None)


def test_ids_that_say_more_than_the_text_are_dropped():
    reply, _ = read_answer(answer("<action>look</action> and", token_ids=[5, 6]), prompt())
    assert reply.token_ids is None


@pytest.mark.parametrize(
    "data", [None, [], "text", {}, {"choices": []}, {"choices": [{}]}, {"choices": [None]}, answer(None), answer(3)]
)
def test_anything_else_is_malformed(data):
    with pytest.raises(MalformedAnswerError, match="the answer"):
        read_answer(data, prompt())


@pytest.mark.parametrize("finish", ["length", "max_tokens"])
@pytest.mark.parametrize("content", [None, ""])
def test_a_reply_that_was_cut_off_before_its_text_is_an_empty_one(content, finish):
    reply, truncated = read_answer(answer(content, finish), prompt())
    assert (reply.text, truncated) == ("", True)


def test_ids_that_hold_reasoning_are_dropped_with_their_log_probabilities():
    data = answer("<action>look</action>", token_ids=[5, 6], logprobs={"content": [{"logprob": -1}, {"logprob": -1}]})
    data["choices"][0]["message"]["reasoning_content"] = "I look."
    reply, _ = read_answer(data, prompt())
    assert (reply.token_ids, reply.logprobs) == (None, None)


def test_a_top_p_of_1_may_be_left_out_and_another_one_not():
    assert names_refused(body() | {"top_p": 1.0}, "'top_p' is not supported") == {"top_p"}
    assert names_refused(body(), "'top_p' is not supported") == set()
