"""Does collection keep a server busy, and how much memory do a thousand episodes at once take?

Claims: against a server with N slots whose latencies are log-normal, the collector keeps 95 % of the slots busy or
more until the tail (the moment from which too few episodes are left to fill the slots); a lockstep loop, which asks
for all episodes' next turns and waits for the last reply, is measured beside it in the same run. A thousand episodes
at once stay below 1 GiB in one process.

The server is simulated in this process: a policy that waits for a slot, keeps it for its latency, and answers what the
expert says. Both loops play the same games with the same latencies. The clock is simulated, too, so that the result
depends on no other load of the machine: it goes on by the CPU time that this process uses (games, prompts, the expert,
the journal: all of it counts), and leaps over the times at which nothing is to be done.

    python -m benchmarks.async_collect --slots 64 --episodes 384
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from alfworld_sft.games import find_games
from alfworld_sft.games.sources import EMBEDDED
from alfworld_sft.policies.expert.expert import Expert, ExpertPlayer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import create_run
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game
from benchmarks._result import peak_mib, write_result

Result = TypeVar("Result")
SEED = 42
MANY = 1000
SPARE = 1.25
"""Episodes at once for each slot: while one's game moves on, another's request waits at the server."""


class LeapingSelector(selectors.DefaultSelector):
    """Waits for nothing: what it was told to wait is added to `leapt_s`."""

    leapt_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready:
            self.leapt_s += max(0.0, timeout)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the CPU time of this process plus the waits that were leapt over."""

    def __init__(self) -> None:
        self.leaps = LeapingSelector()
        super().__init__(self.leaps)

    def time(self) -> float:
        return time.process_time() + self.leaps.leapt_s


def now() -> float:
    return asyncio.get_running_loop().time()


