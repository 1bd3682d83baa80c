"""How is one run spread over several machines? Ray's workers play its episodes; only this process writes its folder.

Ray places the workers: one per CPU, or one per GPU if they hold a model. Each gets small shards of the owed episodes,
and its next shard before it becomes idle. An episode's number and the run's seed determine the episode, so it does not
matter which worker plays it: the dataset is byte-identical to that of a run without Ray. A worker that dies is
replaced, and its unfinished episodes are played again.

A worker needs the same version of this package, on-disk games and a local model under the same path, and a server's key
in $OPENAI_API_KEY of its own environment. The key is never sent: task arguments are visible in Ray's dashboard and may
be written to its disks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

from alfworld_sft import __version__
from alfworld_sft.counts import counted
from alfworld_sft.errors import AlfworldSftError, ConfigError, PolicyUnavailableError, UserError
from alfworld_sft.games import GameSource
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.policies.make import make_policy
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.config import RunConfig
from alfworld_sft.runs.job import Job, Play, protocol_of
from alfworld_sft.runs.probes import NO_PROBES, Probes
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.run_json import keep_sampling
from alfworld_sft.runs.runner import EpisodePlayer, NotBegun, record
from alfworld_sft.types import Episode

logger = logging.getLogger(__name__)


LOCAL, AUTO = "local", "auto"
SHARD_EPISODES = 16
"""Episodes per shard if the worker itself computes the actions: about a tenth of a second for the expert."""
MAX_LOSSES = 3
"""Workers that may die on one shard before its episodes are recorded as failed."""
MAX_FALSE_STARTS = 3
"""Workers in a row that may die while starting before the run ends."""
PATIENCE_S = 15.0
CONNECT_S = 60.0
"""How long a running Ray may take to answer; Ray itself retries a wrong address for more than four minutes."""
OBJECT_STORE_BYTES = 128 * 2**20  # for a Ray started here; results are removed as they arrive


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker receives when it starts."""

    version: str
    policy: PolicySection
    sampling: dict[str, object] | None
    template: Template
    protocol: Protocol
    seed: int
    games: GameSource
    probes: Probes = NO_PROBES


@dataclass(frozen=True, slots=True)
class Played:
    """The outcomes of a shard, the warnings meanwhile, and the sampling that the worker's model really uses."""

    outcomes: list[Episode | NotBegun]
    warnings: list[str]
    sampling: dict[str, object] | None = None


class Worker:
    """Plays shards in one of Ray's processes; several at once if its policy waits for answers."""

    def __init__(self) -> None:
        self._warnings = _Warnings()
        self._player: EpisodePlayer | None = None
        self._games: GameSource | None = None

    async def prepare(self, orders: Orders) -> None:
        """Make the policy; raises UserError with the machine's name if something is missing or different here."""
        logging.getLogger("alfworld_sft").addHandler(self._warnings)
        with _on_this_machine():
            if orders.version != __version__:
                raise UserError(f"it has alfworld-sft {__version__}, but {orders.version} is needed")
            folder = orders.games.folder
            if folder and not folder.exists():
                raise UserError(
                    f"it does not find the games in {folder}; copy or mount them there on every machine of the"
                    " cluster, or play games.source=embedded or generate"
                )
            policy = make_policy(orders.policy)
            if policy.sampling != orders.sampling:
                raise UserError(
                    f"it would sample with {policy.sampling}, but the run with {orders.sampling}; a type that fits all"
                    " machines is set by policy.dtype"
                )
        self._player = EpisodePlayer(policy, orders.template, orders.protocol, orders.seed, orders.probes)
        self._games = orders.games

    async def play(self, shard: Sequence[int]) -> Played:
        """Play a shard's episodes; raises UserError if the policy's server is unavailable."""
        player, games = self._player, self._games
        assert player is not None, "a worker is prepared before it plays"
        assert games is not None, "a worker is prepared before it plays"
        with _on_this_machine():
            outcomes = [await player.play(index, games) for index in shard]
        sampling = player.policy.sampling
        return Played(outcomes, self._warnings.taken(), None if sampling is None else dict(sampling))


@contextmanager
def _on_this_machine() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        kind = PolicyUnavailableError if isinstance(error, PolicyUnavailableError) else UserError
        raise kind(f"Ray's worker on {socket.gethostname()}: {error}") from None


