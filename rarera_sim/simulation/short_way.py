"""Services so plain that nobody need be asked about each: one line in order of arrival, one thread, nothing but speed.

No calls between components, no values made and thrown away: an entry on the heap for each service, used again.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import simpy

from rarera_sim.simulation.kernel import push
from rarera_sim.simulation.transport import Work

if TYPE_CHECKING:
    from rarera_sim.simulation.processor import Processor


class ShortJob:
    """The service under way of one processor, used again and again; as `processor.Job`, of a single number."""

    __slots__ = ("busy", "callbacks", "idle", "number", "processor", "since")
    _ok = True

    def __init__(self, processor: Processor | None) -> None:
        self.callbacks: Any = None
        self.processor = processor
        self.number = -1
        self.since = 0.0
        self.busy: list[Any] = [self]  # what its processor's `jobs` are
        self.idle: list[Any] = []


class ShortWay:
    """What a cluster knows of whoever looks after plain services; a transport, which says what becomes of them.

    Parameters
    ----------
    services
        Service times at speed 1, seconds, by number.
    """

    def __init__(self, env: simpy.Environment, services: Sequence[float]) -> None:
        self._env = env
        self._services = services if isinstance(services, array) else array("d", services)
        self._waiting: deque[int] = deque()
        self._free: list[int] = []  # heap of ranks; those no longer free are passed over
        self._processors: dict[int, Processor] = {}
        self._done_call: tuple[Callable[[ShortJob], None]] = (self._done,)

    def offer(self, processor: Processor) -> None:
        """It is up, or free again."""
        self._processors[processor.rank] = processor
        if processor.job is None:
            processor.job = ShortJob(processor)
        heappush(self._free, processor.rank)

    def serve(self) -> None:
        """Begin what can be begun."""
        waiting = self._waiting
        while waiting and self._free:
            processor = self._processors.get(heappop(self._free))
            if processor is not None and processor.place >= 0 and not processor.jobs:
                job, now = processor.job, self._env._now
                job.number = number = waiting.popleft()
                job.since = now
                job.callbacks = self._done_call
                processor.jobs = job.busy
                push(self._env, now + self._services[number] / processor.speed, job)

    def abandon(self, processor: Processor) -> tuple[Work, float]:
        """End its service; gives the event, and since when."""
        # The job is on SimPy's heap still, and so cannot be used again.
        job, processor.job = processor.job, None
        processor.jobs = []
        job.processor = None
        return self.work_of(job.number), job.since

    def forget(self, processor: Processor) -> None:
        """It is gone."""
        if self._processors.get(processor.rank) is processor:
            del self._processors[processor.rank]

    def leave_the_short_way(self) -> None:
        """Services to come are the cluster's; those under way have become so."""
        self._processors.clear()
        self._free.clear()

    def work_of(self, number: int) -> Work:
        """An event as the cluster is handed it."""
        return Work(number, None, 0)

    def _done(self, job: ShortJob) -> None:
        raise NotImplementedError
