"""The detector and the alert policy for each behaviour, as measured in docs/detectors.md."""

from __future__ import annotations

from rarera_sim.anomalies.alerts import AlertPolicy
from rarera_sim.anomalies.base import Behaviour, Watch
from rarera_sim.anomalies.level import Drift, Level
from rarera_sim.anomalies.repetition import Looping, Stuck
from rarera_sim.anomalies.rhythm import Rate, Silence


def default_watch(behaviour: Behaviour, source: str) -> Watch:
    """A new watch for a behaviour of a source.

    Samples have `time` in seconds for the rate and for silence, else `value`: seconds for latency, the content for the
    others. Silence is judged on a timer, and learns from events. `Surprise`, which finds more and alerts some 2,000
    times in a million events of mere noise, is for series that a person looks at anyway.

    Examples
    --------
    >>> default_watch(Behaviour.STUCK, "EWR").detector
    Stuck('value', memory=2000)
    """
    match behaviour:
        case Behaviour.RATE:
            return Watch(Rate(), AlertPolicy(6.0, refractory=500), behaviour, source)
        case Behaviour.LATENCY:
            return Watch(Level(logarithm=True), AlertPolicy(6.0, refractory=500), behaviour, source)
        case Behaviour.CONTENT:
            return Watch(Level(fast=2.0), AlertPolicy(8.0, refractory=500), behaviour, source)
        case Behaviour.SILENCE:
            return Watch(Silence(), AlertPolicy(20.0, rearm=0.5), behaviour, source)
        case Behaviour.DRIFT:
            return Watch(Drift(), AlertPolicy(40.0, rearm=0.5), behaviour, source)
        case Behaviour.STUCK:
            return Watch(Stuck(), AlertPolicy(25.0, rearm=0.5), behaviour, source)
        case Behaviour.LOOPING:
            return Watch(Looping(), AlertPolicy(25.0, rearm=0.5), behaviour, source)
