"""Queueing systems of the textbooks in our model: what `validation` compares with recursions, formulas and Ciw."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.projection import Tally
from rarera_sim.core.trace import Stage
from rarera_sim.policies import Fixed
from rarera_sim.simulation.arrivals import Arrival, Closed, Content, Workload, generate
from rarera_sim.simulation.channel import Faults
from rarera_sim.simulation.control import ControlSettings
from rarera_sim.simulation.direct import DirectTransport, Served
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.line import EventClass, LineSettings
from rarera_sim.simulation.processor import Capacity
from rarera_sim.simulation.producer import SourceSettings
from rarera_sim.simulation.queue import QueueSettings
from rarera_sim.simulation.world import System, TransportKind, Watchers, World

Times = NDArray[np.float64]

# Replicas are there at once, and policies of a fixed number need not be asked often.
READY = Hardware(start_up=0.0)
CONTROL = ControlSettings(period=1000.0, replicas_max=1000)
_NEVER = 1e9  # seconds


@dataclass(frozen=True)
class Customers:
    """What became of customers, in the order of their arrival: seconds, NaN where it did not happen."""

    arrived: Times
    started: Times
    finished: Times
    classes: NDArray[np.int64]

    @property
    def waits(self) -> Times:
        return np.asarray(self.started - self.arrived)

    @property
    def responses(self) -> Times:
        return np.asarray(self.finished - self.arrived)

    def books(self) -> str:
        """What is wrong with Little's law or the conservation of customers, empty if nothing is.

        The customers present, over time, are their times in the system, summed; all that came have left or are
        accounted for.
        """
        done = np.isfinite(self.finished)
        if not (self.responses[done] >= 0.0).all() or not np.isfinite(self.started[done]).all():
            return "a customer left before it came, or without service"
        moments = np.concatenate((self.arrived[done], self.finished[done]))
        changes = np.concatenate((np.ones(done.sum()), -np.ones(done.sum())))
        order = np.lexsort((-changes, moments))
        present = np.cumsum(changes[order])
        if len(present) and (present.min() < 0 or present[-1] != 0):
            return "the customers present do not add up"
        area = float((present[:-1] * np.diff(moments[order])).sum())
        total = float(self.responses[done].sum())
        return "" if abs(area - total) <= 1e-9 * max(1.0, total) else f"L T is {area!r}, the sum of W {total!r}"


def arrivals_at(times: Times) -> Workload:
    """A workload of nothing but arrival times."""
    rows = [Arrival(time, round(time * 1e9), "source", "stream", "reading", {"value": 1}) for time in times.tolist()]
    return Workload(rows, float(times[-1]))


def served(arrived: Times, services: Times, servers: int, *, classes: Sequence[float] = (), seed: int = 1) -> Customers:
    """Customers through our model without a transport; with `classes`, shares of priority classes, urgent first."""
    line = LineSettings()
    if classes:
        line = LineSettings(discipline="priority", classes=tuple(EventClass(share=share) for share in classes))
    system = System(hardware=READY, control=CONTROL, line=line)
    streams = Streams(seed)
    ports: Any = None
    count = len(arrived)
    started, finished = np.full(count, np.nan), np.full(count, np.nan)

    def serve(chunk: Served) -> None:
        started[chunk.numbers], finished[chunk.numbers] = chunk.started, chunk.finished

    def note(stage: str, number: int, time: float) -> None:
        if stage == Stage.STARTED:
            started[number] = time
        elif stage == Stage.FINISHED:
            finished[number] = time

    watchers = Watchers(note=note, serve=serve)
    workload = _Bare(arrived)
    world = World(system, workload, array("d", services), "direct", ports, Fixed(servers), streams, watchers)
    world.run(drain_max=_NEVER)
    assert isinstance(world.transport, DirectTransport), "asked for"
    chosen = np.zeros(count, dtype=np.int64)
    if classes:
        # As `World` draws them.
        drawn = streams.generator("classes").random(count)
        chosen = np.minimum(np.searchsorted(np.cumsum(classes), drawn, side="right"), len(classes) - 1)
    return Customers(arrived, started, finished, chosen)


class _Bare(Workload):
    """Arrival times alone: rows of events would cost more than the queue."""

    def __init__(self, times: Times) -> None:
        super().__init__(range(len(times)), float(times[-1]))  # type: ignore[arg-type]
        object.__setattr__(self, "_times", times)

    @property
    def times(self) -> Times:
        times: Times = self.__dict__["_times"]
        return times


def recursion(arrived: Times, services: Times, servers: int) -> Customers:
    """The same by Kiefer and Wolfowitz: whoever comes takes the server that is free first.

    References
    ----------
    Kiefer, Wolfowitz (1955), On the theory of queues with many servers, Transactions of the AMS 78(1).
    """
    free = [0.0] * servers
    started, finished = np.empty(len(arrived)), np.empty(len(arrived))
    for number, (moment, service) in enumerate(zip(arrived.tolist(), services.tolist(), strict=True)):
        started[number] = start = max(moment, free[0])
        finished[number] = start + service
        heapreplace(free, start + service)
    return Customers(arrived, started, finished, np.zeros(len(arrived), dtype=np.int64))


def drawn(gap: Distribution, service: Distribution, count: int, seed: int) -> tuple[Times, Times]:
    """Arrival times and service times of `count` customers, each from a stream of its own."""
    streams = Streams(seed)
    return gap.draw(streams.generator("arrivals"), count).cumsum(), service.draw(streams.generator("service"), count)


def bounded(
    arrived: Times, services: Times, servers: int, capacity: int, *, insists: bool, seed: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Customers through a message queue that rejects beyond `capacity` places, in service and waiting.

    With `insists` the queue is at-least-once, whose memory holds what is worked on; else at-most-once, whose memory
    holds what waits. Nobody comes again. Says of each customer whether it was served, and whether it was lost.
    """
    done, lost = np.zeros(len(arrived), dtype=np.bool_), np.zeros(len(arrived), dtype=np.bool_)

    def note(stage: str, number: int, _: float) -> None:
        if stage == Stage.FINISHED:
            done[number] = True
        elif stage == Stage.REJECTED:
            lost[number] = True

    system = System(
        hardware=READY,
        control=CONTROL,
        queue=QueueSettings(
            memory_max=capacity if insists else capacity - servers, full="reject", visibility_timeout=_NEVER
        ),
        source=SourceSettings(resend_after=_NEVER, resend_after_max=_NEVER, check_period=_NEVER),
    )
    transport: TransportKind = "queue-at-least-once" if insists else "queue-at-most-once"
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    watchers = Watchers(note=note)
    workload = arrivals_at(arrived)
    world = World(system, workload, array("d", services), transport, ports, Fixed(servers), Streams(seed), watchers)
    world.run(drain_max=1000.0)
    return done, lost


