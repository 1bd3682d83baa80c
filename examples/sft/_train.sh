# shellcheck shell=bash
# Shared by the two scripts beside it: check the arguments, make sure that training is installed, call torchrun (launch.py).
#   train <name of the script> <nproc> <save_path> <data_dir> -- <options of the mode> -- <overrides…>
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
    echo "error: $*" >&2
    exit 2
}

train() {
    local script=$1 mode=$2
    shift 2
    [ $# -ge 3 ] || fail "usage: $script <nproc> <save_path> <data_dir> [key=value …]"
    local processes=$1 save_path=$2 data_dir=$3
    shift 3
    [[ $processes =~ ^[1-9][0-9]*$ ]] || fail "nproc=$processes: not a number of processes from 1 up"
    [[ $save_path != *=* && $data_dir != *=* ]] || fail "usage: $script <nproc> <save_path> <data_dir> [key=value …]"
    [ -d "$data_dir" ] || fail "data_dir=$data_dir: there is no such folder; make one: ./examples/ppo_trainer/run_alfworld_sft_collection.sh"
    local file
    for file in train.parquet val.parquet; do
        [ -f "$data_dir/$file" ] || fail "$data_dir/$file is missing; was the collection stopped? alfworld-sft collect --resume $data_dir"
    done

    local python options
    python=$("$repository/scripts/ensure_training_installed.sh")
    options=(
        "data.train_files=$data_dir/train.parquet"
        "data.val_files=$data_dir/val.parquet"
        "data.multiturn.enable=$mode"
        "trainer.default_local_dir=$save_path"
        "$@"
    )
    # Report a wrong option or file once and immediately, not from every process after many seconds of start-up.
    "$python" -m alfworld_sft.train --dry-run "${options[@]}"
    local cores
    cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)  # macOS has no nproc
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( (cores + processes - 1) / processes ))}
    exec "$python" -m alfworld_sft.train.launch --standalone --nnodes=1 --nproc_per_node="$processes" \
        -m alfworld_sft.train "${options[@]}"
}
