"""The oracle: nobody undercuts the lower bound, and its plan really keeps what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from rarera_sim.experiments.loads import Load
from rarera_sim.experiments.oracle import Plan, _Search, lower_bound, oracle
from rarera_sim.policies import make_policy
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.recursion import evaluate
from rarera_sim.simulation.world import System


def load_of_waves(seed: int = 1, speed: float = 1.0) -> Load:
    """Forty minutes with two bursts."""
    generator = np.random.default_rng(seed)
    rates = np.repeat([4.0, 4.0, 30.0, 4.0, 4.0, 20.0, 4.0, 4.0], 300)
    times = np.sort(np.repeat(np.arange(2400.0), generator.poisson(rates)) + 0.0)
    times = np.sort(times + generator.random(len(times)))
    system = System(
        hardware=Hardware(speed=speed), control=ControlSettings(), objective=Objective(quantile=0.99, bound=2.0)
    )
    services = generator.gamma(4.0, 0.125, len(times))
    return Load("waves", "test", seed, times, services, 2400.0, 86_400.0, np.full(40, 8.0), 0.5, 0.25, system)


@pytest.mark.parametrize("violations", [0.01, 0.05])
def test_the_plan_keeps_its_share_and_costs_more_than_the_work_alone(violations: float) -> None:
    load = load_of_waves()
    found = oracle(load, violations, rounds=6)
    assert found.planned.violations <= violations
    dollars = load.services.sum() * load.system.hardware.price_per_hour / 3600.0
    assert found.lower_bound == lower_bound(load) == pytest.approx(dollars)
    assert found.lower_bound < found.cost < 1.6 * found.lower_bound


def test_searching_on_never_makes_the_plan_dearer() -> None:
    load = load_of_waves()
    search = _Search(load, 0.01)
    search.bisect(lambda: None)
    before = search.best[1].cost
    search.improve(6, lambda: None)
    assert search.best[1].cost <= before


def test_no_policy_that_keeps_the_share_is_cheaper() -> None:
    load = load_of_waves(2)
    plan = oracle(load, 0.01, rounds=6)
    for name, parameters in (("hpa", {"target": 0.4}), ("erlang-c", {}), ("fixed", {"replicas": 18})):
        policy = make_policy(name, parameters, **load.surroundings)
        outcome = evaluate(load.times, load.services, policy, system=load.system, duration=load.duration)
        assert outcome.violations > 0.01 or outcome.cost > plan.cost


def test_twice_the_speed_halves_the_lower_bound() -> None:
    assert lower_bound(load_of_waves(speed=2.0)) == pytest.approx(lower_bound(load_of_waves()) / 2.0)


def test_a_plan_starts_replicas_in_time_and_keeps_those_that_come_back_soon() -> None:
    plan = Plan(np.array([2, 2, 1, 1, 1, 1, 1, 6]), ahead=4)
    assert plan.asked.tolist() == [2, 2, 1, 6, 6, 6, 6, 6]


def test_an_oracle_gives_the_same_plan_again() -> None:
    assert oracle(load_of_waves(), 0.01, rounds=4).cost == oracle(load_of_waves(), 0.01, rounds=4).cost


def test_a_plan_that_serves_late_events_last_is_cheaper() -> None:
    load = load_of_waves()
    fifo, late_last = (oracle(load, 0.05, rounds=4, discipline=each) for each in ("fifo", "late-last"))
    assert late_last.planned.violations <= 0.05
    assert late_last.lower_bound < late_last.cost < fifo.cost
