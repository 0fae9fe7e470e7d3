"""No transport at all: arrivals stand in line for the processors at once, have no content and leave no state.

What is left is a queueing system, for questions of capacity alone. Where services are plain they take the short way,
see `simulation.short_way`: two entries on the heap per event.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from copy import deepcopy
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from rarera_sim.core.event import Frame
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.cluster import Cluster
from rarera_sim.simulation.kernel import push
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.processor import State
from rarera_sim.simulation.short_way import ShortJob, ShortWay
from rarera_sim.simulation.transport import Work


class Served(NamedTuple):
    """Services that took the short way, in the order they finished; times in model seconds."""

    numbers: NDArray[np.int64]
    received: NDArray[np.float64]
    started: NDArray[np.float64]
    finished: NDArray[np.float64]


class DirectTransport(ShortWay):
    """Arrivals straight into one line.

    Parameters
    ----------
    times, services
        Arrival times, ascending, and service times at speed 1, seconds.
    note
        Told what happens to events, but for their arrival, whose time is known, and for services that took the short
        way.
    tell
        Called with what has been `Served` since the last time: at every look at the system, and before it is much.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cluster: Cluster,
        times: Sequence[float],
        services: Sequence[float],
        note: Note,
        tell: Callable[[Served], None],
    ) -> None:
        super().__init__(env, services)
        self._cluster = cluster
        self._times = times if isinstance(times, array) else array("d", times)
        self._note = note
        self._tell = tell
        self._next = 0
        self._count = len(self._times)
        self._held = 0
        self._summed = 0
        self._summed_sum = 0.0
        self._short = cluster.takes_the_short_way
        self._arrive_call = (self._arrive,)
        self._numbers = array("q")
        self._started = array("d")
        self._finished = array("d")
        self.state = None
        if self._short:
            cluster.connect_lane(self)
        if self._count:
            arrival = ShortJob(None)
            arrival.callbacks = self._arrive_call
            push(env, self._times[0], arrival)

    def __deepcopy__(self, memo: dict[int, Any]) -> DirectTransport:
        # Times and services never change: tens of millions of them are shared by the copies of a world.
        memo[id(self._times)], memo[id(self._services)] = self._times, self._services
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update({name: deepcopy(value, memo) for name, value in self.__dict__.items()})
        return twin

    # What is there

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """When the event at the head of the line came; None where none waits."""
        return self._times[self._waiting[0]] if self._waiting else None

    @property
    def created(self) -> int:
        """Events that have come."""
        return self._next

    @property
    def times(self) -> NDArray[np.float64]:
        """Arrival times, seconds."""
        return np.frombuffer(self._times)

    def received(self) -> tuple[int, float]:
        """How many have come, and the sum of their arrival times, seconds."""
        self._summed_sum += float(self.times[self._summed : self._next].sum())
        self._summed = self._next
        return self._next, self._summed_sum

    def received_at(self, number: int) -> float:
        """When an event came."""
        return self._times[number]

    @property
    def done(self) -> bool:
        """Every event has come."""
        return self._next == self._count

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._held or (self._short and self._cluster.holds_work))

    # The long way

    def receive(self, arrived: tuple[Frame, int]) -> None:
        raise AssertionError(f"no network leads here, got {arrived!r}")

    def take(self) -> Work | None:
        if not self._waiting:
            return None
        self._held += 1
        return Work(self._waiting.popleft(), None, 0)

    def finish(self, work: Work) -> None:
        self._held -= 1
        self._note(Stage.FINISHED, work.number)

    def fail(self, work: Work) -> None:
        self._held -= not self._short
        self._note(Stage.DETECTED_CRASH, work.number)
        self._waiting.appendleft(work.number)
        self._note(Stage.RELEASED, work.number)
        self._cluster.dispatch()

    def bury(self, work: Work) -> None:
        self._held -= 1
        self._note(Stage.DETECTED_CRASH, work.number)
        self._note(Stage.DEAD_LETTER, work.number)

    def give_up(self, work: Work) -> None:
        self._held -= 1
        self._note(Stage.ABANDONED, work.number)

    # For a cluster that takes the short way

    def leave_the_short_way(self) -> None:
        """Services to come are the cluster's; those under way have become so."""
        self.settle()
        self._short = False
        self._held = sum(len(each.jobs) + len(each.held) for each in self._cluster.processors)
        super().leave_the_short_way()

    # SimPy calls these. Each line counts: together they run once per event, and little else does.

    def _arrive(self, arrival: ShortJob) -> None:
        env = self._env
        number = self._next
        self._next = following = number + 1
        if following < self._count:
            arrival.callbacks = self._arrive_call
            heappush(env._queue, (self._times[following], 1, next(env._eid), arrival))  # type: ignore[misc]
        if not self._short:
            self._waiting.append(number)
            self._cluster.dispatch()
            return
        free = self._free
        while free:
            processor = self._processors.get(heappop(free))
            if processor is not None and processor.place >= 0 and not processor.jobs:
                job = processor.job
                job.number = number
                job.since = now = env._now
                job.callbacks = self._done_call
                processor.jobs = job.busy
                heappush(env._queue, (now + self._services[number] / processor.speed, 1, next(env._eid), job))  # type: ignore[misc]
                break
        else:
            self._waiting.append(number)
        if not following & _CHUNK_MASK:
            self.settle()

    def _done(self, job: ShortJob) -> None:
        processor = job.processor
        if processor is None:
            return  # ended early
        env = self._env
        now = env._now
        since = job.since
        self._numbers.append(job.number)
        self._started.append(since)
        self._finished.append(now)
        processor.busy_time += now - since
        if processor.place >= 0:
            if self._waiting:
                job.number = number = self._waiting.popleft()
                job.since = now
                job.callbacks = self._done_call
                heappush(env._queue, (now + self._services[number] / processor.speed, 1, next(env._eid), job))  # type: ignore[misc]
            else:
                processor.jobs = job.idle
                heappush(self._free, processor.rank)
        else:
            processor.jobs = []
            if processor.state is State.DRAINING:
                self._cluster.drained(processor)

    def settle(self) -> None:
        """Tell what has been served since the last time."""
        if not self._numbers:
            return
        numbers = np.frombuffer(self._numbers, np.int64)
        started, finished = np.frombuffer(self._started), np.frombuffer(self._finished)
        self._numbers, self._started, self._finished = array("q"), array("d"), array("d")
        self._cluster.settle(started, finished, np.frombuffer(self._services)[numbers])
        self._tell(Served(numbers, self.times[numbers], started, finished))


_CHUNK_MASK = (1 << 16) - 1
