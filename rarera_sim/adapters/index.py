"""Where everything in a log is, in memory: what a store that has no indexes of its own is asked instead."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import merge, nsmallest
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import orjson

from rarera_sim.core.errors import Conflict, DamagedLog, WrongPosition
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, Event, EventId, Frame, Recorded
from rarera_sim.core.integrity import Runs
from rarera_sim.core.log import ALL, Query, uids_from

SPAN: Final = 1_024  # positions that share one entry of the index over time
GAP: Final = 16  # positions that are read along with others rather than passed over


class Index:
    """Where everything is: built from the events of a log when it is opened, and kept with every append.

    Examples
    --------
    >>> index = Index()
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> index.fresh([event, event]) == [event]
    True
    >>> index.add(1, event)
    >>> index.fresh([event]), index.positions[event.id], index.stream_position("EWR/UA1"), index.sequences()
    ([], 1, 1, {'EWR': [(1, 1)]})
    """

    def __init__(self) -> None:
        self.positions: dict[EventId, int] = {}
        self._places: dict[str, Runs] = {}
        self._streams: dict[str, array[int]] = {}
        self._processors: dict[str, list[str]] = {}
        self._earliest = array("q")  # per span of positions: what lies outside of the times asked for is not read
        self._latest = array("q")

    @property
    def head(self) -> int:
        return len(self.positions)

    def fresh(self, events: Sequence[Event], stream: str | None = None, expected: int | None = None) -> list[Event]:
        """The events that are not in the log, each once; `WrongPosition` if their `stream` is not where expected."""
        fresh: dict[EventId, Event] = {}
        places: set[tuple[str, int]] = set()
        for event in events:
            event_id = event.id
            if event_id in self.positions or event_id in fresh:
                continue
            place = (event.source, event.sequence)
            if place in places or self._is_taken(*place):
                raise Conflict(f"{event.source}#{event.sequence} is recorded with other content than {event!r}")
            fresh[event_id] = event
            places.add(place)
        # A batch that is all there was appended by this caller, who did not hear of it: no lost race.
        if stream is not None and fresh and (at := self.stream_position(stream)) != expected:
            raise WrongPosition(f"stream {stream} is at position {at}, expected {expected}")
        return list(fresh.values())

    def _is_taken(self, source: str, sequence: int) -> bool:
        runs = self._places.get(source)
        if runs is None or sequence > runs.pairs[-1][1]:
            return False
        at = bisect_right(runs.pairs, sequence, key=lambda pair: pair[0])
        return bool(at) and sequence <= runs.pairs[at - 1][1]

    def add(self, position: int, event: Event) -> None:
        self._add(position, event.id, event.stream, event.source, event.sequence, event.time)

    def add_frame(self, position: int, frame: Frame, path: Path) -> None:
        try:
            stream, _, source, sequence, *_ = orjson.loads(frame[ID_BYTES:])
            moment = int.from_bytes(frame[:TIME_BYTES], "big")
            self._add(position, frame[:ID_BYTES], stream, source, sequence, moment)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DamagedLog(f"position {position} in {path}: {error}") from None

    def _add(self, position: int, event_id: EventId, stream: str, source: str, sequence: int, moment: int) -> None:
        if self.positions.setdefault(event_id, position) != position:
            raise DamagedLog(f"position {position} holds the event of position {self.positions[event_id]} again")
        runs = self._places.get(source)
        if runs is None:
            runs = self._places[source] = Runs()
        if not runs.add(sequence):
            raise DamagedLog(f"position {position}: {source}#{sequence} is there a second time")
        positions = self._streams.get(stream)
        if positions is None:
            positions = self._streams[stream] = array("q")
            self._processors.setdefault(stream.partition("/")[0], []).append(stream)
        positions.append(position)
        span = (position - 1) // SPAN
        if span == len(self._earliest):
            self._earliest.append(moment)
            self._latest.append(moment)
        elif moment < self._earliest[span]:
            self._earliest[span] = moment
        elif moment > self._latest[span]:
            self._latest[span] = moment

    def stream_position(self, stream: str) -> int:
        positions = self._streams.get(stream)
        return positions[-1] if positions else 0

    def beginning(self, prefix: str, limit: int) -> list[int]:
        """The positions of up to `limit` UIDs that begin with these hex digits, in order of the UIDs."""
        first, last = uids_from(prefix)
        found = nsmallest(limit, (event_id for event_id in self.positions if first <= event_id <= last))
        return [self.positions[event_id] for event_id in found]

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        return {source: list(self._places[source].pairs) for source in sorted(self._places)}

    def pick(
        self, query: Query, after: int, last: int, limit: int | None, backwards: bool, records: Records
    ) -> Iterator[Recorded]:
        """The events of a query at the positions `after` < position <= `last`, as `records` reads them."""
        if after >= last or limit == 0:
            return iter(())
        found = (
            recorded
            for first, end in self._runs(query, after, last, backwards)
            for recorded in records(first, end, backwards)
        )
        if query != ALL:
            found = (recorded for recorded in found if query.matches(recorded.event))
        return islice(found, None if limit is None else min(limit, last))

    def _runs(self, query: Query, after: int, last: int, backwards: bool) -> Iterator[tuple[int, int]]:
        """Runs of positions that hold all that match, and some that do not."""
        if query.streams:
            streams = list(dict.fromkeys(query.streams))
        elif query.processors:
            streams = [name for each in dict.fromkeys(query.processors) for name in self._processors.get(each, ())]
        elif query.since is not None or query.until is not None:
            return _joined(self._spans(query, after, last, backwards), 0, backwards)
        else:
            return iter([(after + 1, last)])
        positions = (self._between(self._streams.get(stream), after, last, backwards) for stream in streams)
        return _joined(((at, at) for at in merge(*positions, reverse=backwards)), GAP, backwards)

    def _between(self, positions: array[int] | None, after: int, last: int, backwards: bool) -> Iterator[int]:
        if positions is None:
            return iter(())
        wanted = range(bisect_right(positions, after), bisect_right(positions, last))
        return (positions[at] for at in (reversed(wanted) if backwards else wanted))

    def _spans(self, query: Query, after: int, last: int, backwards: bool) -> Iterator[tuple[int, int]]:
        spans = range(after // SPAN, (last - 1) // SPAN + 1)
        for span in reversed(spans) if backwards else spans:
            if (query.since is None or self._latest[span] >= query.since) and (
                query.until is None or self._earliest[span] <= query.until
            ):
                yield max(after, span * SPAN) + 1, min(last, (span + 1) * SPAN)


class Records(Protocol):
    """Reads the events at the positions `first` to `last`."""

    def __call__(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]: ...


def _joined(runs: Iterator[tuple[int, int]], gap: int, backwards: bool) -> Iterator[tuple[int, int]]:
    """Runs that are no more than `gap` positions apart as one: reading a few too many costs less than seeking."""
    first, last = next(runs, (0, 0))
    if not last:
        return
    for start, end in runs:
        if (first - end if backwards else start - last) <= gap + 1:
            first, last = min(first, start), max(last, end)
        else:
            yield first, last
            first, last = start, end
    yield first, last
