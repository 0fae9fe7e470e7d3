"""Up and paid for: integrals over what the processors were doing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class Capacities(Protocol):
    """Processors from `time` on, as the model tells it (see `simulation.processor.Capacity`)."""

    @property
    def time(self) -> float: ...
    @property
    def down(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def paid(self) -> int: ...


class Uptime(NamedTuple):
    """Integrals over a window.

    Parameters
    ----------
    service
        Share of the time with at least one processor running.
    processor
        Running over running and failed time of the processors; None without either.
    running, paid
        Processor-seconds running, and paid for.
    """

    service: float
    processor: float | None
    running: float
    paid: float


def uptime(capacities: Sequence[Capacities], since: float, until: float) -> Uptime:
    """Fold capacities, in order of time, over [since, until], seconds.

    Examples
    --------
    >>> class Of(NamedTuple):
    ...     time: float
    ...     running: int
    ...     down: int
    ...     paid: int
    >>> uptime([Of(0.0, 1, 0, 1), Of(6.0, 0, 1, 1), Of(8.0, 1, 0, 1)], 0.0, 10.0)
    Uptime(service=0.8, processor=0.8, running=8.0, paid=10.0)
    """
    if not since < until:
        raise ValueError(f"since must be before until, got {since!r} and {until!r}")
    up = running = failed = paid = 0.0
    for seconds, capacity in _spans(capacities, since, until):
        up += seconds * (capacity.running > 0)
        running += seconds * capacity.running
        failed += seconds * capacity.down
        paid += seconds * capacity.paid
    known = running + failed
    return Uptime(up / (until - since), running / known if known else None, running, paid)


def _spans(capacities: Sequence[Capacities], since: float, until: float) -> Iterable[tuple[float, Capacities]]:
    ends = [*(capacity.time for capacity in capacities[1:]), until]
    for capacity, end in zip(capacities, ends, strict=True):
        seconds = min(end, until) - max(capacity.time, since)
        if seconds > 0.0:
            yield seconds, capacity
