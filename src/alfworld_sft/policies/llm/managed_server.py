"""How is a model server started, awaited and stopped, including its workers, however this process ends?

The server runs under a keeper (`watchdog.py`) that lives as long as this process holds its end of a pipe. So Ctrl-C,
SIGTERM, an error and SIGKILL all end the server in the same way.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from alfworld_sft.errors import PolicyUnavailableError, file_errors
from alfworld_sft.policies.llm import watchdog
from alfworld_sft.policies.llm.serve_command import HOST, ServeCommand

logger = logging.getLogger(__name__)

POLL_S = 0.5
GRACE_S = 10.0
"""How long a server may take to end after SIGTERM before SIGKILL."""
PROGRESS_S = 10.0
"""How often to log that the server has not answered yet."""
LOADING = frozenset({502, 503, 504})
"""Status codes of a server that is up but not ready."""
_LOG_END_BYTES = 8192
_SHOWN_LINES = 5


class ManagedServer:
    """Serves a model between `start` and `stop`, on a free port, reachable from this machine only."""

    def __init__(self, command: ServeCommand, timeout_s: float, *, grace_s: float = GRACE_S) -> None:
        self.model = command.model
        self._command = command
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def start(self) -> str:
        """Start the server, wait until it answers, and return its address, e.g. http://127.0.0.1:8000/v1.

        Raises PolicyUnavailableError, and leaves nothing running, if the server ends or exceeds the time limit.
        """
        port = _free_port()
        with file_errors("write", Path(tempfile.gettempdir()), "make room there, or name another folder in TMPDIR"):
            handle, name = tempfile.mkstemp(prefix="alfworld-sft-server-", suffix=".log")
        self._log = Path(name)
        environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
        logger.info("starting the server of %s; its output goes to %s", self.model, self._log)
        with os.fdopen(handle, "wb") as log:
            self._keeper = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                [sys.executable, "-P", watchdog.__file__, str(self._grace_s), *self._command.on(port)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        address = f"http://{HOST}:{port}/v1"
        try:
            self._wait_until_ready(address)
        except PolicyUnavailableError:
            self._end()  # its log stays
            raise
        except BaseException:
            self.stop()
            raise
        return address

    def stop(self) -> None:
        """End the server and all its processes; its log is kept if it had ended by itself."""
        was_running = self.ended() is None
        self._end()
        if was_running and self._log:
            self._log.unlink(missing_ok=True)

    def ended(self) -> str | None:
        """Return how the server ended, with its last output; None while it runs."""
        code = self._keeper.poll() if self._keeper else None
        if code is None:
            return None
        said = self._last_lines(_SHOWN_LINES)
        last_words = f": {' | '.join(said)}" if said else ""
        return f"the server of {self.model} ended (exit code {code}){last_words} (all it said: {self._log})"

    def _wait_until_ready(self, address: str) -> None:
        started = told = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as client:  # a proxy cannot reach this machine's own address
            while not _answers(client, f"{address}/models"):
                if reason := self.ended():
                    raise PolicyUnavailableError(reason)
                now = time.monotonic()
                if now - started > self._timeout_s:
                    raise PolicyUnavailableError(
                        f"the server of {self.model} did not answer within policy.serve_timeout_s={self._timeout_s:g};"
                        f" its output is in {self._log}"
                    )
                if now - told >= PROGRESS_S:
                    told = now
                    said = self._last_lines(1)
                    logger.info("waiting for the server, %.0f s%s", now - started, f": {said[0]}" if said else "")
                time.sleep(POLL_S)
        logger.info("the server answers, after %.0f s", time.monotonic() - started)

    def _end(self) -> None:
        """Close the keeper's life line, and wait until it has ended the server."""
        if self._keeper is None:
            return
        if self._keeper.stdin:
            self._keeper.stdin.close()
        self._keeper.wait()

    def _last_lines(self, count: int) -> list[str]:
        """Return the last lines of the log, printable and not too long."""
        if self._log is None or not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_END_BYTES))
            text = file.read().decode("utf-8", "replace")
        lines = ("".join(c for c in line if c.isprintable()).strip()[:200] for line in text.splitlines())
        return [line for line in lines if line][-count:]


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code not in LOADING
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
