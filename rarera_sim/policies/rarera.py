"""Ours: the cheapest capacity for a forecast distribution, at a price of lateness that its own error sets."""

from __future__ import annotations

import json
import math
from typing import ClassVar

from rarera_sim.core.errors import BadInput
from rarera_sim.learning.calibration import CATCH_UP, Budget, Rehearsal, capacities
from rarera_sim.learning.peaks import Forecast, PeakForecaster
from rarera_sim.learning.states import from_state, to_state
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Staffing, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable

_LATE_CATCH_UP = 600.0  # time in which what is late already shall be gone, s: 60 cost the same, 600 starts less
_BELIEVED_PRICE = 20.0  # where nothing is rehearsed
# Least price times late share with late ones last: there most of the lateness comes in bursts that no price prevents,
# and without a floor a history of few bursts made lateness cheap (1.7 instead of 10 on one trace: 1.2 % were late).
_LEAST_PRICE = 0.08
_SMALL = 50.0  # busy replicas up to which the chance of single services matters beside the chance of the load
_RATE_STEP = 1.03  # from rate to rate for which Erlang's formula is worked out


class Rarera:
    """Capacity as a newsvendor's order.

        c* = argmin_c   c + price * E[required; required > c]        events served in order of arrival
        c* = argmin_c   c + price * E[(required - c)+]               those already late served last

    What is `required` until the next decision can take effect is a distribution, learned from what like situations
    needed (`PeakForecaster`). The `price` of lateness is the one at which a rehearsal on the same arrivals would have
    kept the objective (`Rehearsal`), times a factor that grows with what was overdrawn in truth (`Budget`). Capacity is
    given back only where it would not be asked for at `patience` times that price either, so that noise starts nothing.
    Small systems have at least what Erlang C wants for the rate of the last minute. Where a driver lets it choose, it
    has those served last who are late already: with one capacity fewer are late.

    Parameters
    ----------
    surroundings
        The objective, the clock and the limits; see `Surroundings`.
    budget_share
        Share of the lateness allowed by the objective that is aimed at, in (0, 1].
    patience
        Times the price at which capacity is still kept, >= 1; 1 gives everything back at once.
    gain
        Of the price on the account, >= 0; see `Budget`. 0 leaves out what really was late.
    calendar
        Whether forecasts know the time of day.
    rehearse
        Whether the price is rehearsed; otherwise it is 20 times the account's factor.
    late_last
        Whether late events may be put last.

    Examples
    --------
    >>> policy = Rarera(Surroundings(bound=2.0, service_rate=5.0))
    >>> for period in range(120):
    ...     rate = 500.0 + 10.0 * (period % 3)
    ...     policy.observe(Observation(rate, 5.0, backlog=0, replicas=110, time=15.0 * period))
    >>> policy.decide().replicas
    110
    >>> print(policy.decide().reason)  # doctest: +NORMALIZE_WHITESPACE
    Up to 545/s may be needed within 75 s for 512/s now; a late event is priced at 18.6, 0 % late so far of 1 %
    allowed: 110.

    References
    ----------
    Arrow, Harris, Marschak (1951), Optimal inventory policy, Econometrica 19(3), 250-272.
    """

    TUNABLE: ClassVar[Tunable] = {"budget_share": Range(0.1, 1.0), "patience": Range(1.0, 10.0, "log")}

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        budget_share: float = 0.8,
        patience: float = 3.0,
        gain: float = 0.3,
        calendar: bool = True,
        rehearse: bool = True,
        late_last: bool = True,
    ) -> None:
        if not 0.0 < budget_share <= 1.0:
            raise ValueError(f"budget_share must be > 0 and <= 1, got {budget_share!r}")
        if not 1.0 <= patience < math.inf:
            raise ValueError(f"patience must be >= 1, got {patience!r}")
        self.surroundings = surroundings
        self.budget_share = budget_share
        self.patience = patience
        self.rehearse = rehearse
        self.late_last = late_last
        self.share = budget_share * (1.0 - surroundings.quantile)
        self.budget = Budget(self.share, gain)
        self.service = believed(surroundings.service_rate)
        period, day = surroundings.period, surroundings.day
        slack = max(0.0, surroundings.bound - 2.0 / (surroundings.service_rate or math.inf))
        self.forecaster = PeakForecaster(
            period=period, horizon=surroundings.horizon, slack=slack, day=day, calendar=calendar
        )
        # Until the driver says in which order it serves, one for each.
        self.rehearsals = {
            last: Rehearsal(
                period=period, start_up=surroundings.start_up, slack=slack, day=day, patience=patience, late_last=last
            )
            for last in (False, True)[: 1 + late_last]
        }
        self._staffing = Staffing(
            bound=surroundings.bound,
            quantile=surroundings.quantile,
            catch_up=CATCH_UP,
            limits=surroundings.limits,
        )
        self._floors: dict[tuple[int, int], int] = {}
        self._daily_rate = self._minute_rate = 0.0  # smoothed, 1/s
        self._periods = 0
        self._price: float | None = None  # that was paid in the period under way
        self._late_waiting = 0
        self._observation: Observation | None = None
        self._forecast: Forecast | None = None

    def __repr__(self) -> str:
        return f"Rarera({self.surroundings}, budget_share={self.budget_share:g}, patience={self.patience:g})"

    def observe(self, observation: Observation) -> None:
        self._observation = observation
        learn_service(self.service, observation, self.surroundings.period)
        rate, period, day = observation.arrival_rate, self.surroundings.period, self.surroundings.day
        if not usable(rate):
            return
        self._periods += 1
        self._daily_rate += (rate - self._daily_rate) / min(self._periods, max(1.0, day / period))
        self._minute_rate += (rate - self._minute_rate) / min(self._periods, max(1.0, 60.0 / period))
        self.forecaster.learn(rate, observation.time)
        self._forecast = self.forecaster.forecast()
        last = self._late_last(observation)
        for rehearsed, rehearsal in self.rehearsals.items():
            if observation.discipline is None or rehearsed == last:
                rehearsal.hear(rate)
                rehearsal.ask(self._forecast)
        self._book(observation, last)

    def _book(self, observation: Observation, last: bool) -> None:
        """Put down what was late. A past that others decided on says nothing about us."""
        if self._price is not None:
            # Who is put last is late from then on, and not only when it is done.
            late = max(0, observation.late + observation.late_waiting - self._late_waiting)
            self.budget.book(observation.finished, late, self._daily_rate * self.surroundings.day)
            self.rehearsals[last].compare(late, self._price)
        self._late_waiting = observation.late_waiting
        self._price = None

    def _late_last(self, observation: Observation) -> bool:
        return self.late_last and observation.discipline == "late-last"

    def decide(self) -> Decision:
        observation, service_rate, limits = self._observation, self.service.rate, self.surroundings.limits
        if observation is None:
            return Decision(limits.replicas_min, "Nothing observed yet.")
        discipline = "late-last" if self.late_last and observation.discipline is not None else None
        current = observation.replicas + observation.pending
        if service_rate is None or self._forecast is None:
            return Decision(limits.within(current), "Nothing to go by yet, so as it is.", discipline=discipline)
        last = self._late_last(observation)
        self._price = price = self._lateness_price(last)
        needed, kept = capacities(self._forecast, (price, self.patience * price), late_last=last).tolist()
        fresh = max(0, observation.backlog - observation.late_waiting)
        catch_up = fresh / CATCH_UP + observation.late_waiting / _LATE_CATCH_UP
        floor = self._floor(service_rate, fresh)
        low, high = (
            max(floor, limits.within(math.ceil(min(1e9, (each + catch_up) / service_rate)))) for each in (needed, kept)
        )
        replicas = min(max(current, low), high)
        return Decision(replicas, self._reason(needed, price, replicas, floor), discipline=discipline)

    def _lateness_price(self, last: bool) -> float:
        price = self.rehearsals[last].price(self.share) if self.rehearse else _BELIEVED_PRICE
        if last:
            price = max(price, _LEAST_PRICE / self.share)
        return max(1e-3, price * self.budget.factor)

    def _floor(self, service_rate: float, fresh: int) -> int:
        """What single services need in a small system, whatever the load will be."""
        rate = self._minute_rate
        if not 0.0 < rate < _SMALL * service_rate:
            return self.surroundings.replicas_min
        step = math.log(_RATE_STEP)
        key = math.ceil(math.log(rate + fresh / CATCH_UP) / step), math.floor(math.log(service_rate) / step)
        floor = self._floors.get(key)
        if floor is None:
            floor = self._floors[key] = self._staffing.replicas(_RATE_STEP ** key[0], _RATE_STEP ** key[1])
        return floor

    def _reason(self, needed: float, price: float, replicas: int, floor: int) -> str:
        assert self._observation is not None, "a decision is about what was seen"
        allowed = 100.0 * (1.0 - self.surroundings.quantile)
        why = f"Up to {needed:.3g}/s may be needed within {self.surroundings.horizon:g} s"
        now = f"for {self._minute_rate:.3g}/s now"
        late = f"a late event is priced at {price:.3g}, {100.0 * self.budget.late_share:.2g} % late so far"
        small = ", the fewest for single services" if replicas == floor > self.surroundings.replicas_min else ""
        return f"{why} {now}; {late} of {allowed:.2g} % allowed: {replicas}{small}."

    def saved(self) -> str:
        """What it has learned, as text, see `learning.states`: a new one with the same settings goes on from it."""
        parts = {
            "forecaster": to_state(self.forecaster),
            "service": to_state(self.service),
            "budget": to_state(self.budget),
            "rehearsals": [to_state(each) for each in self.rehearsals.values()],
            "rates": [self._daily_rate, self._minute_rate],
            "periods": self._periods,
        }
        return json.dumps(parts, allow_nan=False, sort_keys=True)

    def restore(self, text: str) -> None:
        """Go on from what was `saved`; `BadInput` where that is something else."""
        try:
            parts = json.loads(text)
            forecaster, service, budget = (from_state(parts[each]) for each in ("forecaster", "service", "budget"))
            rehearsals = [from_state(each) for each in parts["rehearsals"]]
            daily, minute = (float(rate) for rate in parts["rates"])
            periods = int(parts["periods"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"a Rarera cannot be read: {error}") from error
        same = [type(each) for each in (forecaster, service, budget)] == [
            type(each) for each in (self.forecaster, self.service, self.budget)
        ]
        if not same or [each.late_last for each in rehearsals] != list(self.rehearsals):
            raise BadInput("a Rarera cannot be read: it was saved with other settings")
        self.forecaster, self.service, self.budget = forecaster, service, budget
        self.rehearsals = dict(zip(self.rehearsals, rehearsals, strict=True))
        self._daily_rate, self._minute_rate, self._periods = daily, minute, periods
