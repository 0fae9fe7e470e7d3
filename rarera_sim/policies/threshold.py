"""The classic rule: add when it is busy, take away when it is idle, and wait after each change."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable


class Threshold:
    """A step up above one utilisation, a step down below another, none within the cooldown after the last.

        replicas + step_up * replicas   where utilisation > up
        replicas - step_down * replicas   where utilisation < down

    The step is a share of the replicas there are, rounded as EC2 Auto Scaling rounds a percent change: cut off above
    one, and one where it is less.

    Parameters
    ----------
    up, down
        Utilisations, 0 <= down < up <= 1.
    step_up, step_down
        Shares of the replicas, > 0.
    cooldown
        Seconds after a change in which nothing is changed, >= 0.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Threshold(up=0.8, down=0.3, step_up=0.25, cooldown=60.0)
    >>> for step, utilisation in enumerate((0.9, 0.9, 0.9, 0.9, 0.9, 0.5)):
    ...     policy.observe(Observation(90.0, 10.0, 0, replicas=10, utilisation=utilisation, time=15.0 * step))
    ...     print(policy.decide().replicas, end=" ")
    12 12 12 12 15 15

    References
    ----------
    Amazon EC2 Auto Scaling User Guide, "Step and simple scaling policies": cooldown of 300 s, rounding.
    Lorido-Botran, Miguel-Alonso, Lozano (2014), A review of auto-scaling techniques for elastic applications in cloud
    environments, Journal of Grid Computing 12(4), 559-592, section 5.1.
    """

    TUNABLE: ClassVar[Tunable] = {
        "up": Range(0.5, 0.98),
        "down": Range(0.05, 0.48),
        "step_up": Range(0.05, 2.0, "log"),
        "cooldown": Range(15.0, 900.0, "log"),
    }

    def __init__(
        self,
        *,
        up: float = 0.8,
        down: float = 0.4,
        step_up: float = 0.2,
        step_down: float = 0.1,
        cooldown: float = 300.0,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        if not 0.0 <= down < up <= 1.0:
            raise ValueError(f"down must be >= 0 and < up, and up <= 1, got down={down!r}, up={up!r}")
        positive(step_up=step_up, step_down=step_down)
        if not 0.0 <= cooldown < math.inf:
            raise ValueError(f"cooldown must be >= 0 s, got {cooldown!r}")
        self.up = up
        self.down = down
        self.step_up = step_up
        self.step_down = step_down
        self.cooldown = cooldown
        self.limits = Limits(replicas_min, replicas_max)
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._asked: int | None = None
        self._changed = -math.inf

    def __repr__(self) -> str:
        return f"Threshold(up={self.up:g}, down={self.down:g}, step_up={self.step_up:g}, cooldown={self.cooldown:g})"

    def observe(self, observation: Observation) -> None:
        """Take the utilisation."""
        if self._observation is not None and observation.time < self._observation.time:
            self._changed = -math.inf
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """One step, or none."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _decide(self) -> Decision:
        observation = self._observation
        if observation is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        if self._asked is None:
            self._asked = self.limits.within(observation.replicas + observation.pending)
        utilisation, asked = observation.utilisation, self._asked
        if not usable(utilisation) or observation.replicas < 1:
            return Decision(asked, "No utilisation to go by, so as it is.")
        if self.down <= utilisation <= self.up:
            return Decision(asked, f"Utilisation of {utilisation:.3g} lies between {self.down:g} and {self.up:g}.")
        if observation.time - self._changed < self.cooldown - 1e-9:
            return Decision(asked, f"Utilisation of {utilisation:.3g}, but the last step was less than a cooldown ago.")
        busy = utilisation > self.up
        step = max(1, int((self.step_up if busy else self.step_down) * asked))
        replicas = self.limits.within(asked + step if busy else asked - step)
        if replicas != asked:
            self._changed = observation.time
            self._asked = replicas
        beyond = f"above {self.up:g}" if busy else f"below {self.down:g}"
        return Decision(replicas, f"Utilisation of {utilisation:.3g} is {beyond}: from {asked} to {replicas}.")
