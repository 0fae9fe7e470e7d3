"""What logs in folders keep beside their events: crashes, damage, regrown logs, erasure."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("zstandard")

from rarera_sim.adapters import folders
from rarera_sim.adapters.beside import FolderCheckpoints, FolderSnapshots
from rarera_sim.adapters.files import FilesLog
from rarera_sim.adapters.memory import MemoryLog, MemorySnapshots
from rarera_sim.adapters.tiered import TieredLog
from rarera_sim.core.errors import BadInput, DamagedLog, StorageFailed
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import verify
from rarera_sim.core.projection import Tally, rebuild
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.trace import Stage, Step

TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one

SAVER = """
import sys
from rarera_sim.adapters.beside import FolderCheckpoints, FolderSnapshots
from rarera_sim.adapters.files import FilesLog
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.trace import Stage, Step

folder, name, start, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = FilesLog(folder, busy_timeout=60)
snapshots, checkpoints = FolderSnapshots(log), FolderCheckpoints(log)
for n in range(start, start + count):
    snapshots.save(Snapshot.of(name, 1, 5, n % 3, {"n": n}))
    log.save_steps([Step(n, Stage.STARTED, bytes([1]), name)] * 3)
    checkpoints.save(name, n)
    print(n, flush=True)  # acknowledged up to here
"""


def an_event(sequence=1, **data):
    return Event("EWR/UA1", "departed", data, source="EWR", sequence=sequence, time=sequence)


def some_events(count):
    return [an_event(n) for n in range(1, count + 1)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture(params=[FilesLog, TieredLog])
def log(request, folder):
    with request.param(folder) as log:
        log.append(some_events(5))
        yield log


def a_saver(folder, name, start=1, count=1_000_000):
    arguments = [str(argument) for argument in (folder, name, start, count)]
    return subprocess.Popen([sys.executable, "-c", SAVER, *arguments], stdout=subprocess.PIPE, text=True)


def the_snapshot(folder):
    [path] = (folder / "snapshots").iterdir()
    return path


# Logs that lost their tail


@pytest.mark.parametrize("kind", [MemoryLog, FilesLog, TieredLog])
def test_a_snapshot_beyond_a_lost_tail_is_not_used_again_when_the_log_has_grown_anew(tmp_path, kind):
    """The event at the snapshot's very position is the same again, what came before it is not."""
    tally = Tally("delay")
    events = [an_event(n, delay=n) for n in range(1, 6)]
    before, regrown = (kind() if kind is MemoryLog else kind(tmp_path / name) for name in ("before", "regrown"))
    before.append(events)
    regrown.append([*events[:2], events[3], an_event(3, delay=70), events[4]])
    snapshots = MemorySnapshots(before) if kind is MemoryLog else FolderSnapshots(before)
    for position in (2, 5):
        snapshots.save(Snapshot.of(tally.name, 1, position, position, rebuild(tally, before, upto=position)))
    if kind is MemoryLog:
        snapshots._log = regrown
    else:
        shutil.copytree(tmp_path / "before" / "snapshots", tmp_path / "regrown" / "snapshots")
        snapshots = FolderSnapshots(regrown)
    assert snapshots.latest(tally.name, 1).position == 2
    assert rebuild(tally, regrown, snapshots=snapshots) == rebuild(tally, regrown)
    before.close()
    regrown.close()


def test_a_real_lost_tail_that_has_grown_again_is_not_answered_from_an_old_state(folder):
    with FilesLog(folder, durability="normal") as log:
        log.append([an_event(1)])
        log._force_newest()
        size = (folder / f"{1:020}.seg").stat().st_size
        log.append([an_event(2), an_event(3)])
        FolderSnapshots(log).save(Snapshot.of("tally", 1, 3, 3, {"n": 3}))
        log._closed = True  # the power goes, and takes what was not forced to the disk
    os.truncate(folder / f"{1:020}.seg", size)
    with FilesLog(folder) as log:
        assert log.head() == 1
        assert FolderSnapshots(log).latest("tally", 1) is None
        log.append([an_event(3), an_event(2)])
        assert FolderSnapshots(log).latest("tally", 1) is None
        assert verify(log).intact


# Crashes and processes


def kill_savers(folder, kills):
    draw = random.Random(kills)
    acknowledged = 0
    with FilesLog(folder) as log:
        log.append(some_events(5))
    for _ in range(kills):
        with a_saver(folder, "é", acknowledged + 1) as saver:
            for _ in range(draw.randrange(1, 20)):
                acknowledged = int(saver.stdout.readline())
            time.sleep(0.005 * draw.random())
            saver.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in saver.stdout.read().split())])
        with FilesLog(folder) as log:
            assert FolderCheckpoints(log).load("é") - acknowledged in (0, 1)
            # Of a state that is being replaced the old one may be there, the new one, or both.
            state = FolderSnapshots(log).latest("é", 1).state
            assert state in {b'{"n":%d}' % n for n in range(acknowledged - 2, acknowledged + 2)}
            steps = log.steps_of(b"\1")
            assert len(steps) % 3 == 0
            assert len({step.time for step in steps} & set(range(1, acknowledged + 1))) == acknowledged
            log.save_steps([])


