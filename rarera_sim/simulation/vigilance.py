"""Detectors at the gate and at the processors of a run: findings, their incidents, and the remedies done.

What is watched are the events as they are recorded, by source, and how long they take. An alert is a finding; it opens
an incident, and where there is a remedy it is done, by those who can: a source is held back by the transport, capacity
is added by the controller, and a policy that has a safe one beside it falls back to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import simpy

from rarera_sim.anomalies import AddCapacity, Behaviour, Compensation, Finding, QuarantineSource, Remedy, report
from rarera_sim.anomalies import Watch as SourceWatch
from rarera_sim.anomalies.defaults import default_watch
from rarera_sim.core.event import Event, canonical_json
from rarera_sim.core.incidents import IncidentBook
from rarera_sim.core.journal import Journal
from rarera_sim.core.time import SECOND, Timestamp, from_seconds
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.arrivals import Workload
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.quantities import Positive, PositiveSeconds, Settings

BehaviourName = Literal["rate", "latency", "content", "silence", "drift", "stuck", "looping"]

SERVICE = "service"  # whose latency it is: that of all, whatever the source


class VigilanceSettings(Settings, frozen=True, kw_only=True):
    """What is watched, and what is done about it.

    Parameters
    ----------
    behaviours
        The behaviours that are watched, see `anomalies.Behaviour`; none unless a scenario says so.
    remedies
        Whether anything is done. Otherwise findings and incidents are all.
    hold
        Seconds that a remedy lasts.
    factor
        Replicas wanted after a surge or a rise of the latency, over those awake; > 1.
    distrust
        Whether sources whose content is unusual are held back.
    period
        Seconds between looks at who is silent.
    """

    behaviours: tuple[BehaviourName, ...] = ()
    remedies: bool = True
    hold: PositiveSeconds = 600.0
    factor: Positive = 1.5
    distrust: bool = False
    period: PositiveSeconds = 1.0

    def problem(self) -> str:
        """What one field's type cannot say; empty if nothing."""
        if not self.factor > 1.0:
            return f"factor must be > 1, got {self.factor!r}"
        return ""


class Alert(NamedTuple):
    """A finding on the clock of the run, and what was done about it.

    `remedy` is one of `quarantine`, `capacity`, `safe policy`, or empty; `until` is when it ends, seconds, or None.
    """

    time: float
    behaviour: str
    source: str
    score: float
    threshold: float
    rising: bool | None
    incident: str
    remedy: str
    until: float | None


class Quarantine(Protocol):
    """A transport that can keep what a source sends and pass nothing of it on."""

    def hold(self, source: str) -> None: ...
    def release(self, source: str) -> int:
        """Pass on from now on, and first what was held; how many events that were."""
        ...


class Acts(NamedTuple):
    """Those who can do something about a finding; None where nobody can."""

    quarantine: Quarantine | None
    capacity: Callable[[float, float], None]  # factor, until
    fall_back: Callable[[float], None] | None  # until


