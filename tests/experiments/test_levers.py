"""Levers are fields of a scenario, pulled one at a time under the same weather, and win nothing inside the noise."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.levers import (
    ALWAYS,
    LEVERS,
    MEASURES,
    Lever,
    Levers,
    levers_scenario,
    measure_levers,
    verdict_of,
)
from rarera_sim.experiments.scenario import RunSettings
from rarera_sim.experiments.statistics import Interval, paired_interval, simultaneous
from rarera_sim.experiments.sweep import with_fields

SHORT = msgspec.structs.replace(levers_scenario(), run=RunSettings(duration=180.0, warmup=0.0, training=0.0))
BY_NAME = {lever.name: lever for lever in LEVERS}
TIERS = BY_NAME["hot and cold tiers"]
FASTER = Lever("twice the speed", "response time", "hardware.speed", 1.0, 2.0)
NOTHING = Lever("the price of carbon", "cost", "prices.carbon_per_kwh", 369.0, 1.0)
LINE = Lever("the last first", "response time", "line.discipline", "fifo", "lifo")


@pytest.fixture(scope="module")
def pulled() -> Levers:
    return measure_levers(SHORT, [FASTER, NOTHING, LINE], seed=3, replications=4, jobs=1)


def sides(lever: Lever) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = (
        msgspec.to_builtins(with_fields(levers_scenario(), {**lever.situation, lever.path: value}))
        for value in (lever.before, lever.after)
    )
    return before, after


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.name)
def test_a_lever_is_one_field_of_a_scenario(lever: Lever) -> None:
    before, after = sides(lever)
    assert before != after
    table = lever.path.partition(".")[0].partition("[")[0]
    assert {name for name in before if before[name] != after[name]} == {table}


def test_the_paper_s_measures_are_all_there() -> None:
    asked = [
        "one thread per processor",
        "compression",
        "batching",
        "in-memory buffering",
        "hot and cold tiers",
        "events, not commands",
        "cluster over two zones",
        "alarm on the response time",
        "SSD instead of a disk that fails",
        "containers instead of machines",
        "machine learning",
        "power saving",
    ]
    assert [lever.name for lever in LEVERS] == asked
    assert {lever.serves for lever in LEVERS} == {"response time", "availability", "cost"}
    assert all("energy_kwh" in lever.also for lever in LEVERS if lever.serves == "cost")


def test_both_sides_meet_the_same_weather(pulled: Levers) -> None:
    for _, pair in pulled.runs.group_by("lever", "replication"):
        assert pair.height == 2
        assert pair["seed"].n_unique() == pair["sent"].n_unique() == 1
    assert pulled.runs["seed"].n_unique() == 4


def test_an_effect_is_the_paired_difference_of_the_runs(pulled: Levers) -> None:
    assert pulled.effects.height == 3 * len(ALWAYS)
    for row in pulled.effects.iter_rows(named=True):
        ours = pulled.runs.filter(lever=row["lever"]).sort("replication")
        before, after = (ours.filter(pulled=each)[row["measure"]].to_list() for each in (False, True))
        assert (row["before"], row["after"]) == (pytest.approx(sum(before) / 4), pytest.approx(sum(after) / 4))
        assert (row["difference"], row["low"], row["high"]) == paired_interval(after, before)
        joint = paired_interval(after, before, confidence=simultaneous(0.95, pulled.effects.height))
        assert (row["low_all"], row["high_all"]) == joint[1:]


def test_what_makes_each_service_shorter_is_called_better(pulled: Levers) -> None:
    row = pulled.effects.row(by_predicate=_is(FASTER, "mean_s"), named=True)
    assert row["high_all"] < 0
    assert row["verdict"] == "better"


def test_what_changes_nothing_shows_no_difference(pulled: Levers) -> None:
    rows = pulled.effects.filter(lever=NOTHING.name)
    assert rows["difference"].to_list() == [0.0] * len(ALWAYS)
    assert set(rows["verdict"]) == {"no difference shown"}


def test_nothing_wins_inside_the_noise(pulled: Levers) -> None:
    """Who is served first moves the mean, and by chance alone: in theory it stays."""
    row = pulled.effects.row(by_predicate=_is(LINE, "mean_s"), named=True)
    assert row["difference"] != 0
    assert row["low_all"] < 0 < row["high_all"]
    assert row["verdict"] == "no difference shown"


def test_a_change_that_nobody_would_notice_is_none() -> None:
    cent = Lever("a cent", "cost", "hardware.price_per_hour", 0.1, 0.10001)
    row = measure_levers(SHORT, [cent], replications=2, jobs=1).effects.row(
        by_predicate=_is(cent, "cost_total"), named=True
    )
    assert row["low_all"] > 0
    assert row["verdict"] == "no difference shown"


@pytest.mark.parametrize(
    ("interval", "lower_is_better", "verdict"),
    [
        (Interval(-1.0, -2.0, -0.1), True, "better"),
        (Interval(-1.0, -2.0, -0.1), False, "worse"),
        (Interval(1.0, 0.1, 2.0), True, "worse"),
        (Interval(1.0, 0.1, 2.0), False, "better"),
        (Interval(1.0, -0.1, 2.0), True, "no difference shown"),
        (Interval(1.0, 0.0, 2.0), True, "no difference shown"),
        (Interval(1.0, None, None), True, "no difference shown"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(interval: Interval, lower_is_better: bool, verdict: str) -> None:
    assert verdict_of(interval, lower_is_better=lower_is_better) == verdict


def test_the_same_study_gives_the_same_digest_whoever_does_the_runs(pulled: Levers) -> None:
    again = measure_levers(SHORT, [FASTER], seed=3, replications=4, jobs=2)
    alone = measure_levers(SHORT, [FASTER], seed=3, replications=4, jobs=1)
    assert again.digest == alone.digest != pulled.digest
    assert again.runs["digest"].to_list() == pulled.runs.filter(lever=FASTER.name)["digest"].to_list()
    assert repr(again) == f"Levers(levers: 1 levers x 4 replications, seed=3, digest={again.digest[:12]})"


def test_progress_is_one_count_over_all_levers() -> None:
    told: list[tuple[int, int]] = []
    measure_levers(SHORT, [TIERS, NOTHING], replications=2, jobs=1, progress=lambda *each: told.append(each))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (8, 8)
    assert {count for _, count in told} == {8}


def test_who_cancels_keeps_the_levers_that_are_done() -> None:
    cancel = threading.Event()

    def stop(done: int, _: int) -> None:
        if done == 5:
            cancel.set()

    study = measure_levers(SHORT, [TIERS, NOTHING], replications=2, jobs=1, cancel=cancel, progress=stop)
    assert study.interrupted
    assert study.effects["lever"].unique().to_list() == [TIERS.name]


def test_who_cancels_at_once_gets_an_empty_study() -> None:
    cancel = threading.Event()
    cancel.set()
    study = measure_levers(SHORT, [TIERS], replications=2, jobs=1, cancel=cancel)
    assert study.interrupted
    assert study.effects.is_empty()
    assert "0 levers" in repr(study)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levers": []}, "levers must be one at least"),
        ({"levers": [TIERS, TIERS]}, "hot and cold tiers, hot and cold tiers"),
        ({"replications": 1}, "replications must be >= 2.*got 1"),
        ({"levers": [NOTHING, replace(TIERS, path="path.hot_mx")]}, "unknown field 'path.hot_mx'"),
        ({"levers": [NOTHING, replace(TIERS, after=-1)]}, "path.hot_max"),
        ({"levers": [NOTHING, replace(TIERS, before=-1)]}, "path.hot_max"),
        ({"levers": [NOTHING, replace(TIERS, after=TIERS.before)]}, "path.hot_max is 1 before and after"),
        (
            {"levers": [NOTHING, replace(TIERS, also=("p98_s",))]},
            "also must be of end_to_end_p99_s, on_time,.*got 'p98_s'",
        ),
    ],
)
def test_bad_input_is_said_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    told: list[int] = []
    arguments = {"levers": [TIERS], "replications": 2, **changes}
    with pytest.raises(BadInput, match=words):
        measure_levers(SHORT, jobs=1, progress=lambda done, _: told.append(done), **arguments)
    assert not told


def test_two_configurations_are_refused() -> None:
    ours = SHORT.configurations[0]
    two = msgspec.structs.replace(SHORT, configurations=(ours, msgspec.structs.replace(ours, name="other")))
    with pytest.raises(BadInput, match="one configuration, the scenario has 2"):
        measure_levers(two, [TIERS], replications=2, jobs=1)


def test_every_measure_is_one_of_a_run(pulled: Levers) -> None:
    assert set(MEASURES) <= set(pulled.runs.columns)


def _is(lever: Lever, measure: str) -> Any:
    import polars as pl

    return (pl.col("lever") == lever.name) & (pl.col("measure") == measure)
