"""Snapshots as rows of a database: what a row holds, and which one is the furthest that may be used.

A row is the snapshot's fields, the log's chain at its position, and a SHA-256 over all of these. The chain is that of
:mod:`rarera_sim.core.integrity`, so that a log that lost its tail and has grown anew is not answered from a state that
was made of the lost events. It is NULL where the log did not reach so far when the snapshot was saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from rarera_sim.core.errors import InvalidEvent
from rarera_sim.core.event import canonical_json
from rarera_sim.core.snapshot import Chained, Snapshot
from rarera_sim.core.time import TIMESTAMP_MAX, Timestamp

SnapshotRow = tuple[str, int, int, Timestamp, bytes, bytes | None, bytes]


def snapshot_row(snapshot: Snapshot, log: Chained) -> SnapshotRow:
    """What is stored: the fields in their order, chain, digest."""
    chain = log.chain_at(snapshot.position)
    return (*snapshot, chain, _digest(snapshot, chain))


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row is what was saved; after damage any of its fields may hold anything."""
    *fields, chain, digest = row
    try:
        return bool(digest == _digest(Snapshot(*fields), chain))
    except (TypeError, InvalidEvent):
        return False


def latest_snapshot(
    fetch: Callable[[tuple[Any, ...]], list[Any]],
    log: Chained,
    projection: str,
    version: int,
    upto: int | None,
    as_of: Timestamp | None,
) -> Snapshot | None:
    """The furthest snapshot that may be used; what is not what was saved, or not of this log, is passed over.

    Parameters
    ----------
    fetch
        From (projection, version, position_max, time_max) the row with the largest position, or none.
    """
    position_max = TIMESTAMP_MAX if upto is None else min(upto, TIMESTAMP_MAX)
    time_max = TIMESTAMP_MAX if as_of is None else min(as_of, TIMESTAMP_MAX)
    while rows := fetch((projection, version, position_max, time_max)):
        *fields, chain, _ = rows[0]
        snapshot = Snapshot(*fields)
        if is_intact(rows[0]) and log.chain_at(snapshot.position) == chain:
            return snapshot
        position_max = snapshot.position - 1
    return None


def _digest(snapshot: Snapshot, chain: bytes | None) -> bytes:
    fields = [*snapshot[:-1], None if chain is None else bytes.hex(chain)]
    return sha256(canonical_json(fields) + snapshot.state).digest()
