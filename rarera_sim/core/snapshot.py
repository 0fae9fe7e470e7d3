"""States written down, so that going back to a moment need not start at the beginning."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import orjson

from rarera_sim.core.event import canonical_json
from rarera_sim.core.time import Timestamp


class Snapshot(NamedTuple):
    """A projection's state after every event up to `position`.

    `time_max` is the newest creation time folded in: only if it is not after a moment does the snapshot hold nothing
    that was not yet true then.
    """

    projection: str
    version: int
    position: int
    time_max: Timestamp
    state: bytes

    @classmethod
    def of(cls, projection: str, version: int, position: int, time_max: Timestamp, state: Any) -> Snapshot:
        return cls(projection, version, position, time_max, canonical_json(state))


class Chained(Protocol):
    """A log that knows its own past: what a snapshot was made from can be held against what is there now."""

    def chain_at(self, position: int) -> bytes | None:
        """The chain of :mod:`rarera_sim.core.integrity` up to a position, None where the log does not reach it."""
        ...


class SnapshotStore(Protocol):
    """Keeps snapshots; losing all of them costs time, never truth.

    A log that lost its tail and has grown again holds other events at the old positions, and a state made of the lost
    ones must not come back. So a store keeps the log's chain at the position with each snapshot (none where the log
    does not reach so far), and gives only those whose chain is the log's still.
    """

    def save(self, snapshot: Snapshot) -> None: ...

    def latest(
        self, projection: str, version: int, *, upto: int | None = None, as_of: Timestamp | None = None
    ) -> Snapshot | None:
        """The furthest snapshot of this very version that is not beyond `upto` and knows nothing after `as_of`."""
        ...

    def clear(self) -> None:
        """Forget every snapshot and leave no byte of them: when a subject is erased, states that hold it go too."""
        ...


def restore(snapshot: Snapshot) -> Any:
    return orjson.loads(snapshot.state)


def usable(snapshot: Snapshot, upto: int | None, as_of: Timestamp | None) -> bool:
    """Whether a rebuild that stops at `upto` and `as_of` may start here."""
    return (upto is None or snapshot.position <= upto) and (as_of is None or snapshot.time_max <= as_of)
