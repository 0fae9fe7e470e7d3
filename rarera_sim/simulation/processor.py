"""One processor: a replica with one thread, what it is doing, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rarera_sim.simulation.transport import Work


class State(StrEnum):
    """What a processor is doing. All of these are paid for."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"  # finishes what it has, then goes
    DOWN = "down"  # crashed, and not up again

    @property
    def working(self) -> bool:
        return self in (State.BUSY, State.DRAINING)


@dataclass(eq=False, slots=True)
class Processor:
    """One incarnation of a slot: started when it is asked for, gone when it is released.

    Parameters
    ----------
    slot
        The lowest number that was free, from 1. Crashes belong to it, so that every policy sees the same ones.
    work, since
        What it works on, and from when, model seconds.
    down_since
        When it crashed, model seconds.
    """

    slot: int
    state: State = State.STARTING
    work: Work | None = None
    since: float = 0.0
    down_since: float = 0.0


class Capacity(NamedTuple):
    """Processors by what they are doing, from `time` (model seconds) on, until the next value."""

    time: float
    starting: int
    ready: int  # idle or busy
    draining: int
    down: int

    @property
    def running(self) -> int:
        """Those that work or could."""
        return self.ready + self.draining

    @property
    def paid(self) -> int:
        return self.starting + self.ready + self.draining + self.down


class Crash(NamedTuple):
    """A processor failed at `down` and was ready again at `up`, model seconds; `up` is None if it never was."""

    slot: int
    down: float
    up: float | None
