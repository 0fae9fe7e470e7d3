"""Pools, sleep, spot, zones, components, slow spells, dead letters: what fails, and what is paid for."""

from __future__ import annotations

import numpy as np
import pytest
from queueing import AT_ONCE, Plan, queue

from rarera_sim.metrics.availability import processor_frame, uptime
from rarera_sim.metrics.cost import cost_frame
from rarera_sim.policies import Decision
from rarera_sim.simulation.control import ControlSettings
from rarera_sim.simulation.hardware import (
    Component,
    Crashes,
    Hardware,
    Outage,
    Outages,
    PoolSettings,
    Prices,
    Slowness,
    Spot,
)
from rarera_sim.simulation.line import LineSettings
from rarera_sim.simulation.world import System

LINES = [LineSettings(), LineSettings(overhead=1e-300), LineSettings(dispatch="jsq")]
WAYS = pytest.mark.parametrize("line", LINES, ids=["short", "long", "jsq"])
TWO = (
    PoolSettings(name="slow", hardware=Hardware(start_up=0.0, speed=0.5, price_per_hour=1.0), zone="a"),
    PoolSettings(name="fast", hardware=Hardware(start_up=30.0, speed=2.0, price_per_hour=3.0), zone="b"),
)


@WAYS
def test_pools_are_scaled_apart_and_told_of(line: LineSettings) -> None:
    plan = Plan(Decision(3, pools={"slow": 3}), Decision(4, pools={"slow": 2, "fast": 2}))
    ran = queue(System(pools=TWO, line=line), plan, rate=1.0, count=400)
    first, second, *_, last = plan.seen
    assert [(pool.name, pool.ready, pool.pending) for pool in first.pools] == [("slow", 3, 0), ("fast", 0, 0)]
    assert [(pool.ready, pool.pending) for pool in second.pools] == [(2, 0), (0, 2)]
    assert [(pool.ready, pool.pending) for pool in last.pools] == [(2, 0), (2, 0)]
    assert ran.journeys["finished"].to_list() == [1] * 400
    for pool in last.pools:
        assert (pool.speed, pool.zone) == ((0.5, "a") if pool.name == "slow" else (2.0, "b"))


def test_the_work_rate_takes_the_speeds_out() -> None:
    plan = Plan(Decision(4, pools={"slow": 2, "fast": 2}))
    queue(System(pools=TWO), plan, rate=2.0, count=3000, services=[0.5] * 3000)
    seen = plan.seen[20]
    assert seen.work_rate == pytest.approx(2.0, rel=1e-6)
    assert seen.service_rate != pytest.approx(2.0, rel=0.1)


@WAYS
def test_observations_count_what_waits_and_is_served(line: LineSettings) -> None:
    """Concurrency is Little's: arrivals times their time in the system; and the oldest wait is what it says."""
    plan = Plan(Decision(2))
    ran = queue(System(line=line), plan, rate=1.7, count=2000)
    done = ran.journeys
    for seen in plan.seen[10:60:7]:
        since, until = seen.time - 15.0, seen.time
        inside = done["finished_s"].clip(since, until) - done["received_s"].clip(since, until)
        assert seen.concurrency == pytest.approx(float(inside.sum()) / 15.0, rel=1e-6, abs=1e-9)
        assert seen.finished == done["finished_s"].is_between(since, until, closed="right").sum()
        waiting = done.filter((done["received_s"] <= until) & (done["started_s"] > until))
        assert seen.backlog == len(waiting)
        oldest = until - waiting["received_s"].min() if len(waiting) else 0.0
        if line.dispatch == "central":
            assert seen.wait_oldest == pytest.approx(oldest, abs=1e-9)
        assert seen.service_scv is None or seen.service_scv >= 0.0


def test_the_learned_variance_is_that_of_the_services() -> None:
    plan = Plan(Decision(40))
    services = np.random.default_rng(2).gamma(2.0, 0.5, 3000)
    queue(System(), plan, rate=20.0, count=3000, services=services)
    found = [seen.service_scv for seen in plan.seen[1:9]]
    assert np.mean(found) == pytest.approx(0.5, rel=0.15)


# Sleep

