"""The whole path of an event, wired in the order it travels: source, channel, transport, processors, state.

sources -> channel -> queue or log -> processors -> state
             ^            |               ^
             +-- replies -+        policy + once per period
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import simpy

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.trace import Stage, Step, Tracer, untraced
from rarera_sim.policies.base import Scaler
from rarera_sim.simulation.arrivals import Workload
from rarera_sim.simulation.channel import Channel, Faults
from rarera_sim.simulation.cluster import Cluster, ClusterSettings
from rarera_sim.simulation.control import Control, Controller, ControlSettings, Objective
from rarera_sim.simulation.direct import DirectTransport, Served
from rarera_sim.simulation.gateway import LogTransport, Ports
from rarera_sim.simulation.hardware import Crashes, Hardware, Outages, PoolSettings, Prices, Slowness, Spot
from rarera_sim.simulation.kernel import Streams, after, run_until, virtual
from rarera_sim.simulation.line import LineSettings
from rarera_sim.simulation.processor import Capacity, Lease
from rarera_sim.simulation.producer import Producer, SourceSettings
from rarera_sim.simulation.quantities import Settings
from rarera_sim.simulation.queue import QueueSettings, QueueTransport
from rarera_sim.simulation.service_path import ServicePath
from rarera_sim.simulation.storage import LogSettings

TransportKind = Literal["queue-at-most-once", "queue-at-least-once", "log", "direct"]

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
    hardware, pools
        What processors run on: one kind, or several pools of kinds and zones; where there are pools, `hardware` is
        what policies are told of that know one kind only.
    line, path
        How events find a processor, and what a service needs beside its work.
    crashes, slowness, outages, spot
        How processors fail.
    prices
        What costs beside them.
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
    pools: tuple[PoolSettings, ...] = ()
    line: LineSettings = LineSettings()
    path: ServicePath = ServicePath()
    crashes: Crashes = Crashes()
    slowness: Slowness = Slowness()
    outages: Outages = Outages()
    spot: Spot = Spot()
    prices: Prices = Prices()
    control: ControlSettings = ControlSettings()
    objective: Objective = Objective()

    @property
    def all_pools(self) -> tuple[PoolSettings, ...]:
        """The pools, or the one that the hardware makes."""
        # A pool of ranks ends before the next begins, see `Cluster`.
        return self.pools or (PoolSettings(name=self.hardware.name, hardware=self.hardware, replicas_max=10**6),)

    @property
    def cluster(self) -> ClusterSettings:
        """All that decides how processors behave."""
        return ClusterSettings(
            pools=self.all_pools,
            line=self.line,
            path=self.path,
            crashes=self.crashes,
            slowness=self.slowness,
            outages=self.outages,
            spot=self.spot,
        )


@dataclass(frozen=True)
class Watchers:
    """Who is told what; the model does not know who listens.

    Parameters
    ----------
    step
        Called with every `Step` of an event, but where services take the short way.
    capacity, control
        Called when processors change what they are doing, and once per period.
    lease
        Called when the lease of a processor ends.
    note
        Called with (stage, number, time), as `step`, with events by their number in the order of creation: cheaper.
    serve
        Called with services that took the short way, which have no steps, see `simulation.direct`.
    """

    step: Tracer = untraced
    capacity: Callable[[Capacity], None] = lambda _: None
    control: Callable[[Control], None] = lambda _: None
    lease: Callable[[Lease], None] = lambda _: None
    note: Callable[[str, int, float], None] | None = None
    serve: Callable[[Served], None] = lambda _: None


class World:
    """One run of the model, ready to go.

    Parameters
    ----------
    workload, services
        What arrives, and how long each event takes at speed 1, seconds, by its number.
    transport
        A traditional message queue, the event log, or `direct`: none, see `simulation.direct`.
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
        services: Sequence[float],
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
        self._watchers = watchers
        self._services = services
        self._hears: dict[str, Callable[[int], None]] = {}
        self.producer: Producer | None = None
        self._channel: Channel | None = None
        if transport != "direct":
            self._channel = Channel(env, system.channel, streams, self._deliver, _Note(self, "channel"))
            self.producer = Producer(
                env,
                workload,
                system.source,
                self._channel,
                _Note(self, "source"),
                reliable=transport != "queue-at-most-once",
            )
        self.cluster = Cluster(
            env,
            system.cluster,
            services,
            streams,
            _Note(self, "processor"),
            watchers.capacity,
            lease=watchers.lease,
            classes=_classes(system.line, workload, streams),
        )
        self.transport = self._transport(system, workload, services, transport, ports)
        self.cluster.connect(self.transport)
        self.controller = Controller(
            env, system.control, system.objective, policy, self.cluster, self.transport, watchers.control
        )
        self._hears.update(self.controller.hears())
        if self.producer is not None and self.producer.closed:
            for stage in _ENDS:
                self._hears[stage] = _Both(self._hears[stage], self.producer.ended)

    def _transport(
        self,
        system: System,
        workload: Workload,
        services: Sequence[float],
        transport: TransportKind,
        ports: Ports,
    ) -> LogTransport | QueueTransport | DirectTransport:
        env, ring = self.env, self.cluster.dispatch
        if self.producer is None or self._channel is None:
            if getattr(workload, "closed", None) is not None:
                raise BadInput("closed arrivals wait for what becomes of their events, and need a queue or a log")
            return DirectTransport(env, self.cluster, times_of(workload), services, _Note(self, "line"), self._serve)
        made: LogTransport | QueueTransport
        if transport == "log":
            made = LogTransport(env, system.log, ports, _Note(self, "log"), ring)
        else:
            delivery: Literal["at-most-once", "at-least-once"]
            delivery = "at-most-once" if transport == "queue-at-most-once" else "at-least-once"
            made = QueueTransport(env, system.queue, delivery, ports.projection, _Note(self, "queue"), ring)
        made.connect(self.producer, self._channel)
        return made

    @property
    def state(self) -> Any:
        """What the processors have made of the events; None where they have no content."""
        return self.transport.state

    @property
    def events(self) -> list[Event]:
        """What the sources have made so far; none where arrivals have no content."""
        return self.producer.events if self.producer is not None else []

    @property
    def done(self) -> bool:
        """Every event was created, nothing travels, waits or is worked on."""
        if isinstance(self.transport, DirectTransport):
            return self.transport.done and self.transport.idle
        assert self.producer is not None, "events come from somewhere"
        assert self._channel is not None, "they come through a channel"
        return self.producer.done and self._channel.in_flight == 0 and self.transport.idle

    def run(self, *, drain_max: float = 3600.0) -> bool:
        """Run to the workload's end, then until everything is done, but no longer than `drain_max` seconds more.

        Says whether everything was done.
        """
        self._end = self.env.event()
        after(self.env, max(0.0, self._duration - self.env.now), self._look, self._duration + drain_max)
        run_until(self.env, self._end)
        if isinstance(self.transport, DirectTransport):
            self.transport.settle()
        return self.done

    def fork(self, *, policy: Scaler | None = None, watchers: Watchers = Watchers()) -> World:
        """Another world in the state of this one, which goes on by itself: the same future, to the bit.

        Parameters
        ----------
        policy
            Decides from now on; a copy of this world's where it is left out.
        watchers
            Told instead of this world's, which the copy forgets; who wants to go on with what was watched so far
            copies it.

        Raises
        ------
        TypeError
            The world holds what cannot be copied: a log in a file or a server.

        Examples
        --------
        >>> from rarera_sim.policies import Fixed
        >>> from rarera_sim.simulation.arrivals import poisson
        >>> streams = Streams(seed=1)
        >>> workload = poisson(streams, rate=2.0, count=100)
        >>> world = World(System(), workload, [1.0] * 100, "direct", None, Fixed(2), streams)
        >>> world.run_until(20.0)
        >>> other = world.fork(policy=Fixed(4))
        >>> world.run(), other.run(), other.env.now <= world.env.now
        (True, True, True)
        """
        # SimPy's counter cannot be copied in Python 3.14; both go on from the same number.
        following = next(self.env._eid)
        self.env._eid = count(following)
        memo: dict[int, Any] = {id(self.env._eid): count(following), id(self._services): self._services}
        # Events never change, so the copies share them.
        memo |= {id(event): event for event in self.events}
        for name in ("step", "capacity", "control", "lease", "note", "serve"):
            mine, theirs = getattr(self._watchers, name), getattr(watchers, name)
            if mine is not None:
                memo[id(mine)] = theirs if theirs is not None else _look_away
        if policy is not None:
            memo[id(self.controller.policy)] = policy
        return deepcopy(self, memo)

    def run_until(self, moment: float) -> None:
        """Run to a moment, to be looked at, forked or run on."""
        self.env.run(moment)
        if isinstance(self.transport, DirectTransport):
            self.transport.settle()

    def _look(self, latest: float) -> None:
        if self.done or self.env.now >= latest:
            self._end.succeed()
        else:
            after(self.env, _LOOK_PERIOD, self._look, latest)

    def _deliver(self, arrived: tuple[bytes, int]) -> None:
        self.transport.receive(arrived)

    def _serve(self, served: Served) -> None:
        self.controller.serve(served)
        self._watchers.serve(served)


