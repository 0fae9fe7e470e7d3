"""One processor: a replica, what it is doing, and what happened to it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from rarera_sim.simulation.hardware import PoolSettings
from rarera_sim.simulation.line import Entry, Queue
from rarera_sim.simulation.transport import Work


class State(StrEnum):
    """What a processor is doing. All but the last are paid for in full."""

    STARTING = "starting"  # or waking
    READY = "ready"  # works, or could
    DRAINING = "draining"  # finishes what it has, then goes
    DOWN = "down"  # crashed, and not up again
    ASLEEP = "asleep"

    @property
    def working(self) -> bool:
        return self in (State.READY, State.DRAINING)


class Job:
    """A service under way, of one event or of a batch; pushed on SimPy's heap as it is, see `kernel.Call`.

    Parameters
    ----------
    processor
        None once it has ended early: by a crash, for a better one, or because its twin was faster.
    entries
        The events.
    since, duration
        Model seconds.
    """

    __slots__ = ("callbacks", "duration", "entries", "processor", "since")
    _ok = True

    def __init__(
        self,
        callbacks: tuple[Callable[[Any], object], ...],
        processor: Processor,
        entries: list[Entry],
        since: float,
        duration: float,
    ) -> None:
        self.callbacks: Any = callbacks
        self.processor: Processor | None = processor
        self.entries = entries
        self.since = since
        self.duration = duration


class PlainJob:
    """The same of a single event whose service takes its time and nothing else: made faster."""

    __slots__ = ("_entries", "callbacks", "processor", "since", "size", "work")
    _ok = True

    def __init__(
        self,
        callbacks: tuple[Callable[[Any], object], ...],
        processor: Processor,
        work: Work,
        since: float,
        size: float,
    ) -> None:
        self.callbacks: Any = callbacks
        self.processor: Processor | None = processor
        self.work = work
        self.since = since
        self.size = size
        self._entries: list[Entry] | None = None

    @property
    def entries(self) -> list[Entry]:
        if self._entries is None:
            entry = Entry(self.work, self.work.number, self.size)
            entry.started = True
            entry.at = self.processor
            self._entries = [entry]
        return self._entries


@dataclass(eq=False, slots=True)
class Processor:
    """One incarnation of a slot: started when it is asked for, gone when it is released.

    Parameters
    ----------
    pool, slot
        Its pool's number and settings, and the lowest number that was free there, from 1. Crashes belong to the slot,
        so that every policy sees the same ones.
    rank
        Orders all processors: by pool, then by slot.
    jobs
        What it works on; no more than the hardware's threads.
    queue
        Events that wait for this one, where dispatch says so.
    held
        What it had when it crashed, until that is noticed.
    """

    number: int
    pool: PoolSettings
    slot: int
    rank: int
    speed: float
    threads: int
    state: State = State.STARTING
    jobs: list[Any] = field(default_factory=list)
    queue: Queue | None = None
    held: list[Entry] = field(default_factory=list)
    epoch: int = 0  # how often it has failed, slept or started: what was planned in an earlier one is void
    load: int = 0  # events in service and in its queue
    work: float = 0.0  # their service times at speed 1
    up_since: float = 0.0
    down_since: float = 0.0
    repair_until: float = 0.0
    cause: str = ""
    drained: bool = False  # was draining when it crashed
    to_sleep: bool = False  # sleeps as soon as it is up
    paid_since: float = 0.0  # when the present lease began
    busy_time: float = 0.0  # of ended services, in the present lease
    place: int = -1  # among those that take work
    hot: OrderedDict[str, None] | None = None
    job: Any = None  # of the short way, which uses it again


class Capacity(NamedTuple):
    """Processors by what they are doing, from `time` (model seconds) on, until the next value."""

    time: float
    starting: int
    ready: int  # idle or busy
    draining: int
    down: int
    asleep: int = 0

    @property
    def running(self) -> int:
        """Those that work or could."""
        return self.ready + self.draining

    @property
    def paid(self) -> int:
        """Those paid for in full: all but the ones asleep."""
        return self.starting + self.ready + self.draining + self.down


class Crash(NamedTuple):
    """A processor failed at `down` and was ready again at `up`, model seconds; `up` is None if it never was."""

    slot: int
    down: float
    up: float | None
    pool: str = "generic"
    cause: str = "crash"  # or the component, "zone", "spot"


class Lease(NamedTuple):
    """A replica, paid for from `since` until `until`, model seconds, at one price: awake or asleep.

    `busy` is what its threads have worked meanwhile, seconds; `ended` whether it was released, put to sleep or woken
    then, or the run just stopped looking.
    """

    pool: str
    slot: int
    since: float
    until: float
    asleep: bool
    busy: float
    ended: bool
