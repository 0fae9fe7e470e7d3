"""Events out of a log and into another: archives in Parquet and JSON Lines that prove themselves, and copies.

An archive carries two digests. `digest` is over its content: the chain of :mod:`rarera_sim.core.integrity` over the
UIDs in order, so that of a whole log is the chain of the log's head, whatever the archive is written in. `sha256` is
over the file with the place of this very digest filled with zeros. Whatever byte changes, an import refuses the file,
names the first event that is not what it was, and has appended nothing.

    Parquet       position, id, time, stream, processor, type, source, sequence, body; the digests stand in the footer
    JSON Lines    a line that says what it is; an object per event, as in :mod:`rarera_sim.adapters.jsonl`, and its
                  `frame` in hex where another program wrote it in other bytes than ours; a line with the digests
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from rarera_sim.adapters.columns import SCHEMA, record_batch
from rarera_sim.adapters.folders import written_whole
from rarera_sim.adapters.jsonl import from_json, to_json
from rarera_sim.adapters.watched import Progress, Watched, WholeLog, watched
from rarera_sim.core.errors import BadInput, DamagedLog, InvalidEvent, StorageFailed, UnknownFormat
from rarera_sim.core.event import Event, Recorded, canonical_body, canonical_json, decode
from rarera_sim.core.integrity import CHAIN_START, Head, Row, link, verify
from rarera_sim.core.log import ALL, EventLog, Query

FORMAT: Final = 1
FORMAT_SINCE: Final = "0.1.0"  # the first version of this package that reads FORMAT
BATCH: Final = 1_000

_ROW_GROUP = 20_000
_CHUNK = 1 << 20
_ZEROS = b"0" * 64
_PARQUET = b"PAR1"
_SHA256 = re.compile(rb"rarera\.sha256.{1,4}?([0-9a-f]{64})", re.DOTALL)
_KIND = "rarera archive"


class Exported(NamedTuple):
    """How many events an archive holds, and the digest over them in hex."""

    events: int
    digest: str


class Imported(NamedTuple):
    """How many events an archive held, how many of them were new to the log, and the digest over all in hex."""

    events: int
    appended: int
    digest: str


class Copied(NamedTuple):
    """How many events were appended, and the head that source and target were both found to have."""

    appended: int
    head: Head


# Out of a log


def export_parquet(
    log: EventLog,
    path: str | os.PathLike[str],
    query: Query = ALL,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the events of a query as Parquet; the file is there whole or not at all.

    `body` is the canonical JSON list that the UID covers (see docs/canonical.md), with the event's data last.
    """
    digest = _Digest()
    with _new_file(path, overwrite) as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            for group in _groups(digest.over(_read(log, query, progress)), _ROW_GROUP):
                writer.write_batch(record_batch(group))
            writer.add_key_value_metadata(
                {
                    "rarera.kind": _KIND,
                    "rarera.format": str(FORMAT),
                    "rarera.needs": FORMAT_SINCE,
                    "rarera.events": str(digest.events),
                    "rarera.digest": digest.hex,
                    "rarera.sha256": _ZEROS.decode(),
                }
            )
        file.flush()
        with open(file.name, "rb") as written:
            place = _place_of_sha256(written)
            found = _sha256_of(written, place)
        file.seek(place)
        file.write(found.encode())
    return Exported(digest.events, digest.hex)


