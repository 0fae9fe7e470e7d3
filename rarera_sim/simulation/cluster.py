"""Processors: started, stopped, put to sleep, crashed and repaired, fed from one line or from one each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import numpy as np
import simpy
from numpy.typing import NDArray

from rarera_sim.core.trace import Stage
from rarera_sim.simulation.fates import Moments, Spells, slow_factor
from rarera_sim.simulation.hardware import Crashes, Outages, PoolSettings, Slowness, Spot
from rarera_sim.simulation.kernel import Blocks, Streams, after, push
from rarera_sim.simulation.line import Entry, Fifo, LateLast, LeastFirst, LineSettings, Queue, make_queue
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.processor import Capacity, Crash, Job, Lease, PlainJob, Processor, State
from rarera_sim.simulation.service_path import ServicePath
from rarera_sim.simulation.transport import Transport

if TYPE_CHECKING:
    from rarera_sim.simulation.short_way import ShortWay


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides how processors behave, gathered from a `System`."""

    pools: tuple[PoolSettings, ...]
    line: LineSettings = LineSettings()
    path: ServicePath = ServicePath()
    crashes: Crashes = Crashes()
    slowness: Slowness = Slowness()
    outages: Outages = Outages()
    spot: Spot = Spot()


@dataclass(eq=False, slots=True)
class Pool:
    """What is there of one pool."""

    settings: PoolSettings
    number: int
    slots: int = 0  # used so far; those free again are in `free`
    free: list[int] = field(default_factory=list)
    settling: int = 0  # start only to sleep
    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))

    @property
    def awake(self) -> int:
        """Replicas there shall go on to be: neither asleep, or soon so, nor on their way out."""
        return self.total - self.settling - self.counts[State.ASLEEP] - self.counts[State.DRAINING]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def pending(self) -> int:
        return self.counts[State.STARTING] + self.counts[State.DOWN]

    @property
    def ready(self) -> int:
        return self.counts[State.READY]


_POOL_STEP = 1 << 20  # ranks of one pool; more replicas than any pool has
_RANK_MASK = (1 << 40) - 1


