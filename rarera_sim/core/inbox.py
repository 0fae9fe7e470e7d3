"""From bytes to events, and from sequences to what is missing.

The inbox names what it sees; it refuses nothing but damage. Repeats are refused in one place only, the log, because
only the log remembers across restarts: with a second guard here, a broken first guard would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from rarera_sim.core.errors import InvalidEvent
from rarera_sim.core.event import Event, Frame, decode, decode_canonical


class Order(StrEnum):
    """Where an intact event stands among those of its source."""

    NEXT = "next"
    AHEAD = "ahead"  # something before it is missing
    FILLED = "filled"  # it was missing, and came after a later one
    SEEN = "seen"  # its sequence was here before


class Intact(NamedTuple):
    """An event that is what its source sent."""

    event: Event
    order: Order


class Corrupt(NamedTuple):
    """Bytes that are no event, or not the event they say."""

    frame: Frame
    reason: str


class ReceiveWindow:
    """What has been received of one source: the next sequence expected, and the holes before it.

    Parameters
    ----------
    gap_max
        The largest jump believed. Beyond it the number is held to be wrong rather than a million events missing.

    Examples
    --------
    >>> window = ReceiveWindow()
    >>> [str(window.observe(sequence)) for sequence in (1, 4, 2, 2)]
    ['next', 'ahead', 'filled', 'seen']
    >>> window.missing
    [3]
    """

    __slots__ = ("_gap_max", "_missing", "next")

    def __init__(self, runs: Iterable[tuple[int, int]] = (), *, gap_max: int = 100_000) -> None:
        self.next = 1
        self._gap_max = gap_max
        self._missing: dict[int, None] = {}  # insertion order is ascending, as holes open at the end
        for first, last in runs:
            self._missing.update(dict.fromkeys(range(self.next, first)))
            self.next = last + 1

    @property
    def missing(self) -> list[int]:
        """Sequences below `next` that have not come, ascending."""
        return list(self._missing)

    def observe(self, sequence: int) -> Order | None:
        """Take note of a sequence; None if it is further ahead than can be believed."""
        if sequence == self.next:
            self.next += 1
            return Order.NEXT
        if sequence > self.next:
            if sequence - self.next > self._gap_max:
                return None
            self._missing.update(dict.fromkeys(range(self.next, sequence)))
            self.next = sequence + 1
            return Order.AHEAD
        if sequence in self._missing:
            del self._missing[sequence]
            return Order.FILLED
        return Order.SEEN


class Inbox:
    """Checks frames and keeps one `ReceiveWindow` per source.

    Parameters
    ----------
    known
        Runs of sequences per source that the log has already, as `EventLog.sequences` gives them after a restart.

    Examples
    --------
    >>> inbox = Inbox()
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=2, time=0)
    >>> inbox.receive(event.frame).order, inbox.missing("EWR")
    (<Order.AHEAD: 'ahead'>, [1])
    >>> damaged = bytes([event.frame[0] ^ 1]) + event.frame[1:]
    >>> inbox.receive(damaged).reason
    'content does not match its UID'
    """

    def __init__(self, known: Mapping[str, Iterable[tuple[int, int]]] | None = None) -> None:
        self._windows = {source: ReceiveWindow(runs) for source, runs in (known or {}).items()}

    def receive(self, frame: Frame) -> Intact | Corrupt:
        """What a frame says, if it says it truly."""
        event = decode_canonical(frame)
        if event is None:
            return Corrupt(frame, _what_is_wrong(frame))
        window = self._windows.get(event.source)
        if window is None:
            window = self._windows[event.source] = ReceiveWindow()
        sequence = event.sequence
        if sequence == window.next:  # what `observe` does, without the call
            window.next = sequence + 1
            return _make(Intact, (event, Order.NEXT))
        order = window.observe(sequence)
        if order is None:
            return Corrupt(frame, f"sequence {sequence} of {event.source} jumps ahead of {window.next}")
        return Intact(event, order)

    def missing(self, source: str) -> list[int]:
        """Sequences of a source that are known to exist, because a later one came, and have not come."""
        window = self._windows.get(source)
        return window.missing if window else []


_make = tuple.__new__  # an Intact made by its own, which is Python, costs twice as much


def _what_is_wrong(frame: Frame) -> str:
    try:
        decode(frame)
    except InvalidEvent as error:
        return str(error)
    # A source may hash what has no canonical form (a key twice, spaces): one event, one byte string.
    return "body is not in canonical form"
