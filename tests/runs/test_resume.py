"""What a resumed run refuses, and that a bug is not blamed on its `run.json`."""

import shutil

import pytest

from alfworld_sft import __version__
from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import resume_run, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, RunFolderError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import resume_evaluation, start_evaluation
from alfworld_sft.runs import resume as resuming
from alfworld_sft.runs.trust import Allowed
from tests.collecting import write_games


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 2)


def started(data, parent):
    return start_run(build_config(CollectConfig, [f"games.source={data}"]), parent, name="run")


@pytest.mark.parametrize(
    "bug", [KeyError("x"), TypeError("x"), ValueError("x")], ids=lambda error: type(error).__name__
)
def test_a_bug_is_not_blamed_on_the_stamp_of_a_resumed_run(data, tmp_path, monkeypatch, bug):
    started(data, tmp_path).run.close()

    def broken(_):
        raise bug

    monkeypatch.setattr(resuming, "load_template", broken)
    with pytest.raises(type(bug)) as raised:
        resume_run(tmp_path / "run")
    assert raised.value is bug
    monkeypatch.undo()
    resume_run(tmp_path / "run").run.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_episodes": "many"}, "ValueError: invalid literal for int() with base 10: 'many'"),
        ({"games": {}}, "KeyError: 'sha256'"),
        ({"protocol": []}, "TypeError: list indices must be integers or slices, not str"),
        ({"config": None}, "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_field_of_the_stamp_that_is_amiss_is_named(data, tmp_path, change, reason):
    job = started(data, tmp_path)
    job.run.write_stamp(job.run.stamp | change)
    job.run.close()
    with pytest.raises(RunFolderError) as error:
        resume_run(tmp_path / "run")
    assert str(error.value) == f"{tmp_path / 'run'}: its run.json is not one that collect wrote ({reason})"


def test_a_model_that_was_trained_again_meanwhile_is_refused(data, tmp_path):
    pytest.importorskip("peft", reason="local models are an extra: pip install 'alfworld-sft[train]'")
    from tests.train.helpers_loop import write_model

    model, other = write_model(tmp_path / "model"), write_model(tmp_path / "other", layers=1)
    words = [f"games.source={data}", "games.split=train", "num_games=2", "env.max_steps=1", "policy.name=local"]
    words += [f"policy.model={model}", "policy.max_tokens=2"]
    job = start_evaluation(build_config(EvaluateConfig, words), tmp_path, name="run")
    job.run.close()
    resume_evaluation(tmp_path / "run").run.close()
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    with pytest.raises(RunFolderError, match=r"policy\.model=.*model holds other weights now than those"):
        resume_evaluation(tmp_path / "run")


def test_a_run_that_another_version_goes_on_with_says_so(data, tmp_path, caplog, monkeypatch):
    started(data, tmp_path).run.close()
    for version in ("9.0", "9.1"):
        monkeypatch.setattr(resuming, "__version__", version)
        for _ in range(2):
            job = resume_run(tmp_path / "run")
            job.run.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert f"played by alfworld-sft {__version__} so far; 9.0 may play the rest differently" in said[0]
    assert "played by alfworld-sft 9.0 so far; 9.1 may play" in said[1]
    assert (job.run.stamp["versions"]["alfworld-sft"], job.run.stamp["resumed_with"]) == (__version__, "9.0, 9.1")


def test_what_is_named_to_a_resumed_run_without_effect_is_refused(data, tmp_path):
    started(data, tmp_path).run.close()
    with pytest.raises(ConfigError, match=r"^policy\.model=m has no effect without policy\.name=server or local;"):
        resume_run(tmp_path / "run", Allowed({"policy.model": "m"}))
