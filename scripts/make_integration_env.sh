#!/usr/bin/env bash
# Make a virtual environment with one outside framework and our package, at the versions in integrations/NAME.txt.
#
#   scripts/make_integration_env.sh NAME [DIR]     DIR: .venv-integration-NAME in the repository's root
#
# NAME is an extra of the package: gymnasium, openenv, verifiers, … PYTHON names the interpreter, 3.11 or later.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(dirname "$here")"
# shellcheck source=scripts/make_env.sh
source "$here/make_env.sh"

name="${1:?usage: scripts/make_integration_env.sh NAME [DIR]}"
constraints="$here/integrations/$name.txt"
if [[ ! -e "$constraints" ]]; then
    say "unknown integration '$name'; there are: $(find "$here/integrations" -name '*.txt' -exec basename {} .txt \; | sort | xargs)"
    exit 1
fi

install_integration() {
    python -m pip install --quiet --editable "${repository}[$name]" pytest
}

make_env "${2:-$repository/.venv-integration-$name}" "$constraints" install_integration
