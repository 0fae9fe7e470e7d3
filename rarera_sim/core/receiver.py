"""The receiving side: what comes from sources is checked, put in order, recorded, and what is wrong with it seen to.

A `Receiver` decides and does nothing. Time is handed in, what is to be done comes out as values: `Record` and
`Release` for the log, `Acknowledge` and `Resend` for a source, `Quarantine` for whoever watches. It is told by
`recorded` what the log has, and only then acknowledges. It keeps nothing that the log and the sources' outboxes do
not have: after a crash, or when the log failed, a new one is made from the log and goes on.

    actions = receiver.receive(frame, now, via="EWR")      # and on a timer: receiver.due(now)
    for action in perform(receiver, log.append, actions, now):
        ...                                                # a Resend is answered by frames and by `heard`
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rarera_sim.core.errors import BadInput, Conflict, InvalidEvent
from rarera_sim.core.event import ID_BYTES, Event, EventId, Frame, decode
from rarera_sim.core.inbox import Corrupt, Inbox, Order
from rarera_sim.core.incidents import Incident, IncidentBook, Kind
from rarera_sim.core.journal import Journal
from rarera_sim.core.retry import Backoff, DeadLetter
from rarera_sim.core.time import Timestamp, from_seconds


class Record(NamedTuple):
    """Append this event: one that was received, or one of an incident."""

    event: Event


class Release(NamedTuple):
    """Append this event: its time in quarantine is over."""

    incident: str
    event: Event


class Quarantine(NamedTuple):
    """This frame is not passed on; the incident's first event keeps it."""

    incident: str
    frame: Frame
    reason: str


class Resend(NamedTuple):
    """Ask a source to send these again, or all that it has not been acknowledged if there are none.

    It answers, after the frames, with the number of its newest event: `heard(source, last, now, asked=asked)`.
    """

    source: str
    sequences: tuple[int, ...]
    asked: Timestamp


class Acknowledge(NamedTuple):
    """Tell a source that the log has these."""

    source: str
    sequences: tuple[int, ...]


