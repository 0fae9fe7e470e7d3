"""What a late event is worth: the price at which a promise is just kept, rehearsed, and corrected by what happened.

A price of lateness is what a newsvendor pays for missing a sale, in units of what capacity costs: at 20 it is worth
having twenty times the capacity idle that would have been in time. No objective names it; an objective says how many
may be late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarera_sim.learning.peaks import Forecast, shaped

Floats = NDArray[np.float64]

# From "hardly matters" to "never": on the traces tried, .1 to 1 % late was bought at prices of 1.4 to 300.
PRICES: Floats = 0.5 * 3.0 ** (np.arange(17) / 2.0)
_LOGS = np.log(PRICES)

CATCH_UP = 60.0  # time in which a backlog shall be gone, s
_BELIEF = 0.15  # price times late share where nothing is known: 20 at .75 %, between what the traces tried need
_BELIEF_DAYS = 0.25  # of rehearsal, that the belief counts for
_ENOUGH = 1e12  # capacity before anything was asked for, 1/s
_PRICE_PERIODS = 4  # for which a price is good: it moves by days
_MEMORY_DAYS = 30.0  # after which a rehearsal fades


def capacities(forecast: Forecast, prices: Sequence[float] | Floats, *, late_last: bool = False) -> Floats:
    """The capacity that is cheapest at each price of lateness, 1/s, shape of `prices`: a newsvendor's order.

        argmin_c   c + price * E[required; required > c]        served in order of arrival
        argmin_c   c + price * E[(required - c)+]               those already late served last

    In order of arrival everything that comes until the queue is gone is late, not only what is too much: hence the
    partial expectation. With late ones last only the excess is late, and the order is a quantile, 1 - 1 / price.

    Examples
    --------
    >>> forecast = Forecast(np.array([10.0, 50.0]), np.array([0.98, 0.02]))
    >>> capacities(forecast, [10.0, 45.0])
    array([10., 50.])
    >>> capacities(forecast, [10.0, 45.0], late_last=True)
    array([10., 10.])

    References
    ----------
    Arrow, Harris, Marschak (1951), Optimal inventory policy, Econometrica 19(3), 250-272.
    """
    asked = np.asarray(prices, dtype=np.float64)
    if late_last:
        best = _places(forecast, _levels(asked))
    else:
        weighted = forecast.shares * forecast.rates
        beyond = weighted.sum() - np.cumsum(weighted)
        best = np.argmin(forecast.rates + asked[:, None] * beyond, axis=-1)
    chosen: Floats = forecast.rates[best]
    return chosen


def _levels(prices: Floats) -> Floats:
    """How sure one wants to be, at each price, that the capacity suffices."""
    levels: Floats = 1.0 - 1.0 / np.maximum(prices, 1.0)
    return levels


def _places(forecast: Forecast, levels: Floats) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.minimum(forecast.levels.searchsorted(levels), len(forecast.rates) - 1)
    return places


class Rehearsal:
    """A fluid model of the queue, run at many prices at once on what really arrives: how much would be late at each.

    It has the start-up, the hysteresis and the order of service of the policy that it stands for, so that its error is
    a factor near 1, which is learned (measured on three traces: .6 to .8 in order of arrival, .85 to 1.15 with late
    ones last; .3 to .6 while it left the hysteresis out). Its days count the more the later they are, as the forecasts
    of the first ones were made by a beginner.

    Parameters
    ----------
    period, start_up
        Control period, and from asking for capacity to having it, s.
    slack
        Wait that is allowed, s.
    day
        Length of a day, s.
    patience
        Times the price at which capacity is still kept, >= 1.
    late_last
        Whether those who are late already are served last.

    Examples
    --------
    Every fourth minute brings twice the events. To be ready for it all the time has its price.

    >>> rehearsal = Rehearsal(period=60.0, start_up=0.0, slack=0.0, day=3600.0, patience=1.0)
    >>> forecast = Forecast(np.array([10.0, 20.0]), np.array([0.75, 0.25]))
    >>> for minute in range(600):
    ...     rehearsal.ask(forecast)
    ...     rehearsal.hear(20.0 if minute % 4 == 3 else 10.0)
    >>> 1.0 < rehearsal.price(share=0.01) < 10.0
    True
    """

    def __init__(
        self,
        *,
        period: float,
        start_up: float,
        slack: float,
        day: float = 86_400.0,
        patience: float = 3.0,
        late_last: bool = False,
    ) -> None:
        self.period = period
        self.start_up = start_up
        self.slack = slack
        self.day = day
        self.patience = patience
        self.late_last = late_last
        self._prices = np.concatenate((PRICES, patience * PRICES))
        self._levels = _levels(self._prices)
        # What can be used now was asked for a start-up ago and not given back since.
        self._asked = np.full((math.ceil(start_up / period - 1e-9) + 1, len(PRICES)), _ENOUGH)
        self._place = 0
        self._wanted = np.zeros(len(PRICES))
        self._backlog = np.zeros(len(PRICES))
        self._late = np.zeros(len(PRICES))  # mean per period, as the next
        self._all = 0.0
        self._now = np.zeros(len(PRICES))
        self._periods = 0
        self._expected = self._happened = 0.0  # late events
        self._known: tuple[float, int, float] | None = None  # share, period and price of the last answer

    def hear(self, rate: float) -> None:
        """One more period has passed, with this arrival rate, 1/s."""
        came, backlog = rate * self.period, self._backlog
        capacity = np.maximum(self._asked.min(axis=0), 1e-9)
        after = np.maximum(0.0, backlog + (came - capacity * self.period))
        if self.late_last:
            kept = np.minimum(after, self.slack * capacity)
            self._now = np.minimum(after - kept, came)
            self._backlog = kept
        else:
            first, last = backlog / capacity, after / capacity  # waits of who comes first and last
            low, high = np.minimum(first, last), np.maximum(first, last)
            share = np.minimum(1.0, np.maximum(0.0, (high - self.slack) / np.maximum(high - low, 1e-9)))
            self._now = share * came
            self._backlog = after
        self._periods += 1
        gain = max(2.0 / (self._periods + 1), self.period / (_MEMORY_DAYS * self.day))
        self._late += gain * (self._now - self._late)
        self._all += gain * (came - self._all)

    def ask(self, forecast: Forecast) -> None:
        """Ask for what each price makes of the forecast, and for what waits there."""
        both = forecast.rates[_places(forecast, self._levels)] if self.late_last else capacities(forecast, self._prices)
        low, high = both.reshape(2, -1) + self._backlog / CATCH_UP
        self._wanted = np.minimum(np.maximum(self._wanted, low), high)
        self._place = (self._place + 1) % len(self._asked)
        self._asked[self._place] = self._wanted

    def compare(self, late: float, price: float) -> None:
        """What really was late in the period that was just heard, at the price that was paid for it."""
        keep = 1.0 - self.period / (_MEMORY_DAYS * self.day)
        self._expected = keep * self._expected + float(np.interp(math.log(price), _LOGS, self._now))
        self._happened = keep * self._happened + late

    def bias(self, share: float) -> float:
        """Times what is rehearsed that really is late; 1 where no more than a day's allowance was seen, nearly."""
        allowance = max(1.0, share * self._all * self.day / self.period)
        return min(20.0, max(0.05, (self._happened + allowance) / (self._expected + allowance)))

    def price(self, share: float) -> float:
        """The price at which `share` of the events would be late; looked up once a minute or so."""
        if self._known is not None and self._known[0] == share and 0 <= self._periods - self._known[1] < _PRICE_PERIODS:
            return self._known[2]
        price = self._price(share)
        self._known = share, self._periods, price
        return price

    def _price(self, share: float) -> float:
        days = self._periods * self.period / self.day
        trust = days * days / (days * days + _BELIEF_DAYS * _BELIEF_DAYS)
        rehearsed = self.bias(share) * self._late / max(self._all, 1e-300)
        late = trust * np.minimum(1.0, rehearsed) + (1.0 - trust) * np.minimum(1.0, _BELIEF / PRICES)
        late = np.maximum.accumulate(late[::-1])[::-1]
        # Between two prices on logarithmic scales; beyond the last one, the last one.
        return float(np.exp(np.interp(-math.log(share), -np.log(np.maximum(late, 1e-12)), _LOGS)))

    def state(self) -> dict[str, Any]:
        """What it has heard, as JSON holds it."""
        return {
            "known": self._known,
            "asked": np.roll(self._asked, -self._place - 1, axis=0).tolist(),
            "wanted": self._wanted.tolist(),
            "backlog": self._backlog.tolist(),
            "late": self._late.tolist(),
            "now": self._now.tolist(),
            "all": self._all,
            "periods": self._periods,
            "expected": self._expected,
            "happened": self._happened,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._asked = shaped(state["asked"], self._asked.shape)
        self._place = len(self._asked) - 1
        self._wanted, self._backlog, self._late, self._now = (
            shaped(state[name], (len(PRICES),)) for name in ("wanted", "backlog", "late", "now")
        )
        self._all, self._periods = float(state["all"]), int(state["periods"])
        self._expected, self._happened = float(state["expected"]), float(state["happened"])
        known = state["known"]
        self._known = None if known is None else (float(known[0]), int(known[1]), float(known[2]))


class Budget:
    """The share of events that may be late, as an account: what was overdrawn makes lateness dearer.

        factor = exp(gain * debt),   debt = sum(late - share * finished) / (share * events per day)

    The debt is never clipped: a bounded price could be outrun for ever, an unbounded one brings the average back to the
    share whatever happens.

    Parameters
    ----------
    share
        Of the events, that shall be late in the long run, in (0, 1).
    gain
        Of the price, per day's allowance of debt. .3 moves it by a third: measured on three traces, 1 made it swing and
        cost 7 % more for the same lateness.

    Examples
    --------
    >>> budget = Budget(share=0.01, gain=1.0)
    >>> budget.book(finished=1000, late=30, events_per_day=1000.0)
    >>> round(budget.factor, 2)
    7.39

    References
    ----------
    Zinkevich (2003), Online convex programming and generalized infinitesimal gradient ascent, ICML.
    """

    def __init__(self, share: float, gain: float = 0.3) -> None:
        if not 0.0 < share < 1.0:
            raise ValueError(f"share must be > 0 and < 1, got {share!r}")
        if not 0.0 <= gain < math.inf:
            raise ValueError(f"gain must be >= 0, got {gain!r}")
        self.share = share
        self.gain = gain
        self.finished = self.late = 0
        self.debt = 0.0  # in days' allowances

    def book(self, finished: int, late: int, events_per_day: float, *, excused: float = 0.0) -> None:
        """What was finished in a period, how much of it too late, and of that, what nothing would have helped."""
        self.finished += finished
        self.late += late
        self.debt += (late - excused - self.share * finished) / (self.share * max(1.0, events_per_day))

    @property
    def late_share(self) -> float:
        """Of all that was booked, what was late."""
        return self.late / self.finished if self.finished else 0.0

    @property
    def factor(self) -> float:
        """By how much lateness is dearer than it was thought."""
        return math.exp(max(-50.0, min(50.0, self.gain * self.debt)))

    def state(self) -> dict[str, Any]:
        """The account, as JSON holds it."""
        return {"finished": self.finished, "late": self.late, "debt": self.debt}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.finished, self.late, self.debt = int(state["finished"]), int(state["late"]), float(state["debt"])
