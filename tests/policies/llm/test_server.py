import asyncio
import contextlib
import gc
import logging
import os
import resource
import time
from dataclasses import replace

import pytest

from alfworld_sft.errors import ConfigError, PolicyError, PolicyUnavailableError, UserError
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.policies.llm.retry import Patience, retry_after_s
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.llm.server import OpenAIServer
from alfworld_sft.policies.make import make_policy
from alfworld_sft.types import Message, Reply
from tests.fake_server import BREAKS_OFF, GARBAGE, KEY, TURN, Answer, fails, free_port, gives, says, serving
from tests.policies.llm.test_protocol import prompt

pytestmark = pytest.mark.usefixtures("openai_key")


def server(url, attempts=3, timeout_s=5.0, temperature=0.4, **options) -> OpenAIServer:
    return OpenAIServer(
        "m", url, Sampling(temperature, 1.0, 64), Patience(timeout_s, attempts, pause_s=0.01), **options
    )


def ask(policy, *prompts):
    """The replies to the prompts, asked one after the other; an error in place of a reply."""

    async def all_of_them():
        replies = []
        for asked in prompts or [prompt()]:
            try:
                replies.append(await policy.act(asked))
            except (PolicyError, UserError) as error:
                replies.append(error)
        return replies

    return asyncio.run(all_of_them())


def test_a_reply_with_its_token_counts():
    with serving([says()]) as fake:
        [reply] = ask(server(fake.url))
    assert (reply.text, reply.prompt_tokens, reply.reply_tokens) == (TURN, 100, 20)
    assert fake.keys == [f"Bearer {KEY}"]
    assert (fake.requests[0]["model"], fake.requests[0]["temperature"], fake.requests[0]["seed"]) == ("m", 0.4, 7)


def test_a_dropped_stop_string_is_put_back():
    with serving([says("<think>a</think><action>look")]) as fake:
        [reply] = ask(server(fake.url))
    assert reply.text.endswith("<action>look</action>")


@pytest.mark.parametrize(
    "setback",
    [fails(429), fails(500), fails(503), BREAKS_OFF, GARBAGE, Answer(body=b"[]"), replace(says(), after_s=2.0)],
    ids=["429", "500", "503", "broken off", "not JSON", "no message", "too slow"],
)
def test_a_setback_is_tried_again_with_the_same_seed(setback):
    with serving([setback, says()]) as fake:
        [reply] = ask(server(fake.url, timeout_s=1.0))
    assert reply.text == TURN
    assert [request["seed"] for request in fake.requests] == [7, 7]


@pytest.mark.parametrize(
    ("setback", "reason"),
    [
        (fails(500, "out of order"), "answered 500: out of order (3 attempts)"),
        (BREAKS_OFF, "was lost"),
        (GARBAGE, "the server gave a malformed answer: it is not JSON: not JSON (3 attempts)"),
        (replace(says(), after_s=2.0), "timed out after 0.5 s (3 attempts)"),
        (says("and so on", "length"), "the reply did not end within policy.max_tokens=64 (3 attempts)"),
    ],
)
def test_what_stays_wrong_is_the_episode_s_error(setback, reason):
    with serving([setback]) as fake:
        [error] = ask(server(fake.url, timeout_s=0.5 if setback.after_s else 5.0))
    assert isinstance(error, PolicyError)
    assert reason in str(error)
    assert len(fake.requests) == 3


TAGS_IN_A_THOUGHT = "<think>I must write <action>look</action>"


@pytest.mark.parametrize(
    "stopped",
    [says(TAGS_IN_A_THOUGHT), gives({"content": None, "reasoning_content": "I must write <action>look</action>"})],
)
def test_a_reply_that_was_stopped_in_its_thought_is_asked_for_again_without_the_stop_string(stopped):
    whole = f"{TAGS_IN_A_THOUGHT}. I go.</think>\n<action>go to desk 1</action> And then"
    with serving([stopped, says(whole)]) as fake:
        [reply] = ask(server(fake.url), prompt())
    assert (reply.text, reply.reply_tokens) == (whole.removesuffix(" And then"), 40)
    first, second = fake.requests
    assert first.pop("stop") == ["</action>"]
    assert first.pop("include_stop_str_in_output")
    assert second == first


