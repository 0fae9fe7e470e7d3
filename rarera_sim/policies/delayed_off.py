"""Energy: idle replicas wait before they sleep, and sleep before they are switched off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation, Pool
from rarera_sim.policies.staffing import Limits, positive
from rarera_sim.policies.tuning import Range, Tunable
from rarera_sim.policies.windows import MaxWindow


class DelayedOff:
    """A replica for every event that finds none idle; one that is idle for a time sleeps, and for longer is given back.

        needed = events in service + events waiting / waiting_per_replica
        awake = highest need of the last `idle` seconds
        awake + asleep = highest need of the last `idle + sleep` seconds, as far as the pools can sleep

    As seen once per control period. With events sent to the replica that was busy most recently, the ones beyond the
    highest need of a time are exactly those that were idle throughout it. Right for services about as long as the
    control period or longer; where thousands wait within one, raise `waiting_per_replica`.

    Parameters
    ----------
    idle
        Seconds idle until a replica sleeps, or is given back where it cannot, >= 0. Published: about what a start-up
        costs over what idling does, so that one is never much dearer than the other.
    sleep
        Seconds asleep until a replica is given back, >= 0.
    waiting_per_replica
        Events waiting that one more replica is asked for, > 0; 1 in the publication.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    Ten are needed once, then three. Seven sleep after two minutes, and are given back after twelve.

    >>> policy = DelayedOff(idle=120.0, sleep=600.0)
    >>> for step in range(60):
    ...     pool = Pool("vm", ready=10, wake_up=5.0)
    ...     need = 10 if step == 0 else 3
    ...     policy.observe(Observation(1.0, 0.4, 0, 10, in_service=need, time=15.0 * step, pools=(pool,)))
    ...     decision = policy.decide()
    ...     if step in (0, 7, 8, 47, 48):
    ...         print(decision.replicas, decision.asleep)
    10 {'vm': 0}
    10 {'vm': 0}
    3 {'vm': 7}
    3 {'vm': 7}
    3 {'vm': 0}

    References
    ----------
    Gandhi, Gupta, Harchol-Balter, Kozuch (2010), Optimality analysis of energy-performance trade-off for server farm
    management, Performance Evaluation 67(11), 1155-1171: DELAYEDOFF with most-recently-busy routing.
    Gandhi, Harchol-Balter, Raghunathan, Kozuch (2012), AutoScale, ACM TOCS 30(4), article 14.
    """

    TUNABLE: ClassVar[Tunable] = {
        "idle": Range(15.0, 1800.0, "log"),
        "sleep": Range(15.0, 7200.0, "log"),
        "waiting_per_replica": Range(1.0, 1000.0, "log"),
    }

    def __init__(
        self,
        *,
        idle: float = 120.0,
        sleep: float = 600.0,
        waiting_per_replica: float = 1.0,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        for name, value in (("idle", idle), ("sleep", sleep)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0 s, got {value!r}")
        positive(waiting_per_replica=waiting_per_replica)
        self.idle = idle
        self.sleep = sleep
        self.waiting_per_replica = waiting_per_replica
        self.limits = Limits(replicas_min, replicas_max)
        self._awake_needed = MaxWindow(idle)
        self._kept_needed = MaxWindow(idle + sleep)
        self._awake = replicas_min
        self._kept = replicas_min
        self._needed: int | None = None
        self._pools: Sequence[Pool] = ()

    def __repr__(self) -> str:
        return f"DelayedOff(idle={self.idle:g}, sleep={self.sleep:g})"

    def observe(self, observation: Observation) -> None:
        """What was needed."""
        waiting = math.ceil(max(0, observation.backlog) / self.waiting_per_replica)
        self._needed = self.limits.within(max(0, observation.in_service) + waiting)
        self._awake = self._awake_needed.add(observation.time, self._needed)
        self._kept = self._kept_needed.add(observation.time, self._needed)
        self._pools = observation.pools

    def decide(self) -> Decision:
        """Awake and asleep."""
        if self._needed is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        asleep = {pool.name: 0 for pool in self._pools if pool.wake_up is not None}
        spare = self._kept - self._awake
        for pool in sorted(self._pools, key=lambda pool: (pool.price_asleep_per_hour, pool.name)):
            if pool.wake_up is not None:
                here = min(spare, pool.ready + pool.pending + pool.asleep)
                asleep[pool.name] = here
                spare -= here
        sleeping = sum(asleep.values())
        sleep = f", {sleeping} sleep" if asleep else ""
        reason = f"{self._needed} needed now and {self._awake} within {self.idle:g} s{sleep}."
        return Decision(self._awake, reason, asleep=asleep or None)
