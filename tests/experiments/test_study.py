"""The study: what it compares, that it resumes, and that it declares no winner inside the noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments import study
from rarera_sim.experiments.loads import TRACES, Days, available, load_of
from rarera_sim.experiments.study import QUICK, Job, compared, jobs_of, page_of, rows_of, run_study, write_study

needs_traces = pytest.mark.skipif(not available("llm"), reason="no shared/traces beside the checkout")
TINY = replace(QUICK, tries=2, tries_after=1, steps=1, rounds=2)
HOURS = Days(0.0, 0.05, 0.06, 0.08)


@pytest.fixture
def calendar_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours instead of days, so that a study takes seconds."""
    monkeypatch.setitem(study.TRACES, "calendar", replace(TRACES["calendar"], days=HOURS))


# Loads


def test_the_parts_of_a_trace_follow_one_another_and_see_only_the_past() -> None:
    tune, test = (load_of("calendar", part, days=HOURS) for part in ("tune", "test"))
    assert tune.duration == pytest.approx(0.01 * 86_400)
    assert test.times.min() >= 0.0
    assert test.times.max() < test.duration
    assert len(test.history) == int(0.06 * 86_400 // 15)
    ending = np.histogram(tune.times, np.arange(tune.duration % 15.0, tune.duration + 1.0, 15.0))[0] / 15.0
    assert test.history[-len(ending) :].tolist() == pytest.approx(ending.tolist())


def test_another_seed_is_another_draw_and_the_same_one_the_same() -> None:
    first, again, other = (load_of("calendar", "tune", seed, days=HOURS) for seed in (1, 1, 2))
    assert np.array_equal(first.times, again.times)
    assert np.array_equal(first.services, again.services)
    assert len(first.times) != len(other.times)


def test_history_ends_where_the_run_begins() -> None:
    load = load_of("calendar", "tune", days=HOURS)
    moments = [each.time for each in load.observations]
    assert moments[-1] == 0.0
    assert np.allclose(np.diff(moments), 15.0)


@pytest.mark.parametrize("name", [name for name in TRACES if name not in ("bursty", "calendar", "nasa")])
def test_recorded_traces_are_read(name: str) -> None:
    if not available(name):
        pytest.skip("no shared/traces beside the checkout")
    load = load_of(name, "test")
    assert len(load.times) == len(load.services) > 1000
    assert (load.services > 0.0).all()
    assert (load.services > load.system.objective.bound).mean() < 0.01, "no policy could keep the objective"


def test_an_unknown_trace_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown trace 'nsa'"):
        load_of("nsa", "tune")


# Jobs


@pytest.mark.usefixtures("calendar_hours")
def test_a_job_says_what_came_of_each_setting() -> None:
    rows = rows_of(Job("calendar", 1, "hpa", 0.01, TINY))
    assert [row["setting"] for row in rows] == ["defaults", "tuned", "equal", "hindsight"]
    for row in rows:
        assert row["replica_time"] == pytest.approx(sum(row["parts"]))
        assert row["replica_time"] > 0.5 * row["lower_bound"]
        assert row["us_per_decision"] > 0.0
    named = {row["setting"]: row for row in rows}
    assert named["equal"]["violations"] <= 0.01
    assert named["hindsight"]["replica_time"] <= named["equal"]["replica_time"]


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
    job = Job("calendar", 1, "hpa", 0.01, TINY)
    others = [
        replace(job, seed=2),
        replace(job, policy="hpa-rate"),
        replace(job, violations=0.001),
        replace(job, effort=replace(TINY, tries=3)),
        replace(job, parameters=(("target", 0.5),)),
    ]
    assert len({each.key for each in [job, *others]}) == 6
    assert replace(job, effort=replace(TINY, seeds=(1, 2, 3))).key == job.key


# What the rows say


def row(policy: str, setting: str, parts: list[float], violations: float = 0.009) -> dict:
    return {
        "trace": "calendar",
        "seed": 1,
        "policy": policy,
        "target": 0.01,
        "setting": setting,
        "parameters": "{}",
        "replica_time": sum(parts),
        "lower_bound": 80.0,
        "violations": violations,
        "late_minutes": 0.02,
        "launches": 7,
        "us_per_decision": 12.0,
        "parts": parts,
    }


def rows_with(**policies: tuple[list[float], float]) -> pl.DataFrame:
    rows = [row("oracle", "plan", [10.0, 10.0, 10.0, 10.0])]
    for name, (parts, violations) in policies.items():
        rows += [row(name, setting, parts, violations) for setting in ("defaults", "tuned", "equal", "hindsight")]
    return pl.DataFrame(rows, schema=study._SCHEMA, orient="row")


def near(rows: pl.DataFrame) -> set[str]:
    return set(compared(rows).filter((pl.col("setting") == "equal") & pl.col("near"))["policy"])


def test_costs_are_multiples_of_the_plan() -> None:
    table = compared(rows_with(ours=([20.0, 20.0, 20.0, 20.0], 0.009)))
    assert table["multiple"].to_list() == [2.0] * 4
    assert table["low"].to_list() == [2.0] * 4


def test_no_winner_is_declared_inside_the_noise() -> None:
    noisy = rows_with(ours=([20.0, 22.0, 19.0, 21.0], 0.009), theirs=([21.0, 20.0, 20.5, 21.0], 0.009))
    assert near(noisy) == {"ours", "theirs"}
    clear = rows_with(ours=([20.0, 22.0, 19.0, 21.0], 0.009), theirs=([25.0, 27.0, 24.0, 26.0], 0.009))
    assert near(clear) == {"ours"}


def test_who_violates_wins_nothing() -> None:
    assert near(rows_with(ours=([20.0] * 4, 0.009), cheat=([11.0] * 4, 0.02))) == {"ours"}


def test_the_page_shows_every_policy_and_brackets_what_violates() -> None:
    page = page_of(rows_with(ours=([20.0] * 4, 0.009), cheat=([11.0] * 4, 0.02)), QUICK)
    assert "| ours | **2.00** |" in page
    assert "| cheat | (1.10) |" in page
    assert page.startswith("# Scheduling policies against the oracle\n")


@needs_traces
@pytest.mark.usefixtures("calendar_hours")
def test_the_page_is_written_from_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "STUDY_TRACES", ("calendar",))
    monkeypatch.setattr(study, "TARGETS", (0.01,))
    monkeypatch.setattr(study, "POLICIES", {"fixed": None})
    monkeypatch.setattr(study.os, "cpu_count", lambda: 0)
    write_study(tmp_path / "scheduling.md", tmp_path / "kept", TINY)
    assert "## calendar, 1.0% beyond 2 s" in (tmp_path / "scheduling.md").read_text()