SLEEPER = (
    PoolSettings(
        name="warm",
        hardware=Hardware(start_up=60.0, wake_up=5.0, price_per_hour=3600.0, price_asleep_per_hour=360.0),
        asleep=3,
        replicas_max=6,
    ),
)


@WAYS
def test_asleep_replicas_wake_sooner_than_new_ones_start_and_cost_less(line: LineSettings) -> None:
    plan = Plan(Decision(1, pools={"warm": 1}), Decision(5, pools={"warm": 5}), Decision(5, pools={"warm": 5}))
    ran = queue(System(pools=SLEEPER, line=line), plan, rate=1.0, count=90)
    moments = [(capacity.time, capacity.ready, capacity.asleep) for capacity in ran.capacities]
    assert (0.0, 1, 3) in moments
    assert (20.0, 4, 0) in moments, "three woke in 5 s"
    assert (75.0, 5, 0) in moments, "the fourth had to start"
    costs = cost_frame(ran.leases, {"warm": SLEEPER[0].hardware}, Prices(), 0.0, 15.0)
    paid = dict(zip(costs["item"], costs["cost_usd"], strict=True))
    assert paid["replicas"] == pytest.approx(15.0)
    assert paid["replicas asleep"] == pytest.approx(3 * 15.0 * 0.1)


@WAYS
def test_what_is_not_needed_sleeps_if_it_is_told_to(line: LineSettings) -> None:
    decisions = [Decision(6, pools={"warm": 6}), Decision(2, pools={"warm": 2}, asleep={"warm": 3})]
    plan = Plan(*decisions)
    system = System(pools=(PoolSettings(name="warm", hardware=SLEEPER[0].hardware, replicas_max=6),), line=line)
    queue(system, plan, rate=0.2, count=60)
    pool = plan.seen[2].pools[0]
    assert (pool.ready, pool.asleep) == (2, 3)


def test_a_pool_has_no_more_than_it_has() -> None:
    plan = Plan(Decision(50, pools={"warm": 50}))
    queue(System(pools=SLEEPER), plan, count=100)
    assert all(each.ready + each.pending + each.asleep <= 6 for seen in plan.seen for each in seen.pools)


def test_a_pool_that_there_is_not_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="names no pool there is, 'cold'; there are warm"):
        queue(System(pools=SLEEPER), Plan(Decision(1, pools={"cold": 1})), count=10)


# What fails

SPOT = (PoolSettings(name="spot", hardware=Hardware(start_up=5.0, spot=True)),)


@WAYS
def test_spot_replicas_are_taken_back_and_no_event_is_lost(line: LineSettings) -> None:
    plan = Plan(Decision(8))
    system = System(pools=SPOT, spot=Spot(mtbi=100.0, notice=0.5), line=line)
    ran = queue(system, plan, rate=4.0, count=3000)
    interrupted = sum(seen.interrupted for seen in plan.seen)
    total = ran.world.cluster.interrupted
    assert total - 3 <= interrupted <= total, "all but those of the last, unfinished period"
    assert total > 20
    assert ran.journeys["finished"].to_list() == [1] * 3000
    assert ran.journeys["released"].sum() > 0, "some had no time to finish"
    taken = [crash for crash in ran.world.cluster.crashes if crash.cause == "spot"]
    assert len(taken) > 20


def test_a_long_notice_lets_every_service_finish() -> None:
    system = System(pools=SPOT, spot=Spot(mtbi=100.0, notice=1000.0))
    ran = queue(system, Plan(Decision(8)), rate=4.0, count=2000)
    assert ran.world.cluster.interrupted > 10
    assert ran.journeys["released"].sum() == 0


@WAYS
def test_a_zone_takes_all_its_replicas_with_it_and_gives_them_back(line: LineSettings) -> None:
    pools = tuple(PoolSettings(name=zone, hardware=Hardware(start_up=5.0), zone=zone) for zone in "ab")
    outages = Outages(at=(Outage(zone="a", at=100.0, duration=50.0),))
    plan = Plan(Decision(6, pools={"a": 3, "b": 3}))
    ran = queue(System(pools=pools, outages=outages, line=line), plan, rate=2.0, count=600)
    assert [(seen.crashed, seen.replicas) for seen in plan.seen[5:8]] == [(0, 6), (3, 3), (0, 3)]
    (pool,) = {crash.pool for crash in ran.world.cluster.crashes}
    assert pool == "a"
    assert [crash.up for crash in ran.world.cluster.crashes] == [155.0] * 3
    assert ran.journeys["finished"].to_list() == [1] * 600