@pytest.mark.parametrize(
    ("words", "room"),
    [
        (
            "'max_tokens' is too large: 64. This model's maximum context length is 2048 tokens and your request has"
            " 2000 input tokens (64 > 2048 - 2000)",
            48,
        ),
        (
            "This model's maximum context length is 2048 tokens. However, you requested 2064 tokens (2000 in the"
            " messages, 64 in the completion).",
            48,
        ),
        (
            "This model's maximum context length is 2048 tokens, however you requested 2064 tokens (2000 in your"
            " prompt; 64 for the completion).",
            48,
        ),
        (  # SGLang's, which may refuse the last token as well
            "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total of"
            " 2064 tokens: 2000 tokens from the input messages and 64 tokens for the completion.",
            47,
        ),
    ],
)
def test_a_prompt_that_leaves_less_room_than_max_tokens_gets_what_there_is(words, room):
    with serving([fails(400, words), says("<action>look</action>"), says("<action>look</action>")]) as fake:
        replies = ask(server(fake.url), prompt(), prompt())
    assert [reply.text for reply in replies] == ["<action>look</action>"] * 2
    assert [request["max_tokens"] for request in fake.requests] == [64, room, 64]


def test_a_reply_that_had_less_room_is_kept_as_far_as_it_came():
    """As in this process: another draw would have no more of it."""
    words = "maximum context length is 2048 tokens and your request has 2045 input tokens"
    with serving([fails(400, words), says("<think>I", finish="length")]) as fake:
        [reply] = ask(server(fake.url, truncated="retry"), prompt())
    assert (reply.text, [request["max_tokens"] for request in fake.requests]) == ("<think>I", [64, 3])


def test_a_truncated_reply_is_drawn_again_with_another_seed():
    with serving([says("and so on", "length"), says()]) as fake:
        [reply] = ask(server(fake.url))
    assert reply.text == TURN
    assert len({request["seed"] for request in fake.requests}) == 2


def test_a_reply_counts_the_tokens_of_the_truncated_ones_before_it():
    with serving([says("and so on", "length"), says("and so on", "length"), says()]) as fake:
        [reply] = ask(server(fake.url))
    assert (reply.text, reply.prompt_tokens, reply.reply_tokens) == (TURN, 300, 60)


def test_a_truncated_reply_is_not_drawn_again_where_that_is_of_no_use():
    with serving([says("and so on", "length")]) as fake:
        [error] = ask(server(fake.url, temperature=0.0))
        [kept] = ask(server(fake.url, truncated="keep"))
    assert "with greedy sampling it would give the same reply" in str(error)
    assert kept.text == "and so on"
    assert len(fake.requests) == 2


def test_retry_after_is_kept_to():
    with serving([fails(429, Retry_After="0.5"), says()]) as fake:
        ask(server(fake.url))
    assert fake.times[1] - fake.times[0] >= 0.5


def test_a_server_that_wants_an_hour_is_not_waited_for():
    with serving([says(), fails(429, Retry_After="3600")]) as fake:
        _, error = ask(server(fake.url), prompt(), prompt())
    assert "asks to wait 3600 s (1 attempt)" in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-3"}, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(headers, seconds):
    assert retry_after_s(headers, now=lambda: 10.0) == seconds


def test_pauses_double_and_depend_on_the_turn_alone(monkeypatch):
    async def note(seconds):
        pauses.append(seconds)

    runs = []
    with serving([fails(500)]) as fake:
        monkeypatch.setattr("alfworld_sft.policies.llm.retry.asyncio.sleep", note)
        for _ in range(2):
            pauses: list[float] = []
            ask(server(fake.url, attempts=5))
            runs.append(pauses)
    assert runs[0] == runs[1]
    assert len(runs[0]) == 4
    assert all(0.005 * 2**n <= pause <= 0.015 * 2**n for n, pause in enumerate(runs[0]))


