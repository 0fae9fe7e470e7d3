"""The policies that forecast: they see the rush coming, they never look ahead, and they keep their promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim import theory
from rarera_sim.policies import Mpc, Observation, Predictive, PriceAware, Scaler, Surroundings
from rarera_sim.policies.mpc import _Plan

PERIOD, DAY = 5.0, 240.0
AROUND = Surroundings(bound=1.0, period=PERIOD, start_up=15.0, day=DAY)
MAKERS: dict[str, Callable[..., Any]] = {
    "predictive": lambda **more: Predictive(AROUND, **more),
    "price-aware": lambda **more: PriceAware(AROUND, **more),
    "mpc": lambda **more: Mpc(AROUND, **{"late_price": 0.01, **more}),
}
both = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def rush(step: int) -> float:
    """10/s in the first half of the day, 100/s in the second."""
    return 100.0 if (PERIOD * step - PERIOD / 2) % DAY > DAY / 2 else 10.0


def seen(step: int, rate: float, **more: Any) -> Observation:
    return Observation(rate, 10.0, 0, 12, **{"utilisation": 0.5, "time": PERIOD * step, **more})


def decisions(policy: Scaler, rates: Sequence[float]) -> list[int]:
    answers = []
    for step, rate in enumerate(rates, start=1):
        policy.observe(seen(step, rate))
        answers.append(policy.decide().replicas)
    return answers


# Forecasting


@both
def test_replicas_are_asked_for_before_the_rush_begins(make: Callable[..., Scaler]) -> None:
    day = int(DAY / PERIOD)
    answers = decisions(make(), [rush(step) for step in range(1, 6 * day + 1)])
    begins = 5 * day + day // 2  # the last quiet period of the sixth day is the 24th
    assert rush(begins) == 10.0
    assert rush(begins + 1) == 100.0
    assert all(answers[begins - ahead - 1] >= 11 for ahead in range(3)), "too late for a start-up of three periods"
    assert answers[begins - 12] <= 6, "nor all the night through"


@both
def test_replicas_are_given_back_after_the_rush(make: Callable[..., Scaler]) -> None:
    day = int(DAY / PERIOD)
    answers = decisions(make(), [rush(step) for step in range(1, 6 * day + 1)])
    assert answers[5 * day + 8] <= 6


@both
@settings(max_examples=25, deadline=None)
@given(
    past=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=60),
    futures=st.tuples(*[st.lists(st.floats(0.0, 500.0), max_size=30)] * 2),
)
def test_what_will_be_changes_nothing_that_was_decided(
    make: Callable[..., Scaler], past: list[float], futures: tuple[list[float], list[float]]
) -> None:
    one, other = (decisions(make(), past + future) for future in futures)
    assert one[: len(past)] == other[: len(past)]


@both
def test_history_trains(make: Callable[..., Scaler]) -> None:
    policy = make()
    for step in range(1, 5 * 48 + 1):
        policy.observe(seen(step, rush(step)))
    answers = decisions(policy, [rush(step) for step in range(1, 25)])  # the clock starts anew
    assert answers[-1] >= 11


@both
def test_one_huge_rate_is_forgotten(make: Callable[..., Scaler]) -> None:
    calm = [50.0] * 300
    assert decisions(make(), [*calm, 1e300, *calm])[-1] <= decisions(make(), [*calm, 50.0, *calm])[-1] + 1


def test_a_higher_forecast_quantile_asks_for_more() -> None:
    rates = [50.0 + 20.0 * math.sin(step * step) for step in range(400)]
    low, high = (sum(decisions(MAKERS["predictive"](forecast_quantile=q), rates)[200:]) for q in (0.6, 0.99))
    assert high > low


def test_the_backlog_counts_beside_the_forecast() -> None:
    few, many = MAKERS["predictive"](), MAKERS["predictive"]()
    few.observe(seen(1, 50.0))
    many.observe(replace(seen(1, 50.0), backlog=6000))
    assert many.decide().replicas > few.decide().replicas


# Price


def asked(price: float = 0.1, late_price: float = 0.0001, quantile: float = 0.99) -> int:
    policy = PriceAware(Surroundings(bound=0.5, quantile=quantile), late_price=late_price)
    policy.observe(Observation(100.0, 10.0, 0, 12, price_per_hour=price))
    return policy.decide().replicas


def test_dearer_replicas_are_fewer_and_dearer_lateness_means_more() -> None:
    by_price = [asked(price=price) for price in (0.0, 0.001, 0.01, 0.1, 1.0)]
    by_late_price = [asked(late_price=late_price) for late_price in (0.0, 0.0001, 0.001, 0.01, 0.1)]
    assert by_price == sorted(by_price, reverse=True)
    assert by_late_price == sorted(by_late_price)
    assert by_price[0] > by_price[-1]
    assert by_late_price[0] < by_late_price[-1]


def test_no_price_buys_out_the_objective() -> None:
    assert asked(price=1e9) == theory.servers_for_response(100.0, 10.0, 0.5, 0.99, 1000)


@pytest.mark.parametrize("late_price", [0.0001, 0.0005, 0.002])
def test_it_takes_the_cheapest_number_of_all(late_price: float) -> None:
    rate, service_rate, price = 100.0, 10.0, 0.1
    needed = theory.servers_for_response(rate, service_rate, 0.5, 0.9, 1000)
    assert needed is not None

    def cost(replicas: int) -> float:
        return price * replicas + late_price * 3600.0 * rate * theory.response_tail(rate, service_rate, replicas, 0.5)

    assert asked(price, late_price, quantile=0.9) == min(range(needed, 100), key=cost)


# Its own error


def test_doubt_adds_up_the_unclipped_differences_between_seen_and_promised() -> None:
    policy = PriceAware(gain=0.5)
    promised = []
    shares = [0.0, 1.0, 1.0, 0.3, 0.0, 1.0]
    policy.observe(Observation(100.0, 10.0, 0, 12))
    for step, share in enumerate(shares, start=1):
        policy.decide()
        promised.append(policy._promised)
        policy.observe(Observation(100.0, 10.0, 0, 12, time=15.0 * step, late_share=share))
    assert policy.doubt == pytest.approx(0.5 * sum(s - p for s, p in zip(shares, promised, strict=True)))
    assert policy.doubt > 1.0


def test_history_that_another_policy_decided_is_not_its_own_error() -> None:
    policy = PriceAware()
    for step in range(1, 50):
        policy.observe(Observation(100.0, 10.0, 0, 12, time=15.0 * step, late_share=1.0))
    assert policy.doubt == 0.0


@pytest.mark.parametrize("worse", [1.0, 10.0, 200.0])
def test_the_late_share_comes_to_what_the_objective_allows_though_the_formula_errs(worse: float) -> None:
    """A world in which `worse` times as many are late as Erlang C says, up to all of them."""
    policy = PriceAware(Surroundings(bound=0.5, quantile=0.98), late_price=0.0)
    late = 0.0
    total = []
    for step in range(1, 4001):
        policy.observe(Observation(100.0, 10.0, 0, 12, time=15.0 * step, late_share=late))
        tail = theory.response_tail(100.0, 10.0, policy.decide().replicas, 0.5) - math.exp(-5.0)
        late = min(1.0, worse * tail)
        total.append(late)
    assert sum(total) / len(total) < 0.021
    assert policy.decide().replicas < 40


def test_a_crash_does_not_double_the_fleet_for_a_day() -> None:
    policy = PriceAware(Surroundings(bound=1.0))
    shares = [0.0] * 100 + [1.0] * 20 + [0.0] * 100
    answers = []
    for step, share in enumerate(shares, start=1):
        policy.observe(Observation(100.0, 10.0, 0, 14, time=15.0 * step, late_share=share))
        answers.append(policy.decide().replicas)
    assert answers[99] < answers[-1] < 2 * answers[99]


def test_the_reason_says_what_was_weighed() -> None:
    policy = PriceAware(Surroundings(bound=0.5, quantile=0.95), late_price=0.001)
    policy.observe(Observation(100.0, 10.0, 0, 12, price_per_hour=0.1))
    assert policy.decide().reason == (
        "14 at 0.1/h for about 100/s leave 0.71% late; one fewer leaves 0.77%, dearer than the replica (doubt +0.00)."
    )


# Model-predictive control


def planned(backlog: int = 0, replicas: int = 12, rate: float = 100.0, **more: Any) -> int:
    policy = Mpc(Surroundings(bound=1.0), **{"late_price": 0.001, **more})
    policy.observe(Observation(rate, 10.0, backlog, replicas, price_per_hour=0.1))
    return policy.decide().replicas


@pytest.mark.parametrize("backlog", [0, 50, 1000, 20_000])
@pytest.mark.parametrize("late_price", [0.0, 1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("last", [1, 10, 400])
def test_the_search_finds_the_cheapest_number_from_anywhere(backlog: int, late_price: float, last: int) -> None:
    policy = Mpc(Surroundings(bound=1.0, replicas_max=400), late_price=late_price)
    seen = Observation(100.0, 10.0, backlog, 12, price_per_hour=0.1)
    policy.observe(seen)
    policy._last = last
    plan = _Plan(policy, seen, 10.0, 100.0, policy.forecaster.forecasts())
    assert plan.cost(policy.decide().replicas) <= 1.01 * min(map(plan.cost, range(1, 401)))


def test_a_dearer_late_event_and_a_longer_queue_ask_for_more() -> None:
    by_price = [planned(late_price=price) for price in (0.0, 1e-6, 1e-5, 1e-4, 1e-3)]
    by_backlog = [planned(backlog=backlog) for backlog in (0, 500, 2000)]
    assert by_price == sorted(by_price)
    assert by_backlog == sorted(by_backlog)
    assert by_price[0] == 1
    assert by_backlog[0] < by_backlog[-1]


def test_a_queue_that_will_be_gone_before_the_start_up_needs_no_more() -> None:
    # 40 replicas clear 500 in two seconds; whatever is asked for now comes after sixty.
    assert planned(backlog=500, replicas=40) <= 40