class Cluster:
    """All processors of a run.

    Parameters
    ----------
    services
        Service time in seconds at speed 1, by workload number: however often and wherever an event is processed, it
        takes the same time, under every policy.
    note
        Told what happens to events.
    watch
        Called with a `Capacity` whenever processors change what they are doing, busy and idle apart.
    classes
        Class of each event by its number, for disciplines that tell them apart; None: all are of the first.
    factors
        By name of the hardware, where it is not its speed alone that says how long it takes: how many times as long
        each event takes there, by number.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: ClusterSettings,
        services: Sequence[float],
        streams: Streams,
        note: Note,
        watch: Callable[[Capacity], None],
        *,
        lease: Callable[[Lease], None] | None = None,
        classes: Sequence[int] | None = None,
        factors: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._env = env
        self._settings = settings
        self._services = services
        self._streams = streams
        self._note = note
        self._watch = watch
        self._tell_lease = lease
        self._classes = classes
        kinds = [pool.hardware.name for pool in settings.pools]
        self._factors = {number: factors[kind] for number, kind in enumerate(kinds) if factors and kind in factors}
        self.pools = [Pool(each, number) for number, each in enumerate(settings.pools)]
        self._by_name = {pool.settings.name: pool for pool in self.pools}
        self._processors: dict[int, Processor] = {}
        # Heap of those that have a free thread, the emptiest first, then by rank. Entries that no longer hold are
        # passed over when they come up.
        self._free: list[int] = []
        self._open: list[Processor] = []  # those that take work, in no order
        self._counts = dict.fromkeys(State, 0)
        self._threads = 0  # of those that run
        self._moments: dict[tuple[str, ...], Moments] = {}
        self._spells: dict[int, Spells] = {}
        self._repair_times: dict[tuple[str, ...], Blocks] = {}
        self._zone_until: dict[str, float] = {}
        self._attempts: dict[int, int] = {}
        self._done_call = (self._done,)
        self._plainly_done_call = (self._plainly_done,)
        self.line = settings.line
        # By number, so that an event is as patient under every policy.
        self._patience = self._draw_patience()
        self._chance: Blocks | None = None
        self._turn = 0
        self._waiting: Queue = Fifo()
        self._least = LeastFirst()
        self._running: list[tuple[float, int, Job, Entry]] = []  # the one to interrupt first, where that is done
        self._pushes = 0
        self._sizes: dict[str, tuple[int, float]] = {}
        self._came_back: dict[int, float] = {}  # events that lost their processor: when they began to wait
        self._in_service = 0
        self._pending = self._queued = 0  # events that wait here: for any processor, and in lines of their own
        self._lane: ShortWay | None = None
        self.launches = 0
        self.wakes = 0
        self.finished = 0
        self.finished_time = 0.0  # what the finished services took, seconds
        self.finished_work = 0.0  # the same at speed 1
        self.squares = 0.0  # of what the finished services took at speed 1
        self.interrupted = 0
        self.failed = 0
        self.dead = 0
        self._crashed: list[Crash] = []
        self._broken_time = 0.0  # what services had taken that a crash ended
        self._running_time = 0.0
        self._capacity = Capacity(0.0, 0, 0, 0, 0)
        self.ask(settings.line)
        self._plan_faults()

    def connect(self, transport: Transport) -> None:
        """Where the work comes from."""
        self._transport = transport

    @property
    def takes_the_short_way(self) -> bool:
        """Whether services are so plain that `simulation.short_way` may look after them."""
        threads = max(pool.settings.hardware.threads for pool in self.pools)
        return self._plain and threads == 1 and self._settings.crashes.attempts_max is None

    def connect_lane(self, lane: ShortWay) -> None:
        """Who looks after services that are plain."""
        self._lane = lane

    def settle(self, started: NDArray[np.float64], finished: NDArray[np.float64], sizes: NDArray[np.float64]) -> None:
        """Count services that took the short way: when they began and ended, and their times at speed 1."""
        self.finished += len(sizes)
        self.finished_time += float((finished - started).sum())
        self.finished_work += float(sizes.sum())
        self.squares += float(sizes.dot(sizes))

    def count(self, ended: Iterable[tuple[int, float, float, float]]) -> None:
        """Count services, each (number, when it began, when it ended, speed), in the order in which they ended."""
        for _, since, until, speed in ended:
            passed = until - since
            size = passed * speed
            self.finished += 1
            self.finished_time += passed
            self.finished_work += size
            self.squares += size * size

    def began(self, numbers: Sequence[int], moments: Sequence[float]) -> None:
        """Tell of services that took the short way."""
        self._note.all(Stage.STARTED, numbers, moments)

    def drained(self, processor: Processor) -> None:
        """It has finished what it had, and goes."""
        self._remove(processor)
        self._tell()

    @property
    def processors(self) -> list[Processor]:
        """All there are."""
        return list(self._processors.values())

    @property
    def holds_work(self) -> bool:
        """Somebody works on something, or has failed at it unnoticed."""
        return any(each.jobs or each.held for each in self._processors.values())

    # What is there

    @property
    def ready(self) -> int:
        return self._counts[State.READY]

    @property
    def starting(self) -> int:
        return self._counts[State.STARTING]

    @property
    def down(self) -> int:
        return self._counts[State.DOWN]

    @property
    def in_service(self) -> int:
        """Events that processors work on."""
        return self.work_now()[0]

    @property
    def waiting(self) -> int:
        """Events taken from the transport that wait here, those that a crashed processor holds unnoticed left out."""
        return self._pending + self._queued

    @property
    def late_waiting(self) -> int:
        """Those of them that `late-last` has put last."""
        return self._waiting.late if isinstance(self._waiting, LateLast) else 0

    def set_late_after(self, wait: float) -> None:
        """Say after which wait, s, an event is late, for `late-last`."""
        if isinstance(self._waiting, LateLast):
            self._waiting.after = wait

    @property
    def busy_time(self) -> float:
        """Seconds that threads have worked until now; of services under way, the part that has passed."""
        return self.work_now()[1]

    def work_now(self) -> tuple[int, float]:
        """`in_service` and `busy_time`, for which all processors are looked at once."""
        now = self._env._now
        passed = [now - job.since for each in self._processors.values() if each.jobs for job in each.jobs]
        in_service = self._in_service if self._lane is None else len(passed)
        return in_service, self.finished_time + self._broken_time + sum(passed)

    @property
    def running_time(self) -> float:
        """Seconds that threads of processors have been ready or draining until now."""
        return self._running_time + self._threads * (self._env.now - self._capacity.time)

    @property
    def crashes(self) -> list[Crash]:
        """All crashes so far, in order of time; those not up again included."""
        down = (each for each in self._processors.values() if each.state is State.DOWN)
        return sorted([*self._crashed, *(self._crash_of(each, None) for each in down)], key=_when)

    def leases(self) -> list[Lease]:
        """What is being paid for now, until now."""
        return [self._lease_of(each, ended=False) for each in self._processors.values()]

    # How many

    def scale_to(self, wanted: int, *, at_once: bool = False) -> None:
        """Start or stop processors of the first pool until `wanted` are ready, starting or down."""
        self.scale({self.pools[0].settings.name: wanted}, at_once=at_once)

    def scale(self, awake: dict[str, int], asleep: dict[str, int] | None = None, *, at_once: bool = False) -> None:
        """Start, wake, stop and put to sleep until so many are awake and asleep, by pool.

        `at_once` skips the start-up. Pools that `awake` does not name stay as they are; without `asleep` so many stay
        asleep as are not needed.
        """
        for name, wanted in awake.items():
            self._scale(self._by_name[name], wanted, (asleep or {}).get(name), at_once)
        for name, wanted in (asleep or {}).items():
            if name not in awake:
                self._scale(self._by_name[name], self._by_name[name].awake, wanted, at_once)
        self._tell()
        self.dispatch()

    def _scale(self, pool: Pool, wanted: int, asleep: int | None, at_once: bool) -> None:
        missing = wanted - pool.awake
        sleeping = pool.counts[State.ASLEEP]
        if missing > 0 and sleeping:
            for processor in self._of(pool, State.ASLEEP)[:missing]:
                self._wake(processor)
            missing = wanted - pool.awake
        for _ in range(min(missing, pool.settings.replicas_max - pool.total)):
            self._start(pool, at_once)
        surplus = pool.awake - wanted
        if surplus > 0:
            # The cheapest to lose first: those that do not run yet, then idle ones, then the newest.
            candidates = [each for each in self._processors.values() if each.number == pool.number]
            candidates = [each for each in candidates if each.state in _STOP_ORDER and not each.to_sleep]
            candidates.sort(key=_dispensable)
            can_sleep = 0 if asleep is None else max(0, asleep - pool.counts[State.ASLEEP])
            for processor in candidates[:surplus]:
                if (
                    can_sleep
                    and processor.state is State.READY
                    and not processor.jobs
                    and pool.settings.hardware.wake_up is not None
                ):
                    self._sleep(processor)
                    can_sleep -= 1
                else:
                    self._stop(processor)
        if asleep is not None and pool.settings.hardware.wake_up is not None:
            surplus = pool.counts[State.ASLEEP] - asleep
            for processor in reversed(self._of(pool, State.ASLEEP)[-surplus:] if surplus > 0 else []):
                self._remove(processor)
            for _ in range(min(-surplus - pool.settling, pool.settings.replicas_max - pool.total)):
                self._start(pool, at_once, to_sleep=True)

    def _of(self, pool: Pool, state: State) -> list[Processor]:
        found = [each for each in self._processors.values() if each.number == pool.number and each.state is state]
        return sorted(found, key=_slot)

    # How events find a processor

    def ask(self, line: LineSettings, came: Callable[[int], float] | None = None) -> None:
        """Have events wait and be dealt out like this from now on; `came` knows when those did that wait already."""
        if self._lane is not None and line != self.line:
            self._leave_the_short_way()
        entries = self._drain()
        self.line = line
        settings = self._settings
        # Asked at every event, and so once only.
        self._holds = line.holds
        self._own_lines = line.dispatch != "central"
        self._interrupts = line.interrupts
        self._sorts = line.discipline not in ("fifo", "lifo")
        self._weighs = line.dispatch in ("jsq", "hedged", "least-work")
        self._by_work = line.dispatch == "least-work"
        self._sizes_matter = self._by_work or line.discipline in ("sjf", "srpt")
        # Whether a service takes the time of its event over the speed, and nothing else.
        self._plain = (
            line.batch == 1
            and not line.overhead
            and settings.path.plain
            and settings.slowness.mtbf is None
            and not self._factors
            and not any(each.hardware.contention or each.hardware.warm_up for each in settings.pools)
        )
        self._takes_its_time, self._plain = self._plain, self._plain and not line.holds
        self._waiting = make_queue(line.discipline, self._env)
        for processor in self._processors.values():
            processor.queue = Fifo() if line.dispatch != "central" else None
        self._least = LeastFirst()
        self._free.clear()
        for processor in self._open:
            self._least.set(processor.rank, self._weight(processor))
            if self._lane is None:
                self._offer(processor)
        if self._chance is None and line.dispatch in ("random", "power-of-two"):
            self._chance = Blocks(self._streams.generator("dispatch"))
        if came is not None and line.holds:
            while (work := self._transport.take()) is not None:
                entry = Entry(work, work.number, self._services[work.number])
                entry.since = came(work.number)
                entries.append(entry)
        for entry in entries:
            entry.order = 0
            self._put(entry)

    def _draw_patience(self) -> NDArray[np.float64] | None:
        patience = self._settings.line.patience
        if patience is None:
            return None
        return patience.draw(self._streams.generator("patience"), len(self._services))

    def _leave_the_short_way(self) -> None:
        lane, self._lane = self._lane, None
        assert lane is not None, "the short way"
        for processor in self._processors.values():
            if processor.jobs:
                work, since = lane.abandon(processor)
                entry = Entry(work, work.number, self._services[work.number])
                entry.started = True
                duration = entry.left / processor.speed
                job = Job(self._done_call, processor, [entry], since, duration)
                processor.jobs = [job]
                self._in_service += 1
                push(self._env, since + duration, job)
            elif processor.place >= 0:
                self._offer(processor)
        lane.leave_the_short_way()

    def _drain(self) -> list[Entry]:
        queues = [self._waiting, *(each.queue for each in self._processors.values() if each.queue is not None)]
        entries = []
        for queue in queues:
            while (entry := queue.take()) is not None:
                entries.append(entry)
        for processor in self._processors.values():
            processor.load = sum(len(job.entries) for job in processor.jobs)
            processor.work = sum(entry.size for job in processor.jobs for entry in job.entries)
        self._pending = self._queued = 0
        return sorted(entries, key=_number)

    def dispatch(self) -> None:
        """Give work to whoever can take it."""
        if self._lane is not None:
            self._lane.serve()
            return
        if self._plain and not self._pending:
            self._dispatch_plain()
            return
        if self._holds:
            take, services = self._transport.take, self._services
            while (work := take()) is not None:
                come = Entry(work, work.number, services[work.number])
                if self._patience is not None:
                    after(self._env, float(self._patience[work.number]), self._lose_patience, come)
                if self._own_lines and self._open and not self._pending:
                    self._give(come)  # nobody is before it
                elif self._came_back and work.number in self._came_back:
                    come.since = self._came_back.pop(work.number)
                    self._put(come, back=True)
                else:
                    self._put(come)
            if self._own_lines:
                if self._pending:
                    self._deal()
                return
        free = self._free
        while free:
            key = free[0]
            processor = self._processors.get(key & _RANK_MASK)
            if processor is None or not self._has_room(processor) or key >> 40 != len(processor.jobs):
                heappop(free)
                continue
            entry = self._next()
            if entry is None:
                return
            heappop(free)
            self._begin(processor, entry)

    def _dispatch_plain(self) -> None:
        free, processors = self._free, self._processors
        while free:
            key = free[0]
            processor = processors.get(key & _RANK_MASK)
            if processor is None or processor.state is not State.READY or len(processor.jobs) != key >> 40:
                heappop(free)
                continue
            work = self._transport.take()
            if work is None:
                return
            heappop(free)
            number = work.number
            self._note(Stage.STARTED, number)
            env = self._env
            now = env._now
            job = PlainJob(self._plainly_done_call, processor, work, now, self._services[number])
            processor.jobs.append(job)
            self._in_service += 1
            if processor.threads > 1:
                self._offer(processor)
            heappush(env._queue, (now + job.size / processor.speed, 1, next(env._eid), job))  # type: ignore[misc]

    def _plainly_done(self, job: PlainJob) -> None:
        processor = job.processor
        if processor is None:
            return  # ended early
        passed = self._env._now - job.since
        job.processor = None
        processor.jobs.remove(job)
        self._in_service -= 1
        self.finished += 1
        self.finished_time += passed
        size = passed * processor.speed
        self.finished_work += size
        self.squares += size * size
        processor.busy_time += passed
        self._transport.finish(job.work)
        if processor.state is not State.READY:
            if not processor.jobs:
                self.drained(processor)
        elif self._plain:
            heappush(self._free, len(processor.jobs) << 40 | processor.rank)
            self.dispatch()
        else:
            # The line has changed since it began.
            processor.load -= 1
            self._weigh(processor)
            self._free_again(processor)
            self.dispatch()

    def _has_room(self, processor: Processor) -> bool:
        return processor.state is State.READY and len(processor.jobs) < processor.threads

    def _next(self) -> Entry | None:
        """The next event of the one line."""
        # What an earlier line held comes first.
        if self._pending:
            entry = self._waiting.take()
            self._pending -= entry is not None
            return entry
        if self._holds:
            return None
        work = self._transport.take()
        return None if work is None else Entry(work, work.number, self._services[work.number])

    def _put(self, entry: Entry, *, back: bool = False) -> None:
        """Have an event wait here; `back`: it was with a processor before."""
        if self._sizes_matter:
            entry.size = self._size(entry)
        if entry.since < 0.0:
            entry.since = self._env.now
        if self._sorts:
            entry.key = self._key(entry)
        self._pending += 1
        (self._waiting.put_back if back else self._waiting.put)(entry)
        if self._interrupts:
            self._interrupt_for(entry)

    def _deal(self) -> None:
        """Give what has come to the processors' own lines."""
        while self._open and (entry := self._waiting.take()) is not None:
            self._pending -= 1
            self._give(entry)

    def _give(self, entry: Entry) -> None:
        if self._by_work:
            entry.size = self._size(entry)
        self._queue_at(self._choose(entry), entry)
        if self.line.dispatch == "hedged":
            after(self._env, self.line.hedge_after, self._hedge, entry)

    def _queue_at(self, processor: Processor, entry: Entry) -> None:
        assert processor.queue is not None, "a line of its own"
        processor.load += 1
        processor.work += entry.size
        entry.at = processor
        if self._weighs:
            self._weigh(processor)
        if len(processor.jobs) < processor.threads and processor.state is State.READY:
            self._begin(processor, entry)  # who has a free thread has nothing waiting
        else:
            self._queued += 1
            processor.queue.put(entry)

    def _serve(self, processor: Processor) -> None:
        """Have a processor take from its own line."""
        assert processor.queue is not None, "a line of its own"
        while self._has_room(processor):
            entry = processor.queue.take()
            if entry is None:
                return
            self._queued -= 1
            self._begin(processor, entry)

    def _choose(self, entry: Entry) -> Processor:
        places = self._open
        match self.line.dispatch:
            case "random":
                assert self._chance is not None, "random dispatch draws"
                return places[int(self._chance.next() * len(places))]
            case "round-robin":
                self._turn += 1
                return places[self._turn % len(places)]
            case "power-of-two":
                assert self._chance is not None, "random dispatch draws"
                drawn = [places[int(self._chance.next() * len(places))] for _ in range(self.line.choices)]
                return min(drawn, key=_load)
            case "by-key":
                return places[crc32(self._key_of(entry).encode()) % len(places)]
        rank = self._least.first()
        assert rank is not None, "somebody is open"
        return self._processors[rank]

    def _key_of(self, entry: Entry) -> str:
        return entry.work.event.stream if entry.work.event is not None else str(entry.number % _STREAMS)

    def _weigh(self, processor: Processor) -> None:
        if processor.place >= 0 and self._weighs:
            self._least.set(processor.rank, self._weight(processor))

    def _weight(self, processor: Processor) -> float:
        return processor.work / processor.speed if self._by_work else processor.load / processor.threads

    # Order

    def _key(self, entry: Entry) -> float:
        match self.line.discipline:
            case "priority":
                return float(self._class(entry))
            case "edf":
                classes = self.line.classes
                return entry.since + (classes[self._class(entry)].deadline if classes else 0.0)
            case "sjf":
                return self._size(entry)
            case "srpt":
                return entry.left if self.line.sizes == "true" else self._size(entry)
            case "late-last":
                return entry.since
        return 0.0

    def _class(self, entry: Entry) -> int:
        return self._classes[entry.number] if self._classes is not None else 0

    def _size(self, entry: Entry) -> float:
        """What is known of a service time, seconds at speed 1."""
        if self.line.sizes == "true":
            return self._services[entry.number]
        count, total = self._sizes.get(self._kind(entry), (0, 0.0))
        return total / count if count else 0.0

    def _learn(self, entry: Entry, size: float) -> None:
        kind = self._kind(entry)
        count, total = self._sizes.get(kind, (0, 0.0))
        self._sizes[kind] = (count + 1, total + size)

    def _kind(self, entry: Entry) -> str:
        return entry.work.event.type if entry.work.event is not None else str(self._class(entry))

    def _interrupt_for(self, entry: Entry) -> None:
        """End the service that matters least, if the event that has just come matters more and nobody is free."""
        if any(self._has_room(self._processors[key & _RANK_MASK]) for key in self._live_free()):
            return
        running = self._running
        while running:
            negative, _, job, victim = running[0]
            if job.processor is None:
                heappop(running)
                continue
            if self.line.discipline == "srpt":
                worse = -negative - self._env.now > self._key(entry) / job.processor.speed
            else:
                worse = -negative > entry.key
            if not worse:
                return
            heappop(running)
            processor = job.processor
            passed = self._end(job)
            self.finished_time += passed  # of a service that will finish, later
            processor.busy_time += passed
            victim.left = max(0.0, victim.left - passed * processor.speed)
            self._offer(processor)
            victim.key = self._key(victim)
            self._pending += 1
            self._waiting.put_back(victim)
            return

    def _live_free(self) -> list[int]:
        free = self._free
        while free:
            processor = self._processors.get(free[0] & _RANK_MASK)
            if processor is not None and self._has_room(processor) and free[0] >> 40 == len(processor.jobs):
                return free[:1]
            heappop(free)
        return []

    def _lose_patience(self, entry: Entry) -> None:
        """Nobody waits for it any longer, if nobody has begun with it."""
        if entry.started or entry.done:
            return
        entry.done = True  # whoever comes across it passes it over
        processor = entry.at
        if processor is None or processor.queue is None:
            self._pending -= 1
        elif entry not in processor.held:
            self._queued -= 1
            processor.load -= 1
            processor.work -= entry.size
            self._weigh(processor)
        self._transport.give_up(entry.work)

    # Hedging

    def _hedge(self, entry: Entry) -> None:
        """An event takes long: give it to a second processor as well."""
        if entry.done or entry.twin is not None or self.line.dispatch != "hedged":
            return
        rank = self._least.first(but=entry.at.rank if entry.at is not None else None)
        if rank is None:
            return
        twin = Entry(entry.work, entry.number, self._services[entry.number])
        twin.size = entry.size
        twin.started = True
        entry.twin, twin.twin = twin, entry
        self._queue_at(self._processors[rank], twin)

    def _drop_twin(self, entry: Entry) -> None:
        """The other one was faster."""
        twin = entry.twin
        if twin is None or twin.done:
            return
        twin.done = True
        processor = twin.at
        assert processor is not None, "a twin is somewhere"
        for job in processor.jobs:
            if job.entries == [twin]:
                self._break(job)
                self._free_again(processor)
                return
            if twin in job.entries:
                return  # of a batch, which goes on for the others
        # It waits. Its line will pass it over.
        self._queued -= 1
        processor.load -= 1
        processor.work -= twin.size
        self._weigh(processor)

    # A service

    def _begin(self, processor: Processor, entry: Entry) -> None:
        """Work on an event, and on those that go with it in a batch."""
        env = self._env
        entries = [entry]
        if self.line.batch > 1:
            self._fill(processor, entries)
        for each in entries:
            if not each.started:
                each.started = True
                self._note(Stage.STARTED, each.number)
        now = env._now
        duration = entry.left / processor.speed if self._takes_its_time else self._duration(processor, entries)
        job = Job(self._done_call, processor, entries, now, duration)
        processor.jobs.append(job)
        count = len(entries)
        self._in_service += count
        if processor.queue is None:
            # With a line of its own it was counted when it joined that.
            processor.load += count
            if processor.threads > 1:
                self._offer(processor)
        if self._interrupts and count == 1:
            self._pushes += 1
            worst = now + duration if self.line.discipline == "srpt" else entry.key
            heappush(self._running, (-worst, self._pushes, job, entry))
        heappush(env._queue, (now + duration, 1, next(env._eid), job))  # type: ignore[misc]

    def _fill(self, processor: Processor, entries: list[Entry]) -> None:
        while len(entries) < self.line.batch:
            if processor.queue is not None:
                more = processor.queue.take()
                self._queued -= more is not None
            else:
                more = self._next()
            if more is None:
                return
            entries.append(more)

    def _duration(self, processor: Processor, entries: list[Entry]) -> float:
        """Seconds that a service takes that starts now."""
        settings, hardware, now = self._settings, processor.pool.hardware, self._env.now
        factors = self._factors.get(processor.number)
        if factors is None:
            work = sum(each.left for each in entries) / processor.speed
        else:
            work = sum(each.left * factors[each.number] for each in entries) / processor.speed
        if hardware.contention and processor.jobs:
            work *= 1.0 + hardware.contention * len(processor.jobs)
        if (age := now - processor.up_since) < hardware.warm_up:
            work /= max(1e-3, hardware.warm_up_speed + (1.0 - hardware.warm_up_speed) * age / hardware.warm_up)
        if settings.slowness.mtbf is not None:
            spells = self._spells.get(processor.rank)
            if spells is None:
                name = ("slow", processor.pool.name, str(processor.slot))
                slowness = settings.slowness
                spells = Spells(self._streams, settings.slowness.mtbf, slowness.duration, *name)
                self._spells[processor.rank] = spells
            work *= slow_factor(settings.slowness, spells, now)
        path = settings.path
        if path.hot_max:
            if processor.hot is None:
                processor.hot = OrderedDict()
            for each in entries:
                work += path.fetch(processor.hot, self._key_of(each))
        return work + path.command_time * len(entries) + self.line.overhead

    def _done(self, job: Job) -> None:
        processor = job.processor
        if processor is None:
            return  # ended early
        passed = self._env._now - job.since
        self._end(job)
        entries = job.entries
        self.finished_time += passed
        processor.busy_time += passed
        size = passed * processor.speed / len(entries)
        for entry in entries:
            if entry.done:
                continue  # its twin was faster, and it was in a batch
            self.finished += 1
            self.finished_work += size
            self.squares += size * size
            if self.line.sizes == "learned":
                self._learn(entry, size)
            entry.done = True
            if entry.twin is not None:
                self._drop_twin(entry)
            self._transport.finish(entry.work)
        if processor.state is State.DRAINING:
            if not processor.jobs:
                self.drained(processor)
            return
        self._free_again(processor)
        if processor.queue is None:
            self.dispatch()

    def _free_again(self, processor: Processor) -> None:
        if processor.queue is None:
            self._offer(processor)
        else:
            self._serve(processor)

    def _break(self, job: Job) -> list[Entry]:
        """End a service that is not finished; gives its events."""
        processor = job.processor
        assert processor is not None, "a service that has ended"
        if self._lane is not None:
            work, since = self._lane.abandon(processor)
            entry = Entry(work, work.number, self._services[work.number])
            entry.started = True
            self._broken_time += self._env.now - since
            processor.busy_time += self._env.now - since
            return [entry]
        passed = self._end(job)
        self._broken_time += passed
        processor.busy_time += passed
        return job.entries

    def _end(self, job: Job) -> float:
        """Take a service from its processor, finished or not; gives how long it has been under way, seconds."""
        processor = job.processor
        assert processor is not None, "a service that has ended"
        processor.jobs.remove(job)
        job.processor = None
        count = len(job.entries)
        processor.load -= count
        self._in_service -= count
        if self._weighs:
            for entry in job.entries:
                processor.work -= entry.size
            self._weigh(processor)
        return self._env._now - job.since

    # The life of a processor

    def _start(self, pool: Pool, at_once: bool, *, to_sleep: bool = False) -> None:
        if pool.free:
            slot = heappop(pool.free)
        else:
            pool.slots += 1
            slot = pool.slots
        hardware = pool.settings.hardware
        processor = Processor(
            pool.number, pool.settings, slot, pool.number * _POOL_STEP + slot, hardware.speed, hardware.threads
        )
        processor.paid_since = self._env.now
        processor.to_sleep = to_sleep
        pool.settling += to_sleep
        if self.line.dispatch != "central":
            processor.queue = Fifo()
        self._processors[processor.rank] = processor
        self._count(processor, State.STARTING, 1)
        self.launches += 1
        zone_back = self._zone_until.get(pool.settings.zone, 0.0) - self._env.now
        if at_once or (hardware.start_up == 0.0 and zone_back <= 0.0):
            self._up(processor)
        else:
            self._up_in(processor, max(0.0, zone_back) + hardware.start_up)

    def _up_in(self, processor: Processor, delay: float) -> None:
        after(self._env, delay, self._come_up, (processor, processor.epoch))

    def _come_up(self, coming: tuple[Processor, int]) -> None:
        if self._is_there(*coming):
            self._up(coming[0])

    def _is_there(self, processor: Processor, epoch: int) -> bool:
        """It has neither gone nor failed since."""
        return processor.epoch == epoch and self._processors.get(processor.rank) is processor

    def _up(self, processor: Processor) -> None:
        if processor.state is State.DOWN:
            self._crashed.append(self._crash_of(processor, self._env.now))
        processor.up_since = self._env.now
        if processor.to_sleep:
            self._settled(processor)
            self._sleep(processor)
            self._tell()
            return
        self._become(processor, State.READY)
        self._await_failures(processor)
        self._open_up(processor)
        self._offer(processor)
        self._tell()
        self.dispatch()

    def _settled(self, processor: Processor) -> None:
        self.pools[processor.number].settling -= processor.to_sleep
        processor.to_sleep = False

    def _sleep(self, processor: Processor) -> None:
        self._close(processor)
        processor.epoch += 1
        self._end_lease(processor)
        self._become(processor, State.ASLEEP)

    def _wake(self, processor: Processor) -> None:
        self._end_lease(processor)
        self._become(processor, State.STARTING)
        self.wakes += 1
        self._up_in(processor, processor.pool.hardware.wake_up or 0.0)

    def _stop(self, processor: Processor) -> None:
        self._close(processor)
        if processor.state is State.READY and processor.jobs:
            self._become(processor, State.DRAINING)
        else:
            self._remove(processor)

    def _remove(self, processor: Processor) -> None:
        self._close(processor)
        if processor.state is State.DOWN:
            self._crashed.append(self._crash_of(processor, None))
            # Nobody will check the health of what is gone, so what it held is given back now.
            self._give_back(processor)
        self._settled(processor)
        self._end_lease(processor)
        self._count(processor, processor.state, -1)
        heappush(self.pools[processor.number].free, processor.slot)
        del self._processors[processor.rank]
        if self._lane is not None:
            self._lane.forget(processor)

    def _open_up(self, processor: Processor) -> None:
        processor.place = len(self._open)
        self._open.append(processor)
        self._weigh(processor)

    def _close(self, processor: Processor) -> None:
        """It takes no more work; what waits for it goes to others."""
        place, processor.place = processor.place, -1
        if place < 0:
            return
        last = self._open.pop()
        if last is not processor:
            self._open[place] = last
            last.place = place
        self._least.remove(processor.rank)
        if processor.queue is not None and processor.state is not State.DOWN:
            for entry in self._queue_of(processor):
                self._pending += 1
                self._waiting.put(entry)
            if self._open:
                self._deal()

    def _queue_of(self, processor: Processor) -> list[Entry]:
        """Empty a processor's own line."""
        entries = []
        assert processor.queue is not None, "a line of its own"
        while (entry := processor.queue.take()) is not None:
            entries.append(entry)
            self._queued -= 1
            processor.load -= 1
            processor.work -= entry.size
        return entries

    def _offer(self, processor: Processor) -> None:
        """Say that there is a free thread."""
        if self._lane is not None:
            self._lane.offer(processor)
        elif processor.queue is None and len(processor.jobs) < processor.threads:
            heappush(self._free, len(processor.jobs) << 40 | processor.rank)

    # Failures

    def _plan_faults(self) -> None:
        settings, env = self._settings, self._env
        for moment in settings.crashes.at:
            after(env, moment, self._crash_slot, 1)
        for outage in settings.outages.at:
            after(env, outage.at, self._zone_down, (outage.zone, outage.at + outage.duration))
        if settings.outages.mtbf is not None:
            for zone in sorted({each.zone for each in settings.pools}):
                spells = Spells(self._streams, settings.outages.mtbf, settings.outages.duration, "outage", zone)
                self._next_outage((zone, spells, 0.0))

    def _next_outage(self, place: tuple[str, Spells, float]) -> None:
        zone, spells, now = place
        since, until = spells.at(now)
        after(self._env, max(0.0, since - self._env.now), self._zone_down, (zone, until))
        # A moment later, so that the next spell is asked for.
        after(self._env, until + 1e-6 - self._env.now, self._next_outage, (zone, spells, until + 1e-6))

    def _zone_down(self, outage: tuple[str, float]) -> None:
        zone, until = outage
        self._zone_until[zone] = max(until, self._zone_until.get(zone, 0.0))
        for processor in [each for each in self._processors.values() if each.pool.zone == zone]:
            if processor.state is State.ASLEEP:
                self._remove(processor)
            elif processor.state is State.STARTING:
                # It cannot start while the zone is gone.
                self._become(processor, State.DOWN)
                processor.epoch += 1
                processor.down_since, processor.cause, processor.repair_until = self._env.now, "zone", until
                self._up_in(processor, until - self._env.now + processor.pool.hardware.start_up)
            else:
                self._crash(processor, "zone", until)
        self._tell()

    def _await_failures(self, processor: Processor) -> None:
        crashes, where = self._settings.crashes, (processor.pool.name, str(processor.slot))
        if crashes.mtbf is not None:
            # Of the first pool by slot alone: what one kind of hardware meets does not depend on its name.
            name = ("crashes", *(where[1:] if processor.number == 0 else where))
            self._await(processor, "crash", crashes.mtbf, name)
        for component in crashes.components:
            self._await(processor, component.name, component.mtbf, ("crashes", *where, component.name))
        if processor.pool.hardware.spot and self._settings.spot.mtbi is not None:
            self._await(processor, "spot", self._settings.spot.mtbi, ("spot", *where))

    def _await(self, processor: Processor, cause: str, mean: float, name: tuple[str, ...]) -> None:
        # Moments belong to the slot, not to its use: all policies see the same weather.
        moments = self._moments.get(name)
        if moments is None:
            moments = self._moments[name] = Moments(self._streams, mean, *name)
        now = self._env.now
        after(self._env, moments.after(now) - now, self._strike, (processor, processor.epoch, cause))

    def _strike(self, fate: tuple[Processor, int, str]) -> None:
        processor, epoch, cause = fate
        if not self._is_there(processor, epoch):
            return
        if cause == "spot":
            self._interrupt(processor)
            return
        repair = 0.0
        for component in self._settings.crashes.components:
            if component.name == cause and component.mttr:
                generator = self._repairs(processor, cause, component.mttr)
                repair = generator.next()
        self._crash(processor, cause, 0.0, repair)

    def _repairs(self, processor: Processor, cause: str, mttr: float) -> Blocks:
        key = ("repairs", processor.pool.name, str(processor.slot), cause)
        found = self._repair_times.get(key)
        if found is None:
            found = self._repair_times[key] = Blocks(self._streams.generator(*key), "exponential", mttr)
        return found

    def _crash_slot(self, slot: int) -> None:
        processor = self._processors.get(slot)
        if processor is not None:
            self._crash(processor, "crash")

    def _crash(self, processor: Processor, cause: str, until: float = 0.0, repair: float = 0.0) -> None:
        here = self._processors.get(processor.rank) is processor
        if not here or processor.state not in _CAN_CRASH:
            return
        self.failed += 1
        processor.epoch += 1
        for job in tuple(processor.jobs):
            processor.held += self._break(job)
        if processor.queue is not None:
            processor.held += self._queue_of(processor)
        processor.down_since = self._env.now
        processor.cause = cause
        processor.repair_until = until
        processor.drained = processor.state is State.DRAINING
        self._become(processor, State.DOWN)
        self._close(processor)
        self._tell()
        after(self._env, self._detection(), self._notice, (processor, processor.epoch, repair))

    def _detection(self) -> float:
        crashes = self._settings.crashes
        if not crashes.check_period:
            return crashes.detection_delay
        now = self._env.now
        first = ceil(now / crashes.check_period) * crashes.check_period
        return first - now + (crashes.check_failures - 1) * crashes.check_period

    def _notice(self, crashed: tuple[Processor, int, float]) -> None:
        processor, epoch, repair = crashed
        if not self._is_there(processor, epoch):
            return
        self._give_back(processor)
        if processor.drained:
            self._remove(processor)
            self._tell()
            return
        back = max(0.0, processor.repair_until - self._env.now)
        self._up_in(processor, max(back, repair) + processor.pool.hardware.start_up)

    def _give_back(self, processor: Processor) -> None:
        held, processor.held = processor.held, []
        most = self._settings.crashes.attempts_max
        for entry in held:
            if entry.done:
                continue
            if entry.twin is not None and not entry.twin.done:
                entry.done = True  # the twin goes on
                continue
            entry.done = True
            if entry.started:
                attempts = self._attempts[entry.number] = self._attempts.get(entry.number, 0) + 1
                if most is not None and attempts >= most:
                    self.dead += 1
                    self._transport.bury(entry.work)
                    continue
                if self.line.discipline == "late-last":
                    self._came_back[entry.number] = entry.since
                self._transport.fail(entry.work)
            else:
                self._put(Entry(entry.work, entry.number, entry.left))
        if held and self.line.holds:
            self.dispatch()

    def _interrupt(self, processor: Processor) -> None:
        """The owner of a spot replica wants it back."""
        if processor.state not in _CAN_CRASH:
            return
        self.interrupted += 1
        self._close(processor)
        if not processor.jobs:
            self._crashed.append(Crash(processor.slot, self._env.now, None, processor.pool.name, "spot"))
            self._remove(processor)
        else:
            if processor.state is State.READY:
                self._become(processor, State.DRAINING)
            after(self._env, self._settings.spot.notice, self._take_back, processor)
        self._tell()

    def _take_back(self, processor: Processor) -> None:
        if self._processors.get(processor.rank) is not processor or processor.state is not State.DRAINING:
            return
        self._crashed.append(Crash(processor.slot, self._env.now, None, processor.pool.name, "spot"))
        for job in tuple(processor.jobs):
            processor.held += self._break(job)
        self._give_back(processor)
        self._remove(processor)
        self._tell()

    # Bookkeeping

    def _become(self, processor: Processor, state: State) -> None:
        self._count(processor, processor.state, -1)
        processor.state = state
        self._count(processor, state, 1)

    def _count(self, processor: Processor, state: State, change: int) -> None:
        self._counts[state] += change
        self.pools[processor.number].counts[state] += change

    def _tell(self) -> None:
        counts, now = self._counts, self._env.now
        self._running_time = self.running_time
        self._threads = sum(
            pool.settings.hardware.threads * (pool.ready + pool.counts[State.DRAINING]) for pool in self.pools
        )
        self._capacity = Capacity(
            now, self.starting, self.ready, counts[State.DRAINING], self.down, counts[State.ASLEEP]
        )
        self._watch(self._capacity)

    def _end_lease(self, processor: Processor) -> None:
        if self._tell_lease is not None:
            self._tell_lease(self._lease_of(processor, ended=True))
        processor.paid_since = self._env.now
        processor.busy_time = 0.0

    def _lease_of(self, processor: Processor, *, ended: bool) -> Lease:
        now = self._env.now
        busy = processor.busy_time + sum(now - job.since for job in processor.jobs)
        asleep = processor.state is State.ASLEEP
        return Lease(processor.pool.name, processor.slot, processor.paid_since, now, asleep, busy, ended)

    def _crash_of(self, processor: Processor, up: float | None) -> Crash:
        return Crash(processor.slot, processor.down_since, up, processor.pool.name, processor.cause)


def _when(crash: Crash) -> float:
    return crash.down


def _dispensable(processor: Processor) -> tuple[int, bool, int]:
    return _STOP_ORDER[processor.state], bool(processor.jobs), -processor.slot


def _slot(processor: Processor) -> int:
    return processor.slot


def _number(entry: Entry) -> int:
    return entry.number


def _load(processor: Processor) -> tuple[float, int]:
    return processor.load / processor.threads, processor.rank


_STREAMS = 97  # of events without one
_STOP_ORDER = {State.STARTING: 0, State.DOWN: 1, State.READY: 2}
_CAN_CRASH = frozenset((State.READY, State.DRAINING))
_COMING = frozenset((State.STARTING, State.DOWN))
