"""What the tiered log promises beyond the contract: moving, crashes, processes, damage."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest

pytest.importorskip("zstandard")

import pyarrow as pa

from rarera_sim.adapters import tiered
from rarera_sim.adapters.files import FilesLog
from rarera_sim.adapters.folders import _manifest
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.adapters.tiered import TieredLog
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import BadInput, BusyLog, Conflict, DamagedLog, RareraError, StorageFailed, UnknownFormat
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query

TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one

WRITER = """
import sys
from rarera_sim.adapters.tiered import TieredLog
from rarera_sim.core.event import Event

folder, source, first, count, batch, cold = sys.argv[1:]
first, count, batch = int(first), int(count), int(batch)
log = TieredLog(folder, busy_timeout=60, durability="normal", hot=30, warm=100, cold=cold)
for start in range(first, first + count, batch):
    log.append(
        [
            Event(f"{source}/{n % 7}", "tick", {"n": n}, source=source, sequence=n, time=n)
            for n in range(start, start + batch)
        ]
    )
    print(start + batch - 1, flush=True)  # acknowledged up to here
log.close()
"""


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=sequence)


def some_events(first, last):
    return [an_event(n, stream=f"EWR/{n % 5}", speed=1.5 * n) for n in range(first, last + 1)]


def fill(log, last, batch=3):
    for start in range(log.head() + 1, last + 1, batch):
        log.append(some_events(start, min(start + batch - 1, last)))
    return log


def a_writer(folder, source, first=1, count=1_000_000, batch=10, cold="sealed"):
    arguments = [str(argument) for argument in (folder, source, first, count, batch, cold)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def names(*firsts, kind):
    return [f"{kind}/{first:020}.{'sealed' if kind == 'cold' else 'sqlite'}" for first in firsts]


def test_old_events_move_to_cold_and_the_newest_stay_in_memory(folder):
    with TieredLog(folder, hot=4, warm=9) as log:
        fill(log, 40)
        assert log.tiers() == {"cold": 27, "warm": 13, "hot": 4}
        assert verify(log).intact
    assert [name for name in files(folder) if name[0] in "cw"] == [
        *names(1, 10, 19, kind="cold"),
        *names(28, 37, kind="warm"),
    ]


def test_every_query_gives_the_same_from_three_tiers(folder):
    draw = random.Random(3)
    events = [
        an_event(n, stream=f"{draw.choice('ABC')}/{draw.randrange(9)}", kind=draw.choice("xyz")) for n in range(1, 400)
    ]
    model = MemoryLog()
    model.append(events)
    with TieredLog(folder, hot=20, warm=50, durability="normal") as log:
        for start in range(0, len(events), 10):
            log.append(events[start : start + 10])
    with TieredLog(folder, hot=30, read_only=True) as log:
        assert min(log.tiers().values()) > 0
        assert log.sequences() == model.sequences()
        for query in (
            Query(),
            Query(streams=("A/1", "B/2")),
            Query(processors=("A",), types=("x",), since=100, until=390),
            Query(sources=("EWR",), types=("y",)),
        ):
            for range_ in ({}, {"after": 300, "upto": 380}, {"limit": 7}, {"after": 360}, {"upto": 100}):
                for backwards in (False, True):
                    found = list(log.read(query, backwards=backwards, **range_))
                    assert found == list(model.read(query, backwards=backwards, **range_)), (query, range_, backwards)
        for event in events:
            assert log.find(event.id) == model.find(event.id)
        assert log.chain_head() == verify(log).head == verify(model).head


def test_the_chain_at_a_position_is_right_all_along_a_long_warm_log(folder):
    events = some_events(1, 2_500)
    model = MemoryLog()
    model.append(events)
    with TieredLog(folder, hot=0, durability="normal") as log, TieredLog(folder, read_only=True) as reader:
        log.append(events[:10])
        log.append(events[10:])
        for position in (0, 1, 10, 1_023, 1_024, 1_025, 2_047, 2_048, 2_049, 2_500):
            assert log.chain_at(position) == reader.chain_at(position) == model.chain_at(position)


def test_what_is_hot_is_read_without_a_disk(folder, monkeypatch):
    with TieredLog(folder, hot=5, warm=9) as log:
        fill(log, 30)
        monkeypatch.setattr(log, "_from_disk", None)
        assert [position for position, _ in log.read(after=25)] == [26, 27, 28, 29, 30]
        assert [position for position, _ in log.read(after=25, backwards=True)] == [30, 29, 28, 27, 26]
        assert log.find(an_event(30, stream="EWR/0", speed=45.0).id).position == 30


def test_a_slow_reader_goes_on_where_hot_events_have_grown_cold(folder):
    with TieredLog(folder, hot=5, warm=6) as log:
        fill(log, 20)
        forwards, backwards = log.read(after=14), log.read(backwards=True)
        assert (next(forwards).position, next(backwards).position) == (15, 20)
        fill(log, 60)
        assert [position for position, _ in forwards] == list(range(16, 21))
        assert [position for position, _ in backwards] == list(range(19, 0, -1))


def test_repeats_and_conflicts_are_found_in_every_tier(folder):
    with TieredLog(folder, hot=4, warm=9) as log:
        fill(log, 40)
    with TieredLog(folder, hot=4, warm=9) as log:
        assert log.append(some_events(1, 40)) == []
        for n in (1, 30, 40):
            with pytest.raises(Conflict, match=f"EWR#{n}"):
                log.append([an_event(41), an_event(n, other=True)])
        assert log.head() == 40


def test_any_log_may_be_the_warm_one(folder):
    class FolderStore(tiered.SqliteFolder):
        """Logs in plain files in place of SQLite."""

        def open(self, first, *, create):
            return FilesLog(self._path(first), create=create, **self._options)

        def remove(self, first):
            for path in self._path(first).iterdir():
                path.unlink()
            self._path(first).rmdir()

    folder.mkdir()
    (folder / "w").mkdir()
    with TieredLog(folder / "log", hot=3, warm=9, store=FolderStore(folder / "w", segment_bytes=500)) as log:
        fill(log, 40)
        assert (log.tiers()["cold"], verify(log).intact) == (27, True)
    with TieredLog(folder / "log", store=FolderStore(folder / "w")) as log:
        assert [event for _, event in log.read()] == some_events(1, 40)


# Crashes and processes


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["seal", "written_whole", "before remove", "amid remove"])
def test_a_crash_while_moving_loses_and_doubles_nothing(folder, monkeypatch, moment):
    def die(*_, **__):
        raise Killed

    log = fill(TieredLog(folder, hot=3, warm=9), 27)
    with monkeypatch.context() as crash:
        if moment == "seal":
            crash.setattr(tiered, "seal", die)
        elif moment == "written_whole":
            crash.setattr("rarera_sim.adapters.folders.os.replace", die)
        elif moment == "before remove":
            crash.setattr(log._store, "remove", die)
        else:
            crash.setattr(tiered, "sync_folder", lambda path: die() if path.name == "warm" else None)
            crash.setattr(log._store, "open", lambda first, **_: SqliteLog(log._store._path(first)))
        with pytest.raises(Killed):
            fill(log, 30)
    log.close()
    with TieredLog(folder, read_only=True) as reader:
        assert reader.head() == 27
        assert verify(reader).intact
    with TieredLog(folder, hot=3, warm=9) as again:
        assert again.head() == 27
        fill(again, 50)
        assert verify(again).head == verify(fill(MemoryLog(), 50)).head
        assert [event for _, event in again.read()] == some_events(1, 50)
    with TieredLog(folder) as log:
        assert log.head() == 50
    cold, warm = ([n for n in files(folder) if n.startswith(kind)] for kind in ("cold", "warm"))
    assert len(warm) == 2
    assert not {os.path.basename(n).split(".")[0] for n in cold} & {os.path.basename(n).split(".")[0] for n in warm}


def die_at(step, folder, options):
    """Append in a process that is killed at the so-manieth change to the disk; says whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = step

        def count(*_):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def audit(event, arguments):
            # Everything that Python tells of before it does it: opening to write, renaming, removing, making.
            if event in ("os.rename", "os.remove", "os.mkdir", "sqlite3.connect") or (
                event == "open" and type(arguments[2]) is int and arguments[2] & (os.O_RDWR | os.O_WRONLY)
            ):
                count()

        signal.alarm(60)
        log = TieredLog(folder, **options)
        real = os.fsync
        os.fsync = lambda file: (count(), real(file), count())
        sys.addaudithook(audit)
        log.append(some_events(28, 30))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("cold", ["sealed", "parquet"])
