"""Means with how sure one may be of them.

Replications are independent, so Student's t serves; one long run becomes nearly independent when it is cut into
batches; what comes first is left out, up to one moment that pilot runs have chosen for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


class Interval(NamedTuple):
    """A mean with its confidence interval; `low` and `high` are None where one replication is all there is."""

    mean: float
    low: float | None
    high: float | None

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and does not hold `value`."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    @property
    def relative(self) -> float | None:
        """Half of its width as a share of the mean; None where there is no interval, infinite around 0.

        >>> Interval(10.0, 9.0, 11.0).relative
        0.1
        """
        if self.low is None or self.high is None:
            return None
        half = (self.high - self.low) / 2.0
        return half / abs(self.mean) if self.mean else math.inf if half else 0.0


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


# One long run


def mser5(series: ArrayLike) -> int:
    """How many of the first observations to leave out (MSER-5): 0, 5, 10, ... up to half of them.

        min over d of   sum over i > d of (b_i - mean of b after d)^2 / (k - d)^2

    with b the k means of five observations each. What is left then estimates its own mean best. Cut one run by itself
    and its mean is biased, so that intervals miss it; cut all at the moment that `warmup_cut` finds in their mean.

    Examples
    --------
    >>> mser5([9.0] * 10 + [1.0, 2.0] * 50)
    10

    References
    ----------
    White (1997), An effective truncation heuristic for bias reduction in simulation output, Simulation 69(6).
    """
    observations = np.asarray(series, dtype=np.float64)
    count = len(observations) // 5
    if observations.ndim != 1 or count < 2 or not np.isfinite(observations).all():
        raise ValueError(f"series must be 10 finite numbers at least, got shape {observations.shape}")
    batches = observations[: 5 * count].reshape(count, 5).mean(axis=1)
    # Sums over everything from d on, for all d at once; around the mean, so that squares do not cancel.
    centred = batches - batches.mean()
    left = np.arange(count, 0, -1)
    sums, squares = centred[::-1].cumsum()[::-1], (centred**2)[::-1].cumsum()[::-1]
    scores = (squares - sums**2 / left) / left.astype(np.float64) ** 2
    return 5 * int(np.argmin(scores[: count // 2 + 1]))


def warmup_cut(pilots: ArrayLike) -> int:
    """How many of the first observations of every run to leave out: MSER-5 on the mean of pilot runs.

    Parameters
    ----------
    pilots
        The same series of several runs that are not used otherwise, shape (runs, observations).

    Examples
    --------
    >>> generator = np.random.default_rng(1)
    >>> runs = generator.normal(5.0, 1.0, (8, 400)) - 5.0 * np.exp(-np.arange(400) / 20.0)
    >>> warmup_cut(runs)
    55
    """
    runs = np.asarray(pilots, dtype=np.float64)
    if runs.ndim != 2 or not len(runs):
        raise ValueError(f"pilots must have the shape (runs, observations), got {runs.shape}")
    return mser5(runs.mean(axis=0))


def batch_means(series: ArrayLike, *, batches: int = 20, confidence: float = 0.95) -> Interval:
    """Mean of one long run in its steady state: the means of batches that follow each other are nearly independent.

    Examples
    --------
    >>> [round(value, 3) for value in batch_means(np.tile([1.0, 3.0], 500))]
    [2.0, 2.0, 2.0]

    References
    ----------
    Schmeiser (1982), Batch size effects in the analysis of simulation output, Operations Research 30(3): 10 to 30.
    """
    observations = np.asarray(series, dtype=np.float64)
    if batches < 2 or len(observations) < batches:
        raise ValueError(f"batches must be >= 2 and <= {len(observations)} observations, got {batches!r}")
    size = len(observations) // batches
    # What does not fill a batch is left out at the beginning, where it is least typical.
    means = observations[len(observations) - size * batches :].reshape(batches, size).mean(axis=1)
    return mean_interval(means.tolist(), confidence=confidence)


# Several systems


def with_the_best(
    values: ArrayLike, *, lower_is_better: bool = True, confidence: float = 0.95
) -> list[tuple[float, float, float]]:
    """Each system against the best of the others: multiple comparison with the best, after Hsu.

    For each system (difference, low, high): how much worse it is than the best of the others, < 0 where it is better.
    With at least `confidence` all intervals hold at once. `high <= 0`: it is the best; `low >= 0`: it is not better
    than another. The runs may have met the same weather: differences are paired, Bonferroni's inequality joins them.

    Parameters
    ----------
    values
        Shape (systems, replications), one column per weather.

    Examples
    --------
    >>> for row in with_the_best([[1.0, 2.0, 3.0], [1.5, 2.4, 3.6], [5.0, 6.1, 6.9]]):
    ...     print([round(each, 2) for each in row])
    [-0.5, -0.75, 0.0]
    [0.5, 0.0, 0.75]
    [4.0, 0.0, 4.25]

    References
    ----------
    Hsu (1984), Constrained simultaneous confidence intervals for multiple comparisons with the best, Annals of
    Statistics 12(3); Nelson, Matejcik (1995), Management Science 41(12), for common random numbers.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 2:
        raise ValueError(f"values must be of 2 systems and 2 replications at least, got shape {table.shape}")
    worse = table if lower_is_better else -table
    systems, count = worse.shape
    quantile = float(stats.t.ppf(1.0 - (1.0 - confidence) / (systems - 1), count - 1))
    differences = worse[:, None, :] - worse[None, :, :]  # how much worse the first is than the second
    means = differences.mean(axis=2)
    halves = quantile * differences.std(axis=2, ddof=1) / math.sqrt(count)
    rows = []
    others = [[j for j in range(systems) if j != i] for i in range(systems)]
    # The systems that may be the best: nobody is better beyond doubt.
    lows = [min(0.0, max(means[i, j] - halves[i, j] for j in others[i])) for i in range(systems)]
    candidates = [i for i in range(systems) if lows[i] < 0.0]
    for i in range(systems):
        rivals = [j for j in candidates if j != i]
        high = max([0.0, *(means[i, j] + halves[i, j] for j in rivals)])
        rows.append((float(max(means[i, j] for j in others[i])), float(lows[i]), float(high)))
    return rows