def test_zones_fail_by_chance_at_their_rate() -> None:
    outages = Outages(mtbf=200.0, duration=20.0)
    ran = queue(System(hardware=AT_ONCE, outages=outages), Plan(Decision(1)), rate=0.05, count=2000)
    found = len([crash for crash in ran.world.cluster.crashes if crash.cause == "zone"])
    expected = 2000 / 0.05 / 220.0
    assert found == pytest.approx(expected, rel=0.25)


def test_components_fail_and_are_repaired_at_their_rates() -> None:
    parts = (Component(name="cpu", mtbf=300.0, mttr=50.0), Component(name="ssd", mtbf=900.0, mttr=10.0))
    crashes = Crashes(components=parts, detection_delay=0.0)
    plan = Plan(Decision(10))
    ran = queue(System(hardware=AT_ONCE, crashes=crashes), plan, rate=0.2, count=2000)
    causes = [crash.cause for crash in ran.world.cluster.crashes]
    assert causes.count("cpu") / causes.count("ssd") == pytest.approx(3.0, rel=0.25)
    repairs = [crash.up - crash.down for crash in ran.world.cluster.crashes if crash.cause == "cpu" and crash.up]
    assert np.mean(repairs) == pytest.approx(50.0, rel=0.15)
    # Up for 1 / (1/300 + 1/900) = 225 s, down for a mean of 40 s.
    until = ran.world.env.now
    found = uptime(ran.capacities, 0.0, until).processor
    assert found == pytest.approx(225.0 / 265.0, abs=0.02)
    frame = processor_frame(ran.leases, ran.world.cluster.crashes, 0.0, until)
    assert frame["crashes"].sum() == len(causes)
    assert frame["availability"].mean() == pytest.approx(found, abs=1e-6)
    assert frame["mttr_s"].mean() == pytest.approx(40.0, rel=0.2)


def test_health_checks_notice_at_their_next_turn() -> None:
    crashes = Crashes(at=(12.0,), check_period=5.0, check_failures=3)
    ran = queue(System(hardware=Hardware(start_up=1.0), crashes=crashes), Plan(Decision(1)), rate=1.0, count=60)
    (crash,) = ran.world.cluster.crashes
    assert (crash.down, crash.up) == (12.0, 26.0), "checks at 15, 20 and 25 fail, then it starts"


def test_slow_spells_make_services_slow_and_nobody_notices() -> None:
    slow = Slowness(mtbf=100.0, duration=100.0, factor=4.0)
    ran = queue(System(slowness=slow), Plan(Decision(1)), rate=0.05, count=2000, services=[1.0] * 2000)
    durations = ran.journeys["finished_s"] - ran.journeys["started_s"]
    assert set(durations.round(6)) == {1.0, 4.0}
    assert (durations > 2.0).mean() == pytest.approx(0.5, abs=0.12)
    assert not ran.world.cluster.crashes


def test_an_event_that_fails_too_often_is_a_dead_letter() -> None:
    crashes = Crashes(mtbf=3.0, detection_delay=0.1, attempts_max=2)
    ran = queue(System(hardware=Hardware(start_up=0.1), crashes=crashes), Plan(Decision(5)), rate=1.0, count=500)
    dead = ran.journeys["dead_letter"]
    assert dead.sum() == ran.world.cluster.dead > 5
    assert (dead + ran.journeys["finished"]).to_list() == [1] * 500
    assert ran.journeys.filter(dead > 0)["started"].to_list() == [2] * dead.sum()


@WAYS
def test_without_faults_there_are_no_incidents(line: LineSettings) -> None:
    plan = Plan(Decision(3))
    ran = queue(System(line=line), plan, rate=2.0, count=500)
    assert not ran.world.cluster.crashes
    assert all((seen.crashed, seen.interrupted) == (0, 0) for seen in plan.seen)
    for stage in ("released", "dead_letter", "detected_crash", "dropped", "redelivered"):
        assert ran.journeys[stage].sum() == 0


