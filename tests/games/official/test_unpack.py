import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alfworld_sft.errors import DownloadError
from alfworld_sft.games.official.unpack import Limits, unpack
from tests.games.conftest import BOOK, TRIAL

KEEP = frozenset({"game.tw-pddl", "traj_data.json"})
GAME = f"json_2.1.1/train/{BOOK}/{TRIAL}/game.tw-pddl"


def archive(tmp_path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """Write a zip with one good game and the members given."""
    file = tmp_path / "games.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(GAME, b'{"solvable": true}')
        for name, content in members:
            opened.writestr(name, content, zipfile.ZIP_DEFLATED)
    return file


def refusal(file: Path, into: Path, limits: Limits | None = None) -> str:
    """Return why the archive is refused, having seen that nothing was unpacked."""
    with pytest.raises(DownloadError) as error:
        unpack(file, into, KEEP, limits=limits)
    assert not into.exists()
    message = str(error.value)
    assert message.startswith(f"{file}: refused: ")
    assert message.endswith("; nothing was unpacked from it")
    return message[len(f"{file}: refused: ") : -len("; nothing was unpacked from it")]


def unpacked(into: Path) -> list[str]:
    return sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())


def test_only_wanted_files_at_their_place_are_unpacked(tmp_path: Path) -> None:
    file = archive(
        tmp_path,
        (f"json_2.1.1/train/{BOOK}/{TRIAL}/traj_data.json", b"{}"),
        (f"json_2.1.1/train/{BOOK}/{TRIAL}/initial_state.pddl", b""),
        (f"json_2.1.1/tests_seen/{BOOK}/{TRIAL}/traj_data.json", b"{}"),
        ("json_2.1.1/train/pick_and_place_with_movable_recep-Egg-Pot-Fridge-2/t/traj_data.json", b"{}"),
        ("json_2.1.1/train/pick_and_place_simple-EggSliced-None-Fridge-2/t/traj_data.json", b"{}"),
        ("json_2.1.1/train/", b""),
        ("README.md", b""),
    )
    assert unpack(file, tmp_path / "out", KEEP) == dict.fromkeys(sorted(KEEP), 1)
    assert unpacked(tmp_path / "out") == [GAME, f"json_2.1.1/train/{BOOK}/{TRIAL}/traj_data.json"]


def test_content_is_kept_byte_for_byte(tmp_path: Path) -> None:
    unpack(archive(tmp_path), tmp_path / "out", KEEP)
    assert (tmp_path / "out" / GAME).read_bytes() == b'{"solvable": true}'


@pytest.mark.parametrize("prefix", ["", "json_2.1.2/", "some/where/"])
def test_the_folder_before_the_split_does_not_matter(tmp_path: Path, prefix: str) -> None:
    file = archive(tmp_path, (f"{prefix}valid_seen/{BOOK}/{TRIAL}/game.tw-pddl", b"{}"))
    unpack(file, tmp_path / "out", KEEP)
    assert f"json_2.1.1/valid_seen/{BOOK}/{TRIAL}/game.tw-pddl" in unpacked(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "leads out of the folder"),
        ("../evil", "leads out of the folder"),
        (f"json_2.1.1/train/{BOOK}/../../../../game.tw-pddl", "leads out of the folder"),
        ("a\\..\\evil", "has a character that a file name must not have"),
        ("C:evil", "has a character that a file name must not have"),
        ("C:/evil", "has a character that a file name must not have"),
        ("a\nb", "has a character that a file name must not have"),
        ("a//b", "is not a plain file name"),
        ("./a", "is not a plain file name"),
        ("a./b", "is not a plain file name"),
        ("a /b", "is not a plain file name"),
        ("train/CON/x/game.tw-pddl", "is not a plain file name"),
        ("train/x/nul.txt/game.tw-pddl", "is not a plain file name"),
        ("lpt1", "is not a plain file name"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    assert refusal(archive(tmp_path, (name, b"")), tmp_path / "out") == f"member {name!r} {reason}"


def test_a_name_cut_by_nul_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, ("a.txtXevil", b""))
    file.write_bytes(file.read_bytes().replace(b"a.txtXevil", b"a.txt\0evil"))
    assert refusal(file, tmp_path / "out") == "member 'a.txt\\x00evil' has a character that a file name must not have"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFIFO, "is not a plain file"),
        (stat.S_IFBLK, "is not a plain file"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: int, reason: str) -> None:
    member = zipfile.ZipInfo(f"train/{BOOK}/t/game.tw-pddl")
    member.external_attr = (kind | 0o644) << 16
    file = archive(tmp_path, (member, b"/etc/passwd"))
    assert refusal(file, tmp_path / "out") == f"member 'train/{BOOK}/t/game.tw-pddl' {reason}"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path)
    content = bytearray(file.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1
    file.write_bytes(content)
    assert refusal(file, tmp_path / "out") == f"member {GAME!r} is encrypted"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    assert refusal(archive(tmp_path, (GAME, b"{}")), tmp_path / "out") == f"two members are named {GAME!r}"


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, ("readme", b""), ("README", b""))
    assert refusal(file, tmp_path / "out") == "two members are named 'README'"


