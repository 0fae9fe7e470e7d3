"""Is a log what it was given? Every event against its UID, its place and the chain of all before it.

    chain(0) = SHA-256("rarera.chain/1" NUL)         chain(n) = SHA-256(chain(n - 1) + UID(n))

A UID finds what changed inside one event. The chain finds what changed between events: one taken out with the rest
moved up, two that changed places, one copied over another. Neither can see that the *end* of a log is gone, as what
is left is a perfectly good log: that takes a `Head` kept somewhere else. A chain depends on the events and their
order alone, so two logs agree exactly when their heads do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

from rarera_sim.core.errors import DamagedLog, InvalidEvent
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, EventId, decode, identify

CHAIN_START = sha256(b"rarera.chain/1\0").digest()


def link(chain: bytes, event_id: EventId) -> bytes:
    """The chain's next value."""
    return sha256(chain + event_id).digest()


class Head(NamedTuple):
    """How far a log has come, and the one value that stands for everything up to there."""

    position: int
    chain: bytes


class Row(NamedTuple):
    """One event as it lies in a store, unread: `chain` is None in a store that keeps none.

    After damage any field may hold anything; the types are what an intact row has.
    """

    position: int
    id: EventId
    stream: str
    processor: str
    type: str
    source: str
    sequence: int
    time: int
    chain: bytes | None
    body: bytes


class Auditable(Protocol):
    """What `verify` needs of a log."""

    def rows(self) -> Iterator[Row]:
        """Every row in order of position, as it lies there; raises `DamagedLog` where the store cannot read on."""
        ...

    def self_check(self) -> str:
        """What the store itself finds wrong around its events, in words; empty when nothing."""
        ...


@dataclass(frozen=True)
class Verdict:
    """Whether a log is intact; if not, the first bad position (None: not about one event) and why.

    `head` is how far the log is good. Keep the head of an intact log elsewhere: it finds a lost tail later.
    """

    intact: bool
    head: Head
    position: int | None = None
    reason: str = ""


class Runs:
    """A set of positive integers that mostly come in order, kept as runs (first, last).

    >>> runs = Runs()
    >>> [runs.add(n) for n in (1, 2, 5, 4, 3, 2)], runs.pairs
    ([True, True, True, True, True, False], [(1, 5)])
    """

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def add(self, number: int) -> bool:
        """Add a number; False if it was there."""
        pairs = self.pairs
        # From the end, as that is where numbers that come in order go.
        index = len(pairs) if not pairs or number > pairs[-1][1] else bisect_right(pairs, number, key=lambda p: p[0])
        if index and number <= pairs[index - 1][1]:
            return False
        first, last = number, number
        if index < len(pairs) and pairs[index][0] == number + 1:
            last = pairs.pop(index)[1]
        if index and pairs[index - 1][1] == number - 1:
            index -= 1
            first = pairs.pop(index)[0]
        pairs.insert(index, (first, last))
        return True


def verify(log: Auditable, *, expected_head: Head | int | None = None) -> Verdict:
    """Read a whole log and hold every event against its UID, its columns, its place and the chain.

    Parameters
    ----------
    expected_head
        A head, or only its position, that this log had earlier and that was kept elsewhere. Without it a lost tail
        cannot be seen, nor a log that somebody wrote anew with a chain that fits.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> verify(log).intact, verify(log, expected_head=2).reason
    (True, 'the log ends at 1, and had 2 events: its tail is lost')
    """
    known = Head(expected_head, b"") if isinstance(expected_head, int) else expected_head
    head = Head(0, CHAIN_START)
    places: dict[str, Runs] = {}
    try:
        for row in log.rows():
            reason = _what_is_wrong(row, head, places)
            if reason:
                return Verdict(False, head, head.position + 1, reason)
            head = Head(row.position, link(head.chain, row.id))
            if known and known.chain and row.position == known.position and head.chain != known.chain:
                return Verdict(False, head, row.position, "the chain up to here is not the one that was recorded")
    except DamagedLog as damage:
        return Verdict(False, head, head.position + 1, str(damage))
    if known and head.position < known.position:
        reason = f"the log ends at {head.position}, and had {known.position} events: its tail is lost"
        return Verdict(False, head, head.position + 1, reason)
    reason = log.self_check()
    return Verdict(not reason, head, None, reason)


def _what_is_wrong(row: Row, head: Head, places: dict[str, Runs]) -> str:
    """Why this row cannot be the one after `head`, empty if it can."""
    if row.position != head.position + 1:
        return f"position {head.position + 1} is missing, {row.position} comes after {head.position}"
    if type(row.id) is not bytes or len(row.id) != ID_BYTES or type(row.body) is not bytes:
        return "UID or content are not bytes"
    if identify(row.id[:TIME_BYTES], row.body) != row.id:
        return "content does not match its UID"
    try:
        event = decode(row.id + row.body, verify=False)
    except InvalidEvent as error:
        return str(error)
    for name in ("stream", "processor", "type", "source", "sequence", "time"):
        if getattr(row, name) != getattr(event, name):
            return f"column {name} says {getattr(row, name)!r}, the event says {getattr(event, name)!r}"
    if row.chain is not None and row.chain != link(head.chain, row.id):
        return "chain does not fit: this or an earlier event was exchanged, moved or taken out"
    if not places.setdefault(event.source, Runs()).add(event.sequence):
        return f"{event.source}#{event.sequence} is there a second time"
    return ""
