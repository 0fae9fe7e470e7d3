"""State is a fold: rebuilt from the log as of any moment, or kept up to date beside it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.log import ALL, EventLog, Query
from rarera_sim.core.snapshot import Snapshot, SnapshotStore, restore
from rarera_sim.core.time import Timestamp

S = TypeVar("S")

_MICRO = 1_000_000


class Projection(Protocol[S]):
    """How events make a state.

    `apply` may change the state in place and return it: whoever folds owns it. State that is snapshotted must be
    JSON (dicts with string keys, lists, numbers, strings). `version` changes whenever the fold does, so that a
    snapshot of an earlier one is not read.
    """

    name: str
    version: int

    def initial(self) -> S: ...

    def apply(self, state: S, event: Event) -> S: ...


def fold(projection: Projection[S], events: Iterable[Event], state: S | None = None) -> S:
    """Apply events in order, from the initial state or the one given."""
    if state is None:
        state = projection.initial()
    apply = projection.apply
    for event in events:
        state = apply(state, event)
    return state


def rebuild(
    projection: Projection[S],
    log: EventLog,
    *,
    as_of: Timestamp | None = None,
    upto: int | None = None,
    snapshots: SnapshotStore | None = None,
) -> S:
    """The state at a moment, from the log.

    Parameters
    ----------
    as_of
        What was true then: every event created at or before this time, whenever we learned of it.
    upto
        What we knew then: every event up to this position. Late events make the two differ.
    snapshots
        Where to look for a head start; the result is the same without.
    """
    # A snapshot beyond the end, of a log that lost its tail, knows what the log does not.
    head = log.head()
    upto = head if upto is None else min(upto, head)
    start = snapshots.latest(projection.name, projection.version, upto=upto, as_of=as_of) if snapshots else None
    state: S = restore(start) if start else projection.initial()
    query = ALL if as_of is None else Query(until=as_of)
    after = start.position if start else 0
    return fold(projection, (event for _, event in log.read(query, after=after, upto=upto)), state)


class Materialised:
    """A state kept up to date beside the log: each position is applied once, however often it is delivered.

    Parallel processors finish out of order, so positions beyond the first hole are remembered until it closes.
    The state is then right for projections that commute; for others let a subscription keep streams in order.

    Examples
    --------
    >>> tally = Materialised(Tally())
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> tally.apply(Recorded(1, event)), tally.apply(Recorded(1, event))
    (True, False)
    >>> tally.state, tally.position
    ({'EWR': {'departed': [1, 0, 0]}}, 1)
    """

    def __init__(self, projection: Projection[Any], start: Snapshot | None = None) -> None:
        self.projection = projection
        self.state = restore(start) if start else projection.initial()
        self.position = start.position if start else 0
        self.time_max = start.time_max if start else 0
        self._ahead: set[int] = set()

    def apply(self, recorded: Recorded) -> bool:
        """Apply unless this position was applied before; says whether it did."""
        position, event = recorded
        if position <= self.position or position in self._ahead:
            return False
        self.state = self.projection.apply(self.state, event)
        if event.time > self.time_max:
            self.time_max = event.time
        if position > self.position + 1:
            self._ahead.add(position)
            return True
        self.position = position
        while self.position + 1 in self._ahead:
            self.position += 1
            self._ahead.remove(self.position)
        return True

    def snapshot(self) -> Snapshot | None:
        """The state now, or None while there are holes below what was applied."""
        if self._ahead:
            return None
        return Snapshot.of(self.projection.name, self.projection.version, self.position, self.time_max, self.state)


class Tally:
    """How many events of each type each processor had, and the sum of one numeric field: the paper's query as state.

    Sums are kept in whole millionths of the field's unit, because sums of integers do not depend on the order of
    their terms and sums of floats do; two runs that saw the same events then have the same state, to the bit.

    State: `{processor: {type: [count, count_with_value, sum in millionths]}}`.

    Examples
    --------
    >>> events = [Event("EWR/UA1", "arrived", {"speed": v}, source="IAH", sequence=i + 1, time=i)
    ...           for i, v in enumerate((400.0, 410.0))]
    >>> state = fold(Tally("speed"), events)
    >>> state, Tally.mean(state, "EWR", "arrived")
    ({'EWR': {'arrived': [2, 2, 810000000]}}, 405.0)
    """

    version = 1

    def __init__(self, field: str = "speed") -> None:
        self.field = field
        self.name = f"tally:{field}"

    def initial(self) -> dict[str, dict[str, list[int]]]:
        return {}

    def apply(self, state: dict[str, dict[str, list[int]]], event: Event) -> dict[str, dict[str, list[int]]]:
        types = state.setdefault(event.processor, {})
        cell = types.get(event.type)
        if cell is None:
            cell = types[event.type] = [0, 0, 0]
        cell[0] += 1
        value = event.data.get(self.field)
        if type(value) is float or type(value) is int:
            cell[1] += 1
            cell[2] += round(value * _MICRO)
        return state

    @staticmethod
    def mean(state: dict[str, dict[str, list[int]]], processor: str, event_type: str) -> float | None:
        """Mean of the field, None where no event carried it."""
        _, count, total = state.get(processor, {}).get(event_type, (0, 0, 0))
        return total / count / _MICRO if count else None


@dataclass(frozen=True)
class Summary:
    """Answer to the paper's query: how many events, and the mean of a field over those that carry it."""

    count: int
    mean: float | None


def summarise(log: EventLog, field: str, query: Query = ALL) -> Summary:
    """Count and average of a field over the events of a query: the paper's example.

    Raises
    ------
    BadInput
        Events match, and some carry the field, but not as a number.
    """
    count = 0
    values = array("d")  # eight bytes each, where a list of floats takes four times as much
    for position, event in log.read(query):
        count += 1
        value = event.data.get(field)
        if value is None:
            continue
        if type(value) is not float and type(value) is not int:
            raise BadInput(f"field {field!r} at position {position} is {value!r}, not a number")
        values.append(value)
    return Summary(count, math.fsum(values) / len(values) if values else None)
