"""Which game does the reference play first, for each seed? Run by the reference's own interpreter.

    python benchmarks/first_games.py DATA < request.json

DATA is the folder with `json_2.1.1` and `logic`. The request is {"reset": […], "seed": […], "orders": […]}. One JSON
object comes back: `games`, the ids of valid_seen as AlfredTWEnv lists them; `reset`, for each of those seeds the number
of the game that a whole `seed` and `reset` plays; `seed`, the number of the game that comes next after `seed` alone,
which is the same choice without the time that loading takes; `orders`, for each number of a shuffled file order the
same for the seeds 1000 to 1127, as numbers of `games`.
"""

import contextlib
import json
import sys
from pathlib import Path

FIRST_SEED = 1000
ACTORS = 128


def environment(data):
    """The environment of valid_seen that the published training code validates on."""
    from alfworld.agents.environment import get_environment

    games = {f"{key}data_path": f"{data}/json_2.1.1/valid_seen" for key in ("", "eval_id_", "eval_ood_")}
    config = {
        "env": {
            "task_types": [1, 2, 3, 4, 5, 6], "domain_randomization": False, "expert_type": "handcoded",
            "goal_desc_human_anns_prob": 0.0, "regen_game_files": False, "expert_timeout_steps": 150,
        },
        "dataset": {**games, "num_train_games": -1, "num_eval_games": -1},
        "logic": {"domain": f"{data}/logic/alfred.pddl", "grammar": f"{data}/logic/alfred.twl2"},
        "general": {"training_method": "dqn"},
        "rl": {"training": {"max_nb_steps_per_episode": 50}},
    }  # fmt: skip
    return get_environment("AlfredTWEnv")(config, train_eval="eval_in_distribution")


def main():
    data = Path(sys.argv[1])
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        import numpy as np

        base = environment(data)
        number = {file: i for i, file in enumerate(base.game_files)}
        env = base.init_env(batch_size=1)

        def reset(seed):
            env.seed(seed)
            return number[env.reset()[1]["extra.gamefile"][0]]

        def first(seed):
            env.seed(seed)
            return number[next(env._gamefiles_iterator)]

        answer = {
            "games": [Path(file).parent.relative_to(data / "json_2.1.1").as_posix() for file in base.game_files],
            "reset": [reset(seed) for seed in request["reset"]],
            "seed": [first(seed) for seed in request["seed"]],
            "orders": [],
            "numpy": np.__version__,
        }
        for order in request["orders"]:
            env.gamefiles = list(np.random.RandomState(order).permutation(base.game_files))
            answer["orders"].append([first(seed) for seed in range(FIRST_SEED, FIRST_SEED + ACTORS)])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
