"""What the parts of the model say about events; they do not know who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Note(Protocol):
    """Told when something happens to events, which are known by their number in the workload.

    What nobody can have seen meanwhile may be told later, with the time at which it was; of one event, things are told
    in their order.
    """

    def __call__(self, stage: str, number: int, time: float | None = None) -> None:
        """An event is at a stage, now or at the time given."""
        ...

    def all(self, stage: str, numbers: Sequence[int], times: Sequence[float]) -> None:
        """Events have been at a stage, each at its time."""
        ...
