"""A world can be copied while it runs: the copy has the same future, and another policy another one."""

from __future__ import annotations

from copy import deepcopy
from inspect import isgeneratorfunction
from typing import Any

import pytest
from queueing import Plan

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.projection import Tally, fold, rebuild
from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Decision, Fixed
from rarera_sim.simulation.arrivals import poisson
from rarera_sim.simulation.channel import Faults
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.line import LineSettings
from rarera_sim.simulation.producer import Producer
from rarera_sim.simulation.world import System, Watchers, World

BAD = System(
    channel=Faults(loss=0.05, duplication=0.05, damage=0.02, delay_mean=0.05, reordering=0.05, reordering_delay=2.0),
    crashes=Crashes(mtbf=60.0, detection_delay=2.0),
    hardware=Hardware(start_up=5.0),
)


def needs_copies(transport: str) -> None:
    watch = getattr(Producer, "_watch", None)
    if transport != "direct" and isgeneratorfunction(watch):
        pytest.skip("the producer waits in a SimPy process, which cannot be copied")


def begun(transport: Any, system: System, log: Any = None) -> tuple[World, Journeys]:
    streams = Streams(3)
    workload = poisson(streams, rate=4.0, count=600, sources=5, processors=3)
    services = streams.generator("service").exponential(0.5, 600).tolist()
    journeys = Journeys()
    ports = Ports(log or MemoryLog(), MemoryBus(), Tally("value"))
    watchers = Watchers(note=journeys.note, serve=journeys.serve)
    world = World(system, workload, services, transport, ports, Plan(Decision(4)), streams, watchers)
    world.run_until(70.0)
    return world, journeys


def fork(world: World, journeys: Journeys, **other: Any) -> tuple[World, Journeys]:
    copied = deepcopy(journeys)
    return world.fork(watchers=Watchers(note=copied.note, serve=copied.serve), **other), copied


def frame(world: World, journeys: Journeys) -> Any:
    if world.producer is None:
        return journeys.frame(arrivals=world.transport.times)  # type: ignore[union-attr]
    return journeys.frame([event.id for event in world.events])


@pytest.mark.parametrize("line", [LineSettings(), LineSettings(dispatch="random"), LineSettings(discipline="srpt")])
@pytest.mark.parametrize("transport", ["direct", "log", "queue-at-least-once"])
def test_a_copy_has_the_same_future(transport: str, line: LineSettings) -> None:
    needs_copies(transport)
    system = System(channel=BAD.channel, crashes=BAD.crashes, hardware=BAD.hardware, line=line)
    world, journeys = begun(transport, system)
    twin, theirs = fork(world, journeys)
    assert twin.run()
    assert world.run()
    assert frame(world, journeys).equals(frame(twin, theirs))
    assert world.cluster.crashes == twin.cluster.crashes
    assert world.state == twin.state
    if transport == "log":
        log = twin.transport._subscription._log  # type: ignore[union-attr]
        assert rebuild(Tally("value"), log) == twin.state == fold(Tally("value"), twin.events)


@pytest.mark.parametrize("transport", ["direct", "log"])
def test_another_policy_has_the_same_past_and_another_future(transport: str) -> None:
    needs_copies(transport)
    world, journeys = begun(transport, System())
    twin, theirs = fork(world, journeys, policy=Fixed(9))
    assert twin.run()
    assert world.run()
    ours, theirs = frame(world, journeys), frame(twin, theirs)
    past = ours["finished_s"] <= 70.0
    assert ours.filter(past).equals(theirs.filter(past))
    assert not ours.equals(theirs)
    assert ours["created_s"].equals(theirs["created_s"]), "the same weather"


def test_a_log_in_a_file_cannot_be_forked(tmp_path) -> None:
    with SqliteLog(tmp_path / "log.sqlite") as log:
        world, _ = begun("log", System(), log)
        with pytest.raises(TypeError):
            world.fork()
