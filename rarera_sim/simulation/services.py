"""How long a processor works on an event."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rarera_sim.simulation.quantities import NonNegative, PositiveSeconds, Settings

Distribution = Literal["exponential", "deterministic", "lognormal", "erlang", "hyperexponential"]


class ServiceTime(Settings, frozen=True, kw_only=True):
    """A distribution of service times by its mean and squared coefficient of variation.

    Parameters
    ----------
    distribution
        `exponential` has scv 1 and `deterministic` 0, whatever `scv` says; `erlang` takes the integer shape nearest to
        1 / scv, scv <= 1; `hyperexponential` has two phases with balanced means, scv >= 1; `lognormal` any scv > 0.
    mean
        Seconds on hardware of speed 1.
    scv
        Variance over squared mean.

    Examples
    --------
    >>> ServiceTime(distribution="deterministic", mean=2.0).draw(np.random.default_rng(1), 3)
    array([2., 2., 2.])

    References
    ----------
    Whitt (1982), Approximating a Point Process by a Renewal Process, Operations Research 30(1), section 3.
    """

    distribution: Distribution = "lognormal"
    mean: PositiveSeconds = 1.0
    scv: NonNegative = 0.5

    def problem(self) -> str | None:
        """Why no such distribution exists, None if it does."""
        if self.distribution == "lognormal" and not self.scv > 0:
            return f"scv must be > 0 for lognormal, got {self.scv!r}; write distribution = 'deterministic'"
        if self.distribution == "erlang" and not 0 < self.scv <= 1:
            return f"scv must be in (0, 1] for erlang, got {self.scv!r}"
        if self.distribution == "hyperexponential" and not self.scv >= 1:
            return f"scv must be >= 1 for hyperexponential, got {self.scv!r}"
        return None

    @property
    def effective_scv(self) -> float:
        """The squared coefficient of variation that the draws really have."""
        match self.distribution:
            case "exponential":
                return 1.0
            case "deterministic":
                return 0.0
            case "erlang":
                return 1.0 / max(1, round(1.0 / self.scv))
        return self.scv

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Service times in seconds, shape (count,)."""
        problem = self.problem()
        if problem:
            raise ValueError(problem)
        match self.distribution:
            case "exponential":
                return generator.exponential(self.mean, count)
            case "deterministic":
                return np.full(count, self.mean)
            case "erlang":
                shape = max(1, round(1.0 / self.scv))
                return generator.gamma(shape, self.mean / shape, count)
            case "hyperexponential":
                first = 0.5 * (1.0 + np.sqrt((self.scv - 1.0) / (self.scv + 1.0)))
                share = np.where(generator.random(count) < first, first, 1.0 - first)
                phases: NDArray[np.float64] = generator.exponential(1.0, count) * self.mean / (2.0 * share)
                return phases
            case "lognormal":
                variance = np.log1p(self.scv)
                normal = generator.standard_normal(count)
                times: NDArray[np.float64] = self.mean * np.exp(np.sqrt(variance) * normal - variance / 2.0)
                return times
