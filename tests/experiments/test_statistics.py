"""Intervals cover what they say they cover."""

from __future__ import annotations

import numpy as np
import pytest

from rarera_sim.experiments.statistics import mean_interval, paired_interval, simultaneous


def test_a_95_percent_interval_covers_the_mean_in_95_of_100_cases() -> None:
    generator = np.random.default_rng(1)
    samples = generator.normal(3.0, 2.0, (4000, 6))
    covered = sum(not mean_interval(sample).excludes(3.0) for sample in samples.tolist())
    assert 0.94 < covered / 4000 < 0.96


def test_pairing_narrows_the_interval_of_what_met_the_same_weather() -> None:
    generator = np.random.default_rng(2)
    weather = generator.normal(0.0, 10.0, 8)
    ours, theirs = (weather + generator.normal(shift, 0.1, 8) for shift in (1.0, 0.0))
    paired = paired_interval(ours.tolist(), theirs.tolist())
    assert paired.excludes(0.0)
    assert not mean_interval((ours - np.roll(theirs, 1)).tolist()).excludes(0.0)


def test_simultaneous_intervals_all_hold_at_once() -> None:
    generator = np.random.default_rng(3)
    confidence = simultaneous(0.95, 5)
    missed = 0
    for _ in range(2000):
        samples = generator.normal(0.0, 1.0, (5, 6)).tolist()
        missed += any(mean_interval(sample, confidence=confidence).excludes(0.0) for sample in samples)
    assert missed / 2000 < 0.06


@pytest.mark.parametrize("values", [[], [1.0, 2.0]])
def test_nonsense_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"values|confidence"):
        mean_interval(values, confidence=0.95 if not values else 1.5)
