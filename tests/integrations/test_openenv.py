"""OpenEnv: its own validator and clients against `alfworld-sft serve`; games are compared with those of `Env`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from random import Random

import httpx
import pytest

pytest.importorskip("openenv.core", reason="the extra 'openenv' is not installed: make integration-openenv")

from openenv.core import GenericEnvClient
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from alfworld_sft.errors import UserError
from alfworld_sft.games import EMBEDDED, GameRef, find_all_games, find_games
from alfworld_sft.integrations import openenv as bridge
from alfworld_sft.world import Env
from alfworld_sft.world.plan import shortest_plan
from tests.integrations.documented import run_example

SECONDS = 60.0


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of a server of the embedded games, in a process of its own."""
    command = [sys.executable, "-m", "alfworld_sft", "serve", "--port", "0", "--source", EMBEDDED, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("--max-envs", "128") as address:
        yield address


@pytest.fixture
def talk(url: str) -> Iterator[ClientConnection]:
    with connected(url) as connection:
        yield connection


def connected(url: str) -> AbstractContextManager[ClientConnection]:
    return connect(f"{url.replace('http', 'ws')}/ws", max_size=None, open_timeout=SECONDS, close_timeout=1)


def ask(connection: ClientConnection, message: object) -> dict:
    """Send one message, already text or to be JSON; return the answer."""
    connection.send(message if isinstance(message, str) else json.dumps(message))
    return json.loads(connection.recv(SECONDS))


def reset(connection: ClientConnection, **arguments: object) -> dict:
    return ask(connection, {"type": "reset", "data": arguments})


def step(connection: ClientConnection, command: str) -> dict:
    return ask(connection, {"type": "step", "data": {"command": command}})


def commands_for(ref: GameRef, seed: int) -> list[str]:
    """A shortest plan, with commands between that are random, or none at all."""
    game = ref.load()
    chance = Random(seed)
    plan = shortest_plan(game)
    assert plan is not None
    return [word for command in plan for word in ([command] if chance.random() < 0.7 else ["dance", command])]


def played_in_process(ref: GameRef, commands: Sequence[str]) -> list[tuple]:
    env = Env(ref.load(), max_steps=50)
    seen = [env.reset()]
    for command in commands:
        if seen[-1].over:
            break
        seen.append(env.step(command))
    return [(o.text, list(o.admissible_commands), None if i == 0 else float(o.won), o.over) for i, o in enumerate(seen)]


async def played_over(client: GenericEnvClient, split: str, index: int, commands: Sequence[str]) -> list[tuple]:
    results = [await client.reset(split=split, index=index)]
    for command in commands:
        if results[-1].done:
            break
        results.append(await client.step({"command": command}))
    return [(r.observation["text"], r.observation["admissible_commands"], r.reward, r.done) for r in results]


def test_openenvs_validator_passes(url):
    command = [sys.executable, "-m", "openenv.cli", "validate", "--url", url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_64_clients_at_once_play_640_games_as_they_are_played_in_process(url):
    games = [(g.split, i, ref) for g in find_all_games(EMBEDDED) for i, ref in enumerate(g)]
    assert len(games) == 640
    commands = [commands_for(ref, number) for number, (_, _, ref) in enumerate(games)]

    async def one(mine: Sequence[int]) -> dict[int, list[tuple]]:
        async with GenericEnvClient(base_url=url, connect_timeout_s=SECONDS) as client:
            return {n: await played_over(client, *games[n][:2], commands[n]) for n in mine}

    async def all_clients() -> list[dict[int, list[tuple]]]:
        return await asyncio.gather(*(one(range(first, 640, 64)) for first in range(64)))

    played = {n: game for part in asyncio.run(all_clients()) for n, game in part.items()}
    assert sum(game[-1][2] for game in played.values()) == 640
    for n, (_, _, ref) in enumerate(games):
        assert played[n] == played_in_process(ref, commands[n]), ref.id


CLIENTS_THAT_WAIT = """
import os, sys, time
from openenv.core import GenericEnvClient
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        client = GenericEnvClient(base_url=sys.argv[1], connect_timeout_s=60).sync()
        client.connect()
        client.reset(split="train", index=0)
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(600)
os.wait()
"""


def test_clients_that_are_killed_free_their_places():
    with serving("--max-envs", "32") as url:
        clients = subprocess.Popen(
            [sys.executable, "-c", CLIENTS_THAT_WAIT, url, "32"], stdout=subprocess.PIPE, text=True
        )
        with clients:
            assert clients.stdout is not None
            children = [int(clients.stdout.readline()) for _ in range(32)]
            with connected(url) as refused:
                answer = json.loads(refused.recv(SECONDS))
            for child in children:
                os.kill(child, signal.SIGKILL)
            clients.kill()
        assert answer["data"]["code"] == "CAPACITY_REACHED"
        deadline = time.monotonic() + SECONDS
        while (free := places(url, 32)) < 32 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert free == 32


def places(url: str, wanted: int) -> int:
    """How many of so many sessions can be had at once."""
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(connected(url)) for _ in range(wanted)]
        return sum(reset(connection)["type"] == "observation" for connection in connections)


def test_a_session_that_is_idle_loses_its_place_and_is_told_so():
    with serving("--max-envs", "1", "--idle-timeout", "1") as url, connected(url) as idle:
        reset(idle)
        time.sleep(7)  # OpenEnv looks every five seconds
        with connected(url) as other:
            assert reset(other)["type"] == "observation"
        answer = step(idle, "look")
    assert answer["data"]["message"] == "the session was idle for too long, and its place given away; connect again"


def test_slow_clients_do_not_stop_the_others(url):
    """Neither one that stops in the middle of a message, nor one that asks on and on without reading the answers."""
    host, port = url.removeprefix("http://").split(":")
    with connected(url) as deaf, socket.create_connection((host, int(port))) as half, connected(url) as other:
        half.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        reset(deaf, split="train", index=0)
        for _ in range(2000):
            deaf.send(json.dumps({"type": "step", "data": {"command": "look"}}))
        began = time.monotonic()
        assert reset(other, split="train", index=0)["type"] == "observation"
        assert step(other, "look")["type"] == "observation"
        assert time.monotonic() - began < 5


def test_the_task_api_names_what_reset_plays(url, talk):
    def post(path: str, **body: object) -> dict:
        return httpx.post(f"{url}/alfworld/{path}", json=body).json()

    train = find_games(EMBEDDED, "train")
    assert httpx.get(f"{url}/alfworld/splits").json() == [
        {"name": "train", "type": "train"},
        {"name": "valid_seen", "type": "validation"},
        {"name": "valid_unseen", "type": "validation"},
    ]
    assert post("num_tasks", split="train") == {"num_tasks": 512}
    task = {"id": train.refs[7].id, "split": "train", "index": 7, "task_type": train.refs[7].task_type}
    assert post("task", split="train", index=7) == {"task": task}
    assert post("task_range", split="train", start=7, stop=8) == {"tasks": [task]}
    assert post("tasks", split="train")["tasks"][7] == task
    assert post("task", split="train", index=512) == {
        "detail": "there is no game 512 of the split 'train': it has 0 to 511"
    }
    reset(talk, split="train", index=7, episode_id="mine", max_steps=9)
    step(talk, "look")
    state = ask(talk, {"type": "state"})["data"]
    game = train.refs[7].load()
    assert state == {
        "episode_id": "mine", "step_count": 1, "split": "train", "index": 7, "game_id": game.id,
        "task_type": game.task_type, "task": game.task, "max_steps": 9,
    }  # fmt: skip


def test_a_seed_chooses_the_game_and_no_choice_plays_every_game_once():
    catalogue = bridge.Catalogue(find_all_games(EMBEDDED), "valid_seen")
    assert {catalogue.choose("train", None, 5) for _ in range(3)} == {catalogue.choose("train", None, 5)}
    assert len({catalogue.choose("train", None, seed) for seed in range(100)}) > 80
    assert sorted(catalogue.choose(None, None, None) for _ in range(64)) == list(range(64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "traim"}, "unknown split 'traim'; did you mean 'train'?"),
        (
            {"split": "valid_train"},
            "there are no games of the split 'valid_train' here, only of train, valid_seen, valid_unseen",
        ),
        ({"split": ["train"]}, "split must be a string, not ['train']"),
        ({"index": -1, "split": "valid_seen"}, "there is no game -1 of the split 'valid_seen': it has 0 to 63"),
        ({"index": "7"}, "index must be an integer, not '7'"),
        ({"index": True}, "index must be an integer, not True"),
        ({"seed": 0.5}, "seed must be an integer, not 0.5"),
        ({"max_steps": 0}, "max_steps must be between 1 and 1000, not 0"),
        ({"game": 7}, "reset has no argument 'game'; there are seed, episode_id, split, index and max_steps"),
    ],
)  # fmt: skip
def test_a_reset_that_cannot_be_is_answered_and_the_session_goes_on(talk, arguments, message):
    assert reset(talk, **arguments) == {"type": "error", "data": {"message": message, "code": "EXECUTION_ERROR"}}
    assert reset(talk)["type"] == "observation"


