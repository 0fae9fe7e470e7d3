"""Model-predictive control: play the next minutes through for every number of replicas, and take the cheapest."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim import theory
from rarera_sim.learning.rates import FanForecaster
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Limits, Staffing, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable

# Scenarios: quantiles of the coming peak, and the mass around each, parted in the middle between them.
_LEVELS = (0.5, 0.9, 0.99)
_WEIGHTS = (0.7, 0.245, 0.055)


class Mpc:
    """The number that costs least over the horizon, were it held, in a fluid model of the backlog.

        for each scenario of arrivals:  q(k+1) = max(0, q(k) + (lambda(k) - mu n(k)) period)
        late(k) = lambda(k) period, where an arrival would wait q(k) / (mu n(k)) > bound - 1 / mu
                = lambda(k) period P(response > bound)   (M/M/c) where nothing waits and mu n(k) > lambda(k)
        cost(c) = sum over k of price * c * period + late_price * E[late(k)]

    n(k) is what there will be of replicas: those asked for come in evenly over the start-up, more than those after it,
    fewer at once. lambda(k) goes from the rate of now to a quantile of the coming peak by the end of the start-up, and
    stays. The horizon is a start-up, a period and the `look_ahead`. At its end, what waits costs as if it were late.
    Of the plan only the first step is taken; the next period plans anew.

    Cost is not convex in c: where everything is late anyway, one replica more saves nobody. So it is looked up at the
    numbers that scenarios and backlog suggest, and followed down from the least of them.

    Parameters
    ----------
    surroundings
        The objective, the clock and the limits; see `Surroundings`.
    late_price
        What one late event costs, in the currency of the observed price, >= 0: the price of the objective.
    look_ahead
        Seconds after the start-up in which the decision is judged, >= 0; None: a start-up, or a
        period where that is longer.

    Examples
    --------
    >>> for backlog in (0, 3000):
    ...     policy = Mpc(Surroundings(bound=2.0), late_price=0.001)
    ...     policy.observe(Observation(100.0, 10.0, backlog, replicas=12, price_per_hour=0.1))
    ...     print(policy.decide().replicas)
    11
    90

    References
    ----------
    Camacho, Bordons (2007), Model Predictive Control, 2nd ed., chapter 2, for the receding horizon.
    Lin, Wierman, Andrew, Thereska (2013), Dynamic right-sizing for power-proportional data centers, IEEE/ACM
    Transactions on Networking 21(5), 1378-1391, for the costs.
    """

    TUNABLE: ClassVar[Tunable] = {
        "late_price": Range(1e-6, 0.1, "log"),
        "look_ahead": Range(15.0, 600.0, "log"),
    }

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        late_price: float = 0.0001,
        look_ahead: float | None = None,
    ) -> None:
        if not 0.0 <= late_price < math.inf:
            raise ValueError(f"late_price must be >= 0, got {late_price!r}")
        look_ahead = max(surroundings.period, surroundings.start_up) if look_ahead is None else look_ahead
        if not 0.0 <= look_ahead < math.inf:
            raise ValueError(f"look_ahead must be >= 0 s, got {look_ahead!r}")
        self.surroundings = surroundings
        self.late_price = late_price
        self.look_ahead = look_ahead
        self.staffing = Staffing(surroundings.bound, surroundings.quantile, limits=surroundings.limits)
        self.forecaster = FanForecaster(
            _LEVELS, period=surroundings.period, horizon=surroundings.horizon, day=surroundings.day
        )
        # A longer step than a period saves work, and the fluid does not notice.
        self._rise = min(8, math.ceil(surroundings.start_up / surroundings.period - 1e-9))
        self._hold = max(1, min(8, math.ceil(look_ahead / surroundings.period - 1e-9)))
        self._service = believed(surroundings.service_rate)
        self._observation: Observation | None = None
        self._rate: float | None = None
        self._price = 1.0
        self._last: int | None = None
        self._decision: Decision | None = None

    def __repr__(self) -> str:
        return f"Mpc(late_price={self.late_price:g}, {self.surroundings}, look_ahead={self.look_ahead:g})"

    def observe(self, observation: Observation) -> None:
        """Learn rates and service; the same in history and in the run."""
        self.forecaster.learn(observation.arrival_rate, observation.time)
        learn_service(self._service, observation, self.surroundings.period)
        if usable(observation.arrival_rate):
            self._rate = observation.arrival_rate
        if usable(observation.price_per_hour):
            self._price = observation.price_per_hour
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """The first step of the cheapest plan."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _decide(self) -> Decision:
        observation, service_rate, now = self._observation, self._service.rate, self._rate
        limits = self.surroundings.limits
        if observation is None:
            return Decision(limits.replicas_min, "Nothing observed yet.")
        if service_rate is None or now is None:
            current = observation.replicas + observation.pending
            return Decision(limits.within(current), "Nothing to go by yet, so as it is.")
        now = min(now, limits.replicas_max * service_rate * 10.0)
        peaks = [min(peak, 10.0 * now + 1e6) for peak in self.forecaster.forecasts()]
        plan = _Plan(self, observation, service_rate, now, peaks)
        low = plan.cheapest(self._last, limits)
        self._last = low
        waiting = f" with {observation.backlog} waiting" if observation.backlog > 0 else ""
        return Decision(
            low,
            f"From {now:.4g}/s{waiting} to {peaks[0]:.4g}/s, at most {peaks[-1]:.4g}/s: "
            f"{low} cost least, with {plan.late(low):.3g} late to be expected.",
        )


