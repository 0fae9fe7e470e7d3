"""Each kind of arrivals comes at its rate, with its gaps, as bursty as it says, and moves nobody else's numbers.

The bounds are those of the statistics at the seeds given: a rate within five standard errors, a Kolmogorov-Smirnov
distance below the 1 per mille point, 1.95 / sqrt(n).
"""

from __future__ import annotations

import re
from math import exp, sqrt
from typing import Any

import msgspec
import numpy as np
import pytest

from rarera_sim.simulation import generators
from rarera_sim.simulation.arrivals import (
    AnyArrivals,
    ArrivalProcess,
    Arrivals,
    Batches,
    Bursty,
    Calendar,
    Closed,
    Content,
    Mixture,
    Mmpp,
    OnOff,
    Poisson,
    Profile,
    Renewal,
    Sinusoid,
    generate,
    poisson,
)
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.generators import DAY, counts_of, index_of_dispersion
from rarera_sim.simulation.kernel import Streams

ERLANG = Distribution(distribution="erlang", mean=0.5, scv=0.25)
MMPP = Mmpp(rates=(1.0, 9.0), stays=(30.0, 10.0))
ON_OFF = OnOff(
    rate=10.0,
    on=Distribution(distribution="exponential", mean=2.0),
    off=Distribution(distribution="exponential", mean=6.0),
)
KINDS: list[ArrivalProcess] = [
    Poisson(rate=2.0),
    Renewal(gap=ERLANG),
    Profile(rates=(0.0, 1.0, 5.0), step=100.0),
    Sinusoid(rate=2.0, amplitude=1.0, period=1_000.0, peak=250.0),
    MMPP,
    Mmpp(rates=(1.0, 0.0, 6.0), stays=(10.0, 20.0, 5.0), next=((0.0, 0.5, 0.5), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))),
    ON_OFF,
    Calendar(rate=2.0, day=1_200.0),
    Bursty(rate=2.0, day=1_200.0),
    Batches(batches=Poisson(rate=0.5), size_mean=4.0),
    Mixture(parts=(Poisson(rate=1.0), Renewal(gap=ERLANG))),
]


def drawn(kind: ArrivalProcess, duration: float, seed: int = 1) -> np.ndarray:
    return kind.times(Streams(seed), duration)


def ks_distance(sample: np.ndarray, cdf: Any) -> float:
    """How far the distribution of a sample is from a continuous one, at most."""
    expected = cdf(np.sort(sample))
    steps = np.arange(len(sample) + 1) / len(sample)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def limit(count: int) -> float:
    return 1.95 / sqrt(count)


def label(kind: AnyArrivals) -> str:
    return type(kind).__name__


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_every_kind_comes_sorted_inside_of_its_span_and_at_its_rate(kind: ArrivalProcess) -> None:
    assert kind.problem() is None
    # Whole weeks of the bursty one, whole days and periods of the others.
    duration = 12 * 7 * 1_200.0
    times = drawn(kind, duration)
    assert times.dtype == np.float64
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < duration
    # Counts over twelfths say how much a count of such a span varies, however bursty the kind is.
    counts = counts_of(times, step=duration / 12, duration=duration)
    standard_error = counts.std(ddof=1) * sqrt(12)
    assert abs(len(times) - kind.rate_mean * duration) < 5 * standard_error


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_a_seed_gives_the_same_times_again_and_another_seed_others(kind: ArrivalProcess) -> None:
    first, again, other = drawn(kind, 500.0), drawn(kind, 500.0), drawn(kind, 500.0, seed=2)
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()


@pytest.mark.parametrize("kind", [*KINDS, Closed(users=3, think=ERLANG)], ids=label)
def test_every_kind_is_read_from_what_it_writes(kind: AnyArrivals) -> None:
    assert msgspec.convert(msgspec.to_builtins(kind), AnyArrivals) == kind  # type: ignore[arg-type]


