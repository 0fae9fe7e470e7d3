"""Sources send, keep, send again, and where arrivals are closed, wait for what becomes of their events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.projection import Tally
from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Fixed
from rarera_sim.simulation.arrivals import Closed, Content, Workload, generate, poisson
from rarera_sim.simulation.channel import Faults
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.producer import SourceSettings
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System, Watchers, World

CONTENT = Content()


def closed_world(
    arrivals: Closed, *, transport: Any = "log", replicas: int = 2, loss: float = 0.0, duration: float = 20_000.0
) -> World:
    streams = Streams(1)
    workload = generate(arrivals, CONTENT, streams, duration=duration, service_mean=1.0)
    services = streams.generator("service").exponential(2.0, len(workload)).tolist()
    system = System(
        log=LogSettings(commit_window=0.0, commit_time=0.0),
        hardware=Hardware(start_up=0.0),
        channel=Faults(loss=loss),
    )
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    world = World(system, workload, services, transport, ports, Fixed(replicas), streams)
    world.run(drain_max=60.0)
    return world


def test_users_who_wait_send_as_often_as_the_machine_repair_model_says() -> None:
    arrivals = Closed(users=10, think=Distribution(distribution="exponential", mean=20.0))
    world = closed_world(arrivals)
    # A user thinks for 1 / .05 s and is served for 1 / .5 s by two: .8961 of the time is thought.
    expected = 10 * 0.05 * 0.8961362181
    count = len(world.producer.events)
    assert count / 20_000.0 == pytest.approx(expected, rel=5 / np.sqrt(count))
    assert {event.source for event in world.producer.events} == {f"user-{n}" for n in range(10)}
    assert world.state["processor-0"]["reading"][0] == count


def test_a_user_has_one_event_at_a_time() -> None:
    world = closed_world(Closed(users=1, think=Distribution(distribution="deterministic", mean=1.0)), replicas=5)
    # Each cycle is one thought and one service of 2 s.
    assert len(world.producer.events) == pytest.approx(20_000 / 3.0, rel=0.05)


def test_a_user_whose_event_is_lost_gives_up_after_a_while_or_waits_for_ever() -> None:
    think = Distribution(distribution="exponential", mean=20.0)
    patient = closed_world(Closed(users=10, think=think), transport="queue-at-most-once", loss=0.1)
    resigned = closed_world(Closed(users=10, think=think, patience=30.0), transport="queue-at-most-once", loss=0.1)
    assert len(patient.producer.events) < 300  # each loss takes one of ten users away for good
    assert len(resigned.producer.events) > 5_000


def test_more_replicas_never_make_users_send_less() -> None:
    users = Closed(users=30, think=Distribution(mean=5.0))
    counts = [len(closed_world(users, replicas=n, duration=2_000.0).producer.events) for n in (1, 4, 16)]
    assert counts == sorted(counts)
    assert counts[2] > 2 * counts[0]


def small_world(workload: Workload, streams: Streams, loss: float) -> World:
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    system = System(channel=Faults(loss=loss))
    return World(system, workload, [0.1] * len(workload), "log", ports, Fixed(3), streams)


def test_what_is_not_acknowledged_is_sent_again_until_it_is() -> None:
    streams = Streams(1)
    world = small_world(poisson(streams, rate=5.0, count=500), streams, loss=0.4)
    assert world.run()
    assert world.producer.done
    counts = world._channel.counts
    assert counts["sent"] > 500 / 0.6 * 0.9
    assert counts["lost"] == pytest.approx(0.4 * counts["sent"], rel=0.15)
    assert world.state["processor-0"]["reading"][0] == 500


def test_sources_can_be_copied_while_they_wait() -> None:
    streams = Streams(1)
    world = small_world(poisson(streams, rate=5.0, count=200), streams, loss=0.3)
    world.run_until(20.0)
    other = world.fork().producer
    assert other is not None
    assert other is not world.producer
    assert len(other.events) == len(world.producer.events)


def packed(**settings: Any) -> tuple[World, float]:
    """A world whose line is slow, after its run, and its mean time from the source to the log."""
    streams = Streams(1)
    workload = poisson(streams, rate=10.0, count=500, sources=3)
    journeys = Journeys()
    system = System(channel=Faults(bandwidth=1_500.0), source=SourceSettings(**settings))
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    watchers = Watchers(note=journeys.note, notes=journeys.notes)
    world = World(system, workload, [0.01] * 500, "log", ports, Fixed(3), streams, watchers)
    assert world.run()
    frame = journeys.frame([event.id for event in world.events])
    return world, float((frame["received_s"] - frame["created_s"]).mean())


def test_packed_frames_take_less_of_the_line_and_arrive_as_they_were() -> None:
    (plain, slow), (small, fast) = packed(), packed(compression="zlib")
    assert small._channel.bytes < 0.7 * plain._channel.bytes
    assert fast < 0.6 * slow
    assert small.state == plain.state
    assert [event.id for event in small.events] == [event.id for event in plain.events]


def test_packing_takes_its_time() -> None:
    (_, fast), (_, held) = packed(compression="zlib"), packed(compression="zlib", compression_time=0.2)
    assert held == pytest.approx(fast + 0.2, abs=0.01)
