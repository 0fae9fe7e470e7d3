"""The whole path of an event, wired in the order it travels: source, channel, transport, processors, state.

sources -> channel -> queue or log -> processors -> state
             ^            |               ^
             +-- replies -+        policy + once per period
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
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
from rarera_sim.simulation.vigilance import Acts, Alert, Vigilance, VigilanceSettings

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
    vigilance
        Which behaviours are watched, and what is done about them.
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
    vigilance: VigilanceSettings = VigilanceSettings()

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
    notes
        Called with (stage, numbers, times) instead of `note` where there are many: cheaper still.
    made
        Called with events, in order, when their sources make them.
    serve
        Called with services that took the short way, which have no steps, see `simulation.direct`.
    """

    step: Tracer = untraced
    capacity: Callable[[Capacity], None] = lambda _: None
    control: Callable[[Control], None] = lambda _: None
    lease: Callable[[Lease], None] = lambda _: None
    note: Callable[[str, int, float], None] | None = None
    notes: Callable[[str, Sequence[int], Sequence[float]], None] | None = None
    made: Callable[[Sequence[Event]], None] | None = None
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
    keep_events
        Without it what is acknowledged is forgotten, where nobody needs it, and `events` is empty: memory is then that
        of the log, of what is under way and of what `Watchers` keep.
    prompt
        Tell watchers of everything at its moment, and not when a batch of the log is closed: slower, the same numbers.
    factors
        By name of the hardware: how many times as long as `services` says each event takes there, by its number.

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
        *,
        keep_events: bool = True,
        prompt: bool = False,
        factors: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        if len(services) != len(workload):
            raise ValueError(f"services must be one per arrival, got {len(services)} for {len(workload)}")
        self.env = env = env or virtual()
        self._duration = workload.duration
        self._watchers = watchers
        self._services = services
        self._hears: dict[str, Callable[[int], None]] = {}
        self._hears_all: dict[str, Callable[[Sequence[int], Sequence[float]], None]] = {}
        self.producer: Producer | None = None
        self._channel: Channel | None = None
        # A queue's truth is what events said; the watch and the steps look events up.
        watched = bool(system.vigilance.behaviours) or watchers.step is not untraced
        keeps = keep_events or transport != "log" or watched
        if transport != "direct":
            self._channel = Channel(env, system.channel, streams, self._deliver, _Note(self, "channel"))
            self.producer = Producer(
                env,
                workload,
                system.source,
                self._channel,
                _Note(self, "source"),
                reliable=transport != "queue-at-most-once",
                asked=transport == "log",
                keep=keeps,
                tell=watchers.made,
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
            factors=factors,
        )
        # Who watches what events do, or answers to it, has to hear of it at its moment.
        prompt = prompt or bool(system.vigilance.behaviours) or getattr(workload, "closed", None) is not None
        self.transport = self._transport(system, workload, services, transport, ports, prompt)
        self.cluster.connect(self.transport)
        self.controller = Controller(
            env, system.control, system.objective, policy, self.cluster, self.transport, watchers.control
        )
        self._hears.update(self.controller.hears())
        self._hears_all.update(self.controller.hears_all())
        if self.producer is not None and self.producer.closed:
            for stage in _ENDS:
                self._hears[stage] = _Both(self._hears[stage], self.producer.ended)
                self._hears_all.pop(stage, None)
        self._vigilance = self._watched(system, workload, ports) if system.vigilance.behaviours else None

    def _transport(
        self,
        system: System,
        workload: Workload,
        services: Sequence[float],
        transport: TransportKind,
        ports: Ports,
        prompt: bool,
    ) -> LogTransport | QueueTransport | DirectTransport:
        env, ring = self.env, self.cluster.dispatch
        if self.producer is None or self._channel is None:
            if getattr(workload, "closed", None) is not None:
                raise BadInput("closed arrivals wait for what becomes of their events, and need a queue or a log")
            return DirectTransport(env, self.cluster, times_of(workload), services, _Note(self, "line"), self._serve)
        made: LogTransport | QueueTransport
        if transport == "log":
            made = LogTransport(env, system.log, ports, self.cluster, services, _Note(self, "log"), prompt=prompt)
            self._channel.post = made.expect
        else:
            delivery: Literal["at-most-once", "at-least-once"]
            delivery = "at-most-once" if transport == "queue-at-most-once" else "at-least-once"
            made = QueueTransport(env, system.queue, delivery, ports.projection, _Note(self, "queue"), ring)
        made.connect(self.producer, self._channel)
        return made

    def _watched(self, system: System, workload: Workload, ports: Ports) -> Vigilance:
        if self.producer is None:
            raise BadInput("vigilance watches what events say and when they come, and needs a queue or a log")
        acts = Acts(
            quarantine=self.transport if isinstance(self.transport, LogTransport) else None,
            capacity=self.controller.add_capacity,
            fall_back=getattr(self.controller.policy, "fall_back", None),
        )
        append = ports.incidents.append if ports.incidents is not None else _forget
        field = getattr(ports.projection, "field", "value")  # what the state is made of is what has to be right
        event = self.producer.events.__getitem__
        vigilance = Vigilance(self.env, system.vigilance, workload, field, event, acts, append)
        for stage, hear in vigilance.hears().items():
            before = self._hears.get(stage)
            self._hears[stage] = hear if before is None else _Both(before, hear)
            self._hears_all.pop(stage, None)
        return vigilance

    @property
    def alerts(self) -> list[Alert]:
        """What vigilance has found so far."""
        return self._vigilance.alerts if self._vigilance is not None else []

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
        self.transport.settle()
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
        if self.producer is not None:
            memo |= {id(event): event for event in self.producer.made}
        if watchers.notes is None and watchers.note is not None:
            watchers = replace(watchers, notes=_Each(watchers.note))
        for name in ("step", "capacity", "control", "lease", "note", "notes", "made", "serve"):
            mine, theirs = getattr(self._watchers, name), getattr(watchers, name)
            if mine is not None:
                memo[id(mine)] = theirs if theirs is not None else _look_away
        if policy is not None:
            memo[id(self.controller.policy)] = policy
        return deepcopy(self, memo)

    def run_until(self, moment: float) -> None:
        """Run to a moment, to be looked at, forked or run on."""
        self.env.run(moment)
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

    __slots__ = ("_env", "_hears", "_hears_all", "_tell", "_tell_all", "_where", "_world")

    def __init__(self, world: World, where: str) -> None:
        self._world = world
        self._where = where
        self._env = world.env
        self._hears = world._hears
        self._hears_all = world._hears_all
        self._tell = world._watchers.note or _look_away
        self._tell_all = world._watchers.notes
        if world._watchers.step is not untraced:
            self._tell, self._tell_all = self._step, None

    def __call__(self, stage: str, number: int, time: float | None = None) -> None:
        hear = self._hears.get(stage)
        if hear is not None:
            hear(number)
        self._tell(stage, number, self._env._now if time is None else time)

    def all(self, stage: str, numbers: Sequence[int], times: Sequence[float]) -> None:
        hear_all = self._hears_all.get(stage)
        if hear_all is not None:
            hear_all(numbers, times)
        elif (hear := self._hears.get(stage)) is not None:
            for number in numbers:
                hear(number)
        if self._tell_all is not None:
            self._tell_all(stage, numbers, times)
        elif self._tell is not _look_away:
            for number, time in zip(numbers, times, strict=True):
                self._tell(stage, number, time)

    def _step(self, stage: str, number: int, time: float) -> None:
        world = self._world
        if world._watchers.note is not None:
            world._watchers.note(stage, number, time)
        if world.producer is not None:
            world._watchers.step(Step(time, stage, world.producer.events[number].id, self._where))


class _Each:
    """Tells of many events one after the other."""

    def __init__(self, tell: Callable[[str, int, float], None]) -> None:
        self._tell = tell

    def __call__(self, stage: str, numbers: Sequence[int], times: Sequence[float]) -> None:
        for number, time in zip(numbers, times, strict=True):
            self._tell(stage, number, time)


class _Both:
    """Calls one, then the other."""

    def __init__(self, first: Callable[[int], None], second: Callable[[int], None]) -> None:
        self._first = first
        self._second = second

    def __call__(self, number: int) -> None:
        self._first(number)
        self._second(number)


# After these nothing more becomes of an event, and whoever sent it goes on.
_ENDS = (
    Stage.FINISHED,
    Stage.MISREAD,
    Stage.DROPPED,
    Stage.UNREADABLE,
    Stage.REJECTED,
    Stage.DEAD_LETTER,
    Stage.ABANDONED,
)


def _forget(events: list[Event]) -> None:
    """Nobody keeps incidents."""


def _look_away(*_: Any) -> None:
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
