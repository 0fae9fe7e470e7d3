"""How long one service takes, learned online, with how sure one may be of it."""

from __future__ import annotations

import math
from statistics import NormalDist


class ServiceTime:
    """Mean and variability of the service time, from single services or from means over several.

    With batch means m_i of n_i services each, and weights that halve every `half_life` services,

        mean = sum n_i m_i / sum n_i
        scv  = sum n_i (m_i - mean)^2 / (batches - 1) / mean^2

    as the variance of a mean of n services is n times smaller than that of one. Drift of the mean counts as
    variability until it is forgotten.

    Parameters
    ----------
    prior
        Mean service time believed in before the first sample, s; None for no belief.
    prior_weight
        How many services the belief is worth, >= 0.
    half_life
        Services after which what was learned counts half, > 0.

    Examples
    --------
    >>> service = ServiceTime()
    >>> for seconds in (1.0, 2.0, 3.0):
    ...     service.learn_one(seconds)
    >>> round(service.mean, 3), round(service.scv, 3)
    (2.0, 0.25)
    """

    def __init__(self, prior: float | None = None, prior_weight: float = 20.0, half_life: float = 20_000.0) -> None:
        if prior is not None and not 0.0 < prior < math.inf:
            raise ValueError(f"prior must be > 0 s or None, got {prior!r}")
        if not 0.0 <= prior_weight < math.inf:
            raise ValueError(f"prior_weight must be >= 0, got {prior_weight!r}")
        if not half_life > 0.0:
            raise ValueError(f"half_life must be > 0, got {half_life!r}")
        self.half_life = half_life
        self._services = 0.0 if prior is None else prior_weight
        self._mean = prior
        self._batches = 0.0
        self._scatter = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self._mean!r}, services={self._services:.0f})"

    @property
    def mean(self) -> float | None:
        """Mean service time, s; None while nothing is known."""
        return self._mean

    @property
    def rate(self) -> float | None:
        """Services per second of one busy server; None while nothing is known."""
        return None if self._mean is None else 1.0 / self._mean

    @property
    def scv(self) -> float | None:
        """Squared coefficient of variation of one service; None before the second sample."""
        if self._mean is None or self._batches < 1.5:
            return None
        return self._scatter / (self._batches - 1.0) / self._mean**2

    def rate_low(self, confidence: float = 0.95) -> float | None:
        """The rate that the true one exceeds with probability `confidence`, 1/s; None while nothing is known.

        From the normal approximation of the mean; an scv not yet known counts as 1, an exponential service.
        """
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"confidence must be > 0 and < 1, got {confidence!r}")
        if self._mean is None:
            return None
        scv = 1.0 if self.scv is None else self.scv
        error = math.sqrt(scv / max(1.0, self._services))
        return 1.0 / (self._mean * max(1e-9, 1.0 + NormalDist().inv_cdf(confidence) * error))

    def learn_one(self, mean: float, services: float = 1.0) -> None:
        """Learn from `services` services that took `mean` seconds each. What is not finite and > 0 is left out."""
        if not (0.0 < mean < math.inf and 0.0 < services < math.inf):
            return
        services = max(1.0, services)
        keep = 0.5 ** (services / self.half_life)
        if self._mean is not None and self._services > 0.0:
            # One sample may not move the mean by more than a factor of 100: a clock fault is not a service.
            mean = min(max(mean, self._mean / 100.0), self._mean * 100.0)
        else:
            self._mean = mean
        before = self._services * keep
        self._services = before + services
        distance = mean - self._mean
        self._mean += distance * services / self._services
        # Welford's update, weighted: the scatter around the old mean times that around the new one.
        self._scatter = self._scatter * keep + (services * before / self._services) * distance**2
        self._batches = self._batches * keep + 1.0
