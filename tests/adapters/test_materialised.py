"""A state stored beside its log has every event in it once, whoever is killed and whoever else is at it."""

from __future__ import annotations

import subprocess
import sys
from zlib import crc32

import apsw
import pytest

from rarera_sim.adapters.materialised import SqliteMaterialised
from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
from rarera_sim.core.errors import BadInput, InvalidEvent, SkippedPosition
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import verify
from rarera_sim.core.projection import rebuild
from rarera_sim.core.snapshot import Snapshot

# The state tells an event that is missing, came twice or came in another order.
HISTORY = """
from zlib import crc32

class History:
    name = "history"
    version = 1

    def initial(self):
        return {"count": 0, "checksum": 0}

    def apply(self, state, event):
        state["count"] += 1
        state["checksum"] = crc32(event.id, state["checksum"])
        return state
"""

# Forked, so that a child costs milliseconds. It says after each batch that it is in the midst of the next.
KILLS = f"""
import os, random, signal, sys, time
from rarera_sim.adapters.materialised import SqliteMaterialised
from rarera_sim.adapters.sqlite import SqliteLog
{HISTORY}
draw = random.Random(3)
for _ in range(10):
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            history = SqliteMaterialised(SqliteLog(sys.argv[1], durability="normal"), History(), batch=5)
            while history.catch_up(upto=history.position + 5):
                os.write(said, b".")
        finally:
            os._exit(1)
    for _ in range(draw.randrange(12)):
        os.read(heard, 1)
    time.sleep(draw.random() / 500)
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.close(heard), os.close(said)
"""

