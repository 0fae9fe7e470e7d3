"""The Numenta Anomaly Benchmark's way of scoring: early alerts in a labelled window are worth most, all others cost.

    sigma(y) = 2 / (1 + exp(5 y)) - 1,   -1 beyond y = 3
    in a window    the earliest alert counts sigma(y) / sigma(-1), y from -1 (first sample) to -1 / width (last)
    missed         a window without an alert counts -fn
    elsewhere      each alert counts fp * sigma(y), y = samples since the last window ended / (its width - 1);
                   -fp where there was no window before
    score = 100 (sum - null) / (perfect - null),   null: no alert, perfect: one at the first sample of each window

The first 15 % of a series, at most 750 samples, are for learning and are not judged. The threshold is one for all
series, and for each profile the one that scores best.

References
----------
Lavin, Ahmad (2015), Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark, ICMLA.
NAB's code: nab/sweeper.py, nab/scorer.py, config/profiles.json (github.com/numenta/NAB).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rarera_sim.core.errors import BadInput


class Profile(NamedTuple):
    """What is paid for an alert outside of every window, and for a window missed; a window found pays 1."""

    fp: float
    fn: float


PROFILES = {"standard": Profile(0.11, 1.0), "low FP": Profile(0.22, 1.0), "low FN": Profile(0.11, 2.0)}
PROBATION = 0.15
PROBATION_MAX = 750


@dataclass(frozen=True)
class Series:
    """A stream with its labels.

    Parameters
    ----------
    windows
        First and last sample of each abnormal window, both included, in order and apart.
    """

    name: str
    times: tuple[float, ...]
    values: tuple[float, ...]
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Samples at the beginning that are not judged."""
        return min(math.floor(PROBATION * len(self.values)), math.floor(PROBATION * 5000))

    @property
    def category(self) -> str:
        return self.name.partition("/")[0]


def scaled_sigmoid(position: float) -> float:
    """What an alert counts by its place relative to a window's end, in window widths.

    >>> [round(scaled_sigmoid(y), 4) for y in (-1.0, 0.0, 1.0, 3.5)]
    [0.9866, 0.0, -0.9866, -1.0]
    """
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


class Ground:
    """What an alert at each sample of a series counts, worked out once.

    `weights[i]` is that of a window found at sample i, or of an alert outside (to be multiplied by fp); `window[i]`
    says which window the sample is in, -1 for none; None before the end of probation.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        best = scaled_sigmoid(-1.0)
        self.weights: list[float] = []
        self.window: list[int | None] = []
        pending = list(enumerate(series.windows))
        before: tuple[int, int] | None = None
        for sample in range(len(series.values)):
            if pending and sample > pending[0][1][1]:
                before = pending.pop(0)[1]
            number, (first, last) = pending[0] if pending else (-1, (sample + 1, sample + 1))
            if first <= sample:
                weight = scaled_sigmoid(-(last - sample + 1) / (last - first + 1)) / best
            else:
                number = -1
                weight = (
                    -1.0 if before is None else scaled_sigmoid((sample - before[1]) / max(1, before[1] - before[0]))
                )
            self.weights.append(weight)
            self.window.append(number if sample >= series.probation else None)
        self.judged = sorted({number for number in self.window if number is not None and number >= 0})

    def raw(self, alerts: Iterable[int], profile: Profile) -> float:
        """The sum before it is set between null and perfect."""
        found = dict.fromkeys(self.judged, -profile.fn)
        outside = 0.0
        for sample in alerts:
            window = self.window[sample]
            if window is None:
                continue
            if window < 0:
                outside += profile.fp * self.weights[sample]
            else:
                found[window] = max(found[window], self.weights[sample])
        return outside + sum(found.values())


def normalised(raw: float, grounds: Sequence[Ground], profile: Profile) -> float:
    """0 as good as no alert at all, 100 perfect; below 0 worse than nothing. NaN where there is no window."""
    windows = sum(len(ground.series.windows) for ground in grounds)
    # A window that lies in probation as a whole can be neither found nor missed, as in NAB's own sums.
    null = -profile.fn * sum(len(ground.judged) for ground in grounds)
    return 100.0 * (raw - null) / (windows - null) if windows else math.nan


def best_threshold(
    scores: Sequence[Sequence[float]], grounds: Sequence[Ground], profile: Profile
) -> tuple[float, float]:
    """The threshold that scores best over all series, and the raw sum it reaches: every sample at or above it alerts.

    All thresholds that make a difference are tried, highest first, as NAB's sweeper does.
    """
    points = sorted(
        (
            (score, number, sample)
            for number, (each, ground) in enumerate(zip(scores, grounds, strict=True))
            for sample, score in enumerate(each)
            if ground.window[sample] is not None
        ),
        reverse=True,
    )
    found = {(number, window): -profile.fn for number, ground in enumerate(grounds) for window in ground.judged}
    total = sum(found.values())
    best = (math.inf, total)
    for place, (score, number, sample) in enumerate(points):
        window = grounds[number].window[sample]
        assert window is not None, "left out above"
        weight = grounds[number].weights[sample]
        if window < 0:
            total += profile.fp * weight
        elif weight > found[number, window]:
            total += weight - found[number, window]
            found[number, window] = weight
        last_of_its_score = place + 1 == len(points) or points[place + 1][0] != score
        if last_of_its_score and total > best[1]:
            best = (score, total)
    return best


def read_series(name: str, path: Path, windows: Sequence[Sequence[str]]) -> Series:
    """One CSV file with the columns `timestamp` and `value`, and its windows as pairs of times."""
    times, values = [], []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                times.append(_seconds(row["timestamp"]))
                values.append(float(row["value"]))
            except (KeyError, TypeError, ValueError) as error:
                raise BadInput(
                    f"{path.name}, sample {len(times) + 1}: needs a timestamp and a value ({error})"
                ) from error
    if not values:
        raise BadInput(f"{path.name} has no samples")
    places = []
    for first, last in windows:
        inside = [n for n, time in enumerate(times) if _seconds(first) <= time <= _seconds(last)]
        if not inside:
            raise BadInput(f"{name}: no sample is in the window from {first} to {last}")
        # Where a time comes twice, the window ends at its first, as in NAB.
        places.append((inside[0], times.index(times[inside[-1]])))
    return Series(name, tuple(times), tuple(values), tuple(sorted(places)))


def read_folder(folder: Path | str) -> list[Series]:
    """All series of a folder that is laid out as NAB is: `windows.json` and `data/CATEGORY/NAME.csv`.

    `windows.json` names each file and its windows: `{"realTraffic/a.csv": [["2015-09-01 11:30:00", "2015-..."]]}`.
    """
    folder = Path(folder)
    try:
        labels: Mapping[str, list[list[str]]] = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{folder} holds no windows.json with the labels of the series") from error
    found = []
    for name, windows in labels.items():
        path = folder / "data" / name
        if not path.is_file():
            raise BadInput(f"windows.json names {name}, which is not in {folder / 'data'}")
        found.append(read_series(name, path, windows))
    return found


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
