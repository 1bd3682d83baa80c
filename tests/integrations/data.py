"""A small data folder of generated games in ALFWorld's layout, and a config that names it."""

from pathlib import Path

from alfworld_sft.games.generator.write import write_games

SIZES = {"train": 6, "valid_seen": 5, "valid_unseen": 4}


def write_data(folder: Path) -> Path:
    """Generate the games; the folder that holds the splits."""
    write_games(folder, SIZES, 0)
    return folder / "json_2.1.1"


def config_for(data: Path, method: str = "dqn", expert: str = "handcoded", limit: int = 5, **env: object) -> dict:
    """A config as ALFWorld's base_config.yaml, with what is read of it."""
    return {
        "dataset": {
            "data_path": str(data / "train"),
            "eval_id_data_path": str(data / "valid_seen"),
            "eval_ood_data_path": str(data / "valid_unseen"),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "env": {
            "type": "AlfredTWEnv",
            "task_types": [1, 2, 3, 4, 5, 6],
            "domain_randomization": False,
            "goal_desc_human_anns_prob": 0,
            "expert_type": expert,
            **env,
        },
        "general": {"training_method": method},
        "rl": {"training": {"max_nb_steps_per_episode": limit}},
        "dagger": {"training": {"max_nb_steps_per_episode": limit + 2}},
    }
