"""How do we ask the reference? A process of its own, started and stopped by a context manager.

with Reference(hash_seed=1) as reference:
    reference.load(path)
    first = reference.reset()
    reply = reference.step("look")
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Protocol, Self

from tests.reference.real import REPOSITORY

SERVER = Path(__file__).with_name("server.py")
PYTHON_VARIABLE = "ALFWORLD_REFERENCE_PYTHON"
DEFAULT_PYTHON = REPOSITORY / ".venv-reference" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a world says after a reset or a step: all that is compared."""

    text: str
    admissible_commands: tuple[str, ...]
    won: bool
    done: bool


class World(Protocol):
    """What the reference and our world have in common."""

    def load(self, path: Path) -> None: ...
    def reset(self) -> Reply: ...
    def step(self, command: str) -> Reply: ...


class ReferenceFailedError(Exception):
    """The reference raised, died, or did not answer in time."""


def reference_python() -> Path:
    """The interpreter that has the reference installed, from $ALFWORLD_REFERENCE_PYTHON; it may not exist."""
    return Path(os.environ.get(PYTHON_VARIABLE, DEFAULT_PYTHON))


def why_no_reference() -> str | None:
    """Why the reference cannot be started; None when it can."""
    if reference_python().is_file():
        return None
    return f"no reference interpreter; run scripts/make_reference_env.sh or set {PYTHON_VARIABLE}"


class Reference:
    """One reference process. `seconds` is the CPU time that the last request took inside it."""

    def __init__(self, hash_seed: int = 0, timeout_s: float = 120.0) -> None:
        self.hash_seed = hash_seed
        self.timeout_s = timeout_s
        self.seconds = 0.0
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(reference_python()), str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONHASHSEED": str(self.hash_seed)},
            encoding="utf-8",
        )
        self.versions = self._read("start")["versions"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def load(self, path: Path) -> None:
        """Load the game file at `path`."""
        self._ask(op="load", path=str(path.resolve()))

    def reset(self) -> Reply:
        """Begin the loaded game."""
        return self._reply(self._ask(op="reset"))

    def step(self, command: str) -> Reply:
        """Play one command."""
        return self._reply(self._ask(op="step", command=command))

    def _reply(self, answer: dict[str, Any]) -> Reply:
        return Reply(answer["text"], tuple(answer["admissible_commands"]), answer["won"], answer["done"])

    def _ask(self, **request: str) -> dict[str, Any]:
        if self._process.poll() is None:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._read(request["op"])
        self.seconds = answer["seconds"]
        if "error" in answer:
            raise ReferenceFailedError(f"{request}: {answer['error']}")
        return answer

    def _read(self, doing: str) -> dict[str, Any]:
        watchdog = Timer(self.timeout_s, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise ReferenceFailedError(f"the reference ended or took more than {self.timeout_s:.0f} s ({doing})")
        return json.loads(line)
