import re
from pathlib import Path

import pytest

from alfworld_sft.errors import ConfigError, DownloadError
from alfworld_sft.games.official.http_file import Retry, download
from tests.games.official.server import Answer, FileServer, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HALF = len(CONTENT) // 2


def fetched(server: FileServer, to: Path, retry: Retry | None = None) -> bytes:
    download(server.url, to, retry=retry, sleep=lambda seconds: None)
    return to.read_bytes()


def failed(server: FileServer, to: Path, retry: Retry | None = None) -> str:
    with pytest.raises(DownloadError) as error:
        download(server.url, to, retry=retry, sleep=lambda seconds: None)
    return str(error.value)


def test_a_whole_file_comes_at_once(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT)) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"ALL_PROXY": "ftp://proxy:1"}, "ALL_PROXY begins with ftp://, but a proxy is one of"),
        ({"HTTP_PROXY": "http://proxy:x"}, "HTTP_PROXY is not the address of a proxy"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE=/nowhere.pem: No such file or directory"),
    ],
)
def test_a_proxy_or_certificates_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(line)):
        download("http://games.example/a.zip", tmp_path / "a.zip", sleep=lambda seconds: None)


def test_no_proxy_may_name_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,fd00::/8")
    with serving(FileServer(CONTENT)) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


def test_a_file_comes_through_the_proxy_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FileServer(CONTENT)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", "/".join(proxy.url.split("/")[:3]))
        download("http://games.example/a.zip", tmp_path / "a.zip", sleep=lambda seconds: None)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        download(server.url, tmp_path / "a.zip", sleep=lambda seconds: None)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_a_break_is_resumed_where_it_was(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF), Answer(cut=1000)])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_the_time_of_change_vouches_too(tmp_path: Path) -> None:
    changed = "Wed, 06 Nov 2024 10:00:00 GMT"
    with serving(FileServer(CONTENT, etag=None, last_modified=changed, answers=[Answer(cut=HALF)])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_it_starts_again(tmp_path: Path, etag: str | None) -> None:
    with serving(FileServer(CONTENT, etag=etag, answers=[Answer(cut=HALF)])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, None]


def test_a_server_that_ignores_ranges_sends_it_all_again(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF), Answer(ranges=False)])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


def test_a_changed_file_starts_again(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        failed(server, tmp_path / "a.zip", Retry(attempts=1))
        server.content, server.etag = CONTENT[::-1], '"v2"'
        assert fetched(server, tmp_path / "a.zip") == CONTENT[::-1]


def test_a_changed_file_of_a_server_that_ignores_if_range_starts_again(tmp_path: Path) -> None:
    changed = Answer(206, headers={"Content-Range": f"bytes {HALF}-{HALF}/{len(CONTENT)}", "ETag": '"v2"'})
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF), changed])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={HALF}-", None]


def test_another_range_than_asked_for_starts_again(tmp_path: Path) -> None:
    wrong = Answer(206, headers={"Content-Range": f"bytes 0-{HALF}/{len(CONTENT)}"})
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF), wrong])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={HALF}-", None]


def test_a_part_that_is_the_whole_file_is_done(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        failed(server, tmp_path / "a.zip", Retry(attempts=1))
        (tmp_path / "a.zip.part").write_bytes(CONTENT)
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_starts_again(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        failed(server, tmp_path / "a.zip", Retry(attempts=1))
        (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
        assert fetched(server, tmp_path / "a.zip") == CONTENT


def test_a_part_from_another_address_starts_again(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"other")
    (tmp_path / "a.zip.part.json").write_text('{"url": "http://other/", "validator": "\\"v1\\""}')
    with serving(FileServer(CONTENT)) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None]


@pytest.mark.parametrize("about", ["", "{", "[]", '{"url": 1}'])
def test_a_damaged_note_beside_the_part_starts_again(tmp_path: Path, about: str) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"half")
    (tmp_path / "a.zip.part.json").write_text(about)
    with serving(FileServer(CONTENT)) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_passing_trouble_is_tried_again(tmp_path: Path, status: int) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(status), Answer(status)])) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


def test_a_missing_file_is_told_at_once(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(404)])) as server:
        message = failed(server, tmp_path / "a.zip")
    assert message == (
        f"{server.url}: HTTP 404 Not Found; name another address with --url, or a local copy with --from ARCHIVE.zip"
    )
    assert server.requested == [None]


def test_a_lasting_trouble_is_told_when_the_attempts_are_used_up(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF), *[Answer(503)] * 3])) as server:
        message = failed(server, tmp_path / "a.zip", Retry(idle_attempts=4))
    assert message == (
        f"{server.url}: HTTP 503 Service Unavailable; gave up after 4 attempts, {HALF} bytes are kept:"
        " run the same command again to resume, or name a local copy with --from ARCHIVE.zip"
    )


def test_the_next_call_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        failed(server, tmp_path / "a.zip", Retry(attempts=1))
        assert fetched(server, tmp_path / "a.zip") == CONTENT
    assert server.requested == [None, f"bytes={HALF}-"]


def test_breaks_that_bring_bytes_do_not_use_up_the_attempts(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=1000)] * 20)) as server:
        assert fetched(server, tmp_path / "a.zip", Retry(idle_attempts=2)) == CONTENT


def test_a_server_that_always_starts_again_and_breaks_off_is_given_up(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF, ranges=False)] * 20)) as server:
        failed(server, tmp_path / "a.zip", Retry(idle_attempts=3))
    assert len(server.requested) == 3


def test_a_server_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT)) as server:
        pass
    assert failed(server, tmp_path / "a.zip").startswith(
        f"{server.url}: the connection broke off ([Errno 111] Connection refused); gave up after 5 attempts"
    )


def test_an_address_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"^ftp://x/a\.zip: Request URL has an unsupported protocol"):
        download("ftp://x/a.zip", tmp_path / "a.zip", sleep=pytest.fail)


def test_a_file_without_a_length_is_taken_to_its_end(tmp_path: Path) -> None:
    with serving(FileServer(CONTENT, length=False)) as server:
        assert fetched(server, tmp_path / "a.zip") == CONTENT


def test_a_file_that_is_there_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"here")
    with serving(FileServer(CONTENT)) as server:
        assert fetched(server, tmp_path / "a.zip") == b"here"
    assert server.requested == []


def test_progress_goes_on_after_a_break(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving(FileServer(CONTENT, answers=[Answer(cut=HALF)])) as server:
        download(server.url, tmp_path / "a.zip", sleep=lambda s: None, on_progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_waits_double_up_to_the_longest() -> None:
    retry = Retry(first_wait_s=1, longest_wait_s=5)
    assert [retry.wait_s(failures, None) for failures in (1, 2, 3, 4)] == [1, 2, 4, 5]


def test_what_the_server_asks_for_is_waited(tmp_path: Path) -> None:
    waits: list[float] = []
    with serving(FileServer(CONTENT, answers=[Answer(503, headers={"Retry-After": "7"})])) as server:
        download(server.url, tmp_path / "a.zip", sleep=waits.append)
    assert waits == [7.0]


def test_what_the_server_asks_for_is_waited_within_reason() -> None:
    assert Retry(longest_wait_s=30).wait_s(1, 86400.0) == 30.0
