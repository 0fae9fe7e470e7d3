"""The tuner: the same budget for everybody, reproducible, and better than chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from rarera_sim.experiments.tuning import Try, best_of, bisect, tune
from rarera_sim.policies.tuning import Range


class Result(NamedTuple):
    violations: float
    replica_time: float


def hill(parameters: dict) -> Result:
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
    assert np.median([each.result.replica_time for each in best]) < 1.25 * 2.0


def test_looking_closer_is_better_than_scattering_on() -> None:
    closer, scattered = [], []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        closer.append(best_of(tried(seed), 0.01).result.replica_time)
        points = [{name: each.at(generator.random()) for name, each in RANGES.items()} for _ in range(40)]
        scattered.append(best_of([Try(point, hill(point)) for point in points], 0.01).result.replica_time)
    assert np.mean(closer) < np.mean(scattered)


def test_every_value_lies_within_its_range() -> None:
    for each in tried(3)[1:]:
        for name, value in each.parameters.items():
            assert RANGES[name].low <= value <= RANGES[name].high


def test_a_policy_without_parameters_is_tried_once() -> None:
    assert len(tune(hill, {}, budget=40, violations=0.01, generator=np.random.default_rng(1))) == 1


def test_bisection_ends_at_the_least_that_keeps_the_objective() -> None:
    found = bisect(lambda x: Result(0.02 / x, x), 0.5, 8.0, violations=0.01, steps=20)
    assert best_of([Try({"x": x}, result) for x, result in found], 0.01).parameters["x"] == pytest.approx(2.0, abs=1e-4)


def test_where_more_is_not_better_all_of_the_way_is_looked_through() -> None:
    def fed_back(x: float) -> Result:
        return Result(0.0 if 2.0 < x < 5.0 else 1.0, x)

    found = bisect(fed_back, 0.0, 8.0, violations=0.01, steps=8)
    assert best_of([Try({"x": x}, result) for x, result in found], 0.01).parameters["x"] == 3.0
    assert len(found) == 8
