"""One tuner for all policies, with the same budget for each: scattered tries first, then a closer look around the best.

A policy is as good as whoever has set it: a comparison says something only if every side was tuned, on the same past,
with the same effort. Coarse grids make an autoscaler look twice as expensive as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from rarera_sim.policies.tuning import Range

_WIDTH_FIRST, _WIDTH_LAST = 0.3, 0.04
_STRIDES = 16.0  # of which the first is one, on the way from the least head-room to the most


class Result(Protocol):
    """What a try is judged by."""

    @property
    def violations(self) -> float:
        """Share of late events."""
        ...

    @property
    def cost(self) -> float:
        """What was paid."""
        ...


class Try(NamedTuple):
    """A setting and what came of it."""

    parameters: dict[str, Any]
    result: Result

    def keeps(self, violations: float) -> bool:
        """Whether no more are late than allowed."""
        return self.result.violations <= violations


class Limits(NamedTuple):
    """Where a try is lost: whoever has more late events, or has paid more, is not the best whatever follows."""

    violations: float = math.inf
    cost: float = math.inf


class Lost(NamedTuple):
    """A try that was given up when it was lost: so many were late until then, of all; `cost` is infinite if that was it."""  # noqa: E501

    violations: float
    cost: float


class Near(NamedTuple):
    """When a policy is at equal violations, near enough for its cost to be compared.

    Parameters
    ----------
    share
        So much of the allowed late share is used, at least.
    cost
        Or one that has too many late events saves less than this share of the cost: what a policy decides moves in
        steps, and there may be nothing in between.
    """

    share: float = 0.9
    cost: float = 0.01

    def equal(self, results: Sequence[Result], violations: float) -> bool:
        """Whether the cheapest of these that keeps the objective is near."""
        kept = [result for result in results if result.violations <= violations]
        if not kept:
            return False
        best = min(kept, key=lambda result: result.cost)
        if best.violations >= self.share * violations:
            return True
        # Of one that was given up the cost is not known.
        others = [result.cost for result in results if result.violations > violations and not isinstance(result, Lost)]
        return any((1.0 - self.cost) * best.cost <= cost <= best.cost for cost in others)


NEAR = Near()

Evaluate = Callable[[dict[str, Any], Limits], Result]


def best_of(tries: Sequence[Try], violations: float) -> Try:
    """The cheapest of those that keep the objective; where none does, the one that comes nearest.

    Examples
    --------
    >>> tries = [Try({"x": 1}, Lost(0.02, 1.0)), Try({"x": 2}, Lost(0.01, 3.0)), Try({"x": 3}, Lost(0.0, 4.0))]
    >>> best_of(tries, 0.01).parameters, best_of(tries[:1], 0.01).parameters
    ({'x': 2}, {'x': 1})
    """

    def rank(each: Try) -> tuple[bool, float]:
        keeps = each.keeps(violations)
        return not keeps, each.result.cost if keeps else each.result.violations

    return min(tries, key=rank)


def limits_of(tries: Sequence[Try], violations: float) -> Limits:
    """Beyond what a further try cannot become the best."""
    if not tries:
        return Limits()
    best = best_of(tries, violations).result
    if best.violations <= violations:
        return Limits(violations, best.cost)
    return Limits(best.violations)


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
    closer and closer. Each evaluation is told when it is lost: giving up then changes nothing but the time it takes.

    Parameters
    ----------
    first
        Settings tried before all others, such as the defaults.

    Examples
    --------
    >>> def made_up(p, limits):  # the cheapest that keeps 1 % is x = 0.5
    ...     return Lost(0.01 * 0.5 / p["x"] if p else 1.0, 1.0 + p.get("x", 0.0))
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
        tries.append(Try(parameters, evaluate(parameters, limits_of(tries, violations))))
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
            # A setting that was given; what it leaves open may be anything.
            given = best.parameters
            centre = np.array(
                [place_of(ranges[name], given[name]) if name in given else generator.random() for name in names]
            )
        width = _WIDTH_FIRST * (_WIDTH_LAST / _WIDTH_FIRST) ** (step / max(1, left - 1))
        # Some of the parameters only, so that one that matters is not spoilt by one that does not.
        moved = generator.random(len(names)) < max(0.5, 1.0 / len(names))
        moved[generator.integers(len(names))] = True
        place = np.clip(centre + moved * generator.normal(0.0, width, len(names)), 0.0, 1.0)
        attempt(_at(names, ranges, place), place)
    return tries


def place_of(within: Range, value: float) -> float:
    """How far a value is on the way from low to high, 0 to 1: what `Range.at` undoes.

    Examples
    --------
    >>> place_of(Range(1.0, 100.0, "log"), 10.0), place_of(Range(1, 4, "int"), 3)
    (0.5, 0.625)
    """
    value = min(within.high, max(within.low, value))
    if within.scale == "int":
        return (value - within.low + 0.5) / (within.high - within.low + 1)
    if within.scale == "log":
        return math.log(value / within.low) / math.log(within.high / within.low)
    return (value - within.low) / (within.high - within.low)


def _at(names: Sequence[str], ranges: Mapping[str, Range], place: NDArray[np.float64]) -> dict[str, Any]:
    return {name: ranges[name].at(float(share)) for name, share in zip(names, place, strict=True)}


def equalise(
    evaluate: Callable[[float], Result],
    start: float,
    low: float,
    high: float,
    *,
    violations: float,
    steps: int,
    near: Near = NEAR,
) -> list[tuple[float, Result]]:
    """The least head-room in [low, high] that keeps the objective, with nearly all that it allows: all that was tried.

    From `start` in growing strides until one place keeps the objective and one does not; then between the two, where
    the logarithm of the late share, which falls nearly evenly with head-room, says (regula falsi, Illinois). It ends
    when what was found is `near` equal, or after so many steps.

    Where more head-room does not help, as of a policy that feeds back, the tries say so: none may keep the objective.

    Examples
    --------
    >>> tried = equalise(lambda x: Lost(math.exp(-x), x), 1.0, 0.0, 20.0, violations=0.01, steps=12)
    >>> round(min(x for x, result in tried if result.violations <= 0.01), 1), len(tried) < 12
    (4.6, True)

    References
    ----------
    Dowell, Jarratt (1971), A modified regula falsi method for computing the root of an equation, BIT 11, 168-174.
    """
    tried: list[tuple[float, Result]] = []

    def excess(place: float) -> float:
        result = evaluate(place)
        tried.append((place, result))
        return math.log(max(result.violations, 1e-3 * violations) / violations)

    def done() -> bool:
        return near.equal([result for _, result in tried], violations) or len(tried) >= steps

    here, value = start, excess(start)
    stride = (high - low) / _STRIDES
    while not done():
        there = min(high, here + stride) if value > 0.0 else max(low, here - stride)
        if there == here:
            return tried
        before, value_before = here, value
        here, value = there, excess(there)
        if (value > 0.0) != (value_before > 0.0):
            break
        stride *= 2.0
    else:
        return tried
    # Between the two lies what is sought; each end keeps its side.
    ends = sorted([(before, value_before), (here, value)], key=lambda each: each[1] <= 0.0)
    weights, side_before = [1.0, 1.0], -1
    while not done():
        (worse, above), (better, below) = ends
        above, below = above * weights[0], below * weights[1]
        share = min(0.9, max(0.1, above / (above - below) if above > below else 0.5))
        place = worse + share * (better - worse)
        if abs(better - worse) <= 1e-6 * (high - low):
            break
        value = excess(place)
        side = int(value <= 0.0)
        ends[side] = (place, value)
        # An end that stays twice counts half, or it would stay for ever.
        weights[side], weights[1 - side] = 1.0, weights[1 - side] / (2.0 if side == side_before else 1.0)
        side_before = side
    return tried
