"""The Kubernetes Horizontal Pod Autoscaler, autoscaling/v2, as its controller computes it.

`desired_pods` is the metric's part (tolerance, pods that are not ready), `Behaviour` limits how fast its answer is
followed, `Hpa` keeps the memory of both. Integers and floats are used where the controller uses them, because they
show: utilisation is a whole percentage, cut off, and 25 pods at 12 % above their target become 29, as
1.12 * 25 > 28 in binary.

References
----------
Kubernetes, "Horizontal Pod Autoscaling", kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale
Kubernetes, pkg/controller/podautoscaler: replica_calculator.go, metrics/utilization.go, horizontal.go (1.33)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable


@dataclass(frozen=True)
class Pace:
    """At most this much change within any stretch of `period` seconds: one of the `policies` of a behaviour.

    Parameters
    ----------
    kind
        "pods", or "percent" of the pods there were when the stretch began.
    value
        How many, >= 1.
    period
        Length of the stretch, s, > 0.
    """

    kind: Literal["pods", "percent"]
    value: int
    period: float = 15.0

    def __post_init__(self) -> None:
        if self.kind not in ("pods", "percent"):
            raise ValueError(f"kind must be 'pods' or 'percent', got {self.kind!r}")
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 1:
            raise ValueError(f"value must be a whole number >= 1, got {self.value!r}")
        positive(period=self.period)


@dataclass(frozen=True)
class Behaviour:
    """How fast one direction may go: `behavior.scaleUp` or `behavior.scaleDown`.

    Parameters
    ----------
    policies
        What is allowed; `select` says which counts.
    select
        "max": the largest change that any of them allows; "min": the smallest; "disabled": none at all.
    window
        Stabilisation, s, >= 0: going up follows the lowest recommendation within it, going down the highest.
    """

    policies: tuple[Pace, ...]
    select: Literal["max", "min", "disabled"] = "max"
    window: float = 0.0

    def __post_init__(self) -> None:
        if self.select not in ("max", "min", "disabled"):
            raise ValueError(f"select must be 'max', 'min' or 'disabled', got {self.select!r}")
        if not 0.0 <= self.window < math.inf:
            raise ValueError(f"window must be >= 0 s, got {self.window!r}")
        if not self.policies:
            raise ValueError("policies must name at least one, got none; select = 'disabled' forbids change")

    def changed(self, changes: Behaviour | Mapping[str, Any]) -> Behaviour:
        """This behaviour with what `changes` names put in place, as a manifest is merged with the defaults.

        Examples
        --------
        >>> DOWN.changed({"policies": [{"kind": "percent", "value": 10, "period": 60}]}).window
        300.0
        """
        if isinstance(changes, Behaviour):
            return changes
        unknown = sorted(set(changes) - {"policies", "select", "window"})
        if unknown:
            raise ValueError(f"a behaviour has policies, select and window, not {unknown[0]!r}")
        policies = changes.get("policies", self.policies)
        if isinstance(policies, (str, Mapping)):
            raise ValueError(f"policies must be a list of tables with kind, value and period, got {policies!r}")
        try:
            paces = tuple(pace if isinstance(pace, Pace) else Pace(**pace) for pace in policies)
        except TypeError as error:
            raise ValueError(f"a policy has kind, value and period: {error}") from error
        return Behaviour(paces, changes.get("select", self.select), changes.get("window", self.window))


UP = Behaviour((Pace("percent", 100), Pace("pods", 4)))
DOWN = Behaviour((Pace("percent", 100),), window=300.0)


def desired_pods(total: int, target: int, ready: int, pending: int, current: int, tolerance: float = 0.1) -> int:
    """What the metric alone asks for.

        desired = ceil(ratio * pods),   ratio = (total / pods) / target, cut off to an integer inside the bracket

    over the pods that are ready. Where that would scale up and some are still starting, they count as pods that use
    nothing; if that turns the direction or ends inside the tolerance, nothing changes. No pod ready: no metric, no
    change.

    Parameters
    ----------
    total
        Sum of the metric over the ready pods: percent of utilisation, or milli-units of a rate.
    target
        Value wanted per pod, in the same unit, >= 1.
    ready, pending, current
        Pods ready; pods still starting; pods asked for so far.
    tolerance
        Ratios within 1 - tolerance to 1 + tolerance change nothing.

    Examples
    --------
    The documentation's: 200m against 100m doubles, 50m halves.

    >>> desired_pods(total=3 * 200, target=100, ready=3, pending=0, current=3)
    6
    >>> desired_pods(total=4 * 50, target=100, ready=4, pending=0, current=4)
    2
    """
    if ready < 1:
        return current
    ratio = (total // ready) / target
    if pending == 0 or ratio <= 1.0:
        return current if _tolerated(ratio, tolerance) else math.ceil(ratio * ready)
    pods = ready + pending
    damped = (total // pods) / target
    desired = math.ceil(damped * pods)
    if _tolerated(damped, tolerance) or damped < 1.0 or desired < current:
        return current
    return desired


def _tolerated(ratio: float, tolerance: float) -> bool:
    # As since version 1.33. |1 - ratio| <= tolerance, as before, refuses 77 % against 70 % for its last bit.
    return 1.0 - tolerance <= ratio <= 1.0 + tolerance


class Follower:
    """Follows what a metric asks for as far as two behaviours let it, and remembers what was asked and what was done.

    The part of the controller that does not depend on the metric: KEDA, which hands its metrics to the autoscaler,
    has it as well.
    """

    def __init__(self, scale_up: Behaviour, scale_down: Behaviour) -> None:
        self.scale_up = scale_up
        self.scale_down = scale_down
        self._window_max = max(scale_up.window, scale_down.window)
        self._pace_max = max(pace.period for pace in scale_up.policies + scale_down.policies)
        self._recommended: deque[_At] = deque()
        self._changes: deque[_At] = deque()

    @classmethod
    def of(
        cls,
        scale_up: Behaviour | Mapping[str, Any],
        scale_down: Behaviour | Mapping[str, Any],
        window: float | None,
    ) -> Follower:
        """One with the default behaviours but for what differs, and for the window of the way down if it is given."""
        down = DOWN.changed(scale_down)
        return cls(UP.changed(scale_up), down if window is None else down.changed({"window": window}))

    def restart(self) -> None:
        """The clock was started anew: what was done then has no place on it."""
        self._recommended.clear()
        self._changes.clear()

    def follow(self, desired: int, current: int, now: float, limits: Limits) -> tuple[int, int]:
        """The number that the stabilisation windows leave of the desired one, and the one that pace and limits do."""
        stable = self._stabilised(desired, current, now)
        replicas = limits.within(self._paced(stable, current, now))
        if replicas != current:
            self._changes.append(_At(now, replicas - current))
        return stable, replicas

    def _stabilised(self, desired: int, current: int, now: float) -> int:
        up, down = self.scale_up.window, self.scale_down.window
        while self._recommended and now - self._recommended[0].time >= self._window_max:
            self._recommended.popleft()
        lowest = min([desired, *(at.value for at in self._recommended if now - at.time < up)])
        highest = max([desired, *(at.value for at in self._recommended if now - at.time < down)])
        self._recommended.append(_At(now, desired))
        return min(max(current, lowest), highest)

    def _paced(self, stable: int, current: int, now: float) -> int:
        while self._changes and now - self._changes[0].time >= self._pace_max:
            self._changes.popleft()
        if stable > current:
            return min(stable, max(current, self._limit_up(current, now)))
        if stable < current:
            return max(stable, min(current, self._limit_down(current, now)))
        return stable

    def _limit_up(self, current: int, now: float) -> int:
        if self.scale_up.select == "disabled":
            return current
        limits = []
        for pace in self.scale_up.policies:
            start = self._start(current, now, pace.period)
            allowed = start + pace.value if pace.kind == "pods" else math.ceil(start * (1 + pace.value / 100))
            limits.append(allowed)
        return max(limits) if self.scale_up.select == "max" else min(limits)

    def _limit_down(self, current: int, now: float) -> int:
        if self.scale_down.select == "disabled":
            return current
        limits = []
        for pace in self.scale_down.policies:
            start = self._start(current, now, pace.period)
            allowed = start - pace.value if pace.kind == "pods" else int(start * (1 - pace.value / 100))
            limits.append(allowed)
        return min(limits) if self.scale_down.select == "max" else max(limits)

    def _start(self, current: int, now: float, period: float) -> int:
        """Replicas asked for when the stretch of `period` seconds began."""
        return current - sum(at.value for at in self._changes if now - at.time < period)


class Hpa:
    """Kubernetes' Horizontal Pod Autoscaler: keep a metric per replica at its target.

        desired = ceil(ready * metric / target), unless metric / target is within 1 +- tolerance

    then stabilised (down: the highest recommendation of the last 300 s), then paced (up: the larger of +4 and
    +100 % within 15 s; down: 100 % within 15 s), then limited. It acts every `sync` seconds of the observations'
    time. The replicas asked for last time are its "current" ones, as the scale's spec is.

    An HPA whose manifest has no `behavior` at all paces by max(2 * current, 4) instead, the same but for small
    numbers.

    Parameters
    ----------
    metric
        "utilisation" (busy share, as CPU of a pod with one thread), or "rate" (arrivals per second and replica).
    target
        Wanted per replica: a share such as 0.7, or a rate in 1/s. None: 0.7, or 0.7 of `service_rate`.
    service_rate
        What one replica finishes per second; only to derive the target of a rate.
    tolerance
        See above, >= 0.
    sync
        Seconds between two looks, > 0.
    scale_up, scale_down
        Behaviours, or tables of what differs from the default: policies, select, window.
    window
        Stabilisation of the way down, s; None: that of `scale_down`.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Hpa(target=0.5)
    >>> policy.observe(Observation(arrival_rate=9.0, service_rate=3.0, backlog=4, replicas=4, utilisation=0.75))
    >>> policy.decide().reason
    'Utilisation of 0.75 against a target of 0.5 asks for 6.'

    References
    ----------
    See the module.
    """

    TUNABLE: ClassVar[Tunable] = {
        "target": Range(0.2, 0.98),
        "tolerance": Range(0.0, 0.2),
        "window": Range(0.0, 1800.0),
    }

    def __init__(
        self,
        *,
        metric: Literal["utilisation", "rate"] = "utilisation",
        target: float | None = None,
        service_rate: float | None = None,
        tolerance: float = 0.1,
        sync: float = 15.0,
        scale_up: Behaviour | Mapping[str, Any] = UP,
        scale_down: Behaviour | Mapping[str, Any] = DOWN,
        window: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        if metric not in ("utilisation", "rate"):
            raise ValueError(f"metric must be 'utilisation' or 'rate', got {metric!r}")
        if service_rate is not None:
            positive(service_rate=service_rate)
        if target is None and metric == "utilisation":
            target = 0.7
        if target is None:
            if service_rate is None:
                raise ValueError("target must be given, as a rate in 1/s per replica, where service_rate is not")
            target = 0.7 * service_rate
        positive(target=target, sync=sync)
        self._unit = 100 if metric == "utilisation" else 1000
        if target * self._unit < 0.5:
            raise ValueError(f"target must be >= {0.5 / self._unit:g}, got {target!r}")
        if not 0.0 <= tolerance < math.inf:
            raise ValueError(f"tolerance must be >= 0, got {tolerance!r}")
        self.metric = metric
        self.target = target
        self.tolerance = tolerance
        self.sync = sync
        self._follower = Follower.of(scale_up, scale_down, window)
        self.limits = Limits(replicas_min, replicas_max)
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._due = -math.inf

    def __repr__(self) -> str:
        return f"Hpa(metric={self.metric!r}, target={self.target:g})"

    def observe(self, observation: Observation) -> None:
        """Take the metric. Nothing is learned from it: what counts is what was recommended and done."""
        last = self._observation
        if last is not None and observation.time < last.time:
            self._follower.restart()
            self._due = -math.inf
        self._observation = observation

    def decide(self) -> Decision:
        """One look of the controller, if one is due; otherwise, as it was."""
        observation = self._observation
        if observation is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        if self._decision is not None and observation.time < self._due - 1e-9:
            return self._decision
        now = observation.time
        self._due = now + self.sync
        # The scale's spec, not the pods that there are: a crashed one is still asked for.
        unset = observation.replicas + observation.pending
        current = unset if self._decision is None else self._decision.replicas
        desired = self._desired(observation, current)
        stable, replicas = self._follower.follow(desired, current, now, self.limits)
        self._decision = Decision(replicas, self._reason(observation, desired, stable, replicas))
        return self._decision

    def _desired(self, observation: Observation, current: int) -> int:
        value = self._per_replica(observation)
        if value is None:
            return current
        # In thousandths, as the controller counts; cut before a senseless metric becomes an integer of 300 digits.
        total = round(min(value * observation.replicas * 1000.0, 1e18))
        target = round(self.target * self._unit)
        if self.metric == "utilisation":
            total //= 10  # thousandths of a CPU over requests of one CPU each, in percent
        return desired_pods(total, target, observation.replicas, observation.pending, current, self.tolerance)

    def _per_replica(self, observation: Observation) -> float | None:
        if observation.replicas < 1:
            return None
        value = observation.utilisation
        if self.metric == "rate":
            value = observation.arrival_rate / observation.replicas
        return value if usable(value) else None

    def _reason(self, observation: Observation, desired: int, stable: int, replicas: int) -> str:
        value = self._per_replica(observation)
        if value is None:
            return "No replica is ready to measure, so as it is."
        what = "Utilisation" if self.metric == "utilisation" else "A rate per replica"
        asks = f"{what} of {value:.3g} against a target of {self.target:g} asks for {desired}"
        if stable != desired:
            return f"{asks}; the stabilisation window holds {stable}."
        return f"{asks}." if replicas == stable else f"{asks}; pace and limits allow {replicas}."


class HpaRate:
    """The Horizontal Pod Autoscaler on arrivals per second and replica; see `Hpa`, whose rules these are.

        desired = ceil(arrival rate / target), unless the ratio to what there is lies within 1 +- tolerance

    Parameters
    ----------
    target
        Arrivals per second wanted per replica; None: `share` of `service_rate`.
    share
        See `target`, > 0.
    service_rate
        What one replica finishes per second.
    tolerance, sync, scale_up, scale_down, window, replicas_min, replicas_max
        As in `Hpa`.

    Examples
    --------
    >>> policy = HpaRate(target=7.0)
    >>> policy.observe(Observation(arrival_rate=100.0, service_rate=10.0, backlog=0, replicas=10))
    >>> policy.decide().replicas
    15
    """

    TUNABLE: ClassVar[Tunable] = {
        "share": Range(0.2, 0.98),
        "tolerance": Range(0.0, 0.2),
        "window": Range(0.0, 1800.0),
    }

    def __init__(
        self,
        *,
        target: float | None = None,
        share: float = 0.7,
        service_rate: float | None = None,
        tolerance: float = 0.1,
        sync: float = 15.0,
        scale_up: Behaviour | Mapping[str, Any] = UP,
        scale_down: Behaviour | Mapping[str, Any] = DOWN,
        window: float | None = None,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        positive(share=share)
        if target is None and service_rate is not None:
            positive(service_rate=service_rate)
            target = share * service_rate
        self._hpa = Hpa(
            metric="rate",
            target=target,
            service_rate=service_rate,
            tolerance=tolerance,
            sync=sync,
            scale_up=scale_up,
            scale_down=scale_down,
            window=window,
            replicas_min=replicas_min,
            replicas_max=replicas_max,
        )

    def __repr__(self) -> str:
        return f"HpaRate(target={self._hpa.target:g})"

    def observe(self, observation: Observation) -> None:
        """Take the metric."""
        self._hpa.observe(observation)

    def decide(self) -> Decision:
        """One look of the controller, if one is due."""
        return self._hpa.decide()


class _At(NamedTuple):
    time: float
    value: int
