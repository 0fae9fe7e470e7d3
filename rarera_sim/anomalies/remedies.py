"""What to do about a finding, as values: the driver, in the model or live, does it or leaves it to a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rarera_sim.anomalies.base import Behaviour, Finding
from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import Timestamp, from_seconds


class QuarantineSource(NamedTuple):
    """Keep what this source sends, and pass nothing of it on, until then or until a person decides (None)."""

    source: str
    until: Timestamp | None


class AddCapacity(NamedTuple):
    """Multiply the replicas wanted by `factor` until then, at most to what the hardware allows."""

    factor: float
    until: Timestamp


class FallBack(NamedTuple):
    """Let the safe policy decide until then: what the learned one knows is of another world."""

    until: Timestamp


Remedy = QuarantineSource | AddCapacity | FallBack


class Compensator(Protocol):
    """Turns a finding into remedies; none is an answer."""

    def remedy(self, finding: Finding) -> Sequence[Remedy]: ...


class Compensation:
    """The usual answers, at most one per source and behaviour while the last one holds.

    | behaviour | remedy |
    | --- | --- |
    | stuck, looping | quarantine of the source: it says nothing new, and a loop feeds itself |
    | content | quarantine, if `distrust` |
    | rate or latency, rising | more capacity, before the learned policy has seen enough to ask for it |
    | drift | the safe policy, until the learned one has learned again |
    | silence; rate or latency falling | none but the incident: capacity does not make a source speak |

    Parameters
    ----------
    hold
        Seconds that a remedy lasts, > 0.
    factor
        Of `AddCapacity`, > 1.
    distrust
        Whether unusual contents are held back rather than reported only.

    Examples
    --------
    >>> compensation = Compensation(hold=60.0)
    >>> surge = Finding(behaviour=Behaviour.RATE, source="EWR", time=0, score=9.0, threshold=6.0, rising=True)
    >>> compensation.remedy(surge)
    [AddCapacity(factor=1.5, until=60000000000)]
    >>> compensation.remedy(surge)
    []
    """

    def __init__(self, *, hold: float = 600.0, factor: float = 1.5, distrust: bool = False) -> None:
        if not 0.0 < hold < math.inf:
            raise BadInput(f"hold must be > 0 s, got {hold!r}")
        if not 1.0 < factor < math.inf:
            raise BadInput(f"factor must be > 1, got {factor!r}")
        self.hold = hold
        self.factor = factor
        self.distrust = distrust
        self._held: dict[tuple[str, Behaviour], Timestamp] = {}

    def __repr__(self) -> str:
        return f"Compensation(hold={self.hold:g}, factor={self.factor:g}, distrust={self.distrust})"

    def remedy(self, finding: Finding) -> list[Remedy]:
        """What to do; empty where nothing helps, or something is being done already."""
        key = finding.source, finding.behaviour
        if finding.time < self._held.get(key, finding.time):
            return []
        until = finding.time + from_seconds(self.hold)
        remedy = self._choose(finding, until)
        if remedy is None:
            return []
        self._held[key] = until
        return [remedy]

    def _choose(self, finding: Finding, until: Timestamp) -> Remedy | None:
        match finding.behaviour:
            case Behaviour.STUCK | Behaviour.LOOPING:
                return QuarantineSource(finding.source, until)
            case Behaviour.CONTENT if self.distrust:
                return QuarantineSource(finding.source, until)
            case Behaviour.RATE | Behaviour.LATENCY if finding.rising:
                return AddCapacity(self.factor, until)
            case Behaviour.DRIFT:
                return FallBack(until)
        return None
