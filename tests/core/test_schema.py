"""Old events come in today's shape; what is stored, and what an event is, never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.adapters.keys import MemoryKeys
from rarera_sim.adapters.memory import MemoryLog, MemorySnapshots
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, UnknownFormat
from rarera_sim.core.event import Event, decode
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query
from rarera_sim.core.projection import Materialised, Tally, rebuild
from rarera_sim.core.schema import Upcasted, Upcaster, Upcasters, UpcastLog
from rarera_sim.core.sealing import Unsealed, erase_subject, seal


def to_kmh(event):
    return {"speed": event.data["speed"] * 1.5}


def to_list(event):
    return {"speeds": [event.data["speed"]], "at": event.stream}


ARRIVED = Upcasters(Upcaster("arrived", 1, to_kmh), Upcaster("arrived", 2, to_list))


def an_event(schema=1, sequence=1, type="arrived", **data):
    return Event("EWR/UA1", type, data, source="EWR", sequence=sequence, time=sequence, schema=schema)


def test_each_version_comes_in_the_newest_shape():
    expected = {"speeds": [600.0], "at": "EWR/UA1"}
    assert ARRIVED.upcast(an_event(1, speed=400.0)).data == expected
    assert ARRIVED.upcast(an_event(2, speed=600.0)).data == expected
    newest = an_event(3, speeds=[600.0])
    assert ARRIVED.upcast(newest) is newest
    other = an_event(1, type="departed", speed=400.0)
    assert ARRIVED.upcast(other) is other


@given(st.integers(1, 3), st.integers(1, 99), st.floats(0, 1e3))
def test_a_view_is_the_stored_event_in_all_but_data_and_schema(schema, sequence, speed):
    stored = an_event(schema, sequence, speed=speed)
    frame = stored.frame
    seen = ARRIVED.upcast(stored)
    assert seen.schema == 3
    assert (seen.id, seen.frame, seen.body) == (stored.id, frame, stored.body)
    assert (seen.stream, seen.type, seen.source, seen.sequence, seen.time) == (
        "EWR/UA1",
        "arrived",
        "EWR",
        sequence,
        sequence,
    )
    assert decode(seen.frame) == stored
    assert stored.data == {"speed": speed}


def test_an_upcaster_that_alters_what_it_gets_alters_no_log():
    def careless(event):
        event.data["speeds"].append(1)
        return event.data

    log = MemoryLog()
    log.append([an_event(1, speeds=[400])])
    seen = UpcastLog(log, Upcasters(Upcaster("arrived", 1, careless)))
    assert [next(seen.read()).event.data for _ in range(2)] == [{"speeds": [400, 1]}] * 2
    assert next(log.read()).event.data == {"speeds": [400]}


@pytest.mark.parametrize(
    ("upcasters", "message"),
    [
        ([Upcaster("t", 2, dict)], "nothing leads up from schema 1"),
        ([Upcaster("t", 1, dict), Upcaster("t", 3, dict)], "nothing leads up from schema 2"),
        ([Upcaster("t", 1, dict, to=3)], "nothing leads up from schema 2"),
        ([Upcaster("t", 1, dict), Upcaster("t", 1, dict, to=3)], "two upcasters from schema 1"),
        ([Upcaster("t", 1, dict), Upcaster("t", 2, dict, to=1)], "must lead upwards"),
        ([Upcaster("t", 1, dict, to=1)], "must lead upwards"),
        ([Upcaster("t", 0, dict)], "integers >= 1"),
        ([Upcaster("t", "1", dict)], "integers >= 1"),
        ([Upcaster("t", 1, dict, to=2.0)], "integers >= 1"),
    ],
)
def test_gaps_forks_and_circles_are_refused_at_once(upcasters, message):
    with pytest.raises(BadInput, match=message):
        Upcasters(*upcasters)


def test_a_step_may_skip_versions_as_long_as_each_has_a_way_up():
    both = Upcasters(Upcaster("t", 2, lambda _: {"from": 2}), Upcaster("t", 1, lambda _: {"from": 1}, to=3))
    assert [both.upcast(an_event(schema, type="t")).data for schema in (1, 2)] == [{"from": 1}, {"from": 2}]


def test_an_event_of_a_later_schema_is_refused():
    with pytest.raises(UnknownFormat, match="'arrived' of EWR#1 has schema 4; this program reads it up to 3"):
        ARRIVED.upcast(an_event(4))


def test_an_upcaster_that_gives_no_object_is_named():
    with pytest.raises(BadInput, match="'t' from schema 1 must give a dict, got NoneType"):
        Upcasters(Upcaster("t", 1, lambda _: None)).upcast(an_event(type="t"))


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def test_a_log_is_read_in_the_newest_shape_whichever_way(log):
    seen = UpcastLog(log, ARRIVED)
    events = [an_event(1, 1, speed=400.0), an_event(2, 2, speed=600.0), an_event(1, 3, type="departed")]
    [first, *_] = seen.append(events)
    assert first.event.schema == 3
    assert seen.append(events) == []
    assert [recorded.event.schema for recorded in seen.read()] == [3, 3, 1]
    assert [recorded.position for recorded in seen.read(Query(types=("arrived",)), backwards=True, after=0)] == [2, 1]
    assert [recorded.position for recorded in seen.read(after=1, upto=2, limit=5)] == [2]
    assert seen.find(events[0].id).event.data == {"speeds": [600.0], "at": "EWR/UA1"}
    assert seen.find(bytes(32)) is None
    assert (seen.head(), seen.sequences()) == (3, {"EWR": [(1, 3)]})
    assert [recorded.event for recorded in log.read()] == events
    assert verify(log).intact


def test_copying_what_is_seen_copies_what_is_stored(log, tmp_path):
    log.append([an_event(1, 1, speed=400.0), an_event(2, 2, speed=600.0)])
    with SqliteLog(tmp_path / "copy.sqlite") as copy:
        copy.append([recorded.event for recorded in UpcastLog(log, ARRIVED).read()])
        assert [recorded.event for recorded in copy.read()] == [recorded.event for recorded in log.read()]
        assert verify(copy).head == verify(log).head


class Speeds:
    name = "speeds"
    version = 1

    def initial(self):
        return []

    def apply(self, state, event):
        return [*state, event.data]


def test_a_snapshot_of_older_shapes_is_not_read():
    log, snapshots = MemoryLog(), MemorySnapshots()
    log.append([an_event(1, 1, speed=400.0), an_event(1, 2, speed=500.0)])
    before = Upcasted(Speeds(), Upcasters(Upcaster("arrived", 1, to_kmh)))
    materialised = Materialised(before)
    for recorded in log.read():
        materialised.apply(recorded)
    snapshots.save(materialised.snapshot())
    assert rebuild(before, log, snapshots=snapshots) == [{"speed": 600.0}, {"speed": 750.0}]
    after = Upcasted(Speeds(), ARRIVED)
    assert rebuild(after, log, snapshots=snapshots)[0] == {"speeds": [600.0], "at": "EWR/UA1"}
    assert snapshots.latest("speeds", before.version)
    assert snapshots.latest("speeds", after.version) is None


def test_a_snapshot_version_says_both_versions_and_fits_where_versions_are_kept():
    assert ARRIVED.snapshot_version(1) == 1112839964860
    versions = {
        Upcasters(*[Upcaster("t", version, dict) for version in range(1, newest)]).snapshot_version(own)
        for newest in range(1, 20)
        for own in range(1, 20)
    }
    assert len(versions) == 19 * 19
    assert max(versions) < 2**63


def test_sealed_events_are_brought_up_to_date_once_they_are_open():
    pytest.importorskip("cryptography")
    log, keys = MemoryLog(), MemoryKeys()
    for sequence, subject in enumerate(("ada", "bob"), start=1):
        keys.create(subject)
        log.append([seal(an_event(1, sequence, speed=100.0 * sequence), keys, subject)])
    seen = UpcastLog(log, ARRIVED)
    assert [recorded.event for recorded in seen.read()] == [recorded.event for recorded in log.read()]
    projection = Unsealed(Upcasted(Speeds(), ARRIVED), keys)
    assert [data["speeds"] for data in rebuild(projection, seen)] == [[150.0], [300.0]]
    erase_subject(log, keys, "ada", time=0)
    assert [data["speeds"] for data in rebuild(projection, seen) if "speeds" in data] == [[300.0]]
    assert rebuild(Unsealed(Tally(), keys), log)["EWR"] == {"arrived": [1, 1, 200_000_000]}
