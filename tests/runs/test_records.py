import json
from dataclasses import replace

import pytest

from alfworld_sft.runs.records import from_line, to_line
from alfworld_sft.types import Advice, Alternative, Distance, Reply
from tests.episodes import episode, step


def test_an_episode_reads_back_as_it_was():
    assert from_line(to_line(episode())) == episode()


def test_token_ids_and_log_probabilities_are_kept():
    reply = Reply("x", prompt_token_ids=(1, 2), token_ids=(3,), logprobs=(-0.5,))
    played = episode(steps=(replace(step(), reply=reply),))
    assert from_line(to_line(played)) == played


def test_token_counts_are_kept_and_old_lines_without_them_are_read():
    counted = episode(steps=(replace(step(), reply=Reply("x", prompt_tokens=100, reply_tokens=1)),))
    assert from_line(to_line(counted)) == counted
    assert b"prompt_tokens" not in to_line(episode())


def test_what_a_turn_records_besides_is_kept_and_absent_where_it_is_not_recorded():
    advice = Advice(Reply("y"), "look", None, "A room.", 3)
    others = (Alternative("look", "A room.", 3), Alternative("inventory", "Nothing."))
    probed = episode(steps=(replace(step(), teacher=advice, alternatives=others, distance=Distance(3, None)),))
    assert from_line(to_line(probed)) == probed
    assert not {b"teacher", b"alternatives", b"distance"} & set(to_line(episode()).split(b'"'))


@pytest.mark.parametrize(
    "field", [{"distance": ["3", 2]}, {"alternatives": [{"command": "look", "next_observation": "", "distance": "3"}]}]
)
def test_a_distance_that_is_no_number_is_no_episode(field):
    line = json.loads(to_line(episode()))
    line["steps"][0] |= field
    with pytest.raises(ValueError, match="not an episode"):
        from_line(json.dumps(line).encode())


def test_a_line_is_one_line_whatever_was_said():
    said = episode(steps=(replace(step(), reply=Reply("a\nb\u2028c\r\n")),))
    assert to_line(said).count(b"\n") == 1
    assert from_line(to_line(said)) == said


@pytest.mark.parametrize(("name", "value"), [("game_id", {}), ("split", 1), ("task_type", ["x"]), ("template", None)])
def test_a_name_that_is_no_text_is_no_episode(name, value):
    with pytest.raises(ValueError, match=f"not an episode: {name} is no text"):
        from_line(json.dumps({**json.loads(to_line(episode())), name: value}).encode())


def test_an_admissible_command_that_is_no_text_is_no_episode():
    line = json.loads(to_line(episode()))
    line["steps"][0]["admissible_commands"] = [["look"], {}]
    with pytest.raises(ValueError, match="an admissible command is no text"):
        from_line(json.dumps(line).encode())


def test_half_a_surrogate_pair_becomes_a_question_mark():
    line = json.loads(to_line(episode()))
    line["steps"][0]["reply"]["text"] = "\ud800 hi"
    assert from_line(json.dumps(line).encode()).steps[0].reply.text == "? hi"


def test_escaped_characters_beyond_the_first_plane_are_read():
    line = json.loads(to_line(episode()))
    line["steps"][0]["reply"]["text"] = "\U0001f600"
    assert from_line(json.dumps(line).encode()).steps[0].reply.text == "\U0001f600"


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b'{"steps": 3}', b"\xff", b"[" * 10_000])
def test_anything_else_is_no_episode(line):
    with pytest.raises(ValueError, match="not an episode"):
        from_line(line)