def export_jsonl(
    log: EventLog,
    path: str | os.PathLike[str],
    query: Query = ALL,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the events of a query as JSON Lines; the file is there whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> log, other = MemoryLog(), MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export_jsonl(log, folder + "/log.jsonl")
    ...     imported = import_archive(folder + "/log.jsonl", other)
    >>> imported.appended, imported.digest == exported.digest == verify(other).head.chain.hex()
    (1, True)
    """
    digest = _Digest()
    file_digest = sha256()

    def lines() -> Iterator[bytes]:
        yield _header_line()
        for recorded in digest.over(_read(log, query, progress)):
            fields = to_json(recorded)
            if canonical_body(recorded.event) != recorded.event.body:
                fields["frame"] = recorded.event.frame.hex()
            yield canonical_json(fields) + b"\n"

    with _new_file(path, overwrite) as file:
        for line in lines():
            file_digest.update(line)
            file.write(line)
        file.write(_trailer_line(digest.events, digest.hex, file_digest.hexdigest()))
    return Exported(digest.events, digest.hex)


def _read(log: EventLog, query: Query, progress: Progress | None) -> Iterator[Recorded]:
    return watched(log.read(query), log.head(), progress) if progress else log.read(query)


class _Digest:
    """The digest over the events that pass."""

    def __init__(self) -> None:
        self.events = 0
        self._chain = CHAIN_START

    @property
    def hex(self) -> str:
        return self._chain.hex()

    def over(self, records: Iterable[Recorded]) -> Iterator[Recorded]:
        for recorded in records:
            self.events += 1
            self._chain = link(self._chain, recorded.event.id)
            yield recorded


def _header_line() -> bytes:
    return canonical_json({"kind": _KIND, "format": FORMAT, "needs": FORMAT_SINCE}) + b"\n"


def _trailer_line(events: int, digest: str, file_digest: str) -> bytes:
    return canonical_json({"events": events, "digest": digest, "sha256": file_digest}) + b"\n"


# Into a log


def import_archive(
    path: str | os.PathLike[str], log: EventLog, *, batch: int = BATCH, progress: Progress | None = None
) -> Imported:
    """Append the events of an archive, Parquet or JSON Lines, after all of it has been verified.

    Events that the log has already are left out, so that an import that broke off may be repeated.

    Raises
    ------
    DamagedLog
        The archive is not what was exported: names the first bad event, by its place in the archive, and why.
    Conflict
        The log holds another event at the place of one of these; batches before that one are in the log.
    """
    _check_batch(batch)
    archive, head = _verified(path)
    appended = 0
    done = 0
    for group in _groups(archive.events(), batch):
        appended += len(log.append([event for _, event in group]))
        done += len(group)
        if progress:
            progress(done, head.position)
    return Imported(head.position, appended, head.chain.hex())


def check_archive(path: str | os.PathLike[str]) -> Head:
    """Verify an archive as `import_archive` does, and append nothing: how many events it holds, and their digest."""
    return _verified(path)[1]


def _verified(path: str | os.PathLike[str]) -> tuple[_Archive, Head]:
    try:
        archive = _open(Path(path))
    except DamagedLog as damage:
        raise DamagedLog(f"{path}: {damage}; nothing was imported") from None
    verdict = verify(archive)
    if not verdict.intact:
        where = f"position {verdict.position} in the archive: " if verdict.position else ""
        raise DamagedLog(f"{archive.path}: {where}{verdict.reason}; nothing was imported")
    return archive, verdict.head


class _Archive(Protocol):
    path: Path

    def events(self) -> Iterator[Recorded]: ...

    def rows(self) -> Iterator[Row]: ...

    def self_check(self) -> str: ...


def _open(path: Path) -> _Archive:
    try:
        with open(path, "rb") as file:
            start = file.read(max(len(_PARQUET), 1))
    except (OSError, ValueError) as error:
        raise BadInput(f"archive {str(path)!r} cannot be read: {error}") from None
    if start == _PARQUET:
        return _ParquetArchive(path)
    if start[:1] == b"{":
        return _JsonlArchive(path)
    raise UnknownFormat(f"{path} is not an archive: it is neither Parquet nor JSON Lines")


class _ParquetArchive:
    def __init__(self, path: Path) -> None:
        self.path = path
        with self._clear_errors():
            metadata = pq.read_metadata(path).metadata or {}
        self._said = {
            name.decode("ascii", "replace"): value.decode("ascii", "replace") for name, value in metadata.items()
        }
        if self._said.get("rarera.kind") != _KIND:
            raise UnknownFormat(f"{path} is not an RARERA archive, or its footer is damaged")
        _check_format(path, self._said.get("rarera.format", ""), self._said.get("rarera.needs", ""))
        self._head = Head(0, CHAIN_START)

    def rows(self) -> Iterator[Row]:
        self._head = Head(0, CHAIN_START)
        with self._clear_errors(), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise DamagedLog(f"the columns of {self.path} are not those of an archive")
            for part in file.iter_batches(_ROW_GROUP):
                columns = _columns(part)
                for _, event_id, time, stream, processor, kind, source, sequence, body in zip(*columns, strict=True):
                    self._head = Head(self._head.position + 1, link(self._head.chain, event_id))
                    yield Row(
                        self._head.position,
                        event_id,
                        stream,
                        processor,
                        kind,
                        source,
                        sequence,
                        time,
                        None,
                        body.encode(),
                    )

    def events(self) -> Iterator[Recorded]:
        for row in self.rows():
            yield Recorded(row.position, decode(row.id + row.body))

    def self_check(self) -> str:
        with open(self.path, "rb") as file:
            try:
                place = _place_of_sha256(file)
            except DamagedLog as damage:
                return str(damage)
            return _what_differs(self._said, self._head, _sha256_of(file, place))

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            if isinstance(error, BadInput):
                raise
            first_line = str(error).partition("\n")[0]
            raise DamagedLog(f"it is no Parquet file, or a damaged one: {first_line}") from None


class _JsonlArchive:
    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            header = file.readline(_CHUNK)
        try:
            said = orjson.loads(header)
        except orjson.JSONDecodeError:
            said = {}
        if type(said) is not dict or said.get("kind") != _KIND:
            raise UnknownFormat(f"{path} is not an RARERA archive, or its first line is damaged")
        _check_format(path, str(said.get("format")), str(said.get("needs")))
        self._head = Head(0, CHAIN_START)
        self._sha256 = sha256()
        self._trailer = b""

    def rows(self) -> Iterator[Row]:
        for event_id, event in self._lines():
            self._head = Head(self._head.position + 1, link(self._head.chain, event_id))
            yield Row(
                self._head.position,
                event_id,
                event.stream,
                event.processor,
                event.type,
                event.source,
                event.sequence,
                event.time,
                None,
                event.body,
            )

    def events(self) -> Iterator[Recorded]:
        for position, (_, event) in enumerate(self._lines(), start=1):
            yield Recorded(position, event)

    def _lines(self) -> Iterator[tuple[bytes, Event]]:
        self._head = Head(0, CHAIN_START)
        self._sha256 = sha256()
        self._trailer = b""
        with open(self.path, "rb") as file:
            line = file.readline()
            following = file.readline()
            while following:
                self._sha256.update(line)
                line, following = following, file.readline()
                if following:
                    yield self._event(line)
            self._trailer = line

    def _event(self, line: bytes) -> tuple[bytes, Event]:
        try:
            fields = orjson.loads(line)
            frame = fields.pop("frame", None)
            event_id = bytes.fromhex(fields["id"])
            event = decode(bytes.fromhex(frame)) if frame is not None else from_json(fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedLog(f"the line does not read as an event: {error}") from None
        return event_id, event

    def self_check(self) -> str:
        try:
            said = orjson.loads(self._trailer)
            whole = _trailer_line(said["events"], said["digest"], said["sha256"]) == self._trailer
        except (ValueError, TypeError, KeyError, InvalidEvent):
            whole = False
        if not whole:
            return "its last line, which holds the digests, is damaged or missing"
        return _what_differs({f"rarera.{k}": str(v) for k, v in said.items()}, self._head, self._sha256.hexdigest())


def _what_differs(said: dict[str, str], head: Head, file_digest: str) -> str:
    """What an archive says of itself against what it holds."""
    for name, found in (("events", str(head.position)), ("digest", head.chain.hex()), ("sha256", file_digest)):
        if said.get(f"rarera.{name}") != found:
            return f"it says that its {name} is {said.get(f'rarera.{name}')}, and it is {found}"
    return ""


def _check_format(path: Path, version: str, needs: str) -> None:
    if version != str(FORMAT):
        raise UnknownFormat(
            f"{path} has format {version}, this rarera_sim reads formats up to {FORMAT}: "
            f"it needs rarera_sim {needs} or newer"
        )


def _columns(part: pa.RecordBatch) -> list[list[Any]]:
    columns = [part.column(name) for name in SCHEMA.names]
    columns[2] = columns[2].cast(pa.int64())
    return [column.to_pylist() for column in columns]


def _place_of_sha256(file: BinaryIO) -> int:
    """Where in a Parquet file its own digest stands."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    footer_bytes = int.from_bytes(end[:4], "little")
    if end[4:] != _PARQUET or footer_bytes > size - 12:
        raise DamagedLog("its end is not that of a Parquet file")
    file.seek(size - 8 - footer_bytes)
    found = list(_SHA256.finditer(file.read(footer_bytes)))
    if len(found) != 1:
        raise DamagedLog("its footer does not hold its digest")
    return size - 8 - footer_bytes + found[0].start(1)


def _sha256_of(file: BinaryIO, place: int) -> str:
    """The digest of a file with zeros at the place of the digest."""
    digest = sha256()
    file.seek(0)
    left = place
    while left:
        data = file.read(min(left, _CHUNK))
        digest.update(data)
        left -= len(data)
    file.seek(len(_ZEROS), os.SEEK_CUR)
    digest.update(_ZEROS)
    while data := file.read(_CHUNK):
        digest.update(data)
    return digest.hexdigest()


# From log to log


def copy_log(
    source: WholeLog,
    target: WholeLog,
    *,
    after: int | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Copied:
    """Copy a log into another, of whatever kind, and prove that both are equal.

    Parameters
    ----------
    source
        It may grow meanwhile; what it held at the beginning is copied.
    target
        Empty, or what an earlier copy of the same log has left: it goes on from there.
    after
        Copy the events behind this position; None for where the target ends.
    batch
        Events an append, and so what a copy that breaks off may have to repeat.
    progress
        Called with how many events have been read, in the source and for the proof, and of how many.

    Raises
    ------
    BadInput
        The target is no copy of the source by the look of it.
    DamagedLog
        Source or target do not verify, or have different heads, before the first event is appended or at the end.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> source, target = MemoryLog(), MemoryLog()
    >>> _ = source.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=n, time=n) for n in (1, 2, 3)])
    >>> copied = copy_log(source, target)
    >>> copied.appended, copied.head == verify(source).head
    (3, True)
    >>> copy_log(source, target).appended
    0
    """
    _check_batch(batch)
    last, there = source.head(), target.head()
    if there > last:
        raise BadInput(f"the target ends at position {there}, the source at {last}: it is no copy of it")
    if there and _id_at(source, there) != _id_at(target, there):
        raise BadInput(f"the target is no copy of the source: at position {there} it holds another event")
    if after is None:
        after = there
    elif type(after) is not int or not 0 <= after <= there:
        raise BadInput(f"after must be 0 to {there}, where the target ends, got {after!r}")
    work = _Work(progress, (2 * there) + (last - after) + (2 * last))
    if there:
        # Before anything is appended, as what is appended to the wrong log is there for good.
        _prove_equal(source, target, there, work)
    appended = 0
    for group in _groups(source.read(after=after, upto=last), batch):
        found = target.append([event for _, event in group])
        for recorded, given in zip(found, group[len(group) - len(found) :], strict=True):
            if recorded.position != given.position or recorded.event.id != given.event.id:
                raise BadInput(
                    f"the target is no copy of the source: the event at position {given.position} "
                    f"came to position {recorded.position}"
                )
        appended += len(found)
        work.tell(group[-1].position - after)
    work.ended(last - after)
    return Copied(appended, _prove_equal(source, target, last, work))


class _Work:
    """Progress through parts that come one after the other."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._before = 0

    def tell(self, done: int, _: int = 0) -> None:
        """So much of the part under way."""
        if self._progress:
            self._progress(min(self._before + done, self._total), self._total)

    def ended(self, size: int) -> None:
        self._before += size
        self.tell(0)


def _prove_equal(source: WholeLog, target: WholeLog, last: int, work: _Work) -> Head:
    copied = verify(Watched(target, work.tell))
    if not copied.intact:
        raise DamagedLog(f"the target does not verify: position {copied.position}: {copied.reason}")
    if copied.head.position != last:
        raise DamagedLog(f"the target ends at position {copied.head.position}, and {last} were copied")
    work.ended(last)
    original = verify(Watched(source, work.tell), expected_head=copied.head)
    if not original.intact:
        raise DamagedLog(f"the source differs from its copy: position {original.position}: {original.reason}")
    work.ended(last)
    return copied.head


def _id_at(log: EventLog, position: int) -> bytes:
    return next(event.id for _, event in log.read(after=position - 1, upto=position))


def _check_batch(batch: int) -> None:
    if type(batch) is not int or batch < 1:
        raise BadInput(f"batch must be an integer >= 1, got {batch!r}")


def _groups(records: Iterator[Recorded], size: int) -> Iterator[list[Recorded]]:
    while group := list(islice(records, size)):
        yield group


@contextmanager
def _new_file(path: str | os.PathLike[str], overwrite: bool) -> Iterator[BinaryIO]:
    path = Path(path)
    try:
        if path.is_dir() or (path.exists() and not overwrite):
            raise BadInput(f"archive {path} is there already; choose another name, or overwrite it")
        if not path.parent.is_dir():
            raise BadInput(f"there is no folder {path.parent} to write the archive {path.name} in")
        with written_whole(path) as file:
            yield file
    except (PermissionError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"archive {str(path)!r} cannot be written: {error}") from None
    except OSError as error:
        raise StorageFailed(f"writing {path} failed: {error}; nothing of it is left") from error
