"""A run of positions as a Parquet file, that any tool reads, and that notices every flipped bit all the same.

    00000000000000000001.parquet           position, id, time, stream, processor, type, source, sequence, body
    00000000000000000001.parquet.sha256    the digest of the file, as `sha256sum --check` takes it

Parquet's own checksums cover pages, and neither their headers nor the footer; a reader may take a file with a flipped
bit for a good one, or fail in a way of its own. So a file is held against its digest before anything in it is believed,
and each group of rows against a checksum taken then whenever it is read again. UIDs and body are kept, so that a row
is an event; what the columns beside them say is compared by `verify`.

A row takes several times the bytes of a sealed event, as 24 of each UID are a hash and do not compress: to be read by
others is what is paid for here. Measured by :mod:`rarera_sim.benchmarks.measures`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from rarera_sim.adapters.columns import SCHEMA, record_batch
from rarera_sim.adapters.folders import written_whole
from rarera_sim.adapters.segments import linked, recorded_in
from rarera_sim.core.errors import DamagedLog, StorageFailed
from rarera_sim.core.event import Frame, Recorded, decode
from rarera_sim.core.integrity import Row, link

ROW_GROUP: Final = 4_096  # events that are read together

_FORMAT = b"1"
_DIGEST = re.compile(rb"([0-9a-f]{64})  ([0-9]{20}\.parquet)\n")
_ERRORS = (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError)


class _Group(NamedTuple):
    """A group of rows: the positions in it, where its bytes lie, and what they have to be."""

    number: int
    first: int
    last: int
    at: int
    size: int
    checksum: int
    chain_before: bytes
    chain: bytes


class ParquetSegment:
    """A segment in a Parquet file; it is never written again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        self._hold_against_digest(data)
        try:
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                self._metadata = file.metadata
                said = self._metadata.metadata or {}
                if said[b"rarera.format"] != _FORMAT or not file.schema_arrow.equals(SCHEMA):
                    raise DamagedLog(f"{path} is a Parquet file, and no segment that this version reads")
                self.first = int(said[b"rarera.first"])
                self.chain_before = bytes.fromhex(said[b"rarera.chain_before"].decode("ascii"))
                self._groups = list(self._read_groups(file, data))
        except _ERRORS as error:
            raise self._no_parquet(error) from None
        self.last = self._groups[-1].last if self._groups else self.first - 1
        self.chain = self._groups[-1].chain if self._groups else self.chain_before
        if path.name != f"{self.first:020}.parquet":
            raise DamagedLog(f"position {self.first} is in {path}, which is named for another")
        self._kept: tuple[int, list[Frame]] = (-1, [])

    def _hold_against_digest(self, data: bytes) -> None:
        where = f"position {self.path.stem.lstrip('0')} in {self.path}"
        try:
            found = _DIGEST.fullmatch(digest_path(self.path).read_bytes())
        except FileNotFoundError:
            raise DamagedLog(f"{where}: its digest is missing") from None
        if not found or found[2].decode() != self.path.name:
            raise DamagedLog(f"{where}: its digest is damaged")
        if sha256(data).hexdigest() != found[1].decode():
            raise DamagedLog(f"{where}: the file is not what was written, as its SHA-256 is another")

    def _read_groups(self, file: pq.ParquetFile, data: bytes) -> Iterator[_Group]:
        first, chain = self.first, self.chain_before
        for number in range(file.num_row_groups):
            frames = _frames(file, number)
            at, size = _span(file.metadata.row_group(number))
            after = linked(chain, frames)
            last = first + len(frames) - 1
            yield _Group(number, first, last, at, size, crc32(data[at : at + size]), chain, after)
            first, chain = last + 1, after

    def close(self) -> None:
        """Nothing to close: the file is open only while a group of rows is read."""

    def records(self, first: int, last: int, backwards: bool) -> Iterator[Recorded]:
        at = bisect_right(self._groups, first, key=lambda group: group.first) - 1
        end = bisect_right(self._groups, last, key=lambda group: group.first)
        for group in reversed(self._groups[at:end]) if backwards else self._groups[at:end]:
            frames = self._frames_of(group)
            wanted = range(max(first, group.first), min(last, group.last) + 1)
            for position in reversed(wanted) if backwards else wanted:
                yield recorded_in(self.path, position, frames[position - group.first])

    def chain_at(self, position: int) -> bytes:
        group = self._groups[bisect_right(self._groups, position, key=lambda group: group.first) - 1]
        if position == group.last:
            return group.chain
        return linked(group.chain_before, self._frames_of(group)[: position - group.first + 1])

    def rows(self) -> Iterator[Row]:
        """Every row as it lies on the disk now, columns and all."""
        now = ParquetSegment(self.path)
        chain = now.chain_before
        try:
            with pq.ParquetFile(self.path, metadata=now._metadata) as file:
                for group in now._groups:
                    table = file.read_row_group(group.number)
                    columns = [column.to_pylist() for column in _integral(table).columns]
                    for position, event_id, time, stream, processor, kind, source, sequence, body in zip(
                        *columns, strict=True
                    ):
                        chain = link(chain, event_id)
                        yield Row(
                            position, event_id, stream, processor, kind, source, sequence, time, chain, body.encode()
                        )
        except (*_ERRORS, OSError) as error:
            raise self._no_parquet(error) from None

    def _frames_of(self, group: _Group) -> list[Frame]:
        kept, frames = self._kept
        if kept == group.number:
            return frames
        with open(self.path, "rb") as file:
            file.seek(group.at)
            if crc32(file.read(group.size)) != group.checksum:
                raise DamagedLog(f"positions {group.first} to {group.last} in {self.path}: the rows have changed")
            try:
                with pq.ParquetFile(file, metadata=self._metadata) as parquet:
                    frames = _frames(parquet, group.number)
            except (*_ERRORS, OSError) as error:
                raise self._no_parquet(error) from None
        self._kept = (group.number, frames)
        return frames

    def _no_parquet(self, error: Exception) -> DamagedLog:
        if isinstance(error, DamagedLog):
            return error
        first_line = str(error).partition("\n")[0]
        return DamagedLog(f"{self.path} is no Parquet file, or a damaged one: {first_line}")