class Vigilance:
    """Watches one run.

    Parameters
    ----------
    workload
        Whose clock incidents are dated by.
    field
        Numeric field of the events' data that `content` and `drift` are about.
    event
        Gives an event by its number.
    append
        Takes the events of incidents.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: VigilanceSettings,
        workload: Workload,
        field: str,
        event: Callable[[int], Event],
        acts: Acts,
        append: Callable[[list[Event]], object],
    ) -> None:
        self._env = env
        self._settings = settings
        self._epoch, self._compression, self._end = workload.epoch, workload.compression, workload.duration
        self._field = field
        self._event = event
        self._acts = acts
        self._append = append
        self._behaviours = [Behaviour(name) for name in dict.fromkeys(settings.behaviours)]
        self._at_the_gate = [each for each in self._behaviours if each is not Behaviour.LATENCY]
        self._watches: dict[tuple[Behaviour, str], SourceWatch] = {}
        self._received: dict[int, float] = {}
        self._silent: dict[str, str] = {}  # sources, with their incidents
        self._book = IncidentBook(Journal("vigilance"))
        self._compensation = Compensation(hold=settings.hold, factor=settings.factor, distrust=settings.distrust)
        self.alerts: list[Alert] = []
        if Behaviour.SILENCE in self._behaviours:
            after(env, settings.period, self._look)

    def hears(self) -> dict[str, Callable[[int], None]]:
        """What to call with the number of an event that is at a stage."""
        heard: dict[str, Callable[[int], None]] = {}
        if self._at_the_gate:
            heard[Stage.RECORDED] = self._recorded
        if Behaviour.LATENCY in self._behaviours:
            heard[Stage.RECEIVED] = self._receive
            heard[Stage.FINISHED] = self._finished
        return heard

    # What is watched

    def _recorded(self, number: int) -> None:
        event = self._event(number)
        for behaviour in self._at_the_gate:
            sample = self._sample(behaviour, event)
            if sample is None:
                continue
            watch = self._watch(behaviour, event.source)
            if behaviour is Behaviour.SILENCE:
                watch.detector.learn_one(sample)
                if event.source in self._silent:
                    incident = self._silent.pop(event.source)
                    self._append([self._book.compensate(incident, self._gst, "it speaks again")])
            else:
                self._hear(watch.see(sample, self._now), event)

    def _sample(self, behaviour: Behaviour, event: Event) -> dict[str, Any] | None:
        match behaviour:
            case Behaviour.RATE | Behaviour.SILENCE:
                return {"time": self._env.now}
            case Behaviour.STUCK | Behaviour.LOOPING:
                return {"value": canonical_json(event.data)}
        value = event.data.get(self._field)
        return {"value": float(value)} if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def _receive(self, number: int) -> None:
        self._received[number] = self._env.now

    def _finished(self, number: int) -> None:
        received = self._received.pop(number, None)
        if received is not None and (response := self._env.now - received) > 0.0:
            self._hear(self._watch(Behaviour.LATENCY, SERVICE).see({"value": response}, self._now), None)

    def _look(self, _: object) -> None:
        if self._env.now >= self._end:
            return  # nobody has more to say
        for (behaviour, _source), watch in self._watches.items():
            if behaviour is Behaviour.SILENCE:
                self._hear(watch.judge({"time": self._env.now}, self._now), None)
        after(self._env, self._settings.period, self._look)

    def _watch(self, behaviour: Behaviour, source: str) -> SourceWatch:
        watch = self._watches.get((behaviour, source))
        if watch is None:
            watch = self._watches[behaviour, source] = default_watch(behaviour, source)
        return watch

    @property
    def _now(self) -> Timestamp:
        return from_seconds(self._env.now)

    @property
    def _gst(self) -> Timestamp:
        return self._epoch + round(self._env.now * self._compression * SECOND)

    # What is done

    def _hear(self, finding: Finding | None, event: Event | None) -> None:
        if finding is None:
            return
        remedies = self._compensation.remedy(finding) if self._settings.remedies else []
        ends = self._env.now + self._settings.hold
        done = [self._do(remedy, ends) for remedy in remedies]
        due = self._gst + round(self._settings.hold * self._compression * SECOND) if any(done) else None
        about: dict[str, Any] = {} if event is None else {"event_id": event.id, "first": event.sequence}
        incident, events = report(finding, self._book, self._gst, due=due, **about)
        self._append(events)
        if finding.behaviour is Behaviour.SILENCE:
            self._silent[finding.source] = incident
        for remedy, what in zip(remedies, done, strict=True):
            if what:
                after(self._env, self._settings.hold, self._undo, (incident, remedy, what))
        self.alerts.append(
            Alert(
                self._env.now,
                finding.behaviour.value,
                finding.source,
                finding.score,
                finding.threshold,
                finding.rising,
                incident,
                ", ".join(filter(None, done)),
                ends if any(done) else None,
            )
        )

    def _do(self, remedy: Remedy, until: float) -> str:
        """Do what is asked for; in a word what that was, nothing where nobody can."""
        if isinstance(remedy, QuarantineSource):
            if self._acts.quarantine is None:
                return ""
            self._acts.quarantine.hold(remedy.source)
            return "quarantine"
        if isinstance(remedy, AddCapacity):
            self._acts.capacity(remedy.factor, until)
            return "capacity"
        if self._acts.fall_back is None:
            return ""
        self._acts.fall_back(until)
        return "safe policy"

    def _undo(self, held: tuple[str, Remedy, str]) -> None:
        """A remedy has lasted its time: the incident is compensated."""
        incident, remedy, what = held
        how = f"{what} for {self._settings.hold:g} s"
        if isinstance(remedy, QuarantineSource) and self._acts.quarantine is not None:
            how += f", then {self._acts.quarantine.release(remedy.source)} events passed on"
        self._append([self._book.compensate(incident, self._gst, how)])
