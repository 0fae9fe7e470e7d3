"""Up and paid for: integrals over what the processors were doing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import polars as pl


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


PROCESSORS = {
    "pool": pl.String,
    "replica": pl.Int64,
    "paid_s": pl.Float64,
    "down_s": pl.Float64,
    "crashes": pl.Int64,
    "availability": pl.Float64,
    "mtbf_s": pl.Float64,
    "mttr_s": pl.Float64,
}


def processor_frame(leases: Iterable[Any], crashes: Iterable[Any], since: float, until: float) -> pl.DataFrame:
    """One row per processor (slot of a pool) over the window [since, until), seconds.

    | column | is |
    | --- | --- |
    | `paid_s`, `down_s` | awake time paid for, and that of it when it had crashed and was not up again |
    | `crashes` | in the window |
    | `availability` | paid time that it was not down, over paid time; null without any |
    | `mtbf_s` | paid time that it was not down, per crash; null without any |
    | `mttr_s` | mean time from a crash until it was up, of those that were; null without any |

    Start-up counts as up here, as the replica has not failed; `leases` and `crashes` as the model tells them.
    """
    leases = list(leases)
    paid: dict[tuple[str, int], float] = {}
    for lease in leases:
        if not lease.asleep:
            place = (lease.pool, lease.slot)
            paid[place] = paid.get(place, 0.0) + max(0.0, min(lease.until, until) - max(lease.since, since))
    ends: dict[tuple[str, int], list[tuple[float, float | None]]] = {}
    for crash in crashes:
        ends.setdefault((crash.pool, crash.slot), []).append((crash.down, crash.up))
    rows = []
    for place, seconds in sorted(paid.items()):
        ours = ends.get(place, [])
        # One that never came up was down until it was released.
        ends_at = [(at, up if up is not None else _released(leases, place, at)) for at, up in ours]
        down = sum(max(0.0, min(end, until) - max(at, since)) for at, end in ends_at)
        count = sum(since <= at < until for at, _ in ours)
        repairs = [up - at for at, up in ours if up is not None and since <= at < until]
        up_time = max(0.0, seconds - down)
        rows.append(
            (
                *place,
                seconds,
                down,
                count,
                up_time / seconds if seconds else None,
                up_time / count if count else None,
                sum(repairs) / len(repairs) if repairs else None,
            )
        )
    return pl.DataFrame(rows, schema=PROCESSORS, orient="row")


def _released(leases: Iterable[Any], place: tuple[str, int], moment: float) -> float:
    """When the lease that a processor had at a moment ended."""
    ours = (lease for lease in leases if (lease.pool, lease.slot) == place and lease.since <= moment <= lease.until)
    return max((lease.until for lease in ours), default=moment)


def _spans(capacities: Sequence[Capacities], since: float, until: float) -> Iterable[tuple[float, Capacities]]:
    ends = [*(capacity.time for capacity in capacities[1:]), until]
    for capacity, end in zip(capacities, ends, strict=True):
        seconds = min(end, until) - max(capacity.time, since)
        if seconds > 0.0:
            yield seconds, capacity
