"""A log in PostgreSQL: the paper's table `events`, for many writers and readers on several machines.

positions   are the paper's `id`, given by us while we hold an advisory lock that lasts until the commit: dense, in
            commit order, nothing appears behind a reader. A writer needs no right but to insert for it
truth       `uid` and `body` are the event's bytes; `event` (jsonb) is a view of them for queries: the data's fields
            and the event's own type. NUL, which jsonb cannot hold, shows as U+FFFD there
time        `gst` is the exact GST, in nanoseconds; `timestamp` has microseconds, and the paper wants one event per
            processor and timestamp. So it is the first free microsecond at or after the GST, see `_Moments`
indexes     (id)     (source, sequence): repeats and conflicts     (processor_id, timestamp): the paper's query
            (gst): finds by UID or time     (stream, id): reads a stream, gives its position     by time: `_by_time`
writing     COPY in binary form, made here: a third of the client's CPU of `executemany`. PostgreSQL allows COPY to
            nobody whose rows it restricts, so that such a role writes with INSERT
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import accumulate, chain, islice
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote
from zlib import crc32

import orjson

from rarera_sim.adapters.follow import follow
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
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, Event, EventId, Recorded, decode, decode_rows, encode_all
from rarera_sim.core.integrity import CHAIN_START, Head, Row, link
from rarera_sim.core.log import ALL, Query, check_expected, last_wanted, skipped, uids_from
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.time import MICROSECOND, TIMESTAMP_MAX, Timestamp
from rarera_sim.core.trace import Step

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise ImportError("a log in PostgreSQL needs psycopg: install rarera-sim[postgres]") from error

FORMAT: Final = 2
FORMAT_SINCE: Final = "0.1.0"  # the first version of this package that reads FORMAT
SERVER_MIN: Final = 14  # functions whose body is parsed when they are made, so that no search_path can bend it

# Asked for 1,000 rows at a time and decoded 250 at once, a replay takes a tenth more of the client's CPU.
PAGE = 4_000
PAGE_READ = 100
PAGE_FIRST = 100
COLUMNS_PAGE = 10_000
PAGE_BYTES = 16_000_000
# A page of a query sorts all matches before its first row, so that a long answer is taken in runs of positions.
POSITIONS_MAX = 100_000
NAMES_MAX = 100_000
RING_LOST = 1.0  # seconds after which a follower looks without having been rung
# What a B-tree can hold in one entry is 2,704 bytes.
NAME_BYTES_MAX = 2_000
# How far a timestamp may be from its GST, in microseconds: a query by time and processor has to look that much further.
NUDGE_MAX = 60_000_000

_LOCK_CLASS: Final = int.from_bytes(b"RARE", "big")
_TABLES = ("events", "processors", "log_meta", "log_snapshots", "log_checkpoints", "log_steps")

# `{and_time}` is empty, or `, timestamp`: in a hypertable every unique index has to hold the column it is split by.
# The lock then is what keeps places and positions unique: all who append hold it when they look.
_SCHEMA = """
CREATE TABLE processors (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);
CREATE TABLE events (
    id           bigint NOT NULL,
    processor_id integer NOT NULL, -- no foreign key: a check per row costs as much as the row
    timestamp    timestamptz NOT NULL DEFAULT now(),
    event        jsonb NOT NULL,
    uid          bytea NOT NULL,
    stream       text COLLATE "C" NOT NULL,
    type         text COLLATE "C" NOT NULL,
    source       text COLLATE "C" NOT NULL,
    sequence     bigint NOT NULL,
    gst          bigint NOT NULL,
    chain        bytea NOT NULL,
    body         bytea NOT NULL,
    CONSTRAINT events_by_id PRIMARY KEY (id{and_time}),
    CONSTRAINT events_by_place UNIQUE (source, sequence{and_time}),
    CONSTRAINT events_by_moment UNIQUE (processor_id, timestamp)
);
CREATE INDEX events_by_gst ON events (gst);
CREATE INDEX events_by_stream ON events (stream, id);
CREATE TABLE log_meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE log_snapshots (
    projection text NOT NULL,
    version    bigint NOT NULL,
    position   bigint NOT NULL,
    time_max   bigint NOT NULL,
    state      bytea NOT NULL,
    chain      bytea,
    digest     bytea NOT NULL,
    PRIMARY KEY (projection, version, position)
);
CREATE TABLE log_checkpoints (name text PRIMARY KEY, position bigint NOT NULL);
CREATE TABLE log_steps (
    number   bigint GENERATED ALWAYS AS IDENTITY,
    time     double precision NOT NULL,
    stage    text NOT NULL,
    event_id bytea NOT NULL,
    place    text NOT NULL
);
CREATE INDEX log_steps_by_event ON log_steps (event_id);

-- What a writer has to know of events that row-level security keeps from it: these run with the owner's rights, and
-- answer nothing but this.
CREATE FUNCTION log_head() RETURNS TABLE (head bigint, head_chain bytea)
LANGUAGE sql STABLE SECURITY DEFINER BEGIN ATOMIC
    SELECT id, chain FROM events ORDER BY id DESC LIMIT 1;
END;
CREATE FUNCTION log_newest(processors integer[], sources text[])
RETURNS TABLE (processor integer, moment timestamptz, name text, last bigint)
LANGUAGE sql STABLE SECURITY DEFINER BEGIN ATOMIC
    SELECT p, (SELECT max(timestamp) FROM events WHERE processor_id = p), NULL, NULL FROM unnest(processors) AS p
    UNION ALL
    SELECT NULL, NULL, s, (SELECT max(sequence) FROM events WHERE source = s COLLATE "C") FROM unnest(sources) AS s;
END;
CREATE FUNCTION log_places(sources text[], sequences bigint[])
RETURNS TABLE (name text, number bigint, taken_by bytea)
LANGUAGE sql STABLE SECURITY DEFINER BEGIN ATOMIC
    SELECT e.source, e.sequence, e.uid
    FROM unnest(sources, sequences) AS p (s, n) JOIN events AS e ON e.source = p.s COLLATE "C" AND e.sequence = p.n;
