"""Ours: the cheapest capacity for a forecast distribution, at a price of lateness that its own error sets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from rarera_sim import theory
from rarera_sim.core.errors import BadInput
from rarera_sim.learning.calibration import CATCH_UP, Budget, Rehearsal, capacities
from rarera_sim.learning.fleets import Fleet
from rarera_sim.learning.peaks import Forecast, PeakForecaster
from rarera_sim.learning.states import from_state, to_state
from rarera_sim.policies.base import Decision, Observation, Pool
from rarera_sim.policies.placement import Placed, Placement, Work
from rarera_sim.policies.staffing import USUAL, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable

_LATE_CATCH_UP = 600.0  # time in which what is late already shall be gone, s: 60 cost the same, 600 starts less
_BELIEVED_PRICE = 20.0  # where nothing is rehearsed
_SERVICE_ALARM = 8.0  # standard errors of the mean service time, see `ServiceEstimate`
# Least price times late share with late ones last: there most of the lateness comes in bursts that no price prevents,
# and without a floor a history of few bursts made lateness cheap (1.7 instead of 10 on one trace: 1.2 % were late).
_LEAST_PRICE = 0.08
_QUIET_UTILISATION = 0.7  # up to which who finds no queue has not waited
_OWN_SHARE = 0.75  # of what may be late, up to which it is never excused
_BLIND_UTILISATION = 0.6  # to be as busy as that is safe while nobody knows what arrives
_PERIODS_TO_LOOK = 240  # after which it is looked anew which kind is the cheapest
_LEAST_ASLEEP = 0.1  # of the price awake: what sleeps has been started, which is paid, and may never be woken
_HIGHEST_DAYS = 7.0  # after which the highest rate counts half
# Of it, beyond which nothing is ordered: the tail of a forecast is a guess. At a price of 1,000 it wanted 34/s where
# 4.2/s was the most in a month.
_HIGHEST_SHARE = 1.25
_MUCH_SOONER = 0.5  # of a start-up: who takes longer to wake need not have slept
_ASLEEP_PERIODS = 4  # in which what sleeps is looked at anew: it takes longer to change than that
_SCV_SERVICES = 2000.0  # in which the spread of service times is learned
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
    Small systems have at least what Erlang C wants for the rate of the last minute. What would be late even if nobody
    waited is not held against it. Where a driver lets it choose, it has those served last who are late already: with
    one capacity fewer are late.

    What is wanted is work, which `Placement` deals out over pools. It looks as far ahead as the cheapest kind takes to
    start; where replicas can sleep, as far as one takes to wake, and what may be needed later sleeps. Without a rate
    for longer than that, it goes by how busy replicas are.

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
    109
    >>> print(policy.decide().reason)  # doctest: +NORMALIZE_WHITESPACE
    Up to 531/s may be needed within 75 s for 512/s now; a late event is priced at 18.6, 0 % late so far of 1 %
    allowed: 109.

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
        self.service = believed(surroundings.service_rate, _SERVICE_ALARM)
        self._slack = max(0.0, surroundings.bound - 2.0 / (surroundings.service_rate or math.inf))
        self._calendar = calendar
        self._ahead = surroundings.start_up  # of the kind that is asked for first, s
        self._ahead_since = self._kinds = 0
        self._far = self._outlook(self._ahead)
        self._near: _Outlook | None = None  # where replicas can sleep: until who is woken is there
        self.placement = Placement(
            Fleet(surroundings.period),
            surroundings.limits,
            period=surroundings.period,
            ahead=surroundings.start_up,
            share=self.share,
        )
        self._floors: dict[tuple[int, int, int], int] = {}
        self._daily_rate = self._minute_rate = 0.0  # smoothed, 1/s
        self._highest_rate = 0.0  # of a period, 1/s, slowly forgotten
        self._periods = 0
        self._price: float | None = None  # that was paid in the period under way
        self._late_waiting = self._backlog = 0
        self._quiet_finished = self._quiet_late = 0.0  # events, while nobody waited
        self._scv = 1.0  # of the service times
        self._observation: Observation | None = None
        self._pools: tuple[Pool, ...] = ()
        self._blind = 0  # periods since a rate was heard
        self._wakes = math.inf  # time in which sleepers are awake, s

    def __repr__(self) -> str:
        return f"Rarera({self.surroundings}, budget_share={self.budget_share:g}, patience={self.patience:g})"

    def _taught(self, start_up: float, orders: Iterable[bool]) -> _Outlook:
        """An outlook that has lived through the last half day."""
        outlook = self._outlook(start_up)
        periods = max(1, round(0.5 * self.surroundings.day / self.surroundings.period))
        for rate, time in self._far.forecaster.heard[-periods:]:
            outlook.learn(rate, time, orders)
        return outlook

    def _outlook(self, start_up: float) -> _Outlook:
        facts = self.surroundings
        return _Outlook(
            PeakForecaster(
                period=facts.period,
                horizon=start_up + facts.period,
                slack=self._slack,
                day=facts.day,
                calendar=self._calendar,
            ),
            # Until the driver says in which order it serves, one for each.
            {
                last: Rehearsal(
                    period=facts.period,
                    start_up=start_up,
                    slack=self._slack,
                    day=facts.day,
                    patience=self.patience,
                    late_last=last,
                )
                for last in (False, True)[: 1 + self.late_last]
            },
        )

    @property
    def forecaster(self) -> PeakForecaster:
        """What may be needed until who is asked for now is there."""
        return self._far.forecaster

    @property
    def rehearsals(self) -> dict[bool, Rehearsal]:
        """By whether late events are served last."""
        return (self._near or self._far).rehearsals

    def observe(self, observation: Observation) -> None:
        self._observation = observation
        self._learn_service(observation)
        # Where no pool is told of, one stands for all.
        self._pools = observation.pools or (
            Pool(ready=observation.replicas, pending=observation.pending, start_up=self.surroundings.start_up),
        )
        self.placement.observe(
            observation.time, self._pools, crashed=observation.crashed, interrupted=observation.interrupted
        )
        rate, period, day = observation.arrival_rate, self.surroundings.period, self.surroundings.day
        if not usable(rate) or not math.isfinite(observation.time):
            self._blind += 1
            self._price = None
            return
        self._blind = 0
        self._periods += 1
        self._highest_rate = max(rate, self._highest_rate * 0.5 ** (period / (_HIGHEST_DAYS * day)))
        self._daily_rate += (rate - self._daily_rate) / min(self._periods, max(1.0, day / period))
        self._minute_rate += (rate - self._minute_rate) / min(self._periods, max(1.0, 60.0 / period))
        last = self._late_last(observation)
        orders = self._far.rehearsals if observation.discipline is None else (last,)
        self._look_as_far_as(observation.pools, orders)
        self._near = self._nearer(observation.pools, orders)
        # Where replicas can sleep, it is the near one that decides on lateness.
        self._far.learn(
            rate, observation.time, () if self._near else orders, every=_ASLEEP_PERIODS if self._near else 1
        )
        if self._near:
            self._near.learn(rate, observation.time, orders)
        self._book(observation, last)

    def _learn_service(self, observation: Observation) -> None:
        """What a replica of speed 1 finishes where pools are told of, and what a replica finishes otherwise."""
        if observation.service_scv is not None and observation.finished > 1 and usable(observation.service_scv):
            weight = observation.finished / (observation.finished + _SCV_SERVICES)
            self._scv += weight * (observation.service_scv - self._scv)
        rate = observation.work_rate if observation.pools else observation.service_rate
        learn_service(self.service, observation, self.surroundings.period, rate)

    def _look_as_far_as(self, pools: Sequence[Pool], orders: Iterable[bool]) -> None:
        """Look as far ahead as the kind takes to start that is asked for first, once a day at most."""
        if len(pools) == self._kinds and self._periods % _PERIODS_TO_LOOK:
            return
        self._kinds = len(pools)
        if not pools or 0 < self._ahead_since > self._periods - self.surroundings.day / self.surroundings.period:
            return
        ahead, period = self.placement.start_up(pools), self.surroundings.period
        if math.ceil(ahead / period - 1e-9) != math.ceil(self._ahead / period - 1e-9):
            self._ahead, self._ahead_since = ahead, self._periods
            self._far = self._taught(ahead, orders)
            self.placement.ahead = ahead

    def _nearer(self, pools: Sequence[Pool], orders: Iterable[bool]) -> _Outlook | None:
        """The outlook until sleepers are awake, where there can be any that are sooner there than new ones."""
        wakes = min((pool.wake_up for pool in pools if pool.wake_up is not None), default=math.inf)
        period = self.surroundings.period
        if wakes > _MUCH_SOONER * self._ahead or self._far.forecaster.periods == math.ceil(wakes / period - 1e-9) + 1:
            return None
        if self._near is None or self._wakes != wakes:
            self._wakes = wakes
            return self._taught(wakes, orders)
        return self._near

    def _book(self, observation: Observation, last: bool) -> None:
        """Put down what was late. A past that others decided on says nothing about us."""
        if self._price is not None:
            # Who is put last is late from then on, and not only when it is done.
            late = max(0, observation.late + observation.late_waiting - self._late_waiting)
            excused = min(float(late), self._excused() * observation.finished)
            self.budget.book(observation.finished, late, self._daily_rate * self.surroundings.day, excused=excused)
            self.rehearsals[last].compare(late - excused, self._price)
            quiet = 0.0 < observation.utilisation < _QUIET_UTILISATION  # 0: nobody has measured it, or nobody came
            if quiet and not (observation.backlog or self._backlog):
                self._quiet_finished += observation.finished
                self._quiet_late += observation.late
        self._backlog = observation.backlog
        self._late_waiting = observation.late_waiting
        self._price = None

    def _excused(self) -> float:
        """Share of the events that are late though nobody waits, beyond what is allowed: no capacity would help them.

        A late event must be seen more often than is allowed before one is believed to be nobody's fault.
        """
        share = self._quiet_late / (self._quiet_finished + 1.0 / self.share)
        return max(0.0, share - _OWN_SHARE * self.share)

    def _late_last(self, observation: Observation) -> bool:
        return self.late_last and observation.discipline == "late-last"

    def decide(self) -> Decision:
        observation, unit, limits = self._observation, self.service.rate, self.surroundings.limits
        if observation is None:
            return Decision(limits.replicas_min, "Nothing observed yet.")
        discipline = "late-last" if self.late_last and observation.discipline is not None else None
        far, near = self._far.forecast, self._near
        if unit is None or far is None:
            current = limits.within(observation.replicas + observation.pending)
            return Decision(current, "Nothing to go by yet, so as it is.", discipline=discipline)
        if self._blind >= self.forecaster.periods:
            return self._decide_blindly(observation, discipline)
        last = self._late_last(observation)
        self._price = price = self._lateness_price(last)
        fresh = max(0, observation.backlog - observation.late_waiting)
        catch_up = fresh / CATCH_UP + observation.late_waiting / _LATE_CATCH_UP
        floor = self._floor(unit, fresh)
        soon = far if near is None or near.forecast is None else near.forecast
        needed, kept = self._sensible(_orders(soon, price, self.patience, last=last))
        wanted = Work(*(max(floor, min(1e9, (each + catch_up) / unit)) for each in (needed, kept)))
        pools = self._pools
        if near is not None:
            wanted = self._with_sleepers(wanted, pools, unit, catch_up)
        placed = self.placement.place(pools, wanted, price=price)
        several = len(pools) > 1 or bool(placed.asleep)
        return Decision(
            placed.replicas,
            self._reason(needed, price, placed, floor),
            pools=placed.awake if several else None,
            asleep=placed.asleep or None,
            discipline=discipline,
        )

    def _with_sleepers(self, awake: Work, pools: Sequence[Pool], unit: float, catch_up: float) -> Work:
        """What sleeps costs a part of what is awake: to be ready for more is worth its price so many times over."""
        assert self._far.forecast is not None, "there is a forecast"
        assert self._price is not None, "there is a price"
        part = min(
            pool.price_asleep_per_hour / pool.price_per_hour if pool.price_per_hour > 0.0 else 1.0
            for pool in pools
            if pool.wake_up is not None
        )
        price = self._price / min(1.0, max(_LEAST_ASLEEP, part))
        low, high = self._sensible(_orders(self._far.forecast, price, self.patience, last=True))
        low, high = (min(1e9, (each + catch_up) / unit) for each in (low, high))
        # Who is busy cannot fall asleep, and would be given up instead.
        assert self._observation is not None, "a decision is about what was seen"
        busy = self._observation.in_service * max(pool.speed for pool in pools)
        most = max(awake.most, busy)
        return Work(awake.least, most, max(low, awake.least), max(high, most))

    def _sensible(self, orders: tuple[float, float]) -> tuple[float, float]:
        """Not for much more than has been seen."""
        highest = _HIGHEST_SHARE * self._highest_rate
        return min(orders[0], highest), min(orders[1], highest)

    def _decide_blindly(self, observation: Observation, discipline: str | None) -> Decision:
        """No rate has been heard for longer than a forecast reaches: as busy as usual, or as it is."""
        current = observation.replicas + observation.pending
        replicas, why = current, "as it is"
        if usable(observation.utilisation) and observation.replicas:
            replicas = math.ceil(observation.replicas * min(1.0, observation.utilisation) / _BLIND_UTILISATION)
            replicas += math.ceil(max(0, observation.backlog) / (CATCH_UP * (self.service.rate or 1.0)))
            why = f"by how busy they are, {100.0 * min(1.0, observation.utilisation):.0f} %"
        replicas = self.surroundings.limits.within(min(1e9, replicas))
        pools = None
        if len(observation.pools) > 1:
            # As they are, but for the first ones of which there are more, or the last ones of which there are fewer.
            pools = {pool.name: pool.ready + pool.pending for pool in observation.pools}
            for name in pools if replicas > current else reversed(list(pools)):
                pools[name] = max(0, pools[name] + replicas - sum(pools.values()))
        reason = f"No arrival rate for {self._blind * self.surroundings.period:g} s, so {why}: {replicas}."
        return Decision(replicas, reason, pools=pools, discipline=discipline)

    def _lateness_price(self, last: bool) -> float:
        price = self.rehearsals[last].price(self.share) if self.rehearse else _BELIEVED_PRICE
        if last:
            price = max(price, _LEAST_PRICE / self.share)
        return max(1e-3, price * self.budget.factor)

    def _floor(self, service_rate: float, fresh: int) -> int:
        """What single services need in a small system, whatever the load will be.

            smallest c with   C(c, a) exp(-(c mu - lambda) * 2 / (1 + scv) * slack) <= allowed share

        P(wait > slack) of M/M/c, in heavy traffic also of M/G/c. A wait of a quarter of a service is lost among
        services.
        """
        rate = self._minute_rate
        if not 0.0 < rate < _SMALL * service_rate:
            return 0
        step = math.log(_RATE_STEP)
        spread = round(4.0 * min(self._scv, 10.0))
        key = round(math.log(rate + fresh / CATCH_UP) / step), round(math.log(service_rate) / step), spread
        floor = self._floors.get(key)
        if floor is None:
            rate, service_rate = _RATE_STEP ** key[0], _RATE_STEP ** key[1]
            slack = max(self._slack, 0.25 / service_rate) * 2.0 / (1.0 + spread / 4.0)
            floor, allowed = math.floor(rate / service_rate) + 1, 1.0 - self.surroundings.quantile
            most = self.surroundings.replicas_max
            while floor < most and _wait_share(floor, rate, service_rate, slack) > allowed:
                floor += 1
            self._floors[key] = floor = min(floor, most)
        return floor

    def _reason(self, needed: float, price: float, placed: Placed, floor: int) -> str:
        near = self._near is not None
        allowed = 100.0 * (1.0 - self.surroundings.quantile)
        within = (self._wakes if near else self._ahead) + self.surroundings.period
        why = f"Up to {needed:.3g}/s may be needed within {within:g} s"
        now = f"for {self._minute_rate:.3g}/s now"
        late = f"a late event is priced at {price:.3g}, {100.0 * self.budget.late_share:.2g} % late so far"
        replicas = placed.replicas
        small = ", the fewest for single services" if replicas == floor > self.surroundings.replicas_min else ""
        where = f" ({placed.words})" if placed.words else ""
        asleep = f" and {sum(placed.asleep.values())} asleep" if placed.asleep else ""
        return f"{why} {now}; {late} of {allowed:.2g} % allowed: {replicas}{where}{asleep}{small}."

    def saved(self) -> str:
        """What it has learned, as text, see `learning.states`: a new one with the same settings goes on from it."""
        parts = {
            "far": self._far.state(),
            "near": None if self._near is None else self._near.state(),
            "wakes": None if self._near is None else self._wakes,
            "ahead": [self._ahead, self._ahead_since],
            "service": to_state(self.service),
            "budget": to_state(self.budget),
            "placement": self.placement.state(),
            "rates": [self._daily_rate, self._minute_rate, self._highest_rate],
            "quiet": [self._quiet_finished, self._quiet_late],
            "scv": self._scv,
            "periods": self._periods,
        }
        return json.dumps(parts, allow_nan=False, sort_keys=True)

    def restore(self, text: str) -> None:
        """Go on from what was `saved`; `BadInput` where that is something else."""
        try:
            parts = json.loads(text)
            ahead, ahead_since = float(parts["ahead"][0]), int(parts["ahead"][1])
            far, near, wakes = self._outlook(ahead), None, math.inf
            far.restore(parts["far"])
            if parts["near"] is not None:
                wakes = float(parts["wakes"])
                near = self._outlook(wakes)
                near.restore(parts["near"])
            service, budget = (from_state(parts[each]) for each in ("service", "budget"))
            if [type(service), type(budget)] != [type(self.service), type(self.budget)]:
                raise BadInput("a Rarera cannot be read: it was saved with other settings")
            daily, minute, highest = (float(rate) for rate in parts["rates"])
            quiet_finished, quiet_late = (float(each) for each in parts["quiet"])
            scv = float(parts["scv"])
            periods = int(parts["periods"])
            self.placement.restore(parts["placement"])
        except BadInput:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"a Rarera cannot be read: {error}") from error
        self._ahead, self._ahead_since, self.placement.ahead = ahead, ahead_since, ahead
        self._far, self._near, self._wakes, self.service, self.budget = far, near, wakes, service, budget
        self._daily_rate, self._minute_rate, self._highest_rate, self._periods = daily, minute, highest, periods
        self._quiet_finished, self._quiet_late, self._scv = quiet_finished, quiet_late, scv


class _Outlook:
    """What may be needed within a time, and what it is worth to be ready for it."""

    def __init__(self, forecaster: PeakForecaster, rehearsals: dict[bool, Rehearsal]) -> None:
        self.forecaster = forecaster
        self.rehearsals = rehearsals
        self.forecast: Forecast | None = None
        self._heard = 0

    def learn(self, rate: float, time: float, orders: Iterable[bool], *, every: int = 1) -> None:
        """Hear a rate, look ahead, and rehearse where late events are served last, or not, or either."""
        self.forecaster.learn(rate, time)
        self._heard += 1
        if self.forecast is None or self._heard % every == 0:
            self.forecast = self.forecaster.forecast()
        for last in orders:
            self.rehearsals[last].hear(rate)
            self.rehearsals[last].ask(self.forecast)

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON holds it."""
        return {
            "forecaster": to_state(self.forecaster),
            "rehearsals": [to_state(each) for each in self.rehearsals.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        forecaster = from_state(state["forecaster"])
        rehearsals = [from_state(each) for each in state["rehearsals"]]
        same = type(forecaster) is PeakForecaster and all(type(each) is Rehearsal for each in rehearsals)
        if not same or [each.late_last for each in rehearsals] != list(self.rehearsals):
            raise BadInput("a Rarera cannot be read: it was saved with other settings")
        self.forecaster, self.rehearsals = forecaster, dict(zip(self.rehearsals, rehearsals, strict=True))


def _orders(forecast: Forecast, price: float, patience: float, *, last: bool) -> tuple[float, float]:
    """Capacities to ask for, and up to which to keep, 1/s: see `calibration.capacities`."""
    if last:
        # One by one: two numbers are sooner looked up than put into an array.
        level, keep = 1.0 - 1.0 / max(1.0, price), 1.0 - 1.0 / max(1.0, patience * price)
        return forecast.quantile(level), forecast.quantile(keep)
    needed, kept = capacities(forecast, (price, patience * price)).tolist()
    return needed, kept


def _wait_share(servers: int, rate: float, service_rate: float, slack: float) -> float:
    """P(wait > slack)."""
    return theory.erlang_c(servers, rate / service_rate) * math.exp(-(servers * service_rate - rate) * slack)
