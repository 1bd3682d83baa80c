#!/usr/bin/env bash
# Make a virtual environment with the reference, alfworld 0.4.2, at the versions in reference-constraints.txt.
#
#   scripts/make_reference_env.sh [DIR]       DIR: .venv-reference in the repository's root
#
# PYTHON names the interpreter, 3.11 or later (default python3). Two packages are built from source, which takes one
# to three minutes and needs gcc, g++ and make. Returns at once if DIR is complete already.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
directory="${1:-$(dirname "$here")/.venv-reference}"
constraints="$here/reference-constraints.txt"
stamp="$directory/reference-constraints.stamp"
python="${PYTHON:-python3}"

say() { echo "make_reference_env: $*" >&2; }

if cmp -s "$constraints" "$stamp"; then
    say "$directory is complete"
    exit 0
fi

missing=()
for tool in gcc g++ make; do
    command -v "$tool" > /dev/null || missing+=("$tool")
done
if ((${#missing[@]})); then
    say "missing: ${missing[*]}; fast_downward_textworld and jericho are built from source"
    say "on Debian and Ubuntu: apt-get install build-essential"
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "$python is older than Python 3.11; name another with PYTHON=…"
    exit 1
fi

if [[ -n "$(ls -A "$directory" 2> /dev/null)" && ! -e "$directory/pyvenv.cfg" ]]; then
    say "$directory is there and no virtual environment; it is left alone"
    exit 1
fi

say "installing alfworld 0.4.2 into $directory; this takes one to three minutes"
rm -rf "$directory"
"$python" -m venv "$directory"
# PIP_CONSTRAINT holds for the isolated builds too; newer pips want PIP_BUILD_CONSTRAINT for that.
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT="$constraints" PIP_BUILD_CONSTRAINT="$constraints" \
    "$directory/bin/python" -m pip install --quiet alfworld==0.4.2 textworld==1.7.0 fast_downward_textworld==20.6.4
"$directory/bin/python" -c 'import fast_downward; fast_downward.load_lib(); from textworld.envs.pddl import PddlEnv'
cp "$constraints" "$stamp"
say "done: $directory/bin/python"
