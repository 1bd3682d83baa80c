#!/usr/bin/env bash
# Print the path of a Python that can train, after installing the package with its extra into .venv of this repository
# if there is none: an active environment that has all of it comes first.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
can_train='import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("alfworld_sft", "torch", "transformers", "peft"))))'
if [ -n "${VIRTUAL_ENV:-}" ] && "$VIRTUAL_ENV/bin/python" -c "$can_train"; then
    echo "$VIRTUAL_ENV/bin/python"
    exit
fi
if [ ! -x "$repository/.venv/bin/python" ] || ! "$repository/.venv/bin/python" -c "$can_train"; then
    echo "installing what training needs into $repository/.venv (pip install 'alfworld-sft[train]')" >&2
    make --silent -C "$repository" train-env >&2
fi
echo "$repository/.venv/bin/python"
