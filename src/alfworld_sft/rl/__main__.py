"""What does torchrun start? `python -m alfworld_sft.rl key=value…`, the same as `alfworld-sft rl`."""

import sys

from alfworld_sft.train.__main__ import standalone

if __name__ == "__main__":
    standalone("rl", sys.argv[1:])
