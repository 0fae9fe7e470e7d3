"""Configurations of a scenario against each other: replicated under the same weather, with intervals."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.run import LEVELS, VERSION, Measures, run
from rarera_sim.experiments.scenario import Configuration, Scenario
from rarera_sim.experiments.statistics import Interval, mean_interval, paired_interval, simultaneous
from rarera_sim.experiments.workload import prepared

CONFIDENCE = 0.95
PAIRED = ("cost", "p99_s", "on_time")

_SHARES = ("on_time", "availability", "processor_availability", "slo_time")


@dataclass(frozen=True)
class Comparison:
    """What came out of every configuration.

    Parameters
    ----------
    scenario
        With everything filled in that was left to be chosen.
    seed, replications, version, digest
        What makes the comparison, and the SHA-256 of what all its runs did.
    rows
        One per configuration: `configuration`, `transport`, `policy`; each measure's mean over the replications with
        its 95 % interval, `…_low` and `…_high` (None with one replication); `slo_met` (None where the interval of
        `on_time` holds the objective's quantile, so that it cannot be told); `state_correct` (in every replication)
        and `state_wrong` (in how many it is not).
    measures
        One row per configuration and replication.
    load, crashes
        Of replication 0, one row per configuration and control period, or crash; see `metrics.load`.
    quantiles
        `configuration`, `quantile`, `response_s`, `response_s_low`, `response_s_high`.
    differences
        `configuration` minus `against`, paired by replication, for each `measure` of `PAIRED`: `difference`, `low`,
        `high`; and `low_all`, `high_all`, wide enough to hold for one configuration against all others at once.
    trace_origin, events
        Where the trace comes from, and how many of its events are measured.
    log_path
        The log of replication 0 of the last configuration that has one, where it was kept.
    """

    scenario: Scenario
    seed: int
    replications: int
    version: str
    digest: str
    rows: list[dict[str, Any]]
    measures: pl.DataFrame
    load: pl.DataFrame
    crashes: pl.DataFrame
    quantiles: pl.DataFrame
    differences: pl.DataFrame
    trace_origin: str
    events: int
    log_path: str | None = None
    command: str = ""
    interrupted: bool = False  # always False yet: who interrupts gets nothing half-done

    def __repr__(self) -> str:
        return (
            f"Comparison({self.scenario.name}, {len(self.rows)} configurations x {self.replications} replications, "
            f"seed={self.seed}, digest={self.digest[:12]})"
        )

    def to_json(self) -> dict[str, Any]:
        """For machines: `scenario`, `seed`, `version`, `digest`, `rows`."""
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "version": self.version,
            "digest": self.digest,
            "rows": self.rows,
        }


class Outcome(NamedTuple):
    """What a comparison keeps of one run."""

    number: int  # of the configuration
    replication: int
    seed: int
    digest: str
    measures: Measures
    quantiles: dict[float, float | None]
    load: pl.DataFrame | None
    crashes: pl.DataFrame | None


class Task(NamedTuple):
    """One run to do."""

    scenario: Scenario
    number: int
    replication: int
    seed: int
    log_path: Path | None

    @property
    def configuration(self) -> Configuration:
        return self.scenario.configurations[self.number]


def seed_of(seed: int, replication: int) -> int:
    """The seed of a replication: the given one for replication 0, an unrelated one for each other.

    Not `seed + replication`, or the second replication of seed 1 would be the first of seed 2.
    """
    if replication == 0:
        return seed
    return int.from_bytes(sha256(f"replication\0{seed}\0{replication}".encode()).digest()[:7], "big")


def compare(
    scenario: Scenario,
    *,
    seed: int = 1,
    replications: int | None = None,
    jobs: int | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run every configuration of a scenario several times and put the results side by side.

    In each replication all configurations meet the same weather: the same arrivals, service times, fates of frames
    and crashes. The numbers do not depend on `jobs`.

    Parameters
    ----------
    seed
        Of replication 0; the others derive from it.
    replications
        Instead of the scenario's.
    jobs
        Processes; as many as there are processors where it is left out, 1 for none beside this one.
    folder
        Keep the event log of replication 0 there, as `log.sqlite`.
    progress
        Called with how many runs are done, and how many there are.

    Examples
    --------
    >>> import msgspec
    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> scenario = default_scenario()
    >>> trace = msgspec.structs.replace(scenario.trace, until="2013-02-06T20:00:00Z")
    >>> day = msgspec.structs.replace(scenario, trace=trace, configurations=scenario.configurations[1::6])
    >>> for row in compare(day, replications=2, jobs=1).rows:
    ...     print(row["configuration"], row["lost"], row["state_correct"])
    queue at-least-once / hpa 261.5 False
    log / price-aware 0.0 True
    """
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise BadInput(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    count = scenario.run.replications if replications is None else replications
    if count < 1:
        raise BadInput(f"replications must be >= 1, got {count!r}")
    if jobs is not None and jobs < 1:
        raise BadInput(f"jobs must be >= 1, got {jobs!r}")
    ready = prepared(scenario)  # whatever is wrong with the trace is said before any work is done
    logged = [number for number, each in enumerate(scenario.configurations) if each.transport == "log"]
    kept = logged[-1] if folder is not None and logged else None
    log_path = None if kept is None or folder is None else folder / "log.sqlite"
    part = log_path and log_path.with_name("log.part.sqlite")
    # Replication by replication, so that whoever stops early has every configuration equally often.
    tasks = [
        Task(
            scenario,
            number,
            replication,
            seed_of(seed, replication),
            part if (number, replication) == (kept, 0) else None,
        )
        for replication in range(count)
        for number in range(len(scenario.configurations))
    ]
    outcomes = []
    with _kept(part, log_path):
        for outcome in _outcomes(tasks, jobs or os.cpu_count() or 1):
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(tasks))
    outcomes.sort(key=lambda each: (each.replication, each.number))
    since, until = ready.window
    return Comparison(
        ready.scenario,
        seed,
        count,
        VERSION,
        _digest(outcomes),
        _rows(ready.scenario, outcomes),
        _measures(ready.scenario, outcomes),
        _frames(ready.scenario, outcomes, "load"),
        _frames(ready.scenario, outcomes, "crashes"),
        _quantiles(ready.scenario, outcomes),
        _differences(ready.scenario, outcomes),
        ready.origin,
        sum(since <= arrival.time < until for arrival in ready.workload.arrivals),
        str(log_path) if log_path else None,
        shlex.join(["rarera", "run", "--seed", str(seed), "--replications", str(count)]),
    )


# Doing it


@contextmanager
def _kept(part: Path | None, path: Path | None) -> Iterator[None]:
    """A log is written beside its place and put there when all is done: nobody finds half of one, or an old one."""
    if part is None or path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    leftovers = [part.with_name(part.name + suffix) for suffix in ("", "-wal", "-shm")]
    try:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        yield
        for suffix in ("-wal", "-shm"):  # of a log that is about to be replaced
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        part.replace(path)
    finally:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)


