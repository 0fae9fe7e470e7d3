"""Time series models with River's verbs: told one value after the other, asked for the next ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class HoltWinters:
    """Exponential smoothing of level, damped trend and additive season.

        level <- level + trend' + alpha e,   trend <- trend' + alpha beta e,   season_s <- season_s + gamma e
        e = y - (level + trend' + season_s),   trend' = damping * trend
        forecast(h) = level + trend * (damping + ... + damping^h) + season_(s + h)

    Written out, as River's `HoltWinters` (0.26) sets out from a season that it takes from the first values without
    their level and does not damp its trend, which goes on for ever after a burst. See docs/models.md for both measured.

    Parameters
    ----------
    season
        Values in a season, >= 0; 0 and 1: none.
    alpha, beta, gamma
        Of level, trend and season, each in [0, 1].
    damping
        Share of the trend that is left one value later, in [0, 1].

    Examples
    --------
    >>> model = HoltWinters(season=4, gamma=0.3)
    >>> for step in range(400):
    ...     model.learn_one(10.0 if step % 4 == 3 else 2.0)
    >>> [round(y, 2) for y in model.forecast(horizon=4)]
    [2.0, 2.0, 2.0, 10.0]

    References
    ----------
    Gardner, McKenzie (1985), Forecasting trends in time series, Management Science 31(10), 1237-1246.
    Winters (1960), Forecasting sales by exponentially weighted moving averages, Management Science 6(3), 324-342.
    """

    def __init__(
        self, season: int = 0, alpha: float = 0.3, beta: float = 0.05, gamma: float = 0.2, damping: float = 0.8
    ) -> None:
        if isinstance(season, bool) or not isinstance(season, int) or season < 0:
            raise ValueError(f"season must be a whole number >= 0, got {season!r}")
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma), ("damping", damping)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be >= 0 and <= 1, got {value!r}")
        self.season = season
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.damping = damping
        self._count = 0
        self._level = 0.0
        self._trend = 0.0
        self._seasons = [0.0] * max(1, season)

    def __repr__(self) -> str:
        return f"HoltWinters(season={self.season}, alpha={self.alpha:g}, beta={self.beta:g}, gamma={self.gamma:g})"

    def learn_one(self, y: float) -> None:
        """Take the next value. One that is not finite is taken as the forecast, so that the season keeps its place."""
        slot = self._count % len(self._seasons)
        self._count += 1
        if self._count == 1:
            self._level = y if math.isfinite(y) else 0.0
            return
        trend = self.damping * self._trend
        error = y - (self._level + trend + self._seasons[slot]) if math.isfinite(y) else 0.0
        self._level += trend + self.alpha * error
        self._trend = trend + self.alpha * self.beta * error
        if self.season > 1:
            self._seasons[slot] += self.gamma * error

    def forecast(self, horizon: int) -> list[float]:
        """The next `horizon` values."""
        values, level, trend = [], self._level, self._trend
        for step in range(horizon):
            trend *= self.damping
            level += trend
            values.append(level + self._seasons[(self._count + step) % len(self._seasons)])
        return values

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {
            "count": self._count,
            "level": self._level,
            "trend": self._trend,
            "seasons": [[slot, value] for slot, value in enumerate(self._seasons) if value != 0.0],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._count = int(state["count"])
        self._level = float(state["level"])
        self._trend = float(state["trend"])
        for slot, value in state["seasons"]:
            self._seasons[int(slot)] = float(value)