def test_a_client_that_sends_no_action_or_no_message_is_answered(talk):
    reset(talk)
    for message in ({"type": "step", "data": {}}, {"type": "step"}, {"type": "step", "data": {"command": 7}}):
        assert ask(talk, message)["data"]["code"] == "VALIDATION_ERROR"
    assert ask(talk, "look")["data"]["code"] == "INVALID_JSON"
    assert ask(talk, {"type": "play"})["data"]["code"] == "UNKNOWN_TYPE"
    assert step(talk, "look")["type"] == "observation"


def test_ten_megabytes_of_text_are_a_command_that_the_game_does_not_know(talk):
    reset(talk)
    answer = step(talk, "x" * 10_000_000)["data"]
    assert (answer["observation"]["text"], answer["done"], answer["reward"]) == ("Nothing happens.", False, 0.0)


def test_a_message_beyond_the_limit_closes_its_connection_alone(url, talk):
    with connected(url) as other:
        reset(other)
        with pytest.raises(ConnectionClosedError, match="1009"):
            step(talk, "x" * 17_000_000)
        assert step(other, "look")["type"] == "observation"


def test_an_action_before_the_start_and_after_the_end_is_refused(talk, url):
    assert step(talk, "look")["data"]["message"] == "no game has begun; send a reset first, on the same web socket"
    reset(talk, max_steps=1)
    last = step(talk, "look")["data"]
    assert (last["done"], last["observation"]["truncated"], last["observation"]["won"]) == (True, True, False)
    assert step(talk, "look")["data"]["message"] == "the episode is over; send a reset to begin another"
    assert reset(talk)["type"] == "observation"
    http = httpx.post(f"{url}/step", json={"action": {"command": "look"}})
    assert (http.status_code, http.json()["detail"][:17]) == (400, "no game has begun")


def test_a_port_in_use_is_one_line():
    with bridge.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as raised:
            bridge.listen("127.0.0.1", port)
    assert str(raised.value) == (
        f"cannot listen on 127.0.0.1, port {port}: Address already in use;"
        " name others with --host and --port (0 takes a free port)"
    )


def test_the_documented_client_plays_a_step(url: str) -> None:
    result = run_example("from openenv.core import", "http://127.0.0.1:8000", url)["result"]
    assert (result.reward, result.done) == (0.0, False)
    assert result.observation["text"]
