"""What a late event is worth: the price at which a promise is just kept, found by rehearsal and corrected by what happened.

The price is in replica-periods per late event... it only has to be one number that trades lateness for capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rarera_sim.learning.peaks import Forecast

Floats = NDArray[np.float64]

PRICES = np.geomspace(0.5, 1000.0, 12)


def capacities(forecast: Forecast, prices: Sequence[float] | Floats) -> Floats:
    """The capacity that is cheapest at each price of lateness, 1/s, shape of `prices`: a newsvendor's order.

        argmin_c   c + price * E[required; required > c]

    When more is required than there is, everything that arrives until there is enough is late, not only what is too
    much: hence the partial expectation and not the expected excess.

    Examples
    --------
    >>> forecast = Forecast(np.array([10.0, 50.0]), np.array([0.99, 0.01]))
    >>> capacities(forecast, np.array([10.0, 100.0]))
    array([10., 50.])

    References
    ----------
    Arrow, Harris, Marschak (1951), Optimal inventory policy, Econometrica 19(3), 250-272.
    """
    weighted = forecast.shares * forecast.rates
    beyond = weighted.sum() - np.cumsum(weighted)
    best = np.argmin(forecast.rates + np.asarray(prices)[:, None] * beyond, axis=-1)
    chosen: Floats = forecast.rates[best]
    return chosen


class Rehearsal:
    """A fluid model of the queue, run at many prices at once on what really arrives: how much would be late at each.

    Its error is the same from day to day, and `Budget` corrects it; what it gives is the order of magnitude, before the
    first event has been late.

    Parameters
    ----------
    period, start_up
        Control period, and from asking for capacity to having it, s.
    slack
        Wait that is allowed, s.
    memory
        Time after which what was rehearsed counts for a third, s.
    """

    def __init__(self, *, period: float, start_up: float, slack: float, memory: float) -> None:
        self.period = period
        self.slack = slack
        self._keep = math.exp(-period / memory)
        # What can be used now was asked for a start-up ago and never given back since.
        lag = math.ceil(start_up / period - 1e-9)
        self._asked = np.zeros((lag + 1, len(PRICES)))
        self._place = 0
        self._backlog = np.zeros(len(PRICES))
        self._late = np.zeros(len(PRICES))
        self._all = 0.0
        self._now = np.zeros(len(PRICES))
        self.bias = 1.0
        self._keep_bias = self._keep ** (1.0 / 3.0)
        self._expected = self._happened = 0.0

    def hear(self, rate: float) -> None:
        """One more period has passed, with this arrival rate, 1/s."""
        period, backlog = self.period, self._backlog
        capacity = np.maximum(self._asked.min(axis=0), 1e-9)
        after = np.maximum(0.0, backlog + (rate - capacity) * period)
        first, last = backlog / capacity, after / capacity
        low, high = np.minimum(first, last), np.maximum(first, last)
        share = np.minimum(1.0, np.maximum(0.0, (high - self.slack) / np.maximum(high - low, 1e-9)))
        self._now = share * rate * period
        self._late = self._keep * self._late + self._now
        self._all = self._keep * self._all + rate * period
        self._backlog = after

    def ask(self, wanted: Floats) -> None:
        """What would be asked for at each price, 1/s; what waits there is added."""
        self._place = (self._place + 1) % len(self._asked)
        self._asked[self._place] = wanted + self._backlog / _CATCH_UP

    def compare(self, late: int, price: float, trust: float) -> None:
        """What really was late in the period that was just heard, at the price that was paid for it.

        The rehearsal's bias is learned as a ratio that counts as 1 for `trust` late events.
        """
        keep = self._keep_bias
        rehearsed = float(np.interp(math.log(price), np.log(PRICES), self._now))
        self._expected = keep * self._expected + rehearsed
        self._happened = keep * self._happened + late
        self.bias = (self._happened + trust) / (self._expected + trust)

    def price(self, share: float) -> float:
        """The price at which `share` of the events would have been late."""
        if self._all <= 0.0:
            return float(PRICES[len(PRICES) // 2])
        share /= self.bias
        late = np.maximum.accumulate((self._late / self._all)[::-1])[::-1]
        # Between two prices on logarithmic scales; beyond the last one, the last one.
        return float(np.exp(np.interp(-math.log(share), -np.log(np.maximum(late, 1e-9)), np.log(PRICES))))


_CATCH_UP = 60.0  # time in which a rehearsed backlog shall be gone, s


class Budget:
    """The share of events that may be late, as an account: what was overdrawn makes lateness dearer.

        factor = exp(gain * debt / (share * events per day)),   debt = late - share * finished

    The debt is never clipped: a bounded price could be outrun for ever, an unbounded one brings the average back to the
    share whatever happens.

    Parameters
    ----------
    share
        Of the events, that shall be late in the long run.
    gain
        Doublings, nearly, for one and a half days' allowance overdrawn.

    Examples
    --------
    >>> budget = Budget(share=0.01)
    >>> budget.book(finished=1000, late=30, events_per_day=1000.0)
    >>> round(budget.factor, 2)
    7.39

    References
    ----------
    Zinkevich (2003), Online convex programming and generalized infinitesimal gradient ascent, ICML.
    """

    def __init__(self, share: float, gain: float = 1.0) -> None:
        if not 0.0 < share < 1.0:
            raise ValueError(f"share must be > 0 and < 1, got {share!r}")
        self.share = share
        self.gain = gain
        self.finished = self.late = 0
        self._debt = 0.0  # in days' allowances

    def book(self, finished: int, late: int, events_per_day: float) -> None:
        """What was finished in a period, and how much of it too late."""
        self.finished += finished
        self.late += late
        self._debt += (late - self.share * finished) / (self.share * max(1.0, events_per_day))

    @property
    def factor(self) -> float:
        """By how much lateness is dearer than it was thought."""
        return math.exp(max(-50.0, min(50.0, self.gain * self._debt)))
