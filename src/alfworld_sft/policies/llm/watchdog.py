"""How does a command end together with the process that started this script? Standard library only.

    python -P watchdog.py GRACE_S COMMAND …

Its standard input is a pipe; the starter holds the other end. When that end is closed, by the starter or by its death,
however sudden, the command and all processes of its group are ended: by SIGTERM, and after GRACE_S seconds by SIGKILL.
Exits with the command's code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def keep(words: list[str], life_line: int, grace_s: float) -> int:
    """Run a command until it ends or the pipe `life_line` closes; return its exit code, negative for a signal's."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - what it is for
    threading.Thread(target=_end_with, args=(life_line, process, grace_s), daemon=True).start()
    code = process.wait()
    _signal_group(process, signal.SIGKILL)  # workers it left behind
    return code


def _end_with(life_line: int, process: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(life_line, 1):  # not sys.stdin: no thread may hold its lock when the interpreter exits
        pass
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    code = keep(sys.argv[2:], sys.stdin.fileno(), float(sys.argv[1]))
    sys.exit(code if code >= 0 else 128 - code)
