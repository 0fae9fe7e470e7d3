"""A log in one SQLite file: the default, embedded, safe with several processes that read and write.

positions   are rowids, given by us under the write lock: dense, in commit order, nothing appears behind a reader
names       of stream, processor, type and source are numbers into a table: 6.3 us an event instead of 10.5
indexes     (id): finds by UID or time, and holds every UID once     (source, sequence): repeats and conflicts
            (processor, type, time): the paper's query               (block, stream): reads a stream
blocks      of 4,096 positions: `blocks` has the first and the last time in each, so that a moment is looked for only
            where it can be; and an index over all streams has a page for each, all written anew with every batch
chain       one more value per event, see :mod:`rarera_sim.core.integrity`: 0.7 us and 37 bytes
library     apsw, which brings its own SQLite: before 3.51.3 two connections that reset the WAL can corrupt it

Figures are CPU per event of 212 bytes in batches of 100. Python's `sqlite3` takes whatever library the system has,
under many a Python 3.11 that is 3.40; so it is not used.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import apsw

from rarera_sim.adapters.snapshot_rows import is_intact, latest_snapshot, snapshot_row
from rarera_sim.core.errors import (
    BadInput,
    BusyLog,
    Conflict,
    DamagedLog,
    RareraError,
    SkippedPosition,
    StorageFailed,
    UnknownFormat,
    WrongPosition,
)
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, Event, EventId, Frame, Recorded, decode_rows, encode_all
from rarera_sim.core.integrity import CHAIN_START, Head, Row
from rarera_sim.core.log import ALL, Query, check_expected, last_wanted, skipped, uids_from
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.time import TIMESTAMP_MAX, Timestamp
from rarera_sim.core.trace import Step

APPLICATION_ID: Final = int.from_bytes(b"RARE", "big")
FORMAT: Final = 2
FORMAT_SINCE: Final = "0.1.0"  # the first version of this package that reads FORMAT
LIBRARY_MIN: Final = (3, 51, 3)

# A page is decoded at once: 250 rows stay in the processor's cache, 1,000 cost a tenth more.
PAGE = 250
PAGE_BYTES = 4_000_000
COLUMNS_PAGE = 10_000
# Events of many streams go to as many pages of an index. With SQLite's 2 MB of cache and a checkpoint every 1,000
# pages, appending to a log of a million events of 1,000 streams costs twice as much, by the clock three times.
CACHE_KB = 16_000
WAL_PAGES = 4_000
# Below this many positions a scan is cheaper than asking an index first; above it, an index has to rule out most.
SCAN_MAX = 4_096
SCAN_SHARE = 16
NAMES_MAX = 100_000
# Part of the format. An append writes the 9 pages of one block's streams, however many streams there are; who reads a
# stream asks each block, 1 us for each: 2 ms in a log of ten million events.
BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS

_OF_BLOCKS = f"""
CREATE INDEX events_by_stream ON events (position >> {BLOCK_BITS}, stream);
CREATE TABLE blocks (
    block    INTEGER PRIMARY KEY,
    events   INTEGER NOT NULL,
    time_min INTEGER NOT NULL,
    time_max INTEGER NOT NULL
);
"""
_SNAPSHOTS = """
CREATE TABLE snapshots (
    projection TEXT NOT NULL,
    version    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    time_max   INTEGER NOT NULL,
    state      BLOB NOT NULL,
    chain      BLOB,
    digest     BLOB NOT NULL,
    PRIMARY KEY (projection, version, position)
);
"""
_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE events (
    position  INTEGER PRIMARY KEY,
    id        BLOB NOT NULL,
    stream    INTEGER NOT NULL REFERENCES names,
    processor INTEGER NOT NULL REFERENCES names,
    type      INTEGER NOT NULL REFERENCES names,
    source    INTEGER NOT NULL REFERENCES names,
    sequence  INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    body      BLOB NOT NULL,
    chain     BLOB NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (id);
CREATE UNIQUE INDEX events_by_place ON events (source, sequence);
CREATE INDEX events_by_kind ON events (processor, type, time);
{_OF_BLOCKS}{_SNAPSHOTS}
CREATE TABLE checkpoints (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE steps (time REAL NOT NULL, stage TEXT NOT NULL, event_id BLOB NOT NULL, place TEXT NOT NULL);
CREATE INDEX steps_by_event ON steps (event_id);
INSERT INTO meta VALUES ('needs', '{FORMAT_SINCE}');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

# What a log of an earlier format lacks. Its snapshots do not say which events they were made of, and are made again.
_UPGRADES = {
    1: f"""
