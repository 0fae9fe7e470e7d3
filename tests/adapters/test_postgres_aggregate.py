"""What PostgreSQL works out is what the fold works out, to the bit; and PostgreSQL does work it out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.core.aggregate import Aggregate, aggregate
from rarera_sim.core.errors import BadInput, SkippedPosition
from rarera_sim.core.event import Event
from rarera_sim.core.log import Query

pytest.importorskip("psycopg", reason="no psycopg: rarera-sim[postgres] is not installed")

from rarera_sim.adapters import postgres_aggregate as module
from rarera_sim.adapters.postgres import PostgresLog
from rarera_sim.adapters.postgres_aggregate import postgres_aggregate

NAMES = ("speed", "a.b", "", "[0]", "é", "\n", "%s", "😀")
NAMES_NOT_SHOWN = ("type", "speed\0", "\0", "\ufffd")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1) | st.integers(-9, 9)
OTHERS = st.booleans() | st.text(max_size=9) | st.just([1, None])
STREAMS = ("A/1", "A/2", "B/1", "é/1")


@st.composite
def some_events(draw, values=NUMBERS, names=NAMES):
    one = st.tuples(
        st.sampled_from(STREAMS),
        st.sampled_from("xy"),
        st.sampled_from("st"),
        st.integers(0, 50),
        st.dictionaries(st.sampled_from(names), st.none() | values, max_size=3),
    )
    return [
        Event(stream, kind, data, source=source, sequence=n, time=time)
        for n, (stream, kind, source, time, data) in enumerate(draw(st.lists(one, max_size=25)), start=1)
    ]


@st.composite
def requests(draw, names=NAMES):
    field = draw(st.none() | st.sampled_from(names))
    return Aggregate(
        field=field,
        by=tuple(draw(st.lists(st.sampled_from(("processor", "type", "source")), unique=True))),
        window=draw(st.none() | st.integers(1, 60)),
        quantiles=() if field is None else (0.0, 0.3, 0.5),
    )


def some_of(names):
    return st.lists(st.sampled_from((*names, "none", "\ud800")), max_size=2).map(tuple)


@st.composite
def queries(draw):
    since, until = sorted((draw(st.integers(-1, 60)), draw(st.integers(-1, 60))))
    return Query(
        streams=draw(some_of(STREAMS)),
        processors=draw(some_of("AB")),
        types=draw(some_of("xy")),
        sources=draw(some_of("st")),
        since=draw(st.sampled_from((None, since))),
        until=draw(st.sampled_from((None, until))),
    )


@pytest.fixture
def log(postgres_url):
    with PostgresLog(postgres_url(), durability="normal") as log:
        yield log


@pytest.fixture
def no_fold(monkeypatch):
    """Whoever falls back on reading the events fails."""
    monkeypatch.setattr(module, "aggregate", lambda *_: pytest.fail("the events were read"))


def refill(log, events):
    log._connection.execute("DELETE FROM events")  # one schema for all examples: making one costs more than the test
    log._forget()
    log.append(events)


def outcome(function, *arguments):
    try:
        return repr(function(*arguments))
    except BadInput as error:
        return str(error)


SAME = settings(deadline=None, max_examples=60)


@pytest.mark.usefixtures("no_fold")
def test_postgresql_and_the_fold_give_the_same(log):
    @SAME
    @given(some_events(), requests(), queries() | st.just(Query()))
    def check(events, request, query):
        refill(log, events)
        assert repr(postgres_aggregate(log, request, query)) == repr(aggregate(log, request, query))

    check()


def test_postgresql_and_the_fold_refuse_the_same(log):
    names = (*NAMES, *NAMES_NOT_SHOWN)

    @SAME
    @given(some_events(NUMBERS | OTHERS, names), requests(names), queries() | st.just(Query()))
    def check(events, request, query):
        refill(log, events)
        assert outcome(postgres_aggregate, log, request, query) == outcome(aggregate, log, request, query)

    check()


@pytest.mark.usefixtures("no_fold")
def test_values_are_joined_a_piece_at_a_time(log, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BITS", 2)
    log.append([Event("A/1", "x", {"v": n * 0.1}, source="s", sequence=n, time=n) for n in range(1, 100)])
    request = Aggregate(field="v", by=("type",), window=30, quantiles=(0.5,))
    assert postgres_aggregate(log, request) == aggregate(log, request)


@pytest.mark.parametrize("field", NAMES_NOT_SHOWN)
def test_a_field_that_the_view_does_not_show_is_read_from_the_events(log, field):
    log.append([Event("A/1", "x", {"\0": 1.0, "speed\0": 2.0, "type": 3.0}, source="s", sequence=1, time=0)])
    assert postgres_aggregate(log, Aggregate(field=field)) == aggregate(log, Aggregate(field=field))


@pytest.mark.parametrize("value", ["fast", "1.5", "null", True, [1]])
def test_a_field_that_is_no_number_is_refused_with_its_position(log, value):
    log.append([Event("A/1", "x", {"v": v}, source="s", sequence=n, time=n) for n, v in enumerate((1, value, 3), 1)])
    with pytest.raises(BadInput, match=r"field 'v' at position 2 is .*, not a number"):
        postgres_aggregate(log, Aggregate(field="v"))


def test_a_hole_does_not_pass_quietly(log):
    log.append([Event("A/1", "x", {"v": n}, source="s", sequence=n, time=n) for n in range(1, 6)])
    log._connection.execute("DELETE FROM events WHERE id = 3")
    for request in (Aggregate(field="v"), Aggregate()):
        with pytest.raises(SkippedPosition, match="position 3"):
            postgres_aggregate(log, request)
