"""A log in three tiers: the newest events in memory, younger ones in a database, older ones in files.

    manifest, lock                       as in :mod:`rarera_sim.adapters.files`
    snapshots/, checkpoints, steps       see :mod:`rarera_sim.adapters.beside`
    warm/00000000000000200001.sqlite     the log that grows, and the one before it: each holds one range of positions;
                                         or a schema each in a PostgreSQL database, SCHEMA_00000000000000200001
    cold/00000000000000000001.sealed     a range that was moved, see :mod:`rarera_sim.adapters.segments`; or
    cold/00000000000000000001.parquet    one for other programs to read, see :mod:`rarera_sim.adapters.parquet`

No log deletes an event, and none needs to: what is moved is a whole warm log. It is verified, copied into a cold file,
that is forced to the disk, read back and renamed, and only then is the warm log removed. The rename is the boundary
between the tiers: where a cold file stands, a warm log of the same range is what a crash left. Whoever has a warm log
open that another process moves goes on in the cold file.

A cold event takes 29 bytes on the disk, for flights, and a warm one 353; what a move costs, some 30 us of CPU an event,
is about as much again as its append (measured by `python tests/adapters/test_files.py`). An index of everything is in
memory, some 170 bytes an event, so that repeats and conflicts are found across the tiers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

from rarera_sim.adapters import beside
from rarera_sim.adapters.codecs import zstandard
from rarera_sim.adapters.folders import NEW, Lock, check_manifest, clear_errors, make_folder, sync_folder
from rarera_sim.adapters.index import SPAN, Index
from rarera_sim.adapters.indexed import IndexedLog
from rarera_sim.adapters.segments import PACKING, Packing, SealedSegment, Segment, cut, seal
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, BusyLog, DamagedLog, StorageFailed, UnknownFormat
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.integrity import CHAIN_START, Auditable, Head, Row, link, verify
from rarera_sim.core.log import EventLog, check_expected

KIND: Final = "tiered"
HOT: Final = 10_000
WARM: Final = 100_000


class WarmLog(EventLog, Auditable, Protocol):
    """Any log that can be verified."""


class ColdSegment(Segment, Protocol):
    """A segment that is never written again, and knows the chain before and after it."""

    chain_before: bytes
    chain: bytes

    def close(self) -> None: ...


class WarmStore(Protocol):
    """Keeps logs, each under the first position in it; one can be removed as a whole."""

    def firsts(self) -> list[int]: ...

    def has(self, first: int) -> bool: ...

    def open(self, first: int, *, create: bool) -> WarmLog: ...

    def remove(self, first: int) -> None: ...

    def close(self) -> None: ...


class SqliteFolder:
    """Warm logs in SQLite, a file each."""

    def __init__(self, folder: Path, *, read_only: bool = False, **options: Any) -> None:
        self._folder = folder
        self._read_only = read_only
        self._options = options

    def firsts(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return sorted(int(stem) for stem, dot, kind in (n.partition(".") for n in names) if kind == "sqlite")

    def has(self, first: int) -> bool:
        return self._path(first).exists()

    def open(self, first: int, *, create: bool) -> SqliteLog:
        path = self._path(first)
        if create and not path.exists():
            # A process may die while it makes one, and half a log cannot be told from a damaged one.
            new = path.with_name(path.name + NEW)
            SqliteLog(new, **self._options).close()
            os.replace(new, path)
            sync_folder(self._folder)
        return SqliteLog(path, create=False, read_only=self._read_only, **self._options)

    def remove(self, first: int) -> None:
        path = self._path(first)
        # The file last: while it is there, what is left of it is removed when the log is next opened.
        for name in (f"{path}-wal", f"{path}-shm", path):
            Path(name).unlink(missing_ok=True)
        sync_folder(self._folder)

    def close(self) -> None:
        """Nothing to close: the logs are closed by whoever opened them."""

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020}.sqlite"


class PostgresSchemas:
    """Warm logs in PostgreSQL, a schema each: that of the URL, "_" and the first position; dropped when it is moved.

    Only one tiered log may use a schema's name: what stands under it is taken for its own.
    """

    def __init__(self, url: str, *, read_only: bool = False, **options: Any) -> None:
        try:
            from rarera_sim.adapters import postgres
        except ImportError as error:
            raise BadInput(str(error)) from None
        self._postgres = postgres
        self._url = url
        self._read_only = read_only
        self._options = options
        self._address, self._schema = postgres._parse(url, "tiered")
        if len(self._schema.encode()) > 42:
            raise BadInput(f"schema must have 42 bytes at most, as a position is put behind it, got {self._schema!r}")
        self._connection: Any = None

    def __repr__(self) -> str:
        return f"PostgresSchemas({self._schema!r})"

    def firsts(self) -> list[int]:
        question = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, %s)"
        names = (name.removeprefix(self._schema + "_") for (name,) in self._ask(question, (self._schema + "_",)))
        return sorted(int(name) for name in names if len(name) == 20 and name.isdecimal())

    def has(self, first: int) -> bool:
        [(there,)] = self._ask("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (self._name(first),))
        return bool(there)

    def open(self, first: int, *, create: bool) -> WarmLog:
        # A log in PostgreSQL is made in one transaction, so that a crash leaves none or all of it.
        return self._postgres.PostgresLog(self._of(first), create=create, read_only=self._read_only, **self._options)

    def remove(self, first: int) -> None:
        from psycopg import sql

        self._ask(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self._name(first))), ())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _name(self, first: int) -> str:
        return f"{self._schema}_{first:020}"

    def _of(self, first: int) -> str:
        """The URL of one warm log."""
        address, _, query = self._url.partition("?")
        others = [pair for pair in query.split("&") if pair and not pair.startswith("schema=")]
        return address + "?" + "&".join([*others, f"schema={quote(self._name(first), safe='')}"])

    def _ask(self, question: Any, values: tuple[Any, ...]) -> list[Any]:
        import psycopg

        try:
            if self._connection is None:
                self._connection = psycopg.connect(**self._address, autocommit=True)
                self._connection.execute(f"SET lock_timeout = {round(self._options.get('busy_timeout', 5.0) * 1000)}")
            cursor = self._connection.execute(question, values)
            return cursor.fetchall() if cursor.description else []
        except psycopg.errors.LockNotAvailable:
            raise BusyLog(
                f"another process reads the warm log in schema {self._schema!r} that is to be removed"
            ) from None
        except psycopg.Error as error:
            self.close()
            # Not chained, and without libpq's words: they may quote a part of a URL with its password.
            said = error.diag.message_primary or type(error).__name__
            raise StorageFailed(f"the warm logs in schema {self._schema!r} cannot be reached: {said}") from None


def _store(store: WarmStore | str | None, folder: Path, options: dict[str, Any]) -> WarmStore:
    if store is None:
        return SqliteFolder(folder, **options)
    if not isinstance(store, str):
        return store
    if not store.startswith("postgresql://"):
        raise BadInput("store must be a PostgreSQL URL, or be left out for SQLite files in the log's folder")
    return PostgresSchemas(store, **options)


class TieredLog(IndexedLog):
    """A log in three tiers, read as one.

    One object belongs to one thread; any number of them, in any number of processes, may share a folder.

    Parameters
    ----------
    folder
        Made if there is none, in a folder that exists.
    hot
        How many of the newest events are held in memory, ready to be read without asking a disk.
    warm
        How many events a warm log takes before the next is begun. The one before stays; what is older is moved, which
        the append that begins a new one waits for.
    store
        Where the warm logs are kept: SQLite files in the folder if none is given; `postgresql://...`, or a `WarmStore`.
    cold
        What old events are moved to: "sealed" segments, or "parquet" for other programs to read. A log may hold both.
    block_events, dictionary_bytes, level
        Of sealed segments, see :class:`rarera_sim.adapters.segments.Packing`.
    create, read_only, durability, busy_timeout
        As for `SqliteLog`.

    Examples
    --------
    >>> import tempfile
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> with tempfile.TemporaryDirectory() as folder, TieredLog(folder) as log:
    ...     len(log.append([event])), len(log.append([event])), log.head(), log.tiers()
    (1, 0, 1, {'cold': 0, 'warm': 1, 'hot': 1})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        hot: int = HOT,
        warm: int = WARM,
        store: WarmStore | str | None = None,
        cold: Literal["sealed", "parquet"] = "sealed",
        block_events: int = PACKING.block_events,
        dictionary_bytes: int = PACKING.dictionary_bytes,
        level: int = PACKING.level,
        create: bool = True,
        read_only: bool = False,
        durability: Literal["full", "normal"] = "full",
        busy_timeout: float = 5.0,
    ) -> None:
        if type(hot) is not int or hot < 0:
            raise BadInput(f"hot must be an integer >= 0, got {hot!r}")
        if type(warm) is not int or warm < 1:
            raise BadInput(f"warm must be an integer >= 1, got {warm!r}")
        if durability not in ("full", "normal"):
            raise BadInput(f"durability must be 'full' or 'normal', got {durability!r}")
        if cold not in ("sealed", "parquet"):
            raise BadInput(f"cold must be 'sealed' or 'parquet', got {cold!r}")
        self._cold_form = cold
        self._packing = Packing(block_events, dictionary_bytes, level).checked()
        if cold == "sealed":
            zstandard()  # now, not when the first events have grown old
        self.path = Path(folder)
        self.read_only = read_only
        self._lock = Lock(self.path, busy_timeout)
        self._cold = self.path / "cold"
        options: dict[str, Any] = {"read_only": read_only, "durability": durability, "busy_timeout": busy_timeout}
        self._store = _store(store, self.path / "warm", options)
        self._hot_events = hot
        self._warm_events = warm
        self._hot: dict[int, Recorded] = {}
        self._index = Index()
        self._segments: list[ColdSegment | _Warm] = []
        self._chain = CHAIN_START
        self._closed = False
        with clear_errors(self.path):
            make_folder(self.path, KIND, create and not read_only, self._lock)
            try:
                self._load()
            except BaseException:
                self._abandon()
                raise

    def __repr__(self) -> str:
        return f"TieredLog({str(self.path)!r})"

    def __enter__(self) -> TieredLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._abandon()

    def tiers(self) -> dict[str, int]:
        """How many events each tier holds; the hot ones are in the warm tier as well."""
        self.head()
        cold = sum(segment.last - segment.first + 1 for segment in self._segments if not isinstance(segment, _Warm))
        return {"cold": cold, "warm": self._index.head - cold, "hot": len(self._hot)}

    # Writing

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        stream = check_expected(events, expected)
        if not events:
            return []
        for event in events:
            _ = event.frame  # an event without canonical form is refused, and hashed, before anybody has to wait
        with self.changing():
            self._refresh()
            fresh = self._index.fresh(events, stream, expected)
            return self._write(fresh) if fresh else []

    def _write(self, events: Sequence[Event]) -> list[Recorded]:
        try:
            segment = self._growing()
            appended = segment.append(events)
        except (StorageFailed, OSError):
            self._abandon()
            raise
        if [event for _, event in appended] != events or appended[0].position != self._index.head + 1:
            self._abandon()
            raise DamagedLog(f"position {self._index.head + 1}: the warm log {segment.first} holds some of it already")
        self._take_in(segment, appended)
        return appended

    def _growing(self) -> _Warm:
        """The warm log to append to: the newest, or a new one where that is full."""
        newest = self._segments[-1] if self._segments else None
        if isinstance(newest, _Warm) and newest.last - newest.first + 1 < self._warm_events:
            return newest
        first = self._index.head + 1
        segment = _Warm(first, self._store.open(first, create=True), self._chain)
        self._segments.append(segment)
        self._move_to_cold()
        return segment

    def _move_to_cold(self) -> None:
        """Move every warm log but the one that grows and the one before."""
        for number, segment in enumerate(self._segments[:-2]):
            if not isinstance(segment, _Warm):
                continue
            path = self._cold_path(segment.first)
            if path is not None:
                sealed = _open_cold(path)  # another writer moved it
            else:
                verdict = verify(segment.log)
                if not verdict.intact:
                    # What is moved is removed, and with it what might still tell what happened.
                    where = segment.first - 1 + verdict.position if verdict.position else f"{segment.first} and after"
                    raise DamagedLog(f"position {where} is not moved: {verdict.reason}")
                frames = [event.frame for _, event in segment.records(segment.first, segment.last, False)]
                if self._cold_form == "parquet":
                    from rarera_sim.adapters.parquet import seal_parquet

                    sealed = seal_parquet(self._cold, segment.first, segment.chain_before, frames)
                else:
                    sealed = seal(self._cold, segment.first, segment.chain_before, frames, self._packing)
            following = self._segments[number + 1]
            if (sealed.last + 1, sealed.chain) != (following.first, following.chain_before):
                raise DamagedLog(f"position {sealed.first} in {sealed.path}: it does not hold what the warm log held")
            self._segments[number] = sealed
            segment.close()
            self._store.remove(segment.first)

    # Reading

    def _records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        # What is hot now may be so no longer when a slow reader comes to it, so every event is asked for by itself.
        while first <= last:
            recorded = self._hot.get(last if backwards else first)
            if recorded is None:
                end = last if backwards else min(last, self._index.head - len(self._hot))
                yield from self._from_disk(first, end, backwards)
                if backwards:
                    return
                first = end + 1
                continue
            self._check_open()
            yield recorded
            if backwards:
                last -= 1
            else:
                first += 1

    def _from_disk(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        while first <= last:
            # One segment at a time, as the list may be another when a slow reader comes for the next.
            part = next(cut(self._segments, first, last, backwards))
            try:
                with clear_errors(self.path):
                    self._check_open()
                    for recorded in part.segment.records(part.first, part.last, backwards):
                        yield recorded
                        if backwards:
                            last = recorded.position - 1
                        else:
                            first = recorded.position + 1
            except Exception:
                # A warm log that another writer moved and removed, while somebody was reading it.
                if self._closed or not (self._let_go_of_moved() or part.segment not in self._segments):
                    raise

    def chain_head(self) -> Head:
        """The newest position and the chain up to it: keep it elsewhere, and `verify` finds a lost tail."""
        return Head(self.head(), self._chain)

    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None beyond the end: what a snapshot is held against."""
        if position > self.head():
            return None
        if not position:
            return CHAIN_START
        for attempt in (0, 1):
            with clear_errors(self.path):
                [part] = cut(self._segments, position, position, False)
                try:
                    return part.segment.chain_at(position)
                except Exception:
                    if attempt or not self._let_go_of_moved():
                        raise
        raise AssertionError("the second attempt returns or raises")

    # What `rarera_sim.core.integrity.verify` needs

    def rows(self) -> Iterator[Row]:
        """Every row as it lies on the disk, the hot ones too."""
        self.head()
        for segment in tuple(self._segments):
            with clear_errors(self.path):
                self._check_open()
                last = segment.first - 1
                try:
                    for row in segment.rows():
                        yield row
                        last = row.position
                except Exception:
                    path = self._cold_path(segment.first) if isinstance(segment, _Warm) else None
                    if path is None:
                        raise
                    # Another writer has moved it meanwhile, and removed it.
                    yield from (row for row in _open_cold(path).rows() if row.position > last)

    def self_check(self) -> str:
        with clear_errors(self.path):
            try:
                check_manifest(self.path, KIND)
                self._refresh()
            except (DamagedLog, UnknownFormat) as damage:
                return str(damage)
            for segment in self._segments:
                if isinstance(segment, _Warm) and (reason := self._check_warm(segment)):
                    return f"the warm log {segment.first}: {reason}"
            try:
                with self._lock.held(patient=False, shared=True):
                    return beside.check_beside(self.path)
            except BusyLog:
                return ""  # a writer is at work, and may be changing it

    def _check_warm(self, segment: _Warm) -> str:
        try:
            return segment.log.self_check()
        except Exception:
            if self._cold_path(segment.first):
                return ""  # a writer has moved it meanwhile
            raise

    # Files

    def _load(self) -> None:
        check_manifest(self.path, KIND)
        if not self.read_only:
            for folder in (self._cold, self.path / "warm"):
                if not folder.is_dir():
                    folder.mkdir(exist_ok=True)
                    sync_folder(self.path)
        warm = self._store.firsts()
        cold = sorted(os.listdir(self._cold)) if self._cold.is_dir() else []
        sealed = [int(name.partition(".")[0]) for name in cold if name.endswith((".sealed", ".parquet"))]
        self._refresh()
        if beyond := [first for first in (*sealed, *warm) if first > self._index.head + 1]:
            # Whoever made it had appended everything before, and the lists are older than the refresh.
            raise DamagedLog(f"position {self._index.head + 1} is missing in {self.path}: {min(beyond)} comes next")
        if self.read_only:
            return
        with suppress(BusyLog), self._lock.held(patient=False):
            # What a crash left: a segment half made, or a warm log that was moved and not yet removed.
            for name in cold:
                if name.endswith(NEW):
                    (self._cold / name).unlink(missing_ok=True)
            for first in set(sealed) & set(warm):
                self._store.remove(first)

    def _refresh(self) -> None:
        """Take in what other processes appended."""
        self._check_open()
        while True:
            newest = self._segments[-1] if self._segments else None
            if isinstance(newest, _Warm):
                self._take_in_news(newest)
            following = self._following(self._index.head + 1)
            if following is None:
                return
            if following.first != self._index.head + 1 or following.chain_before != self._chain:
                raise DamagedLog(f"position {self._index.head + 1} in {self.path}: what comes next does not go on here")
            self._segments.append(following)
            self._let_go_of_moved()
            if not isinstance(following, _Warm):
                self._take_in(following, following.records(following.first, following.last, False))

    def _take_in_news(self, newest: _Warm) -> None:
        try:
            self._take_in(newest, newest.news())
        except Exception:
            # Others have appended so much meanwhile that the newest we know is cold, and its warm log gone.
            if self._closed or not self._let_go_of_moved():
                raise
            cold = self._segments[-1]
            self._take_in(cold, cold.records(newest.last + 1, cold.last, False) if newest.last < cold.last else ())

    def _let_go_of_moved(self) -> bool:
        """Read from the cold segment what another writer has moved: the warm log is open here, and removed."""
        moved = False
        for number, segment in enumerate(self._segments):
            if isinstance(segment, _Warm) and (path := self._cold_path(segment.first)):
                self._segments[number] = _open_cold(path)
                segment.close()
                moved = True
        return moved

    def _cold_path(self, first: int) -> Path | None:
        """The cold segment that begins there, in whatever form."""
        paths = (self._cold / f"{first:020}{kind}" for kind in (".sealed", ".parquet"))
        return next((path for path in paths if path.exists()), None)

    def _following(self, first: int) -> ColdSegment | _Warm | None:
        if self._segments and self._segments[-1].first == first:
            return None  # the newest warm log is empty as yet
        for _ in range(2):
            # Twice, as it may be moved between the two looks.
            if path := self._cold_path(first):
                return _open_cold(path)
            if self._store.has(first):
                try:
                    log = self._store.open(first, create=False)
                except (BadInput, DamagedLog):
                    if self._store.has(first) and not self._cold_path(first):
                        raise
                    continue
                if not self._cold_path(first):
                    return _Warm(first, log, self._chain)
                log.close()  # it may have been opened with part of it removed already
        return None

    def _take_in(self, segment: ColdSegment | _Warm, records: Iterator[Recorded] | Sequence[Recorded]) -> None:
        try:
            for recorded in records:
                position, event = recorded
                self._index.add(position, event)
                self._chain = link(self._chain, event.id)
                self._hot[position] = recorded
                if len(self._hot) > self._hot_events:
                    del self._hot[position - self._hot_events]
                if isinstance(segment, _Warm):
                    segment.count(self._chain)
        except DamagedLog:
            self._abandon()  # the index has stopped half way, and must not be asked
            raise

    def _abandon(self) -> None:
        self._closed = True
        self._hot.clear()
        for segment in self._segments:
            segment.close()
        self._store.close()
        self._lock.close()


def _open_cold(path: Path) -> ColdSegment:
    if path.suffix == ".sealed":
        return SealedSegment(path)
    from rarera_sim.adapters.parquet import ParquetSegment

    return ParquetSegment(path)


class _Warm:
    """A warm log as a segment: it counts from 1, and has a chain of its own."""

    def __init__(self, first: int, log: WarmLog, chain_before: bytes) -> None:
        self.path = Path(f"{first:020}")
        self.first = first
        self.last = first - 1  # as far as it was taken in
        self.log = log
        self.chain_before = chain_before
        self._marks = [chain_before]  # the chain of the whole log, every SPAN events

    def close(self) -> None:
        self.log.close()

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        return [Recorded(self.first - 1 + position, event) for position, event in self.log.append(events)]

    def news(self) -> Iterator[Recorded]:
        return self._read(self.last - self.first + 1, None, False)

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        return self._read(first - self.first, last - self.first + 1, backwards)

    def count(self, chain: bytes) -> None:
        """Take note of an event that was taken in, and of the chain of the whole log up to it."""
        self.last += 1
        if (self.last - self.first + 1) % SPAN == 0:
            self._marks.append(chain)

    def chain_at(self, position: int) -> bytes:
        # The warm log's own chain is another, so that of the whole is made from the mark before.
        number = position - self.first + 1
        after = number // SPAN * SPAN
        chain = self._marks[number // SPAN]
        for _, event in self.log.read(after=after, upto=number):
            chain = link(chain, event.id)
        return chain

    def _read(self, after: int, upto: int | None, backwards: bool) -> Iterator[Recorded]:
        for position, event in self.log.read(after=after, upto=upto, backwards=backwards):
            yield Recorded(self.first - 1 + position, event)

    def rows(self) -> Iterator[Row]:
        """Its rows, with the chain of the whole log where its own chain fits."""
        own, whole = CHAIN_START, self.chain_before
        for row in self.log.rows():
            if type(row.id) is bytes:  # after damage it may be anything, and `verify` will say so
                own, whole = link(own, row.id), link(whole, row.id)
            fits = row.chain is None or row.chain == own
            yield row._replace(position=self.first - 1 + row.position, chain=whole if fits else b"")
