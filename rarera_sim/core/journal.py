"""What a component of ours has to say, as events: numbered and timed like those of any other source."""

from __future__ import annotations

from typing import Any

from rarera_sim.core.event import Event, EventId
from rarera_sim.core.log import EventLog, Query
from rarera_sim.core.time import Timestamp


class Journal:
    """Makes the events of one source: the next sequence, and a time that never stands still.

    One source is one writer at a time; a second one of the same name meets a `Conflict` when it appends.

    Examples
    --------
    >>> journal = Journal("gate")
    >>> [journal.write("gate/door", "opened", {}, now=5).time for _ in range(2)], journal.sequence
    ([5, 6], 2)
    """

    def __init__(self, source: str, *, sequence: int = 0, time: Timestamp = -1) -> None:
        self.source = source
        self.sequence = sequence
        self._time = time

    @classmethod
    def resume(cls, log: EventLog, source: str) -> Journal:
        """Go on where this source stopped in a log."""
        newest = next(log.read(Query(sources=(source,)), backwards=True, limit=1), None)
        return cls(source, sequence=newest.event.sequence, time=newest.event.time) if newest else cls(source)

    def write(
        self, stream: str, event_type: str, data: dict[str, Any], now: Timestamp, causation: EventId | None = None
    ) -> Event:
        """The next event, for the caller to append."""
        self.sequence += 1
        self._time = max(now, self._time + 1)
        return Event(stream, event_type, data, self.source, self.sequence, self._time, causation=causation)
