"""A state kept up to date in the file of its log: each event has its effect once, whatever is killed when.

The state and how far it has come are one row of the log's `snapshots`, replaced in one transaction, so that neither is
ever there without the other. Being there it is covered by the same digest, `verify` looks at it, and erasing a subject
clears it with all snapshots: it is then made again from the log.
"""

from __future__ import annotations

from typing import Any, Final

from rarera_sim.adapters.snapshot_rows import is_intact, snapshot_row
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, SkippedPosition
from rarera_sim.core.integrity import CHAIN_START
from rarera_sim.core.projection import Projection, fold
from rarera_sim.core.snapshot import Snapshot, restore

# Apart from the snapshots of the same projection, of which there may be many, each for its own position.
PREFIX: Final = "materialised:"


class SqliteMaterialised:
    """A projection of a log whose state is stored beside the log.

    Any number of objects in any number of processes may keep one state up to date. Events are applied before the
    write lock is taken; under it, who finds that another was faster takes the other's state instead of its own.
    A projection of another version has a state of its own, that begins afresh; the old one stays, as both versions
    may run for a while, until `SqliteSnapshots.clear`.

    Parameters
    ----------
    log
        The log; this object belongs to its thread.
    projection
        Its state must be JSON, see `Projection`.
    batch
        Events applied for each time that the state is written, which costs as much as the state is large.

    Raises
    ------
    SkippedPosition
        The state has come further than the log, or was made of other events: the log has lost its tail.

    Examples
    --------
    >>> import tempfile
    >>> from rarera_sim.core.event import Event
    >>> from rarera_sim.core.projection import Tally
    >>> event = Event("EWR/UA1", "arrived", {"speed": 400.0}, source="IAH", sequence=1, time=0)
    >>> with tempfile.TemporaryDirectory() as folder, SqliteLog(folder + "/events.sqlite") as log:
    ...     _ = log.append([event])
    ...     tally = SqliteMaterialised(log, Tally())
    ...     tally.catch_up(), tally.catch_up()
    ...     SqliteMaterialised(log, Tally()).state
    (1, 0)
    {'EWR': {'arrived': [1, 1, 400000000]}}
    """

    def __init__(self, log: SqliteLog, projection: Projection[Any], *, batch: int = 1_000) -> None:
        if type(batch) is not int or batch < 1:
            raise BadInput(f"batch must be an integer >= 1, got {batch!r}")
        self.projection = projection
        self._log = log
        self._batch = batch
        log._fetch("PRAGMA secure_delete = ON")  # as `SqliteSnapshots`: what is replaced is not left in free pages
        self._name = PREFIX + projection.name
        self._state: Any = None
        self._position = 0
        self._time_max = 0
        self._chain: bytes | None = CHAIN_START
        self._spoilt = True
        self._load()

    @property
    def state(self) -> Any:
        """The state at `position`. Treat it as frozen: the projection owns it."""
        self._load_if_spoilt()
        return self._state

    @property
    def position(self) -> int:
        """Of the newest event applied; 0 before the first."""
        self._load_if_spoilt()
        return self._position

    def catch_up(self, *, upto: int | None = None) -> int:
        """Apply what is new, to the end of the log or up to a position; says how many events this call applied."""
        applied = 0
        while True:
            self._load_if_spoilt()
            self._check_end()
            recorded = list(self._log.read(after=self._position, upto=upto, limit=self._batch))
            if not recorded:
                return applied
            # The projection may change the state in place: until it is written, it is neither the old nor the new.
            self._spoilt = True
            state = fold(self.projection, (event for _, event in recorded), self._state)
            time_max = max(self._time_max, *(event.time for _, event in recorded))
            now = Snapshot.of(self._name, self.projection.version, recorded[-1].position, time_max, state)
            if self._replace(now):
                self._state, self._position, self._time_max = state, now.position, now.time_max
                self._chain = self._log.chain_at(now.position)
                self._spoilt = False
                applied += len(recorded)

    def _replace(self, now: Snapshot) -> bool:
        """Write the state, unless what is stored is not what this one was made from."""
        with self._log._clear_errors(), self._log._writing():
            stored = self._stored()
            if (stored[0].position if stored else 0) != self._position:
                return False
            execute = self._log._connection.execute
            execute("DELETE FROM snapshots WHERE projection = ? AND version = ?", (now.projection, now.version))
            execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", snapshot_row(now, self._log))
        return True

    def _stored(self) -> tuple[Snapshot, bytes | None] | None:
        """The state and the chain that it was made along; None where there is none, or not what was saved."""
        sql = "SELECT * FROM snapshots WHERE projection = ? AND version = ? ORDER BY position DESC LIMIT 1"
        rows = self._log._fetch(sql, (self._name, self.projection.version))
        if not rows or not is_intact(rows[0]):
            return None
        *fields, chain, _ = rows[0]
        return Snapshot(*fields), chain

    def _load_if_spoilt(self) -> None:
        if self._spoilt:
            self._load()

    def _load(self) -> None:
        stored, self._chain = self._stored() or (None, CHAIN_START)
        self._state = restore(stored) if stored else self.projection.initial()
        self._position = stored.position if stored else 0
        self._time_max = stored.time_max if stored else 0
        self._spoilt = False
        self._check_end()

    def _check_end(self) -> None:
        if self._position > (head := self._log.head()):
            raise SkippedPosition(
                f"state {self.projection.name!r} is at position {self._position}, {self._log.path} ends at {head}"
            )
        if self._log.chain_at(self._position) != self._chain:
            # A lost tail that has grown anew: what follows does not belong to this state.
            raise SkippedPosition(
                f"state {self.projection.name!r} at position {self._position} was made of other events than "
                f"{self._log.path} holds: clear its snapshots, and it is made again"
            )
