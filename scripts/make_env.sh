#!/usr/bin/env bash
# Make a virtual environment of its own for a package that cannot share ours. Sourced by the make_*_env.sh scripts.
#
#   make_env DIR CONSTRAINTS COMMAND…    runs COMMAND with $DIR/bin first on the PATH to fill a new environment DIR
#
# PYTHON names the interpreter, 3.11 or later (default python3). Returns at once if DIR was completed with the same
# constraints; a folder that is no virtual environment is left alone.

say() { echo "$(basename "$0" .sh): $*" >&2; }

make_env() {
    local directory="$1" constraints="$2" python="${PYTHON:-python3}"
    local stamp="$directory/constraints.stamp"
    shift 2
    if cmp -s "$constraints" "$stamp"; then
        say "$directory is complete"
        return 0
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "$python is older than Python 3.11; name another with PYTHON=…"
        return 1
    fi
    if [[ -n "$(ls -A "$directory" 2> /dev/null)" && ! -e "$directory/pyvenv.cfg" ]]; then
        say "$directory is there and no virtual environment; it is left alone"
        return 1
    fi
    say "installing into $directory"
    rm -rf "$directory"
    "$python" -m venv "$directory"
    # PIP_CONSTRAINT holds for the isolated builds too; newer pips want PIP_BUILD_CONSTRAINT for that.
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT="$constraints" PIP_BUILD_CONSTRAINT="$constraints" \
        PATH="$directory/bin:$PATH" "$@"
    cp "$constraints" "$stamp"
    say "done: $directory/bin/python"
}
