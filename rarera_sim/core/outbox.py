"""What a source keeps until it is acknowledged: whatever the network does, the event is still somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import inf

from rarera_sim.core.event import Event, Frame
from rarera_sim.core.retry import Backoff, DeadLetter


class Outbox:
    """Frames sent and not yet acknowledged, by sequence; says which to send again and when.

    A frame leaves when it is acknowledged and in no other way: after `backoff.attempts_max` attempts it is parked in
    `dead`, not forgotten. Times are seconds on any monotonic clock, as long as it is always the same one.

    Examples
    --------
    >>> outbox = Outbox(Backoff(delay=1.0))
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> _ = outbox.add(event, now=0.0)
    >>> list(outbox.due(0.5)), [sequence for sequence, _ in outbox.due(1.0)]
    ([], [1])
    >>> outbox.acknowledge([1])
    >>> len(outbox)
    0
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self.backoff = backoff or Backoff()
        first = self.backoff.after(1, 0.0)
        self._first = None if isinstance(first, DeadLetter) else first
        self.dead: dict[int, Frame] = {}
        self._kept: dict[int, tuple[Frame, int, float]] = {}  # with how often it was sent, and its deadline
        # A heap, as delays grow and so come out of order. Entries that no longer hold are dropped when they come up.
        self._queue: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._kept

    def add(self, event: Event, now: float) -> Frame:
        """Keep an event and give the frame to send."""
        assert event.sequence not in self._kept, "a sequence is used once"
        sequence, frame = event.sequence, event.frame
        if self._first is None:
            self._sent(sequence, frame, 1, now)
            return frame
        # What `_sent` does, for what is sent for the first time: nearly all.
        deadline = now + self._first
        assert deadline > now, "the delay is lost in the rounding of the clock"
        self._kept[sequence] = frame, 1, deadline
        heappush(self._queue, (deadline, sequence))
        return frame

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Forget what the log has recorded; repeating an acknowledgement changes nothing."""
        for sequence in sequences:
            self._kept.pop(sequence, None)
            if self.dead:
                self.dead.pop(sequence, None)

    def request(self, sequences: Iterable[int], now: float) -> Iterator[tuple[int, Frame]]:
        """The frames of these sequences, to be sent at once because the receiver misses them."""
        for sequence in sequences:
            if sequence in self._kept:
                yield sequence, self._again(sequence, now)

    def due(self, now: float) -> Iterator[tuple[int, Frame]]:
        """The frames whose acknowledgement is overdue, each to be sent again."""
        # One at a time: whoever sends the first may hear at once that the second has arrived, or stop here.
        while (deadline := self.next_due()) is not None and deadline <= now:
            sequence = self._queue[0][1]
            yield sequence, self._again(sequence, now)

    def next_due(self) -> float | None:
        """The earliest deadline, None when nothing waits."""
        queue, kept = self._queue, self._kept
        while queue and kept.get(queue[0][1], _GONE)[2] != queue[0][0]:
            heappop(queue)
        return queue[0][0] if queue else None

    def _again(self, sequence: int, now: float) -> Frame:
        frame, attempts, _ = self._kept[sequence]
        self._sent(sequence, frame, attempts + 1, now)
        return frame

    def _sent(self, sequence: int, frame: Frame, attempts: int, now: float) -> None:
        deadline = self.backoff.after(attempts, now)
        if isinstance(deadline, DeadLetter):
            self.dead[sequence] = frame
            self._kept[sequence] = frame, attempts, inf
        else:
            assert deadline > now, "the delay is lost in the rounding of the clock"
            self._kept[sequence] = frame, attempts, deadline
            heappush(self._queue, (deadline, sequence))


_GONE = (b"", 0, inf)
