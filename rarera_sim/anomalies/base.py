"""What detectors, and those who act on them, say to one another. The verbs are River's, so that its detectors fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from rarera_sim.anomalies.alerts import AlertPolicy
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import IncidentBook, Kind
from rarera_sim.core.time import Timestamp


class Detector(Protocol):
    """Says how unusual a sample is, from the samples learned before it; `score_one` changes no answer."""

    def score_one(self, x: dict[str, Any]) -> float:
        """0 or little is usual."""
        ...

    def learn_one(self, x: dict[str, Any]) -> Any: ...


class Behaviour(StrEnum):
    """What a source, or those who serve it, can be doing wrong although every event is intact."""

    RATE = "rate"
    LATENCY = "latency"
    CONTENT = "content"
    SILENCE = "silence"
    DRIFT = "drift"
    STUCK = "stuck"
    LOOPING = "looping"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An alert: who behaves abnormally, in which way, since when, and how much.

    Parameters
    ----------
    time
        GST of the sample that raised it.
    score, threshold
        What the detector said, and what the alert policy would have let pass.
    rising
        Whether more or longer than usual, None where that is no question or not known.
    """

    behaviour: Behaviour
    source: str
    time: Timestamp
    score: float
    threshold: float
    rising: bool | None = None

    @property
    def reason(self) -> str:
        """One sentence for a person."""
        return f"{self.behaviour} of {self.source} is unusual: score {self.score:.3g}, alert from {self.threshold:.3g}"


class Watch:
    """A detector and an alert policy at one quantity of one source: test, alert, then train.

    Examples
    --------
    >>> from rarera_sim.anomalies.level import Level
    >>> watch = Watch(Level(), AlertPolicy(threshold=6.0, refractory=50), Behaviour.LATENCY, "EWR")
    >>> found = [watch.see({"value": 1.0 + n % 7 / 10 + 5.0 * (n > 900)}, time=n) for n in range(1000)]
    >>> [(finding.time, finding.source, finding.rising) for finding in found if finding]
    [(901, 'EWR', True), (951, 'EWR', True)]
    """

    def __init__(self, detector: Detector, alerts: AlertPolicy, behaviour: Behaviour, source: str) -> None:
        self.detector = detector
        self.alerts = alerts
        self.behaviour = behaviour
        self.source = source

    def see(self, x: dict[str, Any], time: Timestamp) -> Finding | None:
        """Judge one sample by those before it, then learn it."""
        found = self.judge(x, time)
        self.detector.learn_one(x)
        return found

    def judge(self, x: dict[str, Any], time: Timestamp) -> Finding | None:
        """Judge without learning: of a source that is silent there is nothing to learn."""
        score = float(self.detector.score_one(x))
        threshold = self.alerts.level
        if not self.alerts.alert(score):
            return None
        rising = getattr(self.detector, "rising", None)
        return Finding(
            behaviour=self.behaviour, source=self.source, time=time, score=score, threshold=threshold, rising=rising
        )


def report(finding: Finding, book: IncidentBook, now: Timestamp, **about: Any) -> tuple[str, list[Event]]:
    """Open an incident for a finding; its events are the caller's to append, and it ends as any other does.

    Parameters
    ----------
    about
        What else `IncidentBook.detect` takes: `event_id`, `first`, `last`, `due`.
    """
    return book.detect(Kind.ABNORMAL, now, reason=finding.reason, source=finding.source, **about)


def timeline_frame(
    samples: list[tuple[Timestamp, float]], detector: Detector, alerts: AlertPolicy
) -> Mapping[str, list[Any]]:
    """Columns `time`, `value`, `score`, `level` and `alert`, one row per sample: what a picture of a timeline needs.

    Examples
    --------
    >>> from rarera_sim.anomalies.level import Level
    >>> frame = timeline_frame([(1, 5.0), (2, 5.0)], Level(), AlertPolicy(threshold=4.0))
    >>> {name: list(column) for name, column in frame.items()}
    {'time': [1, 2], 'value': [5.0, 5.0], 'score': [0.0, 0.0], 'level': [4.0, 4.0], 'alert': [False, False]}
    """
    frame: dict[str, list[Any]] = {name: [] for name in ("time", "value", "score", "level", "alert")}
    for time, value in samples:
        x = {"value": value}
        score, level = float(detector.score_one(x)), alerts.level
        row = (time, value, score, level, alerts.alert(score))
        detector.learn_one(x)
        for column, cell in zip(frame.values(), row, strict=True):
            column.append(cell)
    return frame
