"""Scaling policies against an oracle.

Cost as a multiple of what a plan costs that knows the future and keeps the same share of late events, on the test days
of each trace: `equal` at equal violations, after tuning on other days; `tuned` and `defaults` as they are, where the
share of late events stands beside them; and under mixes of faults and hardware. From the study (`make study`,
docs/scheduling.md), whose results are kept in out/study: what it has done is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from rarera_sim.benchmarks.measure import Progress, Row, absent, at_most
from rarera_sim.experiments.loads import available
from rarera_sim.experiments.study import (
    FULL,
    OURS,
    QUICK,
    SHORT,
    STUDY_TRACES,
    TARGETS,
    compared,
    jobs_of,
    jobs_of_study,
    run_study,
)

TITLE = "Scaling policies"
ABOUT = "cost of policies as multiples of an oracle's"

FOLDER = Path("out/study")
DECISION_AIM = 200.0  # us of CPU
# Multiples of the oracle's cost that our own policy is held against, by trace and allowed share of late events.
AIMS = {("nasa", 0.01): 1.45, ("nasa", 0.001): 1.75, ("calendar", 0.01): 1.6}


def run(*, quick: bool, long: bool, progress: Progress) -> list[Row]:
    """The rows: see the module."""
    if quick:
        # A baseline and ours on an hour or two: shows that it works.
        with TemporaryDirectory() as folder:
            jobs = jobs_of(QUICK, traces=("calendar",), policies=("hpa", OURS), targets=TARGETS[:1])
            return list(rows_of(run_study(jobs, Path(folder), workers=0, progress=progress), ("calendar",)))
    jobs = jobs_of_study(FULL if long else SHORT)
    return list(rows_of(run_study(jobs, FOLDER, progress=progress), STUDY_TRACES))


def rows_of(study: pl.DataFrame, traces: Sequence[str]) -> Iterator[Row]:
    """A study's results as rows of a benchmark."""
    for row in compared(study).iter_rows(named=True):
        if row["setting"] == "hindsight" or (row["setting"] == "plan" and row["policy"] == "oracle"):
            continue
        kept = "" if row["setting"] in ("equal", "plan") and row["keeps"] else f", {row['violations']:.2%} late"
        mix = "" if row["mix"] == "plain" else f", {row['mix']}"
        case = f"{row['trace']}{mix}, {row['target']:.1%} late: {row['policy']}, {row['setting']}{kept}"
        ours = row["policy"] == OURS and row["setting"] == "equal" and row["mix"] == "plain"
        aim = AIMS.get((row["trace"], row["target"])) if ours else None
        multiple = float(row["multiple"])
        yield Row(case, multiple, "x oracle", aim=aim, met=None if aim is None else row["keeps"] and multiple <= aim)
    taken = study.filter(pl.col("policy") == OURS)["us_per_decision"]
    if len(taken):
        yield at_most(f"{OURS}: one decision", float(taken.median()), "us", DECISION_AIM)  # type: ignore[arg-type]
    for trace in traces:
        if not available(trace):
            yield absent(trace, "x oracle", "the trace is not here")
