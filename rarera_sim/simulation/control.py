"""The one loop: what is goes up to a policy once per period, what shall be comes down to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simpy

from rarera_sim.core.trace import Stage
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.simulation.cluster import Cluster
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.quantities import Count, PositiveSeconds, Quantile, Settings
from rarera_sim.simulation.transport import Transport


class ControlSettings(Settings, frozen=True, kw_only=True):
    """How often a policy is asked, and within which limits it is followed.

    Parameters
    ----------
    period
        Seconds between decisions.
    replicas_min, replicas_max
        Fewest and most replicas, whatever a policy wants.
    """

    period: PositiveSeconds = 15.0
    replicas_min: Count = 1
    replicas_max: Count = 100


class Objective(Settings, frozen=True, kw_only=True):
    """What is promised: this share of the responses within so many seconds of their receipt.

    Parameters
    ----------
    quantile
        Share of the events, between 0 and 1.
    bound
        Response time allowed, seconds.
    """

    quantile: Quantile = 0.99
    bound: PositiveSeconds = 30.0


class Control(NamedTuple):
    """One period: what was observed at its end and what was decided."""

    observation: Observation
    decision: Decision
    down: int


class Controller:
    """Asks a policy once per period and does what it says.

    Parameters
    ----------
    tell
        Called with every `Control`.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: ControlSettings,
        objective: Objective,
        price_per_hour: float,
        policy: Scaler,
        cluster: Cluster,
        transport: Transport,
        tell: Callable[[Control], None],
    ) -> None:
        self._env = env
        self._settings = settings
        self._objective = objective
        self._price = price_per_hour
        self._policy = policy
        self._cluster = cluster
        self._transport = transport
        self._tell = tell
        self._received_at: dict[int, float] = {}
        self._responses: list[float] = []
        self._received = 0
        self._finished = 0
        self._finished_time = 0.0
        self._busy_time = 0.0
        self._running_time = 0.0
        cluster.scale_to(self._within(policy.decide()), at_once=True)
        after(env, settings.period, self._act)

    def note(self, stage: str, number: int) -> None:
        """Hear what happens to events: receipts and finishes make rates and response times."""
        if stage is Stage.RECEIVED:
            self._received += 1
            self._received_at[number] = self._env.now
        elif stage is Stage.FINISHED or stage is Stage.MISREAD:
            received = self._received_at.pop(number, None)
            if received is not None:
                self._responses.append(self._env.now - received)

    def _act(self, _: object) -> None:
        observation = self._observe()
        self._policy.observe(observation)
        decision = self._policy.decide()
        self._tell(Control(observation, decision, self._cluster.down))
        self._cluster.scale_to(self._within(decision))
        after(self._env, self._settings.period, self._act)

    def _within(self, decision: Decision) -> int:
        return max(self._settings.replicas_min, min(self._settings.replicas_max, decision.replicas))

    def _observe(self) -> Observation:
        cluster = self._cluster
        finished = cluster.finished - self._finished
        finished_time = cluster.finished_time - self._finished_time
        busy = cluster.busy_time - self._busy_time
        running = cluster.running_time - self._running_time
        responses = self._responses
        observation = Observation(
            arrival_rate=self._received / self._settings.period,
            # From finished services only, so that one long service under way does not look like a slow machine.
            service_rate=finished / finished_time if finished and finished_time > 0.0 else 0.0,
            backlog=self._transport.waiting,
            replicas=cluster.ready,
            # A crashed processor is being started again: for a policy it is one that is still to come.
            pending=cluster.starting + cluster.down,
            in_service=cluster.in_service,
            utilisation=min(1.0, busy / running) if running > 0.0 else 0.0,
            time=self._env.now,
            response_quantile=float(np.quantile(responses, self._objective.quantile)) if responses else None,
            late_share=sum(each > self._objective.bound for each in responses) / len(responses) if responses else None,
            price_per_hour=self._price,
        )
        self._received = 0
        self._finished = cluster.finished
        self._finished_time = cluster.finished_time
        self._busy_time += busy
        self._running_time += running
        self._responses = []
        return observation
