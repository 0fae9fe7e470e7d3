"""The study: what it compares, that it resumes, and that it declares no winner inside the noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from rarera_sim.experiments import study
from rarera_sim.experiments.loads import TRACES, Days
from rarera_sim.experiments.mixes import MIXES
from rarera_sim.experiments.study import (
    FULL,
    OURS,
    QUICK,
    SHORT,
    Job,
    compared,
    jobs_of,
    jobs_of_study,
    page_of,
    rows_of,
    run_study,
    write_study,
)
from rarera_sim.policies import POLICIES

TINY = replace(QUICK, tries=2, tries_after=1, steps=2, rounds=2)
HOURS = Days(0.0, 0.05, 0.06, 0.08)


@pytest.fixture
def calendar_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours instead of days, so that a study takes seconds."""
    monkeypatch.setitem(study.TRACES, "calendar", replace(TRACES["calendar"], days=HOURS))


# Jobs


@pytest.mark.usefixtures("calendar_hours")
def test_a_job_says_what_came_of_each_setting_on_every_draw() -> None:
    rows = rows_of(Job("calendar", "hpa", replace(TINY, steps=12, seeds=(1, 2)), (0.01, 0.001)))
    settings = ["defaults", "tuned", "equal", "hindsight"]
    found = [(row["target"], row["seed"], row["setting"]) for row in rows]
    assert found == [(target, seed, setting) for target in (0.01, 0.001) for seed in (1, 2) for setting in settings]
    for row in rows:
        assert row["cost"] == pytest.approx(sum(row["parts"]))
        assert row["cost"] > 0.5 * row["lower_bound"]
        assert row["us_per_decision"] > 0.0
    named = {(row["target"], row["seed"], row["setting"]): row for row in rows}
    for (target, seed, setting), row in named.items():
        if setting == "equal":
            assert row["violations"] <= target
            assert named[(target, seed, "hindsight")]["cost"] <= row["cost"]
        if setting == "tuned":
            assert row["parameters"] == named[(target, 1, "tuned")]["parameters"], "tuned once, on the first draw"


@pytest.mark.usefixtures("calendar_hours")
def test_ours_is_not_tuned_but_as_everybody_finds_it() -> None:
    rows = rows_of(Job("calendar", OURS, TINY, (0.01,)))
    assert [row["parameters"] for row in rows if row["setting"] in ("defaults", "tuned")] == ["{}", "{}"]


@pytest.mark.usefixtures("calendar_hours")
def test_the_same_policy_is_tried_in_another_order_of_serving() -> None:
    effort = replace(TINY, tries=1, tries_after=1)
    first, last = (rows_of(Job("calendar", "erlang-c", effort, (0.01,), discipline=each)) for each in study.DISCIPLINES)
    assert (first[0]["policy"], last[0]["policy"]) == ("erlang-c", "erlang-c + late-last")
    assert last[0]["violations"] != first[0]["violations"]


@pytest.mark.parametrize("mix", list(MIXES))
@pytest.mark.usefixtures("calendar_hours")
def test_every_mix_is_played(mix: str) -> None:
    rows = rows_of(Job("calendar", "hpa", replace(TINY, tries=1, tries_after=1, steps=1), (0.01,), mix))
    assert {row["mix"] for row in rows} == {mix}
    assert all(row["cost"] > 0.0 for row in rows)


def test_the_study_has_every_policy_in_both_orders_and_ours_in_its_own() -> None:
    jobs = jobs_of_study(FULL)
    plain = {job.name for job in jobs if job.trace == "calendar" and job.mix == "plain"}
    for name in (set(POLICIES) - {"guarded", OURS}) | {"oracle"}:
        assert {name, f"{name} + late-last"} <= plain
    assert OURS in plain
    assert f"{OURS} + late-last" not in plain
    assert {job.mix for job in jobs} == set(MIXES)
    assert len({job.key for job in jobs}) == len(jobs)
    assert "bandit" not in {job.policy for job in jobs_of_study(SHORT)}


def test_what_is_recorded_is_drawn_once() -> None:
    seeds = {job.trace: job.seeds for job in jobs_of(FULL)}
    assert seeds["flights"] == (1,)
    assert seeds["calendar"] == (1, 2, 3)


