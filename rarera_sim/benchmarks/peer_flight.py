"""The aggregate of the peer's application, as its documentation has one. Imported only where the peer is installed."""

# ruff: noqa: ARG002 -- the peer makes the fields of its first event from the arguments of `__init__`
from __future__ import annotations

from typing import Any

from eventsourcing.domain import Aggregate


class Flight(Aggregate):
    """Counts its events and sums a field, as our projection does."""

    def __init__(
        self,
        kind: str,
        source: str,
        sequence: int,
        carrier: str,
        flight: int,
        tail: str,
        seats: int,
        destination: str,
        distance_mi: int,
        air_time_min: int,
        delay_min: int,
        speed: float,
    ) -> None:
        self.count = 1
        self.total = speed

    class Reported(Aggregate.Event):
        """Not by the `@event` decorator, which finds the method anew for each event and takes longer."""

        kind: str
        source: str
        sequence: int
        carrier: str
        flight: int
        tail: str
        seats: int
        destination: str
        distance_mi: int
        air_time_min: int
        delay_min: int
        speed: float

        def apply(self, aggregate: Any) -> None:
            aggregate.count += 1
            aggregate.total += self.speed
