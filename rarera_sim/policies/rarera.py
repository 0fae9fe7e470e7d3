"""Ours: the cheapest capacity for a forecast distribution, at a price of lateness that its own error sets."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.learning.calibration import PRICES, Budget, Rehearsal, capacities
from rarera_sim.learning.peaks import PeakForecaster
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable


class Rarera:
    """Capacity as a newsvendor's order.

        c* = argmin_c   c + price * E[required; required > c]

    What is `required` until the next decision can take effect is a distribution, learned from what like situations
    needed (`PeakForecaster`). The `price` of lateness is the one at which a rehearsal on the same arrivals would have
    kept the objective (`Rehearsal`), times a factor that grows with what was overdrawn in truth (`Budget`). Capacity is
    given back only where it would not be asked for at `patience` times that price either, so that noise starts nothing.

    Parameters
    ----------
    surroundings
        The objective, the clock and the limits; see `Surroundings`.
    budget_share
        Share of the lateness allowed by the objective that is aimed at, in (0, 1].
    patience
        Times the price at which capacity is still kept, >= 1.
    catch_up
        Time in which a backlog shall be gone, s, > 0.
    gain
        Of the price on the account; see `Budget`.
    """

    TUNABLE: ClassVar[Tunable] = {"budget_share": Range(0.1, 1.0), "patience": Range(1.0, 10.0, "log")}

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        budget_share: float = 0.75,
        patience: float = 3.0,
        catch_up: float = 60.0,
        gain: float = 1.0,
        rehearse: bool = True,
        memory: float = 1.0,
        trust: float = 0.5,
    ) -> None:
        self.surroundings = surroundings
        self.share = budget_share * (1.0 - surroundings.quantile)
        self.patience = patience
        self.catch_up = catch_up
        self.rehearse = rehearse
        self.trust = trust
        self.price = 0.0
        self.budget = Budget(self.share, gain)
        self._service = believed(surroundings.service_rate)
        slack = max(0.0, surroundings.bound - 2.0 / (surroundings.service_rate or math.inf))
        self.forecaster = PeakForecaster(
            period=surroundings.period, horizon=surroundings.horizon, slack=slack, day=surroundings.day
        )
        self.rehearsal = Rehearsal(
            period=surroundings.period, start_up=surroundings.start_up, slack=slack, memory=memory * surroundings.day
        )
        self._rate_mean = 0.0
        self._periods = 0
        self._observation: Observation | None = None
        self._forecast = None

    def __repr__(self) -> str:
        return f"Rarera({self.surroundings}, budget_share={self.share / (1.0 - self.surroundings.quantile):g})"

    def observe(self, observation: Observation) -> None:
        self._observation = observation
        learn_service(self._service, observation, self.surroundings.period)
        rate = observation.arrival_rate
        if not usable(rate):
            return
        self._periods += 1
        day = self.surroundings.day
        self._rate_mean += (rate - self._rate_mean) / min(self._periods, max(1.0, day / self.surroundings.period))
        if observation.finished:
            self.budget.book(observation.finished, observation.late, self._rate_mean * day)
        self.forecaster.learn(rate, observation.time)
        self._forecast = self.forecaster.forecast()
        if self.rehearse:
            self.rehearsal.hear(rate)
            if observation.finished and self.price:
                self.rehearsal.compare(observation.late, self.price, self.trust * self.share * self._rate_mean * day)
            self.rehearsal.ask(capacities(self._forecast, PRICES))

    def decide(self) -> Decision:
        observation, service_rate, limits = self._observation, self._service.rate, self.surroundings.limits
        if observation is None:
            return Decision(limits.replicas_min, "Nothing observed yet.")
        current = observation.replicas + observation.pending
        if service_rate is None or self._forecast is None:
            return Decision(limits.within(current), "Nothing to go by yet, so as it is.")
        price = (self.rehearsal.price(self.share) if self.rehearse else self.fixed) * self.budget.factor
        import numpy as np

        low, high = capacities(self._forecast, np.array((price, self.patience * price)))
        backlog = observation.backlog / self.catch_up
        low, high = (limits.within(math.ceil((each + backlog) / service_rate)) for each in (low, high))
        replicas = min(max(current, low), high)
        self.price = price
        return Decision(replicas, f"price {price:.3g}")
