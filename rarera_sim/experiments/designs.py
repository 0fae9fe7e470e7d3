"""Which points to try: of each knob its values, of all knobs together a design.

>>> for point in points_of([Knob("x", (1, 2)), Knob("y", ("a", "b"))], "factorial"):
...     print(point)
(1, 'a')
(1, 'b')
(2, 'a')
(2, 'b')
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from rarera_sim.core.errors import BadInput
from rarera_sim.policies.tuning import Range

Design = Literal["factorial", "latin-hypercube", "sobol", "saltelli"]
Values = Sequence[Any] | Range
Point = tuple[Any, ...]

POINTS_MAX = 100_000


class Knob(NamedTuple):
    """A field of a scenario and what it may be set to: some values, or a range between two."""

    path: str
    values: tuple[Any, ...] | Range

    def at(self, share: float) -> Any:
        """The value `share` of the way, 0 to 1; of single values each has an equal part of the way."""
        if isinstance(self.values, Range):
            return self.values.at(share)
        return self.values[min(len(self.values) - 1, int(share * len(self.values)))]


def knob(path: str, given: Values, design: Design, *, whole: bool | None = None) -> Knob:
    """What was given for a field, checked.

    Two numbers are both values of a factorial design, and the ends of a range in every other; more than two, and what
    is no number, are single values always.

    Parameters
    ----------
    whole
        Whether the field holds whole numbers; None: it does where both ends are.
    """
    if isinstance(given, Range):
        ends = (given.low, given.high)
        if not all(map(_is_number, ends)) or not given.low < given.high or (given.scale == "log" and given.low <= 0):
            raise BadInput(f"{path}: a range goes from a number to a higher one, > 0 on the scale log, got {given!r}")
        if design == "factorial":
            raise BadInput(f"{path}: a factorial design needs single values, got the range {given.low} to {given.high}")
        return Knob(path, given)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise BadInput(f"{path}: a list of values or a range is needed, got {given!r}")
    values = tuple(given)
    if len(values) < 2:
        raise BadInput(f"{path}: two values at least are needed, got {list(values)!r}")
    for place, value in enumerate(values):
        if value in values[:place]:
            raise BadInput(f"{path}: {value!r} is there twice")
    if design != "factorial" and len(values) == 2 and all(map(_is_number, values)):
        low, high = sorted(values)
        whole = all(type(value) is int for value in values) if whole is None else whole
        return Knob(path, Range(low, high, "int" if whole else "linear"))
    return Knob(path, values)


def points_of(knobs: Sequence[Knob], design: Design, *, samples: int | None = None, seed: int = 1) -> list[Point]:
    """The points of a design, one value per knob.

    Parameters
    ----------
    design
        | | points | for |
        | --- | --- | --- |
        | `factorial` | every combination | few values, effects and their interplay |
        | `latin-hypercube` | `samples` | many knobs: each one's range is covered evenly |
        | `sobol` | `samples`, a power of 2 | the same for all knobs together: the best for means and sensitivities |
        | `saltelli` | `samples` (a power of 2) times knobs + 2 | first-order and total indices |
    seed
        Of what is drawn: Latin hypercubes and Sobol sequences are scrambled.

    Examples
    --------
    >>> start, size = Knob("start", Range(0.0, 60.0)), Knob("size", Range(1, 4, "int"))
    >>> [(round(a), b) for a, b in points_of([start, size], "sobol", samples=4, seed=1)]
    [(17, 1), (35, 4), (50, 2), (3, 3)]
    >>> len(points_of([start, size], "saltelli", samples=4))
    16

    References
    ----------
    McKay, Beckman, Conover (1979), Technometrics 21(2); Owen (1998), Scrambling Sobol' and Niederreiter-Xing points,
    Journal of Complexity 14(4); Saltelli et al. (2010), Computer Physics Communications 181(2).
    """
    if design not in get_args(Design):
        raise BadInput(f"design must be one of {', '.join(get_args(Design))}, got {design!r}")
    if not knobs:
        raise BadInput("a sweep needs one field at least, got none")
    if design == "factorial":
        if samples is not None:
            raise BadInput(f"samples is for drawn designs, got {samples!r}; a factorial one takes every combination")
        count = int(np.prod([len(each.values) for each in knobs], dtype=np.float64))
        _check_count(count)
        return list(product(*(each.values for each in knobs)))
    if type(samples) is not int or samples < 2:
        raise BadInput(f"samples must be a whole number >= 2 for {design}, got {samples!r}")
    if design in ("sobol", "saltelli") and samples & (samples - 1):
        raise BadInput(f"samples must be a power of 2 for {design}, got {samples!r}")
    _check_count(samples * (len(knobs) + 2 if design == "saltelli" else 1))
    return [
        tuple(knob.at(share) for knob, share in zip(knobs, row, strict=True))
        for row in _shares(knobs, design, samples, seed)
    ]


def _shares(knobs: Sequence[Knob], design: Design, samples: int, seed: int) -> list[list[float]]:
    rows: NDArray[np.float64]
    if design == "latin-hypercube":
        rows = qmc.LatinHypercube(len(knobs), rng=seed).random(samples)
    elif design == "sobol":
        rows = qmc.Sobol(len(knobs), rng=seed).random(samples)
    else:
        both = qmc.Sobol(2 * len(knobs), rng=seed).random(samples)
        one, other = both[:, : len(knobs)], both[:, len(knobs) :]
        blocks = [one, other]
        for place in range(len(knobs)):
            mixed = one.copy()
            mixed[:, place] = other[:, place]
            blocks.append(mixed)
        rows = np.concatenate(blocks)
    listed: list[list[float]] = rows.tolist()
    return listed


def _check_count(count: int) -> None:
    if count > POINTS_MAX:
        raise BadInput(f"a sweep has {POINTS_MAX:,} points at most, this design has {count:,}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)
