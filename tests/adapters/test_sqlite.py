"""What the SQLite log promises beyond the contract: processes, crashes, damage, formats, files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw
import pytest

from rarera_sim.adapters import sqlite
from rarera_sim.adapters.follow import follow
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import APPLICATION_ID, FORMAT, SqliteCheckpoints, SqliteLog, SqliteSnapshots
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import (
    BadInput,
    BusyLog,
    Conflict,
    DamagedLog,
    RareraError,
    SkippedPosition,
    StorageFailed,
    UnknownFormat,
)
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import IncidentBook, Kind, incidents
from rarera_sim.core.integrity import verify
from rarera_sim.core.journal import Journal
from rarera_sim.core.log import Query
from rarera_sim.core.projection import Tally, rebuild
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.trace import Stage, Step

WRITER = """
import sys
import tempfile
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.event import Event

path, source, first, count, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
log = SqliteLog(path, busy_timeout=60, durability="normal")
for start in range(first, first + count, batch):
    events = [
        Event(f"{source}/{n % 7}", "tick", {"n": n}, source=source, sequence=n, time=n)
        for n in range(start, start + batch)
    ]
    log.append(events)
    print(start + batch - 1, flush=True)  # acknowledged up to here
"""


# Processes forked and released at one moment: as often as not two of them find no file.
RACE = """
import os, sys, time
from rarera_sim.adapters.sqlite import SqliteLog

for attempt in range(100):
    start = time.monotonic() + 0.005
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while time.monotonic() < start:
                pass
            failed = 1
            try:
                SqliteLog(f"{sys.argv[1]}/{attempt}.sqlite").close()
                failed = 0
            finally:
                os._exit(failed)
        children.append(child)
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", time=None, **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=sequence if time is None else time)


def a_writer(path, source, first=1, count=1_000_000, batch=10):
    arguments = [sys.executable, "-c", WRITER, str(path), source, str(first), str(count), str(batch)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path):
    with SqliteLog(path) as log:
        yield log


