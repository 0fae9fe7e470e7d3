"""Money."""

from __future__ import annotations

_HOUR = 3600.0


def replica_cost(paid_time: float, price_per_hour: float) -> float:
    """US dollars for `paid_time` replica-seconds, billed by the second.

    >>> replica_cost(7200.0, 0.05)
    0.1
    """
    return paid_time * price_per_hour / _HOUR