def test_a_kill_at_any_step_of_a_move_loses_and_repeats_nothing(tmp_path, cold):
    options = {"hot": 3, "warm": 9, "cold": cold}
    fill(TieredLog(tmp_path / "before", **options), 27).close()
    expected = verify(fill(MemoryLog(), 50)).head
    steps = 0
    finished = False
    while not finished:
        steps += 1
        folder = tmp_path / str(steps)
        shutil.copytree(tmp_path / "before", folder)
        finished = die_at(steps, folder, options)
        with TieredLog(folder, read_only=True) as reader:
            verdict = verify(reader)
            assert (verdict.intact, reader.head()) == (True, 30 if finished else 27), (steps, verdict)
        with TieredLog(folder, **options) as again:
            fill(again, 50)
            assert verify(again).head == again.chain_head() == expected
            assert [event for _, event in again.read()] == some_events(1, 50)
        with TieredLog(folder, **options) as log:
            assert log.tiers()["cold"] == 36
        kept = [name for name in files(folder) if not name.endswith(("-wal", "-shm"))]
        assert sum(name.startswith("warm") for name in kept) == 2
        assert not any(name.endswith(".new") for name in kept), kept
    assert steps > 12, "it was killed between all that a move does"


def kill_writers(folder, kills, cold="sealed"):
    draw = random.Random(kills)
    first = 1
    for _ in range(kills):
        with a_writer(folder, "EWR", first=first, cold=cold) as writer:
            for _ in range(draw.randrange(1, 60)):
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.01 * draw.random())
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
        with TieredLog(folder) as log:
            [(start, last)] = log.sequences()["EWR"]
            assert (start, log.head()) == (1, last)
            assert last >= acknowledged
            assert last % 10 == 0, "a batch is whole or not there"
            verdict = verify(log)
            assert verdict.intact, verdict.reason
        first = max(1, acknowledged - 9)


