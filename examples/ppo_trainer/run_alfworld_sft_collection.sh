#!/usr/bin/env bash
# Collect SFT data from ALFWorld's text games. Variables are documented in the README; arguments are dotted overrides.
#   PROMPT_TEMPLATE=add_wm1 SFT_REQUIRE_SUCCESS=True ./examples/ppo_trainer/run_alfworld_sft_collection.sh
#   MODEL=Qwen/Qwen2.5-1.5B-Instruct OPENAI_BASE_URL=http://127.0.0.1:8000/v1 ./examples/…/run_alfworld_sft_collection.sh
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
alfworld_sft=$("$repository/scripts/ensure_installed.sh")

options=()
[ -z "${PROMPT_TEMPLATE:-}" ] || options+=("prompt.template=$PROMPT_TEMPLATE")
[ -z "${SFT_REQUIRE_SUCCESS:-}" ] || options+=("dataset.require_success=$SFT_REQUIRE_SUCCESS")
[ -z "${SFT_SEED:-}" ] || options+=("seed=$SFT_SEED")
[ -z "${NUM_EPISODES:-}" ] || options+=("num_episodes=$NUM_EPISODES")

case "${COLLECT_SFT:-True}" in
    [Tt]rue | 1 | [Yy]es) ;;
    *) echo "error: COLLECT_SFT=$COLLECT_SFT: this script only collects; for anything else call $alfworld_sft" >&2; exit 2 ;;
esac
if [ -z "${MODEL:-}" ]; then
    echo "playing the built-in expert (no MODEL is set): it needs no GPU and no weights" >&2
elif [ -n "${OPENAI_BASE_URL:-}" ]; then
    options+=("policy.name=server" "policy.model=$MODEL")
else
    options+=("policy.name=local" "policy.model=$MODEL")
fi
exec "$alfworld_sft" collect --output-dir "${OUTPUT_DIR:-.}" "${options[@]}" "$@"
