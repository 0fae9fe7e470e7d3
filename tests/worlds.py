"""Small worlds for the tests: a drawn load through a bad network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from queueing import check_conservation, check_littles_law

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.event import Event
from rarera_sim.core.projection import Tally, fold, rebuild
from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Fixed, Scaler
from rarera_sim.simulation.arrivals import Workload, poisson
from rarera_sim.simulation.control import Control
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.processor import Capacity
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System, Watchers, World

FAST = ServiceTime(distribution="exponential", mean=0.5)


@dataclass
class Lived:
    """A world after its run, with what was watched."""

    world: World
    ports: Ports
    finished: bool
    journeys: pl.DataFrame
    capacities: list[Capacity] = field(default_factory=list)
    periods: list[Control] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        return self.world.producer.events

    @property
    def intended(self) -> Any:
        return fold(self.ports.projection, self.events)

    @property
    def rebuilt(self) -> Any:
        return rebuild(self.ports.projection, self.ports.log)


def live(
    system: System,
    transport: Any = "log",
    *,
    seed: int = 1,
    rate: float = 4.0,
    count: int = 300,
    service: ServiceTime = FAST,
    policy: Scaler | None = None,
    workload: Workload | None = None,
    sources: int = 5,
    drain_max: float = 3600.0,
) -> Lived:
    streams = Streams(seed)
    workload = workload or poisson(streams, rate=rate, count=count, sources=sources, processors=3)
    services = service.draw(np.random.default_rng(seed), len(workload)).tolist()
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    journeys, capacities, periods = Journeys(), [], []
    watchers = Watchers(journeys, capacities.append, periods.append)
    world = World(system, workload, services, transport, ports, policy or Fixed(5), streams, watchers)
    finished = world.run(drain_max=drain_max)
    table = journeys.frame()
    check_conservation(table, finished)
    check_littles_law(table)
    return Lived(world, ports, finished, table, capacities, periods)
