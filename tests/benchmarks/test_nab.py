"""NAB's scoring against values worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from rarera_sim.benchmarks.nab import (
    PROFILES,
    Ground,
    Series,
    best_threshold,
    normalised,
    read_folder,
    scaled_sigmoid,
)
from rarera_sim.core.errors import BadInput

STANDARD = PROFILES["standard"]


def series(count: int = 200, windows: tuple[tuple[int, int], ...] = ((100, 109),), name: str = "a/b.csv") -> Series:
    return Series(name, tuple(map(float, range(count))), (0.0,) * count, windows)


def test_the_sigmoid_has_the_values_of_the_paper():
    assert scaled_sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert scaled_sigmoid(0.0) == 0.0
    assert scaled_sigmoid(0.5) == pytest.approx(2 / (1 + math.exp(2.5)) - 1)
    assert scaled_sigmoid(3.0) > -1.0 == scaled_sigmoid(3.0001)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_perfect_is_100_and_null_is_0(profile):
    grounds = [Ground(series(windows=((50, 59), (100, 119)))), Ground(series(windows=())), Ground(series())]
    perfect = sum(ground.raw([first for first, _ in ground.series.windows], profile) for ground in grounds)
    null = sum(ground.raw([], profile) for ground in grounds)
    assert normalised(perfect, grounds, profile) == pytest.approx(100.0)
    assert normalised(null, grounds, profile) == 0.0


def test_only_the_earliest_alert_in_a_window_counts_and_later_is_less():
    ground = Ground(series())
    early, late = ground.raw([100], STANDARD), ground.raw([109], STANDARD)
    assert early == pytest.approx(1.0)
    assert late == pytest.approx(scaled_sigmoid(-0.1) / scaled_sigmoid(-1.0))
    assert ground.raw([100, 101, 109], STANDARD) == early


def test_an_alert_outside_costs_more_the_further_it_is_after_a_window():
    ground = Ground(series())
    missed = ground.raw([], STANDARD)
    assert ground.raw([99], STANDARD) - missed == pytest.approx(-0.11)
    assert ground.raw([110], STANDARD) - missed == pytest.approx(0.11 * scaled_sigmoid(1 / 9))
    assert ground.raw([136], STANDARD) - missed == pytest.approx(0.11 * scaled_sigmoid(3.0))
    assert ground.raw([137], STANDARD) - missed == pytest.approx(-0.11)
    assert ground.raw([99], PROFILES["low FP"]) - missed == pytest.approx(-0.22)


def test_a_missed_window_costs_more_where_misses_are_dear():
    ground = Ground(series())
    assert ground.raw([], STANDARD) == -1.0
    assert ground.raw([], PROFILES["low FN"]) == -2.0


def test_probation_is_not_judged():
    assert series(200).probation == 30
    assert series(100_000).probation == 750
    ground = Ground(series())
    assert ground.raw([0, 29], STANDARD) == ground.raw([], STANDARD)
    assert ground.raw([30], STANDARD) < ground.raw([], STANDARD)


def test_the_best_threshold_is_the_one_that_trying_all_finds():
    grounds = [Ground(series(name="x")), Ground(series(windows=((60, 79), (150, 159))))]
    scores = [[(sample * 37 % 101) / 100 for sample in range(200)], [(sample * 53 % 97) / 100 for sample in range(200)]]
    for profile in PROFILES.values():
        tried = {
            threshold: sum(
                ground.raw([n for n, score in enumerate(each) if score >= threshold], profile)
                for each, ground in zip(scores, grounds, strict=True)
            )
            for threshold in {score for each in scores for score in each} | {math.inf}
        }
        threshold, raw = best_threshold(scores, grounds, profile)
        assert raw == pytest.approx(max(tried.values()))
        assert tried[threshold] == pytest.approx(raw)


def test_a_folder_is_read_as_it_is_laid_out(tmp_path):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    rows = "".join(f"2020-01-01 00:{minute:02d}:00,{minute}\n" for minute in range(60))
    (tmp_path / "data" / "mine" / "a.csv").write_text("timestamp,value\n" + rows)
    windows = {"mine/a.csv": [["2020-01-01 00:30:00.000000", "2020-01-01 00:35:00.000000"]]}
    (tmp_path / "windows.json").write_text(json.dumps(windows))
    (only,) = read_folder(tmp_path)
    assert (only.name, only.category, len(only.values), only.windows) == ("mine/a.csv", "mine", 60, ((30, 35),))


def test_a_folder_that_is_none_is_said_in_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"holds no windows\.json"):
        read_folder(tmp_path)
    (tmp_path / "windows.json").write_text('{"a/b.csv": []}')
    with pytest.raises(BadInput, match=r"names a/b\.csv, which is not in"):
        read_folder(tmp_path)
