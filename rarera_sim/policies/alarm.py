"""Alarm thresholds on the response time, around any other policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.policies.staffing import Limits, positive
from rarera_sim.policies.tuning import Range, Tunable


class Alarm:
    """What another policy wants, and a step more for every period in which the responses are beyond a threshold.

        surplus <- surplus + step * max(1, replicas)   while response quantile > threshold
        surplus <- surplus / 2 once per `hold` seconds below clear * threshold

    The gap between the two thresholds keeps an alarm from flapping. A policy that only looks at utilisation or lag
    gets to know that somebody waits.

    Parameters
    ----------
    policy
        The one that is watched over.
    threshold
        Seconds of the response at the objective's quantile, > 0; None: `bound`.
    bound
        The objective's, s, > 0.
    clear
        The alarm is over below this share of the threshold, in (0, 1].
    step
        Share of the replicas that each period of alarm adds, > 0.
    hold
        Seconds without alarm after which half of the surplus goes, > 0.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> from rarera_sim.policies.fixed import Fixed
    >>> policy = Alarm(Fixed(8), threshold=2.0, step=0.25)
    >>> for response in (1.0, 5.0):
    ...     policy.observe(Observation(80.0, 10.0, 0, replicas=8, response_quantile=response))
    ...     print(policy.decide().replicas, policy.decide().reason)
    8 Always 8.
    10 Responses of 5 s, more than 2 s: 2 more. Always 8.
    """

    TUNABLE: ClassVar[Tunable] = {
        "threshold": Range(0.1, 60.0, "log"),
        "step": Range(0.02, 1.0, "log"),
        "hold": Range(15.0, 1800.0, "log"),
    }
    WITHIN: ClassVar[Mapping[str, str]] = {"policy": "hpa"}

    def __init__(
        self,
        policy: Scaler,
        *,
        threshold: float | None = None,
        bound: float = 1.0,
        clear: float = 0.5,
        step: float = 0.2,
        hold: float = 300.0,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        positive(bound=bound)
        threshold = bound if threshold is None else threshold
        positive(threshold=threshold, step=step, hold=hold)
        if not 0.0 < clear <= 1.0:
            raise ValueError(f"clear must be > 0 and <= 1, got {clear!r}")
        self.policy = policy
        self.threshold = threshold
        self.clear = clear
        self.step = step
        self.hold = hold
        self.limits = Limits(replicas_min, replicas_max)
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._surplus = 0
        self._calm_since: float | None = None

    def __repr__(self) -> str:
        return f"Alarm({self.policy!r}, threshold={self.threshold:g})"

    def observe(self, observation: Observation) -> None:
        """Tell the policy, and take the response time."""
        last = self._observation
        if last is not None and observation.time < last.time:
            self._surplus = 0
            self._calm_since = None
        self.policy.observe(observation)
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """What the policy wants, and the surplus."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _decide(self) -> Decision:
        wanted, observation = self.policy.decide(), self._observation
        if observation is None:
            return wanted
        response, now = observation.response_quantile, observation.time
        alarmed = response is not None and response > self.threshold
        if alarmed:
            more = math.ceil(self.step * max(1, observation.replicas) - 1e-9)
            self._surplus = min(self._surplus + more, self.limits.replicas_max)
            self._calm_since = None
        elif self._surplus > 0 and (response is None or response <= self.clear * self.threshold):
            if self._calm_since is None:
                self._calm_since = now
            elif now - self._calm_since >= self.hold - 1e-9:
                self._surplus //= 2
                self._calm_since = now
        if self._surplus == 0:
            return wanted
        replicas = self.limits.within(wanted.replicas + self._surplus)
        pools = None
        if wanted.pools:
            # More of what the policy wants most of: it had its reasons.
            most = max(wanted.pools, key=lambda name: (wanted.pools[name], name))  # type: ignore[index]
            pools = {**wanted.pools, most: wanted.pools[most] + replicas - wanted.replicas}
        why = f"Responses of {response:.3g} s, more than {self.threshold:g} s" if alarmed else "The alarm is not over"
        return replace(
            wanted, replicas=replicas, pools=pools, reason=f"{why}: {self._surplus} more. {wanted.reason}".strip()
        )
