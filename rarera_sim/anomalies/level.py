"""Whether the mean of a quantity has moved: at once, as latency does, or little by little, which is drift."""

from __future__ import annotations

import math
from typing import Any

from rarera_sim.core.errors import BadInput


class Level:
    """Control chart of an exponentially weighted mean, against a slow one.

        score = |fast - slow| / (s * sqrt(a / (2 - a))),   a: weight of the newest sample in the fast mean

    For independent samples the score is about a standard normal's distance from 0, whatever the scale. For latencies
    and other positive quantities with a long tail, `logarithm=True` makes one slow event weigh less than many.

    Parameters
    ----------
    feature
        Key of the value in a sample.
    fast, slow
        Half-lives of the means, samples; 0 < fast < slow.
    logarithm
        Whether to judge ln(value); values <= 0 are left out then.
    warm
        Samples learned before anything is unusual, >= 2.

    Examples
    --------
    >>> detector = Level(logarithm=True)
    >>> for n in range(500):
    ...     detector.learn_one({"value": 1.0 + n % 10 / 10})
    >>> for _ in range(20):
    ...     detector.learn_one({"value": 4.0})
    >>> detector.score_one({"value": 4.0}) > 8.0, detector.rising
    (True, True)

    References
    ----------
    Roberts (1959), Control chart tests based on geometric moving averages, Technometrics 1(3), 239-250.
    """

    def __init__(
        self,
        feature: str = "value",
        *,
        fast: float = 10.0,
        slow: float = 2_000.0,
        logarithm: bool = False,
        warm: int = 50,
    ) -> None:
        if not 0.0 < fast < slow < math.inf:
            raise BadInput(f"fast must be > 0 and < slow samples, got {fast!r} and {slow!r}")
        if warm < 2:
            raise BadInput(f"warm must be >= 2 samples, got {warm!r}")
        self.feature = feature
        self.fast = fast
        self.slow = slow
        self.logarithm = logarithm
        self.warm = warm
        self.rising: bool | None = None
        self._fast_weight = _weight(fast)
        self._slow_weight = _weight(slow)
        self._gain = math.sqrt((2.0 - self._fast_weight) / self._fast_weight)
        self._count = 0
        self._near = self._far = self._spread = 0.0

    def __repr__(self) -> str:
        return f"Level({self.feature!r}, fast={self.fast:g}, slow={self.slow:g}, logarithm={self.logarithm})"

    def score_one(self, x: dict[str, Any]) -> float:
        """Distance of the fast mean, the sample included, in its deviations; also sets `rising`."""
        value = usable(x[self.feature], self.logarithm)
        if value is None or self._count < self.warm or self._spread <= 0.0:
            return 0.0
        off = self._near + self._fast_weight * (value - self._near) - self._far
        self.rising = off > 0.0
        return self._gain * abs(off) / math.sqrt(self._spread)

    def learn_one(self, x: dict[str, Any]) -> None:
        value = usable(x[self.feature], self.logarithm)
        if value is None:
            return
        self._count += 1
        equal = 1.0 / self._count
        if self._count == 1:
            self._near = self._far = value
        self._near += max(self._fast_weight, equal) * (value - self._near)
        weight = max(self._slow_weight, equal)
        off = value - self._far
        self._far += weight * off
        self._spread = (1.0 - weight) * (self._spread + weight * off * off)


class Drift:
    """Page's two-sided cumulative sum of standardised values: small shifts, seen by their persistence.

        z = (x - mean) / s,   up <- max(0, up + z - slack),   down <- max(0, down - z - slack)
        score = max(up, down)

    Mean and s are those of `reference` samples, and then stay. A shift of 2 * slack deviations is found soonest; a
    false alarm comes every exp(2 * slack * score) samples or so. After a score of `forget` the reference is learned
    anew: that is what a model that shortens its memory at a drift does, too.

    Parameters
    ----------
    feature
        Key of the value in a sample.
    slack
        Half the shift worth finding, in deviations, > 0.
    reference
        Samples that say what is usual, >= 10.
    forget
        Score from which the new is the usual, > 0.

    Examples
    --------
    >>> detector = Drift(reference=100)
    >>> scores = []
    >>> for n in range(400):
    ...     x = {"value": n % 10 + (4.0 if n >= 300 else 0.0)}
    ...     scores.append(detector.score_one(x))
    ...     detector.learn_one(x)
    >>> max(scores[:300]) < 15.0 < max(scores[300:350])
    True

    References
    ----------
    Page (1954), Continuous inspection schemes, Biometrika 41, 100-115; with a known mean this is the test of Page and
    Hinkley, River's `drift.PageHinkley`.
    """

    def __init__(
        self, feature: str = "value", *, slack: float = 0.25, reference: int = 1_000, forget: float = 60.0
    ) -> None:
        if not (0.0 < slack < math.inf and 0.0 < forget < math.inf):
            raise BadInput(f"slack and forget must be > 0, got {slack!r} and {forget!r}")
        if reference < 10:
            raise BadInput(f"reference must be >= 10 samples, got {reference!r}")
        self.feature = feature
        self.slack = slack
        self.reference = reference
        self.forget = forget
        self.rising: bool | None = None
        self._count = 0
        self._mean = self._squares = self._up = self._down = 0.0

    def __repr__(self) -> str:
        return f"Drift({self.feature!r}, slack={self.slack:g}, reference={self.reference}, forget={self.forget:g})"

    def score_one(self, x: dict[str, Any]) -> float:
        up, down = self._sums(usable(x[self.feature], False))
        self.rising = up > down
        return max(up, down)

    def learn_one(self, x: dict[str, Any]) -> None:
        value = usable(x[self.feature], False)
        if value is None:
            return
        if self._count < self.reference:
            self._count += 1
            off = value - self._mean
            self._mean += off / self._count
            self._squares += off * (value - self._mean)
            return
        self._up, self._down = self._sums(value)
        if max(self._up, self._down) >= self.forget:
            self._count = 0
            self._mean = self._squares = self._up = self._down = 0.0

    def _sums(self, value: float | None) -> tuple[float, float]:
        if value is None or self._count < self.reference or self._squares <= 0.0:
            return self._up, self._down
        z = (value - self._mean) / math.sqrt(self._squares / self._count)
        z = max(-5.0, min(5.0, z))  # one glitch is no drift
        return max(0.0, self._up + z - self.slack), max(0.0, self._down - z - self.slack)


def usable(value: Any, logarithm: bool) -> float | None:
    """The value to judge, None if there is none; beyond 1e100 its square would be no number any more."""
    if value is None or not -math.inf < value < math.inf or (logarithm and value <= 0.0):
        return None
    return math.log(value) if logarithm else max(-1e100, min(1e100, float(value)))


def _weight(half_life: float) -> float:
    return -math.expm1(-math.log(2.0) / half_life)
