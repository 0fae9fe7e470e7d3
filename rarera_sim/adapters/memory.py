"""Everything in this process's memory: fast, and gone with it. The model and tests live on these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice

from rarera_sim.core.bus import EVERYTHING, Notification, Ring
from rarera_sim.core.errors import Conflict, WrongPosition
from rarera_sim.core.event import Event, EventId, Recorded
from rarera_sim.core.integrity import CHAIN_START, Head, Row, Runs, link
from rarera_sim.core.log import ALL, Query, check_expected, last_wanted, uids_from
from rarera_sim.core.snapshot import Chained, Snapshot, usable
from rarera_sim.core.time import Timestamp
from rarera_sim.core.trace import Step


class MemoryLog:
    """A log in a list.

    Examples
    --------
    >>> log = MemoryLog()
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> len(log.append([event])), len(log.append([event])), log.head()
    (1, 0, 1)
    """

    def __init__(self) -> None:
        self._records: list[Recorded] = []
        self._positions: dict[EventId, int] = {}
        self._places: dict[tuple[str, int], EventId] = {}
        self._streams: dict[str, int] = {}
        self._chains = [CHAIN_START]  # as far as anybody asked: a log that nobody verifies need not hash twice
        self._steps: dict[EventId, list[Step]] = {}

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        stream = check_expected(events, expected)
        fresh: dict[EventId, Event] = {}
        places: dict[tuple[str, int], EventId] = {}
        for event in events:
            event_id = event.id
            if event_id in self._positions or event_id in fresh:
                continue
            place = (event.source, event.sequence)
            if place in self._places or place in places:
                raise Conflict(f"{event.source}#{event.sequence} is recorded with other content than {event!r}")
            fresh[event_id] = event
            places[place] = event_id
        if stream is not None and fresh and (at := self._streams.get(stream, 0)) != expected:
            raise WrongPosition(f"stream {stream} is at position {at}, expected {expected}")
        # Nothing was touched until here, so a conflict leaves no half of a batch behind.
        position = len(self._records)
        appended = []
        for event_id, event in fresh.items():
            position += 1
            recorded = Recorded(position, event)
            appended.append(recorded)
            self._positions[event_id] = position
            self._streams[event.stream] = position
        self._places.update(places)
        self._records.extend(appended)
        return appended

    def read(
        self,
        query: Query = ALL,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Iterator[Recorded]:
        last = last_wanted(len(self._records), after, upto, limit)
        positions = range(last - 1, after - 1, -1) if backwards else range(after, last)
        found = (self._records[index] for index in positions)
        if query != ALL:
            found = (recorded for recorded in found if query.matches(recorded.event))
        return islice(found, None if limit is None else min(limit, last))

    def head(self) -> int:
        return len(self._records)

    def find(self, event_id: EventId) -> Recorded | None:
        position = self._positions.get(event_id)
        return self._records[position - 1] if position else None

    def find_prefix(self, prefix: str, *, limit: int = 20) -> list[Recorded]:
        """Up to `limit` events whose UID, in hex, begins so; the first 16 digits are the creation time."""
        first, last = uids_from(prefix)
        found = nsmallest(limit, (event_id for event_id in self._positions if first <= event_id <= last))
        return [self._records[self._positions[event_id] - 1] for event_id in found]

    def chain_head(self) -> Head:
        """The newest position and the chain up to it."""
        head = len(self._records)
        return Head(head, self._chain(head))

    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None beyond the end."""
        return self._chain(position) if position <= len(self._records) else None

    def _chain(self, position: int) -> bytes:
        for _, event in self._records[len(self._chains) - 1 : position]:
            self._chains.append(link(self._chains[-1], event.id))
        return self._chains[position]

    def save_steps(self, steps: Iterable[Step]) -> None:
        """Keep what happened to events on their way, beside the log; no part of it, and covered by no UID."""
        for step in steps:
            self._steps.setdefault(step.event_id, []).append(step)

    def steps_of(self, event_id: EventId) -> list[Step]:
        """The journey of one event, in order of time."""
        return sorted(self._steps.get(event_id, ()), key=lambda step: step.time)

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        runs: dict[str, Runs] = {}
        for source, sequence in sorted(self._places):
            runs.setdefault(source, Runs()).add(sequence)
        return {source: run.pairs for source, run in runs.items()}

    def rows(self) -> Iterator[Row]:
        """What `verify` reads; nothing else keeps a chain beside the events here, so there is none to compare."""
        for position, event in self._records:
            yield Row(
                position,
                event.id,
                event.stream,
                event.processor,
                event.type,
                event.source,
                event.sequence,
                event.time,
                None,
                event.body,
            )

    def self_check(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing to close."""


class MemoryBus:
    """A bus inside this process: listeners are called in the order they came, before `publish` returns."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Ring]] = {}

    def publish(self, notifications: Sequence[Notification]) -> None:
        for notification in notifications:
            for topic in (notification.topic, EVERYTHING):
                for ring in tuple(self._listeners.get(topic, ())):
                    ring(notification)

    def listen(self, topics: Iterable[str], ring: Ring) -> Callable[[], None]:
        topics = tuple(topics)
        for topic in topics:
            self._listeners.setdefault(topic, []).append(ring)

        def stop() -> None:
            for topic in topics:
                if ring in self._listeners.get(topic, ()):
                    self._listeners[topic].remove(ring)

        return stop


class MemorySnapshots:
    """Snapshots in a dict, all of them: looking back needs the old ones.

    Parameters
    ----------
    log
        What they are made from, so that none is used that the log no longer bears out; without it all are trusted.
    """

    def __init__(self, log: Chained | None = None) -> None:
        self._log = log
        self._kept: dict[tuple[str, int], dict[int, tuple[Snapshot, bytes | None]]] = {}

    def save(self, snapshot: Snapshot) -> None:
        kept = self._kept.setdefault((snapshot.projection, snapshot.version), {})
        kept[snapshot.position] = snapshot, self._chain_at(snapshot.position)

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        kept = self._kept.get((projection, version), {})
        for _, (snapshot, chain) in sorted(kept.items(), reverse=True):
            if usable(snapshot, upto, as_of) and chain == self._chain_at(snapshot.position):
                return snapshot
        return None

    def _chain_at(self, position: int) -> bytes | None:
        return self._log.chain_at(position) if self._log else None

    def clear(self) -> None:
        self._kept.clear()


class MemoryCheckpoints:
    """Checkpoints in a dict."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    def load(self, name: str) -> int:
        return self._positions.get(name, 0)

    def save(self, name: str, position: int) -> None:
        self._positions[name] = position
