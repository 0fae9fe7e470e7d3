"""What belongs to a log of any kind: who works out its sums, where its snapshots are, which format it has.

A log that somebody holds was made by its module, so a module that is not loaded made none: nothing here loads a
database driver to find out.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import apsw

from rarera_sim.adapters import folders
from rarera_sim.adapters.memory import MemoryLog, MemorySnapshots
from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.aggregate import Aggregate, Group, aggregate
from rarera_sim.core.errors import BadInput
from rarera_sim.core.log import ALL, EventLog, Query


def aggregate_log(log: EventLog, request: Aggregate, query: Query = ALL) -> list[Group]:
    """Counts, means, quantiles and rates, worked out by the database where the log is in one; the same from any.

    Examples
    --------
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "arrived", {"speed": v}, source="IAH", sequence=i + 1, time=i)
    ...                 for i, v in enumerate((400.0, 410.0))])
    >>> [group] = aggregate_log(log, Aggregate(field="speed", by=("type",), quantiles=(0.5,)))
    >>> group.type, group.count, group.mean, group.quantiles
    ('arrived', 2, 405.0, (405.0,))
    """
    if isinstance(log, SqliteLog):
        from rarera_sim.adapters.sqlite_aggregate import sqlite_aggregate

        return sqlite_aggregate(log, request, query)
    if _is_made_by(log, "postgres", "PostgresLog"):
        from rarera_sim.adapters.postgres_aggregate import postgres_aggregate

        return postgres_aggregate(log, request, query)  # type: ignore[arg-type]
    return aggregate(log, request, query)


Snapshots = Any  # a `SnapshotStore` that is `Clearable`, which no type can say without a third protocol


def snapshots_of(log: EventLog) -> Snapshots:
    """The snapshots that are kept with a log, in its file, schema or folder.

    >>> snapshots_of(MemoryLog()).latest("tally", 1) is None
    True
    """
    if isinstance(log, SqliteLog):
        return SqliteSnapshots(log)
    if isinstance(log, MemoryLog):
        return MemorySnapshots(log)
    if _is_made_by(log, "postgres", "PostgresLog"):
        from rarera_sim.adapters.postgres import PostgresSnapshots

        return PostgresSnapshots(log)  # type: ignore[arg-type]
    if _is_made_by(log, "files", "FilesLog") or _is_made_by(log, "tiered", "TieredLog"):
        from rarera_sim.adapters.beside import FolderSnapshots

        return FolderSnapshots(log)  # type: ignore[arg-type]
    raise BadInput(f"a {type(log).__name__} keeps no snapshots that are known here")


def _is_made_by(log: EventLog, module: str, name: str) -> bool:
    loaded = sys.modules.get(f"rarera_sim.adapters.{module}")
    return loaded is not None and isinstance(log, getattr(loaded, name))


class Upgraded(NamedTuple):
    """Which format a log had, and has."""

    before: int
    now: int


def upgrade_log(url: str | os.PathLike[str]) -> Upgraded:
    """Bring a log to the format that this version writes; one that is newer than that is refused.

    An adapter upgrades what it opens for writing, all or nothing; this looks before and after. No older program may
    be writing meanwhile.

    Raises
    ------
    UnknownFormat
        The log has a newer format; names the version that it needs.
    BadInput
        There is no such log.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     open_log(folder + "/log.sqlite").close()
    ...     before, now = upgrade_log(folder + "/log.sqlite")
    >>> before == now
    True
    """
    older = _format_of_file(os.fspath(url))
    log = open_log(url, create=False)
    log.close()
    # What is open has the one format that its adapter writes.
    now: int = getattr(sys.modules[type(log).__module__], "FORMAT", None) or folders.FORMAT
    return Upgraded(older or now, now)


def _format_of_file(url: str) -> int | None:
    """The format that an SQLite file says it has; None for whatever is none, which `open_log` has words for."""
    path = Path(unquote(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else url)
    if not path.is_file():
        return None
    try:
        with closing(apsw.Connection(str(path.absolute()), apsw.SQLITE_OPEN_READONLY)) as connection:
            return int(connection.pragma("user_version"))
    except apsw.Error:
        return None
