"""Knative's pod autoscaler (KPA): mean concurrency over two windows, and panic."""

from __future__ import annotations

import math
from typing import ClassVar

from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import Limits, positive, usable
from rarera_sim.policies.tuning import Range, Tunable
from rarera_sim.policies.windows import MaxWindow, MeanWindow


class Knative:
    """As many replicas as the mean concurrency needs; in panic, as the last seconds need, and none taken away.

        stable = ceil(mean concurrency over `stable_window` / (utilisation * concurrency))
        panic  = the same over `panic_window`

    both between floor(ready / max_scale_down_rate) and ceil(max_scale_up_rate * ready). It panics from the moment
    that panic / ready is at least `panic_threshold` until a whole stable window has passed without that; meanwhile it
    asks for the most that either window has asked for since. It begins in panic where there is more than one replica,
    as it has no history yet. With `scale_down_delay` it asks for the highest number of that time.

    Concurrency is the events waiting and in service. Its control period is 2 s; under a longer one the panic window
    is the last period.

    Parameters
    ----------
    concurrency
        Events that one replica works on at a time, > 0: the hard limit of a replica with one thread is 1.
    utilisation
        Share of it to aim at, in (0, 1].
    stable_window, panic_window
        Seconds, > 0; None for the panic window: a tenth of the stable one.
    panic_threshold
        Ratio of needed to ready replicas, >= 1.
    max_scale_up_rate, max_scale_down_rate
        Largest change within one decision, as a ratio, > 1.
    scale_down_delay
        Seconds, >= 0.
    replicas_min, replicas_max
        Limits of the answer.

    Examples
    --------
    >>> policy = Knative(concurrency=10.0, utilisation=1.0)
    >>> policy.observe(Observation(0.0, 1.0, backlog=0, replicas=1, concurrency=50.0))
    >>> policy.decide().reason
    'Panic: 50 in the system over the last 6 s need 5.'

    References
    ----------
    Knative Serving 1.18, pkg/autoscaler/scaling/autoscaler.go; config-autoscaler: 60 s, 10 %, 200 %, 70 %, 1000, 2.
    """

    TUNABLE: ClassVar[Tunable] = {
        "utilisation": Range(0.1, 1.0),
        "stable_window": Range(6.0, 600.0, "log"),
        "panic_threshold": Range(1.1, 10.0, "log"),
        "scale_down_delay": Range(0.0, 1800.0),
    }

    def __init__(
        self,
        *,
        concurrency: float = 1.0,
        utilisation: float = 0.7,
        stable_window: float = 60.0,
        panic_window: float | None = None,
        panic_threshold: float = 2.0,
        max_scale_up_rate: float = 1000.0,
        max_scale_down_rate: float = 2.0,
        scale_down_delay: float = 0.0,
        replicas_min: int = 1,
        replicas_max: int = 1000,
    ) -> None:
        panic_window = stable_window / 10.0 if panic_window is None else panic_window
        positive(concurrency=concurrency, stable_window=stable_window, panic_window=panic_window)
        if not 0.0 < utilisation <= 1.0:
            raise ValueError(f"utilisation must be > 0 and <= 1, got {utilisation!r}")
        for name, value in (("max_scale_up_rate", max_scale_up_rate), ("max_scale_down_rate", max_scale_down_rate)):
            if not 1.0 < value < math.inf:
                raise ValueError(f"{name} must be > 1, got {value!r}")
        if not 1.0 <= panic_threshold < math.inf:
            raise ValueError(f"panic_threshold must be >= 1, got {panic_threshold!r}")
        if not 0.0 <= scale_down_delay < math.inf:
            raise ValueError(f"scale_down_delay must be >= 0 s, got {scale_down_delay!r}")
        self.target = concurrency * utilisation
        self.panic_threshold = panic_threshold
        self.max_scale_up_rate = max_scale_up_rate
        self.max_scale_down_rate = max_scale_down_rate
        self.scale_down_delay = scale_down_delay
        self.limits = Limits(replicas_min, replicas_max)
        self._stable = MeanWindow(stable_window)
        self._panic = MeanWindow(panic_window)
        self._delayed = MaxWindow(scale_down_delay)
        self._observation: Observation | None = None
        self._decision: Decision | None = None
        self._begun = False
        self._panicked: float | None = None
        self._panic_most = 0

    def __repr__(self) -> str:
        return f"Knative(target={self.target:g}, window={self._stable.length:g}, panic={self.panic_threshold:g})"

    def observe(self, observation: Observation) -> None:
        """Take the concurrency into both windows."""
        if self._observation is not None and observation.time < self._observation.time:
            self._begun = False
            self._delayed.clear()
        present = observation.concurrency
        if present is None or not usable(present):
            present = float(max(0, observation.backlog) + max(0, observation.in_service))
        self._stable.add(observation.time, present)
        self._panic.add(observation.time, present)
        self._observation = observation
        self._decision = None

    def decide(self) -> Decision:
        """The number that the windows need."""
        if self._decision is None:
            self._decision = self._decide()
        return self._decision

    def _decide(self) -> Decision:
        observation, stable, panic = self._observation, self._stable.mean, self._panic.mean
        if observation is None or stable is None or panic is None:
            return Decision(self.limits.replicas_min, "Nothing observed yet.")
        now, ready = observation.time, max(1, observation.replicas)
        if not self._begun:
            self._begun = True
            self._panicked = now if observation.replicas > 1 else None
            self._panic_most = observation.replicas
        most = math.ceil(self.max_scale_up_rate * ready)
        least = math.floor(ready / self.max_scale_down_rate)
        needed = math.ceil(panic / self.target)
        desired = min(max(math.ceil(stable / self.target), least), most)
        if needed / ready >= self.panic_threshold:
            self._panicked = now
        elif self._panicked is not None and self._panicked + self._stable.length < now:
            self._panicked = None
            self._panic_most = 0
        panicking = self._panicked is not None
        if panicking:
            # Never down in panic; and the stable window may ask for more than the panic one.
            desired = self._panic_most = max(self._panic_most, desired, min(max(needed, least), most))
        if self.scale_down_delay > 0.0:
            desired = self._delayed.add(now, desired)
        replicas = self.limits.within(desired)
        mean, window = (panic, self._panic.length) if panicking else (stable, self._stable.length)
        sentence = f"{mean:.4g} in the system over the last {window:g} s need {replicas}."
        return Decision(replicas, f"Panic: {sentence}" if panicking else sentence)
