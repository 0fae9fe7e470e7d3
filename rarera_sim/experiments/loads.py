"""The loads of the study: what arrives on which days, what it takes, and what is promised.

Each trace has days to learn from, days to tune on and days to test on, one after the other; a policy that is tested
has seen all days before, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec.structs
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import SECOND
from rarera_sim.experiments.mixes import MIXES
from rarera_sim.experiments.scenario import Scenario
from rarera_sim.experiments.traces import shipped
from rarera_sim.experiments.tuning import Limits, Lost
from rarera_sim.experiments.workload import prepared, services_of
from rarera_sim.policies import make_policy
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.generators import DAY, arrival_times, replicated_times
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome, evaluate
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System

Floats = NDArray[np.float64]
Part = Literal["tune", "test", "run"]

_HISTORY_UTILISATION = 0.7  # of replicas in a past of which only arrivals are known


@dataclass(frozen=True)
class Days:
    """How a trace is divided, in its own days: [learn, tune) learns, [tune, test) tunes, [test, end) tests."""

    learn: float
    tune: float
    test: float
    end: float

    def shortened(self, tune: float, test: float) -> Days:
        """The same, with so many days at most to tune and to test on."""
        first = max(self.tune, self.test - tune)
        return Days(self.learn, first, self.test, min(self.end, self.test + test))


@dataclass(frozen=True)
class Trace:
    """One line of the study's table of traces.

    Parameters
    ----------
    name, about
        What it is called, and what it is, in a line.
    days
        Which days serve for what.
    day
        Length of a day, seconds of the model.
    bound
        Response within which an event is on time, seconds.
    service
        What an event takes; None: the trace says.
    drawn
        Whether arrivals are drawn, so that every seed is another trace. A recorded one is the same for all.
    unavoidable
        Share of the events whose service alone is longer than the bound: no capacity keeps a smaller one.
    """

    name: str
    about: str
    days: Days
    bound: float
    service: ServiceTime | None = None
    day: float = DAY
    drawn: bool = False
    unavoidable: float = 0.0


@dataclass(frozen=True, eq=False)
class Load:
    """What arrives in one part of a trace.

    Parameters
    ----------
    times, services
        Seconds from the part's beginning, ascending, and seconds at speed 1.
    duration, day
        Seconds.
    history
        Arrivals per second in the control periods before, oldest first.
    service_mean, service_scv
        As measured on the days before: what a policy may believe.
    system
        Hardware, what happens to it, control and objective.
    """

    trace: str
    part: str
    seed: int
    times: Floats
    services: Floats
    duration: float
    day: float
    history: Floats
    service_mean: float
    service_scv: float
    system: System

    @property
    def periods(self) -> int:
        """Control periods, the last one begun counted whole."""
        return max(1, math.ceil(self.duration / self.system.control.period))

    @property
    def surroundings(self) -> dict[str, Any]:
        """What policies may know, see `policies.SURROUNDINGS`."""
        control, objective = self.system.control, self.system.objective
        return {
            "period": control.period,
            "start_up": self.system.hardware.start_up,
            "bound": objective.bound,
            "quantile": objective.quantile,
            "price_per_hour": self.system.hardware.price_per_hour,
            "day": self.day,
            "replicas_min": control.replicas_min,
            "replicas_max": control.replicas_max,
            "service_rate": self.system.hardware.speed / self.service_mean,
            "service_scv": self.service_scv,
        }

    @cached_property
    def observations(self) -> tuple[Observation, ...]:
        """The history as a policy would have seen it; its last period ends at 0, when the part begins."""
        return tuple(self._observations())

    def _observations(self) -> Iterator[Observation]:
        control = self.system.control
        service_rate = self.system.hardware.speed / self.service_mean
        for step, rate in enumerate(self.history.tolist()):
            busy = rate / service_rate
            replicas = max(control.replicas_min, min(control.replicas_max, math.ceil(busy / _HISTORY_UTILISATION)))
            finished = round(rate * control.period)
            yield Observation(
                arrival_rate=rate,
                service_rate=service_rate,
                backlog=0,
                replicas=replicas,
                in_service=min(round(busy), replicas),
                utilisation=min(1.0, busy / replicas),
                time=(step + 1 - len(self.history)) * control.period,
                price_per_hour=self.system.hardware.price_per_hour,
                finished=finished,
                work_rate=service_rate,
                service_scv=self.service_scv if finished >= 2 else None,
                concurrency=busy,
            )

    def on(self, hardware: Hardware) -> Load:
        """The same on other hardware: what a policy is told that runs on one of several kinds."""
        if hardware == self.system.hardware:
            return self
        return replace(self, system=msgspec.structs.replace(self.system, hardware=hardware))

    def trained(self, name: str, parameters: dict[str, Any]) -> Scaler:
        """A new policy that has seen the history."""
        policy = make_policy(name, parameters, **self.surroundings)
        for observation in self.observations:
            policy.observe(observation)
        return policy

    def play(self, policy: Scaler, limits: Limits | None = None) -> Outcome | Lost:
        """What a policy makes of the load; given up where it is lost already, see `tuning.Limits`."""
        watched = policy if limits is None or limits == Limits() else _Watched(policy, self, limits)
        streams = Streams(self.seed)
        try:
            return evaluate(
                self.times, self.services, watched, system=self.system, duration=self.duration, streams=streams
            )
        except _GivenUp as lost:
            return lost.result


class _GivenUp(Exception):
    def __init__(self, result: Lost) -> None:
        self.result = result


class _Watched:
    """A policy that is taken away once it has lost: late events and replicas that are there do not become fewer."""

    def __init__(self, policy: Scaler, load: Load, limits: Limits) -> None:
        self._policy = policy
        self._events = max(1, len(load.times))
        self._hours = load.system.control.period / 3600.0
        self._limits = limits
        self._until = load.duration
        self._late = 0
        self._cost = 0.0

    def observe(self, observation: Observation) -> None:
        self._late += observation.late
        violations = self._late / self._events
        if violations > self._limits.violations:
            raise _GivenUp(Lost(violations, self._cost))
        if observation.time <= self._until:
            # Who is there at the end of a period was there, and paid for, in all of it; who has left it, left out.
            self._cost += self._hours * sum(
                (pool.ready + pool.pending) * pool.price_per_hour + pool.asleep * pool.price_asleep_per_hour
                for pool in observation.pools
            )
        if self._cost > self._limits.cost:
            raise _GivenUp(Lost(violations, math.inf))
        self._policy.observe(observation)

    def decide(self) -> Decision:
        return self._policy.decide()


_SHORT = ServiceTime(mean=0.2, scv=0.5)

TRACES: dict[str, Trace] = {
    "nasa": Trace(
        "nasa",
        "requests to NASA's web server in July 1995, each replicated 20 times within 30 s",
        Days(0.0, 3.0, 6.0, 20.0),
        10.0,
        ServiceTime(mean=1.0, scv=0.5),
    ),
    "calendar": Trace(
        "calendar",
        "a daily wave, and bursts that start at minute 2 to 6 or 32 to 36 of the hour; 64 events/s",
        Days(0.0, 1.0, 4.0, 11.0),
        2.0,
        _SHORT,
        drawn=True,
    ),
    "bursty": Trace(
        "bursty",
        "daily and weekly waves, bursts and spikes that nobody can foresee; 60 events/s",
        Days(0.0, 4.0, 7.0, 14.0),
        2.0,
        _SHORT,
        drawn=True,
    ),
    "flights": Trace(
        "flights",
        "take-offs at New York City in January and February 2013, 60 times as fast; a service is the time in the air",
        Days(0.0, 7.0, 14.0, 42.0),
        420.0,
        None,
        DAY / 60.0,
        unavoidable=0.0025,
    ),
    "llm": Trace(
        "llm",
        "conversations with a language model in one hour; a service reads 5,000 tokens per second and writes 40",
        Days(0.0, 1.0, 3.0, 6.0),
        30.0,
        None,
        600.0,  # its "day" is ten minutes: an hour knows no calendar
    ),
}


def traces_folder() -> Path:
    """Where recorded traces lie that do not ship with the package: `shared/traces` beside the checkout."""
    return Path(__file__).parents[3] / "shared" / "traces"


def available(name: str) -> bool:
    """Whether the trace can be had here."""
    files = {"nasa": _NASA, "llm": _LLM}
    return name in TRACES and (name not in files or (traces_folder() / files[name]).is_file())


def load_of(
    name: str,
    part: Part,
    seed: int = 1,
    *,
    violations: float = 0.01,
    days: Days | None = None,
    mix: str = "plain",
    replicas_max: int = 1000,
) -> Load:
    """One part of a trace.

    Parameters
    ----------
    violations
        Share of late events that is allowed.
    seed
        Of arrivals, where they are drawn, of jitter and of services.
    days
        Other days than the trace's own.
    mix
        What replicas run on and what happens to them, one of `mixes.MIXES`.
    replicas_max
        Most replicas that anybody may ask for.
    """
    if name not in TRACES:
        raise BadInput(f"unknown trace {name!r} (there are {', '.join(TRACES)})")
    if mix not in MIXES:
        raise BadInput(f"unknown mix {mix!r} (there are {', '.join(MIXES)})")
    trace = TRACES[name]
    arrivals = _arrivals(name, part, seed, days or trace.days)
    control = ControlSettings(replicas_max=replicas_max)
    objective = Objective(quantile=1.0 - violations, bound=trace.bound)
    duration = arrivals.duration
    return Load(
        name,
        part,
        seed,
        arrivals.times,
        arrivals.services,
        duration,
        trace.day,
        arrivals.history,
        arrivals.service_mean,
        arrivals.service_scv,
        MIXES[mix].system(control, objective, duration=duration, day=trace.day),
    )


def load_of_run(scenario: Scenario, seed: int = 1) -> Load:
    """What a run of a scenario meets without a transport (`direct`), as the evaluator and the oracle take it.

    Warm-up included. The same events, services and crashes, to the last bit.

    Examples
    --------
    >>> from rarera_sim.experiments.oracle import oracle
    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> flights = default_scenario()
    >>> trace = msgspec.structs.replace(flights.trace, until="2013-02-06T20:00:00Z")
    >>> load = load_of_run(msgspec.structs.replace(flights, trace=trace))
    >>> found = oracle(load, violations=0.01, rounds=3)
    >>> found.lower_bound < found.cost, found.planned.violations <= 0.01
    (True, True)
    """
    ready = prepared(scenario, seed)
    service = ready.scenario.service
    return Load(
        scenario.name,
        "run",
        seed,
        ready.workload.times,
        services_of(ready, Streams(seed)),
        ready.workload.duration,
        ready.day,
        np.array(ready.history),
        service.mean,
        service.scv,
        ready.scenario,
    )


class _Arrivals(NamedTuple):
    times: Floats
    services: Floats
    duration: float
    history: Floats
    service_mean: float
    service_scv: float


# Those of a trace's tuning days and of its test days in a few draws; the rest of a month is not kept.
@lru_cache(maxsize=4)
def _arrivals(name: str, part: Part, seed: int, days: Days) -> _Arrivals:
    """What is the same of a part whatever is promised and whatever it runs on."""
    day, period = TRACES[name].day, ControlSettings().period
    times, services = _events(name, seed, days.end)
    since, until = (days.tune, days.test) if part == "tune" else (days.test, days.end)
    first, last = np.searchsorted(times, (since * day, until * day))
    periods = max(1, math.floor((since - days.learn) * day / period))
    # From the end, so that the last period ends where the part begins.
    edges = since * day - period * np.arange(periods, -1, -1)
    before = services[np.searchsorted(times, edges[0]) : first]
    known = before if len(before) > 1 else services[first:last]
    mean = float(known.mean())
    return _Arrivals(
        times[first:last] - since * day,
        services[first:last].copy(),
        (until - since) * day,
        np.diff(np.searchsorted(times, edges)) / period,
        mean,
        float(known.var(ddof=1)) / (mean * mean),
    )


_NASA = "nasa_http_1995_07_per_second.parquet"
_LLM = "azure_llm_2023_conv.parquet"


@lru_cache(maxsize=1)
def _events(name: str, seed: int, end: float) -> tuple[Floats, Floats]:
    """Arrivals in [0, end) days, and their service times."""
    streams, trace = Streams(seed), TRACES[name]
    generator = streams.generator("study", name, "arrivals")
    match name:
        case "nasa":
            frame = pl.read_parquet(traces_folder() / _NASA)
            frame = frame.filter(pl.col("t_s") < end * DAY + 60.0)
            seconds = np.repeat(frame["t_s"].to_numpy().astype(float), frame["requests"].to_numpy())
            times = replicated_times(seconds, generator, copies=20, jitter=30.0)
            times = times[times >= 0.0]
        case "calendar" | "bursty":
            times = arrival_times(name, generator, days=math.ceil(end))
        case "flights":
            landed = shipped("nyc-flights").frame.filter(pl.col("type") == "arrived").drop_nulls("air_time_min")
            services = landed["air_time_min"].to_numpy().astype(float)
            times = landed["time"].to_numpy() / SECOND
            times = times - np.floor(times.min() / DAY) * DAY - services * 60.0
            order = np.argsort(times, kind="stable")
            # 60 times as fast: a minute in the air is a second.
            times, services = times[order] / 60.0, services[order]
            services = services[times >= 0.0]
            times = times[times >= 0.0]
        case _:
            frame = pl.read_parquet(traces_folder() / _LLM).sort("t_s")
            times = frame["t_s"].to_numpy().astype(float)
            services = frame["context_tokens"].to_numpy() / 5000.0 + frame["generated_tokens"].to_numpy() / 40.0
    if trace.service is not None:
        services = trace.service.draw(streams.generator("study", name, "services"), len(times))
    return times, services
