"""The autoscaler of the Flink Kubernetes operator, for a job of one vertex."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable
from rarera_sim.policies.windows import MaxWindow, MeanWindow


def target_capacity(rate: float, lag: float, utilisation: float, catch_up: float, restart: float) -> float:
    """Events per second that the job shall be able to finish, rounded to a whole number as the autoscaler does.

        lag / catch_up + rate * restart / catch_up + rate / utilisation

    Parameters
    ----------
    rate, lag
        Arrivals per second, events waiting.
    utilisation
        Aimed at; cut to 0..1, and 0 asks for without end.
    catch_up, restart
        Seconds in which the lag shall be gone; that a rescaling stops the job for. A catch-up of 0 leaves both out.

    Examples
    --------
    >>> target_capacity(rate=100.0, lag=18_000, utilisation=0.7, catch_up=1800.0, restart=300.0)
    170.0
    """
    utilisation = min(1.0, max(0.0, utilisation))
    if utilisation == 0.0:
        return math.inf
    backlog = (lag + rate * restart) / catch_up if catch_up > 0.0 else 0.0
    return math.floor(min(backlog + rate / utilisation, 1e15) + 0.5) * 1.0


class Flink:
    """The parallelism whose capacity bears the rate at a utilisation, works off the lag, and makes up for the restart.

        scale = target capacity / true processing rate   (see `target_capacity`), from 1 - max_down to 1 + max_up
        replicas = ceil(scale * parallelism)

    Rates are means over the metric window. Nothing changes while the true rate lies between the capacity needed at
    utilisation + boundary, without restart, and the one at utilisation - boundary, with it; nor until the window is
    full, nor in the stabilisation after a rescaling, which empties it. A way down is gone only after it was asked for
    throughout `scale_down_interval`, and then to the highest number asked for meanwhile. Where the lag is more than
    `backlog_limit` seconds of arrivals, anything below full utilisation is in bounds.

    Parameters
    ----------
    utilisation, boundary
        Aimed at, in (0, 1], and how far off it may be, >= 0.
    window, stabilisation
        Seconds of the metric window, > 0, and without it after a rescaling, >= 0.
    catch_up, restart
        See `target_capacity`; seconds, >= 0.
    scale_down_interval
        Seconds, >= 0.
    max_down, max_up
        Largest change within one rescaling, as shares of the parallelism, >= 0.
    backlog_limit
        Seconds of arrivals, > 0.
    service_rate
        What one replica is believed to finish per second, until it is observed; None for no belief.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Flink(window=60.0, stabilisation=0.0)
    >>> for step in range(5):
    ...     policy.observe(Observation(arrival_rate=100.0, service_rate=10.0, backlog=0, replicas=8, time=15.0 * step))
    >>> policy.decide().reason
    'A capacity of 160/s against 80/s: 16.'

    References
    ----------
    Apache Flink Kubernetes Operator 1.12, flink-autoscaler: AutoScalerUtils.getTargetProcessingCapacity,
    JobVertexScaler.computeScaleTargetParallelism, ScalingMetricEvaluator.computeProcessingRateThresholds and
    AutoScalerOptions: .7 +- .3, 15 min, 3 min, 30 min, 5 min, 1 h, .6, 100,000, 5 min.
    """

    TUNABLE: ClassVar[Tunable] = {
        "utilisation": Range(0.2, 1.0),
        "window": Range(15.0, 1800.0, "log"),
        "scale_down_interval": Range(15.0, 7200.0, "log"),
        "boundary": Range(0.0, 0.4),
    }

    def __init__(
        self,
        *,
        utilisation: float = 0.7,
        boundary: float = 0.3,
        window: float = 900.0,
        stabilisation: float = 180.0,
        catch_up: float = 1800.0,
        restart: float = 300.0,
        scale_down_interval: float = 3600.0,
        max_down: float = 0.6,
        max_up: float = 100_000.0,
        backlog_limit: float = 300.0,
        service_rate: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        if not 0.0 < utilisation <= 1.0:
            raise ValueError(f"utilisation must be > 0 and <= 1, got {utilisation!r}")
        positive(window=window, backlog_limit=backlog_limit)
        not_negative = {"boundary": boundary, "stabilisation": stabilisation, "catch_up": catch_up, "restart": restart}
        not_negative |= {"scale_down_interval": scale_down_interval, "max_down": max_down, "max_up": max_up}
        for name, value in not_negative.items():
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0, got {value!r}")
        if service_rate is not None:
            positive(service_rate=service_rate)
        self.utilisation = utilisation
        self.boundary = boundary
        self.stabilisation = stabilisation
        self.catch_up = catch_up
        self.restart = restart
        self.scale_down_interval = scale_down_interval
        self.max_down = max_down
        self.max_up = max_up
        self.backlog_limit = backlog_limit
        self.limits = Limits(replicas_min, replicas_max)
        self._belief = service_rate
        self._rates = MeanWindow(window)
        self._service_rates = MeanWindow(window)
        self._down = MaxWindow(scale_down_interval)
        self._down_since: float | None = None
        self._since: float | None = None
        self._quiet_until = -math.inf
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._parallelism: int | None = None

    def __repr__(self) -> str:
        return f"Flink(utilisation={self.utilisation:g}, boundary={self.boundary:g}, window={self._rates.length:g})"

    def observe(self, observation: Observation) -> None:
        """Take the rates of the period, but for the stabilisation."""
        if self._observation is not None and observation.time < self._observation.time:
            self._quiet_until = -math.inf
            self._forget()
        if observation.time >= self._quiet_until - 1e-9:
            if self._since is None:
                self._since = observation.time
            if usable(observation.arrival_rate):
                self._rates.add(observation.time, observation.arrival_rate)
            if 0.0 < observation.service_rate < math.inf:
                self._service_rates.add(observation.time, observation.service_rate)
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """Rescale, or stay."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _decide(self) -> Decision:
        observation = self._observation
        if observation is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        if self._parallelism is None:
            self._parallelism = self.limits.within(observation.replicas + observation.pending)
        now, parallelism = observation.time, self._parallelism
        rate, one = self._rates.mean, self._service_rates.mean or self._belief
        if rate is None or one is None:
            return Decision(parallelism, "Nothing to go by yet, so as it is.")
        if self._since is None or now - self._since < self._rates.length - 1e-9:
            return Decision(parallelism, "The metric window is not full yet, so as it is.")
        lag = max(0, observation.backlog)
        true_rate = one * parallelism
        capacity = target_capacity(rate, lag, self.utilisation, self.catch_up, self.restart)
        scale = min(max(capacity / true_rate, 1.0 - self.max_down), 1.0 + self.max_up)
        wanted = self.limits.within(math.ceil(min(scale * parallelism - 1e-9, 1e9)))
        about = f"A capacity of {capacity:g}/s against {true_rate:.4g}/s"
        outside = self._outside(rate, lag, true_rate)
        if wanted == parallelism:
            self._down_since = None
            return Decision(parallelism, f"{about}: as it is.")
        if wanted > parallelism:
            self._down_since = None
            if not outside:
                return Decision(parallelism, f"{about} lies within the bounds of utilisation.")
            return self._rescaled(wanted, now, about)
        if self._down_since is None:
            self._down_since = now
            self._down.clear()
        highest = self._down.add(now, wanted)
        if now - self._down_since < self.scale_down_interval - 1e-9:
            return Decision(parallelism, f"{about} asks for {wanted}, and has to for {self.scale_down_interval:g} s.")
        if not outside:
            return Decision(parallelism, f"{about} lies within the bounds of utilisation.")
        return self._rescaled(highest, now, about)

    def _outside(self, rate: float, lag: int, true_rate: float) -> bool:
        catching_up = lag > self.backlog_limit * rate > 0.0
        upper = 1.0 if catching_up else self.utilisation + self.boundary
        lower = 0.0 if catching_up else self.utilisation - self.boundary
        too_little = target_capacity(rate, lag, upper, self.catch_up, 0.0)
        too_much = target_capacity(rate, lag, lower, self.catch_up, self.restart)
        return true_rate < too_little or true_rate > too_much

    def _rescaled(self, replicas: int, now: float, about: str) -> Decision:
        self._parallelism = replicas
        self._quiet_until = now + self.stabilisation
        self._forget()
        return Decision(replicas, f"{about}: {replicas}.")

    def _forget(self) -> None:
        self._rates.clear()
        self._service_rates.clear()
        self._down.clear()
        self._down_since = self._since = None