def test_a_parameter_that_the_server_does_not_know_is_left_out_from_then_on(caplog):
    def strict(request, _):
        unknown = {"include_stop_str_in_output", "min_p"} & request.keys()
        return fails(400, f"Unrecognized request arguments supplied: {sorted(unknown)}") if unknown else says()

    with serving(strict) as fake, caplog.at_level(logging.WARNING):
        replies = ask(server(fake.url), prompt(), prompt())
    assert [reply.text for reply in replies] == [TURN, TURN]
    assert len(fake.requests) == 3
    assert [record.message for record in caplog.records] == [
        "the server does not take 'include_stop_str_in_output' and is asked without it",
        "the server does not take 'min_p' and is asked without it",
    ]


def test_a_refused_request_is_not_repeated():
    with serving([says(), fails(400, "maximum context length is 2048 tokens")]) as fake:
        _, error = ask(server(fake.url), prompt(), prompt())
    assert "refused the request (400: maximum context length is 2048 tokens)" in str(error)
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}"), "refuses access (401); check OPENAI_API_KEY"),
        (fails(403, f"key {KEY[:6]}… is blocked"), "refuses access (403); check OPENAI_API_KEY"),
        (fails(403, "not in your country"), "refuses access (403: not in your country); check OPENAI_API_KEY"),
        (fails(404, "no model m"), "does not know the model 'm', or has no chat there (404: no model m)"),
        (fails(429, "pay", "insufficient_quota"), "says that the account's quota is used up (429: pay)"),
    ],
)
def test_a_first_refusal_ends_the_run_and_a_later_one_the_episode(refusal, line):
    with serving([refusal]) as fake:
        [error] = ask(server(fake.url))
        assert isinstance(error, UserError)
        assert str(error) == f"the server at {fake.url} {line}"
        assert len(fake.requests) == 1
    with serving([says(), refusal]) as fake:
        _, error = ask(server(fake.url), prompt(), prompt())
        assert isinstance(error, PolicyError)


def test_a_first_refusal_that_names_the_model_ends_the_run_though_it_comes_as_a_bad_request():
    with serving([Answer(400, b"{\"detail\": \"I serve 'a' alone, not 'm'\"}")]) as fake:
        [error] = ask(server(fake.url))
    assert isinstance(error, PolicyUnavailableError)
    assert "does not know the model 'm', or has no chat there (400: I serve 'a' alone, not 'm')" in str(error)


def test_a_server_that_is_not_there_ends_the_run_at_once():
    url = f"http://127.0.0.1:{free_port()}/v1"
    started = time.monotonic()
    [error] = ask(server(url, attempts=100))
    assert isinstance(error, UserError)
    assert str(error).startswith(f"cannot reach the server at {url} (")
    assert time.monotonic() - started < 5


def test_a_server_that_never_answers_rightly_ends_the_run_after_some_turns():
    with serving([fails(500)]) as fake:
        errors = ask(server(fake.url, attempts=1), *[prompt()] * 9)
    assert [type(error) for error in errors] == [PolicyError] * 7 + [PolicyUnavailableError] * 2


def test_a_server_that_stops_answering_rightly_ends_the_run_after_some_turns():
    with serving(lambda _, number: says() if number in (0, 7) else fails(500)) as fake:
        errors = ask(server(fake.url, attempts=1), *[prompt()] * 16)
    kinds = [type(error) for error in errors]
    assert kinds == [Reply, *[PolicyError] * 6, Reply, *[PolicyError] * 7, PolicyUnavailableError]


def test_turns_that_are_refused_for_their_own_sake_do_not_end_the_run():
    with serving([says(), fails(400, "maximum context length is 2048 tokens")]) as fake:
        errors = ask(server(fake.url), *[prompt()] * 20)
    assert [type(error) for error in errors] == [Reply, *[PolicyError] * 19]


