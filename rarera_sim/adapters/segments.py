"""Segments: the files that a log in a folder is made of, as they are appended to and as they are kept.

    00000000000000000001.seg       header, then records: size and flag (4 bytes), crc32 (4), frame, chain (32);
                                   the flag marks the last record of a batch
    00000000000000052429.sealed    header with a dictionary, then blocks of events in the form of
                                   :mod:`rarera_sim.adapters.codecs`, each with crc32, and the chain up to its end

The name is the first position in it. Everything but the names stands under a checksum.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from zlib import crc32

from rarera_sim.adapters.codecs import BLOCK_EVENTS, DICTIONARY_BYTES, LEVEL, Codec, Zstd, blocks, codec, train, unpack
from rarera_sim.adapters.folders import written_whole
from rarera_sim.core.errors import BadInput, DamagedLog, InvalidEvent, StorageFailed
from rarera_sim.core.event import ID_BYTES, Event, Frame, Recorded, decode
from rarera_sim.core.integrity import Row, link

PAGE_BYTES: Final = 1_000_000

_CHAIN_BYTES = 32
_LAST = 1 << 31  # in the size of a record: the batch ends here
_SAMPLES = 400  # blocks that a dictionary is trained on
_TRIED = 50  # blocks that are compressed with it and without, to see whether it is worth its place
_RECORD = struct.Struct("<II")  # size and flag, crc32 of everything but itself
_SEGMENT = struct.Struct("<8sQ32s")  # magic, first position, chain before it; then crc32
_SEALED = struct.Struct("<8sQQ32s32s4sI")  # magic, first, count, chain before, chain after, codec, dictionary's size
_BLOCK = struct.Struct("<III32s")  # size, size unpacked, number of events, chain after; then crc32 of all of it
_CRC = struct.Struct("<I")
_SEGMENT_MAGIC, _SEALED_MAGIC = b"RARERAS\1", b"RARERAZ\1"


class Segment(Protocol):
    """A run of positions that lie together."""

    path: Path
    first: int

    @property
    def last(self) -> int: ...

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]: ...

    def rows(self) -> Iterator[Row]: ...

    def chain_at(self, position: int) -> bytes:
        """The chain of the whole log up to a position in here."""
        ...


class Part(NamedTuple):
    """What is wanted of one segment."""

    segment: Segment
    first: int
    last: int


def cut(segments: Sequence[Segment], first: int, last: int, backwards: bool) -> Iterator[Part]:
    """The positions `first` to `last`, by segment, in the order in which they are to be read."""
    at = bisect_right(segments, first, key=lambda segment: segment.first) - 1
    end = bisect_right(segments, last, key=lambda segment: segment.first)
    for segment in reversed(segments[at:end]) if backwards else segments[at:end]:
        yield Part(segment, max(first, segment.first), min(last, segment.last))


class RawSegment:
    """A segment as it is appended to."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            header = _read(self.file, _SEGMENT.size + _CRC.size, 0)
            self.first, self.chain_before = _segment_header(path, header)
        except BaseException:
            os.close(self.file)
            raise
        self.chain = self.chain_before
        self.starts = array("Q")
        self.end = len(header)
        self.flaw = ""

    @classmethod
    def make(cls, folder: Path, first: int, chain: bytes) -> RawSegment:
        header = _SEGMENT.pack(_SEGMENT_MAGIC, first, chain)
        path = folder / f"{first:020}.seg"
        with written_whole(path) as file:
            file.write(header + _CRC.pack(crc32(header)))
        return cls(path, writable=True)

    @property
    def last(self) -> int:
        return self.first + len(self.starts) - 1

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def compose(self, events: Sequence[Event]) -> list[bytes]:
        """The records of a batch that is to be appended."""
        chain = self.chain
        records: list[bytes] = []
        for event in events:
            frame = event.frame
            if len(frame) >= _LAST:
                raise BadInput(f"an event must have fewer than {_LAST} bytes, got {len(frame)}")
            chain = link(chain, frame[:ID_BYTES])
            size = len(frame) | _LAST if len(records) + 1 == len(events) else len(frame)
            content = frame + chain
            records.append(_RECORD.pack(size, crc32(content, size)) + content)
        return records

    def write(self, records: Iterable[bytes], at: int) -> None:
        data = memoryview(b"".join(records))
        while data:
            written = os.pwrite(self.file, data, at)
            at, data = at + written, data[written:]

    def take(self, events: Sequence[Event], records: Sequence[bytes]) -> list[Recorded]:
        """Count in what was written."""
        appended = []
        position = self.last
        for event, record in zip(events, records, strict=True):
            position += 1
            appended.append(Recorded(position, event))
            self.starts.append(self.end)
            self.end += len(record)
        self.chain = records[-1][-_CHAIN_BYTES:]
        return appended

    def advance(self, upto: int | None = None) -> list[tuple[int, Frame]]:
        """Count in the whole batches that came since, with positions `upto` at most; `flaw` says why no further."""
        self.flaw = ""
        found: list[tuple[int, Frame]] = []
        batch: list[tuple[int, Frame]] = []
        starts: list[int] = []
        begin, at = self.end, 0
        more = os.fstat(self.file).st_size - begin
        data = _read(self.file, more, begin) if more > 0 else b""
        while at < len(data) and (upto is None or self.last < upto):
            parsed = _parse(data, at)
            if isinstance(parsed, str):
                self.flaw = parsed
                return found
            starts.append(begin + at)
            batch.append((self.last + len(starts), parsed.frame))
            at = parsed.end
            if parsed.ends_batch:
                self.starts.extend(starts)
                self.end = begin + at
                self.chain = parsed.chain
                found += batch
                batch.clear()
                starts.clear()
        if batch:
            self.flaw = "the batch has no end"
        return found

    def frames(self) -> list[Frame]:
        """Those of a segment that is closed, read again."""
        return [parsed.frame for parsed in self._parsed()]

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        ends = first - self.first, last - self.first + 1
        while ends[0] < ends[1]:
            start, stop = self._page(*ends, backwards)
            begin = self.starts[start]
            data = _read(self.file, self._end(stop - 1) - begin, begin)
            for number in range(stop - 1, start - 1, -1) if backwards else range(start, stop):
                at = self.starts[number] - begin + _RECORD.size
                frame = data[at : self._end(number) - begin - _CHAIN_BYTES]
                yield recorded_in(self.path, self.first + number, frame)
            ends = (ends[0], start) if backwards else (stop, ends[1])

    def _page(self, start: int, stop: int, backwards: bool) -> tuple[int, int]:
        """As many records of a range, from its beginning or its end, as make a page."""
        if backwards:
            least = bisect_left(self.starts, max(0, self._end(stop - 1) - PAGE_BYTES), start, stop)
            return min(least, stop - 1), stop
        most = bisect_right(self.starts, self.starts[start] + PAGE_BYTES, start, stop)
        return start, max(most, start + 1)

    def chain_at(self, position: int) -> bytes:
        end = self._end(position - self.first)
        return _read(self.file, _CHAIN_BYTES, end - _CHAIN_BYTES)

    def _end(self, number: int) -> int:
        return self.starts[number + 1] if number + 1 < len(self.starts) else self.end

    def rows(self) -> Iterator[Row]:
        header = _read(self.file, _SEGMENT.size + _CRC.size, 0)
        _segment_header(self.path, header)
        for position, parsed in enumerate(self._parsed(), start=self.first):
            yield row_of(position, parsed.frame, parsed.chain, self.path)

    def _parsed(self) -> Iterator[_Parsed]:
        """The records as they lie there now."""
        at = _SEGMENT.size + _CRC.size
        data = _read(self.file, self.end, 0)
        for position in range(self.first, self.last + 1):
            parsed = _parse(data, at)
            if isinstance(parsed, str):
                raise DamagedLog(f"position {position} in {self.path}: {parsed}")
            yield parsed
            at = parsed.end