def test_a_killed_saver_leaves_what_was_acknowledged(folder):
    kill_savers(folder, 4)


@pytest.mark.torture
def test_a_hundred_killed_savers_leave_what_was_acknowledged(folder):
    kill_savers(folder, 100 if TORTURE else 2)


def test_two_processes_that_save_at_once_lose_nothing_of_each_other(folder):
    with FilesLog(folder) as log:
        log.append(some_events(5))
    savers = [a_saver(folder, name, count=30) for name in ("a", "b")]
    assert [saver.communicate() and saver.returncode for saver in savers] == [0, 0]
    with FilesLog(folder) as log:
        assert [FolderCheckpoints(log).load(name) for name in ("a", "b")] == [30, 30]
        assert len(log.steps_of(b"\1")) == 2 * 30 * 3
        assert verify(log).intact


def test_a_block_of_steps_that_was_not_finished_is_cut_off_by_the_next(log, folder):
    whole, more = [Step(1.0, Stage.CREATED, b"\1", "EWR")], [Step(2.0, Stage.RECORDED, b"\1", "log")]
    log.save_steps(whole)
    before = (folder / "steps").stat().st_size
    log.save_steps(more)
    content = (folder / "steps").read_bytes()
    torn = [content[:size] for size in range(before + 1, len(content))]
    for left in (*torn, content[:before] + bytes(4_096)):
        (folder / "steps").write_bytes(left)
        assert log.steps_of(b"\1") == whole
        assert "no whole block" in verify(log).reason
        log.save_steps(more)
        assert (folder / "steps").read_bytes() == content
        assert verify(log).intact


# Damage


def flips(content, draw):
    """Every bit in the long mode, one of every byte in the short one."""
    for place in range(len(content)):
        for bit in range(8) if TORTURE else [draw.randrange(8)]:
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            yield bytes(flipped)


def test_every_flip_and_every_cut_of_a_snapshot_is_found_and_an_earlier_one_given(log, folder):
    snapshots = FolderSnapshots(log)
    snapshots.save(Snapshot.of("tally", 1, 5, 50, {"EWR": [1, 2]}))
    path = the_snapshot(folder)
    snapshots.save(Snapshot.of("tally", 1, 4, 40, {}))
    good = path.read_bytes()
    cuts = [good[:size] for size in range(len(good))]
    for content in (*flips(good, random.Random(1)), *cuts, good + b"\0"):
        path.write_bytes(content)
        assert snapshots.latest("tally", 1).position == 4
        assert path.name in verify(log).reason
    path.write_bytes(good)
    assert snapshots.latest("tally", 1).position == 5
    assert verify(log).intact


def test_a_snapshot_under_the_name_of_another_is_found_and_not_given(log, folder):
    snapshots = FolderSnapshots(log)
    snapshots.save(Snapshot.of("tally", 1, 5, 50, {"n": 5}))
    path = the_snapshot(folder)
    for name in (path.name.replace("5.", "4.", 1), path.name.replace(".1.", ".2."), path.name.replace("50.", "30.")):
        assert name != path.name
        moved = path.rename(path.with_name(name))
        assert "is not what was saved" in verify(log).reason
        assert snapshots.latest("tally", 2) is None
        assert snapshots.latest("tally", 1, upto=4) is None
        assert snapshots.latest("tally", 1, as_of=40) is None
        moved.rename(path)


def test_every_flip_and_every_cut_of_the_checkpoints_is_found(log, folder):
    checkpoints = FolderCheckpoints(log)
    checkpoints.save("billing", 3)
    good = (folder / "checkpoints").read_bytes()
    cuts = [good[:size] for size in range(len(good))]
    for content in (*flips(good, random.Random(2)), *cuts, good + b"\n"):
        (folder / "checkpoints").write_bytes(content)
        for use in (lambda: checkpoints.load("billing"), lambda: checkpoints.save("other", 1)):
            with pytest.raises(DamagedLog, match="checkpoints is not what was saved"):
                use()
        assert not verify(log).intact
    (folder / "checkpoints").write_bytes(good)
    assert checkpoints.load("billing") == 3


def test_every_flip_of_the_steps_is_found(log, folder):
    log.save_steps([Step(1.0, Stage.CREATED, b"\1", "EWR")])
    end_of_first = (folder / "steps").stat().st_size
    log.save_steps([Step(2.0, Stage.RECORDED, b"\1", "log")])
    good = (folder / "steps").read_bytes()
    for content in flips(good, random.Random(3)):
        (folder / "steps").write_bytes(content)
        with pytest.raises(DamagedLog, match="block of steps at byte"):
            log.steps_of(b"\1")
        with pytest.raises(DamagedLog):
            log.save_steps([Step(3.0, Stage.FINISHED, b"\1", "p")])
        assert not verify(log).intact
    for size in range(1, len(good)):
        (folder / "steps").write_bytes(good[:size])
        # Blocks know nothing of each other, so that a whole one less at the end is not missed.
        assert verify(log).intact == (size == end_of_first)


