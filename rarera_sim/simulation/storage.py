"""The disk under the log: events are gathered for a moment and committed together, one commit at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import inf

import simpy

from rarera_sim.core.event import Event, EventId, Recorded
from rarera_sim.core.log import EventLog
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.quantities import Count, PositiveSeconds, Seconds, Settings

Batch = list[tuple[Event, int]]  # events with their workload numbers


class LogSettings(Settings, frozen=True, kw_only=True):
    """How the log is written and watched.

    Parameters
    ----------
    commit_window, batch_max
        Events are gathered for this long, or until there are this many, and committed together.
    commit_time, append_time
        Seconds that a commit takes (an fsync), plus so much per event in it. Commits do not overlap.
    gap_patience
        Seconds that a hole in a source's sequence may close by itself, as reordered frames do, before it is asked for.
    ring_period
        Seconds between looks at the log for subscribers that trust no bus: bounds what a lost notification costs.
    """

    commit_window: Seconds = 0.02
    batch_max: Count = 500
    commit_time: Seconds = 0.002
    append_time: Seconds = 0.00005
    gap_patience: Seconds = 1.0
    ring_period: PositiveSeconds = 5.0

    def commit_duration(self, count: int) -> float:
        """Seconds that the commit of so many events takes."""
        return self.commit_time + self.append_time * count


class Storage:
    """Group commit into a real log.

    Parameters
    ----------
    look
        Called before a batch is closed, and before and after a commit: whoever has something to `put` does so now.
    committed
        Called after each commit with the batch and with what the log recorded of it: repeats it left out.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: LogSettings,
        log: EventLog,
        look: Callable[[], None],
        committed: Callable[[Batch, list[Recorded]], None],
    ) -> None:
        self._env = env
        self._settings = settings
        self._log = log
        self._look = look
        self._tell = committed
        self._gathered: dict[EventId, tuple[Event, int]] = {}
        self._writing: Batch = []
        self._closes_at = inf  # the window, where one is open

    @property
    def idle(self) -> bool:
        """Nothing is held: the next event opens a window."""
        return not (self._gathered or self._writing)

    @property
    def closes_at(self) -> float:
        """When the batch that is gathered will be closed, unless it is full before; infinity while one is written."""
        return inf if self._writing else self._closes_at

    @property
    def room(self) -> int:
        """Events until the batch is full."""
        return self._settings.batch_max - len(self._gathered)

    def put(self, event: Event, number: int) -> bool:
        """Gather an event for the next commit; False if it is in that batch already, which is a set."""
        gathered, event_id = self._gathered, event.id
        if event_id in gathered:
            return False
        gathered[event_id] = (event, number)
        if len(gathered) >= self._settings.batch_max:
            self._begin()
        elif len(gathered) == 1 and not self._writing:
            self._open(self._settings.commit_window)
        return True

    def _open(self, window: float) -> None:
        self._closes_at = self._env._now + window
        after(self._env, window, self._close)

    def _close(self, _: object) -> None:
        self._look()
        self._begin()

    def _begin(self) -> None:
        if self._writing or not self._gathered:
            return  # a full batch went before its window was over; what came since has a window of its own
        if len(self._gathered) <= self._settings.batch_max:
            self._writing = list(self._gathered.values())
            self._gathered = {}
        else:
            first = list(islice(self._gathered, self._settings.batch_max))
            self._writing = [self._gathered.pop(event_id) for event_id in first]
        after(self._env, self._settings.commit_duration(len(self._writing)), self._end)

    def _end(self, _: object) -> None:
        self._look()
        batch, self._writing = self._writing, []
        self._tell(batch, self._log.append([event for event, _ in batch]))
        if self._gathered:
            full = len(self._gathered) >= self._settings.batch_max
            self._open(0.0 if full else self._settings.commit_window)
        self._look()