def test_a_server_that_has_gone_ends_the_run_with_the_first_turn_that_finds_nobody():
    policy = None
    with serving([says()]) as fake:
        policy = server(fake.url)
        first = ask(policy)
    [error] = ask(policy)
    assert [reply.text for reply in first] == [TURN]
    assert isinstance(error, PolicyUnavailableError)
    assert str(error).startswith(f"the connection to the server at {fake.url} was lost (")
    assert str(error).endswith("(3 attempts)")


def test_the_key_is_struck_out_of_what_the_server_says(caplog):
    with serving([fails(500, f"bad header Bearer {KEY}")]) as fake, caplog.at_level(logging.DEBUG, "alfworld_sft"):
        [error] = ask(server(fake.url))
    assert "bad header Bearer ***" in str(error)
    assert KEY not in str(error) + repr(error) + caplog.text


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (None, "needs an address"),
        ("localhost:8000/v1", "must begin with http:// or https://"),
        (f"http://user:{KEY}@host/v1", "put the key into OPENAI_API_KEY alone"),
        (f"https://host/v1?api-key={KEY}", "put the key into OPENAI_API_KEY alone"),
        (f"http://[{KEY}/v1", "must begin with http:// or https:// and name a host"),
        (f"http://host:{KEY}/v1", "must begin with http:// or https:// and name a host"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_without_repeating_it(url, line):
    with pytest.raises(ConfigError, match=line) as caught:
        server(url)
    assert KEY not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY} x")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds a blank") as caught:
        server("http://host/v1")
    assert KEY not in str(caught.value)