def _outcomes(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """The outcomes as they come, from this process or from several."""
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        yield from map(_do, tasks)
        return
    # Not fork: a copied process has our threads' locks without our threads.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_ignore_interrupt)
    try:
        waiting: set[Future[Outcome]] = {pool.submit(_do, task) for task in tasks}
        while waiting:
            # Python hears of Ctrl-C between waits only; without an end a wait lasts as long as the shortest run.
            done, waiting = wait(waiting, timeout=0.25, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BaseException:
        # Whoever interrupts does not want to wait for what has begun.
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole group of processes; the one that people talk to decides what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _do(task: Task) -> Outcome:
    outcome = run(task.scenario, task.seed, task.configuration, log_path=task.log_path)
    first = task.replication == 0
    return Outcome(
        task.number,
        task.replication,
        task.seed,
        outcome.digest,
        outcome.measures,
        outcome.response_quantiles,
        outcome.load if first else None,
        outcome.crashes if first else None,
    )


# Putting it side by side


def _digest(outcomes: Sequence[Outcome]) -> str:
    total = sha256()
    for outcome in outcomes:
        total.update(f"{outcome.number} {outcome.replication} {outcome.digest}\n".encode())
    return total.hexdigest()


def _of(outcomes: Sequence[Outcome], number: int) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.number == number]


def _rows(scenario: Scenario, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for number, configuration in enumerate(scenario.configurations):
        ours = _of(outcomes, number)
        row = _names(configuration)
        for name in ours[0].measures:
            if name != "state_correct":
                row |= _columns(name, _interval(name, [outcome.measures[name] for outcome in ours]))
        wrong = sum(not outcome.measures["state_correct"] for outcome in ours)
        row["slo_met"] = _met(row, scenario.objective.quantile)
        row["state_correct"] = wrong == 0
        row["state_wrong"] = wrong
        rows.append(row)
    return rows


def _names(configuration: Configuration) -> dict[str, Any]:
    return {
        "configuration": configuration.label,
        "transport": configuration.transport,
        "policy": configuration.policy,
    }


def _columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    mean, low, high = interval or (None, None, None)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _interval(name: str, values: Sequence[float | None]) -> Interval | None:
    """The mean of a measure, or None where a replication has none: a mean over the others would be of other things."""
    known = [float(value) for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean, low, high = mean_interval(known, confidence=CONFIDENCE)
    if low is None or high is None:
        return Interval(mean, None, None)
    # Student's t does not know that a count is never negative, and a share never above 1.
    return Interval(mean, max(low, 0.0), min(high, 1.0) if name in _SHARES else high)


def _met(row: dict[str, Any], quantile: float) -> bool | None:
    share, low, high = (row[f"on_time{suffix}"] for suffix in ("", "_low", "_high"))
    if share is None:
        return None
    if low is None or high is None:
        return bool(share >= quantile)
    return None if low < quantile <= high else bool(low >= quantile)


def _measures(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                **_names(scenario.configurations[outcome.number]),
                "replication": outcome.replication,
                "seed": outcome.seed,
                "digest": outcome.digest,
                **outcome.measures,
            }
            for outcome in outcomes
        ],
        infer_schema_length=None,
    )


def _frames(scenario: Scenario, outcomes: Sequence[Outcome], name: str) -> pl.DataFrame:
    frames = []
    for outcome in outcomes:
        frame: pl.DataFrame | None = getattr(outcome, name)
        if frame is not None:
            label = scenario.configurations[outcome.number].label
            frames.append(frame.select(pl.lit(label).alias("configuration"), pl.all()))
    return pl.concat(frames)


def _quantiles(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    rows = []
    for number, configuration in enumerate(scenario.configurations):
        for level in LEVELS:
            values = [outcome.quantiles[level] for outcome in _of(outcomes, number)]
            interval = _interval("response_s", values)
            rows.append({"configuration": configuration.label, "quantile": level, **_columns("response_s", interval)})
    return pl.DataFrame(rows, infer_schema_length=None)


def _differences(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    rows = []
    labels = [configuration.label for configuration in scenario.configurations]
    for one, other in permutations(range(len(labels)), 2):
        for measure in PAIRED:
            ours, theirs = ([outcome.measures[measure] for outcome in _of(outcomes, number)] for number in (one, other))
            if None in ours or None in theirs:
                continue
            single = paired_interval(ours, theirs, confidence=CONFIDENCE)
            joint = paired_interval(ours, theirs, confidence=simultaneous(CONFIDENCE, len(labels) - 1))
            rows.append((labels[one], labels[other], measure, *single, *joint[1:]))
    schema = {
        "configuration": pl.String,
        "against": pl.String,
        "measure": pl.String,
        "difference": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "low_all": pl.Float64,
        "high_all": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
