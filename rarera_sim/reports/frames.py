"""What figures draw, made of what runs and logs keep: journeys in windows and by stage, forecasts, alerts, causes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from rarera_sim.anomalies import AlertPolicy, Detector
from rarera_sim.anomalies.base import timeline_frame
from rarera_sim.core.lineage import Lineage
from rarera_sim.experiments.run import Run
from rarera_sim.experiments.statistics import batch_means
from rarera_sim.learning.rates import FanForecaster

CONFIDENCE = 0.95
NANOSECONDS = 1_000_000_000


def response_windows(
    journeys: pl.DataFrame, *, window: float, quantiles: Sequence[float] = (0.5, 0.95, 0.99)
) -> pl.DataFrame:
    """Quantiles of the response time of the events that finished in each window, with 95 % intervals.

    The ends of an interval are order statistics, which need no assumption about the distribution; where a window has
    too few events for one, the end is null.

    Parameters
    ----------
    journeys
        finished_s, response_s, see `metrics.journeys`.
    window
        Seconds.

    Examples
    --------
    >>> journeys = pl.DataFrame({"finished_s": [1.0, 2.0, 3.0], "response_s": [0.5, 0.7, 0.6]})
    >>> response_windows(journeys, window=10.0, quantiles=(0.5,)).rows()
    [(10.0, 0.5, 0.6, None, None, 3)]

    References
    ----------
    David, Nagaraja (2003), Order Statistics, 3rd ed., section 7.1.
    """
    done = journeys.select("finished_s", "response_s").drop_nulls().sort("finished_s")
    rows: list[tuple[float, float, float, float | None, float | None, int]] = []
    if done.height:
        number = (done["finished_s"].to_numpy() // window).astype(np.int64)
        edges = np.flatnonzero(np.diff(number)) + 1
        parts = np.split(done["response_s"].to_numpy(), edges)
        for which, part in zip(number[np.concatenate([[0], edges])].tolist(), parts, strict=True):
            ordered = np.sort(part)
            values = np.quantile(ordered, quantiles).tolist()
            rows += [
                ((which + 1) * window, level, value, *_order_interval(ordered, level), len(ordered))
                for level, value in zip(quantiles, values, strict=True)
            ]
    schema = {
        "time_s": pl.Float64,
        "quantile": pl.Float64,
        "response_s": pl.Float64,
        "response_s_low": pl.Float64,
        "response_s_high": pl.Float64,
        "events": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort("quantile", "time_s")


def _order_interval(ordered: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """The order statistics that hold a quantile between them with `CONFIDENCE`; None where there is none that far."""
    count = len(ordered)
    beyond = (1.0 - CONFIDENCE) / 2.0
    low = int(stats.binom.ppf(beyond, count, level)) - 1
    high = int(stats.binom.ppf(1.0 - beyond, count, level))
    # Rank 0 and rank count + 1 are no events: with few of them the largest may well be below the 99 % quantile.
    below = float(ordered[low]) if low >= 0 and stats.binom.cdf(low, count, level) <= beyond else None
    above = float(ordered[high]) if high < count else None
    return (None, None) if below is None or above is None else (below, above)


def alarms(load: pl.DataFrame, quantile: float) -> pl.DataFrame:
    """The control periods in which more events were late than the objective allows: time_s, what.

    >>> load = pl.DataFrame({"time_s": [15.0, 30.0, 45.0], "late_share": [0.0, 0.25, None]})
    >>> alarms(load, quantile=0.99).rows()
    [(30.0, '25 % late')]
    """
    late = load.filter(pl.col("late_share") > 1.0 - quantile + 1e-12)
    return pl.DataFrame(
        {"time_s": late["time_s"], "what": [f"{100 * share:.3g} % late" for share in late["late_share"]]},
        schema={"time_s": pl.Float64, "what": pl.String},
    )


_WAY = ("created_s", "received_s", "recorded_s", "started_s", "finished_s")
_STAGES = ("network", "recording", "waiting", "service")


def stage_times(journeys: pl.DataFrame, *, slowest: float = 0.01) -> pl.DataFrame:
    """Mean time at each stage, of all finished events and of the slowest ones, with 95 % intervals.

    The intervals are of the means of batches (`experiments.statistics.batch_means`), as neighbours wait alike.

    Parameters
    ----------
    journeys
        created_s, received_s, recorded_s, started_s, finished_s, see `metrics.journeys`.
    slowest
        Share of the events, by end-to-end time, that makes the second group.
    """
    done = journeys.select(_WAY).drop_nulls().sort("created_s")
    rows: list[tuple[str, str, float, float | None, float | None]] = []
    if done.height:
        whole = done["finished_s"] - done["created_s"]
        bound = whole.quantile(1.0 - slowest, "higher")
        groups = {"all events": done, f"slowest {100 * slowest:g} %": done.filter(whole >= bound)}
        for group, part in groups.items():
            for stage, begin, end in zip(_STAGES, _WAY, _WAY[1:], strict=False):
                rows.append((group, stage, *_batch_interval((part[end] - part[begin]).to_numpy())))
    schema = {
        "group": pl.String,
        "stage": pl.String,
        "seconds": pl.Float64,
        "seconds_low": pl.Float64,
        "seconds_high": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _batch_interval(values: NDArray[np.float64], batches: int = 20) -> tuple[float, float | None, float | None]:
    if len(values) < 2 * batches:
        return float(values.mean()), None, None
    # The mean of all: that of whole batches leaves out a rest, and then the stages would not add up.
    mean = float(values.mean())
    _, low, high = batch_means(values, batches=batches, confidence=CONFIDENCE)
    if low is None or high is None:
        return mean, None, None
    half = (high - low) / 2.0
    return mean, max(0.0, mean - half), mean + half


def forecasts(
    rates: Sequence[float],
    *,
    period: float,
    horizon: float,
    day: float,
    quantiles: Sequence[float] = (0.5, 0.9, 0.95),
    skip: int = 0,
) -> pl.DataFrame:
    """What a `FanForecaster` said, period by period, of the peak until the horizon, beside the peak that came.

    Columns time_s, quantile, forecast, actual (null where the trace ends before the horizon). Each forecast knows what
    was before it only.

    Parameters
    ----------
    rates
        Mean arrival rate of each period, 1/s.
    period, horizon, day
        Seconds, as in `FanForecaster`.
    skip
        Periods at the beginning that train and are left out.
    """
    fan = FanForecaster(quantiles, period=period, horizon=horizon, day=day)
    ahead = max(1, math.ceil(horizon / period - 1e-9))
    rows: list[tuple[float, float, float, float | None]] = []
    for number, rate in enumerate(rates):
        fan.learn(rate, (number + 1) * period)
        if number < skip:
            continue
        coming = rates[number + 1 : number + 1 + ahead]
        peak = max(coming) if len(coming) == ahead else None
        rows += [
            ((number + 1) * period, level, said, peak) for level, said in zip(quantiles, fan.forecasts(), strict=True)
        ]
    schema = {"time_s": pl.Float64, "quantile": pl.Float64, "forecast": pl.Float64, "actual": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def timeline(
    samples: Mapping[str, Sequence[tuple[int, float]]],
    watch: Mapping[str, tuple[Detector, AlertPolicy]],
) -> pl.DataFrame:
    """What each detector made of its source's samples: source, time_s (since the first sample), value, score, level, alert.

    Parameters
    ----------
    samples
        By source: time as a GST, and value.
    watch
        By source: the detector and the alert policy, which learn on the way.
    """  # noqa: E501 a line that says it all
    frames = []
    begins = min((times[0][0] for times in samples.values() if times), default=0)
    for source, times in samples.items():
        frame = pl.DataFrame(dict(timeline_frame(list(times), *watch[source])))
        seconds = (pl.col("time") - begins) / NANOSECONDS
        columns = (pl.col(name) for name in ("value", "score", "level", "alert"))
        frames.append(frame.select(pl.lit(source).alias("source"), seconds.alias("time_s"), *columns))
    return pl.concat(frames)


def causation(lineage: Lineage) -> pl.DataFrame:
    """The first cause of an event that is recorded, and all that follows, line by line as `figures.causation_tree` wants it.

    number, parent, depth, label, type, time_s (since the first).

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> from rarera_sim.core.lineage import lineage
    >>> late = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=NANOSECONDS)
    >>> missed = Event("EWR/UA7", "delayed", {}, source="UA", sequence=1, time=2 * NANOSECONDS, causation=late.id)
    >>> log = MemoryLog()
    >>> _ = log.append([late, missed])
    >>> causation(lineage(log, late.id)).rows()
    [(0, None, 0, 'departed EWR/UA1', 'departed', 0.0), (1, 0, 1, 'delayed EWR/UA7', 'delayed', 1.0)]
    """  # noqa: E501 a line that says it all
    chain = [*reversed(lineage.causes), lineage.recorded]
    lines = [(depth, recorded) for depth, recorded in enumerate(chain)]
    lines += [(len(chain) - 1 + effect.depth, effect.recorded) for effect in lineage.effects]
    begins = lines[0][1].event.time
    above: dict[int, int] = {}
    rows: list[tuple[int, int | None, int, str, str, float]] = []
    for number, (depth, recorded) in enumerate(lines):
        event = recorded.event
        above[depth] = number
        label = f"{event.type} {event.stream}"
        seconds = (event.time - begins) / NANOSECONDS
        rows.append((number, above.get(depth - 1) if depth else None, depth, label, event.type, seconds))
    schema = {
        "number": pl.Int64,
        "parent": pl.Int64,
        "depth": pl.Int64,
        "label": pl.String,
        "type": pl.String,
        "time_s": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def costs(runs: Iterable[Run]) -> pl.DataFrame:
    """What several runs paid for, item by item: `metrics.cost.cost_frame` with the configuration before it."""
    return pl.concat(
        [run.costs.select(pl.lit(run.configuration.label).alias("configuration"), pl.all()) for run in runs]
    )
