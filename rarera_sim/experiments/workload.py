"""From a scenario's trace to what the model is fed: arrivals to come, and the history that policies learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from math import ceil

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import SECOND, Timestamp, format_timestamp, parse_timestamp
from rarera_sim.experiments import resampling
from rarera_sim.experiments.scenario import Scenario, TraceSettings, check_scenario, moment_of
from rarera_sim.experiments.traces import ROLES, Trace, read_trace, shipped
from rarera_sim.policies.base import Observation
from rarera_sim.simulation.arrivals import (
    Bursty,
    Calendar,
    Closed,
    Content,
    Profile,
    Sinusoid,
    Workload,
    generate,
    replay,
)
from rarera_sim.simulation.distributions import problem_of_sample
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.misbehaviour import misbehaved
from rarera_sim.simulation.services import ServiceTime, TypeServiceTime

_DAY = 86_400.0
_TRAIN_SHARE = 0.4  # of a trace that nobody has divided
_HISTORY_UTILISATION = 0.7


@dataclass(frozen=True)
class Prepared:
    """A scenario with its trace read and cut.

    Parameters
    ----------
    scenario
        With `trace.compression` and `run.warmup` filled in.
    workload
        What arrives in the run.
    history
        Arrival rates of the control periods before it, 1/s, oldest first.
    origin, digest
        Where the trace comes from, and the SHA-256 of its events.
    """

    scenario: Scenario
    workload: Workload
    history: tuple[float, ...]
    origin: str
    digest: str

    @property
    def day(self) -> float:
        """Length of a day in seconds of the model: of what repeats itself, where arrivals are generated."""
        match self.scenario.arrivals:
            case Calendar(day=day) | Bursty(day=day) | Sinusoid(period=day):
                return day
            case Profile(rates=rates, step=step):
                return len(rates) * step
        return _DAY / self.workload.compression

    @property
    def window(self) -> tuple[float, float]:
        """The part of the run that is measured: [from, until), seconds."""
        return self.scenario.run.warmup or 0.0, self.workload.duration

    def observations(self) -> Iterator[Observation]:
        """The history as a policy would have seen it, on the clock of the run: its last period ends at 0.

        Of the past only arrivals are known. The replicas are those that an ordinary utilisation would have needed,
        and the service rate is the hardware's, as if it had been measured before.
        """
        control = self.scenario.control
        service_rate = self.scenario.hardware.speed / self.scenario.service.mean
        for step, rate in enumerate(self.history):
            load = rate / service_rate
            replicas = max(control.replicas_min, min(control.replicas_max, ceil(load / _HISTORY_UTILISATION)))
            yield Observation(
                arrival_rate=rate,
                service_rate=service_rate,
                backlog=0,
                replicas=replicas,
                in_service=min(round(load), replicas),
                utilisation=min(1.0, load / replicas),
                time=(step + 1 - len(self.history)) * control.period,
                price_per_hour=self.scenario.hardware.price_per_hour,
            )


@lru_cache(maxsize=4)
def prepare(encoded: bytes, seed: int = 1) -> Prepared:
    """Read and cut the trace of a scenario, given as `msgspec.json.encode` writes it (so that it can be a key).

    `seed` decides what is drawn: generated arrivals, and what is made of a trace by chance.
    """
    scenario = msgspec.json.decode(encoded, type=Scenario)
    streams = Streams(seed)
    ready = _replayed(scenario, streams) if scenario.arrivals is None else _generated(scenario, streams)
    if scenario.misbehaviours:
        ready = replace(ready, workload=_misbehaved(ready, streams))
    scenario, workload = ready.scenario, ready.workload
    warmup = scenario.run.warmup
    if warmup is None:
        warmup = workload.duration / 10.0
    closed = workload.closed is not None
    if not warmup < workload.duration or not (closed or bool((workload.times >= warmup).any())):
        raise BadInput(
            f"run.warmup is {warmup:g} s and leaves nothing to measure: the run lasts {workload.duration:g} s"
        )
    run = msgspec.structs.replace(scenario.run, warmup=warmup)
    service = _service_filled(scenario, workload)
    return replace(ready, scenario=msgspec.structs.replace(scenario, run=run, service=service))


def _misbehaved(ready: Prepared, streams: Streams) -> Workload:
    scenario = ready.scenario
    workload = misbehaved(ready.workload, scenario.misbehaviours, scenario.field, streams)
    if not len(workload):
        raise BadInput("misbehaviours: they leave no arrivals")
    return workload


def prepared(scenario: Scenario, seed: int = 1) -> Prepared:
    """`prepare`, remembered: all runs of a process on the same arrivals share one workload."""
    check_scenario(scenario)
    surges = any(each.kind == "surge" for each in scenario.misbehaviours)
    drawn = scenario.arrivals is not None or scenario.trace.varies or surges
    return prepare(msgspec.json.encode(scenario), seed if drawn else 1)


def services_of(ready: Prepared, streams: Streams) -> NDArray[np.float64]:
    """How long each event takes on hardware of speed 1, seconds, by its number: the same under every policy."""
    service, workload = ready.scenario.service, ready.workload
    return service.draw_for(
        streams,
        len(workload),
        types=workload.types() if service.types else None,
        sizes=_sizes(ready.scenario, workload) if service.size_field is not None else None,
        sample=sample_of(service.file, service.column or "") if service.file is not None else None,
    )


@lru_cache(maxsize=4)
def sample_of(file: str, column: str) -> NDArray[np.float64]:
    """Numbers >= 0 from a column of a file, or from a field of the events' data of a log named by URL."""
    trace = trace_of_log(file) if ":" in file else read_trace(file)
    if column not in trace.data_columns:
        raise BadInput(f"{file} has no numeric column {column!r}; there are: {', '.join(trace.data_columns) or 'none'}")
    series = trace.frame[column].drop_nulls()
    if series.dtype not in (pl.Int64, pl.Float64):
        raise BadInput(f"{file}, column {column!r}: numbers are needed, it holds {series.dtype}")
    sample = series.cast(pl.Float64).to_numpy()
    problem = problem_of_sample(sample)
    if problem:
        raise BadInput(f"{file}, column {column!r}: {problem}")
    return sample


