"""Money and energy, item by item.

A frame of costs has one row per item and pool; items that belong to no pool have an empty one:

| column | is |
| --- | --- |
| `item` | `replicas`, `replicas asleep`, `rounding`, `energy`, `storage`, `network` |
| `pool` | whose replicas |
| `quantity`, `unit` | how much: replica-hours, kWh, GB-months, GB |
| `price_usd` | for one unit |
| `cost_usd` | quantity times price; 0 for energy that the price of the hardware includes |
| `energy_kwh`, `carbon_g` | of the row `energy`, with what the building needs on top |

`replicas` are paid for from request to release: starting, draining and being repaired are. `rounding` is what billing
in whole periods, and for so many seconds at least, adds to leases that ended in the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

_HOUR = 3600.0
_MONTH = 730.0 * _HOUR
_GB = 1e9
_KWH = 3.6e6

COSTS = {
    "item": pl.String,
    "pool": pl.String,
    "quantity": pl.Float64,
    "unit": pl.String,
    "price_usd": pl.Float64,
    "cost_usd": pl.Float64,
    "energy_kwh": pl.Float64,
    "carbon_g": pl.Float64,
}


class Lease(Protocol):
    """A replica at one price, as the model tells it (see `simulation.processor.Lease`); times in seconds."""

    @property
    def pool(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def until(self) -> float: ...
    @property
    def asleep(self) -> bool: ...
    @property
    def busy(self) -> float: ...
    @property
    def ended(self) -> bool: ...


@dataclass(frozen=True)
class Traffic:
    """What was kept and carried in the window: byte-seconds on disk, bytes over the network."""

    stored: float = 0.0
    carried: float = 0.0


def replica_cost(paid_time: float, price_per_hour: float) -> float:
    """US dollars for `paid_time` replica-seconds, billed by the second.

    >>> replica_cost(7200.0, 0.05)
    0.1
    """
    return paid_time * price_per_hour / _HOUR


def billed(seconds: float, period: float, least: float) -> float:
    """Seconds that a lease is billed for.

    >>> billed(61.5, period=1.0, least=60.0), billed(5.0, 1.0, 60.0), billed(5.5, 0.0, 0.0)
    (62.0, 60.0, 5.5)
    """
    whole = -(-seconds // period) * period if period else seconds
    return max(whole, least)


def cost_frame(
    leases: Iterable[Lease],
    hardware: Mapping[str, Any],
    prices: Any,
    since: float,
    until: float,
    traffic: Traffic = Traffic(),
) -> pl.DataFrame:
    """What the window [since, until) cost; columns in the module's docstring.

    Parameters
    ----------
    leases
        All of the run.
    hardware
        Of each pool, by its name (see `simulation.hardware.Hardware`).
    prices
        Of energy, storage and network (see `simulation.hardware.Prices`).
    """
    leases = list(leases)
    rows: list[tuple[Any, ...]] = []
    for pool, kind in hardware.items():
        ours = [(lease, max(0.0, min(lease.until, until) - max(lease.since, since))) for lease in leases]
        ours = [(lease, seconds) for lease, seconds in ours if lease.pool == pool]
        awake = sum(seconds for lease, seconds in ours if not lease.asleep)
        asleep = sum(seconds for lease, seconds in ours if lease.asleep)
        over = sum(
            billed(lease.until - lease.since, kind.billing_period, kind.billing_min) - (lease.until - lease.since)
            for lease, _ in ours
            if lease.ended and not lease.asleep and since <= lease.until < until
        )
        # Of a lease that the window cuts, the share of its work that the share of its time says.
        busy = sum(
            lease.busy / kind.threads * seconds / (lease.until - lease.since)
            for lease, seconds in ours
            if seconds > 0.0
        )
        rows.append(_row("replicas", pool, awake / _HOUR, "replica-hours", kind.price_per_hour))
        rows.append(_row("replicas asleep", pool, asleep / _HOUR, "replica-hours", kind.price_asleep_per_hour))
        rows.append(_row("rounding", pool, over / _HOUR, "replica-hours", kind.price_per_hour))
        joules = kind.idle_w * (awake - busy) + kind.busy_w * busy + kind.asleep_w * asleep
        energy = joules * prices.overhead / _KWH
        price = 0.0 if prices.energy_included else prices.energy_per_kwh
        rows.append((*_row("energy", pool, energy, "kWh", price)[:6], energy, energy * prices.carbon_per_kwh))
    rows.append(_row("storage", "", traffic.stored / _GB / _MONTH, "GB-months", prices.storage_per_gb_month))
    rows.append(_row("network", "", traffic.carried / _GB, "GB", prices.network_per_gb))
    return pl.DataFrame(rows, schema=COSTS, orient="row")


def _row(item: str, pool: str, quantity: float, unit: str, price: float) -> tuple[Any, ...]:
    return item, pool, quantity, unit, price, quantity * price, 0.0, 0.0
