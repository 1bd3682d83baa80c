#!/usr/bin/env bash
# The main job in small: collect a dataset with world-model prompts, and show what came out of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/alfworld-sft-demo.XXXXXX")

PROMPT_TEMPLATE=add_wm1 NUM_EPISODES="${NUM_EPISODES:-200}" OUTPUT_DIR="$folder" \
    ./examples/ppo_trainer/run_alfworld_sft_collection.sh
.venv/bin/alfworld-sft show "$folder"/sft_data_*
