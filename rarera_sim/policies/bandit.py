"""A bandit over policies: let several run, follow the one that has served best lately."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable


class Bandit:
    """Discounted UCB: for one epoch, the policy with the highest gain to be hoped for.

        loss(epoch) = (sum of replicas * price + late_price * late events) / events
        gain(epoch) = 1 / (1 + loss / usual loss)
        follow the largest mean_a + exploration * sqrt(ln(sum of n) / n_a)

    n_a counts the epochs of policy a, mean_a averages their gains; both are multiplied by `discount` each epoch, as the
    world changes. All policies observe everything and are asked every period, so that whoever takes over has its memory
    in order; only the one in charge is followed and judged.

    The rule is deterministic: policies do not draw. (EXP3 and Thompson sampling do, and would need a generator.)

    Parameters
    ----------
    arms
        The policies, at least one.
    epoch
        Seconds in charge before the next choice, > 0: several start-ups, or the choice is judged by its predecessor.
    late_price
        What one late event costs, in the currency of the observed price, >= 0.
    exploration
        Weight of what is not known, >= 0.
    discount
        How much an epoch counts when it is one epoch older, in (0, 1].
    period
        Control period, s, > 0.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    Three replicas are late, thirty are dear; ten are followed most of the time.

    >>> from rarera_sim.policies.fixed import Fixed
    >>> policy = Bandit([Fixed(3), Fixed(10), Fixed(30)], epoch=60.0, late_price=0.001)
    >>> followed = []
    >>> for step in range(1, 801):
    ...     replicas = policy.decide().replicas
    ...     followed.append(replicas)
    ...     late = 1.0 if replicas < 5 else 0.0
    ...     policy.observe(Observation(50.0, 10.0, 0, replicas, late_share=late, time=15.0 * step))
    >>> followed.count(10) > 400
    True

    References
    ----------
    Garivier, Moulines (2011), On upper-confidence bound policies for switching bandit problems, ALT, 174-188: D-UCB.
    """

    TUNABLE: ClassVar[Tunable] = {
        "epoch": Range(300.0, 14_400.0, "log"),
        "late_price": Range(1e-6, 0.1, "log"),
        "exploration": Range(0.01, 1.0, "log"),
    }
    WITHIN: ClassVar[Mapping[str, Sequence[str]]] = {"arms": ("hpa", "erlang-c", "predictive")}

    def __init__(
        self,
        arms: Sequence[Scaler],
        *,
        epoch: float = 1800.0,
        late_price: float = 0.0001,
        exploration: float = 0.1,
        discount: float = 0.98,
        period: float = 15.0,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        if not arms:
            raise ValueError("arms must name at least one policy, got none")
        positive(epoch=epoch, period=period)
        for name, value in (("late_price", late_price), ("exploration", exploration)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0, got {value!r}")
        if not 0.0 < discount <= 1.0:
            raise ValueError(f"discount must be > 0 and <= 1, got {discount!r}")
        self.arms = list(arms)
        self.epoch = epoch
        self.late_price = late_price
        self.exploration = exploration
        self.discount = discount
        self.period = period
        self.limits = Limits(replicas_min, replicas_max)
        self._counts = [0.0] * len(self.arms)
        self._gains = [0.0] * len(self.arms)
        self._usual: float | None = None
        self._chosen = 0
        self._begun: float | None = None
        self._loss = 0.0
        self._events = 0.0
        self._followed = False
        self._observation: Observation | None = None
        self._decision: Decision | None = None

    def __repr__(self) -> str:
        names = ", ".join(type(arm).__name__ for arm in self.arms)
        return f"Bandit({names}, epoch={self.epoch:g})"

    def observe(self, observation: Observation) -> None:
        """Tell all; and judge the one in charge, if this period was its doing."""
        for arm in self.arms:
            arm.observe(observation)
        if self._begun is not None and self._observation is not None and observation.time < self._observation.time:
            self._begun = observation.time
            self._loss = self._events = 0.0
        if self._followed:
            self._charge(observation)
        self._followed = False
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """What the one in charge wants."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _charge(self, observation: Observation) -> None:
        events = observation.arrival_rate * self.period
        price = observation.price_per_hour if usable(observation.price_per_hour) else 1.0
        late = observation.late_share
        if usable(events):
            self._events += min(events, 1e12)
            if late is not None and 0.0 <= late <= 1.0:
                self._loss += self.late_price * late * min(events, 1e12)
        self._loss += (observation.replicas + observation.pending) * price * self.period / 3600.0

    def _decide(self) -> Decision:
        wishes = [arm.decide() for arm in self.arms]
        observation = self._observation
        if observation is not None:
            if self._begun is None:
                self._begun = observation.time
            elif observation.time - self._begun >= self.epoch - 1e-9:
                self._close(observation.time)
        self._followed = True
        wish = wishes[self._chosen]
        replicas = self.limits.within(wish.replicas)
        return Decision(
            replicas,
            f"{type(self.arms[self._chosen]).__name__} is in charge. {wish.reason}".strip(),
            wish.pools,
            wish.asleep,
            wish.dispatch,
            wish.batch,
        )

    def _close(self, now: float) -> None:
        loss = self._loss / max(1.0, self._events)
        self._usual = loss if self._usual is None else self._usual + 0.1 * (loss - self._usual)
        gain = 1.0 / (1.0 + loss / self._usual) if self._usual > 0.0 else 0.5
        for arm in range(len(self.arms)):
            self._counts[arm] *= self.discount
            self._gains[arm] *= self.discount
        self._counts[self._chosen] += 1.0
        self._gains[self._chosen] += gain
        known = math.log(max(1.0, sum(self._counts)))
        self._chosen = max(range(len(self.arms)), key=lambda arm: (self._hope(arm, known), -arm))
        self._begun = now
        self._loss = self._events = 0.0

    def _hope(self, arm: int, known: float) -> float:
        count = self._counts[arm]
        if count <= 0.0:
            return math.inf
        return self._gains[arm] / count + self.exploration * math.sqrt(known / count)
