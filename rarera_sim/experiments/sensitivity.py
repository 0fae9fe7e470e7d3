"""Which knob matters: effects, shares of the variance, and how far each one swings the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_RESAMPLES = 400
_PARTS = 8  # that a knob with more values is cut into


def main_effects(knobs: Mapping[str, Sequence[Any]], answers: ArrayLike) -> pl.DataFrame:
    """Mean answer at each value of each knob, over whatever the others were.

    A knob with many values is cut into parts with as many points each, called by their middle.

    Parameters
    ----------
    knobs
        The value of each knob at every point.
    answers
        Shape (points,).

    Examples
    --------
    >>> effects = main_effects({"x": [1, 1, 2, 2], "y": [1, 2, 1, 2]}, [10.0, 11.0, 20.0, 21.0])
    >>> for row in effects.iter_rows():
    ...     print(row)
    ('x', '1', 2, 10.5, -5.0)
    ('x', '2', 2, 20.5, 5.0)
    ('y', '1', 2, 15.0, -0.5)
    ('y', '2', 2, 16.0, 0.5)
    """
    found = np.asarray(answers, dtype=np.float64)
    rows = []
    for name, values in knobs.items():
        labels, groups = _grouped(values)
        for place, label in enumerate(labels):
            here = found[groups == place]
            rows.append((name, label, len(here), float(here.mean()), float(here.mean() - found.mean())))
    schema = {"knob": pl.String, "value": pl.String, "points": pl.Int64, "mean": pl.Float64, "effect": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def tornado(knobs: Mapping[str, Sequence[Any]], answers: ArrayLike) -> pl.DataFrame:
    """How far each knob alone swings the mean answer: `low` and `high` of its main effects, widest first.

    >>> print(tornado({"x": [1, 1, 2, 2], "y": [1, 2, 1, 2]}, [10.0, 11.0, 20.0, 21.0]).rows())
    [('x', '1', 10.5, '2', 20.5, 10.0), ('y', '1', 15.0, '2', 16.0, 1.0)]
    """
    rows = []
    effects = main_effects(knobs, answers)
    for name in knobs:
        own = effects.filter(pl.col("knob") == name).sort("mean", maintain_order=True).rows(named=True)
        low, high = own[0], own[-1]
        rows.append((name, low["value"], low["mean"], high["value"], high["mean"], high["mean"] - low["mean"]))
    schema = {
        "knob": pl.String,
        "low_at": pl.String,
        "low": pl.Float64,
        "high_at": pl.String,
        "high": pl.Float64,
        "swing": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort("swing", descending=True, maintain_order=True)


def correlation_ratio(values: Sequence[Any], answers: ArrayLike) -> float:
    """Share of the answers' variance that one knob explains, whatever the shape of the relation: 0 to 1.

        (between - (k - 1) within) / total,   within = mean square inside the k groups

    Fisher's correlation ratio without its bias: a knob that does nothing has about 0. Over a design that covers all
    knobs evenly it estimates Sobol's first-order index.

    Examples
    --------
    >>> correlation_ratio([1, 1, 2, 2], [10.0, 11.0, 20.0, 21.0]) > 0.9
    True

    References
    ----------
    Kelley (1935), An unbiased correlation ratio measure, PNAS 21(9), 554-559.
    """
    found = np.asarray(answers, dtype=np.float64)
    # Enough parts for relations that rise and fall, with enough points in each to tell it from noise.
    labels, groups = _grouped(values, parts=min(32, max(2, len(found) // 16)))
    total = float(((found - found.mean()) ** 2).sum())
    free = len(found) - len(labels)
    if total == 0.0 or len(labels) < 2 or free < 1:
        return 0.0
    inside = sum(float(found[groups == place].var() * (groups == place).sum()) for place in range(len(labels)))
    return max(0.0, (total - inside - (len(labels) - 1) * inside / free) / total)


def sobol_indices(answers: ArrayLike, knobs: Sequence[str], *, seed: int = 1) -> pl.DataFrame:
    """First-order and total indices from the answers at the points of a `saltelli` design, most important first.

    `first`: share of the variance that goes when the knob is known; `total`: share that stays while it alone is not.
    With 95 % bootstrap intervals.

    References
    ----------
    Saltelli et al. (2010), Variance based sensitivity analysis of model output, Computer Physics Communications 181(2).
    """
    blocks = np.asarray(answers, dtype=np.float64).reshape(len(knobs) + 2, -1)
    count = blocks.shape[1]
    if not np.ptp(blocks):
        raise ValueError("answers are all the same: there is no variance to share out")
    # Not SciPy's own bootstrap, which draws from a generator that nobody can seed.
    chance = np.random.default_rng(seed)
    drawn = [_indices(blocks[:, chance.integers(count, size=count)]) for _ in range(_RESAMPLES)]
    lows, highs = np.nanquantile(np.array(drawn), (0.025, 0.975), axis=0)
    first, total = _indices(blocks)
    frame = pl.DataFrame(
        {
            "knob": list(knobs),
            "first": first,
            "first_low": lows[0],
            "first_high": highs[0],
            "total": total,
            "total_low": lows[1],
            "total_high": highs[1],
        }
    )
    return frame.sort("total", descending=True, maintain_order=True)


def _indices(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """First-order and total indices, shape (2, knobs); NaN where a resample has no variance."""
    if not np.ptp(blocks[:2]):
        return np.full((2, len(blocks) - 2), np.nan)
    evaluated = {"f_A": blocks[:1], "f_B": blocks[1:2], "f_AB": blocks[2:, None, :]}
    indices = stats.sobol_indices(func=evaluated, n=blocks.shape[1])
    return np.stack((indices.first_order, indices.total_order)).reshape(2, -1)


def _grouped(values: Sequence[Any], parts: int = _PARTS) -> tuple[list[str], NDArray[np.int64]]:
    """What to call the groups, and the group of each point."""
    distinct = sorted(
        set(values), key=lambda value: (not _is_number(value), value if _is_number(value) else str(value))
    )
    if len(distinct) <= max(parts, _PARTS) or not all(map(_is_number, distinct)):
        places = {value: place for place, value in enumerate(distinct)}
        return [_called(value) for value in distinct], np.array([places[value] for value in values])
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.quantile(numbers, np.linspace(0.0, 1.0, parts + 1)[1:-1])
    groups = np.searchsorted(np.unique(edges), numbers, side="right")
    known, groups = np.unique(groups, return_inverse=True)
    return [_called(float(np.median(numbers[groups == place]))) for place in range(len(known))], groups


def _called(value: Any) -> str:
    return f"{value:.4g}" if type(value) is float else str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
