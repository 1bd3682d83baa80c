"""The command `import`: files and overrides are told apart, and every record that is not imported is reported."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.errors import ConfigError
from alfworld_sft.foreign.cli import import_command
from alfworld_sft.games import find_games
from tests.collecting import write_games
from tests.foreign.records import record
from tests.foreign.test_build import write

app = typer.Typer()
app.command()(import_command)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_files_come_before_overrides_and_what_is_not_imported_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_games(tmp_path / "games", 3)
    told = [record(ref.load(), "sharegpt") for ref in find_games(data, "train")]
    first = write(tmp_path, told[:2], "a=b.json")
    second = write(tmp_path, [told[2], {"conversations": "\x1b[2J"}], "second.json")
    with caplog.at_level(logging.WARNING):
        result = run(
            first,
            second,
            f"games.source={data}",
            "--format",
            "sharegpt",
            "-o",
            tmp_path / "out",
            "dataset.val_fraction=0",
        )
    assert result.exit_code == 0, result.output
    assert "3 of 4 records imported, 3 replayed in their games\n" in result.output
    assert result.output.endswith(f"{tmp_path / 'out'}\n")
    assert [line.split(" is ")[0] for line in caplog.messages] == [
        "1 record not read (the first: second.json record 1: 'conversations'"
    ]
    assert "\x1b" not in caplog.text


def test_the_keys_are_printed_without_a_file() -> None:
    result = run("--keys")
    assert result.exit_code == 0
    assert "prompt.template" in result.output


def test_overrides_without_a_file_are_refused() -> None:
    result = run("games.source=embedded", "--format", "eto", "-o", "out")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "no file is named; name what to import before the overrides"
