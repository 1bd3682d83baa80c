"""Do the bridges work with the frameworks of today? Makes an environment for each, and runs the bridge's tests in it.

    python -m benchmarks.integrations [NAME…]    # all by default; `make integrations`

An environment has the versions of `scripts/integrations/NAME.txt` and stays in `.venv-integration-NAME`. Each result is
written as soon as it is known; those of other frameworks stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement

from benchmarks._result import RESULTS, write_result

REPOSITORY = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (REPOSITORY / "scripts" / "integrations").glob("*.txt"))
READ_VERSIONS = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"


def main() -> int:
    """Test the named bridges; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; default: all")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"unknown integration {min(unknown)!r}; there are {', '.join(NAMES)}")
    worked = []
    for name in names:
        try:
            subprocess.run([REPOSITORY / "scripts" / "make_integration_env.sh", name], check=True)
        except subprocess.CalledProcessError:
            return 1
        result = test(name, REPOSITORY / f".venv-integration-{name}" / "bin" / "python")
        print(name, json.dumps(result))
        write_result("integrations", {"frameworks": dict(sorted({**known(), name: result}.items()))})
        worked.append(result["passed"] > 0 and not result["failed"])
    return 0 if all(worked) else 1


def test(name: str, python: Path) -> dict[str, Any]:
    """Run a bridge's tests; the counts, with the versions of what was tested."""
    file = REPOSITORY / "tests" / "integrations" / f"test_{name.replace('-', '_')}.py"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run([python, "-m", "pytest", file, f"--junitxml={report}"], cwd=REPOSITORY, check=False)
        counts = ElementTree.parse(report).getroot()[0].attrib
    failed = int(counts["failures"]) + int(counts["errors"])
    skipped = int(counts["skipped"])
    packages = required(name)
    versions = subprocess.run([python, "-c", READ_VERSIONS, *packages], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": dict(zip(packages, versions.stdout.split(), strict=True)),
        "passed": int(counts["tests"]) - failed - skipped,
        "failed": failed,
        "skipped": skipped,
    }


def required(name: str) -> list[str]:
    """The packages that the extra of this name asks for, besides our own."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = (Requirement(text).name for text in project["optional-dependencies"][name])
    return [package for package in wanted if package != project["name"]]


def known() -> dict[str, Any]:
    """The last result of each framework that there still is."""
    file = RESULTS / "integrations.json"
    last = json.loads(file.read_text("utf-8"))["frameworks"] if file.exists() else {}
    return {name: result for name, result in last.items() if name in NAMES}


if __name__ == "__main__":
    sys.exit(main())