DROP INDEX events_by_stream;
DROP TABLE snapshots;
{_OF_BLOCKS}{_SNAPSHOTS}
INSERT INTO blocks SELECT position >> {BLOCK_BITS}, count(*), min(time), max(time) FROM events GROUP BY 1;
UPDATE meta SET value = '{FORMAT_SINCE}' WHERE name = 'needs';
PRAGMA user_version = 2;
"""
}
_BLOCK_OF = """
INSERT INTO blocks VALUES (?, ?, ?, ?) ON CONFLICT (block) DO UPDATE
SET events = events + excluded.events, time_min = min(time_min, excluded.time_min),
    time_max = max(time_max, excluded.time_max)
"""
# Only if the events it counts reach as far as the block, or the log, does a block rule a time out.
_RULED_OUT = f"""
SELECT block FROM blocks
WHERE block BETWEEN ? AND ? AND (time_min > ? OR time_max < ?)
    AND max(block << {BLOCK_BITS}, 1) + events > min((block << {BLOCK_BITS}) + {BLOCK - 1}, ?)
ORDER BY block
"""
_WRONG_BLOCK = f"""
SELECT block FROM (
    SELECT position >> {BLOCK_BITS} AS block, count(*), min(time), max(time) FROM events GROUP BY 1
    EXCEPT SELECT * FROM blocks
) UNION SELECT block FROM blocks WHERE block > (SELECT ifnull(max(position), 0) >> {BLOCK_BITS} FROM events)
ORDER BY block LIMIT 1
"""
# Block after block, so that positions come in order and nobody waits for all of them.
_IN_BLOCKS = f"""
WITH RECURSIVE span (block) AS (SELECT ? UNION ALL SELECT block + 1 FROM span WHERE block < ?)
SELECT position FROM span CROSS JOIN events INDEXED BY events_by_stream WHERE position >> {BLOCK_BITS} = block
"""
_IN_ALL_BLOCKS = f"""IN (
WITH RECURSIVE span (block) AS (
    SELECT 0 UNION ALL SELECT block + 1 FROM span WHERE block < (SELECT max(position) >> {BLOCK_BITS} FROM events)
)
SELECT e.position FROM span CROSS JOIN events AS e INDEXED BY events_by_stream
WHERE e.position >> {BLOCK_BITS} = block AND e.stream"""
_NEWEST_OF_STREAM = f"""
WITH RECURSIVE span (block) AS (
    SELECT max(position) >> {BLOCK_BITS} FROM events UNION ALL SELECT block - 1 FROM span WHERE block > 0
)
SELECT newest FROM (
    SELECT (SELECT max(position) FROM events INDEXED BY events_by_stream
            WHERE position >> {BLOCK_BITS} = block AND stream = ?) AS newest FROM span
) WHERE newest NOT NULL LIMIT 1
"""

_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TAKEN = "SELECT id FROM events WHERE source = ? AND sequence = ?"
_ROWS = """
SELECT e.position, e.id, stream.name, processor.name, type.name, source.name, e.sequence, e.time, e.chain, e.body
FROM events AS e
LEFT JOIN names AS stream ON stream.number = e.stream
LEFT JOIN names AS processor ON processor.number = e.processor
LEFT JOIN names AS type ON type.number = e.type
LEFT JOIN names AS source ON source.number = e.source
WHERE e.position > ? ORDER BY e.position LIMIT ?
"""
# Joined by "," where the values are integers, by a newline where they are JSON, which has none, else by nothing.
_COLUMNS = """
SELECT count(*), group_concat(position), CAST(group_concat(id, '') AS BLOB), group_concat(stream), group_concat(type),
    group_concat(source), group_concat(sequence), CAST(group_concat(body, x'0a') AS BLOB)
FROM (SELECT * FROM events WHERE position > ? AND position <= ?{} ORDER BY position)
"""
# A run of sequences is where sequence and rank grow together; the index (source, sequence) answers without a row read.
_RUNS = """
SELECT names.name, min(sequence), max(sequence)
FROM (SELECT source, sequence, sequence - row_number() OVER (PARTITION BY source ORDER BY sequence) AS run FROM events)
JOIN names ON names.number = source
GROUP BY source, run ORDER BY names.name, min(sequence)
"""


class SqliteLog:
    """A log in an SQLite file.

    One object belongs to one thread; any number of them, in any number of processes, may share a file.

    Parameters
    ----------
    path
        The file; beside it SQLite keeps `-wal` and `-shm` while the log is open.
    create
        Make the file where there is none.
    read_only
        Refuse every change, and open a file that may not be changed.
    durability
        "full": what `append` acknowledged survives a power cut (one fsync per append). "normal": it survives the end
        of the process, however sudden; a power cut may take the newest appends, never the log's consistency.
    busy_timeout
        Seconds to wait for another writer before `BusyLog`.

    Examples
    --------
    >>> import tempfile
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> with tempfile.TemporaryDirectory() as folder, SqliteLog(folder + "/events.sqlite") as log:
    ...     len(log.append([event])), len(log.append([event])), log.head()
    (1, 0, 1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        durability: Literal["full", "normal"] = "full",
        busy_timeout: float = 5.0,
    ) -> None:
        if durability not in ("full", "normal"):
            raise BadInput(f"durability must be 'full' or 'normal', got {durability!r}")
        if not 0 <= busy_timeout <= 86_400:
            raise BadInput(f"busy_timeout must be 0 to 86400 s, got {busy_timeout!r}")
        check_library(apsw.sqlite_lib_version())
        self.path = Path(path)
        self.read_only = read_only
        create = create and not read_only
        _check_path(self.path, create)
        deadline = time.monotonic() + busy_timeout
        while True:
            try:
                self._connection = self._open(create, durability, busy_timeout)
                break
            except BusyLog:
                # Two that make one log at once: SQLite refuses the second change to WAL without waiting.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.002)
        self._names = _Names(self._connection)

    def __repr__(self) -> str:
        return f"SqliteLog({str(self.path)!r})"

    def __enter__(self) -> SqliteLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # Writing

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        stream = check_expected(events, expected)
        if not events:
            return []
        frames = encode_all(events)  # what has no canonical form is refused, and hashed, before anybody has to wait
        with self._clear_errors():
            if stream is None:
                try:
                    with self._writing():
                        return self._insert(events, frames)
                except apsw.ConstraintError:
                    # Repeats are rare, so they are looked for only after a unique index has refused the batch.
                    pass
            try:
                with self._writing():
                    fresh = self._fresh(events)
                    # A batch that is all there was appended by this caller, who did not hear of it: no lost race.
                    if stream is not None and fresh and (at := self._stream_position(stream)) != expected:
                        raise WrongPosition(f"stream {stream} is at position {at}, expected {expected}")
                    return self._insert(fresh, encode_all(fresh))
            except apsw.ConstraintError as error:
                raise DamagedLog(f"the indexes of {self.path} disagree with its events: {error}") from error

    def _fresh(self, events: Sequence[Event]) -> list[Event]:
        """The events that are not in the log, each once."""
        places: dict[tuple[str, int], EventId] = {}
        fresh = []
        for event in events:
            place = (event.source, event.sequence)
            event_id = event.id
            there = (
                places.get(place)
                or self._connection.execute(
                    "SELECT id FROM events WHERE source = ? AND sequence = ?",
                    (self._names[event.source], event.sequence),
                ).get
            )
            if there is None:
                places[place] = event_id
                fresh.append(event)
            elif there != event_id:
                raise Conflict(f"{event.source}#{event.sequence} is recorded with other content than {event!r}")
        return fresh

    def _insert(self, events: Sequence[Event], frames: Sequence[Frame]) -> list[Recorded]:
        if not events:
            return []
        position, chain = self.chain_head()
        first = position + 1
        ids = [frame[:ID_BYTES] for frame in frames]
        chains = []
        for event_id in ids:
            chain = sha256(chain + event_id).digest()  # `link`, without the call
            chains.append(chain)
        number, streams = self._names.__getitem__, [event.stream for event in events]
        times = [event.time for event in events]
        # Column by column: a tenth less for an append of 1,000 than row by row, or than rows made as SQLite takes them.
        rows = zip(
            itertools.count(first),
            ids,
            [*map(number, streams)],  # now, and not while SQLite inserts: a new name is an insertion of its own
            [*map(self._names.processors.__getitem__, streams)],
            [number(event.type) for event in events],
            [number(event.source) for event in events],
            [event.sequence for event in events],
            times,
            [frame[ID_BYTES:] for frame in frames],
            chains,
            strict=False,
        )
        self._connection.executemany(_INSERT, rows)
        self._count_in(first, times)
        # A Recorded made by its own `__new__`, which is Python, costs twice as much.
        return [*map(tuple.__new__, itertools.repeat(Recorded), enumerate(events, first))]

    def _count_in(self, first: int, times: Sequence[Timestamp]) -> None:
        """Note in their blocks what times events have; the first of them is at position `first`."""
        start = 0
        while start < len(times):
            block = (first + start) >> BLOCK_BITS
            part = times[start : ((block + 1) << BLOCK_BITS) - first]
            self._connection.execute(_BLOCK_OF, (block, len(part), min(part), max(part)))
            start += len(part)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # IMMEDIATE: a deferred transaction that reads first and writes then is refused without waiting for its turn.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._names.rolled_back()
            if isinstance(error, apsw.IOError | apsw.FullError):
                # After a failed write or fsync the page cache may look clean and be wrong: never retry on it.
                self._connection.close()
            elif self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._names.committed()

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
        conditions = self._conditions(query)
        if conditions is None or after >= last or limit == 0:
            return iter(())
        ranges = self._ranges(query, after, last)
        if conditions and sum(upto - after for after, upto in ranges) > SCAN_MAX:
            positions = self._positions(conditions, ranges, limit)
            if positions is not None:
                return itertools.chain.from_iterable(self._pick(positions[::-1] if backwards else positions, limit))
        return itertools.chain.from_iterable(self._scan(conditions, ranges, limit, backwards))

    def _ranges(self, query: Query, after: int, last: int) -> list[_Range]:
        """Where events of a query's time can be: what is left of a range without the blocks that rule them out."""
        if last - after <= SCAN_MAX or (query.since is None and query.until is None):
            return [_Range(after, last)]
        until = TIMESTAMP_MAX if query.until is None else min(query.until, TIMESTAMP_MAX)
        ranges = []
        ends = (after + 1) >> BLOCK_BITS, last >> BLOCK_BITS
        for (block,) in self._fetch(_RULED_OUT, (*ends, until, query.since or 0, last)):
            begin = block << BLOCK_BITS
            if after < begin - 1:
                ranges.append(_Range(after, begin - 1))
            after = begin + BLOCK - 1
        if after < last:
            ranges.append(_Range(after, last))
        return ranges

    def _conditions(self, query: Query) -> list[_Condition] | None:
        """A query in the columns of `events`; None if nothing can match."""
        conditions = []
        for column, wanted in (
            ("stream", query.streams),
            ("processor", query.processors),
            ("type", query.types),
            ("source", query.sources),
        ):
            numbers = [number for name in wanted if (number := self._number(name)) is not None]
            if wanted and not numbers:
                return None
            if len(numbers) == 1:
                conditions.append(_Condition(column, "= ?", numbers[0]))
            elif numbers:
                conditions.append(_Condition(column, "IN (SELECT value FROM json_each(?))", str(numbers)))
        if query.since is not None and query.since > 0:
            if query.since > TIMESTAMP_MAX:
                return None
            conditions.append(_Condition("time", ">= ?", query.since))
        if query.until is not None and query.until < TIMESTAMP_MAX:
            if query.until < 0:
                return None
            conditions.append(_Condition("time", "<= ?", query.until))
        return conditions

    def _number(self, name: str) -> int | None:
        try:
            name.encode()
        except UnicodeEncodeError:
            return None
        rows = self._fetch("SELECT number FROM names WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def _positions(self, conditions: list[_Condition], ranges: list[_Range], limit: int | None) -> Sequence[int] | None:
        """The positions that match, from an index; None if they are so many that a scan in order costs less.

        Indexes give positions out of order, so all of them are needed before the first: eight bytes each, and never
        more than one in `SCAN_SHARE` of the ranges.
        """
        after, last = ranges[0].after, ranges[-1].last
        most = sum(upto - after for after, upto in ranges) // SCAN_SHARE
        if limit is not None:
            # Whoever reads a few at a time, as a subscription does, would pay for all matches again and again.
            most = min(most, SCAN_MAX)
        ends: tuple[int, ...] = ()
        if any(condition.column == "stream" for condition in conditions):
            select, ends = f"{_IN_BLOCKS} AND ", (after >> BLOCK_BITS, last >> BLOCK_BITS)
        else:
            select = "SELECT position FROM events WHERE "
            if not any(condition.column == "processor" for condition in conditions):
                conditions = [_by_index(condition) for condition in conditions]
        where = " AND ".join(f"{condition.column} {condition.test}" for condition in conditions)
        values = (*ends, *(condition.value for condition in conditions), most + 1)
        with self._clear_errors():
            rows = self._connection.execute(f"{select}{where} LIMIT ?", values)
            found = array("q", (position for (position,) in rows))
        if len(found) > most:
            return None
        return array("q", sorted(position for position in found if after < position <= last))

    def columns(self, query: Query = ALL) -> Iterator[Columns] | None:
        """The rows of a query as columns, a page at a time, unverified; None where an index finds them faster.

        A third of the time of reading rows: SQLite joins the values of a page, and hands over eight instead of
        thousands. It is for :mod:`rarera_sim.adapters.frames`, which verifies them.
        """
        conditions = self._conditions(query)
        if conditions is None:
            return iter(())
        ranges = self._ranges(query, 0, self.head())
        few = bool(conditions) and sum(upto - after for after, upto in ranges) > SCAN_MAX
        if few and self._positions(conditions, ranges, None) is not None:
            return None
        return self._columns(conditions, ranges)

    def _columns(self, conditions: list[_Condition], ranges: list[_Range]) -> Iterator[Columns]:
        where = "".join(f" AND +{condition.column} {condition.test}" for condition in conditions)
        values = tuple(condition.value for condition in conditions)
        pages = (
            (after, min(after + COLUMNS_PAGE, last))
            for begin, last in ranges
            for after in range(begin, last, COLUMNS_PAGE)
        )
        for after, upto in pages:
            [columns] = map(Columns._make, self._fetch(_COLUMNS.format(where), (after, upto, *values)))
            if not conditions and columns.events != upto - after:
                raise SkippedPosition(f"a position from {after + 1} to {upto} is missing in {self.path}")
            if columns.events:
                yield columns

    def names(self) -> dict[int, str]:
        """The names that `Columns` has as numbers."""
        return dict(self._fetch("SELECT number, name FROM names"))

    # Both give pages, whose events are passed on without a generator's step for every event.

    def _pick(self, positions: Sequence[int], limit: int | None) -> Iterator[Iterator[Recorded]]:
        positions = positions if limit is None else positions[:limit]
        for start in range(0, len(positions), PAGE):
            page = positions[start : start + PAGE]
            sql = "SELECT position, id, body FROM events WHERE position = ?"
            with self._clear_errors():
                rows: list[Any] = self._connection.executemany(sql, [(position,) for position in page]).fetchall()
            yield decode_rows(rows, self.path)

    def _scan(
        self, conditions: list[_Condition], ranges: list[_Range], limit: int | None, backwards: bool
    ) -> Iterator[Iterator[Recorded]]:
        # The unary plus keeps the planner from an index that would have it sort all matches for every page.
        where = "".join(f" AND +{condition.column} {condition.test}" for condition in conditions)
        values = tuple(condition.value for condition in conditions)
        sql = (
            f"SELECT position, id, body FROM events WHERE position > ? AND position <= ?{where} "
            f"ORDER BY position {'DESC' if backwards else 'ASC'} LIMIT ?"
        )
        step = -1 if backwards else 1
        for after, last in ranges[::step]:
            while after < last and limit != 0:
                size = PAGE if limit is None else min(limit, PAGE)
                rows, cut = self._page(sql, (after, last, *values, size))
                first = last if backwards else after + 1
                missing = None if conditions else _first_missing(rows, first, step)
                yield decode_rows(rows if missing is None else rows[: abs(missing - first)], self.path)
                ended = not cut and len(rows) < size
                if ended and not conditions and missing is None and len(rows) < last - after:
                    missing = first + step * len(rows)
                if missing is not None:
                    found = rows[abs(missing - first)][0] if abs(missing - first) < len(rows) else None
                    raise skipped(str(self.path), missing, found, after if backwards else last + 1)
                if limit is not None:
                    limit -= len(rows)
                if ended:
                    break
                if backwards:
                    last = rows[-1][0] - 1
                else:
                    after = rows[-1][0]

    def _page(self, sql: str, values: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], bool]:
        """A page of rows, their content last in each, and whether it was cut short because they are large.

        The page is fetched whole, so that no transaction stays open while somebody works on it: an open one keeps
        the WAL from being reset, and it grows until the disk is full.
        """
        rows = []
        room = PAGE_BYTES
        with self._clear_errors():
            cursor = self._connection.execute(sql, values)
            for row in cursor:
                rows.append(row)
                room -= len(row[-1]) if type(row[-1]) is bytes else 0  # after damage it may be anything
                if room < 0:
                    cursor.close()
                    return rows, True
        return rows, False

    def head(self) -> int:
        [(position,)] = self._fetch("SELECT max(position) FROM events")
        return position or 0

    def chain_head(self) -> Head:
        """The newest position and the chain up to it: keep it elsewhere, and `verify` finds a lost tail."""
        rows = self._fetch("SELECT position, chain FROM events ORDER BY position DESC LIMIT 1")
        return Head(*rows[0]) if rows else Head(0, CHAIN_START)

    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None where the log does not reach it."""
        if position == 0:
            return CHAIN_START
        rows = self._fetch("SELECT chain FROM events WHERE position = ?", (position,))
        return rows[0][0] if rows else None

    def find(self, event_id: EventId) -> Recorded | None:
        rows = self._fetch("SELECT position, id, body FROM events WHERE id = ?", (event_id,))
        return next(decode_rows(rows, self.path), None)

    def find_prefix(self, prefix: str, *, limit: int = 20) -> list[Recorded]:
        """Up to `limit` events whose UID, in hex, begins so; the first 16 digits are the creation time."""
        first, last = uids_from(prefix)
        sql = "SELECT position, id, body FROM events WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
        return list(decode_rows(self._fetch(sql, (first, last, limit)), self.path))

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        runs: dict[str, list[tuple[int, int]]] = {}
        with self._clear_errors():
            for source, first, last in self._connection.execute(_RUNS):
                runs.setdefault(source, []).append((first, last))
        return runs

    # Journeys

    def save_steps(self, steps: Iterable[Step]) -> None:
        """Keep what happened to events on their way, beside the log; no part of it, and covered by no UID."""
        with self._clear_errors(), self._writing():
            self._connection.executemany("INSERT INTO steps VALUES (?, ?, ?, ?)", steps)

    def steps_of(self, event_id: EventId) -> list[Step]:
        """The journey of one event, in order of time."""
        sql = "SELECT time, stage, event_id, place FROM steps WHERE event_id = ? ORDER BY time, rowid"
        return [Step(*row) for row in self._fetch(sql, (event_id,))]

    # What `rarera_sim.core.integrity.verify` needs

    def rows(self) -> Iterator[Row]:
        after = -(2**63)
        while True:
            rows, cut = self._page(_ROWS, (after, PAGE))
            yield from map(Row._make, rows)
            if not cut and len(rows) < PAGE:
                return
            after = rows[-1][0]

    def self_check(self) -> str:
        try:
            with self._clear_errors():
                # Not quick_check, which leaves out whether the indexes agree with the rows: a repeat could slip in.
                found = [str(text) for (text,) in self._connection.execute("PRAGMA integrity_check(3)")]
                if found != ["ok"]:
                    return f"SQLite's own check: {'; '.join(found)}"
                # A missing half page reads as zeros, which an empty page may well hold.
                if self.path.stat().st_size % self._connection.pragma("page_size"):
                    return "the file ends inside a page: it is cut short"
                for row in self._connection.execute("SELECT * FROM snapshots"):
                    if not is_intact(row):
                        return f"snapshot of {row[0]!r} at position {row[2]} is not what was saved"
                for (block,) in self._connection.execute(_WRONG_BLOCK):
                    return f"block {block} has other events, or other times, than it says"
        except DamagedLog as damage:
            return str(damage)
        return ""

    # The connection

    def _fetch(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a small answer."""
        with self._clear_errors():
            return self._connection.execute(sql, values).fetchall()

    def _open(self, create: bool, durability: str, busy_timeout: float) -> apsw.Connection:
        with self._clear_errors():
            connection = _connect(self.path, create, self.read_only)
            try:
                connection.set_busy_timeout(round(busy_timeout * 1000))
                connection.execute("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
                connection.execute(f"PRAGMA cache_size = -{CACHE_KB}; PRAGMA wal_autocheckpoint = {WAL_PAGES}")
                if create and _is_blank(connection):
                    # Two that create at once: the second waits here, and finds the log made.
                    connection.execute("BEGIN EXCLUSIVE")
                    if _is_blank(connection):
                        connection.execute(_SCHEMA)
                    connection.execute("COMMIT")
                if not self.read_only:
                    _upgrade(connection)
                _check_format(connection, self.path)
                if not self.read_only and connection.pragma("journal_mode") != "wal":
                    connection.pragma("journal_mode", "wal")
                connection.execute(f"PRAGMA synchronous = {durability.upper()}")
            except BaseException:
                connection.close()
                raise
        return connection

    def _stream_position(self, stream: str) -> int:
        number = self._number(stream)  # what has no number has no events, and no block need be asked
        return 0 if number is None else self._connection.execute(_NEWEST_OF_STREAM, (number,)).get or 0

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """What SQLite says, in our words."""
        try:
            yield
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        except UnicodeDecodeError as error:
            raise DamagedLog(f"{self.path} holds a name that is not UTF-8: {error}") from error


class SqliteSnapshots:
    """Snapshots in the file of a log; one that is not what was saved is passed over, and `verify` tells of it."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        # Or a snapshot that is replaced stays behind in free pages, out of reach of `clear`. The log deletes nothing.
        log._fetch("PRAGMA secure_delete = ON")

    def save(self, snapshot: Snapshot) -> None:
        with self._log._clear_errors(), self._log._writing():
            self._log._connection.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", snapshot_row(snapshot, self._log)
            )

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        sql = (
            "SELECT * FROM snapshots WHERE projection = ? AND version = ? AND position <= ? AND time_max <= ? "
            "ORDER BY position DESC LIMIT 1"
        )
        return latest_snapshot(
            lambda values: self._log._fetch(sql, values), self._log, projection, version, upto, as_of
        )

    def clear(self) -> None:
        """Forget every snapshot and leave no byte of them in the file or its WAL.

        Raises `BusyLog` while another process reads, as its view keeps the WAL: call again.
        """
        with self._log._clear_errors():
            with self._log._writing():
                self._log._connection.execute("DELETE FROM snapshots")
            # The pages were zeroed in the WAL alone: copy them over the old ones, then cut the WAL.
            busy, _, _ = self._log._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        if busy:
            raise BusyLog(f"another process is reading {self._log.path}: cleared snapshots are still in its WAL")


class SqliteCheckpoints:
    """Checkpoints in the file of a log."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def load(self, name: str) -> int:
        rows = self._log._fetch("SELECT position FROM checkpoints WHERE name = ?", (name,))
        return rows[0][0] if rows else 0

    def save(self, name: str, position: int) -> None:
        with self._log._clear_errors(), self._log._writing():
            self._log._connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (name, position))


class Columns(NamedTuple):
    """A page of rows with the values of each column joined: names as their numbers, 32 bytes of UID after the other."""

    events: int
    positions: str
    ids: bytes
    streams: str
    types: str
    sources: str
    sequences: str
    bodies: bytes


class _Range(NamedTuple):
    """The positions `after` < position <= `last`."""

    after: int
    last: int


class _Condition(NamedTuple):
    column: str
    test: str
    value: int | str | bytes


class _Names(dict[str, int]):
    """The number of each name, given on first use inside a write transaction; the hot path is a dict look-up."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._new: list[str] = []
        self.processors = _Processors(self)

    def __missing__(self, name: str) -> int:
        number: int | None = self._connection.execute("SELECT number FROM names WHERE name = ?", (name,)).get
        if number is None:
            self._connection.execute("INSERT INTO names (name) VALUES (?)", (name,))
            number = self._connection.last_insert_rowid()
            self._new.append(name)
        self[name] = number
        return number

    def committed(self) -> None:
        self._new.clear()
        if len(self) > NAMES_MAX:
            self.clear()
            self.processors.clear()

    def rolled_back(self) -> None:
        if self._new:
            self.processors.clear()
        for name in self._new:
            del self[name]
        self._new.clear()


class _Processors(dict[str, int]):
    """The number of the processor's name, by the name of a stream of it."""

    def __init__(self, names: _Names) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, stream: str) -> int:
        number = self[stream] = self._names[stream.partition("/")[0]]
        return number