def run_leaping(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(work)


@dataclass
class SlowServer:
    """A policy behind `slots`, each reply after a log-normal latency that the turn's seed decides."""

    slots: int
    median_s: float
    sigma: float = 0.8
    name: str = "slow server"
    sampling: None = None
    spans: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expert = Expert()
        self.free = asyncio.Semaphore(self.slots)

    def begin(self, game: Game, seed: int) -> Player:
        return Player(self, self.expert.begin(game, seed))

    async def serve(self, prompt: Prompt, player: ExpertPlayer) -> Reply:
        reply = await player.act(prompt)  # before the slot is taken: it stands for the model, not for its latency
        latency_s = self.median_s * Random(derive_seed(prompt.seed, "latency")).lognormvariate(0.0, self.sigma)
        async with self.free:
            begun = now()
            await asyncio.sleep(latency_s)
            self.spans.append((begun, now()))
        return reply


@dataclass
class Player:
    server: SlowServer
    expert: ExpertPlayer

    async def act(self, prompt: Prompt) -> Reply:
        return await self.server.serve(prompt, self.expert)


class Lockstep:
    """The same server for a loop that moves all its episodes on together: a turn begins when all have replied."""

    def __init__(self, server: SlowServer, width: int) -> None:
        self.server, self.playing, self.asked = server, width, 0
        self.name, self.sampling = "lockstep", None
        self.turn = asyncio.Event()

    def begin(self, game: Game, seed: int) -> LockstepPlayer:
        return LockstepPlayer(self, self.server.expert.begin(game, seed))

    def leave(self) -> None:
        self.playing -= 1
        self._go_on()

    async def wait_for_all(self) -> None:
        self.asked += 1
        turn = self.turn
        self._go_on()
        await turn.wait()

    def _go_on(self) -> None:
        if self.asked >= self.playing:
            self.turn.set()
            self.turn, self.asked = asyncio.Event(), 0


@dataclass
class LockstepPlayer:
    loop: Lockstep
    expert: ExpertPlayer

    async def act(self, prompt: Prompt) -> Reply:
        await self.loop.wait_for_all()
        return await self.loop.server.serve(prompt, self.expert)


def main() -> None:
    """Measure both loops and the memory, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=384)
    parser.add_argument("--median-s", type=float, default=0.5, help="median latency of a reply")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_only:
        print(json.dumps(run_leaping(many_at_once())))
        return
    ours = run_leaping(collector(options.slots, options.episodes, options.median_s))
    lockstep = run_leaping(lockstep_loop(options.slots, options.episodes, options.median_s))
    words = [sys.executable, "-m", "benchmarks.async_collect", "--memory-only"]
    many = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    result = {
        "options": {"slots": options.slots, "episodes": options.episodes, "median_latency_s": options.median_s},
        "collector": ours,
        "lockstep": lockstep,
        "speedup": round(lockstep["seconds"] / ours["seconds"], 2),
        "many_at_once": many,
    }
    print(json.dumps(result, indent=2))
    write_result("async_collect", result)


async def collector(slots: int, episodes: int, median_s: float) -> dict[str, float]:
    """Play with the project's runner."""
    server = SlowServer(slots, median_s)
    tail = [0.0]
    left = episodes

    def note(_: object) -> None:
        nonlocal left
        left -= 1
        if left == slots - 1:
            tail[0] = now()

    started = now()
    await play(server, episodes, int(slots * SPARE), note)
    return figures(server, started, tail[0])


async def lockstep_loop(slots: int, episodes: int, median_s: float) -> dict[str, float]:
    """Play in batches of `slots` episodes; the next batch begins when all of the last one have ended."""
    server = SlowServer(slots, median_s)
    template, protocol = load_template("default"), Protocol()
    order = find_games(EMBEDDED).shuffled(SEED)
    games = [order.ref(index).load() for index in range(episodes)]
    started = tail = now()

    async def one(index: int, lockstep: Lockstep) -> None:
        seed = derive_seed(SEED, "episode", index)
        await run_episode(games[index], lockstep, template, protocol, index=index, seed=seed)
        lockstep.leave()

    for first in range(0, episodes, slots):
        tail = now()  # the last batch is the tail
        batch = range(first, min(first + slots, episodes))
        lockstep = Lockstep(server, len(batch))
        await asyncio.gather(*(one(index, lockstep) for index in batch))
    return figures(server, started, tail)


async def many_at_once() -> dict[str, float]:
    """Play a thousand episodes at the same time, none of which waits for a slot; the process's peak memory."""
    server = SlowServer(MANY, 2.0)
    await play(server, MANY, MANY, lambda _: None)
    peak = max(open_at_once(server.spans))
    return {"episodes": MANY, "peak_open_requests": peak, "peak_rss_mib": round(peak_mib(), 1)}


async def play(server: SlowServer, episodes: int, concurrency: int, note: Callable[[object], None]) -> None:
    games = find_games(EMBEDDED).shuffled(SEED)
    with tempfile.TemporaryDirectory() as folder, create_run(Path(folder), {}, name="run") as run:
        await run_episodes(
            run, episodes, games, server, load_template("default"), Protocol(),
            seed=SEED, concurrency=concurrency, on_episode=note,
        )  # fmt: skip


def figures(server: SlowServer, started: float, tail: float) -> dict[str, float]:
    """Say how long it took, and what share of the slots was busy until the tail."""
    busy_s = sum(max(0.0, min(end, tail) - begin) for begin, end in server.spans)
    ended = max(end for _, end in server.spans)
    return {
        "requests": len(server.spans),
        "seconds": round(ended - started, 2),
        "until_tail_s": round(tail - started, 2),
        "slots_busy_until_tail": round(busy_s / (server.slots * (tail - started)), 4),
        "slots_busy_in_all": round(sum(e - b for b, e in server.spans) / (server.slots * (ended - started)), 4),
    }


def open_at_once(spans: Iterable[tuple[float, float]]) -> Iterable[int]:
    """Yield how many requests are open after each change."""
    count = 0
    for _, change in sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans]):
        count += change
        yield count


if __name__ == "__main__":
    main()