class _Warnings(logging.Handler):
    """Keeps the package's warnings until they are collected."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def taken(self) -> list[str]:
        """Return the messages since the last call."""
        messages, self._messages = self._messages, []
        return messages


class _LostError(AlfworldSftError):
    """A worker or its machine died, or its results were lost on the way."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """The episodes of one call; `losses` counts the workers that died on it."""

    episodes: tuple[int, ...]
    losses: int = 0


def over_ray(address: str) -> Play:
    """Return the function that plays over the Ray at an address: `local` starts one, `auto` finds this machine's.

    Raises UserError if Ray is not installed or the address is invalid.
    """
    ray = _ray()
    if address not in (LOCAL, AUTO) and not re.fullmatch(r"[^\s/:]+:\d{1,5}|\[[\da-fA-F:]+\]:\d{1,5}", address):
        raise UserError(
            f"--ray {address}: use local (start Ray here), auto (this machine's cluster), or HOST:PORT of its head"
        )
    return partial(_play, ray, address)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise UserError("--ray needs the package ray; install it with: pip install 'alfworld-sft[ray]'") from None
    return ray


def _play(ray: Any, address: str, job: Job[Any], on_episode: Callable[[Episode | None], None]) -> None:
    """Play the run's owed episodes; raises UserError if Ray or a worker cannot be used."""
    if job.config.policy.serve:
        raise ConfigError(
            f"policy.serve={job.config.policy.serve}: a server that is started here serves no --ray machines; start it"
            " yourself where all of them reach it, and name it in OPENAI_BASE_URL or policy.base_url"
        )
    owed = set(job.run.owed(job.total))
    if not owed:
        return
    handler = signal.getsignal(signal.SIGTERM)
    with _connection(ray, address):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has installed its own handler, which ends the process at once
        try:
            asyncio.run(_Crew(ray, job, owed, on_episode).play())
        except BaseExceptionGroup as errors:
            raise _first_of(errors) from None
    job.run.sync()


