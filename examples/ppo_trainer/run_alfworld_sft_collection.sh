#!/usr/bin/env bash
# Collect SFT data from ALFWorld's text games. Variables are documented in the README; arguments are dotted overrides.
#   PROMPT_TEMPLATE=add_wm1 SFT_REQUIRE_SUCCESS=True ./examples/ppo_trainer/run_alfworld_sft_collection.sh
#   MODEL=Qwen/Qwen2.5-1.5B-Instruct ./examples/ppo_trainer/run_alfworld_sft_collection.sh
#   MODEL=Qwen/Qwen2.5-1.5B-Instruct OPENAI_BASE_URL=http://127.0.0.1:8000/v1 ./examples/…/run_alfworld_sft_collection.sh
#   MODEL=./sft_models/final SERVE=/opt/vllm/bin/vllm ./examples/ppo_trainer/run_alfworld_sft_collection.sh
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Say why vLLM cannot serve a model here, or nothing where it can.
lacks_for_vllm() {
    local lacks=()
    command -v vllm > /dev/null || [ -x "$(dirname "$alfworld_sft")/vllm" ] || lacks+=("no vllm on the PATH")
    nvidia-smi --list-gpus 2> /dev/null | grep -q GPU || lacks+=("no GPU")
    [ ${#lacks[@]} -eq 0 ] || echo "${lacks[0]}${lacks[1]:+ and ${lacks[1]}}"
}

case "${COLLECT_SFT:-True}" in
    [Tt]rue | 1 | [Yy]es) ;;
    *) echo "error: COLLECT_SFT=$COLLECT_SFT: this script only collects; for anything else call alfworld-sft" >&2; exit 2 ;;
esac
if [ -n "${SERVE:-}" ] && [ -n "${OPENAI_BASE_URL:-}" ]; then
    echo "error: SERVE starts a server, and OPENAI_BASE_URL names a running one; set only one of them" >&2
    exit 2
fi
if [ -n "${SERVE:-}" ] && [ -z "${MODEL:-}" ]; then
    echo "error: SERVE=$SERVE serves a model: name it in MODEL" >&2
    exit 2
fi
alfworld_sft=$("$repository/scripts/ensure_installed.sh")

options=()
[ -z "${PROMPT_TEMPLATE:-}" ] || options+=("prompt.template=$PROMPT_TEMPLATE")
[ -z "${SFT_REQUIRE_SUCCESS:-}" ] || options+=("dataset.require_success=$SFT_REQUIRE_SUCCESS")
[ -z "${SFT_SEED:-}" ] || options+=("seed=$SFT_SEED")
[ -z "${NUM_EPISODES:-}" ] || options+=("num_episodes=$NUM_EPISODES")
[ -z "${MODEL:-}" ] || options+=("policy.model=$MODEL")

if [ -z "${MODEL:-}" ]; then
    [[ "$*" == *policy.name=* ]] ||
        echo "playing the built-in expert (no MODEL is set): it needs no GPU and no weights" >&2
elif [ -n "${OPENAI_BASE_URL:-}" ]; then
    options+=("policy.name=server")
elif [ -n "${SERVE:-}" ] || [ -z "$(lacks_for_vllm)" ]; then
    options+=("policy.name=server" "policy.serve=${SERVE:-vllm}")
else
    echo "playing $MODEL in this process: there is $(lacks_for_vllm) to serve it. Fine for a small model; for a large one" \
        "set OPENAI_BASE_URL to a server's address, or SERVE to vllm's path; without MODEL the built-in expert plays" >&2
    alfworld_sft=$(dirname "$("$repository/scripts/ensure_training_installed.sh")")/alfworld-sft
    options+=("policy.name=local")
fi
exec "$alfworld_sft" collect --output-dir "${OUTPUT_DIR:-.}" ${options[@]+"${options[@]}"} "$@"