class _Parsed(NamedTuple):
    end: int
    ends_batch: bool
    frame: Frame
    chain: bytes


def _parse(data: bytes, at: int) -> _Parsed | str:
    """The record at a place, or what is wrong with it."""
    begin = at + _RECORD.size
    if begin > len(data):
        return "the record is cut short"
    size, checksum = _RECORD.unpack_from(data, at)
    end = begin + (size & ~_LAST) + _CHAIN_BYTES
    if end > len(data):
        return "the record is cut short, or its size is damaged"
    content = data[begin:end]
    if len(content) <= ID_BYTES + _CHAIN_BYTES or crc32(content, size) != checksum:
        return "the record does not match its checksum"
    return _Parsed(end, bool(size & _LAST), content[:-_CHAIN_BYTES], content[-_CHAIN_BYTES:])


def _segment_header(path: Path, header: bytes) -> tuple[int, bytes]:
    if len(header) == _SEGMENT.size + _CRC.size and crc32(header[:-4]) == _CRC.unpack(header[-4:])[0]:
        magic, first, chain = _SEGMENT.unpack(header[:-4])
        if magic == _SEGMENT_MAGIC and path.name == f"{first:020}.seg":
            return first, chain
    raise DamagedLog(f"position {_first_of(path)} in {path}: the header of the segment is damaged")


