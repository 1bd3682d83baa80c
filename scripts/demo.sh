#!/usr/bin/env bash
# Train an agent from random weights on this machine's CPU: collect, train, and evaluate on unseen games.
#   make demo               twelve minutes on two cores
#   MINUTES=3 make demo     less time, fewer episodes, a weaker agent
#   ALFWORLD_DATA=DIR make demo     also plays the real valid_seen games
# Everything is left in OUTPUT_DIR (default: a new temporary folder).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes=${MINUTES:-12}
[[ $minutes =~ ^[0-9]+$ && $minutes -ge 3 ]] || { echo "error: MINUTES=$minutes: write a whole number, 3 or more" >&2; exit 2; }
folder=${OUTPUT_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/alfworld-sft-demo.XXXXXX")}
mkdir -p "$folder"
alfworld_sft=$(dirname "$(scripts/ensure_training_installed.sh)")/alfworld-sft
export OMP_NUM_THREADS=1 # processes use the cores; threads of so small a model mostly wait, most of all beside other programs
SECONDS=0

asked=(prompt.template=compact prompt.form=multi)
recipe=(data.multiturn.enable=true "model.path=$folder/random" model.lora_rank=0 worldmodel.observation_loss=0.3
    data.train_batch_size=16 trainer.total_epochs=1 optim.name=muon optim.lr=5e-3 optim.warmup_steps_ratio=0.03
    "trainer.logger=[console]" trainer.save_freq=0 trainer.processes=auto)
evaluated=(trainer.eval_games=12 trainer.eval_max_steps=30 trainer.eval_source=embedded trainer.eval_max_tokens=24)

say() { printf '\n== %d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }
run() { echo "\$ alfworld-sft $*" && "$alfworld_sft" "$@"; }
collect() { # NAME EPISODES SEED
    run collect --output-dir "$folder" --name "$1" games.source=generate "${asked[@]}" policy.noise=0.15 \
        "num_episodes=$2" "seed=$3" dataset.require_success=true dataset.rows_per=episode dataset.val_fraction=0
}
play() { # NAME MODEL [key=value …]
    run evaluate --output-dir "$folder" --name "$1" "${asked[@]}" policy.name=local "policy.model=$2" \
        policy.temperature=0 policy.max_tokens=24 env.max_repeats=8 "${@:3}"
}

timed() { # NAME command …: run it, and set NAME to the seconds it took
    local began=$SECONDS
    "${@:2}"
    printf -v "$1" %d $((SECONDS - began))
}
start_s=0 collect_s=0 train_s=0 play_s=0

say "a first look: how fast is this machine?"
timed start_s "$alfworld_sft" collect --keys >/dev/null
timed collect_s collect first 2000 1
run tiny-model "$folder/random" --model-type qwen3 --corpus "$folder/first" --chat short --head-dim 32
timed train_s run train "data.train_files=$folder/first" "${recipe[@]}" "${evaluated[@]}" \
    "trainer.default_local_dir=$folder/first_run" trainer.total_training_steps=30 trainer.test_freq=0

say "the random model plays 40 embedded games"
timed play_s play before "$folder/random" games.source=embedded num_games=40
plan=$("$(dirname "$alfworld_sft")/python" -m scripts.demo_plan "$folder" \
    $((minutes * 60 - SECONDS)) $((collect_s - start_s)) "$train_s" "$play_s")
read -r episodes parts <<<"$plan"

say "collect: the expert plays $episodes new games, and errs at times"
for ((part = 1; part < parts; part++)); do
    collect "part$part" $((episodes / parts)) $((part + 1)) >"$folder/part$part.log" 2>&1 &
    pids[part]=$!
done
collect part0 $((episodes - (parts - 1) * (episodes / parts))) 1000
files=$folder/part0
for ((part = 1; part < parts; part++)); do
    wait "${pids[part]}" || { cat "$folder/part$part.log" >&2; exit 1; }
    files+=,$folder/part$part
done

say "train, and play 12 embedded games for 30 steps now and then"
run train "data.train_files=[$files]" "${recipe[@]}" "${evaluated[@]}" "trainer.default_local_dir=$folder/run" \
    trainer.test_freq=$((episodes / 80 > 0 ? episodes / 80 : 1))

say "the trained model plays the same 40 embedded games, none of which it has seen"
play after "$folder/run/final" games.source=embedded num_games=40
run evaluate --compare "$folder/before" "$folder/after"
if [ -n "${ALFWORLD_DATA:-}" ]; then
    say "the trained model plays the real valid_seen games"
    play real "$folder/run/final" "games.source=$ALFWORLD_DATA"
fi
say "done; the agent is $folder/run/final"
