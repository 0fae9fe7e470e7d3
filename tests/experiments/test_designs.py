"""Designs cover what they say they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.designs import Knob, knob, points_of
from rarera_sim.policies.tuning import Range

TWO = [Knob("x", Range(0.0, 1.0)), Knob("y", Range(10.0, 20.0))]


def test_a_factorial_design_has_every_combination_once() -> None:
    points = points_of([Knob("x", (1, 2, 3)), Knob("y", ("a", "b"))], "factorial")
    assert len(points) == len(set(points)) == 6


@pytest.mark.parametrize("design", ["latin-hypercube", "sobol"])
def test_drawn_designs_have_one_point_in_each_slice_of_every_knob(design: Any) -> None:
    points = np.array(points_of(TWO, design, samples=16, seed=3))
    for column, (low, high) in zip(points.T, ((0.0, 1.0), (10.0, 20.0)), strict=True):
        assert sorted(((column - low) / (high - low) * 16).astype(int)) == list(range(16))


def test_sobol_estimates_a_mean_far_better_than_chance() -> None:
    """REFERENCE: 12 to 40 times at 64 to 256 points."""
    exact = 0.25 * (10.0 + 20.0)  # of x * y
    errors = [np.mean([x * y for x, y in points_of(TWO, "sobol", samples=128, seed=n)]) - exact for n in range(20)]
    generator = np.random.default_rng(1)
    by_chance = [(generator.random(128) * generator.uniform(10.0, 20.0, 128)).mean() - exact for _ in range(20)]
    assert np.std(by_chance) > 10.0 * np.std(errors)


def test_the_same_seed_makes_the_same_points() -> None:
    assert points_of(TWO, "sobol", samples=8, seed=5) == points_of(TWO, "sobol", samples=8, seed=5)
    assert points_of(TWO, "sobol", samples=8, seed=5) != points_of(TWO, "sobol", samples=8, seed=6)


def test_a_saltelli_design_exchanges_one_knob_at_a_time() -> None:
    one, other, *mixed = np.array(points_of(TWO, "saltelli", samples=4)).reshape(4, 4, 2)
    for place, block in enumerate(mixed):
        assert (block[:, place] == other[:, place]).all()
        assert (block[:, 1 - place] == one[:, 1 - place]).all()


def test_two_numbers_are_values_of_a_factorial_design_and_ends_of_the_others() -> None:
    assert knob("x", [30, 60], "factorial").values == (30, 60)
    assert knob("x", [60, 30], "sobol").values == Range(30, 60, "int")
    assert knob("x", [30, 60], "sobol", whole=False).values == Range(30, 60, "linear")
    assert knob("x", [1, 2, 3], "sobol").values == (1, 2, 3)
    assert [knob("x", ["a", "b"], "sobol").at(share) for share in (0.0, 0.49, 0.5, 1.0)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("given", "design", "message"),
    [
        ([1], "factorial", "two values at least"),
        ("ab", "factorial", "a list of values"),
        (7, "factorial", "a list of values"),
        ([1, 2, 1], "factorial", "1 is there twice"),
        (Range(1.0, 2.0), "factorial", "needs single values"),
        (Range(2.0, 1.0), "sobol", "to a higher one"),
        (Range(0.0, 1.0, "log"), "sobol", "> 0 on the scale log"),
        (Range(float("nan"), 1.0), "sobol", "from a number"),
    ],
)
def test_what_is_no_list_of_values_is_refused(given: Any, design: Any, message: str) -> None:
    with pytest.raises(BadInput, match=f"x: .*{message}"):
        knob("x", given, design)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"design": "sobol", "samples": 12}, "a power of 2"),
        ({"design": "sobol"}, "samples must be a whole number"),
        ({"design": "latin-hypercube", "samples": 1}, "samples must be a whole number"),
        ({"design": "latin-hypercube", "samples": 10**6}, "100,000 points at most"),
        ({"design": "star"}, "design must be one of factorial"),
    ],
)
def test_impossible_designs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        points_of(TWO, **options)
    with pytest.raises(BadInput, match="one field at least"):
        points_of([], "factorial")
