import hashlib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alfworld_sft.errors import DownloadError, GamesNotFoundError
from alfworld_sft.games import cli
from tests.games.conftest import BOOK, EGG, TRIAL, official, write_game
from tests.games.official.server import FileServer, serving

runner = CliRunner()


def output(*args: str) -> list[str]:
    """Run a command that must succeed; return the lines of stdout without blanks at their ends."""
    result = runner.invoke(cli.games_app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


def zip_of_games(tmp_path: Path) -> Path:
    file = tmp_path / "games.zip"
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr(f"json_2.1.1/train/{BOOK}/{TRIAL}/game.tw-pddl", '{"solvable": true}')
    return file


def test_list_counts_by_split_and_task_type(data: Path) -> None:
    official(data, "train", BOOK)
    official(data, "train", BOOK, "t2")
    official(data, "valid_seen", EGG)
    official(data, "valid_seen", EGG, "t2", solvable=False)
    assert output("list", "--source", str(data)) == [
        "split       Pick  Look  Clean  Heat  Cool  Pick two  all",
        "train          2     0      0     0     0         0    2",
        "valid_seen     0     0      0     1     0         0    1",
        f"2 train games in {data}/json_2.1.1/train",
        f"1 valid_seen game in {data}/json_2.1.1/valid_seen; skipped: 1 marked unsolvable",
    ]


def test_list_names_every_skipped_file_on_request(data: Path) -> None:
    official(data, "train", BOOK)
    unsolvable, broken = official(data, "train", BOOK, "t2", solvable=False), official(data, "train", BOOK, "t3")
    broken.write_text("{")
    (data / "json_2.1.1" / "train" / "x.tw-pddl").symlink_to(data / "absent")
    assert output("list", "--source", str(data), "--skipped")[-4:] == [
        f"1 train game in {data}/json_2.1.1/train; skipped: 1 broken (not a JSON object), 1 marked unsolvable,"
        " 1 unreadable (No such file or directory)",
        f"{unsolvable}: marked unsolvable",
        f"{broken}: broken (not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        f"{data}/json_2.1.1/train/x.tw-pddl: unreadable (No such file or directory)",
    ]


def test_list_names_the_skipped_files_where_there_is_nothing_else(data: Path) -> None:
    file = official(data, "train", BOOK, solvable=False)
    for words in ([], ["--split", "train"]):
        result = runner.invoke(cli.games_app, ["list", "--source", str(data), "--skipped", *words])
        assert isinstance(result.exception, GamesNotFoundError)
        assert result.stdout.splitlines() == [f"{file}: marked unsolvable"]


def test_list_shows_one_split(data: Path) -> None:
    official(data, "train", BOOK)
    official(data, "valid_seen", EGG)
    assert output("list", "--source", str(data), "--split", "valid_seen") == [
        "split       Pick  Look  Clean  Heat  Cool  Pick two  all",
        "valid_seen     0     0      0     1     0         0    1",
        f"1 valid_seen game in {data}/json_2.1.1/valid_seen",
    ]


def test_list_shows_games_of_unknown_type(data: Path) -> None:
    write_game(data / "mine.tw-pddl")
    assert output("list", "--source", str(data))[:2] == [
        "split  Pick  Look  Clean  Heat  Cool  Pick two  ?  all",
        "train     0     0      0     0     0         0  1    1",
    ]


def test_list_without_games_is_an_error(data: Path) -> None:
    with pytest.raises(GamesNotFoundError):
        runner.invoke(cli.games_app, ["list", "--source", str(data)], catch_exceptions=False)


def test_fetch_from_a_local_archive_says_what_it_made(tmp_path: Path, data: Path) -> None:
    file = zip_of_games(tmp_path)
    content = file.read_bytes()
    assert output("fetch", "--from", str(file), "--to", str(data)) == [
        f"games.zip: 1 file, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}",
        "split  Pick  Look  Clean  Heat  Cool  Pick two  all",
        "train     1     0      0     0     0         0    1",
        f"1 train game in {data}/json_2.1.1/train",
        f"to play them: export ALFWORLD_DATA={data}",
    ]


def test_fetch_goes_to_alfworld_data(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert output("fetch", "--from", str(zip_of_games(tmp_path)))[-1] == f"1 train game in {data}/json_2.1.1/train"


def test_fetch_from_another_address(tmp_path: Path, data: Path) -> None:
    with serving(FileServer(zip_of_games(tmp_path).read_bytes())) as server:
        assert output("fetch", "--url", server.url, "--to", str(data))[0].startswith("games.zip: 1 file, ")


def test_fetch_shows_progress_on_stderr_alone(tmp_path: Path, data: Path) -> None:
    result = runner.invoke(cli.games_app, ["fetch", "--from", str(zip_of_games(tmp_path)), "--to", str(data)])
    assert "unpacking games.zip" in result.stderr
    assert "unpacking" not in result.stdout


def test_fetch_with_another_hash_is_an_error(tmp_path: Path, data: Path) -> None:
    args = ["fetch", "--from", str(zip_of_games(tmp_path)), "--to", str(data), "--sha256", "0" * 64]
    with pytest.raises(DownloadError):
        runner.invoke(cli.games_app, args, catch_exceptions=False)


def test_an_interrupted_fetch_says_how_to_go_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "fetch", interrupted)
    result = runner.invoke(cli.games_app, ["fetch", "--to", str(data)])
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted; run the same command again to resume"
