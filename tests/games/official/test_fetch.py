import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alfworld_sft.errors import DownloadError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.games.official.archives import OFFICIAL_ARCHIVES, Archive, archives_from
from alfworld_sft.games.official.fetch import RECORD_FILE, fetch, read_record
from alfworld_sft.games.official.http_file import Retry
from tests.games.conftest import BOOK, EGG
from tests.games.official.server import Answer, FileServer, serving

NO_WAIT = Retry(first_wait_s=0, longest_wait_s=0)
GAME_KEEP = frozenset({"game.tw-pddl"})
TRAJ_KEEP = frozenset({"traj_data.json"})


def write_zip(file: Path, name: str, contents: dict[str, str]) -> Path:
    """Write an archive with the files `SPLIT/TASK/TRIAL/name`, by their folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for folder, content in contents.items():
            opened.writestr(f"json_2.1.1/{folder}/{name}", content)
    return file


def tree(folder: Path) -> dict[str, str]:
    """All files of a folder by their paths, with what they hold."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def games_zip(tmp_path: Path) -> Path:
    contents = {f"train/{BOOK}/t1": "one", f"train/{EGG}/t2": "two", f"valid_seen/{BOOK}/t3": "three"}
    return write_zip(tmp_path / "zips" / "games.zip", "game.tw-pddl", contents)


@pytest.fixture
def traj_zip(tmp_path: Path) -> Path:
    contents = {f"train/{BOOK}/t1": "{1}", f"train/{EGG}/t2": "{2}", f"valid_seen/{BOOK}/t3": "{3}"}
    return write_zip(tmp_path / "zips" / "traj.zip", "traj_data.json", contents)


@pytest.fixture
def both(games_zip: Path, traj_zip: Path) -> tuple[Archive, Archive]:
    return Archive(str(games_zip), GAME_KEEP), Archive(str(traj_zip), TRAJ_KEEP)


ALL_GAMES = {
    f"json_2.1.1/train/{BOOK}/t1/game.tw-pddl": "one",
    f"json_2.1.1/train/{EGG}/t2/game.tw-pddl": "two",
    f"json_2.1.1/valid_seen/{BOOK}/t3/game.tw-pddl": "three",
}
ALL_TRAJS = {
    f"json_2.1.1/train/{BOOK}/t1/traj_data.json": "{1}",
    f"json_2.1.1/train/{EGG}/t2/traj_data.json": "{2}",
    f"json_2.1.1/valid_seen/{BOOK}/t3/traj_data.json": "{3}",
}


def without_record(folder: Path) -> dict[str, str]:
    return {path: content for path, content in tree(folder).items() if path != "fetched.json"}


def test_the_official_archives_are_those_of_alfworld_download() -> None:
    assert [(archive.url, sorted(archive.keep)) for archive in OFFICIAL_ARCHIVES] == [
        (
            "https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip",
            ["game.tw-pddl"],
        ),
        (
            "https://github.com/alfworld/alfworld/releases/download/0.2.2/json_2.1.1_json.zip",
            ["traj_data.json"],
        ),
    ]


def test_archives_land_in_the_data_layout(both: tuple[Archive, Archive], data: Path) -> None:
    fetch(both, data)
    assert without_record(data) == ALL_GAMES | ALL_TRAJS


def test_the_record_names_source_and_hash(games_zip: Path, data: Path) -> None:
    fetch([Archive(str(games_zip), GAME_KEEP)], data)
    sha256 = hashlib.sha256(games_zip.read_bytes()).hexdigest()
    assert json.loads((data / "fetched.json").read_text()) == {
        "archives": {
            "games.zip": {
                "source": str(games_zip),
                "sha256": sha256,
                "size_bytes": games_zip.stat().st_size,
                "files": {"game.tw-pddl": 3},
            }
        }
    }


def test_a_folder_named_json_2_1_1_is_the_one_inside_the_data_folder(games_zip: Path, data: Path) -> None:
    fetch([Archive(str(games_zip), GAME_KEEP)], data / "json_2.1.1")
    assert without_record(data) == ALL_GAMES


def test_a_broken_download_goes_on_within_one_call(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes(), answers=[Answer(500), Answer(cut=100)])
    with serving(server):
        fetch([Archive(server.url, GAME_KEEP)], data, retry=NO_WAIT)
    assert without_record(data) == ALL_GAMES
    assert server.requested == [None, None, "bytes=100-"]


def test_a_broken_download_goes_on_in_the_next_call(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes(), answers=[Answer(cut=100)])
    with serving(server):
        with pytest.raises(DownloadError):
            fetch([Archive(server.url, GAME_KEEP)], data, retry=Retry(attempts=1, first_wait_s=0))
        fetch([Archive(server.url, GAME_KEEP)], data)
    assert server.requested == [None, "bytes=100-"]


