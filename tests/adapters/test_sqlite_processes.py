"""Many processes at one SQLite log: nothing missed, nothing out of order, nothing lost when they are killed.

Two writers, and one that is killed alone, are in test_sqlite.py; here they are many, and killed while others write.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.integrity import verify
from rarera_sim.core.subscription import Subscription

TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one

# Writers are forked, so that one more costs milliseconds.
WRITER = """
import json, os, random, signal, sys, time
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.event import Event

def write(path, source, first, last, batch, acknowledge):
    log = SqliteLog(path, busy_timeout=60, durability="normal")
    for start in range(first, last + 1, batch):
        log.append([
            Event(f"{source}/{n % 7}", "tick", {"n": n}, source=source, sequence=n, time=n)
            for n in range(start, start + batch)
        ])
        acknowledge(start + batch - 1)

def fork(*arguments):
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            write(*arguments)
            failed = 0
        finally:
            os._exit(failed)
    return child
"""

WRITERS = f"""
{WRITER}
path, writers, each = sys.argv[1], *map(int, sys.argv[2:])
children = [fork(path, f"S{{n}}", 1, each, 10, lambda last: None) for n in range(writers)]
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""

# The killed one begins again as a source does that has not heard of its last batches: it sends them again.
KILLS = f"""
{WRITER}
path, kills = sys.argv[1], int(sys.argv[2])
draw = random.Random(5)
acknowledged = dict.fromkeys(("A", "B", "C"), 0)
heard, said = os.pipe()

def begin(source, first):
    return fork(path, source, first, 10**9, 10, lambda last: os.write(said, f"{{source}} {{last}}\\n".encode()))

def hear(line):
    source, last = line.split()
    acknowledged[source] = max(acknowledged[source], int(last))

lines = os.fdopen(heard)
children = {{source: begin(source, 1) for source in acknowledged}}
for _ in range(kills):
    victim = draw.choice(list(children))
    due = acknowledged[victim] + 10 * draw.randrange(1, 4)
    while acknowledged[victim] < due:
        hear(lines.readline())
        if os.waitpid(-1, os.WNOHANG)[0]:
            sys.exit("a writer ended by itself")
    time.sleep(draw.random() / 250)
    os.kill(children[victim], signal.SIGKILL)
    os.waitpid(children[victim], 0)
    children[victim] = begin(victim, max(1, acknowledged[victim] - 9))
for child in children.values():
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
os.close(said)
for line in lines:
    hear(line)
print(json.dumps(acknowledged))
"""


def follow(log, process):
    """Everything that a follower is given while the process runs, and after."""
    subscription = Subscription(log)
    seen = []
    while True:
        ended = process.poll() is not None  # asked first, so that what was appended last is seen after it
        subscription.ring()
        while recorded := subscription.poll():
            seen.append((recorded.position, recorded.event.source, recorded.event.sequence))
            subscription.ack(recorded)
        if ended:
            return seen


def run(path, script, *arguments):
    with (
        SqliteLog(path, durability="normal") as log,
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        seen = follow(log, process)
        said, wrong = process.communicate()
    assert process.returncode == 0, wrong
    return seen, said


def sequences_of(seen, source):
    return [sequence for _, each, sequence in seen if each == source]


@pytest.mark.torture
def test_eight_writers_and_a_follower_miss_nothing_and_keep_order(tmp_path):
    path = tmp_path / "log.sqlite"
    each = 12_500 if TORTURE else 500
    seen, _ = run(path, WRITERS, 8, each)
    assert [position for position, _, _ in seen] == list(range(1, 8 * each + 1))
    for n in range(8):
        assert sequences_of(seen, f"S{n}") == list(range(1, each + 1))
    with SqliteLog(path) as log:
        assert log.head() == 8 * each
        assert verify(log).intact


@pytest.mark.torture
def test_a_writer_killed_among_others_loses_no_acknowledged_event_and_doubles_none(tmp_path):
    path = tmp_path / "log.sqlite"
    seen, said = run(path, KILLS, 100 if TORTURE else 5)
    assert [position for position, _, _ in seen] == list(range(1, len(seen) + 1))
    for source, acknowledged in json.loads(said).items():
        sequences = sequences_of(seen, source)
        assert sequences == list(range(1, len(sequences) + 1))
        assert len(sequences) >= acknowledged
        assert len(sequences) % 10 == 0, "a batch is whole or not there"
    with SqliteLog(path) as log:
        assert log.head() == len(seen)
        assert verify(log).intact