END;
-- Of each moment: up to `most` microseconds from there on that are taken, in order.
CREATE FUNCTION log_taken(processors integer[], moments timestamptz[], most integer)
RETURNS TABLE (processor integer, moment timestamptz, taken bigint[])
LANGUAGE sql STABLE SECURITY DEFINER BEGIN ATOMIC
    SELECT p, m, ARRAY(
        SELECT (extract(epoch FROM timestamp) * 1000000)::bigint
        FROM events WHERE processor_id = p AND timestamp >= m ORDER BY timestamp LIMIT most
    )
    FROM unnest(processors, moments) AS wanted (p, m);
END;
REVOKE ALL ON FUNCTION log_head, log_newest, log_places, log_taken FROM PUBLIC;
"""

_SNAPSHOT = "projection, version, position, time_max, state, chain, digest"
# What a log of an earlier format lacks. Its snapshots do not say which events they were made of, and are made again.
_UPGRADES = {1: "TRUNCATE log_snapshots; ALTER TABLE log_snapshots ADD COLUMN chain bytea"}
_COLUMNS = "id, processor_id, timestamp, uid, chain, sequence, gst, stream, type, source, event, body"
_COPY = f"COPY events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join(['%s'] * 12)})"
# The columns of one width in one go, each behind its length: id, processor, timestamp, uid, chain, sequence, gst.
_fixed = struct.Struct(f">hiqiiiqi{ID_BYTES}si32siqiq").pack
_length = struct.Struct(">i").pack
_ids = struct.Struct(">q").iter_unpack
_uids = struct.Struct(f"{ID_BYTES}s").iter_unpack

# A page as three values instead of thousands, which is a third of the client's work. A body has no newline.
_JOINED = """
SELECT string_agg(int8send(id), ''), string_agg(uid, ''), string_agg(body, '\\x0a')
FROM (SELECT id, uid, body FROM events WHERE id > %s AND id <= %s ORDER BY id {}) AS page
"""
_AS_COLUMNS = """
SELECT string_agg(int8send(id), ''), string_agg(uid, ''), string_agg(stream, E'\\n'), string_agg(type, E'\\n'),
    string_agg(source, E'\\n'), string_agg(int8send(sequence), ''), string_agg(body, '\\x0a')
FROM (SELECT * FROM events WHERE id > %s AND id <= %s ORDER BY id) AS page
"""
_ROWS = """
SELECT e.id, e.uid, e.stream, p.name, e.type, e.source, e.sequence, e.gst, e.chain, e.body
FROM events AS e LEFT JOIN processors AS p ON p.id = e.processor_id
WHERE e.id > %s ORDER BY e.id LIMIT %s
"""
# A run of sequences is where sequence and rank grow together.
_RUNS = """
SELECT source, min(sequence), max(sequence)
FROM (SELECT source, sequence, sequence - row_number() OVER (PARTITION BY source ORDER BY sequence) AS run
      FROM events) AS ranked
GROUP BY source, run ORDER BY source, min(sequence)
"""
# CASE, because what jsonb cannot hold must not be asked of it.
_WRONG_VIEW = r"""
SELECT id FROM events WHERE event IS DISTINCT FROM CASE WHEN strpos(convert_from(body, 'UTF8'), '\u0000') > 0
    THEN event ELSE (convert_from(body, 'UTF8')::jsonb -> 7) || jsonb_build_object('type', type) END
