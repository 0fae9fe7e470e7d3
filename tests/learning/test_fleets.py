"""What a fleet has shown of itself: starts, single losses and blows, and who is not to be counted on."""

from __future__ import annotations

import math

import pytest

from rarera_sim.learning.fleets import Count, Fleet


def vm(ready: int, pending: int = 0, *, zone: str = "a", spot: bool = False) -> Count:
    return Count(f"vm-{zone}", zone, spot, ready, pending, 60.0)


def test_starts_are_followed_in_the_order_in_which_they_were_asked_for() -> None:
    fleet = Fleet(15.0)
    for period, (ready, pending) in enumerate([(5, 0), (5, 2), (5, 4), (7, 2), (9, 0)]):
        fleet.learn(15.0 * period, [vm(ready, pending)])
    # Two were seen first at 15 s and asked for at 0, two a period later; each were there after three periods. What the
    # pool says of itself counts for one start.
    assert fleet.start_up("vm-a", 60.0).mean == pytest.approx((60.0 + 45.0 + 45.0) / 3.0)
    assert fleet.overdue(vm(9)) == 0


def test_who_is_given_up_is_no_start() -> None:
    fleet = Fleet(15.0)
    for period, (ready, pending) in enumerate([(5, 0), (5, 4), (5, 0)]):
        fleet.learn(15.0 * period, [vm(ready, pending)])
    assert repr(fleet.start_up("vm-a", 60.0)) == "StartUp(mean=60, starts=1)"


def test_who_should_have_been_there_long_ago_is_not_counted_on() -> None:
    fleet, stuck = Fleet(15.0), vm(5, 3)
    for period in range(30):
        fleet.learn(15.0 * period, [stuck if period else vm(5)])
        if 15.0 * period <= 2.0 * 75.0:
            assert fleet.overdue(stuck) == 0
    assert fleet.overdue(stuck) == 3


def test_crashes_and_interruptions_are_learned_by_the_time_that_replicas_ran() -> None:
    fleet = Fleet(15.0)
    for period in range(960):
        crashed, interrupted = int(period % 96 == 50), int(period % 48 == 7)
        fleet.learn(15.0 * period, [vm(6), vm(4, zone="b", spot=True)], crashed=crashed, interrupted=interrupted)
    hours = 960 * 15.0 / 3600.0
    # A tenth of a crash in two thirds of a day was believed in beforehand.
    assert fleet.crashes.mtbf == pytest.approx((10.0 * hours * 3600.0 + 60_480.0) / 10.1, rel=0.03)
    # Half an event in a day was believed in beforehand.
    assert fleet.interruptions.mean == pytest.approx(20.5 / (4.0 * hours * 3600.0 + 86_400.0), rel=0.05)
    assert fleet.lasting(spot=True, start_up=60.0) < fleet.lasting(spot=False, start_up=60.0) < 1.0


def test_a_zone_is_gone_when_all_of_it_has_crashed_until_one_is_back() -> None:
    fleet = Fleet(15.0)
    looks = [(4, 0, 0), (0, 4, 4), (0, 1, 0), (1, 0, 0)]
    gone = []
    for period, (ready, pending, crashed) in enumerate(looks):
        fleet.learn(15.0 * period, [vm(ready, pending), vm(4, zone="b")], crashed=crashed)
        gone.append(set(fleet.gone))
    assert gone == [set(), {"a"}, {"a"}, set()]
    assert fleet.crashes.mtbf > 86_400.0, "an outage says nothing of single replicas"


def test_the_only_zone_is_never_given_up() -> None:
    fleet = Fleet(15.0)
    for period, (ready, crashed) in enumerate([(4, 0), (0, 4)]):
        fleet.learn(15.0 * period, [vm(ready, 4 - ready)], crashed=crashed)
    assert not fleet.gone


def test_many_taken_at_once_are_a_blow_and_no_rate() -> None:
    fleet = Fleet(15.0)
    before = fleet.blows.mean
    fleet.learn(0.0, [vm(10, spot=True)])
    fleet.learn(15.0, [vm(2, spot=True)], interrupted=8)
    assert fleet.blows.mean > 1.5 * before
    assert fleet.interruptions.mean == pytest.approx(0.5 / 86_400.0, rel=0.01)


@pytest.mark.parametrize("time", [math.nan, math.inf, -1e6, 1e6])
def test_a_gap_and_a_clock_that_was_set_say_nothing(time: float) -> None:
    fleet = Fleet(15.0)
    fleet.learn(0.0, [vm(5)])
    before = fleet.state()
    fleet.learn(time, [vm(0, 5), vm(3, zone="b")], crashed=5, interrupted=3)
    assert fleet.state() == before
    assert not fleet.gone


def test_what_was_saved_is_known_again() -> None:
    fleet, again = Fleet(15.0), Fleet(15.0)
    for period, (ready, pending) in enumerate([(5, 0), (5, 2), (5, 4), (7, 2), (9, 0)]):
        fleet.learn(15.0 * period, [vm(ready, pending, spot=True)], crashed=1, interrupted=1)
    again.restore(fleet.state())
    assert again.state() == fleet.state()
    assert again.lasting(True, 60.0) == fleet.lasting(True, 60.0)