def test_the_gaps_of_poisson_are_exponential_and_its_counts_disperse_by_one() -> None:
    times = drawn(Poisson(rate=2.0), 50_000.0)
    gaps = np.diff(times)
    assert ks_distance(gaps, lambda x: 1 - np.exp(-2 * x)) < limit(len(gaps))
    # The standard error of the index is sqrt(2 / steps).
    assert index_of_dispersion(times, step=10.0, duration=50_000.0) == pytest.approx(1.0, abs=5 * sqrt(2 / 5_000))


def test_the_gaps_of_renewal_have_their_distribution() -> None:
    gaps = np.diff(drawn(Renewal(gap=ERLANG), 20_000.0))

    def erlang(x: np.ndarray) -> np.ndarray:
        y = 8.0 * x  # four phases of mean 1/8
        return 1 - np.exp(-y) * (1 + y + y**2 / 2 + y**3 / 6)

    assert ks_distance(gaps, erlang) < limit(len(gaps))
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(0.25, rel=0.05)


def test_a_profile_has_each_rate_in_its_step_and_begins_again() -> None:
    counts = counts_of(drawn(Profile(rates=(0.0, 1.0, 5.0), step=100.0), 60_000.0), step=100.0, duration=60_000.0)
    by_step = counts.reshape(-1, 3).mean(axis=0)
    assert by_step[0] == 0
    assert by_step[1:] == pytest.approx((100.0, 500.0), abs=5 * sqrt(500 / 200))


def test_a_sinusoid_is_highest_at_its_peak() -> None:
    kind = Sinusoid(rate=5.0, amplitude=0.8, period=1_000.0, peak=250.0)
    phases = drawn(kind, 100_000.0) % 1_000.0

    def cdf(t: np.ndarray) -> np.ndarray:
        wave = np.sin((t - 250.0) * 2 * np.pi / 1_000.0) - np.sin(-250.0 * 2 * np.pi / 1_000.0)
        return (t + 0.8 * 1_000.0 / (2 * np.pi) * wave) / 1_000.0

    assert ks_distance(phases, cdf) < limit(len(phases))


def test_thinning_and_inversion_agree_and_a_rate_above_the_highest_is_refused() -> None:
    rng = np.random.default_rng(1)

    def rate(times: np.ndarray) -> np.ndarray:
        return np.where(times % 20.0 < 10.0, 3.0, 1.0)

    thinned = generators.by_thinning(rng, rate, 3.0, 20_000.0)
    inverted = generators.by_inversion(rng, generators.Rates(np.resize([3.0, 1.0], 2_000), 10.0))
    for times in (thinned, inverted):
        counts = counts_of(times, step=10.0, duration=20_000.0).reshape(-1, 2).mean(axis=0)
        assert counts == pytest.approx((30.0, 10.0), abs=5 * sqrt(30 / 1_000))
    with pytest.raises(ValueError, match="rate must be in"):
        generators.by_thinning(rng, rate, 2.0, 20_000.0)


def test_an_mmpp_disperses_as_its_formula_says() -> None:
    # Index of dispersion of a two-state MMPP: Fischer, Meier-Hellstern (1993), Performance Evaluation 18(2), 149-171.
    (low, high), (stay_low, stay_high) = MMPP.rates, MMPP.stays
    r1, r2, t = 1 / stay_low, 1 / stay_high, 20.0
    slow = 2 * (low - high) ** 2 * r1 * r2 / ((r1 + r2) ** 2 * (low * r2 + high * r1))
    expected = 1 + slow - slow / ((r1 + r2) * t) * (1 - exp(-(r1 + r2) * t))
    times = drawn(MMPP, 400_000.0)
    assert index_of_dispersion(times, step=t, duration=400_000.0) == pytest.approx(expected, rel=0.05)
    assert expected > 20


def test_on_off_is_silent_when_it_is_off() -> None:
    times = drawn(ON_OFF, 100_000.0)
    gaps = np.diff(times)
    # A gap above 2 s is silence: e^-20 within a talk. Each talk of k >= 1 events ends in one.
    talks = (gaps > 2.0).sum() / 100_000.0
    # Talks without an event show in no gap; silences below 2 s neither.
    expected = 1 / 8.0 * (1 - 1 / (1 + 10.0 * 2.0)) * exp(-2 / 6.0)
    assert talks == pytest.approx(expected, rel=0.08)


