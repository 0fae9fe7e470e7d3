"""The knob that matters is found, in functions where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from rarera_sim.experiments.designs import Knob, points_of
from rarera_sim.experiments.sensitivity import correlation_ratio, main_effects, sobol_indices, tornado
from rarera_sim.policies.tuning import Range

THREE = [Knob(name, Range(-np.pi, np.pi)) for name in ("a", "b", "c")]


def ishigami(points: list[tuple[float, ...]]) -> np.ndarray:
    """sin a + 7 sin^2 b + 0.1 c^4 sin a: first-order .3139, .4424, 0; total .5576, .4424, .2437."""
    a, b, c = np.array(points).T
    return np.sin(a) + 7.0 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)


def test_sobol_indices_are_those_of_ishigami() -> None:
    points = points_of(THREE, "saltelli", samples=1024, seed=1)
    found = {row["knob"]: row for row in sobol_indices(ishigami(points), ["a", "b", "c"]).rows(named=True)}
    for name, first, total in (("a", 0.3139, 0.5576), ("b", 0.4424, 0.4424), ("c", 0.0, 0.2437)):
        assert found[name]["first"] == pytest.approx(first, abs=0.05)
        assert found[name]["total"] == pytest.approx(total, abs=0.05)
        assert found[name]["first_low"] <= first <= found[name]["first_high"]
    assert sobol_indices(ishigami(points), ["a", "b", "c"]).equals(sobol_indices(ishigami(points), ["a", "b", "c"]))


def test_the_correlation_ratio_is_nearly_the_first_order_index() -> None:
    points = points_of(THREE, "sobol", samples=1024, seed=1)
    shares = [correlation_ratio([point[place] for point in points], ishigami(points)) for place in range(3)]
    assert shares == pytest.approx([0.3139, 0.4424, 0.0], abs=0.07)


def test_a_knob_that_does_nothing_explains_nothing() -> None:
    generator = np.random.default_rng(1)
    shares = [correlation_ratio(generator.random(64).tolist(), generator.normal(size=64)) for _ in range(200)]
    assert np.mean(shares) < 0.06
    assert correlation_ratio([1, 1, 2, 2], [5.0] * 4) == 0.0


def test_effects_are_means_over_the_others() -> None:
    knobs = {"x": [1.0, 1.0, 2.0, 2.0], "kind": ["a", "b", "a", "b"]}
    effects = main_effects(knobs, [1.0, 2.0, 5.0, 6.0])
    assert effects.filter(knob="x")["effect"].to_list() == [-2.0, 2.0]
    assert effects.filter(knob="kind")["effect"].to_list() == [-0.5, 0.5]
    assert tornado(knobs, [1.0, 2.0, 5.0, 6.0])["knob"].to_list() == ["x", "kind"]


def test_many_values_are_cut_into_equal_parts() -> None:
    values = np.linspace(0.0, 1.0, 80).tolist()
    effects = main_effects({"x": values}, values)
    assert effects["points"].to_list() == [10] * 8
    assert effects["mean"].is_sorted()