def trace_of_log(url: str) -> Trace:
    """The events of an existing log as a trace, by their creation time."""
    with closing(open_log(url, **({} if url == "memory:" else {"read_only": True}))) as log:
        rows = [(e.time, e.source, e.stream, e.type, e.data) for _, e in log.read()]
    if not rows:
        raise BadInput(f"log {url} has no events")
    rows.sort(key=lambda row: row[0])
    names = sorted({name for row in rows for name, value in row[4].items() if type(value) in (int, float, bool, str)})
    columns: dict[str, pl.Series] = {
        role: pl.Series(role, [row[place] for row in rows], dtype=pl.Int64 if role == "time" else pl.String)
        for place, role in enumerate(ROLES)
    }
    for name in names:
        values = [row[4].get(name) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if name in ROLES or (len(kinds) > 1 and not kinds <= {int, float}):
            continue  # of several types: nothing that a column could hold
        columns[name] = pl.Series(name, [float(v) if v is not None and len(kinds) > 1 else v for v in values])
    return Trace(url, pl.DataFrame(columns), origin=f"log {url}")


def _generated(scenario: Scenario, streams: Streams) -> Prepared:
    """Arrivals that are drawn: policies learn from the first part of the process, the rest is run."""
    arrivals, run = scenario.arrivals, scenario.run
    assert arrivals is not None, "a scenario without a trace has arrivals"
    assert run.duration is not None, "checked"
    content = scenario.content or Content()
    training = run.duration if run.training is None else run.training
    service_mean = scenario.service.mean / max(pool.hardware.speed for pool in scenario.all_pools)
    try:
        if isinstance(arrivals, Closed):
            history: tuple[float, ...] = ()
            workload = generate(arrivals, content, streams, duration=run.duration, service_mean=0.5 * service_mean)
        else:
            period = scenario.control.period
            steps = int(training / period)
            whole = generate(arrivals, content, streams, duration=steps * period + run.duration)
            edges = steps * period - np.arange(steps, -1, -1) * period
            history = tuple((np.diff(np.searchsorted(whole.times, edges)) / period).tolist())
            workload = whole.after(steps * period)
    except ValueError as error:
        raise BadInput(f"arrivals: {error}") from None
    if not len(workload):
        raise BadInput(f"arrivals: none fell within run.duration = {run.duration:g} s; make it longer")
    trace = msgspec.structs.replace(scenario.trace, compression=1.0)
    kind = type(arrivals).__struct_config__.tag
    digest = sha256(msgspec.json.encode((arrivals, content)) + workload.times.tobytes()).hexdigest()
    filled = msgspec.structs.replace(scenario, trace=trace)
    return Prepared(filled, workload, history, f"generated: {kind}, seed {streams.seed}", digest)


def _replayed(scenario: Scenario, streams: Streams) -> Prepared:
    trace = _read(scenario.trace)
    if not len(trace):
        raise BadInput(f"trace {trace.name} has no events")
    first, last = trace.frame["time"][0], trace.frame["time"][-1]
    train_from = moment_of(scenario, "train_from")
    until = moment_of(scenario, "until")
    until = last + 1 if until is None else until
    since = moment_of(scenario, "since")
    pieces = [(parse_timestamp(each.since), parse_timestamp(each.until)) for each in scenario.trace.splice]
    if since is None and pieces:
        since = pieces[0][0]
    if since is None:
        since = first + round((min(until, last + 1) - first) * _TRAIN_SHARE)
    train_from = min(first, since) if train_from is None else train_from
    played = trace
    if pieces:
        played, until = resampling.splice(trace, pieces, since)
    elif scenario.trace.resample is not None and since < until:
        block = round(scenario.trace.resample * SECOND)
        played = resampling.resample(trace, since, until, block, streams.generator("trace", "blocks"))
    if scenario.trace.copies is not None or scenario.trace.jitter is not None:
        jitter = round((scenario.trace.jitter or 0.0) * SECOND)
        played = resampling.replicate(played, scenario.trace.copies or 1, jitter, streams.generator("trace", "jitter"))
    count = len(played.between(since, until)) if since < until else 0
    if not count:
        raise BadInput(
            f"trace {trace.name} has no events from {format_timestamp(since)} to {format_timestamp(until)}; "
            f"it goes from {format_timestamp(first)} to {format_timestamp(last)}"
        )
    compression = scenario.trace.compression or _compression(scenario, trace.name, count, since, until)
    workload = replay(played.between(since, until).events(), since=since, until=until, compression=compression)
    filled = msgspec.structs.replace(scenario, trace=msgspec.structs.replace(scenario.trace, compression=compression))
    times = trace.between(train_from, since).frame["time"].to_numpy()
    rates = _rates(times, train_from, since, scenario.control.period, compression)
    history = tuple(rate * (scenario.trace.copies or 1) for rate in rates)
    return Prepared(filled, workload, history, trace.origin, played.digest)


def _service_filled(scenario: Scenario, workload: Workload) -> ServiceTime:
    """With the mean and scv that come out over this workload; the same once more changes nothing."""
    service = scenario.service
    if service.file is not None and service.plain:
        sample = sample_of(service.file, service.column or "")
        mean = float(sample.mean())
        return msgspec.structs.replace(service, mean=mean, scv=float(sample.var()) / mean**2)
    if service.values is not None and service.plain:
        return msgspec.structs.replace(service, mean=service.effective_mean, scv=service.effective_scv)
    if service.size_field is not None and service.per_unit is not None:
        mean = float(service.expected(_sizes(scenario, workload)).mean())
        return msgspec.structs.replace(service, mean=mean)
    if service.types:
        names, counts = np.unique(workload.types(), return_counts=True)
        shares = dict(zip(names.tolist(), (counts / counts.sum()).tolist(), strict=True))
        mean, scv = service.mixed(shares)
        # Every type with its own entry, so that mean and scv can speak for all without changing any.
        plain = {name: getattr(service, name) for name in TypeServiceTime.__struct_fields__}
        own = {name: service.types.get(name) or TypeServiceTime(**plain) for name in shares}
        return msgspec.structs.replace(
            service, types=own, distribution="lognormal", values=None, tail=None, mean=mean, scv=max(scv, 1e-9)
        )
    return service


def _sizes(scenario: Scenario, workload: Workload) -> NDArray[np.float64]:
    field = scenario.service.size_field
    assert field is not None, "services do not depend on a size"
    sizes = workload.column(field)
    wrong = np.flatnonzero(~(np.isfinite(sizes) & (sizes >= 0)))
    if len(wrong):
        found = workload.arrivals[int(wrong[0])].data.get(field)
        raise BadInput(
            f"service.size_field {field!r}: event {int(wrong[0])} has {found!r}; a finite number >= 0 is needed"
        )
    return sizes


@lru_cache(maxsize=2)
def _read(settings: TraceSettings) -> Trace:
    if settings.name is not None:
        return shipped(settings.name)
    if settings.url is not None:
        return trace_of_log(settings.url)
    assert settings.file is not None, "a scenario names a trace or a file"
    return read_trace(
        settings.file,
        time_column=settings.time_column,
        time_unit=settings.time_unit,
        source_column=settings.source_column,
        stream_column=settings.stream_column,
        type_column=settings.type_column,
    )


def _compression(scenario: Scenario, name: str, count: int, since: Timestamp, until: Timestamp) -> float:
    """How fast to replay, so that `trace.load` processors are busy on average."""
    seconds = (until - since) / SECOND
    work = count * scenario.service.mean / scenario.hardware.speed
    compression = scenario.trace.load * seconds / work
    if seconds / compression < scenario.control.period:
        raise BadInput(
            f"trace {name} has {count} events within {seconds:g} s: at trace.load = {scenario.trace.load:g} busy "
            f"processors they last {seconds / compression:.3g} s, less than one control period of "
            f"{scenario.control.period:g} s; set trace.compression, a smaller trace.load, or take a longer trace"
        )
    return compression


def _rates(
    times: NDArray[np.int64], train_from: Timestamp, since: Timestamp, period: float, compression: float
) -> tuple[float, ...]:
    """Events per second of the model in each whole control period of `period` seconds before `since`."""
    length = round(period * compression * SECOND)
    count = (since - train_from) // max(1, length)
    # From the end, so that the last period ends where the run begins. Not a histogram, which would count in floats.
    edges = since - length * np.arange(count, -1, -1)
    counts = np.diff(np.searchsorted(times, edges))
    return tuple((counts / period).tolist())
