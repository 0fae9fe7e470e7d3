"""A learning policy with a safe one beside it, for the time in which what was learned is of another world."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation, Scaler


class Guarded:
    """What one policy wants; and after an alert, for a while, what a safe one wants.

    Both are told everything, so that either can go on at any moment. `fall_back` does what the remedy
    `anomalies.remedies.FallBack` asks for.

    Parameters
    ----------
    policy
        The one that is guarded.
    safe
        The one to fall back to, which should need no past: a rule on the rate or on utilisation.

    Examples
    --------
    >>> from rarera_sim.policies.fixed import Fixed
    >>> policy = Guarded(Fixed(3), Fixed(8))
    >>> policy.fall_back(until=60.0)
    >>> for time in (30.0, 75.0):
    ...     policy.observe(Observation(80.0, 10.0, 0, replicas=8, time=time))
    ...     print(policy.decide().replicas, policy.decide().reason)
    8 The safe policy decides until 60 s. Always 8.
    3 Always 3.
    """

    WITHIN: ClassVar[Mapping[str, str]] = {"policy": "rarera", "safe": "hpa-rate"}

    def __init__(self, policy: Scaler, safe: Scaler) -> None:
        self.policy = policy
        self.safe = safe
        self._until = -math.inf
        self._now: float | None = None

    def __repr__(self) -> str:
        return f"Guarded({type(self.policy).__name__}, safe={type(self.safe).__name__})"

    def fall_back(self, until: float) -> None:
        """Have the safe policy decide until then, on the clock of the observations, in seconds."""
        if not until < math.inf:
            raise ValueError(f"until must be a moment in seconds, got {until!r}")
        self._until = max(self._until, until)

    def observe(self, observation: Observation) -> None:
        """Tell both."""
        if self._now is not None and observation.time < self._now:
            self._until = -math.inf  # another run
        self._now = observation.time
        self.policy.observe(observation)
        self.safe.observe(observation)

    def decide(self) -> Decision:
        """What the policy in charge wants."""
        if self._now is None or self._now >= self._until:
            return self.policy.decide()
        safe = self.safe.decide()
        return replace(safe, reason=f"The safe policy decides until {self._until:g} s. {safe.reason}".strip())