def test_a_server_without_keys_needs_none(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving([says()]) as fake:
        [reply] = ask(server(fake.url))
    assert reply.text == TURN


def test_the_options_make_the_policy(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1/")
    policy = make_policy(PolicySection(name="server", model="org/m", temperature=0, max_tokens=99))
    assert isinstance(policy, OpenAIServer)
    assert (policy.name, policy.base_url) == ("server:org/m", "http://host/v1")
    assert (policy.sampling["temperature"], policy.sampling["top_p"], policy.sampling["max_tokens"]) == (0, 1.0, 99)


def test_a_model_must_be_named():
    with pytest.raises(ConfigError, match=r"policy\.model=NAME"):
        make_policy(PolicySection(name="server", base_url="http://host/v1"))


def test_the_same_policy_works_in_another_event_loop():
    with serving([says()]) as fake:
        policy = server(fake.url)
        assert [ask(policy)[0].text, ask(policy)[0].text] == [TURN, TURN]


ABOUT_THE_PROMPT = {
    "max_tokens must be at least 1, got -186": "the prompt is too long",
    "The decoder prompt (length 5016) is longer than the maximum model length of 4096.": "the prompt is too long",
    "The response was filtered due to the content management policy": "a content filter stopped the prompt",
    "Conversation roles must alternate user/assistant/user/assistant/...": "refused the request",
    "something odd about this one": "refused the request",
}


@pytest.mark.parametrize("first", [True, False], ids=["at first", "later"])
@pytest.mark.parametrize("words", ABOUT_THE_PROMPT)
def test_a_refusal_that_is_about_the_prompt_fails_that_turn_alone_and_changes_no_other_request(words, first, caplog):
    """The odd prompt is refused whatever parameters it comes with; all others are taken with all of them."""

    def picky(request, _):
        return fails(400, words) if "odd" in request["messages"][-1]["content"] else says()

    odd = replace(prompt(), messages=(Message("user", "odd"),))
    prompts = [odd, prompt()] if first else [prompt(), odd, prompt()]
    with serving(picky) as fake:
        policy = server(fake.url)
        before = policy.sampling
        outcomes = ask(policy, *prompts)
    assert type(outcomes[-2]) is PolicyError
    assert ABOUT_THE_PROMPT[words] in str(outcomes[-2])
    assert words.rstrip(".") in str(outcomes[-2])
    assert outcomes[-1].text == TURN
    assert {"top_k", "min_p", "repetition_penalty", "max_tokens", "stop", "seed"} <= fake.requests[-1].keys()
    assert (policy.sampling, caplog.messages) == (before, [])


def test_a_refusal_about_the_prompt_is_not_asked_again_without_its_parameters():
    with serving([fails(400, "max_tokens must be at least 1, got -186"), says()]) as fake:
        error, reply = ask(server(fake.url), prompt(), prompt())
    assert type(error) is PolicyError
    assert reply.text == TURN
    assert len(fake.requests) == 2


def test_an_unexplained_refusal_is_not_laid_to_parameters_that_the_server_has_taken():
    with serving([says(), fails(400, "odd"), says()]) as fake:
        _, error, _ = ask(server(fake.url), prompt(), prompt(), prompt())
    assert type(error) is PolicyError
    assert len(fake.requests) == 3
    assert "top_k" in fake.requests[-1]


def test_an_unexplained_refusal_is_laid_to_the_parameters_without_which_the_same_prompt_is_answered(caplog):
    def strict(request, _):
        return fails(400, "extra inputs") if "top_k" in request else says()

    with serving(strict) as fake:
        policy = server(fake.url)
        replies = ask(policy, prompt(), prompt())
    assert [reply.text for reply in replies] == [TURN, TURN]
    assert len(fake.requests) == 3
    assert len(caplog.messages) == 4
    assert policy.sampling["not_sent"] == ["include_stop_str_in_output", "min_p", "repetition_penalty", "top_k"]


def test_the_sampling_says_what_is_really_sent():
    def strict(request, _):
        return fails(400, "Unknown parameter: 'top_k'", "unknown_parameter") if "top_k" in request else says()

    with serving(strict) as fake:
        policy = server(fake.url)
        assert "top_k" in policy.sampling
        ask(policy)
    assert "top_k" not in policy.sampling
    assert policy.sampling["not_sent"] == ["top_k"]
    assert (policy.sampling["min_p"], policy.sampling["max_tokens"]) == (0.0, 64)


def test_max_tokens_under_its_newer_name_is_still_sent():
    def newer(request, _):
        words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
        return fails(400, words) if "max_tokens" in request else says()

    with serving(newer) as fake:
        policy = server(fake.url)
        [reply] = ask(policy)
    assert reply.text == TURN
    assert fake.requests[-1]["max_completion_tokens"] == 64
    assert policy.sampling["max_tokens"] == 64
    assert "not_sent" not in policy.sampling


def test_temperature_and_top_p_can_be_left_to_the_server():
    options = PolicySection(name="server", model="m", base_url="http://host/v1", temperature=None, top_p=None)
    sampling = make_policy(options).sampling
    assert not {"temperature", "top_p"} & sampling.keys()
    assert sampling["not_sent"] == ["temperature", "top_p"]
    with serving([says()]) as fake:
        ask(OpenAIServer("m", fake.url, Sampling(None, None, 64)))
    assert not {"temperature", "top_p"} & fake.requests[0].keys()


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'top_p' is not supported with this model.",
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    ],
)
def test_a_top_p_of_1_is_dropped_where_it_is_refused(words):
    with serving(lambda request, _: fails(400, words) if "top_p" in request else says()) as fake:
        policy = server(fake.url)
        replies = ask(policy, prompt(), prompt())
    assert [reply.text for reply in replies] == [TURN, TURN]
    assert len(fake.requests) == 3
    assert policy.sampling["not_sent"] == ["top_p"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Unsupported parameter: 'top_p' is not supported with this model.", "; set policy.top_p=null"),
        ("`temperature` and `top_p` cannot both be specified", "; set policy.temperature=null or policy.top_p=null"),
        (
            "Unsupported value: 'temperature' does not support 0.4. Only the default (1) value is supported.",
            "; set policy.temperature=1",
        ),
        ("'temperature' is not supported with this model 'm'", "; set policy.temperature=null"),
        (
            "max_tokens is too large: 64. This model supports at most 32 completion tokens",
            "; change policy.max_tokens=64",
        ),
    ],
)
def test_a_parameter_of_the_user_s_that_is_refused_ends_the_run_with_the_value_that_would_work(words, advice):
    with serving([fails(400, words)]) as fake:
        [error] = ask(OpenAIServer("m", fake.url, Sampling(0.4, 0.9, 64)))
    assert type(error) is PolicyUnavailableError
    assert str(error) == f"the server at {fake.url} refused the request (400: {words}){advice}"