def seal_parquet(folder: Path, first: int, chain: bytes, frames: Sequence[Frame]) -> ParquetSegment:
    """Write the events from a position on, `chain` being the one before them, as a Parquet file.

    It appears in the folder whole, forced to the disk, and read once to see that it holds what it was given; its digest
    is there before it is.
    """
    path = folder / f"{first:020}.parquet"
    said = {
        "rarera.kind": "rarera segment",
        "rarera.format": _FORMAT.decode(),
        "rarera.first": str(first),
        "rarera.chain_before": chain.hex(),
    }
    with written_whole(path) as file:
        with pq.ParquetWriter(
            file, SCHEMA.with_metadata(said), compression="zstd", use_dictionary=_REPEATED, column_encoding=_OTHERS
        ) as writer:
            for at in range(0, len(frames), ROW_GROUP):
                group = enumerate(frames[at : at + ROW_GROUP], first + at)
                writer.write_batch(record_batch([Recorded(position, decode(frame)) for position, frame in group]))
        file.flush()
        written = Path(file.name).read_bytes()
        with pq.ParquetFile(pa.BufferReader(written)) as back:
            found = [frame for number in range(back.num_row_groups) for frame in _frames(back, number)]
        if found != list(frames):
            raise StorageFailed(f"{file.name} does not read back as it was written")
        with written_whole(digest_path(path)) as digest:
            digest.write(f"{sha256(written).hexdigest()}  {path.name}\n".encode())
    return ParquetSegment(path)


def digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


_REPEATED = ["stream", "processor", "type", "source"]
_OTHERS = {"position": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED", "sequence": "DELTA_BINARY_PACKED"}


def _frames(file: pq.ParquetFile, number: int) -> list[Frame]:
    table = file.read_row_group(number, columns=["id", "body"])
    ids, bodies = (table.column(name).to_pylist() for name in ("id", "body"))
    return [event_id + body.encode() for event_id, body in zip(ids, bodies, strict=True)]


def _integral(table: pa.Table) -> pa.Table:
    return table.set_column(2, "time", table.column("time").cast(pa.int64()))


def _span(group: Any) -> tuple[int, int]:
    """Where the bytes of a group of rows begin, and how many there are."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [
        min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset)
        for column in columns
    ]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return min(starts), max(ends) - min(starts)
