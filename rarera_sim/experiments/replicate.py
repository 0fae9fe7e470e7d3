"""Runs in number: tasks that are text, done here, by processes beside this one or on a Dask cluster, and remembered.

A task is the JSON of a scenario and a few numbers, what comes back is JSON as well: nothing that anybody hands in is
ever unpickled, and what a process, a cluster and the cache give is the same bytes.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import msgspec
import polars as pl

from rarera_sim.core.errors import BadInput, RareraError, Unreachable
from rarera_sim.experiments.run import VERSION, Measures, run
from rarera_sim.experiments.scenario import Configuration, Scenario
from rarera_sim.experiments.workload import prepared, sample_of, services_of
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.world import Watchers

_PACKAGE = Path(__file__).parent.parent
_RESULTS_OF = ("core", "adapters", "learning", "policies", "anomalies", "simulation", "metrics", "experiments")
_LOOK_EVERY = 0.25  # seconds; Python hears of Ctrl-C between waits only
_PATIENCE = 5.0  # seconds that a process has to end after it was asked to


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run to do.

    Parameters
    ----------
    scenario
        The question.
    number
        Of the configuration in it.
    replication, seed
        Which one it is, and the seed that it has therefore.
    point
        Of a sweep: which scenario of it this is.
    frames
        Whether replication 0 keeps its `load` and `crashes`.
    log_path
        Keep the event log there.
    """

    scenario: Scenario
    number: int
    replication: int
    seed: int
    point: int = 0
    frames: bool = True
    log_path: str | None = None

    @property
    def configuration(self) -> Configuration:
        return self.scenario.configurations[self.number]

    @property
    def keeps_frames(self) -> bool:
        return self.frames and self.replication == 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one run; `load` and `crashes` as Arrow IPC, where the task says so.

    `service_mean` is the mean of the service times that chance gave it, seconds at speed 1: the same under every
    policy, and known beforehand, so that it can correct what was measured.
    """

    number: int  # of the configuration
    replication: int
    seed: int
    digest: str
    measures: Measures
    quantiles: tuple[float | None, ...]  # at `run.LEVELS`
    service_mean: float
    point: int = 0
    load: bytes | None = None
    crashes: bytes | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands among all outcomes."""
        return self.replication, self.point, self.number

    def frame(self, name: str) -> pl.DataFrame | None:
        """`load` or `crashes` as a frame; None where it was not kept."""
        kept: bytes | None = getattr(self, name)
        return None if kept is None else pl.read_ipc(BytesIO(kept))


def seed_of(seed: int, replication: int) -> int:
    """The seed of a replication: the given one for replication 0, an unrelated one for each other.

    Not `seed + replication`, or the second replication of seed 1 would be the first of seed 2.
    """
    if replication == 0:
        return seed
    return int.from_bytes(sha256(f"replication\0{seed}\0{replication}".encode()).digest()[:7], "big")


def do(encoded: bytes, watch: Watchers | None = None) -> bytes:
    """Do a task, given as JSON; its outcome, as JSON. `watch` is told of it as `run` tells."""
    task = msgspec.json.decode(encoded, type=Task)
    log_path = None if task.log_path is None else Path(task.log_path)
    done = run(task.scenario, task.seed, task.configuration, log_path=log_path, watch=watch)
    first = task.keeps_frames
    return msgspec.json.encode(
        Outcome(
            number=task.number,
            replication=task.replication,
            seed=task.seed,
            digest=done.digest,
            measures=done.measures,
            quantiles=tuple(done.response_quantiles.values()),
            service_mean=float(services_of(prepared(task.scenario, task.seed), Streams(task.seed)).mean()),
            point=task.point,
            load=_ipc(done.load) if first else None,
            crashes=_ipc(done.crashes) if first else None,
        )
    )


