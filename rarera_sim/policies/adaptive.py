"""The policy that weighs what a replica costs against what a late event costs, and holds itself to its promises."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim import theory
from rarera_sim.learning.rates import FanForecaster
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Staffing, Surroundings, believed, learn_service, positive, usable
from rarera_sim.policies.tuning import Range, Tunable

# The distribution of the coming peak: quantiles, and the mass around each, parted in the middle between them. Unlike
# residuals around one forecast they know when a burst is due: on hourly bursts that halves the cost.
_LEVELS = (0.5, 0.8, 0.95, 0.99)
_WEIGHTS = (0.65, 0.225, 0.095, 0.03)


class PriceAware:
    """The cheapest number of replicas, late events priced, that also keeps the objective as expected.

        cost(c) = price_per_hour * c + late_price * 3600 * lambda * late(c)
        late(c) = e^doubt * sum_k w_k lambda_k late_k(c) / sum_k w_k lambda_k
        late_k(c) = P(response > bound | lambda_k, mu, c) W(H) / W(infinity)   (M/M/c) while c replicas bear lambda_k
                  = W(H)   where they do not
        W(t) = P(wait > bound - 1 / mu) after t seconds of lambda_k (reflected Brownian motion), H = start_up + period
        lambda_k = forecast quantile k of the peak rate + backlog / catch_up
        doubt <- doubt + gain * (late share seen - late share promised) * rate / mean rate

    c is the smallest with late(c) <= 1 - quantile, and then as many more as save more late events than they cost. The
    price is the one observed at the moment. The forecast reaches until the next decision can take effect. Late for
    the service alone, which no replica can help, is left out of the choice, not of the promise. A peak that ends
    before anybody has waited too long needs no replicas: the steady state, which never ends, would buy them.

    Doubt is the policy's own error fed back: the factor by which it has learned to mistrust its formula, and so the
    price of lateness. Promised is late(c), but never more than the objective allows. Neither error nor doubt is
    clipped: over T periods, weighted by rate, the late share seen exceeds the one promised by exactly
    (doubt_T - doubt_0) / (gain * T) on average, so while doubt stays finite the promise is kept in the long run. An
    error clipped at 0.05 would let a rare bad hour go unanswered. As the tail falls exponentially with c, replicas
    grow only like doubt, not like e^doubt: a crash that made everything late does not double the fleet for a day.

    Parameters
    ----------
    surroundings
        The objective, the clock and the limits; see `Surroundings`.
    late_price
        What one late event costs, in the currency of the observed price, >= 0.
    gain
        Step of doubt per period that is wholly late, > 0.
    catch_up
        Time in which a backlog shall be gone, s, > 0.

    Examples
    --------
    >>> seen = Observation(arrival_rate=100.0, service_rate=10.0, backlog=0, replicas=12, price_per_hour=0.10)
    >>> for late_price in (0.0, 0.0001, 0.001):
    ...     policy = PriceAware(Surroundings(bound=0.5, quantile=0.95), late_price=late_price)
    ...     policy.observe(seen)
    ...     print(policy.decide().replicas)
    11
    12
    14

    References
    ----------
    Angelopoulos, Candès, Tibshirani (2023), Conformal PID control for time series prediction, NeurIPS 36, for the
    feedback.
    Gross, Shortle, Thompson, Harris (2008), Fundamentals of Queueing Theory, 4th ed., section 2.3, for the tail.
    Harrison (1985), Brownian Motion and Stochastic Flow Systems, section 1.8, for how long an overload is borne.
    """

    TUNABLE: ClassVar[Tunable] = {
        "late_price": Range(1e-6, 0.1, "log"),
        "gain": Range(0.02, 5.0, "log"),
        "catch_up": Range(5.0, 600.0, "log"),
    }

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        late_price: float = 0.0001,
        gain: float = 0.5,
        catch_up: float = 60.0,
    ) -> None:
        if not 0.0 <= late_price < math.inf:
            raise ValueError(f"late_price must be >= 0, got {late_price!r}")
        positive(gain=gain)
        self.surroundings = surroundings
        self.late_price = late_price
        self.gain = gain
        self.doubt = 0.0
        self.staffing = Staffing(surroundings.bound, surroundings.quantile, catch_up, surroundings.limits)
        self.forecaster = FanForecaster(
            _LEVELS, period=surroundings.period, horizon=surroundings.horizon, day=surroundings.day
        )
        self._service = believed(surroundings.service_rate)
        self._observation: Observation | None = None
        self._known = False
        self._rate_mean = 0.0
        self._periods = 0
        self._promised: float | None = None
        self._price = 1.0
        self._decision: Decision | None = None

    def __repr__(self) -> str:
        return f"PriceAware(late_price={self.late_price:g}, {self.surroundings}, gain={self.gain:g})"

    def observe(self, observation: Observation) -> None:
        """Learn the rates; and, of a period that this policy has decided for, whether it kept its promise."""
        self.forecaster.learn(observation.arrival_rate, observation.time)
        learn_service(self._service, observation, self.surroundings.period)
        if usable(observation.price_per_hour):
            self._price = observation.price_per_hour
        if usable(observation.arrival_rate):
            self._known = True
            self._compare(observation)
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """The cheapest number, and what it was weighed against."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _compare(self, observation: Observation) -> None:
        """Feed the difference between what was promised and what is seen back into doubt."""
        self._periods += 1
        # With the weight of the newest period at least 0.01, rate / mean rate cannot exceed 100.
        weight = max(0.01, 1.0 / self._periods)
        self._rate_mean += weight * (observation.arrival_rate - self._rate_mean)
        seen = observation.late_share
        if self._promised is None or seen is None or not 0.0 <= seen <= 1.0 or self._rate_mean <= 0.0:
            return
        self.doubt += self.gain * (seen - self._promised) * observation.arrival_rate / self._rate_mean

    def _decide(self) -> Decision:
        observation, service_rate = self._observation, self._service.rate
        limits = self.staffing.limits
        if observation is None:
            return Decision(limits.replicas_min, "Nothing observed yet.")
        if service_rate is None or not self._known:
            current = observation.replicas + observation.pending
            return Decision(limits.within(current), "Nothing to go by yet, so as it is.")
        rates = self._rates(observation.backlog)
        factor = math.exp(min(self.doubt, 600.0))
        avoidable = _Avoidable(rates, service_rate, self.staffing.bound, self.surroundings.horizon, factor)
        inevitable = self.staffing.late_inevitable(service_rate)
        allowed = 1.0 - self.staffing.quantile
        needed = self._needed(avoidable, max(allowed / 2.0, allowed - inevitable))
        replicas = self._worthwhile(avoidable, needed)
        late = min(1.0, inevitable + avoidable.late(replicas))
        self._promised = min(late, allowed)
        expected = f"{replicas} at {self._price:.3g}/h for about {avoidable.rate:.4g}/s leave {late:.2%} late"
        if replicas <= limits.replicas_min:
            return Decision(replicas, f"{expected}; there may not be fewer.")
        fewer = min(1.0, inevitable + avoidable.late(replicas - 1))
        why = "too many for the objective" if replicas <= needed else "dearer than the replica"
        return Decision(replicas, f"{expected}; one fewer leaves {fewer:.2%}, {why} (doubt {self.doubt:+.2f}).")

    def _rates(self, backlog: float) -> list[float]:
        return [self.staffing.demand(rate, backlog) for rate in self.forecaster.forecasts()]

    def _needed(self, avoidable: _Avoidable, allowed: float) -> int:
        """The fewest replicas that leave no more late than allowed: late(c) falls in c, so double, then halve."""
        limits = self.staffing.limits
        low = limits.within(math.floor(min(avoidable.busy, 1e9)))
        high = low
        while high < limits.replicas_max and avoidable.late(high) > allowed:
            low, high = high + 1, limits.within(high + max(1, 2 * (high - low + 1)))
        while low < high:
            middle = (low + high) // 2
            if avoidable.late(middle) <= allowed:
                high = middle
            else:
                low = middle + 1
        return low

    def _worthwhile(self, avoidable: _Avoidable, replicas: int) -> int:
        """As many more as save more late events than they cost."""
        worth = self.late_price * 3600.0 * avoidable.rate
        late = avoidable.late(replicas)
        while replicas < self.staffing.limits.replicas_max and worth * late > self._price:
            saved, late = late, avoidable.late(replicas + 1)
            if worth * (saved - late) <= self._price:
                break
            replicas += 1
        return replicas


