"""What a log in a folder answers from its index: the same whether events lie in segments or in tiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rarera_sim.adapters import beside
from rarera_sim.adapters.folders import Lock, clear_errors
from rarera_sim.adapters.index import Index
from rarera_sim.core.errors import BadInput, StorageFailed
from rarera_sim.core.event import EventId, Recorded
from rarera_sim.core.log import ALL, Query, last_wanted
from rarera_sim.core.trace import Step


class IndexedLog(ABC):
    """A log in a folder, with an index of all its events in memory: what reads by index and keeps things beside it.

    A class that is one says how it learns of what others appended, and where the events of a stretch lie.
    """

    path: Path
    read_only: bool
    _index: Index
    _lock: Lock
    _closed: bool

    @abstractmethod
    def _refresh(self) -> None:
        """Take in what was appended since the last time."""

    @abstractmethod
    def _records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        """The events from one position to another, both included."""

    @abstractmethod
    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None beyond the end: what a snapshot is held against."""

    def _check_open(self) -> None:
        if self._closed:
            raise StorageFailed(f"log {self.path} is closed")

    # Reading

    def read(
        self,
        query: Query = ALL,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Iterator[Recorded]:
        last = last_wanted(self.head(), after, upto, limit)
        return self._index.pick(query, after, last, limit, backwards, self._records)

    def head(self) -> int:
        with clear_errors(self.path):
            self._refresh()
        return self._index.head

    def find(self, event_id: EventId) -> Recorded | None:
        self.head()
        position = self._index.positions.get(event_id)
        return next(self._records(position, position, False)) if position else None

    def find_prefix(self, prefix: str, *, limit: int = 20) -> list[Recorded]:
        """Up to `limit` events whose UID, in hex, begins so; the first 16 digits are the creation time."""
        self.head()
        found = self._index.beginning(prefix, limit)
        return [next(self._records(position, position, False)) for position in found]

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        self.head()
        return self._index.sequences()

    # Beside the events

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the write lock, as whoever changes what lies beside the events has to."""
        with clear_errors(self.path):
            self._check_open()
            if self.read_only:
                raise BadInput(f"log {self.path} is read-only")
            with self._lock.held():
                yield

    def save_steps(self, steps: Iterable[Step]) -> None:
        """Keep what happened to events on their way, beside the log; no part of it, and covered by no UID."""
        beside.save_steps(self, steps)

    def steps_of(self, event_id: EventId) -> list[Step]:
        """The journey of one event, in order of time."""
        return beside.steps_of(self, event_id)
