"""Distributions have the mean and scv that they say; services follow type, size, machine and sample."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest

from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.services import ServiceTime, TypeServiceTime

MANY = 400_000


@pytest.mark.parametrize(
    ("kind", "scv"),
    [
        ("deterministic", 0.0),
        ("exponential", 1.0),
        ("lognormal", 0.5),
        ("lognormal", 3.0),
        ("erlang", 0.25),
        ("hyperexponential", 4.0),
        ("gamma", 0.3),
        ("gamma", 3.0),
        ("weibull", 0.1),
        ("weibull", 1.0),
        ("weibull", 3.0),
        ("uniform", 0.2),
        ("uniform", 1 / 3),
        ("pareto", 0.5),
        ("pareto", 3.0),
        ("coxian", 0.5),
        ("coxian", 3.0),
    ],
)
def test_draws_have_the_mean_and_the_scv_that_are_stated(kind: Any, scv: float) -> None:
    distribution = Distribution(distribution=kind, mean=3.0, scv=scv)
    draws = distribution.draw(np.random.default_rng(1), MANY)
    assert draws.shape == (MANY,)
    assert np.isfinite(draws).all()
    assert (draws >= 0).all()
    assert draws.mean() == pytest.approx(3.0, rel=5 * np.sqrt(max(scv, 1e-12) / MANY) + 1e-12)
    assert draws.var() / draws.mean() ** 2 == pytest.approx(scv, rel=0.08, abs=1e-12)
    assert distribution.effective_scv == pytest.approx(scv)


def test_shapes_are_those_of_their_names() -> None:
    rng = np.random.default_rng(1)
    uniform = Distribution(distribution="uniform", mean=3.0, scv=1 / 12).draw(rng, MANY)
    assert (uniform.min(), uniform.max()) == (pytest.approx(1.5, abs=1e-3), pytest.approx(4.5, abs=1e-3))
    # A Weibull of scv 1 is exponential; so are a Coxian and a gamma.
    for kind in ("weibull", "coxian", "gamma"):
        draws = Distribution(distribution=kind, mean=2.0, scv=1.0).draw(rng, MANY)  # type: ignore[arg-type]
        assert np.quantile(draws, [0.5, 0.9, 0.99]) == pytest.approx(-2.0 * np.log([0.5, 0.1, 0.01]), rel=0.02)
    # A bounded Pareto: on log-log paper the survival is a line of slope -tail, well inside of the bounds.
    pareto = Distribution(distribution="pareto", mean=1.0, scv=20.0, tail=1.2).draw(rng, MANY)
    low = pareto.min()
    slope = np.diff(np.log([(pareto > 10 * low).mean(), (pareto > 100 * low).mean()]))[0] / np.log(10.0)
    assert slope == pytest.approx(-1.2, rel=0.1)


def test_an_empirical_distribution_draws_what_it_was_given() -> None:
    distribution = Distribution.of([1.0, 2.0, 2.0, 5.0])
    draws = distribution.draw(np.random.default_rng(1), MANY)
    values, counts = np.unique(draws, return_counts=True)
    assert values.tolist() == [1.0, 2.0, 5.0]
    assert counts / MANY == pytest.approx([0.25, 0.5, 0.25], abs=0.005)
    assert (distribution.mean, distribution.effective_scv) == (2.5, pytest.approx(draws.var() / 6.25, rel=0.02))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([], "values must hold one number at least"),
        ([1.0, float("nan")], "finite and >= 0, got nan at place 2"),
        ([float("inf")], "got inf at place 1"),
        ([1.0, 2.0, -1.0], "got -1.0 at place 3"),
        ([0.0, 0.0], "must not all be 0"),
    ],
)
def test_a_sample_that_nobody_can_draw_from_is_refused(sample: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distribution.of(sample)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "erlang", "scv": 2.0}, r"scv must be in \(0, 1\] for erlang, got 2.0"),
        ({"distribution": "hyperexponential", "scv": 0.5}, "scv must be >= 1 for hyperexponential"),
        ({"distribution": "coxian", "scv": 0.4}, "scv must be >= 0.5 for coxian"),
        ({"distribution": "uniform", "scv": 0.5}, r"scv must be in \(0, 1/3\] for uniform"),
        ({"distribution": "gamma", "scv": 0.0}, "scv must be > 0 for gamma"),
        ({"distribution": "pareto", "tail": 2.5, "scv": 50.0}, "reachable for pareto with tail 2.5, got 50.0"),
        ({"distribution": "weibull", "scv": 1e5}, "for weibull"),
        ({"mean": float("nan")}, "mean must be finite and > 0, got nan"),
        ({"scv": float("inf")}, "scv must be finite, got inf"),
        ({"tail": 2.0}, "tail is for pareto alone"),
        ({"values": (1.0,)}, "values are for empirical alone"),
        ({"distribution": "empirical"}, "needs either values or file and column"),
        ({"distribution": "empirical", "file": "a.csv"}, "file and column go together"),
        ({"file": "a.csv", "column": "x"}, "file is for distribution = 'empirical'"),
        ({"per_unit": 1.0}, "per_unit and fixed need a size_field"),
        ({"size_field": "n", "types": {"a": TypeServiceTime()}}, "do not go together"),
        ({"types": {"a": TypeServiceTime(distribution="erlang", scv=3.0)}}, "types.a.scv must be in"),
    ],
)
def test_what_cannot_be_is_said_and_never_drawn(settings: dict[str, Any], message: str) -> None:
    service = ServiceTime(**settings)
    assert re.search(message, service.problem() or "")


def test_a_plain_service_is_drawn_as_its_distribution() -> None:
    service = ServiceTime(distribution="lognormal", mean=2.0, scv=0.5)
    plain = service.draw(Streams(1).generator("service"), 100)
    np.testing.assert_array_equal(service.draw_for(Streams(1), 100), plain)


def test_types_have_their_own_times_and_move_no_others() -> None:
    types = np.array(["ask", "tell", "ask", "shout", "act", "ask", "tell", "shout"] * 12_500)
    one = ServiceTime(types={"ask": TypeServiceTime(distribution="exponential", mean=5.0)})
    two = ServiceTime(types={**(one.types or {}), "tell": TypeServiceTime(distribution="deterministic", mean=0.5)})
    first = one.draw_for(Streams(1), len(types), types=types)
    second = two.draw_for(Streams(1), len(types), types=types)
    np.testing.assert_array_equal(first[types != "tell"], second[types != "tell"])
    third = ServiceTime(types={**(one.types or {}), "act": TypeServiceTime(distribution="exponential")})
    others = third.draw_for(Streams(1), len(types), types=types)
    np.testing.assert_array_equal(first[types != "act"], others[types != "act"])
    assert (second[types == "tell"] == 0.5).all()
    assert first[types == "ask"].mean() == pytest.approx(5.0, rel=0.03)
    mean, scv = two.mixed({"ask": 0.375, "tell": 0.25, "shout": 0.25, "act": 0.125})
    assert second.mean() == pytest.approx(mean, rel=0.03)
    assert second.var() / second.mean() ** 2 == pytest.approx(scv, rel=0.05)


def test_a_size_makes_a_time_and_the_mean_comes_out() -> None:
    sizes = np.arange(1.0, 100_001.0)
    stated = ServiceTime(distribution="deterministic", size_field="tokens", per_unit=0.5, fixed=2.0)
    np.testing.assert_allclose(stated.draw_for(Streams(1), len(sizes), sizes=sizes), 2.0 + 0.5 * sizes)
    fitted = ServiceTime(distribution="gamma", scv=0.2, mean=7.0, size_field="tokens", fixed=1.0)
    times = fitted.draw_for(Streams(1), len(sizes), sizes=sizes)
    assert times.mean() == pytest.approx(7.0, rel=0.02)
    assert (times / fitted.expected(sizes)).var() == pytest.approx(0.2, rel=0.03)
    with pytest.raises(ValueError, match=r"mean 7.0 s cannot come out of fixed 9.0 s"):
        msgspec.structs.replace(fitted, fixed=9.0).expected(sizes)


def test_hardware_is_faster_for_some_types_than_for_others() -> None:
    service = ServiceTime(
        hardware={"small": 2.0}, types={"infer": TypeServiceTime(hardware={"gpu": 0.1, "small": 4.0})}
    )
    types, times = np.array(["infer", "other"]), np.array([10.0, 10.0])
    assert service.on("gpu", times, types).tolist() == [1.0, 10.0]
    assert service.on("small", times, types).tolist() == [40.0, 20.0]
    assert service.on("any", times, types) is times


def test_a_sample_from_elsewhere_is_drawn_from() -> None:
    service = ServiceTime(distribution="empirical", file="x.csv", column="seconds")
    times = service.draw_for(Streams(1), 1_000, sample=np.array([1.0, 4.0]))
    assert set(times.tolist()) == {1.0, 4.0}
