"""Which folders can be reported, and what is read of them."""

import json

import pytest

from alfworld_sft.errors import RunFolderError, UserError
from alfworld_sft.report.read import read_runs
from alfworld_sft.report.training import Curve, curves_of
from alfworld_sft.runs.journal import read_journal
from alfworld_sft.runs.records import to_line
from tests.episodes import episode
from tests.report.runs import play, write_training


def test_a_folder_without_a_run_is_named_with_the_way_out(tmp_path):
    with pytest.raises(RunFolderError) as error:
        read_runs([tmp_path])
    assert str(error.value) == (
        f"{tmp_path}: it holds neither episodes.jsonl nor metrics.jsonl; name a folder of collect, evaluate or train"
    )
    with pytest.raises(RunFolderError, match="no such folder"):
        read_runs([tmp_path / "missing"])


def test_a_run_named_twice_is_refused(tmp_path):
    run = play(tmp_path, "eval")
    with pytest.raises(UserError, match="is named twice; name each run once"):
        read_runs([run, tmp_path / "." / "eval"])


def test_names_are_as_long_as_tells_them_apart(tmp_path):
    paths = [write_training(tmp_path / name) for name in ("a", "b")]
    for parent in paths:
        write_training(parent / "run")
    assert [run.name for run in read_runs(paths)] == ["a", "b"]
    assert [run.name for run in read_runs([path / "run" for path in paths])] == ["a/run", "b/run"]


def test_the_later_line_of_an_episode_counts_and_a_torn_one_does_not(tmp_path):
    failed = json.dumps({"index": 1, "game_id": "g", "error": "no server"}).encode() + b"\n"
    lines = [to_line(episode(0, turns=1)), failed, to_line(episode(0, turns=2)), to_line(episode(2))[:-20]]
    (tmp_path / "episodes.jsonl").write_bytes(b"".join(lines))
    journal = read_journal(tmp_path / "episodes.jsonl")
    assert [(found.index, len(found.steps)) for found in journal.episodes()] == [(0, 2)]
    assert [(found.index, found.error) for found in journal.failed] == [(1, "no server")]
    assert (tmp_path / "episodes.jsonl").read_bytes() == b"".join(lines)


def test_a_line_that_is_no_episode_is_named(tmp_path):
    (tmp_path / "episodes.jsonl").write_bytes(b'{"index": 0}\n')
    with pytest.raises(RunFolderError, match="the line at byte 0 is no episode"):
        read_journal(tmp_path / "episodes.jsonl")


def test_every_logged_figure_becomes_a_curve(tmp_path):
    (run,) = read_runs([write_training(tmp_path / "model")])
    assert (run.kind, run.stamped("config", "data", "max_length")) == ("train", 1024)
    assert run.records is not None
    assert curves_of(run.records) == [
        Curve("epoch", [1, 2], [0.1, 0.2]),
        Curve("loss", [1, 2, 3], [2.0, 1.0, 0.5]),
        Curve("lr", [1, 2, 3], [1e-4, 5e-5, 0.0]),
        Curve("grad_norm", [1], [1.5]),
        Curve("val/loss", [2], [1.25]),
        Curve("eval/success_rate", [2], [0.5]),
        Curve("reward/mean", [3], [0.75]),
    ]


def test_a_long_curve_is_drawn_by_means():
    (curve,) = curves_of([{"step": n, "loss": float(n % 2)} for n in range(4000)])
    assert (len(curve.steps), set(curve.values), curve.steps[:2]) == (2000, {0.5}, [1, 3])
