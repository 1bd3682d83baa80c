#!/usr/bin/env bash
# Print the path of the alfworld-sft command, after installing the package into .venv of this repository if there is
# none: an active environment that has it comes first. Only Python 3.11 or later is needed.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/alfworld-sft" ]; then
    echo "$VIRTUAL_ENV/bin/alfworld-sft"
    exit
fi
if [ ! -x "$repository/.venv/bin/alfworld-sft" ]; then
    make --silent -C "$repository" .venv/bin/alfworld-sft >&2
fi
echo "$repository/.venv/bin/alfworld-sft"