def test_two_members_for_one_place_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, (GAME.replace("json_2.1.1", "json_2.1.2"), b"{}"))
    assert refusal(file, tmp_path / "out") == f"two members would become {GAME!r}"


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    name = f"train/{BOOK}/t/game.tw-pddl"
    reason = refusal(archive(tmp_path, (name, bytes(8 << 20))), tmp_path / "out")
    assert reason.startswith(f"member {name!r} would unpack to 8388608 bytes from ")


def test_many_small_bombs_are_refused_together(tmp_path: Path) -> None:
    bombs = [(f"train/{BOOK}/t{number}/game.tw-pddl", bytes(1 << 20)) for number in range(3)]
    reason = refusal(archive(tmp_path, *bombs), tmp_path / "out", Limits(ratio=2))
    assert reason.startswith("it would unpack to 3145746 bytes from ")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, (f"train/{BOOK}/t/game.tw-pddl", os.urandom(2000)))
    assert "would unpack to 2000 bytes" in refusal(file, tmp_path / "out", Limits(file_bytes=1999))


def test_too_much_in_all_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, (f"train/{BOOK}/t/game.tw-pddl", os.urandom(2000)))
    assert refusal(file, tmp_path / "out", Limits(total_bytes=2000)).startswith("it would unpack to 2018 bytes")


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, ("a", b""))
    assert refusal(file, tmp_path / "out", Limits(members=1)) == "it has 2 members, more than 1"


def test_an_unusual_packing_method_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "games.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr(GAME, b"{}")
    assert refusal(file, tmp_path / "out") == f"member {GAME!r} is packed by the unusual method 14"


def test_an_archive_without_games_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "games.zip"
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("README", b"")
    assert refusal(file, tmp_path / "out") == (
        "none of its 1 members is a …/SPLIT/TASK/TRIAL/game.tw-pddl or traj_data.json"
    )


def understate_size(content: bytearray) -> None:
    """Declare fewer bytes than there are, as a bomb would that hides its size."""
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, entry + 24, 5)


def overstate_size(content: bytearray) -> None:
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, entry + 24, 50)


def flip_a_byte(content: bytearray) -> None:
    content[len(GAME) + 35] ^= 0xFF


@pytest.mark.parametrize("damage", [understate_size, overstate_size, flip_a_byte])
def test_a_damaged_member_is_refused(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    file = archive(tmp_path)
    content = bytearray(file.read_bytes())
    damage(content)
    file.write_bytes(content)
    with pytest.raises(DownloadError) as error:
        unpack(file, tmp_path / "out", KEEP)
    assert f"refused: member {GAME!r} is damaged" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>log in</html>", b"PK\x03\x04 cut"])
def test_what_is_no_zip_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "games.zip"
    file.write_bytes(content)
    with pytest.raises(DownloadError) as error:
        unpack(file, tmp_path / "out", KEEP)
    assert str(error.value) == f"{file}: not a zip archive, or a damaged one (File is not a zip file)"


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    unpack(archive(tmp_path), tmp_path / "out", KEEP, on_progress=lambda *now: seen.append(now))
    assert seen == [(18, 18)]
