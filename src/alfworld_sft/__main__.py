"""`python -m alfworld_sft`."""

from alfworld_sft.cli import main

main()
