"""Queueing systems for the tests: arrivals straight before the processors, and what has to hold in every run of one."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Decision, Fixed, Observation, Scaler
from rarera_sim.simulation.arrivals import Workload, poisson
from rarera_sim.simulation.control import Control, ControlSettings
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.processor import Capacity, Lease
from rarera_sim.simulation.world import System, Watchers, World


@dataclass
class Queued:
    """A queueing system after its run."""

    world: World
    journeys: pl.DataFrame
    capacities: list[Capacity] = field(default_factory=list)
    periods: list[Control] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    @property
    def responses(self) -> pl.Series:
        return self.journeys["response_s"]

    def quantile(self, level: float, warmup: int = 0) -> float:
        return float(self.responses[warmup:].quantile(level, "linear"))


class Plan(Scaler):
    """Decides what it was told to, one after the other, then the last again."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = list(decisions)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def decide(self) -> Decision:
        return self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]


AT_ONCE = Hardware(start_up=0.0)


def queue(
    system: System | None = None,
    policy: Scaler | int = 1,
    *,
    seed: int = 1,
    rate: float = 1.0,
    count: int = 1000,
    services: Any = None,
    mean: float = 1.0,
    workload: Workload | None = None,
    drain_max: float = 1e6,
    **how: Any,
) -> Queued:
    """Run arrivals through processors, and check what must hold whatever happens."""
    system = system or System()
    limits = ControlSettings(**{**_fields(system.control), "replicas_max": 100_000})
    system = System(**{**_fields(system), "control": limits})
    streams = Streams(seed)
    workload = workload if workload is not None else poisson(streams, rate=rate, count=count)
    if services is None:
        services = streams.generator("service").exponential(mean, len(workload))
    journeys = Journeys()
    capacities: list[Capacity] = []
    periods: list[Control] = []
    leases: list[Lease] = []
    watchers = Watchers(
        capacity=capacities.append,
        control=periods.append,
        lease=leases.append,
        note=journeys.note,
        serve=journeys.serve,
    )
    scaler = Fixed(policy) if isinstance(policy, int) else policy
    ports: Ports = None  # type: ignore[assignment]
    world = World(system, workload, array("d", services), "direct", ports, scaler, streams, watchers, **how)
    finished = world.run(drain_max=drain_max)
    table = journeys.frame(arrivals=world.transport.times)  # type: ignore[union-attr]
    check_conservation(table, finished)
    check_littles_law(table)
    return Queued(world, table, capacities, periods, leases + world.cluster.leases())


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def check_conservation(journeys: pl.DataFrame, finished: bool) -> None:
    """Arrived = done + lost + in the system; and when all is done, nothing is in it."""
    received = journeys.filter(pl.col("received_s").is_not_null())
    done = received["finished"] + received["misread"] > 0
    lost = ~done & (
        received["dropped"]
        + received["unreadable"]
        + received["rejected"]
        + received["dead_letter"]
        + received["abandoned"]
        > 0
    )
    inside = len(received) - int(done.sum()) - int(lost.sum())
    assert inside == 0 if finished else inside >= 0
    right = received.filter(pl.col("finished_s").is_not_null())
    assert (right["finished_s"] >= right["received_s"]).all()


def check_littles_law(journeys: pl.DataFrame) -> None:
    """The events present, over time, are their times in the system, summed: L = lambda W, exactly."""
    done = journeys.filter(pl.col("finished_s").is_not_null() & pl.col("received_s").is_not_null())
    if done.is_empty():
        return
    moments = np.concatenate([done["received_s"].to_numpy(), done["finished_s"].to_numpy()])
    changes = np.concatenate([np.ones(len(done)), -np.ones(len(done))])
    order = np.lexsort((-changes, moments))
    present = np.cumsum(changes[order])
    assert (present >= 0).all()
    assert present[-1] == 0
    area = float((present[:-1] * np.diff(moments[order])).sum())
    assert np.isclose(area, float(done["response_s"].sum()), rtol=1e-9)


__all__ = ["AT_ONCE", "Plan", "Queued", "check_conservation", "check_littles_law", "queue"]
