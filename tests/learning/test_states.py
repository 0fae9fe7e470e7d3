"""Models as text: what comes back goes on as if nothing had been, and nothing else comes back."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import tree

from rarera_sim.core.errors import BadInput
from rarera_sim.learning.calibration import Budget, Rehearsal
from rarera_sim.learning.failures import GammaRate, Reliability
from rarera_sim.learning.intervals import AdaptiveConformal, QuantileTracker
from rarera_sim.learning.peaks import Forecast, PeakForecaster
from rarera_sim.learning.rates import FanForecaster, LastValue, LinearQuantile, RateForecaster, SeasonalNaive
from rarera_sim.learning.series import HoltWinters
from rarera_sim.learning.services import ServiceEstimate, ServiceProfile, StartUp
from rarera_sim.learning.states import KINDS, from_state, load, save, to_state

CLOCK = {"period": 5.0, "horizon": 20.0, "day": 240.0}


def learn_rates(forecaster: Any, steps: range) -> None:
    for step in steps:
        forecaster.learn(50.0 + 20.0 * math.sin(step * step), 5.0 * step)


def learn_values(model: Any, steps: range) -> None:
    for step in steps:
        model.learn_one(1.5 + math.sin(step * step))


def learn_pairs(model: Any, steps: range) -> None:
    for step in steps:
        model.learn_one({"one": 1.0, f"slot {step % 3}": 1.0}, math.sin(step * step))


def learn_services(model: Any, steps: range) -> None:
    for step in steps:
        model.learn_one(1.5 + math.sin(step), type=f"t{step % 2}", size=step % 9, hardware=f"h{step % 3}")


def learn_failures(model: Any, steps: range) -> None:
    for step in steps:
        model.learn_period(running=100.0, failures=step % 2)
        model.learn_repair(10.0 + step % 3)


def learn_counts(model: Any, steps: range) -> None:
    for step in steps:
        model.learn_one(1, 10.0 + step)


def learn_peaks(forecaster: Any, steps: range) -> None:
    for step in steps:
        forecaster.learn(50.0 + 20.0 * math.sin(step * step), 15.0 * step)


def rehearse(model: Any, steps: range) -> None:
    for step in steps:
        model.hear(15.0 + 5.0 * math.sin(step * step))
        model.compare(step % 3, 8.0)
        model.ask(Forecast(np.array([15.0, 20.0]), np.array([0.6, 0.4])))


def forecast_of(model: Any) -> Any:
    return model.forecast().quantile(0.9) if model.weights.std() > 0.0 else None


def book(model: Any, steps: range) -> None:
    for step in steps:
        model.book(100, step % 3, 5000.0)


def forecaster(model: Any, margin: Any = None) -> RateForecaster:
    return RateForecaster(model, **CLOCK, margin=margin)


CASES: list[tuple[Callable[[], Any], Callable[[Any, range], None], Callable[[Any], Any]]] = [
    (LastValue, learn_pairs, lambda m: m.predict_one({})),
    (SeasonalNaive, learn_pairs, lambda m: m.predict_one({"season": 1.0})),
    (lambda: LinearQuantile(0.8, 0.3, 0.2), learn_pairs, lambda m: m.predict_one({"one": 1.0, "slot 1": 1.0})),
    (lambda: HoltWinters(season=7, gamma=0.3), learn_values, lambda m: m.forecast(9)),
    (lambda: QuantileTracker(0.8, 0.1), learn_values, lambda m: m.margin),
    (lambda: AdaptiveConformal(0.8, 0.1, 30), learn_values, lambda m: (m.margin, m.alpha)),
    (lambda: forecaster(LinearQuantile(0.8), QuantileTracker(0.8)), learn_rates, lambda m: m.forecast()),
    (lambda: forecaster(HoltWinters(season=48)), learn_rates, lambda m: m.forecast()),
    (lambda: FanForecaster((0.5, 0.9), **CLOCK), learn_rates, lambda m: m.forecasts()),
    (lambda: ServiceEstimate(half_life=50.0), learn_values, lambda m: (m.mean, m.scv, m.rate_low())),
    (lambda: ServiceProfile(half_life=50.0), learn_services, lambda m: m.predict("t1", size=3.0, hardware="h2")),
    (lambda: StartUp(30.0, window=20), learn_values, lambda m: (m.mean, m.quantile(0.9))),
    (lambda: PeakForecaster(slack=1.0), learn_peaks, forecast_of),
    (lambda: Rehearsal(period=15.0, start_up=30.0, slack=1.0, late_last=True), rehearse, lambda m: m.price(0.01)),
    (lambda: Budget(0.01, gain=0.5), book, lambda m: (m.factor, m.late_share)),
    (lambda: GammaRate(0.5, 10.0), learn_counts, lambda m: m.mean),
    (lambda: Reliability(1000.0, 20.0, 2.0), learn_failures, lambda m: (m.availability, m.availability_low())),
]
cases = pytest.mark.parametrize(("make", "learn", "ask"), CASES)


def test_every_kind_is_tried() -> None:
    assert {type(make()).__name__ for make, _, _ in CASES} == set(KINDS)


@cases
def test_what_was_saved_goes_on_as_if_nothing_had_been(make: Any, learn: Any, ask: Any) -> None:
    model = make()
    learn(model, range(1, 150))
    again = load(save(model))
    assert ask(again) == pytest.approx(ask(model), rel=1e-12)
    assert save(again) == save(model)
    # Forecasts still open are not saved: those made before are never judged, so let that pass.
    learn(model, range(150, 300))
    learn(again, range(150, 300))
    exactly = not isinstance(model, (RateForecaster, FanForecaster))
    assert ask(again) == pytest.approx(ask(model), rel=1e-12 if exactly else 0.2)


@cases
def test_a_new_model_can_be_saved(make: Any, learn: Any, ask: Any) -> None:
    model = make()
    again = load(save(model))
    assert ask(again) == ask(model)
    learn(again, range(1, 50))


@cases
def test_no_damage_to_a_text_is_anything_but_bad_input(make: Any, learn: Any, ask: Any) -> None:  # noqa: ARG001
    model = make()
    learn(model, range(1, 60))
    text = save(model)
    chance = random.Random(text)
    for _ in range(200):
        damaged = list(text)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.choice('{}[]",:0123456789eE.-x ')
        try:
            again = load("".join(damaged))
        except BadInput:
            continue
        assert type(again).__name__ in KINDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "has the format"),
        ("null", "has the format"),
        ('{"format": "pickle"}', "has the format"),
        ('{"format": "rarera-model", "version": 2}', "version of a model must be 1, got 2"),
        ('{"format": "rarera-model", "version": 1, "kind": "os.system"}', "unknown kind of model 'os.system'"),
        ('{"format": "rarera-model", "version": 1, "kind": ["LastValue"]}', "unknown kind"),
        ('{"format": "rarera-model", "version": 1, "kind": "LastValue"}', "cannot be read"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        load(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    tracker = QuantileTracker()
    tracker.margin = 1234.5
    with pytest.raises(BadInput):
        load(save(tracker).replace("1234.5", number))


def test_an_unknown_setting_is_refused() -> None:
    state = to_state(QuantileTracker())
    with pytest.raises(BadInput, match="QuantileTracker has no 'colour'"):
        from_state({**state, "settings": {**state["settings"], "colour": 3}})


def test_what_cannot_be_saved_says_so() -> None:
    with pytest.raises(BadInput, match="HoeffdingAdaptiveTreeRegressor cannot be saved; what can: "):
        save(forecaster(tree.HoeffdingAdaptiveTreeRegressor(seed=1)))


def test_the_format_is_this() -> None:
    """A golden text: models saved by this version can be read for as long as the version is 1."""
    tracker = QuantileTracker(coverage=0.9, step=0.5)
    tracker.learn_one(1.0)
    text = (
        '{"format": "rarera-model", "kind": "QuantileTracker", "parts": {}, '
        '"settings": {"coverage": 0.9, "step": 0.5}, "state": {"margin": 0.45}, "version": 1}'
    )
    assert save(tracker) == text
    assert json.loads(text)["version"] == 1
    assert load(text).margin == 0.45