def test_on_off_has_its_rate_whether_it_begins_on_or_off() -> None:
    rates = [len(drawn(ON_OFF, 10_000.0, seed)) / 10_000.0 for seed in range(1, 9)]
    assert rates == pytest.approx([ON_OFF.rate_mean] * 8, rel=0.25)


def test_batches_have_their_sizes() -> None:
    for size, variance in (("constant", 0.0), ("geometric", 4.0 * 3.0), ("poisson", 3.0)):
        times = drawn(Batches(batches=Poisson(rate=0.5), size_mean=4.0, size=size), 40_000.0)  # type: ignore[arg-type]
        _, sizes = np.unique(times, return_counts=True)
        assert sizes.mean() == pytest.approx(4.0, rel=0.03)
        assert sizes.var() == pytest.approx(variance, rel=0.1)


def test_parts_of_a_mixture_do_not_move_each_other() -> None:
    one = drawn(Mixture(parts=(Poisson(rate=1.0),)), 1_000.0)
    both = drawn(Mixture(parts=(Poisson(rate=1.0), Poisson(rate=3.0))), 1_000.0)
    assert np.isin(one, both).all()


# The study's generators


def test_calendar_is_what_the_study_says() -> None:
    days = 7
    times = generators.arrival_times("calendar", np.random.default_rng(1), days=days)
    counts = counts_of(times, duration=days * DAY)
    assert len(times) / (days * DAY) == pytest.approx(64.0, rel=0.03)
    assert counts.max() / counts.mean() == pytest.approx(5.0, abs=0.5)
    assert index_of_dispersion(times, duration=days * DAY) == pytest.approx(1_500, rel=0.15)
    # Where the load of a half hour doubles from one minute to the next, a burst begins: at minute 2 to 6 of it.
    by_minute = counts.reshape(-1, 30)
    jumps = by_minute[:, 1:10] / by_minute[:, :9]
    first = (jumps > 1.3).argmax(axis=1) + 1
    assert (jumps.max(axis=1) > 1.3).mean() > 0.95
    assert first[jumps.max(axis=1) > 1.3].min() >= 2
    assert first[jumps.max(axis=1) > 1.3].max() <= 6
    # The whole day swings as well.
    hours = counts.reshape(days, 24, 60).mean(axis=(0, 2))
    assert hours.max() / hours.min() > 2.0


def test_bursty_is_what_the_study_says() -> None:
    rates = generators.bursty_rates(np.random.default_rng(3), days=70.0)
    assert rates.mean == pytest.approx(60.0, rel=0.03)
    # Divided by the waves, what is left are the bursts' factors.
    seconds = np.arange(len(rates.values)) + 0.5
    waves = generators.daily_wave(seconds, amplitude=0.5) * np.where(seconds % (7 * DAY) < 5 * DAY, 1.0, 0.7)
    levels = rates.values / waves
    factor = (levels / levels.min()).round(6)
    assert set(np.unique(factor)) == {1.0, 2.5, 5.0}
    for level, a_day, minutes in ((2.5, 8.0, 6.0), (5.0, 1.0, 3.0)):
        entered = (np.diff((factor == level).astype(int)) == 1).sum() / 70
        assert entered == pytest.approx(a_day, rel=0.25)
        assert (factor == level).sum() / 60.0 / 70 == pytest.approx(a_day * minutes, rel=0.25)
    times = generators.arrival_times("bursty", np.random.default_rng(1), days=2.0)
    assert index_of_dispersion(times, duration=2 * DAY) > 100


