"""Counts, means, quantiles and rates of the events of a query, by processor, type, source and time window.

A log that is kept in a database may compute the same there: `adapters/sqlite_aggregate.py`, `postgres_aggregate.py`.
All answer alike to the bit, whatever order the events stand in: values are kept, as doubles of eight bytes each, and
added by `math.fsum`, which rounds once; what a database calls a sum rounds at every step.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from rarera_sim.core.errors import BadInput
from rarera_sim.core.log import ALL, EventLog, Query
from rarera_sim.core.time import SECOND, TIMESTAMP_MAX, Timestamp

BY: Final = ("processor", "type", "source")


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """What to work out, and for which groups of events.

    Parameters
    ----------
    field
        The field of the data, at its top level, whose mean and quantiles are wanted; None to count only.
    by
        Any of "processor", "type" and "source": one group for each combination of them that occurs.
    window
        Length in nanoseconds of the time windows into which each group is split; they begin at its multiples since
        the epoch. None: no split. A window in which nothing happened has no group.
    quantiles
        Which quantiles of the field, each from 0 to 1.

    Examples
    --------
    >>> Aggregate(field="speed", by=("type",), quantiles=(0.5, 1.5))
    Traceback (most recent call last):
        ...
    rarera_sim.core.errors.BadInput: quantiles must be numbers from 0 to 1, got 1.5
    """

    field: str | None = None
    by: tuple[str, ...] = ()
    window: int | None = None
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.field is not None and not (type(self.field) is str and _is_unicode(self.field)):
            raise BadInput(f"field must be the name of a field, got {self.field!r}")
        # A lone string is a sequence of letters, as in `Query`.
        if type(self.by) is not tuple or not set(self.by) <= set(BY) or len(set(self.by)) != len(self.by):
            raise BadInput(f"by must be a tuple of {', '.join(BY)}, each at most once, got {self.by!r}")
        if self.window is not None and not (type(self.window) is int and 1 <= self.window <= TIMESTAMP_MAX):
            raise BadInput(f"window must be 1 to {TIMESTAMP_MAX} ns, got {self.window!r}")
        if type(self.quantiles) is not tuple:
            raise BadInput(f"quantiles must be a tuple, got {self.quantiles!r}")
        for quantile in self.quantiles:
            if type(quantile) not in (int, float) or not 0 <= quantile <= 1:
                raise BadInput(f"quantiles must be numbers from 0 to 1, got {quantile!r}")
        if self.quantiles and self.field is None:
            raise BadInput("quantiles need a field")


@dataclass(frozen=True)
class Group:
    """The answer for one group of events.

    Parameters
    ----------
    processor, type, source
        What its events have in common; None for what was not asked for.
    since, until
        The creation times that the group covers, both included, as in `Query`: its window as far as it lies within
        the query, or the query's own bounds; None where time is not bounded.
    count
        How many events.
    values
        How many of them carry the field with a number.
    mean
        Mean of the field over those; None where there are none.
    quantiles
        The quantiles asked for, in that order, interpolated linearly between the two nearest values (number 7 of
        Hyndman and Fan 1996: NumPy's default, PostgreSQL's `percentile_cont`); None where there are no values.
    """

    processor: str | None
    type: str | None
    source: str | None
    since: Timestamp | None
    until: Timestamp | None
    count: int
    values: int
    mean: float | None
    quantiles: tuple[float | None, ...]

    @property
    def rate(self) -> float | None:
        """Events per second over the time that the group covers; None where that is not bounded."""
        if self.since is None or self.until is None:
            return None
        return self.count * SECOND / (self.until - self.since + 1)


class Key(NamedTuple):
    """What makes events one group; `window` is the number of the window since the epoch."""

    processor: str | None
    type: str | None
    source: str | None
    window: int | None


class Cell:
    """What is gathered of one group: how many events, and the values of the field."""

    __slots__ = ("count", "values")

    def __init__(self) -> None:
        self.count = 0
        self.values = array("d")


def aggregate(log: EventLog, request: Aggregate, query: Query = ALL) -> list[Group]:
    """The groups of a query's events, ordered by time, processor, type and source; any log, by reading it.

    Raises
    ------
    BadInput
        An event of the query carries the field, but not as a number; names the first such position.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "arrived", {"speed": v}, source="IAH", sequence=i + 1, time=i * SECOND)
    ...                 for i, v in enumerate((400.0, 410.0, 390.0, 300.0))])
    >>> request = Aggregate(field="speed", by=("processor",), window=3 * SECOND, quantiles=(0.5,))
    >>> [(group.processor, group.count, group.rate, group.mean, group.quantiles) for group in aggregate(log, request)]
    [('EWR', 3, 1.0, 400.0, (400.0,)), ('EWR', 1, 0.333..., 300.0, (300.0,))]
    """
    cells: dict[Key, Cell] = {}
    field, window = request.field, request.window
    by_processor, by_type, by_source = (name in request.by for name in BY)
    for position, event in log.read(query):
        key = Key(
            event.processor if by_processor else None,
            event.type if by_type else None,
            event.source if by_source else None,
            None if window is None else event.time // window,
        )
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell()
        cell.count += 1
        if field is None:
            continue
        value = event.data.get(field)
        if value is None:
            continue
        if type(value) is not float and type(value) is not int:
            raise BadInput(f"field {field!r} at position {position} is {value!r}, not a number")
        cell.values.append(value)
    return groups(cells, request, query)


def groups(cells: Mapping[Key, Cell], request: Aggregate, query: Query) -> list[Group]:
    """The answer from what was gathered, whoever gathered it."""
    return [
        _group(key, cells[key], request, query)
        for key in sorted(cells, key=lambda k: (k.window or 0, k.processor or "", k.type or "", k.source or ""))
    ]


def _group(key: Key, cell: Cell, request: Aggregate, query: Query) -> Group:
    since, until = query.since, query.until
    if key.window is not None:
        assert request.window is not None, "a window without a length"
        begin = key.window * request.window
        end = begin + request.window - 1
        since = begin if since is None else max(begin, since)
        until = end if until is None else min(end, until)
    values = sorted(cell.values) if request.quantiles else cell.values
    return Group(
        key.processor,
        key.type,
        key.source,
        since,
        until,
        cell.count,
        len(values),
        _mean(values),
        tuple(_quantile(values, quantile) for quantile in request.quantiles),
    )


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    try:
        # Plus zero, here and below: which of 0.0 and -0.0 comes out must not depend on the order.
        return math.fsum(values) / len(values) + 0.0
    except OverflowError:
        # The sum is beyond the largest float, or only was on the way, which does depend on the order.
        total = sum(map(Fraction, values), Fraction(0))
    try:
        return float(total) / len(values) + 0.0
    except OverflowError:
        return float(total / len(values))


def _quantile(ordered: Sequence[float], quantile: float) -> float | None:
    if not ordered:
        return None
    place = (len(ordered) - 1) * quantile
    number = math.floor(place)
    low, high = ordered[number], ordered[min(number + 1, len(ordered) - 1)]
    part = place - number
    if part == 0 or low == high:
        return low + 0.0
    between = high - low
    if math.isinf(between):
        return low * (1 - part) + high * part
    # From the nearer end, as NumPy does, so that the result grows with the quantile.
    return (low + between * part if part < 0.5 else high - between * (1 - part)) + 0.0


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
