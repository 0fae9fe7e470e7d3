"""How often something fails and how long it takes to be mended, with how sure one may be of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class GammaRate:
    """Rate of a Poisson process: events over exposure, with a Gamma belief.

        rate ~ Gamma(shape = prior_events + events, rate = prior_exposure + exposure)

    The belief before any data is `prior_events` seen in `prior_exposure`; with halves of an event and little exposure
    it is soon outvoted. Older evidence fades with `half_life` of exposure, as hardware ages and providers change.

    Parameters
    ----------
    prior_events, prior_exposure
        > 0; events, and what they are counted over: replica-seconds for failures, repairs for their time.
    half_life
        Exposure after which what was learned counts half, > 0; infinite: it never fades.

    Examples
    --------
    Two crashes in 100 replica-hours: one per 50 h, and with 95 % certainty no more than one per 17 h.

    >>> failures = GammaRate(prior_events=0.5, prior_exposure=3600.0)
    >>> failures.learn_one(events=2, exposure=360_000.0)
    >>> round(1 / failures.mean / 3600, 1), round(1 / failures.quantile(0.95) / 3600, 1)
    (40.4, 18.2)

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.6.
    """

    def __init__(self, prior_events: float = 0.5, prior_exposure: float = 3600.0, half_life: float = math.inf) -> None:
        for name, value in (("prior_events", prior_events), ("prior_exposure", prior_exposure)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        if not half_life > 0.0:
            raise ValueError(f"half_life must be > 0, got {half_life!r}")
        self.prior_events = prior_events
        self.prior_exposure = prior_exposure
        self.half_life = half_life
        self._events = 0.0
        self._exposure = 0.0

    def __repr__(self) -> str:
        return f"GammaRate(events={self._events:g}, exposure={self._exposure:g})"

    @property
    def mean(self) -> float:
        """Expected rate, events per exposure."""
        return (self.prior_events + self._events) / (self.prior_exposure + self._exposure)

    @property
    def prior_mean(self) -> float:
        """Exposure per event that was believed in."""
        return self.prior_exposure / self.prior_events

    def quantile(self, level: float) -> float:
        """The rate that the true one does not exceed with probability `level`, in (0, 1)."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be > 0 and < 1, got {level!r}")
        shape = self.prior_events + self._events
        low, high = 0.0, shape + 1.0
        while _gamma_share(shape, high) < level:
            low, high = high, 2.0 * high
        while low < (middle := (low + high) / 2.0) < high and high - low > 1e-12 * high:
            if _gamma_share(shape, middle) < level:
                low = middle
            else:
                high = middle
        return high / (self.prior_exposure + self._exposure)

    def learn_one(self, events: float, exposure: float) -> None:
        """Take so many events in so much exposure. What is negative or not finite is left out."""
        if not (0.0 <= events < math.inf and 0.0 <= exposure < math.inf):
            return
        keep = 0.5 ** (exposure / self.half_life)
        self._events = self._events * keep + events
        self._exposure = self._exposure * keep + exposure

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {"events": self._events, "exposure": self._exposure}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._events = float(state["events"])
        self._exposure = float(state["exposure"])


class Reliability:
    """Failure rate and repair time of one kind of hardware, and the availability that follows.

        availability = mtbf / (mtbf + repair time)

    Exponential repair times with a Gamma belief on their rate: repairs are the events, and their seconds the exposure.

    Parameters
    ----------
    mtbf, repair_time
        Believed in before the first failure, s, > 0.
    weight
        How many failures and repairs the belief is worth, > 0.

    Examples
    --------
    >>> hardware = Reliability(mtbf=86_400.0, repair_time=120.0)
    >>> for day in range(30):
    ...     hardware.learn_period(running=86_400.0, failures=2)
    ...     hardware.learn_repair(60.0)
    >>> round(hardware.mtbf), round(hardware.repair_time), round(hardware.availability, 5)
    (43557, 61, 0.9986)
    """

    def __init__(self, mtbf: float = 30 * 86_400.0, repair_time: float = 60.0, weight: float = 0.5) -> None:
        for name, value in (("mtbf", mtbf), ("repair_time", repair_time), ("weight", weight)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        self.failures = GammaRate(weight, weight * mtbf)
        self.repairs = GammaRate(weight, weight * repair_time)

    def __repr__(self) -> str:
        return f"Reliability(mtbf={self.mtbf:.4g}, repair_time={self.repair_time:.4g})"

    @property
    def mtbf(self) -> float:
        """Running time between two failures, s."""
        return 1.0 / self.failures.mean

    @property
    def repair_time(self) -> float:
        """From failure to service again, s."""
        return 1.0 / self.repairs.mean

    @property
    def availability(self) -> float:
        """Expected share of the time that a replica is up."""
        return self.mtbf / (self.mtbf + self.repair_time)

    def availability_low(self, confidence: float = 0.95) -> float:
        """What the true availability exceeds with at least about `confidence`: both rates at their worse quantile."""
        each = math.sqrt(confidence)  # independent beliefs, so that both hold at once with the product
        mtbf = 1.0 / self.failures.quantile(each)
        return mtbf / (mtbf + 1.0 / self.repairs.quantile(1.0 - each))

    def learn_period(self, running: float, failures: int) -> None:
        """So many replica-seconds of running, and the failures in them."""
        self.failures.learn_one(failures, running)

    def learn_repair(self, seconds: float) -> None:
        """One repair took so long, the notice included."""
        if 0.0 < seconds < math.inf:
            self.repairs.learn_one(1, seconds)

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {"failures": self.failures.state(), "repairs": self.repairs.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.failures.restore(state["failures"])
        self.repairs.restore(state["repairs"])


def _gamma_share(shape: float, x: float) -> float:
    """P(X <= x) for X ~ Gamma(shape, 1): the regularised incomplete gamma function, by series or continued fraction.

    Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.5.29 and 6.5.31.
    """
    if x <= 0.0:
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        k = 0
        while term > 1e-16 * total:
            k += 1
            term *= x / (shape + k)
            total += term
        return min(1.0, scale * total)
    # Lentz's method.
    b = x + 1.0 - shape
    c, d = 1e300, 1.0 / b
    fraction = d
    for k in range(1, 10_000):
        a = -k * (k - shape)
        b += 2.0
        d = 1.0 / (a * d + b)
        c = b + a / c
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return max(0.0, 1.0 - scale * fraction)
