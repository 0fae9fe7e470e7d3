"""Forecasts of rates: the same recursion as River's, several at once as one by one, and nothing learned too early."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, optim, time_series, tree

from rarera_sim.learning.intervals import QuantileTracker
from rarera_sim.learning.rates import FanForecaster, LastValue, LinearQuantile, RateForecaster, SeasonalNaive
from rarera_sim.learning.series import HoltWinters

DAY, PERIOD, HORIZON = 600.0, 5.0, 20.0


def rate_at(step: int) -> float:
    """A daily wave, noise without chance, and a burst at the same time each day."""
    day = 2.0 * math.pi * step * PERIOD / DAY
    return 50.0 + 20.0 * math.sin(day) + 5.0 * math.sin(step * step) + (150.0 if step % 120 in (70, 71, 72) else 0.0)


RiversHoltWinters: Any = time_series.HoltWinters
MAKERS: dict[str, Callable[[], Any]] = {
    "last value": LastValue,
    "seasonal naive": SeasonalNaive,
    "linear quantile": lambda: LinearQuantile(0.9),
    "Holt-Winters": lambda: HoltWinters(season=120),
    "River's Holt-Winters": lambda: RiversHoltWinters(alpha=0.3, beta=0.1, gamma=0.3, seasonality=24),
    "River's SNARIMAX": lambda: time_series.SNARIMAX(p=4, d=0, q=1),
    "River's linear regression": linear_model.LinearRegression,
    "River's adaptive tree": lambda: tree.HoeffdingAdaptiveTreeRegressor(seed=1),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_any_model_with_rivers_verbs_forecasts_and_survives_anything(make: Callable[[], Any]) -> None:
    forecaster = RateForecaster(make(), period=PERIOD, horizon=HORIZON, day=DAY, margin=QuantileTracker(0.9))
    senseless = [math.nan, math.inf, -1.0, 1e300, 0.0]
    for step in range(1, 500):
        forecaster.learn(senseless[step // 37 % 5] if step % 37 == 0 else rate_at(step), PERIOD * step)
        assert 0.0 <= forecaster.forecast() < 1e9


def test_linear_quantile_is_rivers_recursion() -> None:
    ours = LinearQuantile(0.9, learning_rate=1.0, step_max=0.1)
    step = optim.schedulers.Constant(0.1)
    rivers: Any = linear_model.LinearRegression(
        optimizer=optim.AdaGrad(step), loss=optim.losses.Quantile(0.9), intercept_lr=0.0
    )
    error = 0.0
    for sample in range(1, 2000):
        x = {"one": 1.0, "wave": math.sin(sample), f"slot {sample % 7}": 1.0, "season": math.cos(sample / 50.0)}
        y = 0.3 * math.sin(sample) + 0.1 * (sample % 7) + 0.2 * math.sin(sample * sample) + max(0.0, x["season"])
        rise = max(0.0, x["season"])
        theirs = rise + rivers.predict_one(x)
        assert ours.predict_one(x) == pytest.approx(theirs, abs=1e-9)
        error += max(0.01, 1.0 / sample) * (abs(y - theirs) - error)
        step.learning_rate = min(0.1, error)
        ours.learn_one(x, y)
        rivers.learn_one(x, y - rise)


def test_a_fan_says_what_a_forecaster_for_each_level_says() -> None:
    levels = (0.5, 0.9, 0.99)
    fan = FanForecaster(levels, period=PERIOD, horizon=HORIZON, day=DAY)
    each = [
        RateForecaster(LinearQuantile(q), period=PERIOD, horizon=HORIZON, day=DAY, margin=QuantileTracker(q))
        for q in levels
    ]
    for step in range(1, 600):
        rate = math.nan if step % 97 == 0 else rate_at(step)
        fan.learn(rate, PERIOD * step)
        highest = 0.0
        for forecaster, said in zip(each, fan.forecasts(), strict=True):
            forecaster.learn(rate, PERIOD * step)
            highest = max(highest, forecaster.forecast())
            assert said == pytest.approx(highest, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    past=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=40),
    futures=st.tuples(*[st.lists(st.floats(0.0, 500.0), max_size=20)] * 2),
)
def test_a_forecast_knows_nothing_of_what_comes_after(past: list[float], futures: tuple[list[float], ...]) -> None:
    def forecasts(rates: list[float]) -> list[list[float]]:
        fan = FanForecaster((0.5, 0.9), period=PERIOD, horizon=HORIZON, day=DAY)
        said = []
        for step, rate in enumerate(rates, start=1):
            fan.learn(rate, PERIOD * step)
            said.append(fan.forecasts())
        return said

    one, other = (forecasts(past + future)[: len(past)] for future in futures)
    assert one == other


def test_a_forecast_is_judged_when_its_last_period_is_over() -> None:
    forecaster = RateForecaster(LastValue(), period=PERIOD, horizon=15.0, day=DAY)
    outcomes = [forecaster.learn(float(rate), PERIOD * step) for step, rate in enumerate([1, 9, 2, 3, 4], start=1)]
    assert outcomes[:3] == [None, None, None]
    assert outcomes[3] is not None
    assert outcomes[4] is not None
    assert outcomes[3] == pytest.approx((1.0, 9.0))
    assert outcomes[4] == pytest.approx((9.0, 4.0))


def test_a_hole_leaves_nothing_to_judge() -> None:
    forecaster = RateForecaster(LastValue(), period=PERIOD, horizon=PERIOD, day=DAY)
    times = [5.0, 10.0, 25.0, 30.0]
    assert [forecaster.learn(1.0, time) is None for time in times] == [True, False, True, False]


def test_the_stated_coverage_is_kept_while_the_world_drifts() -> None:
    forecaster = RateForecaster(
        LinearQuantile(0.9), period=PERIOD, horizon=HORIZON, day=DAY, margin=QuantileTracker(0.9, step=0.02)
    )
    covered = []
    for step in range(1, 6000):
        outcome = forecaster.learn(rate_at(step) * (1.0 + step / 2000.0), PERIOD * step)
        if outcome is not None and step > 500:
            covered.append(outcome.actual <= outcome.forecast * (1.0 + 1e-12))
    assert sum(covered) / len(covered) == pytest.approx(0.9, abs=0.02)


# Holt-Winters


def test_holt_winters_finds_level_trend_and_season() -> None:
    model = HoltWinters(season=12, damping=1.0, beta=0.1)
    for step in range(2000):
        model.learn_one(5.0 + 0.01 * step + 2.0 * math.sin(2.0 * math.pi * step / 12.0))
    for ahead, y in enumerate(model.forecast(horizon=12)):
        step = 2000 + ahead
        assert y == pytest.approx(5.0 + 0.01 * step + 2.0 * math.sin(2.0 * math.pi * step / 12.0), abs=0.05)


def test_level_and_damped_trend_are_those_computed_by_hand() -> None:
    model = HoltWinters(alpha=0.5, beta=0.5, damping=0.5)
    for y in (0.0, 4.0, 4.0):
        model.learn_one(y)
    # 4: error 4, level 2, trend 1. 4: error 4 - 2.5, level 2.5 + 0.75, trend 0.5 + 0.375.
    assert model.forecast(horizon=2) == pytest.approx([3.25 + 0.4375, 3.25 + 0.4375 + 0.21875])


def test_a_damped_trend_ends() -> None:
    model = HoltWinters(damping=0.5, alpha=0.5, beta=0.5)
    for y in (0.0, 0.0, 5.0, 10.0):
        model.learn_one(y)
    ahead = model.forecast(horizon=50)
    assert ahead[-1] - ahead[-2] < 1e-9


def test_a_hole_keeps_the_season_in_its_place() -> None:
    model = HoltWinters(season=4)
    for step in range(402):
        model.learn_one(math.nan if step == 399 else 10.0 if step % 4 == 3 else 2.0)
    assert max(range(4), key=lambda ahead: model.forecast(horizon=4)[ahead]) == 1


@pytest.mark.parametrize("bad", [{"season": -1}, {"season": 2.5}, {"alpha": 1.5}, {"damping": math.nan}])
def test_bad_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        HoltWinters(**bad)
