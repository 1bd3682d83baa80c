"""Do the commands of README.md and docs/ work? Run each one, small, as documented_commands.toml says.

    python -m scripts.run_documented_commands [DOCUMENT…]

Every line of a ```bash block and every ```python block is a command. The commands of a document run in order, in a
folder of their own that holds what the table's `prepare` made. Exits with 1 if a command fails.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template

from tests.fake_server import says, serving

REPOSITORY = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("documented_commands.toml")
REPLY = "<think>I look.</think>\n<prediction>You see nothing.</prediction>\n<action>look</action>"
TIMEOUT_S = 300
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A line of a bash block without its comment, or a whole Python block; `place` is its document and line."""

    document: str
    place: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """What the file says; it explains its parts itself."""

    environment: Mapping[str, str]
    prepare: Sequence[str]
    smaller: Mapping[str, str]
    not_run: Sequence[Mapping[str, str]]

    def exception(self, command: Command) -> Mapping[str, str] | None:
        """Return the entry of `not_run` that names a command."""
        return next((entry for entry in self.not_run if fnmatchcase(command.text, entry["command"])), None)

    def small(self, text: str) -> str:
        """Return what is run for a command that a document shows."""
        for written, run in self.smaller.items():
            text = text.replace(written, run)
        return text


def read_table() -> Table:
    """Read the table beside this script."""
    return Table(**tomllib.loads(TABLE.read_text("utf-8")))


def documents() -> list[Path]:
    """Return README.md and every page of docs/."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def commands_in(document: str, text: str) -> Iterator[Command]:
    """Yield the commands of a document's text."""
    for block in _BLOCK.finditer(text):
        language, body = block.groups()
        line = text.count("\n", 0, block.start()) + 2
        if language == "python":
            yield Command(document, f"{document}:{line}", language, body)
        else:
            yield from (Command(document, f"{document}:{line + n}", language, text) for n, text in _lines(body))


def _lines(script: str) -> Iterator[tuple[int, str]]:
    """Yield the commands of a script with the number of their line, continued lines joined and comments left out.

    A here-document, to a word in quotes, belongs to its command.
    """
    joined, here, begun = "", "", 0
    for number, line in enumerate(script.splitlines()):
        if here:
            joined += f"\n{line}"
            if line == here:
                yield begun, joined
                joined, here = "", ""
            continue
        if opened := re.search(r"<<'(\w+)'$", line):
            joined, here, begun = line, opened[1], number
            continue
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            if command := " ".join(re.sub(r"(^|\s+)#\s.*", "", joined).split()):
                yield number, command
            joined = ""


def documented_commands() -> list[Command]:
    """Return all commands of all documents."""
    found: list[Command] = []
    for path in documents():
        found += commands_in(path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8"))
    return found


def by_document(commands: Sequence[Command]) -> dict[str, list[Command]]:
    """Return the commands of each document, each once."""
    chosen: dict[str, dict[str, Command]] = {}
    for command in commands:
        chosen.setdefault(command.document, {}).setdefault(command.text, command)
    return {document: list(found.values()) for document, found in chosen.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a command came to; `output` is all that it printed."""

    code: int
    output: str
    seconds: float


def run(language: str, text: str, folder: Path, environment: Mapping[str, str]) -> Outcome:
    """Run one command in a folder, without a terminal and with nothing to read."""
    words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    start = time.monotonic()
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its children hold the pipe open
        output = process.communicate()[0] + f"\nstopped after {TIMEOUT_S} s"
    return Outcome(process.returncode, output, time.monotonic() - start)


def prepare(table: Table, folder: Path, environment: Mapping[str, str]) -> None:
    """Fill the folder of which each document gets a copy."""
    folder.mkdir()
    for text in table.prepare:
        outcome = run("bash", text, folder, environment)
        print(f"{outcome.seconds:5.1f} s  prepare: {text}", flush=True)
        if outcome.code:
            sys.exit(f"{outcome.output}\nexit code {outcome.code}: {text}")


def run_document(commands: Sequence[Command], table: Table, folder: Path, environment: Mapping[str, str]) -> int:
    """Run the commands of one document in a folder, report each, and return how many failed."""
    failed = 0
    for command in commands:
        exception = table.exception(command)
        text = table.small(exception.get("instead", "") if exception else command.text)
        shown = f"{command.place}: {command.text.splitlines()[0]}"
        if not text:
            print(f"not run  {shown} ({exception['reason']})", flush=True)
            continue
        outcome = run(command.language, text, folder, environment)
        print(f"{outcome.seconds:5.1f} s  {shown}", flush=True)
        if outcome.code:
            failed += 1
            print(f"{outcome.output[-4000:]}\nFAILED with exit code {outcome.code}: {text}\n", flush=True)
    return failed


def environment_for(table: Table, work: Path, folder: Path, server: str) -> dict[str, str]:
    """Return this process's environment without settings of ours, with the places that the table names and its own.

    The games are those of the folder in which the commands run: some fetch games, while others play theirs.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALFWORLD", "OPENAI", "SFT_"))}
    kept |= {"REPOSITORY": str(REPOSITORY), "WORK": str(work), "FOLDER": str(folder), "SERVER": server}
    kept["VENV"] = sys.prefix
    return kept | {name: Template(value).substitute(kept) for name, value in table.environment.items()}


def main() -> None:
    """Run the commands of the documents named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*", metavar="DOCUMENT", help="such as docs/export.md; default: all")
    named = parser.parse_args().documents
    table = read_table()
    chosen = by_document([c for c in documented_commands() if not named or c.document in named])
    if not chosen:
        parser.error(f"no commands in {' '.join(named)}")
    with tempfile.TemporaryDirectory(prefix="documented-commands.") as name, serving([says(REPLY)]) as server:
        work = Path(name)
        prepared = work / "prepared"
        prepare(table, prepared, environment_for(table, work, prepared, server.url))

        def run_in_copy(document: str) -> int:
            folder = work / re.sub(r"\W", "_", document)
            shutil.copytree(prepared, folder, symlinks=True)
            return run_document(chosen[document], table, folder, environment_for(table, work, folder, server.url))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            failed = sum(pool.map(run_in_copy, chosen))
    print(f"{sum(map(len, chosen.values()))} commands, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