SEVERAL = f"""
import os, sys
from rarera_sim.adapters.materialised import SqliteMaterialised
from rarera_sim.adapters.sqlite import SqliteLog
{HISTORY}
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            log = SqliteLog(sys.argv[1], durability="normal", busy_timeout=60)
            applied = SqliteMaterialised(log, History(), batch=5).catch_up()
            os.write(1, f"{{applied}}\\n".encode())
            failed = 0
        finally:
            os._exit(failed)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


class History:
    name = "history"

    def __init__(self, version=1):
        self.version = version

    def initial(self):
        return {"count": 0, "checksum": 0}

    def apply(self, state, event):
        state["count"] += 1
        state["checksum"] = crc32(event.id, state["checksum"])
        return state


class Failing(History):
    """Fails half-way through an event, the state already changed."""

    def apply(self, state, event):
        state = super().apply(state, event)
        if event.sequence == 7:
            raise ZeroDivisionError
        return state


def events(first, last):
    return [Event("EWR/UA1", "tick", {"n": n}, source="s", sequence=n, time=n) for n in range(first, last + 1)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path):
    with SqliteLog(path, durability="normal") as log:
        yield log


def run(script, path):
    return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120)


def test_a_state_catches_up_in_batches_and_goes_on_where_it_was(log):
    log.append(events(1, 25))
    one = SqliteMaterialised(log, History(), batch=4)
    assert (one.state, one.position) == ({"count": 0, "checksum": 0}, 0)
    assert (one.catch_up(upto=10), one.position) == (10, 10)
    assert one.state == rebuild(History(), log, upto=10)
    assert (one.catch_up(), one.catch_up(), one.position) == (15, 0, 25)
    log.append(events(26, 30))
    again = SqliteMaterialised(log, History())
    assert (again.position, again.catch_up(), again.state) == (25, 5, rebuild(History(), log))
    assert verify(log).intact


def test_ten_kills_change_nothing_in_the_state(path, log):
    log.append(events(1, 2_000))
    killed = run(KILLS, path)
    assert killed.stdout.split() == ["-9"] * 10, killed.stderr
    history = SqliteMaterialised(log, History())
    assert 0 < history.position < 2_000, "killed on the way"
    assert history.position % 5 == 0, "a batch is whole or not there"
    assert history.state == rebuild(History(), log, upto=history.position)
    history.catch_up()
    assert history.state == rebuild(History(), log)


def test_several_processes_at_once_apply_each_event_once(path, log):
    log.append(events(1, 1_000))
    several = run(SEVERAL, path)
    assert several.returncode == 0, several.stderr
    assert sum(map(int, several.stdout.split())) == 1_000
    assert SqliteMaterialised(log, History()).state == rebuild(History(), log)


def test_who_comes_second_takes_the_state_of_the_first(path, log):
    log.append(events(1, 10))
    with SqliteLog(path) as other:
        first, second = (SqliteMaterialised(each, History(), batch=5) for each in (log, other))
        assert (first.catch_up(upto=8), second.catch_up()) == (8, 2)
        log.append(events(11, 12))
        assert (first.position, first.catch_up(), first.position) == (8, 2, 12)
        assert first.state == rebuild(History(), log)


def test_a_changed_version_begins_afresh_and_leaves_the_old_state(log):
    log.append(events(1, 10))
    SqliteMaterialised(log, History()).catch_up()
    changed = SqliteMaterialised(log, History(version=2))
    assert (changed.position, changed.state) == (0, {"count": 0, "checksum": 0})
    assert changed.catch_up() == 10
    assert SqliteMaterialised(log, History()).position == 10


def test_a_projection_that_fails_leaves_the_state_of_the_last_batch(log):
    log.append(events(1, 10))
    failing = SqliteMaterialised(log, Failing(), batch=5)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.catch_up()
        assert (failing.position, failing.state) == (5, rebuild(History(), log, upto=5))


def test_a_state_that_is_no_json_is_refused_and_not_kept(log):
    class Odd(History):
        def apply(self, state, event):
            return {**super().apply(state, event), "mean": float("nan")}

    log.append(events(1, 3))
    odd = SqliteMaterialised(log, Odd())
    with pytest.raises(InvalidEvent, match="nan"):
        odd.catch_up()
    assert (odd.position, odd.state) == (0, {"count": 0, "checksum": 0})


def test_a_log_that_lost_its_tail_is_an_error(path, log):
    log.append(events(1, 10))
    history = SqliteMaterialised(log, History())
    history.catch_up()
    meddler = apsw.Connection(str(path))
    meddler.execute("DELETE FROM events WHERE position > 8")
    meddler.close()
    for use in (history.catch_up, lambda: SqliteMaterialised(log, History())):
        with pytest.raises(SkippedPosition, match=r"'history' is at position 10, .* ends at 8"):
            use()
    log.append([Event("EWR/UA1", "regrown", {}, source="s", sequence=n, time=n) for n in range(9, 12)])
    for use in (history.catch_up, lambda: SqliteMaterialised(log, History())):
        with pytest.raises(SkippedPosition, match=r"'history' at position 10 was made of other events"):
            use()
    SqliteSnapshots(log).clear()
    again = SqliteMaterialised(log, History())
    assert (again.catch_up(), again.state) == (11, rebuild(History(), log))


def test_a_damaged_state_is_found_by_verify_and_made_again(path, log):
    log.append(events(1, 10))
    history = SqliteMaterialised(log, History())
    history.catch_up()
    meddler = apsw.Connection(str(path))
    meddler.execute("UPDATE snapshots SET state = CAST(replace(state, '10', '11') AS BLOB)")
    meddler.close()
    assert "snapshot" in verify(log).reason
    log.append(events(11, 12))
    assert history.catch_up() == 12
    assert history.state == rebuild(History(), log)
    assert verify(log).intact


def test_clearing_snapshots_clears_the_state_which_is_made_again(log):
    log.append(events(1, 10))
    history = SqliteMaterialised(log, History())
    history.catch_up()
    SqliteSnapshots(log).clear()
    log.append(events(11, 11))
    assert (history.catch_up(), history.state) == (11, rebuild(History(), log))


def test_snapshots_of_the_same_projection_stay_apart(log):
    log.append(events(1, 10))
    snapshots = SqliteSnapshots(log)
    kept = Snapshot.of("history", 1, 4, 4, {"count": 4, "checksum": 0})
    snapshots.save(kept)
    SqliteMaterialised(log, History()).catch_up()
    assert snapshots.latest("history", 1) == kept
    assert SqliteMaterialised(log, History()).state == rebuild(History(), log)


def test_a_read_only_log_shows_the_state_and_refuses_to_go_on(path, log):
    log.append(events(1, 10))
    SqliteMaterialised(log, History()).catch_up(upto=5)
    with SqliteLog(path, read_only=True) as reader:
        history = SqliteMaterialised(reader, History())
        with pytest.raises(BadInput, match="read-only"):
            history.catch_up()
        assert (history.position, history.state) == (5, rebuild(History(), log, upto=5))
    with pytest.raises(BadInput, match="batch"):
        SqliteMaterialised(log, History(), batch=0)