@pytest.mark.parametrize("cold", ["sealed", "parquet"])
def test_a_killed_writer_loses_no_acknowledged_event_and_doubles_none(folder, cold):
    kill_writers(folder, 4, cold)


@pytest.mark.torture
@pytest.mark.parametrize("cold", ["sealed", "parquet"])
def test_a_hundred_killed_writers_lose_nothing(folder, cold):
    kill_writers(folder, 100 if TORTURE else 2, cold)


def test_two_writers_and_a_reader_in_other_processes_agree(folder):
    each = 500
    TieredLog(folder).close()
    writers = [a_writer(folder, source, count=each) for source in ("EWR", "JFK")]
    seen = []
    with TieredLog(folder, read_only=True, hot=10) as log:
        deadline = time.monotonic() + 60
        while len(seen) < 2 * each and time.monotonic() < deadline:
            seen.extend(log.read(after=len(seen)))
        assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
        assert [position for position, _ in seen] == list(range(1, 2 * each + 1))
        verdict = verify(log)
    with TieredLog(folder, hot=10) as log:
        assert log.tiers()["cold"] >= 700
        assert verdict.intact
        assert verify(log).head == verdict.head
        assert list(log.read()) == seen


def test_a_warm_log_that_is_removed_while_it_is_opened_is_read_from_its_segment(folder, monkeypatch):
    log = fill(TieredLog(folder, hot=2, warm=9), 18)
    moved = log._segments[0]
    real = tiered.SqliteFolder.open

    def open_late(self, first, *, create):
        if first == 1 and not log._cold_path(1):
            frames = [event.frame for _, event in moved.records(1, 9, False)]
            tiered.seal(log._cold, 1, moved.chain_before, frames)
            # Other readers have it open, so that its events still stand in here.
            os.unlink(folder / "warm" / f"{1:020}.sqlite-wal")
        return real(self, first, create=create)

    monkeypatch.setattr(tiered.SqliteFolder, "open", open_late)
    with TieredLog(folder) as other:
        assert [event for _, event in other.read()] == some_events(1, 18)
        assert other.tiers()["cold"] == 9
    log.close()