Action = Record | Release | Quarantine | Resend | Acknowledge
Remedy = tuple[str, str, dict[str, Any]]  # stream, type and data of a compensating event


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much is borne before it is an incident, and how hard is tried to mend it.

    Parameters
    ----------
    patience
        Seconds that a hole may close by itself, as reordered frames do, before what is missing is asked for.
    held_max
        Events of a source kept back meanwhile, so that they are recorded in its order. Beyond it the hole is reported.
    late
        Seconds after its creation at which an event is late, None for never.
    ahead
        Seconds that an event may be ahead of the receiver's clock.
    gap_max
        The largest number of events that a source is believed to have sent and we have missed.
    open_max
        Frames in quarantine for which an intact copy is sought. Beyond it the oldest search is given up.
    frame_max
        Bytes of a damaged frame that are kept.
    backoff
        Between requests to a source; its `attempts_max` is when an incident is given up.
    """

    patience: float = 1.0
    held_max: int = 1_000
    late: float | None = None
    ahead: float = 1.0
    gap_max: int = 100_000
    open_max: int = 1_000
    frame_max: int = 65_536
    backoff: Backoff = field(default_factory=lambda: Backoff(delay=1.0, delay_max=30.0, attempts_max=8))

    def __post_init__(self) -> None:
        for name in ("patience", "ahead"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"{name} must be >= 0 s, got {getattr(self, name)!r}")
        if self.late is not None and not self.late > 0:
            raise BadInput(f"late must be > 0 s or None, got {self.late!r}")
        for name in ("held_max", "gap_max", "open_max", "frame_max"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if self.backoff.attempts_max is None:
            raise BadInput("backoff must have attempts_max, or no incident would ever be given up")

    def wait(self, attempt: int) -> int:
        """Nanoseconds until the attempt after this one."""
        deadline = replace(self.backoff, attempts_max=None).after(attempt, 0.0)
        assert not isinstance(deadline, DeadLetter), "without a limit none is dead"
        return from_seconds(deadline)

    def due(self, now: Timestamp) -> Timestamp:
        """When an incident that is detected now will have been given up."""
        return now + sum(self.wait(attempt) for attempt in range(1, (self.backoff.attempts_max or 0) + 1))


@dataclass
class _Lane:
    """What is known of one source."""

    turn: int = 1  # the next sequence to be passed on; what is before it was passed on, is missing, or was given up
    top: int = 0  # the newest that came, or of which the source has spoken
    held: dict[int, Event] = field(default_factory=dict)  # came before its turn
    missing: dict[int, str] = field(default_factory=dict)  # asked for, with its incident
    quarantined: dict[int, str] = field(default_factory=dict)
    unrecorded: set[int] = field(default_factory=set)  # passed on, and the log has not confirmed it
    lost: int | None = None  # the first that was given up


@dataclass
class _Search:
    """An incident for which a source is asked."""

    source: str | None
    attempts: int = 0
    twins: tuple[bytes, ...] = ()
    sequences: tuple[int, ...] = ()
    left: int = 0  # of the sequences, how many have not come
    detected: Timestamp = 0
    complete: int | None = None  # when the log has everything up to here, it has this one


class Receiver:
    """Frames of many sources in, actions out.

    Parameters
    ----------
    journal
        In whose name incidents are recorded.
    known
        What the log has, as `EventLog.sequences` gives it.
    incidents
        Those that are open in the log, as `incidents(log, open_only=True)` gives them.
    verify
        Whether a signature of an event id is that of this source, `verify(source, id, signature)`; None if sources
        do not sign. The id covers every byte of the event.
    remedy
        Compensating events for an incident that cannot be repaired: what the domain does about an event that is lost
        for good. Without any, the incident is given up.

    Examples
    --------
    >>> first, second, third = (Event("EWR/UA1", "tick", {}, source="EWR", sequence=n, time=n) for n in (1, 2, 3))
    >>> receiver = Receiver(Journal("gate"), Tolerance(patience=1.0))
    >>> receiver.receive(first.frame, now=3)
    [Record(event=Event(EWR/UA1 tick {} from EWR#1 at 1970-01-01T00:00:00.000000001Z))]
    >>> receiver.receive(third.frame, now=4)
    []
    >>> receiver.due(now=4 + 10**9)[2]
    Resend(source='EWR', sequences=(2,), asked=1000000004)
    >>> [action.event.sequence for action in receiver.receive(second.frame, now=5 + 10**9)]
    [2]
    """

    def __init__(
        self,
        journal: Journal,
        tolerance: Tolerance | None = None,
        *,
        known: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        incidents: Iterable[Incident] = (),
        verify: Callable[[str, EventId, bytes], bool] | None = None,
        remedy: Callable[[Incident], Sequence[Remedy]] | None = None,
    ) -> None:
        known = known or {}
        self._tolerance = tolerance or Tolerance()
        self._book = IncidentBook(journal, incidents)
        self._inbox = Inbox(known)
        self._verify = verify
        self._remedy = remedy
        self._known = known
        self._begun = False
        self._lanes = {source: _Lane(turn=runs[-1][1] + 1, top=runs[-1][1]) for source, runs in known.items() if runs}
        self._timers: list[tuple[Timestamp, int, str, str, int]] = []  # heap of (when, order, what, whose, number)
        self._timer_count = 0
        self._searches: dict[str, _Search] = {}  # by incident, oldest first
        self._twins: dict[bytes, list[str]] = {}  # half a frame, and the incidents of damaged ones that have it
        self._waiting: dict[str, Event] = {}  # in quarantine until its time
        self._closing: dict[EventId, list[tuple[str, str]]] = {}  # compensated once this event is recorded
        self._stored: dict[EventId, tuple[str, int]] = {}  # acknowledged once this event of an incident is recorded

    @property
    def open(self) -> list[Incident]:
        """Incidents that are neither compensated nor given up."""
        return list(self._book.open.values())

    def wrote(self, event: Event) -> bool:
        """Whether this event is of the receiver's own journal."""
        return event.source == self._book.journal.source

    @property
    def held(self) -> int:
        """Events kept back until it is their turn."""
        return sum(len(lane.held) for lane in self._lanes.values())

    def next_due(self) -> Timestamp | None:
        """When `due` is to be called next, None if nothing waits."""
        if not self._begun and (self._book.open or self._known):
            return 0
        return self._timers[0][0] if self._timers else None

    # What comes in

    def receive(
        self, frame: Frame, now: Timestamp, *, via: str | None = None, signature: bytes | None = None
    ) -> list[Action]:
        """A frame has come, from the source at the other end of the connection if that is known."""
        actions = self._begin(now)
        # Damage comes first: whoever has not signed these bytes may well have signed those that were sent.
        signed = _readable(frame) if self._verify else None
        if self._verify and signed and not (signature and self._verify(signed.source, signed.id, signature)):
            return actions + self._wrongly_signed(signed, now)
        found = self._inbox.receive(frame)
        if isinstance(found, Corrupt):
            return actions + self._damaged(found, now, via)
        event, order = found
        lane = self._lanes.setdefault(event.source, _Lane())
        lane.top = max(lane.top, event.sequence)
        actions += self._match(event, now)
        if order is Order.SEEN or event.sequence in lane.quarantined:
            actions += self._repeated(event, lane, now)
        elif event.sequence in lane.missing:
            actions += self._found(event, lane, now)
        elif event.sequence < lane.turn:
            actions += self._pass_on(event, lane, now, late="it was given up before it came")
        else:
            if order is Order.FILLED:
                actions += self._out_of_order(event, now)
            elif order is Order.AHEAD:
                self._after(self._tolerance.patience, now, "hole", event.source, event.sequence)
            lane.held[event.sequence] = event
            actions += self._advance(lane, now)
            if len(lane.held) > self._tolerance.held_max:
                actions += self._report_hole(event.source, min(lane.held), now)
        return actions

    def heard(self, source: str, last: int, now: Timestamp, *, asked: Timestamp | None = None) -> list[Action]:
        """A source says that its newest event has this sequence, in answer to the request of `asked` or by itself.

        So the loss of its newest events is noticed although no later one comes.
        """
        actions = self._begin(now)
        lane = self._lanes.setdefault(source, _Lane())
        if last - lane.top > self._tolerance.gap_max:
            reason = f"source says that it sent {last}, far ahead of {lane.top}"
            incident, opened = self._open(Kind.DAMAGED, now, reason=reason, source=source)
            return [*actions, *opened, Record(self._book.compensate(incident, now, "not believed"))]
        if last > lane.top:
            lane.top = last
            self._after(self._tolerance.patience, now, "hole", source, last + 1)
        for search in self._searches.values():
            if search.source == source and search.twins and asked is not None and asked >= search.detected:
                search.complete = last if search.complete is None else min(search.complete, last)
        return actions + self._settle(source, lane, now)

    def recorded(self, events: Iterable[Event], now: Timestamp) -> list[Action]:
        """The log has these: the ones just appended, and the repeats that it refused."""
        actions = self._begin(now)
        done: dict[str, list[int]] = {}
        for event in events:
            if stored := self._stored.pop(event.id, None):
                done.setdefault(stored[0], []).append(stored[1])
            elif not self.wrote(event):
                self._lanes[event.source].unrecorded.discard(event.sequence)
                done.setdefault(event.source, []).append(event.sequence)
                for incident, how in self._closing.pop(event.id, ()):
                    actions.append(Record(self._book.compensate(incident, now, how)))
        for source, sequences in done.items():
            actions += self._settle(source, self._lanes[source], now)
            actions.append(Acknowledge(source, tuple(sequences)))
        return actions

    def refused(self, event: Event, reason: str, now: Timestamp) -> list[Action]:
        """The log has another event in the place of this one."""
        lane = self._lanes[event.source]
        lane.unrecorded.discard(event.sequence)
        actions: list[Action] = []
        for incident, _ in self._closing.pop(event.id, ()):
            actions += self._give_up(incident, now, reason)
        incident, opened = self._quarantine(Kind.CONFLICTING, event.frame, now, reason=reason, about=event, stored=True)
        return actions + opened + self._give_up(incident, now, reason)

    def due(self, now: Timestamp) -> list[Action]:
        """Time has passed: report what is missing, ask again, release, give up."""
        actions = self._begin(now)
        while self._timers and self._timers[0][0] <= now:
            _, _, what, whose, number = heapq.heappop(self._timers)
            if what == "hole":
                actions += self._report_hole(whose, number, now)
            elif what == "release":
                actions += self._release(whose)
            else:
                actions += self._ask(whose, now)
        return actions

    def release(self, incident: str) -> list[Action]:
        """Somebody has looked at an event from the future and lets it through."""
        if incident not in self._waiting:
            raise BadInput(f"incident {incident!r} holds no event in quarantine that could be released")
        return self._release(incident)

    # What is the matter

    def _damaged(self, found: Corrupt, now: Timestamp, via: str | None) -> list[Action]:
        frame = found.frame
        # Whatever half is whole says which event it was, once an intact copy comes.
        twins = (bytes(frame[:ID_BYTES]), bytes(frame[ID_BYTES:]))
        incident, actions = self._quarantine(Kind.DAMAGED, frame, now, reason=found.reason, source=via)
        return actions + self._search(incident, _Search(via, twins=twins, detected=now), now)

    def _wrongly_signed(self, event: Event, now: Timestamp) -> list[Action]:
        reason = f"signature is not that of {event.source}"
        incident, actions = self._quarantine(Kind.WRONGLY_SIGNED, event.frame, now, reason=reason, about=event)
        # Only a search: that this source has such an event is what nobody has signed.
        search = _Search(event.source, twins=(event.id,), sequences=(event.sequence,), detected=now)
        return actions + self._search(incident, search, now)

    def _repeated(self, event: Event, lane: _Lane, now: Timestamp) -> list[Action]:
        incident, actions = self._open(Kind.REPEATED, now, reason="its sequence was here before", about=event)
        kept = lane.held.get(event.sequence) or self._waiting.get(lane.quarantined.get(event.sequence, ""))
        if kept is not None and kept.id == event.id:
            actions.append(
                Record(self._book.compensate(incident, now, "the first copy is still held, this is dropped"))
            )
            if event.sequence in lane.quarantined:
                actions.append(Acknowledge(event.source, (event.sequence,)))
            return actions
        # The log refuses it, or finds that it is another: only the log remembers what the first one was.
        self._close_with(event, incident, "refused by the log, which has it")
        lane.unrecorded.add(event.sequence)
        actions.append(Record(event))
        return actions

    def _found(self, event: Event, lane: _Lane, now: Timestamp) -> list[Action]:
        incident = lane.missing.pop(event.sequence)
        search = self._searches[incident]
        search.left -= 1
        if not search.left:
            self._end_search(incident)
            self._close_with(event, incident, "sent again and recorded")
        return self._pass_on(event, lane, now)

    def _out_of_order(self, event: Event, now: Timestamp) -> list[Action]:
        incident, actions = self._open(
            Kind.OUT_OF_ORDER, now, reason="came after a later one of its source", about=event
        )
        self._close_with(event, incident, "put back in its place")
        return actions

    def _report_hole(self, source: str, before: int, now: Timestamp) -> list[Action]:
        """Ask for what has not come although it should have, and let pass what waited for it."""
        lane = self._lanes[source]
        actions: list[Action] = []
        here = sorted(sequence for sequence in lane.held.keys() | lane.quarantined.keys() if sequence < before)
        for there in [*here, before]:
            if lane.turn < there:
                actions += self._missing(source, lane.turn, there - 1, now)
            lane.turn = max(lane.turn, there)
            actions += self._advance(lane, now)
        return actions

    def _missing(self, source: str, first: int, last: int, now: Timestamp) -> list[Action]:
        reason = f"{last - first + 1} of {source} did not come, although later ones are there or were announced"
        due = self._tolerance.due(now)
        incident, events = self._book.detect(
            Kind.MISSING, now, reason=reason, source=source, first=first, last=last, due=due
        )
        self._lanes[source].missing.update(dict.fromkeys(range(first, last + 1), incident))
        actions: list[Action] = [Record(event) for event in events]
        return actions + self._search(
            incident, _Search(source, sequences=tuple(range(first, last + 1)), left=last - first + 1), now
        )

    # What is done about it

    def _advance(self, lane: _Lane, now: Timestamp) -> list[Action]:
        actions: list[Action] = []
        while lane.turn in lane.held or lane.turn in lane.quarantined:
            event = lane.held.pop(lane.turn, None)
            lane.turn += 1
            if event is not None:
                late = self._tolerance.late
                is_late = late is not None and now - event.time > from_seconds(late)
                actions += self._pass_on(event, lane, now, late="it was created long ago" if is_late else "")
        return actions

    def _pass_on(self, event: Event, lane: _Lane, now: Timestamp, late: str = "") -> list[Action]:
        actions: list[Action] = []
        if (ahead := event.time - now) > from_seconds(self._tolerance.ahead):
            reason = f"created {ahead / 1e9:.3f} s from now"
            due = event.time - from_seconds(self._tolerance.ahead)
            incident, actions = self._quarantine(
                Kind.FROM_THE_FUTURE, event.frame, now, reason=reason, about=event, due=due, stored=True
            )
            self._hold_back(incident, event, lane, due)
            return actions
        if late:
            incident, actions = self._open(Kind.LATE, now, reason=late, about=event)
            self._close_with(event, incident, "recorded at its own time")
        lane.unrecorded.add(event.sequence)
        actions.append(Record(event))
        return actions

    def _hold_back(self, incident: str, event: Event, lane: _Lane, due: Timestamp) -> None:
        self._waiting[incident] = event
        lane.quarantined[event.sequence] = incident
        self._at(due, "release", incident)

    def _release(self, incident: str) -> list[Action]:
        event = self._waiting.pop(incident, None)
        if event is None:
            return []
        lane = self._lanes[event.source]
        del lane.quarantined[event.sequence]
        lane.unrecorded.add(event.sequence)
        self._close_with(event, incident, "released from quarantine")
        return [Release(incident, event)]

    def _match(self, event: Event, now: Timestamp) -> list[Action]:
        """An intact event: is it the one that somebody waits for?"""
        if not self._twins:
            return []
        actions: list[Action] = []
        for half in (event.id, event.body):
            for incident in self._twins.pop(half, ()):
                if incident not in self._searches:
                    continue
                self._end_search(incident)
                trace = self._book.trace(incident, now, source=event.source, first=event.sequence, event_id=event.id)
                actions.append(Record(trace))
                self._close_with(event, incident, "an intact copy was recorded")
        return actions

    def _settle(self, source: str, lane: _Lane, now: Timestamp) -> list[Action]:
        """Close what no copy came for, where the log has everything that the source had sent by then."""
        actions: list[Action] = []
        for incident, search in tuple(self._searches.items()):
            if search.source == source and search.complete is not None and _has_all(lane, search.complete):
                self._end_search(incident)
                how = "everything that its source had sent is recorded"
                actions.append(Record(self._book.compensate(incident, now, how)))
        return actions

    def _search(self, incident: str, search: _Search, now: Timestamp) -> list[Action]:
        actions: list[Action] = []
        frames = [each for each, other in self._searches.items() if other.twins] if search.twins else []
        if len(frames) >= self._tolerance.open_max:
            actions += self._give_up(frames[0], now, f"more than {self._tolerance.open_max} are sought")
        self._searches[incident] = search
        for half in search.twins:
            self._twins.setdefault(half, []).append(incident)
        return actions + self._ask(incident, now)

    def _ask(self, incident: str, now: Timestamp) -> list[Action]:
        search = self._searches.get(incident)
        if search is None:
            return []
        if search.attempts >= (self._tolerance.backoff.attempts_max or 0):
            return self._give_up(incident, now, f"not mended after {search.attempts} requests")
        search.attempts += 1
        self._at(now + self._tolerance.wait(search.attempts), "ask", incident)
        if search.source is None:
            return []
        sequences = search.sequences
        if not search.twins:
            missing = self._lanes[search.source].missing
            sequences = tuple(sequence for sequence in sequences if missing.get(sequence) == incident)
        return [Resend(search.source, sequences, now)]

    def _give_up(self, incident: str, now: Timestamp, why: str) -> list[Action]:
        self._end_search(incident)
        found = self._book.open[incident]
        if found.kind is Kind.MISSING and found.source is not None:
            lane = self._lanes[found.source]
            gone = [sequence for sequence, whose in lane.missing.items() if whose == incident]
            for sequence in gone:
                del lane.missing[sequence]
            lane.lost = min(gone) if lane.lost is None else min(lane.lost, *gone)
        remedies = self._remedy(found) if self._remedy else ()
        actions: list[Action] = [
            Record(self._book.journal.write(stream, event_type, data, now, found.opening))
            for stream, event_type, data in remedies
        ]
        if remedies:
            actions.append(Record(self._book.compensate(incident, now, f"{why}; compensating events were recorded")))
        else:
            actions.append(Record(self._book.give_up(incident, now, why)))
        return actions

    def _end_search(self, incident: str) -> None:
        search = self._searches.pop(incident, None)
        for half in search.twins if search else ():
            sought = [each for each in self._twins.get(half, ()) if each != incident]
            if sought:
                self._twins[half] = sought
            else:
                self._twins.pop(half, None)

    # Incidents

    def _open(
        self, kind: Kind, now: Timestamp, *, reason: str, source: str | None = None, about: Event | None = None
    ) -> tuple[str, list[Action]]:
        """Open an incident that is as good as mended; returns its id, and what there is to do."""
        incident, events = self._book.detect(
            kind,
            now,
            reason=reason,
            source=about.source if about else source,
            first=about.sequence if about else None,
            event_id=about.id if about else None,
            due=now,
        )
        return incident, [Record(event) for event in events]

    def _quarantine(
        self,
        kind: Kind,
        frame: Frame,
        now: Timestamp,
        *,
        reason: str,
        source: str | None = None,
        about: Event | None = None,
        due: Timestamp | None = None,
        stored: bool = False,
    ) -> tuple[str, list[Action]]:
        """Open an incident that keeps a frame; `stored` if that is all that the source has to do about it."""
        incident, events = self._book.detect(
            kind,
            now,
            reason=reason,
            source=about.source if about else source,
            first=about.sequence if about else None,
            event_id=about.id if about else None,
            due=self._tolerance.due(now) if due is None else due,
            frame=frame if stored else frame[: self._tolerance.frame_max],
        )
        if stored and about:
            self._stored[events[0].id] = (about.source, about.sequence)
        return incident, [*(Record(event) for event in events), Quarantine(incident, frame, reason)]

    def _close_with(self, event: Event, incident: str, how: str) -> None:
        self._closing.setdefault(event.id, []).append((incident, how))

    # Time

    def _after(self, seconds: float, now: Timestamp, what: str, whose: str, number: int) -> None:
        self._at(now + from_seconds(seconds), what, whose, number)

    def _at(self, time: Timestamp, what: str, whose: str, number: int = 0) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (time, self._timer_count, what, whose, number))

    def _begin(self, now: Timestamp) -> list[Action]:
        """Go on with what an earlier receiver left open; the first call of any kind is the first to know the time."""
        if self._begun:
            return []
        self._begun = True
        actions: list[Action] = []
        for incident in tuple(self._book.open.values()):
            actions += self._resume(incident, now)
        for source, runs in self._known.items():
            lane = self._lanes.get(source, _Lane())
            last = 0
            for first, end in runs:
                # Holes that are as old as the restart have had patience enough, except those that are seen to.
                for start, stop in _runs_of(
                    s for s in range(last + 1, first) if s not in lane.missing and s not in lane.quarantined
                ):
                    actions += self._missing(source, start, stop, now)
                last = end
        return actions

    def _resume(self, incident: Incident, now: Timestamp) -> list[Action]:
        source, first, last = incident.source, incident.first, incident.last
        recorded = source is not None and first is not None and self._is_known(source, first)
        if incident.kind in (Kind.DAMAGED, Kind.WRONGLY_SIGNED) and incident.frame is not None:
            frame = incident.frame
            twins = (frame[:ID_BYTES], frame[ID_BYTES:]) if incident.kind is Kind.DAMAGED else (frame[:ID_BYTES],)
            search = _Search(source, twins=twins, sequences=(first,) if first else (), detected=incident.detected)
            return self._search(incident.id, search, now)
        if source is None or first is None or last is None or incident.kind in (Kind.SKIPPED, Kind.CONFLICTING):
            return []
        lane = self._lanes.setdefault(source, _Lane())
        if incident.kind is Kind.MISSING:
            gone = [sequence for sequence in range(first, last + 1) if not self._is_known(source, sequence)]
            if gone:
                lane.missing.update(dict.fromkeys(gone, incident.id))
                lane.turn, lane.top = max(lane.turn, last + 1), max(lane.top, last)
                return self._search(incident.id, _Search(source, sequences=tuple(gone), left=len(gone)), now)
        elif incident.kind is Kind.FROM_THE_FUTURE and not recorded and incident.frame is not None:
            event = decode(incident.frame)
            lane.top = max(lane.top, first)
            self._hold_back(incident.id, event, lane, event.time - from_seconds(self._tolerance.ahead))
            return self._advance(lane, now)
        elif not recorded and incident.event_id is not None:
            self._closing.setdefault(incident.event_id, []).append((incident.id, "recorded"))
            return []
        return [Record(self._book.compensate(incident.id, now, "recorded before a restart"))]

    def _is_known(self, source: str, sequence: int) -> bool:
        return any(first <= sequence <= last for first, last in self._known.get(source, ()))


def perform(
    receiver: Receiver, append: Callable[[Sequence[Event]], Any], actions: Sequence[Action], now: Timestamp
) -> list[Resend | Acknowledge | Quarantine]:
    """Append what is to be appended, tell the receiver, and so on until only what is for others is left.

    Parameters
    ----------
    append
        `log.append`, or `publisher.append` where subscribers are to hear of it. If it fails, the receiver has
        acknowledged nothing that is not recorded: make a new one from the log.
    """
    outward: list[Resend | Acknowledge | Quarantine] = []
    while actions:
        events: list[Event] = []
        for action in actions:
            if isinstance(action, Record | Release):
                events.append(action.event)
            else:
                outward.append(action)
        actions = _append(receiver, append, events, now) if events else []
    return outward


def _append(
    receiver: Receiver, append: Callable[[Sequence[Event]], Any], events: Sequence[Event], now: Timestamp
) -> list[Action]:
    try:
        append(events)
    except Conflict as error:
        if len(events) == 1 and receiver.wrote(events[0]):
            raise  # two receivers of one name
        if len(events) == 1:
            return receiver.refused(events[0], str(error), now)
        # One of them; the log says that nothing was appended, so each may be tried alone.
        return [action for event in events for action in _append(receiver, append, [event], now)]
    return receiver.recorded(events, now)


def _readable(frame: Frame) -> Event | None:
    try:
        return decode(frame)
    except InvalidEvent:
        return None


def _has_all(lane: _Lane, last: int) -> bool:
    return (
        lane.turn > last
        and (lane.lost is None or lane.lost > last)
        and all(sequence > last for sequence in lane.missing)
        and all(sequence > last for sequence in lane.unrecorded)
    )


def _runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
