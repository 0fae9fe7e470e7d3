"""Journeys that were written to files as they came are those that would have been kept."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rarera_sim.core.trace import Stage
from rarera_sim.metrics.journeys import COUNTS, FIRST, Journeys


def lives(journeys: Journeys, count: int, seed: int, *, late: float = 0.0) -> None:
    """Events that come in order, live for a while, and now and then something happens to one that is long gone."""
    chance = random.Random(seed)
    for number in range(count):
        journeys.notes(Stage.CREATED, range(number, number + 1), [float(number)])
        for back in sorted({chance.randrange(12) for _ in range(3)}):
            if number >= back:
                journeys.note(chance.choice(COUNTS[1:]), number - back, number + 0.5)
        if chance.random() < late:
            several = [chance.randrange(number + 1) for _ in range(2)]
            journeys.notes(chance.choice(FIRST), several, [number + 0.7] * 2)


@pytest.mark.parametrize("late", [0.0, 0.2])
@pytest.mark.parametrize("spill_count", [1, 7, 100, 10_000])
def test_what_is_spilled_is_what_would_have_been_kept(tmp_path: Path, spill_count: int, late: float) -> None:
    kept, spilled = Journeys(), Journeys(tmp_path, spill_count)
    lives(kept, 300, 1, late=late)
    lives(spilled, 300, 1, late=late)
    table = spilled.scan().sort("number").collect()
    assert table["number"].to_list() == list(range(300))
    assert table.drop("number").equals(kept.frame([b""] * 300).drop("event_id"))
    # Reading changes nothing, and what happens afterwards is read as well.
    assert spilled.scan().sort("number").collect().equals(table)
    kept.note(Stage.FINISHED, 0, 1e6)
    spilled.note(Stage.FINISHED, 0, 1e6)
    assert spilled.scan().sort("number").collect()["finished"][0] == kept.frame([b""] * 300)["finished"][0]


def test_no_more_than_two_files_of_events_are_held(tmp_path: Path) -> None:
    journeys = Journeys(tmp_path, 100)
    lives(journeys, 5_000, 1)
    assert all(len(first) < 2_000 + 4_096 for first in journeys._first)
    assert journeys._base >= 4_800
    assert sum(len(counts) for counts in journeys._more.values()) < 2_000


def test_a_file_is_read_as_any_other(tmp_path: Path) -> None:
    journeys = Journeys(tmp_path, 50)
    lives(journeys, 120, 2)
    journeys.scan()
    files = sorted(tmp_path.glob("events-*.parquet"))
    assert [pl.read_parquet(path)["number"].min() for path in files] == [0, 50, 100]
    assert np.isfinite(pl.read_parquet(files[0])["created_s"].to_numpy()).all()
