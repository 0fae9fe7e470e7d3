"""Configurations of a scenario against each other: replicated under the same weather, with intervals."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import permutations
from math import ceil
from pathlib import Path
from typing import Any

import polars as pl

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.replicate import Outcome, Task, Worked, runner, seed_of
from rarera_sim.experiments.run import LEVELS, VERSION
from rarera_sim.experiments.scenario import Configuration, Scenario
from rarera_sim.experiments.statistics import (
    Interval,
    controlled_interval,
    mean_interval,
    paired_interval,
    simultaneous,
    with_the_best,
)
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
        One row per configuration and replication; `service_mean_s` is the mean service time that chance gave it.
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
    interrupted
        Whether somebody stopped it: `replications` says how many there are of every configuration all the same; with
        0 all frames are empty.
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
    interrupted: bool = False

    def __repr__(self) -> str:
        return (
            f"Comparison({self.scenario.name}, {len(self.rows)} configurations x {self.replications} replications, "
            f"seed={self.seed}, digest={self.digest[:12]})"
        )

    def best(self, measure: str = "cost", *, lower_is_better: bool = True) -> pl.DataFrame:
        """Each configuration against the best of the others, all intervals at once with 95 %: `difference` (how much
        worse), `low`, `high`, and `verdict`: "best", "may be best", "not best"; see `statistics.with_the_best`.
        """
        rows = []
        labels = [configuration.label for configuration in self.scenario.configurations]
        if measure not in self.measures.columns:
            raise BadInput(f"measure must be one of those of a run, got {measure!r}")
        series = [self.measures.filter(pl.col("configuration") == label)[measure].to_list() for label in labels]
        if len(labels) < 2 or self.replications < 2 or any(None in each for each in series):
            raise BadInput(f"the best in {measure} needs 2 configurations and replications that all have it")
        for label, (difference, low, high) in zip(
            labels, with_the_best(series, lower_is_better=lower_is_better, confidence=CONFIDENCE), strict=True
        ):
            verdict = "best" if high <= 0.0 else "not best" if low >= 0.0 else "may be best"
            rows.append((label, measure, difference, low, high, verdict))
        names = ["configuration", "measure", "difference", "low", "high", "verdict"]
        return pl.DataFrame(rows, schema=names, orient="row")

    def controlled(self, measure: str = "mean_s") -> pl.DataFrame:
        """The mean of a measure per configuration, corrected by the service times that chance gave each replication:
        `mean`, `low`, `high`, the uncorrected interval `plain_low` to `plain_high`, and `gain`, how many times as many
        replications without correction would be as precise. See `statistics.controlled_interval`.
        """
        service = self.scenario.service
        if not service.plain or service.file is not None:
            raise BadInput("service times whose mean depends on the events are no control: it is not known beforehand")
        if measure not in self.measures.columns:
            raise BadInput(f"measure must be one of those of a run, got {measure!r}")
        rows = []
        for configuration in self.scenario.configurations:
            ours = self.measures.filter(pl.col("configuration") == configuration.label)
            values, controls = ours[measure].to_list(), ours["service_mean_s"].to_list()
            if len(values) < 3 or None in values:
                raise BadInput(f"a correction of {measure} needs 3 replications at least that all have it")
            plain = mean_interval(values, confidence=CONFIDENCE)
            better = controlled_interval(values, controls, service.effective_mean, confidence=CONFIDENCE)
            assert plain.low is not None and plain.high is not None, "several replications"  # noqa: PT018
            assert better.low is not None and better.high is not None, "several replications"  # noqa: PT018
            width = better.high - better.low
            gain = ((plain.high - plain.low) / width) ** 2 if width else 1.0
            rows.append((configuration.label, measure, *better, plain.low, plain.high, gain))
        names = ["configuration", "measure", "mean", "low", "high", "plain_low", "plain_high", "gain"]
        return pl.DataFrame(rows, schema=names, orient="row")

    def to_json(self) -> dict[str, Any]:
        """For machines: `scenario`, `seed`, `version`, `digest`, `rows`."""
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "version": self.version,
            "digest": self.digest,
            "rows": self.rows,
        }


def compare(
    scenario: Scenario,
    *,
    seed: int = 1,
    replications: int | None = None,
    jobs: int | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    precision: float | None = None,
    precision_of: str = "mean_s",
    replications_max: int = 1000,
    cache: Path | None = None,
    dask: str | None = None,
    cancel: threading.Event | None = None,
) -> Comparison:
    """Run every configuration of a scenario several times and put the results side by side.

    In each replication all configurations meet the same weather: the same arrivals, service times, fates of frames
    and crashes. The numbers do not depend on who does the runs. Ctrl-C ends it early: the replications that are done
    of every configuration are kept.

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
    precision, precision_of, replications_max
        Go on with more replications until the 95 % interval of this measure is at most so much of its mean to either
        side for every configuration, 0.05 for 5 %, or there are too many.
    cache
        A folder that remembers runs: whoever repeats a comparison, or goes on with one that was interrupted, does
        only what is new.
    dask
        Address of a Dask scheduler, `tcp://host:8786`: its workers do the runs.
    cancel
        Ends it early when set, as Ctrl-C does.

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
    if precision is not None and not 0.0 < precision < 1.0:
        raise BadInput(f"precision must be > 0 and < 1, got {precision!r}")
    ready = prepared(scenario, seed)  # whatever is wrong with the trace is said before any work is done
    logged = [number for number, each in enumerate(scenario.configurations) if each.transport == "log"]
    kept = logged[-1] if folder is not None and logged else None
    log_path = None if kept is None or folder is None else folder / "log.sqlite"
    part = log_path and log_path.with_name("log.part.sqlite")

    def tasks(first: int, last: int) -> list[Task]:
        # Replication by replication, so that whoever stops early has every configuration equally often.
        return [
            Task(
                scenario=scenario,
                number=number,
                replication=replication,
                seed=seed_of(seed, replication),
                log_path=str(part) if part and (number, replication) == (kept, 0) else None,
            )
            for replication in range(first, last)
            for number in range(len(scenario.configurations))
        ]

    with runner(jobs, dask) as work, _kept(part, log_path) as written:
        worked = Worked(work, cache=cache, cancel=cancel, progress=progress)
        worked.collect(tasks(0, count))
        while precision is not None and not worked.interrupted:
            wanted = _wanted(worked.outcomes, precision, precision_of, count, replications_max)
            if wanted <= count:
                break
            worked.collect(tasks(count, wanted))
            count = wanted
        if any((each.number, each.replication) == (kept, 0) for each in worked.outcomes):
            written()
        else:
            log_path = None
    count, outcomes = worked.whole(len(scenario.configurations))
    since, until = ready.window
    times = ready.workload.times
    return Comparison(
        ready.scenario,
        seed,
        count,
        VERSION,
        _digest(outcomes),
        _rows(ready.scenario, outcomes) if outcomes else [],
        _measures(ready.scenario, outcomes),
        _frames(ready.scenario, outcomes, "load"),
        _frames(ready.scenario, outcomes, "crashes"),
        _quantiles(ready.scenario, outcomes),
        _differences(ready.scenario, outcomes),
        ready.origin,
        int(((since <= times) & (times < until)).sum()),
        str(log_path) if log_path else None,
        shlex.join(["rarera", "run", "--seed", str(seed), "--replications", str(count)]),
        worked.interrupted,
    )


