"""Detectors of abnormal behaviour.

Each detector reads the labelled series of the Numenta Anomaly Benchmark one sample at a time, scores it, then learns
it; nothing looks ahead. Scores are NAB's own (0: no alert at all, 100: perfect), for its three profiles, with the one
threshold that suits a profile best over all series. "With the alert policy" is the refractory rule and the fatigue of
`default_alerts`, "without" every sample from the threshold on is an alert, as in NAB.

"On other files" is cross-validation: each file is judged with what was chosen on all others, "other categories" leaves
out a category of files at once. "All chosen" chooses the memory, the refractory rule, the fatigue and the threshold;
else only the threshold is chosen. The shape of the detector was found on these 31 files, which no cross-validation over
them can see. The interval is a bootstrap over files at the fixed default threshold, 90 %.

The series are looked for in the folder named by RARERA_NAB, else in `shared/nab` beside the checkout: `windows.json`
and data/CATEGORY/NAME.csv. Behaviours are injected by :mod:`rarera_sim.benchmarks.behaviours` into streams of
200,000 events; "delay" is in samples, of those that were found.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from rarera_sim.anomalies.alerts import AlertPolicy
from rarera_sim.anomalies.base import Detector
from rarera_sim.anomalies.surprise import Surprise, default_alerts
from rarera_sim.benchmarks.behaviours import rows as behaviour_rows
from rarera_sim.benchmarks.measure import Progress, Row, absent, at_most
from rarera_sim.benchmarks.nab import PROFILES, Ground, Series, best_threshold, normalised, read_folder
from rarera_sim.core.errors import BadInput

TITLE = "Detectors of abnormal behaviour"
ABOUT = __doc__
IN_SAMPLE_AIM = 75.0
ACROSS_FILES_AIM = 66.0
COST_AIM = 5.0
QUICK_SERIES = 4

Scores = list[list[float]]
Sparse = list[list[tuple[int, float]]]  # per series, the samples that reach the lowest threshold tried


class _OfTarget:
    """River's detectors of a target, which take the value as `y` and what it depends on as `x`."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def score_one(self, x: dict[str, Any]) -> float:
        return float(self.detector.score_one({}, x["value"]))

    def learn_one(self, x: dict[str, Any]) -> None:
        self.detector.learn_one({}, x["value"])


class _Residual:
    """The error of a forecaster one step ahead, in its usual errors."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.error = 0.0

    def score_one(self, x: dict[str, Any]) -> float:
        if self.error <= 0.0:
            return 0.0
        return float(min(1e9, abs(x["value"] - self.model.forecast(horizon=1)[0]) / self.error))

    def learn_one(self, x: dict[str, Any]) -> None:
        self.error += 0.01 * (abs(x["value"] - self.model.forecast(horizon=1)[0]) - self.error)
        self.model.learn_one(x["value"])


def rivers() -> dict[str, Callable[[], Detector]]:
    """River's detectors with their own settings, which are chosen by nobody here."""
    from river import anomaly, linear_model, optim, preprocessing, time_series

    gaussian: Any = anomaly.GaussianScorer  # without types in River

    def snarimax() -> Any:
        regressor = preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(0.005))
        return time_series.SNARIMAX(p=8, d=0, q=0, regressor=regressor)

    found: dict[str, Callable[[], Any]] = {
        "StandardAbsoluteDeviation": lambda: _OfTarget(anomaly.StandardAbsoluteDeviation()),
        "GaussianScorer": lambda: _OfTarget(gaussian(window_size=500)),
        "HalfSpaceTrees": lambda: (
            preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=10, height=6, window_size=250, seed=42)
        ),
        "OneClassSVM": lambda: preprocessing.StandardScaler() | anomaly.OneClassSVM(nu=0.1),
        "SNARIMAX residual": lambda: _Residual(snarimax()),
        "PredictiveAnomalyDetection": lambda: _OfTarget(
            anomaly.PredictiveAnomalyDetection(snarimax(), horizon=1, n_std=3.5, warmup_period=100)
        ),
    }
    if hasattr(anomaly, "LODA"):
        found["LODA"] = lambda: preprocessing.StandardScaler() | anomaly.LODA(seed=42)
    return found


class Judged(NamedTuple):
    """What a detector reached.

    Parameters
    ----------
    scores
        By profile, best threshold.
    thresholds
        By profile.
    """

    scores: dict[str, float]
    thresholds: dict[str, float]


def run_detector(make: Callable[[], Detector], series: Sequence[Series]) -> tuple[Scores, float]:
    """A new detector for each series; its scores, and microseconds of CPU per event for both verbs together."""
    found = []
    spent = 0.0
    for each in series:
        detector = make()
        samples = [{"value": value, "time": moment} for moment, value in zip(each.times, each.values, strict=True)]
        scores = []
        began = time.process_time()
        for x in samples:
            scores.append(detector.score_one(x))
            detector.learn_one(x)
        spent += time.process_time() - began
        found.append([score if math.isfinite(score) else 0.0 for score in scores])
    return found, spent / max(1, sum(len(each.values) for each in series)) * 1e6


