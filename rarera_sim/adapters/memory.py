"""Everything in this process's memory: fast, and gone with it. The model and tests live on these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from rarera_sim.core.bus import EVERYTHING, Notification, Ring
from rarera_sim.core.errors import Conflict, WrongPosition
from rarera_sim.core.event import Event, EventId, Recorded
from rarera_sim.core.integrity import Row, Runs
from rarera_sim.core.log import ALL, Query, check_expected, check_range
from rarera_sim.core.snapshot import Snapshot, usable
from rarera_sim.core.time import Timestamp


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
        check_range(after, upto, limit)
        last = len(self._records) if upto is None else min(upto, len(self._records))
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
    """Snapshots in a dict, all of them: looking back needs the old ones."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], dict[int, Snapshot]] = {}

    def save(self, snapshot: Snapshot) -> None:
        self._kept.setdefault((snapshot.projection, snapshot.version), {})[snapshot.position] = snapshot

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        kept = self._kept.get((projection, version), {})
        candidates = (snapshot for snapshot in kept.values() if usable(snapshot, upto, as_of))
        return max(candidates, key=lambda snapshot: snapshot.position, default=None)

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
