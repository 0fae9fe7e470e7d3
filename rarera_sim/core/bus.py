"""The bus is a doorbell: it says that something was recorded; the log says what.

A notification carries id, GST and content, so that a subscriber in a hurry need not ask; losing one costs delay,
never an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from rarera_sim.core.event import ID_BYTES, EventId, Recorded
from rarera_sim.core.time import Timestamp

EVERYTHING = "event.*"


class Notification(NamedTuple):
    """What is pushed to a topic after the commit."""

    topic: str
    position: int
    id: EventId
    time: Timestamp
    content: dict[str, Any]


Ring = Callable[[Notification], None]


class EventBus(Protocol):
    """Publish and subscribe by topic; at most once, in any order, to whoever listens now."""

    def publish(self, notifications: Sequence[Notification]) -> None: ...

    def listen(self, topics: Iterable[str], ring: Ring) -> Callable[[], None]:
        """Call `ring` for every notification of these topics (`EVERYTHING` for all); returns what stops it."""
        ...


def topic_of(event_type: str) -> str:
    """The topic of a type: `event.<type>`."""
    return f"event.{event_type}"


def notification(recorded: Recorded) -> Notification:
    position, event = recorded
    return Notification(topic_of(event.type), position, event.id, event.time, event.data)


def notifications(recorded: Iterable[Recorded]) -> list[Notification]:
    """The notifications of many, in half of the time."""
    # A Notification made by its own `__new__`, which is Python, costs twice as much.
    return [
        _make(Notification, (f"event.{event.type}", position, event.frame[:ID_BYTES], event.time, event.data))
        for position, event in recorded
    ]


_make = tuple.__new__
