"""Feed-forward from queueing theory: observe the load, compute the replicas."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim import theory
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import (
    USUAL,
    Limits,
    Staffing,
    Surroundings,
    believed,
    learn_service,
    positive,
    usable,
)
from rarera_sim.policies.tuning import Range, Tunable


class ErlangC:
    """The fewest replicas that keep the objective at the load of now, plus what works off the backlog.

        smallest c with P(response > bound) <= 1 - quantile at lambda'   (M/M/c)
        lambda' = head_room lambda + backlog / catch_up

    lambda is the arrival rate, exponentially smoothed; mu is learned from what busy replicas finish. It reacts, so a
    rise finds it late by start-up delay plus period.

    Parameters
    ----------
    surroundings
        The objective and the limits, and what is believed of the service; see `Surroundings`.
    memory
        Time constant of the smoothing, s, >= 0; 0 takes the last period as it is.
    catch_up
        Time in which a backlog shall be gone, s, > 0.
    head_room
        What the smoothed rate is multiplied by, > 0: room for what the start-up brings.

    Examples
    --------
    >>> policy = ErlangC(Surroundings(bound=0.5, quantile=0.99))
    >>> policy.observe(Observation(arrival_rate=100.0, service_rate=10.0, backlog=0, replicas=10))
    >>> policy.decide().reason
    '100/s at 10/s each need 12 for 99% within 0.5 s.'

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), Fundamentals of Queueing Theory, 4th ed., section 2.3.
    """

    TUNABLE: ClassVar[Tunable] = {
        "memory": Range(1.0, 600.0, "log"),
        "catch_up": Range(5.0, 600.0, "log"),
        "head_room": Range(1.0, 3.0, "log"),
    }

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        memory: float = 15.0,
        catch_up: float = 60.0,
        head_room: float = 1.0,
    ) -> None:
        if not 0.0 <= memory < math.inf:
            raise ValueError(f"memory must be >= 0 s, got {memory!r}")
        positive(head_room=head_room)
        self.surroundings = surroundings
        self.memory = memory
        self.head_room = head_room
        self.staffing = Staffing(surroundings.bound, surroundings.quantile, catch_up, surroundings.limits)
        self._weight = -math.expm1(-surroundings.period / memory) if memory > 0.0 else 1.0
        self._service = believed(surroundings.service_rate)
        self._rate: float | None = None
        self._backlog = 0
        self._current = surroundings.replicas_min

    def __repr__(self) -> str:
        return f"ErlangC({self.surroundings}, memory={self.memory:g}, catch_up={self.staffing.catch_up:g})"

    def observe(self, observation: Observation) -> None:
        """Smooth the arrival rate, learn the service rate."""
        rate = observation.arrival_rate
        if usable(rate):
            self._rate = rate if self._rate is None else self._rate + self._weight * (rate - self._rate)
        learn_service(self._service, observation, self.surroundings.period)
        self._backlog = observation.backlog
        self._current = observation.replicas + observation.pending

    def decide(self) -> Decision:
        """The fewest replicas that will do."""
        service_rate = self._service.rate
        if self._rate is None or service_rate is None:
            return Decision(self.staffing.limits.within(self._current), "Nothing to go by yet, so as it is.")
        replicas = self.staffing.replicas(self.head_room * self._rate, service_rate, self._backlog)
        waiting = f" and {self._backlog} waiting" if self._backlog > 0 else ""
        return Decision(
            replicas,
            f"{self._rate:.4g}/s{waiting} at {service_rate:.4g}/s each need {replicas} "
            f"for {self.staffing.quantile * 100:.4g}% within {self.staffing.bound:g} s.",
        )


class SquareRootStaffing:
    """Offered load plus a safety margin that grows with its square root.

        c = ceil(R + beta * sqrt(R)),   R = lambda / mu

    Parameters
    ----------
    beta
        Quality of service, dimensionless, > 0. P(wait) tends to 1 / (1 + beta * Phi(beta) / phi(beta)):
        0.22 at beta = 1, 0.05 at beta = 1.7.
    service_rate
        What one replica is believed to finish per second, until it is observed; None for no belief.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = SquareRootStaffing(beta=1.0)
    >>> policy.observe(Observation(arrival_rate=100.0, service_rate=10.0, backlog=0, replicas=1))
    >>> policy.decide().replicas
    14

    References
    ----------
    Halfin, Whitt (1981), Operations Research 29(3), 567-588.
    """

    TUNABLE: ClassVar[Tunable] = {"beta": Range(0.1, 20.0, "log")}

    def __init__(
        self,
        beta: float = 1.0,
        *,
        service_rate: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        positive(beta=beta)
        if service_rate is not None:
            positive(service_rate=service_rate)
        self.beta = beta
        self.limits = Limits(replicas_min, replicas_max)
        self._service_rate = service_rate
        self._rate: float | None = None
        self._current = replicas_min

    def __repr__(self) -> str:
        return f"SquareRootStaffing(beta={self.beta:g})"

    def observe(self, observation: Observation) -> None:
        """Take the rates as they are; one that says nothing leaves the last one in force."""
        if usable(observation.arrival_rate):
            self._rate = observation.arrival_rate
        if 0.0 < observation.service_rate < math.inf:
            self._service_rate = observation.service_rate
        self._current = observation.replicas + observation.pending

    def decide(self) -> Decision:
        """Load plus margin."""
        if self._rate is None or self._service_rate is None:
            return Decision(self.limits.within(self._current), "Nothing to go by yet, so as it is.")
        load = min(self._rate / self._service_rate, float(self.limits.replicas_max))
        replicas = self.limits.within(theory.servers_by_square_root(load, self.beta))
        return Decision(replicas, f"A load of {load:.4g} erlang and {self.beta:g} times its square root.")