def test_a_busy_log_waits_then_says_so(folder):
    with (
        TieredLog(folder) as log,
        TieredLog(folder, busy_timeout=0.1) as other,
        log._lock.held(),
        pytest.raises(BusyLog),
    ):
        other.append([an_event(1)])


def test_a_warm_log_that_fails_closes_the_whole(folder):
    log = fill(TieredLog(folder), 3)
    log._segments[-1].log.close()
    with pytest.raises(StorageFailed):
        log.append([an_event(4)])
    with pytest.raises(StorageFailed, match="closed"):
        list(log.read())
    with TieredLog(folder) as again:
        assert len(again.append([an_event(4)])) == 1


# Warm logs in PostgreSQL, cold ones in Parquet


def test_warm_logs_in_postgres_are_moved_and_dropped_and_slow_readers_go_on(folder, postgres_url):
    url = postgres_url()
    with TieredLog(folder, hot=0, warm=9, store=url) as log, TieredLog(folder, hot=0, store=url) as other:
        fill(log, 18)
        forwards, backwards = other.read(), other.read(backwards=True)
        assert (next(forwards).position, next(backwards).position) == (1, 18)
        fill(log, 60)
        assert log._store.firsts() == [46, 55]
        assert [position for position, _ in forwards] == list(range(2, 19))
        assert [position for position, _ in backwards] == list(range(17, 0, -1))
        assert other.chain_at(5) == log.chain_at(5)
        assert other.head() == 60, "it had the newest open, which is cold by now"
        assert other.tiers() == log.tiers() == {"cold": 45, "warm": 15, "hot": 0}
        assert verify(other).head == verify(log).head == verify(fill(MemoryLog(), 60)).head
    with TieredLog(folder, store=url, read_only=True) as reader:
        assert [event for _, event in reader.read()] == some_events(1, 60)


def test_a_kill_at_any_step_of_a_move_from_postgres_loses_and_repeats_nothing(tmp_path, postgres_url):
    expected = verify(fill(MemoryLog(), 50)).head
    for moment in ("seal", "written", "before remove", "after remove"):
        options = {"hot": 3, "warm": 9, "store": postgres_url()}
        folder = tmp_path / moment
        fill(TieredLog(folder, **options), 27).close()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            log = TieredLog(folder, **options)

            def die(*_, **__):
                os.kill(os.getpid(), signal.SIGKILL)

            def remove_and_die(first, real=log._store.remove):
                real(first)
                die()

            if moment == "seal":
                tiered.seal = die
            elif moment == "written":
                os.replace = die
            else:
                log._store.remove = die if moment == "before remove" else remove_and_die
            log.append(some_events(28, 30))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with TieredLog(folder, read_only=True, **options) as reader:
            assert (reader.head(), verify(reader).intact) == (27, True)
        with TieredLog(folder, **options) as again:
            fill(again, 50)
            assert verify(again).head == expected
            assert [event for _, event in again.read()] == some_events(1, 50)
            assert again._store.firsts() == [37, 46]