def test_replication_keeps_the_shape_and_multiplies_the_count() -> None:
    seconds = np.repeat(np.arange(10_000.0), 2)
    times = generators.replicated_times(seconds, np.random.default_rng(1), copies=20, jitter=30.0)
    assert len(times) == 400_000
    assert (np.diff(times) >= 0).all()
    assert counts_of(times[times >= 0], step=100.0, duration=9_900.0)[1:] == pytest.approx(4_000, rel=0.1)
    moved = generators.replicated_times(np.full(1, 100.0), np.random.default_rng(1), copies=10_000, jitter=30.0)
    assert ks_distance(moved, lambda x: (x - 70.0) / 60.0) < limit(10_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0.0}, "days must be > 0, got 0.0"),
        ({"days": float("nan")}, "days must be > 0, got nan"),
        ({"days": 1.0, "rate": -1.0}, "rate must be > 0 1/s, got -1.0"),
        ({"days": 1.0, "rate": float("inf")}, "rate must be > 0 1/s, got inf"),
    ],
)
def test_impossible_generators_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generators.arrival_times("bursty", np.random.default_rng(1), **arguments)  # type: ignore[arg-type]


# Workloads


def test_rows_are_made_when_looked_at_and_are_the_same_however_one_looks() -> None:
    content = Content(
        sources=3,
        processors=2,
        types={"ask": 3.0, "tell": 1.0},
        data={"tokens": Distribution(mean=300.0, scv=1.0), "weight": Distribution(distribution="uniform", scv=0.1)},
        whole=("tokens",),
    )
    workload = generate(Poisson(rate=10.0), content, Streams(1), duration=2_000.0, epoch=10**18)
    rows = list(workload.arrivals)
    assert len(workload) == len(rows) > 2 * 8_192
    for number in (0, 8_191, 8_192, 5, len(rows) - 1, -1):
        assert workload.arrivals[number] == rows[number]
    assert workload.arrivals[10:13] == rows[10:13]
    with pytest.raises(IndexError):
        workload.arrivals[len(rows)]
    np.testing.assert_array_equal(workload.times, [row.time for row in rows])
    assert np.mean(workload.types() == "ask") == pytest.approx(0.75, abs=0.02)
    assert workload.column("tokens").mean() == pytest.approx(300.0, rel=0.05)
    assert all(type(row.data["tokens"]) is int and type(row.data["weight"]) is float for row in rows[:100])
    assert rows[7].created == 10**18 + round(rows[7].time * 10**9)


def test_another_field_moves_no_times_and_no_other_field() -> None:
    one = Content(data={"a": Distribution()})
    two = Content(data={"a": Distribution(), "b": Distribution()}, types={"x": 1.0, "y": 1.0})
    first, second = (generate(Poisson(rate=1.0), each, Streams(1), duration=100.0) for each in (one, two))
    np.testing.assert_array_equal(first.times, second.times)
    np.testing.assert_array_equal(first.column("a"), second.column("a"))


def test_ten_million_arrivals_are_columns() -> None:
    workload = poisson(Streams(1), rate=100.0, count=10_000_000)
    assert isinstance(workload.arrivals, Arrivals)
    assert workload.times.nbytes == 80_000_000
    assert workload.arrivals[9_999_999].data == {"value": 9_999_999}


def test_more_arrivals_than_anybody_means_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(ValueError, match="arrivals must be at most 200000000, expected are 1e"):
        generate(Poisson(rate=1e9), Content(), Streams(1), duration=1e9)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Renewal(gap=Distribution(distribution="erlang", scv=2.0)), r"gap.scv must be in \(0, 1\]"),
        (Profile(rates=(0.0, 0.0), step=1.0), "rates must not all be 0"),
        (Mmpp(rates=(1.0, 2.0), stays=(1.0,)), "stays must be as many as rates, got 1 and 2"),
        (Mmpp(rates=(1.0, 2.0), stays=(1.0, 1.0), next=((0.0, 1.0),)), "next must be 2 rows of 2 shares"),
        (Mmpp(rates=(1.0, 2.0), stays=(1.0, 1.0), next=((0.0, 1.0), (0.5, 0.1))), r"next\[1\] must sum to 1"),
        (Batches(batches=Poisson(rate=1.0), size_mean=1.5, size="constant"), "size_mean must be a whole number"),
        (Mixture(parts=(Poisson(rate=1.0), Profile(rates=(0.0,), step=1.0))), r"parts\[1\].rates must not all be 0"),
    ],
    ids=lambda value: label(value) if not isinstance(value, str) else "",
)
def test_what_cannot_be_is_said(kind: AnyArrivals, message: str) -> None:
    assert re.match(message, kind.problem() or "")