# Doing it


@contextmanager
def _kept(part: Path | None, path: Path | None) -> Iterator[Callable[[], None]]:
    """A log is written beside its place and put there when it is done: nobody finds half of one, or an old one.

    Gives what to call when it is.
    """
    if part is None or path is None:
        yield lambda: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    leftovers = [part.with_name(part.name + suffix) for suffix in ("", "-wal", "-shm")]

    def put() -> None:
        for suffix in ("-wal", "-shm"):  # of a log that is about to be replaced
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        part.replace(path)

    try:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        yield put
    finally:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)


def _wanted(outcomes: Sequence[Outcome], precision: float, measure: str, count: int, most: int) -> int:
    """Replications that the precision asks for, as far as one can tell; twice as many at a time at most.

    An estimate from few replications is rough: it is made anew when they are there.
    """
    wanted = max(2, count)
    for number in sorted({outcome.number for outcome in outcomes}):
        ours = _of(outcomes, number)
        if measure not in ours[0].measures:
            raise BadInput(f"precision_of must be one of {', '.join(ours[0].measures)}, got {measure!r}")
        interval = interval_of(measure, [outcome.measures[measure] for outcome in ours])
        if interval is None or interval.low is None or interval.mean == 0.0:
            continue  # nothing that could become more precise
        relative = mean_interval([float(outcome.measures[measure]) for outcome in ours]).relative
        if relative is not None and relative > precision:
            wanted = max(wanted, count + 1, ceil(count * (relative / precision) ** 2))
    return min(wanted, 2 * max(2, count), max(most, count))


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
                row |= _columns(name, interval_of(name, [outcome.measures[name] for outcome in ours]))
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


def interval_of(name: str, values: Sequence[float | None]) -> Interval | None:
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
                "service_mean_s": outcome.service_mean,
            }
            for outcome in outcomes
        ],
        infer_schema_length=None,
    )


def _frames(scenario: Scenario, outcomes: Sequence[Outcome], name: str) -> pl.DataFrame:
    frames = []
    for outcome in outcomes:
        frame = outcome.frame(name)
        if frame is not None:
            label = scenario.configurations[outcome.number].label
            frames.append(frame.select(pl.lit(label).alias("configuration"), pl.all()))
    return pl.concat(frames) if frames else pl.DataFrame()


def _quantiles(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    rows = []
    for number, configuration in enumerate(scenario.configurations):
        for place, level in enumerate(LEVELS):
            values = [outcome.quantiles[place] for outcome in _of(outcomes, number)]
            interval = interval_of("response_s", values) if values else None
            rows.append({"configuration": configuration.label, "quantile": level, **_columns("response_s", interval)})
    return pl.DataFrame(rows, infer_schema_length=None)


def _differences(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    rows = []
    labels = [configuration.label for configuration in scenario.configurations]
    for one, other in permutations(range(len(labels)), 2):
        for measure in PAIRED:
            ours, theirs = ([outcome.measures[measure] for outcome in _of(outcomes, number)] for number in (one, other))
            if not ours or None in ours or None in theirs:
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