def meddle(path, sql, values=()):
    """Change the file behind the log's back."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(sql, values)
    connection.close()


# Several processes


def test_two_writers_and_a_follower_miss_nothing_and_keep_order(path, log):
    each = 3_000
    writers = [a_writer(path, source, count=each) for source in ("EWR", "JFK")]
    subscription = Subscription(log)
    seen = []
    deadline = time.monotonic() + 60
    while len(seen) < 2 * each and time.monotonic() < deadline:
        subscription.ring()
        while recorded := subscription.poll():
            seen.append(recorded)
            subscription.ack(recorded)
    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    assert [position for position, _ in seen] == list(range(1, 2 * each + 1))
    for source in ("EWR", "JFK"):
        assert [event.sequence for _, event in seen if event.source == source] == list(range(1, each + 1))
    assert verify(log).intact


def test_a_killed_writer_loses_no_acknowledged_event_and_doubles_none(path):
    first = 1
    for kill in range(5):
        with a_writer(path, "EWR", first=first) as writer:
            for _ in range(kill + 1):
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.002 * kill)
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
        with SqliteLog(path) as log:
            [(start, last)] = log.sequences()["EWR"]
            assert (start, log.head()) == (1, last)
            assert last >= acknowledged
            assert last % 10 == 0, "a batch is whole or not there"
            assert verify(log).intact
        # As a source does that did not hear of its last batch: it sends it again.
        first = max(1, acknowledged - 9)


def test_all_that_create_one_log_at_once_get_it(tmp_path):
    run = subprocess.run([sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0"] * 400, run.stderr


def test_readers_neither_block_the_writer_nor_see_what_is_not_committed(path, log):
    log.append([an_event(n) for n in range(1, 4)])
    with SqliteLog(path, busy_timeout=0) as writer:
        reading = log.read()
        next(reading)
        log._connection.execute("BEGIN; SELECT * FROM events")  # the rudest of readers
        with writer._writing():
            writer._insert([an_event(4)], [an_event(4).frame])
            assert log.head() == 3
        writer.append([an_event(5)])
        assert log.head() == 3
        log._connection.execute("COMMIT")
    assert [recorded.position for recorded in reading] == [2, 3]
    assert log.head() == 5


def test_a_reader_left_half_way_does_not_hold_the_wal(path, log):
    log.append([an_event(n) for n in range(1, 3_000)])
    reading = log.read()
    next(reading)
    with SqliteLog(path) as other:
        busy, _, _ = other._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert sum(1 for _ in reading) == 2_998


def test_a_busy_log_waits_then_says_so(path, log):
    with SqliteLog(path, busy_timeout=0.2) as other, log._writing():
        before = time.monotonic()
        with pytest.raises(BusyLog, match=r"log\.sqlite"):
            other.append([an_event(1)])
        assert time.monotonic() - before >= 0.15
    with SqliteLog(path) as other:
        assert len(other.append([an_event(1)])) == 1


def test_names_of_a_batch_that_failed_are_not_remembered(path, log):
    taken = [an_event(1, stream="new/1", kind="odd"), an_event(2), an_event(2, delay=5)]
    with pytest.raises(Conflict):
        log.append(taken)
    with SqliteLog(path) as other:
        other.append([an_event(1, stream="another", kind="even")])
    log.append([an_event(2, stream="new/1", kind="odd")])
    assert verify(log).intact
    assert [event.type for _, event in log.read(Query(streams=("new/1",)))] == ["odd"]


# Indexes and scans give the same


@pytest.mark.parametrize("backwards", [False, True])
def test_an_index_and_a_scan_give_the_same_answer(log, monkeypatch, backwards):
    draw = random.Random(7)
    log.append(
        [
            an_event(n, stream=f"{draw.choice('ABC')}/{draw.randrange(50)}", kind=draw.choice("xyz"))
            for n in range(1, 900)
        ]
    )
    queries = (
        Query(streams=("A/1",)),
        Query(processors=("A",), types=("x",), since=100, until=200),
        Query(since=400, until=430),
        Query(sources=("EWR",), until=20),
        Query(types=("x",)),
    )
    for query in queries:
        matching = [position for position, event in log.read() if query.matches(event)]
        for after in (0, matching[1], matching[1] - 1, 300):
            for limit in (None, 5):
                answers = []
                for scan_max, share in ((10**9, 16), (0, 1), (0, 16)):
                    monkeypatch.setattr(sqlite, "SCAN_MAX", scan_max)
                    monkeypatch.setattr(sqlite, "SCAN_SHARE", share)
                    found = log.read(query, after=after, upto=800, limit=limit, backwards=backwards)
                    answers.append([position for position, _ in found])
                expected = [position for position in matching if after < position <= 800]
                expected = (expected[::-1] if backwards else expected)[:limit]
                assert answers == [expected] * 3, query


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            Query(processors=("EWR",), types=("departed",), since=1, until=9),
            "events_by_kind (processor=? AND type=? AND time>? AND time<?)",
        ),
        (Query(since=1, until=9), "events_by_id (id>? AND id<?)"),
        (Query(sources=("EWR",)), "events_by_place (source=?)"),
    ],
)
def test_a_selective_query_is_answered_from_an_index(log, monkeypatch, query, index):
    monkeypatch.setattr(sqlite, "SCAN_MAX", 0)
    log.append([an_event(n) for n in range(1, 10)])
    asked = []
    log._connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    list(log.read(query))
    log._connection.exec_trace = None
    [(sql, values)] = [(sql, values) for sql, values in asked if sql.startswith("SELECT position FROM events WHERE")]
    plan = [row[-1] for row in log._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert plan == [f"SEARCH events USING COVERING INDEX {index}"]


def test_a_stream_is_looked_for_in_each_block_and_found_in_order(log, monkeypatch):
    monkeypatch.setattr(sqlite, "SCAN_MAX", 0)
    log.append([an_event(n, stream=f"EWR/{n % 3}") for n in range(1, 3 * sqlite.BLOCK)])
    asked = []
    log._connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    found = [position for position, _ in log.read(Query(streams=("EWR/1", "EWR/2")), after=sqlite.BLOCK - 3)]
    log._connection.exec_trace = None
    assert found == [n for n in range(sqlite.BLOCK - 2, 3 * sqlite.BLOCK) if n % 3]
    monkeypatch.setattr(sqlite, "SCAN_SHARE", 1)
    assert found == [n for n, _ in log.read(Query(streams=("EWR/1", "EWR/2")), after=sqlite.BLOCK - 3)]
    [(sql, values)] = [(sql, values) for sql, values in asked if "WITH RECURSIVE" in sql]
    plan = [row[-1] for row in log._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert plan[-3] == "SEARCH events USING COVERING INDEX events_by_stream (<expr>=? AND stream=?)"
    assert "TEMP B-TREE" not in str(plan)


@pytest.mark.parametrize("query", [Query(streams=("EWR/UA1",)), Query(types=("departed",), since=1), Query(until=9)])
def test_a_scan_pages_by_position_and_never_sorts(log, query):
    log.append([an_event(n) for n in range(1, 10)])
    asked = []
    log._connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    list(log.read(query))
    log._connection.exec_trace = None
    plan = [row[-1] for row in log._connection.execute(f"EXPLAIN QUERY PLAN {asked[-1][0]}", asked[-1][1])]
    assert plan[0] == "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    assert "TEMP B-TREE" not in str(plan)


# Damage


def damaged_log(path):
    with SqliteLog(path) as log:
        log.append([an_event(n, stream=f"EWR/{n}", speed=1.5 * n) for n in range(1, 7)])
        return log.chain_head()


def verdict_of(path, **options):
    try:
        with SqliteLog(path, create=False) as log:
            return verify(log, **options)
    except RareraError as error:
        return error


@pytest.mark.parametrize("column", ["id", "body", "chain"])
def test_every_flipped_bit_of_an_event_is_found_at_its_position(path, column):
    damaged_log(path)
    connection = apsw.Connection(str(path))
    log = SqliteLog(path)
    [(kept,)] = connection.execute(f"SELECT {column} FROM events WHERE position = 3").fetchall()
    for bit in range(8 * len(kept)):
        flipped = bytearray(kept)
        flipped[bit // 8] ^= 1 << bit % 8
        connection.execute(f"UPDATE events SET {column} = ? WHERE position = 3", (bytes(flipped),))
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 3), f"bit {bit} of {column}"
        if column != "chain":
            with pytest.raises(DamagedLog, match="position 3"):
                list(log.read())
    connection.execute(f"UPDATE events SET {column} = ? WHERE position = 3", (kept,))
    assert verify(log).intact
    log.close()
    connection.close()


@pytest.mark.parametrize("column", ["position", "stream", "processor", "type", "source", "sequence", "time"])
def test_every_flipped_bit_of_a_column_is_found(path, column):
    damaged_log(path)
    with SqliteLog(path) as log:
        connection = log._connection
        kept = connection.execute(f"SELECT {column} FROM events WHERE position = 3").get
        for bit in range(63):
            connection.execute("BEGIN")
            try:
                connection.execute(f"UPDATE events SET {column} = ? WHERE position = 3", (kept ^ (1 << bit),))
            except apsw.ConstraintError:
                assert column in ("position", "sequence"), "an index may refuse the damage at once"
            else:
                verdict = verify(log)
                assert not verdict.intact, f"bit {bit} of {column}"
                assert verdict.position == 3
            connection.execute("ROLLBACK")
        assert verify(log).intact


@pytest.mark.parametrize(
    ("sql", "position", "reason"),
    [
        ("DELETE FROM events WHERE position = 3", 3, "position 3 is missing"),
        ("DELETE FROM events WHERE position = 1", 1, "position 1 is missing"),
        ("UPDATE events SET position = -position WHERE position = 4", 1, "comes after 0"),
        (
            "DELETE FROM events WHERE position = 3; UPDATE events SET position = position - 1 WHERE position > 3",
            3,
            "chain does not fit",
        ),
        (
            "UPDATE events SET position = 100 WHERE position = 2; UPDATE events SET position = 2 WHERE position = 4;"
            "UPDATE events SET position = 4 WHERE position = 100",
            2,
            "chain does not fit",
        ),
        ("UPDATE events SET body = CAST(body AS TEXT) WHERE position = 2", 2, "not bytes"),
        ("UPDATE events SET time = time + 1 WHERE position = 5", 5, "column time says 6, the event says 5"),
        ("UPDATE names SET name = 'arrived' WHERE name = 'departed'", 1, "column type says 'arrived'"),
        ("DELETE FROM names WHERE name = 'EWR/4'", 4, "column stream says None"),
    ],
)
def test_what_was_done_to_the_rows_is_named_with_the_first_bad_position(path, sql, position, reason):
    damaged_log(path)
    meddle(path, sql)
    verdict = verdict_of(path)
    assert (verdict.intact, verdict.position) == (False, position)
    assert reason in verdict.reason
    assert verdict.head.position == position - 1


def test_a_copied_over_event_is_found_even_without_a_chain():
    from rarera_sim.adapters.memory import MemoryLog

    log = MemoryLog()
    log.append([an_event(n) for n in range(1, 5)])
    rows = list(log.rows())
    rows[3] = rows[1]._replace(position=4)
    log.rows = lambda: iter(rows)
    verdict = verify(log)
    assert (verdict.intact, verdict.position, verdict.reason) == (False, 4, "EWR#2 is there a second time")


def test_a_deleted_tail_is_found_against_a_head_kept_elsewhere(path):
    head = damaged_log(path)
    meddle(path, "DELETE FROM events WHERE position > 4")
    assert verdict_of(path).reason.startswith("block 0 has other events"), "who forgot that they are counted"
    meddle(path, "UPDATE blocks SET (events, time_min, time_max) = (SELECT count(*), min(time), max(time) FROM events)")
    assert verdict_of(path).intact, "what is left is a good log: only a head kept elsewhere can tell"
    for kept in (head, head.position):
        verdict = verdict_of(path, expected_head=kept)
        assert (verdict.intact, verdict.position) == (False, 5)


@pytest.mark.parametrize(("gone", "hole"), [("2", (2, 2)), ("3, 4", (3, 4)), ("1, 2, 5", (1, 2))])
def test_a_hole_opens_an_incident_for_who_follows(path, gone, hole):
    damaged_log(path)
    meddle(path, f"DELETE FROM events WHERE position IN ({gone})")
    book, elsewhere = IncidentBook(Journal("follower")), MemoryLog()
    with SqliteLog(path) as log, pytest.raises(SkippedPosition, match=f"position {hole[0]} is missing"):
        list(follow(log, idle_max=0, alarm=lambda *missed: elsewhere.append(book.skipped(*missed, 5))))
    (incident,) = incidents(elsewhere)
    assert (incident.kind, incident.first, incident.last) == (Kind.SKIPPED, *hole)


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_hole_is_an_error_to_whoever_reads_all(path, gone):
    damaged_log(path)
    meddle(path, f"DELETE FROM events WHERE position = {gone}")
    with SqliteLog(path) as log:
        for read, good in (
            (log.read(), range(1, gone)),
            (log.read(limit=gone), range(1, gone)),
            (log.read(backwards=True), range(6, gone, -1)),
        ):
            seen = []
            with pytest.raises(SkippedPosition, match=f"position {gone} is missing"):
                seen.extend(recorded.position for recorded in read)
            assert seen == [] or seen == list(good)
        with pytest.raises(SkippedPosition):
            rebuild(Tally("speed"), log)
        assert len(list(log.read(Query(types=("departed",))))) == 5, "a query cannot tell a hole"


def test_an_index_that_says_otherwise_than_its_rows_is_found(path):
    damaged_log(path)
    schema = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = {} WHERE name = 'events_by_stream'"
    meddle(path, schema.format("replace(sql, ', stream)', ', stream + 1)')"))
    meddle(path, "REINDEX")
    meddle(path, schema.format("replace(sql, ', stream + 1)', ', stream)')"))
    verdict = verdict_of(path)
    assert not verdict.intact
    assert "events_by_stream" in verdict.reason


def test_flips_anywhere_in_the_file_are_found_or_change_nothing(path):
    head = damaged_log(path)
    with SqliteLog(path) as log:
        SqliteSnapshots(log).save(Snapshot.of("tally", 1, 3, 3, {"n": 3}))
        frames = [recorded.event.frame for recorded in log.read()]
        sequences = log.sequences()
    good = path.read_bytes()
    draw = random.Random(11)
    # Most of a small file is zeros that nobody reads, so that half of the flips go where something stands.
    written = [place for place, byte in enumerate(good) if byte]
    places = [draw.randrange(len(good)) for _ in range(300)] + draw.sample(written, 300)
    found = 0
    for place in places:
        flipped = bytearray(good)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        verdict = verdict_of(path, expected_head=head)
        if isinstance(verdict, RareraError) or not verdict.intact:
            found += 1
            continue
        with SqliteLog(path) as log:
            assert [recorded.event.frame for recorded in log.read()] == frames, f"byte {place}"
            assert log.sequences() == sequences
            assert [event.frame for _, event in log.read(Query(types=("departed",)))] == frames
    assert found > 200
    path.write_bytes(good)
    assert verdict_of(path, expected_head=head).intact


def test_a_truncated_file_is_found_at_every_page(path):
    head = damaged_log(path)
    good = path.read_bytes()
    for size in [*range(0, len(good), 2048), len(good) - 1]:
        path.write_bytes(good[:size])
        verdict = verdict_of(path, expected_head=head)
        assert isinstance(verdict, RareraError) or not verdict.intact, size


def test_a_damaged_snapshot_is_passed_over_and_told_by_verify(path, log):
    log.append([an_event(n) for n in range(1, 4)])
    snapshots = SqliteSnapshots(log)
    kept = [Snapshot.of("tally", 1, position, position, {"n": position}) for position in (1, 2)]
    for snapshot in kept:
        snapshots.save(snapshot)
    assert verify(log).intact
    for column, value in (("state", b'{"n":3}'), ("position", 3), ("time_max", 1), ("version", 7)):
        meddle(path, f"UPDATE snapshots SET {column} = ? WHERE position = 2", (value,))
        assert snapshots.latest("tally", 1) == kept[0]
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, None)
        assert "snapshot" in verdict.reason
        meddle(path, "DELETE FROM snapshots WHERE position >= 2 OR version = 7")
        snapshots.save(kept[1])


@pytest.mark.parametrize("column", ["state", "digest", "chain", "projection"])
def test_a_snapshot_whose_column_became_text_is_named_by_verify(path, log, column):
    log.append([an_event(1)])
    SqliteSnapshots(log).save(Snapshot.of("tally", 1, 1, 1, {"n": 1}))
    meddle(path, f"UPDATE snapshots SET {column} = 'text'")
    assert SqliteSnapshots(log).latest("tally", 1) is None
    assert "snapshot of" in verify(log).reason


def test_a_snapshot_of_a_lost_tail_does_not_come_back_when_the_log_grows_again(path, log):
    log.append([an_event(n) for n in range(1, 7)])
    snapshots = SqliteSnapshots(log)
    for position in (3, 5):
        snapshots.save(Snapshot.of("tally:speed", 1, position, position, {"at": position}))
    meddle(path, "DELETE FROM events WHERE position > 4")
    assert snapshots.latest("tally:speed", 1).position == 3, "5 is beyond the end"
    log.append([an_event(n, kind="arrived") for n in range(5, 8)])
    assert snapshots.latest("tally:speed", 1).position == 3, "5 was made of events that are gone"


# Blocks


def test_blocks_rule_out_where_a_time_cannot_be(log, monkeypatch):
    monkeypatch.setattr(sqlite, "SCAN_MAX", 0)
    draw, size = random.Random(3), 3 * sqlite.BLOCK + 100
    times = [n * 10 for n in range(1, size + 1)]
    times[2 * sqlite.BLOCK] = 5  # one that came late
    for start in range(0, size, 1_000):
        log.append(
            [
                Event("A/1", "x", {}, source="s", sequence=n + 1, time=times[n])
                for n in range(start, min(start + 1_000, size))
            ]
        )
    assert verify(log).intact
    for _ in range(30):
        after, upto = sorted(draw.sample(range(size), 2))
        since, until = sorted(draw.sample(range(10 * size), 2))
        for query in (Query(until=until), Query(since=since), Query(since=since, until=until)):
            expected = [
                n for n, time in enumerate(times, 1) if after < n <= upto and query.matches(an_event(1, time=time))
            ]
            for backwards in (False, True):
                found = [position for position, _ in log.read(query, after=after, upto=upto, backwards=backwards)]
                assert found == (expected[::-1] if backwards else expected)
    head = log.head()
    assert log._ranges(Query(until=8), 0, head) == [(2 * sqlite.BLOCK - 1, 3 * sqlite.BLOCK - 1)]
    assert log._ranges(Query(until=1), 0, head) == []
    assert list(log.read(Query(until=1))) == []


def test_a_block_that_does_not_count_all_its_events_rules_nothing_out(path, log, monkeypatch):
    monkeypatch.setattr(sqlite, "SCAN_MAX", 0)
    log.append([an_event(n) for n in range(1, sqlite.BLOCK + 9)])
    meddle(path, "UPDATE blocks SET events = events - 1, time_min = 1000000 WHERE block = 0")
    assert [position for position, _ in log.read(Query(until=3))] == [1, 2, 3]
    assert "block 0" in verify(log).reason
    meddle(path, "DELETE FROM blocks")
    assert [position for position, _ in log.read(Query(until=3))] == [1, 2, 3]
    assert "block 0" in verify(log).reason


def test_an_append_writes_as_many_pages_to_a_long_log_as_to_a_short_one(log):
    events = [an_event(n, stream=f"A/{n % 500}") for n in range(1, 40_001)]
    written = []
    for start in range(0, len(events), 500):
        log.append(events[start : start + 500])
        count, _ = log._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)
        written.append(count)
    # An index over all streams takes 500 pages a batch, as soon as it has them.
    assert sum(written[-20:]) < 1.3 * sum(written[10:30])


# Files and formats


def test_a_log_of_format_1_is_brought_to_ours_when_it_is_opened_for_writing(path):
    meddle(path, Path(__file__).with_name("fixtures").joinpath("sqlite_format_1.sql").read_text("utf-8"))
    with pytest.raises(UnknownFormat, match=f"has format 1: `rarera log upgrade .*brings it to {FORMAT}"):
        SqliteLog(path, read_only=True)
    for _ in range(2):
        with SqliteLog(path) as log:
            assert verify(log, expected_head=log.chain_head()).intact
            assert log.chain_head().chain.hex().startswith("559f9416735f3cdd")
            assert [event.sequence for _, event in log.read(Query(streams=("EWR/UA1",)))] == [1, 4, 7]
            assert SqliteCheckpoints(log).load("follower") == 5
            assert SqliteSnapshots(log).latest("tally", 1) is None, "it does not say what it was made of"
    assert b'{"n":3}' not in path.read_bytes(), "what a snapshot held is not left behind"
    with SqliteLog(path) as log:
        assert (
            len(log.append([an_event(9, time=90), an_event(8, time=80), an_event(7, time=1, kind="x", n=0)][:2])) == 2
        )
        assert verify(log).intact


def test_an_upgrade_that_fails_leaves_the_log_as_it_was(path, monkeypatch):
    meddle(path, Path(__file__).with_name("fixtures").joinpath("sqlite_format_1.sql").read_text("utf-8"))
    with monkeypatch.context() as patch:
        patch.setitem(sqlite._UPGRADES, 1, sqlite._UPGRADES[1] + "SELECT no_such_column;")
        with pytest.raises(apsw.SQLError):
            SqliteLog(path)
    with SqliteLog(path) as log:
        assert verify(log).intact


def test_a_newer_format_is_refused_with_the_version_it_needs(path):
    SqliteLog(path).close()
    meddle(path, f"PRAGMA user_version = {FORMAT + 1}")
    meddle(path, "UPDATE meta SET value = '3.1.0' WHERE name = 'needs'")
    before = path.read_bytes()
    with pytest.raises(UnknownFormat, match=rf"format {FORMAT + 1}.*up to {FORMAT}.*needs rarera_sim 3\.1\.0"):
        SqliteLog(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a log at all, and longer than a header of SQLite" * 30, b"short", b"\0" * 8192]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(UnknownFormat, match="not an RARERA log"):
        SqliteLog(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(path):
    meddle(path, "CREATE TABLE photos (name)")
    before = path.read_bytes()
    with pytest.raises(UnknownFormat, match="not an RARERA log"):
        SqliteLog(path)
    meddle(path, "PRAGMA application_id = 7")
    with pytest.raises(UnknownFormat, match="application_id is 7"):
        SqliteLog(path)
    meddle(path, "PRAGMA application_id = 0")
    assert len(path.read_bytes()) == len(before)


def test_a_log_whose_tables_are_made_otherwise_is_refused(path):
    SqliteLog(path).close()
    meddle(path, "DROP INDEX events_by_place; CREATE INDEX events_by_place ON events (source, sequence)")
    with pytest.raises(DamagedLog, match="events_by_place"):
        SqliteLog(path)
    meddle(path, "DROP INDEX events_by_place; CREATE UNIQUE INDEX events_by_place ON events (source, sequence)")
    meddle(path, "CREATE INDEX of_my_own ON events (sequence)")
    SqliteLog(path).close()


def test_an_empty_file_becomes_a_log_only_where_one_may_be_made(path):
    path.touch()
    with pytest.raises(UnknownFormat):
        SqliteLog(path, create=False)
    assert path.stat().st_size == 0
    SqliteLog(path).close()
    assert SqliteLog(path, create=False).head() == 0


def test_what_cannot_be_a_log_is_one_clear_error(tmp_path):
    os.mkfifo(tmp_path / "pipe.db")
    for path, options, reason in (
        (tmp_path / "none.sqlite", {"create": False}, "there is no log"),
        (tmp_path / "none.sqlite", {"read_only": True}, "there is no log"),
        (tmp_path / "no" / "folder.sqlite", {}, "there is no folder"),
        (tmp_path, {}, "is a folder"),
        (tmp_path / "pipe.db", {}, "is a device or pipe"),
        ("/dev/null", {}, "is a device or pipe"),
        ("a\0b", {}, "cannot be opened"),
        (tmp_path / "x.sqlite", {"durability": "none"}, "durability"),
        (tmp_path / "x.sqlite", {"busy_timeout": float("nan")}, "busy_timeout"),
    ):
        with pytest.raises(BadInput, match=reason):
            SqliteLog(path, **options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe.db"]


@pytest.fixture
def unprivileged(path):
    """Root may do everything, so that what is forbidden is tried as nobody."""
    if os.geteuid() != 0:
        yield
        return
    # pytest's folders are its user's own; how many there are depends on whether xdist runs.
    for folder in (path.parent, *path.parent.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("unprivileged")
def test_a_log_without_permission_is_one_clear_error(path):
    euid = os.geteuid()
    os.seteuid(os.getuid())
    SqliteLog(path).close()
    path.chmod(0o000)
    os.seteuid(euid)
    with pytest.raises(BadInput, match="cannot be opened"):
        SqliteLog(path)
    with pytest.raises(BadInput, match="cannot be opened"):
        SqliteLog(path.with_name("new.sqlite"))
    os.seteuid(os.getuid())
    path.chmod(0o444)
    os.seteuid(euid)
    with pytest.raises(BadInput, match="read-only"):
        SqliteLog(path).append([an_event(1)])
    with SqliteLog(path, read_only=True) as log:
        assert (log.head(), verify(log).intact) == (0, True)


def test_a_read_only_log_refuses_every_change(path):
    SqliteLog(path).close()
    with SqliteLog(path, read_only=True) as log:
        for change in (
            lambda: log.append([an_event(1)]),
            lambda: SqliteCheckpoints(log).save("a", 1),
            lambda: SqliteSnapshots(log).save(Snapshot.of("tally", 1, 1, 1, {})),
            lambda: log.save_steps([Step(0.0, Stage.CREATED, b"", "")]),
        ):
            with pytest.raises(BadInput, match="read-only"):
                change()


def test_a_full_disk_says_so_and_keeps_what_was_acknowledged(path):
    log = SqliteLog(path)
    log.append([an_event(1)])
    log._connection.pragma("max_page_count", log._connection.pragma("page_count") + 2)
    with pytest.raises(StorageFailed, match="full"):
        log.append([an_event(n, text="x" * 4000) for n in range(2, 9)])
    with pytest.raises(StorageFailed, match="closed"):
        log.append([an_event(2)])
    with SqliteLog(path) as again:
        assert [event.sequence for _, event in again.read()] == [1]
        assert verify(again).intact


class FailingFile(apsw.VFSFile):
    broken = False  # class-wide: the log opens its files itself

    def xSync(self, flags):
        if FailingFile.broken:
            raise apsw.IOError("fsync failed")
        super().xSync(flags)


class FailingDisk(apsw.VFS):
    def __init__(self):
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return FailingFile("unix", name, flags)


def test_a_failed_fsync_is_not_tried_again_on_the_same_connection(path):
    disk = FailingDisk()
    try:
        log = SqliteLog(path)
        log.append([an_event(1)])
        FailingFile.broken = True
        with pytest.raises(StorageFailed, match="failed"):
            log.append([an_event(2)])
        FailingFile.broken = False
        with pytest.raises(StorageFailed, match="closed"):
            log.append([an_event(2)])
        with SqliteLog(path) as again:
            again.append([an_event(1), an_event(2)])
            assert [event.sequence for _, event in again.read()] == [1, 2]
    finally:
        FailingFile.broken = False
        disk.unregister()


def test_a_closed_log_says_that_it_is_closed(path):
    log = SqliteLog(path)
    log.close()
    log.close()
    for use in (log.head, lambda: log.append([an_event(1)]), lambda: list(log.read())):
        with pytest.raises(StorageFailed, match="closed"):
            use()


def test_an_old_library_is_refused():
    sqlite.check_library("3.51.3")
    sqlite.check_library("4.0")
    with pytest.raises(UnknownFormat, match=r"SQLite 3\.40\.1 can corrupt"):
        sqlite.check_library("3.40.1")


def test_the_file_says_what_it_is(path, log):
    assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"RARE"
    assert repr(log) == f"SqliteLog('{path}')"


def test_a_url_names_a_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url, made in (
        ("sqlite:///one.sqlite", "one.sqlite"),
        (f"sqlite:///{tmp_path}/two%20words.db", "two words.db"),
        ("three.sqlite", "three.sqlite"),
        (tmp_path / "four.db", "four.db"),
    ):
        open_log(url).close()
        assert (tmp_path / made).exists()


@pytest.mark.parametrize(
    "url",
    [
        "nosql://host/log",
        "sqlite://host/log",
        "sqlite:///",
        "sqlite:log.db",
        "log.csv",
        "",
        "kafka:",
        "postgres://u:secret@h/d",
    ],
)
def test_a_url_that_names_no_log_is_refused_with_what_is_allowed(url):
    with pytest.raises(BadInput, match="sqlite:///FILE") as refused:
        open_log(url)
    assert "secret" not in str(refused.value)


# Beside the log


def test_an_event_is_found_by_the_beginning_of_its_id(log):
    events = [Event("a", "b", {}, source="s", sequence=n, time=1_000 + n // 3) for n in range(1, 8)]
    log.append(events)
    for event in events:
        for digits in (17, 18, 19, 40, 64):
            expected = [
                other
                for other in sorted(events, key=lambda e: e.id)
                if other.id.hex().startswith(event.id.hex()[:digits])
            ]
            assert [found.event for found in log.find_prefix(event.id.hex()[:digits].upper())] == expected
    assert len(log.find_prefix("0")) == 7
    assert len(log.find_prefix("0", limit=3)) == 3
    assert log.find_prefix("f") == []
    for prefix in ("", "xyz", "0" * 65, "é"):
        with pytest.raises(BadInput, match="hex digits"):
            log.find_prefix(prefix)


def test_a_journey_is_kept_beside_the_log(log):
    event = an_event(1)
    journey = [
        Step(0.5, Stage.RECEIVED, event.id, "gateway"),
        Step(0.0, Stage.CREATED, event.id, "EWR"),
        Step(0.5, Stage.RECORDED, event.id, "log"),
    ]
    log.save_steps(iter([*journey, Step(0.1, Stage.CREATED, an_event(2).id, "EWR")]))
    assert log.steps_of(event.id) == [journey[1], journey[0], journey[2]]
    assert log.steps_of(b"\0" * 32) == []


def test_a_page_of_large_events_is_cut_by_its_bytes(log, monkeypatch):
    monkeypatch.setattr(sqlite, "PAGE_BYTES", 5_000)
    log.append([an_event(n, text="x" * 2_000) for n in range(1, 12)])
    assert [recorded.position for recorded in log.read()] == list(range(1, 12))
    assert [recorded.position for recorded in log.read(backwards=True, limit=5)] == [11, 10, 9, 8, 7]
    assert [recorded.position for recorded in log.read(Query(types=("departed",)))] == list(range(1, 12))
    assert verify(log).intact
