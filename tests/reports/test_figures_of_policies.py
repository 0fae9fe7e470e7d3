"""Figures of the study of policies: what they show is what was computed, and they say it in words as well."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl
import pytest

from rarera_sim.experiments import study
from rarera_sim.experiments.situations import AT, SITUATIONS, Contender, behaviour, load_in
from rarera_sim.experiments.study import OURS, compared, rival_of
from rarera_sim.reports.chromium import chromium
from rarera_sim.reports.figures import behaviour_in_situations, lateness_and_cost
from rarera_sim.reports.scheduling import write_pictures

COSTS = {OURS: (12.0, 0.008), "hpa": (20.0, 0.004), "erlang-c + late-last": (15.0, 0.03), "fixed": (40.0, 0.0)}


def row(policy: str, setting: str, cost: float, late: float, parameters: dict | None = None) -> dict:
    return {
        "trace": "bursty",
        "mix": "plain",
        "seed": 1,
        "policy": policy,
        "fixed": "{}",
        "target": 0.01,
        "setting": setting,
        "parameters": orjson.dumps(parameters or {}).decode(),
        "cost": cost,
        "lower_bound": 9.0,
        "violations": late,
        "close": True,
        "late_minutes": 0.02,
        "launches": 7,
        "us_per_decision": 12.0,
        "parts": [cost / 4.0] * 4,
    }


@pytest.fixture
def rows() -> pl.DataFrame:
    rows = [row("oracle", "plan", 10.0, 0.01), row("oracle + late-last", "plan", 9.0, 0.01)]
    for name, (cost, late) in COSTS.items():
        rows += [row(name, setting, cost, late) for setting in ("defaults", "tuned", "hindsight")]
    rows += [row(OURS, "equal", 11.0, 0.01), row("hpa", "equal", 18.0, 0.01)]
    rows += [row("erlang-c + late-last", "equal", 16.0, 0.01, {"factor": 1.25, "memory": 30.0})]
    return pl.DataFrame(rows, schema=study._SCHEMA, orient="row")


def test_cost_and_late_events_show_who_is_beaten_by_nobody(rows):
    figure = lateness_and_cost(compared(rows), ours=OURS)
    named = {trace.name: trace for trace in figure.data}
    assert named[OURS].x == (1.2,)
    assert named[OURS].y == (0.8,)
    assert named["plans that know the future"].x == (1.0, 0.9)
    assert named["nobody is better in both"].x == (1.2, 2.0, 4.0), "erlang-c is dearer than ours and later"
    assert "rarera, hpa, fixed" in figure.layout.meta["alt"]


def test_the_rival_is_the_best_baseline_at_equal_violations_with_its_setting(rows):
    rival = rival_of(rows, "bursty")
    assert rival == Contender("erlang-c + late-last", "erlang-c", {"memory": 30.0}, "late-last", 1.25)
    assert rival_of(rows, "nasa") is None


# Behaviour


@pytest.fixture(scope="module")
def periods() -> pl.DataFrame:
    few, many = (Contender(f"{count} replicas", "fixed", {"replicas": count}) for count in (16, 60))
    return behaviour([few, many])


def before_and_after(periods: pl.DataFrame, situation: str, policy: str, measure: str) -> tuple[float, float]:
    here = periods.filter(situation=situation, policy=policy)
    return tuple(float(here.filter(when)[measure].mean()) for when in (pl.col("time_s") <= AT, pl.col("time_s") > AT))


def test_something_happens_in_every_situation(periods):
    before, after = before_and_after(periods, "burst", "60 replicas", "needed")
    assert after > 1.1 * before
    assert before_and_after(periods, "crash", "60 replicas", "late")[1] > 0.0
    assert periods.filter(situation="crash", policy="60 replicas")["ready"].min() == 0
    lost = periods.filter(pl.col("time_s").is_between(AT + 15.0, AT + 500.0), situation="spot loss")
    assert lost["spot"].max() == 0
    assert before_and_after(periods, "drift", "16 replicas", "late")[1] > 0.1
    assert before_and_after(periods, "drift", "60 replicas", "late")[1] < 0.002, (
        "but for services longer than the bound"
    )


def test_ours_leaves_spot_when_it_gets_dear():
    found = behaviour([Contender(OURS, OURS, {})], ["price"])
    before, after = (
        found.filter(pl.col("time_s").is_between(*when))["spot"].mean() for when in ((600.0, AT), (1800.0, 3600.0))
    )
    assert before > 5.0
    assert after < 0.5 * before


def test_situations_are_drawn_again_the_same():
    first, again, other = (load_in("burst", seed).times for seed in (1, 1, 2))
    assert (first == again).all()
    assert len(first) != len(other)


def test_behaviour_says_in_words_what_it_shows(periods):
    figure = behaviour_in_situations(periods, SITUATIONS, at=AT)
    for name in SITUATIONS:
        assert f"{name}: 16 replicas" in figure.layout.meta["alt"]
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0] == "burst: 2.5 times the arrivals, for six minutes"
    assert titles[-1] == "spot replicas"
    assert sum(trace.showlegend is not False for trace in figure.data) == 3


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_pictures_are_written_beside_the_page(rows, tmp_path: Path):
    lines = write_pictures(rows, tmp_path / "scheduling.md")
    for name in ("study-regret", "study-cost-and-late", "study-behaviour"):
        assert (tmp_path / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert any(line.endswith(f"(figures/{name}.svg)") for line in lines)
