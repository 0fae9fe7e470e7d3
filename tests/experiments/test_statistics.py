"""Intervals cover what they say they cover."""

from __future__ import annotations

import numpy as np
import pytest

from rarera_sim.experiments.statistics import (
    batch_means,
    controlled_interval,
    mean_interval,
    mser5,
    paired_interval,
    simultaneous,
    warmup_cut,
    with_the_best,
)


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


# One long run


def waits(generator: np.random.Generator, runs: int, count: int, rho: float = 0.9) -> np.ndarray:
    """M/M/1 by Lindley's recursion, from an empty start."""
    steps = generator.standard_exponential((runs, count)) - generator.exponential(1.0 / rho, (runs, count))
    sums = np.cumsum(steps, axis=1) - steps
    return sums - np.minimum.accumulate(sums, axis=1)


def test_replications_with_one_cut_from_pilots_cover_and_customers_as_if_independent_do_not() -> None:
    """Nominal 95 %, M/M/1 at rho .9: REFERENCE says .935, .90 and .07."""
    generator = np.random.default_rng(1)
    exact, trials = 9.0, 300
    cut = warmup_cut(waits(generator, 50, 10_000))
    replications = batches = naive = 0
    for _ in range(trials):
        replications += not mean_interval(waits(generator, 10, 10_000)[:, cut:].mean(axis=1).tolist()).excludes(exact)
        (single,) = waits(generator, 1, 50_000)
        batches += not batch_means(single).excludes(exact)
        half = 1.96 * single.std() / len(single) ** 0.5
        naive += abs(single.mean() - exact) <= half
    assert replications / trials > 0.87
    assert batches / trials > 0.80
    assert naive / trials < 0.2


def test_the_cut_is_where_the_beginning_ends() -> None:
    generator = np.random.default_rng(2)
    runs = generator.normal(0.0, 1.0, (20, 1000)) + np.where(np.arange(1000) < 150, 5.0, 0.0)
    assert warmup_cut(runs) == 150
    assert mser5(generator.normal(0.0, 1.0, 1000)) < 500
    assert mser5([1.0] * 100) == 0


@pytest.mark.parametrize("series", [[1.0] * 9, [float("nan")] * 50, [[1.0] * 50]])
def test_what_cannot_be_cut_is_refused(series: list[float]) -> None:
    with pytest.raises(ValueError, match="series"):
        mser5(series)
    with pytest.raises(ValueError, match="pilots"):
        warmup_cut([1.0, 2.0])
    with pytest.raises(ValueError, match="batches"):
        batch_means([1.0], batches=20)


# Several systems


@pytest.mark.parametrize("means", [[1.0, 1.0, 1.0, 1.0], [1.0, 1.2, 1.5, 3.0], [0.0, 5.0, 5.0, 5.0]])
def test_all_intervals_with_the_best_hold_at_once(means: list[float]) -> None:
    generator = np.random.default_rng(4)
    truth = [mean - min(other for at, other in enumerate(means) if at != place) for place, mean in enumerate(means)]
    trials, held, found = 1000, 0, 0
    for _ in range(trials):
        weather = generator.normal(0.0, 2.0, 10)
        values = np.array(means)[:, None] + weather + generator.normal(0.0, 0.5, (4, 10))
        rows = with_the_best(values)
        held += all(low - 1e-12 <= exact <= high + 1e-12 for exact, (_, low, high) in zip(truth, rows, strict=True))
        found += rows[0][2] <= 0.0
    assert held / trials > 0.94
    if truth[0] < -1.0:
        assert found / trials > 0.95, "the best is recognised"


def test_higher_may_be_better() -> None:
    values = [[1.0, 1.1, 0.9], [5.0, 5.2, 5.1]]
    assert with_the_best(values, lower_is_better=False)[1][2] == 0.0
    assert with_the_best(values)[0][2] == 0.0
    with pytest.raises(ValueError, match="2 systems"):
        with_the_best([[1.0, 2.0]])


# Control variates


def test_control_variates_narrow_intervals_that_still_cover() -> None:
    generator = np.random.default_rng(5)
    trials, covered, narrower = 2000, 0, 0
    for _ in range(trials):
        work = generator.normal(1.0, 0.1, 10)
        values = 4.0 + 20.0 * (work - 1.0) + generator.normal(0.0, 0.5, 10)
        controlled, plain = controlled_interval(values.tolist(), work, 1.0), mean_interval(values.tolist())
        covered += not controlled.excludes(4.0)
        narrower += controlled.high - controlled.low < plain.high - plain.low  # type: ignore[operator]
    assert 0.935 < covered / trials < 0.965
    assert narrower / trials > 0.99


def test_too_few_replications_for_their_controls_are_refused() -> None:
    with pytest.raises(ValueError, match="2 more than controls"):
        controlled_interval([1.0, 2.0, 3.0], [[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]], [2.0, 2.0])
