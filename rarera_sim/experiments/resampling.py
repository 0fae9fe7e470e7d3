"""Other weeks made of a recorded one: parts joined anew, days drawn again, each event several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.core.time import Timestamp
from rarera_sim.experiments.traces import Trace


def splice(trace: Trace, pieces: Sequence[tuple[Timestamp, Timestamp]], start: Timestamp) -> tuple[Trace, Timestamp]:
    """Parts [since, until) of a trace, one behind the other from `start` on; gives the end as well.

    >>> frame = pl.DataFrame({"time": [1, 5, 9], "source": "a", "stream": "a/1", "type": "x"})
    >>> joined, end = splice(Trace("three", frame, origin="an example"), [(8, 10), (0, 3)], 100)
    >>> joined.frame["time"].to_list(), end
    ([101, 103], 105)
    """
    frames = []
    for since, until in pieces:
        part = trace.between(since, until).frame
        frames.append(part.with_columns(pl.col("time") + (start - since)))
        start += until - since
    return replace(trace, frame=pl.concat(frames), unsorted=0), start


def resample(trace: Trace, since: Timestamp, until: Timestamp, block: Timestamp, rng: np.random.Generator) -> Trace:
    """[since, until) made of its own blocks of `block` ns, drawn with replacement; a last, shorter block stays.

    The moving-block bootstrap with blocks at fixed places, so that blocks of a day keep the hour of the day.

    References
    ----------
    Kunsch (1989), The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17(3).
    """
    count = (until - since) // block
    if count < 1:
        return trace.between(since, until)
    chosen = rng.integers(count, size=count).tolist()
    pieces = [(since + number * block, since + (number + 1) * block) for number in chosen]
    if since + count * block < until:
        pieces.append((since + count * block, until))
    return splice(trace, pieces, since)[0]


def replicate(trace: Trace, copies: int, jitter: Timestamp, rng: np.random.Generator) -> Trace:
    """Each event `copies` times, moved by up to `jitter` ns either way, in the order of the new times."""
    time = trace.frame["time"].to_numpy()
    moved: NDArray[np.int64] = np.repeat(time, copies) + rng.integers(-jitter, jitter + 1, len(time) * copies)
    moved = np.maximum(moved, 0)
    order = np.argsort(moved, kind="stable")
    frame = trace.frame[np.repeat(np.arange(len(time)), copies)[order]]
    return replace(trace, frame=frame.with_columns(pl.Series("time", moved[order])), unsorted=0)
