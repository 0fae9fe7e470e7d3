"""What every scaling policy sees and says; the same in the model and live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Observation:
    """What is known at the end of a control period, without looking into the future.

    Rates are means over the period just ended, counts are taken at its end. A policy uses what it needs; fields with
    defaults may be unknown to a driver.

    Parameters
    ----------
    arrival_rate
        Events received per second.
    service_rate
        Events per second that one busy replica finishes (the true processing rate, idle time left out). 0 while
        nothing has been finished yet.
    backlog
        Events waiting, those in service left out.
    replicas
        Replicas ready for work.
    pending
        Replicas asked for and still starting.
    in_service
        Events being processed.
    utilisation
        Busy time over ready time of all replicas in the period, 0 to 1.
    time
        Seconds since the run began.
    response_quantile
        Response time in seconds at the objective's quantile, over the events finished in the period; None if none.
    late_share
        Share of the events finished in the period whose response was beyond the objective's bound; None if none.
    price_per_hour
        What one replica costs now, per hour.
    """

    arrival_rate: float
    service_rate: float
    backlog: int
    replicas: int
    pending: int = 0
    in_service: int = 0
    utilisation: float = 0.0
    time: float = 0.0
    response_quantile: float | None = None
    late_share: float | None = None
    price_per_hour: float = 1.0


@dataclass(frozen=True)
class Decision:
    """How many replicas there shall be, counting those that are still starting, and why, in one sentence."""

    replicas: int
    reason: str = field(default="", compare=False)


class Scaler(Protocol):
    """A scaling policy: told what is, asked what shall be. It neither waits nor draws."""

    def observe(self, observation: Observation) -> None:
        """Learn from one control period. Called once per period, and on history before a run to train."""
        ...

    def decide(self) -> Decision:
        """The replicas wanted from now on. Called after `observe`, at most once per period."""
        ...
