#!/usr/bin/env bash
# Fine-tune on whole conversations. More arguments are dotted overrides: alfworld-sft train --keys
#   ./examples/sft/run_alfworld_sft_multiturn.sh 4 ./sft_models_multi sft_data_20241211_143022 trainer.total_epochs=1
source "$(dirname "${BASH_SOURCE[0]}")/_train.sh"
train "$0" true "$@"