def test_a_wrong_parameter_is_not_reported_as_an_unknown_model():
    with serving([fails(400, "min_p is not implemented for org/mistral, m or any other model")]) as fake:
        [error] = ask(server(fake.url))
    assert "does not know the model" not in str(error)
    assert "min_p is not implemented" in str(error)


@pytest.mark.parametrize("content", [None, ""], ids=["null", "empty"])
def test_thinking_that_used_up_the_tokens_is_drawn_again_with_a_new_seed_and_named(content):
    cut_off = gives({"content": content, "reasoning_content": "Hmm, and so on"}, "length")
    with serving([cut_off]) as fake:
        [error] = ask(server(fake.url))
        [kept] = ask(server(fake.url, truncated="keep"))
    assert str(error) == ("the reply did not end within policy.max_tokens=64: its reasoning used them up (3 attempts)")
    assert len({request["seed"] for request in fake.requests[:3]}) == 3
    assert kept.text == "<think>Hmm, and so on"


def test_a_reply_of_null_that_was_cut_off_is_as_an_empty_one():
    with serving([gives({"content": None}, "length")]) as fake:
        [error] = ask(server(fake.url))
        [kept] = ask(server(fake.url, truncated="keep"))
    assert str(error) == "the reply did not end within policy.max_tokens=64 (3 attempts)"
    assert kept.text == ""


def test_a_reply_without_text_is_drawn_again_with_a_new_seed():
    with serving([gives({"content": None}, "tool_calls"), gives({"content": None}), says()]) as fake:
        [reply] = ask(server(fake.url))
        [error] = ask(server(fake.url, temperature=0.0))
    assert (reply.text, reply.reply_tokens) == (TURN, 60)
    assert len({request["seed"] for request in fake.requests[:3]}) == 3
    assert isinstance(error, Reply)


def test_a_greedy_reply_without_text_is_not_asked_for_again():
    with serving([gives({"content": None}, "tool_calls")]) as fake:
        [error] = ask(server(fake.url, temperature=0.0))
    assert "holds no text (it ended by 'tool_calls'); with greedy sampling it would give the same reply" in str(error)
    assert len(fake.requests) == 1


def test_a_reply_that_a_content_filter_cut_off_fails_the_turn():
    with serving([says(), gives({"content": None}, "content_filter")]) as fake:
        _, error = ask(server(fake.url), prompt(), prompt())
    assert type(error) is PolicyError
    assert str(error) == f"a content filter cut the reply off (the server at {fake.url})"
    assert len(fake.requests) == 2


def test_reasoning_in_a_field_of_its_own_is_put_into_think_and_said_once(caplog):
    with serving([gives({"content": "<action>look</action>", "reasoning_content": "I look."})]) as fake:
        replies = ask(server(fake.url), prompt(), prompt())
    assert [reply.text for reply in replies] == [TURN, TURN]
    assert caplog.messages == ["the server keeps the model's reasoning apart from its text; it is put into <think>"]


