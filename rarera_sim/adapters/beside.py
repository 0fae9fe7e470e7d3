"""What a log in a folder keeps beside its events: snapshots, checkpoints, journeys.

    snapshots/PROJECTION.VERSION.POSITION.TIME.snapshot    a state each; PROJECTION is a hash of its name
    checkpoints                                            how far each subscription has come, one JSON object
    steps                                                  journeys, a block for each time that some were saved

None of it is the truth, so that losing it costs time or a repeated delivery, never an event. Snapshots and checkpoints
appear whole or not at all, each under a SHA-256 of its own; steps are appended in blocks, each under checksums. Whoever
changes something holds the lock of the folder meanwhile, readers need none.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from zlib import crc32

import orjson

from rarera_sim.adapters.folders import NEW, clear_errors, force, sync_folder, written_whole
from rarera_sim.core.errors import BadInput, DamagedLog
from rarera_sim.core.event import EventId, canonical_json
from rarera_sim.core.snapshot import Chained, Snapshot, usable
from rarera_sim.core.time import Timestamp
from rarera_sim.core.trace import Step

SNAPSHOTS: Final = "snapshots"
CHECKPOINTS: Final = "checkpoints"
STEPS: Final = "steps"

_DIGEST_BYTES = 32
_SNAPSHOT = struct.Struct("<8sqqq32sII")  # magic, version, position, time_max, chain, sizes of name and state
_SNAPSHOT_MAGIC = b"RARERAP\1"
_SNAPSHOT_NAME = re.compile(r"([0-9a-f]{32})\.([0-9]+)\.([0-9]{20})\.([0-9]{20})\.snapshot")
_BLOCK = struct.Struct("<III")  # size of the content, its crc32, crc32 of these two
_NO_CHAIN = bytes(32)  # the log did not reach so far
_NUMBER_MAX = 2**63 - 1


class FolderLog(Chained, Protocol):
    """A log in a folder, as what lies beside it sees it."""

    path: Path

    def changing(self) -> AbstractContextManager[None]:
        """Hold the lock of the folder; refused where the log is read-only or closed."""
        ...


class FolderSnapshots:
    """Snapshots in the folder of a log; one that is not what was saved is passed over, and `verify` tells of it.

    Examples
    --------
    >>> import tempfile
    >>> from rarera_sim.adapters.files import FilesLog
    >>> from rarera_sim.core.event import Event
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> with tempfile.TemporaryDirectory() as folder, FilesLog(folder) as log:
    ...     _ = log.append([event])
    ...     snapshots = FolderSnapshots(log)
    ...     snapshots.save(Snapshot.of("tally", 1, 1, 0, {"n": 1}))
    ...     snapshots.latest("tally", 1).state
    b'{"n":1}'
    """

    def __init__(self, log: FolderLog) -> None:
        self._log = log
        self._folder = log.path / SNAPSHOTS

    def save(self, snapshot: Snapshot) -> None:
        for name, number in (
            ("version", snapshot.version),
            ("position", snapshot.position),
            ("time_max", snapshot.time_max),
        ):
            if type(number) is not int or not 0 <= number <= _NUMBER_MAX:
                raise BadInput(f"a snapshot's {name} must be an integer from 0 to {_NUMBER_MAX}, got {number!r}")
        with self._log.changing():
            content = _packed(snapshot, self._log.chain_at(snapshot.position))
            if not self._folder.is_dir():
                self._folder.mkdir()
                sync_folder(self._log.path)
            path = self._folder / _name(snapshot)
            replaced = [each for each in _places(self._folder, snapshot) if each.position == snapshot.position]
            old = [os.open(self._folder / each.name, os.O_RDWR | os.O_CLOEXEC) for each in replaced]
            try:
                with written_whole(path) as new:
                    new.write(content)
                for each in replaced:
                    if each.name != path.name:
                        (self._folder / each.name).unlink(missing_ok=True)
                for file in old:
                    # It has no name any more, and would lie about in free blocks, out of reach of `clear`.
                    _blank(file)
            finally:
                for file in old:
                    os.close(file)

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        with clear_errors(self._log.path):
            for place in sorted(_places(self._folder, Snapshot(projection, version, 0, 0, b"")), reverse=True):
                if (upto is not None and place.position > upto) or (as_of is not None and place.time_max > as_of):
                    continue
                kept = _read(self._folder / place.name)
                if (
                    kept is not None
                    and kept.snapshot[:2] == (projection, version)
                    and usable(kept.snapshot, upto, as_of)
                    and kept.chain == self._log.chain_at(place.position)
                ):
                    return kept.snapshot
        return None

    def clear(self) -> None:
        """Forget every snapshot, and write zeros over each before its name goes.

        A file system that writes nothing in place (on flash, or one with snapshots of its own) may keep the old bytes.
        """
        with self._log.changing():
            try:
                names = os.listdir(self._folder)
            except FileNotFoundError:
                return
            for name in names:
                if name.removesuffix(NEW).endswith(".snapshot"):
                    file = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
                    try:
                        _blank(file)
                    finally:
                        os.close(file)
                    (self._folder / name).unlink()
            sync_folder(self._folder)


class FolderCheckpoints:
    """Checkpoints in the folder of a log, all in one small file that is replaced as a whole."""

    def __init__(self, log: FolderLog) -> None:
        self._log = log

    def load(self, name: str) -> int:
        with clear_errors(self._log.path):
            return _checkpoints(self._log.path / CHECKPOINTS).get(name, 0)

    def save(self, name: str, position: int) -> None:
        if type(position) is not int or not 0 <= position <= _NUMBER_MAX:
            raise BadInput(f"a checkpoint must be an integer from 0 to {_NUMBER_MAX}, got {position!r}")
        with self._log.changing():
            path = self._log.path / CHECKPOINTS
            text = canonical_json({**_checkpoints(path), name: position}) + b"\n"
            with written_whole(path) as file:
                file.write(text + sha256(text).hexdigest().encode() + b"\n")


def save_steps(log: FolderLog, steps: Iterable[Step]) -> None:
    """Keep what happened to events on their way: one block, there whole or not at all."""
    # By their UIDs in hex at the beginning of a line, so that a journey is found without parsing the others.
    lines = [
        canonical_json([event_id.hex(), float(time), stage, where]) + b"\n" for time, stage, event_id, where in steps
    ]
    content = b"\n" + b"".join(lines)
    head = struct.pack("<II", len(content), crc32(content))
    with log.changing():
        if not lines:
            return
        file = os.open(log.path / STEPS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            end = _whole_blocks(log.path / STEPS).end
            os.ftruncate(file, end)  # a block that somebody did not finish
            data = memoryview(head + struct.pack("<I", crc32(head)) + content)
            while data:
                written = os.pwrite(file, data, end)
                end, data = end + written, data[written:]
            force(file)
        finally:
            os.close(file)


def steps_of(log: FolderLog, event_id: EventId) -> list[Step]:
    """The journey of one event, in order of time."""
    beginning = b'\n["' + event_id.hex().encode() + b'",'
    found = []
    with clear_errors(log.path):
        for content in _whole_blocks(log.path / STEPS).contents:
            at = content.find(beginning)
            while at >= 0:
                end = content.index(b"\n", at + 1)
                _, time, stage, where = orjson.loads(content[at + 1 : end])
                found.append(Step(time, stage, event_id, where))
                at = content.find(beginning, end)
    return sorted(found, key=lambda step: step.time)


def check_beside(folder: Path) -> str:
    """What is wrong with what lies beside the events, in words; empty when nothing."""
    try:
        names = sorted(os.listdir(folder / SNAPSHOTS))
    except FileNotFoundError:
        names = []
    for name in names:
        if name.endswith(NEW):
            continue  # a crash left it half made
        kept = None
        with suppress(FileNotFoundError):
            kept = _read(folder / SNAPSHOTS / name)
        if kept is None and _left_over(folder / SNAPSHOTS / name):
            continue
        if kept is None or _name(kept.snapshot) != name:
            return f"snapshot {name} is not what was saved"
    try:
        _checkpoints(folder / CHECKPOINTS)
        blocks = _whole_blocks(folder / STEPS)
    except DamagedLog as damage:
        return str(damage)
    if blocks.torn:
        return f"{folder / STEPS} has {blocks.torn} bytes at its end that are no whole block"
    return ""


# Snapshots


class _Place(NamedTuple):
    """What the name of a snapshot's file says."""

    position: int
    time_max: int
    name: str


