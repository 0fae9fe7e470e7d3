"""What the log in a folder promises beyond the contract: processes, crashes, damage, formats, compression."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from itertools import pairwise
from zlib import crc32

import pytest

from rarera_sim.adapters import files, folders, segments
from rarera_sim.adapters.files import FilesLog
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.errors import (
    BadInput,
    BusyLog,
    Conflict,
    DamagedLog,
    RareraError,
    StorageFailed,
    UnknownFormat,
)
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import CHAIN_START, verify
from rarera_sim.core.log import Query
from rarera_sim.core.subscription import Subscription

needs_zstandard = pytest.mark.skipif(find_spec("zstandard") is None, reason="needs rarera-sim[zstd]")
TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one
COMPRESSIONS = ["none", pytest.param("zstd", marks=needs_zstandard)]

WRITER = """
import sys
from rarera_sim.adapters.files import FilesLog
from rarera_sim.core.event import Event

folder, source, first, count, batch, compression, durability = sys.argv[1:]
first, count, batch = int(first), int(count), int(batch)
log = FilesLog(folder, busy_timeout=60, durability=durability, segment_bytes=20_000, compression=compression)
for start in range(first, first + count, batch):
    events = [
        Event(f"{source}/{n % 7}", "tick", {"n": n}, source=source, sequence=n, time=n)
        for n in range(start, start + batch)
    ]
    log.append(events)
    print(start + batch - 1, flush=True)  # acknowledged up to here
log.close()
"""

# Processes forked and released at one moment: as often as not two of them find no log.
RACE = """
import os, sys, time
from rarera_sim.adapters.files import FilesLog

for attempt in range(50):
    start = time.monotonic() + 0.005
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while time.monotonic() < start:
                pass
            failed = 1
            try:
                FilesLog(f"{sys.argv[1]}/{attempt}").close()
                failed = 0
            finally:
                os._exit(failed)
        children.append(child)
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=sequence)


def some_events(first, last):
    return [an_event(n, stream=f"EWR/{n % 5}", speed=1.5 * n) for n in range(first, last + 1)]


def a_writer(folder, source, first=1, count=1_000_000, batch=10, compression="none", durability="normal"):
    arguments = [str(argument) for argument in (folder, source, first, count, batch, compression, durability)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def log(folder):
    with FilesLog(folder) as log:
        yield log


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def newest(folder):
    return max(folder.glob("*.seg"))


# Several processes


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_two_writers_and_a_follower_miss_nothing_and_keep_order(folder, compression):
    each = 2_000
    FilesLog(folder).close()
    writers = [a_writer(folder, source, count=each, compression=compression) for source in ("EWR", "JFK")]
    seen = []
    with FilesLog(folder, read_only=True) as log:
        subscription = Subscription(log)
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
    assert len(list(folder.glob("*.se*"))) > 5, "they rolled over"


def kill_writers(folder, kills, compression="none"):
    draw = random.Random(kills)
    first = 1
    for kill in range(kills):
        durability = ("normal", "full")[kill % 2]
        with a_writer(folder, "EWR", first=first, compression=compression, durability=durability) as writer:
            for _ in range(draw.randrange(1, 60)):
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.003 * draw.random())
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
        with FilesLog(folder, read_only=True) as reader:
            assert reader.head() >= acknowledged
        with FilesLog(folder) as log:
            [(start, last)] = log.sequences()["EWR"]
            assert (start, log.head()) == (1, last)
            assert last >= acknowledged
            assert last % 10 == 0, "a batch is whole or not there"
            verdict = verify(log)
            assert verdict.intact, verdict.reason
        # As a source does that did not hear of its last batch: it sends it again.
        first = max(1, acknowledged - 9)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_killed_writer_loses_no_acknowledged_event_and_doubles_none(folder, compression):
    kill_writers(folder, 5, compression)


@pytest.mark.torture
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_hundred_killed_writers_lose_nothing(folder, compression):
    kill_writers(folder, 100 if TORTURE else 2, compression)


