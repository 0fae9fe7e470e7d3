"""One run of the model: a scenario, one of its configurations, a seed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import polars as pl
import simpy

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.event import canonical_json
from rarera_sim.core.projection import Tally, fold, rebuild
from rarera_sim.core.trace import Step
from rarera_sim.experiments.scenario import Configuration, Scenario
from rarera_sim.experiments.workload import Prepared, prepared
from rarera_sim.metrics.availability import uptime
from rarera_sim.metrics.correctness import correctness, on_time
from rarera_sim.metrics.cost import replica_cost
from rarera_sim.metrics.journeys import Journeys, between, quantiles
from rarera_sim.metrics.load import load_frame, slo_time
from rarera_sim.policies import Scaler, make_policy
from rarera_sim.simulation.control import Control
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.processor import Capacity
from rarera_sim.simulation.world import Watchers, World

VERSION = version_of("rarera-sim")
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)

Measures = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What came out of one run.

    Parameters
    ----------
    scenario
        With everything filled in that was left to be chosen.
    configuration, seed, version, digest
        What makes the run, and the SHA-256 of what it did: the same first three give the same fourth.
    measures
        Numbers over the measured window, by name, see docs/faults-and-measures.md; None where nothing was measured.
    journeys
        One row per event, see `metrics.journeys`.
    load
        One row per control period, see `metrics.load`.
    crashes
        One row per crash: `replica` (slot), `down_s`, `up_s` (null if it never came up), seconds.
    state, intended
        What the processors made of the events, and what the events that were sent make.
    """

    scenario: Scenario
    configuration: Configuration
    seed: int
    version: str
    digest: str
    measures: Measures
    journeys: pl.DataFrame
    load: pl.DataFrame
    crashes: pl.DataFrame
    state: Any
    intended: Any

    def __repr__(self) -> str:
        return f"Run({self.configuration.label}, seed={self.seed}, digest={self.digest[:12]})"

    @property
    def response_quantiles(self) -> dict[float, float | None]:
        """Response time in seconds at `LEVELS`, over the measured window."""
        return dict(zip(LEVELS, quantiles(self._window["response_s"], LEVELS), strict=True))

    @property
    def _window(self) -> pl.DataFrame:
        return between(self.journeys, self.scenario.run.warmup or 0.0, float("inf"))


def run(
    scenario: Scenario,
    seed: int = 1,
    configuration: Configuration | None = None,
    *,
    log_path: Path | None = None,
    ports: Ports | None = None,
    env: simpy.Environment | None = None,
) -> Run:
    """Run a scenario once.

    Parameters
    ----------
    seed
        Of all chance in it, an integer >= 0.
    configuration
        One of the scenario's, or any other; the first where it is left out.
    log_path
        Keep the event log there, as an SQLite file with the journeys of all events beside it.
    ports
        Log, bus and projection to work on, instead of those that the scenario names.
    env
        What moves time; simulated time that jumps from event to event where it is left out.

    Examples
    --------
    >>> import msgspec
    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> scenario = default_scenario()
    >>> trace = msgspec.structs.replace(scenario.trace, until="2013-02-06T20:00:00Z")
    >>> day = msgspec.structs.replace(scenario, trace=trace)
    >>> outcome = run(day, seed=1, configuration=day.configurations[-1])
    >>> outcome.measures["lost"], outcome.measures["repeated"], outcome.state == outcome.intended
    (0, 0, True)
    """
    ready = prepared(scenario)
    scenario = ready.scenario
    configuration = configuration or scenario.configurations[0]
    # A log that goes with the run needs no journeys beside it: they are in the `Run`.
    kept = log_path is not None or ports is not None
    with ExitStack() as stack:
        if ports is None:
            ports = _ports(scenario, configuration, log_path, stack)
        return _run(ready, configuration, seed, ports, env, kept=kept)


def trained_policy(ready: Prepared, configuration: Configuration) -> Scaler:
    """A configuration's policy after it has seen the history."""
    surroundings = ready.scenario.policy_surroundings(ready.day)
    policy = make_policy(configuration.policy, configuration.parameters, **surroundings)
    for observation in ready.observations():
        policy.observe(observation)
    return policy


