"""A log that tells how far it has been read, to whoever shows the progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from rarera_sim.core.event import Recorded
from rarera_sim.core.integrity import Auditable, Row
from rarera_sim.core.log import EventLog

Progress = Callable[[int, int], None]  # done, of how many

_TOLD_EVERY = 1_000  # positions


class WholeLog(EventLog, Auditable, Protocol):
    """What every log can do that `open_log` opens."""


class Watched:
    """A log for `verify`, with `progress` called with the rows that are read and those there are.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> from rarera_sim.core.integrity import verify
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=n, time=n) for n in range(1, 1_501)])
    >>> verify(Watched(log, print)).intact
    1000 1500
    True
    """

    def __init__(self, log: WholeLog, progress: Progress) -> None:
        self._log = log
        self._progress = progress

    def rows(self) -> Iterator[Row]:
        head = self._log.head()
        for count, row in enumerate(self._log.rows(), start=1):
            if count % _TOLD_EVERY == 0:
                self._progress(count, max(count, head))
            yield row

    def self_check(self) -> str:
        return self._log.self_check()


def watched(records: Iterable[Recorded], last: int, progress: Progress) -> Iterator[Recorded]:
    """The events of a read, with `progress` called with the positions that are done with and the last one.

    A query leaves events out, and their positions are done with as well.
    """
    told = 0
    for recorded in records:
        if recorded.position >= told + _TOLD_EVERY:
            told = recorded.position
            progress(told, last)
        yield recorded
