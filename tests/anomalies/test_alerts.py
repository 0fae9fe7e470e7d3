"""The alert policy, findings, incidents and remedies."""

from __future__ import annotations

from random import Random

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.anomalies import (
    AddCapacity,
    AlertPolicy,
    Behaviour,
    Compensation,
    FallBack,
    Finding,
    Level,
    QuarantineSource,
    Watch,
    report,
    timeline_frame,
)
from rarera_sim.core.incidents import IncidentBook, Kind, incidents
from rarera_sim.core.journal import Journal


def finding(behaviour, *, time=0, rising=None, source="EWR"):
    return Finding(behaviour=behaviour, source=source, time=time, score=9.0, threshold=6.0, rising=rising)


def test_there_is_one_alert_per_refractory_time():
    alerts = AlertPolicy(1.0, refractory=10)
    assert [n for n in range(35) if alerts.alert(5.0)] == [0, 10, 20, 30]


def test_many_alerts_make_tired_and_calm_refreshes():
    alerts = AlertPolicy(1.0, raise_by=0.5, recovery=0.1)
    assert alerts.alert(1.2)
    assert not alerts.alert(1.2)
    assert alerts.alert(1.4)
    assert alerts.level == pytest.approx(1.0 * (1.0 + 0.3 + 0.5 - 0.1))
    for _ in range(10):
        alerts.alert(0.0)
    assert alerts.level == 1.0
    assert alerts.alert(1.0)


def test_a_score_that_is_no_number_is_no_alert():
    assert not AlertPolicy(1.0).alert(float("nan"))


def test_resting_is_the_same_as_samples_below_the_threshold():
    chance = Random(1)
    scores = [chance.expovariate(1.0) for _ in range(3_000)]
    one, other = (AlertPolicy(2.0, refractory=7, raise_by=0.2, recovery=0.01) for _ in range(2))
    expected = [n for n, score in enumerate(scores) if one.alert(score)]
    found, before = [], -1
    for n, score in enumerate(scores):
        if score >= 2.0:
            other.rest(n - before - 1)
            before = n
            if other.alert(score):
                found.append(n)
    assert found == expected


def test_a_finding_becomes_an_incident_that_can_be_closed():
    log, book = MemoryLog(), IncidentBook(Journal("watch"))
    number, events = report(finding(Behaviour.STUCK), book, 5)
    log.append(events)
    (open_one,) = incidents(log, kind=Kind.ABNORMAL, open_only=True)
    assert (open_one.source, open_one.status) == ("EWR", "traced")
    assert open_one.reason == "stuck of EWR is unusual: score 9, alert from 6"
    log.append([book.compensate(number, 9, "quarantined until it speaks sense")])
    assert incidents(log, open_only=True) == []


@pytest.mark.parametrize(
    ("behaviour", "rising", "expected"),
    [
        (Behaviour.STUCK, None, [QuarantineSource("EWR", 10**10)]),
        (Behaviour.LOOPING, None, [QuarantineSource("EWR", 10**10)]),
        (Behaviour.RATE, True, [AddCapacity(1.5, 10**10)]),
        (Behaviour.LATENCY, True, [AddCapacity(1.5, 10**10)]),
        (Behaviour.RATE, False, []),
        (Behaviour.DRIFT, True, [FallBack(10**10)]),
        (Behaviour.SILENCE, None, []),
        (Behaviour.CONTENT, None, []),
    ],
)
def test_each_behaviour_has_its_remedy(behaviour, rising, expected):
    assert Compensation(hold=10.0).remedy(finding(behaviour, rising=rising)) == expected


def test_unusual_contents_are_held_back_only_where_they_are_distrusted():
    assert Compensation(distrust=True).remedy(finding(Behaviour.CONTENT)) != []


def test_a_remedy_is_not_given_twice_while_it_holds():
    compensation = Compensation(hold=10.0)
    assert compensation.remedy(finding(Behaviour.STUCK))
    assert not compensation.remedy(finding(Behaviour.STUCK, time=10**10 - 1))
    assert compensation.remedy(finding(Behaviour.STUCK, source="JFK", time=1))
    assert compensation.remedy(finding(Behaviour.STUCK, time=10**10))


def test_the_timeline_shows_what_a_watch_does():
    samples = [(n, float(n % 5) + (30.0 if n >= 300 else 0.0)) for n in range(400)]
    frame = timeline_frame(samples, Level(), AlertPolicy(6.0, refractory=50))
    watch = Watch(Level(), AlertPolicy(6.0, refractory=50), Behaviour.CONTENT, "x")
    expected = [watch.see({"value": value}, time) is not None for time, value in samples]
    assert frame["alert"] == expected
    assert any(expected)
    assert {len(column) for column in frame.values()} == {400}