def test_what_is_there_is_not_fetched_again(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes())
    with serving(server):
        first = fetch([Archive(server.url, GAME_KEEP)], data)
        assert fetch([Archive(server.url, GAME_KEEP)], data) == first
    assert server.requested == [None]


def test_what_was_deleted_is_fetched_again(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes())
    with serving(server):
        fetch([Archive(server.url, GAME_KEEP)], data)
        (data / f"json_2.1.1/train/{BOOK}/t1/game.tw-pddl").unlink()
        fetch([Archive(server.url, GAME_KEEP)], data)
    assert without_record(data) == ALL_GAMES


def test_lost_games_are_noticed_beside_as_many_other_files(games_zip: Path, traj_zip: Path, data: Path) -> None:
    """Of archives whose kinds of file are not known beforehand."""
    archives = [Archive(str(file), GAME_KEEP | TRAJ_KEEP) for file in (games_zip, traj_zip)]
    fetch(archives, data)
    whole = tree(data)
    emptied, *deleted = sorted(data.rglob("game.tw-pddl"))
    for file in deleted:
        file.unlink()
    fetch(archives, data)
    assert tree(data) == whole
    emptied.write_bytes(b"")
    with pytest.raises(UserError, match="1 file there differs from the archive's"):
        fetch(archives, data)


def test_lost_games_of_one_archive_are_noticed_beside_another_s(tmp_path: Path, games_zip: Path, data: Path) -> None:
    more = write_zip(tmp_path / "zips" / "more.zip", "game.tw-pddl", {f"train/{BOOK}/t9": "nine"})
    archives = [Archive(str(file), GAME_KEEP) for file in (games_zip, more)]
    fetch(archives, data)
    whole = tree(data)
    next(data.rglob("t9/game.tw-pddl")).unlink()
    fetch(archives, data)
    assert tree(data) == whole


def test_a_record_of_an_older_version_is_read(games_zip: Path, data: Path) -> None:
    archive = Archive(str(games_zip), GAME_KEEP)
    fetch([archive], data)
    record = json.loads((data / RECORD_FILE).read_bytes())
    record["archives"]["games.zip"]["files"] = 3
    (data / RECORD_FILE).write_text(json.dumps(record))
    (done,) = fetch([archive], data)
    assert done.files == 3


def test_an_archive_with_another_hash_than_recorded_is_refused(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes())
    with serving(server):
        fetch([Archive(server.url, GAME_KEEP)], data)
        old = hashlib.sha256(server.content).hexdigest()
        server.content += b"!"
        new = hashlib.sha256(server.content).hexdigest()
        with pytest.raises(DownloadError) as error:
            fetch([Archive(server.url, GAME_KEEP)], data, force=True)
    assert str(error.value) == (
        f"{server.url}: its sha256 is {new}, but fetched.json recorded {old}; if the archive was changed deliberately,"
        f" give --sha256 {new} or delete fetched.json"
    )


def test_a_hash_given_by_the_user_must_be_met(games_zip: Path, data: Path) -> None:
    with pytest.raises(DownloadError, match=f"its sha256 is [0-9a-f]{{64}}, but --sha256 says {'0' * 64};"):
        fetch([Archive(str(games_zip), GAME_KEEP, "0" * 64)], data)
    assert without_record(data) == {}


def test_a_hash_given_by_the_user_goes_before_the_recorded_one(games_zip: Path, data: Path) -> None:
    fetch([Archive(str(games_zip), GAME_KEEP)], data)
    write_zip(games_zip, "game.tw-pddl", {f"train/{BOOK}/t4": "four"})
    sha256 = hashlib.sha256(games_zip.read_bytes()).hexdigest()
    assert [done.sha256 for done in fetch([Archive(str(games_zip), GAME_KEEP, sha256)], data)] == [sha256]


def test_a_bad_download_is_not_kept(games_zip: Path, data: Path) -> None:
    server = FileServer(b"<html>log in</html>")
    with serving(server):
        with pytest.raises(DownloadError, match="not a zip archive"):
            fetch([Archive(server.url, GAME_KEEP)], data)
        server.content = games_zip.read_bytes()
        fetch([Archive(server.url, GAME_KEEP)], data)
    assert without_record(data) == ALL_GAMES


