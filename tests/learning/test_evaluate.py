"""Rolling-origin evaluation: what each forecast is worth, on traces made here and on recorded ones where they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rarera_sim.learning.drift import Forgetful
from rarera_sim.learning.evaluate import evaluated, pinball, rolling_origin
from rarera_sim.learning.intervals import AdaptiveConformal, QuantileTracker
from rarera_sim.learning.rates import LastValue, LinearQuantile, RateForecaster, SeasonalNaive
from rarera_sim.learning.series import HoltWinters

TRACES = Path(__file__).parents[3] / "shared" / "traces"
PERIOD, HORIZON, QUANTILE = 15.0, 75.0, 0.95


def calendar(days: int) -> list[float]:
    """Per 15 s: bursts of five times the rate for three minutes at minute 2 and 32, on a daily wave."""
    rates = []
    for step in range(days * 5760):
        minute = step / 4.0 % 30.0
        wave = 40.0 + 15.0 * math.sin(2.0 * math.pi * step / 5760.0) + 3.0 * math.sin(step * step)
        rates.append(wave * (5.0 if 2.0 <= minute < 5.0 else 1.0))
    return rates


def forecaster(model: Callable[[], object]) -> Callable[[], RateForecaster]:
    return lambda: RateForecaster(
        model(),  # type: ignore[arg-type]
        period=PERIOD,
        horizon=HORIZON,
        margin=QuantileTracker(QUANTILE),
    )


def ticking() -> Callable[[], float]:
    moments: Iterator[float] = iter(float(second) for second in range(10**6))
    return lambda: next(moments)


def test_pinball_is_least_at_the_quantile() -> None:
    values = [float(value) for value in range(100)]
    losses = [sum(pinball(value, forecast, 0.9) for value in values) for forecast in values]
    assert losses.index(min(losses)) in (89, 90)


def test_a_forecast_is_scored_against_what_came_true() -> None:
    score = rolling_origin(
        RateForecaster(LastValue(), period=60.0, horizon=60.0), [1.0, 3.0, 2.0, 2.0], quantile=0.9, skip=1
    )
    # The rise is training; then 3 against 2, and 2 against 2.
    assert score.count == 2
    assert score.mae == pytest.approx(0.5)
    assert score.coverage == 1.0
    assert score.pinball == pytest.approx(0.05)


def test_rows_are_ready_for_a_frame() -> None:
    makers = {"naive": forecaster(LastValue), "linear": forecaster(lambda: LinearQuantile(QUANTILE))}
    rows = list(evaluated(makers, {"up": [1.0] * 50, "down": [2.0] * 50}, QUANTILE, clock=ticking()))
    assert [(row["trace"], row["forecaster"]) for row in rows] == [
        ("up", "naive"), ("up", "linear"), ("down", "naive"), ("down", "linear"),
    ]  # fmt: skip
    assert {tuple(row) for row in rows} == {tuple(rows[0])}, "the same columns in all rows"
    assert rows[0]["us_per_update"] == pytest.approx(1e6 / 50)


def test_the_calendar_is_worth_its_features() -> None:
    makers = {
        "last": forecaster(LastValue),
        "smooth": forecaster(HoltWinters),
        "linear": forecaster(lambda: LinearQuantile(QUANTILE)),
    }
    loss = {row["forecaster"]: row["pinball_share"] for row in evaluated(makers, {"": calendar(2)}, QUANTILE, skip=0.5)}
    assert loss["linear"] < 0.6 * loss["last"]
    assert loss["linear"] < 0.6 * loss["smooth"]


@pytest.mark.parametrize("margin", [QuantileTracker, AdaptiveConformal])
def test_coverage_is_kept_through_a_drift(margin: Callable[[float], QuantileTracker | AdaptiveConformal]) -> None:
    rates = calendar(2)
    rates = rates + [2.0 * rate for rate in rates[60:]]
    forecaster = RateForecaster(LinearQuantile(0.9), period=PERIOD, horizon=HORIZON, margin=margin(0.9))
    assert rolling_origin(forecaster, rates, 0.9, skip=5760).coverage == pytest.approx(0.9, abs=0.015)


@pytest.mark.skipif(not TRACES.is_dir(), reason="recorded traces are not beside the checkout (../shared/traces)")
def test_on_recorded_taxi_rides_a_model_beats_both_naive_ones() -> None:
    polars = pytest.importorskip("polars")
    counts = polars.read_parquet(TRACES / "nab_nyc_taxi_passengers_30min.parquet")["value"].to_list()
    makers = {
        name: (lambda model=model: RateForecaster(model(), period=1800.0, horizon=3600.0, margin=QuantileTracker(0.95)))
        for name, model in {
            "last": LastValue,
            "seasonal": SeasonalNaive,
            "linear": lambda: LinearQuantile(0.95),
        }.items()
    }
    rows = list(evaluated(makers, {"taxi": [count / 1800.0 for count in counts]}, 0.95))
    loss = {row["forecaster"]: row["pinball_share"] for row in rows}
    # The same half-hour of yesterday is worse than the last one: weekends are no weekdays. The features find that out.
    assert loss["linear"] < loss["last"] < loss["seasonal"]
    assert all(row["coverage"] == pytest.approx(0.95, abs=0.02) for row in rows)


def test_forgetting_is_a_model_like_any_other() -> None:
    from river.drift import ADWIN

    makers = {"forgetful": forecaster(lambda: Forgetful(lambda: LinearQuantile(QUANTILE), ADWIN()))}
    row = next(evaluated(makers, {"": calendar(1)[:2000]}, QUANTILE))
    assert row["coverage"] > 0.9
