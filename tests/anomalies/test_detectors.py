"""Every detector stands the checks, River's among them, and the checks see what is planted."""

from __future__ import annotations

import math
from random import Random

import pytest
from river import anomaly

from rarera_sim.anomalies import (
    AlertPolicy,
    Behaviour,
    CausationLoop,
    Drift,
    Level,
    Looping,
    Rate,
    Silence,
    Stuck,
    Surprise,
    Watch,
    check_detector,
    default_alerts,
)
from rarera_sim.core.errors import BadInput

DETECTORS = [
    Surprise,
    Level,
    lambda: Level(logarithm=True),
    Drift,
    lambda: Drift(reference=50),
    Rate,
    Silence,
    Stuck,
    Looping,
    lambda: Looping(window=3),
    CausationLoop,
]


@pytest.mark.parametrize("factory", DETECTORS, ids=lambda factory: repr(factory()))
def test_every_detector_stands_the_checks(factory):
    check_detector(factory)


def test_a_detector_that_learns_when_asked_is_found():
    class Learns(Surprise):
        def score_one(self, x):
            score = super().score_one(x)
            self.learn_one(x)
            return score

    with pytest.raises(AssertionError, match="asked twice"):
        check_detector(Learns)


def test_a_detector_that_keeps_a_nan_is_found():
    class Mean:
        mean = 0.0

        def score_one(self, x):
            return abs(x["value"] - self.mean)

        def learn_one(self, x):
            self.mean += 0.1 * (x["value"] - self.mean)

    with pytest.raises(AssertionError, match="scored nan"):
        check_detector(Mean)


def test_a_detector_that_draws_is_found():
    import random

    class Draws(Surprise):
        def score_one(self, x):  # noqa: ARG002
            return float(random.random() > 2.0)

    with pytest.raises(AssertionError, match="drew a random number"):
        check_detector(Draws)


def test_rivers_detectors_fit_unwrapped():
    """Half-space trees want features in [0, 1]; the example is that of River's documentation."""
    detector = anomaly.HalfSpaceTrees(n_trees=5, height=3, window_size=3, seed=42)
    watch = Watch(detector, AlertPolicy(threshold=0.7), Behaviour.CONTENT, "EWR")
    found = [watch.see({"value": value}, n) for n, value in enumerate((0.5, 0.45, 0.43, 0.44, 0.445, 0.45, 0.0))]
    assert [each is not None for each in found[3:]] == [False, False, False, True]


def test_surprise_does_not_care_for_scale_and_origin():
    chance = Random(2)
    values = [chance.gauss(0.0, 1.0) for _ in range(2_000)]
    values[1_500] += 12.0
    plain, moved = Surprise(), Surprise()
    for value in values:
        a, b = plain.score_one({"value": value}), moved.score_one({"value": 1e6 + 1e3 * value})
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
        plain.learn_one({"value": value})
        moved.learn_one({"value": 1e6 + 1e3 * value})


def test_surprise_gets_used_to_what_comes_back():
    chance = Random(3)
    detector = Surprise()
    peaks = []
    for n in range(4_000):
        x = {"value": chance.gauss(0.0, 1.0) + (30.0 if n >= 300 and n % 100 == 0 else 0.0)}
        score = detector.score_one(x)
        detector.learn_one(x)
        if n >= 300 and n % 100 == 0:
            peaks.append(score)
    assert peaks[0] > default_alerts().threshold
    assert max(peaks[20:]) < peaks[0] / 2


def test_learning_without_asking_is_the_same_as_with():
    chance = Random(4)
    asked, mute = Surprise(), Surprise()
    for _ in range(500):
        x = {"value": chance.expovariate(1.0)}
        asked.score_one(x)
        asked.score_one({"value": 7.0})
        asked.learn_one(x)
        mute.learn_one(x)
    assert asked.score_one({"value": 9.0}) == mute.score_one({"value": 9.0})


def test_one_glitch_does_not_blind_surprise():
    chance = Random(5)
    detector = Surprise()
    for n in range(20_000):
        detector.learn_one({"value": 1e300 if n == 300 else chance.gauss(10.0, 1.0)})
    for _ in range(3):
        detector.learn_one({"value": 60.0})
    assert detector.score_one({"value": 60.0}) > default_alerts().threshold


@pytest.mark.parametrize("factor", [4.0, 0.2])
def test_a_rate_that_changes_is_found_and_its_direction(factor):
    chance = Random(6)
    detector, moment = Rate(), 0.0
    for n in range(2_080):
        moment += chance.expovariate(10.0 * (factor if n >= 2_000 else 1.0))
        detector.learn_one({"time": moment})
    assert detector.score_one({"time": moment + 0.1 / factor}) > 5.0
    assert detector.rising is (factor > 1.0)


def test_silence_is_judged_by_the_gaps_before_it_and_not_by_the_clock():
    chance = Random(7)
    for rate in (0.01, 100.0):
        detector, moment = Silence(), 0.0
        for _ in range(500):
            moment += chance.expovariate(rate)
            detector.learn_one({"time": moment})
        assert detector.score_one({"time": moment + 1 / rate}) < 2.0
        assert detector.score_one({"time": moment + 30 / rate}) > 16.0


def test_a_source_that_always_says_the_same_is_not_stuck():
    detector = Stuck()
    scores = []
    for n in range(3_000):
        x = {"value": int(n % 50 == 0)}
        scores.append(detector.score_one(x))
        detector.learn_one(x)
    assert max(scores[1_000:]) < 5.0


def test_a_loop_is_found_whatever_its_length_and_a_shuffle_is_none():
    chance = Random(8)
    for length in (1, 2, 17, 400):
        detector = Looping()
        for n in range(2_000 + 3 * length):
            detector.learn_one({"value": chance.random() if n < 2_000 else n % length})
        assert detector.score_one({"value": (2_000 + 3 * length) % length}) > 7.0
    detector = Looping()
    scores = []
    for _ in range(3_000):
        x = {"value": chance.randrange(20)}
        scores.append(detector.score_one(x))
        detector.learn_one(x)
    assert max(scores[200:]) < 15.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Surprise(memory=0.0), r"memory must be > 0 samples, got 0\.0"),
        (lambda: Level(fast=10.0, slow=5.0), "fast must be > 0 and < slow"),
        (lambda: Drift(slack=-1.0), "slack and forget must be > 0"),
        (lambda: Silence(memory=math.nan), "memory must be > 0 events"),
        (lambda: Looping(window=0), "window must be >= 1"),
        (lambda: Stuck(memory=-1.0), "memory must be > 0 samples"),
        (lambda: AlertPolicy(0.0), "threshold must be > 0"),
        (lambda: AlertPolicy(1.0, refractory=-1), "refractory must be >= 0"),
        (lambda: AlertPolicy(1.0, rearm=2.0), "rearm must be > 0 and <= 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(make, words):
    with pytest.raises(BadInput, match=words):
        make()
