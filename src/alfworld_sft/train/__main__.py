"""What does torchrun start? `python -m alfworld_sft.train key=value…`, the same as `alfworld-sft train`."""

import os
import sys
import traceback
from collections.abc import Sequence


def standalone(command: str, arguments: Sequence[str]) -> None:
    """Run a command that trains in a process started by torchrun, and exit immediately when it is done.

    With several processes the normal interpreter shutdown is skipped: after an error it can wait for the others
    forever.
    """
    from alfworld_sft.cli import main  # noqa: PLC0415 - it imports this module

    sys.argv[1:] = [command, *arguments]
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
    standalone("train", sys.argv[1:])
