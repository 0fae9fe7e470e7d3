"""The newsvendor's order, the rehearsal that prices lateness, and the account that corrects it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rarera_sim.learning.calibration import PRICES, Budget, Rehearsal, capacities
from rarera_sim.learning.peaks import Forecast

FORECAST = Forecast(np.array([10.0, 20.0, 40.0, 80.0]), np.array([0.6, 0.3, 0.09, 0.01]))


@pytest.mark.parametrize("price", [1.5, 4.0, 30.0, 500.0])
def test_an_order_is_the_cheapest(price: float) -> None:
    def cost(capacity: float, late_last: bool) -> float:
        over = np.maximum(0.0, FORECAST.rates - (capacity if late_last else 0.0))
        return capacity + price * float((FORECAST.shares * over)[FORECAST.rates > capacity].sum())

    for late_last in (False, True):
        (chosen,) = capacities(FORECAST, [price], late_last=late_last)
        assert cost(chosen, late_last) == pytest.approx(min(cost(each, late_last) for each in FORECAST.rates))


def test_dearer_lateness_never_buys_less() -> None:
    for late_last in (False, True):
        assert np.all(np.diff(capacities(FORECAST, PRICES, late_last=late_last)) >= 0.0)


def rehearsed(late_last: bool, periods: int = 4000) -> Rehearsal:
    rehearsal = Rehearsal(period=15.0, start_up=60.0, slack=1.6, day=15_000.0, late_last=late_last)
    for rate in np.random.default_rng(3).choice(FORECAST.rates, periods, p=FORECAST.shares).tolist():
        rehearsal.hear(rate)
        rehearsal.ask(FORECAST)
    return rehearsal


@pytest.mark.parametrize("late_last", [False, True])
def test_fewer_late_cost_a_higher_price(late_last: bool) -> None:
    rehearsal = rehearsed(late_last)
    prices = [rehearsal.price(share) for share in (0.1, 0.01, 0.001)]
    assert prices == sorted(prices)
    assert prices[0] < prices[-1]


def test_late_ones_last_make_fewer_late_at_a_price() -> None:
    assert rehearsed(True).price(0.01) != rehearsed(False).price(0.01)
    rehearsal = Rehearsal(period=15.0, start_up=0.0, slack=1.5, late_last=True)
    rehearsal.ask(Forecast(np.array([10.0]), np.array([1.0])))
    rehearsal.hear(12.0)
    # 180 came, 150 were done, and 15 more can still be in time.
    rehearsal.compare(late=15, price=1.0)
    assert rehearsal.state()["now"] == pytest.approx([15.0] * len(PRICES))


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_what_really_happens_corrects_the_rehearsal(factor: float) -> None:
    rehearsal = rehearsed(False)
    before = rehearsal.price(0.01)
    for rate in np.random.default_rng(4).choice(FORECAST.rates, 4000, p=FORECAST.shares).tolist():
        rehearsal.hear(rate)
        now = float(np.interp(math.log(10.0), np.log(PRICES), rehearsal.state()["now"]))
        rehearsal.compare(late=factor * now, price=10.0)
        rehearsal.ask(FORECAST)
    assert rehearsal.bias(0.01) == pytest.approx(factor, rel=0.2)
    assert (rehearsal.price(0.01) > before) == (factor > 1.0)


def test_before_anything_was_rehearsed_the_price_is_a_belief() -> None:
    rehearsal = Rehearsal(period=15.0, start_up=60.0, slack=0.0)
    assert rehearsal.price(0.0075) == pytest.approx(20.0, rel=0.05)
    assert rehearsal.price(0.00075) == pytest.approx(200.0, rel=0.05)


def test_what_was_overdrawn_makes_lateness_dearer_and_what_was_saved_cheaper() -> None:
    overdrawn, saved = Budget(0.01), Budget(0.01)
    overdrawn.book(1000, 20, 1000.0)
    saved.book(1000, 0, 1000.0)
    assert overdrawn.factor == pytest.approx(math.exp(0.3))
    assert saved.factor == pytest.approx(math.exp(-0.3))
    assert overdrawn.late_share == 0.02


def test_the_account_never_forgets() -> None:
    budget = Budget(0.01)
    for _ in range(1000):
        budget.book(100, 100, 100.0)
    assert math.isfinite(budget.factor)
    for _ in range(99_000):
        budget.book(100, 0, 100.0)
    assert budget.factor == pytest.approx(1.0)


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_a_share_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="share must be > 0 and < 1"):
        Budget(value)
