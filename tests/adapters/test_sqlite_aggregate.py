"""What SQLite works out is what the fold works out, to the bit; and SQLite does work it out."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters import sqlite_aggregate as module
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.adapters.sqlite_aggregate import sqlite_aggregate
from rarera_sim.core.aggregate import Aggregate, aggregate
from rarera_sim.core.errors import BadInput, DamagedLog, SkippedPosition
from rarera_sim.core.event import Event
from rarera_sim.core.log import Query

NAMES = ("speed", "a.b", 'q"', "back\\slash", "", "[0]", "$", "é", "\n", "type", "😀")
NAMES_WITH_NUL = ("speed\0", "\0")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1) | st.integers(-9, 9)
ALL_NUMBERS = NUMBERS | st.none()
OTHERS = st.booleans() | st.text(max_size=50) | st.lists(st.sampled_from((1, None, "x")), max_size=20)
STREAMS = ("A/1", "A/2", "B/1", "é/1")
TYPES = ("x", "y")
SOURCES = ("s", "t")


@st.composite
def some_events(draw, values=ALL_NUMBERS, names=NAMES):
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(STREAMS),
                st.sampled_from(TYPES),
                st.sampled_from(SOURCES),
                st.integers(0, 50),
                st.dictionaries(st.sampled_from(names), values, max_size=3),
            ),
            max_size=25,
        )
    )
    return [
        Event(stream, kind, data, source=source, sequence=n, time=time)
        for n, (stream, kind, source, time, data) in enumerate(drawn, start=1)
    ]


@st.composite
def requests(draw, names=NAMES):
    field = draw(st.none() | st.sampled_from(names))
    return Aggregate(
        field=field,
        by=tuple(draw(st.lists(st.sampled_from(("processor", "type", "source")), unique=True))),
        window=draw(st.none() | st.integers(1, 60)),
        quantiles=() if field is None else tuple(draw(st.lists(st.floats(0, 1), max_size=3))),
    )


def some_of(names):
    return st.lists(st.sampled_from((*names, "none", "\ud800")), max_size=2).map(tuple)


@st.composite
def queries(draw):
    since, until = sorted((draw(st.integers(-1, 60)), draw(st.integers(-1, 60))))
    return Query(
        streams=draw(some_of(STREAMS)),
        processors=draw(some_of(("A", "B", "é"))),
        types=draw(some_of(TYPES)),
        sources=draw(some_of(SOURCES)),
        since=draw(st.sampled_from((None, since))),
        until=draw(st.sampled_from((None, until, 2**63))),
    )


@pytest.fixture
def log(tmp_path):
    with SqliteLog(tmp_path / "log.sqlite", durability="normal") as log:
        yield log


@pytest.fixture
def no_fold(monkeypatch):
    """Whoever falls back on reading the events fails."""
    monkeypatch.setattr(module, "aggregate", lambda *_: pytest.fail("the events were read"))


def refill(log, events):
    log._connection.execute("DELETE FROM events")  # one file for all examples: making one costs more than the test
    log.append(events)


def outcome(function, *arguments):
    try:
        return repr(function(*arguments))
    except BadInput as error:
        return str(error)


SAME = settings(deadline=None, max_examples=100)


@pytest.mark.usefixtures("no_fold")
def test_sqlite_and_the_fold_give_the_same(log):
    @SAME
    @given(some_events(), requests(), queries() | st.just(Query()))
    def check(events, request, query):
        refill(log, events)
        assert repr(sqlite_aggregate(log, request, query)) == repr(aggregate(log, request, query))

    check()


def test_sqlite_and_the_fold_refuse_the_same(log):
    names = (*NAMES, *NAMES_WITH_NUL)

    @SAME
    @given(some_events(ALL_NUMBERS | OTHERS, names), requests(names), queries() | st.just(Query()))
    def check(events, request, query):
        refill(log, events)
        assert outcome(sqlite_aggregate, log, request, query) == outcome(aggregate, log, request, query)

    check()


@pytest.mark.usefixtures("no_fold")
def test_values_are_joined_a_piece_at_a_time(log, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BITS", 2)
    log.append([Event("A/1", "x", {"v": n * 0.1}, source="s", sequence=n, time=n) for n in range(1, 100)])
    request = Aggregate(field="v", by=("type",), window=30, quantiles=(0.5,))
    assert sqlite_aggregate(log, request) == aggregate(log, request)


@pytest.mark.parametrize("value", ["fast", "1.5", "null", True, ["x" * 100], '","', "x" * 1000])
def test_a_field_that_is_no_number_is_refused_with_its_position(log, value):
    log.append([Event("A/1", "x", {"v": v}, source="s", sequence=n, time=n) for n, v in enumerate((1, value, 3), 1)])
    with pytest.raises(BadInput, match=r"field 'v' at position 2 is .*, not a number"):
        sqlite_aggregate(log, Aggregate(field="v"))
    assert sqlite_aggregate(log, Aggregate(field="v"), Query(until=1))[0].mean == 1.0


@pytest.mark.parametrize(("key", "field"), [("speed\0", "speed"), ("\0", "")])
def test_a_key_that_goes_on_with_nul_is_another_field(log, key, field):
    log.append([Event("A/1", "x", {key: 1.0}, source="s", sequence=1, time=0)])
    assert [sqlite_aggregate(log, Aggregate(field=name))[0].values for name in (key, field)] == [1, 0]
    log.append([Event("A/1", "x", {field: 2.0}, source="s", sequence=2, time=1)])
    assert [sqlite_aggregate(log, Aggregate(field=name))[0].mean for name in (key, field)] == [1.0, 2.0]
    later = Query(since=1)  # only the event whose key has no NUL
    assert [sqlite_aggregate(log, Aggregate(field=name), later)[0].values for name in (key, field)] == [0, 1]


def test_a_hole_and_a_damaged_body_do_not_pass_quietly(log, tmp_path):
    log.append([Event("A/1", "x", {"v": n}, source="s", sequence=n, time=n) for n in range(1, 6)])
    meddler = apsw.Connection(str(tmp_path / "log.sqlite"))
    meddler.execute("UPDATE events SET body = x'5b5b' WHERE position = 3")
    with pytest.raises(DamagedLog, match="position 3"):
        sqlite_aggregate(log, Aggregate(field="v"))
    meddler.execute("DELETE FROM events WHERE position = 3")
    for request in (Aggregate(field="v"), Aggregate()):
        with pytest.raises(SkippedPosition, match="position 3"):
            sqlite_aggregate(log, request)
    meddler.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(processors=("A",), types=("x",), since=1, until=9), "events_by_kind (processor=? AND type=? AND time>?"),
        (Query(streams=("A/1",)), "events_by_stream (<expr>=? AND stream=?)"),
        (Query(since=1, until=9), "events_by_id (id>? AND id<?)"),
    ],
)
@pytest.mark.parametrize("field", [None, "v"])
@pytest.mark.usefixtures("no_fold")
def test_an_index_is_used_where_there_is_one(log, query, index, field):
    log.append([Event("A/1", "x", {"v": n}, source="s", sequence=n, time=n) for n in range(1, 6)])
    asked = []
    log._connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    sqlite_aggregate(log, Aggregate(field=field, by=("type",)), query)
    log._connection.exec_trace = None
    [(sql, values)] = [each for each in asked if "GROUP BY" in each[0]]
    plan = [row[-1] for row in log._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any(index in step for step in plan), plan
