"""The log against its peers, in a short mode: half of each aim, as the machine is shared and the rounds are few."""

from __future__ import annotations

import pytest

from rarera_sim.benchmarks import log as bench

pytestmark = pytest.mark.benchmark
SIZE = bench.Size(events=6_000, rounds=3, fold=20_000, curve=(5_000, 20_000))
# What is known not to reach its aim has less to lose: see docs/decisions.md.
FLOORS = {"SQLite: to_polars(), verified": 1.0}


@pytest.mark.parametrize("part", ["_sqlite_append", "_sqlite_application", "_sqlite_replay"])
def test_the_log_is_at_least_half_as_good_as_it_aims_to_be(part):
    pytest.importorskip("eventsourcing", reason="the peer is not installed")
    for row in getattr(bench, part)(SIZE):
        if row.aim is not None:
            assert row.ratio >= FLOORS.get(row.case, row.aim / 2), row


def test_a_fold_needs_no_more_memory_for_more_events():
    peak, growth = bench._fold_memory(SIZE)
    assert peak.met, peak
    assert growth.met, growth


def test_no_cost_per_event_doubles_when_the_log_becomes_four_times_as_long():
    grown = {row.case: row.ratio for row in bench._curve(SIZE) if row.ratio is not None}
    assert len(grown) == 5
    assert min(grown.values()) >= 0.4, grown
