"""torchrun, with its own options, that leaves the last word to the process that failed.

    python -m alfworld_sft.train.launch --standalone --nnodes=1 --nproc_per_node=4 -m alfworld_sft.train key=value…

Where a process has said in one line what is wrong and ended with exit code 2, torchrun adds its own traceback of
thirty lines; here it does not. A crash is reported as torchrun does.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

TOLD = (2, 130)
"""Exit codes of processes that have said why they ended: a user's error, and Ctrl-C."""


def launch(arguments: Sequence[str]) -> int:
    """Run torchrun with these arguments, and return the exit code; raises ChildFailedError where a process crashed."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of connections that end when a process does
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        run(parse_args(list(arguments)))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode in TOLD:
            return int(failure.exitcode)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
