"""A cursor over a log for whoever processes it: at least once, resumable, never blocking.

`poll` answers at once, with an event or with None: the driver decides how to wait. An idle subscription asks the log
again only after `ring`, so that a bus saves the log from being polled; whoever cannot trust the bus rings on a timer.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import islice
from typing import Protocol
from zlib import crc32

from rarera_sim.core.errors import SkippedPosition
from rarera_sim.core.event import Recorded
from rarera_sim.core.log import ALL, EventLog, Query


class CheckpointStore(Protocol):
    """Remembers how far each named subscription has come."""

    def load(self, name: str) -> int: ...

    def save(self, name: str, position: int) -> None: ...


class Subscription:
    """Deliver each event of a query until it is acknowledged.

    Parameters
    ----------
    after
        The checkpoint to resume from: everything up to it has been processed.
    prefetch
        Events fetched from the log at once; one row at a time would be a SELECT per event.
    partition
        (k, n): of n members of a group this is number k, from 0, and gets the streams whose CRC-32 is k modulo n.
    ordered
        Keep at most one event per stream in flight, so that parallel processors cannot reorder a stream.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> subscription = Subscription(log)
    >>> recorded = subscription.poll()
    >>> subscription.poll() is None, subscription.checkpoint
    (True, 0)
    >>> subscription.ack(recorded)
    >>> subscription.checkpoint
    1
    """

    def __init__(
        self,
        log: EventLog,
        query: Query = ALL,
        *,
        after: int = 0,
        prefetch: int = 256,
        partition: tuple[int, int] | None = None,
        ordered: bool = False,
    ) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch must be >= 1, got {prefetch!r}")
        if partition is not None and not 0 <= partition[0] < partition[1]:
            raise ValueError(f"partition must be (k, n) with 0 <= k < n, got {partition!r}")
        self._log = log
        self._query = query
        self._prefetch = prefetch
        self._partition = partition
        self._ordered = ordered
        self._cursor = after
        self._rung = True
        self._fetched: deque[Recorded] = deque()
        self._again: list[Recorded] = []  # heap by position: released by a processor that failed
        self._in_flight: dict[int, Recorded] = {}
        self._busy: set[str] = set()
        self._parked: dict[str, deque[Recorded]] = {}

    @property
    def in_flight(self) -> int:
        """Events delivered and neither acknowledged nor released."""
        return len(self._in_flight)

    @property
    def checkpoint(self) -> int:
        """Everything up to here is done: resume after it, and nothing is lost."""
        first = self._cursor + 1
        if self._fetched:
            first = min(first, self._fetched[0].position)
        if self._again:
            first = min(first, self._again[0].position)
        first = min(first, min(self._in_flight, default=first))
        first = min(first, min((queue[0].position for queue in self._parked.values()), default=first))
        return first - 1

    def ring(self, *_: object) -> None:
        """There may be something new. Fits a bus as it is: `bus.listen([EVERYTHING], subscription.ring)`."""
        self._rung = True

    def poll(self) -> Recorded | None:
        """The next event, or None when there is none that may be delivered now."""
        while True:
            recorded = self._next()
            if recorded is None:
                return None
            if self._ordered:
                stream = recorded.event.stream
                if stream in self._busy:
                    self._parked.setdefault(stream, deque()).append(recorded)
                    continue
                self._busy.add(stream)
            self._in_flight[recorded.position] = recorded
            return recorded

    def ack(self, recorded: Recorded) -> None:
        """The event is done with; repeating it is an error of the driver."""
        assert recorded.position in self._in_flight, "acknowledged without delivery"
        del self._in_flight[recorded.position]
        if self._ordered:
            self._unpark(recorded.event.stream)

    def release(self, recorded: Recorded) -> None:
        """Whoever held the event failed: deliver it again, before anything newer."""
        assert recorded.position in self._in_flight, "released without delivery"
        del self._in_flight[recorded.position]
        heapq.heappush(self._again, recorded)
        self._busy.discard(recorded.event.stream)

    def _unpark(self, stream: str) -> None:
        self._busy.discard(stream)
        queue = self._parked.get(stream)
        if queue:
            heapq.heappush(self._again, queue.popleft())
            if not queue:
                del self._parked[stream]

    def _next(self) -> Recorded | None:
        if self._again:
            return heapq.heappop(self._again)
        if not self._fetched and self._rung:
            self._fetch()
        return self._fetched.popleft() if self._fetched else None

    def _fetch(self) -> None:
        while not self._fetched:
            page = list(islice(self._log.read(self._query, after=self._cursor, limit=self._prefetch), self._prefetch))
            for recorded in page:
                # Only a full read can tell a hole from an event that the query leaves out.
                if self._query is ALL and recorded.position != self._cursor + 1:
                    raise SkippedPosition(f"position {recorded.position} came after {self._cursor}")
                self._cursor = recorded.position
                if self._is_ours(recorded):
                    self._fetched.append(recorded)
            if len(page) < self._prefetch:
                self._rung = False
                return

    def _is_ours(self, recorded: Recorded) -> bool:
        if self._partition is None:
            return True
        member, members = self._partition
        return crc32(recorded.event.stream.encode()) % members == member
