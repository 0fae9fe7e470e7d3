"""What stands between the network and the processors, seen from both sides."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rarera_sim.core.event import Event, Frame, Recorded


class Work(NamedTuple):
    """One event handed to a processor.

    `number` is the event's number in the workload: it fixes the service time, and names the event to the tracer.
    `event` is None where arrivals have no content. `token` is what the transport wants back.
    """

    number: int
    event: Event | None
    token: Recorded | int


class Transport(Protocol):
    """A message queue or an event log: frames in, work out."""

    def receive(self, arrived: tuple[Frame, int]) -> None:
        """A frame comes out of the network."""
        ...

    def take(self) -> Work | None:
        """The next event for an idle processor, None if there is none."""
        ...

    def finish(self, work: Work) -> None:
        """The processor is done: its effect is in the state from now on."""
        ...

    def fail(self, work: Work) -> None:
        """The processor that held this is known to have failed."""
        ...

    def bury(self, work: Work) -> None:
        """It has failed too often: a dead letter, which nobody tries again."""
        ...

    def give_up(self, work: Work) -> None:
        """Nobody wants it any more, and nobody has begun."""
        ...

    def settle(self) -> None:
        """Do, and tell, what was put off because nobody could see it; whoever looks at anything here asks first."""
        ...

    @property
    def waiting(self) -> int:
        """Events held and not yet with a processor."""
        ...

    @property
    def idle(self) -> bool:
        """Nothing is held, nothing is on its way to storage."""
        ...
