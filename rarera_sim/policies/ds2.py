"""DS2: one look at the true processing rate is enough to know how many instances a stream needs."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable
from rarera_sim.policies.windows import MeanWindow


class Ds2:
    """Arrival rate over true processing rate.

        replicas = ceil(margin * rate / true rate of one instance)

    The true rate is that of an instance that never waits: events over the time spent on them. Both are means over the
    `window`. It provides for throughput and for nothing else: with a margin of 1, as published, replicas may be busy
    all the time, and what waits is left out.

    Parameters
    ----------
    margin
        What the rate is multiplied by, > 0; 1 in the publication.
    window
        Seconds over which the rates are averaged, > 0.
    service_rate
        What one replica is believed to finish per second, until it is observed; None for no belief.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Ds2()
    >>> policy.observe(Observation(arrival_rate=101.0, service_rate=10.0, backlog=500, replicas=4))
    >>> policy.decide().reason
    '101/s over 10/s of one need 11.'

    References
    ----------
    Kalavri, Liagouris, Hoffmann, Dimitrova, Forshaw, Roscoe (2018), Three steps is all you need: fast, accurate,
    automatic scaling decisions for distributed streaming dataflows, OSDI, 783-798, equations 5 to 7.
    """

    TUNABLE: ClassVar[Tunable] = {"margin": Range(1.0, 5.0, "log"), "window": Range(15.0, 1800.0, "log")}

    def __init__(
        self,
        *,
        margin: float = 1.0,
        window: float = 60.0,
        service_rate: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        positive(margin=margin, window=window)
        if service_rate is not None:
            positive(service_rate=service_rate)
        self.margin = margin
        self.limits = Limits(replicas_min, replicas_max)
        self._belief = service_rate
        self._rates = MeanWindow(window)
        self._service_rates = MeanWindow(window)
        self._current = replicas_min

    def __repr__(self) -> str:
        return f"Ds2(margin={self.margin:g}, window={self._rates.length:g})"

    def observe(self, observation: Observation) -> None:
        """Take both rates; one that says nothing leaves what was known in force."""
        if usable(observation.arrival_rate):
            self._rates.add(observation.time, observation.arrival_rate)
        if 0.0 < observation.service_rate < math.inf:
            self._service_rates.add(observation.time, observation.service_rate)
        self._current = observation.replicas + observation.pending

    def decide(self) -> Decision:
        """Rate over rate."""
        rate, service_rate = self._rates.mean, self._service_rates.mean or self._belief
        if rate is None or service_rate is None:
            return Decision(self.limits.within(self._current), "Nothing to go by yet, so as it is.")
        needed = min(self.margin * rate / service_rate, 1e9)
        # A mean of tenths may be a rounding above a whole number.
        replicas = self.limits.within(math.ceil(needed - 1e-9))
        margin = "" if self.margin == 1.0 else f"{self.margin:g} times "
        return Decision(replicas, f"{margin}{rate:.4g}/s over {service_rate:.4g}/s of one need {replicas}.")
