"""What `rarera bench detectors` does, on series made here and, where they are, on a few of the labelled ones."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import pytest

from rarera_sim.anomalies import AlertPolicy, Surprise, default_alerts
from rarera_sim.benchmarks import detectors as bench
from rarera_sim.benchmarks.behaviours import KINDS, find, labelled
from rarera_sim.benchmarks.nab import PROFILES, Ground, normalised, read_folder
from rarera_sim.core.errors import BadInput

SHARED = Path(__file__).parents[3] / "shared" / "nab"


@pytest.fixture
def folder(tmp_path):
    """Three series of noise, with a plain step in two of them."""
    labels = {}
    for number in range(3):
        chance = Random(number)
        start = datetime(2020, 1, 1, tzinfo=UTC)
        times = [(start + timedelta(minutes=5 * n)).strftime("%Y-%m-%d %H:%M:%S") for n in range(1_000)]
        name = f"kind{number % 2}/series{number}.csv"
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = [chance.gauss(10.0, 1.0) + (25.0 if number < 2 and 620 <= n < 660 else 0.0) for n in range(1_000)]
        path.write_text("timestamp,value\n" + "".join(f"{t},{v}\n" for t, v in zip(times, values, strict=True)))
        labels[name] = [[times[600], times[699]]] if number < 2 else []
    (tmp_path / "windows.json").write_text(json.dumps(labels))
    return tmp_path


def test_a_folder_is_scored_without_choosing_anything_on_it(folder):
    found = bench.score_folder(folder)
    assert (found["series"], found["windows"]) == (3, 2)
    assert set(found["at the default threshold"]) == set(PROFILES)
    assert found["at the best threshold"]["standard"] >= found["at the default threshold"]["standard"] > 50.0
    assert sum(found["raw by series"].values()) == pytest.approx(
        found["at the default threshold"]["standard"] / 100.0 * 4 - 2
    )


def test_scoring_a_folder_is_running_the_detector_and_the_policy_as_a_user_does(folder):
    grounds, raw = [], 0.0
    for series in read_folder(folder):
        detector, alerts, found = Surprise(), default_alerts(), []
        for n, value in enumerate(series.values):
            if alerts.alert(detector.score_one({"value": value})):
                found.append(n)
            detector.learn_one({"value": value})
        grounds.append(Ground(series))
        raw += grounds[-1].raw(found, PROFILES["standard"])
    plain = normalised(raw, grounds, PROFILES["standard"])
    assert bench.score_folder(folder)["at the default threshold"]["standard"] == pytest.approx(plain)


def test_what_is_judged_had_no_say_in_what_was_chosen():
    """Two settings, each good on one file only: across files each is judged with the other's."""

    class Whole:
        judged = (0,)

        class series:
            windows = ((0, 1),)

    rows = [[1.0, -1.0], [-1.0, 1.0]]
    assert bench.across(rows, [[0], [1]], [Whole(), Whole()]) == 0.0
    assert bench.across([[1.0, 1.0], [0.0, 0.0]], [[0], [1]], [Whole(), Whole()]) == 100.0


def test_only_the_samples_that_matter_are_given_to_the_policy():
    chance = Random(1)
    scores = [chance.expovariate(1.0) for _ in range(5_000)]
    policy = AlertPolicy(3.0, refractory=20, raise_by=0.1, recovery=1e-3)
    expected = [n for n, score in enumerate(scores) if policy.alert(score)]
    again = AlertPolicy(3.0, refractory=20, raise_by=0.1, recovery=1e-3)
    assert bench.alerts_of(((n, score) for n, score in enumerate(scores) if score >= 3.0), again) == expected


def test_without_series_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(bench, "folder_of_series", lambda _: None)
    monkeypatch.setattr(bench, "behaviour_rows", lambda **_: [])
    (row,) = bench.run(quick=True, long=False, progress=lambda *_: None)
    assert row.value is None
    assert "RARERA_NAB" in row.against


def test_a_folder_that_is_named_must_be_one(monkeypatch, tmp_path):
    monkeypatch.setenv("RARERA_NAB", str(tmp_path))
    with pytest.raises(BadInput, match=r"holds no windows\.json"):
        bench.folder_of_series()


def test_the_default_keeps_most_of_its_score_on_a_few_labelled_series():
    if not (SHARED / "windows.json").is_file():
        pytest.skip("the labelled series are not there")
    series = [each for each in read_folder(SHARED) if each.category in ("realTraffic", "artificialWithAnomaly")]
    grounds = [Ground(each) for each in series]
    scores, _ = bench.run_detector(Surprise, series)
    judged = bench.with_policy(scores, grounds, [default_alerts().threshold])
    assert judged.scores["standard"] > 65.0
    assert judged.scores["standard"] > bench.without_policy(scores, grounds).scores["standard"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_behaviour_is_found_soon_and_little_else(kind):
    found = find(kind, labelled(kind, np.random.default_rng([9, len(kind)]), 80_000))
    assert found.recall >= 0.9
    assert not math.isnan(found.delay)
    assert found.delay < 300
    assert found.false_alarms <= 100.0
