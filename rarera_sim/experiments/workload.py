"""From a scenario's trace to what the model is fed: arrivals to come, and the history that policies learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import msgspec
import numpy as np
from numpy.typing import NDArray

from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import SECOND, Timestamp, format_timestamp
from rarera_sim.experiments.scenario import Scenario, TraceSettings, moment_of
from rarera_sim.experiments.traces import Trace, read_trace, shipped
from rarera_sim.policies.base import Observation
from rarera_sim.simulation.arrivals import Workload, replay

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
        """Length of a day in seconds of the model."""
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
def prepare(encoded: bytes) -> Prepared:
    """Read and cut the trace of a scenario, given as `msgspec.json.encode` writes it (so that it can be a key)."""
    scenario = msgspec.json.decode(encoded, type=Scenario)
    trace = _read(scenario.trace)
    if not len(trace):
        raise BadInput(f"trace {trace.name} has no events")
    first, last = trace.frame["time"][0], trace.frame["time"][-1]
    train_from = moment_of(scenario, "train_from")
    until = moment_of(scenario, "until")
    until = last + 1 if until is None else until
    since = moment_of(scenario, "since")
    if since is None:
        since = first + round((min(until, last + 1) - first) * _TRAIN_SHARE)
    train_from = min(first, since) if train_from is None else train_from
    count = len(trace.between(since, until)) if since < until else 0
    if not count:
        raise BadInput(
            f"trace {trace.name} has no events from {format_timestamp(since)} to {format_timestamp(until)}; "
            f"it goes from {format_timestamp(first)} to {format_timestamp(last)}"
        )
    compression = scenario.trace.compression or _compression(scenario, trace.name, count, since, until)
    workload = replay(trace.between(since, until).events(), since=since, until=until, compression=compression)
    warmup = scenario.run.warmup
    if warmup is None:
        warmup = workload.duration / 10.0
    if not warmup < workload.duration or not any(arrival.time >= warmup for arrival in workload.arrivals):
        raise BadInput(
            f"run.warmup is {warmup:g} s and leaves nothing to measure: the run lasts {workload.duration:g} s"
        )
    filled = msgspec.structs.replace(
        scenario,
        trace=msgspec.structs.replace(scenario.trace, compression=compression),
        run=msgspec.structs.replace(scenario.run, warmup=warmup),
    )
    times = trace.between(train_from, since).frame["time"].to_numpy()
    history = _rates(times, train_from, since, scenario.control.period, compression)
    return Prepared(filled, workload, history, trace.origin, trace.digest)


def prepared(scenario: Scenario) -> Prepared:
    """`prepare`, remembered: all runs of a process share one workload."""
    return prepare(msgspec.json.encode(scenario))


@lru_cache(maxsize=2)
def _read(settings: TraceSettings) -> Trace:
    if settings.name is not None:
        return shipped(settings.name)
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
