#!/usr/bin/env bash
# Make a virtual environment with the reference, alfworld 0.4.2, at the versions in reference-constraints.txt.
#
#   scripts/make_reference_env.sh [DIR]       DIR: .venv-reference in the repository's root
#
# PYTHON names the interpreter, 3.11 or later (default python3). Two packages are built from source, which takes one
# to three minutes and needs gcc, g++ and make. Returns at once if DIR is complete already.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/make_env.sh
source "$here/make_env.sh"

install_reference() {
    local missing=() tool
    for tool in gcc g++ make; do
        command -v "$tool" > /dev/null || missing+=("$tool")
    done
    if ((${#missing[@]})); then
        say "missing: ${missing[*]}; fast_downward_textworld and jericho are built from source"
        say "on Debian and Ubuntu: apt-get install build-essential"
        return 1
    fi
    python -m pip install --quiet alfworld==0.4.2 textworld==1.7.0 fast_downward_textworld==20.6.4
    python -c 'import fast_downward; fast_downward.load_lib(); from textworld.envs.pddl import PddlEnv'
}

make_env "${1:-$(dirname "$here")/.venv-reference}" "$here/reference-constraints.txt" install_reference
