"""The peers of the log: PyPI's `eventsourcing`, as its recorder and as its application, and the bare driver.

Each keeps what we keep, in the same number of transactions, as durable: SQLite with WAL and `synchronous = FULL`, which
is the default of both. The recorder gets our bodies ready-made; its application gets events of the same fields. Other
settings are the recorder's own; the bare driver has those of our log.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import apsw

from rarera_sim.adapters.sqlite import CACHE_KB, WAL_PAGES, SqliteLog
from rarera_sim.core.event import Event

PAGE = 1_000


def peer_missing() -> str:
    """Why there is no peer, empty if there is."""
    return "" if find_spec("eventsourcing") else "PyPI's eventsourcing is not installed"


def stream_ids(events: Sequence[Event]) -> dict[str, UUID]:
    return {event.stream: uuid5(NAMESPACE_URL, event.stream) for event in events}


def stored_events(events: Sequence[Event]) -> list[Any]:
    """What the recorder takes: our bodies, with the places that its application would give them."""
    from eventsourcing.persistence import StoredEvent

    ids, versions, stored = stream_ids(events), dict[str, int](), []
    for event in events:
        version = versions[event.stream] = versions.get(event.stream, 0) + 1
        stored.append(StoredEvent(ids[event.stream], version, f"flights:Flight.{event.type}", event.body))
    return stored


def replay_recorder(recorder: Any, count: int) -> None:
    """Everything, in order, in the pages that we read in; undecoded."""
    seen = 0
    while page := recorder.select_notifications(seen + 1, PAGE):
        seen = page[-1].id
    assert seen == count, f"the recorder gave {seen} of {count} events"


@contextmanager
def sqlite_recorder(folder: Path) -> Iterator[Any]:
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

    datastore = SQLiteDatastore(str(folder / "recorder.sqlite"))
    try:
        recorder = SQLiteApplicationRecorder(datastore)
        recorder.create_table()
        yield recorder
    finally:
        datastore.close()


@contextmanager
def sqlite_raw(folder: Path, log: SqliteLog) -> Iterator[Callable[[Sequence[tuple[Any, ...]]], None]]:
    """The bare driver on tables, indexes and settings like those of `log`: appends rows made beforehand."""
    theirs = apsw.Connection(str(folder / "raw.sqlite"))
    ours = apsw.Connection(str(log.path), apsw.SQLITE_OPEN_READONLY)
    try:
        theirs.pragma("journal_mode", "wal")
        theirs.execute("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
        theirs.execute(f"PRAGMA cache_size = -{CACHE_KB}; PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        for (made,) in ours.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall():
            theirs.execute(str(made))
        marks = ", ".join("?" for _ in ours.execute("SELECT name FROM pragma_table_info('events')"))

        def append(rows: Sequence[tuple[Any, ...]]) -> None:
            theirs.execute("BEGIN IMMEDIATE")
            theirs.executemany(f"INSERT INTO events VALUES ({marks})", rows)
            theirs.execute("COMMIT")

        yield append
    finally:
        theirs.close()
        ours.close()


def sqlite_rows(log: SqliteLog) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(log.path), apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT * FROM events ORDER BY position").fetchall()
    finally:
        connection.close()


@contextmanager
def application(environment: dict[str, str], name: str = "flights") -> Iterator[Any]:
    """An application; `environment` says where it keeps its events, `name` is part of its table's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from eventsourcing.application import Application

        app = type("Flights", (Application,), {"name": name})(environment)
        try:
            yield app
        finally:
            app.close()


def sqlite_environment(folder: Path) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "application.sqlite")}


def domain_events(events: Sequence[Event]) -> list[Any]:
    """Events of the same content for the peer's application; the first of a stream makes its aggregate."""
    from eventsourcing.utils import get_topic

    from rarera_sim.benchmarks.peer_flight import Flight

    topic = get_topic(Flight)
    ids, versions, made = stream_ids(events), dict[str, int](), []
    for event in events:
        version = versions[event.stream] = versions.get(event.stream, 0) + 1
        fields = {
            "originator_id": ids[event.stream],
            "originator_version": version,
            "timestamp": datetime.fromtimestamp(event.time / 1e9, UTC),
            "kind": event.type,
            "source": event.source,
            "sequence": event.sequence,
            **event.data,
        }
        made.append(Flight.Created(originator_topic=topic, **fields) if version == 1 else Flight.Reported(**fields))
    return made