def _ipc(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_ipc(buffer)
    return buffer.getvalue()


class Runner(Protocol):
    """What does tasks: gives (number in the list, outcome as JSON) as they come."""

    def __call__(self, tasks: Sequence[bytes]) -> Iterator[tuple[int, bytes]]: ...


@contextmanager
def runner(jobs: int | None = None, dask: str | None = None) -> Iterator[Runner]:
    """Whoever does the work, until the block is left; whatever is under way then is given up.

    Parameters
    ----------
    jobs
        Processes; as many as there are processors where it is left out, 1 for none beside this one.
    dask
        Address of a Dask scheduler, `tcp://host:8786`, whose workers have this version of the package.
    """
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise BadInput(f"jobs must be >= 1, got {jobs!r}")
    if dask is not None:
        with _cluster(dask) as cluster:
            yield cluster
    elif jobs == 1:
        yield _here
    else:
        with _Processes(jobs or os.cpu_count() or 1) as processes:
            yield processes


class Worked:
    """Outcomes of tasks, from the cache where it has them.

    Parameters
    ----------
    runner
        Does those that the cache has not.
    cache
        A folder, made when needed; None: nothing is remembered.
    cancel
        Set to stop before the next outcome.
    progress
        Called with how many are done, and how many there are.

    After `collect`, `interrupted` says whether Ctrl-C or `cancel` ended it early; what was done until then is there.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        cache: Path | None = None,
        cancel: threading.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._runner = runner
        self._cache = None if cache is None else Cache(cache)
        self._cancel = cancel or threading.Event()
        self._progress = progress
        self.interrupted = False
        self.outcomes: list[Outcome] = []

    def collect(self, tasks: Sequence[Task]) -> None:
        """Do more tasks, in this order."""
        total = len(self.outcomes) + len(tasks)
        left: list[Task] = []
        try:
            for task in tasks:
                known = None if self._cache is None else self._cache.get(task)
                if known is None:
                    left.append(task)
                else:
                    self._add(known, total)
            if self._cancel.is_set():
                self.interrupted = True
                return
            for place, encoded in self._runner([msgspec.json.encode(task) for task in left]):
                outcome = msgspec.json.decode(encoded, type=Outcome)
                if self._cache is not None:
                    self._cache.put(left[place], encoded)
                self._add(outcome, total)
                if self._cancel.is_set() and len(self.outcomes) < total:
                    self.interrupted = True
                    return
        except KeyboardInterrupt:
            self.interrupted = True

    def _add(self, outcome: Outcome, total: int) -> None:
        self.outcomes.append(outcome)
        if self._progress is not None:
            self._progress(len(self.outcomes), total)

    def whole(self, per_replication: int) -> tuple[int, list[Outcome]]:
        """How many replications are there of everything, and their outcomes in order."""
        counts: dict[int, int] = {}
        for outcome in self.outcomes:
            counts[outcome.replication] = counts.get(outcome.replication, 0) + 1
        # Replications 0 to n - 1 without a gap: their seeds say which they are.
        count = 0
        while counts.get(count) == per_replication:
            count += 1
        kept = [outcome for outcome in self.outcomes if outcome.replication < count]
        return count, sorted(kept, key=lambda each: each.place)


# Where the work is done


def _here(tasks: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    for place, task in enumerate(tasks):
        yield place, do(task)


class _Processes:
    """Processes, each at the end of a pipe of its own.

    Not a `ProcessPoolExecutor`: its workers share a queue and a lock, and one that is ended while it holds the lock
    leaves a thread that nobody can wait for. Here there are no threads; a process that is ended takes nothing along.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._workers.values():
            process.terminate()
        for connection, process in self._workers.items():
            process.join(_PATIENCE)
            if process.exitcode is None:
                process.kill()
                process.join()
            connection.close()
        self._workers.clear()

    def __call__(self, tasks: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        if len(tasks) == 1 and not self._workers:
            yield from _here(tasks)
            return
        self._start(min(self._count, len(tasks)) - len(self._workers))
        places = iter(range(len(tasks)))
        busy: dict[Connection, int] = {}
        for connection in self._workers:
            _give(connection, tasks, places, busy)
        while busy:
            for ready in wait(list(busy), timeout=_LOOK_EVERY):
                assert isinstance(ready, Connection), "nothing else is waited for"
                place = busy.pop(ready)
                answer = self._answer(ready)
                _give(ready, tasks, places, busy)  # before anybody looks at the outcome, so that nobody is idle
                yield place, answer

    def _start(self, count: int) -> None:
        context = get_context("spawn")  # not fork: a copied process has our threads' locks without our threads
        with _uninterrupted():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs,), daemon=True)
                self._workers[ours] = process
                process.start()
                theirs.close()

    def _answer(self, connection: Connection) -> bytes:
        try:
            answer = connection.recv_bytes()
        except (EOFError, OSError):
            process = self._workers[connection]
            process.join(_PATIENCE)
            # Who was killed has a negative code. Who ends before it can be asked anything has run the script itself.
            why = (
                "is there enough memory?"
                if process.exitcode is None or process.exitcode < 0
                else 'does the script that starts runs do so under `if __name__ == "__main__":`?'
            )
            raise RareraError(
                f"a process that did runs ended by itself with exit code {process.exitcode}; {why}"
            ) from None
        if answer[:1] == b"{":
            return answer
        kind, _, text = answer[1:].decode().partition("\n")
        raise BadInput(text) if kind == "BadInput" else RuntimeError(text)


