"""How does torchrun run, with its own options, without adding a traceback to an error already reported?

    python -m alfworld_sft.train.launch --standalone --nnodes=1 --nproc_per_node=4 -m alfworld_sft.train key=value…

If a process has ended, torchrun adds its own traceback of thirty lines. This module does not: an error or a stop that a
process has reported needs no more words, and a process that crashed or was killed is named in one line.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

import typer
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run

REPORTED_EXIT_CODES = (2, 130, 143)
"""Exit codes of processes that have already reported why they ended: a user's error, Ctrl-C, and SIGTERM."""
GRACE_S = 600
"""How long torchrun waits after SIGTERM for a step and a checkpoint to be finished before it kills."""
CRASHED = 1


def launch(arguments: Sequence[str]) -> int:
    """Run torchrun with these arguments and return the exit code."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # about connections that close when a process exits
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE_S))
    for name in ("multiprocessing.api", "agent.server.api"):
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    try:
        run(parse_args(list(arguments)))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in REPORTED_EXIT_CODES:
            return int(failure.exitcode)
        typer.echo(f"error: process {rank} {_describe(failure)}, so the others were stopped", err=True)
        return CRASHED
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


def _describe(failure: ProcessFailure) -> str:
    """Say how a process ended."""
    if failure.exitcode < 0:
        killed = " (by the system, if memory ran out)" if failure.exitcode == -signal.SIGKILL else ""
        return f"was ended by {failure.signal_name()}{killed}"
    return f"failed with exit code {failure.exitcode}, see above"


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
