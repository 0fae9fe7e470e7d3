"""When a score is worth waking somebody: the rule after the detector, which is worth as much as the detector."""

from __future__ import annotations

import math

from rarera_sim.core.errors import BadInput


class AlertPolicy:
    """A threshold that gets tired: no alert soon after another, and a higher threshold after many.

        level = threshold * (1 + fatigue),   alert if score >= level and `refractory` samples have passed
        fatigue <- fatigue + raise_by at an alert,   fatigue <- max(0, fatigue - recovery) at each sample

    One abnormality scores high for many samples, and without a refractory rule each of them is an alert. What comes
    back every day should say so less loudly, which is what the fatigue does.

    Parameters
    ----------
    threshold
        Score from which there is an alert, > 0.
    refractory
        Samples after an alert in which there is none, >= 0.
    raise_by
        How much an alert raises the level, relative to the threshold, >= 0.
    recovery
        How much of that is forgotten per sample, >= 0.
    rearm
        Hysteresis: after an alert, the score must have been below `rearm * threshold` once before the next, in
        (0, 1]; None asks for nothing of the kind.

    Examples
    --------
    >>> alerts = AlertPolicy(threshold=3.0, refractory=3)
    >>> [alerts.alert(score) for score in (1.0, 5.0, 5.0, 9.0, 9.0)]
    [False, True, False, False, True]
    >>> alerts = AlertPolicy(threshold=3.0, rearm=0.5)
    >>> [alerts.alert(score) for score in (5.0, 2.0, 5.0, 1.0, 5.0)]
    [True, False, False, False, True]
    """

    def __init__(
        self,
        threshold: float,
        *,
        refractory: int = 0,
        raise_by: float = 0.0,
        recovery: float = 0.0,
        rearm: float | None = None,
    ) -> None:
        if not 0.0 < threshold < math.inf:
            raise BadInput(f"threshold must be > 0, got {threshold!r}")
        for name, value in (("refractory", refractory), ("raise_by", raise_by), ("recovery", recovery)):
            if not 0.0 <= value < math.inf:
                raise BadInput(f"{name} must be >= 0, got {value!r}")
        if rearm is not None and not 0.0 < rearm <= 1.0:
            raise BadInput(f"rearm must be > 0 and <= 1, or None, got {rearm!r}")
        self.threshold = threshold
        self.refractory = refractory
        self.raise_by = raise_by
        self.recovery = recovery
        self.rearm = rearm
        self._fatigue = 0.0
        self._since = math.inf
        self._armed = True

    def __repr__(self) -> str:
        return f"AlertPolicy(threshold={self.threshold:g}, refractory={self.refractory})"

    @property
    def level(self) -> float:
        """The score that the next sample needs, the refractory rule apart."""
        return self.threshold * (1.0 + max(0.0, self._fatigue - self.recovery))

    def alert(self, score: float) -> bool:
        """Whether this sample is an alert. A score that is no number is none."""
        threshold = self.threshold
        self._since += 1
        fatigue = self._fatigue
        if fatigue > 0.0:
            self._fatigue = fatigue = max(0.0, fatigue - self.recovery)
        if not score >= threshold:
            if self.rearm is not None and score < self.rearm * threshold:
                self._armed = True
            return False
        if not self._armed or self._since < self.refractory or score < threshold * (1.0 + fatigue):
            return False
        self._since = 0
        self._fatigue = fatigue + self.raise_by
        self._armed = self.rearm is None
        return True

    def rest(self, samples: int) -> None:
        """As many samples below the threshold, all at once; with `rearm`, they are taken to be above its level."""
        self._since += samples
        self._fatigue = max(0.0, self._fatigue - samples * self.recovery)
