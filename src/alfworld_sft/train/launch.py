"""How does torchrun run, with its own options, without adding a traceback to an error already reported?

    python -m alfworld_sft.train.launch --standalone --nnodes=1 --nproc_per_node=4 -m alfworld_sft.train key=value…

If a process has reported an error in one line and exited with code 2, torchrun adds its own traceback of thirty lines.
This module does not, nor after a stop by a signal. A crash is reported as by torchrun.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

REPORTED_EXIT_CODES = (2, 130, 143)
"""Exit codes of processes that have already reported why they ended: a user's error, Ctrl-C, and SIGTERM."""
GRACE_S = 600
"""How long torchrun waits after SIGTERM for a step and a checkpoint to be finished before it kills."""


def launch(arguments: Sequence[str]) -> int:
    """Run torchrun with these arguments and return the exit code; raises ChildFailedError if a process crashed."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # about connections that close when a process exits
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE_S))
    for name in ("multiprocessing.api", "agent.server.api"):
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    try:
        run(parse_args(list(arguments)))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode in REPORTED_EXIT_CODES:
            return int(failure.exitcode)
        raise
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
