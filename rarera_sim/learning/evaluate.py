"""How good a forecast is: rolling-origin evaluation, each forecast judged by what was not yet known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


def evaluated(
    forecasters: Mapping[str, Callable[[], RateForecaster]],
    traces: Mapping[str, Sequence[float]],
    quantile: float,
    *,
    skip: float = 0.2,
    clock: Callable[[], float] | None = None,
) -> Iterator[dict[str, Any]]:
    """One row per trace and forecaster: names, the `Score`, and what an update cost; ready for a data frame.

    Parameters
    ----------
    forecasters
        Each makes a new one, by name.
    traces
        Rates per period, 1/s, by name.
    quantile
        Of the pinball loss, in (0, 1).
    skip
        Share of each trace that trains and is not judged, in [0, 1).
    clock
        Seconds of CPU, such as `time.process_time`, as this layer has no clock of its own; None leaves the cost out.

    Examples
    --------
    >>> from rarera_sim.learning.rates import LastValue
    >>> naive = lambda: RateForecaster(LastValue(), period=60.0, horizon=60.0, day=3600.0)
    >>> for row in evaluated({"naive": naive}, {"up": [1.0, 2.0, 3.0, 4.0, 5.0]}, quantile=0.9):
    ...     print(row["trace"], row["forecaster"], round(row["pinball"], 6), round(row["pinball_share"], 6))
    up naive 0.9 0.225
    """
    if not 0.0 <= skip < 1.0:
        raise ValueError(f"skip must be >= 0 and < 1, got {skip!r}")
    for trace, rates in traces.items():
        for name, make in forecasters.items():
            begun = clock() if clock is not None else 0.0
            score = rolling_origin(make(), rates, quantile, int(skip * len(rates)))
            row = {"trace": trace, "forecaster": name, **asdict(score)}
            # What is comparable between traces: the loss as a share of the mean.
            row["pinball_share"] = score.pinball / score.actual_mean if score.actual_mean > 0.0 else None
            row["us_per_update"] = (clock() - begun) / len(rates) * 1e6 if clock is not None else None
            yield row