def test_all_that_create_one_log_at_once_get_it(tmp_path):
    run = subprocess.run([sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0"] * 200, run.stderr


def test_a_reader_sees_what_another_object_appended_when_its_append_returns(folder, log):
    with FilesLog(folder, read_only=True) as reader:
        for n in range(1, 6):
            log.append([an_event(n)])
            assert (reader.head(), reader.find(an_event(n).id).position) == (n, n)
            assert reader.chain_head() == log.chain_head()
        with FilesLog(folder) as other:
            other.append([an_event(6)])
        assert len(log.append([an_event(6), an_event(7)])) == 1
        assert [position for position, _ in reader.read()] == list(range(1, 8))


def test_a_reader_sees_nothing_of_a_batch_that_is_not_acknowledged(folder, log, monkeypatch):
    log.append([an_event(1)])
    with FilesLog(folder, read_only=True) as reader:
        seen = []
        monkeypatch.setattr(files, "force", lambda _: seen.append(reader.head()))
        log.append([an_event(2), an_event(3)])
        assert seen == [1]
        assert reader.head() == 3


def test_a_reader_needs_no_lock_and_goes_on_when_segments_are_sealed(folder):
    pytest.importorskip("zstandard")
    with FilesLog(folder, segment_bytes=500, compression="zstd") as log:
        log.append(some_events(1, 3))
        with FilesLog(folder, read_only=True) as reader, log._lock.held():
            assert reader.head() == 3
            reading = reader.read()
            next(reading)
        with FilesLog(folder, read_only=True) as reader:
            reader.head()
            for n in range(4, 40):
                log.append(some_events(n, n))
            assert [position for position, _ in reader.read()] == list(range(1, 40))
            assert verify(reader).intact
    assert len(list(folder.glob("*.sealed"))) > 5
    assert len(list(folder.glob("*.seg"))) == 1


def test_a_busy_log_waits_then_says_so(folder, log):
    with FilesLog(folder, busy_timeout=0.2) as other, log._lock.held():
        before = time.monotonic()
        with pytest.raises(BusyLog, match="write lock"):
            other.append([an_event(1)])
        assert time.monotonic() - before >= 0.15
    with FilesLog(folder) as other:
        assert len(other.append([an_event(1)])) == 1


# Segments and compression


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_query_gives_the_same_from_many_segments(folder, compression):
    draw = random.Random(7)
    events = [
        an_event(n, stream=f"{draw.choice('ABC')}/{draw.randrange(50)}", kind=draw.choice("xyz"))
        for n in range(1, 3_000)
    ]
    model = MemoryLog()
    with FilesLog(folder, segment_bytes=9_000, compression=compression, durability="normal") as log:
        for start in range(0, len(events), 37):
            model.append(events[start : start + 37])
            log.append(events[start : start + 37])
    with FilesLog(folder, read_only=True) as log:
        assert log.sequences() == model.sequences()
        for query in (
            Query(),
            Query(streams=("A/1",)),
            Query(streams=("A/1", "C/2", "none")),
            Query(processors=("A",), types=("x",), since=100, until=2_000),
            Query(since=1_400, until=1_430),
            Query(since=1_024, until=1_025, types=("y",)),
            Query(sources=("EWR",), until=20),
        ):
            for range_ in ({}, {"after": 1_000, "upto": 2_500}, {"limit": 7}, {"after": 1_023, "upto": 1_024}):
                for backwards in (False, True):
                    found = list(log.read(query, backwards=backwards, **range_))
                    assert found == list(model.read(query, backwards=backwards, **range_)), (query, range_, backwards)
        for event in draw.sample(events, 50):
            assert log.find(event.id) == model.find(event.id)
        assert verify(log).head == verify(model).head


def test_a_query_reads_little_else_than_what_it_asks_for(folder):
    with FilesLog(folder, durability="normal") as log:
        log.append([an_event(n, stream="rare/1" if n in (7, 20, 4_000) else "EWR/1") for n in range(1, 5_001)])

        def runs(backwards=False, **query):
            return list(log._index._runs(Query(**query), 0, 5_000, backwards))

        assert runs(since=3_000, until=3_010) == [(2_049, 3_072)]
        assert runs(since=2_048, until=2_049) == [(1_025, 3_072)]
        assert runs(since=6_000) == []
        assert runs(streams=("rare/1",)) == runs(processors=("rare",)) == [(7, 20), (4_000, 4_000)]
        assert runs(streams=("rare/1",), backwards=True) == [(4_000, 4_000), (7, 20)]
        assert runs(streams=("none",)) == []


def test_a_page_of_large_events_is_cut_by_its_bytes(folder, monkeypatch):
    monkeypatch.setattr(segments, "PAGE_BYTES", 5_000)
    with FilesLog(folder) as log:
        log.append([an_event(n, text="x" * 2_000) for n in range(1, 12)])
        assert [recorded.position for recorded in log.read()] == list(range(1, 12))
        assert [recorded.position for recorded in log.read(backwards=True, limit=5)] == [11, 10, 9, 8, 7]


@needs_zstandard
def test_a_sealed_log_is_smaller_by_a_multiple(folder):
    with FilesLog(folder, segment_bytes=300_000, compression="zstd", durability="normal") as log:
        for start in range(1, 3_001, 100):
            log.append(some_events(start, start + 99))
    sealed = [path for path in folder.iterdir() if path.suffix == ".sealed"]
    first = min(sealed)
    events = int(newest(folder).stem) - 1
    assert sum(path.stat().st_size for path in sealed) < 0.2 * events * 170, first


@needs_zstandard
def test_a_dictionary_is_kept_only_where_it_is_worth_its_place(tmp_path):
    frames = [event.frame for event in some_events(1, 2_000)]
    sizes = {}
    for block_events in (1, 64):
        for dictionary_bytes in (0, 16_384):
            there = tmp_path / f"{block_events} {dictionary_bytes}"
            there.mkdir()
            packing = segments.Packing(block_events, dictionary_bytes)
            sealed = segments.seal(there, 1, CHAIN_START, frames, packing)
            assert [frame for _, frame in sealed.entries()] == frames
            sizes[block_events, dictionary_bytes] = sealed.path.stat().st_size
            assert not sealed._codec.dictionary or dictionary_bytes
    assert sizes[1, 16_384] < 0.8 * sizes[1, 0]
    assert sizes[64, 16_384] <= sizes[64, 0]


@needs_zstandard
def test_compression_may_be_chosen_later_and_given_up_again(folder):
    position = 0
    for compression in ("none", "zstd", "none", "zstd"):
        with FilesLog(folder, segment_bytes=600, compression=compression) as log:
            for _ in range(10):
                position += 1
                log.append(some_events(position, position))
            assert verify(log).intact
            assert log.head() == position
    assert len(list(folder.glob("*.seg"))) == 1


@needs_zstandard
def test_without_the_package_a_sealed_log_names_the_extra_and_others_work(folder, monkeypatch):
    with FilesLog(folder, segment_bytes=100, compression="zstd") as log:
        log.append(some_events(1, 2))
        log.append(some_events(3, 4))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(BadInput, match=r"rarera-sim\[zstd\]"):
        FilesLog(folder)
    with pytest.raises(BadInput, match=r"rarera-sim\[zstd\]"):
        FilesLog(folder.with_name("new"), compression="zstd")
    with FilesLog(folder.with_name("plain")) as log:
        log.append(some_events(1, 2))
        assert log.head() == 2


# Appends held in memory


def test_buffered_appends_reach_the_disk_in_one_go_when_they_are_enough(folder, monkeypatch):
    forced = []
    with FilesLog(folder, buffer_bytes=2_000) as log, FilesLog(folder, read_only=True) as reader:
        monkeypatch.setattr(files, "force", lambda file: forced.append(file))
        position = 0
        while not forced:
            position += 1
            assert [recorded.position for recorded in log.append([an_event(position)])] == [position]
            assert reader.head() == (position if forced else 0)
        assert 5 < position < 20
        assert newest(folder).stat().st_size > 2_000
        assert len(forced) == 1
        assert log.append([an_event(n) for n in range(1, position + 1)]) == []


def test_whoever_buffers_reads_what_it_appended_and_close_and_flush_write_it(folder):
    with FilesLog(folder, buffer_bytes=10**6) as log, FilesLog(folder, read_only=True) as reader:
        for n, use in enumerate(
            (
                log.head,
                log.flush,
                lambda: list(log.read()),
                log.sequences,
                log.chain_head,
                lambda: log.find(an_event(1).id),
                lambda: verify(log),
                lambda: log.find_prefix("0"),
                lambda: log.chain_at(1),
            ),
            start=1,
        ):
            log.append([an_event(n)])
            assert reader.head() == n - 1
            use()
            assert reader.head() == n
        log.append([an_event(10)])
        log.append([an_event(11)])
        log.close()
        assert reader.head() == 11
        assert verify(reader).intact


def test_while_one_buffers_others_wait_and_then_go_on_behind_it(folder):
    with FilesLog(folder, buffer_bytes=10**6) as log, FilesLog(folder, busy_timeout=0) as other:
        log.append([an_event(1)])
        log.append([an_event(2)])
        with pytest.raises(BusyLog):
            other.append([an_event(3)])
        log.flush()
        assert other.append([an_event(3)])[0].position == 3
        assert log.append([an_event(3), an_event(4)])[0].position == 4
        with pytest.raises(Conflict):
            log.append([an_event(4, other=True)])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_buffering_over_many_segments_gives_the_same_log(folder, compression):
    events = some_events(1, 200)
    with FilesLog(folder, buffer_bytes=700, segment_bytes=2_000, compression=compression) as log:
        for event in events:
            log.append([event])
    with FilesLog(folder) as log:
        assert [event for _, event in log.read()] == events
        model = MemoryLog()
        model.append(events)
        assert verify(log).head == verify(model).head


def test_a_process_that_dies_loses_what_it_buffered_and_nothing_else(folder):
    child = os.fork()
    if child == 0:
        log = FilesLog(folder, buffer_bytes=10**6)
        log.append(some_events(1, 3))
        log.flush()
        log.append(some_events(4, 6))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with FilesLog(folder) as log:
        assert (log.head(), log.torn, verify(log).intact) == (3, "", True)
        assert [position for position, _ in log.append(some_events(4, 6))] == [4, 5, 6]


def test_a_failed_write_of_what_was_buffered_is_not_tried_again(folder, monkeypatch):
    log = FilesLog(folder, buffer_bytes=10**6)
    log.append([an_event(1)])
    log.flush()
    size = newest(folder).stat().st_size
    log.append([an_event(2)])

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(files, "force", fail)
        with pytest.raises(StorageFailed, match="failed"):
            log.flush()
    assert newest(folder).stat().st_size == size, "what is in doubt was taken back"
    with pytest.raises(StorageFailed, match="closed"):
        log.head()
    log.close()
    with FilesLog(folder) as again:
        assert again.head() == 1
        again.append([an_event(2)])
        assert verify(again).intact


# Crashes


@pytest.mark.parametrize("removed", range(1, 300, 7))
def test_a_torn_batch_is_gone_whole_and_told_and_the_log_goes_on(folder, removed):
    with FilesLog(folder) as log:
        log.append(some_events(1, 3))
        head = (folder / "head").read_bytes()
        before = newest(folder).stat().st_size
        log.append(some_events(4, 6))
        chain = verify(log).head
    whole = newest(folder).read_bytes()
    cut = max(before, len(whole) - removed)
    newest(folder).write_bytes(whole[:cut])
    (folder / "head").write_bytes(head)  # the writer died in the append, so that it never said that it was done
    with FilesLog(folder, read_only=True) as reader:
        assert (reader.head(), reader.torn) == (3, "")
    with FilesLog(folder) as log:
        assert log.head() == 3
        assert newest(folder).stat().st_size == before
        assert ("position 3" in log.torn) == (cut > before)
        assert [position for position, _ in log.append(some_events(4, 6))] == [4, 5, 6]
        assert verify(log).head == chain


def test_a_whole_batch_that_was_not_acknowledged_is_kept(folder, log):
    log.append(some_events(1, 3))
    head = (folder / "head").read_bytes()
    log.append(some_events(4, 6))
    (folder / "head").write_bytes(head)
    with FilesLog(folder) as again:
        assert (again.head(), again.torn) == (6, "")
        assert verify(again).intact
    assert (folder / "head").read_bytes() != head


def test_after_a_power_cut_in_normal_mode_the_newest_may_be_gone_and_that_is_told(folder):
    with FilesLog(folder, durability="normal") as log:
        log.append(some_events(1, 3))
        log._force_newest()
        size = newest(folder).stat().st_size
        log.append(some_events(4, 6))
        # What a power cut leaves of it: nothing of the newest pages, or pages of zeros.
        for left in (b"", b"\0" * 4096):
            with open(newest(folder), "r+b") as file:
                file.truncate(size)
                file.seek(size)
                file.write(left)
            head = (folder / "head").read_bytes()
            with FilesLog(folder) as again:
                assert again.head() == 3
                assert "position" in again.torn
                assert verify(again).intact
            (folder / "head").write_bytes(head)
        log._closed = True  # nothing more of it reaches the disk


def test_what_crashes_left_half_made_is_removed(folder):
    pytest.importorskip("zstandard")
    with FilesLog(folder, segment_bytes=300) as log:
        for n in range(1, 8):
            log.append(some_events(n, n))
        kept = names(folder)
        raw = log._segments[0]
        segments.seal(folder, raw.first, raw.chain_before, raw.frames())  # and then it died
    (folder / "00000000000000000099.seg.new").write_bytes(b"half")
    (folder / "manifest.new").write_bytes(b"half")
    with FilesLog(folder, read_only=True) as reader:
        assert verify(reader).intact, "a reader touches nothing, and minds nothing"
        assert "manifest.new" in names(folder)
    with FilesLog(folder) as log:
        assert verify(log).intact
    with FilesLog(folder) as log:
        assert verify(log).intact
        assert log.head() == 7
    assert names(folder) == sorted({*kept, raw.path.stem + ".sealed"} - {raw.path.name})


def test_a_writer_that_died_after_beginning_a_segment_leaves_a_log_that_goes_on(folder):
    with FilesLog(folder, segment_bytes=200) as log:
        log.append(some_events(1, 3))
        log._growing()
    assert len(list(folder.glob("*.seg"))) == 2
    with FilesLog(folder) as log:
        log.append(some_events(4, 5))
        assert verify(log).intact
    with FilesLog(folder) as log:
        assert log.head() == 5


def test_records_are_forced_to_the_disk_before_the_head_says_so(folder, monkeypatch):
    done = []
    log = FilesLog(folder)
    for module in (files, folders):
        monkeypatch.setattr(module, "force", lambda file: done.append(("force", os.readlink(f"/proc/self/fd/{file}"))))
        monkeypatch.setattr(module, "sync_folder", lambda path: done.append(("names", str(path))))
    real = os.pwrite
    monkeypatch.setattr(
        files.os,
        "pwrite",
        lambda file, *rest: done.append(("write", os.readlink(f"/proc/self/fd/{file}"))) or real(file, *rest),
    )
    log.append(some_events(1, 1))
    segment, head = str(newest(folder)), str(folder / "head")
    assert done == [
        ("force", segment + ".new"),
        ("names", str(folder)),
        ("write", head),
        ("write", segment),
        ("force", segment),
        ("write", head),
    ]
    log.close()


def test_normal_durability_forces_nothing_but_closed_segments_and_the_end(folder, monkeypatch):
    forced = []
    monkeypatch.setattr(files, "force", forced.append)
    with FilesLog(folder, durability="normal") as log:
        for n in range(1, 10):
            log.append(some_events(n, n))
        assert forced == []
    assert len(forced) == 1


def test_a_failed_fsync_is_not_tried_again(folder, monkeypatch):
    log = FilesLog(folder)
    log.append([an_event(1)])
    size = newest(folder).stat().st_size

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(files, "force", fail)
        with pytest.raises(StorageFailed, match="failed"):
            log.append([an_event(2)])
    assert newest(folder).stat().st_size == size, "what is in doubt was taken back"
    for use in (log.head, lambda: log.append([an_event(2)]), lambda: list(log.read())):
        with pytest.raises(StorageFailed, match="closed"):
            use()
    with FilesLog(folder) as again:
        again.append([an_event(1), an_event(2)])
        assert [event.sequence for _, event in again.read()] == [1, 2]
        assert verify(again).intact


def test_a_full_disk_says_so_and_keeps_what_was_acknowledged(folder):
    script = """
import resource, signal, sys
from rarera_sim.adapters.files import FilesLog
from rarera_sim.core.errors import StorageFailed
from rarera_sim.core.event import Event

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = FilesLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    for n in range(1, 100):
        log.append([Event("a", "b", {"text": "x" * 1_000}, source="s", sequence=n, time=n)])
        print(n)
except StorageFailed as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    *acknowledged, error = run.stdout.splitlines()
    assert "is full" in error
    with FilesLog(folder) as log:
        assert log.head() == int(acknowledged[-1]) > 3
        assert log.torn == "", "the half-written batch was taken back at once"
        assert verify(log).intact


# Damage


def small_log(folder, compression):
    with FilesLog(folder, segment_bytes=500, compression=compression) as log:
        for n in range(1, 10, 2):
            log.append(some_events(n, n + 1))
        return log.chain_head(), [recorded.event.frame for recorded in log.read()]


def verdict_of(folder, head, frames, **options):
    """Whether damage was found; if it was not, the log must hold what it held."""
    try:
        with FilesLog(folder, create=False, **options) as log:
            verdict = verify(log, expected_head=head)
            if not verdict.intact:
                return verdict.reason
            assert [recorded.event.frame for recorded in log.read()] == frames
            assert log.sequences() == {"EWR": [(1, len(frames))]}
            return ""
    except RareraError as error:
        return str(error)


def restored(folder, good):
    for path in folder.iterdir():
        if path.name not in good or path.read_bytes() != good[path.name]:
            path.unlink()
    for name, content in good.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_in_any_byte_is_refused_or_found(folder, compression, read_only):
    head, frames = small_log(folder, compression)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    draw = random.Random(f"{compression} {read_only}")
    assert verdict_of(folder, head, frames) == ""
    for name, content in good.items():
        for place in range(len(content)):
            for bit in range(8) if TORTURE else [draw.randrange(8)]:
                flipped = bytearray(content)
                flipped[place] ^= 1 << bit
                (folder / name).write_bytes(flipped)
                assert verdict_of(folder, head, frames, read_only=read_only), f"bit {bit} of byte {place} of {name}"
                restored(folder, good)
    assert verdict_of(folder, head, frames) == ""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_truncation_is_refused_or_found(folder, compression):
    head, frames = small_log(folder, compression)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in good.items():
        for size in range(len(content)):
            (folder / name).write_bytes(content[:size])
            assert verdict_of(folder, head, frames), f"{name} cut to {size} bytes"
            restored(folder, good)
        (folder / name).write_bytes(content + b"\0")
        found = verdict_of(folder, head, frames)
        restored(folder, good)
        assert found or name in ("lock", newest(folder).name), f"{name} with a byte more"
    for name in set(good) - {"lock"}:
        (folder / name).unlink()
        assert verdict_of(folder, head, frames), f"{name} removed"
        restored(folder, good)


def test_a_lost_tail_is_refused_even_without_a_head_kept_elsewhere(folder, log):
    log.append(some_events(1, 3))
    size = newest(folder).stat().st_size
    log.append(some_events(4, 5))
    with open(newest(folder), "r+b") as file:
        file.truncate(size)
    verdict = verify(log)
    assert (verdict.intact, verdict.position) == (False, 4)
    with pytest.raises(DamagedLog, match=r"position 4 .*safe up to position 5"):
        FilesLog(folder)


def test_a_damaged_middle_is_refused_with_its_position(folder, log):
    log.append(some_events(1, 3))
    size = newest(folder).stat().st_size
    log.append(some_events(4, 6))
    content = bytearray(newest(folder).read_bytes())
    content[size + 60] ^= 1
    newest(folder).write_bytes(content)
    with pytest.raises(DamagedLog, match=r"position 4 in .*\.seg: the record does not match its checksum"):
        FilesLog(folder)
    verdict = verify(log)
    assert (verdict.intact, verdict.position, verdict.head.position) == (False, 4, 3)
    with pytest.raises(DamagedLog, match="position 4"):
        list(log.read())
    assert newest(folder).read_bytes() == content, "nothing was cut off"


@needs_zstandard
def test_damage_in_a_sealed_block_is_found_when_it_is_read(folder):
    with FilesLog(folder, segment_bytes=300, compression="zstd") as log:
        log.append(some_events(1, 5))
        log.append(some_events(6, 9))
        path = min(folder.glob("*.sealed"))
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.write_bytes(content)
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 1)
        log._segments[0]._unpacked = (-1, [])
        with pytest.raises(DamagedLog, match=r"positions? 1"):
            list(log.read())


@needs_zstandard
def test_a_sealed_block_exchanged_for_another_that_is_whole_is_found(folder):
    with FilesLog(folder, segment_bytes=300, compression="zstd") as log:
        log.append(some_events(1, 5))
        log.append(some_events(6, 9))
        raw = log._segments[0]
        path = min(folder.glob("*.sealed"))
        forged = [*some_events(1, 4), an_event(5, stream="EWR/0", forged=True)]
        other = segments.seal(folder.parent, 1, raw.chain_before, [event.frame for event in forged])
        # The headers with the chain are the old ones, every checksum fits.
        block, content = other._blocks[0], bytearray(other.path.read_bytes())
        head = block.at - segments._BLOCK.size - segments._CRC.size
        content[head : head + segments._BLOCK.size] = new = segments._BLOCK.pack(
            block.size, block.unpacked, 5, raw.chain
        )
        checksum = crc32(content[block.at :], crc32(new))
        content[block.at - segments._CRC.size : block.at] = segments._CRC.pack(checksum)
        start = segments._SEALED.size
        fields = [*segments._SEALED.unpack(content[:start])]
        fields[4] = raw.chain
        content[:start] = segments._SEALED.pack(*fields)
        content[start : start + segments._CRC.size] = segments._CRC.pack(crc32(content[:start]))
        path.write_bytes(content)
        verdict = verify(log)
        assert (verdict.intact, verdict.position) == (False, 1)
        assert "positions 1 to 5" in verdict.reason
    with pytest.raises(DamagedLog, match="positions 1 to 5"):
        FilesLog(folder)


def test_records_that_changed_places_are_found(folder, log):
    for n in range(1, 5):
        log.append([an_event(n)])
    content = newest(folder).read_bytes()
    starts = [*log._segments[0].starts, len(content)]
    records = [content[a:b] for a, b in pairwise(starts)]
    records[1], records[2] = records[2], records[1]
    newest(folder).write_bytes(content[: starts[0]] + b"".join(records))
    with FilesLog(folder) as again:
        verdict = verify(again)
    assert (verdict.intact, verdict.position) == (False, 2)
    records[1] = records[3]
    newest(folder).write_bytes(content[: starts[0]] + b"".join(records))
    with pytest.raises(DamagedLog, match="position 4"):
        FilesLog(folder)


# Folders and formats


def test_a_newer_format_is_refused_with_the_version_it_needs(folder):
    FilesLog(folder).close()
    (folder / "manifest").write_bytes(folders._manifest("files", 2, "3.1.0"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UnknownFormat, match=r"format 2.*up to 1.*needs rarera_sim 3\.1\.0"):
        FilesLog(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "manifest").write_bytes(folders._manifest("tiered", 1, "0.1.0"))
    with pytest.raises(UnknownFormat, match="kind 'tiered'"):
        FilesLog(folder)


def test_what_cannot_be_a_log_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for path, options, reason in (
        (tmp_path / "none", {"create": False}, "there is no log"),
        (tmp_path / "none", {"read_only": True}, "there is no log"),
        (tmp_path / "empty", {"read_only": True}, "there is no log"),
        (tmp_path / "no" / "folder", {}, "there is no folder"),
        (tmp_path / "file", {}, "is a file"),
        (tmp_path / "photos", {}, "not an RARERA log: it holds 'cat.jpg'"),
        ("a\0b", {}, "cannot be opened"),
        (tmp_path / "x", {"durability": "none"}, "durability"),
        (tmp_path / "x", {"compression": "gzip"}, "compression"),
        (tmp_path / "x", {"segment_bytes": 0}, "segment_bytes"),
        (tmp_path / "x", {"buffer_bytes": -1}, "buffer_bytes"),
        (tmp_path / "x", {"block_events": 0}, "block_events"),
        (tmp_path / "x", {"busy_timeout": float("nan")}, "busy_timeout"),
    ):
        with pytest.raises(BadInput, match=reason):
            FilesLog(path, **options)
    assert sorted(tmp_path.rglob("*")) == before
    FilesLog(tmp_path / "empty").close()


def test_a_read_only_log_refuses_every_change_and_touches_nothing(folder):
    FilesLog(folder).close()
    before = names(folder)
    with FilesLog(folder, read_only=True) as log:
        with pytest.raises(BadInput, match="read-only"):
            log.append([an_event(1)])
        assert (log.head(), verify(log).intact) == (0, True)
    assert names(folder) == before


def test_a_closed_log_says_that_it_is_closed(folder):
    log = FilesLog(folder)
    log.append([an_event(1), an_event(2)])
    reading = log.read()
    next(reading)
    log.close()
    log.close()
    for use in (log.head, lambda: log.append([an_event(1)]), lambda: list(log.read()), lambda: log.find(b"")):
        with pytest.raises(StorageFailed, match="closed"):
            use()
    assert repr(log) == f"FilesLog('{folder}')"


def measure():
    """What the docstrings of `files` and `tiered` say: lines of figures on 108,120 flight events."""
    import tempfile
    import tracemalloc
    from itertools import count
    from pathlib import Path

    from rarera_sim.adapters.sqlite import SqliteLog
    from rarera_sim.adapters.tiered import TieredLog
    from rarera_sim.experiments.traces import shipped

    sequences: dict[str, count[int]] = {}
    events = [
        Event(stream, kind, data, source, next(sequences.setdefault(source, count(1))), moment)
        for moment, source, stream, kind, data in shipped("nyc-flights").events()
    ]
    for event in events:
        _ = event.frame
    with tempfile.TemporaryDirectory() as there:
        for name, make in (
            ("files", lambda path: FilesLog(path)),
            ("files, normal", lambda path: FilesLog(path, durability="normal")),
            ("files, zstd, segments of 4 MB", lambda path: FilesLog(path, compression="zstd", segment_bytes=4_000_000)),
            ("tiered, warm 10,000", lambda path: TieredLog(path, warm=10_000)),
            ("sqlite", lambda path: SqliteLog(path)),
        ):
            path = Path(there) / name
            log = make(path)
            figures = []

            def timed(what, work, figures=figures):
                start = time.process_time()
                work()
                figures.append(f"{what} {(time.process_time() - start) / len(events) * 1e6:.2f} us")

            def append(log=log):
                for at in range(0, len(events), 100):
                    log.append(events[at : at + 100])

            timed("append", append)
            timed("read", lambda log=log: sum(1 for _ in log.read()))
            timed("verify", lambda log=log: verify(log))
            log.close()
            timed("open", lambda make=make, path=path: make(path).close())
            tracemalloc.start()
            log = make(path)
            held = tracemalloc.get_traced_memory()[0] / len(events)
            tracemalloc.stop()
            log.close()
            paths = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
            sizes = {}
            for each in paths:
                kind = each.suffix or each.name
                sizes[kind] = sizes.get(kind, 0) + each.stat().st_size
            yield f"{name}: {', '.join(figures)}, {held:.0f} bytes of memory an event; on disk {sizes}"


if __name__ == "__main__":
    print(*measure(), sep="\n")
