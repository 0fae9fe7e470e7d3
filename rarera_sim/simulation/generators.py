"""Times of arrivals by the million: rates that change, bursts that come and go, and named mixtures of both.

Everything here takes a `numpy.random.Generator` and gives a sorted array of float64 seconds. A rate that changes is a
`Rates`: an array of rates, each held for a step. A week of 60 events/s is 36 million times, drawn in a few seconds.

>>> rng = np.random.default_rng(1)
>>> times = arrival_times("calendar", rng, days=0.25)
>>> bool((np.diff(times) >= 0).all()), times.dtype.name, bool(times[-1] < 0.25 * DAY)
(True, 'float64', True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Rng = np.random.Generator

MINUTE, HOUR, DAY, WEEK = 60.0, 3_600.0, 86_400.0, 604_800.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Rates:
    """A rate that is constant for one step after the other.

    Parameters
    ----------
    values
        Events per second, one for each step.
    step
        Seconds.

    Examples
    --------
    >>> Rates(np.array([1.0, 3.0]), step=60.0).mean
    2.0
    """

    values: NDArray[np.float64]
    step: float = 1.0

    def __post_init__(self) -> None:
        values = self.values
        if not len(values) or not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError("rates must be finite and >= 0 1/s, and there must be one at least")
        if not 0 < self.step < float("inf"):
            raise ValueError(f"step must be > 0 s, got {self.step!r}")

    @property
    def duration(self) -> float:
        """Seconds that it covers."""
        return len(self.values) * self.step

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def draw(self, rng: Rng) -> Times:
        """A Poisson process of this rate, exactly, over [0, duration)."""
        return by_inversion(rng, self)


# From a rate to times


def homogeneous(rng: Rng, rate: float, duration: float) -> Times:
    """A Poisson process of constant rate over [0, duration), exact.

    >>> homogeneous(np.random.default_rng(1), rate=2.0, duration=2.0).round(3).tolist()
    [0.537, 0.691]
    """
    return _unit_process(rng, rate * duration) / rate if rate > 0 else np.empty(0)


def by_inversion(rng: Rng, rates: Rates) -> Times:
    """A Poisson process whose rate is piecewise constant: a unit process, its time bent by the cumulated rate.

    References
    ----------
    Cinlar (1975), Introduction to Stochastic Processes, section 4.7.
    """
    cumulated = np.concatenate(([0.0], np.cumsum(rates.values * rates.step)))
    unit = _unit_process(rng, float(cumulated[-1]))
    times = np.interp(unit, cumulated, np.arange(len(cumulated)) * rates.step)
    # Rounding may put the last one on the very end.
    np.minimum(times, np.nextafter(rates.duration, 0.0), out=times)
    return np.asarray(times, dtype=np.float64)


def by_thinning(rng: Rng, rate: Callable[[Times], Times], rate_max: float, duration: float) -> Times:
    """A Poisson process of any rate up to `rate_max`: drawn at the highest rate, each kept with rate(t) / rate_max.

    Parameters
    ----------
    rate
        Takes an array of times and gives the rates there; a rate above `rate_max` is refused, not cut.

    References
    ----------
    Lewis, Shedler (1979), Simulation of Nonhomogeneous Poisson Processes by Thinning, Naval Research Logistics 26(3).
    """
    candidates = homogeneous(rng, rate_max, duration)
    kept = []
    for start in range(0, len(candidates), _BLOCK):
        part = candidates[start : start + _BLOCK]
        rates = rate(part)
        if not (np.isfinite(rates).all() and (rates >= 0).all() and (rates <= rate_max * (1 + 1e-12)).all()):
            raise ValueError(f"rate must be in [0, rate_max = {rate_max!r}] 1/s everywhere")
        kept.append(part[rng.random(len(part)) * rate_max < rates])
    return np.concatenate(kept) if kept else np.empty(0)


def sojourns(
    rng: Rng,
    means: tuple[float, ...],
    duration: float,
    *,
    first: int = 0,
    following: tuple[tuple[float, ...], ...] | None = None,
) -> tuple[Times, NDArray[np.intp]]:
    """States visited one after the other, each for an exponential time: (when each is entered, which it is), from 0 on.

    Parameters
    ----------
    means
        Seconds that each state lasts on average.
    following
        Row i: how likely each state follows on state i; in a ring where it is left out.
    """
    starts, states = [0.0], [first]
    cumulated = None if following is None else np.cumsum(np.array(following), axis=1)
    while starts[-1] < duration:
        # Enough for the rest, and a little more; what is too much is cut off.
        count = ceil((duration - starts[-1]) / (sum(means) / len(means)) * 1.1) + 16
        visited = [states[-1]]
        if cumulated is None:
            visited = [(states[-1] + step) % len(means) for step in range(count + 1)]
        else:
            for uniform in rng.random(count).tolist():
                visited.append(min(int(np.searchsorted(cumulated[visited[-1]], uniform, side="right")), len(means) - 1))
        ends = starts[-1] + np.cumsum(rng.exponential(np.array(means)[visited[:-1]]))
        starts.extend(ends.tolist())
        states.extend(visited[1:])
    entered = np.array(starts)
    inside = entered < duration
    return entered[inside], np.array(states, dtype=np.intp)[inside]


def _unit_process(rng: Rng, length: float) -> Times:
    """A Poisson process of rate 1 over [0, length)."""
    # Sums of gaps need no sorting. Twice ten million additions cost a relative 1e-13: nobody sees it.
    blocks, last = [], 0.0
    while last < length:
        expected = length - last
        block = last + np.cumsum(rng.standard_exponential(int(expected + 4.0 * expected**0.5) + 16))
        blocks.append(block)
        last = float(block[-1])
    times = np.concatenate(blocks) if blocks else np.empty(0)
    return times[: np.searchsorted(times, length)]


# The named generators


def _middles(days: float, step: float) -> Times:
    middles: Times = (np.arange(ceil(days * DAY / step), dtype=np.float64) + 0.5) * step
    return middles


def daily_wave(seconds: Times, *, amplitude: float, peak_hour: float = 15.0) -> Times:
    """A cosine over the day around 1, highest at `peak_hour`."""
    wave: Times = 1.0 + amplitude * np.cos((seconds - peak_hour * HOUR) * (2.0 * np.pi / DAY))
    return wave


def calendar_rates(rng: Rng, days: float, *, rate: float = 64.0, step: float = 1.0) -> Rates:
    """Load that keeps the clock: a daily wave, and a burst in every half hour that begins at minute 2 to 6 of it.

    A burst rises within 15 s to a height drawn anew, holds it for 90 s and more, and dies away: jobs that people let
    start "at the hour". It is predictable when, not how much. The highest minute is about five times the mean, and the
    index of dispersion of one-minute counts is about 1,500 at 64 events/s.

    Parameters
    ----------
    days
        Length; the first begins at midnight.
    rate
        Mean, events per second.
    """
    seconds = _middles(days, step)
    factor = np.ones(len(seconds))
    halves = ceil(days * 48)
    starts = np.arange(halves) * 1_800.0 + 120.0 + rng.random(halves) * 240.0
    heights = _BURST_LOW + (_BURST_HIGH - _BURST_LOW) * rng.random(halves)
    holds = 90.0 + 120.0 * rng.random(halves)
    for start, height, hold in zip(starts.tolist(), heights.tolist(), holds.tolist(), strict=True):
        here = slice(int(start / step), int((start + hold + 300.0) / step))
        since = seconds[here] - start
        factor[here] += height * np.clip(since / 15.0, 0.0, 1.0) * np.exp(-np.maximum(since - hold, 0.0) / 60.0)
    # What a burst adds on average: its rise, its hold and its tail, every half hour.
    added = (_BURST_LOW + _BURST_HIGH) / 2.0 * (-7.5 + 150.0 + 60.0) / 1_800.0
    return Rates(rate / (1.0 + added) * daily_wave(seconds, amplitude=_CALENDAR_WAVE) * factor, step)


def bursty_rates(rng: Rng, days: float, *, rate: float = 60.0, step: float = 1.0) -> Rates:
    """Load that nobody can foresee: daily and weekly waves, and bursts and spikes at any moment.

    Bursts are a two-state Markov chain: x 2.5 for 6 minutes on average, 8 a day. Spikes are x 5 for 3 minutes, one a
    day on average. Where both meet the higher counts. Saturday and Sunday carry seven tenths of a weekday.

    Parameters
    ----------
    days
        Length; the first is a Monday and begins at midnight.
    rate
        Mean over whole weeks, events per second.
    """
    seconds = _middles(days, step)
    duration = len(seconds) * step
    calm, burst = DAY / 8.0 - 6.0 * MINUTE, 6.0 * MINUTE
    entered, states = sojourns(rng, (calm, burst), duration)
    factor = np.where(states[np.searchsorted(entered, seconds, side="right") - 1] == 1, 2.5, 1.0)
    for start in homogeneous(rng, 1.0 / DAY, duration).tolist():
        factor[int(start / step) : int((start + 3.0 * MINUTE) / step)] = 5.0
    week = np.where((seconds % WEEK) < 5.0 * DAY, 1.0, 0.7)
    in_burst, in_spike = burst / (calm + burst), -np.expm1(-3.0 * MINUTE / DAY)
    mean = (1.0 + 1.5 * in_burst) * (1.0 - in_spike) + 5.0 * in_spike
    waves = daily_wave(seconds, amplitude=_BURSTY_WAVE) * week / ((5.0 + 2.0 * 0.7) / 7.0)
    return Rates(rate / mean * waves * factor, step)


def replicated_times(times: Times, rng: Rng, *, copies: int = 20, jitter: float = 30.0) -> Times:
    """A real trace made heavier: each event `copies` times, moved by U(-jitter, jitter) seconds, sorted.

    The shape of the load stays, smoothed over `jitter`. Times may lie up to `jitter` before the first and after the
    last of the trace: cut what you measure from the middle.
    """
    if copies < 1 or not 0 <= jitter < float("inf"):
        raise ValueError(f"copies must be >= 1 and jitter >= 0 s, got {copies!r} and {jitter!r}")
    moved = np.repeat(np.asarray(times, dtype=np.float64), copies)
    for start in range(0, len(moved), _BLOCK):
        moved[start : start + _BLOCK] += rng.uniform(-jitter, jitter, min(_BLOCK, len(moved) - start))
    moved.sort()
    return moved


Generated = Literal["calendar", "bursty"]


def arrival_times(kind: Generated, rng: Rng, *, days: float, rate: float | None = None) -> Times:
    """Times of a named generator, seconds from midnight of the first day, sorted, in [0, days * DAY).

    Parameters
    ----------
    kind
        `calendar` (64 events/s) or `bursty` (60 events/s), see `calendar_rates` and `bursty_rates`.
    rate
        Another mean, events per second.
    """
    if not 0 < days < float("inf"):
        raise ValueError(f"days must be > 0, got {days!r}")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate must be > 0 1/s, got {rate!r}")
    match kind:
        case "calendar":
            rates = calendar_rates(rng, days, rate=64.0 if rate is None else rate)
        case "bursty":
            rates = bursty_rates(rng, days, rate=60.0 if rate is None else rate)
        case _:
            raise ValueError(f"kind must be 'calendar' or 'bursty', got {kind!r}")
    times = rates.draw(rng)
    return times[: np.searchsorted(times, days * DAY)]


# Chosen so that the stated peak over mean and index of dispersion come out.
_CALENDAR_WAVE, _BURST_LOW, _BURST_HIGH = 0.5, 0.8, 3.2
_BURSTY_WAVE = 0.5


# What a sequence of times is like


def index_of_dispersion(times: Times, *, step: float = MINUTE, duration: float | None = None) -> float:
    """Variance over mean of the counts in steps of `step` seconds: 1 for a Poisson process, more where it is bursty.

    Parameters
    ----------
    duration
        Seconds that the times were drawn over; up to the last of them if left out. Whole steps count.
    """
    counts = counts_of(times, step=step, duration=duration)
    return float(counts.var() / counts.mean())


def counts_of(times: Times, *, step: float = MINUTE, duration: float | None = None) -> NDArray[np.int64]:
    """Events in each whole step of `step` seconds from 0."""
    until = float(times[-1]) if duration is None else duration
    edges = np.arange(int(until / step + 1e-9) + 1) * step
    return np.diff(np.searchsorted(times, edges))
