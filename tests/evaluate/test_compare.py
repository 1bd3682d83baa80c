import json

import pytest

from alfworld_sft.errors import ComparisonError, RunFolderError
from alfworld_sft.evaluate.compare import Result, compare, read_result
from alfworld_sft.evaluate.statistics import exact_p_value, paired_difference

PICK, LOOK = "pick_and_place_simple", "look_at_obj_in_light"
PROTOCOL = {"split": "valid_seen", "max_steps": 50, "template": "default", "template_sha256": "abc", "seed": 1}


def result(name, outcomes, *, sampling=None, sha256="x", **protocol):
    stamp = {"protocol": {**PROTOCOL, **protocol}, "sampling": sampling, "games": {"sha256": sha256}}
    return Result(name, stamp, outcomes)


def outcomes(text, task_type=PICK):
    """One game a word, one play a letter: + is won."""
    return {task_type: {f"game {n}": tuple(c == "+" for c in word) for n, word in enumerate(text.split())}}


def test_plays_of_the_same_game_are_paired():
    found = compare(result("a", outcomes("+ + - - -")), result("b", outcomes("+ - + + -")))
    assert (found.both, found.only_a, found.only_b, found.neither) == (1, 1, 2, 1)
    assert found.difference == pytest.approx(0.2)
    assert found.interval == paired_difference([0, -1, 1, 1, 0])[1]
    assert found.p_value == exact_p_value([-1, 1, 1])
    assert "exact McNemar" in found.method


def test_success_is_told_by_task_type():
    a = result("a", {**outcomes("+ -"), LOOK: {"lamp": (False,)}})
    b = result("b", {**outcomes("+ +"), LOOK: {"lamp": (False,)}})
    assert compare(a, b).by_task_type == {PICK: (2, 1, 2), LOOK: (1, 0, 0)}


@pytest.mark.parametrize("swapped", [False, True])
def test_a_game_whose_type_only_one_result_knows_is_paired(swapped):
    """Its plays failed in the other result, which had no place and no other play to tell the type by."""
    known = result("a", outcomes("+ +"))
    failed = result("b", {PICK: {"game 1": (True,)}, "unknown": {"game 0": (False,)}})
    pair = (failed, known) if swapped else (known, failed)
    found = compare(*pair, different_protocols=True)
    assert found.difference == (0.5 if swapped else -0.5)
    assert found.by_task_type == {PICK: (2, 1, 2) if swapped else (2, 2, 1)}


def test_plays_of_one_game_are_one_piece_of_evidence():
    found = compare(result("a", outcomes("--- --- +++")), result("b", outcomes("+++ --- ++-")))
    assert (found.games, found.plays) == (3, 9)
    assert found.difference == pytest.approx(2 / 9)
    assert found.p_value == exact_p_value([3, 0, -1])
    assert "sign-flip" in found.method


def test_a_result_beside_itself_has_no_difference():
    a = result("a", outcomes("+ - +"))
    found = compare(a, a)
    assert (found.difference, found.p_value) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_steps": 30}, "max_steps 50 or 30"),
        ({"history_length": 2}, "history_length null or 2"),
        ({"template": "add_wm1", "template_sha256": "def"}, "template default (abc) or add_wm1 (def)"),
        ({"template_sha256": "def"}, "template default (abc) or default (def)"),
        ({"sampling": {"temperature": 1.0}}, 'sampling null or {"temperature": 1.0}'),
        ({"sha256": "y"}, "games of the same names with other contents"),
    ],
)
def test_different_protocols_are_refused_by_name(changes, named):
    a, b = result("a", outcomes("+ -")), result("b", outcomes("+ -"), **changes)
    with pytest.raises(ComparisonError) as error:
        compare(a, b)
    assert str(error.value) == f"a and b cannot be compared: {named} (--different-protocols compares them anyway)"
    assert compare(a, b, different_protocols=True).plays == 2


def test_another_seed_is_no_other_protocol():
    assert compare(result("a", outcomes("+ -")), result("b", outcomes("+ -"), seed=2)).plays == 2


def test_other_games_are_refused_and_common_ones_are_compared_if_wished():
    a, b = result("a", outcomes("+ - -")), result("b", outcomes("+ +"))
    with pytest.raises(ComparisonError, match="1 game only in the first, 0 only in the second"):
        compare(a, b)
    assert compare(a, b, different_protocols=True).games == 2


def test_results_without_a_common_game_are_refused_always():
    a, b = result("a", outcomes("+")), result("b", {PICK: {"another": (True,)}})
    with pytest.raises(ComparisonError, match="a and b have no game in common"):
        compare(a, b, different_protocols=True)


def written(path, status="complete", **changes):
    stamp = {"protocol": PROTOCOL, "sampling": None, "games": {"sha256": "x"}}
    path.write_text(json.dumps({"status": status, "stamp": stamp, "outcomes": {PICK: {"g": [True]}}, **changes}))
    return path


def test_a_result_is_read_from_its_folder_or_its_file(tmp_path):
    file = written(tmp_path / "metrics.json")
    assert read_result(tmp_path).outcomes == read_result(file).outcomes == {PICK: {"g": (True,)}}


def test_what_is_no_finished_evaluation_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"is not a finished evaluation: it has no metrics\.json"):
        read_result(tmp_path)
    with pytest.raises(RunFolderError, match=r"nowhere is not a finished evaluation: there is no such folder or file"):
        read_result(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"some of its episodes failed; play them first: .* --resume"):
        read_result(written(tmp_path / "metrics.json", status="incomplete"))
    assert read_result(tmp_path, failed_as_lost=True).outcomes == {PICK: {"g": (True,)}}
    with pytest.raises(RunFolderError, match="some of its episodes failed"):
        read_result(written(tmp_path / "metrics.json", status="running"), failed_as_lost=True)
    for content in ("[]", "{", '{"status": "complete"}'):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(RunFolderError, match="is not one that evaluate wrote"):
            read_result(tmp_path)
    with pytest.raises(RunFolderError, match="is not one that evaluate wrote"):
        read_result(written(tmp_path / "metrics.json", outcomes=[]))
