"""The log: an append-only sequence of events, the truth that everything else is derived from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from rarera_sim.core.errors import BadInput, SkippedPosition
from rarera_sim.core.event import ID_BYTES, Event, EventId, Recorded
from rarera_sim.core.time import Timestamp


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: every field narrows, an empty one does not.

    Parameters
    ----------
    processors, streams, types, sources
        Names to keep; an event must match one of each field given.
    since, until
        Creation times (GST, ns), both included, as in the paper's query.

    Examples
    --------
    >>> query = Query(processors=("EWR",), types=("arrived",))
    >>> query.matches(Event("EWR/UA1545", "arrived", {}, source="IAH", sequence=1, time=0))
    True
    >>> query.matches(Event("EWR/UA1545", "departed", {}, source="EWR", sequence=1, time=0))
    False
    """

    processors: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    since: Timestamp | None = None
    until: Timestamp | None = None

    def __post_init__(self) -> None:
        for name in ("processors", "streams", "types", "sources"):
            # A lone string is a sequence of letters, and a query for letters silently finds nothing.
            names = getattr(self, name)
            if not isinstance(names, tuple) or not all(isinstance(each, str) for each in names):
                raise BadInput(f"{name} must be a tuple of names, got {names!r}")
        for name in ("since", "until"):
            time = getattr(self, name)
            if time is not None and type(time) is not int:
                raise BadInput(f"{name} must be whole nanoseconds, got {time!r}")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise BadInput(f"since must not be after until, got {self.since} > {self.until}")

    def matches(self, event: Event) -> bool:
        return (
            (not self.types or event.type in self.types)
            and (not self.processors or event.processor in self.processors)
            and (not self.streams or event.stream in self.streams)
            and (not self.sources or event.source in self.sources)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
        )


ALL = Query()


class EventLog(Protocol):
    """What every log does, whatever it is kept in; `tests/adapters/test_event_log.py` is the contract.

    Positions are dense from 1 and given in commit order: nothing ever appears behind a reader.
    """

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        """Append all or nothing; durable, as far as the adapter promises, when it returns.

        Each event has one of three outcomes: *appended* (in the result), *duplicate* (its UID is there already, or
        twice in the batch: left out of the result), or *conflict* (its source and sequence are taken by an event
        with another UID: raises `Conflict`, and nothing of the batch is appended).

        Parameters
        ----------
        events
            In the order wanted.
        expected
            Optimistic concurrency: the position of the newest event of the batch's one stream that the caller has
            seen, 0 for none. If the stream has moved on, raises `WrongPosition`. A batch that is recorded already
            is a repeat whatever is expected: its caller appended it and did not hear of it.
        """
        ...

    def read(
        self,
        query: Query = ALL,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Iterator[Recorded]:
        """The recorded events at positions `after` < position <= `upto`, in order or backwards.

        They are those that were recorded when `read` was called. An iterator that is left half-read holds nothing.
        """
        ...

    def head(self) -> int:
        """The newest position, 0 for an empty log."""
        ...

    def find(self, event_id: EventId) -> Recorded | None:
        """The event with this UID, if it is recorded."""
        ...

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        """Per source, the runs (first, last) of sequence numbers recorded: what a restarted inbox needs to know."""
        ...

    def close(self) -> None: ...


def shows_all(log: EventLog) -> bool:
    """Whether a log shows every position to its reader; one that is opened as a role held to some streams does not.

    Such a log has a true `restricted`. To its readers a hole is not damage.
    """
    return not getattr(log, "restricted", False)


def check_expected(events: Sequence[Event], expected: int | None) -> str | None:
    """The one stream that an expected position is about, or None where no position is expected."""
    if expected is None:
        return None
    streams = {event.stream for event in events}
    if len(streams) != 1:
        raise BadInput(f"expected= is about one stream, got events of {sorted(streams) or 'none'}")
    return streams.pop()


def skipped(name: str, missing: int, found: int | None, beyond: int) -> SkippedPosition:
    """The error of a hole in a log, which reaches from its first missing position to the next that was found.

    It may have been met backwards. Where nothing was found after it, it reaches to just before `beyond`.

    >>> error = skipped("log.sqlite", 3, 6, 9)
    >>> print(error, error.first, error.last)
    position 3 is missing in log.sqlite 3 5
    >>> skipped("log.sqlite", 3, None, 0).first
    1
    """
    end = beyond if found is None else found
    first, last = (missing, end - 1) if end > missing else (end + 1, missing)
    return SkippedPosition(f"position {missing} is missing in {name}", first, last)


def last_wanted(head: int, after: int, upto: int | None, limit: int | None) -> int:
    """Where a read ends that is asked for now: fixed, so that it sees the log as it was, however slowly it is consumed.

    >>> last_wanted(10, 3, None, None), last_wanted(10, 3, 7, 2), last_wanted(10, 3, 2**70, None)
    (10, 7, 10)
    """
    check_range(after, upto, limit)
    return head if upto is None else min(upto, head)


def uids_from(prefix: str) -> tuple[EventId, EventId]:
    """The first and the last UID that begin with some hex digits; the first 16 digits are the creation time.

    >>> [uid.hex()[:6] for uid in uids_from("12D5")]
    ['12d500', '12d5ff']
    """
    prefix = prefix.strip().lower()
    try:
        first, last = (bytes.fromhex(prefix.ljust(2 * ID_BYTES, digit)) for digit in "0f")
    except ValueError:
        first = last = b""
    if not prefix or len(first) != ID_BYTES:
        raise BadInput(f"a UID is 1 to {2 * ID_BYTES} hex digits, got {prefix!r}")
    return first, last


def check_range(after: int, upto: int | None, limit: int | None) -> None:
    for name, value in (("after", after), ("upto", upto), ("limit", limit)):
        if value is not None and (type(value) is not int or value < 0):
            raise BadInput(f"{name} must be an integer >= 0, got {value!r}")
