"""The distribution: what `make dist` builds is installed into an empty virtual environment, and collects there."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from alfworld_sft import __version__

pytest.importorskip("build", reason="building needs the extra dist: pip install 'alfworld-sft[dist]'")
pytest.importorskip("twine", reason="building needs the extra dist: pip install 'alfworld-sft[dist]'")
REPOSITORY = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    """Run a command to its end, and return what it prints; its errors fail the test."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY, cwd=folder)
    return folder


def test_twine_accepts_wheel_and_sdist(dist):
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir(), cwd=dist)
    assert sorted(file.name.rpartition("-")[2] for file in dist.iterdir()) == [f"{__version__}.tar.gz", "any.whl"]


def test_both_hold_the_data_files_and_no_local_folders(dist):
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    source = REPOSITORY / "src"
    files = {path for path in (source / "alfworld_sft").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path.relative_to(source).as_posix() for path in files} - names == set()
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "tests", "README.md", "LICENSE", "pyproject.toml"} <= tops
    assert not {".venv", "dist", "site", ".git"} & tops


def test_the_wheel_works_in_an_empty_environment(dist, tmp_path):
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    pip = (tmp_path / "env/bin/pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "-c", REPOSITORY / "constraints.txt", wheel, cwd=tmp_path)
    command = tmp_path / "env/bin/alfworld-sft"
    assert run(command, "--version", cwd=tmp_path).strip() == f"alfworld-sft {__version__}"
    folder = run(command, "collect", "num_episodes=4", cwd=tmp_path).splitlines()[-1]
    assert {"train.parquet", "val.parquet", "run.json"} <= {file.name for file in (tmp_path / folder).iterdir()}