ORDER BY id LIMIT 1
"""
_WITH_NUL = r"SELECT id, uid || body FROM events WHERE strpos(convert_from(body, 'UTF8'), '\u0000') > 0 ORDER BY id"
# A timestamp is right if every microsecond from its GST up to it is taken: if both lie in one run without a hole.
_WRONG_MOMENT = """
SELECT min(id) FROM (
    SELECT id, moment, gst / 1000 AS wanted, min(moment) OVER (PARTITION BY processor_id, run) AS run_begin
    FROM (
        SELECT *, moment - row_number() OVER (PARTITION BY processor_id ORDER BY moment) AS run
        FROM (SELECT id, processor_id, gst, (extract(epoch FROM timestamp) * 1000000)::bigint AS moment
              FROM events) AS moments
    ) AS runs
) AS found WHERE wanted NOT BETWEEN run_begin AND moment
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_2000 = (datetime(2000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND  # where PostgreSQL counts from
_MOMENT_MAX = TIMESTAMP_MAX // MICROSECOND
# An escaped NUL, and not an escaped backslash with "u0000" behind it.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class PostgresLog:
    """A log in a schema of a PostgreSQL database, 14 or newer.

    One object is one connection and belongs to one thread. Once the connection has failed, the object is closed: open
    the log again and look what is there, as an append of which one did not hear is in the log whole or not at all.

    Parameters
    ----------
    url
        `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?...` with libpq's parameters, among them those of TLS
        (`sslmode=verify-full&sslrootcert=...`), and one of ours, `schema`.
    schema
        Where the tables are, if the URL does not say it; made where there is none.
    create
        Make the log where there is none.
    read_only
        Refuse every change.
    durability
        "full": what `append` acknowledged survives a crash of the server. "normal": such a crash may take the newest
        appends (`synchronous_commit = off`), never the log's consistency.
    busy_timeout
        Seconds to wait for other writers before `BusyLog`.

    Examples
    --------
    >>> with PostgresLog("postgresql://writer@db.example/flights?sslmode=verify-full") as log:  # doctest: +SKIP
    ...     log.append([event])
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "public",
        create: bool = True,
        read_only: bool = False,
        durability: Literal["full", "normal"] = "full",
        busy_timeout: float = 5.0,
    ) -> None:
        if durability not in ("full", "normal"):
            raise BadInput(f"durability must be 'full' or 'normal', got {durability!r}")
        if not 0 <= busy_timeout <= 86_400:
            raise BadInput(f"busy_timeout must be 0 to 86400 s, got {busy_timeout!r}")
        options, self.schema = _parse(url, schema)
        self._secrets = [str(value) for name, value in options.items() if "password" in name and value]
        self.read_only = read_only
        host, port = options.get("host") or "localhost", options.get("port")
        self.name = f"{options.get('dbname') or options.get('user') or ''}.{self.schema} at {host}" + (
            f":{port}" if port else ""
        )
        try:
            self._connection = psycopg.connect(**options, autocommit=True)
        except psycopg.Error as error:
            # Not chained: what libpq quotes of a URL may hold a part of a password that was not escaped.
            raise StorageFailed(f"log {self.name} cannot be opened: {self._said(error)}") from None
        try:
            with self._clear_errors():
                self._prepare_session(durability, busy_timeout)
                if create and not read_only:
                    self._create()
                if not read_only:
                    self._upgrade()
                self._check_format()
                [(self.restricted,)] = self._fetch("SELECT row_security_active('events')")
        except BaseException:
            self._connection.close()
            raise
        self._head = Head(0, CHAIN_START)
        self._processors: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._moments = _Moments(self._connection)

    def __repr__(self) -> str:
        return f"PostgresLog({self.name!r})"

    def __enter__(self) -> PostgresLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def describe(self) -> str:
        """The server and how the log is arranged by time, in words.

        >>> log.describe()  # doctest: +SKIP
        'PostgreSQL 18.4, flights.public at db.example, by time: a BRIN index on timestamp'
        """
        [(version,)] = self._fetch("SHOW server_version")
        [(by_time,)] = self._fetch("SELECT value FROM log_meta WHERE name = 'by_time'")
        return f"PostgreSQL {version}, {self.name}, by time: {by_time}"

    # Writing

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        stream = check_expected(events, expected)
        if not events:
            return []
        encode_all(events)  # what has no canonical form is refused, and hashed, before anybody has to wait
        for event in events:
            if len(event.stream) + len(event.source) > NAME_BYTES_MAX // 4:
                _check_names(event)
        with self._clear_errors(), self._appending() as head:
            self._look_up(events)
            fresh = self._fresh(events)
            # A batch that is all there was appended by this caller, who did not hear of it: no lost race.
            if stream is not None and fresh and (at := self._stream_position(stream)) != expected:
                raise WrongPosition(f"stream {stream} is at position {at}, expected {expected}")
            return self._insert(head, fresh)

    @contextmanager
    def _appending(self) -> Iterator[Head]:
        """A transaction in which nobody else appends; gives the head, which nobody else can move."""
        try:
            cursor = self._connection.execute(
                f"BEGIN; SELECT pg_advisory_xact_lock({_LOCK_CLASS}, {self._lock_key()})"
                "; SELECT head, head_chain FROM log_head()"
            )
            cursor.nextset()
            cursor.nextset()
            row = cursor.fetchone()
            head = Head(*row) if row else Head(0, CHAIN_START)
            if head != self._head:
                # Somebody else appended: what is newest of each source and processor is known no more.
                self._sequences.clear()
                self._moments.newest.clear()
            self._next_head = head
            yield head
            # The doorbell of `follow` rings at the commit, where something was appended.
            ring = f'NOTIFY "{self._channel()}"; ' if self._next_head != head else ""
            self._connection.execute(f"{ring}COMMIT")
        except BaseException:
            self._forget()
            if not self._connection.closed:
                with suppress(psycopg.Error):
                    self._connection.execute("ROLLBACK")
            raise
        self._head = self._next_head
        if len(self._sequences) + len(self._processors) > NAMES_MAX:
            self._forget()

    def _forget(self) -> None:
        """Nothing is known any more of what the log holds: it is looked up again."""
        self._head = Head(-1, b"")
        self._processors.clear()
        self._sequences.clear()
        self._moments.forget()

    def _look_up(self, events: Sequence[Event]) -> None:
        """Number the processors, and learn how far each source and processor has come."""
        names = {event.processor for event in events} - self._processors.keys()
        if names:
            values = (list(names),)
            found = self._fetch("SELECT name, id FROM processors WHERE name = ANY(%s::text[])", values)
            new = sorted(names - {name for name, _ in found})
            if new:
                added = "INSERT INTO processors (name) SELECT unnest(%s::text[]) RETURNING name, id"
                found += self._fetch(added, (new,))
            self._processors.update(found)
        numbers = {self._processors[event.processor] for event in events} - self._moments.newest.keys()
        sources = {event.source for event in events} - self._sequences.keys()
        if numbers or sources:
            question = "SELECT * FROM log_newest(%s::integer[], %s::text[])"
            for number, moment, source, sequence in self._fetch(question, (list(numbers), list(sources))):
                if source is None:
                    self._moments.newest[number] = _microseconds(moment)
                else:
                    self._sequences[source] = sequence or 0

    def _fresh(self, events: Sequence[Event]) -> list[Event]:
        """The events that are not in the log, each once."""
        newest = self._sequences
        # What is above a source's newest cannot be there. The rest is looked for; repeats are rare, so this is little.
        asked = [(event.source, event.sequence) for event in events if event.sequence <= newest[event.source]]
        places: dict[tuple[str, int], EventId] = {}
        if asked:
            sources, sequences = map(list, zip(*asked, strict=True))
            question = "SELECT * FROM log_places(%s::text[], %s::bigint[])"
            places = {(source, n): uid for source, n, uid in self._fetch(question, (sources, sequences))}
        batch: dict[tuple[str, int], Event] = {}
        fresh = []
        for event in events:
            place = (event.source, event.sequence)
            if place in batch:
                there = batch[place].id
            elif place in places:
                there = places[place]
            else:
                batch[place] = event
                fresh.append(event)
                continue
            if there != event.id:
                raise Conflict(f"{event.source}#{event.sequence} is recorded with other content than {event!r}")
        return fresh

    def _insert(self, head: Head, events: list[Event]) -> list[Recorded]:
        if not events:
            return []
        positions = range(head.position + 1, head.position + 1 + len(events))
        processors = [self._processors[event.processor] for event in events]
        moments = self._moments.settle(processors, [event.time // MICROSECOND for event in events])
        chains = list(accumulate((event.frame[:ID_BYTES] for event in events), link, initial=head.chain))[1:]
        newest = self._sequences
        for event in events:
            if event.sequence > newest[event.source]:
                newest[event.source] = event.sequence
        rows = zip(positions, events, processors, moments, chains, strict=True)
        try:
            if self.restricted:
                with self._connection.cursor() as cursor:
                    cursor.executemany(_INSERT, map(_values, rows))
            else:
                with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                    copy.write(_COPY_BEGIN)
                    while page := b"".join(map(_packed, islice(rows, PAGE))):
                        copy.write(page)
                    copy.write(_COPY_END)
        except psycopg.errors.UniqueViolation as error:
            raise DamagedLog(f"the indexes of {self.name} disagree with its events: {self._said(error)}") from error
        self._next_head = Head(positions[-1], chains[-1])
        return list(map(Recorded, positions, events))

    def _stream_position(self, stream: str) -> int:
        [(position,)] = self._fetch("SELECT max(id) FROM events WHERE stream = %s", (stream,))
        return position or 0

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
        if not conditions:
            return chain.from_iterable(self._scan(after, last, limit, backwards))
        return chain.from_iterable(self._search(conditions, after, last, limit, backwards))

    def follow(
        self,
        query: Query = ALL,
        *,
        after: int = 0,
        idle_max: float | None = None,
        alarm: Callable[[int, int], None] | None = None,
    ) -> Iterator[Recorded]:
        """Catch up, then live: as `rarera_sim.adapters.follow`, woken by the database instead of looking again.

        The NOTIFY of an append only says when. One that is lost costs a second, never an event. While it waits, this
        log is the follower's alone.

        Examples
        --------
        >>> for position, event in log.follow(after=checkpoint):  # doctest: +SKIP
        ...     print(position, event)
        """
        # Listening first: what is appended between the last look and the wait has rung already.
        self._listen("LISTEN")
        try:
            yield from follow(
                self, query, after=after, period=RING_LOST, idle_max=idle_max, alarm=alarm, sleep=self._rung
            )
        finally:
            if not self._connection.closed:
                self._listen("UNLISTEN")

    def _rung(self, seconds: float) -> bool:
        """Wait so long for the bell; whether it has rung."""
        with self._clear_errors():
            return bool(list(self._connection.notifies(timeout=seconds, stop_after=1)))

    def _listen(self, verb: Literal["LISTEN", "UNLISTEN"]) -> None:
        with self._clear_errors():
            self._connection.execute(f'{verb} "{self._channel()}"')

    def _channel(self) -> str:
        return f"rarera_log_{self._lock_key() & 0xFFFFFFFF:08x}"

    def _conditions(self, query: Query) -> list[_Condition] | None:
        """A query in the columns of `events`; None if nothing can match."""
        conditions = []
        for column, wanted in (("stream", query.streams), ("type", query.types), ("source", query.sources)):
            names = [name for name in wanted if _storable(name)]
            if wanted and not names:
                return None
            if len(names) == 1:
                conditions.append(_Condition(f"{column} = %s", names[0]))
            elif names:
                conditions.append(_Condition(f"{column} = ANY(%s::text[])", names))
        if query.processors:
            names = [name for name in query.processors if _storable(name)]
            found = self._fetch("SELECT id FROM processors WHERE name = ANY(%s::text[])", (names,))
            numbers = [number for (number,) in found]
            if not numbers:
                return None
            conditions.append(_Condition("processor_id = ANY(%s::integer[])", numbers))
        if query.since is not None and query.since > 0:
            if query.since > TIMESTAMP_MAX:
                return None
            conditions.append(_Condition("gst >= %s", query.since))
            if query.processors:
                conditions.append(_Condition("timestamp >= %s", _datetime(query.since // MICROSECOND)))
        if query.until is not None and query.until < TIMESTAMP_MAX:
            if query.until < 0:
                return None
            conditions.append(_Condition("gst <= %s", query.until))
            if query.processors:
                conditions.append(_Condition("timestamp <= %s", _datetime(query.until // MICROSECOND + NUDGE_MAX)))
        return conditions

    # Both give pages, whose events are passed on without a generator's step for every event.

    def _scan(self, after: int, last: int, limit: int | None, backwards: bool) -> Iterator[Iterator[Recorded]]:
        """Everything in a range of positions. They are dense, so a page is a range too, and needs no planner's luck."""
        if limit is not None:
            after, last = (max(after, last - limit), last) if backwards else (after, min(last, after + limit))
        order = "DESC" if backwards else "ASC"
        question = f"SELECT id, uid, body FROM events WHERE id > %s AND id <= %s ORDER BY id {order}"
        size = min(PAGE, PAGE_FIRST)
        while after < last:
            first, end = (max(after, last - size), last) if backwards else (after, min(last, after + size))
            rows = self._joined(first, end, order) or self._fetch(question, (first, end))
            # A role that may not see all events cannot tell a hole.
            if len(rows) < end - first and not self.restricted:
                due = range(end, first, -1) if backwards else range(first + 1, end + 1)
                missing = next((p for p, row in zip(due, rows, strict=False) if row[0] != p), due[len(rows)])
                good = due.index(missing)
                yield decode_rows(rows[:good], self.name)
                found = rows[good][0] if good < len(rows) else None
                raise skipped(self.name, missing, found, first if backwards else end + 1)
            yield from self._decoded(rows)
            after, last = (after, first) if backwards else (end, last)
            size = _next_size(rows, PAGE)

    def _decoded(self, rows: list[Any]) -> Iterator[Iterator[Recorded]]:
        for start in range(0, len(rows), PAGE_READ):
            yield decode_rows(rows[start : start + PAGE_READ], self.name)

    def _joined(self, first: int, end: int, order: str) -> list[Any]:
        """The rows of a range, split from joined values; none where they cannot be told apart, as after damage."""
        [(ids, uids, bodies)] = self._fetch(_JOINED.format(order), (first, end))
        if ids is None or uids is None or bodies is None:
            return []
        parts = bodies.split(b"\n")
        if len(ids) != TIME_BYTES * len(parts) or len(uids) != ID_BYTES * len(parts):
            return []
        return [(position, uid, body) for (position,), (uid,), body in zip(_ids(ids), _uids(uids), parts, strict=True)]

    def columns(self, query: Query = ALL) -> Iterator[tuple[Any, ...]] | None:
        """The rows of the whole log as columns, a page at a time, unverified; None for a query that narrows.

        Each column is one value: positions and sequences eight bytes each, UIDs 32, names and bodies a line each. It
        is for :mod:`rarera_sim.adapters.frames`, which verifies them.
        """
        return None if self.restricted or self._conditions(query) != [] else self._columns(self.head())

    def _columns(self, last: int) -> Iterator[tuple[Any, ...]]:
        for after in range(0, last, COLUMNS_PAGE):
            upto = min(after + COLUMNS_PAGE, last)
            [columns] = self._fetch(_AS_COLUMNS, (after, upto))
            if len(columns[0] or b"") != TIME_BYTES * (upto - after):
                raise SkippedPosition(f"a position from {after + 1} to {upto} is missing in {self.name}")
            yield columns

    def _search(
        self, conditions: list[_Condition], after: int, last: int, limit: int | None, backwards: bool
    ) -> Iterator[Iterator[Recorded]]:
        where = " AND ".join(("id > %s", "id <= %s", *(condition.test for condition in conditions)))
        values = [condition.value for condition in conditions]
        order = "DESC" if backwards else "ASC"
        page = f"SELECT id, uid, body FROM events WHERE id = ANY(%s::bigint[]) ORDER BY id {order}"
        while after < last and limit != 0:
            most = POSITIONS_MAX if limit is None else min(limit, POSITIONS_MAX)
            question = f"SELECT id FROM events WHERE {where} ORDER BY id {order} LIMIT %s"
            positions = [position for (position,) in self._fetch(question, (after, last, *values, most))]
            start, size = 0, min(PAGE, PAGE_FIRST)
            while start < len(positions):
                rows = self._fetch(page, (positions[start : start + size],))
                yield from self._decoded(rows)
                start, size = start + size, _next_size(rows, PAGE)
            if len(positions) < most:
                return
            if backwards:
                last = positions[-1] - 1
            else:
                after = positions[-1]
            if limit is not None:
                limit -= len(positions)

    def head(self) -> int:
        return self.chain_head().position

    def chain_head(self) -> Head:
        """The newest position and the chain up to it: keep it elsewhere, and `verify` finds a lost tail."""
        rows = self._fetch("SELECT head, head_chain FROM log_head()")
        return Head(*rows[0]) if rows else Head(0, CHAIN_START)

    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None where the log does not reach it."""
        if position == 0:
            return CHAIN_START
        rows = self._fetch("SELECT chain FROM events WHERE id = %s", (position,))
        return rows[0][0] if rows else None

    def find(self, event_id: EventId) -> Recorded | None:
        gst = int.from_bytes(event_id[:TIME_BYTES], "big")
        if len(event_id) != ID_BYTES or gst > TIMESTAMP_MAX:
            return None
        rows = self._fetch("SELECT id, uid, body FROM events WHERE gst = %s AND uid = %s", (gst, event_id))
        return next(decode_rows(rows, self.name), None)

    def find_prefix(self, prefix: str, *, limit: int = 20) -> list[Recorded]:
        """Up to `limit` events whose UID, in hex, begins so; the first 16 digits are the creation time."""
        first, last = uids_from(prefix)
        since, until = (int.from_bytes(uid[:TIME_BYTES], "big") for uid in (first, last))
        if since > TIMESTAMP_MAX:
            return []
        rows = self._fetch(
            "SELECT id, uid, body FROM events WHERE gst BETWEEN %s AND %s AND uid BETWEEN %s AND %s "
            "ORDER BY gst, uid LIMIT %s",
            (since, min(until, TIMESTAMP_MAX), first, last, limit),
        )
        return list(decode_rows(rows, self.name))

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        runs: dict[str, list[tuple[int, int]]] = {}
        for source, first, last in self._fetch(_RUNS):
            runs.setdefault(source, []).append((first, last))
        return runs

    # Journeys

    def save_steps(self, steps: Iterable[Step]) -> None:
        """Keep what happened to events on their way, beside the log; no part of it, and covered by no UID."""
        copying = "COPY log_steps (time, stage, event_id, place) FROM STDIN"
        with self._clear_errors(), self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for step in steps:
                copy.write_row(step)

    def steps_of(self, event_id: EventId) -> list[Step]:
        """The journey of one event, in order of time."""
        question = "SELECT time, stage, event_id, place FROM log_steps WHERE event_id = %s ORDER BY time, number"
        return [Step(*row) for row in self._fetch(question, (event_id,))]

    # What `rarera_sim.core.integrity.verify` needs

    def rows(self) -> Iterator[Row]:
        if self.restricted:
            raise BadInput(f"this role may not see all events of {self.name}: verify it as the log's owner")
        after, size = -(2**63), min(PAGE, PAGE_FIRST)
        while rows := self._fetch(_ROWS, (after, size)):
            yield from map(Row._make, rows)
            if len(rows) < size:
                return
            after, size = rows[-1][0], _next_size(rows, PAGE)

    def self_check(self) -> str:
        try:
            for (position,) in self._fetch(_WRONG_VIEW):
                return f"position {position} shows other data in column event than the event holds"
            for position, frame in self._fetch(_WITH_NUL):
                shown = view(decode(frame)).decode()
                if not self._fetch("SELECT FROM events WHERE id = %s AND event = %s::jsonb", (position, shown)):
                    return f"position {position} shows other data in column event than the event holds"
            for (position,) in self._fetch(_WRONG_MOMENT):
                if position is not None:
                    return f"position {position} has a timestamp that is not the first free one at its GST"
            for row in self._fetch(f"SELECT {_SNAPSHOT} FROM log_snapshots"):
                if not is_intact(row):
                    return f"snapshot of {row[0]!r} at position {row[2]} is not what was saved"
            self._check_format()
        except DamagedLog as damage:
            return str(damage)
        return ""

    # The connection

    def _fetch(self, question: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a small answer."""
        with self._clear_errors():
            return self._connection.execute(question, values, binary=True).fetchall()

    def _lock_key(self) -> int:
        # Locks are per database, so that the schema says which log. Two with one number would only wait for each other.
        return crc32(self.schema.encode()) - 2**31

    def _prepare_session(self, durability: str, busy_timeout: float) -> None:
        settings = {
            "search_path": sql.Identifier(self.schema).as_string(self._connection),
            "timezone": "UTC",
            # 0 would wait for ever
            "lock_timeout": str(max(1, round(busy_timeout * 1000))),
            # A writer that hangs in the middle of an append must not hold up all others.
            "idle_in_transaction_session_timeout": "60000",
            # Whatever the database's default is: what is read after a lock must not be as it was before the wait.
            "default_transaction_isolation": "read committed",
            "default_transaction_read_only": "on" if self.read_only else "off",
        }
        if durability == "normal":
            settings["synchronous_commit"] = "off"
        elif self._fetch("SHOW synchronous_commit") == [("off",)]:
            settings["synchronous_commit"] = "on"
        question = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS settings (name, value)"
        self._fetch(question, (list(settings), list(settings.values())))
        if self._connection.info.server_version < SERVER_MIN * 10_000:
            [(version,)] = self._fetch("SHOW server_version")
            raise UnknownFormat(f"PostgreSQL {version} is too old for a log: {SERVER_MIN} or newer is needed")
        if (encoding := self._fetch("SHOW server_encoding")) != [("UTF8",)]:
            raise BadInput(f"the database of {self.name} has encoding {encoding[0][0]}, a log needs UTF8")

    def _tables(self) -> set[str]:
        question = "SELECT tablename::text FROM pg_tables WHERE schemaname = %s AND tablename = ANY(%s::text[])"
        return {name for (name,) in self._fetch(question, (self.schema, list(_TABLES)))}

    def _create(self) -> None:
        if self._tables():
            return
        with self._connection.transaction():
            # All that create at once wait here; the second finds the log made.
            self._connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK_CLASS}, {self._lock_key()})")
            if self._tables():
                return
            [(there,)] = self._fetch("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (self.schema,))
            if not there:
                self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            timescale = timescale_schema(self._connection)
            self._connection.execute(_SCHEMA.format(and_time=", timestamp" if timescale else ""))
            by_time = _by_time(self._connection, timescale)
            for row in (("format", str(FORMAT)), ("needs", FORMAT_SINCE), ("by_time", by_time)):
                self._fetch("INSERT INTO log_meta VALUES (%s, %s) RETURNING name", row)

    def _upgrade(self) -> None:
        """Bring a log of an earlier format to ours, all or nothing; its owner can."""
        if "log_meta" not in self._tables() or self._format() not in _UPGRADES:
            return
        with self._connection.transaction():
            self._connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK_CLASS}, {self._lock_key()})")
            while (number := self._format()) in _UPGRADES:
                self._connection.execute(_UPGRADES[number])
                meta = ((str(number + 1), "format"), (FORMAT_SINCE, "needs"))
                for row in meta:
                    self._fetch("UPDATE log_meta SET value = %s WHERE name = %s RETURNING name", row)

    def _format(self) -> int | None:
        rows = self._fetch("SELECT value FROM log_meta WHERE name = 'format'")
        return int(rows[0][0]) if rows and rows[0][0].isdecimal() else None

    def _check_format(self) -> None:
        tables = self._tables()
        if not tables:
            raise BadInput(f"there is no log {self.name}")
        if "log_meta" not in tables:
            raise UnknownFormat(f"{self.name} is not an RARERA log: it has a table {min(tables)} and no log_meta")
        meta = dict(self._fetch("SELECT name, value FROM log_meta"))
        number = meta.get("format", "")
        if not number.isdecimal() or int(number) < 1:
            raise UnknownFormat(f"{self.name} says it has format {number!r}; formats count from 1")
        if int(number) > FORMAT:
            raise UnknownFormat(
                f"{self.name} has format {number}, this rarera_sim reads formats up to {FORMAT}: "
                f"it needs rarera_sim {meta.get('needs') or 'newer than this'} or newer"
            )
        if int(number) < FORMAT:
            raise UnknownFormat(
                f"{self.name} has format {number}: its owner opens it once, which brings it to {FORMAT}"
            )
        needed = {f"events_by_{what}" for what in ("id", "place", "moment", "gst", "stream")}
        question = """
            SELECT relname::text FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
            WHERE indrelid = 'events'::regclass AND indisvalid AND indisready
        """
        missing = set(_TABLES) - tables or needed - {name for (name,) in self._fetch(question)}
        if missing:
            raise DamagedLog(f"{min(missing)} is missing in {self.name}")

    def _said(self, error: psycopg.Error) -> str:
        """What PostgreSQL says, on one line and without a secret."""
        text = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """What PostgreSQL says, in our words."""
        try:
            yield
        except psycopg.Error as error:
            translated = self._translated(error)
            if isinstance(translated, StorageFailed):
                self._connection.close()
            raise translated from error

    def _translated(self, error: psycopg.Error) -> RareraError | psycopg.Error:
        said = self._said(error)
        match error:
            case psycopg.errors.LockNotAvailable():
                return BusyLog(f"another process holds the write lock of {self.name}")
            case psycopg.errors.ReadOnlySqlTransaction():
                return BadInput(f"log {self.name} is read-only")
            case psycopg.errors.InsufficientPrivilege():
                return BadInput(f"this role may not do that to {self.name}: {said}")
            case psycopg.errors.ProgramLimitExceeded():
                return BadInput(f"an event is too large for PostgreSQL: {said}")
            case psycopg.errors.DataCorrupted() | psycopg.errors.IndexCorrupted():
                return DamagedLog(f"{self.name} is damaged: {said}")
            case psycopg.errors.DiskFull():
                return StorageFailed(f"the disk that holds {self.name} is full; the append is not in the log")
            case _ if said == "the connection is closed":
                return StorageFailed(f"log {self.name} is closed")
            case psycopg.OperationalError() | psycopg.InternalError():
                return StorageFailed(f"reading or writing {self.name} failed: {said}; open the log again")
            case _:
                return error


