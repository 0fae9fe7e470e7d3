"""The study of policies: every policy tuned on the past with the same budget, and all held against the oracle.

Three figures per policy, trace and allowed share of late events, each a multiple of what the oracle's plan costs:

- *tuned*: the setting that was the cheapest on the tuning days, played on the test days as it is. It may violate.
- *equal*: the same with its head-room moved, by bisection on the test days, until just the allowed share is late. Only
  at equal violations do costs compare.
- *hindsight*: tuned on the test days themselves, with its head-room moved likewise: the best that the policy can do.

What is done is kept, one file per job in a folder, by a hash of everything that the result depends on: a study that
was interrupted goes on where it stopped, and one that was changed does again only what the change concerns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version as version_of
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from rarera_sim.experiments.loads import TRACES, Load, Part, available, load_of
from rarera_sim.experiments.oracle import oracle
from rarera_sim.experiments.statistics import mean_interval, paired_interval
from rarera_sim.experiments.tuning import Try, best_of, bisect, tune
from rarera_sim.policies import POLICIES, tunable
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.policies.tuning import Range
from rarera_sim.simulation.generators import DAY
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome, evaluate

Progress = Callable[[int, int], None]
Settings = Callable[[float], dict[str, Any]]


@dataclass(frozen=True)
class Effort:
    """How much of the study is done.

    Parameters
    ----------
    learn_days, tune_days, test_days
        Days of a trace, at most; where a day is shorter than a real one, all of them.
    tries
        Evaluations of a tuning, on the tuning days.
    tries_after
        Evaluations of a tuning in hindsight, on the test days, which starts from the setting that was tuned.
    steps
        Of a bisection.
    rounds
        Of the oracle's search.
    seeds
        Draws of each trace.
    """

    learn_days: float = 28.0
    tune_days: float = 3.0
    test_days: float = 14.0
    tries: int = 40
    tries_after: int = 40
    steps: int = 8
    rounds: int = 60
    seeds: tuple[int, ...] = (1, 2, 3)


FULL = Effort()
SHORT = Effort(learn_days=1.0, tune_days=0.5, test_days=1.0, tries=12, tries_after=4, steps=6, rounds=16, seeds=(1,))
QUICK = Effort(0.25, 1 / 24, 1 / 12, tries=4, tries_after=2, steps=2, rounds=4, seeds=(1,))

STUDY_TRACES = ("nasa", "calendar", "bursty", "flights", "llm")
TARGETS = (0.01, 0.001)

# What moves a policy along its own trade-off, and which way more replicas lie. The others are moved by a factor on what
# they decide.
HEAD_ROOM: dict[str, tuple[str, int]] = {
    "hpa": ("target", -1),
    "hpa-rate": ("share", -1),
    "knative": ("utilisation", -1),
    "ds2": ("margin", 1),
    "square-root": ("beta", 1),
    "predictive": ("forecast_quantile", 1),
}
_FACTORS = (0.25, 8.0)


@dataclass(frozen=True)
class Job:
    """One policy, or the oracle, on one draw of one trace.

    Parameters
    ----------
    policy
        One of `policies.POLICIES`, or "oracle".
    parameters
        Fixed ones, such as the parts of an ablation that are switched off.
    label
        What to call it, where that is not the policy's name.
    """

    trace: str
    seed: int
    policy: str
    violations: float
    effort: Effort
    parameters: tuple[tuple[str, Any], ...] = ()
    label: str = ""

    @property
    def key(self) -> str:
        """Hash of all that the result depends on, the code that makes it included."""
        words = orjson.dumps([asdict(replace(self, effort=replace(self.effort, seeds=()))), _code()], option=_SORTED)
        return sha256(words).hexdigest()[:32]


_SORTED = orjson.OPT_SORT_KEYS


def jobs_of(
    effort: Effort,
    *,
    traces: Sequence[str] | None = None,
    policies: Sequence[str] | None = None,
    targets: Sequence[float] | None = None,
) -> list[Job]:
    """The jobs of a study, those of one load one after the other; traces that cannot be had here are left out."""
    names = ("oracle", *(POLICIES if policies is None else policies))
    traces = STUDY_TRACES if traces is None else traces
    targets = TARGETS if targets is None else targets
    return [
        Job(trace, seed, name, target, effort)
        for trace in traces
        if available(trace)
        for seed in effort.seeds
        for target in targets
        for name in names
    ]


def run_study(
    jobs: Sequence[Job], folder: Path, *, workers: int | None = None, progress: Progress = lambda *_: None
) -> pl.DataFrame:
    """Do the jobs that have not been done yet; one row per job and setting, see `rows_of`.

    Parameters
    ----------
    folder
        Where results are kept.
    workers
        Processes; one per core where it is left out, none but this one if 0.
    progress
        Called with the jobs done and those there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not _file(folder, job).is_file()]
    progress(len(jobs) - len(missing), len(jobs))
    done = len(jobs) - len(missing)
    for job, rows in _done(missing, os.cpu_count() if workers is None else workers):
        _keep(_file(folder, job), rows)
        done += 1
        progress(done, len(jobs))
    rows = [row for job in jobs for row in orjson.loads(_file(folder, job).read_bytes())]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _done(jobs: Sequence[Job], workers: int | None) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
    if not workers or len(jobs) < 2:
        for job in jobs:
            yield job, rows_of(job)
        return
    # Workers keep the last load they have made, so neighbours go to one worker after the other. A few at a time, so
    # that an interrupted study has little under way.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        waiting = list(reversed(jobs))
        running: dict[Future[list[dict[str, Any]]], Job] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop()
                running[pool.submit(rows_of, job)] = job
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.trace}-{job.label or job.policy}-{job.key}.json"


