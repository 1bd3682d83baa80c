"""`python -m alfworld_sft.train key=value…`: what torchrun starts; the same as `alfworld-sft train`."""

import sys

from alfworld_sft.train.cli import standalone

standalone(sys.argv[1:])