# What is known beforehand


def controlled_interval(
    values: Sequence[float], controls: ArrayLike, expected: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Mean of independent replications, corrected by what is known of their weather: control variates.

    A run that got more work than usual has longer waits than usual; by how much, the runs themselves tell.

    Parameters
    ----------
    controls
        What each replication got, shape (replications,) or (replications, controls): its mean service time, say.
    expected
        The true means of the controls, shape () or (controls,).

    Examples
    --------
    >>> work = np.array([0.9, 1.0, 1.1, 1.3])
    >>> interval = controlled_interval((5.0 + 10.0 * work).tolist(), work, 1.0)
    >>> [round(value, 6) for value in interval]
    [15.0, 15.0, 15.0]

    References
    ----------
    Lavenberg, Welch (1981), A perspective on the use of control variables to increase the efficiency of Monte Carlo
    simulations, Management Science 27(3).
    """
    answers = np.asarray(values, dtype=np.float64)
    known: NDArray[np.float64] = np.asarray(controls, dtype=np.float64).reshape(len(answers), -1)
    known = known - np.asarray(expected, dtype=np.float64).reshape(1, -1)
    free = len(answers) - 1 - known.shape[1]
    if free < 1:
        raise ValueError(f"replications must be at least 2 more than controls, got {known.shape}")
    # The plane through the answers at the controls' true means, and how sure one may be of its height there.
    design = np.column_stack([np.ones(len(answers)), known])
    solution, *_ = np.linalg.lstsq(design, answers, rcond=None)
    rest = answers - design @ solution
    height = float(np.linalg.pinv(design.T @ design)[0, 0])
    mean = float(solution[0])
    half = float(stats.t.ppf(0.5 + confidence / 2.0, free)) * math.sqrt(float(rest @ rest) / free * height)
    return Interval(mean, mean - half, mean + half)
