"""What the PostgreSQL log promises beyond the contract: the paper's table, many writers, crashes, roles, formats."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import (
    BadInput,
    BusyLog,
    Conflict,
    DamagedLog,
    SkippedPosition,
    StorageFailed,
    UnknownFormat,
    WrongPosition,
)
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.trace import Stage, Step

psycopg = pytest.importorskip("psycopg", reason="no psycopg: rarera-sim[postgres] is not installed")

from psycopg import sql  # noqa: E402

from rarera_sim.adapters import postgres  # noqa: E402
from rarera_sim.adapters.postgres import (  # noqa: E402
    FORMAT,
    PostgresCheckpoints,
    PostgresLog,
    PostgresSnapshots,
    create_roles,
)

TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one

WRITER = """
import sys
from rarera_sim.adapters.postgres import PostgresLog
from rarera_sim.core.errors import StorageFailed
from rarera_sim.core.event import Event

url, source, first, count, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
log = PostgresLog(url, busy_timeout=60)
for start in range(first, first + count, batch):
    events = [
        Event(f"{n % 3}/{source}", "tick", {"n": n}, source=source, sequence=n, time=n * 700)
        for n in range(start, start + batch)
    ]
    try:
        log.append(events)
    except StorageFailed:
        print("failed", flush=True)
        break
    print(start + batch - 1, flush=True)  # acknowledged up to here
"""

# Processes forked and released at one moment.
RACE = """
import os, sys, time
from rarera_sim.adapters.postgres import PostgresLog

for attempt in range(10):
    start = time.monotonic() + 0.01
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while time.monotonic() < start:
                pass
            failed = 1
            try:
                PostgresLog(f"{sys.argv[1]}_{attempt}").close()
                failed = 0
            finally:
                os._exit(failed)
        children.append(child)
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", time=None, **data):
    time = sequence * 1_000_000 if time is None else time
    return Event(stream, kind, data, source=source, sequence=sequence, time=time)


def a_writer(url, source, first=1, count=1_000_000, batch=10):
    arguments = [sys.executable, "-c", WRITER, url, source, str(first), str(count), str(batch)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def url(postgres_url):
    return postgres_url()


@pytest.fixture
def log(url):
    with PostgresLog(url) as log:
        yield log


@pytest.fixture
def meddle(log):
    """Do something behind the log's back."""
    with psycopg.connect(connection_string(log), autocommit=True) as connection:
        yield connection.execute


def connection_string(log, **changes):
    return psycopg.conninfo.make_conninfo(
        log._connection.info.dsn, options=f"-c search_path={log.schema} -c timezone=UTC", **changes
    )


# The paper's table

PAPERS_QUERY = """
SELECT COUNT(*) AS count, AVG((event->>'speed')::float8) AS avg_speed FROM events e
WHERE e.processor_id = {} AND e.event->>'type' = 'arrived'
  AND e.timestamp >= '2013-01-02 00:00:00+00' AND e.timestamp <= '2013-01-02 12:00:00+00'
"""
NEW_YEAR = 1_356_998_400 * 10**9  # 2013-01-01, in ns


def flights(count):
    draw = random.Random(3)
    return [
        an_event(
            n,
            stream=f"{draw.choice(('EWR', 'JFK', 'LGA'))}/{n % 400}",
            kind=draw.choice(("departed", "arrived")),
            time=NEW_YEAR + n * 10**9 * 10 + draw.randrange(10**9),
            speed=draw.uniform(200, 500),
        )
        for n in range(1, count + 1)
    ]


def test_the_papers_query_runs_as_it_stands_and_uses_an_index(log, meddle):
    events = flights(20_000)
    log.append(events)
    meddle("ANALYZE events")
    [(number,)] = meddle("SELECT id FROM processors WHERE name = 'JFK'")
    question = PAPERS_QUERY.format(number)
    [(count, mean)] = meddle(question)
    since, until = NEW_YEAR + 86_400 * 10**9, NEW_YEAR + 129_600 * 10**9
    query = Query(processors=("JFK",), types=("arrived",), since=since, until=until)
    speeds = [event.data["speed"] for event in events if query.matches(event)]
    assert count == len(speeds) > 500
    assert mean == pytest.approx(sum(speeds) / len(speeds))
    plan = "\n".join(line for (line,) in meddle(f"EXPLAIN {question}"))
    assert "events_by_moment" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert [event for _, event in log.read(query)] == [event for event in events if query.matches(event)]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(streams=("EWR/7",)), "events_by_stream"),
        (Query(since=NEW_YEAR, until=NEW_YEAR + 10**12), "events_by_gst"),
    ],
)
def test_a_selective_query_is_answered_from_an_index(log, meddle, query, index):
    log.append(flights(20_000))
    meddle("ANALYZE events")
    conditions = log._conditions(query)
    where = " AND ".join(condition.test for condition in conditions)
    values = [condition.value for condition in conditions]
    plan = "\n".join(line for (line,) in meddle(f"EXPLAIN SELECT id FROM events WHERE {where} ORDER BY id", values))
    assert index in plan, plan