# Erasure


def test_nothing_of_a_state_that_was_replaced_or_cleared_is_left_on_the_disk(log, folder, tmp_path):
    snapshots = FolderSnapshots(log)
    kept = []
    for number, (position, time_max) in enumerate([(4, 1), (4, 1), (4, 7), (5, 9)]):
        snapshots.save(Snapshot.of("tally", 1, position, time_max, {"secret": "Ada Lovelace " * 100}))
        newest = max((folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        # Another name for the bytes, so that they can be looked at when they have none of their own any more.
        kept.append(tmp_path / str(number))
        os.link(newest, kept[-1])
    (folder / "snapshots" / ("a.snapshot" + folders.NEW)).write_bytes(b"Ada Lovelace")
    os.link(folder / "snapshots" / ("a.snapshot" + folders.NEW), tmp_path / "half")
    left = [b"Ada" in path.read_bytes() for path in kept]
    assert left == [False, False, True, True], "the replaced ones are gone"
    snapshots.clear()
    assert not any(any(path.read_bytes()) for path in (*kept, tmp_path / "half"))
    assert list((folder / "snapshots").iterdir()) == []


def test_an_erasure_that_was_killed_half_way_is_no_damage_and_goes_on(log, folder, monkeypatch):
    snapshots = FolderSnapshots(log)
    for position in (3, 4):
        snapshots.save(Snapshot.of("tally", 1, position, 1, {"n": position}))
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            snapshots.clear()
    assert len(list((folder / "snapshots").iterdir())) == 2
    assert verify(log).intact
    assert snapshots.latest("tally", 1) is not None
    snapshots.clear()
    assert list((folder / "snapshots").iterdir()) == []


def test_erasing_a_subject_clears_the_snapshots_of_a_log_in_a_folder(log, folder):
    pytest.importorskip("cryptography")
    from rarera_sim.adapters.keys import MemoryKeys
    from rarera_sim.core.sealing import erase_subject

    keys = MemoryKeys()
    keys.create("passenger 7")
    FolderSnapshots(log).save(Snapshot.of("tally", 1, 5, 5, {"name": "Ada"}))
    erase_subject(log, keys, "passenger 7", time=9, snapshots=[FolderSnapshots(log)])
    assert list((folder / "snapshots").iterdir()) == []
    assert verify(log).intact


# Who may


def test_a_read_only_or_closed_log_refuses_every_change_and_makes_no_file(folder):
    FilesLog(folder).close()
    before = sorted(folder.rglob("*"))
    log = FilesLog(folder, read_only=True)
    changes = (
        lambda: FolderSnapshots(log).save(Snapshot.of("tally", 1, 0, 0, {})),
        lambda: FolderSnapshots(log).clear(),
        lambda: FolderCheckpoints(log).save("a", 1),
        lambda: log.save_steps([Step(0.0, Stage.CREATED, b"", "")]),
    )
    for change in changes:
        with pytest.raises(BadInput, match="read-only"):
            change()
    assert FolderSnapshots(log).latest("tally", 1) is None
    assert FolderCheckpoints(log).load("a") == 0
    assert log.steps_of(b"") == []
    log.close()
    for change in changes:
        with pytest.raises(StorageFailed, match="closed"):
            change()
    assert sorted(folder.rglob("*")) == before


def test_what_cannot_be_kept_is_refused(log):
    for snapshot in (Snapshot("t", -1, 1, 1, b"{}"), Snapshot("t", 1, 2**63, 1, b"{}"), Snapshot("t", 1, 1, 1.5, b"")):
        with pytest.raises(BadInput, match="must be an integer"):
            FolderSnapshots(log).save(snapshot)
    for position in (-1, True, "1"):
        with pytest.raises(BadInput, match="must be an integer"):
            FolderCheckpoints(log).save("a", position)
    assert FolderSnapshots(log).latest("\ud800", 1) is None
    assert FolderCheckpoints(log).load("\ud800") == 0


def test_a_system_without_flock_is_told_what_to_use_instead(folder, monkeypatch):
    monkeypatch.setattr(folders, "fcntl", None)
    for kind in (FilesLog, TieredLog):
        with pytest.raises(BadInput, match=r"flock.*Linux and macOS; use sqlite"):
            kind(folder)
    assert not folder.exists()


def test_a_writer_may_take_its_lock_again_and_keeps_it_until_the_last_is_done(folder):
    with FilesLog(folder) as log, FilesLog(folder, busy_timeout=0) as other:
        with log._lock.held():
            with log._lock.held():
                pass
            with pytest.raises(Exception, match="write lock"):
                other.append([an_event(1)])
        other.append([an_event(1)])
