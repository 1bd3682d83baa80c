"""The file: one page that holds all it needs, with the figures of the runs."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.report import page
from alfworld_sft.report.build import Options, make_report
from tests.report.runs import episodes, play, rewrite, say, write_training

pytest.importorskip("plotly", reason="the charts need the extra `report`")


def report(output: Path, *runs: Path, **options: Any) -> str:
    make_report(list(runs), output, Options(**options))
    return output.read_text("utf-8")


def data(html: str, name: str) -> Any:
    found = re.search(rf'<script type="application/octet-stream" id="{name}">([A-Za-z0-9+/=]*)</script>', html)
    assert found, name
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_the_figures_are_those_of_the_evaluation(tmp_path):
    run = play(tmp_path, "eval", "policy.name=random", "env.max_steps=10")
    summary = data(report(tmp_path / "r.html", run), "summary")
    metrics = json.loads((run / "metrics.json").read_bytes())
    found = summary["runs"][0]
    assert found["play"]["success"] == metrics["success"]
    assert found["play"]["by_type"] == metrics["success_by_task_type"]
    assert found["play"]["mean_steps"] == metrics["mean_steps"]
    assert sum(found["kinds"].values()) == metrics["invalid_actions"]["of"]
    kinds = found["world_model"]["by_predictor"]["policy"]
    assert kinds.pop("all") == metrics["world_model"]["policy"]["all"]
    assert kinds == metrics["world_model"]["policy"]["by_kind"]
    assert [row["index"] for row in summary["rows"]] == list(range(6))
    assert summary["max_length"] == 2048


def test_the_turns_are_those_of_the_journal(tmp_path):
    run = play(tmp_path, "eval")
    chunk = data(report(tmp_path / "r.html", run), "chunk-0")
    assert [
        [(turn["reply"], turn["next"], [chunk["commands"][n] for n in turn["commands"]]) for turn in turns]
        for turns in chunk["episodes"]
    ] == [
        [(step.reply.text, step.next_observation, list(step.admissible_commands)) for step in episode.steps]
        for episode in episodes(run)
    ]


def test_two_runs_are_compared(tmp_path):
    runs = [play(tmp_path, "a"), play(tmp_path, "b", "policy.name=random", "env.max_steps=50")]
    (found,) = data(report(tmp_path / "r.html", *runs), "summary")["comparisons"]
    lost = sum(not episode.success for episode in episodes(runs[1]))
    assert (found["games"], found["only_a"], found["only_b"]) == (6, lost, 0)
    assert found["p_value"] == (1.0 if lost == 0 else 2 / 2**lost)


def test_a_run_that_is_not_finished_is_not_compared_and_the_report_says_why(tmp_path):
    runs = [play(tmp_path, "a"), play(tmp_path, "b")]
    rewrite(runs[1], episodes(runs[1])[:4])
    stamp = json.loads((runs[1] / "run.json").read_text())
    (runs[1] / "run.json").write_text(json.dumps(stamp | {"status": "running"}))
    (found,) = data(report(tmp_path / "r.html", *runs), "summary")["comparisons"]
    assert found["refused"] == "not compared: b is unfinished, or episodes of it failed"


def test_other_games_are_not_compared_and_the_report_says_why(tmp_path):
    runs = [play(tmp_path, "a"), play(tmp_path, "b", kind="collect")]
    (found,) = data(report(tmp_path / "r.html", *runs), "summary")["comparisons"]
    assert "split valid_seen or train" in found["refused"]


def test_evaluation_and_training_stand_side_by_side(tmp_path):
    runs = [play(tmp_path, "eval"), write_training(tmp_path / "model")]
    summary = data(report(tmp_path / "r.html", *runs), "summary")
    assert [run["kind"] for run in summary["runs"]] == ["evaluate", "train"]
    assert [curve["name"] for curve in summary["runs"][1]["training"]][:2] == ["epoch", "loss"]
    assert summary["max_length"] == 1024
    assert summary["comparisons"] == []


def test_an_episode_that_ended_in_an_error_counts_as_lost(tmp_path):
    run = play(tmp_path, "eval")
    first, *others = episodes(run)
    rewrite(run, [replace(first, error="no server", success=False), *others])
    summary = data(report(tmp_path / "r.html", run), "summary")
    assert (summary["runs"][0]["play"]["success"]["won"], summary["runs"][0]["play"]["lost"]) == (5, {"error": 1})
    assert (summary["rows"][-1]["index"], summary["rows"][-1]["error"]) == (first.index, "no server")


def test_games_that_are_gone_are_counted_and_a_false_observation_too(tmp_path):
    run = play(tmp_path, "eval")
    first, *others = episodes(run)
    rewrite(run, [say(first, 0, first.steps[0].reply.text, next_observation="You fly."), *others])
    assert make_report([run], tmp_path / "r.html", Options()).differing == 1
    (tmp_path / "games").rename(tmp_path / "moved")
    assert make_report([run], tmp_path / "r.html", Options()).not_found == 6
    assert make_report([run], tmp_path / "r.html", Options(games=str(tmp_path / "moved"))).not_found == 0
    assert make_report([run], tmp_path / "r.html", Options(replays=False)).not_found == 0


def test_no_text_of_a_run_is_markup(tmp_path):
    run = play(tmp_path, "eval")
    first, *others = episodes(run)
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    rewrite(run, [say(replace(first, task=hostile, game_id=hostile), 0, hostile), *others])
    html = report(tmp_path / "r.html", run)
    assert "alert(1)" not in html
    assert data(html, "summary")["rows"][0]["task"] == hostile


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    run = play(tmp_path, "eval")
    lines = (run / "episodes.jsonl").read_bytes().replace(b"You arrive", b"You \\ud800 arrive")
    (run / "episodes.jsonl").write_bytes(lines)
    chunk = data(report(tmp_path / "r.html", run, replays=False), "chunk-0")
    assert any("You ? arrive" in turn["next"] for turns in chunk["episodes"] for turn in turns)


def test_the_policy_names_both_scripts_and_forbids_requests(tmp_path):
    html = report(tmp_path / "r.html", play(tmp_path, "eval"))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    hashed = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (script, page.read_charting_library())
    ]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == " ".join(f"'sha256-{one}'" for one in hashed)
    assert "connect-src" not in directives
    assert "unsafe-eval" not in policy
    assert not re.search(r'(src|href)="?https?:', html)


def test_a_missing_charting_library_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"^report: its charts need the package plotly; pip install 'alfworld-sft\[report\]'$"
    ):
        make_report([play(tmp_path, "eval")], tmp_path / "r.html", Options())


def test_a_failure_leaves_no_file(tmp_path):
    run = play(tmp_path, "eval")
    with (run / "episodes.jsonl").open("ab") as journal:
        journal.write(b'{"index": 9, "game_id": "g", "error": null}\n')
    with pytest.raises(UserError, match="not an episode"):
        make_report([run], tmp_path / "r.html", Options())
    assert not list(tmp_path.glob("*r.html*"))


def test_the_same_runs_make_the_same_file(tmp_path):
    run = play(tmp_path, "eval")
    assert report(tmp_path / "a.html", run) == report(tmp_path / "b.html", run)
