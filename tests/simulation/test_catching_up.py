"""What nobody could see is put off and done together: the same numbers as when it was done one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from queueing import Plan

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.projection import Tally, fold
from rarera_sim.core.trace import Step
from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Decision, Fixed, Scaler
from rarera_sim.simulation.arrivals import poisson
from rarera_sim.simulation.channel import Faults, Partitions
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System, Watchers, World

BAD = Faults(loss=0.1, duplication=0.1, damage=0.05, delay_mean=0.1, reordering=0.1, reordering_delay=2.0)


class Seen:
    """A world of the log, and all that was told of it."""

    def __init__(
        self,
        system: System,
        *,
        seed: int = 1,
        rate: float = 20.0,
        count: int = 300,
        policy: Scaler | None = None,
        looks: Sequence[float] = (),
        **how: Any,
    ) -> None:
        streams = Streams(seed)
        workload = poisson(streams, rate=rate, count=count, sources=5, processors=3)
        services = streams.generator("service").exponential(0.2, count).tolist()
        self.ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
        self.journeys = Journeys()
        self.periods: list[Any] = []
        self.made: list[Any] = []
        watchers = Watchers(
            control=self.periods.append, note=self.journeys.note, notes=self.journeys.notes, made=self.made.extend
        )
        policy = policy or Fixed(6)
        self.world = World(system, workload, services, "log", self.ports, policy, streams, watchers, **how)
        for moment in looks:
            self.world.run_until(moment)
        self.finished = self.world.run()

    @property
    def frame(self) -> pl.DataFrame:
        return self.journeys.frame([event.id for event in self.made])


def swarm(seed: int) -> System:
    """Another mix of faults and another disk for each seed."""
    chance = random.Random(seed)

    def share(most: float) -> float:
        return chance.choice((0.0, chance.uniform(0.01, most)))

    return System(
        channel=Faults(
            loss=share(0.3),
            duplication=share(0.3),
            damage=share(0.2),
            reordering=share(0.3),
            reordering_delay=chance.uniform(0.1, 3.0),
            delay_mean=chance.choice((0.0, 0.05, 0.5)),
        ),
        log=LogSettings(
            commit_window=chance.choice((0.0, 0.02, 0.5)),
            commit_time=chance.choice((0.0, 0.002, 0.3)),
            batch_max=chance.choice((1, 7, 500)),
            gap_patience=chance.choice((0.0, 0.1, 1.0)),
        ),
        hardware=Hardware(start_up=chance.uniform(0.0, 2.0)),
        crashes=Crashes(mtbf=chance.choice((None, 10.0)), detection_delay=chance.uniform(0.0, 2.0)),
    )


def assert_same(one: Seen, other: Seen) -> None:
    assert one.finished
    assert one.finished == other.finished
    assert one.frame.equals(other.frame)
    assert one.periods == other.periods
    assert one.world.state == other.world.state == fold(Tally("value"), one.made)
    assert list(one.ports.log.read()) == list(other.ports.log.read())


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_putting_off_changes_nothing(first: int) -> None:
    for seed in range(first, first + 10):
        system = swarm(seed)
        assert_same(Seen(system, seed=seed, count=120), Seen(system, seed=seed, count=120, prompt=True))


@pytest.mark.parametrize(
    "system",
    [
        System(channel=Faults(delay_mean=0.05, bandwidth=4000.0, loss=0.05)),
        System(channel=Faults(loss=0.05, partitions_random=Partitions(gap_mean=3.0, length_mean=0.5))),
        System(log=LogSettings(batch_max=2, commit_time=0.3), channel=BAD),
        System(log=LogSettings(commit_window=2.0, batch_max=10)),
        System(channel=BAD, crashes=Crashes(mtbf=5.0, detection_delay=0.5), hardware=Hardware(start_up=1.0)),
        System(hardware=Hardware(start_up=0.0, threads=3)),
    ],
    ids=["bandwidth", "partitions", "small batches", "full batches", "crashes", "threads"],
)
def test_putting_off_changes_nothing_where_moments_matter(system: System) -> None:
    assert_same(Seen(system), Seen(system, prompt=True))


def test_who_looks_in_between_changes_nothing() -> None:
    """Settling at any moment does what would have been done, and nothing else."""
    chance, moments = random.Random(1), [0.0]
    while moments[-1] < 14.0:
        moments.append(moments[-1] + chance.expovariate(20.0))
    assert_same(Seen(System(channel=BAD)), Seen(System(channel=BAD), looks=moments[1:]))


@pytest.mark.parametrize("line", ["jsq", "sjf", "late-last", "random"])
def test_a_log_leaves_the_short_way_when_a_policy_asks_for_another_line(line: str) -> None:
    system = System(channel=BAD, crashes=Crashes(mtbf=20.0, detection_delay=0.5), hardware=Hardware(start_up=1.0))

    def plan() -> Plan:
        return Plan(Decision(6), Decision(6, dispatch=line), Decision(4))

    one, other = Seen(system, policy=plan(), count=600), Seen(system, policy=plan(), count=600, prompt=True)
    assert one.world.cluster.line.holds
    assert_same(one, other)


def test_each_journey_is_told_in_its_order() -> None:
    steps: list[Step] = []
    streams = Streams(1)
    workload = poisson(streams, rate=4.0, count=200, sources=5, processors=3)
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    system, watchers = System(channel=BAD, crashes=Crashes(mtbf=20.0)), Watchers(step=steps.append)
    assert World(system, workload, [0.2] * 200, "log", ports, Fixed(3), streams, watchers).run()
    ways: dict[bytes, list[Step]] = {}
    for step in steps:
        ways.setdefault(step.event_id, []).append(step)
    order = ("created", "received", "recorded", "started", "finished")
    assert len(ways) == 200
    for way in ways.values():
        first: dict[str, float] = {}
        for step in way:
            first.setdefault(step.stage, step.time)
        usual = [stage for stage in first if stage in order]
        assert usual == list(order)
        assert [first[stage] for stage in usual] == sorted(first[stage] for stage in usual)


def test_a_world_that_keeps_no_events_does_the_same() -> None:
    system = System(channel=BAD)
    kept, forgotten = Seen(system), Seen(system, keep_events=False)
    assert_same(kept, forgotten)
    assert len(kept.world.events) == 300
    assert forgotten.world.events == []


def test_events_are_kept_where_somebody_looks_them_up() -> None:
    streams = Streams(1)
    workload = poisson(streams, rate=4.0, count=50)
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    world = World(System(), workload, [0.1] * 50, "queue-at-most-once", ports, Fixed(3), streams, keep_events=False)
    assert world.run()
    assert len(world.events) == 50
