"""A log as a table: the same through columns as through events, and damage found all the same."""

from __future__ import annotations

import apsw
import polars as pl
import pytest

from rarera_sim.adapters import frames, sqlite
from rarera_sim.adapters.frames import SCHEMA, to_pandas, to_polars
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import DamagedLog, SkippedPosition
from rarera_sim.core.event import Event
from rarera_sim.core.log import ALL, Query

AWKWARD = (
    Event('a","b",1,1,"","",{', 'ty"pe', {"x": '","",{}]', "y": [None, -0.0]}, "so\\urce\n", 1, 0),
    Event("é/\U0001f600/x", "t,{", {}, "s", 2**63 - 1, 2**63 - 1, 7, b"\xff" * 32, b"\x01" * 32),
    Event("plain", "t", {"": {"": 2**64 - 1}}, "s", 1, 5),
)
EVENTS = [
    *AWKWARD,
    *(
        Event(f"{'AB'[n % 2]}/{n % 7}", "xyz"[n % 3], {"speed": n / 7}, source=f"g{n % 4}", sequence=n, time=n)
        for n in range(1, 300)
    ),
]


@pytest.fixture
def log(tmp_path):
    with SqliteLog(tmp_path / "log.sqlite") as log:
        log.append(EVENTS)
        yield log


@pytest.fixture
def no_detour(monkeypatch):
    """The slow way, which decodes events, is not there."""
    monkeypatch.setattr(SqliteLog, "read", lambda *_, **__: pytest.fail("events were decoded one by one"))


def through_events(query=ALL):
    log = MemoryLog()
    log.append(EVENTS)
    return to_polars(log, query)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("page", [1, 7, 10_000])
@pytest.mark.parametrize("query", [ALL, Query(types=("x",), since=50), Query(streams=("no such",))], ids=repr)
@pytest.mark.usefixtures("no_detour")
def test_columns_give_the_table_that_events_give(log, monkeypatch, verify, page, query):
    monkeypatch.setattr(sqlite, "COLUMNS_PAGE", page)
    found = to_polars(log, query, verify=verify)
    assert found.schema == pl.Schema(SCHEMA)
    assert found.equals(through_events(query))


def test_a_query_that_an_index_answers_gives_the_same(log, monkeypatch):
    monkeypatch.setattr(sqlite, "SCAN_MAX", 0)
    query = Query(processors=("A",), types=("x",), since=100, until=110)
    assert log.columns(query) is None
    assert to_polars(log, query).equals(through_events(query))


def test_an_empty_log_is_an_empty_table(tmp_path):
    with SqliteLog(tmp_path / "empty.sqlite") as log:
        assert to_polars(log).schema == pl.Schema(SCHEMA)
        assert to_polars(log).is_empty()


def test_the_data_is_the_canonical_json_that_was_recorded(log):
    assert to_polars(log)["data"][2] == '{"":{"":18446744073709551615}}'


def test_pandas_gets_the_same_table_in_arrow_types(log):
    table = to_pandas(log)
    assert list(table.columns) == list(SCHEMA)
    assert table["data"].tolist() == to_polars(log)["data"].to_list()
    assert all("pyarrow" in str(kind) for kind in table.dtypes)


def meddle(log, sql):
    connection = apsw.Connection(str(log.path))
    connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE events SET body = replace(body, 'speed', 'spied') WHERE position = 100",
        "UPDATE events SET body = body || x'0a' WHERE position = 100",
        "UPDATE events SET body = x'ff' WHERE position = 100",
        "UPDATE events SET id = zeroblob(32) WHERE position = 100",
        "UPDATE events SET id = x'00' WHERE position = 100",
    ],
)
def test_a_changed_event_is_damage_at_its_position(log, sql):
    meddle(log, sql)
    with pytest.raises(DamagedLog, match=r"^position 100 of "):
        to_polars(log)


@pytest.mark.parametrize("column", ["stream", "type", "source", "sequence"])
def test_a_column_that_says_otherwise_than_its_event_is_not_believed(log, column):
    meddle(log, f"UPDATE events SET {column} = {column} + 1 WHERE position = 302")
    assert to_polars(log).equals(through_events())


def test_a_hole_is_a_skipped_position(log):
    meddle(log, "DELETE FROM events WHERE position = 100")
    with pytest.raises(SkippedPosition, match="position 100 is missing"):
        to_polars(log)


def test_a_page_is_verified_before_it_is_believed(log, monkeypatch):
    monkeypatch.setattr(frames, "all_intact", lambda *_: False)
    asked = []
    monkeypatch.setattr(SqliteLog, "read", lambda *_: asked.append("events") or iter(()))
    assert to_polars(log).is_empty()
    assert asked == ["events"]


@pytest.fixture
def postgres_log(postgres_url):
    from rarera_sim.adapters.postgres import PostgresLog

    with PostgresLog(postgres_url()) as log:
        log.append([event for event in EVENTS if "\n" not in event.source])
        yield log


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("page", [1, 7, 10_000])
def test_postgresql_gives_its_columns_too(postgres_log, monkeypatch, verify, page):
    from rarera_sim.adapters import postgres

    expected = through_events().filter(~pl.col("source").str.contains("\n")).drop("position")
    assert to_polars(postgres_log, Query(since=0)).drop("position").equals(expected)
    monkeypatch.setattr(postgres, "COLUMNS_PAGE", page)
    monkeypatch.setattr(postgres.PostgresLog, "read", lambda *_, **__: pytest.fail("events were decoded one by one"))
    found = to_polars(postgres_log, verify=verify)
    assert found.drop("position").equals(expected)
    assert found["position"].to_list() == list(range(1, len(expected) + 1))


def test_what_postgresql_cannot_tell_apart_is_read_event_by_event(postgres_log):
    awkward = Event("s", "t", {}, "so\nurce", 1, 1)
    postgres_log.append([awkward])
    assert to_polars(postgres_log)["source"].to_list()[-1] == "so\nurce"


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        ("UPDATE events SET body = body || '\\x20' WHERE id = 100", "position 100 of"),
        ("UPDATE events SET body = body || '\\x0a' WHERE id = 100", "position 100 of"),
        ("UPDATE events SET uid = substr(uid, 2) WHERE id = 100", "position 100 of"),
        ("DELETE FROM events WHERE id = 100", "position 100 is missing"),
    ],
)
def test_damage_in_postgresql_is_found_through_columns_and_through_events(postgres_log, change, damage):
    postgres_log._connection.execute(change)
    for read in (to_polars, lambda log: list(log.read())):
        with pytest.raises((DamagedLog, SkippedPosition), match=damage):
            read(postgres_log)


@pytest.mark.parametrize("column", ["stream", "type", "source"])
def test_a_column_of_postgresql_that_says_otherwise_is_not_believed(postgres_log, column):
    before = to_polars(postgres_log)
    postgres_log._connection.execute(f"UPDATE events SET {column} = {column} || 'x' WHERE id = 200")
    assert to_polars(postgres_log).equals(before)
