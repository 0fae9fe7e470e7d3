"""Sums are the same from every adapter, snapshots are found with every log, and formats are met as they should be."""

from __future__ import annotations

import apsw
import pytest

from rarera_sim.adapters.folders import _manifest
from rarera_sim.adapters.sqlite import FORMAT, SqliteLog
from rarera_sim.adapters.stores import aggregate_log, snapshots_of, upgrade_log
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.aggregate import Aggregate, aggregate
from rarera_sim.core.errors import BadInput, UnknownFormat
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query
from rarera_sim.core.snapshot import Snapshot

EVENTS = [
    Event(
        f"{'AB'[n % 2]}/{n % 3}", "xyz"[n % 3], {"v": n * 0.1} if n % 5 else {}, source="st"[n % 2], sequence=n, time=n
    )
    for n in range(1, 201)
]
REQUESTS = [
    Aggregate(),
    Aggregate(field="v", quantiles=(0.0, 0.5, 0.99)),
    Aggregate(field="v", by=("processor", "type", "source"), quantiles=(0.3,)),
    Aggregate(field="v", by=("type",), window=30),
    Aggregate(by=("source",), window=7),
]
QUERIES = [
    Query(),
    Query(processors=("A",), types=("x", "y"), since=20, until=150),
    Query(sources=("t",), streams=("B/1",)),
    Query(types=("none",)),
]
KINDS = ["memory", "sqlite", "files", "tiered", "postgres"]


@pytest.fixture
def url_of(tmp_path, request):
    def url(kind):
        if kind == "postgres":
            return request.getfixturevalue("postgres_url")()
        paths = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/log.sqlite"}
        return paths.get(kind, f"{kind}:///{tmp_path}/{kind}")

    return url


@pytest.fixture(params=KINDS)
def log(request, url_of):
    log = open_log(url_of(request.param))
    log.append(EVENTS)
    yield log
    log.close()


def test_sums_are_those_of_the_fold_whoever_works_them_out(log):
    for request in REQUESTS:
        for query in QUERIES:
            assert repr(aggregate_log(log, request, query)) == repr(aggregate(log, request, query))


def test_a_field_that_is_no_number_is_refused_by_all(log):
    log.append([Event("A/1", "x", {"v": "fast"}, source="u", sequence=1, time=9)])
    with pytest.raises(BadInput, match="field 'v' at position 201 is 'fast', not a number"):
        aggregate_log(log, Aggregate(field="v"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_works_out_the_sums_itself(url_of, kind, monkeypatch):
    with open_log(url_of(kind)) as log:
        log.append(EVENTS)
        monkeypatch.setattr(type(log), "read", lambda *_, **__: pytest.fail("the events were read"))
        assert [group.count for group in aggregate_log(log, Aggregate(by=("source",)))] == [100, 100]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_snapshots_are_kept_with_the_log(url_of, kind):
    with open_log(url_of(kind)) as log:
        log.append(EVENTS)
        snapshot = Snapshot("tally", 1, 5, 5, b'{"a":1}')
        snapshots_of(log).save(snapshot)
        assert snapshots_of(log).latest("tally", 1) == snapshot
        snapshots_of(log).clear()
        assert snapshots_of(log).latest("tally", 1) is None


# Formats


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_log_of_this_format_stays_as_it_is(url_of, kind):
    url = url_of(kind)
    with open_log(url) as log:
        log.append(EVENTS)
        before = verify(log)
    upgraded = upgrade_log(url)
    assert upgraded.before == upgraded.now >= 1
    with open_log(url) as log:
        assert verify(log) == before


def test_an_older_log_is_upgraded_and_holds_the_same(tmp_path):
    path = tmp_path / "log.sqlite"
    with SqliteLog(path) as log:
        log.append(EVENTS)
        before = verify(log)
    with apsw.Connection(str(path)) as connection:
        # As the format before had it.
        connection.execute("DROP TABLE blocks; DROP INDEX events_by_stream; PRAGMA user_version = 1")
        connection.execute("CREATE INDEX events_by_stream ON events (stream)")
    connection.close()
    with pytest.raises(UnknownFormat, match="format 1"):
        SqliteLog(path, read_only=True)
    assert upgrade_log(path) == (1, FORMAT)
    assert upgrade_log(path) == (FORMAT, FORMAT)
    with SqliteLog(path) as log:
        assert verify(log) == before


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_newer_log_is_refused_with_the_version_it_needs(url_of, kind, tmp_path):
    url = url_of(kind)
    with open_log(url) as log:
        if kind == "postgres":
            log._connection.execute("UPDATE log_meta SET value = '99' WHERE name = 'format'")
            log._connection.execute("UPDATE log_meta SET value = '7.1' WHERE name = 'needs'")
        elif kind == "sqlite":
            log._connection.execute("UPDATE meta SET value = '7.1' WHERE name = 'needs'; PRAGMA user_version = 99")
    if kind in ("files", "tiered"):
        (tmp_path / kind / "manifest").write_bytes(_manifest(kind, 99, "7.1"))
    with pytest.raises(UnknownFormat, match=r"has format 99, .*: it needs rarera_sim 7\.1 or newer"):
        upgrade_log(url)


def test_what_is_no_log_is_not_upgraded(tmp_path):
    (tmp_path / "text.sqlite").write_text("what is this\n" * 100)
    for name, words in {"none.sqlite": "there is no log", "text.sqlite": "not an RARERA log"}.items():
        with pytest.raises(BadInput, match=words):
            upgrade_log(tmp_path / name)