def _ports(scenario: Scenario, configuration: Configuration, log_path: Path | None, stack: ExitStack) -> Ports:
    projection = Tally(scenario.field)
    if configuration.transport != "log" or (scenario.log.storage == "memory" and log_path is None):
        return Ports(MemoryLog(), MemoryBus(), projection)
    if log_path is None:
        log_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rarera-"))) / "log.sqlite"
    # A model's log need not survive a power cut: the run is done again from its seed.
    return Ports(stack.enter_context(SqliteLog(log_path, durability="normal")), MemoryBus(), projection)


def _run(
    ready: Prepared,
    configuration: Configuration,
    seed: int,
    ports: Ports,
    env: simpy.Environment | None,
    *,
    kept: bool,
) -> Run:
    scenario = ready.scenario
    streams = Streams(seed)
    services = scenario.service.draw(streams.generator("service"), len(ready.workload)).tolist()
    journeys = Journeys()
    steps: list[Step] = []
    keeps_steps = kept and isinstance(ports.log, SqliteLog) and configuration.transport == "log"
    capacities: list[Capacity] = []
    periods: list[Control] = []
    world = World(
        scenario,
        ready.workload,
        services,
        configuration.transport,
        ports,
        trained_policy(ready, configuration),
        streams,
        Watchers(_both(journeys, steps.append) if keeps_steps else journeys, capacities.append, periods.append),
        env,
    )
    world.run(drain_max=scenario.run.drain_max)
    if isinstance(ports.log, SqliteLog) and keeps_steps:
        ports.log.save_steps(steps)
    intended = fold(ports.projection, world.producer.events)
    state = world.state
    # The state is right if it is what the events make, and if the log alone gives it again.
    right = state == intended and (configuration.transport != "log" or rebuild(ports.projection, ports.log) == intended)
    table = journeys.frame()
    load = load_frame(
        periods, period=scenario.control.period, service_mean=scenario.service.mean / scenario.hardware.speed
    )
    measures = _measures(ready, table, load, capacities)
    measures["launches"] = world.cluster.launches
    measures["state_correct"] = right
    crashes = pl.DataFrame(
        world.cluster.crashes, schema={"replica": pl.Int64, "down_s": pl.Float64, "up_s": pl.Float64}, orient="row"
    )
    digest = _digest(scenario, configuration, seed, table, load, state)
    return Run(scenario, configuration, seed, VERSION, digest, measures, table, load, crashes, state, intended)


def _measures(ready: Prepared, journeys: pl.DataFrame, load: pl.DataFrame, capacities: Sequence[Capacity]) -> Measures:
    since, until = ready.window
    objective = ready.scenario.objective
    window = between(journeys, since, until)
    p50, p95, p99 = quantiles(window["response_s"], (0.5, 0.95, 0.99))
    (end_to_end_p99,) = quantiles(window["end_to_end_s"], (0.99,))
    up = uptime(capacities, since, until)
    return {
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "end_to_end_p99_s": end_to_end_p99,
        "on_time": on_time(window, objective.bound),
        "availability": up.service,
        "processor_availability": up.processor,
        "slo_time": slo_time(load, objective.quantile, since=since, until=until),
        "cost": replica_cost(up.paid, ready.scenario.hardware.price_per_hour),
        "replicas_mean": up.paid / (until - since),
        **correctness(window, objective.bound),
    }


def _both(first: Callable[[Step], None], second: Callable[[Step], None]) -> Callable[[Step], None]:
    def both(step: Step) -> None:
        first(step)
        second(step)

    return both


def _digest(
    scenario: Scenario, configuration: Configuration, seed: int, journeys: pl.DataFrame, load: pl.DataFrame, state: Any
) -> str:
    """SHA-256 in hex of what a run did, to the last bit of every time."""
    total = sha256(scenario.to_toml().encode())
    total.update(f"\0{configuration.label}\0{seed}\0{VERSION}\0".encode())
    for frame in (journeys, load):
        for column in frame:
            total.update(column.name.encode())
            if column.dtype in (pl.Binary, pl.String):
                total.update(repr(column.to_list()).encode())
            else:
                # A missing value is told from every number by the mask.
                total.update(column.is_null().to_numpy().tobytes())
                total.update(column.fill_null(0).to_numpy().tobytes())
    total.update(canonical_json(state))
    return total.hexdigest()
