"""Where are the real ALFWorld games, and which of them stand for each task type?

They may not be committed, so whatever needs them says so and is skipped where they are absent.
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_GAMES = REPOSITORY.parent / "shared" / "alfworld_data" / "json_2.1.1"
NO_REAL_GAMES = "the real games are not in ../shared/alfworld_data"
TASK_TYPES = (
    "look_at_obj_in_light",
    "pick_and_place_simple",
    "pick_clean_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_two_obj_and_place",
)


def game_id(path: Path, data: Path) -> str:
    """The folder of a game file, relative to the data: `valid_seen/pick_…/trial_…`."""
    return path.relative_to(data).parent.as_posix()


def game_files(data: Path = REAL_GAMES) -> list[Path]:
    """Every game file below `data`, in the order of its path."""
    return sorted(data.glob("**/game.tw-pddl"))


def task_type(path: Path) -> str:
    """The task type of a real game, from the name of its task folder (`pick_and_place_simple-Book-None-Sofa-229`)."""
    return path.parent.parent.name.split("-", 1)[0]


def sample(paths: list[Path], per_type: int) -> list[Path]:
    """At most `per_type` games of each task type, spread evenly over those there are."""
    chosen = []
    for kind in sorted({task_type(path) for path in paths}):
        of_kind = [path for path in paths if task_type(path) == kind]
        count = min(per_type, len(of_kind))
        chosen += [of_kind[i * len(of_kind) // count] for i in range(count)]
    return chosen