def _first_missing(rows: Sequence[tuple[Any, ...]], first: int, step: int) -> int | None:
    """The first hole between rows that begin with their position, in order; None if there is none."""
    # Positions are unique: where the ends are as far apart as there are rows, nothing is missing between them.
    if not rows or (rows[0][0] == first and rows[-1][0] == first + step * (len(rows) - 1)):
        return None
    return next(first + step * n for n, row in enumerate(rows) if row[0] != first + step * n)


@cache
def _schema_of_format() -> dict[str, str]:
    connection = apsw.Connection(":memory:")
    connection.execute(_SCHEMA)
    return {str(name): str(sql) for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema") if sql}


def _marks(connection: apsw.Connection) -> tuple[int, int]:
    return connection.pragma("application_id"), connection.pragma("user_version")


def _is_blank(connection: apsw.Connection) -> bool:
    return _marks(connection) == (0, 0) and not connection.execute("SELECT count(*) FROM sqlite_schema").get


def _upgrade(connection: apsw.Connection) -> None:
    """Bring a log of an earlier format to ours, step by step, all or nothing. No older program may be writing to it."""
    while _marks(connection)[0] == APPLICATION_ID and _marks(connection)[1] in _UPGRADES:
        connection.execute("PRAGMA secure_delete = ON")  # what an old snapshot held is not left in free pages
        connection.execute("BEGIN EXCLUSIVE")
        try:
            # Two that open at once: the second waits here, and finds it done.
            connection.execute(_UPGRADES.get(_marks(connection)[1], ""))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _check_format(connection: apsw.Connection, path: Path) -> None:
    application_id, version = _marks(connection)
    if application_id != APPLICATION_ID:
        raise UnknownFormat(f"{path} is not an RARERA log: its application_id is {application_id}")
    if version > FORMAT:
        needs = connection.execute("SELECT value FROM meta WHERE name = 'needs'").get
        raise UnknownFormat(
            f"{path} has format {version}, this rarera_sim reads formats up to {FORMAT}: "
            f"it needs rarera_sim {needs or 'newer than this'} or newer"
        )
    if version < 1:
        raise UnknownFormat(f"{path} says it has format {version}; formats count from 1")
    if version < FORMAT:
        raise UnknownFormat(
            f"{path} has format {version}: `rarera log upgrade {path}`, or opening it for writing, "
            f"brings it to {FORMAT}"
        )
    for name, sql in _schema_of_format().items():
        if connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).get != sql:
            raise DamagedLog(f"{name} in {path} is not made as format {FORMAT} has it")