class PostgresSnapshots:
    """Snapshots in the schema of a log; one that is not what was saved is passed over, and `verify` tells of it."""

    def __init__(self, log: PostgresLog) -> None:
        self._log = log

    def save(self, snapshot: Snapshot) -> None:
        self._log._fetch(
            f"INSERT INTO log_snapshots ({_SNAPSHOT}) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (projection, version, position) DO UPDATE SET time_max = excluded.time_max, "
            "state = excluded.state, chain = excluded.chain, digest = excluded.digest RETURNING position",
            snapshot_row(snapshot, self._log),
        )

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        question = (
            f"SELECT {_SNAPSHOT} FROM log_snapshots WHERE projection = %s AND version = %s AND position <= %s "
            "AND time_max <= %s ORDER BY position DESC LIMIT 1"
        )
        fetch = partial(self._log._fetch, question)
        return latest_snapshot(fetch, self._log, projection, version, upto, as_of)

    def clear(self) -> None:
        # Not DELETE, which leaves the rows in the file until a vacuum comes by.
        with self._log._clear_errors():
            self._log._connection.execute("TRUNCATE log_snapshots")


class PostgresCheckpoints:
    """Checkpoints in the schema of a log."""

    def __init__(self, log: PostgresLog) -> None:
        self._log = log

    def load(self, name: str) -> int:
        rows = self._log._fetch("SELECT position FROM log_checkpoints WHERE name = %s", (name,))
        return rows[0][0] if rows else 0

    def save(self, name: str, position: int) -> None:
        self._log._fetch(
            "INSERT INTO log_checkpoints VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET position = excluded.position RETURNING position",
            (name, position),
        )


