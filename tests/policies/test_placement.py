"""Work dealt out over pools: the cheapest first, spread over zones, with no more at stake than a blow may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rarera_sim.learning.fleets import Fleet
from rarera_sim.policies import Observation, Pool, Rarera, Surroundings
from rarera_sim.policies.placement import Placed, Placement, Work
from rarera_sim.policies.staffing import Limits

VM = Pool("vm", price_per_hour=1.0)
SPOT = Pool("spot", price_per_hour=0.4, spot=True)
WARM = Pool("warm", price_per_hour=1.0, wake_up=5.0, price_asleep_per_hour=0.1)


def placement(*, share: float = 0.008, limits: Limits = Limits()) -> Placement:  # noqa: B008 it is frozen
    return Placement(Fleet(15.0), limits, period=15.0, ahead=60.0, share=share)


class Driver:
    """Pools that do what they are asked: who is asked for is there after so many periods."""

    def __init__(self, placement: Placement, *pools: Pool, periods: int = 4) -> None:
        self.placement, self.pools, self.periods = placement, list(pools), periods
        self.coming: list[tuple[int, str, int]] = []
        self.step = 0

    def look(self, *, crashed: int = 0, interrupted: int = 0) -> None:
        self.placement.observe(15.0 * self.step, self.pools, crashed=crashed, interrupted=interrupted)

    def go(self, least: float, most: float | None = None, periods: int = 1) -> Placed:
        for _ in range(periods):
            self.look()
            placed = self.placement.place(self.pools, Work(least, least if most is None else most), price=20.0)
            self.step += 1
            for place, pool in enumerate(self.pools):
                come = sum(count for when, name, count in self.coming if name == pool.name and when <= self.step)
                self.coming = [each for each in self.coming if each[1] != pool.name or each[0] > self.step]
                more = placed.awake[pool.name] - pool.ready - pool.pending
                if more > 0:
                    self.coming.append((self.step + self.periods - 1, pool.name, more))
                pending = max(0, pool.pending - come) + max(0, more)
                fewer = max(0, -more)
                ready = pool.ready + come - max(0, fewer - pending)
                self.pools[place] = replace(pool, ready=ready, pending=max(0, pending - fewer))
        return placed


def awake(pools: Sequence[Pool], least: float, **more: float) -> dict[str, int]:
    return placement(**more).place(pools, Work(least, least), price=20.0).awake  # type: ignore[arg-type]


def test_the_cheapest_per_unit_of_work_is_filled_first_and_then_the_next() -> None:
    large = Pool("large", speed=2.0, price_per_hour=1.7, replicas_max=3)
    assert awake([VM, large], 9.5) == {"vm": 4, "large": 3}
    assert awake([VM, replace(large, price_per_hour=2.1)], 9.5) == {"vm": 10, "large": 0}


@pytest.mark.parametrize(("mean", "vms", "spots"), [(750.0, 0, 11), (40.0, 10, 0)])
def test_interruptions_make_spot_dearer_and_more_of_it_necessary(mean: float, vms: int, spots: int) -> None:
    placed = placement()
    placed.fleet.interruptions.learn_one(40_000, 40_000 * mean)
    # Of 750 s between two, a tenth is spent on the way; of 40 s, most.
    assert placed.place([VM, SPOT], Work(10.0, 10.0), price=20.0).awake == {"vm": vms, "spot": spots}


@pytest.mark.parametrize(("share", "spot"), [(0.008, 100), (0.0008, 23)])
def test_spot_carries_what_may_be_lost_in_one_blow(share: float, spot: int) -> None:
    assert awake([VM, SPOT], 99.9, share=share) == {"vm": 100 - spot, "spot": spot}
    assert awake([SPOT], 99.9, share=share) == {"spot": 100}, "where there is nothing else, all"


def test_too_many_spot_replicas_are_exchanged_as_others_get_ready() -> None:
    driver = Driver(placement(share=0.0008), VM, replace(SPOT, ready=100))
    assert driver.go(99.9, 110.0).awake == {"vm": 77, "spot": 100}
    placed = driver.go(99.9, 110.0, periods=8)
    assert placed.awake["vm"] == 77
    assert 23 <= placed.awake["spot"] <= 34


def test_zones_of_one_price_share_and_a_dearer_one_waits() -> None:
    zones = [replace(VM, name=zone, zone=zone) for zone in "abc"]
    assert awake(zones, 7.9) == {"a": 3, "b": 3, "c": 2}
    assert awake([*zones[:2], replace(zones[2], price_per_hour=1.1)], 7.9) == {"a": 4, "b": 4, "c": 0}


def test_of_a_zone_that_is_gone_nothing_is_expected_and_one_scout_is_left() -> None:
    driver = Driver(placement(), *(replace(VM, name=zone, zone=zone, ready=4) for zone in "ab"))
    driver.go(8.0)
    driver.pools[0] = replace(driver.pools[0], ready=0, pending=4)
    driver.look(crashed=4)
    assert driver.placement.place(driver.pools, Work(8.0, 8.0), price=20.0).awake == {"a": 1, "b": 8}
    driver.step += 1
    driver.pools = [replace(driver.pools[0], ready=1, pending=0), replace(driver.pools[1], ready=8)]
    # It is back: evened out again, at no time with fewer than needed.
    assert driver.go(8.0).awake == {"a": 4, "b": 7}
    assert driver.go(8.0, periods=8).awake == {"a": 4, "b": 4}


def test_a_dear_replica_goes_when_the_cheap_one_is_ready() -> None:
    driver = Driver(placement(), replace(VM, ready=10), SPOT)
    for _ in range(4):
        assert driver.go(10.0).awake == {"vm": 10, "spot": 10}
    assert driver.go(10.0, periods=2).awake == {"vm": 0, "spot": 10}


def test_what_was_interrupted_is_replaced_at_once() -> None:
    driver = Driver(placement(), VM, replace(SPOT, ready=10))
    driver.go(10.0)
    driver.pools[1] = replace(SPOT, ready=7)
    driver.look(interrupted=3)
    assert driver.placement.place(driver.pools, Work(9.9, 12.0), price=20.0).awake == {"vm": 0, "spot": 10}


def test_a_slow_kind_carries_what_is_needed_all_the_time() -> None:
    slow = Pool("slow", speed=2.0, price_per_hour=1.6, start_up=90.0)
    driver = Driver(placement(), VM, slow)
    assert driver.go(20.0).awake == {"vm": 20, "slow": 0}
    for step in range(60):
        driver.go(24.0 if step % 4 == 0 else 20.0, 30.0)
    assert driver.go(20.0, 20.0, periods=6).awake == {"vm": 0, "slow": 10}


def test_between_least_and_most_nothing_changes() -> None:
    driver = Driver(placement(), replace(VM, name="a", zone="a", ready=5), replace(VM, name="b", zone="b", ready=6))
    assert driver.go(9.0, 12.0).awake == {"a": 5, "b": 6}
    assert driver.go(11.0, 12.0).awake == {"a": 5, "b": 6}


def test_the_limits_are_kept() -> None:
    limits = Limits(4, 9)
    assert sum(awake([VM, SPOT], 0.5, limits=limits).values()) == 4  # type: ignore[arg-type]
    assert sum(awake([VM, SPOT], 50.0, limits=limits).values()) == 9  # type: ignore[arg-type]


def test_who_sleeps_is_woken_first_and_what_may_be_needed_later_sleeps() -> None:
    asleep = replace(WARM, ready=10, asleep=5)
    placed = placement().place([asleep], Work(12.0, 12.0, 15.0, 15.0), price=20.0)
    assert (placed.awake, placed.asleep) == ({"warm": 12}, {"warm": 3})
    placed = placement().place([asleep], Work(6.0, 7.0, 15.0, 15.0), price=20.0)
    assert (placed.awake, placed.asleep) == ({"warm": 7}, {"warm": 8})
    # Even where new ones would be cheaper: they would not be there in time.
    cheap = replace(WARM, name="cheap", price_per_hour=0.9)
    placed = placement().place([cheap, asleep], Work(12.0, 14.0, 15.0, 15.0), price=20.0)
    assert placed.awake["warm"] == 12
    # Those that start only to sleep are not counted as awake the next time.
    again = placement()
    for _ in range(2):
        assert again.place([replace(WARM, ready=10)], Work(10.0, 10.0, 15.0, 15.0), price=20.0).asleep == {"warm": 5}
    again.observe(15.0, [replace(WARM, ready=10, pending=5)])
    placed = again.place([replace(WARM, ready=10, pending=5)], Work(12.0, 12.0, 15.0, 18.0), price=20.0)
    assert (placed.awake, placed.asleep) == ({"warm": 12}, {"warm": 5})


# All of it in the policy


def test_a_decision_names_the_pools_and_says_so_in_a_sentence() -> None:
    policy = Rarera(Surroundings(bound=2.0, service_rate=5.0))
    pools = replace(VM, ready=10), SPOT
    for step in range(1, 60):
        policy.observe(
            Observation(50.0, 5.0, 0, 10, time=15.0 * step, work_rate=5.0, utilisation=0.9, finished=750, pools=pools)
        )
    decision = policy.decide()
    assert decision.pools is not None
    assert decision.pools["spot"] > 10
    assert decision.replicas == sum(decision.pools.values())
    assert f"({decision.pools['vm']} vm, {decision.pools['spot']} spot)." in decision.reason


def test_it_looks_as_far_ahead_as_the_cheapest_kind_takes_to_start() -> None:
    policy = Rarera(Surroundings(bound=2.0, service_rate=5.0))
    large = Pool("large", speed=2.0, price_per_hour=1.7, start_up=90.0)
    for step in range(1, 60):
        pools = (replace(VM, ready=20), large) if step > 40 else ()
        policy.observe(Observation(80.0 + step % 3, 5.0, 0, 20, time=15.0 * step, work_rate=5.0, pools=pools))
        assert f"within {105 if step > 40 else 75} s" in policy.decide().reason
    decision = policy.decide()
    assert decision.pools is not None
    assert decision.pools["large"] >= 9
    assert policy.forecaster.horizon == 105.0


def test_twice_the_speed_is_half_the_replicas() -> None:
    wanted = []
    for speed in (1.0, 2.0):
        policy = Rarera(Surroundings(bound=2.0, service_rate=5.0))
        pool = replace(VM, speed=speed, ready=round(20 / speed))
        for step in range(1, 60):
            rate = 80.0 + step % 3
            policy.observe(
                Observation(rate, 5.0 * speed, 0, pool.ready, time=15.0 * step, work_rate=5.0, pools=(pool,))
            )
        wanted.append(policy.decide().replicas)
    assert wanted[1] == pytest.approx(wanted[0] / 2.0, abs=1.0)
