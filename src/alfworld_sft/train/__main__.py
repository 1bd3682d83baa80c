"""`python -m alfworld_sft.train key=value…`: what torchrun starts; the same as `alfworld-sft train`."""

import os
import sys
import traceback
from collections.abc import Sequence


def standalone(arguments: Sequence[str]) -> None:
    """Be the command `train` of a process that torchrun started, and end at once when it is done.

    One of several processes is not taken down piece by piece: after an error that can wait for the others for ever.
    """
    from alfworld_sft.cli import main  # noqa: PLC0415 - it imports this module

    sys.argv[1:] = ["train", *arguments]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    standalone(sys.argv[1:])
