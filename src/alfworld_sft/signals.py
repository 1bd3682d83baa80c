"""SIGTERM, which schedulers send some time before they kill: a command stops as at Ctrl-C, with exit code 143."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes of a command that was stopped."""


@dataclass(slots=True)
class _Process:
    """What this process knows: plain values, for a handler that takes a lock waits for itself at a second signal."""

    came: bool = False
    stops: bool = False


_process = _Process()


def ignore_further_sigterm() -> None:
    """Let no SIGTERM interrupt what is left of this command: it stops already, and its message is still to come."""
    _process.stops = True


def sigterm_came() -> bool:
    """Return whether SIGTERM has come to this process while one of the contexts of this module was open."""
    return _process.came


class StopRequest:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.received = False
        self._interrupts = False

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let SIGTERM stop this block with KeyboardInterrupt, at once where it has come before."""
        self._interrupts = True
        try:
            if self.received:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def handle(self, _: int, frame: FrameType | None) -> None:
        """Note the signal; a second one changes nothing, for cleaning up is not to be interrupted."""
        _process.came = True
        first, self.received = not self.received, True
        if first and self._interrupts and not _process.stops:
            _interrupt(frame)


@contextmanager
def sigterm_noted() -> Iterator[StopRequest]:
    """Note SIGTERM for as long as the block lasts, which looks after it; in the main thread only."""
    request = StopRequest()
    _process.stops = False
    with _handler(signal.SIGTERM, request.handle):
        yield request


@contextmanager
def sigterm_interrupts() -> Iterator[StopRequest]:
    """Let SIGTERM stop the block as Ctrl-C does; what then exits with 130 exits with 143."""
    request = StopRequest()
    _process.stops = False
    try:
        with _handler(signal.SIGTERM, request.handle), request.interrupting():
            yield request
    except SystemExit as end:
        if request.received and end.code == INTERRUPTED:
            raise SystemExit(TERMINATED) from None
        raise
    except KeyboardInterrupt:
        if request.received:
            raise SystemExit(TERMINATED) from None
        raise


@contextmanager
def waiting() -> Iterator[None]:
    """Let a signal end this block at once, which only waits: asyncio's handler would let it wait on."""
    with _handler(signal.SIGINT, signal.default_int_handler):
        yield


@contextmanager
def _handler(number: signal.Signals, handle: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle a signal, unless it is deliberately ignored here, or this is not the main thread."""
    before = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def _interrupt(frame: FrameType | None) -> None:
    """Do what Ctrl-C does: asyncio has a handler that ends its tasks first; where SIGINT is ignored, raise."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
