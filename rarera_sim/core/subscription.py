"""A cursor over a log for whoever processes it: at least once, resumable, never blocking.

`poll` answers at once, with an event or with None: the driver decides how to wait. An idle subscription asks the log
again only after `ring`, so that a bus saves the log from being polled; as no bus can be trusted with that alone, it
also looks every `period`, if it is told the time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol
from zlib import crc32

from rarera_sim.core.errors import SkippedPosition
from rarera_sim.core.event import Recorded
from rarera_sim.core.log import ALL, EventLog, Query, shows_all


class CheckpointStore(Protocol):
    """Remembers how far each named subscription has come."""

    def load(self, name: str) -> int: ...

    def save(self, name: str, position: int) -> None: ...


def partition_of(stream: str, partitions: int) -> int:
    """Which of so many partitions a stream belongs to: its CRC-32 modulo their number, the same everywhere."""
    return crc32(stream.encode()) % partitions


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
    partitions
        Instead of `partition`: the number n of a group whose members come and go. The subscription begins with no
        partition and is told by `take` and `drop` which are its own.
    ordered
        Keep at most one event per stream in flight, so that parallel processors cannot reorder a stream.
    parked_max
        Events that may wait here because an earlier one of their stream is in flight. Beyond it `poll` gives nothing
        new until a busy stream is done: one slow stream then holds up the rest, but not all of the memory.
    in_flight_max
        Events delivered and not yet acknowledged beyond which `poll` gives nothing: a slow processor is not buried.
    period
        Seconds after which an idle subscription looks at the log although nobody rang, on the clock of `poll(now)`:
        what a lost notification costs is bounded by this.
    alarm
        Called with the first and last position missed before `SkippedPosition` is raised, to open an incident.

    Raises
    ------
    SkippedPosition
        `after` is beyond the end of the log (its tail is lost), or, while polling, a position is missing.

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
        partitions: int | None = None,
        ordered: bool = False,
        parked_max: int = 10_000,
        in_flight_max: int | None = None,
        period: float | None = None,
        alarm: Callable[[int, int], None] | None = None,
    ) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch must be >= 1, got {prefetch!r}")
        if partition is not None and not 0 <= partition[0] < partition[1]:
            raise ValueError(f"partition must be (k, n) with 0 <= k < n, got {partition!r}")
        if parked_max < 1:
            raise ValueError(f"parked_max must be >= 1, got {parked_max!r}")
        if partitions is not None and (partitions < 1 or partition is not None):
            raise ValueError(f"partitions must be >= 1 and without partition, got {partitions!r}, {partition!r}")
        if in_flight_max is not None and in_flight_max < 1:
            raise ValueError(f"in_flight_max must be >= 1 or None, got {in_flight_max!r}")
        if period is not None and not period > 0:
            raise ValueError(f"period must be > 0 s or None, got {period!r}")
        self._alarm = alarm
        self._log = log
        self._check_end(after)
        self._query = query
        self._whole = query == ALL and shows_all(log)
        self._prefetch = prefetch
        self._partitions = partition[1] if partition else partitions
        # Ours, each with the position after which its events are still to be fetched.
        self._ours: dict[int, int] = {partition[0]: after} if partition else {}
        self._dropped: dict[int, int] = {}  # no longer ours, each with its checkpoint once nothing is in flight
        self._ordered = ordered
        self._parked_max = parked_max
        self._in_flight_max = in_flight_max
        self._period = period
        self._looked: float | None = None
        self._cursor = after
        self._rung = True
        self._fetched: deque[Recorded] = deque()
        self._again: list[Recorded] = []  # heap by position: released by a processor that failed
        self._in_flight: dict[int, Recorded] = {}
        self._busy: set[str] = set()
        self._parked: dict[str, deque[Recorded]] = {}
        self._parked_count = 0

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
        # A parked event waits for an earlier one of its stream, which is in flight or comes again: no need to look.
        return min(first, min(self._in_flight, default=first)) - 1

    def ring(self, *_: object) -> None:
        """There may be something new. Fits a bus as it is: `bus.listen([EVERYTHING], subscription.ring)`."""
        self._rung = True

    def poll(self, now: float | None = None) -> Recorded | None:
        """The next event, or None when there is none that may be delivered now.

        `now` is in seconds on any clock that goes on; without it `period` has no effect.
        """
        if (
            self._period is not None
            and now is not None
            and (self._looked is None or now >= self._looked + self._period)
        ):
            self._looked = now
            self._rung = True
        if self._in_flight_max is not None and len(self._in_flight) >= self._in_flight_max:
            return None
        while True:
            recorded = self._next()
            if recorded is None:
                return None
            if self._ordered:
                stream = recorded.event.stream
                if stream in self._busy:
                    self._parked.setdefault(stream, deque()).append(recorded)
                    self._parked_count += 1
                    continue
                self._busy.add(stream)
            self._in_flight[recorded.position] = recorded
            return recorded

    def poll_all(self, now: float | None = None) -> list[Recorded]:
        """All that may be delivered now, for whoever keeps them in a line of its own: `poll` until there is none.

        >>> from rarera_sim.adapters.memory import MemoryLog
        >>> from rarera_sim.core.event import Event
        >>> log = MemoryLog()
        >>> made = [Event("EWR/UA1", "departed", {}, source="EWR", sequence=n, time=n) for n in (1, 2, 3)]
        >>> subscription = Subscription(log, after=len(log.append(made[:1])))
        >>> _ = log.append(made[1:])
        >>> [recorded.position for recorded in subscription.poll_all()], subscription.in_flight
        ([2, 3], 2)
        """
        delivered = []
        while (recorded := self.poll(now)) is not None:
            delivered.append(recorded)
            if self._fetched and not (self._ordered or self._again or self._in_flight_max):
                # The rest of a page, of which each may be delivered: not one by one.
                page = tuple(self._fetched)
                self._fetched.clear()
                self._in_flight.update((each.position, each) for each in page)
                delivered += page
        return delivered

    def ack(self, recorded: Recorded) -> None:
        """The event is done with; repeating it is an error of the driver."""
        assert recorded.position in self._in_flight, "acknowledged without delivery"
        del self._in_flight[recorded.position]
        if self._ordered:
            self._unpark(recorded.event.stream)

    def release(self, recorded: Recorded) -> None:
        """Whoever held the event failed: deliver it again, before anything newer, unless it is no longer ours."""
        assert recorded.position in self._in_flight, "released without delivery"
        del self._in_flight[recorded.position]
        self._busy.discard(recorded.event.stream)
        partition = self._partition_of(recorded)
        if partition in self._dropped:
            self._dropped[partition] = min(self._dropped[partition], recorded.position - 1)
        else:
            heapq.heappush(self._again, recorded)

    # Partitions that come and go

    @property
    def partitions(self) -> set[int]:
        """Those that are ours."""
        return set(self._ours)

    def owns(self, recorded: Recorded) -> bool:
        """Whether the event is of a partition that is still ours; it always is where there are none."""
        return self._partitions is None or self._partition_of(recorded) in self._ours

    def holds(self, partition: int) -> bool:
        """Whether an event of this partition is in flight here."""
        return any(self._partition_of(recorded) == partition for recorded in self._in_flight.values())

    def take(self, partition: int, after: int) -> None:
        """Deliver this partition as well, from its checkpoint on."""
        assert partition in range(self._partitions or 0), "no such partition"
        assert partition not in self._ours, "the partition is ours already"
        assert not self.holds(partition), "the partition is in flight from an earlier time"
        self._check_end(after)
        self._dropped.pop(partition, None)
        if not self._ours:
            self._cursor = after
        elif after < self._cursor:
            # Back to where the new one begins. The others have been fetched up to `fetched`, and are not again.
            fetched = self._fetched[0].position - 1 if self._fetched else self._cursor
            self._fetched.clear()
            self._ours = {each: max(come, fetched) for each, come in self._ours.items()}
            self._cursor = min(after, fetched)
        self._ours[partition] = after
        self._rung = True

    def drop(self, partition: int) -> None:
        """Deliver nothing more of this partition; what is in flight may still be acknowledged or released."""
        assert partition in self._ours, "the partition is not ours"
        self._dropped[partition] = self._first_waiting(partition) - 1
        del self._ours[partition]
        self._fetched = deque(each for each in self._fetched if self._partition_of(each) != partition)
        self._again = [each for each in self._again if self._partition_of(each) != partition]
        heapq.heapify(self._again)
        for stream, queue in tuple(self._parked.items()):
            if self._partition_of(queue[0]) == partition:
                self._parked_count -= len(queue)
                del self._parked[stream]

    def checkpoint_of(self, partition: int) -> int:
        """Everything of this partition up to here is done, whether it is still ours or was dropped."""
        waiting = self._first_waiting(partition) if partition in self._ours else self._dropped[partition] + 1
        in_flight = (each.position for each in self._in_flight.values() if self._partition_of(each) == partition)
        return min([waiting, *in_flight]) - 1

    def _first_waiting(self, partition: int) -> int:
        """The first position of a partition of ours that is not done and not in flight."""
        waiting: list[Iterable[Recorded]] = [self._fetched, self._again, *self._parked.values()]
        ours = (each.position for queue in waiting for each in queue if self._partition_of(each) == partition)
        return min(ours, default=max(self._cursor, self._ours[partition]) + 1)

    def _partition_of(self, recorded: Recorded) -> int | None:
        return partition_of(recorded.event.stream, self._partitions) if self._partitions else None

    def _unpark(self, stream: str) -> None:
        self._busy.discard(stream)
        queue = self._parked.get(stream)
        if queue:
            heapq.heappush(self._again, queue.popleft())
            self._parked_count -= 1
            if not queue:
                del self._parked[stream]

    def _next(self) -> Recorded | None:
        if self._again:
            return heapq.heappop(self._again)
        if self._parked_count >= self._parked_max:
            return None
        if not self._fetched and self._rung:
            self._fetch()
        return self._fetched.popleft() if self._fetched else None

    def _fetch(self) -> None:
        if self._partitions is not None and not self._ours:
            return
        while self._rung and not self._fetched:
            # Set back before the log is read: a ring meanwhile is about something that this read may not see.
            self._rung = False
            # What a query leaves out is done with as well, or every ring would look through it again.
            done = self._cursor if self._whole else self._log.head()
            page = self._page()
            for recorded in page:
                # Only a full read can tell a hole from an event that is left out.
                if self._whole and recorded.position != self._cursor + 1:
                    if self._alarm:
                        self._alarm(self._cursor + 1, recorded.position - 1)
                    raise SkippedPosition(f"position {recorded.position} came after {self._cursor}")
                self._cursor = recorded.position
                if self._is_ours(recorded):
                    self._fetched.append(recorded)
            if len(page) == self._prefetch:
                self._rung = True
            else:
                self._cursor = max(self._cursor, done)

    def _page(self) -> list[Recorded]:
        try:
            return list(self._log.read(self._query, after=self._cursor, limit=self._prefetch))
        except SkippedPosition as hole:
            # The log has noticed by itself, before we could.
            if self._alarm and hole.first is not None and hole.last is not None:
                self._alarm(hole.first, hole.last)
            raise

    def _is_ours(self, recorded: Recorded) -> bool:
        if self._partitions is None:
            return True
        come = self._ours.get(partition_of(recorded.event.stream, self._partitions))
        return come is not None and recorded.position > come

    def _check_end(self, after: int) -> None:
        if after and after > (head := self._log.head()):
            if self._alarm:
                self._alarm(head + 1, after)
            raise SkippedPosition(f"the checkpoint {after} is beyond the end of the log, {head}: its tail is lost")
