"""What the near future needs: the required rate, and a distribution of it that is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rarera_sim.experiments.scenario import default_scenario
from rarera_sim.experiments.workload import prepared
from rarera_sim.learning.peaks import Forecast, PeakForecaster, required_rate


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slack", [0.0, 3.0, 40.0])
def test_with_the_required_rate_nobody_waits_too_long_and_with_less_somebody_does(seed: int, slack: float) -> None:
    rates = np.random.default_rng(seed).exponential(20.0, 6).tolist()

    def wait_longest(capacity: float) -> float:
        backlog = longest = 0.0
        for rate in rates:
            backlog = max(0.0, backlog + (rate - capacity) * 15.0)
            longest = max(longest, backlog / capacity)
        return longest

    required = required_rate(rates, 15.0, slack)
    assert wait_longest(required * 1.0001) <= slack + 1e-3 * (1.0 + slack)
    assert wait_longest(required * 0.99) > slack


def waves(steps: int, seed: int = 2) -> list[float]:
    chance = np.random.default_rng(seed)
    means = 50.0 + 30.0 * np.sin(np.arange(steps) / 120.0) + 60.0 * (chance.random(steps) < 0.02)
    return (chance.poisson(means * 15.0) / 15.0).tolist()


def test_a_forecast_is_a_distribution() -> None:
    forecaster = PeakForecaster()
    for step, rate in enumerate(waves(300), 1):
        forecaster.learn(rate, 15.0 * step)
    forecast = forecaster.forecast()
    assert forecast.shares.sum() == pytest.approx(1.0)
    assert np.all(forecast.shares >= 0.0)
    assert np.all(np.diff(forecast.rates) > 0.0)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.97])
def test_a_quantile_is_kept_as_often_as_it_says(level: float) -> None:
    forecaster, rates = PeakForecaster(), waves(2500)
    kept: list[bool] = []
    for step in range(1, len(rates) - 5):
        forecaster.learn(rates[step - 1], 15.0 * step)
        if step > 1000:
            needed = required_rate(rates[step : step + 5], 15.0, 0.0)
            kept.append(needed <= forecaster.forecast().quantile(level))
    # A quantile is the upper end of its bin of 5 %: rather kept too often.
    assert level - 0.03 <= np.mean(kept) <= level + 0.1


def test_what_was_not_measured_teaches_nothing() -> None:
    forecaster, spared = PeakForecaster(), PeakForecaster()
    for step, rate in enumerate(waves(100), 1):
        for each in (forecaster, spared):
            each.learn(rate, 15.0 * step)
        for nonsense in (math.nan, math.inf, -1.0):
            forecaster.learn(nonsense, 15.0 * step)
    assert np.array_equal(forecaster.forecast().shares, spared.forecast().shares)


def test_a_burst_that_begins_is_believed() -> None:
    forecaster, chance = PeakForecaster(slack=1.6), np.random.default_rng(1)
    left, believed = 0, []
    for step in range(1, 3 * 5760):
        begins = left == 0 and chance.random() < 1.0 / 700.0
        left = 24 if begins else max(0, left - 1)
        forecaster.learn(chance.poisson((150.0 if left else 60.0) * 15.0) / 15.0, 15.0 * step)
        if begins and step > 5760:
            believed.append(forecaster.forecast().quantile(0.9) / 150.0)
    # With one opinion of the experts for all states .86, as on calm days the last rate is the worst guide.
    assert len(believed) >= 6
    assert np.median(believed) >= 0.98


def test_the_first_flights_of_the_morning_are_expected() -> None:
    # Sixty times as fast as life: the night ends within two periods.
    rates = [each.arrival_rate for each in prepared(default_scenario(), 1).observations()]
    forecaster, expected = PeakForecaster(horizon=75.0, slack=22.0, day=1440.0), []
    for step in range(1, len(rates) - 5):
        forecaster.learn(rates[step - 1], 15.0 * step)
        needed = required_rate(rates[step : step + 5], 15.0, 22.0)
        if step > 7 * 96 and needed > max(3.0 * rates[step - 1], 0.7):
            expected.append(needed <= forecaster.forecast().quantile(0.95))
    # Without an expert for the quarters of an hour .88 of 85.
    assert np.mean(expected) >= 0.95


def test_without_a_calendar_the_time_of_day_says_nothing() -> None:
    forecasts: list[Forecast] = []
    for start in (0.0, 20_000.0):
        forecaster = PeakForecaster(calendar=False)
        for step, rate in enumerate(waves(200), 1):
            forecaster.learn(rate, start + 15.0 * step)
        forecasts.append(forecaster.forecast())
    assert np.array_equal(forecasts[0].shares, forecasts[1].shares)


def test_nothing_learned_is_nothing_forecast() -> None:
    with pytest.raises(ValueError, match="call learn first"):
        PeakForecaster().forecast()


@pytest.mark.parametrize("name", ["period", "horizon", "day", "slack", "learning_rate", "share"])
@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_number_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        PeakForecaster(**{name: value})
