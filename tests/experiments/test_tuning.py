"""The tuner: the same budget for everybody, reproducible, and better than chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from rarera_sim.experiments.tuning import Limits, Lost, Near, Try, best_of, equalise, limits_of, place_of, tune
from rarera_sim.policies.tuning import Range

NONE = Limits()


class Result(NamedTuple):
    violations: float
    cost: float


def hill(parameters: dict, _: Limits = NONE) -> Result:
    """Cheapest within the objective at x = 2, y = 0.1: x buys on-time events, any other y only costs."""
    x, y = parameters.get("x", 8.0), parameters.get("y", 1.0)
    return Result(0.02 / x, x + 3.0 * abs(np.log10(y / 0.1)))


RANGES = {"x": Range(0.5, 8.0), "y": Range(0.001, 10.0, "log")}


def tried(seed: int, budget: int = 40) -> list[Try]:
    return tune(hill, RANGES, budget=budget, violations=0.01, generator=np.random.default_rng(seed))


def test_the_budget_is_spent_to_the_last_evaluation_and_no_further() -> None:
    for budget in (1, 2, 3, 7, 16, 33):
        assert len(tried(1, budget)) == budget


def test_the_same_seed_tries_the_same() -> None:
    assert tried(5) == tried(5)
    assert tried(5) != tried(6)


def test_the_first_try_is_the_defaults() -> None:
    assert tried(1)[0].parameters == {}


def test_the_best_is_near_the_optimum() -> None:
    best = [best_of(tried(seed), 0.01) for seed in range(20)]
    assert all(each.keeps(0.01) for each in best)
    assert np.median([each.result.cost for each in best]) < 1.25 * 2.0


def test_looking_closer_is_better_than_scattering_on() -> None:
    closer, scattered = [], []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        closer.append(best_of(tried(seed), 0.01).result.cost)
        points = [{name: each.at(generator.random()) for name, each in RANGES.items()} for _ in range(40)]
        scattered.append(best_of([Try(point, hill(point)) for point in points], 0.01).result.cost)
    assert np.mean(closer) < np.mean(scattered)


def test_every_value_lies_within_its_range() -> None:
    for each in tried(3)[1:]:
        for name, value in each.parameters.items():
            assert RANGES[name].low <= value <= RANGES[name].high


def test_a_policy_without_parameters_is_tried_once() -> None:
    assert len(tune(hill, {}, budget=40, violations=0.01, generator=np.random.default_rng(1))) == 1


@pytest.mark.parametrize("within", [Range(0.2, 0.98), Range(1.0, 100.0, "log"), Range(3, 90, "int")])
def test_a_value_is_found_again_where_it_was_taken_from(within: Range) -> None:
    for share in (0.0, 0.2, 0.5, 0.99, 1.0):
        assert within.at(place_of(within, within.at(share))) == pytest.approx(within.at(share))


# What is lost is given up


def giving_up(parameters: dict, limits: Limits) -> Result | Lost:
    """As `hill`, seen in the making: who is lost is given up with what is known until then."""
    result = hill(parameters)
    if result.violations > limits.violations:
        return Lost(limits.violations * 1.0001, 0.0)
    return Lost(0.0, float("inf")) if result.cost > limits.cost else result


@pytest.mark.parametrize("seed", range(8))
def test_giving_up_what_is_lost_changes_nothing(seed: int) -> None:
    def best(evaluate) -> Try:
        generator = np.random.default_rng(seed)
        return best_of(tune(evaluate, RANGES, budget=40, violations=0.01, generator=generator), 0.01)

    assert best(giving_up) == best(hill)


def test_a_try_is_lost_beyond_the_best() -> None:
    violates, keeps = Try({}, Result(0.03, 1.0)), Try({}, Result(0.008, 2.0))
    assert limits_of([], 0.01) == Limits()
    assert limits_of([violates], 0.01) == Limits(0.03)
    assert limits_of([violates, keeps], 0.01) == Limits(0.01, 2.0)


# Equal violations


def least(tried: list[tuple[float, Result]]) -> float:
    return best_of([Try({"x": x}, result) for x, result in tried], 0.01).parameters["x"]


@pytest.mark.parametrize("start", [0.5, 1.0, 4.0, 8.0])
def test_the_share_comes_close_to_what_is_allowed_in_a_few_steps(start: float) -> None:
    tried = equalise(lambda x: Result(0.02 / x, x), start, 0.5, 8.0, violations=0.01, steps=12)
    assert max(result.violations for _, result in tried if result.violations <= 0.01) >= 0.009
    assert len(tried) <= 8


def test_a_closer_share_is_found_where_it_is_asked_for() -> None:
    near = Near(share=0.9999, cost=0.0)
    tried = equalise(lambda x: Result(0.02 / x, x), 0.5, 0.5, 8.0, violations=0.01, steps=40, near=near)
    assert least(tried) == pytest.approx(2.0, rel=1e-3)


def test_a_policy_that_decides_in_steps_is_near_when_the_step_below_violates() -> None:
    tried = equalise(
        lambda x: Result(0.03 if x < 3.0 else 0.001, 100.0 + x // 1.0), 5.0, 0.0, 8.0, violations=0.01, steps=40
    )
    assert 3.0 <= least(tried) < 4.0
    assert len(tried) < 12


def test_steps_that_cost_much_are_looked_into_until_the_steps_are_over() -> None:
    results = [Result(0.03, 1.0), Result(0.002, 2.0)]
    assert not Near().equal(results, 0.01)
    assert Near().equal([Result(0.03, 1.99), Result(0.002, 2.0)], 0.01)
    assert not Near().equal([Lost(0.03, 1.99), Result(0.002, 2.0)], 0.01), "of what was given up no cost is known"
    assert not Near().equal(results[:1], 0.01)


def test_where_more_does_not_help_the_tries_say_so() -> None:
    tried = equalise(lambda x: Result(0.5, x), 1.0, 0.0, 8.0, violations=0.01, steps=12)
    assert all(result.violations > 0.01 for _, result in tried)
    assert max(x for x, _ in tried) == 8.0


def test_where_nothing_is_late_it_ends_at_the_least() -> None:
    tried = equalise(lambda x: Result(0.0, 1.0 + x), 4.0, 0.0, 8.0, violations=0.01, steps=12)
    assert least(tried) == 0.0
