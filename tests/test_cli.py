import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alfworld_sft.cli import COMMANDS, load_command
from tests.collecting import write_games

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / "examples/ppo_trainer/run_alfworld_sft_collection.sh"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-m", "alfworld_sft", *arguments], environment)


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([str(SCRIPT), *arguments], {"VIRTUAL_ENV": sys.prefix} | environment)


def _run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SFT_", "ALFWORLD"))}
    return subprocess.run(words, env=inherited | environment, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 12)


def test_collect_prints_the_table_and_the_folder(data, tmp_path):
    result = command("collect", "--output-dir", str(tmp_path), f"games.source={data}")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["task", "type", "won", "played"]
    assert lines[-3].split() == ["all", "12", "12"]
    assert Path(lines[-1], "train.parquet").exists()


def test_progress_goes_to_stderr_and_names_the_games(data, tmp_path):
    result = command("collect", "--output-dir", str(tmp_path), f"games.source={data}")
    assert "playing 12 train games in" in result.stderr
    assert "12 of 12 episodes, 100.0% won" in result.stderr


def test_all_wrong_options_are_reported_one_a_line(tmp_path):
    result = command("collect", "--output-dir", str(tmp_path), "sed=1", "num_episodes=0")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error: unknown key 'sed'; did you mean 'seed'?",
        "error: num_episodes=0: input should be greater than or equal to 1",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["games.source=/nowhere"], "error: no games found: /nowhere does not exist; get the official games with"),
        (
            ["games.split=valid_sen"],
            "error: games.split=valid_sen: input should be 'train', 'valid_train', 'valid_seen' or 'valid_unseen'; did",
        ),
        (["prompt.template=add_wm3"], "error: unknown template 'add_wm3'; did you mean 'add_wm"),
        (["--resume", "/nowhere"], "error: /nowhere is not a run's folder: it has no run.json"),
        (["--resume", "/nowhere", "seed=3"], "error: --resume /nowhere uses that run's own config; leave out"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    folder = [] if "--resume" in arguments else ["--output-dir", str(tmp_path)]
    result = command("collect", *folder, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(message)


def test_an_output_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").touch()
    result = command("collect", "--output-dir", str(tmp_path / "file" / "x"), f"games.source={data}")
    assert result.returncode == 2
    assert f"cannot make a run's folder in {tmp_path / 'file' / 'x'}: Not a directory" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_how_to_go_on_and_loses_nothing(data, tmp_path, number, code):
    words = [sys.executable, "-m", "alfworld_sft", "collect", "--output-dir", str(tmp_path), "--name", "run"]
    process = subprocess.Popen(
        [*words, f"games.source={data}", "num_episodes=1000000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = tmp_path / "run" / "episodes.jsonl"
    while not (journal.exists() and journal.stat().st_size):
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"resume with: alfworld-sft collect --resume {tmp_path / 'run'}" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_the_collection_script_translates_its_variables(data, tmp_path):
    result = script(
        "policy.noise=0.1", "+env.max_steps=40",
        ALFWORLD_DATA=str(data), OUTPUT_DIR=str(tmp_path), PROMPT_TEMPLATE="add_wm1", SFT_REQUIRE_SUCCESS="True",
        SFT_SEED="123", NUM_EPISODES="9",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "playing the built-in expert (no MODEL is set): it needs no GPU and no weights" in result.stderr
    config = json.loads(Path(result.stdout.splitlines()[-1], "run.json").read_bytes())["config"]
    assert (config["seed"], config["num_episodes"], config["prompt"]["template"]) == (123, 9, "add_wm1")
    assert config["dataset"]["require_success"] is True
    assert (config["policy"]["noise"], config["env"]["max_steps"]) == (0.1, 40)


def test_the_collection_script_names_no_expert_where_another_plays(data, tmp_path):
    result = script("policy.name=random", "num_episodes=1", ALFWORLD_DATA=str(data), OUTPUT_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "expert" not in result.stderr


def test_a_model_that_is_not_there_is_told_in_one_line(data, tmp_path):
    result = script(ALFWORLD_DATA=str(data), OUTPUT_DIR=str(tmp_path), MODEL=str(tmp_path / "nowhere"))
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: policy.model=") or "pip install" in result.stderr
    assert "Traceback" not in result.stderr


def test_show_describes_a_dataset_with_an_example(data, tmp_path):
    folder = command("collect", "--output-dir", str(tmp_path), f"games.source={data}").stdout.splitlines()[-1]
    result = command("show", folder)
    assert result.returncode == 0
    assert "rows: " in result.stdout
    assert "user: You are an agent in a house" in result.stdout
    assert "<action>" in result.stdout


def test_one_episode_is_spoken_of_as_one_and_small_files_have_their_size(data, tmp_path):
    words = ("collect", "--output-dir", str(tmp_path), f"games.source={data}", "num_episodes=1")
    collected = command(*words)
    folder = Path(collected.stdout.splitlines()[-1])
    shown = command("show", str(folder))
    card = (folder / "README.md").read_text()
    assert "1 of 1 episode, 100.0% won" in collected.stderr
    assert " of 1 game for training, 0 of 0 for validation" in collected.stdout
    assert "\n1 episode of ALFWorld text games, played by" in card
    for text in (collected.stdout, collected.stderr, shown.stdout, card):
        assert not re.search(r"\b1 (episodes|rows|games)\b", text)
    sizes = [line.split("  ")[-2].strip() for line in shown.stdout.splitlines() if line.endswith((".csv", ".json"))]
    assert len(sizes) == 3
    assert all(re.fullmatch(r"\d+ bytes|\d+\.\d KiB", size) and not size.startswith("0") for size in sizes)


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    config = {"games": {"source": "/nowhere\x1b[2J"}}
    (tmp_path / "run.json").write_text(json.dumps({"config": config, "num_episodes": 1}))
    (tmp_path / "episodes.jsonl").touch()
    result = command("collect", "--resume", str(tmp_path))
    assert result.returncode == 2
    assert "/nowhere\\x1b[2J does not exist" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_stamp_with_wrong_values_is_one_line(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"config": {"seed": "x", "sed": 1}, "num_episodes": 1}))
    (tmp_path / "episodes.jsonl").touch()
    (line,) = command("collect", "--resume", str(tmp_path)).stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}: its run.json is not one that collect wrote (seed: Input should be a")
    assert line.endswith("; sed: Extra inputs are not permitted)")


def test_show_refuses_a_folder_without_a_dataset(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    result = command("show", str(tmp_path))
    assert result.returncode == 2
    assert "this run has no dataset yet; resume with: alfworld-sft collect --resume" in result.stderr


def test_show_refuses_an_evaluation_and_says_what_shows_it(tmp_path):
    (tmp_path / "run.json").write_text('{"kind": "evaluate"}')
    result = command("show", str(tmp_path))
    assert result.returncode == 2
    assert f"its figures: alfworld-sft evaluate --resume {tmp_path}" in result.stderr


def test_collecting_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from alfworld_sft.cli import load_command; load_command('collect')\n"
        "sys.exit(bool({'torch', 'transformers', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_command_imports_only_what_it_needs():
    code = (
        "import sys; from alfworld_sft.cli import app; sys.argv = ['alfworld-sft', 'games', 'list', '--help']\n"
        "try: app()\nexcept SystemExit: pass\n"
        "print({'alfworld_sft.games.cli', 'alfworld_sft.collect.cli', 'alfworld_sft.doctor.cli'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "{'alfworld_sft.games.cli'}"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_s_line_in_the_help_is_the_first_sentence_of_its_own(name):
    first = load_command(name).help.split("\n\n")[0]
    assert " ".join(first.split()) == COMMANDS[name][1]


def test_the_help_lists_each_command_with_its_line():
    shown = command("--help", COLUMNS="300").stdout
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"│ {name} +{re.escape(line)} +│", shown), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["colect", "seed=1"], "No such command 'colect'. Did you mean 'collect'?"),
        (["games", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["show", "--episod", "1"], "No such option: --episod"),
    ],
)
def test_a_mistyped_command_is_refused_with_a_suggestion(words, message):
    result = command(*words, COLUMNS="120")
    assert result.returncode == 2
    assert message in result.stderr


def test_a_shell_completes_commands_and_their_options():
    asked = {"_ALFWORLD_SFT_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv = ['alfworld-sft']; from alfworld_sft.cli import app; app(prog_name='alfworld-sft')"
    found = [
        _run([sys.executable, "-c", code], asked | {"COMP_WORDS": words, "COMP_CWORD": number}).stdout.split()
        for words, number in (("alfworld-sft ev", "1"), ("alfworld-sft evaluate --prot", "2"))
    ]
    assert found == [["evaluate"], ["--protocol"]]


def test_the_version_is_the_package_s():
    from alfworld_sft import __version__

    assert command("--version").stdout.strip() == f"alfworld-sft {__version__}"


def test_a_folder_of_games_is_the_one_whose_name_is_written(tmp_path):
    """As YAML, `my games #2` would be `my games`, and `&abc` nothing at all."""
    data = {name: write_games(tmp_path / name, count) for name, count in (("my games", 12), ("my games #2", 24))}
    result = command("collect", "--output-dir", str(tmp_path), "--name", "run", f"games.source={data['my games #2']}")
    assert result.returncode == 0, result.stderr
    games = json.loads((tmp_path / "run" / "run.json").read_bytes())["games"]
    assert games["description"] == f"24 train games in {tmp_path}/my games #2/json_2.1.1/train"
    result = command("evaluate", "--output-dir", str(tmp_path), "games.source=&abc")
    assert result.returncode == 2
    assert result.stderr.startswith("error: no games found: ")
    assert "/&abc does not exist; " in result.stderr


def test_collect_and_show_tell_of_skipped_games(data, tmp_path):
    next(data.rglob("game.tw-pddl")).write_bytes(b"{")
    result = command("collect", "--output-dir", str(tmp_path), f"games.source={data}")
    assert result.stderr.splitlines()[1].startswith("WARNING: skipped 1 of 12 games: 1 broken (not a JSON object) (")
    folder = result.stdout.splitlines()[-1]
    told = "skipped games: 1 broken (not a JSON object)"
    assert told in result.stdout.splitlines()
    assert told in command("show", folder).stdout.splitlines()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [("games", "list", "--source", "embedded"), ("collect", "--keys"), ("--version",)])
def test_output_that_finds_a_full_disk_ends_in_one_line(words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "alfworld_sft", *words], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "error: nothing more can be written: the disk is full; make room\n")