def test_damage_in_a_warm_log_in_postgres_is_named_and_not_moved(folder, postgres_url):
    with fill(TieredLog(folder, hot=2, warm=6, store=postgres_url()), 12) as log:
        segment = log._segments[0]
        segment.log._connection.execute("UPDATE events SET gst = gst + 1 WHERE id = 4")
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 4)
        with pytest.raises(DamagedLog, match="position 4 is not moved"):
            fill(log, 15)
        assert segment.first in log._store.firsts()


def test_a_warm_store_that_cannot_be_reached_is_one_clear_error_without_its_password(folder):
    pytest.importorskip("psycopg")
    for url, error in (
        ("postgresql://me:s3cret@127.0.0.1:1/none", StorageFailed),
        ("postgresql://me:s3cret@127.0.0.1:1/none?schema=" + "x" * 43, BadInput),
        ("mysql://me:s3cret@host/none", BadInput),
    ):
        with pytest.raises(error) as said:
            TieredLog(folder, store=url)
        assert "s3cret" not in f"{said.value!r} {said.value.__cause__!r}"


def test_cold_files_in_parquet_are_read_by_other_programs_and_checked_by_sha256sum(folder):
    polars = pytest.importorskip("polars")
    with fill(TieredLog(folder, hot=2, warm=9, cold="parquet"), 40) as log:
        assert log.tiers() == {"cold": 27, "warm": 13, "hot": 2}
    frame = polars.read_parquet(sorted((folder / "cold").glob("*.parquet")))
    assert frame["position"].to_list() == list(range(1, 28))
    assert frame["id"].to_list() == [event.id for event in some_events(1, 27)]
    assert frame["processor"].unique().to_list() == ["EWR"]
    assert frame["time"].dt.timestamp("ns").to_list() == list(range(1, 28))
    if shutil.which("sha256sum"):
        names = sorted(path.name for path in (folder / "cold").glob("*.sha256"))
        assert (
            subprocess.run(["sha256sum", "--check", "--strict", *names], cwd=folder / "cold", check=False).returncode
            == 0
        )


def test_the_form_of_cold_files_may_be_changed_and_both_are_read(folder):
    for last, cold in ((20, "sealed"), (40, "parquet"), (60, "sealed")):
        with TieredLog(folder, hot=2, warm=6, cold=cold) as log:
            fill(log, last)
            assert verify(log).head == verify(fill(MemoryLog(), last)).head
    kinds = {path.suffix for path in (folder / "cold").iterdir()}
    assert kinds == {".sealed", ".parquet", ".sha256"}


def test_a_parquet_file_of_another_place_or_with_a_column_that_lies_is_found(folder):
    import pyarrow.parquet as pq

    with fill(TieredLog(folder, hot=2, warm=6, cold="parquet"), 24) as log:
        head = log.chain_head()
        frames = [event.frame for _, event in log.read()]
    first, second, *_ = sorted((folder / "cold").glob("*.parquet"))
    good = first.read_bytes()

    def put(content):
        first.write_bytes(content)
        digest = f"{sha256(content).hexdigest()}  {first.name}\n"
        (folder / "cold" / f"{first.name}.sha256").write_text(digest)

    put(second.read_bytes())
    assert "named for another" in outcome(folder, head, frames)
    table = pq.read_table(pa.BufferReader(good))
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for name, value in (("position", 9), ("stream", "EWR/9"), ("type", "arrived"), ("sequence", 9), ("processor", "x")):
        lying = table.set_column(
            table.column_names.index(name),
            table.schema.field(name),
            pa.array([*columns[name][:3], value, *columns[name][4:]], table.schema.field(name).type),
        )
        sink = pa.BufferOutputStream()
        pq.write_table(lying, sink)
        put(sink.getvalue().to_pybytes())
        assert outcome(folder, head, frames), name
    put(good)
    assert outcome(folder, head, frames) == ""