@pytest.mark.usefixtures("calendar_hours")
def test_a_study_is_done_once_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    jobs = jobs_of(TINY, traces=("calendar",), policies=("fixed", "erlang-c"), targets=(0.01,))
    told: list[tuple[int, int]] = []
    rows = run_study(jobs, tmp_path, workers=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    sorted(tmp_path.iterdir())[0].unlink()
    told.clear()
    again = run_study(jobs, tmp_path, workers=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]
    assert again.drop("us_per_decision").equals(rows.drop("us_per_decision"))


@pytest.mark.usefixtures("calendar_hours")
def test_what_was_interrupted_keeps_what_is_done(tmp_path: Path) -> None:
    jobs = jobs_of(TINY, traces=("calendar",), policies=("fixed",), targets=(0.01,))

    def stop(done: int, _: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(jobs, tmp_path, workers=0, progress=stop)
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert json.loads(next(tmp_path.glob("*.json")).read_bytes())


def test_a_job_is_another_if_anything_about_it_changes() -> None:
    job = Job("calendar", "hpa", TINY, (0.01,))
    others = [
        replace(job, policy="hpa-rate"),
        replace(job, targets=(0.001,)),
        replace(job, mix="crashes"),
        replace(job, discipline="late-last"),
        replace(job, effort=replace(TINY, tries=3)),
        replace(job, effort=replace(TINY, seeds=(1, 2, 3))),
        replace(job, parameters=(("target", 0.5),)),
    ]
    assert len({each.key for each in [job, *others]}) == 8
    assert replace(job, effort=replace(TINY, left_out=("peak",))).key == job.key


# What the rows say


def row(policy: str, setting: str, parts: list[float], violations: float = 0.009, **other) -> dict:
    return {
        "trace": "calendar",
        "mix": "plain",
        "seed": 1,
        "policy": policy,
        "fixed": "{}",
        "target": 0.01,
        "setting": setting,
        "parameters": "{}",
        "cost": sum(parts),
        "lower_bound": 30.0,
        "violations": violations,
        "close": True,
        "late_minutes": 0.02,
        "launches": 7,
        "us_per_decision": 12.0,
        "parts": parts,
    } | other


PLAN = row("oracle", "plan", [10.0, 10.0, 10.0, 10.0])
SETTINGS = ("defaults", "tuned", "equal", "hindsight")


def rows_with(**policies: tuple[list[float], float]) -> pl.DataFrame:
    rows = [PLAN]
    for name, (parts, violations) in policies.items():
        rows += [row(name, setting, parts, violations) for setting in SETTINGS]
    return frame(rows)


def frame(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=study._SCHEMA, orient="row")


def near(rows: pl.DataFrame) -> set[str]:
    return set(compared(rows).filter((pl.col("setting") == "equal") & pl.col("near"))["policy"])


def test_costs_are_multiples_of_the_plan() -> None:
    table = compared(rows_with(ours=([20.0, 20.0, 20.0, 20.0], 0.009))).filter(policy="ours")
    assert table["multiple"].to_list() == [2.0] * 4
    assert table["low"].to_list() == [2.0] * 4


def test_under_faults_costs_are_multiples_of_the_plan_that_meets_none() -> None:
    with_faults = row("ours", "equal", [30.0] * 4, mix="crashes")
    table = compared(frame([PLAN, with_faults]))
    assert table.filter(mix="crashes")["multiple"].to_list() == [3.0]


def test_no_winner_is_declared_inside_the_noise() -> None:
    noisy = rows_with(ours=([20.0, 22.0, 19.0, 21.0], 0.009), theirs=([21.0, 20.0, 20.5, 21.0], 0.009))
    assert near(noisy) == {"ours", "theirs"}
    clear = rows_with(ours=([20.0, 22.0, 19.0, 21.0], 0.009), theirs=([25.0, 27.0, 24.0, 26.0], 0.009))
    assert near(clear) == {"ours"}


def test_on_stretches_that_one_has_not_it_wins_nothing() -> None:
    other_plan = row("oracle", "plan", [10.0] * 4, seed=2)
    theirs = [row("theirs", "equal", [20.0] * 4, seed=1), row("theirs", "equal", [90.0] * 4, seed=2)]
    ours = row("ours", "equal", [20.0] * 4, seed=1)
    assert near(frame([PLAN, other_plan, *theirs, ours])) == {"ours", "theirs"}


def test_who_violates_wins_nothing() -> None:
    assert near(rows_with(ours=([20.0] * 4, 0.009), cheat=([11.0] * 4, 0.02))) == {"ours"}


def test_the_page_shows_every_policy_and_brackets_what_violates() -> None:
    page = page_of(rows_with(ours=([20.0] * 4, 0.009), cheat=([11.0] * 4, 0.02)), QUICK)
    assert "| ours | **2.00** |" in page
    assert "| cheat | (1.10) |" in page
    assert page.startswith("# Scheduling policies against the oracle\n")


def test_the_page_says_who_did_not_come_near_equal_violations() -> None:
    page = page_of(frame([PLAN, *(row("steps", setting, [20.0] * 4, close=False) for setting in SETTINGS)]), QUICK)
    assert "| steps | **2.00~** |" in page


def test_the_page_shows_regret_mixes_and_what_each_part_of_ours_buys() -> None:
    rows = [PLAN, row("oracle + late-last", "plan", [9.0] * 4), row("oracle", "plan", [10.0] * 4, target=0.001)]
    for name, cost in ((OURS, 15.0), ("hpa + late-last", 20.0)):
        for setting in SETTINGS:
            rows += [row(name, setting, [cost] * 4), row(name, setting, [2.0 * cost] * 4, 0.0009, target=0.001)]
            rows += [row(name, setting, [cost + 1.0] * 4, mix="crashes")]
    fixed = {"fixed": '{"calendar":false}'}
    rows += [row(f"{OURS}, no calendar", setting, [18.0] * 4, **fixed) for setting in SETTINGS]
    page = page_of(frame(rows), QUICK)
    assert "one that serves late events last 0.90 of that" in page
    assert "| hpa + late-last | 2.00 | 4.00 | +33% |" in page
    assert "| rarera | **1.60** |" in page.partition("## Mixes")[2]
    assert "| rarera, no calendar | 1.80 | 0.90% | 1.80 |" in page.partition("## What each part")[2]
    assert "rarera, no calendar" not in page.partition("## Mixes")[0], "what is crippled is no rival"


@pytest.mark.usefixtures("calendar_hours")
def test_the_page_is_written_from_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(TINY, traces=("calendar",), policies=("fixed",), targets=(0.01,))
    monkeypatch.setattr(study, "jobs_of_study", lambda _: jobs)
    write_study(tmp_path / "scheduling.md", tmp_path / "kept", TINY, workers=0)
    assert "## calendar, 1.0% beyond 2 s" in (tmp_path / "scheduling.md").read_text()