def given_up(
    arrived: Times, services: Times, servers: int, patience: Distribution, *, seed: int = 1
) -> NDArray[np.bool_]:
    """Customers of one line who leave it when they lose patience: which of them have left without service."""
    left = np.zeros(len(arrived), dtype=np.bool_)

    def note(stage: str, number: int, _: float) -> None:
        if stage == Stage.ABANDONED:
            left[number] = True

    system = System(hardware=READY, control=CONTROL, line=LineSettings(patience=patience))
    ports: Any = None
    watchers = Watchers(note=note)
    workload = _Bare(arrived)
    world = World(system, workload, array("d", services), "direct", ports, Fixed(servers), Streams(seed), watchers)
    done = world.run(drain_max=_NEVER)
    assert done, "arrived = done + left"
    return left


def through_the_log(count: int, seed: int, faults: Mapping[str, float] | None = None) -> dict[str, int]:
    """Five events a second through the event log under these faults of the channel; how often each stage was reached.

    Every event is finished once, or an assertion fails: the log loses nothing.
    """
    counts: dict[str, int] = {}

    def note(stage: str, _: int, __: float) -> None:
        counts[stage] = counts.get(stage, 0) + 1

    exponential = Distribution(distribution="exponential", mean=1.0)
    arrived, services = drawn(exponential, exponential, count, seed)
    system = System(hardware=READY, control=CONTROL, channel=Faults(**(faults or {})))  # type: ignore[arg-type]
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    workload = arrivals_at(arrived / 5.0)
    watchers = Watchers(note=note)
    world = World(system, workload, array("d", services), "log", ports, Fixed(8), Streams(seed), watchers)
    done = world.run(drain_max=1e5)
    assert done, "the log loses nothing"
    assert counts[Stage.FINISHED] == count, "the log loses nothing"
    return counts


def machine_repair(
    machines: int, repairers: int, failure_rate: float, repair_rate: float, *, duration: float, seed: int
) -> float:
    """Mean share of machines that are up: users who think are machines that run, events are repairs."""
    streams = Streams(seed)
    settings = Closed(users=machines, think=Distribution(distribution="exponential", mean=1.0 / failure_rate))
    repair = Distribution(distribution="exponential", mean=1.0 / repair_rate)
    workload = generate(settings, Content(), streams, duration=duration, service_mean=0.5 / repair_rate)
    services = repair.draw(streams.generator("service"), len(workload))
    since = 0.1 * duration
    created: dict[int, float] = {}
    down = 0.0

    def note(stage: str, number: int, time: float) -> None:
        nonlocal down
        if stage == Stage.CREATED:
            created[number] = time
        elif stage == Stage.FINISHED:
            down += max(0.0, min(time, duration) - max(created.pop(number), since))

    system = System(hardware=READY, control=CONTROL, queue=QueueSettings(memory_max=machines + 1))
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    watchers = Watchers(note=note)
    policy = Fixed(repairers)
    world = World(system, workload, array("d", services), "queue-at-most-once", ports, policy, streams, watchers)
    world.run(drain_max=1e6)
    return 1.0 - down / (duration - since) / machines


def units_up(needed: int, units: int, *, mtbf: float, repair: float, duration: float, seed: int) -> float:
    """Share of the time in which `needed` of `units` replicas are up that crash and start again."""
    capacities: list[Capacity] = []
    system = System(
        hardware=Hardware(start_up=repair), control=CONTROL, crashes=Crashes(mtbf=mtbf, detection_delay=0.0)
    )
    watchers = Watchers(capacity=capacities.append)
    ports: Any = None
    last = np.array([duration])
    world = World(system, _Bare(last), array("d", [0.0]), "direct", ports, Fixed(units), Streams(seed), watchers)
    world.run(drain_max=0.0)
    since = 0.1 * duration
    enough = sum(
        max(0.0, min(after.time, duration) - max(each.time, since))
        for each, after in pairwise([*capacities, capacities[-1]._replace(time=duration)])
        if each.running >= needed
    )
    return enough / (duration - since)
