"""How good a forecast is: rolling-origin evaluation, each forecast judged by what was not yet known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rarera_sim.learning.rates import RateForecaster


def pinball(actual: float, forecast: float, quantile: float) -> float:
    """Loss whose expectation is least at the quantile: an actual value above costs q, one below 1 - q, per unit.

    Written out here, as `river.optim.losses.Quantile` (0.26) has the right gradient and, when called, the sides
    exchanged.

    Examples
    --------
    >>> pinball(actual=12.0, forecast=10.0, quantile=0.75), pinball(actual=8.0, forecast=10.0, quantile=0.75)
    (1.5, 0.5)

    References
    ----------
    Koenker, Bassett (1978), Regression quantiles, Econometrica 46(1), 33-50.
    """
    return max(quantile * (actual - forecast), (quantile - 1.0) * (actual - forecast))


@dataclass(frozen=True)
class Score:
    """What a rolling-origin evaluation found. Rates and losses in 1/s.

    Parameters
    ----------
    count
        Forecasts judged.
    pinball
        Mean pinball loss at the quantile asked for.
    coverage
        Share of the actual values not above the forecast.
    mae
        Mean absolute error.
    actual_mean
        Mean of the actual values, to read the losses against.
    """

    count: int
    pinball: float
    coverage: float
    mae: float
    actual_mean: float


def rolling_origin(forecaster: RateForecaster, rates: Iterable[float], quantile: float, skip: int = 0) -> Score:
    """Feed `rates` period by period, and judge each forecast once the periods it spoke about are over.

    Parameters
    ----------
    rates
        One per period of the forecaster, 1/s, from time 0.
    quantile
        Of the pinball loss, in (0, 1).
    skip
        Outcomes at the beginning that train and are not judged.

    Examples
    --------
    >>> from rarera_sim.learning.rates import LastValue
    >>> naive = RateForecaster(LastValue(), period=60.0, horizon=60.0, day=3600.0)
    >>> score = rolling_origin(naive, [1.0, 2.0, 1.0, 2.0, 1.0], quantile=0.5)
    >>> score.count, round(score.mae, 6), score.coverage
    (4, 1.0, 0.5)
    """
    losses: list[float] = []
    errors: list[float] = []
    actuals: list[float] = []
    covered = 0
    for index, rate in enumerate(rates):
        outcome = forecaster.learn(rate, (index + 1) * forecaster.period)
        if outcome is None:
            continue
        if skip > 0:
            skip -= 1
            continue
        losses.append(pinball(outcome.actual, outcome.forecast, quantile))
        errors.append(abs(outcome.actual - outcome.forecast))
        actuals.append(outcome.actual)
        # A forecast and its value may differ in the last bit after the logarithm and back.
        covered += outcome.actual <= outcome.forecast * (1.0 + 1e-12)
    count = len(losses)
    if count == 0:
        raise ValueError("no forecast could be judged: fewer rates than the horizon is long, or all skipped")
    return Score(count, sum(losses) / count, covered / count, sum(errors) / count, sum(actuals) / count)