@contextmanager
def _connection(ray: Any, address: str) -> Iterator[None]:
    """Connect to Ray, or start it here, for the duration of the context; an existing connection is kept."""
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        if address != LOCAL:
            _check_that_something_listens(address)
            _check_that_ray_answers(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:  # about the address
        reason = " ".join(str(error).split())
        raise UserError(
            f"--ray {address}: cannot use Ray {_where(address)} ({reason}); start it with 'ray start' (if it asks for a"
            " token, set RAY_AUTH_MODE=token), or play with --ray local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_that_something_listens(address: str) -> None:
    """Raise OSError at once instead of letting Ray retry for minutes."""
    if address != AUTO:
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()


_CONNECT = """
import sys
import ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(" ".join(str(error).split()))
    sys.exit(1)
ray.shutdown()
"""


def _check_that_ray_answers(address: str) -> None:
    """Connect in a separate process, which can be killed; raises OSError if that fails or takes CONNECT_S.

    Ray itself cannot be interrupted while it connects, and keeps printing warnings.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and a checked address
            [sys.executable, "-P", "-c", _CONNECT, address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=CONNECT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OSError(
            f"no answer within {CONNECT_S:.0f} s; what an earlier Ray left is cleared by 'ray stop'"
        ) from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr).splitlines()
        raise OSError(next((line.strip() for line in reversed(said) if line.strip()), f"exit code {done.returncode}"))


def _where(address: str) -> str:
    """Return a description of where Ray is expected, if the address does not say so."""
    named = os.environ.get("RAY_ADDRESS")
    if address != AUTO:
        return "there"
    return f"at RAY_ADDRESS={named}" if named else "on this machine"


class _Crew:
    """The workers of a run, and the shards waiting for them."""

    def __init__(self, ray: Any, job: Job[Any], owed: set[int], on_episode: Callable[[Episode | None], None]) -> None:
        self._ray = ray
        self._run = job.run
        self._on_episode = on_episode
        self._orders = _orders(job)
        config: RunConfig = job.config
        asks = config.policy.name in ("server", "local")  # a model plays shards of one: no episode waits for another
        self._shards = _shards(sorted(owed), 1 if asks else SHARD_EPISODES)
        cluster = ray.cluster_resources()
        self._resources = _resources(cluster, gpu=config.policy.name == "local")
        places = int(cluster.get("GPU" if "num_gpus" in self._resources else "CPU", 1))
        self._size = max(1, min(places, config.runner.concurrency, len(owed)))
        self._shards_at_once = ceil(config.runner.concurrency / self._size) if asks else 2
        self._queue: asyncio.Queue[_Shard] = asyncio.Queue()
        self._room = asyncio.Semaphore(2 * self._size * self._shards_at_once)
        self._false_starts = 0
        self._begun = False
        self._warned: set[str] = set()

    async def play(self) -> None:
        """Play all shards; raises an ExceptionGroup with a UserError if a worker cannot be used."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work()) for _ in range(self._size)]
            tasks.append(group.create_task(self._say_if_nothing_begins()))
            for shard in self._shards:
                await self._room.acquire()
                self._queue.put_nowait(shard)
            await self._queue.join()
            for task in tasks:
                task.cancel()

    async def _work(self) -> None:
        """Let a worker play shards; start another one when it dies."""
        while True:
            worker = self._ray.remote(Worker).options(
                max_concurrency=self._shards_at_once + 1, scheduling_strategy="SPREAD", **self._resources
            ).remote()  # fmt: skip
            try:
                await self._prepare(worker)
                async with asyncio.TaskGroup() as hands:
                    for _ in range(self._shards_at_once):
                        hands.create_task(self._feed(worker))
            except* _LostError:
                logger.warning("a worker of Ray's died; what it was playing is played again")
            finally:
                self._ray.kill(worker)

    async def _prepare(self, worker: Any) -> None:
        try:
            await self._result(worker.prepare.remote(self._orders))
        except _LostError as error:
            self._false_starts += 1
            if self._false_starts >= MAX_FALSE_STARTS:
                raise UserError(
                    f"Ray's workers die while they start ({error}); is alfworld-sft installed on every machine?"
                ) from None
            raise
        self._begun, self._false_starts = True, 0

    async def _feed(self, worker: Any) -> None:
        """Give a worker one shard after another, and write its results into the journal."""
        while True:
            shard = await self._queue.get()
            try:
                played = await self._result(worker.play.remote(shard.episodes))
            except (_LostError, asyncio.CancelledError):
                self._give_back(replace(shard, losses=shard.losses + 1))
                raise
            for outcome in played.outcomes:
                keep_sampling(self._run, played.sampling)
                record(self._run, outcome, self._on_episode)
            for warning in played.warnings:
                if warning not in self._warned:
                    self._warned.add(warning)
                    logger.warning(warning)
            self._done()

    def _give_back(self, shard: _Shard) -> None:
        """Return a shard to the queue, unless too many workers died on it."""
        if shard.losses < MAX_LOSSES:
            self._queue.put_nowait(shard)
            self._queue.task_done()
            return
        for index in shard.episodes:
            reason = f"{counted(shard.losses, 'worker')} of Ray's died while they played it or its neighbours"
            record(self._run, NotBegun(index, self._orders.games.ref(index).id, reason), self._on_episode)
        self._done()

    def _done(self) -> None:
        self._room.release()
        self._queue.task_done()

    async def _result(self, reference: Any) -> Any:
        """Wait for a worker's result; raises its UserError, or _LostError if it died."""
        try:
            return await reference
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise _LostError(" ".join(str(error).split())) from None

    async def _say_if_nothing_begins(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        if not self._begun:
            logger.warning("no worker has begun yet: Ray starts one as soon as the cluster has room (see 'ray status')")


def _orders(job: Job[Any]) -> Orders:
    policy: PolicySection = job.config.policy
    server = policy.base_url or os.environ.get("OPENAI_BASE_URL")  # this process's, not the workers'
    sampling = job.policy.sampling
    return Orders(
        version=__version__,
        policy=policy.model_copy(update={"base_url": server}),
        sampling=None if sampling is None else dict(sampling),
        template=job.template,
        protocol=protocol_of(job.config),
        probes=job.config.probes,
        seed=job.config.seed,
        games=job.games,
    )


def _resources(cluster: dict[str, float], *, gpu: bool) -> dict[str, int]:
    """Return a worker's resources: a CPU, plus a GPU for a model if the cluster has any."""
    return {"num_cpus": 1, "num_gpus": 1} if gpu and cluster.get("GPU", 0) >= 1 else {"num_cpus": 1}


def _shards(episodes: Sequence[int], size: int) -> Iterator[_Shard]:
    for start in range(0, len(episodes), size):
        yield _Shard(tuple(episodes[start : start + size]))


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
