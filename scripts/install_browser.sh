#!/usr/bin/env bash
# Install Chromium for the report's browser tests, if this system lets us: Debian's package, as root. Where that cannot be
# done one line says why, and the tests are skipped.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    command -v "$name" > /dev/null && exit
done

skip() { echo "the browser tests are skipped: there is no Chromium, and $*" >&2; exit 0; }

command -v apt-get > /dev/null || skip "no apt-get to install it"
[ "$(id -u)" -eq 0 ] || skip "installing it needs root"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout 180 sh -c 'apt-get update && apt-get install --yes --no-install-recommends chromium' > "$log" 2>&1 < /dev/null \
    || skip "apt-get could not install it within 180 s: $(tail -1 "$log")"
