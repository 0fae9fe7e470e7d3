"""Ours: what it asks for, what it makes of its own error, and that no load or clock unsettles it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.policies import Observation, Rarera, Surroundings, check_policy, make_policy
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.recursion import Outcome, evaluate
from rarera_sim.simulation.world import System

FACTS = Surroundings(bound=2.0, service_rate=5.0, day=3600.0)


def seen(rate: float = 60.0, step: int = 1, **more: object) -> Observation:
    known = {"backlog": 0, "replicas": 15, "time": 15.0 * step, **more}
    known.setdefault("finished", round(15.0 * rate) if rate == rate else 0)
    return Observation(rate, 5.0, **known)  # type: ignore[arg-type]


def taught(policy: Rarera, steps: int = 240, **more: object) -> Rarera:
    chance = np.random.default_rng(1)
    for step in range(1, steps + 1):
        policy.observe(seen(float(chance.poisson(900)) / 15.0, step, **more))
    return policy


def test_it_stands_the_checks_with_every_part_of_it_switched_off() -> None:
    switches = {"calendar": False, "rehearse": False, "gain": 0.0, "patience": 1.0, "late_last": False}
    facts = replace(FACTS, replicas_min=2, replicas_max=40)
    check_policy(lambda: Rarera(facts, **switches), replicas_min=2, replicas_max=40)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["budget_share", "patience", "gain"])
@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf])
def test_a_number_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=rf"{name} must be .*, got {value}"):
        make_policy("rarera", {name: value})


# The discipline


def test_it_asks_for_late_ones_last_where_it_may_choose() -> None:
    assert taught(Rarera(FACTS), discipline="fifo").decide().discipline == "late-last"
    assert taught(Rarera(FACTS)).decide().discipline is None
    assert taught(Rarera(FACTS, late_last=False), discipline="fifo").decide().discipline is None


def test_who_is_late_already_is_not_hurried_after() -> None:
    policy = taught(Rarera(FACTS), discipline="late-last")
    policy.observe(seen(step=241, discipline="late-last", backlog=3000))
    hurried = policy.decide().replicas
    policy = taught(Rarera(FACTS), discipline="late-last")
    policy.observe(seen(step=241, discipline="late-last", backlog=3000, late_waiting=3000))
    assert policy.decide().replicas < hurried - 5


def test_who_is_put_last_is_booked_as_late_at_once_and_once() -> None:
    policy = taught(Rarera(FACTS), discipline="late-last")
    for step, (late, waiting) in enumerate([(0, 100), (0, 300), (200, 100), (100, 0)], 241):
        policy.decide()
        policy.observe(seen(step=step, discipline="late-last", late=late, late_waiting=waiting))
    assert policy.budget.late == 300


# The price


def test_a_past_that_others_decided_on_is_not_its_own_fault() -> None:
    policy = taught(Rarera(FACTS), late=900)
    assert policy.budget.finished == 0
    policy.decide()
    policy.observe(seen(step=241, late=9))
    assert (policy.budget.late, policy.budget.finished) == (9, 900)


def test_lateness_seen_makes_lateness_dearer() -> None:
    prices = []
    for late in (0, 40):
        policy = taught(Rarera(FACTS))
        for step in range(241, 361):
            policy.decide()
            policy.observe(seen(step=step, late=late))
        prices.append(float(policy.decide().reason.split("priced at ")[1].split(",")[0]))
    assert prices[1] > 3.0 * prices[0]


def test_however_dear_lateness_is_it_orders_little_more_than_was_ever_needed() -> None:
    policy = taught(Rarera(FACTS))
    policy.budget.debt = 100.0
    # Some 68/s were the most, 5/s is what a replica does.
    assert 14 <= policy.decide().replicas <= 18


def test_capacity_is_kept_where_it_would_nearly_be_asked_for() -> None:
    wanted = []
    for patience in (1.0, 3.0):
        policy, chance = Rarera(replace(FACTS, service_rate=0.5), patience=patience), np.random.default_rng(1)
        for step in range(1, 241):
            rate = float(chance.gamma(25.0, 60.0 / 25.0))
            policy.observe(Observation(rate, 0.5, 0, replicas=500, time=15.0 * step, discipline="late-last"))
        wanted.append(policy.decide().replicas)
    assert wanted[0] < wanted[1] < 500


def test_a_small_system_has_what_single_services_need() -> None:
    wanted = []
    for bound in (1.0, 10.0):
        policy = Rarera(Surroundings(bound=bound, service_rate=2.0))
        for step in range(1, 60):
            policy.observe(Observation(2.0, 2.0, backlog=0, replicas=3, time=15.0 * step))
        wanted.append(policy.decide().replicas)
        assert policy.decide().reason.endswith(", the fewest for single services.")
    # A load of 1, whose services may wait an eighth of a second, or 9 s.
    assert wanted == [4, 2]


def blamed(late: int, utilisation: float) -> float:
    policy = taught(Rarera(FACTS))
    for step in range(241, 361):
        policy.decide()
        policy.observe(seen(step=step, late=late, utilisation=utilisation))
    return policy.budget.debt


def test_what_service_alone_makes_late_is_nobodys_fault() -> None:
    assert blamed(40, utilisation=0.9) > 1.0
    assert blamed(40, utilisation=0.5) < 0.0
    # Within what is allowed it is: the rest has to be the less late.
    assert blamed(5, utilisation=0.5) == blamed(5, utilisation=0.9)


# Where it sees nothing


def test_without_a_rate_it_goes_by_how_busy_replicas_are() -> None:
    policy = taught(Rarera(FACTS), utilisation=0.8)
    usual = policy.decide().replicas
    for step in range(241, 246):
        policy.observe(seen(math.nan, step, replicas=usual, utilisation=0.9))
    assert (
        policy.decide().reason == f"No arrival rate for 75 s, so by how busy they are, 90 %: {math.ceil(usual * 1.5)}."
    )
    policy.observe(seen(math.nan, 246, replicas=usual, utilisation=math.nan))
    assert policy.decide().replicas == usual
    policy.observe(seen(60.0, 247))
    assert policy.decide().reason.startswith("Up to ")


def test_a_clock_that_is_set_and_periods_that_are_missing_move_it_little() -> None:
    usual = taught(Rarera(FACTS)).decide().replicas
    for time in (-1e6, 1e7, 3600.0, 3700.0):
        policy = taught(Rarera(FACTS))
        for step in range(3):
            policy.observe(replace(seen(60.0), time=time + 15.0 * step))
        assert abs(policy.decide().replicas - usual) <= 2


# Saving


@pytest.mark.parametrize("late_last", [False, True])
def test_what_was_saved_goes_on_as_if_nothing_had_been(late_last: bool) -> None:
    policy = taught(Rarera(FACTS, late_last=late_last))
    again = Rarera(FACTS, late_last=late_last)
    again.restore(policy.saved())
    for step in range(241, 300):
        for each in (policy, again):
            each.observe(seen(60.0 + step % 7, step, late=step % 3))
        assert again.decide() == policy.decide()
    assert again.decide().reason == policy.decide().reason


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"forecaster": {}}', "7"])
def test_anything_else_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        Rarera(FACTS).restore(text)


def test_what_was_saved_with_other_settings_is_bad_input() -> None:
    with pytest.raises(BadInput, match="other settings"):
        Rarera(FACTS, late_last=False).restore(Rarera(FACTS).saved())


# Any load, any clock


HOURS = 1.0


def poisson(rates: np.ndarray, seed: int) -> np.ndarray:
    """Arrivals at rates that change each minute."""
    chance = np.random.default_rng(seed)
    counts = chance.poisson(rates * 60.0)
    return np.sort(60.0 * (np.repeat(np.arange(len(rates)), counts) + chance.random(counts.sum())))


MINUTES = np.arange(int(HOURS * 60.0))
LOADS = {
    "plain chance": np.full(len(MINUTES), 20.0),
    "sparse": np.full(len(MINUTES), 0.1),
    "a new level": np.where(MINUTES < 20, 10.0, 25.0),
    "ten times as much at once": np.where(MINUTES < 20, 4.0, 40.0),
    "a wave": 15.0 + 10.0 * np.sin(MINUTES / 20.0),
    "silence": np.where((MINUTES > 15) & (MINUTES < 30), 0.0, 20.0),
}
CLOCKS = {
    "usual": (15.0, 60.0, 2.0),
    "quick": (5.0, 5.0, 0.2),
    "slow": (60.0, 300.0, 60.0),
    "quick to ask, slow to come": (5.0, 300.0, 2.0),
}


def ran(name: str, parameters: dict[str, object], rates: np.ndarray, clock: str, **more: object) -> Outcome:
    period, start_up, bound = CLOCKS[clock]
    system = System(
        hardware=Hardware(start_up=start_up),
        control=ControlSettings(period=period, replicas_max=200),
        objective=Objective(quantile=0.99, bound=bound),
    )
    facts = {"period": period, "start_up": start_up, "bound": bound, "replicas_max": 200, "day": 3600.0}
    policy = make_policy(name, parameters, **facts, service_rate=20.0 if bound < 1.0 else 2.0, **more)
    times = poisson(rates, 5)
    services = np.random.default_rng(6).lognormal(-0.2, 0.6, len(times)) * (0.05 if bound < 1.0 else 0.5)
    return evaluate(times, services, policy, system=system, duration=HOURS * 3600.0)


@pytest.mark.parametrize(
    ("load", "clock"),
    [(load, "usual") for load in LOADS]
    + [(load, clock) for clock in CLOCKS for load in ("ten times as much at once",)][1:],
)
def test_no_load_and_no_clock_unsettles_it(load: str, clock: str) -> None:
    outcome = ran("rarera", {}, LOADS[load], clock)
    wanted = outcome.periods["wanted"].to_numpy()
    assert wanted.min() >= 1
    assert wanted.max() <= 200
    # Whatever happened in between, it ends with an empty queue and most events in time.
    assert outcome.periods["backlog"][-1] <= 30
    end = outcome.periods.filter(outcome.periods["time_s"] > (HOURS - 0.25) * 3600.0)
    assert float(end["late"].sum()) <= 0.05 * float(end["arrived"].sum()) + 5.0


@pytest.mark.parametrize("load", ["plain chance", "a new level", "a wave"])
def test_it_costs_no_more_than_a_tuned_autoscaler_that_is_late_as_rarely(load: str) -> None:
    ours = ran("rarera", {}, LOADS[load], "usual")
    theirs = [ran("hpa", {"target": target}, LOADS[load], "usual") for target in (0.4, 0.5, 0.6, 0.7, 0.8)]
    allowed = max(0.01, ours.violations)
    kept = [each.replica_time for each in theirs if each.violations <= allowed]
    assert not kept or ours.replica_time <= 1.1 * min(kept)
