"""Schema evolution: old events in the shape that today's code reads, while what is stored never changes.

An *upcaster* turns the data of one version of a type into that of a later one. `Upcasters` chains them on read, so a
projection knows only the newest shape. What comes out is a view (:func:`rarera_sim.core.sealing.view`): its data and
schema are new, its `id`, `frame` and `body` those of the stored event, so links, repeats and proofs go on to work,
and a view that is copied to another log is copied as it was stored.

Sealed data has no shape to the outside: it passes unchanged and is brought up to date once it is unsealed, so
`Unsealed(Upcasted(projection, upcasters), keys)` is the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

from rarera_sim.core.errors import BadInput, UnknownFormat
from rarera_sim.core.event import Event, EventId, Recorded, canonical_json
from rarera_sim.core.log import ALL, EventLog, Query
from rarera_sim.core.projection import Projection
from rarera_sim.core.sealing import is_sealed, view

S = TypeVar("S")

_DIGEST_BITS = 40


class Upcaster(NamedTuple):
    """How the data of `version` of a type becomes that of version `to`, the next one unless said otherwise.

    `change` gets an event in the shape of `version` and gives the new data. It may use and alter all it gets, as it
    gets a copy; from the same event it must always make the same data.
    """

    type: str
    version: int
    change: Callable[[Event], dict[str, Any]]
    to: int | None = None


class Upcasters:
    """All upcasters of a program, checked when they are put together.

    Every version of a type below its newest must have exactly one way up. A gap, a second way, a step that does not
    lead upwards (and so could run in a circle) is refused here, before any event is read.

    Examples
    --------
    >>> upcasters = Upcasters(
    ...     Upcaster("arrived", 1, lambda event: {"speed_kmh": event.data["speed"] * 1.6}),
    ...     Upcaster("arrived", 2, lambda event: {**event.data, "late": event.data["speed_kmh"] < 500}),
    ... )
    >>> stored = Event("EWR/UA1", "arrived", {"speed": 400.0}, source="EWR", sequence=1, time=0)
    >>> seen = upcasters.upcast(stored)
    >>> seen.schema, seen.data, seen.id == stored.id, stored.data
    (3, {'speed_kmh': 640.0, 'late': False}, True, {'speed': 400.0})
    >>> Upcasters(Upcaster("arrived", 2, dict))
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: type 'arrived' goes up to schema 3, and nothing leads up from schema 1
    """

    def __init__(self, *upcasters: Upcaster) -> None:
        self._steps: dict[str, dict[int, tuple[int, Callable[[Event], dict[str, Any]]]]] = {}
        for kind, version, change, to in upcasters:
            to = version + 1 if to is None and type(version) is int else to
            if type(version) is not int or type(to) is not int or version < 1:
                raise BadInput(f"schemas of {kind!r} must be integers >= 1, got {version!r} to {to!r}")
            if to <= version:
                raise BadInput(f"upcaster of {kind!r} leads from schema {version} to {to}: it must lead upwards")
            steps = self._steps.setdefault(kind, {})
            if version in steps:
                raise BadInput(f"type {kind!r} has two upcasters from schema {version}")
            steps[version] = (to, change)
        self.newest = {kind: max(to for to, _ in steps.values()) for kind, steps in self._steps.items()}
        for kind, steps in self._steps.items():
            for version in range(1, self.newest[kind]):
                if version not in steps:
                    raise BadInput(
                        f"type {kind!r} goes up to schema {self.newest[kind]}, and nothing leads up "
                        f"from schema {version}"
                    )

    def upcast(self, event: Event) -> Event:
        """A view of the event in the newest shape of its type; the event itself where that is the shape it has.

        Raises
        ------
        UnknownFormat
            The event is of a later schema than this program knows for its type.
        """
        newest = self.newest.get(event.type)
        if newest is None or event.schema == newest:
            return event
        if event.schema > newest:
            raise UnknownFormat(
                f"{event.type!r} of {event.source}#{event.sequence} has schema {event.schema}; "
                f"this program reads it up to {newest}"
            )
        if is_sealed(event):
            return event
        steps = self._steps[event.type]
        # A copy, so that an upcaster that alters what it gets does not alter what a log in memory holds.
        seen = view(event, orjson.loads(canonical_json(event.data)), event.schema)
        while seen.schema < newest:
            to, change = steps[seen.schema]
            data = change(seen)
            if type(data) is not dict:
                raise BadInput(
                    f"upcaster of {event.type!r} from schema {seen.schema} must give a dict, got {type(data).__name__}"
                )
            seen = view(event, data, to)
        return seen

    def snapshot_version(self, version: int) -> int:
        """A projection's version with that of the shapes it reads folded in, for its snapshots.

        A projection that is unchanged makes another state once its events come in another shape; its old snapshots
        must not be read then. Without upcasters it is the version itself. An upcaster that is corrected without a new
        schema is not seen here: raise the projection's own version.

        >>> Upcasters().snapshot_version(7)
        7
        >>> Upcasters(Upcaster("arrived", 1, dict)).snapshot_version(7) >> 40
        7
        """
        if not self.newest:
            return version
        digest = sha256(b"rarera.schemas/1\0" + canonical_json(self.newest)).digest()
        return version << _DIGEST_BITS | int.from_bytes(digest[: _DIGEST_BITS // 8], "big")


class Upcasted(Generic[S]):
    """A projection that sees every event in its newest shape, and does not read snapshots made of older ones."""

    def __init__(self, projection: Projection[S], upcasters: Upcasters) -> None:
        self.projection = projection
        self.upcasters = upcasters
        self.name = projection.name
        self.version = upcasters.snapshot_version(projection.version)

    def initial(self) -> S:
        return self.projection.initial()

    def apply(self, state: S, event: Event) -> S:
        return self.projection.apply(state, self.upcasters.upcast(event))


class UpcastLog:
    """A log whose events are read in their newest shape; what is appended goes into `log` as it is.

    `verify`, copies and proofs are about what is stored: give them `log`.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> log = UpcastLog(MemoryLog(), Upcasters(Upcaster("arrived", 1, lambda event: {"v": event.data["speed"]})))
    >>> _ = log.append([Event("EWR/UA1", "arrived", {"speed": 400.0}, source="EWR", sequence=1, time=0)])
    >>> [recorded.event.data for recorded in log.read()], [recorded.event.data for recorded in log.log.read()]
    ([{'v': 400.0}], [{'speed': 400.0}])
    """

    def __init__(self, log: EventLog, upcasters: Upcasters) -> None:
        self.log = log
        self.upcasters = upcasters

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        return [self._seen(recorded) for recorded in self.log.append(events, expected=expected)]

    def read(
        self,
        query: Query = ALL,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Iterator[Recorded]:
        return map(self._seen, self.log.read(query, after=after, upto=upto, limit=limit, backwards=backwards))

    def head(self) -> int:
        return self.log.head()

    def find(self, event_id: EventId) -> Recorded | None:
        recorded = self.log.find(event_id)
        return self._seen(recorded) if recorded else None

    def sequences(self) -> dict[str, list[tuple[int, int]]]:
        return self.log.sequences()

    def close(self) -> None:
        self.log.close()

    def _seen(self, recorded: Recorded) -> Recorded:
        return Recorded(recorded.position, self.upcasters.upcast(recorded.event))
