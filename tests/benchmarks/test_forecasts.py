"""The traces and forecasters that docs/models.md compares."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rarera_sim.benchmarks.forecasts import DAY, FORECASTERS, bursty, calendar, drifting, nasa
from rarera_sim.learning.evaluate import rolling_origin


@pytest.mark.parametrize("make", [calendar, bursty, drifting])
def test_a_drawn_trace_is_the_same_again(make):
    assert np.array_equal(make(1), make(1))
    assert len(make(2)) == 2 * DAY
    assert np.all(make(1) >= 0.0)


def test_bursts_of_the_calendar_are_in_its_minutes():
    by_minute = calendar(2).reshape(-1, 60, 4).mean(axis=(0, 2))
    assert set(np.argsort(by_minute)[-4:]) <= {2, 3, 4, 5, 6, 32, 33, 34, 35, 36}


def test_a_log_of_requests_keeps_their_number(tmp_path):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"t_s": [90_000, 95_000], "requests": [3, 2]}).write_parquet(path)
    assert nasa(path, first=1, days=1).sum() * 15.0 == pytest.approx(20 * 5)


@pytest.mark.parametrize("name", FORECASTERS)
def test_every_forecaster_is_judged(name):
    assert rolling_origin(FORECASTERS[name](), list(calendar(1)[:300]), 0.95, skip=100).count > 100
