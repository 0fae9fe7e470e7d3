"""A log in three tiers: the newest events in memory, younger ones in a database, older ones in compressed segments.

    manifest, lock                       as in :mod:`rarera_sim.adapters.files`
    warm/00000000000000200001.sqlite     the log that grows, and the one before it: each holds one range of positions
    cold/00000000000000000001.sealed     a range that was moved, see :mod:`rarera_sim.adapters.segments`

No log deletes an event, and none needs to: what is moved is a whole warm log. It is verified, copied into a sealed
segment, that is forced to the disk, read back and renamed, and only then is the warm log removed. The rename is the
boundary between the tiers: where a sealed segment stands, a warm log of the same range is what a crash left.

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

from rarera_sim.adapters.codecs import zstandard
from rarera_sim.adapters.folders import NEW, Lock, check_manifest, clear_errors, make_folder, sync_folder
from rarera_sim.adapters.index import Index
from rarera_sim.adapters.segments import SealedSegment, cut, seal
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, BusyLog, DamagedLog, StorageFailed, UnknownFormat, WrongPosition
from rarera_sim.core.event import Event, EventId, Recorded
from rarera_sim.core.integrity import CHAIN_START, Auditable, Head, Row, link, verify
from rarera_sim.core.log import ALL, EventLog, Query, check_expected, check_range

KIND: Final = "tiered"
HOT: Final = 10_000
WARM: Final = 100_000


class WarmLog(EventLog, Auditable, Protocol):
    """Any log that can be verified."""


class WarmStore(Protocol):
    """Keeps logs, each under the first position in it; one can be removed as a whole."""

    def firsts(self) -> list[int]: ...

    def has(self, first: int) -> bool: ...

    def open(self, first: int, *, create: bool) -> WarmLog: ...

    def remove(self, first: int) -> None: ...


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

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020}.sqlite"


class TieredLog:
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
        Where the warm logs are kept: SQLite files in the folder if none is given.
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
        store: WarmStore | None = None,
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
        zstandard()  # now, not when the first events have grown old
        self.path = Path(folder)
        self.read_only = read_only
        self._lock = Lock(self.path, busy_timeout)
        self._cold = self.path / "cold"
        self._store: WarmStore = store or SqliteFolder(
            self.path / "warm", read_only=read_only, durability=durability, busy_timeout=busy_timeout
        )
        self._hot_events = hot
        self._warm_events = warm
        self._hot: dict[int, Recorded] = {}
        self._index = Index()
        self._segments: list[SealedSegment | _Warm] = []
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
        with clear_errors(self.path):
            self._check_open()
            if self.read_only:
                raise BadInput(f"log {self.path} is read-only")
            with self._lock.held():
                self._refresh()
                fresh = self._index.fresh(events)
                # A batch that is all there was appended by this caller, who did not hear of it: no lost race.
                if stream is not None and fresh and (at := self._index.stream_position(stream)) != expected:
                    raise WrongPosition(f"stream {stream} is at position {at}, expected {expected}")
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
            if path.exists():
                sealed = SealedSegment(path)  # another writer moved it
            else:
                verdict = verify(segment.log)
                if not verdict.intact:
                    # What is moved is removed, and with it what might still tell what happened.
                    where = segment.first - 1 + verdict.position if verdict.position else f"{segment.first} and after"
                    raise DamagedLog(f"position {where} is not moved: {verdict.reason}")
                frames = [event.frame for _, event in segment.records(segment.first, segment.last, False)]
                sealed = seal(self._cold, segment.first, segment.chain_before, frames)
            following = self._segments[number + 1]
            if (sealed.last + 1, sealed.chain) != (following.first, following.chain_before):
                raise DamagedLog(f"position {sealed.first} in {path}: it does not hold what the warm log held")
            self._segments[number] = sealed
            segment.close()
            self._store.remove(segment.first)

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
        check_range(after, upto, limit)
        # Fixed now, so that a read sees the log as it was when asked, however slowly it is consumed.
        head = self.head()
        last = head if upto is None else min(upto, head)
        return self._index.pick(query, after, last, limit, backwards, self._records)

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
        for part in cut(self._segments, first, last, backwards):
            with clear_errors(self.path):
                self._check_open()
                yield from part.segment.records(part.first, part.last, backwards)

    def head(self) -> int:
        with clear_errors(self.path):
            self._refresh()
        return self._index.head

    def chain_head(self) -> Head:
        """The newest position and the chain up to it: keep it elsewhere, and `verify` finds a lost tail."""
        return Head(self.head(), self._chain)

    def find(self, event_id: EventId) -> Recorded | None:
        self.head()
        position = self._index.positions.get(event_id)
        return next(self._records(position, position, False)) if position else None

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        self.head()
        return self._index.sequences()

    # What `rarera_sim.core.integrity.verify` needs

    def rows(self) -> Iterator[Row]:
        """Every row as it lies on the disk, the hot ones too."""
        self.head()
        for segment in tuple(self._segments):
            with clear_errors(self.path):
                self._check_open()
                yield from segment.rows()

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
        return ""

    def _check_warm(self, segment: _Warm) -> str:
        try:
            return segment.log.self_check()
        except OSError:
            if self._cold_path(segment.first).exists():
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
        sealed = [int(name.partition(".")[0]) for name in cold if name.endswith(".sealed")]
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
                self._take_in(newest, newest.news())
            following = self._following(self._index.head + 1)
            if following is None:
                return
            if following.first != self._index.head + 1 or following.chain_before != self._chain:
                raise DamagedLog(f"position {self._index.head + 1} in {self.path}: what comes next does not go on here")
            self._segments.append(following)
            self._let_go_of_moved()
            if isinstance(following, SealedSegment):
                self._take_in(following, following.records(following.first, following.last, False))

    def _let_go_of_moved(self) -> None:
        """Read from the cold segment what another writer has moved: the warm log is open here, and removed."""
        for number, segment in enumerate(self._segments):
            if isinstance(segment, _Warm) and (path := self._cold_path(segment.first)).exists():
                self._segments[number] = SealedSegment(path)
                segment.close()

    def _cold_path(self, first: int) -> Path:
        return self._cold / f"{first:020}.sealed"

    def _following(self, first: int) -> SealedSegment | _Warm | None:
        if self._segments and self._segments[-1].first == first:
            return None  # the newest warm log is empty as yet
        for _ in range(2):
            # Twice, as it may be moved between the two looks.
            path = self._cold_path(first)
            if path.exists():
                return SealedSegment(path)
            if self._store.has(first):
                try:
                    log = self._store.open(first, create=False)
                except (BadInput, DamagedLog):
                    if self._store.has(first) and not path.exists():
                        raise
                    continue
                if not path.exists():
                    return _Warm(first, log, self._chain)
                log.close()  # it may have been opened with part of it removed already
        return None

    def _take_in(self, segment: SealedSegment | _Warm, records: Iterator[Recorded] | Sequence[Recorded]) -> None:
        try:
            for recorded in records:
                position, event = recorded
                self._index.add(position, event)
                self._chain = link(self._chain, event.id)
                self._hot[position] = recorded
                if len(self._hot) > self._hot_events:
                    del self._hot[position - self._hot_events]
                if isinstance(segment, _Warm):
                    segment.last = position
        except DamagedLog:
            self._abandon()  # the index has stopped half way, and must not be asked
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StorageFailed(f"log {self.path} is closed")

    def _abandon(self) -> None:
        self._closed = True
        self._hot.clear()
        for segment in self._segments:
            segment.close()
        self._lock.close()


class _Warm:
    """A warm log as a segment: it counts from 1, and has a chain of its own."""

    def __init__(self, first: int, log: WarmLog, chain_before: bytes) -> None:
        self.path = Path(f"{first:020}")
        self.first = first
        self.last = first - 1  # as far as it was taken in
        self.log = log
        self.chain_before = chain_before

    def close(self) -> None:
        self.log.close()

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        return [Recorded(self.first - 1 + position, event) for position, event in self.log.append(events)]

    def news(self) -> Iterator[Recorded]:
        return self._read(self.last - self.first + 1, None, False)

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        return self._read(first - self.first, last - self.first + 1, backwards)

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
