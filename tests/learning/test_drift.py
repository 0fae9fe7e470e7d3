"""Forgetting: when the world changes for the worse, and then only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from river import drift, tree

from rarera_sim.learning.drift import Forgetful
from rarera_sim.learning.rates import LinearQuantile

ADWIN: Any = drift.ADWIN
DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": ADWIN,
    "Page-Hinkley": lambda: drift.PageHinkley(threshold=20),
}
both = pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)


def world(sample: int, shift: float) -> float:
    return 0.5 * math.sin(sample * sample) + shift


def losses(model: Any, shifts: list[float]) -> list[float]:
    errors = []
    for sample, shift in enumerate(shifts):
        y = world(sample, shift)
        errors.append(abs(y - model.predict_one({"one": 1.0})))
        model.learn_one({"one": 1.0}, y)
    return errors


@both
def test_after_a_shift_it_finds_back_sooner(detector: Callable[[], Any]) -> None:
    shifts = [0.0] * 3000 + [4.0] * 1000
    plain = losses(LinearQuantile(0.5), shifts)
    model = Forgetful(lambda: LinearQuantile(0.5), detector())
    forgetful = losses(model, shifts)
    assert model.drifts >= 1
    assert sum(forgetful[3000:]) < 0.8 * sum(plain[3000:])
    assert sum(forgetful[:3000]) <= 1.05 * sum(plain[:3000])


@both
def test_nothing_is_forgotten_while_nothing_changes(detector: Callable[[], Any]) -> None:
    model = Forgetful(lambda: LinearQuantile(0.5), detector())
    losses(model, [0.0] * 5000)
    assert model.drifts == 0


def test_errors_that_become_smaller_are_no_reason_to_forget() -> None:
    model = Forgetful(lambda: LinearQuantile(0.5), ADWIN())
    for sample in range(4000):
        model.learn_one({"one": 1.0}, math.sin(sample * sample) * (5.0 if sample < 2000 else 0.1))
    assert model.drifts == 0


def test_a_model_that_cannot_forget_is_replaced() -> None:
    model = Forgetful(lambda: tree.HoeffdingTreeRegressor(), ADWIN())
    first = model.model
    losses(model, [0.0] * 2000 + [4.0] * 500)
    assert model.model is not first


def test_no_sample_spoils_it() -> None:
    model = Forgetful(lambda: LinearQuantile(0.5), ADWIN())
    for y in (math.nan, math.inf, 1.0):
        model.learn_one({"one": 1.0}, y)
    assert math.isfinite(model.predict_one({"one": 1.0}))