def alerts_of(scores: Iterable[tuple[int, float]], policy: AlertPolicy) -> list[int]:
    """The samples that alert, of those that are given with their place; the others are below the threshold."""
    found, before = [], -1
    for sample, score in scores:
        policy.rest(sample - before - 1)
        if policy.alert(score):
            found.append(sample)
        before = sample
    return found


def _sparse(scores: Scores, lowest: float) -> Sparse:
    return [[(n, score) for n, score in enumerate(each) if score >= lowest] for each in scores]


def _thresholds(scores: Scores, count: int = 60) -> list[float]:
    """Thresholds worth trying: those that a tenth down to a 30,000th of the samples reach."""
    pooled = sorted((score for each in scores for score in each), reverse=True)
    places = [int(len(pooled) * 10.0 ** (-1.0 - 3.5 * step / (count - 1))) for step in range(count)]
    return sorted({pooled[place] for place in places if pooled[place] > 0.0})


def _raws(
    scores: Scores, grounds: Sequence[Ground], thresholds: Sequence[float], policy: Callable[[float], AlertPolicy]
) -> dict[str, list[list[float]]]:
    """Raw sums by profile, `(thresholds, series)`."""
    if not thresholds:
        thresholds = [1.0]
    sparse = _sparse(scores, min(thresholds))
    raws: dict[str, list[list[float]]] = {name: [] for name in PROFILES}
    for threshold in thresholds:
        alerts = [alerts_of(each, policy(threshold)) for each in sparse]
        for name, profile in PROFILES.items():
            raws[name].append([ground.raw(each, profile) for each, ground in zip(alerts, grounds, strict=True)])
    return raws


def like_default(threshold: float) -> AlertPolicy:
    """The default alert policy at another threshold."""
    usual = default_alerts()
    return AlertPolicy(
        threshold, refractory=usual.refractory, raise_by=usual.raise_by, recovery=usual.recovery, rearm=usual.rearm
    )


def with_policy(scores: Scores, grounds: Sequence[Ground], thresholds: Sequence[float]) -> Judged:
    """With the alert policy, each profile at its best threshold."""
    best, where = {}, {}
    for name, rows in _raws(scores, grounds, thresholds, like_default).items():
        total, threshold = max((sum(row), threshold) for row, threshold in zip(rows, thresholds, strict=True))
        best[name], where[name] = normalised(total, grounds, PROFILES[name]), threshold
    return Judged(best, where)


def without_policy(scores: Scores, grounds: Sequence[Ground]) -> Judged:
    """As NAB does."""
    best, where = {}, {}
    for name, profile in PROFILES.items():
        threshold, total = best_threshold(scores, grounds, profile)
        best[name], where[name] = normalised(total, grounds, profile), threshold
    return Judged(best, where)


def across(rows: Sequence[Sequence[float]], groups: Sequence[Sequence[int]], grounds: Sequence[Ground]) -> float:
    """Cross-validated standard score: each group of files with the row of `rows` that is best on all others."""
    total = 0.0
    sums = [sum(row) for row in rows]
    for group in groups:
        best = max(range(len(rows)), key=lambda place: sums[place] - sum(rows[place][each] for each in group))
        total += sum(rows[best][each] for each in group)
    return normalised(total, grounds, PROFILES["standard"])


def interval(
    raws: Sequence[float], grounds: Sequence[Ground], *, draws: int = 2_000, seed: int = 1
) -> tuple[float, float]:
    """5 % and 95 % quantiles of the standard score over files drawn with replacement."""
    chance = Random(seed)
    found = []
    for _ in range(draws):
        places = [chance.randrange(len(grounds)) for _ in grounds]
        drawn = [grounds[place] for place in places]
        if any(ground.judged for ground in drawn):
            found.append(normalised(sum(raws[place] for place in places), drawn, PROFILES["standard"]))
    found.sort()
    return found[int(0.05 * len(found))], found[int(0.95 * len(found)) - 1]


def score_folder(folder: Path | str) -> dict[str, Any]:
    """Our default detector and alert policy, as they are, on a folder of labelled series; nothing is chosen on it.

    `at the default threshold` is the plain answer; `at the best threshold` is NAB's, which chooses it on the series.

    Parameters
    ----------
    folder
        Laid out as :func:`rarera_sim.benchmarks.nab.read_folder` says.
    """
    series = read_folder(folder)
    grounds = [Ground(each) for each in series]
    scores, cost = run_detector(Surprise, series)
    fixed = _raws(scores, grounds, [default_alerts().threshold], like_default)
    plain = {name: normalised(sum(rows[0]), grounds, PROFILES[name]) for name, rows in fixed.items()}
    best = with_policy(scores, grounds, _thresholds(scores) + _FINE)
    by_series = dict(zip((each.name for each in series), fixed["standard"][0], strict=True))
    return {
        "series": len(series),
        "windows": sum(len(each.windows) for each in series),
        "at the default threshold": plain,
        "at the best threshold": best.scores,
        "thresholds": best.thresholds,
        "interval at the default threshold": interval(fixed["standard"][0], grounds),
        "us per event": cost,
        "raw by series": by_series,
    }


