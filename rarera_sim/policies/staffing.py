"""From load to replicas, by Erlang C: what the policies that reckon with queues share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rarera_sim import theory
from rarera_sim.learning.services import ServiceEstimate
from rarera_sim.policies.base import Observation


@dataclass(frozen=True)
class Limits:
    """The fewest and the most replicas there may be, both inclusive.

    Examples
    --------
    >>> Limits(replicas_min=2, replicas_max=10).within(math.inf)
    10
    """

    replicas_min: int = 1
    replicas_max: int = 1000

    def __post_init__(self) -> None:
        for name, value in (("replicas_min", self.replicas_min), ("replicas_max", self.replicas_max)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not 1 <= self.replicas_min <= self.replicas_max:
            raise ValueError(
                f"replicas_min must be >= 1 and <= replicas_max, got {self.replicas_min!r}, {self.replicas_max!r}"
            )

    def within(self, replicas: float) -> int:
        """The nearest allowed number."""
        return int(max(self.replicas_min, min(self.replicas_max, replicas)))


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a policy is given and does not choose: the objective, the clock, how soon and how many replicas may be had.

    Parameters
    ----------
    bound, quantile
        The objective: this share of the responses, in (0, 1), within this many seconds, > 0.
    period
        Control period, s, > 0.
    start_up
        From asking for a replica to its being ready, s, >= 0.
    day
        Length of a day, s, > 0.
    service_rate
        What one replica is believed to finish per second, until it is observed; None for no belief.
    replicas_min, replicas_max
        Limits of the answer, both inclusive.

    Examples
    --------
    >>> Surroundings(start_up=45.0).horizon
    60.0
    """

    bound: float = 1.0
    quantile: float = 0.99
    period: float = 15.0
    start_up: float = 60.0
    day: float = 86_400.0
    service_rate: float | None = None
    replicas_min: int = 1
    replicas_max: int = 1000

    def __post_init__(self) -> None:
        for name, value in (("bound", self.bound), ("period", self.period), ("day", self.day)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0 s, got {value!r}")
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile must be > 0 and < 1, got {self.quantile!r}")
        if not 0.0 <= self.start_up < math.inf:
            raise ValueError(f"start_up must be >= 0 s, got {self.start_up!r}")
        if self.service_rate is not None:
            positive(service_rate=self.service_rate)
        self.limits  # noqa: B018 refuses bad limits now rather than at the first decision

    @property
    def limits(self) -> Limits:
        """The fewest and the most replicas."""
        return Limits(self.replicas_min, self.replicas_max)

    @property
    def horizon(self) -> float:
        """How far ahead a decision of now has to see, s: the next one takes effect a period and a start-up later."""
        return self.start_up + self.period

    def __str__(self) -> str:
        return f"bound={self.bound:g}, quantile={self.quantile:g}"


USUAL = Surroundings()


@dataclass(frozen=True)
class Staffing:
    """Erlang-C staffing for a stated objective, with what is waiting already worked off in a stated time.

        smallest c with P(response > bound) <= 1 - quantile   at lambda' = lambda + backlog / catch_up   (M/M/c)

    Where one service alone takes longer than the bound too often, no number of replicas keeps it; then the smallest c
    with P(wait > 0) <= 1 - quantile, as waiting is all that replicas can save.

    Parameters
    ----------
    bound
        Response not to be exceeded, s, > 0.
    quantile
        Share of the events that shall keep the bound, in (0, 1).
    catch_up
        Time in which a backlog shall be gone, s, > 0.
    limits
        What the answer is clipped to.

    Examples
    --------
    >>> staffing = Staffing(bound=0.5, quantile=0.99)
    >>> staffing.replicas(arrival_rate=100.0, service_rate=10.0)
    12
    >>> staffing.replicas(arrival_rate=100.0, service_rate=10.0, backlog=600)
    13
    """

    bound: float = 1.0
    quantile: float = 0.99
    catch_up: float = 60.0
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        for name, value in (("bound", self.bound), ("catch_up", self.catch_up)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0 s, got {value!r}")
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile must be > 0 and < 1, got {self.quantile!r}")

    def replicas(self, arrival_rate: float, service_rate: float, backlog: float = 0.0) -> int:
        """Replicas that keep the objective at these rates, 1/s, or the nearest that the limits allow."""
        rate = self.demand(arrival_rate, backlog)
        servers_max = self.limits.replicas_max
        if rate >= servers_max * service_rate:
            return servers_max
        needed = theory.servers_for_response(rate, service_rate, self.bound, self.quantile, servers_max)
        if needed is None and self.late_inevitable(service_rate) > 1.0 - self.quantile:
            needed = self._without_wait(rate / service_rate)
        return self.limits.within(servers_max if needed is None else needed)

    def demand(self, arrival_rate: float, backlog: float) -> float:
        """lambda', what has to be finished per second, 1/s."""
        return arrival_rate + max(0.0, backlog) / self.catch_up

    def late_inevitable(self, service_rate: float) -> float:
        """Share of the events whose service alone exceeds the bound (exponential service)."""
        return math.exp(-service_rate * self.bound)

    def _without_wait(self, load: float) -> int:
        replicas = math.floor(load) + 1
        while replicas < self.limits.replicas_max and theory.erlang_c(replicas, load) > 1.0 - self.quantile:
            replicas += 1
        return replicas


def usable(rate: float) -> bool:
    """A rate that can be reckoned with: finite and not negative. A broken sensor's NaN is not."""
    return 0.0 <= rate < math.inf


def believed(service_rate: float | None, alarm: float | None = None) -> ServiceEstimate:
    """What is known of the service before the first observation: a rate, 1/s, or nothing.

    The textbook's policies take the mean as it is: where they look for a change of it (`alarm`), on the Azure LLM
    conversations, they cost a quarter more at equal violations.
    """
    if service_rate is None:
        return ServiceEstimate(alarm=alarm)
    positive(service_rate=service_rate)
    return ServiceEstimate(prior=1.0 / service_rate, alarm=alarm)


def learn_service(service: ServiceEstimate, observation: Observation, period: float, rate: float | None = None) -> None:
    """Teach `service` what the replicas did in the period: busy time times rate is how many services it was.

    `rate` is taken for the service rate, 1/s, where they are of several speeds.
    """
    rate = observation.service_rate if rate is None else rate
    if not (0.0 < rate < math.inf and 0.0 < observation.service_rate < math.inf):
        return
    services = observation.utilisation * observation.replicas * period * observation.service_rate
    services = services if 1.0 <= services < math.inf else 1.0
    service.learn_one(1.0 / rate, services, observation.service_scv, span=period)


def positive(**values: float) -> None:
    """Refuse what is not finite and > 0: `positive(period=period)`."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value!r}")
