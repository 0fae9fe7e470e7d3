"""KEDA's event-driven autoscaler on the lag of a Kafka consumer group, through the Horizontal Pod Autoscaler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.hpa import DOWN, UP, Behaviour, Follower
from rarera_sim.policies.staffing import Limits, positive
from rarera_sim.policies.tuning import Range, Tunable


def desired_for_lag(
    lag: int, threshold: int, current: int, partitions: int | None = None, tolerance: float = 0.1
) -> int:
    """What the lag alone asks for: the autoscaler's rule for a metric with a target per replica.

        desired = ceil(lag / threshold), unless lag / (threshold * current) is within 1 +- tolerance

    with the lag cut to threshold * partitions where lag / threshold, cut off to an integer, exceeds the
    partitions: a consumer beyond them would have nothing to read.

    Examples
    --------
    >>> desired_for_lag(lag=35, threshold=10, current=1), desired_for_lag(lag=35, threshold=10, current=1, partitions=2)
    (4, 2)
    >>> desired_for_lag(lag=108, threshold=10, current=10)
    10
    """
    if partitions is not None and lag // threshold > partitions:
        lag = threshold * partitions
    if current > 0 and 1.0 - tolerance <= lag / (threshold * current) <= 1.0 + tolerance:
        return current
    return math.ceil(lag / threshold)


class Keda:
    """Replicas in proportion to the lag: events waiting and in service, as an event is read once it is committed.

        desired = ceil(lag / threshold)   (see `desired_for_lag`)

    followed as the Horizontal Pod Autoscaler does, which KEDA feeds: stabilised over 300 s on the way down, paced by
    +4 or +100 % within 15 s on the way up. Every `polling` seconds KEDA looks whether there is any lag; where there has
    been none for `cooldown` seconds, it scales to its least number past the autoscaler. (That number is 0 in KEDA. The
    replicas of the model are at least one, so it is `replicas_min` here.)

    Lag is what a queue has when it is too late already: with a threshold above what a replica finishes within the
    objective's bound, it keeps nothing.

    Parameters
    ----------
    threshold
        Lag per replica, a whole number >= 1.
    partitions
        Most replicas that have something to read; None for no such cap.
    polling
        Seconds between two looks for activity, > 0.
    cooldown
        Seconds without lag after which it scales to the least, >= 0.
    activation
        Lag above which the source counts as active, >= 0.
    tolerance, sync, scale_up, scale_down, window
        As in `Hpa`.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Keda(threshold=10)
    >>> policy.observe(Observation(arrival_rate=20.0, service_rate=2.0, backlog=32, replicas=3, in_service=3))
    >>> policy.decide().reason
    'A lag of 35 at 10 each asks for 4.'

    References
    ----------
    KEDA 2.17, keda.sh/docs/latest/scalers/apache-kafka and concepts/scaling-deployments (polling 30 s, cooldown 300 s)
    KEDA, pkg/scalers/kafka_scaler.go: threshold of 10, cap by partitions in integers.
    Kubernetes, replica_calculator.go: GetExternalPerPodMetricReplicas.
    """

    TUNABLE: ClassVar[Tunable] = {
        "threshold": Range(1, 100, "int"),
        "tolerance": Range(0.0, 0.2),
        "window": Range(0.0, 1800.0),
    }

    def __init__(
        self,
        *,
        threshold: int = 10,
        partitions: int | None = None,
        polling: float = 30.0,
        cooldown: float = 300.0,
        activation: int = 0,
        tolerance: float = 0.1,
        sync: float = 15.0,
        scale_up: Behaviour | Mapping[str, Any] = UP,
        scale_down: Behaviour | Mapping[str, Any] = DOWN,
        window: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        for name, value, least in (
            ("threshold", threshold, 1),
            ("partitions", partitions, 1),
            ("activation", activation, 0),
        ):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
        positive(polling=polling, sync=sync)
        for name, seconds in (("cooldown", cooldown), ("tolerance", tolerance)):
            if not 0.0 <= seconds < math.inf:
                raise ValueError(f"{name} must be >= 0, got {seconds!r}")
        self.threshold = threshold
        self.partitions = partitions
        self.polling = polling
        self.cooldown = cooldown
        self.activation = activation
        self.tolerance = tolerance
        self.sync = sync
        self.limits = Limits(replicas_min, replicas_max)
        self._follower = Follower.of(scale_up, scale_down, window)
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._due = -math.inf
        self._poll_due = -math.inf
        self._active_at = -math.inf

    def __repr__(self) -> str:
        return f"Keda(threshold={self.threshold}, partitions={self.partitions}, cooldown={self.cooldown:g})"

    def observe(self, observation: Observation) -> None:
        """Take the lag."""
        if self._observation is not None and observation.time < self._observation.time:
            self._follower.restart()
            self._due = self._poll_due = self._active_at = -math.inf
        self._observation = observation

    def decide(self) -> Decision:
        """One look of the autoscaler, if one is due; otherwise, as it was."""
        observation = self._observation
        if observation is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        now = observation.time
        if self._decision is not None and now < self._due - 1e-9:
            return self._decision
        self._due = now + self.sync
        lag = max(0, observation.backlog) + max(0, observation.in_service)
        if self._idle(lag, now):
            idle = f"No lag for {self.cooldown:g} s, so the fewest."
            self._follower.restart()
            self._decision = Decision(self.limits.replicas_min, idle)
            return self._decision
        unset = observation.replicas + observation.pending
        current = unset if self._decision is None else self._decision.replicas
        desired = desired_for_lag(lag, self.threshold, current, self.partitions, self.tolerance)
        stable, replicas = self._follower.follow(desired, current, now, self.limits)
        asks = f"A lag of {lag} at {self.threshold} each asks for {desired}"
        if stable != desired:
            reason = f"{asks}; the stabilisation window holds {stable}."
        else:
            reason = f"{asks}." if replicas == stable else f"{asks}; pace and limits allow {replicas}."
        self._decision = Decision(replicas, reason)
        return self._decision

    def _idle(self, lag: int, now: float) -> bool:
        if now >= self._poll_due - 1e-9:
            self._poll_due = now + self.polling
            if lag > self.activation or self._active_at == -math.inf:
                self._active_at = now
        return lag <= self.activation and now - self._active_at >= self.cooldown