_FINE = [3.0 + 0.025 * step for step in range(121)]


def folder_of_series(data: Path | str | None = None) -> Path | None:
    """Where the labelled series are: what is named, RARERA_NAB, `shared/nab` beside the checkout, or nowhere."""
    named = data or os.environ.get("RARERA_NAB")
    if named:
        if not (Path(named) / "windows.json").is_file():
            raise BadInput(f"{named} holds no windows.json with the labels of the series")
        return Path(named)
    beside = Path(__file__).parents[3] / "shared" / "nab"
    return beside if (beside / "windows.json").is_file() else None


def run(*, quick: bool, long: bool, progress: Progress, data: Path | str | None = None) -> list[Row]:  # noqa: ARG001
    folder = folder_of_series(data)
    found: list[Row] = []
    steps = 1
    if folder is None:
        found.append(absent("NAB", "score", "no labelled series; name their folder in RARERA_NAB"))
    else:
        peers = rivers()
        steps = len(peers) + 3
        series = read_folder(folder)
        if quick:
            series = sorted(series, key=lambda each: len(each.values))[:QUICK_SERIES]
        grounds = [Ground(each) for each in series]
        found += _ours(series, grounds, quick, lambda done: progress(done, steps))
        for done, (name, make) in enumerate(peers.items(), start=3):
            scores, cost = run_detector(make, series)
            found += _rows(f"River {name}", scores, grounds, _thresholds(scores))
            found.append(Row(f"River {name}: score and learn", cost, "us/event"))
            progress(done, steps)
    found += behaviour_rows(quick=quick)
    progress(steps, steps)
    return found


def _ours(series: Sequence[Series], grounds: Sequence[Ground], quick: bool, step: Callable[[int], None]) -> list[Row]:
    scores, cost = run_detector(Surprise, series)
    found = [at_most("ours: score and learn", cost, "us/event", COST_AIM)]
    found += _rows("ours", scores, grounds, _FINE, aim=None if quick else IN_SAMPLE_AIM)
    fixed = _raws(scores, grounds, [default_alerts().threshold], like_default)
    for name, raws in fixed.items():
        found.append(
            Row(f"ours at the default threshold, {name}", normalised(sum(raws[0]), grounds, PROFILES[name]), "score")
        )
    low, high = interval(fixed["standard"][0], grounds)
    found.append(Row("ours at the default threshold, standard: low end of the interval", low, "score"))
    found.append(Row("ours at the default threshold, standard: high end of the interval", high, "score"))
    step(1)
    rows: list[list[float]] = []
    for memory in (1200.0,) if quick else (800.0, 1200.0, 1800.0):
        scores = run_detector(lambda memory=memory: Surprise(memory=memory), series)[0]  # type: ignore[misc]
        for refractory, raise_by in product((50, 100, 200), (0.0, 0.1, 0.2)):

            def policy(threshold: float, refractory: int = refractory, raise_by: float = raise_by) -> AlertPolicy:
                return AlertPolicy(threshold, refractory=refractory, raise_by=raise_by, recovery=2e-4)

            rows += _raws(scores, grounds, _FINE[::4], policy)["standard"]
    for words, groups in _groups(series).items():
        value = across(rows, groups, grounds)
        found.append(_aimed(f"ours, all chosen on {words}, standard", value, None if quick else ACROSS_FILES_AIM))
    step(2)
    return found


def _groups(series: Sequence[Series]) -> Mapping[str, list[list[int]]]:
    categories = sorted({each.category for each in series})
    return {
        "other files": [[place] for place in range(len(series))],
        "other categories": [[n for n, each in enumerate(series) if each.category == one] for one in categories],
    }


def _rows(
    who: str, scores: Scores, grounds: Sequence[Ground], thresholds: Sequence[float], aim: float | None = None
) -> list[Row]:
    found = []
    if not thresholds:
        thresholds = [1.0]
    judged = with_policy(scores, grounds, thresholds)
    for name, value in judged.scores.items():
        found.append(_aimed(f"{who} with the alert policy, {name}", value, aim if name == "standard" else None))
    bare = without_policy(scores, grounds)
    found += [Row(f"{who} without, {name}", value, "score") for name, value in bare.scores.items()]
    rows = _raws(scores, grounds, thresholds, like_default)["standard"]
    series = [ground.series for ground in grounds]
    for words, groups in _groups(series).items():
        found.append(Row(f"{who}, threshold chosen on {words}, standard", across(rows, groups, grounds), "score"))
    return found


def _aimed(case: str, value: float, aim: float | None) -> Row:
    if aim is None:
        return Row(case, value, "score")
    return Row(case, value, "score", f"an aim of {aim:g}", value / aim, 1.0, value >= aim)
