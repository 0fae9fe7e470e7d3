"""One tuner for all policies, with the same budget for each: scattered tries first, then a closer look around the best.

A policy is as good as whoever has set it: a comparison says something only if every side was tuned, on the same past,
with the same effort. Coarse grids make an autoscaler look twice as expensive as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from rarera_sim.policies.tuning import Range

_WIDTH_FIRST, _WIDTH_LAST = 0.3, 0.04


class Result(Protocol):
    """What a try is judged by."""

    @property
    def violations(self) -> float:
        """Share of late events."""
        ...

    @property
    def replica_time(self) -> float:
        """What it costs."""
        ...


class Try(NamedTuple):
    """A setting and what came of it."""

    parameters: dict[str, Any]
    result: Result

    def keeps(self, violations: float) -> bool:
        """Whether no more are late than allowed."""
        return self.result.violations <= violations


Evaluate = Callable[[dict[str, Any]], Result]


def best_of(tries: Sequence[Try], violations: float) -> Try:
    """The cheapest of those that keep the objective; where none does, the one that comes nearest.

    Examples
    --------
    >>> from collections import namedtuple
    >>> result = namedtuple("result", "violations replica_time")
    >>> tries = [Try({"x": 1}, result(0.02, 1.0)), Try({"x": 2}, result(0.01, 3.0)), Try({"x": 3}, result(0.0, 4.0))]
    >>> best_of(tries, 0.01).parameters, best_of(tries[:1], 0.01).parameters
    ({'x': 2}, {'x': 1})
    """

    def rank(each: Try) -> tuple[bool, float]:
        keeps = each.keeps(violations)
        return not keeps, each.result.replica_time if keeps else each.result.violations

    return min(tries, key=rank)


def tune(
    evaluate: Evaluate,
    ranges: Mapping[str, Range],
    *,
    budget: int,
    violations: float,
    generator: np.random.Generator,
    first: Sequence[Mapping[str, Any]] = ({},),
) -> list[Try]:
    """Look for the cheapest parameters that keep the objective, in `budget` evaluations; all tries, in order.

    Half of them are points of a scrambled Sobol sequence over all ranges; the other half lie around the best so far,
    closer and closer.

    Parameters
    ----------
    first
        Settings tried before all others, such as the defaults.

    Examples
    --------
    >>> from collections import namedtuple
    >>> result = namedtuple("result", "violations replica_time")
    >>> def made_up(p):  # the cheapest that keeps 1 % is x = 0.5
    ...     return result(0.01 * 0.5 / p["x"] if p else 1.0, 1.0 + p.get("x", 0.0))
    >>> tries = tune(
    ...     made_up, {"x": Range(0.1, 4.0)}, budget=30, violations=0.01, generator=np.random.default_rng(1)
    ... )
    >>> len(tries), round(best_of(tries, 0.01).parameters["x"], 1)
    (30, 0.5)

    References
    ----------
    Bergstra, Bengio (2012), Random Search for Hyper-Parameter Optimization, JMLR 13, 281-305, for why not a grid.
    """
    tries: list[Try] = []
    places: list[NDArray[np.float64] | None] = []

    def attempt(parameters: dict[str, Any], place: NDArray[np.float64] | None) -> None:
        tries.append(Try(parameters, evaluate(parameters)))
        places.append(place)

    for known in list(first)[:budget]:
        attempt(dict(known), None)
    if not ranges:
        return tries
    names = list(ranges)
    scattered = max(1, (budget - len(tries) + 1) // 2)
    # A power of two, as the sequence wants it.
    points = qmc.Sobol(len(names), scramble=True, rng=generator).random_base2(max(0, (scattered - 1).bit_length()))
    for point in points[: min(scattered, budget - len(tries))]:
        attempt(_at(names, ranges, point), point)
    left = budget - len(tries)
    for step in range(left):
        best = best_of(tries, violations)
        centre = places[next(number for number, each in enumerate(tries) if each is best)]
        if centre is None:
            centre = generator.random(len(names))
        width = _WIDTH_FIRST * (_WIDTH_LAST / _WIDTH_FIRST) ** (step / max(1, left - 1))
        # Some of the parameters only, so that one that matters is not spoilt by one that does not.
        moved = generator.random(len(names)) < max(0.5, 1.0 / len(names))
        moved[generator.integers(len(names))] = True
        place = np.clip(centre + moved * generator.normal(0.0, width, len(names)), 0.0, 1.0)
        attempt(_at(names, ranges, place), place)
    return tries


def _at(names: Sequence[str], ranges: Mapping[str, Range], place: NDArray[np.float64]) -> dict[str, Any]:
    return {name: ranges[name].at(float(share)) for name, share in zip(names, place, strict=True)}


def bisect(
    evaluate: Callable[[float], Result], low: float, high: float, *, violations: float, steps: int
) -> list[tuple[float, Result]]:
    """The least of something that keeps the objective: halve [low, high], where more means fewer late events.

    All that was tried, in order; the first is `high`. A policy that feeds back may do worse with more: if `high` does
    not keep the objective, [low, high] is looked through in even steps instead.
    """
    found = [(high, evaluate(high))]
    if found[0][1].violations > violations:
        places = [low + (high - low) * step / steps for step in range(steps - 1, 0, -1)]
        return found + [(place, evaluate(place)) for place in places]
    for _ in range(steps):
        middle = (low + high) / 2.0
        result = evaluate(middle)
        found.append((middle, result))
        if result.violations <= violations:
            high = middle
        else:
            low = middle
    return found