def test_the_table_is_the_papers(meddle, log):
    log.append([an_event(1, time=1_500_000)])
    columns = {
        name: (kind, default)
        for name, kind, default in meddle(
            "SELECT column_name, data_type, column_default FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = 'events'",
            (log.schema,),
        )
    }
    assert columns["processor_id"] == ("integer", None)
    assert columns["timestamp"] == ("timestamp with time zone", "now()")
    assert columns["event"] == ("jsonb", None)
    [(definition,)] = meddle(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'events_by_moment' "
        "AND connamespace = %s::regnamespace",
        (log.schema,),
    )
    assert definition == 'UNIQUE (processor_id, "timestamp")'
    assert meddle("SELECT id, timestamp, gst FROM events").fetchall() == [
        (1, datetime(1970, 1, 1, 0, 0, 0, 1_500, tzinfo=UTC), 1_500_000)
    ]


def test_what_jsonb_cannot_hold_is_stored_and_shown_as_well_as_may_be(log, meddle):
    events = [
        an_event(1, text="a\0b", **{"key\0": "\0", "kept": "\\u0000", "both": "\\\0"}),
        an_event(2, tiny=5e-324, huge=1.7976931348623157e308, whole=2**64 - 1, least=-(2**63), zero=-0.0),
        an_event(3, type="mine", speed=1, deep=[[[{"type": "too"}]]]),
        an_event(4, kind='a "type"\\\n\x01 é\U0001f600'),
    ]
    log.append(events)
    assert [recorded.event.frame for recorded in log.read()] == [event.frame for event in events]
    shown = [event for (event,) in meddle("SELECT event FROM events ORDER BY id")]
    text = {"text": "a�b", "key�": "�", "kept": "\\u0000", "both": "\\�", "type": "departed"}
    assert shown[0] == text
    assert shown[2] == {"type": "departed", "speed": 1, "deep": [[[{"type": "too"}]]]}
    assert shown[3] == {"type": events[3].type}
    assert verify(log).intact


# Unique timestamps