def test_a_hostile_archive_leaves_nothing(tmp_path: Path, data: Path) -> None:
    file = write_zip(tmp_path / "evil.zip", "game.tw-pddl", {f"train/{BOOK}/t1": "one"})
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("../../evil", "")
    with pytest.raises(DownloadError, match="leads out of the folder"):
        fetch([Archive(str(file), GAME_KEEP)], data)
    assert tree(tmp_path / "data") == {}


def test_a_local_archive_is_left_alone(games_zip: Path, data: Path) -> None:
    fetch([Archive(str(games_zip), GAME_KEEP)], data)
    assert games_zip.is_file()


def test_more_files_join_those_that_are_there(games_zip: Path, traj_zip: Path, data: Path) -> None:
    fetch([Archive(str(games_zip), GAME_KEEP)], data)
    fetch([Archive(str(traj_zip), TRAJ_KEEP)], data)
    assert without_record(data) == ALL_GAMES | ALL_TRAJS
    assert sorted(read_record(data)) == ["games.zip", "traj.zip"]


def test_files_that_differ_are_not_replaced(games_zip: Path, data: Path) -> None:
    own = data / "json_2.1.1" / "train" / BOOK / "t1" / "game.tw-pddl"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(UserError) as error:
        fetch([Archive(str(games_zip), GAME_KEEP)], data)
    assert str(error.value) == (
        f"{data}: 1 file there differs from the archive's, the first is json_2.1.1/train/{BOOK}/t1/game.tw-pddl;"
        " fetch to another folder (--to DIR), or replace them (--force)"
    )
    assert without_record(data / "json_2.1.1") == {f"train/{BOOK}/t1/game.tw-pddl": "mine"}


def test_files_that_differ_are_replaced_when_forced(games_zip: Path, data: Path) -> None:
    own = data / "json_2.1.1" / "train" / BOOK / "t1" / "game.tw-pddl"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    fetch([Archive(str(games_zip), GAME_KEEP)], data, force=True)
    assert without_record(data) == ALL_GAMES