def create_roles(log: PostgresLog, *, writer: str, reader: str, streams: str = "") -> None:
    """Give two roles what they need and nothing more; the log's owner, who may create roles, calls this.

    A writer may read and insert events, a reader may read them; neither may change or delete one, nor write the
    owner's snapshots and checkpoints. Roles that do not exist are made, able to log in and without a password.

    Parameters
    ----------
    streams
        The streams the two may see and write are those whose names begin so; all where it is empty. Such a role reads
        a log with holes, which is no alarm to it, and has neither snapshots nor journeys, as these may show the rest.

    Raises
    ------
    BadInput
        A role stands above the database's rules, or may change events by another membership.
    """
    if not _storable(streams):
        raise BadInput(f"streams must be text without NUL, got {streams!r}")
    connection = log._connection
    processor, slash, _ = streams.partition("/")
    of_events = sql.SQL("starts_with(stream, {})").format(sql.Literal(streams))
    of_processors = sql.SQL("name = {}" if slash else "starts_with(name, {})").format(sql.Literal(processor))
    with log._clear_errors(), connection.transaction():
        if streams:
            connection.execute("ALTER TABLE events ENABLE ROW LEVEL SECURITY")
            connection.execute("ALTER TABLE processors ENABLE ROW LEVEL SECURITY")
        for role, writes in ((writer, True), (reader, False)):
            name = sql.Identifier(role)
            if not log._fetch("SELECT FROM pg_roles WHERE rolname = %s", (role,)):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            right = "SELECT, INSERT" if writes else "SELECT"
            grants = [
                "USAGE ON SCHEMA {schema}",
                f"{right} ON events, processors",
                "SELECT ON log_meta",
                "EXECUTE ON FUNCTION log_head",
            ]
            if writes:
                grants.append("EXECUTE ON FUNCTION log_newest, log_places, log_taken")
            if not streams:
                grants += [f"{right} ON log_steps", "SELECT ON log_snapshots, log_checkpoints"]
            for grant in grants:
                connection.execute(
                    sql.SQL(f"GRANT {grant} TO {{role}}").format(schema=sql.Identifier(log.schema), role=name)
                )
            for table, rule in (("events", of_events), ("processors", of_processors)):
                connection.execute(sql.SQL(f"DROP POLICY IF EXISTS {{}} ON {table}").format(name))
                connection.execute(
                    sql.SQL(f"CREATE POLICY {{}} ON {table} TO {{}} USING ({{}})").format(name, name, rule)
                )
            [(above,)] = log._fetch(
                "SELECT rolsuper OR rolbypassrls OR pg_has_role(oid, tableowner, 'MEMBER') "
                "OR has_table_privilege(oid, 'events', 'UPDATE, DELETE, TRUNCATE') "
                "FROM pg_roles, pg_tables WHERE rolname = %s AND schemaname = %s AND tablename = 'events'",
                (role, log.schema),
            )
            if above:
                raise BadInput(f"role {role!r} may change events whatever is granted here: choose another")