def test_of_reasoning_with_tags_it_is_said_that_it_is_put_into_think(caplog):
    apart = {"content": "<action>look</action>", "reasoning": "hm <action>x</action>"}
    with serving([gives(apart)]) as fake:
        [reply] = ask(server(fake.url), prompt())
    assert (reply.text, reply.reasoning) == ("<think>hm x</think>\n<action>look</action>", apart["reasoning"])
    assert caplog.messages == ["the server keeps the model's reasoning apart from its text; it is put into <think>"]


def test_reasoning_that_the_template_does_not_ask_for_is_kept_beside_the_reply_and_said_once(caplog):
    with serving([gives({"content": "look", "reasoning": "I look."})]) as fake:
        replies = ask(server(fake.url), prompt(tags=()), prompt(tags=()))
    assert [(reply.text, reply.reasoning) for reply in replies] == [("look", "I look.")] * 2
    assert len(caplog.messages) == 1
    assert "the template asks for no <think>, so it is kept in raw_trajectories.json alone" in caplog.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(400, b'[{"error": {"code": 400, "message": "Invalid value at topK"}}]'),
            "(400: Invalid value at topK)",
        ),
        (Answer(400, b"out of cheese"), "(400: out of cheese)"),
        (Answer(400, b'{"detail": [{"loc": ["body", "n"], "msg": "missing"}]}'), "(400: body.n: missing)"),
        (Answer(500, b"<html><title>Bad Gateway</title></html>"), "answered 500: Bad Gateway"),
        (Answer(200, b'{"error": {"message": "the model crashed"}}'), "answered 200, with an error: the model crashed"),
        (Answer(200, b'{"error": "out of memory"}'), "answered 200, with an error: out of memory"),
        (Answer(200, b"busy, come back later"), "it is not JSON: busy, come back later"),
    ],
)
def test_the_server_is_quoted_in_whatever_shape_it_speaks(answer, words):
    with serving([answer]) as fake:
        [error] = ask(server(fake.url, attempts=1))
    assert words in str(error)
    assert "Error code" not in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b'{"detail": "Not Found"}'),
        Answer(404, b"404 page not found"),
        Answer(405, b"Method Not Allowed"),
        Answer(200, b"<!doctype html><title>Chat</title>"),
        Answer(200, b'{"error": "Unexpected endpoint or method. (POST /chat/completions)"}'),
    ],
    ids=["json", "text", "method", "page", "200"],
)
@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/v1/chat/completions"])
def test_an_address_without_v1_is_answered_with_the_one_that_was_meant(answer, end):
    with serving([answer]) as fake:
        root = fake.url.removesuffix("/v1")
        [error] = ask(server(root + end))
    assert type(error) is PolicyUnavailableError
    assert str(error).endswith(f"; did you mean {root}/v1?")
    assert len(fake.requests) == 1


def test_an_address_with_v1_is_not_doubted():
    with serving([Answer(404, b"404 page not found")]) as fake:
        [error] = ask(server(fake.url))
    assert str(error).endswith("(404: 404 page not found)")


def test_a_moderation_s_403_is_about_the_prompt_and_another_one_about_the_key():
    with serving([fails(403, "Your input was flagged"), fails(403, "no")]) as fake:
        filtered, refused = ask(server(fake.url), prompt(), prompt())
    assert (type(filtered), type(refused)) == (PolicyError, PolicyUnavailableError)


