"""How long one service takes, and one start, learned online, with how sure one may be of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

from rarera_sim.learning.intervals import ResidualQuantiles

# Of the CUSUMs, in standard errors: a batch counts from the first, half of the change to be found soonest, up to the
# second.
_OFF_ALLOWED, _OFF_MOST = 0.5, 4.0
# So many mean service times long must it be that a mean is taken from: of what began together the short is finished
# first, so that the first services of a morning are too short and the last of an evening too long.
_TURNS_LEAST = 10.0
_ERROR_LEAST = 0.01  # A hundredth of the mean is no change, however surely it is one.


class ServiceEstimate:
    """Mean and variability of the service time, from single services or from means over several.

    With batch means m_i of n_i services each, and weights that halve every `half_life` services,

        mean = sum n_i m_i / sum n_i
        scv  = sum n_i (m_i - mean)^2 / (batches - 1) / mean^2

    as the variance of a mean of n services is n times smaller than that of one. A change of the mean is noticed by
    Page's two CUSUMs, one up and one down, of how many standard errors z each batch is off the mean,

        z = (m_i / mean - 1) / sqrt(s (1 / n_i + 1 / sum n)), at most 4 either way
        up = max(0, up + z - 1/2),  down = max(0, down - z - 1/2)

    where s is the scv, or that of the services within the batches if it is larger (1 where nobody says it); E. S.
    Page, Continuous inspection schemes, Biometrika 41, 1954. One above `alarm` says that the mean has changed since it
    was last 0: what came since is the new mean, if it came within ten of them, and the scatter is what both had. No
    single batch can raise the alarm, as z is clipped.

    Parameters
    ----------
    prior
        Mean service time believed in before the first sample, s; None for no belief.
    prior_weight
        How many services the belief is worth, >= 0.
    half_life
        Services after which what was learned counts half, > 0.
    alarm
        Standard errors that add up to a change, > 4; None to notice none. Of normal batches less than one in 9,500
        comes to 8 falsely, and one in 470 to the usual 5 (Siegmund's approximation, for a mean that is known).

    Examples
    --------
    >>> service = ServiceEstimate()
    >>> for seconds in (1.0, 2.0, 3.0):
    ...     service.learn_one(seconds)
    >>> round(service.mean, 3), round(service.scv, 3)
    (2.0, 0.25)
    """

    def __init__(
        self,
        prior: float | None = None,
        prior_weight: float = 20.0,
        half_life: float = 20_000.0,
        alarm: float | None = 8.0,
    ) -> None:
        if prior is not None and not 0.0 < prior < math.inf:
            raise ValueError(f"prior must be > 0 s or None, got {prior!r}")
        if not 0.0 <= prior_weight < math.inf:
            raise ValueError(f"prior_weight must be >= 0, got {prior_weight!r}")
        if not half_life > 0.0:
            raise ValueError(f"half_life must be > 0, got {half_life!r}")
        if alarm is not None and not _OFF_MOST < alarm < math.inf:
            raise ValueError(f"alarm must be > {_OFF_MOST:g} or None, got {alarm!r}")
        self.half_life = half_life
        self.alarm = alarm
        self._services = 0.0 if prior is None else prior_weight
        self._mean = prior
        self._batches = 0.0
        self._scatter = 0.0
        self._within = 1.0
        self._up, self._down = _Cusum(), _Cusum()

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

    def learn_one(
        self, mean: float, services: float = 1.0, scv: float | None = None, span: float | None = None
    ) -> None:
        """Learn from `services` services that took `mean` seconds each. What is not finite and > 0 is left out.

        `scv` is their squared coefficient of variation, and `span` the seconds in which they were finished, where that
        is known: both serve to notice a change of the mean.
        """
        if not (0.0 < mean < math.inf and 0.0 < services < math.inf):
            return
        services = max(1.0, services)
        keep = 0.5 ** (services / self.half_life)
        if self._mean is not None and self._services > 0.0:
            # One sample may not move the mean by more than a factor of 100: a clock fault is not a service.
            mean = min(max(mean, self._mean / 100.0), self._mean * 100.0)
        else:
            self._mean = mean
        change = self._change(mean, services, span)
        self._services, self._mean, self._batches, self._scatter = _joined(
            (self._services * keep, self._mean, self._batches * keep, self._scatter * keep), mean, services
        )
        if scv is not None and 0.0 <= scv < math.inf:
            self._within += (scv - self._within) * services / self._services
        if change is not None:
            self._services, self._mean = change.services, change.mean
            self._batches = change.batches_before + change.batches - 1.0
            self._scatter = change.scatter_before * change.mean**2 + change.scatter
            self._up, self._down = _Cusum(), _Cusum()

    def _change(self, mean: float, services: float, span: float | None) -> _Cusum | None:
        """The CUSUM that says that the mean has changed, if one does."""
        if self.alarm is None or self._mean is None or self._services <= 0.0:
            return None
        scv = max(self._within, self.scv or 0.0)
        error = math.sqrt(scv * (1.0 / services + 1.0 / self._services))
        z = (mean / self._mean - 1.0) / max(error, _ERROR_LEAST)
        turns = _TURNS_LEAST if span is None else min(span / mean, _TURNS_LEAST)
        for cusum, off in ((self._up, z), (self._down, -z)):
            if cusum.total == 0.0:
                cusum.batches_before, cusum.scatter_before = self._batches, self._scatter / self._mean**2
            cusum.learn_one(off, mean, services, turns)
            if cusum.total > self.alarm and cusum.turns >= _TURNS_LEAST:
                return cusum
        return None

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {
            "services": self._services,
            "mean": self._mean,
            "batches": self._batches,
            "scatter": self._scatter,
            "within": self._within,
            "up": asdict(self._up),
            "down": asdict(self._down),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._services = float(state["services"])
        self._mean = None if state["mean"] is None else float(state["mean"])
        self._batches = float(state["batches"])
        self._scatter = float(state["scatter"])
        self._within = float(state["within"])
        self._up, self._down = (
            _Cusum(**{name: float(value) for name, value in state[side].items()}) for side in ("up", "down")
        )


@dataclass(slots=True)
class _Cusum:
    """How far off a mean has been one way, and what came since it was last not, in so many service times; and how many
    batches there were before, and their scatter in multiples of the squared mean.
    """

    total: float = 0.0
    services: float = 0.0
    mean: float = 0.0
    batches: float = 0.0
    scatter: float = 0.0
    turns: float = 0.0
    batches_before: float = 0.0
    scatter_before: float = 0.0

    def learn_one(self, off: float, mean: float, services: float, turns: float) -> None:
        """Another batch, `off` standard errors away."""
        self.total = max(0.0, self.total + min(off, _OFF_MOST) - _OFF_ALLOWED)
        if self.total == 0.0:
            self.services = self.mean = self.batches = self.scatter = self.turns = 0.0
        else:
            self.services, self.mean, self.batches, self.scatter = _joined(
                (self.services, self.mean, self.batches, self.scatter), mean, services
            )
            self.turns += turns


def _joined(
    before: tuple[float, float, float, float], mean: float, services: float
) -> tuple[float, float, float, float]:
    """Services, their mean, batches, and scatter with another batch: Welford's update, weighted."""
    known, mean_before, batches, scatter = before
    total = known + services
    distance = mean - mean_before
    return (
        total,
        mean_before + distance * services / total,
        batches + 1.0,
        scatter + (services * known / total) * distance**2,
    )


class Estimate(NamedTuple):
    """What one service is expected to take.

    Parameters
    ----------
    mean
        Seconds.
    scv
        Squared coefficient of variation of one service around it.
    services
        How many services it rests on, faded ones in part.
    """

    mean: float
    scv: float
    services: float

    def mean_high(self, confidence: float = 0.95) -> float:
        """What the true mean does not exceed with probability `confidence`, s; by normal approximation."""
        return self.mean * (1.0 + NormalDist().inv_cdf(confidence) * math.sqrt(self.scv / max(1.0, self.services)))


class ServiceProfile:
    """Service time by type of event, size of its content, and hardware.

        seconds = (a_type + b_type * size) / speed_hardware

    a and b by least squares of the relative error, with weights that halve every `half_life` services of the type, and
    b shrunk to 0 until sizes differ; the speed from what services took on that hardware against what they were expected
    to at speed 1, shrunk to 1. Speed 1 is that of the first hardware seen: what it does alone teaches a and b, as soon
    as it has done any of the type, so that a speed not yet known does not bend them. A type not seen before is expected
    to be as all are together.

    Parameters
    ----------
    half_life
        Services of a type after which what was learned counts half, > 0.
    speed_weight
        How many services the belief that hardware has speed 1 is worth, > 0.

    Examples
    --------
    >>> profile = ServiceProfile()
    >>> for size in range(1, 200):
    ...     profile.learn_one(0.1 + 0.002 * size, type="order", size=size, hardware="small")
    ...     profile.learn_one((0.1 + 0.002 * size) / 2.0, type="order", size=size, hardware="large")
    >>> round(profile.predict("order", size=100, hardware="small").mean, 2)
    0.3
    >>> round(profile.predict("order", size=100, hardware="large").mean, 2)
    0.15
    """

    def __init__(self, half_life: float = 20_000.0, speed_weight: float = 5.0) -> None:
        for name, value in (("half_life", half_life), ("speed_weight", speed_weight)):
            if not value > 0.0:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        self.half_life = half_life
        self.speed_weight = speed_weight
        self._types: dict[str, _Line] = {}
        self._all = _Line()
        self._speeds: dict[str, list[float]] = {}  # expected seconds at speed 1, and seconds taken

    def __repr__(self) -> str:
        return f"ServiceProfile({len(self._types)} types, {len(self._speeds)} kinds of hardware)"

    def learn_one(self, seconds: float, *, type: str = "", size: float = 0.0, hardware: str = "") -> None:
        """Take one service. Seconds not finite and > 0, or a size not finite and >= 0, are left out."""
        if not (0.0 < seconds < math.inf and 0.0 <= size < math.inf):
            return
        keep = 0.5 ** (1.0 / self.half_life)
        line = self._types.setdefault(type, _Line())
        speed = self._speeds.setdefault(hardware, [0.0, 0.0])
        reference = hardware == next(iter(self._speeds))
        at_one = seconds * self._speed(hardware)
        expected = line.at(size)
        if expected is not None:
            # A hundredfold surprise counts as one: a clock fault is not a service.
            at_one = min(max(at_one, expected / 100.0), expected * 100.0)
            if not reference:
                speed[0] = speed[0] * keep + expected
                speed[1] = speed[1] * keep + seconds
        line.learn(size, at_one, keep, reference)
        self._all.learn(size, at_one, keep, reference)

    def predict(self, type: str = "", *, size: float = 0.0, hardware: str = "") -> Estimate | None:
        """What a service is expected to take; None while nothing is known."""
        line = self._types.get(type, self._all)
        mean = line.at(size)
        if mean is None:
            return None
        return Estimate(mean / self._speed(hardware), line.scv, line.services)

    def _speed(self, hardware: str) -> float:
        speed = self._speeds.get(hardware)
        if speed is None or speed[1] <= 0.0:
            return 1.0
        belief = self.speed_weight * (self._all.at(0.0, mean=True) or speed[1])
        return (belief + speed[0]) / (belief + speed[1])

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {
            "types": {name: line.sums for name, line in self._types.items()},
            "all": self._all.sums,
            "speeds": [[name, *sums] for name, sums in self._speeds.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._types = {str(name): _Line([float(each) for each in sums]) for name, sums in state["types"].items()}
        self._all = _Line([float(each) for each in state["all"]])
        self._speeds = {str(name): [float(expected), float(taken)] for name, expected, taken in state["speeds"]}


class _Line:
    """Weighted least squares of seconds on size, by sums: weight, size, size^2, seconds, both; squared relative
    error, services; whether they are of the first hardware, and how many errors there are.
    """

    def __init__(self, sums: list[float] | None = None) -> None:
        self.sums = [0.0] * 9 if sums is None else sums

    @property
    def services(self) -> float:
        return self.sums[6]

    @property
    def scv(self) -> float:
        return self.sums[5] / self.sums[8] if self.sums[8] > 1.5 else 1.0

    def at(self, size: float, *, mean: bool = False) -> float | None:
        w, x, xx, y, xy, *_ = self.sums
        if w <= 0.0:
            return None
        average = y / w
        if mean:
            return average
        spread = xx - x * x / w
        # A tenth of the squared mean size counts as if it had shown no slope.
        slope = (xy - x * y / w) / (spread + 0.1 * x * x / w / max(1.0, self.sums[6])) if spread > 0.0 else 0.0
        return max(average / 100.0, average + slope * (size - x / w))

    def learn(self, size: float, seconds: float, keep: float, reference: bool) -> None:
        if reference and not self.sums[7]:
            self.sums = [0.0] * 7 + [1.0, 0.0]
        elif self.sums[7] and not reference:
            return
        sums, expected = self.sums, self.at(size)
        # At most sixteen times that of the mean: a line still unsure may come near 0, and 1 / 0 would outweigh all.
        weight = 1.0 / (seconds if expected is None else max(expected, 0.25 * sums[3] / sums[0])) ** 2
        # Errors of a line through a handful of services say nothing of the services.
        known = expected is not None and sums[6] >= 20.0
        error = (seconds / expected - 1.0) ** 2 if known and expected is not None else 0.0
        new = (weight, weight * size, weight * size * size, weight * seconds, weight * size * seconds, error, 1.0)
        for k, value in enumerate(new):
            sums[k] = sums[k] * keep + value
        sums[8] = sums[8] * keep + known


class StartUp:
    """How long replicas take to be ready: mean and quantiles of the last starts.

    Parameters
    ----------
    prior
        Believed in before the first start, s, >= 0; counts as one start.
    window
        Starts remembered, >= 1.

    Examples
    --------
    >>> start_up = StartUp(prior=60.0)
    >>> for seconds in (40.0, 42.0, 45.0, 90.0):
    ...     start_up.learn_one(seconds)
    >>> round(start_up.mean, 1), round(start_up.quantile(0.9), 1)
    (55.4, 78.0)
    """

    def __init__(self, prior: float = 60.0, window: int = 200) -> None:
        if not 0.0 <= prior < math.inf:
            raise ValueError(f"prior must be >= 0 s, got {prior!r}")
        self.prior = prior
        self._seen = ResidualQuantiles(window)
        self._seen.learn_one(prior)

    def __repr__(self) -> str:
        return f"StartUp(mean={self.mean:.3g}, starts={len(self._seen)})"

    @property
    def window(self) -> int:
        return self._seen.window

    @property
    def mean(self) -> float:
        """Seconds."""
        return self._seen.mean

    def quantile(self, level: float) -> float:
        """What a share `level` of the starts did not exceed, s: what a forecast has to reach for."""
        return self._seen.quantile(level)

    def learn_one(self, seconds: float) -> None:
        """One replica was ready so long after it was asked for. What is negative or not finite is left out."""
        if 0.0 <= seconds < math.inf:
            self._seen.learn_one(seconds)

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return self._seen.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._seen.restore(state)
