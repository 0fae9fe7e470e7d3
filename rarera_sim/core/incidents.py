"""What went wrong, as events: detected, traced to its source, compensated or given up.

An incident is a stream of its own, `incidents/ID`, in whatever log it is kept in, and its state is a fold like any
other. `ID` is the source and sequence of the event that opened it, so it is never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event, EventId, Frame
from rarera_sim.core.journal import Journal
from rarera_sim.core.log import EventLog, Query
from rarera_sim.core.time import Timestamp

PROCESSOR = "incidents"
DETECTED = "incident-detected"
TRACED = "incident-traced"
COMPENSATED = "incident-compensated"
GIVEN_UP = "incident-given-up"


class Kind(StrEnum):
    """What can be the matter with what a source sends, or with a log."""

    DAMAGED = "damaged"  # bytes that are no event, or not the event they say
    MISSING = "missing"  # later ones came, or the source says that it was sent
    REPEATED = "repeated"
    OUT_OF_ORDER = "out-of-order"  # came after a later one, soon enough to be put back in its place
    LATE = "late"  # created long ago, or given up before it came
    FROM_THE_FUTURE = "from-the-future"
    WRONGLY_SIGNED = "wrongly-signed"
    CONFLICTING = "conflicting"  # another event has its source and sequence
    SKIPPED = "skipped-position"  # a follower was not shown a position of the log
    ABNORMAL = "abnormal"  # its events are intact, and its behaviour is not


@dataclass(frozen=True, kw_only=True)
class Incident:
    """The life of an incident.

    Parameters
    ----------
    source, first, last
        Whose events it is about, and which: a run of sequences, of positions for a skipped one; None while unknown.
    event_id
        The event it is about, once that is known.
    position
        Where that event stands in the log; only `incident_life` looks it up.
    detected, traced, compensated, given_up
        When, as a GST; None if it is not so.
    due
        When it will have been compensated or given up, None if that is a person's decision.
    outcome
        How it was compensated, or why it was given up.
    frame
        What is in quarantine, as far as it was kept.
    opening
        Id of the event that opened it, which is the cause of all that follows.
    """

    id: str
    kind: Kind
    reason: str
    detected: Timestamp
    opening: EventId
    source: str | None = None
    first: int | None = None
    last: int | None = None
    event_id: EventId | None = None
    position: int | None = None
    traced: Timestamp | None = None
    compensated: Timestamp | None = None
    given_up: Timestamp | None = None
    due: Timestamp | None = None
    outcome: str = ""
    frame: Frame | None = None

    @property
    def open(self) -> bool:
        return self.compensated is None and self.given_up is None

    @property
    def status(self) -> str:
        """One word: detected, traced, compensated or given up."""
        if self.compensated is not None:
            return "compensated"
        if self.given_up is not None:
            return "given up"
        return "detected" if self.traced is None else "traced"


class IncidentBook:
    """Opens incidents and leads them to their end; every step is an event that the caller appends.

    Parameters
    ----------
    known
        Incidents that are open already, from `incidents(log, open_only=True)` after a restart.

    Examples
    --------
    >>> book = IncidentBook(Journal("gate"))
    >>> incident, events = book.detect(Kind.MISSING, 5, reason="hole", source="EWR", first=7, last=8)
    >>> events.append(book.compensate(incident, 9, "sent again"))
    >>> [(event.stream, event.type) for event in events]
    [('incidents/gate-1', 'incident-detected'), ('incidents/gate-1', 'incident-traced'),
     ('incidents/gate-1', 'incident-compensated')]
    >>> book.open
    {}
    """

    def __init__(self, journal: Journal, known: Iterable[Incident] = ()) -> None:
        self.journal = journal
        self.open: dict[str, Incident] = {incident.id: incident for incident in known if incident.open}

    def detect(
        self,
        kind: Kind,
        now: Timestamp,
        *,
        reason: str,
        source: str | None = None,
        first: int | None = None,
        last: int | None = None,
        event_id: EventId | None = None,
        due: Timestamp | None = None,
        frame: Frame | None = None,
    ) -> tuple[str, list[Event]]:
        """Open an incident; traced at once where source and place are known."""
        number = f"{self.journal.source}-{self.journal.sequence + 1}"
        data: dict[str, Any] = {"kind": kind.value, "reason": reason, "due": due}
        if frame is not None:
            data["frame"] = frame.hex()
        event = self.journal.write(f"{PROCESSOR}/{number}", DETECTED, data, now, event_id)
        self.open[number] = _apply(None, event)
        events = [event]
        if source is not None:
            events.append(self.trace(number, now, source=source, first=first, last=last, event_id=event_id))
        return number, events

    def trace(
        self,
        incident: str,
        now: Timestamp,
        *,
        source: str,
        first: int | None = None,
        last: int | None = None,
        event_id: EventId | None = None,
    ) -> Event:
        """Say whose event it is, and which."""
        where = {"source": source, "first": first, "last": first if last is None else last}
        return self._write(incident, TRACED, {**where, "event": event_id.hex() if event_id else None}, now)

    def compensate(self, incident: str, now: Timestamp, how: str) -> Event:
        event = self._write(incident, COMPENSATED, {"how": how}, now)
        del self.open[incident]
        return event

    def give_up(self, incident: str, now: Timestamp, why: str) -> Event:
        event = self._write(incident, GIVEN_UP, {"why": why}, now)
        del self.open[incident]
        return event

    def skipped(self, first: int, last: int, now: Timestamp) -> list[Event]:
        """Open the incident of positions that a follower was not shown; a person has to close it.

        Fits a subscription: `alarm=lambda *hole: log.append(book.skipped(*hole, clock.now()))`.
        """
        reason = f"positions {first} to {last} of the log were not there for a follower"
        return self.detect(Kind.SKIPPED, now, reason=reason, source="log", first=first, last=last)[1]

    def _write(self, incident: str, event_type: str, data: dict[str, Any], now: Timestamp) -> Event:
        found = self.open.get(incident)
        if found is None:
            raise BadInput(f"no incident {incident!r} is open")
        event = self.journal.write(f"{PROCESSOR}/{incident}", event_type, data, now, found.opening)
        self.open[incident] = _apply(found, event)
        return event


def incident_life(log: EventLog, incident: str) -> Incident:
    """Everything that is known of one incident: when it was detected, whose it is, how and when it ended."""
    found: Incident | None = None
    for _, event in log.read(Query(streams=(f"{PROCESSOR}/{incident}",))):
        found = _fold(found, event)
    if found is None:
        raise BadInput(f"incident {incident!r} is not in this log")
    recorded = log.find(found.event_id) if found.event_id else None
    return replace(found, position=recorded.position) if recorded else found


def incidents(
    log: EventLog, *, kind: Kind | None = None, source: str | None = None, open_only: bool = False
) -> list[Incident]:
    """All incidents of a log, in the order in which they were detected, or those of a kind or source."""
    found: dict[str, Incident] = {}
    for _, event in log.read(Query(processors=(PROCESSOR,))):
        if (incident := _fold(found.get(event.stream), event)) is not None:
            found[event.stream] = incident
    return [
        each
        for each in found.values()
        if (kind is None or each.kind is kind)
        and (source is None or each.source == source)
        and (each.open or not open_only)
    ]


def _fold(incident: Incident | None, event: Event) -> Incident | None:
    """One event further, if it is of this incident; a stream can be written to by strangers."""
    source, _, _ = event.stream.removeprefix(f"{PROCESSOR}/").rpartition("-")
    if event.source != source:
        return incident
    try:
        return _apply(incident, event)
    except (LookupError, TypeError, ValueError):
        return incident


def _apply(incident: Incident | None, event: Event) -> Incident:
    data, number = event.data, event.stream.removeprefix(f"{PROCESSOR}/")
    if event.type == DETECTED:
        return Incident(
            id=number,
            kind=Kind(data["kind"]),
            reason=data["reason"],
            detected=event.time,
            opening=event.id,
            due=data["due"],
            frame=bytes.fromhex(data["frame"]) if "frame" in data else None,
            event_id=event.causation,
        )
    if incident is None:
        raise BadInput(f"stream {event.stream} does not begin with {DETECTED}: it is none of an incident")
    if event.type == TRACED:
        event_id = bytes.fromhex(data["event"]) if data["event"] else incident.event_id
        return replace(
            incident,
            traced=event.time,
            source=data["source"],
            first=data["first"],
            last=data["last"],
            event_id=event_id,
        )
    if event.type == COMPENSATED:
        return replace(incident, compensated=event.time, outcome=data["how"])
    if event.type == GIVEN_UP:
        return replace(incident, given_up=event.time, outcome=data["why"])
    raise BadInput(f"{event.type} at {event.stream} is no event of an incident")