def _keep(path: Path, rows: list[dict[str, Any]]) -> None:
    # A file that is there is whole.
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(rows))
    part.replace(path)


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the version and of the code that decides results."""
    package = Path(__file__).parents[1]
    total = sha256(version_of("rarera-sim").encode())
    files = [*package.glob("policies/*.py"), *package.glob("learning/*.py"), package / "theory.py"]
    files += [package / "simulation" / f"{name}.py" for name in ("recursion", "compiled", "generators", "services")]
    files += [package / "experiments" / f"{name}.py" for name in ("loads", "oracle", "tuning", "study")]
    for path in sorted(files):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


# One job

_SCHEMA: dict[str, Any] = {
    "trace": pl.String,
    "seed": pl.Int64,
    "policy": pl.String,
    "target": pl.Float64,
    "setting": pl.String,
    "parameters": pl.String,
    "replica_time": pl.Float64,
    "lower_bound": pl.Float64,
    "violations": pl.Float64,
    "late_minutes": pl.Float64,
    "launches": pl.Int64,
    "us_per_decision": pl.Float64,
    "parts": pl.List(pl.Float64),
}


def rows_of(job: Job) -> list[dict[str, Any]]:
    """Do one job: a row per setting (`defaults`, `tuned`, `equal`, `hindsight`; of the oracle, `plan`).

    `parts` is what stretches of the test days cost, replica-seconds: whole days, or quarters where there are few.
    """
    if job.policy == "oracle":
        load = _load(job, "test")
        found = oracle(load, job.violations, rounds=job.effort.rounds)
        return [_row(job, load, "plan", {}, found.planned, 0.0)]
    contest = _Contest(job)
    return contest.rows()


def _load(job: Job, part: Part) -> Load:
    trace = TRACES[job.trace]
    effort, days = job.effort, trace.days
    # A day of a trace that is played faster is short, and all of them cost little.
    if trace.day >= DAY or effort.learn_days < 1.0:
        days = days.shortened(effort.tune_days, effort.test_days)
        days = replace(days, learn=max(days.learn, days.tune - effort.learn_days))
    return load_of(job.trace, part, job.seed, violations=job.violations, days=days)


class Timed:
    """A policy and the CPU time it takes."""

    def __init__(self, policy: Scaler, factor: float = 1.0) -> None:
        self._policy = policy
        self._factor = factor
        self.seconds = 0.0
        self.decisions = 0

    def observe(self, observation: Observation) -> None:
        """Learn, and count."""
        began = time.thread_time()
        self._policy.observe(observation)
        self.seconds += time.thread_time() - began

    def decide(self) -> Decision:
        """Decide, and count; the factor is head-room of those that have none of their own."""
        began = time.thread_time()
        decision = self._policy.decide()
        self.seconds += time.thread_time() - began
        self.decisions += 1
        if self._factor == 1.0:
            return decision
        return Decision(max(1, math.ceil(decision.replicas * self._factor - 1e-9)), decision.reason)


class _Contest:
    """One policy on its tuning days and on its test days."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.times: dict[int, float] = {}
        self.generator = Streams(job.seed).generator("study", job.trace, job.policy, "tuning")
        self.fixed = dict(job.parameters)
        self.ranges = {name: each for name, each in tunable(job.policy).items() if name not in self.fixed}
        self.ranges |= _cap(job, _load(job, "tune"))

    def rows(self) -> list[dict[str, Any]]:
        job, effort = self.job, self.job.effort
        tune_load = _load(job, "tune")
        first = [{}] if job.policy != "fixed" else [{"replicas": _needed(tune_load, 1.0)}]
        tries = tune(
            lambda parameters: self.outcome(tune_load, parameters),
            self.ranges,
            budget=effort.tries,
            violations=job.violations,
            generator=self.generator,
            first=first,
        )
        tuned = best_of(tries, job.violations).parameters
        test_load = _load(job, "test")
        defaults = self.outcome(test_load, first[0])
        played = self.outcome(test_load, tuned)
        equal = self.equalled(test_load, tuned, played)
        after = tune(
            lambda parameters: self.outcome(test_load, parameters),
            self.ranges,
            budget=effort.tries_after,
            violations=job.violations,
            generator=self.generator,
            first=[tuned],
        )
        best = best_of(after, job.violations)
        hindsight = best_of(
            [equal, self.equalled(test_load, best.parameters, self.outcome(test_load, best.parameters))],
            job.violations,
        )
        return [
            self.row(test_load, "defaults", first[0], defaults),
            self.row(test_load, "tuned", tuned, played),
            self.row(test_load, "equal", equal.parameters, _outcome_of(equal)),
            self.row(test_load, "hindsight", hindsight.parameters, _outcome_of(hindsight)),
        ]

    def row(self, load: Load, setting: str, parameters: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        return _row(self.job, load, setting, parameters, outcome, self.times[id(outcome)])

    def outcome(self, load: Load, parameters: Mapping[str, Any]) -> Outcome:
        chosen = dict(parameters)
        factor = chosen.pop("factor", 1.0)
        policy = Timed(load.trained(self.job.policy, self.fixed | chosen), factor)
        outcome = evaluate(load.times, load.services, policy, system=load.system, duration=load.duration)
        self.times[id(outcome)] = policy.seconds / policy.decisions * 1e6
        self.kept = [*getattr(self, "kept", [])[-200:], outcome]  # so that an id stays whose it is
        return outcome

    def equalled(self, load: Load, parameters: dict[str, Any], played: Outcome) -> Try:
        """The setting with its head-room moved until it just keeps the objective."""
        violations, steps = self.job.violations, self.job.effort.steps
        tries = [Try(parameters, played)]
        for settings, low, high in self.directions(parameters):

            def evaluated(share: float, settings: Settings = settings) -> Outcome:
                outcome = self.outcome(load, settings(share))
                tries.append(Try(settings(share), outcome))
                return outcome

            bisect(evaluated, low, high, violations=violations, steps=steps)
            if any(each.keeps(violations) for each in tries):
                break
        return best_of(tries, violations)

    def directions(self, parameters: dict[str, Any]) -> Iterator[tuple[Settings, float, float]]:
        """Ways to more replicas, and how far they go: the policy's own, then a factor on what it decides."""
        # The limit on replicas was made for the tuning days; whoever needs more may have it.
        unlimited = {name: value for name, value in parameters.items() if name != "replicas_max"}
        own = HEAD_ROOM.get(self.job.policy)
        for chosen in (parameters, unlimited):
            if own is not None and own[0] in self.ranges:
                yield _along(chosen, own[0], self.ranges[own[0]], own[1]), 0.0, 1.0
            yield _multiplied(chosen), math.log(_FACTORS[0]), math.log(_FACTORS[1])


def _along(parameters: dict[str, Any], name: str, within: Range, sign: int) -> Settings:
    return lambda share: parameters | {name: within.at(share if sign > 0 else 1.0 - share)}


def _multiplied(parameters: dict[str, Any]) -> Settings:
    return lambda power: parameters | {"factor": math.exp(power)}


def _outcome_of(tried: Try) -> Outcome:
    assert isinstance(tried.result, Outcome), "a try of ours"
    return tried.result


def _cap(job: Job, load: Load) -> dict[str, Range]:
    """The limit on replicas, between what the median and half as much again as the peak of the history need."""
    if job.policy in ("fixed", "oracle"):
        return {"replicas": Range(1, _needed(load, 1.0) * 2, "int")} if job.policy == "fixed" else {}
    return {"replicas_max": Range(_needed(load, 0.5), max(_needed(load, 0.5) + 1, _needed(load, 1.0) * 1.5), "int")}


def _needed(load: Load, level: float) -> int:
    return max(2, math.ceil(float(np.quantile(load.history, level)) * load.service_mean * 1.2))


def _row(
    job: Job, load: Load, setting: str, parameters: dict[str, Any], outcome: Outcome, microseconds: float
) -> dict[str, Any]:
    count = min(max(6, round(load.duration / load.day)), max(1, load.periods // 8))
    number = np.minimum(np.arange(outcome.periods.height) * count // load.periods, count - 1)
    return {
        "trace": job.trace,
        "seed": job.seed,
        "policy": job.label or job.policy,
        "target": job.violations,
        "setting": setting,
        "parameters": orjson.dumps(parameters, option=_SORTED).decode(),
        "replica_time": outcome.replica_time,
        "lower_bound": float(load.services.sum()) / load.system.hardware.speed,
        "violations": outcome.violations,
        "late_minutes": outcome.late_minutes,
        "launches": outcome.launches,
        "us_per_decision": microseconds,
        "parts": np.bincount(number, outcome.periods["paid_s"].to_numpy(), count).tolist(),
    }


# What the rows say


def compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Each policy against the oracle's plan on the same load: one row per trace, target, policy and setting.

    `multiple` is its cost over the plan's, all draws together, with `low` and `high` from the stretches of the test
    days (Student's t, 95 %). `keeps`: the allowed share of late events was kept on every draw. `near`: no policy at
    this setting is cheaper beyond the noise (paired by stretch, 95 %): it is the best, or cannot be told from it.
    """
    plans = {
        (row["trace"], row["seed"], row["target"]): row
        for row in rows.filter(pl.col("setting") == "plan").iter_rows(named=True)
    }
    found: list[dict[str, Any]] = []
    ratios: dict[tuple[str, float, str, str], list[float]] = {}
    others = rows.filter(pl.col("setting") != "plan")
    for key, group in others.group_by("trace", "target", "setting", "policy", maintain_order=True):
        trace, target, setting, policy = map(str, key)
        stretches: list[float] = []
        cost = planned = 0.0
        for row in group.iter_rows(named=True):
            plan = plans[(row["trace"], row["seed"], row["target"])]
            cost += row["replica_time"]
            planned += plan["replica_time"]
            stretches += [mine / theirs for mine, theirs in zip(row["parts"], plan["parts"], strict=True)]
        interval = mean_interval(stretches)
        ratios[(trace, float(target), setting, policy)] = stretches
        found.append(
            {
                "trace": trace,
                "target": float(target),
                "setting": setting,
                "policy": policy,
                "multiple": cost / planned,
                "low": interval.low,
                "high": interval.high,
                "violations": float(group["violations"].mean()),  # type: ignore[arg-type]
                "late_minutes": float(group["late_minutes"].mean()),  # type: ignore[arg-type]
                "launches": int(group["launches"].sum()),
                "us_per_decision": float(group["us_per_decision"].median()),  # type: ignore[arg-type]
                "keeps": bool((group["violations"] <= float(target) * (1 + 1e-9)).all()),
            }
        )
    for row in found:
        rivals = [
            each
            for each in found
            if (each["trace"], each["target"], each["setting"]) == (row["trace"], row["target"], row["setting"])
            and each["keeps"]
        ]
        ours = ratios[_place(row)]
        row["near"] = row["keeps"] and not any(_cheaper(ratios[_place(each)], ours) for each in rivals)
    return pl.DataFrame(found)


def _place(row: Mapping[str, Any]) -> tuple[str, float, str, str]:
    return row["trace"], row["target"], row["setting"], row["policy"]


def _cheaper(theirs: Sequence[float], ours: Sequence[float]) -> bool:
    """Whether they are cheaper than we are, beyond the noise."""
    if theirs is ours:
        return False
    high = paired_interval(theirs, ours).high
    return high is not None and high < 0.0


_ABOUT = """\
Written by `make study`; edits are lost. Costs are replica-seconds, paid for from the request to the release, as
multiples of what a plan costs that knows every arrival and every service of the test days and keeps the same share of
late events (`rarera_sim.experiments.oracle`). Start-up 60 s and billed, draining billed, control every 15 s.

*tuned*: the setting that was the cheapest on the tuning days, as it is, with its late events beside it. *equal*: its
head-room moved until just the allowed share is late, so that costs compare; late minutes, launches and time are of this
one. *hindsight*: tuned on the test days themselves. *defaults*: as a user finds it. A multiple in brackets did not keep
the share. **Bold**: no policy of the table is cheaper at equal violations beyond the noise (paired by stretches of the
test days, 95 %).
""".splitlines()


def page_of(rows: pl.DataFrame, effort: Effort) -> str:
    """docs/scheduling.md."""
    table = compared(rows)
    lines = [
        "# Scheduling policies against the oracle",
        "",
        *_ABOUT,
        "",
        f"Effort: {effort.tries} evaluations per tuning on at most {effort.tune_days:g} days, {effort.tries_after} in "
        f"hindsight, {effort.test_days:g} test days at most, seeds {', '.join(map(str, effort.seeds))}.",
        *_left_out(table),
        "",
    ]
    for (trace, target), part in table.group_by("trace", "target", maintain_order=True):
        plan = rows.filter((pl.col("setting") == "plan") & (pl.col("trace") == trace) & (pl.col("target") == target))
        known = TRACES[str(trace)]
        over = float((plan["replica_time"] / plan["lower_bound"]).mean())  # type: ignore[arg-type]
        lines += [
            f"## {trace}, {float(str(target)):.1%} beyond {known.bound:g} s",
            "",
            f"{known.about[:1].upper()}{known.about[1:]}. The plan costs {over:.2f} times the work alone.",
            "",
            "| policy | equal | 95 % | tuned | late | hindsight | defaults | late minutes | launches | us/decision |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        named = {(row["policy"], row["setting"]): row for row in part.iter_rows(named=True)}
        equal = [row for (_, setting), row in named.items() if setting == "equal"]
        for row in sorted(equal, key=lambda row: (not row["keeps"], row["multiple"])):
            tuned, defaults = named[(row["policy"], "tuned")], named[(row["policy"], "defaults")]
            multiple = f"**{_multiple(row)}**" if row["near"] else _multiple(row)
            interval = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
            cells = (
                row["policy"],
                multiple,
                interval,
                _multiple(tuned),
                f"{tuned['violations']:.2%}",
                _multiple(named[(row["policy"], "hindsight")]),
                _multiple(defaults),
                f"{row['late_minutes']:.1%}",
                f"{row['launches']:,}",
                f"{row['us_per_decision']:.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _left_out(table: pl.DataFrame) -> Iterator[str]:
    """What the page does not show, said."""
    shown = set(table.select("trace", "target").iter_rows())
    missing = [
        f"{trace} at {target:.1%}" for trace in STUDY_TRACES for target in TARGETS if (trace, target) not in shown
    ]
    if missing:
        yield f"Not done yet, or not to be had where this was made: {', '.join(missing)}."


def _multiple(row: Mapping[str, Any]) -> str:
    return f"{row['multiple']:.2f}" if row["keeps"] else f"({row['multiple']:.2f})"


def write_study(path: Path, folder: Path, effort: Effort = SHORT, *, progress: Progress = lambda *_: None) -> None:
    """Do the study, or what is left of it, and write docs/scheduling.md: what `make study` calls."""
    rows = run_study(jobs_of(effort), folder, progress=progress)
    path.write_text(page_of(rows, effort), encoding="utf-8")
