"""Policies that do not react: a number, and the number that the past's peak would have needed."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Staffing, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable


class Fixed:
    """The same number of replicas, always.

    Parameters
    ----------
    replicas
        How many, >= 1.

    Examples
    --------
    >>> policy = Fixed(replicas=8)
    >>> policy.observe(Observation(arrival_rate=1e6, service_rate=1.0, backlog=10**6, replicas=8))
    >>> policy.decide().replicas
    8
    """

    TUNABLE: ClassVar[Tunable] = {"replicas": Range(1, 1000, "int")}

    def __init__(self, replicas: int) -> None:
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
            raise ValueError(f"replicas must be a whole number >= 1, got {replicas!r}")
        self.replicas = replicas

    def __repr__(self) -> str:
        return f"Fixed(replicas={self.replicas})"

    def observe(self, observation: Observation) -> None:
        """Nothing to learn."""

    def decide(self) -> Decision:
        """The number."""
        return Decision(self.replicas, f"Always {self.replicas}.")


class Peak:
    """Erlang-C staffing for the highest arrival rate of the history, then never changed: provisioning for the peak.

        c = smallest with P(response > bound) <= 1 - quantile at the `peak_quantile` of the rates seen before

    What it observes before its first decision is its history, that first period included; what comes later changes
    nothing.

    Parameters
    ----------
    surroundings
        The objective and the limits, and what is believed of the service; see `Surroundings`.
    peak_quantile
        Which of the per-period rates counts as the peak, in (0, 1]; 1 is the highest.

    Examples
    --------
    >>> policy = Peak(Surroundings(bound=0.5, quantile=0.99))
    >>> for rate in (20.0, 100.0, 40.0):
    ...     policy.observe(Observation(arrival_rate=rate, service_rate=10.0, backlog=0, replicas=5))
    >>> policy.decide().replicas
    12
    >>> policy.observe(Observation(arrival_rate=900.0, service_rate=10.0, backlog=0, replicas=12))
    >>> policy.decide().replicas
    12
    """

    TUNABLE: ClassVar[Tunable] = {"peak_quantile": Range(0.9, 1.0)}

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        peak_quantile: float = 1.0,
    ) -> None:
        if not 0.0 < peak_quantile <= 1.0:
            raise ValueError(f"peak_quantile must be > 0 and <= 1, got {peak_quantile!r}")
        self.surroundings = surroundings
        self.peak_quantile = peak_quantile
        self.staffing = Staffing(surroundings.bound, surroundings.quantile, limits=surroundings.limits)
        self._service = believed(surroundings.service_rate)
        self._rates: list[float] = []
        self._current = surroundings.replicas_min
        self._decision: Decision | None = None

    def __repr__(self) -> str:
        return f"Peak(peak_quantile={self.peak_quantile:g}, {self.surroundings})"

    def observe(self, observation: Observation) -> None:
        """Remember the rate, until the first decision."""
        if self._decision is not None:
            return
        if usable(observation.arrival_rate):
            self._rates.append(observation.arrival_rate)
        learn_service(self._service, observation, self.surroundings.period)
        self._current = observation.replicas + observation.pending

    def decide(self) -> Decision:
        """The staffing for the peak; the first answer is the last one, once there was anything to go by."""
        if self._decision is None:
            rate = self._service.rate
            if rate is None or not self._rates:
                return Decision(self.staffing.limits.within(self._current), "No history yet, so as it is.")
            ordered = sorted(self._rates)
            peak = ordered[max(0, math.ceil(self.peak_quantile * len(ordered)) - 1)]
            replicas = self.staffing.replicas(peak, rate)
            self._decision = Decision(replicas, f"The peak of the history, {peak:.4g}/s, needs {replicas}.")
            self._rates.clear()
        return self._decision
