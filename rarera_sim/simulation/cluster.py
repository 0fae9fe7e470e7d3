"""Processors: one thread each, started, stopped, crashed and repaired, fed from one queue in order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import simpy

from rarera_sim.core.trace import Stage
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.kernel import Streams, after
from rarera_sim.simulation.processor import Capacity, Crash, Processor, State
from rarera_sim.simulation.transport import Transport, Work


class Cluster:
    """All processors of a run.

    Parameters
    ----------
    services
        Service time in seconds at speed 1, by workload number: however often and wherever an event is processed, it
        takes the same time, under every policy.
    note
        Called with (stage, number) for what happens to an event.
    watch
        Called with a `Capacity` whenever processors change what they are doing, busy and idle apart.
    """

    def __init__(
        self,
        env: simpy.Environment,
        hardware: Hardware,
        crashes: Crashes,
        services: list[float],
        streams: Streams,
        note: Callable[[str, int], None],
        watch: Callable[[Capacity], None],
    ) -> None:
        self._env = env
        self._hardware = hardware
        self._settings = crashes
        self._services = services
        self._streams = streams
        self._note = note
        self._watch = watch
        self._processors: dict[int, Processor] = {}
        self._idle: list[int] = []  # heap of slots; those no longer idle are passed over when they come up
        self._counts = dict.fromkeys(State, 0)
        self._fates: dict[int, Iterator[float]] = {}
        self._next_crash: dict[int, float] = {}
        self.launches = 0
        self.finished = 0
        self.finished_time = 0.0  # what the finished services took, seconds
        self._crashed: list[Crash] = []
        self._broken_time = 0.0  # what services had taken that a crash ended
        self._running_time = 0.0
        self._capacity = Capacity(0.0, 0, 0, 0, 0)
        for moment in crashes.at:
            after(env, moment, self._crash_slot, 1)

    def connect(self, transport: Transport) -> None:
        """Where the work comes from."""
        self._transport = transport

    @property
    def ready(self) -> int:
        return self._counts[State.IDLE] + self._counts[State.BUSY]

    @property
    def starting(self) -> int:
        return self._counts[State.STARTING]

    @property
    def down(self) -> int:
        return self._counts[State.DOWN]

    @property
    def in_service(self) -> int:
        return self._counts[State.BUSY] + self._counts[State.DRAINING]

    @property
    def busy_time(self) -> float:
        """Seconds that processors have worked until now; of services under way, the part that has passed."""
        now = self._env.now
        under_way = sum(now - each.since for each in self._processors.values() if each.state.working)
        return self.finished_time + self._broken_time + under_way

    @property
    def running_time(self) -> float:
        """Seconds that processors have been ready or draining until now."""
        return self._running_time + self._capacity.running * (self._env.now - self._capacity.time)

    @property
    def crashes(self) -> list[Crash]:
        """All crashes so far, in order of time; those not up again included."""
        down = (each for each in self._processors.values() if each.state is State.DOWN)
        return sorted([*self._crashed, *(Crash(each.slot, each.down_since, None) for each in down)], key=_when)

    def scale_to(self, wanted: int, *, at_once: bool = False) -> None:
        """Start or stop processors until `wanted` are ready, starting or down; `at_once` skips the start-up."""
        current = len(self._processors) - self._counts[State.DRAINING]
        for _ in range(wanted - current):
            self._start(at_once)
        if wanted < current:
            # The cheapest to lose first: those that do not run yet, then idle ones, then the newest.
            candidates = [each for each in self._processors.values() if each.state is not State.DRAINING]
            candidates.sort(key=lambda each: (_STOP_ORDER[each.state], -each.slot))
            for processor in candidates[: current - wanted]:
                self._stop(processor)
        self._tell()
        self.dispatch()

    def dispatch(self) -> None:
        """Give work to whoever is idle, the lowest slot first."""
        idle = self._idle
        while idle:
            processor = self._processors.get(idle[0])
            if processor is None or processor.state is not State.IDLE:
                heappop(idle)
                continue
            work = self._transport.take()
            if work is None:
                return
            heappop(idle)
            self._begin(processor, work)

    # The life of a processor

    def _start(self, at_once: bool) -> None:
        slot = 1
        while slot in self._processors:
            slot += 1
        processor = self._processors[slot] = Processor(slot)
        self._counts[State.STARTING] += 1
        self.launches += 1
        if at_once or self._hardware.start_up == 0.0:
            self._up(processor)
        else:
            after(self._env, self._hardware.start_up, self._up, processor)

    def _up(self, processor: Processor) -> None:
        if self._processors.get(processor.slot) is not processor:
            return  # stopped meanwhile
        repaired = processor.state is State.DOWN
        self._become(processor, State.IDLE)
        if repaired:
            self._crashed.append(Crash(processor.slot, processor.down_since, self._env.now))
        self._await_crash(processor)
        heappush(self._idle, processor.slot)
        self._tell()
        self.dispatch()

    def _begin(self, processor: Processor, work: Work) -> None:
        self._become(processor, State.BUSY)
        processor.work = work
        processor.since = self._env.now
        self._note(Stage.STARTED, work.number)
        duration = self._services[work.number] / self._hardware.speed
        after(self._env, duration, self._done, (processor, work))

    def _done(self, begun: tuple[Processor, Work]) -> None:
        processor, work = begun
        if processor.work is not work or not processor.state.working:
            return  # crashed meanwhile
        processor.work = None
        self.finished += 1
        self.finished_time += self._env.now - processor.since
        self._transport.finish(work)
        if processor.state is State.DRAINING:
            self._remove(processor)
            self._tell()
            return
        self._become(processor, State.IDLE)
        heappush(self._idle, processor.slot)
        self.dispatch()

    def _stop(self, processor: Processor) -> None:
        if processor.state is State.BUSY:
            self._become(processor, State.DRAINING)
        else:
            self._remove(processor)

    def _remove(self, processor: Processor) -> None:
        if processor.state is State.DOWN:
            self._crashed.append(Crash(processor.slot, processor.down_since, None))
            if processor.work is not None:
                # Nobody will check the health of what is gone, so what it held is given back now.
                self._give_back(processor)
        self._counts[processor.state] -= 1
        del self._processors[processor.slot]

    # Crashes

    def _await_crash(self, processor: Processor) -> None:
        if self._settings.mtbf is None:
            return
        slot, now = processor.slot, self._env.now
        # Moments belong to the slot, not to its use: all policies see the same weather.
        fates = self._fates.setdefault(slot, self._moments(slot, self._settings.mtbf))
        moment = self._next_crash.get(slot, 0.0)
        while moment <= now:
            moment = next(fates)
        self._next_crash[slot] = moment
        after(self._env, moment - now, self._crash, processor)

    def _moments(self, slot: int, mtbf: float) -> Iterator[float]:
        generator = self._streams.generator("crashes", str(slot))
        moment = 0.0
        while True:
            moment += generator.exponential(mtbf)
            yield moment

    def _crash_slot(self, slot: int) -> None:
        processor = self._processors.get(slot)
        if processor is not None:
            self._crash(processor)

    def _crash(self, processor: Processor) -> None:
        here = self._processors.get(processor.slot) is processor
        if not here or processor.state in (State.STARTING, State.DOWN):
            return
        if processor.work is not None:
            self._broken_time += self._env.now - processor.since
        processor.down_since = self._env.now
        drained = processor.state is State.DRAINING
        self._become(processor, State.DOWN)
        self._tell()
        after(self._env, self._settings.detection_delay, self._notice, (processor, drained))

    def _notice(self, crashed: tuple[Processor, bool]) -> None:
        processor, drained = crashed
        if self._processors.get(processor.slot) is not processor:
            return
        self._give_back(processor)
        if drained:
            self._remove(processor)
            self._tell()
        else:
            after(self._env, self._hardware.start_up, self._up, processor)

    def _give_back(self, processor: Processor) -> None:
        work, processor.work = processor.work, None
        if work is not None:
            self._transport.fail(work)

    # Bookkeeping

    def _become(self, processor: Processor, state: State) -> None:
        self._counts[processor.state] -= 1
        self._counts[state] += 1
        processor.state = state

    def _tell(self) -> None:
        counts, now = self._counts, self._env.now
        self._running_time = self.running_time
        self._capacity = Capacity(now, self.starting, self.ready, counts[State.DRAINING], self.down)
        self._watch(self._capacity)


def _when(crash: Crash) -> float:
    return crash.down


_STOP_ORDER = {State.STARTING: 0, State.DOWN: 1, State.IDLE: 2, State.BUSY: 3}