def test_a_parquet_file_that_changes_while_it_is_open_is_noticed_when_its_rows_are_read(folder):
    with fill(TieredLog(folder, hot=0, warm=6, cold="parquet"), 24) as log:
        path = min((folder / "cold").glob("*.parquet"))
        good = path.read_bytes()
        place = good.index(b"departed")
        path.write_bytes(good[:place] + b"D" + good[place + 1 :])
        log._segments[0]._kept = (-1, [])
        with pytest.raises(DamagedLog, match="positions 1 to 6"):
            list(log.read())
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 1)


# Options in a URL


def test_a_url_sets_the_options_of_a_folder(tmp_path):
    with open_log(
        f"tiered:///{tmp_path}/a%3Fb?hot=2&warm=6&cold=parquet&level=5&busy_timeout=0.5&read_only=false"
    ) as log:
        assert (log.path.name, log._hot_events, log._packing.level, log._lock._timeout) == ("a?b", 2, 5, 0.5)
    with open_log(f"files:///{tmp_path}/f?segment_bytes=900&buffer_bytes=77&durability=normal") as log:
        assert (log._segment_bytes, log._buffer_bytes, log._forced) == (900, 77, False)
    with open_log(f"files:///{tmp_path}/f?segment_bytes=900", segment_bytes=800) as log:
        assert log._segment_bytes == 800, "what a caller says goes before"
    for query, reason in (
        ("hott=2", "option 'hott' is not one of .*cold.*hot.*warm"),
        ("hot=2&hot=3", "stands there twice"),
        ("hot=many", "hot must be a number, got 'many'"),
        ("hot=-1", "hot must be"),
        ("read_only=yes", "true or false"),
        ("cold=ice", "'sealed' or 'parquet'"),
        ("block_events=0", "block_events must be an integer from 1"),
        ("level=23", "level"),
        ("dictionary_bytes=-1", "dictionary_bytes"),
    ):
        with pytest.raises(BadInput, match=reason):
            open_log(f"tiered:///{tmp_path}/x?{query}")
    assert not (tmp_path / "x").exists()


# Damage


def outcome(folder, head, frames):
    """How damage was found; if it was not, the log must hold what it held."""
    try:
        with TieredLog(folder, create=False) as log:
            verdict = verify(log, expected_head=head)
            if not verdict.intact:
                return verdict.reason
            assert [recorded.event.frame for recorded in log.read()] == frames
            return ""
    except RareraError as error:
        return str(error)


@pytest.mark.parametrize("cold", ["sealed", "parquet"])
def test_flips_and_cuts_of_every_file_are_found_or_change_nothing(folder, cold):
    flips_and_cuts(folder, cold, places=1_000 if TORTURE else 100, cuts=100 if TORTURE else 20)


@pytest.mark.torture
@pytest.mark.parametrize("cold", ["sealed", "parquet"])
def test_every_flip_and_every_cut_of_a_cold_file_is_found_when_it_is_opened(folder, cold):
    """Opened by itself, which is a hundred times as fast as opening and verifying the log around it."""
    fill(TieredLog(folder, hot=2, warm=6, cold=cold), 24).close()
    first = min((folder / "cold").glob(f"*.{cold}"))
    draw = random.Random(9)
    for path in (path for path in (folder / "cold").iterdir() if path.name.startswith(first.name)):
        good = path.read_bytes()
        places = range(len(good))
        flipped = (
            good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            for at in (places if TORTURE else draw.sample(places, min(500, len(good))))
            for bit in (range(8) if TORTURE else [draw.randrange(8)])
        )
        cuts = (good[:size] for size in (places if TORTURE else draw.sample(places, min(100, len(good)))))
        for content in (*flipped, *cuts, good + b"\0"):
            path.write_bytes(content)
            with pytest.raises(DamagedLog, match=rf"position [1-7] in .*{first.name}"):
                list(tiered._open_cold(first).records(1, 6, False))
        path.write_bytes(good)
    assert [position for position, _ in tiered._open_cold(first).records(1, 6, False)] == [1, 2, 3, 4, 5, 6]


