"""From what was recorded to what can be drawn: arrivals and service times fitted, and how well, shown.

>>> rng = np.random.default_rng(1)
>>> fitted = fit_service(rng.lognormal(0.0, 0.5, 5_000))
>>> fitted.distribution.distribution, round(fitted.distribution.scv, 2)
('lognormal', 0.3)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import BadInput
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.arrivals import ArrivalProcess, Mmpp, Poisson, Profile, Renewal
from rarera_sim.simulation.distributions import Distribution, Kind, problem_of_sample
from rarera_sim.simulation.generators import DAY, MINUTE, counts_of, index_of_dispersion
from rarera_sim.simulation.kernel import Streams

_DRAWS = 100_000  # that stand for a fitted distribution: the KS distance is exact to about 0.003
_QUANTILES = np.array([0.01, 0.05, *np.arange(0.1, 0.95, 0.1), 0.95, 0.99, 0.999])
_EVENTS_MIN = 20


@dataclass(frozen=True)
class ServiceFit:
    """A distribution for a sample, beside those that fit less well.

    Parameters
    ----------
    distribution
        The one with the smallest Kolmogorov-Smirnov distance, with the sample's mean and scv.
    candidates
        One row per kind, best first: `distribution`, `ks` (distance), `p_value`. A p-value after fitting is too
        large: it can refuse a kind, and prove none.
    quantiles
        For a QQ plot: `level`, `sample`, and a column of quantiles for each candidate.
    """

    distribution: Distribution
    candidates: pl.DataFrame
    quantiles: pl.DataFrame


@dataclass(frozen=True)
class ArrivalFit:
    """A kind of arrivals for a sequence of times, beside those that fit less well.

    Parameters
    ----------
    arrivals
        The best.
    candidates
        One row per kind, best first: `arrivals` (in words), `ks` (distance of the gaps' distributions), `dispersion`
        (mean absolute log ratio of the indices of dispersion), `score` (their sum), `rate` (1/s).
    dispersion
        `step_s`, `observed`, and for each candidate its index of dispersion at this step.
    quantiles
        For a QQ plot of gaps: `level`, `sample`, and a column for each candidate.
    """

    arrivals: ArrivalProcess
    candidates: pl.DataFrame
    dispersion: pl.DataFrame
    quantiles: pl.DataFrame


def fit_service(sample: ArrayLike) -> ServiceFit:
    """The distribution of all kinds that comes nearest to a sample of times >= 0, seconds, by mean and scv."""
    times = np.asarray(sample, dtype=np.float64).ravel()
    _enough(times, "service times")
    mean = float(times.mean())
    scv = float(times.var()) / mean**2
    rows, columns = [], {"level": _QUANTILES, "sample": np.quantile(times, _QUANTILES)}
    for name, candidate in _kinds(mean, scv):
        drawn = candidate.draw(Streams(1).generator("fit", name), _DRAWS)
        distance = stats.ks_2samp(times, drawn)
        rows.append((name, float(distance.statistic), float(distance.pvalue), candidate))
        columns[name] = np.quantile(drawn, _QUANTILES)
    rows.sort(key=lambda row: row[1])
    frame = pl.DataFrame(
        [row[:3] for row in rows],
        schema={"distribution": pl.String, "ks": pl.Float64, "p_value": pl.Float64},
        orient="row",
    )
    return ServiceFit(rows[0][3], frame, pl.DataFrame(columns))


def fit_arrivals(
    times: ArrayLike, *, duration: float | None = None, period: float = DAY, steps: int = 96, seed: int = 1
) -> ArrivalFit:
    """The kind of arrivals that comes nearest to recorded times: in its gaps, and in how it bursts.

    Tried are Poisson, renewal with the best distribution of gaps, a two-state MMPP, and a rate profile over `period`
    where the times cover two of them. Each is drawn once over the same time and held against the record.

    Parameters
    ----------
    times
        Seconds >= 0.
    duration
        Seconds that they were recorded over; up to the last of them if left out.
    period, steps
        Of the profile: seconds, and steps in it.
    """
    record = np.sort(np.asarray(times, dtype=np.float64).ravel())
    if len(record) < _EVENTS_MIN or not np.isfinite(record).all() or record[0] < 0:
        raise BadInput(f"times must be at least {_EVENTS_MIN} finite numbers >= 0, got {len(record)}")
    until = float(record[-1]) if duration is None else duration
    if not until >= record[-1] or until <= 0:
        raise BadInput(f"duration must be at least the last time, {float(record[-1])!r} s, got {duration!r}")
    gaps = np.diff(record)
    spans = [step for step in (1.0, 10.0, MINUTE, 600.0, 3_600.0) if step <= until / 20 and len(record) * step > until]
    spans = spans or [until / 20]
    observed = [index_of_dispersion(record, step=step, duration=until) for step in spans]
    rows = []
    dispersion: dict[str, ArrayLike] = {"step_s": spans, "observed": observed}
    quantiles: dict[str, ArrayLike] = {"level": _QUANTILES, "sample": np.quantile(gaps, _QUANTILES)}
    for name, candidate in _arrivals(record, gaps, until, period, steps):
        drawn = candidate.times(Streams(seed), until, "fit", name)
        if len(drawn) < 2:
            continue
        distance = float(stats.ks_2samp(gaps, np.diff(drawn)).statistic)
        theirs = [index_of_dispersion(drawn, step=step, duration=until) for step in spans]
        ratios = np.abs(np.log(np.maximum(theirs, 1e-9) / np.maximum(observed, 1e-9)))
        off = float(ratios.mean())
        rows.append((name, distance, off, distance + off, candidate.rate_mean, candidate))
        dispersion[name] = theirs
        quantiles[name] = np.quantile(np.diff(drawn), _QUANTILES)
    rows.sort(key=lambda row: row[3])
    schema = {"arrivals": pl.String, **dict.fromkeys(("ks", "dispersion", "score", "rate"), pl.Float64)}
    frame = pl.DataFrame([row[:5] for row in rows], schema=schema, orient="row")
    return ArrivalFit(rows[0][5], frame, pl.DataFrame(dispersion), pl.DataFrame(quantiles))


def service_times_of_log(url: str) -> NDArray[np.float64]:
    """How long each event of a run was worked on, seconds, from the journeys that a run keeps beside its log."""
    with closing(open_log(url, read_only=True)) as log:
        if not isinstance(log, SqliteLog):
            raise BadInput(f"log {url} keeps no journeys; a run with an SQLite log does")
        found = []
        for _, event in log.read():
            started = None
            for step in log.steps_of(event.id):
                if step.stage == Stage.STARTED:
                    started = step.time  # the last one counts: a crash makes an event start again
                elif step.stage == Stage.FINISHED and started is not None:
                    found.append(step.time - started)
    if not found:
        raise BadInput(f"log {url} has no journeys beside it, or nothing in it was finished")
    return np.array(found)


def _enough(sample: NDArray[np.float64], what: str) -> None:
    problem = problem_of_sample(sample)
    if problem is None and len(sample) < _EVENTS_MIN:
        problem = f"at least {_EVENTS_MIN} are needed, got {len(sample)}"
    if problem:
        raise BadInput(f"{what}: {problem}")


def _kinds(mean: float, scv: float) -> Iterator[tuple[str, Distribution]]:
    for kind in get_args(Kind):
        if kind == "empirical":
            continue
        candidate = Distribution(distribution=kind, mean=mean, scv=scv)
        if candidate.problem() is None:
            yield kind, candidate


def _arrivals(
    record: NDArray[np.float64], gaps: NDArray[np.float64], until: float, period: float, steps: int
) -> Iterator[tuple[str, ArrivalProcess]]:
    rate = len(record) / until
    yield "poisson", Poisson(rate=rate)
    if gaps.any():
        yield "renewal", Renewal(gap=fit_service(gaps).distribution)
    if until >= 2 * period:
        step = period / steps
        counts = counts_of(record, step=step, duration=until)
        whole = counts[: len(counts) // steps * steps].reshape(-1, steps)
        yield "profile", Profile(rates=tuple((whole.mean(axis=0) / step).tolist()), step=step)
    # Steps with about fifty events: fine enough to see a burst, and coarse enough not to see one in every gap.
    step = max(50.0 / rate, until / 100_000)
    counts = counts_of(record, step=step, duration=until)
    if len(counts) >= 20:
        high = counts > (counts.min() + counts.max()) / 2.0
        for _ in range(20):  # two means
            if not 0 < high.sum() < len(high):
                return
            high = counts > (counts[high].mean() + counts[~high].mean()) / 2.0
        changes = int((np.diff(high.astype(int)) != 0).sum()) + 1
        if 0 < high.sum() < len(high) and changes >= 4:
            stays = tuple(float(state.sum()) * step / (changes / 2) for state in (~high, high))
            rates = tuple(float(counts[state].mean()) / step for state in (~high, high))
            yield "mmpp", Mmpp(rates=rates, stays=stays)