def _give(connection: Connection, tasks: Sequence[bytes], places: Iterator[int], busy: dict[Connection, int]) -> None:
    place = next(places, None)
    if place is not None:
        busy[connection] = place
        with suppress(BrokenPipeError):  # whoever waits for the answer hears that nobody is there
            connection.send_bytes(tasks[place])


def _work(connection: Connection) -> None:
    """What a process does, until its pipe ends: task after task."""
    # Ctrl-C reaches the whole group of processes; the one that people talk to decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            answer = do(task)
        except BadInput as error:
            answer = f"!BadInput\n{error}".encode()
        except Exception:
            answer = f"!\n{traceback.format_exc()}".encode()
        try:
            connection.send_bytes(answer)
        except OSError:
            return


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block is left; processes started in it inherit that, until they can say it themselves."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _cluster(address: str) -> Iterator[Runner]:
    try:
        from distributed import Client
    except ImportError:
        raise BadInput("runs on a Dask cluster need the extra dask: pip install 'rarera-sim[dask]'") from None
    connect: Any = Client
    try:
        client = connect(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise Unreachable(f"no Dask scheduler answers at {address!r}: {error}") from None

    def do_there(tasks: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        # What writes a file writes it here.
        local = [place for place, task in enumerate(tasks) if msgspec.json.decode(task).get("log_path")]
        yield from ((place, do(tasks[place])) for place in local)
        remote = [place for place in range(len(tasks)) if place not in local]
        waiting = {client.submit(do, tasks[place], pure=False, priority=-at): place for at, place in enumerate(remote)}
        try:
            while waiting:
                for future in [each for each in waiting if each.done()] or _pause():
                    place = waiting.pop(future)
                    yield place, future.result()
        finally:
            client.cancel(list(waiting))

    try:
        yield do_there
    finally:
        client.close()


def _pause() -> tuple[Any, ...]:
    threading.Event().wait(0.02)
    return ()


# What is remembered


class Cache:
    """Outcomes in a folder, one file each: the SHA-256 of what follows, then the outcome as JSON.

    A name is the hash of all that an outcome depends on: the scenario, its seed, what its files hold, the version, and
    the code itself, as between two versions results may change. What is damaged is done again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, task: Task) -> Outcome | None:
        if task.log_path is not None:
            return None  # the log has to be written
        try:
            content = self._path(task).read_bytes()
        except OSError:
            return None
        digest, _, encoded = content.partition(b"\n")
        if digest != _hash(encoded):
            return None
        outcome = msgspec.json.decode(encoded, type=Outcome)
        return msgspec.structs.replace(outcome, number=task.number, replication=task.replication, point=task.point)

    def put(self, task: Task, encoded: bytes) -> None:
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(_hash(encoded) + b"\n" + encoded)
        part.replace(path)  # whole or not at all, whoever else writes the same

    def _path(self, task: Task) -> Path:
        return self._folder / f"{key_of(task)}.json"


def key_of(task: Task) -> str:
    """What an outcome is called in a cache."""
    total = sha256(f"{VERSION}\0{code_digest()}\0{task.seed}\0{task.configuration.label}\0".encode())
    total.update(b"frames\0" if task.keeps_frames else b"")
    total.update(msgspec.json.encode(task.scenario, order="sorted"))
    total.update(_inputs_digest(msgspec.json.encode(task.scenario)))
    return total.hexdigest()


@lru_cache(maxsize=256)
def _inputs_digest(encoded: bytes) -> bytes:
    """Of what the scenario's files hold now, not of what they are called."""
    scenario = msgspec.json.decode(encoded, type=Scenario)
    total = sha256()
    if scenario.arrivals is None:
        ready = prepared(scenario)
        total.update(f"{ready.digest}\0{ready.history!r}".encode())
    if scenario.service.file is not None:
        total.update(sample_of(scenario.service.file, scenario.service.column or "").tobytes())
    return total.digest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the code that results depend on."""
    total = sha256()
    files = [path for layer in _RESULTS_OF for path in sorted((_PACKAGE / layer).rglob("*.py"))]
    for path in [_PACKAGE / "theory.py", *files]:
        total.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _hash(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()
