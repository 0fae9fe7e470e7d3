"""What every scaling policy sees and says; the same in the model and live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Pool:
    """Replicas of one kind in one zone on one tariff: the unit in which hardware is asked for.

    Parameters
    ----------
    name
        What a `Decision` calls it.
    ready, pending, asleep
        Replicas that work or could; that are starting, waking or being repaired; that sleep.
    speed
        Work per second, relative to the hardware that service times are stated for.
    price_per_hour, price_asleep_per_hour
        What one replica costs per hour awake (starting and draining included) and asleep, US dollars.
    start_up, wake_up
        Seconds from asking until ready, from nothing and from sleep; None: replicas of this pool cannot sleep.
    zone
        Fails as one.
    spot
        May be taken back by its owner at any time.
    replicas_max
        Most replicas that the pool has, asleep ones included.
    """

    name: str = "generic"
    ready: int = 0
    pending: int = 0
    asleep: int = 0
    speed: float = 1.0
    price_per_hour: float = 1.0
    price_asleep_per_hour: float = 0.0
    start_up: float = 60.0
    wake_up: float | None = None
    zone: str = "a"
    spot: bool = False
    replicas_max: int = 1000


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
    finished, late
        Events finished in the period, and those of them beyond the objective's bound.
    work_rate
        Events per second that a busy replica of speed 1 finishes: `service_rate` with the speeds of those that did the
        work taken out. 0 while unknown.
    service_scv
        Squared coefficient of variation of the service times finished in the period; None if fewer than two.
    concurrency
        Events waiting and in service, mean over the period; None where a driver does not measure it.
    wait_oldest
        Seconds that the event at the head of the queue has waited; 0 if none waits.
    crashed, interrupted
        Replicas that failed, and that their owner took back, in the period.
    pools
        What the replicas are made of; empty where all are of one kind.
    discipline
        In which order waiting events are served now, such as `fifo` or `late-last`; None where a driver cannot choose.
    late_waiting
        Events of the backlog that `late-last` has put last, as they cannot keep the objective's bound any more.
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
    finished: int = 0
    late: int = 0
    work_rate: float = 0.0
    service_scv: float | None = None
    concurrency: float | None = None
    wait_oldest: float = 0.0
    crashed: int = 0
    interrupted: int = 0
    pools: tuple[Pool, ...] = ()
    discipline: str | None = None
    late_waiting: int = 0


@dataclass(frozen=True)
class Decision:
    """How many replicas there shall be, counting those that are still starting, and why, in one sentence.

    Parameters
    ----------
    replicas
        All of them; those asleep left out.
    reason
        One sentence for a person.
    pools
        Replicas awake by pool; None: the driver takes `replicas` of its first pool.
    asleep
        Replicas asleep by pool; None: as it is, but for those that have to be woken.
    dispatch, batch
        How events find a replica from now on, and how many one takes at a time; None: as it is.
    discipline
        In which order waiting events are served from now on; None: as it is.
    """

    replicas: int
    reason: str = field(default="", compare=False)
    pools: Mapping[str, int] | None = None
    asleep: Mapping[str, int] | None = None
    dispatch: str | None = None
    batch: int | None = None
    discipline: str | None = None


class Scaler(Protocol):
    """A scaling policy: told what is, asked what shall be. It neither waits nor draws."""

    def observe(self, observation: Observation) -> None:
        """Learn from one control period. Called once per period, and on history before a run to train."""
        ...

    def decide(self) -> Decision:
        """The replicas wanted from now on. Called after `observe`, at most once per period."""
        ...
