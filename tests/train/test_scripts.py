"""The two scripts of examples/sft: their errors without any training package, and one real run by torchrun."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.test_config import DOCUMENT

REPOSITORY = DOCUMENT.parents[1]
SINGLE, MULTI = (REPOSITORY / "examples" / "sft" / f"run_alfworld_sft_{name}.sh" for name in ("single", "multiturn"))

SHELLCHECK = shutil.which("shellcheck", path=os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ["PATH"])))


def call(script, *arguments, **environ):
    """Run a script with the Python that runs this test, as if its environment were active."""
    venv = Path(sys.prefix)
    environ = {**os.environ, "VIRTUAL_ENV": str(venv), "OMP_NUM_THREADS": "1", **environ}
    return subprocess.run(
        [script, *map(str, arguments)], capture_output=True, text=True, env=environ, timeout=500, check=False
    )


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "sft_data_20241211_143022"
    folder.mkdir()
    for name in ("train.parquet", "val.parquet"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("script", [SINGLE, MULTI])
def test_too_few_arguments_show_the_usage(script):
    done = call(script, "4", "./m")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: usage: {script} <nproc> <save_path> <data_dir> [key=value …]\n"


@pytest.mark.parametrize("count", ["0", "two", "-1", "1.5", ""])
def test_a_bad_process_count_is_named(data, count):
    done = call(SINGLE, count, "./m", data)
    assert done.returncode == 2
    assert done.stderr == f"error: nproc={count}: not a number of processes from 1 up\n"


def test_a_missing_folder_is_named(tmp_path):
    done = call(SINGLE, "1", "./m", tmp_path / "nothing")
    assert done.returncode == 2
    assert f"error: data_dir={tmp_path / 'nothing'}: there is no such folder" in done.stderr


@pytest.mark.parametrize("name", ["train.parquet", "val.parquet"])
def test_a_missing_file_is_named(data, name):
    (data / name).unlink()
    done = call(MULTI, "1", "./m", data)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {data / name} is missing")


def test_an_override_in_the_place_of_a_folder_is_told(data):
    done = call(SINGLE, "1", "./m", "optim.lr=1", data)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_wrong_overrides_are_told_once_and_before_any_process_starts(tmp_path):
    pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
    from tests.train.helpers_loop import write_dataset

    done = call(SINGLE, "2", tmp_path / "m", write_dataset(tmp_path / "data"), "optim.lrr=1", "data.max_length=x")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: unknown key 'optim.lrr'; did you mean 'optim.lr'?",
        "error: data.max_length=x: input should be a valid integer, unable to parse string as an integer",
    ]


def test_what_goes_wrong_later_is_one_line_too(tmp_path):
    pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
    from tests.train.helpers_loop import write_dataset

    (tmp_path / "empty").mkdir()
    done = call(SINGLE, "2", tmp_path / "m", write_dataset(tmp_path / "data"), f"model.path={tmp_path}/empty")
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert len(told) == 1, done.stderr
    assert told[0].startswith(f"error: {tmp_path}/empty: is not a causal language model that can be loaded")


def test_two_processes_train_by_torchrun(tmp_path):
    pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
    from tests.train.helpers_loop import losses, write_dataset, write_model

    data, model = write_dataset(tmp_path / "data"), write_model(tmp_path / "model")
    more = ("trainer.total_epochs=1", "data.train_batch_size=8", "+model.lora_rank=4", "trainer.device=cpu")
    done = call(MULTI, "2", tmp_path / "m", data, f"model.path={model}", *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "m" / "final")]
    assert len(losses(tmp_path / "m")) == 4
    assert done.stderr.count("step 4/4 (100%)") == 1, "only the first process speaks"


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is in the dev extra: pip install 'alfworld-sft[dev]'")
@pytest.mark.parametrize("script", sorted(REPOSITORY.glob("[!.]*/**/*.sh")), ids=lambda script: script.name)
def test_shellcheck_is_content(script):
    subprocess.run([SHELLCHECK, "-x", "-P", "SCRIPTDIR", script], check=True)
