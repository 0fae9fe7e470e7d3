"""Processors start, stop, crash and are paid for as they say."""

from __future__ import annotations

import pytest
from worlds import live

from rarera_sim.metrics.availability import uptime
from rarera_sim.policies import Decision, Fixed, Observation
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System


class Plan:
    """Says what it was told to, period by period, and keeps what it saw."""

    def __init__(self, *replicas: int) -> None:
        self._replicas = list(replicas)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def decide(self) -> Decision:
        return Decision(self._replicas.pop(0) if len(self._replicas) > 1 else self._replicas[0])


def test_the_first_replicas_are_there_and_later_ones_take_their_start_up() -> None:
    lived = live(System(hardware=Hardware(start_up=20.0)), policy=Plan(2, 4))
    ready = [(round(capacity.time, 3), capacity.ready) for capacity in lived.capacities]
    assert (0.0, 2) in ready
    assert max(count for time, count in ready if time < 35.0) == 2
    assert (35.0, 4) in ready  # asked for at 15 s


def test_what_starts_and_drains_is_paid_for() -> None:
    lived = live(System(hardware=Hardware(start_up=20.0)), policy=Plan(2, 4, 2))
    assert uptime(lived.capacities, 15.0, 30.0).paid == pytest.approx(15.0 * 4)


def test_a_busy_processor_finishes_what_it_has_before_it_goes() -> None:
    service = ServiceTime(distribution="deterministic", mean=20.0)
    lived = live(System(), policy=Plan(5, 1), rate=2.0, count=5, service=service)
    assert any(capacity.draining for capacity in lived.capacities)
    assert lived.journeys["finished"].to_list() == [1] * 5
    assert lived.journeys["released"].sum() == 0


def test_observations_say_what_is() -> None:
    policy = Plan(5)
    service = ServiceTime(distribution="deterministic", mean=0.5)
    lived = live(System(), policy=policy, rate=4.0, count=400, service=service)
    middle = policy.seen[1:5]
    assert [seen.time for seen in policy.seen[:3]] == [15.0, 30.0, 45.0]
    received = lived.journeys["received_s"]
    for seen in middle:
        arrived = ((received > seen.time - 15.0) & (received <= seen.time)).sum()
        assert seen.arrival_rate == pytest.approx(arrived / 15.0)
        assert seen.service_rate == pytest.approx(2.0)
        assert seen.utilisation == pytest.approx(seen.arrival_rate * 0.5 / 5.0, abs=0.05)
        assert seen.response_quantile is not None
        assert seen.late_share == 0.0


def test_crashes_belong_to_the_weather_not_to_the_policy() -> None:
    """Two policies that keep three slots for the whole run see them crash at the same moments."""
    system = System(crashes=Crashes(mtbf=15.0, detection_delay=1.0), hardware=Hardware(start_up=2.0))
    first, second = (live(system, policy=Fixed(count), count=400).world.cluster.crashes for count in (3, 6))
    moments = [[(crash.slot, crash.down) for crash in crashes if crash.slot <= 3] for crashes in (first, second)]
    assert moments[0] == moments[1]
    assert len(moments[0]) >= 5


def test_no_processor_works_while_it_is_down() -> None:
    system = System(crashes=Crashes(at=(5.0,), detection_delay=10.0), hardware=Hardware(start_up=5.0))
    lived = live(system, policy=Fixed(1), rate=2.0, count=60)
    (crash,) = lived.world.cluster.crashes
    assert (crash.slot, crash.down, crash.up) == (1, 5.0, 20.0)
    finished = lived.journeys["finished_s"]
    assert not ((finished > 5.0) & (finished < 20.0)).any()
    assert uptime(lived.capacities, 0.0, 20.0).service == pytest.approx(0.25)