def test_two_fetches_into_one_folder_are_kept_apart(games_zip: Path, data: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(data, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(UserError) as error:
            fetch([Archive(str(games_zip), GAME_KEEP)], data)
    finally:
        os.close(handle)
    assert str(error.value) == f"{data}: another 'games fetch' is running there; wait until it finishes"


def test_a_damaged_record_is_told(games_zip: Path, data: Path) -> None:
    (data / "fetched.json").write_text("{")
    with pytest.raises(UserError) as error:
        fetch([Archive(str(games_zip), GAME_KEEP)], data)
    assert str(error.value) == (f"{data}/fetched.json: not a record of fetched archives; delete it to fetch again")


def test_a_folder_that_cannot_be_made_is_told(games_zip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        fetch([Archive(str(games_zip), GAME_KEEP)], tmp_path / "file" / "data")
    assert str(error.value) == (f"{tmp_path}/file/data: Not a directory; name a folder that can be written with --to")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_the_next_call_goes_on(games_zip: Path, data: Path) -> None:
    server = FileServer(games_zip.read_bytes())
    with serving(server):
        with largest_file(300), pytest.raises(UserError) as error:
            fetch([Archive(server.url, GAME_KEEP)], data)
        fetch([Archive(server.url, GAME_KEEP)], data)
    assert str(error.value) == (
        f"{data}: no space left (File too large); free some and run the same command again, it resumes where it"
        " stopped, or name another folder with --to"
    )
    assert without_record(data) == ALL_GAMES
    assert server.requested == [None, "bytes=300-"]


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def killed_at(moment: int) -> Iterator[list[str]]:
    """End the process before its n-th change of the file system (counted from 0); yields the changes made."""
    changes: list[str] = []
    patch = pytest.MonkeyPatch()

    def watch(name: str) -> None:
        original = getattr(os, name)

        def watched(*args: object, **kwargs: object) -> object:
            if len(changes) >= moment:
                raise Killed
            changes.append(name)
            return original(*args, **kwargs)

        patch.setattr(os, name, watched)

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
        watch(name)
    try:
        yield changes
    finally:
        patch.undo()


def assert_whole(data: Path, whole: dict[str, str]) -> None:
    """Under the final names there are whole files alone."""
    final = {path: text for path, text in without_record(data).items() if not path.startswith(".alfworld-sft-fetch")}
    assert final.items() <= whole.items()


@pytest.mark.parametrize("there_before", ["nothing", "games", "a split"])
def test_killed_at_any_moment_the_next_call_ends_with_the_same_files(
    both: tuple[Archive, Archive], tmp_path: Path, there_before: str
) -> None:
    def start(name: str) -> Path:
        folder = tmp_path / name
        if there_before == "games":
            fetch(both[:1], folder)
        if there_before == "a split":
            (folder / "json_2.1.1" / "valid_seen").mkdir(parents=True)
        return folder

    undisturbed = start("undisturbed")
    with killed_at(10_000) as changes:
        fetch(both, undisturbed)
    assert len(changes) > 10
    for moment in range(len(changes)):
        folder = start(f"killed-{moment}")
        with pytest.raises(Killed), killed_at(moment):
            fetch(both, folder)
        assert_whole(folder, ALL_GAMES | ALL_TRAJS)
        fetch(both, folder)
        assert tree(folder) == tree(undisturbed)


def test_killed_while_moving_the_games_are_not_played(both: tuple[Archive, Archive], data: Path) -> None:
    (data / "json_2.1.1" / "valid_seen").mkdir(parents=True)
    for moment in range(200):
        with pytest.raises(Killed), killed_at(moment):
            fetch(both, data)
        if (data / ".alfworld-sft-fetch" / "ready").exists():
            break
    with pytest.raises(UserError, match="run it again to finish"):
        find_games(data, "valid_seen")


@pytest.mark.parametrize("requests", [1, 5, 40])
def test_a_killed_process_leaves_a_download_that_goes_on(tmp_path: Path, data: Path, requests: int) -> None:
    contents = {f"train/{BOOK}/t{number}": os.urandom(20_000).hex() for number in range(40)}
    file = write_zip(tmp_path / "big.zip", "game.tw-pddl", contents)
    server = FileServer(file.read_bytes(), answers=[Answer(cut=1000)] * 80)
    program = (
        "import sys; from pathlib import Path; from alfworld_sft.games.official.fetch import *;"
        "from alfworld_sft.games.official.archives import Archive;"
        "from alfworld_sft.games.official.http_file import Retry;"
        "fetch([Archive(sys.argv[1], frozenset({'game.tw-pddl'}))], Path(sys.argv[2]),"
        " retry=Retry(idle_attempts=99, first_wait_s=0.01, longest_wait_s=0.01))"
    )
    with serving(server):
        process = subprocess.Popen([sys.executable, "-c", program, server.url, str(data)])
        while len(server.requested) < requests and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        server.answers.clear()
        fetch([Archive(server.url, GAME_KEEP)], data)
    assert without_record(data) == {
        f"json_2.1.1/{folder}/game.tw-pddl": content for folder, content in contents.items()
    }


def test_without_options_the_official_archives_are_fetched() -> None:
    assert archives_from() == OFFICIAL_ARCHIVES


def test_addresses_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_SFT_ARCHIVE_URLS", "https://mirror/a.zip https://mirror/b.zip")
    assert [archive.url for archive in archives_from()] == ["https://mirror/a.zip", "https://mirror/b.zip"]


def test_local_archives_go_before_the_environment(games_zip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_SFT_ARCHIVE_URLS", "https://mirror/a.zip")
    assert [archive.local for archive in archives_from(local=[games_zip])] == [games_zip]


def test_other_archives_may_hold_both_kinds_of_file() -> None:
    (archive,) = archives_from(urls=["https://mirror/all.zip?token=1"])
    assert (archive.name, sorted(archive.keep)) == ("all.zip", ["game.tw-pddl", "traj_data.json"])


def test_hashes_go_to_the_archives_in_order() -> None:
    archives = archives_from(urls=["https://m/a.zip", "https://m/b.zip"], sha256=["A" * 64, "b" * 64])
    assert [archive.sha256 for archive in archives] == ["a" * 64, "b" * 64]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"urls": ["x.zip"]}, "--url 'x.zip' is not an http(s) address; use --from for a local copy"),
        ({"local": [Path("/no/x.zip")]}, "--from /no/x.zip: no such file"),
        (
            {"sha256": ["ab"]},
            "1 --sha256 for 2 archives (json_2.1.2_tw-pddl.zip, json_2.1.1_json.zip): give one for each",
        ),
        ({"urls": ["https://m/a.zip"], "sha256": ["ab"]}, "--sha256 'ab' is not a SHA-256: 64 hexadecimal digits"),
        ({"urls": ["https://m/a.zip", "https://n/a.zip"]}, "two archives have the same name: a.zip, a.zip"),
        (
            {"urls": ["https://m/a.zip"], "local": [Path("/no/x.zip")]},
            "--url and --from exclude each other: name addresses, or local copies",
        ),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError) as error:
        archives_from(**options)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_the_result_is_what_was_recorded(games_zip: Path, data: Path) -> None:
    (done,) = fetch([Archive(str(games_zip), GAME_KEEP)], data)
    assert (done.name, done.files) == ("games.zip", 3)
    assert read_record(data) == {"games.zip": done}