class _Plan:
    """What each number of replicas would cost; each is played through once."""

    def __init__(self, policy: Mpc, observation: Observation, service_rate: float, now: float, peaks: list[float]):
        surroundings = policy.surroundings
        self._mu = service_rate
        self._bound = surroundings.bound
        self._slack = max(0.0, surroundings.bound - 1.0 / service_rate)
        self._inevitable = policy.staffing.late_inevitable(service_rate)
        self._backlog = float(max(0, observation.backlog))
        self._ready = max(0, observation.replicas)
        self._pending = max(0, observation.pending)
        self._rise = policy._rise
        self._rise_step = surroundings.start_up / max(1, policy._rise)
        self._hold = policy._hold
        self._hold_step = max(surroundings.period, policy.look_ahead) / policy._hold
        self._late_price = policy.late_price
        self._price = policy._price / 3600.0
        self._now = now
        self._peaks = peaks
        self._late: dict[int, float] = {}

    def cost(self, replicas: int) -> float:
        return self._price * replicas * self._hold * self._hold_step + self._late_price * self.late(replicas)

    def cheapest(self, last: int | None, limits: Limits) -> int:
        """The number with the least cost among those that the scenarios, the backlog and the last answer suggest, and
        then down the slope from there.

        A search by halving alone would go wrong: where everything is late anyway, some more replicas save nobody.
        """
        loads = [self._now, *self._peaks]
        if self._backlog > 0.0:
            highest, hold = self._peaks[-1], self._hold * self._hold_step
            loads += [highest + self._backlog / time for time in (hold, hold / 4.0, max(1.0, self._slack))]
        suggested = {limits.replicas_min, last or 1, self._ready}
        for load in loads:
            servers = load / self._mu
            suggested.update((math.ceil(servers) + 1, math.ceil(servers + 2.0 * math.sqrt(servers))))
        best = min({limits.within(each) for each in suggested}, key=lambda each: (self.cost(each), each))
        for way in (1, -1):
            step = 1
            while step > 0:
                there = limits.within(best + way * step)
                if there != best and self.cost(there) < self.cost(best):
                    best, step = there, 2 * step
                else:
                    step //= 2
        return best

    def late(self, replicas: int) -> float:
        known = self._late.get(replicas)
        if known is None:
            known = sum(
                weight * self._late_in(peak, replicas) for weight, peak in zip(_WEIGHTS, self._peaks, strict=True)
            )
            self._late[replicas] = known
        return known

    def _late_in(self, peak: float, replicas: int) -> float:
        mu, queue, late = self._mu, self._backlog, 0.0
        there, coming, rise = min(replicas, self._ready), self._pending, self._rise
        if queue <= 0.0 and max(self._now, peak) < mu * there:
            return self._steady(peak, replicas)
        step = self._rise_step
        for k in range(rise):
            share = (k + 0.5) / rise
            rate = self._now + share * (peak - self._now)
            capacity = mu * min(replicas, there + share * coming)
            late += self._late_of(rate, capacity, queue, step)
            queue = max(0.0, queue + (rate - capacity) * step)
        capacity, step = mu * replicas, self._hold_step
        for _ in range(self._hold):
            late += self._late_of(peak, capacity, queue, step)
            queue = max(0.0, queue + (peak - capacity) * step)
        return late + queue + self._steady(peak, replicas)

    def _steady(self, rate: float, replicas: int) -> float:
        """Late for chance alone, while the replicas can bear the rate."""
        spare = self._mu * replicas - rate
        # P(wait > slack) is at most exp(-spare * slack): below 1e-17 there is nothing to add up.
        if spare <= 0.0 or spare * self._slack > 40.0:
            return 0.0
        share = theory.response_tail(rate, self._mu, replicas, self._bound) - self._inevitable
        return max(0.0, share) * rate * self._hold * self._hold_step

    def _late_of(self, rate: float, capacity: float, queue: float, step: float) -> float:
        """Arrivals of a step that find more waiting than is worked off within the bound; the queue changes linearly."""
        most = capacity * self._slack
        end = queue + (rate - capacity) * step
        if queue <= most and end <= most:
            return 0.0
        if queue > most and end > most:
            return rate * step
        return rate * step * (max(queue, end) - most) / abs(end - queue)