def moments(meddle):
    return [
        (name, (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
        for name, moment in meddle(
            "SELECT name, timestamp FROM events JOIN processors AS p ON p.id = processor_id ORDER BY events.id"
        )
    ]


def test_events_of_one_microsecond_get_neighbouring_timestamps(log, meddle):
    at = 5_000_000
    log.append([an_event(n, time=at + n) for n in range(1, 4)])
    log.append([an_event(4, time=at + 999), an_event(5, time=at, stream="JFK/1"), an_event(6, time=at + 1_000)])
    log.append([an_event(7, time=at - 1), an_event(8, time=at - 1), an_event(9, time=at + 10_000)])
    assert moments(meddle) == [
        ("EWR", 5_000),
        ("EWR", 5_001),
        ("EWR", 5_002),
        ("EWR", 5_003),
        ("JFK", 5_000),
        ("EWR", 5_004),
        ("EWR", 4_999),
        ("EWR", 5_005),
        ("EWR", 5_010),
    ]
    assert verify(log).intact


def test_timestamps_are_the_first_free_ones_whoever_writes(url, meddle):
    draw = random.Random(5)
    logs = [PostgresLog(url) for _ in range(3)]
    taken = set()
    expected = []
    sequence = 0
    for _ in range(60):
        batch = []
        for _ in range(draw.randrange(1, 9)):
            sequence += 1
            processor, moment = draw.choice("AB"), draw.randrange(40) * draw.choice((1, 1, 20))
            batch.append(
                an_event(sequence, stream=f"{processor}/{sequence}", time=moment * 1_000 + draw.randrange(1_000))
            )
            while (processor, moment) in taken:
                moment += 1
            taken.add((processor, moment))
            expected.append((processor, moment))
        if draw.random() < 0.2:
            with pytest.raises(Conflict):
                draw.choice(logs).append([*batch, an_event(sequence, time=1)])
        draw.choice(logs).append(batch)
    assert moments(meddle) == expected
    assert verify(logs[0]).intact
    for log in logs:
        log.close()


def test_an_event_is_found_by_its_time_wherever_its_timestamp_was_moved(log):
    events = [an_event(n, time=1_000 + n % 2) for n in range(1, 50)]
    log.append(events)
    for until in (1_000, 1_001):
        query = Query(processors=("EWR",), since=1_000, until=until)
        assert [event for _, event in log.read(query)] == [event for event in events if event.time <= until]


def test_a_timestamp_is_never_far_from_its_gst(log, monkeypatch):
    monkeypatch.setattr(postgres, "NUDGE_MAX", 3)
    log.append([an_event(n, time=0) for n in range(1, 5)])
    with pytest.raises(BadInput, match="no free microsecond"):
        log.append([an_event(5, time=0)])
    assert log.head() == 4


# Several processes


def follow_writers(url, each, batch):
    writers = [a_writer(url, f"source {number}", count=each, batch=batch) for number in range(8)]
    seen = []
    with PostgresLog(url) as log:
        subscription = Subscription(log)
        while len(seen) < 8 * each and (any(writer.poll() is None for writer in writers) or log.head() > len(seen)):
            time.sleep(0.001)
            subscription.ring()
            while recorded := subscription.poll():
                seen.append(recorded)
                subscription.ack(recorded)
        assert [writer.communicate() and writer.returncode for writer in writers] == [0] * 8
        assert [position for position, _ in seen] == list(range(1, 8 * each + 1))
        for number in range(8):
            sequences = [event.sequence for _, event in seen if event.source == f"source {number}"]
            assert sequences == list(range(1, each + 1))
        assert verify(log).intact


@pytest.mark.torture
def test_eight_writers_and_a_follower_miss_nothing_and_keep_order(url):
    follow_writers(url, 12_500 if TORTURE else 1_000, batch=25)


def test_nothing_appears_behind_a_reader_while_an_append_is_open(url, log):
    log.append([an_event(1)])
    with PostgresLog(url, busy_timeout=0.2) as other:
        with log._appending() as head:
            log._look_up([an_event(2)])
            log._insert(head, [an_event(2)])
            assert other.head() == 1, "what is not committed is not there"
            with pytest.raises(BusyLog, match="write lock"):
                other.append([an_event(1, source="JFK")])
            assert [position for position, _ in other.read()] == [1]
        assert [recorded.position for recorded in other.append([an_event(1, source="JFK")])] == [3]


def test_an_append_sees_what_was_committed_while_it_waited(url):
    # A database may be set to another isolation, in which the head would be the one from before the wait.
    strict = f"{url}&options=-c%20default_transaction_isolation%3Dserializable"
    writers = [a_writer(strict, source, count=300, batch=3) for source in ("EWR", "JFK")]
    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    with PostgresLog(url) as log:
        assert log.head() == 600
        assert verify(log).intact


def test_what_a_batch_that_failed_had_learnt_is_forgotten(url, log):
    with pytest.raises(Conflict):
        log.append([an_event(5, stream="new/1"), an_event(2), an_event(2, delay=5)])
    with PostgresLog(url) as other:
        other.append([an_event(1, stream="another"), an_event(3)])
    assert [p for p, _ in log.append([an_event(n, stream="new/1") for n in (2, 4)] + [an_event(3)])] == [3, 4]
    assert verify(log).intact


def test_two_that_race_for_a_stream_lose_nothing(url, log):
    with PostgresLog(url) as other:
        log.append([an_event(1)], expected=0)
        with pytest.raises(WrongPosition):
            other.append([an_event(2, source="JFK")], expected=0)
        assert other.append([an_event(2, source="JFK")], expected=1)[0].position == 2


# Crashes


class Server:
    """A PostgreSQL server that may be killed."""

    def __init__(self, server):
        self.server = server
        self.uri = server.get_uri()

    def kill(self):
        """Kill the server itself: its processes notice, and end."""
        os.kill(int((self.server.pgdata / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def kill_a_backend(self):
        """Kill the process that serves a writer: the server ends all others, and recovers."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            [(process,)] = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'rarera' LIMIT 1"
            ).fetchall()
        os.kill(process, signal.SIGKILL)

    def come_back(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                self.server.ensure_postgres_running()
                psycopg.connect(self.uri).close()
                return
            except (psycopg.OperationalError, subprocess.SubprocessError, AssertionError):
                # The memory of those that are still ending is in use, or the log is being replayed.
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.05)


@pytest.fixture
def mortal(mortal_postgres_server):
    return Server(mortal_postgres_server)


def kill_servers(mortal, kills):
    url = f"{mortal.uri}&schema=crash"
    PostgresLog(url).close()
    first = 1
    for kill in range(kills):
        with a_writer(url, "EWR", first=first) as writer:
            for _ in range(kill % 7 + 1):
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.001 * (kill % 5))
            (mortal.kill_a_backend if kill % 3 == 2 else mortal.kill)()
            *heard, last_word = writer.stdout.read().split()
        assert last_word == "failed", "a lost connection is said to be one"
        acknowledged = max([acknowledged, *map(int, heard)])
        mortal.come_back()
        with PostgresLog(url) as log:
            [(start, last)] = log.sequences()["EWR"]
            assert (start, log.head()) == (1, last)
            assert last >= acknowledged
            assert last % 10 == 0, "a batch is whole or not there"
        # As a source does that did not hear of its last batch: it sends it again.
        first = max(1, acknowledged - 9)
    with PostgresLog(url) as log:
        assert verify(log).intact


@pytest.mark.torture
def test_a_killed_server_loses_no_acknowledged_event_and_doubles_none(mortal):
    kill_servers(mortal, 100 if TORTURE else 3)


def test_a_lost_connection_says_so_and_an_append_is_whole_or_not_there(url, log, meddle):
    log.append([an_event(1)])
    meddle("SELECT pg_terminate_backend(%s)", (log._connection.info.backend_pid,))
    with pytest.raises(StorageFailed, match="open the log again"):
        log.append([an_event(2)])
    for use in (log.head, lambda: log.append([an_event(2)]), lambda: list(log.read())):
        with pytest.raises(StorageFailed, match="closed"):
            use()
    with PostgresLog(url) as again:
        assert [recorded.position for recorded in again.append([an_event(1), an_event(2)])] == [2]
        assert verify(again).intact


def test_a_connection_lost_while_reading_says_so(log, meddle):
    log.append([an_event(n) for n in range(1, 500)])
    reading = log.read()
    next(reading)
    meddle("SELECT pg_terminate_backend(%s)", (log._connection.info.backend_pid,))
    with pytest.raises(StorageFailed):
        list(reading)


@pytest.fixture
def small_disk(postgres_server):
    """A folder on a disk of 8 MB; only root can make one."""
    folder = Path(tempfile.mkdtemp(prefix="disk"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("a small disk can only be mounted by root")
    space = folder / "space"
    space.mkdir()
    shutil.chown(space, postgres_server.pgdata.owner())
    yield space
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_says_so_and_keeps_what_was_acknowledged(url, small_disk):
    draw = random.Random(1)
    log = PostgresLog(url)
    admin = psycopg.connect(connection_string(log), autocommit=True)
    admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(small_disk))))
    admin.execute("ALTER TABLE events SET TABLESPACE small")
    acknowledged = 0
    with pytest.raises(StorageFailed, match="full"):  # noqa: PT012
        for start in range(1, 10_000, 10):
            text = draw.randbytes(20_000).hex()
            log.append([an_event(n, text=text) for n in range(start, start + 10)])
            acknowledged = start + 9
    with pytest.raises(StorageFailed, match="closed"):
        log.append([an_event(1)])
    assert acknowledged
    with PostgresLog(url) as again:
        assert again.head() == acknowledged
        assert again.sequences() == {"EWR": [(1, acknowledged)]}
        assert verify(again).intact
        admin.execute("ALTER TABLE events SET TABLESPACE pg_default")
        again.append([an_event(acknowledged + 1)])
        assert verify(again).intact
    admin.execute("DROP TABLESPACE small")
    admin.close()


# Damage


def damaged_log(log):
    log.append([an_event(n, stream=f"EWR/{n}", speed=1.5 * n) for n in range(1, 7)])
    return log.chain_head()


@pytest.mark.parametrize(
    ("statement", "position", "reason"),
    [
        ("DELETE FROM events WHERE id = 3", 3, "position 3 is missing"),
        ("DELETE FROM events WHERE id = 1", 1, "position 1 is missing"),
        ("UPDATE events SET id = -id WHERE id = 4", 1, "comes after 0"),
        ("DELETE FROM events WHERE id = 3; UPDATE events SET id = id - 1 WHERE id > 3", 3, "chain does not fit"),
        (
            "UPDATE events SET id = 100 WHERE id = 2; UPDATE events SET id = 2 WHERE id = 4;"
            "UPDATE events SET id = 4 WHERE id = 100",
            2,
            "chain does not fit",
        ),
        ("UPDATE events SET body = body || 'x'::bytea WHERE id = 2", 2, "does not match its UID"),
        ("UPDATE events SET uid = set_bit(uid, 200, 1 - get_bit(uid, 200)) WHERE id = 6", 6, "does not match its UID"),
        ("UPDATE events SET chain = set_bit(chain, 9, 1 - get_bit(chain, 9)) WHERE id = 6", 6, "chain does not fit"),
        ("UPDATE events SET gst = gst + 1 WHERE id = 5", 5, "column time says 5000001"),
        ("UPDATE events SET sequence = 9 WHERE id = 5", 5, "column sequence says 9"),
        ("UPDATE events SET source = 'JFK' WHERE id = 2", 2, "column source says 'JFK'"),
        ("UPDATE events SET stream = 'EWR/2' WHERE id = 4", 4, "column stream says 'EWR/2'"),
        ("UPDATE events SET type = 'arrived' WHERE id = 4", 4, "column type says 'arrived'"),
        ("UPDATE processors SET name = 'JFK'", 1, "column processor says 'JFK'"),
        ("UPDATE events SET event = event || '{\"speed\": 900}' WHERE id = 2", None, "position 2 shows other data"),
        ("UPDATE events SET timestamp = timestamp + interval '1 us' WHERE id = 2", None, "position 2 has a timestamp"),
        ("UPDATE events SET timestamp = timestamp - interval '1 s' WHERE id = 2", None, "position 2 has a timestamp"),
        ("ALTER TABLE events DROP CONSTRAINT events_by_place", None, "events_by_place is missing"),
    ],
)
def test_what_was_done_to_the_rows_is_named_with_the_first_bad_position(log, meddle, statement, position, reason):
    damaged_log(log)
    assert verify(log).intact
    meddle(statement)
    verdict = verify(log)
    assert (verdict.intact, verdict.position) == (False, position)
    assert reason in verdict.reason


def test_a_damaged_view_of_an_event_with_nul_is_found(log, meddle):
    log.append([an_event(1, text="a\0b"), an_event(2)])
    assert verify(log).intact
    meddle('UPDATE events SET event = event || \'{"text": "ab"}\' WHERE id = 1')
    assert "position 1 shows other data" in verify(log).reason


@pytest.mark.parametrize("column", ["id", "processor_id", "sequence", "gst", "timestamp", "stream", "type", "source"])
def test_a_flipped_bit_of_a_column_is_found(log, meddle, column):
    damaged_log(log)
    [(kind, before, uid)] = meddle(f"SELECT pg_typeof({column})::text, {column}, uid FROM events WHERE id = 3")
    for bit in range(0, 31 if kind == "integer" else 62, 7):
        if kind == "text":
            changed = "".join((*before[:-1], chr(ord(before[-1]) ^ (1 << bit % 7) or 1)))
        elif column == "timestamp":
            if bit > 50:
                break  # beyond the year 294276 there is no timestamp
            changed = before + timedelta(microseconds=1 << bit)
        else:
            changed = before ^ (1 << bit)
        change = f"UPDATE events SET {column} = %s WHERE uid = %s"
        try:
            meddle(change, (changed, uid))
        except psycopg.errors.UniqueViolation:
            continue  # the place, moment or position of another event: no row can say so
        verdict = verify(log)
        assert not verdict.intact, f"bit {bit} of {column}"
        assert verdict.position == 3 or "position 3" in verdict.reason, verdict
        meddle(change, (before, uid))
    assert verify(log).intact


@pytest.mark.parametrize("column", ["uid", "body", "chain"])
def test_every_flipped_bit_of_an_event_is_found_at_its_position(log, meddle, column):
    damaged_log(log)
    [(bits,)] = meddle(f"SELECT 8 * length({column}) FROM events WHERE id = 3")
    for bit in range(bits):
        flip = f"UPDATE events SET {column} = set_bit({column}, {bit}, 1 - get_bit({column}, {bit})) WHERE id = 3"
        meddle(flip)
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 3), f"bit {bit} of {column}"
        meddle(flip)
    assert verify(log).intact


def test_a_deleted_tail_is_found_against_a_head_kept_elsewhere(log, meddle):
    head = damaged_log(log)
    meddle("DELETE FROM events WHERE id > 4")
    assert verify(log).intact, "what is left is a good log: only a head kept elsewhere can tell"
    verdict = verify(log, expected_head=head)
    assert (verdict.intact, verdict.position) == (False, 5)


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_hole_is_an_error_to_whoever_reads_all(log, meddle, gone):
    damaged_log(log)
    meddle("DELETE FROM events WHERE id = %s", (gone,))
    for read, good in (
        (log.read(), list(range(1, gone))),
        (log.read(limit=gone), list(range(1, gone))),
        (log.read(backwards=True), list(range(6, gone, -1))),
    ):
        seen = []
        with pytest.raises(SkippedPosition, match=f"position {gone} is missing"):
            seen.extend(recorded.position for recorded in read)
        assert seen == good
    assert len(list(log.read(Query(types=("departed",))))) == 5, "a query cannot tell a hole"


def test_a_damaged_snapshot_is_passed_over_and_told_by_verify(log, meddle):
    log.append([an_event(n) for n in range(1, 4)])
    snapshots = PostgresSnapshots(log)
    kept = [Snapshot.of("tally", 1, position, position, {"n": position}) for position in (1, 2)]
    for snapshot in kept:
        snapshots.save(snapshot)
    assert verify(log).intact
    meddle("UPDATE log_snapshots SET state = '{}' WHERE position = 2")
    assert snapshots.latest("tally", 1) == kept[0]
    assert "snapshot of 'tally' at position 2" in verify(log).reason


def test_a_snapshot_of_a_lost_tail_does_not_come_back_when_the_log_grows_again(log, meddle):
    log.append([an_event(n) for n in range(1, 7)])
    snapshots = PostgresSnapshots(log)
    for position in (3, 5):
        snapshots.save(Snapshot.of("tally", 1, position, position, {"at": position}))
    meddle("DELETE FROM events WHERE id > 4")
    with PostgresLog(f"{log._connection.info.dsn}", schema=log.schema) as again:
        again.append([an_event(n, kind="arrived") for n in range(5, 8)])
    assert snapshots.latest("tally", 1).position == 3, "5 was made of events that are gone"


def test_a_follower_catches_up_and_then_gets_each_event_as_it_is_appended(url, log):
    log.append([an_event(n) for n in range(1, 301)])
    with a_writer(url, "JFK", count=400) as writer:
        follower = log.follow(after=100, idle_max=5)
        seen = list(islice(follower, 600))
        follower.close()
        assert writer.wait() == 0
    assert [position for position, _ in seen] == list(range(101, 701))
    assert {event.source for _, event in seen} == {"EWR", "JFK"}
    assert list(log.follow(Query(sources=("EWR",)), after=299, idle_max=0)) == list(log.read(after=299, upto=300))
    assert log.append([an_event(301)])[0].position == 701, "the log is its owner's again"


def test_a_follower_raises_the_alarm_at_a_hole(log, meddle):
    damaged_log(log)
    meddle("DELETE FROM events WHERE id IN (3, 4)")
    alarms = []
    with pytest.raises(SkippedPosition, match="position 3 is missing"):
        list(log.follow(idle_max=0, alarm=lambda *hole: alarms.append(hole)))
    assert alarms == [(3, 4)]
    assert log._fetch("SELECT * FROM pg_listening_channels()") == [], "it listens no more"


def test_a_follower_is_rung_and_need_not_wait_until_it_looks_by_itself(url, log, monkeypatch):
    monkeypatch.setattr(postgres, "RING_LOST", 3_600)
    follower = log.follow()
    with PostgresLog(url) as other:
        later = threading.Timer(0.3, other.append, ([an_event(1)],))
        later.start()
        assert next(follower).position == 1
        later.join()  # the bell rings before its commit returns
    follower.close()


def test_cleared_snapshots_leave_no_byte_in_the_table(log, meddle):
    snapshots = PostgresSnapshots(log)
    snapshots.save(Snapshot.of("tally", 1, 1, 1, {"who": "somebody"}))
    snapshots.clear()
    assert snapshots.latest("tally", 1) is None
    assert meddle("SELECT pg_relation_size('log_snapshots')").fetchall() == [(0,)]


# Opening and formats


def test_all_that_create_one_log_at_once_get_it(url):
    run = subprocess.run([sys.executable, "-c", RACE, url], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0"] * 40, run.stderr


def test_a_newer_format_is_refused_with_the_version_it_needs(url, meddle):
    meddle("UPDATE log_meta SET value = %s WHERE name = 'format'", (str(FORMAT + 1),))
    meddle("UPDATE log_meta SET value = '3.1.0' WHERE name = 'needs'")
    with pytest.raises(UnknownFormat, match=rf"format {FORMAT + 1}.*up to {FORMAT}.*needs rarera_sim 3\.1\.0"):
        PostgresLog(url)


def test_a_log_of_format_1_is_brought_to_ours_when_its_owner_opens_it(url, log, meddle):
    log.append([an_event(1)])
    PostgresSnapshots(log).save(Snapshot.of("tally", 1, 1, 1, {}))
    meddle("ALTER TABLE log_snapshots DROP COLUMN chain")  # all that format 1 had otherwise
    meddle("UPDATE log_meta SET value = '1' WHERE name = 'format'")
    with pytest.raises(UnknownFormat, match=f"has format 1: .* brings it to {FORMAT}"):
        PostgresLog(url, read_only=True)
    for _ in range(2):
        with PostgresLog(url) as again:
            assert verify(again).intact
            assert PostgresSnapshots(again).latest("tally", 1) is None
            PostgresSnapshots(again).save(Snapshot.of("tally", 2, 1, 1, {}))
            assert PostgresSnapshots(again).latest("tally", 2).position == 1


def test_another_programs_table_is_refused_and_left_alone(postgres_url, meddle):
    url = postgres_url()
    schema = url.partition("schema=")[2]
    meddle(f"CREATE SCHEMA {schema}")
    meddle(f"CREATE TABLE {schema}.events (photo text)")
    with pytest.raises(UnknownFormat, match="not an RARERA log"):
        PostgresLog(url)
    assert meddle("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall() == [("events",)]


@pytest.mark.parametrize("gone", ["DROP TABLE log_steps", "DROP INDEX events_by_gst"])
def test_a_log_of_which_a_part_is_missing_is_refused(url, meddle, gone):
    meddle(gone)
    with pytest.raises(DamagedLog, match=f"{gone.split()[-1]} is missing"):
        PostgresLog(url)


def test_no_log_is_made_where_none_may_be(postgres_url, meddle):
    for options in ({"create": False}, {"read_only": True}):
        url = postgres_url()
        with pytest.raises(BadInput, match="there is no log"):
            PostgresLog(url, **options)
        schema = url.partition("schema=")[2]
        assert meddle("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall() == []


def test_a_read_only_log_refuses_every_change(url, log):
    log.append([an_event(1)])
    with PostgresLog(url, read_only=True) as reader:
        for change in (
            lambda: reader.append([an_event(2)]),
            lambda: PostgresCheckpoints(reader).save("a", 1),
            lambda: PostgresSnapshots(reader).save(Snapshot.of("tally", 1, 1, 1, {})),
            lambda: reader.save_steps([Step(0.0, Stage.CREATED, b"", "")]),
        ):
            with pytest.raises(BadInput, match="read-only"):
                change()
        assert reader.head() == 1


def test_a_log_says_what_it_is(log):
    assert log.describe().startswith("PostgreSQL 1")
    assert log.describe().endswith(f".{log.schema} at {log._connection.info.host}, by time: a BRIN index on timestamp")
    assert repr(log) == f"PostgresLog({log.name!r})"


@pytest.mark.parametrize("name", ["two words", 'a "quote"', "; DROP TABLE x; --", "é", "public.events"])
def test_a_schema_may_have_any_name_and_never_is_sql(postgres_server, name):
    with PostgresLog(postgres_server.get_uri(), schema=name) as log:
        log.append([an_event(1)])
        assert log._fetch("SELECT current_schema()::text") == [(name,)]
        log._connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.mark.parametrize("schema", ["", "x" * 64, "\ud800", "a\0"])
def test_a_schema_that_cannot_be_is_refused(schema):
    with pytest.raises(BadInput, match="schema must be"):
        PostgresLog("postgresql://u:hush@h/d", schema=schema)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hu@sh@localhost:1/d",
        "postgresql://u:hu/sh@localhost:1/d",
        "postgresql://u:hu?sh@localhost:1/d",
        "postgresql://u:hu%zzsh@localhost:1/d",
        "postgresql://u:hush@localhost:hush/d",
        "postgresql://u:hush@localhost:1/d?colour=blue",
        "postgresql://u:hush@localhost:1/d",
        "postgresql://u@localhost:1/d?password=hush&connect_timeout=2",
        "postgresql://u:hush@localhost:1/d?sslmode=hush",
    ],
)
def test_no_part_of_a_password_is_in_an_error(url):
    with pytest.raises((BadInput, StorageFailed)) as refused:
        open_log(url)
    error = refused.value
    shown = str(error)
    while error := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        shown += str(error)
    assert "sh@" not in shown.replace("log d.public at localhost", "")
    assert "hush" not in shown


def test_the_password_is_in_no_repr(postgres_url):
    with PostgresLog(postgres_url().replace("postgres:@", "postgres:hush@")) as log:
        assert "hush" not in repr(log) + log.describe() + log.name
        assert log._connection.info.password == "hush"


@pytest.mark.parametrize(
    ("answer", "parameters", "said"),
    [
        (b"N", "sslmode=require", "does not support SSL, but SSL was required"),
        (b"S", "sslmode=verify-full&sslrootcert=/no/such/file", "/no/such/file"),
        (b"N", "sslmode=nonsense", "sslmode"),
    ],
)
def test_parameters_of_tls_reach_libpq(answer, parameters, said):
    # The server of the wheel knows no TLS; what it would answer to the first question is one letter.
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_once():
            with suppress(OSError), listening.accept()[0] as client:
                client.recv(8)
                client.sendall(answer)

        server = threading.Thread(target=answer_once)
        server.start()
        with pytest.raises(StorageFailed, match=said):
            PostgresLog(f"postgresql://u:hush@127.0.0.1:{listening.getsockname()[1]}/d?{parameters}")
        with suppress(OSError):  # where libpq did not even connect
            socket.create_connection(listening.getsockname(), timeout=1).close()
        server.join()


def test_parameters_of_tls_may_stand_beside_ours(url):
    with PostgresLog(f"{url}&sslmode=prefer&sslcertmode=disable") as log:
        assert log._connection.info.get_parameters()["sslcertmode"] == "disable"


def test_psycopg_missing_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "rarera_sim.adapters.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BadInput, match=r"rarera-sim\[postgres\]"):
        open_log("postgresql://u:hush@localhost/d")


@pytest.mark.parametrize("options", [{"durability": "none"}, {"busy_timeout": float("nan")}, {"busy_timeout": -1}])
def test_an_option_that_cannot_be_is_refused(url, options):
    with pytest.raises(BadInput, match="|".join(options)):
        PostgresLog(url, **options)


def test_a_name_too_long_for_an_index_is_refused_before_anything_is_done(log):
    longest = random.Random(2).randbytes(1_000).hex()
    log.append([an_event(1, stream=longest, source=longest, kind="k" * 100_000)])
    with pytest.raises(BadInput, match="up to 2000 bytes, got a stream of 2001 bytes"):
        log.append([an_event(2), an_event(3, stream=longest + "x")])
    assert log.head() == 1
    assert verify(log).intact


def test_durability_is_the_callers_choice(url):
    for durability, setting in (("full", "on"), ("normal", "off")):
        with PostgresLog(url, durability=durability) as log:
            assert log._fetch("SHOW synchronous_commit") == [(setting,)]
    with PostgresLog(f"{url}&options=-c%20synchronous_commit%3Doff") as log:
        assert log._fetch("SHOW synchronous_commit") == [("on",)]


# TimescaleDB, which is in no wheel: what its function does to a table is done by one of ours, as strictly


CREATE_HYPERTABLE = """
CREATE SCHEMA timescale;
CREATE TABLE timescale.hypertables (relation regclass, by name);
CREATE FUNCTION timescale.create_hypertable(relation regclass, by name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index WHERE indrelid = relation AND indisunique
        AND NOT (SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = by) = ANY (indkey::int2[])
    ) THEN
        RAISE 'cannot create a unique index without the column "%" (used in partitioning)', by;
    END IF;
    INSERT INTO timescale.hypertables VALUES (relation, by);
END $$;
"""


@pytest.fixture
def timescale(postgres_server, monkeypatch):
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(CREATE_HYPERTABLE)
        monkeypatch.setattr(postgres, "timescale_schema", lambda _: "timescale")
        yield connection
        connection.execute("DROP SCHEMA timescale CASCADE")


def test_with_timescaledb_the_table_is_a_hypertable_on_timestamp(url, timescale):
    with PostgresLog(url) as log:
        assert "by time: a TimescaleDB hypertable on timestamp" in log.describe()
        [(relation, column)] = timescale.execute("SELECT relation::text, by FROM timescale.hypertables")
        assert (relation, column) == (f"{log.schema}.events", "timestamp")


@pytest.mark.usefixtures("timescale")
def test_a_hypertable_refuses_repeats_though_no_index_can(url):
    events = [an_event(n, time=n % 7) for n in range(1, 40)]
    with PostgresLog(url) as log, PostgresLog(url) as other:
        log.append(events[:20])
        assert len(other.append(events)) == 19
        assert log.append([*events, *events]) == []
        with pytest.raises(Conflict):
            log.append([an_event(5, delay=5)])
        assert [event for _, event in log.read()] == events
        assert verify(log).intact


def test_a_database_without_timescaledb_says_so(log):
    assert postgres.timescale_schema(log._connection) is None


# Roles


@pytest.fixture
def as_role(url, postgres_server):
    """Opens the log as another role; the roles are dropped at the end."""
    opened, roles = [], set()

    def open_as(role):
        roles.add(role)
        opened.append(PostgresLog(url.replace("//postgres:", f"//{role}:"), create=False))
        return opened[-1]

    yield open_as
    for log in opened:
        log.close()
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        for (role,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'rarera%'").fetchall():
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


FORBIDDEN = (
    "UPDATE events SET event = '{}'",
    "DELETE FROM events",
    "TRUNCATE events",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
    "UPDATE processors SET name = 'x'",
    "DELETE FROM processors",
    "UPDATE log_meta SET value = '2'",
    "CREATE TABLE mine (a int)",
)


@pytest.mark.parametrize("streams", ["", "EWR/"])
def test_a_writer_may_insert_and_read_and_a_reader_only_read(log, as_role, streams):
    create_roles(log, writer="rarera_w", reader="rarera_r", streams=streams)
    writer, reader = as_role("rarera_w"), as_role("rarera_r")
    events = [an_event(n) for n in range(1, 30)]
    assert len(writer.append(events)) == 29
    assert writer.append(events) == []
    assert writer.append([an_event(30)], expected=29)[0].position == 30
    assert [event.sequence for _, event in reader.read()] == list(range(1, 31))
    with pytest.raises(BadInput, match="role may not"):
        reader.append([an_event(31)])
    for role in (writer, reader):
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role._connection.execute(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader._connection.execute("INSERT INTO processors (name) VALUES ('x')")
    assert verify(log).intact
    assert log.head() == 30


def test_a_role_of_one_prefix_sees_and_writes_its_streams_alone(log, as_role):
    create_roles(log, writer="rarera_w", reader="rarera_r", streams="EWR/")
    create_roles(log, writer="rarera_all", reader="rarera_all_r")
    log.append([an_event(1), an_event(2, stream="JFK/1"), an_event(3), an_event(4, stream="EWR2/1")])
    writer, reader, everything = as_role("rarera_w"), as_role("rarera_r"), as_role("rarera_all")
    for role in (writer, reader):
        assert [position for position, _ in role.read()] == [1, 3]
        assert [position for position, _ in role.read(backwards=True)] == [3, 1]
        assert list(role.read(Query(streams=("JFK/1",)))) == list(role.read(Query(processors=("JFK",)))) == []
        assert role.find(an_event(2, stream="JFK/1").id) is None
        assert role._fetch("SELECT name FROM processors") == [("EWR",)]
        assert role.head() == 4
        assert [position for position, _ in role.follow(idle_max=0)] == [1, 3], "a hole that is none"
        with pytest.raises(BadInput, match="as the log's owner"):
            verify(role)
        with pytest.raises(BadInput, match="role may not"):
            PostgresSnapshots(role).latest("tally", 1)
    for stream in ("JFK/1", "LGA/1"):
        with pytest.raises(BadInput, match="role may not"):
            writer.append([an_event(5), an_event(6, stream=stream)])
    # What it must not see still counts: positions, repeats, conflicts, timestamps.
    assert writer.append([an_event(1), an_event(5)])[0].position == 5
    with pytest.raises(Conflict):
        writer.append([an_event(2)])
    assert everything.append([an_event(6, stream="LGA/1"), an_event(7)])[1].position == 7
    assert [position for position, _ in everything.read()] == list(range(1, 8))
    assert verify(log).intact


def test_names_of_roles_and_prefixes_are_never_sql(log, as_role):
    create_roles(log, writer='rarera "w"; --', reader="rarera 'r'", streams="x'); DROP TABLE events; --")
    assert log.append([an_event(1)])
    create_roles(log, writer='rarera "w"; --', reader="rarera 'r'")  # again changes the prefix
    [(count,)] = log._fetch("SELECT count(*) FROM pg_policies WHERE schemaname = %s", (log.schema,))
    assert count == 4
    as_role("postgres")


def test_a_role_above_the_rules_is_refused(log, as_role):
    as_role("postgres")
    with pytest.raises(BadInput, match="role 'postgres' may change events"):
        create_roles(log, writer="postgres", reader="rarera_r")
    assert log._fetch("SELECT FROM pg_roles WHERE rolname = 'rarera_r'") == []


# Beside the log


def test_an_event_is_found_by_the_beginning_of_its_id(log):
    events = [Event("a", "b", {}, source="s", sequence=n, time=1_000 + n // 3) for n in range(1, 8)]
    log.append(events)
    for event in events:
        for digits in (1, 3, 15, 16, 17, 18, 19, 40, 64):
            expected = [
                other
                for other in sorted(events, key=lambda e: e.id)
                if other.id.hex().startswith(event.id.hex()[:digits])
            ]
            assert [found.event for found in log.find_prefix(event.id.hex()[:digits].upper())] == expected
    assert len(log.find_prefix("0", limit=3)) == 3
    assert log.find_prefix("f") == []
    for prefix in ("", "xyz", "0" * 65, "é"):
        with pytest.raises(BadInput, match="hex digits"):
            log.find_prefix(prefix)
    assert log.find(b"\xff" * 32) is log.find(b"short") is None


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


def test_pages_of_large_events_are_short(log, monkeypatch):
    monkeypatch.setattr(postgres, "PAGE_BYTES", 5_000)
    monkeypatch.setattr(postgres, "PAGE_FIRST", 4)
    log.append([an_event(n, text="x" * 2_000) for n in range(1, 12)])
    pages = []
    joined = log._joined
    log._joined = lambda *page: pages.append(joined(*page)) or pages[-1]
    assert [recorded.position for recorded in log.read()] == list(range(1, 12))
    assert [len(rows) for rows in pages] == [4, 2, 2, 2, 1]
    assert [recorded.position for recorded in log.read(backwards=True, limit=5)] == [11, 10, 9, 8, 7]
    assert [recorded.position for recorded in log.read(Query(types=("departed",)))] == list(range(1, 12))
    assert verify(log).intact


def test_a_log_agrees_with_one_in_sqlite_and_one_in_memory(log, tmp_path):
    events = flights(500)
    random.Random(9).shuffle(events)
    with SqliteLog(tmp_path / "log.sqlite") as beside:
        memory = MemoryLog()
        for start in range(0, 500, 70):
            for each in (log, beside, memory):
                each.append(events[start : start + 70])
        assert log.chain_head() == beside.chain_head() == verify(memory).head
        assert list(log.read()) == list(beside.read()) == list(memory.read())
