import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alfworld_sft.cli import app
from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.names import COVERED
from alfworld_sft.integrations.alfworld.shim import find_imports, write_shim

SOURCE = Path(__file__).parents[3] / "src"


def run(program: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*paths, SOURCE)))}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)


def test_a_program_imports_the_two_packages_from_the_folder(tmp_path):
    write_shim(tmp_path / "shim")
    program = "import textworld.gym as g, alfworld; from alfworld.agents.environment import get_environment as e;"
    done = run(program + "print(g.make.__module__, e('AlfredTWEnv').__name__, alfworld.__version__)", tmp_path / "shim")
    assert done.stdout == "alfworld_sft.integrations.alfworld.gym AlfredTWEnv 0.4.2\n", done.stderr


def test_every_covered_name_can_be_imported():
    lines = [f"from {module} import {name}" for module, names in COVERED.items() for name in names]
    done = run("from alfworld_sft.integrations.alfworld import install\ninstall()\ninstall()\n" + "\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import alfworld.env.thor_env", "ModuleNotFoundError: alfworld.env is not covered by alfworld-sft"),
        ("import textworld; textworld.GameMaker", "AttributeError: textworld.GameMaker is not covered"),
    ],
)
def test_what_is_not_covered_is_said_by_name(program, error):
    done = run(f"from alfworld_sft.integrations.alfworld import install\ninstall()\n{program}")
    assert error in done.stderr


def test_the_real_package_is_not_replaced_after_its_import(tmp_path):
    (tmp_path / "textworld.py").write_text("")
    done = run("import textworld\nfrom alfworld_sft.integrations.alfworld import install\ninstall()", tmp_path)
    assert "the real textworld is already imported" in done.stderr


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        write_shim(tmp_path)
    write_shim(tmp_path / "shim")
    write_shim(tmp_path / "shim")  # again is no error


def test_check_says_what_a_program_uses_and_what_is_lacking(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(
        "import textworld\nimport textworld.gym as g\nfrom textworld import EnvInfos, GameMaker\n"
        "from alfworld.agents.environment import get_environment\n"
        "g.make(textworld.core.nothing)\nimport numpy\n"
    )
    found = [
        (use.line, f"{use.module}.{use.name}" if use.name else use.module, use.is_covered) for use in find_imports(file)
    ]
    assert found == [
        (1, "textworld", True),
        (2, "textworld.gym", True),
        (3, "textworld.EnvInfos", True),
        (3, "textworld.GameMaker", False),
        (4, "alfworld.agents.environment.get_environment", True),
        (5, "textworld.core.nothing", False),
        (5, "textworld.gym.make", True),
    ]
    result = CliRunner().invoke(app, ["shim", "--check", str(file)])
    assert result.exit_code == 1
    assert f"NOT COVERED {file}:3: textworld.GameMaker" in result.stdout


def test_check_exits_with_0_where_all_is_covered(tmp_path):
    file = tmp_path / "program.py"
    file.write_text("import textworld.gym\n")
    assert CliRunner().invoke(app, ["shim", "--check", str(file)]).exit_code == 0


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "x.py").write_text("def")
    with pytest.raises(UserError, match="it is no Python program"):
        find_imports(tmp_path / "x.py")
