"""The detector for a numeric stream of which nothing is known: three novelties, each judged by its own past."""

from __future__ import annotations

import math
from math import cbrt, expm1, log, log1p, sqrt
from typing import Any

from rarera_sim.anomalies.alerts import AlertPolicy
from rarera_sim.core.errors import BadInput

_FIRST = 1e100  # larger values count as this: their squares are still numbers
_JUMP = 1e4  # a value counts at most as so many times the largest before it, or one glitch would blind us for days
_WARM = 20  # samples before which nothing is known of what is usual


class Surprise:
    """How far level, range and roughness of a stream are from what they have been, in their own usual deviations.

        level      L = mean over h in (3, 10, 30) of |m_h - m_33h| / s_33h       (33h: 100, 300, 1000)
        roughness  R = mean over h in (12, 36) of |ln(g_h / g_25h)|              (25h: 300, 900)
        novelty    N = distance outside the range seen so far / width of that range
        z(q) = max(0, (ln(1 + q) - mean) / deviation of ln(1 + q) so far)
        score = ((1.1 z(L))^3 + z(R)^3 + z(N)^3)^(1/3)

    m_h, s_h and g_h are exponentially weighted means of x, deviations of x and means of |x - x before|, with half-life
    h in samples; the faster has seen the sample, the slower has not. The range shrinks with half-life `range_memory`.
    All is O(1) in time and memory, and nothing looks ahead.

    The second standardisation makes one threshold do for all streams: what jumps every day is used to jumps. Measured
    on 31 labelled series (docs/detectors.md): the raw statistics reach 46 to 53 by themselves and 48 to 58 once each
    is judged by its own past. Means over several time scales instead of one gained little in sample, and much in how
    little the choice of scales matters. Ranks, clipped or logarithmic values all lost 10 or more; daily profiles
    gained nothing beside these.

    Parameters
    ----------
    feature
        Key of the value in a sample.
    memory
        Half-life of what is usual for each statistic, samples, > 0.
    range_memory
        Half-life of the range, samples, > 0.

    Examples
    --------
    >>> detector = Surprise()
    >>> for n in range(600):
    ...     detector.learn_one({"value": 20.0 + n % 5})
    >>> detector.score_one({"value": 22.0}) < 3.0 < detector.score_one({"value": 60.0})
    True

    References
    ----------
    Lavin, Ahmad (2015), Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark, ICMLA.
    Roberts (1959), Control chart tests based on geometric moving averages, Technometrics 1(3), 239-250.
    """

    def __init__(self, feature: str = "value", *, memory: float = 1200.0, range_memory: float = 3000.0) -> None:
        for name, value in (("memory", memory), ("range_memory", range_memory)):
            if not 0.0 < value < math.inf:
                raise BadInput(f"{name} must be > 0 samples, got {value!r}")
        self.feature = feature
        self.memory = memory
        self.range_memory = range_memory
        self._alpha = _alpha(memory)
        self._keep = 1.0 - _alpha(range_memory)
        self._count = 0
        self._levels = (0.0,) * 9
        self._changes = (0.0,) * 4
        self._span = (0.0, 0.0, 0.0, 0.0)  # last, low, high, largest magnitude
        self._usual = (0.0,) * 6
        self._looked: tuple[float, tuple[Any, ...]] | None = None

    def __repr__(self) -> str:
        return f"Surprise({self.feature!r}, memory={self.memory:g}, range_memory={self.range_memory:g})"

    def score_one(self, x: dict[str, Any]) -> float:
        """The score; 0 for a value that is none."""
        value = x[self.feature]
        if value is None or not -math.inf < value < math.inf:
            return 0.0
        after = self._look(value)
        self._looked = value, after
        return float(after[0])

    def learn_one(self, x: dict[str, Any]) -> None:
        """Learn it; a value that is none is left out."""
        value = x[self.feature]
        if value is None or not -math.inf < value < math.inf:
            return
        looked = self._looked
        after = looked[1] if looked is not None and looked[0] == value else self._look(value)
        _, self._levels, self._changes, self._span, self._usual = after
        self._count += 1
        self._looked = None

    def _look(self, value: float) -> tuple[Any, ...]:
        """The score, and the state after learning: computed once for both verbs."""
        count = self._count
        last, low, high, largest = self._span
        if count == 0:
            value = min(_FIRST, max(-_FIRST, float(value)))
            return 0.0, (value,) * 6 + (0.0,) * 3, self._changes, (value, value, value, abs(value)), self._usual
        size = abs(value)
        if size > largest:
            limit = min(_FIRST, _JUMP * largest) if largest > 0.0 and count > _WARM else _FIRST
            if size > limit:
                value, size = math.copysign(limit, value), limit
            largest = size

        # Written out rather than looped over: the loops cost a third more. While few samples are known all of them
        # weigh the same, 1 / n, which the half-life's weight replaces as soon as it is the larger.
        m3, m10, m30, m100, m300, m1000, v100, v300, v1000 = self._levels
        equal = 1.0 / (count + 1)
        if count < _GROWN:
            a3, a10, a30, a100, a300, a1000 = [weight if weight > equal else equal for weight in _LEVEL_WEIGHTS]
        else:
            a3, a10, a30, a100, a300, a1000 = _LEVEL_WEIGHTS
        m3 += a3 * (value - m3)
        m10 += a10 * (value - m10)
        m30 += a30 * (value - m30)
        level = 0.0
        if v100 > 0.0 and v300 > 0.0 and v1000 > 0.0:
            level = abs(m3 - m100) / sqrt(v100) + abs(m10 - m300) / sqrt(v300) + abs(m30 - m1000) / sqrt(v1000)
        off = value - m100
        m100 += a100 * off
        v100 = (1.0 - a100) * (v100 + a100 * off * off)
        off = value - m300
        m300 += a300 * off
        v300 = (1.0 - a300) * (v300 + a300 * off * off)
        off = value - m1000
        m1000 += a1000 * off
        v1000 = (1.0 - a1000) * (v1000 + a1000 * off * off)

        g12, g36, g300, g900 = self._changes
        if count < _GROWN:
            even = 1.0 / count
            a12, a36, a300, a900 = [weight if weight > even else even for weight in _CHANGE_WEIGHTS]
        else:
            a12, a36, a300, a900 = _CHANGE_WEIGHTS
        step = abs(value - last)
        g12 += a12 * (step - g12)
        g36 += a36 * (step - g36)
        roughness = 0.0
        if g300 > 0.0 and g900 > 0.0:
            roughness = abs(log(g12 / g300 + 1e-3)) + abs(log(g36 / g900 + 1e-3))
        g300 += a300 * (step - g300)
        g900 += a900 * (step - g900)

        novelty = 0.0
        width = high - low
        if value > high:
            novelty = (value - high) / width if width > 0.0 else 1.0
            high = value
        elif value < low:
            novelty = (low - value) / width if width > 0.0 else 1.0
            low = value
        else:
            middle, half = 0.5 * (high + low), 0.5 * width * self._keep
            high = middle + half if middle + half > value else value
            low = middle - half if middle - half < value else value

        alpha = self._alpha
        if alpha < equal:
            alpha = equal
        rest = 1.0 - alpha
        warm = count > _WARM
        mean_l, spread_l, mean_r, spread_r, mean_n, spread_n = self._usual
        cubes = 0.0
        off = log1p(level / 3.0) - mean_l
        if off > 0.0 and spread_l > 0.0 and warm:
            z = _LEVEL_GAIN * off / sqrt(spread_l)
            cubes = z * z * z
        mean_l += alpha * off
        spread_l = rest * (spread_l + alpha * off * off)
        off = log1p(roughness / 2.0) - mean_r
        if off > 0.0 and spread_r > 0.0 and warm:
            z = off / sqrt(spread_r)
            cubes += z * z * z
        mean_r += alpha * off
        spread_r = rest * (spread_r + alpha * off * off)
        off = (log1p(novelty) if novelty > 0.0 else 0.0) - mean_n
        if off > 0.0 and spread_n > 0.0 and warm:
            z = off / sqrt(spread_n)
            cubes += z * z * z
        mean_n += alpha * off
        spread_n = rest * (spread_n + alpha * off * off)
        return (
            cbrt(cubes),
            (m3, m10, m30, m100, m300, m1000, v100, v300, v1000),
            (g12, g36, g300, g900),
            (value, low, high, largest),
            (mean_l, spread_l, mean_r, spread_r, mean_n, spread_n),
        )


def _alpha(half_life: float) -> float:
    """Weight of the newest sample in a mean that has forgotten half after `half_life` samples."""
    return -expm1(-log(2.0) / half_life)


_LEVEL_WEIGHTS = [_alpha(half_life) for half_life in (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)]
_CHANGE_WEIGHTS = [_alpha(half_life) for half_life in (12.0, 36.0, 300.0, 900.0)]
_GROWN = 1_500  # samples after which every half-life's weight is larger than 1 / n
_LEVEL_GAIN = 1.1


def default_alerts() -> AlertPolicy:
    """The alert policy that was chosen for `Surprise`, on the labelled series of docs/detectors.md.

    >>> default_alerts()
    AlertPolicy(threshold=4.675, refractory=100)
    """
    return AlertPolicy(threshold=4.675, refractory=100, raise_by=0.1, recovery=2e-4)