class _Condition(NamedTuple):
    test: str
    value: object


class _Window(NamedTuple):
    """From `begin` up to `end` these microseconds are taken, and no others."""

    begin: int
    end: int
    taken: frozenset[int]


class _Moments:
    """Which timestamps are free, so that the paper's unique (processor_id, timestamp) refuses no event.

    Two events of one processor in one microsecond get neighbouring timestamps, and so does a late one that finds its
    microsecond taken. What is later than a processor's newest timestamp is free without a question, which is nearly
    everything; the rest of a batch is asked for in one go.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.newest: dict[int, int] = {}  # true only while nobody else appends
        # Per processor a run of microseconds that are all taken: a log deletes nothing, so this stays true.
        self._full: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        self.newest.clear()
        self._full.clear()

    def settle(self, processors: list[int], wanted: list[int]) -> list[int]:
        """A timestamp for each event, in microseconds since 1970."""
        newest = self.newest
        later = {processor: newest[processor] for processor in processors}
        for processor, moment in zip(processors, wanted, strict=True):
            if moment <= later[processor]:
                return self._settle_one_by_one(processors, wanted)
            later[processor] = moment
        newest.update(later)  # the usual batch: each event later than all that its processor has
        return wanted

    def _settle_one_by_one(self, processors: list[int], wanted: list[int]) -> list[int]:
        newest = self.newest
        recorded = {processor: newest[processor] for processor in processors}
        late = {
            (processor, moment)
            for processor, begin in zip(processors, wanted, strict=True)
            if (moment := self._past_the_run(processor, begin)) <= recorded[processor]
        }
        known = self._ask(late, 4) if late else {}
        windows: dict[int, _Window] = {}
        used: set[tuple[int, int]] = set()
        moments = []
        for processor, begin in zip(processors, wanted, strict=True):
            moment = self._past_the_run(processor, begin)
            while moment <= newest[processor]:
                if moment <= recorded[processor]:
                    window = windows.get(processor)
                    if window is None or not window.begin <= moment < window.end:
                        key = (processor, moment)
                        # Where one microsecond is taken many are: the second question asks for more.
                        window = windows[processor] = (known if key in known else self._ask({key}, 1_000))[key]
                    if moment in window.taken:
                        moment += 1
                        continue
                if (processor, moment) not in used:
                    break
                moment += 1
            if moment - begin > NUDGE_MAX:
                raise BadInput(f"a processor has no free microsecond within a minute of {_datetime(begin)}")
            used.add((processor, moment))
            newest[processor] = max(newest[processor], moment)
            first, end = self._full.get(processor, (begin, begin))
            self._full[processor] = (first if first <= begin <= end else begin, moment + 1)
            moments.append(moment)
        return moments

    def _past_the_run(self, processor: int, moment: int) -> int:
        first, end = self._full.get(processor, (0, 0))
        if first <= moment < end:
            return end
        return moment + 1 if moment == self.newest[processor] else moment

    def _ask(self, moments: set[tuple[int, int]], most: int) -> dict[tuple[int, int], _Window]:
        processors, times = zip(*moments, strict=True)
        found = self._connection.execute(
            "SELECT * FROM log_taken(%s::integer[], %s::timestamptz[], %s)",
            (list(processors), [_datetime(moment) for moment in times], most),
            binary=True,
        )
        windows = {}
        for processor, moment, taken in found:
            begin = _microseconds(moment)
            end = taken[-1] + 1 if len(taken) == most else _MOMENT_MAX + NUDGE_MAX
            windows[processor, begin] = _Window(begin, end, frozenset(taken))
        return windows


_NewRow = tuple[int, Event, int, int, bytes]  # position, event, processor, moment, chain


def _values(row: _NewRow) -> tuple[object, ...]:
    """The columns of a new event, in the order of `_COLUMNS`."""
    position, event, processor, moment, chain = row
    return (
        *(position, processor, _datetime(moment), event.id, chain, event.sequence, event.time),
        *(event.stream, event.type, event.source, view(event).decode(), event.body),
    )


def _packed(row: _NewRow) -> bytes:
    """The same as a row of COPY: the number of columns, then each behind its length."""
    position, event, processor, moment, chain = row
    frame, shown = event.frame, view(event)
    since_2000, uid, body = moment - _EPOCH_2000, frame[:ID_BYTES], frame[ID_BYTES:]
    return b"".join(
        (
            _fixed(12, 8, position, 4, processor, 8, since_2000, 32, uid, 32, chain, 8, event.sequence, 8, event.time),
            *(_text(event.stream), _text(event.type), _text(event.source)),
            *(_length(len(shown) + 1), b"\x01", shown),  # 1 is the version of jsonb's binary form
            *(_length(len(body)), body),
        )
    )


@lru_cache(NAMES_MAX)
def _text(name: str) -> bytes:
    text = name.encode()
    return _length(len(text)) + text


def view(event: Event) -> bytes:
    """What the column `event` shows: the data with the event's type among it, which wins over a field of that name.

    >>> view(Event("EWR/UA1", "arrived", {"speed": 370.0}, source="IAH", sequence=1, time=0))
    b'{"speed":370.0,"type":"arrived"}'
    """
    comma = b"," if event.data else b""
    text = b"".join((orjson.dumps(event.data)[:-1], comma, b'"type":', orjson.dumps(event.type), b"}"))
    return _NUL.sub(rb"\1\\ufffd", text) if b"\\u0000" in text else text


def timescale_schema(connection: psycopg.Connection[Any]) -> str | None:
    """Where this database has TimescaleDB's functions; None without it.

    Installed, not only available: `CREATE EXTENSION` ends the connection where the server has not loaded its library.
    """
    question = "SELECT nspname::text FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace"
    row = connection.execute(f"{question} WHERE extname = 'timescaledb'").fetchone()
    return row[0] if row else None


def _by_time(connection: psycopg.Connection[Any], timescale: str | None) -> str:
    """Arrange the empty table `events` by time, and say how."""
    if timescale is not None:
        create = sql.SQL("SELECT {}('events', 'timestamp')").format(sql.Identifier(timescale, "create_hypertable"))
        connection.execute(create)
        return "a TimescaleDB hypertable on timestamp"
    # Not native partitions: a unique index would have to hold the timestamp there too, and then refuses no repeat.
    connection.execute("CREATE INDEX events_by_timestamp ON events USING brin (timestamp) WITH (autosummarize = on)")
    return "a BRIN index on timestamp"


def _parse(url: str, schema: str) -> tuple[dict[str, Any], str]:
    """libpq's parameters, and the schema."""
    address, _, query = os.fspath(url).partition("?")
    # Not parse_qsl: libpq takes a + for a +.
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    schema = next((unquote(value) for name, _, value in pairs if name == "schema"), schema)
    if not _storable(schema) or not 0 < len(schema.encode()) < 64:
        raise BadInput(f"schema must be a name of 1 to 63 bytes, got {schema!r}")
    others = "&".join("".join(pair) for pair in pairs if pair[0] != "schema")
    given: dict[str, Any] | None
    try:
        given = conninfo_to_dict(f"{address}?{others}" if others else address)
    except psycopg.Error:
        given = None
    # An @ or / of a password that was not escaped ends up in these; they are never shown.
    texts = [str((given or {}).get(name) or "") for name in ("host", "port", "dbname")]
    if given is None or any("@" in text for text in texts) or re.search("[^0-9,]", texts[1]):
        raise BadInput(
            "this is no PostgreSQL URL: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE with %40 for @, %2F for / "
            "and %3F for ? in a password, and only libpq's parameters and schema= after a ?"
        )
    defaults: dict[str, Any] = {
        "application_name": "rarera",
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "tcp_user_timeout": 30_000,
    }
    return {**defaults, **{name: value for name, value in given.items() if value is not None}}, schema


def _check_names(event: Event) -> None:
    for what, name in (("stream", event.stream), ("source", event.source)):
        if (length := len(name.encode())) > NAME_BYTES_MAX:
            raise BadInput(f"PostgreSQL keeps names of up to {NAME_BYTES_MAX} bytes, got a {what} of {length} bytes")


def _storable(name: str) -> bool:
    """Whether PostgreSQL can hold, and so find, such a text."""
    try:
        return "\0" not in name and name.encode() is not None
    except UnicodeEncodeError:
        return False


def _next_size(rows: list[Any], most: int) -> int:
    """Rows for the next page, from the bytes of this one: a page is held in memory whole."""
    room = PAGE_BYTES * len(rows) // (1 + sum(len(row[-1]) for row in rows)) if rows else most
    return max(1, min(most, room))


def _datetime(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _microseconds(moment: datetime | None) -> int:
    return -1 if moment is None else (moment - _EPOCH) // _MICROSECOND