@WAYS
def test_crashes_lose_no_event(line: LineSettings) -> None:
    crashes = Crashes(mtbf=20.0, detection_delay=2.0)
    ran = queue(System(hardware=Hardware(start_up=3.0), crashes=crashes, line=line), Plan(Decision(6)), rate=2.0)
    assert ran.world.cluster.failed > 50
    assert ran.journeys["finished"].to_list() == [1] * 1000
    # Work is what was done for events in the end, and what a crash made be done in vain.
    busy = sum(lease.busy for lease in ran.leases)
    assert busy == pytest.approx(ran.world.cluster.busy_time, rel=1e-9)


# Alarm and money


def test_an_alarm_does_not_wait_for_the_next_period() -> None:
    tails = []
    for alarm in (None, 4.0):
        control = ControlSettings(period=600.0, alarm=alarm, alarm_replicas=3, alarm_hold=300.0)
        ran = queue(System(hardware=AT_ONCE, control=control), Plan(Decision(1)), rate=0.95, count=1500)
        tails.append(ran.quantile(0.99))
    assert tails[1] < tails[0] / 3


def test_energy_is_that_of_the_watts() -> None:
    kind = Hardware(start_up=0.0, idle_w=100.0, busy_w=300.0, price_per_hour=1.0)
    ran = queue(System(hardware=kind), Plan(Decision(2)), rate=0.5, count=400, services=[1.0] * 400)
    until = 600.0
    prices = Prices(overhead=1.5, energy_included=False, energy_per_kwh=0.2, carbon_per_kwh=100.0)
    costs = cost_frame(ran.leases, {"generic": kind}, prices, 0.0, until)
    (row,) = costs.filter(costs["item"] == "energy").to_dicts()
    end = ran.world.env.now
    expected = (2 * until * 100.0 + 400.0 * until / end * 200.0) * 1.5 / 3.6e6
    assert row["energy_kwh"] == pytest.approx(expected, rel=1e-6)
    assert row["cost_usd"] == pytest.approx(expected * 0.2, rel=1e-6)
    assert row["carbon_g"] == pytest.approx(expected * 100.0, rel=1e-6)


def test_switching_off_saves_what_it_says() -> None:
    """The lever: replicas asleep instead of idle, for the same load."""
    kind = Hardware(start_up=30.0, wake_up=5.0, idle_w=100.0, busy_w=200.0, asleep_w=1.0, price_asleep_per_hour=0.001)
    energy = []
    for plan in (Plan(Decision(10)), Plan(Decision(10), Decision(2, pools={"kind": 2}, asleep={"kind": 8}))):
        pools = (PoolSettings(name="kind", hardware=kind),)
        ran = queue(System(pools=pools), plan, rate=0.5, count=300)
        costs = cost_frame(ran.leases, {"kind": kind}, Prices(), 0.0, 600.0)
        energy.append(costs["energy_kwh"].sum())
    assert energy[1] < 0.4 * energy[0]


def test_billing_rounds_up_what_has_ended() -> None:
    kind = Hardware(start_up=0.0, billing_period=60.0, billing_min=120.0, price_per_hour=60.0)
    plan = Plan(Decision(2), Decision(1), Decision(1))
    ran = queue(System(hardware=kind), plan, rate=1e-9, count=0, workload=_nothing(40.0))
    costs = cost_frame(ran.leases, {"generic": kind}, Prices(), 0.0, 30.0)
    paid = dict(zip(costs["item"], costs["cost_usd"], strict=True))
    assert paid["replicas"] == pytest.approx(45.0 / 60.0)
    assert paid["rounding"] == pytest.approx((120.0 - 15.0) / 60.0), "the one that went after 15 s is billed for 120"
    costs = cost_frame(ran.leases, {"generic": kind}, Prices(), 0.0, 100.0)
    again = dict(zip(costs["item"], costs["cost_usd"], strict=True))
    assert again["rounding"] == paid["rounding"], "the one that is still there is not"


def _nothing(duration: float):
    from rarera_sim.simulation.arrivals import Workload

    return Workload([], duration)