class _Block(NamedTuple):
    first: int
    last: int
    at: int  # of the content in the file
    size: int
    unpacked: int
    chain_before: bytes
    chain: bytes


class SealedSegment:
    """A segment in compressed blocks, with the dictionary that they need; it is never written again.

    The blocks hold no UIDs and no chain but the last value of each: both are computed when a block is read, and one
    that comes to another value than was written is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        header, at = data[: _SEALED.size], _SEALED.size
        if len(header) == _SEALED.size:
            magic, self.first, count, self.chain_before, self.chain, name, size = _SEALED.unpack(header)
            dictionary = data[at : at + size]
            at += size
            checksum = data[at : at + _CRC.size]
            at += _CRC.size
        if (
            len(header) != _SEALED.size
            or len(checksum) != _CRC.size
            or _CRC.unpack(checksum)[0] != crc32(header + dictionary)
            or magic != _SEALED_MAGIC
        ):
            raise DamagedLog(f"position {_first_of(path)} in {path}: the header of the segment is damaged")
        self._codec: Codec = codec(name.decode("ascii"), dictionary)
        self._blocks: list[_Block] = []
        self._unpacked: tuple[int, list[Frame]] = (-1, [])
        self.last = self.first - 1
        chain = self.chain_before
        while at < len(data):
            block = self._block(data, at, chain)
            self._blocks.append(block)
            at = block.at + block.size
            self.last = block.last
            chain = block.chain
        if self.last != self.first + count - 1 or chain != self.chain:
            raise DamagedLog(f"position {self.last + 1} in {path}: the segment ends before {self.first + count - 1}")

    def _block(self, data: bytes, at: int, chain_before: bytes) -> _Block:
        begin = at + _BLOCK.size + _CRC.size
        first = self.last + 1
        if begin <= len(data):
            size, unpacked, count, chain = _BLOCK.unpack_from(data, at)
            (checksum,) = _CRC.unpack_from(data, at + _BLOCK.size)
            if crc32(data[begin : begin + size], crc32(data[at : at + _BLOCK.size])) == checksum:
                return _Block(first, first + count - 1, begin, size, unpacked, chain_before, chain)
        raise DamagedLog(f"position {first} in {self.path}: a block of events is damaged or cut short")

    def close(self) -> None:
        """Nothing to close: the file is open only while a block is read."""

    def entries(self) -> Iterator[tuple[int, Frame]]:
        for block in self._blocks:
            yield from enumerate(self._frames(block), start=block.first)

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        at = bisect_right(self._blocks, first, key=lambda block: block.first) - 1
        end = bisect_right(self._blocks, last, key=lambda block: block.first)
        for block in reversed(self._blocks[at:end]) if backwards else self._blocks[at:end]:
            frames = self._frames(block)
            wanted = range(max(first, block.first), min(last, block.last) + 1)
            for position in reversed(wanted) if backwards else wanted:
                yield recorded_in(self.path, position, frames[position - block.first])

    def rows(self) -> Iterator[Row]:
        now = SealedSegment(self.path)
        chain = now.chain_before
        for position, frame in now.entries():
            chain = link(chain, frame[:ID_BYTES])
            yield row_of(position, frame, chain, self.path)

    def chain_at(self, position: int) -> bytes:
        block = self._blocks[bisect_right(self._blocks, position, key=lambda block: block.first) - 1]
        if position == block.last:
            return block.chain
        return linked(block.chain_before, self._frames(block)[: position - block.first + 1])

    def _frames(self, block: _Block) -> list[Frame]:
        kept, frames = self._unpacked
        if kept == block.first:
            return frames
        with open(self.path, "rb") as file:
            file.seek(block.at)
            content = file.read(block.size)
        try:
            frames = unpack(self._codec.decompress(content, block.unpacked))
        except DamagedLog as damage:
            raise DamagedLog(f"position {block.first} in {self.path}: {damage}") from None
        if len(frames) != block.last - block.first + 1 or linked(block.chain_before, frames) != block.chain:
            raise DamagedLog(
                f"positions {block.first} to {block.last} in {self.path}: "
                "the events do not give the chain that was recorded"
            )
        self._unpacked = (block.first, frames)
        return frames


class Packing(NamedTuple):
    """How small sealed segments are made, and how much is read with an event that is asked for.

    Parameters
    ----------
    block_events
        Events that are compressed together, and read together.
    dictionary_bytes
        The most that a dictionary trained on the segment may take in it; 0 for none.
    level
        Of zstd, 1 (fast) to 22 (small).
    """

    block_events: int = BLOCK_EVENTS
    dictionary_bytes: int = DICTIONARY_BYTES
    level: int = LEVEL

    def checked(self) -> Packing:
        """This one, or `BadInput`."""
        for name, least, most in (
            ("block_events", 1, 65_536),
            ("dictionary_bytes", 0, 2**20),
            ("level", 1, 22),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise BadInput(f"{name} must be an integer from {least} to {most}, got {value!r}")
        return self


PACKING: Final = Packing()


def seal(folder: Path, first: int, chain: bytes, frames: Sequence[Frame], packing: Packing = PACKING) -> SealedSegment:
    """Write the events from a position on, `chain` being the one before them, as a sealed segment.

    It appears in the folder whole, forced to the disk, and read once to see that it holds what it was given.
    """
    packed = blocks(frames, packing.block_events)
    made = _best_codec(packed, packing)
    content = []
    start, end = chain, chain
    at = 0
    for block in packed:
        count = min(packing.block_events, len(frames) - at)
        end = linked(end, frames[at : at + count])
        at += count
        small = made.compress(block)
        head = _BLOCK.pack(len(small), len(block), count, end)
        content += [head, _CRC.pack(crc32(small, crc32(head))), small]
    header = _SEALED.pack(_SEALED_MAGIC, first, len(frames), start, end, b"zstd", len(made.dictionary))
    path = folder / f"{first:020}.sealed"
    with written_whole(path) as file:
        file.writelines([header, made.dictionary, _CRC.pack(crc32(header + made.dictionary)), *content])
        file.flush()
        if [frame for _, frame in SealedSegment(Path(file.name)).entries()] != list(frames):
            raise StorageFailed(f"{file.name} does not read back as it was written")
    return SealedSegment(path)


def _best_codec(packed: Sequence[bytes], packing: Packing) -> Zstd:
    """With a dictionary, if that makes these blocks smaller by more than it takes in the file itself."""
    plain = Zstd(level=packing.level)
    size = min(packing.dictionary_bytes, sum(map(len, packed)) // 100)
    dictionary = train(packed[:: 1 + len(packed) // _SAMPLES], size) if size else b""
    if not dictionary:
        return plain
    trained = Zstd(dictionary, packing.level)
    tried = packed[:: 1 + len(packed) // _TRIED]
    saved = sum(len(plain.compress(block)) - len(trained.compress(block)) for block in tried)
    # A small one may well make blocks larger, as zstd chooses another way of looking for matches with any.
    return trained if saved * len(packed) > len(dictionary) * len(tried) else plain


def linked(chain: bytes, frames: Iterable[Frame]) -> bytes:
    """The chain after some more events."""
    for frame in frames:
        chain = link(chain, frame[:ID_BYTES])
    return chain


def row_of(position: int, frame: Frame, chain: bytes | None, path: Path) -> Row:
    """A frame as `verify` wants it."""
    try:
        event = decode(frame, verify=False)
    except InvalidEvent as error:
        raise DamagedLog(f"position {position} in {path}: {error}") from None
    return Row(
        position,
        frame[:ID_BYTES],
        event.stream,
        event.processor,
        event.type,
        event.source,
        event.sequence,
        event.time,
        chain,
        frame[ID_BYTES:],
    )


def recorded_in(path: Path, position: int, frame: Frame) -> Recorded:
    """The event of a frame, or where it is damaged."""
    try:
        return Recorded(position, decode(frame))
    except InvalidEvent as error:
        raise DamagedLog(f"position {position} in {path}: {error}") from None


def _read(file: int, size: int, at: int) -> bytes:
    """As many bytes as there are, up to `size`: one call may give fewer."""
    data = os.pread(file, size, at)
    while len(data) < size and (more := os.pread(file, size - len(data), at + len(data))):
        data += more
    return data


def _first_of(path: Path) -> int | str:
    stem = path.name.partition(".")[0]
    return int(stem) if stem.isdecimal() else stem
