import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.collecting import write_games
from tests.test_cli import command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_games(tmp_path_factory.mktemp("games"), 12, "valid_seen")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The expert's and the random player's evaluations, a and b, with what the first printed."""
    folder = tmp_path_factory.mktemp("runs")
    words = ("evaluate", "--output-dir", str(folder), f"games.source={data}", "prompt.template=add_wm1")
    first = command(*words, "--name", "a")
    command(*words, "--name", "b", "policy.name=random", "env.max_steps=20")
    command(*words, "--name", "c", "policy.name=random")
    return folder, first


def test_evaluate_prints_success_with_intervals_and_the_folder(runs):
    folder, result = runs
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["task", "type", "won", "played", "success", "95", "%", "interval"]
    assert lines[6].split() == ["Pick", "two", "2", "2", "100.0%", "34.2%", "to", "100.0%"]
    assert lines[7].split() == ["all", "12", "12", "100.0%", "75.8%", "to", "100.0%"]
    assert lines[8].startswith("mean steps: ")
    assert lines[9].startswith("invalid actions: 0.0% (0 of ")
    assert lines[10] == "lost: 0"
    assert Path(lines[-1]) == folder / "a"


def test_evaluate_prints_the_world_model_score_by_kind_of_action(runs):
    rows = [line.split() for line in runs[1].stdout.splitlines()]
    assert ["prediction", "after", "cases", "exact", "F1", "copy", "F1", "frequent", "F1"] in rows
    (take,) = [row for row in rows if row[:1] == ["take"]]
    assert take[2:4] == ["1.000", "1.000"]


def test_compare_prints_both_rates_the_difference_and_the_p_value(runs):
    folder, _ = runs
    result = command("evaluate", "--compare", str(folder / "c"), str(folder / "a"))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["task", "type", "plays", "A", "B", "B", "-", "A"]
    assert lines[-5:-3] == [f"A: {folder / 'c'} (random)", f"B: {folder / 'a'} (expert)"]
    assert lines[-3].startswith("12 plays of 12 games: won by both ")
    assert ", 95 % interval +" in lines[-2]
    assert ", p = 0.0" in lines[-2]


def test_compare_shows_a_foreign_file_without_letting_it_steer_the_terminal(runs, tmp_path):
    folder, _ = runs
    found = json.loads((folder / "a" / "metrics.json").read_bytes())
    found["stamp"]["policy"] = "\x1b[2Jexpert[/b]"
    found["outcomes"]["[/b]\x1b[2J"] = found["outcomes"].pop("pick_two_obj_and_place")
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    result = command("evaluate", "--compare", str(tmp_path), str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert f"A: {tmp_path} (\\x1b[2Jexpert[/b])" in result.stdout
    assert "[/b]\\x1b[2J" in result.stdout.splitlines()[6]
    assert "\x1b" not in result.stdout


def test_compare_refuses_different_protocols_unless_told_to(runs):
    folder, _ = runs
    two = ("--compare", str(folder / "a"), str(folder / "b"))
    refused = command("evaluate", *two)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "cannot be compared: max_steps 50 or 20" in line
    assert command("evaluate", *two, "--different-protocols").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["games.split=valid_sen"],
            "error: games.split=valid_sen: input should be 'train', 'valid_train', 'valid_seen' or 'valid_unseen'; did",
        ),
        (["repeats=0"], "error: repeats=0: input should be greater than or equal to 1"),
        (["num_episodes=3"], "error: unknown key 'num_episodes'; did you mean '"),
        (["--resume", "/nowhere"], "error: /nowhere is not a run's folder: it has no run.json"),
        (
            ["--resume", "/nowhere", "dataset.val_fraction=0"],
            "error: --resume /nowhere uses that run's own config; leave out: dataset.val_fraction=0",
        ),
        (["--resume", "/nowhere", "seed=3"], "error: --resume /nowhere uses that run's own config; leave out"),
        (["--compare", "/nowhere", "/nowhere"], "error: /nowhere is not a finished evaluation"),
        (["--compare", "/a", "/b", "seed=3"], "error: --compare A B plays nothing; leave out the options for playing"),
        (
            ["--resume", "/nowhere", "--output-dir", "x"],
            "error: --resume /nowhere uses that run's own config; leave out",
        ),
        (["--compare", "/a", "/b", "--output-dir", "x"], "error: --compare A B plays nothing; leave out the options"),
        (["--failed-as-lost"], "error: --failed-as-lost goes with --compare A B only"),
        (["--different-protocols"], "error: --different-protocols goes with --compare A B only"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    result = command("evaluate", *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(message)


def test_the_keys_are_listed():
    assert "| `games.split` | `valid_seen` |" in command("evaluate", "--keys").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_how_to_go_on(data, tmp_path, number, code):
    words = [sys.executable, "-m", "alfworld_sft", "evaluate", "--output-dir", str(tmp_path), "--name", "run"]
    process = subprocess.Popen(
        [*words, f"games.source={data}", "repeats=1000", "policy.name=random"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = tmp_path / "run" / "episodes.jsonl"
    while not (journal.exists() and journal.stat().st_size):
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"resume with: alfworld-sft evaluate --resume {tmp_path / 'run'}" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


def test_games_that_were_skipped_are_told_before_and_after(tmp_path):
    data = write_games(tmp_path / "data", 4, "valid_seen")
    spoilt = sorted(data.rglob("game.tw-pddl"))[1:]
    for file in spoilt:
        file.write_bytes(b"{")
    result = command("evaluate", "--output-dir", str(tmp_path), f"games.source={data}")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[1] == (
        "WARNING: skipped 3 of 4 games: 3 broken (not a JSON object)"
        f" (the first: {spoilt[0]}: broken (not JSON:"
        " Expecting property name enclosed in double quotes: line 1 column 2 (char 1)));"
        " to list them: alfworld-sft games list"
        f" --source {data}/json_2.1.1/valid_seen --split valid_seen --skipped"
    )
    assert "skipped games: 3 broken (not a JSON object)" in result.stdout.splitlines()