class _Avoidable:
    """Expected share of late events that more replicas could save, by their number; each computed once."""

    def __init__(self, rates: list[float], service_rate: float, bound: float, horizon: float, factor: float) -> None:
        self._shares = [(rate, weight * rate) for rate, weight in zip(rates, _WEIGHTS, strict=True)]
        self._service_rate = service_rate
        self._bound = bound
        self._slack = max(0.0, bound - 1.0 / service_rate)
        self._horizon = horizon
        self._factor = factor
        self._inevitable = math.exp(-service_rate * bound)
        self._known: dict[int, float] = {}
        self.rate = sum(share for _, share in self._shares)
        self.busy = rates[0] / service_rate

    def late(self, replicas: int) -> float:
        known = self._known.get(replicas)
        if known is None:
            known = self._known[replicas] = self._factor * self._late(replicas)
        return known

    def _late(self, replicas: int) -> float:
        if self.rate <= 0.0:
            return 0.0
        late = 0.0
        for rate, share in self._shares:
            late += share * self._late_at(rate, replicas)
        return max(0.0, late / self.rate)

    def _late_at(self, rate: float, replicas: int) -> float:
        # P(wait > slack) is at most exp(-(c mu - lambda) slack): below 1e-17 there is nothing to add up.
        if (replicas * self._service_rate - rate) * self._slack > 40.0:
            return 0.0
        soon = theory.wait_tail_transient(rate, self._service_rate, replicas, self._slack, self._horizon)
        if rate >= replicas * self._service_rate:
            return soon
        steady = theory.response_tail(rate, self._service_rate, replicas, self._bound) - self._inevitable
        for_ever = theory.wait_tail_transient(rate, self._service_rate, replicas, self._slack, math.inf)
        return steady * soon / for_ever if for_ever > 0.0 else steady
