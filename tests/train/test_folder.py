"""One training in a folder, and nothing left of one that did not begin."""

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.errors import RunFolderError, UserError
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.folder import output_folder
from tests.train.helpers_loop import losses, options, run, run_together

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_second_training_into_one_folder_is_refused_and_disturbs_nothing(data, model, tmp_path):
    refused: list[str] = []

    def second(moment):
        (tmp_path / ".global_step_4.0123456789ab.partial").mkdir()  # as if the first were saving
        with pytest.raises(RunFolderError) as error:
            run(options(data, model, tmp_path))
        refused.append(str(error.value))
        assert (tmp_path / ".global_step_4.0123456789ab.partial").is_dir()
        return {}

    run(options(data, model, tmp_path, "trainer.total_epochs=1"), [second])
    assert refused == [
        f"{tmp_path}: another process is training in this folder; wait for it or stop it,"
        " or name another trainer.default_local_dir"
    ]
    assert len(losses(tmp_path)) == 4


def _fail_in_every_process(environ, overrides):
    import os

    os.environ.update(environ)
    with pytest.raises(RunFolderError, match="another process is training in this folder"):
        run(overrides)


def test_all_processes_of_a_second_training_hear_of_the_first(data, model, tmp_path):
    with output_folder(tmp_path, ALONE):
        run_together(2, _fail_in_every_process, options(data, model, tmp_path))


@pytest.mark.parametrize(
    "wrong",
    ["model.path=/nowhere/at/all", "trainer.resume_mode=/nowhere", "data.max_length=8"],
    ids=["model", "checkpoint", "rows"],
)
def test_a_training_that_does_not_begin_leaves_no_folder(data, model, tmp_path, wrong):
    with pytest.raises(UserError):
        run(options(data, model, tmp_path / "a" / "b", wrong, "trainer.logger=[tensorboard]"))
    assert not list(tmp_path.iterdir())


def test_what_was_there_before_a_failed_start_stays(data, model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError):
        run(options(data, model, tmp_path, "data.max_length=8"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_failed_at_its_first_step_leaves_no_folder(tmp_path):
    with pytest.raises(UserError), output_folder(tmp_path / "run", ALONE):
        (tmp_path / "run" / "metrics.jsonl").touch()
        (tmp_path / "run" / "tensorboard").mkdir()
        raise UserError("out of memory")
    assert not list(tmp_path.iterdir())


def test_a_run_that_failed_later_keeps_its_folder(tmp_path):
    with pytest.raises(UserError), output_folder(tmp_path / "run", ALONE):
        (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
        raise UserError("out of memory")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError) as error, output_folder(tmp_path / "file" / "run", ALONE):
        pass
    assert str(error.value) == f"trainer.default_local_dir={tmp_path}/file/run: Not a directory"
