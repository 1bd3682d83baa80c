"""Ten faults and more are planted, one at a time, and the doctor finds each and says what to type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.doctor.cli import doctor_command
from alfworld_sft.doctor.games import judge_games
from alfworld_sft.doctor.line import Line
from alfworld_sft.doctor.machine import GIB, Machine, judge_machine, look_at_machine
from alfworld_sft.doctor.model import judge_model
from alfworld_sft.doctor.packages import judge_packages, pinned_versions
from alfworld_sft.doctor.server import judge_proxies, judge_server
from tests.collecting import write_games

GOOD = Machine(
    python="3.12.1",
    cores=8,
    cpu_flags=frozenset({"fpu", "amx_bf16"}),
    memory=16 * GIB,
    gpus=("H100, 81559 MiB",),
    torch="2.13.0",
    free_disk={Path("/data"): 100 * GIB},
    open_files=65536,
)
NEEDS = ["httpx>=0.27", "torch>=2.9; extra == 'train'", "pytest>=8; extra == 'dev'"]
INSTALLED = {"httpx": "0.28.1", "torch": "2.13.0"}


def to_fix(lines: Iterator[Line]) -> list[Line]:
    return [line for line in lines if line.verdict == "fix"]


def test_a_good_machine_needs_nothing():
    assert {line.verdict for line in judge_machine(GOOD)} == {"fine"}
    assert next(line for line in judge_machine(GOOD) if line.thing == "CPU").found == "8 cores, AMX"


@pytest.mark.parametrize(
    ("change", "thing", "advice"),
    [
        ({"memory": GIB}, "memory", "free 2.0 GiB, or play with runner.concurrency=8"),
        ({"free_disk": {Path("/data"): GIB // 4}}, "disk", "make room"),
        ({"open_files": 256}, "open files", "ulimit -Hn 4096"),
        ({"torch": "2.13.0+cpu"}, "GPU", "pip uninstall torch"),
    ],
)
def test_a_machine_that_is_too_small_or_has_the_wrong_torch(change, thing, advice):
    (line,) = to_fix(judge_machine(replace(GOOD, **change)))
    assert line.thing == thing
    assert advice in line.advice


def test_this_machine_is_read(tmp_path):
    machine = look_at_machine(tmp_path / "not" / "there")
    assert machine.cores >= 1
    assert list(machine.free_disk) == [tmp_path]
    assert machine.free_disk[tmp_path] > 0


def test_good_packages_need_nothing():
    lines = list(judge_packages(NEEDS, INSTALLED, INSTALLED))
    assert {line.verdict for line in lines} == {"fine"}
    assert [line.thing for line in lines] == ["packages", "packages of [train]", "versions"]


def test_a_missing_package_an_old_one_a_missing_extra_and_another_version_than_the_tested_one():
    (missing,) = to_fix(judge_packages(NEEDS, {"torch": "2.13.0"}, {}))
    assert (missing.found, missing.advice) == ("httpx not installed", "pip install alfworld-sft")
    (old,) = to_fix(judge_packages(NEEDS, {**INSTALLED, "torch": "1.2"}, {}))
    assert old.found == "torch 1.2, not >=2.9"
    assert old.advice == "pip install --upgrade 'alfworld-sft[train]'"
    lines = list(judge_packages(NEEDS, {"httpx": "0.29"}, INSTALLED))
    assert [line.verdict for line in lines] == ["fine", "note", "note"]
    assert lines[1].advice == "for training: pip install 'alfworld-sft[train]'"
    assert lines[2].found == "httpx 0.29 (tested: 0.28.1)"


def test_the_pinned_versions_are_those_of_the_constraints():
    assert pinned_versions()["httpx"] == "0.28.1"


def test_a_data_folder_that_is_gone_and_one_with_a_broken_game(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "gone"))
    (gone,) = to_fix(judge_games(None))
    assert "does not exist" in gone.found
    assert gone.advice == "alfworld-sft games fetch, or unset ALFWORLD_DATA to play the embedded games"
    data = write_games(tmp_path / "data", 3)
    (few,) = judge_games(str(data))
    assert (few.verdict, few.found) == ("note", "3 games of 3553, which say 'move' for putting down")
    next(data.rglob("game.tw-pddl")).write_text("{}")
    (broken,) = to_fix(judge_games(str(data)))
    assert broken.found.startswith("2 usable, 1 broken (the first: ")
    assert "games list" in broken.advice


def test_trials_that_the_published_archives_have_no_game_for_are_no_fault(tmp_path):
    data = write_games(tmp_path / "data", 3)
    lone, unsolvable = (file.parent for file in sorted(data.rglob("game.tw-pddl"))[:2])
    (lone / "game.tw-pddl").unlink()
    content = json.loads((unsolvable / "game.tw-pddl").read_bytes())
    (unsolvable / "game.tw-pddl").write_text(json.dumps(content | {"solvable": False}))
    (line,) = judge_games(str(data))
    assert (line.verdict, line.found) == ("note", "1 game of 3553, which say 'move' for putting down")
    lost = write_games(tmp_path / "data", 1, "valid_seen") / "json_2.1.1" / "valid_seen"
    next(lost.rglob("game.tw-pddl")).unlink()
    (line,) = to_fix(judge_games(str(data)))
    assert line.found.startswith("none usable (the first: ")


def test_copies_and_games_of_other_splits_are_not_broken(tmp_path):
    data = write_games(write_games(tmp_path / "data", 3), 2, "valid_seen")
    (data / "json_2.1.1").rename(data / "games")
    shutil.copytree(next((data / "games/train").iterdir()), data / "copies/train" / "copy")
    assert to_fix(judge_games(str(data))) == []


@pytest.mark.parametrize("url", ["http://host:80a0/v1", "http://host:99999/v1", "http://[::1"])
def test_what_is_no_address_is_said(url):
    (line,) = to_fix(judge_proxies(url))
    assert line.found.startswith(f"{url} is no address (")


def test_a_proxy_that_cannot_be_used_is_not_repeated(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "sock5://me:secret@proxy:1")
    (line,) = to_fix(judge_proxies(None))
    assert "correct or unset HTTPS_PROXY" in line.advice
    assert "secret" not in str(line)


class _Models(BaseHTTPRequestHandler):
    status, body = 200, b'{"data": [{"id": "tiny"}]}'
    asked: ClassVar[dict[str, str | None]] = {}

    def do_GET(self):
        for name in ("Authorization", "OpenAI-Organization", "OpenAI-Project"):
            self.asked[name] = self.headers[name]
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def test_a_server_that_serves_the_model_is_fine(server):
    (line,) = judge_server(server, "tiny")
    assert (line.verdict, line.found) == ("fine", f"{server} answers and serves tiny")


def test_a_server_without_the_model_one_that_refuses_and_one_that_is_none(server, monkeypatch):
    (other,) = to_fix(judge_server(server, "large"))
    assert other.advice == "name one that it serves (tiny), or serve this one"
    monkeypatch.setattr(_Models, "body", b"<html>")
    (none,) = to_fix(judge_server(server, None))
    assert "ends in /v1" in none.advice
    monkeypatch.setattr(_Models, "status", 401)
    (refused,) = to_fix(judge_server(server, None))
    assert refused.advice == "export OPENAI_API_KEY=…"


def test_a_server_is_asked_with_the_key_and_the_account_of_a_run(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.delenv("OPENAI_PROJECT_ID", raising=False)
    next(judge_server(server, None))
    assert _Models.asked == {
        "Authorization": "Bearer sk-1",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": None,
    }
    monkeypatch.setenv("OPENAI_API_KEY", "sk 1")
    (refused,) = to_fix(judge_server(server, None))
    assert refused.advice == "OPENAI_API_KEY holds a blank or another character that no key has"


def test_a_server_that_does_not_run():
    (line,) = to_fix(judge_server("http://127.0.0.1:9/v1", None))
    assert "does not answer" in line.found


def test_a_model_that_cannot_be_loaded(tmp_path):
    (line,) = to_fix(judge_model(str(tmp_path / "gone"), None))
    assert line.advice


app = typer.Typer()
app.command()(doctor_command)


def test_the_command_says_it_in_lines_in_json_and_by_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr("alfworld_sft.doctor.cli.look_at_machine", lambda *_: GOOD)
    monkeypatch.setattr("alfworld_sft.doctor.cli.installed_requirements", list)
    fine = CliRunner().invoke(app, ["--source", "embedded"])
    assert (fine.exit_code, fine.stdout.splitlines()[-1]) == (0, "nothing to fix")
    bad = CliRunner().invoke(app, ["--source", str(tmp_path / "gone"), "--json"])
    told = json.loads(bad.stdout)
    assert (bad.exit_code, told["ok"]) == (2, False)
    assert [line["thing"] for line in told["lines"] if line["verdict"] == "fix"] == ["games"]
