"""What `show` prints: the episode as it is recorded, the row as it is read, tokens with loss, hostile text as text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.records import to_line
from alfworld_sft.runs.run_json import hash_template
from alfworld_sft.show.cli import show_command
from alfworld_sft.show.draw import draw_episode
from alfworld_sft.types import Reply
from tests.episodes import episode, step
from tests.train.helpers_data import rows, wandering, write, write_tokenizer_only

app = typer.Typer()
app.command()(show_command)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def write_stamp(folder: Path, name: str, played: Template, kind: str = "collect") -> None:
    """Write what `show` reads of a run's stamp."""
    protocol = {"template_sha256": hash_template(played)}
    stamp = {"kind": kind, "config": {"prompt": {"template": name}}, "protocol": protocol}
    (folder / "run.json").write_text(json.dumps(stamp))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stamp(tmp_path, "add_wm1", load_template("add_wm1"))
    (tmp_path / "episodes.jsonl").write_bytes(to_line(wandering(4, turns=2, noisy=(1,))) + to_line(episode(1, turns=1)))
    write(tmp_path / "train.parquet", rows([wandering(0, turns=3)]))
    return tmp_path


def test_an_episode_is_shown_with_every_turn(folder: Path) -> None:
    lines = run(folder, "--episode", 4).stdout.splitlines()
    assert lines[0] == "episode 4: pick_and_place_simple-Mug-None-Desk-4/trial_T4"
    assert lines[4:6] == [
        "--- turn 1 (not a training target)",
        "You are in the middle of a room. Looking quickly around you, you see a desk 1.",
    ]
    assert "<think>thought 1</think>" in lines
    assert [line for line in lines if line][-1] == "won after 2 turns"
    assert "Seen 3." in lines


def test_tags_have_colours_on_a_terminal() -> None:
    console = Console(force_terminal=True, color_system="standard", width=200)
    with console.capture() as caught:
        console.print(draw_episode(episode(0, turns=1)))
    assert "\x1b[35m<think>thought 1</think>\x1b[0m" in caught.get()
    assert "\x1b[1;32m<action>look</action>\x1b[0m" in caught.get()


def test_a_row_is_shown_as_a_trainer_reads_it(folder: Path) -> None:
    shown = run(folder, "--row", 1).stdout
    assert shown.startswith(f"{folder}/train.parquet row 1\ngame_id: pick_and_place_simple-Mug-None-Desk-0/trial_T0\n")
    assert "\nturn: 2\n" in shown
    assert "\n--- user\n" in shown
    assert shown.rstrip().endswith("</action>")
    assert "user: " not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--episode", 9), "there is no episode 9, only 2; they count from 0"),
        (("--row", 9), "there is no row 9, only 3 rows; they count from 0"),
        (("--row", 1, "--episode", 1), "leave one out"),
        (("--model", "x"), "--model goes with --episode N or --row N"),
        (("--episode", 1, "--template", "t.toml"), "--template t.toml has no effect without --episode N and --model"),
        (("--row", 1, "--model", "x", "--template", "t.toml"), "--template t.toml has no effect without --episode N"),
    ],
)
def test_what_is_not_there_is_one_line(folder: Path, words: tuple[object, ...], message: str) -> None:
    assert message in str(run(folder, *words).exception)


def test_hostile_text_is_text(folder: Path) -> None:
    hostile = replace(step(1), observation="\x1b[2J[red]x[/red]\u202e", reply=Reply("<action>\x07\r</action>[/]"))
    (folder / "episodes.jsonl").write_bytes(to_line(episode(0, steps=(hostile,), task="\x9b31m")))
    result = run(folder, "--episode", 0)
    assert "\\x1b[2J[red]x[/red]\\u202e" in result.stdout
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(result.stdout)


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
    pytest.importorskip("peft", reason="training is not installed (pip install -e '.[train]')")
    return write_tokenizer_only(tmp_path_factory.mktemp("model"))


def test_the_tokens_of_an_episode_carry_loss_where_it_is_trained(folder: Path, model: Path) -> None:
    result = run(folder, "--episode", 4, "--model", model)
    assert result.exit_code == 0, result.output
    assert "⟦think|" in result.stdout
    assert re.findall(r"⟦prediction\|>?(\w+ \d)", result.stdout) == ["Seen 3"]  # turn 1 is a deliberate mistake


def test_an_evaluation_s_predictions_are_the_policy_s_own(folder: Path, model: Path) -> None:
    write_stamp(folder, "add_wm1", load_template("add_wm1"), kind="evaluate")
    shown = run(folder, "--episode", 4, "--model", model).stdout
    assert "⟦prediction|guess 2⟧" in shown
    assert "⟦prediction|guess 1⟧" not in shown
    assert "⟦prediction|>Seen" not in shown


def test_answers_that_leave_the_conversation_are_shown_with_their_loss(folder: Path, model: Path) -> None:
    stamp = json.loads((folder / "run.json").read_text())
    config = {**stamp.get("config", {}), "worldmodel": {"predictions": "grounded_answer"}}
    (folder / "run.json").write_text(json.dumps({**stamp, "config": config}))
    (folder / "episodes.jsonl").write_bytes(to_line(wandering(4, turns=3)))
    shown = run(folder, "--episode", 4, "--model", model).stdout
    assert "\nepisode 4: " in shown
    trunk, *branches = shown.split("--- or after")
    assert [re.findall(r"⟦prediction\|>?(\w+ \d)", part) for part in (trunk, *branches)] == [
        ["Seen 4"],
        ["Seen 2"],
        ["Seen 3"],
    ]


def test_the_tokens_of_a_row_are_shown_in_both_forms(folder: Path, model: Path) -> None:
    result = run(folder, "--row", 2, "--model", model)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("with loss") == 2


def test_a_long_row_and_a_long_episode_are_shown_to_their_ends(folder: Path, model: Path) -> None:
    """Training's limit of 2,048 tokens would cut away the very reply that was asked for."""
    steps = tuple(replace(step(n), observation=f"You see desk {n}. " * 30) for n in range(1, 40))
    long = episode(4, steps=(*steps, replace(step(40), reply=Reply("<think>At last.</think><action>look</action>"))))
    (folder / "episodes.jsonl").write_bytes(to_line(long))
    records = rows([long])
    write(folder / "train.parquet", records)
    assert "⟦think|At last." in run(folder, "--episode", 4, "--model", model).stdout
    assert run(folder, "--row", len(records) - 1, "--model", model).stdout.count("⟦think|At last.") == 2


def test_a_run_s_own_template_file_is_not_opened_by_itself(folder: Path, model: Path) -> None:
    write_stamp(folder, "/etc/evil.toml", load_template("add_wm1"))
    assert "to open it, name it: --template" in str(run(folder, "--episode", 4, "--model", model).exception)


def test_tokens_are_never_those_of_another_template(folder: Path, model: Path) -> None:
    (folder / "own.toml").write_text('extends = "add_wm1"\n')
    words = (folder, "--episode", 4, "--model", model, "--template", folder / "own.toml")
    assert run(*words).exit_code == 0
    (folder / "own.toml").write_text('extends = "compact"\n')
    assert "is another now than when the run was played" in str(run(*words).exception)
