import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alfworld_sft.errors import UserError
from alfworld_sft.files import PARTIAL
from alfworld_sft.games import cli, find_all_games, find_games
from alfworld_sft.games.generator.facts import ROOMS
from alfworld_sft.games.generator.write import divide, write_games
from alfworld_sft.types import TASK_TYPES

runner = CliRunner()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def generate(folder: Path, *options: str) -> list[str]:
    """Run the command, which must succeed; return the lines of stdout without blanks at their ends."""
    result = runner.invoke(cli.games_app, ["generate", *options, str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


def error_of(folder: Path, *options: str) -> str:
    result = runner.invoke(cli.games_app, ["generate", *options, str(folder)])
    assert isinstance(result.exception, UserError)
    assert result.output == "", "nothing was begun"
    return str(result.exception)


def test_the_command_makes_a_data_folder_and_says_so(tmp_path: Path):
    folder = tmp_path / "games"
    lines = generate(folder, "--num", "20", "--seed", "3")
    assert lines[0].split() == ["split", "Pick", "Look", "Clean", "Heat", "Cool", "Pick", "two", "all"]
    assert [line.split()[-1] for line in lines[1:4]] == ["16", "2", "2"]
    assert lines[4:] == [
        f"16 train games in {folder}/json_2.1.1/train",
        f"2 valid_seen games in {folder}/json_2.1.1/valid_seen",
        f"2 valid_unseen games in {folder}/json_2.1.1/valid_unseen",
        f"to play them: export ALFWORLD_DATA={folder}",
    ]


def test_every_game_has_its_two_files_and_can_be_loaded(tmp_path: Path):
    write_games(tmp_path / "games", {"train": 6, "valid_unseen": 2}, seed=1)
    names = tree(tmp_path / "games")
    assert len(names) == 2 * 8 + 1
    for games in find_all_games(tmp_path / "games"):
        for ref in games:
            game = ref.load()
            assert f"json_2.1.1/{games.split}/{game.id}/game.tw-pddl" in names
            traj = json.loads(names[f"json_2.1.1/{games.split}/{game.id}/traj_data.json"])
            assert (traj["task_type"], traj["scene"]["scene_num"]) == (game.task_type, game.scene)


def test_the_same_options_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        generate(tmp_path / name, "--num", "10", "--difficulty", "hard", "--splits", "valid_seen")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_the_stamp_says_what_made_the_games(tmp_path: Path):
    generate(
        tmp_path / "games", "--num", "4", "--rooms", "bedroom,bathroom", "--splits", "train", "--difficulty", "1.5"
    )
    stamp = json.loads((tmp_path / "games" / "generated.json").read_text())
    assert {key: value for key, value in stamp.items() if key != "made_by"} == {
        "seed": 0,
        "games": {"train": 4},
        "task_types": None,
        "rooms": ["bedroom", "bathroom"],
        "difficulty": "1.5",
    }


def test_task_types_may_be_repeated_or_joined(tmp_path: Path):
    look, two = "look_at_obj_in_light", "pick_two_obj_and_place"
    generate(tmp_path / "a", "--num", "6", "--splits", "train", "--task-types", look, "--task-types", two)
    generate(tmp_path / "b", "--num", "6", "--splits", "train", "--task-types", f"{two}, {look}")
    assert find_games(tmp_path / "a").sha256 == find_games(tmp_path / "b").sha256
    assert set(find_games(tmp_path / "a").counts) <= {look, two}


def test_an_empty_folder_may_be_named(tmp_path: Path):
    write_games(tmp_path, {"train": 1}, seed=1)
    assert len(find_games(tmp_path)) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--num", "0"), "--num 0 is too few: every split needs a game (train, valid_seen, valid_unseen)"),
        (("--num", "2"), "--num 2 is too few: every split needs a game (train, valid_seen, valid_unseen)"),
        (("--num", "-1", "--splits", "train"), "--num -1 is too few: every split needs a game (train)"),
        (("--rooms", ""), f"no room is named; there are {', '.join(ROOMS)}"),
        (("--rooms", "kichen"), "unknown room 'kichen'; did you mean 'kitchen'?"),
        (("--task-types", "pick_too"), f"unknown task type 'pick_too'; there are {', '.join(TASK_TYPES)}"),
        (
            ("--task-types", "pick_and_place"),
            "unknown task type 'pick_and_place'; did you mean 'pick_and_place_simple'?",
        ),
        (("--splits", "test"), "unknown split 'test'; there are train, valid_seen, valid_unseen"),
        (("--difficulty", "x"), "unknown difficulty 'x'; there are easy, normal, hard, or a number from 0 to 2"),
        (
            ("--task-types", "pick_cool_then_place_in_recep", "--rooms", "bedroom"),
            "no bedroom has a task of the type pick_cool_then_place_in_recep; it is set in: kitchen",
        ),
    ],
)
def test_bad_options_get_one_line_and_leave_nothing(tmp_path: Path, options: tuple[str, ...], line: str):
    assert error_of(tmp_path / "games", *options) == line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path):
    (tmp_path / "mine").write_text("")
    assert error_of(tmp_path) == f"{tmp_path} is not empty; name a new folder"
    assert error_of(tmp_path / "mine") == f"{tmp_path}/mine is a file; name a new folder"


def test_a_set_that_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_games(tmp_path / "games", {"train": 3}, seed=1, on_game=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_cleared(tmp_path: Path):
    left = tmp_path / f".games.1a2b{PARTIAL}" / "json_2.1.1"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    write_games(tmp_path / "games", {"train": 1}, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["games"]
    assert "json_2.1.1/half" not in tree(tmp_path / "games")


def test_games_are_divided_among_the_splits():
    assert divide(640, ("train", "valid_seen", "valid_unseen")) == {"train": 512, "valid_seen": 64, "valid_unseen": 64}
    assert divide(3, ("train", "valid_seen", "valid_unseen")) == {"train": 1, "valid_seen": 1, "valid_unseen": 1}
    assert divide(5, ("valid_seen", "valid_unseen")) == {"valid_seen": 3, "valid_unseen": 2}
