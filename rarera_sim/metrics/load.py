"""What a policy saw and decided, period by period.

| column | unit | is |
| --- | --- | --- |
| `time_s` | s | end of the period |
| `arrival_rate` | 1/s | events received |
| `offered_load` | processors | arrival rate times mean service time: so many would be busy without any waiting |
| `backlog`, `in_service` | events | waiting, and being worked on, at the end |
| `ready`, `pending`, `down` | processors | ready; starting or being repaired; of those, crashed |
| `wanted` | processors | what the policy decided |
| `utilisation` | 1 | busy over running time |
| `response_quantile_s`, `late_share` | s, 1 | of the events finished in the period; null if none |
| `cost_usd` | USD | since the run began, as if the replicas of a period had been there for all of it |
| `reason` | | the policy's, in a sentence |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import polars as pl

from rarera_sim.metrics.cost import replica_cost

SCHEMA = {
    "time_s": pl.Float64,
    "arrival_rate": pl.Float64,
    "offered_load": pl.Float64,
    "backlog": pl.Int64,
    "in_service": pl.Int64,
    "ready": pl.Int64,
    "pending": pl.Int64,
    "down": pl.Int64,
    "wanted": pl.Int64,
    "utilisation": pl.Float64,
    "response_quantile_s": pl.Float64,
    "late_share": pl.Float64,
    "cost_usd": pl.Float64,
    "reason": pl.String,
}


class Period(Protocol):
    """One control period, as the model tells it (see `simulation.control.Control`)."""

    @property
    def observation(self) -> Any: ...
    @property
    def decision(self) -> Any: ...
    @property
    def down(self) -> int: ...


def load_frame(periods: Iterable[Period], *, period: float, service_mean: float) -> pl.DataFrame:
    """One row per period; `period` and `service_mean` in seconds. Columns in the module's docstring."""
    rows = []
    paid = 0.0
    for each in periods:
        seen = each.observation
        paid += (seen.replicas + seen.pending) * period
        rows.append(
            (
                seen.time,
                seen.arrival_rate,
                seen.arrival_rate * service_mean,
                seen.backlog,
                seen.in_service,
                seen.replicas,
                seen.pending,
                each.down,
                each.decision.replicas,
                seen.utilisation,
                seen.response_quantile,
                seen.late_share,
                replica_cost(paid, seen.price_per_hour),
                each.decision.reason,
            )
        )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def slo_time(load: pl.DataFrame, quantile: float, *, since: float, until: float) -> float | None:
    """Share of the periods in (since, until] in which at least `quantile` of the finished events kept the bound.

    A period that finished nothing kept it if nothing was waiting. None without any period.
    """
    periods = load.filter(pl.col("time_s").is_between(since, until, closed="right"))
    if periods.is_empty():
        return None
    allowed = 1.0 - quantile
    kept = pl.when(pl.col("late_share").is_null()).then(pl.col("backlog") == 0)
    share: float = periods.select(kept.otherwise(pl.col("late_share") <= allowed + 1e-12).mean()).item()
    return share
