"""A log in a folder of plain files: nothing but this module is needed to read it.

    manifest                         the format, and the version of this package that reads it; written once
    head                             how far the log has come, and up to where that was forced to the disk
    lock                             empty; whoever appends holds it
    snapshots/, checkpoints, steps   see :mod:`rarera_sim.adapters.beside`
    00000000000000000001.seg         a segment, records as they were appended; the newest is the one that grows
    00000000000000052429.sealed      a closed segment, compressed; see :mod:`rarera_sim.adapters.segments`

A batch counts when its last record is whole, so that a torn one is gone whole. What order the bytes reach the disk in:
the records are forced there before `head` says so, a new segment with its name in the folder before the first record
goes into it, a sealed one before the segment that it replaces is removed. What lies beyond the last whole batch is cut
off when a writer next holds the lock, and said in `torn`; but `head` knows what was safe before, and if that much is
not there the log is refused with the position, as no crash does this.

An index of everything is built in memory when a log is opened: some 170 bytes and 6 us of CPU an event. For flights,
a sealed event takes 29 bytes on the disk with all that belongs to it, one that is not 221, one in SQLite 353. Appending
100 at a time takes 0.4 of the CPU that SQLite takes, 1.0 where segments are sealed, reading as much as there; all of it
measured by `python tests/adapters/test_files.py`.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zlib import crc32

from rarera_sim.adapters import beside
from rarera_sim.adapters.codecs import codec
from rarera_sim.adapters.folders import NEW, Lock, check_manifest, clear_errors, force, make_folder, sync_folder
from rarera_sim.adapters.index import Index
from rarera_sim.adapters.indexed import IndexedLog
from rarera_sim.adapters.segments import PACKING, Packing, Part, RawSegment, SealedSegment, cut, seal
from rarera_sim.core.errors import BadInput, BusyLog, DamagedLog, UnknownFormat
from rarera_sim.core.event import Event, Frame, Recorded
from rarera_sim.core.integrity import CHAIN_START, Head, Row
from rarera_sim.core.log import check_expected

KIND: Final = "files"
SEGMENT_BYTES: Final = 16_000_000

Durability = Literal["full", "normal"]
Compression = Literal["none", "zstd"]

_HEAD = struct.Struct("<8sQQ32s")  # magic, newest position, position forced to the disk, chain; then crc32
_CRC = struct.Struct("<I")
_HEAD_MAGIC = b"RARERAH\1"


class FilesLog(IndexedLog):
    """A log in a folder.

    One object belongs to one thread; any number of them, in any number of processes, may share a folder. Whoever
    appends holds a lock meanwhile, readers need none: they see a batch as soon as its `append` returns.

    Parameters
    ----------
    folder
        Made if there is none, in a folder that exists.
    segment_bytes
        A segment that has grown to this size is closed, and the next one begun.
    compression
        "zstd" seals segments as they are closed, which the append that closes one waits for (about 1 s for 16 MB).
        It needs the extra rarera-sim[zstd], and so does reading them.
    block_events, dictionary_bytes, level
        Of sealed segments, see :class:`rarera_sim.adapters.segments.Packing`.
    buffer_bytes
        Appends are held in memory until they are more than this, somebody reads with this object, or `flush` or `close`
        is called; 0 writes each at once. What it costs: an append that returned is lost if the process ends without
        `flush` or `close`, so tell sources only after a flush that they may forget; until then no other object sees the
        events, and whoever else appends has to wait.
    create
        Make the log where there is none.
    read_only
        Refuse every change; nothing in the folder is touched.
    durability
        "full": what `append` acknowledged survives a power cut (one fsync per append). "normal": it survives the end
        of the process, however sudden; a power cut may take the newest appends, never the log's consistency.
    busy_timeout
        Seconds to wait for another writer before `BusyLog`.

    Attributes
    ----------
    torn
        What was cut off the end of the log by this object, in words; empty if nothing was.

    Examples
    --------
    >>> import tempfile
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> with tempfile.TemporaryDirectory() as folder, FilesLog(folder) as log:
    ...     len(log.append([event])), len(log.append([event])), log.head()
    (1, 0, 1)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        compression: Compression = "none",
        block_events: int = PACKING.block_events,
        dictionary_bytes: int = PACKING.dictionary_bytes,
        level: int = PACKING.level,
        buffer_bytes: int = 0,
        create: bool = True,
        read_only: bool = False,
        durability: Durability = "full",
        busy_timeout: float = 5.0,
    ) -> None:
        if type(segment_bytes) is not int or not 1 <= segment_bytes <= 2**30:
            raise BadInput(f"segment_bytes must be 1 to {2**30}, got {segment_bytes!r}")
        if type(buffer_bytes) is not int or not 0 <= buffer_bytes <= 2**30:
            raise BadInput(f"buffer_bytes must be 0 to {2**30}, got {buffer_bytes!r}")
        if durability not in ("full", "normal"):
            raise BadInput(f"durability must be 'full' or 'normal', got {durability!r}")
        codec(compression)
        self._packing = Packing(block_events, dictionary_bytes, level).checked()
        self.path = Path(folder)
        self.read_only = read_only
        self.torn = ""
        self._segment_bytes = segment_bytes
        self._compression = compression
        self._forced = durability == "full"
        self._safe = 0
        self._buffer_bytes = buffer_bytes
        self._pending: list[bytes] = []
        self._pending_from = 0
        self._hold: ExitStack | None = None
        self._lock = Lock(self.path, busy_timeout)
        self._head_file = -1
        self._index = Index()
        self._segments: list[RawSegment | SealedSegment] = []
        self._closed = False
        with self._clear_errors():
            head = _HEAD.pack(_HEAD_MAGIC, 0, 0, CHAIN_START)
            make_folder(self.path, KIND, create and not read_only, self._lock, head + _CRC.pack(crc32(head)))
            try:
                flags = os.O_RDONLY if read_only else os.O_RDWR
                with suppress(FileNotFoundError):  # its loss is told by `self_check`
                    self._head_file = os.open(self.path / "head", flags | os.O_CLOEXEC)
                self._load()
                if not read_only:
                    with suppress(BusyLog), self._lock.held(patient=False):
                        # Nobody is appending, so that what is torn is torn for good.
                        self._recover()
            except BaseException:
                self._abandon()
                raise

    def __repr__(self) -> str:
        return f"FilesLog({str(self.path)!r})"

    def __enter__(self) -> FilesLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._closed:
            return
        try:
            with self._clear_errors():
                self._flush()
            if not self.read_only and not self._forced:
                with self._clear_errors(), suppress(BusyLog), self._lock.held(patient=False):
                    self._recover()
                    self._force_newest()
        finally:
            self._abandon()

    # Writing

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        stream = check_expected(events, expected)
        if not events:
            return []
        for event in events:
            _ = event.frame  # an event without canonical form is refused, and hashed, before anybody has to wait
        with self.changing():
            if not self._pending:
                self._recover()
            fresh = self._index.fresh(events, stream, expected)
            return self._write(fresh) if fresh else []

    def flush(self) -> None:
        """Write what `buffer_bytes` still holds in memory; it is then as durable as `durability` says."""
        with self._clear_errors():
            self._check_open()
            self._flush()

    def _write(self, events: Sequence[Event]) -> list[Recorded]:
        segment = self._growing()
        records = segment.compose(events)
        if not self._pending:
            self._pending_from = segment.end
        self._pending += records
        appended = segment.take(events, records)
        for recorded in appended:
            self._index.add(*recorded)
        if segment.end - self._pending_from > self._buffer_bytes:
            self._flush()
        elif self._hold is None:
            # Until they are written nobody else may append, who would take their positions.
            self._hold = ExitStack()
            self._hold.enter_context(self._lock.held())
        return appended

    def _flush(self) -> None:
        """Write what was taken in and not written yet."""
        if not self._pending:
            return
        segment = self._segments[-1]
        assert isinstance(segment, RawSegment), "only the newest segment is appended to, and it is not sealed"
        with self._nothing_tried_again():
            try:
                segment.write(self._pending, self._pending_from)
                if self._forced:
                    force(segment.file)
            except OSError:
                # After a failed fsync the page cache may look clean and be wrong: take back what is in doubt.
                with suppress(OSError):
                    os.ftruncate(segment.file, self._pending_from)
                raise
            self._pending.clear()
            self._write_head(forced=self._forced)
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _growing(self) -> RawSegment:
        """The segment to append to: the newest, or a new one where that is full or sealed."""
        newest = self._segments[-1] if self._segments else None
        if isinstance(newest, RawSegment) and newest.end < self._segment_bytes:
            return newest
        self._flush()
        with self._nothing_tried_again():
            if isinstance(newest, RawSegment):
                force(newest.file)
            head = self._end()
            segment = RawSegment.make(self.path, head.position + 1, head.chain)
            self._segments.append(segment)
            self._write_head(forced=True)
            if self._compression != "none":
                self._seal_closed()
        return segment

    def _seal_closed(self) -> None:
        """Put every closed segment in its compressed form; one that a crash left over is found here as well."""
        for number, segment in enumerate(self._segments[:-1]):
            if isinstance(segment, RawSegment):
                path = segment.path.with_suffix(".sealed")
                # It is there if another writer sealed it, or one that died before it could remove what is sealed.
                self._segments[number] = (
                    SealedSegment(path)
                    if path.exists()
                    else seal(self.path, segment.first, segment.chain_before, segment.frames(), self._packing)
                )
                segment.path.unlink(missing_ok=True)
                sync_folder(self.path)
                segment.close()

    def _recover(self) -> None:
        """Under the lock: take in what other writers appended, and cut off what one of them did not finish."""
        self._refresh(whole=True)
        known = self._read_head()
        self._safe = known.forced if known else 0
        segment = self._segments[-1] if self._segments else None
        if not isinstance(segment, RawSegment):
            return
        more = os.fstat(segment.file).st_size - segment.end
        with self._nothing_tried_again():
            if more:
                self.torn = f"{more} bytes after position {segment.last}, a torn batch, were cut off: {segment.flaw}"
                os.ftruncate(segment.file, segment.end)
            elif known and known.newest > segment.last:
                self.torn = f"the newest events, up to position {known.newest}, did not reach the disk"
            elif not known or known.newest == segment.last:
                return
            # What is whole is kept, though its writer may not have lived to acknowledge it.
            force(segment.file)
            self._write_head(forced=True)

    @contextmanager
    def _nothing_tried_again(self) -> Iterator[None]:
        """After a failed write or fsync nobody knows what the disk holds: the log is closed, and has to be opened."""
        try:
            yield
        except OSError:
            self._abandon()
            raise

    def _force_newest(self) -> None:
        segment = self._segments[-1] if self._segments else None
        if isinstance(segment, RawSegment) and self._safe < segment.last:
            with self._nothing_tried_again():
                force(segment.file)
                self._write_head(forced=True)

    # The head file

    def _write_head(self, *, forced: bool) -> None:
        head = self._end()
        self._safe = head.position if forced else min(self._safe, head.position)
        content = _HEAD.pack(_HEAD_MAGIC, head.position, self._safe, head.chain)
        if self._head_file < 0:
            self._head_file = os.open(self.path / "head", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # In place and not forced to the disk: an older head only promises less, and one sector is not torn.
        os.pwrite(self._head_file, content + _CRC.pack(crc32(content)), 0)

    def _read_head(self) -> _Known | None:
        """What `head` says, None if it says nothing that can be trusted."""
        if self._head_file < 0:
            return None
        for attempt in range(3):
            content = os.pread(self._head_file, _HEAD.size + _CRC.size + 1, 0)
            if len(content) == _HEAD.size + _CRC.size and crc32(content[:-4]) == _CRC.unpack(content[-4:])[0]:
                magic, newest, forced, chain = _HEAD.unpack(content[:-4])
                return _Known(newest, forced, chain) if magic == _HEAD_MAGIC else None
            time.sleep(0.001 * attempt)  # a reader may meet the moment in which it is written
        return None

    def _end(self) -> Head:
        """How far the log was read."""
        return Head(self._segments[-1].last, self._segments[-1].chain) if self._segments else Head(0, CHAIN_START)

    # Reading

    def _records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        for part in cut(self._segments, first, last, backwards):
            with self._clear_errors():
                self._check_open()
                yield from part.segment.records(part.first, part.last, backwards)

    def chain_head(self) -> Head:
        """The newest position and the chain up to it: keep it elsewhere, and `verify` finds a lost tail."""
        self.head()
        return self._end()

    def chain_at(self, position: int) -> bytes | None:
        """The chain up to a position, None beyond the end: what a snapshot is held against."""
        if position > self.head():
            return None
        with self._clear_errors():
            return next((each.segment.chain_at(position) for each in self._holding(position)), CHAIN_START)

    def _holding(self, position: int) -> Iterator[Part]:
        return cut(self._segments, position, position, False) if position else iter(())

    # What `rarera_sim.core.integrity.verify` needs

    def rows(self) -> Iterator[Row]:
        """Every record as it lies on the disk now, whatever was read before."""
        self.head()
        for segment in tuple(self._segments):
            with self._clear_errors():
                self._check_open()
                yield from segment.rows()

    def self_check(self) -> str:
        with self._clear_errors():
            try:
                check_manifest(self.path, KIND)
                self._refresh()
            except (DamagedLog, UnknownFormat) as damage:
                return str(damage)
            known = self._read_head()
            if known is None:
                return f"{self.path / 'head'} is damaged or missing: a tail that is lost cannot be seen without it"
            chain = CHAIN_START
            for segment in self._segments:
                if segment.chain_before != chain:
                    return f"{segment.path} does not go on with the chain of the segment before it"
                chain = segment.chain
            try:
                with self._lock.held(patient=False, shared=True):
                    return self._check_end() or beside.check_beside(self.path)
            except BusyLog:
                return ""  # a writer is at work, and what looks torn may be its batch

    def _check_end(self) -> str:
        """While nobody appends: does the log end where `head` says?"""
        self._refresh()
        known = self._read_head()
        head = self._end()
        if known and Head(known.newest, known.chain) != head:
            return f"{self.path / 'head'} says that the log ends at {known.newest}, and it ends at {head.position}"
        newest = self._segments[-1] if self._segments else None
        if isinstance(newest, RawSegment) and (more := os.fstat(newest.file).st_size - newest.end):
            return f"{newest.path} has {more} bytes after position {newest.last} that no append acknowledged"
        return ""

    # Files

    def _load(self) -> None:
        check_manifest(self.path, KIND)
        names = sorted(os.listdir(self.path))
        self._refresh()
        for name in names:
            stem, _, kind = name.partition(".")
            if kind in ("seg", "sealed") and stem.isdecimal() and int(stem) > self._index.head + 1:
                # Whoever made it had appended everything before, and the list is older than the refresh.
                raise DamagedLog(f"position {self._index.head + 1} is missing in {self.path}: {name} comes next")
            if not self.read_only and (name.endswith(NEW) or (kind == "seg" and f"{stem}.sealed" in names)):
                # What a crash left: a file half made, or a segment that was sealed and not yet removed.
                with suppress(BusyLog), self._lock.held(patient=False):
                    (self.path / name).unlink(missing_ok=True)

    def _open_segment(self, path: Path) -> RawSegment | SealedSegment:
        if path.suffix == ".sealed":
            return SealedSegment(path)
        return RawSegment(path, writable=not self.read_only)

    def _take(self, segment: RawSegment | SealedSegment) -> None:
        """Go on with the next segment."""
        previous = self._segments[-1] if self._segments else None
        if isinstance(previous, RawSegment):
            # Closed, as another comes after it: all of it has been forced to the disk.
            self._index_new(previous.advance())
            if previous.flaw or previous.last + 1 < segment.first:
                raise DamagedLog(f"position {previous.last + 1} in {previous.path}: {previous.flaw or 'it ends there'}")
        due = previous.last + 1 if previous else 1
        if segment.first != due:
            raise DamagedLog(f"position {due} is missing in {self.path}: {segment.path.name} comes next")
        self._segments.append(segment)
        if isinstance(segment, SealedSegment):
            self._index_new(segment.entries())

    def _refresh(self, *, whole: bool = False) -> None:
        """Take in what other processes appended: what is acknowledged, or under the lock all that is whole."""
        self._check_open()
        self._flush()
        known = self._read_head()
        upto = known.newest if known and not whole else None
        while upto is None or self._index.head < upto:
            newest = self._segments[-1] if self._segments else None
            if isinstance(newest, RawSegment):
                self._index_new(newest.advance(upto))
            following = self._following(self._index.head + 1)
            if following is None:
                break
            self._take(following)
        if known and self._index.head < known.forced:
            newest = self._segments[-1] if self._segments else None
            flaw = newest.flaw if isinstance(newest, RawSegment) else ""
            raise DamagedLog(
                f"position {self._index.head + 1} in {newest.path if newest else self.path}: "
                f"{flaw or 'the file ends'}, and the log was safe up to position {known.forced}"
            )

    def _following(self, first: int) -> RawSegment | SealedSegment | None:
        if self._segments and self._segments[-1].first == first:
            return None  # the newest segment is empty as yet
        for kind in (".seg", ".sealed"):  # in this order, as the one becomes the other
            path = self.path / f"{first:020}{kind}"
            if path.exists():
                with suppress(FileNotFoundError):
                    return self._open_segment(path)
        return None

    def _index_new(self, entries: Iterable[tuple[int, Frame]]) -> None:
        try:
            for position, frame in entries:
                self._index.add_frame(position, frame, self.path)
        except DamagedLog:
            self._abandon()  # the index has stopped half way, and must not be asked
            raise

    def _abandon(self) -> None:
        self._closed = True
        self._pending.clear()
        for segment in self._segments:
            segment.close()
        self._lock.close()
        if self._head_file >= 0:
            os.close(self._head_file)
            self._head_file = -1

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """What the operating system says, in our words."""
        with clear_errors(self.path):
            yield


class _Known(NamedTuple):
    """What the head file says."""

    newest: int
    forced: int
    chain: bytes
