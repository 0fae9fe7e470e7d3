"""Catch up, then live: every event of a log as it is recorded, whatever the log is kept in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rarera_sim.core.event import Recorded
from rarera_sim.core.log import ALL, EventLog, Query
from rarera_sim.core.subscription import Subscription


def follow(
    log: EventLog,
    query: Query = ALL,
    *,
    after: int = 0,
    period: float = 0.1,
    idle_max: float | None = None,
    alarm: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Recorded]:
    """The events of a query after a position, then those to come, in order and without a gap.

    The log is asked for what is new, so that nothing is missed that a bell has not rung for. `PostgresLog.follow` has
    its sleep ended by the database's own bell.

    Parameters
    ----------
    period
        Seconds between looks at a log that has nothing new, > 0.
    idle_max
        Seconds without a new event after which it ends, >= 0; None for never.
    alarm
        Called with the first and last position that are missing, before `SkippedPosition` is raised.
    sleep
        How to wait so many seconds: a thread's sleep, or what a test or a notebook puts in its place. Where it ends
        early as there is something new it says so by what it returns, something true.

    Raises
    ------
    SkippedPosition
        The log does not have every position; see `Subscription`.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/1", "arrived", {}, "IAH", 1, 1)])
    >>> def wait(_):
    ...     log.append([Event("EWR/1", "arrived", {}, "IAH", log.head() + 1, 2)])
    >>> events = follow(log, sleep=wait)
    >>> [next(events).position for _ in range(3)]
    [1, 2, 3]
    """
    if not period > 0.0:
        raise ValueError(f"period must be > 0 s, got {period!r}")
    subscription = Subscription(log, query, after=after, alarm=alarm)
    idle = 0.0
    while True:
        recorded = subscription.poll()
        if recorded is not None:
            idle = 0.0
            subscription.ack(recorded)
            yield recorded
            continue
        if idle_max is not None and idle >= idle_max:
            return
        wait = period if idle_max is None else min(period, idle_max - idle)
        idle = 0.0 if sleep(wait) else idle + wait
        subscription.ring()