class _Note:
    """What a component calls when something happens to an event there. An object, as closures cannot be forked."""

    __slots__ = ("_env", "_hears", "_tell", "_where", "_world")

    def __init__(self, world: World, where: str) -> None:
        self._world = world
        self._where = where
        self._env = world.env
        self._hears = world._hears
        self._tell = world._watchers.note or _look_away
        if world._watchers.step is not untraced:
            self._tell = self._step

    def __call__(self, stage: str, number: int) -> None:
        hear = self._hears.get(stage)
        if hear is not None:
            hear(number)
        self._tell(stage, number, self._env._now)

    def _step(self, stage: str, number: int, time: float) -> None:
        world = self._world
        if world._watchers.note is not None:
            world._watchers.note(stage, number, time)
        if world.producer is not None:
            world._watchers.step(Step(time, stage, world.producer.events[number].id, self._where))


class _Both:
    """Calls one, then the other."""

    def __init__(self, first: Callable[[int], None], second: Callable[[int], None]) -> None:
        self._first = first
        self._second = second

    def __call__(self, number: int) -> None:
        self._first(number)
        self._second(number)


# After these nothing more becomes of an event, and whoever sent it goes on.
_ENDS = (Stage.FINISHED, Stage.MISREAD, Stage.DROPPED, Stage.UNREADABLE, Stage.REJECTED, Stage.DEAD_LETTER)


def _look_away(stage: str, number: int, time: float) -> None:
    """Nobody wants to know."""


def times_of(workload: Workload) -> Sequence[float]:
    """When events come, in seconds since the run began."""
    times: Sequence[float] | None = getattr(workload, "times", None)
    return [arrival.time for arrival in workload.arrivals] if times is None else times


def _classes(line: LineSettings, workload: Workload, streams: Streams) -> list[int] | None:
    """Class of each event by its number, None where there is one for all."""
    if not line.classes:
        return None
    by_type = {kind: place for place, each in enumerate(line.classes) for kind in each.types}
    shares = np.cumsum([each.share for each in line.classes])
    drawn = np.searchsorted(shares, streams.generator("classes").random(len(workload)), side="right")
    chosen: list[int] = np.minimum(drawn, len(line.classes) - 1).tolist()
    if by_type:
        return [by_type.get(arrival.type, chance) for arrival, chance in zip(workload.arrivals, chosen, strict=True)]
    return chosen
