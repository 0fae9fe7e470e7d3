"""The switches that `rarera_sim.benchmarks.measures` compares are there, and do what is said of them."""

from __future__ import annotations

import pytest

pytest.importorskip("zstandard")

from rarera_sim.benchmarks import measures


@pytest.fixture(scope="module")
def rows():
    steps = []
    found = measures.run(quick=True, long=False, progress=lambda *step: steps.append(step))
    assert steps == [(done, 5) for done in range(6)]
    return {row.case + (" by the clock" if "clock" in row.unit else ""): row for row in found}


def test_every_switch_is_measured_with_and_without(rows):
    for switch in ("buffer_bytes=", "durability=", "compression=zstd", "block_events=", "dictionary_bytes=", "level="):
        assert any(switch in case and row.against and row.ratio for case, row in rows.items()), switch
    for switch in ("hot=", "warm=", "cold=parquet", "at a time", "zstd and dictionary"):
        assert any(switch in case and row.against for case, row in rows.items()), switch
    assert all(row.value > 0 for row in rows.values())


def test_bytes_become_fewer_as_the_page_says(rows):
    def of(case):
        return rows[case].value

    assert of("frames: 1 in a block, zstd and dictionary") < 0.5 * of("frames: 1 in a block, zstd")
    assert of("frames: 64 in a block, zstd") < 0.3 * of("frames: each frame alone, plain")
    disk = "on the disk"
    assert of(f"files?compression=zstd: {disk}") < of(f"files?compression=none: {disk}")
    tiers = [case for case in rows if case.startswith("tiered") and case.endswith(disk)]
    assert of(tiers[2]) < of(tiers[3]) < of(tiers[1]), "sealed, Parquet, SQLite"


def test_more_at_a_time_and_held_in_memory_costs_less_cpu(rows):
    assert rows["files: append, 1,000 at a time"].ratio is None or rows["files: append, 100 at a time"].ratio > 1
    assert rows["files: append, 1 at a time, buffer_bytes=65536"].ratio > 1


def test_without_the_package_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(measures, "find_spec", lambda _: None)
    [row] = measures.run(quick=True, long=False, progress=lambda *_: None)
    assert (row.value, "rarera-sim[zstd]" in row.against) == (None, True)
