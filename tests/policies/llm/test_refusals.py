import json

import pytest

from alfworld_sft.policies.llm.refusals import (
    Complaint,
    about,
    complaint_in,
    is_unknown_model,
    read_complaint,
    working_temperature,
)


def complaint(words, status=400, **fields) -> Complaint:
    return Complaint(status, words, **fields)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "no top_k here", "type": "invalid_request_error"}}', "no top_k here"),
        ('{"object": "error", "message": "no top_k here", "type": "BadRequestError", "code": 400}', "no top_k here"),
        ('[{"error": {"code": 400, "message": "no top_k here", "status": "INVALID_ARGUMENT"}}]', "no top_k here"),
        ('{"error": "no top_k here", "error_type": "validation"}', "no top_k here"),
        ('{"error": ["no top_k here", "nor min_p"]}', "no top_k here; nor min_p"),
        ('{"detail": "no top_k here"}', "no top_k here"),
        ('{"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs"}]}', "body.top_k: Extra inputs"),
        ('{"error": "Bad Request", "message": "no top_k here", "statusCode": 400}', "Bad Request: no top_k here"),
        (
            '{"error": {"message": "Provider returned error", "metadata": {"raw": "{\\"error\\": \\"no top_k\\"}"}}}',
            "Provider returned error: no top_k",
        ),
        ('"no top_k here"', "no top_k here"),
        ("404 page not found\n", "404 page not found"),
        ("<html><head><title>502 Bad Gateway</title></head><body><h1>x</h1></body></html>", "502 Bad Gateway"),
        ("<p>no title</p>", "no title"),
        ('{"strange": 1}', '{"strange": 1}'),
        ("", "it says nothing more"),
        ("{}", "it says nothing more"),
        ("null", "it says nothing more"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_the_words_of_a_refusal_are_found_in_whatever_shape_they_come(body, words):
    assert read_complaint(400, body).words == words


def test_param_and_code_are_those_of_the_error():
    found = read_complaint(400, '{"error": {"message": "x", "param": "top_k", "code": "unsupported_parameter"}}')
    assert (found.param, found.code) == ("top_k", "unsupported_parameter")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("max_tokens must be at least 1, got -186", "too long"),
        ("max_tokens must be at least 1, got 0.", "too long"),
        ("The decoder prompt (length 5016) is longer than the maximum model length of 4096.", "too long"),
        ("This model's maximum context length is 4096 tokens. However, you requested 5016 tokens", "too long"),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context length is 1",
            "too long",
        ),
        ("the request exceeds the available context size. try increasing the context size", "too long"),
        ("The input (5016 tokens) is longer than the model's context length (4096 tokens).", "too long"),
        ("Input length (5016) exceeds model's maximum context length (4096).", "too long"),
        ("prompt is too long: 210000 tokens > 200000 maximum", "too long"),
        ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5016", "too long"),
        ("Prompt contains 5016 tokens and 0 draft tokens, too large for model with 4096", "too long"),
        ("Please reduce the length of the messages or completion.", "too long"),
        ("The input token count (5016) exceeds the maximum number of tokens allowed (4096).", "too long"),
        ("The response was filtered due to the prompt triggering content management policy", "filtered"),
        ("Content Exists Risk", "filtered"),
        ("Input data may contain inappropriate content.", "filtered"),
        ("Your request was rejected as a result of our safety system.", "filtered"),
        ("Invalid prompt: your prompt was flagged as potentially violating our usage policy", "filtered"),
        ("Conversation roles must alternate user/assistant/user/assistant/...", "messages"),
        ("System role not supported", "messages"),
        ("Unrecognized request argument supplied: top_k", None),
        ("max_tokens is too large: 100000. This model supports at most 4096 completion tokens", None),
        ("extra inputs are not permitted", None),
        ("The model `m` does not exist.", None),
    ],
)
def test_a_complaint_about_the_prompt_is_told_from_others(words, what):
    assert about(complaint(words)) == what


def test_a_code_says_as_much_as_the_words():
    assert about(complaint("no", code="context_length_exceeded")) == "too long"
    assert about(complaint("no", code="content_filter")) == "filtered"
    assert about(complaint("no", code="data_inspection_failed")) == "filtered"


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        ("The model `m` does not exist.", True),
        ("model 'm' not found, try pulling it first", True),
        ("I serve 'a' alone, not 'm'", True),
        ("Unknown model: m", True),
        ("m is not a valid model ID", True),
        ("Unsupported parameter: 'top_p' is not supported with this model.", False),
        ("Unsupported value: 'temperature' does not support 0.4 with this model 'm'.", False),
        ("max_tokens must be at most 100", False),
        ("Conversation roles must alternate (model m)", False),
        ("something is amiss", False),
    ],
)
def test_a_model_is_unknown_where_the_server_says_so_and_not_where_its_name_turns_up(words, unknown):
    assert is_unknown_model(complaint(words), "m") == unknown


def test_a_model_is_unknown_where_the_error_s_param_or_code_says_so():
    assert is_unknown_model(complaint("no", param="model"), "m")
    assert is_unknown_model(complaint("no", code="model_not_found"), "m")
    assert not is_unknown_model(complaint("The model 'm' does not exist with it", param="top_k"), "m")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("'temperature' does not support 0.4 with this model. Only the default (1) value is supported.", "1"),
        ("invalid temperature: only 0.6 is allowed for this model", "0.6"),
        ("`temperature` may only be set to 1 when thinking is enabled.", "1"),
        ("temperature must be 1 for this model", "1"),
        ("temperature: Input should be less than or equal to 1", "1"),
        ("temperature must be in [0, 1.5]", "1.5"),
        ("temperature: range: 0..1", "1"),
        ("temperature must be between 0 and 1", "1"),
        ("Unsupported parameter: 'temperature' is not supported with this model.", "null"),
    ],
)
def test_a_refused_temperature_is_answered_with_the_value_that_would_work(words, value):
    assert working_temperature(complaint(words)) == value


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        ({"error": {"message": "busy", "code": 503}}, 503, "busy"),
        ({"error": {"message": "slow down", "code": "429"}}, 429, "slow down"),
        ({"error": "Unexpected endpoint or method."}, 404, "Unexpected endpoint or method."),
        ({"error": "the model crashed"}, 500, "the model crashed"),
        ({"error": "unknown parameter top_k"}, 400, "unknown parameter top_k"),
        (
            {"object": "error", "message": "maximum context length is 1", "code": None},
            400,
            "maximum context length is 1",
        ),
        ([{"error": {"message": "no"}}], 500, "no"),
        ({"choices": [{"error": {"message": "upstream", "code": 502}, "finish_reason": "error"}]}, 502, "upstream"),
    ],
)
def test_an_error_that_comes_with_status_200_is_one(data, status, words):
    found = complaint_in(data)
    assert found is not None
    assert (found.status, found.words) == (status, words)


def test_an_answer_is_no_complaint():
    assert complaint_in({"choices": [{"message": {"content": "x"}}], "error": None}) is None
    assert complaint_in(json.loads("[]")) is None
