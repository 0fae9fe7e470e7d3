"""The whole path of an event, wired in the order it travels: source, channel, transport, processors, state.

sources -> channel -> queue or log -> processors -> state
             ^            |               ^
             +-- replies -+        policy + once per period
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import simpy

from rarera_sim.core.trace import Step, Tracer, untraced
from rarera_sim.policies.base import Scaler
from rarera_sim.simulation.arrivals import Workload
from rarera_sim.simulation.channel import Channel, Faults
from rarera_sim.simulation.cluster import Cluster
from rarera_sim.simulation.control import Control, Controller, ControlSettings, Objective
from rarera_sim.simulation.gateway import LogTransport, Ports
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.kernel import Streams, virtual
from rarera_sim.simulation.processor import Capacity
from rarera_sim.simulation.producer import Producer, SourceSettings
from rarera_sim.simulation.quantities import Settings
from rarera_sim.simulation.queue import QueueSettings, QueueTransport
from rarera_sim.simulation.storage import LogSettings

TransportKind = Literal["queue-at-most-once", "queue-at-least-once", "log"]

_LOOK_PERIOD = 1.0  # seconds between looks at whether everything is done


class System(Settings, frozen=True, kw_only=True):
    """Everything that is the same whichever transport and policy are compared.

    Parameters
    ----------
    channel
        What the network does to frames.
    source
        How patiently the sources wait.
    queue, log
        The two transports.
    hardware, crashes
        What processors run on, and how they fail.
    control
        How often policies are asked.
    objective
        What is promised.
    """

    channel: Faults = Faults()
    source: SourceSettings = SourceSettings()
    queue: QueueSettings = QueueSettings()
    log: LogSettings = LogSettings()
    hardware: Hardware = Hardware()
    crashes: Crashes = Crashes()
    control: ControlSettings = ControlSettings()
    objective: Objective = Objective()


@dataclass(frozen=True)
class Watchers:
    """Who is told what; the model does not know who listens."""

    step: Tracer = untraced
    capacity: Callable[[Capacity], None] = lambda _: None
    control: Callable[[Control], None] = lambda _: None


class World:
    """One run of the model, ready to go.

    Parameters
    ----------
    workload, services
        What arrives, and how long each event takes at speed 1, seconds, by its number.
    transport
        A traditional message queue, or the event log.
    ports
        The log, bus and projection. A queue uses the projection alone.
    policy
        Decides how many processors there are; trained already, if it is to be.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryBus, MemoryLog
    >>> from rarera_sim.core.projection import Tally
    >>> from rarera_sim.policies import Fixed
    >>> from rarera_sim.simulation.arrivals import poisson
    >>> streams = Streams(seed=1)
    >>> workload = poisson(streams, rate=2.0, count=100)
    >>> ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    >>> system = System(channel=Faults(loss=0.1, duplication=0.1, damage=0.1))
    >>> world = World(system, workload, [1.0] * 100, "log", ports, Fixed(4), streams)
    >>> world.run()
    True
    >>> ports.log.head(), world.state["processor-0"]["reading"][0]
    (100, 100)
    """

    def __init__(
        self,
        system: System,
        workload: Workload,
        services: list[float],
        transport: TransportKind,
        ports: Ports,
        policy: Scaler,
        streams: Streams,
        watchers: Watchers = Watchers(),
        env: simpy.Environment | None = None,
    ) -> None:
        if len(services) != len(workload):
            raise ValueError(f"services must be one per arrival, got {len(services)} for {len(workload)}")
        self.env = env = env or virtual()
        self._duration = workload.duration
        self._step = watchers.step
        channel = self._channel = Channel(env, system.channel, streams, self._deliver, self._at("channel"))
        self.producer = Producer(
            env, workload, system.source, channel, self._at("source"), reliable=transport != "queue-at-most-once"
        )
        self.cluster = Cluster(
            env, system.hardware, system.crashes, services, streams, self._at("processor"), watchers.capacity
        )
        note, ring = self._at("queue" if transport.startswith("queue") else "log"), self.cluster.dispatch
        self.transport: LogTransport | QueueTransport
        if transport == "log":
            self.transport = LogTransport(env, system.log, ports, note, ring)
        else:
            delivery: Literal["at-most-once", "at-least-once"]
            delivery = "at-most-once" if transport == "queue-at-most-once" else "at-least-once"
            self.transport = QueueTransport(env, system.queue, delivery, ports.projection, note, ring)
        self.transport.connect(self.producer, channel)
        self.cluster.connect(self.transport)
        self.controller = Controller(
            env,
            system.control,
            system.objective,
            system.hardware.price_per_hour,
            policy,
            self.cluster,
            self.transport,
            watchers.control,
        )

    @property
    def state(self) -> Any:
        """What the processors have made of the events."""
        return self.transport.state

    @property
    def done(self) -> bool:
        """Every event was created, nothing travels, waits or is worked on."""
        return self.producer.done and self._channel.in_flight == 0 and self.transport.idle

    def run(self, *, drain_max: float = 3600.0) -> bool:
        """Run to the workload's end, then until everything is done, but no longer than `drain_max` seconds more.

        Says whether everything was done.
        """
        self.env.run(self.env.process(self._until_done(drain_max)))
        return self.done

    def _until_done(self, drain_max: float) -> Generator[simpy.Event, object, None]:
        yield self.env.timeout(self._duration)
        while not self.done and self.env.now < self._duration + drain_max:
            yield self.env.timeout(_LOOK_PERIOD)

    def _deliver(self, arrived: tuple[bytes, int]) -> None:
        self.transport.receive(arrived)

    def _at(self, where: str) -> Callable[[str, int], None]:
        """What a component calls when something happens to an event there."""

        def note(stage: str, number: int) -> None:
            self.controller.note(stage, number)
            self._step(Step(self.env.now, stage, self.producer.events[number].id, where))

        return note
