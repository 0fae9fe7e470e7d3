"""The life of an incident, as it stands in a log."""

from __future__ import annotations

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, SkippedPosition
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import COMPENSATED, DETECTED, IncidentBook, Kind, incident_life, incidents
from rarera_sim.core.journal import Journal
from rarera_sim.core.subscription import Subscription


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def an_event(sequence, **options):
    return Event("EWR/UA1", "tick", {}, source="EWR", sequence=sequence, time=sequence, **options)


def test_a_life_from_detection_to_compensation_is_one_call(log):
    book, event = IncidentBook(Journal("gate")), an_event(7)
    log.append([event])
    incident, events = book.detect(Kind.DAMAGED, 10, reason="does not match its UID", due=99, frame=b"\x00\xff")
    log.append(events)
    assert incident_life(log, incident).status == "detected"
    log.append([book.trace(incident, 20, source="EWR", first=7, event_id=event.id)])
    log.append([book.compensate(incident, 30, "sent again")])
    life = incident_life(log, incident)
    assert (life.detected, life.traced, life.compensated, life.given_up, life.due) == (10, 20, 30, None, 99)
    assert (life.kind, life.source, life.first, life.last) == (Kind.DAMAGED, "EWR", 7, 7)
    assert (life.position, life.event_id, life.frame, life.outcome) == (1, event.id, b"\x00\xff", "sent again")
    assert (life.status, life.open) == ("compensated", False)
    causes = {each.causation for _, each in log.read() if each.stream == f"incidents/{incident}"}
    assert causes == {None, life.opening}, "what follows is caused by the opening"


def test_incidents_are_found_by_kind_source_and_state(log):
    book = IncidentBook(Journal("gate"))
    first, events = book.detect(Kind.MISSING, 1, reason="hole", source="EWR", first=2, last=4)
    events += book.detect(Kind.REPEATED, 2, reason="again", source="JFK", first=1)[1]
    log.append([*events, book.give_up(first, 3, "lost for good")])
    assert [each.status for each in incidents(log)] == ["given up", "traced"]
    assert [each.id for each in incidents(log, kind=Kind.MISSING)] == [first]
    assert [each.kind for each in incidents(log, source="JFK")] == [Kind.REPEATED]
    assert [each.kind for each in incidents(log, open_only=True)] == [Kind.REPEATED]


def test_a_book_goes_on_with_what_the_log_has_open(log):
    book = IncidentBook(Journal("gate"))
    incident, events = book.detect(Kind.DAMAGED, 1, reason="x")
    log.append(events)
    again = IncidentBook(Journal.resume(log, "gate"), incidents(log))
    log.append([again.compensate(incident, 0, "after a restart")])
    life = incident_life(log, incident)
    assert (life.status, life.compensated) == ("compensated", 2), "time never stands still within a source"
    with pytest.raises(BadInput, match="no incident 'gate-1' is open"):
        again.give_up(incident, 3, "twice")


def test_an_incident_that_never_was_is_said_to_be_none(log):
    with pytest.raises(BadInput, match="'gate-7' is not in this log"):
        incident_life(log, "gate-7")


@pytest.mark.parametrize("data", [{}, {"kind": "odd", "reason": "", "due": None}], ids=str)
def test_what_strangers_write_into_the_stream_changes_nothing(log, data):
    book = IncidentBook(Journal("gate"))
    incident, events = book.detect(Kind.DAMAGED, 1, reason="x")
    journal = Journal("stranger")
    forged = [
        journal.write(f"incidents/{incident}", COMPENSATED, {"how": "so I say"}, 2),
        journal.write("incidents/stranger-2", DETECTED, data, 2),
        journal.write("incidents/stranger-1", "odd", {}, 2),
    ]
    log.append(events + forged)
    assert [(each.id, each.status) for each in incidents(log)] == [(incident, "detected")]


class HoledLog(MemoryLog):
    def read(self, *arguments, **options):
        return (recorded for recorded in super().read(*arguments, **options) if recorded.position not in (2, 3))


def test_a_skipped_position_stops_the_follower_and_opens_an_incident():
    log, elsewhere = HoledLog(), MemoryLog()
    log.append([an_event(n) for n in range(1, 6)])
    book = IncidentBook(Journal("follower"))
    subscription = Subscription(log, alarm=lambda *hole: elsewhere.append(book.skipped(*hole, 5)))
    with pytest.raises(SkippedPosition, match="4 came after 1"):
        subscription.poll()
    (incident,) = incidents(elsewhere)
    assert (incident.kind, incident.first, incident.last, incident.open) == (Kind.SKIPPED, 2, 3, True)


def test_a_lost_tail_opens_an_incident_as_well():
    log = MemoryLog()
    log.append([an_event(1)])
    book = IncidentBook(Journal("follower"))
    with pytest.raises(SkippedPosition, match="beyond the end"):
        Subscription(log, after=3, alarm=lambda *hole: log.append(book.skipped(*hole, 5)))
    (incident,) = incidents(log)
    assert (incident.first, incident.last) == (2, 3)
