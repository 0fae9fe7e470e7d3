"""Means with how sure one may be of them: replications are independent, so Student's t serves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats


class Interval(NamedTuple):
    """A mean with its confidence interval; `low` and `high` are None where one replication is all there is."""

    mean: float
    low: float | None
    high: float | None

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and does not hold `value`."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of independent replications, with Student's t.

        mean +- t(1 - (1 - confidence) / 2; n - 1) * s / sqrt(n)

    Examples
    --------
    >>> [round(value, 3) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    >>> mean_interval([7.0])
    Interval(mean=7.0, low=None, high=None)

    References
    ----------
    Law (2015), Simulation Modeling and Analysis, 5th ed., section 9.4.1.
    """
    if not values:
        raise ValueError("values must not be empty")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be > 0 and < 1, got {confidence!r}")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, None, None)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stats.t.ppf(0.5 + confidence / 2.0, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)


def paired_interval(ours: Sequence[float], theirs: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of `ours - theirs`, replication by replication.

    Under common random numbers both have met the same weather, which cancels out: the interval of the difference is
    narrower than those of the means suggest.

    Examples
    --------
    >>> paired_interval([11.0, 22.0, 33.0], [10.0, 21.0, 32.0])
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    return mean_interval([a - b for a, b in zip(ours, theirs, strict=True)], confidence=confidence)


def simultaneous(confidence: float, comparisons: int) -> float:
    """Confidence of each of several intervals, so that all hold at once with at least `confidence` (Bonferroni).

    >>> round(simultaneous(0.95, 5), 4)
    0.99
    """
    return 1.0 - (1.0 - confidence) / max(1, comparisons)
