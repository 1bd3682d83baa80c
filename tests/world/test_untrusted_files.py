"""A game file is untrusted: spoilt in a thousand ways it is played, or refused with one clear line; never executed."""

import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.errors import GameFileError
from alfworld_sft.world import Env, parse_game
from alfworld_sft.world.plan import UnsolvableError, shortest_plan
from tests.handmade import kitchen_file
from tests.world.mutations import mutated

LIMIT_S = 20
"""For one file; they take milliseconds. A test that runs into it has found a hang."""
FILE = "some/folder/game.tw-pddl"


class Watch:
    """Notes what is executed while it is on: commands, and text that is compiled, as by `eval` and `exec`."""

    def __init__(self) -> None:
        self.on = False
        self.executed: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        compiled = event == "compile" and arguments[1] == "<string>"
        if self.on and (compiled or event in ("os.system", "os.exec", "subprocess.Popen")):
            self.executed.append(f"{event} {arguments!r}")


WATCH = Watch()


@contextmanager
def guarded() -> Iterator[None]:
    """Fail where the code inside hangs or executes anything."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    WATCH.on, WATCH.executed = True, []
    try:
        yield
    finally:
        WATCH.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert WATCH.executed == []


def outcome(content: bytes, seed: int) -> str:
    """Load the file and play: "played", or "refused" with a line that is fit to be shown."""
    with guarded():
        try:
            game = parse_game(content, game_id="game", file=FILE)
        except GameFileError as error:
            line = str(error)
            assert line.startswith(f"{FILE}: ")
            assert line.isprintable()
            assert len(FILE) + 10 < len(line) < 400
            return "refused"
        rng, env = random.Random(seed), Env(game)
        observation = env.reset()
        for _ in range(10):
            command = rng.choice(observation.admissible_commands)
            observation = env.step(command)
            assert observation.text != "Nothing happens."
        if len(game.objects) < 200:
            with suppress(UnsolvableError):
                shortest_plan(game)
        return "played"


def test_the_guard_sees_what_is_executed():
    with pytest.raises(AssertionError, match="compile"), guarded():
        eval("1 + 1")


def test_a_file_spoilt_in_a_thousand_ways_is_played_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    content = kitchen_file(walkthrough=("go to fridge 1",))
    outcomes = Counter(outcome(mutated(content, seed), seed) for seed in range(1_000))
    assert sum(outcomes.values()) == 1_000
    assert outcomes["played"] > 50
    assert outcomes["refused"] > 500
    assert list(tmp_path.iterdir()) == []  # `touch hacked` was not run


@pytest.mark.real_games
def test_real_files_spoilt_in_a_thousand_ways_are_played_or_refused(
    real_game_paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    contents = [path.read_bytes() for path in random.Random(0).sample(real_game_paths, 20)]
    outcomes = Counter(outcome(mutated(contents[seed % 20], seed), seed) for seed in range(1_000))
    assert sum(outcomes.values()) == 1_000
    assert outcomes["played"] > 50
    assert outcomes["refused"] > 500
    assert list(tmp_path.iterdir()) == []