def check_library(version: str) -> None:
    """Refuse an SQLite that can corrupt what several connections write."""
    if tuple(int(part) for part in version.split(".")[:3]) < LIBRARY_MIN:
        raise UnknownFormat(
            f"SQLite {version} can corrupt a log with several writers (the WAL-reset bug): "
            f"{'.'.join(map(str, LIBRARY_MIN))} or newer is needed, as apsw brings it"
        )


def _check_path(path: Path, create: bool) -> None:
    """Say in words what SQLite would call "unable to open database file"."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not create:
            raise BadInput(f"there is no log {path}") from None
        if not path.parent.is_dir():
            raise BadInput(f"there is no folder {path.parent} to make the log {path.name} in") from None
        return
    except (OSError, ValueError) as error:
        raise BadInput(f"log {str(path)!r} cannot be opened: {error}") from None
    if not stat.S_ISREG(mode):
        # Opening a FIFO would wait for ever.
        raise BadInput(f"log {path} is a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}, not a file")


def _connect(path: Path, create: bool, read_only: bool) -> apsw.Connection:
    # Absolute, because SQLite gives some relative names, such as ":memory:", a meaning of their own.
    name = os.path.abspath(path)
    if not read_only:
        return apsw.Connection(name, apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0))
    connection = apsw.Connection(name, apsw.SQLITE_OPEN_READONLY)
    try:
        connection.pragma("user_version")
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        connection.close()
        # A log at rest in a folder that may not be written to: SQLite cannot make its `-shm` there, and needs none.
        if os.path.exists(name + "-wal"):
            raise
        uri = f"file:{quote(name)}?immutable=1"
        connection = apsw.Connection(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    return connection


def _translated(error: apsw.Error, path: Path) -> RareraError | apsw.Error:
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return BusyLog(f"another process holds the write lock of {path}")
        case apsw.NotADBError():
            return UnknownFormat(f"{path} is not an RARERA log: it is no SQLite file")
        case apsw.SQLError() if "unsupported file format" in str(error):
            return UnknownFormat(f"{path} is not an RARERA log, or its header is damaged: {error}")
        case apsw.CorruptError():
            return DamagedLog(f"{path} is damaged: {error}")
        case apsw.ReadOnlyError():
            return BadInput(f"log {path} is read-only")
        case apsw.CantOpenError():
            return BadInput(f"log {path} cannot be opened: may this process read it, and write to its folder?")
        case apsw.FullError():
            return StorageFailed(f"the disk that holds {path} is full; the append is not in the log")
        case apsw.IOError():
            return StorageFailed(f"reading or writing {path} failed: {error}; open the log again")
        case apsw.ConnectionClosedError():
            return StorageFailed(f"log {path} is closed")
        case _:
            return error


def _by_index(condition: _Condition) -> _Condition:
    """A condition as the indexes have it.

    One on time is one on the UID, whose first bytes are the time: the unique index is in order of both.
    """
    if condition.column == "stream":
        return _Condition("position", f"{_IN_ALL_BLOCKS} {condition.test})", condition.value)
    if condition.column != "time":
        return condition
    assert isinstance(condition.value, int), "time is an integer"
    if condition.test == ">= ?":
        return _Condition("id", ">= ?", condition.value.to_bytes(TIME_BYTES, "big"))
    return _Condition("id", "< ?", (condition.value + 1).to_bytes(TIME_BYTES, "big"))
