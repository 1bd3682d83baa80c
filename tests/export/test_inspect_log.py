import json
import sys

import pytest

from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, RunFolderError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.export.inspect_log import LOG, export_inspect
from tests.collecting import write_games


@pytest.fixture
def run(tmp_path):
    words = [f"games.source={write_games(tmp_path / 'data', 12, 'valid_seen')}", "policy.noise=0.5", "repeats=2"]
    words += ["env.max_steps=12"]
    job = start_evaluation(build_config(EvaluateConfig, words), tmp_path, name="run")
    with job.run:
        evaluate(job)
    return job.run.path


def test_inspect_s_own_reader_gives_the_figures_of_metrics_json(run, tmp_path):
    log_module = pytest.importorskip("inspect_ai.log", reason="pip install 'alfworld-sft[inspect]'")
    assert export_inspect(run, tmp_path / "out") == 24
    log = log_module.read_eval_log(str(tmp_path / "out" / LOG))
    metrics = json.loads((run / "metrics.json").read_text())
    found = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    by_type = {name: entry["rate"] for name, entry in metrics["success_by_task_type"].items()}
    assert found == {"accuracy": metrics["success"]["rate"], **by_type}
    assert 0 < found["accuracy"] < 1
    assert sum(sample.scores["won"].value for sample in log.samples) == metrics["success"]["won"]
    assert {(sample.id, sample.epoch) for sample in log.samples} == {
        (game, epoch) for games in metrics["outcomes"].values() for game in games for epoch in (1, 2)
    }


def test_each_sample_holds_the_episode_s_words(run, tmp_path):
    log_module = pytest.importorskip("inspect_ai.log", reason="pip install 'alfworld-sft[inspect]'")
    export_inspect(run, tmp_path / "out")
    log = log_module.read_eval_log(str(tmp_path / "out" / LOG))
    journal = {one["index"]: one for one in map(json.loads, (run / "episodes.jsonl").read_text().splitlines())}
    for sample in log.samples:
        steps = journal[sample.metadata["episode"]]["steps"]
        assert [m.text for m in sample.messages if m.role == "assistant"] == [s["reply"]["text"] for s in steps]


def test_what_is_no_evaluation_is_refused_in_one_line(tmp_path):
    pytest.importorskip("inspect_ai.log", reason="pip install 'alfworld-sft[inspect]'")
    with pytest.raises(RunFolderError, match=r"it holds no metrics\.json"):
        export_inspect(tmp_path, tmp_path / "out")


def test_a_missing_package_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(ConfigError, match=r"pip install 'alfworld-sft\[inspect\]'"):
        export_inspect(run, tmp_path / "out")
