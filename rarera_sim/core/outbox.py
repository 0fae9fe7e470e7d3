"""What a source keeps until it is acknowledged: whatever the network does, the event is still somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

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
        self.dead: dict[int, Frame] = {}
        self._frames: dict[int, Frame] = {}
        self._attempts: dict[int, int] = {}
        self._deadlines: dict[int, float] = {}
        # A heap, as delays grow and so come out of order. Entries that no longer hold are dropped when they come up.
        self._queue: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._frames

    def add(self, event: Event, now: float) -> Frame:
        """Keep an event and give the frame to send."""
        assert event.sequence not in self._frames, "a sequence is used once"
        frame = event.frame
        self._frames[event.sequence] = frame
        self._attempts[event.sequence] = 0
        self._sent(event.sequence, now)
        return frame

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Forget what the log has recorded; repeating an acknowledgement changes nothing."""
        for sequence in sequences:
            if self._frames.pop(sequence, None) is not None:
                del self._attempts[sequence]
                self._deadlines.pop(sequence, None)
            self.dead.pop(sequence, None)

    def request(self, sequences: Iterable[int], now: float) -> Iterator[tuple[int, Frame]]:
        """The frames of these sequences, to be sent at once because the receiver misses them."""
        for sequence in sequences:
            frame = self._frames.get(sequence)
            if frame is not None:
                self._sent(sequence, now)
                yield sequence, frame

    def due(self, now: float) -> Iterator[tuple[int, Frame]]:
        """The frames whose acknowledgement is overdue, each to be sent again."""
        # One at a time: whoever sends the first may hear at once that the second has arrived, or stop here.
        while (deadline := self.next_due()) is not None and deadline <= now:
            sequence = self._queue[0][1]
            self._sent(sequence, now)
            yield sequence, self._frames[sequence]

    def next_due(self) -> float | None:
        """The earliest deadline, None when nothing waits."""
        queue = self._queue
        while queue and self._deadlines.get(queue[0][1]) != queue[0][0]:
            heappop(queue)
        return queue[0][0] if queue else None

    def _sent(self, sequence: int, now: float) -> None:
        self._attempts[sequence] += 1
        deadline = self.backoff.after(self._attempts[sequence], now)
        if isinstance(deadline, DeadLetter):
            self.dead[sequence] = self._frames[sequence]
            self._deadlines.pop(sequence, None)
        else:
            assert deadline > now, "the delay is lost in the rounding of the clock"
            self._deadlines[sequence] = deadline
            heappush(self._queue, (deadline, sequence))