class _Kept(NamedTuple):
    snapshot: Snapshot
    chain: bytes | None


def _name(snapshot: Snapshot) -> str:
    return f"{_key(snapshot.projection)}.{snapshot.version}.{snapshot.position:020}.{snapshot.time_max:020}.snapshot"


def _key(projection: str) -> str:
    return sha256(projection.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _places(folder: Path, like: Snapshot) -> list[_Place]:
    """The snapshots of the same projection and version."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    of_all = (match for match in map(_SNAPSHOT_NAME.fullmatch, names) if match)
    wanted = _key(like.projection), str(like.version)
    return [_Place(int(match[3]), int(match[4]), match[0]) for match in of_all if match.group(1, 2) == wanted]


def _packed(snapshot: Snapshot, chain: bytes | None) -> bytes:
    name = canonical_json(snapshot.projection)
    _, version, position, time_max, state = snapshot
    head = _SNAPSHOT.pack(_SNAPSHOT_MAGIC, version, position, time_max, chain or _NO_CHAIN, len(name), len(state))
    content = head + name + state
    return content + sha256(content).digest()


def _read(path: Path) -> _Kept | None:
    """A snapshot and the chain that it was made from, None if it is not there or not what was saved."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None  # cleared or replaced meanwhile
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(content) < _SNAPSHOT.size or sha256(content).digest() != digest:
        return None
    magic, version, position, time_max, chain, name_size, state_size = _SNAPSHOT.unpack_from(content)
    if magic != _SNAPSHOT_MAGIC or len(content) != _SNAPSHOT.size + name_size + state_size:
        return None
    state = content[_SNAPSHOT.size + name_size :]
    projection = orjson.loads(content[_SNAPSHOT.size : _SNAPSHOT.size + name_size])
    return _Kept(Snapshot(projection, version, position, time_max, state), None if chain == _NO_CHAIN else chain)


def _left_over(path: Path) -> bool:
    """Whether a file is gone, or is all zeros: `clear` died before it could take the name away."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    return bool(data) and not any(data)


def _blank(file: int) -> None:
    """Zeros over all of a file, forced to the disk."""
    left = os.fstat(file).st_size
    at = 0
    while left:
        written = os.pwrite(file, bytes(min(left, 1 << 20)), at)
        at, left = at + written, left - written
    force(file)


# Checkpoints and steps


def _checkpoints(path: Path) -> dict[str, int]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    text, _, digest = data[:-1].rpartition(b"\n")
    text += b"\n"
    if data[-1:] != b"\n" or sha256(text).hexdigest().encode() != digest:
        # To begin again from 0 without a word would deliver everything a second time.
        raise DamagedLog(f"{path} is not what was saved; without the file, subscriptions begin at the beginning")
    positions: dict[str, int] = orjson.loads(text)
    return positions


class _Blocks(NamedTuple):
    contents: list[bytes]
    end: int
    torn: int  # bytes behind the last whole block


def _whole_blocks(path: Path) -> _Blocks:
    """The blocks of steps, up to one that was not finished; raises `DamagedLog` where one is not what was saved."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    contents = list(_blocks_in(data, path))
    end = sum(_BLOCK.size + len(content) for content in contents)
    return _Blocks(contents, end, len(data) - end)


def _blocks_in(data: bytes, path: Path) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        begin = at + _BLOCK.size
        if begin > len(data) or not any(data[at:]):
            return  # torn: a power cut may leave zeros
        size, checksum, own = _BLOCK.unpack_from(data, at)
        if crc32(data[at : begin - 4]) == own:
            content = data[begin : begin + size]
            if len(content) < size:
                return
            if crc32(content) == checksum:
                yield content
                at = begin + size
                continue
        raise DamagedLog(f"{path} is damaged: the block of steps at byte {at} is not what was saved")
