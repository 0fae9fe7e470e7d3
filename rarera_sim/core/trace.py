"""What happened to an event on its way, as values that the model hands out and metrics fold.

What watches stands above what is watched: nothing here or in the model knows who listens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rarera_sim.core.event import EventId


class Stage:
    """The stages of a journey. Plain strings: they are compared by identity on the hot path and read by people.

    A journey without faults is CREATED, RECEIVED, RECORDED, STARTED, FINISHED.
    """

    CREATED = "created"  # the source made the event and sent it
    RECEIVED = "received"  # its first intact frame reached the gateway or the broker
    RECORDED = "recorded"  # the log has it, or the queue holds it
    STARTED = "started"  # a processor took it up
    FINISHED = "finished"  # the processor is done and the state has it

    # What the network did to a frame; known to the model only, the truth that detection is held against.
    FRAME_LOST = "frame lost"
    FRAME_REPEATED = "frame repeated"
    FRAME_DAMAGED = "frame damaged"

    # What the receiver noticed, and what was done about it.
    DETECTED_DAMAGE = "detected damage"
    DETECTED_GAP = "detected gap"
    DETECTED_REPEAT = "detected repeat"
    DETECTED_OVERDUE = "detected overdue"  # no acknowledgement in time: the source noticed
    DETECTED_CRASH = "detected crash"  # the processor that held it failed
    RESENT = "resent"
    REFUSED = "refused"  # a repeat that the log did not append
    RELEASED = "released"  # taken from a failed processor and delivered again

    # How a queue fails.
    DROPPED = "dropped"  # pushed out of a full memory, or lost with a crashed consumer
    UNREADABLE = "unreadable"  # damaged beyond parsing, thrown away
    MISREAD = "misread"  # damaged, parsed all the same, and now in the state as something that nobody sent
    REDELIVERED = "redelivered"  # the visibility timeout ran out
    REJECTED = "rejected"  # found a full memory that takes nothing new

    DEAD_LETTER = "dead letter"  # failed too often: nobody tries again
    ABANDONED = "abandoned"  # waited for a processor longer than whoever sent it had patience


class Step(NamedTuple):
    """One event at one stage: `time` in seconds since the run began, `where` the component's name."""

    time: float
    stage: str
    event_id: EventId
    where: str


Tracer = Callable[[Step], None]


def untraced(step: Step) -> None:
    """Look away."""
