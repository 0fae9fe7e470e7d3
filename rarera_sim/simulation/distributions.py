"""Distributions of times and sizes, by their mean and squared coefficient of variation.

One value says all: it reads from TOML, it knows which mean and scv its draws really have, and it draws arrays.

>>> Distribution(distribution="deterministic", mean=2.0).draw(np.random.default_rng(1), 3)
array([2., 2., 2.])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, isfinite, lgamma, log, sqrt
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarera_sim.simulation.quantities import NonNegative, Positive, Settings

Kind = Literal[
    "exponential",
    "deterministic",
    "lognormal",
    "erlang",
    "hyperexponential",
    "gamma",
    "weibull",
    "uniform",
    "pareto",
    "coxian",
    "empirical",
]
Draws = NDArray[np.float64]

_PARETO_TAIL = 1.5  # mice and elephants: a mean, and a variance only because the largest is bounded
_PARETO_SPAN_MAX = 1e12


class Distribution(Settings, frozen=True, kw_only=True):
    """A distribution of numbers >= 0 by its mean and squared coefficient of variation (scv).

    Parameters
    ----------
    distribution
        | | scv | |
        | --- | --- | --- |
        | `deterministic` | 0 | whatever `scv` says |
        | `exponential` | 1 | whatever `scv` says |
        | `uniform` | (0, 1/3] | around the mean |
        | `erlang` | (0, 1] | 1 / scv is rounded to a whole number of phases |
        | `gamma`, `lognormal` | > 0 | |
        | `weibull` | > 0 | shape found so that scv comes out |
        | `coxian` | >= 1/2 | two phases (Marie) |
        | `hyperexponential` | >= 1 | two phases with balanced means |
        | `pareto` | > 0 | bounded on both sides, so that mean and scv come out for the given `tail` |
        | `empirical` | theirs | each of `values` as likely as the others |
    mean
        In the unit of what is drawn: seconds for a time.
    scv
        Variance over squared mean.
    tail
        Of `pareto`: P(X > x) falls like x to the power of -tail between the bounds.
    values
        Of `empirical`.

    Examples
    --------
    >>> size = Distribution(distribution="weibull", mean=300.0, scv=4.0)
    >>> draws = size.draw(np.random.default_rng(1), 100_000)
    >>> int(draws.mean()), round(float(draws.var() / draws.mean() ** 2), 1)
    (296, 4.0)
    >>> Distribution.of([1.0, 2.0, 6.0]).mean
    3.0

    References
    ----------
    Whitt (1982), Approximating a Point Process by a Renewal Process, Operations Research 30(1), section 3 (H2).
    Marie (1980), Calculating equilibrium probabilities for lambda(n)/Ck/1/N queues, SIGMETRICS 9(2) (Coxian).
    """

    distribution: Kind = "lognormal"
    mean: Positive = 1.0
    scv: NonNegative = 0.5
    tail: Positive | None = None
    values: tuple[NonNegative, ...] | None = None

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """The empirical distribution of a sample, which must be finite, >= 0 and not all 0."""
        sample = np.asarray(values, dtype=np.float64).ravel()
        refused = problem_of_sample(sample)
        if refused:
            raise ValueError(refused)
        mean = float(sample.mean())
        return cls(
            distribution="empirical", mean=mean, scv=float(sample.var()) / mean**2, values=tuple(sample.tolist())
        )

    def problem(self) -> str | None:
        """Why no such distribution exists, beginning with the field; None if it does."""
        scv, kind = self.scv, self.distribution
        if not (isfinite(self.mean) and self.mean > 0):
            return f"mean must be finite and > 0, got {self.mean!r}"
        if not isfinite(scv):
            return f"scv must be finite, got {scv!r}"
        if kind in ("lognormal", "gamma", "weibull", "pareto") and not scv > 0:
            return f"scv must be > 0 for {kind}, got {scv!r}; write distribution = 'deterministic'"
        if kind == "erlang" and not 0 < scv <= 1:
            return f"scv must be in (0, 1] for erlang, got {scv!r}"
        if kind == "hyperexponential" and not scv >= 1:
            return f"scv must be >= 1 for hyperexponential, got {scv!r}"
        if kind == "coxian" and not scv >= 0.5:
            return f"scv must be >= 0.5 for coxian, got {scv!r}"
        if kind == "uniform" and not 0 < scv <= 1 / 3 + 1e-12:
            return f"scv must be in (0, 1/3] for uniform, got {scv!r}"
        if kind == "weibull" and not 1e-4 <= scv <= 1e4:
            return f"scv must be in [0.0001, 10000] for weibull, got {scv!r}"
        if self.tail is not None and kind != "pareto":
            return f"tail is for pareto alone, got {self.tail!r} with {kind}"
        if kind == "pareto" and _pareto_span(self.tail or _PARETO_TAIL, scv) is None:
            return f"scv must be reachable for pareto with tail {self.tail or _PARETO_TAIL!r}, got {scv!r}"
        if self.values is not None and kind != "empirical":
            return f"values are for empirical alone, got {len(self.values)} with {kind}"
        if kind == "empirical" and self.values is not None:
            return problem_of_sample(np.array(self.values))
        return None

    @property
    def effective_scv(self) -> float:
        """The squared coefficient of variation that the draws really have."""
        match self.distribution:
            case "exponential":
                return 1.0
            case "deterministic":
                return 0.0
            case "erlang":
                return 1.0 / max(1, round(1.0 / self.scv))
            case "empirical" if self.values:
                sample = np.array(self.values)
                return float(sample.var() / sample.mean() ** 2)
        return self.scv

    @property
    def effective_mean(self) -> float:
        """The mean that the draws really have."""
        if self.distribution == "empirical" and self.values:
            return float(np.mean(self.values))
        return self.mean

    def draw(self, generator: np.random.Generator, count: int) -> Draws:
        """Numbers of this distribution, shape (count,)."""
        problem = self.problem()
        if problem:
            raise ValueError(problem)
        mean, scv = self.mean, self.scv
        match self.distribution:
            case "exponential":
                return generator.exponential(mean, count)
            case "deterministic":
                return np.full(count, mean)
            case "erlang":
                shape = max(1, round(1.0 / scv))
                return generator.gamma(shape, mean / shape, count)
            case "hyperexponential":
                first = 0.5 * (1.0 + np.sqrt((scv - 1.0) / (scv + 1.0)))
                share = np.where(generator.random(count) < first, first, 1.0 - first)
                phases: Draws = generator.exponential(1.0, count) * mean / (2.0 * share)
                return phases
            case "lognormal":
                variance = np.log1p(scv)
                normal = generator.standard_normal(count)
                times: Draws = mean * np.exp(np.sqrt(variance) * normal - variance / 2.0)
                return times
            case "gamma":
                return generator.gamma(1.0 / scv, mean * scv, count)
            case "weibull":
                k = _weibull_shape(scv)
                return np.asarray(mean / exp(lgamma(1.0 + 1.0 / k)) * generator.weibull(k, count))
            case "uniform":
                half = mean * min(sqrt(3.0 * scv), 1.0)
                return generator.uniform(mean - half, mean + half, count)
            case "coxian":
                first_phase, second_phase = generator.standard_exponential((2, count))
                goes_on = generator.random(count) < 0.5 / scv
                return np.asarray(mean * (0.5 * first_phase + goes_on * scv * second_phase))
            case "pareto":
                return self._pareto(generator, count)
            case "empirical":
                if self.values is None:
                    raise ValueError("values must be given for empirical, got none")
                return np.asarray(self.values, dtype=np.float64)[generator.integers(len(self.values), size=count)]

    def _pareto(self, generator: np.random.Generator, count: int) -> Draws:
        tail = self.tail or _PARETO_TAIL
        span = _pareto_span(tail, self.scv)
        assert span is not None, "refused by `problem`"
        low = self.mean / _pareto_moment(tail, span, 1)
        # The distribution function, turned around; low * span is the highest.
        uniform = generator.random(count)
        return np.asarray(low * (1.0 - uniform * (1.0 - span**-tail)) ** (-1.0 / tail))


def problem_of_sample(sample: Draws) -> str | None:
    """Why numbers cannot be drawn from: the first that is no number >= 0, or that there are none."""
    if not len(sample):
        return "values must hold one number at least, got none"
    wrong = np.flatnonzero(~(np.isfinite(sample) & (sample >= 0)))
    if len(wrong):
        return f"values must be finite and >= 0, got {float(sample[wrong[0]])!r} at place {int(wrong[0]) + 1}"
    if not sample.any():
        return "values must not all be 0"
    return None


# A bounded Pareto between 1 and `span`, and the span or shape at which a given scv comes out


def _pareto_moment(tail: float, span: float, power: int) -> float:
    share: float = 1.0 - span**-tail
    if abs(tail - power) < 1e-9:
        return tail * log(span) / share
    rest: float = 1.0 - span ** (power - tail)
    return tail / (tail - power) * rest / share


@lru_cache(maxsize=64)
def _pareto_span(tail: float, scv: float) -> float | None:
    """Highest over lowest; None where even an endless tail has not so much variance."""

    def excess(log_span: float) -> float:
        span = exp(log_span)
        return _pareto_moment(tail, span, 2) / _pareto_moment(tail, span, 1) ** 2 - 1.0 - scv

    if excess(log(_PARETO_SPAN_MAX)) < 0:
        return None
    return exp(_root(excess, 1e-4, log(_PARETO_SPAN_MAX)))


@lru_cache(maxsize=64)
def _weibull_shape(scv: float) -> float:
    return exp(-_root(lambda x: lgamma(1 + 2 * exp(x)) - 2 * lgamma(1 + exp(x)) - log(1.0 + scv), log(5e-3), log(50.0)))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, by halving."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return 0.5 * (low + high)
