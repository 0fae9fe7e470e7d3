"""Logs as commands open them, and how far a command has read one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    from rarera_sim.core.integrity import Auditable, Row
    from rarera_sim.core.log import EventLog

    class Log(EventLog, Auditable, Protocol):
        """What every log can do that `open_log` opens."""


_TOLD_EVERY = 1_000  # rows


def open_log(url: str, **options: bool) -> Log:
    from rarera_sim.adapters import urls

    return urls.open_log(url, **options)


class Watched:
    """A log that tells how far it was read, to whoever shows it."""

    def __init__(self, log: Log, progress: Callable[[int, int], None]) -> None:
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