def test_an_account_without_money_ends_the_run():
    with serving([fails(402, "Insufficient Balance")]) as fake:
        [error] = ask(server(fake.url))
    assert type(error) is PolicyUnavailableError
    assert "quota is used up (402: Insufficient Balance)" in str(error)


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(monkeypatch):
    for value in ("socks5://127.0.0.1:9", "socks://127.0.0.1:9", f"http://127.0.0.1:{free_port()}"):
        for variable in ("ALL_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(variable, value)
        with serving([says()]) as fake:
            [reply] = ask(server(fake.url))
            [named] = ask(server(fake.url.replace("127.0.0.1", "localhost")))
        assert (reply.text, named.text) == (TURN, TURN)


def test_a_proxy_is_asked_for_a_server_elsewhere(monkeypatch):
    with serving([says()]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        [reply] = ask(server("http://model.example/v1"))
    assert reply.text == TURN
    assert len(proxy.requests) == 1


def test_a_proxy_that_is_not_there_is_named_by_its_variable(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{KEY}@127.0.0.1:{free_port()}")
    [error] = ask(server("http://model.example/v1"))
    assert type(error) is PolicyUnavailableError
    assert str(error).startswith(
        "cannot reach the server at http://model.example/v1 (through the proxy of HTTP_PROXY: "
    )
    assert "; correct or unset HTTP_PROXY, add model.example to NO_PROXY, or start it" in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize("end", [" ", "\r", "\r\n", "/ ", "\t"])
def test_blanks_around_the_address_are_no_part_of_it(end, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://host/v1{end}")
    assert server(None).base_url == "http://host/v1"


@pytest.mark.parametrize("url", ["http://ho st/v1", "http://host/v1\x00", "http://host/\rv1"])
def test_an_address_with_blanks_in_it_is_refused(url):
    with pytest.raises(ConfigError, match="holds a blank or a character that no address has"):
        server(url)


@pytest.mark.parametrize("variable", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_a_carriage_return_at_the_end_of_a_variable_is_not_sent(variable, monkeypatch):
    monkeypatch.setenv(variable, "org-1\r")
    with serving([says()]) as fake:
        [reply] = ask(server(fake.url))
    assert reply.text == TURN
    monkeypatch.setenv(variable, "org 1")
    with pytest.raises(ConfigError, match=f"{variable} holds a blank"):
        server("http://host/v1")


def test_certificates_that_are_not_there_are_named_by_their_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE=.*gone\.pem: No such file or directory; name a file of PEM"):
        server("https://host/v1")


def test_too_few_open_files_are_named():
    """The limit is reached while the server is asked for the first time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def ask_without_a_file_left(policy):
        opened = []
        gc.collect()  # what earlier tests left open would be closed, and so free a file, in the middle of this one
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    opened.append(os.open(os.devnull, os.O_RDONLY))
            await policy.act(prompt())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for file in opened:
                os.close(file)

    with serving([says()]) as fake:
        policy = server(fake.url)
        ask(server(fake.url))  # so that all that is imported late is
        with pytest.raises(PolicyUnavailableError, match=r"no more files may be open.*runner\.concurrency.*ulimit -n"):
            asyncio.run(ask_without_a_file_left(policy))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "create() got an unexpected keyword argument 'top_k'"),
        (501, "top_k is not implemented"),
        (404, "no endpoint supports top_k"),
        (200, ""),
    ],
)
def test_a_parameter_is_dropped_where_it_is_named_whatever_the_status(status, words):
    refusal = fails(status, words) if words else Answer(200, b'{"error": "unknown parameter top_k"}')
    with serving(lambda request, _: refusal if "top_k" in request else says()) as fake:
        policy = server(fake.url)
        [reply] = ask(policy)
    assert reply.text == TURN
    assert policy.sampling["not_sent"] == ["top_k"]
    assert len(fake.requests) == 2


def test_each_place_where_reasoning_goes_is_said_once(caplog):
    apart = gives({"content": "<action>look</action>", "reasoning": "I look."})
    both = gives({"content": TURN, "reasoning": "I look."})
    with serving([apart, both, apart, both]) as fake:
        replies = ask(server(fake.url), *[prompt()] * 4)
    assert [reply.reasoning for reply in replies] == [None, "I look."] * 2
    assert len(caplog.messages) == 2
    assert "the text has a <think> of its own, so it is kept in raw_trajectories.json alone" in caplog.messages[1]


def test_https_at_a_server_without_it_is_answered_with_the_address_that_was_meant():
    with serving([says()]) as fake:
        [error] = ask(server(fake.url.replace("http:", "https:")))
    assert type(error) is PolicyUnavailableError
    assert str(error).endswith(f"; did you mean {fake.url}?")
