"""When a source speaks: more or less often than usual, or no longer. Samples have the key `time`, in seconds."""

from __future__ import annotations

import math
from typing import Any

from rarera_sim.anomalies.level import Level
from rarera_sim.core.errors import BadInput


class Rate:
    """A surge or a drop of the rate, from the gaps between events.

    `Level` of ln(gap): a rate k times as high moves every gap's logarithm by -ln k, whatever the rate, and for Poisson
    arrivals the deviation of ln(gap) is pi / sqrt(6). `rising` means that the rate rises.

    Parameters
    ----------
    fast, slow
        Half-lives, events; 0 < fast < slow.
    gap_min
        Gaps below it count as it, s, > 0: events of one packet have the same time.

    Examples
    --------
    >>> detector = Rate()
    >>> for n in range(300):
    ...     detector.learn_one({"time": n + n % 3 / 4})
    >>> for n in range(60):
    ...     detector.learn_one({"time": 300 + n / 10})
    >>> detector.score_one({"time": 306.1}) > 8.0, detector.rising
    (True, True)
    """

    def __init__(self, *, fast: float = 20.0, slow: float = 2_000.0, gap_min: float = 1e-6) -> None:
        if not 0.0 < gap_min < math.inf:
            raise BadInput(f"gap_min must be > 0 s, got {gap_min!r}")
        self.gap_min = gap_min
        self._gaps = Level("gap", fast=fast, slow=slow, logarithm=True)
        self._last: float | None = None

    def __repr__(self) -> str:
        return f"Rate(fast={self._gaps.fast:g}, slow={self._gaps.slow:g}, gap_min={self.gap_min:g})"

    @property
    def rising(self) -> bool | None:
        return None if self._gaps.rising is None else not self._gaps.rising

    def score_one(self, x: dict[str, Any]) -> float:
        gap = self._gap(x["time"])
        return 0.0 if gap is None else self._gaps.score_one({"gap": gap})

    def learn_one(self, x: dict[str, Any]) -> None:
        moment = x["time"]
        gap = self._gap(moment)
        if gap is not None:
            self._gaps.learn_one({"gap": gap})
        if moment is not None and -math.inf < moment < math.inf:
            self._last = moment if self._last is None else max(self._last, moment)

    def _gap(self, moment: float | None) -> float | None:
        if self._last is None or moment is None or not -math.inf < moment < math.inf:
            return None
        return max(self.gap_min, moment - self._last)


class Silence:
    """How unlikely it is that a source that is well says nothing for so long.

        score = silence / typical gap,   typical gap = max(mean, sqrt(mean of gap^2 / 2))

    For Poisson arrivals P(gap > g) = exp(-g / mean): at a score of 16, once in 9 million gaps. For burstier sources the
    mean of squares says so. Ask on a timer, with `Watch.judge`: a silent source will not ask by itself. `learn_one` is
    for events.

    Parameters
    ----------
    memory
        Half-life of what is usual, events, > 0.
    warm
        Events before any silence is unusual, >= 2.

    Examples
    --------
    >>> detector = Silence()
    >>> for n in range(100):
    ...     detector.learn_one({"time": 2.0 * n})
    >>> detector.score_one({"time": 200.0}), detector.score_one({"time": 238.0})
    (1.0, 20.0)
    """

    def __init__(self, *, memory: float = 1_000.0, warm: int = 20) -> None:
        if not 0.0 < memory < math.inf:
            raise BadInput(f"memory must be > 0 events, got {memory!r}")
        if warm < 2:
            raise BadInput(f"warm must be >= 2 events, got {warm!r}")
        self.memory = memory
        self.warm = warm
        self._weight = -math.expm1(-math.log(2.0) / memory)
        self._count = 0
        self._last: float | None = None
        self._mean = self._square = 0.0

    def __repr__(self) -> str:
        return f"Silence(memory={self.memory:g}, warm={self.warm})"

    def score_one(self, x: dict[str, Any]) -> float:
        moment = x["time"]
        if self._last is None or self._count < self.warm or self._mean <= 0.0:
            return 0.0
        if moment is None or not -math.inf < moment < math.inf:
            return 0.0
        return float(max(0.0, moment - self._last) / max(self._mean, math.sqrt(self._square / 2.0)))

    def learn_one(self, x: dict[str, Any]) -> None:
        moment = x["time"]
        if moment is None or not -math.inf < moment < math.inf:
            return
        if self._last is not None:
            gap = min(1e100, max(0.0, moment - self._last))
            self._count += 1
            weight = max(self._weight, 1.0 / self._count)
            self._mean += weight * (gap - self._mean)
            self._square += weight * (gap * gap - self._square)
        self._last = moment if self._last is None else max(self._last, moment)