def flips_and_cuts(folder, cold, places, cuts):
    with fill(TieredLog(folder, hot=2, warm=6, cold=cold), 24) as log:
        head = log.chain_head()
        frames = [event.frame for _, event in log.read()]
    draw = random.Random(9)
    assert outcome(folder, head, frames) == ""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        good = path.read_bytes()
        warm = path.suffix == ".sqlite"
        # A page of SQLite is mostly zeros that nobody reads, so that flips are tried where something stands.
        written = [place for place, byte in enumerate(good) if byte or not warm]
        for place in draw.sample(written, min(places, len(written))):
            flipped = bytearray(good)
            flipped[place] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            found = outcome(folder, head, frames)
            assert found or warm, f"byte {place} of {path}"
        for size in range(0, len(good), 4_096 if warm else 1 + len(good) // cuts):
            path.write_bytes(good[:size])
            assert outcome(folder, head, frames), f"{path} cut to {size} bytes"
        path.write_bytes(good)
        if path.name != "lock":
            path.unlink()
            assert outcome(folder, head, frames), f"{path} removed"
            for leftover in folder.rglob("*.sqlite"):
                if leftover.name == path.name:
                    leftover.unlink()
            path.write_bytes(good)
    assert outcome(folder, head, frames) == ""


def test_verify_names_the_position_in_the_whole_log(folder):
    with fill(TieredLog(folder, hot=2, warm=6), 24) as log:
        warm = log._segments[-1]
        warm.log._connection.execute("UPDATE events SET time = time + 1 WHERE position = 3")
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, warm.first + 2)
        warm.log._connection.execute("UPDATE events SET time = time - 1 WHERE position = 3")
        assert verify(log).intact
        warm.log._connection.execute("UPDATE events SET chain = zeroblob(32) WHERE position = 4")
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, warm.first + 3)
        assert "chain" in verdict.reason


def test_a_damaged_warm_log_is_not_moved(folder):
    with fill(TieredLog(folder, hot=2, warm=6), 12) as log:
        log._segments[0].log._connection.execute("UPDATE events SET chain = zeroblob(32) WHERE position = 4")
        with pytest.raises(DamagedLog, match="position 4 is not moved"):
            fill(log, 15)
    assert set(names(1, 7, kind="warm")) <= set(files(folder))


def test_a_newer_format_and_another_kind_are_refused(folder, tmp_path):
    TieredLog(folder).close()
    (folder / "manifest").write_bytes(_manifest("tiered", 2, "3.1.0"))
    with pytest.raises(UnknownFormat, match=r"needs rarera_sim 3\.1\.0"):
        TieredLog(folder)
    FilesLog(tmp_path / "files").close()
    with pytest.raises(UnknownFormat, match="kind 'files'"):
        TieredLog(tmp_path / "files")


def test_what_cannot_be_a_log_is_one_clear_error(folder):
    for options, reason in (
        ({"create": False}, "there is no log"),
        ({"read_only": True}, "there is no log"),
        ({"hot": -1}, "hot"),
        ({"warm": 0}, "warm"),
        ({"durability": "none"}, "durability"),
        ({"busy_timeout": -1}, "busy_timeout"),
    ):
        with pytest.raises(BadInput, match=reason):
            TieredLog(folder, **options)
    assert not folder.exists()


def test_a_read_only_log_refuses_every_change_and_touches_nothing(folder):
    fill(TieredLog(folder, hot=2, warm=6), 20).close()
    before = files(folder)
    with TieredLog(folder, read_only=True) as log:
        with pytest.raises(BadInput, match="read-only"):
            log.append([an_event(21)])
        assert verify(log).intact
    assert [name for name in files(folder) if not name.endswith(("-shm", "-wal"))] == before


def test_without_the_package_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(BadInput, match=r"rarera-sim\[zstd\]"):
        TieredLog(folder)
    assert not folder.exists()
