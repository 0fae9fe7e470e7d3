"""Forecasts of the arrival rate, compared: prints the table of docs/models.md.

    python -m rarera_sim.benchmarks.forecasts [--nasa FILE]

FILE: Parquet with requests per second (columns `t_s`, `requests`), such as the NASA log of July 1995; seven days of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from river import drift, linear_model, optim, time_series, tree

from rarera_sim.learning.drift import Forgetful
from rarera_sim.learning.evaluate import evaluated
from rarera_sim.learning.intervals import AdaptiveConformal, Margin, QuantileTracker
from rarera_sim.learning.rates import LastValue, LinearQuantile, RateForecaster, SeasonalNaive
from rarera_sim.learning.series import HoltWinters

PERIOD, HORIZON, QUANTILE = 15.0, 75.0, 0.95
DAY = 5760  # periods
Rates = NDArray[np.floating[Any]]
# River has no types, and strict checking forbids to call what has none.
RiversHoltWinters: Any = time_series.HoltWinters
Adwin: Any = drift.ADWIN


def calendar(days: int, seed: int = 7) -> Rates:
    """Bursts of 5 to 9 times the rate for 2 to 4 minutes, begun within the minutes 2 and 32 of the hour, on a wave."""
    chance = np.random.default_rng(seed)
    moments = (np.arange(days * DAY) + 0.5) * PERIOD
    more = np.zeros(len(moments))
    for half_hour in range(days * 48):
        begin = half_hour * 1800.0 + (2.0 + chance.uniform()) * 60.0
        more[(moments >= begin) & (moments < begin + chance.uniform(120.0, 240.0))] = chance.uniform(4.0, 8.0)
    return _counted(_wave(moments, 40.0) * (1.0 + more), chance)


def bursty(days: int, seed: int = 8) -> Rates:
    """Eight bursts a day of 2.5 times the rate, 6 minutes long on average, at any time, on a wave."""
    chance = np.random.default_rng(seed)
    moments = (np.arange(days * DAY) + 0.5) * PERIOD
    times = np.ones(len(moments))
    for _ in range(8 * days):
        begin = int(chance.integers(len(times)))
        times[begin : begin + int(chance.exponential(24.0))] = 2.5
    return _counted(_wave(moments, 50.0) * times, chance)


def drifting(days: int, seed: int = 7) -> Rates:
    """`calendar`, ten minutes later and at 1.8 times the rate from the middle on."""
    rates = calendar(days, seed)
    half = len(rates) // 2
    rates[half:] = np.roll(rates[half:], 40) * 1.8
    return rates


def nasa(path: Path, first: int = 3, days: int = 7, seed: int = 9) -> Rates:
    """Days of a log of requests per second, each request taken 20 times within 30 s of its time."""
    frame = pl.read_parquet(path).filter(pl.col("t_s").is_between(first * 86_400 - 30, (first + days) * 86_400 + 30))
    times = np.repeat(frame["t_s"].to_numpy().astype(float), frame["requests"].to_numpy() * 20)
    times += np.random.default_rng(seed).uniform(-30.0, 30.0, len(times)) - first * 86_400.0
    counts, _ = np.histogram(times, bins=days * DAY, range=(0.0, days * DAY * PERIOD))
    rates: Rates = counts / PERIOD
    return rates


def _wave(moments: Rates, mean: float) -> Rates:
    wave: Rates = mean * (1.0 + 0.4 * np.sin(2.0 * np.pi * moments / 86_400.0 - 2.0))
    return wave


def _counted(rates: Rates, chance: np.random.Generator) -> Rates:
    counts: Rates = chance.poisson(rates * PERIOD) / PERIOD
    return counts


def _with(model: Callable[[], Any], margin: Callable[[], Margin | None]) -> Callable[[], RateForecaster]:
    return lambda: RateForecaster(model(), period=PERIOD, horizon=HORIZON, margin=margin())


def _tracked(model: Callable[[], Any]) -> Callable[[], RateForecaster]:
    return _with(model, lambda: QuantileTracker(QUANTILE))


def _linear() -> LinearQuantile:
    return LinearQuantile(QUANTILE)


def _rivers_linear() -> Any:
    return linear_model.LinearRegression(
        optimizer=optim.AdaGrad(0.1), loss=optim.losses.Quantile(QUANTILE), intercept_lr=0.0
    )


FORECASTERS: dict[str, Callable[[], RateForecaster]] = {
    "last value": _tracked(LastValue),
    "seasonal naive": _tracked(SeasonalNaive),
    "Holt-Winters": _tracked(HoltWinters),
    "Holt-Winters, daily": _tracked(lambda: HoltWinters(season=DAY)),
    "River Holt-Winters": _tracked(lambda: RiversHoltWinters(alpha=0.3, beta=0.05)),
    "River SNARIMAX": _tracked(lambda: time_series.SNARIMAX(p=4, d=0, q=0)),
    "River adaptive tree": _tracked(lambda: tree.HoeffdingAdaptiveTreeRegressor(seed=1)),
    "River linear quantile": _tracked(_rivers_linear),
    "linear quantile": _tracked(_linear),
    "linear quantile, no margin": _with(_linear, lambda: None),
    "linear quantile, ACI": _with(_linear, lambda: AdaptiveConformal(QUANTILE)),
    "linear quantile, ADWIN": _tracked(lambda: Forgetful(_linear, Adwin())),
    "linear quantile, Page-Hinkley": _tracked(lambda: Forgetful(_linear, drift.PageHinkley())),
}


def main() -> None:
    """Print a row of Markdown per trace and forecaster as soon as it is known."""
    parser = argparse.ArgumentParser(description="Forecasts of the arrival rate, compared.")
    parser.add_argument("--days", type=int, default=4, help="days of each drawn trace")
    parser.add_argument("--nasa", type=Path, help="Parquet file with t_s and requests")
    parser.add_argument("--tree", action="store_true", help="the adaptive tree too, which takes minutes")
    options = parser.parse_args()
    traces = {"nasa": nasa(options.nasa)} if options.nasa else {}
    traces |= {each.__name__: each(options.days) for each in (calendar, bursty, drifting)}
    forecasters = {name: make for name, make in FORECASTERS.items() if options.tree or "tree" not in name}
    print("| trace | forecaster | loss % | covered | MAE % | us |\n| --- | --- | --- | --- | --- | --- |")
    for row in evaluated(forecasters, {name: list(rates) for name, rates in traces.items()}, QUANTILE,
                         clock=time.process_time):  # fmt: skip
        mae = row["mae"] / row["actual_mean"]
        figures = f"{row['pinball_share'] * 100:.2f} | {row['coverage']:.3f} | {mae * 100:.1f}"
        print(f"| {row['trace']} | {row['forecaster']} | {figures} | {row['us_per_update']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
