"""The benchmark of the model runs, and its ratios are not worse than half of what they aim at: machines differ."""

from __future__ import annotations

import pytest

from rarera_sim.benchmarks import simulation
from rarera_sim.benchmarks.simulation import QUICK, naive_simpy, queueing

SIZE = QUICK._replace(customers=4_000, rounds=3, whole=1_000, curve=(1_000, 4_000), memory=100_000, whole_memory=2_000)


@pytest.fixture(scope="module")
def rows():
    parts = (simulation._bare, simulation._whole_path, simulation._memory)
    return [row for part in parts for row in part(SIZE)]


def test_the_model_is_at_least_half_as_good_as_it_aims_to_be(rows) -> None:
    bare = [row for row in rows if row.case.startswith("M/M/10")]
    assert {row.against for row in bare} >= {"naive SimPy"}
    for row in bare:
        assert row.ratio is None or row.ratio >= row.aim / 2, row


def test_the_whole_path_and_the_memory_are_told(rows) -> None:
    cases = [row.case for row in rows]
    assert sum(case.startswith("whole path") for case in cases) == 3
    assert sum("memory for" in case for case in cases) == 2


def test_a_comparison_is_scaled_to_ten_replications_of_a_day() -> None:
    [row] = simulation._comparison(SIZE)
    assert (row.unit, row.aim) == ("minutes by the clock", 30.0)
    assert {each.policy for each in simulation.comparison(60.0).configurations} == set(simulation.COMPARED)
    assert row.value > 0.0


def test_both_sides_are_the_same_queue() -> None:
    """Or their costs could not be compared: M/M/10 at a load of .9 responds in 1.67 s on average."""
    chunks = queueing(40_000)()._chunks
    ours = sum(float((chunk.finished - chunk.received).sum()) for chunk in chunks) / 40_000
    theirs = sum(naive_simpy(40_000)) / 40_000
    assert ours == pytest.approx(1.67, rel=0.15)
    assert theirs == pytest.approx(1.67, rel=0.15)
