"""The event log.

Events are flights of about 190 bytes of canonical JSON, of 1,000 streams that take turns. SQLite is at its most
durable on both sides (WAL, `synchronous = FULL`: an fsync for each batch), PostgreSQL at its default. "Recorder" and
"application" are those of PyPI's `eventsourcing`; the recorder keeps bytes under one index, and can neither find an
event by its id nor tell that it was changed. Ours keeps a UID, a chain and four indexes, and verifies every UID it
reads. "Raw driver" is apsw's `executemany` of rows made beforehand into the same table with the same indexes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import apsw
import orjson

from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
from rarera_sim.benchmarks import peers
from rarera_sim.benchmarks.measure import Cost, Progress, Row, absent, against, at_most, cost_of, in_rounds
from rarera_sim.benchmarks.workload import START, STREAMS, flights
from rarera_sim.core.event import ID_BYTES, Event, encode_all
from rarera_sim.core.integrity import CHAIN_START
from rarera_sim.core.log import EventLog, Query
from rarera_sim.core.projection import Materialised, fold, rebuild

TITLE = "The event log"
ABOUT = __doc__
BATCHES = (100, 1_000)
ENCODED_TOGETHER = 1_000
FOLD_MEMORY_MAX = 100.0
SNAPSHOT_EVERY = 2_500


class Size(NamedTuple):
    """How much is measured."""

    events: int
    rounds: int
    fold: int
    curve: tuple[int, ...]


QUICK = Size(4_000, 3, 20_000, (5_000, 20_000))
FULL = Size(20_000, 11, 1_000_000, (10_000, 100_000, 1_000_000))
LONG = Size(20_000, 11, 1_000_000, (10_000, 100_000, 1_000_000, 10_000_000))


class Speeds:
    """Events and their mean speed by stream: the state that the peer's aggregates hold, one each."""

    name = "benchmark"
    version = 1

    def initial(self) -> dict[str, list[float]]:
        return {}

    def apply(self, state: dict[str, list[float]], event: Event) -> dict[str, list[float]]:
        cell = state.get(event.stream)
        if cell is None:
            cell = state[event.stream] = [0, 0.0]
        cell[0] += 1
        cell[1] += event.data["speed"]
        return state


def run(*, quick: bool, long: bool, progress: Progress) -> list[Row]:
    size = QUICK if quick else LONG if long else FULL
    parts: list[Callable[[Size], list[Row]]] = [
        _encoding,
        _sqlite_append,
        _sqlite_application,
        _sqlite_replay,
        _fold_memory,
        _postgres,
        _curve,
    ]
    rows = []
    for done, part in enumerate(parts):
        progress(done, len(parts))
        rows += part(size)
    progress(len(parts), len(parts))
    return rows


def _encoding(size: Size) -> list[Row]:
    # In batches, each made just before it is encoded, as where events come in: what was made long ago has left the
    # processor's cache, and costs both sides as much again.
    def in_batches(work: Callable[[list[Event]], None]) -> Cost:
        events = flights(size.events)
        costs = []
        while batch := list(islice(events, ENCODED_TOGETHER)):
            costs.append(cost_of(partial(work, batch)))
        return Cost(sum(cost.cpu for cost in costs), sum(cost.wall for cost in costs))

    def encode(events: list[Event]) -> None:
        chain = CHAIN_START
        for frame in encode_all(events):
            chain = sha256(chain + frame[:ID_BYTES]).digest()  # as an append has it

    def bare(events: list[Event]) -> None:
        for event in events:
            body = (event.stream, event.type, event.source, event.data)
            uid = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
            _ = sha256(uid + uid).digest()

    case = "canonical encoding, UID and chain"
    costs = in_rounds({"ours": lambda: in_batches(encode), "bare": lambda: in_batches(bare)}, size.rounds)
    value = median(cost.cpu for cost in costs["ours"]) / size.events * 1e6
    # The second row says how much of the first is the machine's: nobody's code is faster than that.
    return [
        at_most(case, value, "us/event", 2.5),
        against(case, costs["ours"], "orjson and SHA-256 twice", costs["bare"], events=size.events, aim=None),
    ]


def _batches(events: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


def _after_first(append: Callable[[Any], object], events: Sequence[Any], batch: int) -> Cost:
    append(events[:STREAMS])
    return cost_of(_each(append, _batches(events[STREAMS:], batch)))


def _each(append: Callable[[Any], object], batches: list[Sequence[Any]]) -> Callable[[], None]:
    def work() -> None:
        for batch in batches:
            append(batch)

    return work


# SQLite


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _encoded(count: int) -> list[Event]:
    events = list(flights(count))
    for event in events:
        _ = event.frame
    return events


def _sqlite_append(size: Size) -> list[Row]:
    events = _encoded(size.events)
    stored = [] if peers.peer_missing() else peers.stored_events(events)
    with _folder() as folder, SqliteLog(folder / "log.sqlite") as log:
        log.append(events)
        raw_rows = peers.sqlite_rows(log)

    # The first of each stream go in before, uncounted: the raw driver has no names to number, and a log has them soon.
    def ours(batch: int) -> Cost:
        with _folder() as folder, SqliteLog(folder / "log.sqlite") as log:
            return _after_first(log.append, events, batch)

    def raw(batch: int) -> Cost:
        with (
            _folder() as folder,
            SqliteLog(folder / "log.sqlite") as log,
            peers.sqlite_raw(folder, log) as append,
        ):
            return _after_first(append, raw_rows, batch)

    def recorder(batch: int) -> Cost:
        with _folder() as folder, peers.sqlite_recorder(folder) as theirs:
            return _after_first(theirs.insert_events, stored, batch)

    counted = len(events) - STREAMS

    rows = []
    for batch in BATCHES:
        case = f"SQLite: append of encoded events, {batch:,} at a time"
        actions = {"ours": partial(ours, batch), "raw": partial(raw, batch)}
        if stored:
            actions["recorder"] = partial(recorder, batch)
        costs = in_rounds(actions, size.rounds)
        if stored:
            rows.append(_versus(case, costs, "recorder", counted, 1.0))
        else:
            rows.append(absent(case, "us/event", peers.peer_missing(), 1.0))
        rows.append(against(case, costs["ours"], "raw driver", costs["raw"], events=counted, aim=0.8))
    return rows


def _versus(case: str, costs: dict[str, list[Cost]], peer: str, count: int, aim: float | None) -> Row:
    return against(case, costs["ours"], peer, costs[peer], events=count, aim=aim)


def _sqlite_application(size: Size) -> list[Row]:
    append, replay = "SQLite: objects in, 100 at a time", "SQLite: objects out, to state"
    if why := peers.peer_missing():
        return [absent(append, "us/event", why, 2.5), absent(replay, "us/event", why, 5.0)]
    peer_events = peers.domain_events(list(flights(size.events)))

    def ours() -> Cost:
        events = list(flights(size.events))  # new ones, not encoded yet
        with _folder() as folder, SqliteLog(folder / "log.sqlite") as log:
            return cost_of(_each(log.append, _batches(events, 100)))

    def application() -> Cost:
        with _folder() as folder, peers.application(peers.sqlite_environment(folder)) as app:
            return cost_of(_each(lambda batch: app.save(*batch), _batches(peer_events, 100)))

    costs = in_rounds({"ours": ours, "application": application}, size.rounds)
    rows = [_versus(append, costs, "application", size.events, 2.5)]
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        log = stack.enter_context(SqliteLog(folder / "log.sqlite"))
        app = stack.enter_context(peers.application(peers.sqlite_environment(folder)))
        rows += _objects_out("SQLite", log, app, peer_events, size)
    return rows


def _objects_out(store: str, log: EventLog, app: Any, peer_events: list[Any], size: Size) -> list[Row]:
    for batch in _batches(list(flights(size.events)), 1_000):
        log.append(batch)
    for batch in _batches(peer_events, 1_000):
        app.save(*batch)
    ids = sorted({event.originator_id for event in peer_events})

    def fold_all() -> None:
        state = fold(Speeds(), (event for _, event in log.read()))
        assert sum(cell[0] for cell in state.values()) == size.events, "not all events were folded"

    def aggregates() -> None:
        assert sum(app.repository.get(each).count for each in ids) == size.events, "not all events were folded"

    def read_all() -> None:
        for _ in log.read():
            pass

    def objects() -> None:
        seen = 0
        while page := app.recorder.select_notifications(seen + 1, peers.PAGE):
            seen = page[-1].id
            for notification in page:
                app.mapper.to_domain_event(notification)

    costs = in_rounds({"ours": lambda: cost_of(fold_all), "application": lambda: cost_of(aggregates)}, size.rounds)
    rows = _rows(f"{store}: objects out, to state", costs, "application", size.events, 5.0)
    costs = in_rounds({"ours": lambda: cost_of(read_all), "application": lambda: cost_of(objects)}, size.rounds)
    return rows + _rows(f"{store}: objects out, as events", costs, "application", size.events, None)


def _rows(case: str, costs: dict[str, list[Cost]], peer: str, count: int, aim: float | None) -> list[Row]:
    """The row of CPU; where a server works as well, also one by the clock."""
    rows = [_versus(case, costs, peer, count, aim)]
    if case.startswith("PostgreSQL"):
        rows.append(against(case, costs["ours"], peer, costs[peer], events=count, aim=None, clock="wall"))
    return rows


def _sqlite_replay(size: Size) -> list[Row]:
    events = _encoded(size.events)
    with _folder() as folder, SqliteLog(folder / "log.sqlite") as log:
        log.append(events)
        if why := peers.peer_missing():
            return [absent(f"SQLite: {case}", "us/event", why, aim) for case, aim in _REPLAYS]
        with peers.sqlite_recorder(folder) as recorder:
            recorder.insert_events(peers.stored_events(events))
            return _replay_rows("SQLite", log, recorder, size)


_REPLAYS = (
    ("replay, decoded and verified", 1.3),
    ("to_polars(), verified", 3.0),
    ("to_polars(verify=False)", 3.0),
)


def _replay_rows(store: str, log: EventLog, recorder: Any, size: Size) -> list[Row]:
    from rarera_sim.adapters.frames import to_polars

    def read_all() -> None:
        for _ in log.read():
            pass

    actions: dict[str, Callable[[], Cost]] = {
        "recorder": lambda: cost_of(lambda: peers.replay_recorder(recorder, size.events)),
        "replay": lambda: cost_of(read_all),
        "frame": lambda: cost_of(lambda: to_polars(log)),
        "unverified": lambda: cost_of(lambda: to_polars(log, verify=False)),
    }
    costs = in_rounds(actions, size.rounds)
    rows = []
    for name, (case, aim) in zip(("replay", "frame", "unverified"), _REPLAYS, strict=True):
        both = {"ours": costs[name], "recorder, bare rows": costs["recorder"]}
        rows += _rows(f"{store}: {case}", both, "recorder, bare rows", size.events, aim)
    return rows


# PostgreSQL


def _postgres(size: Size) -> list[Row]:
    from rarera_sim.benchmarks.peers_postgres import server

    cases = [(f"append of encoded events, {batch:,} at a time", 2.0) for batch in BATCHES]
    cases += [("objects in, 100 at a time", 2.5), ("objects out, to state", 5.0), *_REPLAYS]
    with server() as found:
        if isinstance(found, str):
            return [absent(f"PostgreSQL: {case}", "us/event", found, aim) for case, aim in cases]
        half = size._replace(events=size.events // 2)  # a commit takes ten times as long as on SQLite
        return _postgres_append(found, half) + _postgres_replay(found, half)


def _postgres_append(found: Any, size: Size) -> list[Row]:
    encoded = _encoded(size.events)
    stored = peers.stored_events(encoded)
    peer_events = peers.domain_events(encoded)

    def ours(events: list[Event], batch: int) -> Cost:
        with found.log() as log:
            return cost_of(_each(log.append, _batches(events, batch)))

    def recorder(batch: int) -> Cost:
        with found.recorder() as theirs:
            return cost_of(_each(theirs.insert_events, _batches(stored, batch)))

    def application() -> Cost:
        with found.application() as app:
            return cost_of(_each(lambda batch: app.save(*batch), _batches(peer_events, 100)))

    rows = []
    for batch in BATCHES:
        actions = {"ours": partial(ours, encoded, batch), "recorder": partial(recorder, batch)}
        costs = in_rounds(actions, size.rounds)
        case = f"PostgreSQL: append of encoded events, {batch:,} at a time"
        rows += _rows(case, costs, "recorder", size.events, 2.0)
    costs = in_rounds({"ours": lambda: ours(list(flights(size.events)), 100), "application": application}, size.rounds)
    return rows + _rows("PostgreSQL: objects in, 100 at a time", costs, "application", size.events, 2.5)


def _postgres_replay(found: Any, size: Size) -> list[Row]:
    events = list(flights(size.events))
    with found.log() as log, found.application() as app:
        rows = _objects_out("PostgreSQL", log, app, peers.domain_events(events), size)
        with found.recorder() as recorder:
            # All at once, the peer and the server wait for each other.
            for batch in _batches(peers.stored_events(events), 1_000):
                recorder.insert_events(batch)
            return rows + _replay_rows("PostgreSQL", log, recorder, size)


# Memory


def _fold_memory(size: Size) -> list[Row]:
    """Folded in processes of their own: the peak of this one is not of the fold alone."""
    peaks = {}
    with _folder() as folder:
        path = folder / "log.sqlite"
        with SqliteLog(path, durability="normal") as log:
            for count in (size.fold // 10, size.fold):
                first = log.head() + 1
                _extend(log, first, count - log.head())
                peaks[count] = _peak_of_fold(path)
    small, large = peaks.values()
    case = f"memory to fold {size.fold:,} events, peak of the whole process"
    return [
        at_most(case, large, "MB", FOLD_MEMORY_MAX),
        at_most(f"of it, more than for {size.fold // 10:,} events", max(0.0, large - small), "MB", 10.0),
    ]


def _peak_of_fold(path: Path) -> float:
    command = [sys.executable, "-m", "rarera_sim.benchmarks.log", str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _extend(log: EventLog, first: int, count: int) -> None:
    """Append events `first` and on, never holding more than a batch of them."""
    events = flights(count, first=first)
    while batch := list(islice(events, 1_000)):
        log.append(batch)


# The curve


def _curve(size: Size) -> list[Row]:
    figures: dict[str, list[tuple[int, float]]] = {}
    projection = Speeds()
    sample = min(10_000, size.curve[0] // 2)
    with _folder() as folder, SqliteLog(folder / "log.sqlite", durability="normal") as log:
        snapshots = SqliteSnapshots(log)
        state = Materialised(projection)
        for count in size.curve:
            _grow(log, state, snapshots, count - sample)
            batches = _batches(_encoded_from(log.head() + 1, sample), 1_000)
            # Each length pays for all that it writes, also for taking it from the WAL to its place.
            _checkpoint(log)
            appended = cost_of(partial(_append_and_checkpoint, log, batches)).cpu / sample
            _catch_up(log, state, snapshots)
            figures.setdefault("append, 1,000 at a time", []).append((count, appended))
            replayed = cost_of(lambda: fold(projection, (event for _, event in log.read()))).cpu / count
            figures.setdefault("replay", []).append((count, replayed))
            random = Random(count)
            places = [random.randrange(count // 2, count) for _ in range(size.rounds)]
            for case, asked in (
                ("state as known at a position, with snapshots", [{"upto": n} for n in places]),
                ("state as of a moment, with snapshots", [{"as_of": START + n * 1_000_000} for n in places]),
            ):
                ask = partial(rebuild, projection, log, snapshots=snapshots)
                answered = [cost_of(partial(ask, **moment)).cpu for moment in asked]
                figures.setdefault(case, []).append((count, median(answered)))
            ranged = [_range_query(log, n) for n in places]
            figures.setdefault("range query by processor, type and time", []).append((count, median(ranged)))
    return [row for case, points in figures.items() for row in _points(case, points)]


def _points(case: str, points: list[tuple[int, float]]) -> Iterator[Row]:
    (smallest, base), *_ = points
    scale, unit = (1e3, "ms") if case.startswith("state") else (1e6, "us/event")
    for count, spent in points:
        name = f"SQLite, {count:,} events: {case}"
        if count == smallest:
            yield Row(name, spent * scale, unit)
        else:
            # A tenth for each tenfold is what one more level of a B-tree may cost; noise takes more than that.
            ratio = base / spent
            yield Row(name, spent * scale, unit, f"{smallest:,} events", ratio, 0.75, ratio >= 0.75)


def _encoded_from(first: int, count: int) -> list[Event]:
    events = list(flights(count, first=first))
    for event in events:
        _ = event.frame
    return events


def _grow(log: SqliteLog, state: Materialised, snapshots: SqliteSnapshots, count: int) -> None:
    while log.head() < count:
        _extend(log, log.head() + 1, min(SNAPSHOT_EVERY, count - log.head()))
        _catch_up(log, state, snapshots)


def _catch_up(log: SqliteLog, state: Materialised, snapshots: SqliteSnapshots) -> None:
    for recorded in log.read(after=state.position):
        state.apply(recorded)
        if recorded.position % SNAPSHOT_EVERY == 0 and (snapshot := state.snapshot()):
            snapshots.save(snapshot)


def _append_and_checkpoint(log: SqliteLog, batches: list[Sequence[Event]]) -> None:
    for batch in batches:
        log.append(batch)
    _checkpoint(log)


def _checkpoint(log: SqliteLog) -> None:
    connection = apsw.Connection(str(log.path))
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def _range_query(log: SqliteLog, place: int) -> float:
    """About 500 events of one processor and type, found by their time."""
    since = START + (place // 2_000 * 2_000 - 2_000) * 1_000_000
    query = Query(processors=("EWR",), types=("departed",), since=max(since, 0), until=since + 3_000 * 1_000_000)
    found = 0

    def work() -> None:
        nonlocal found
        found = sum(1 for _ in log.read(query))

    spent = cost_of(work).cpu
    return spent / max(found, 1)


def _fold_alone(path: str) -> None:
    with SqliteLog(path, read_only=True) as log:
        state = fold(Speeds(), (event for _, event in log.read()))
    assert state, "nothing was folded"
    print(_peak())


def _peak() -> float:
    """The most memory that this process ever held, in MB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS
    # Not `ru_maxrss`, which on Linux begins with what the process that started this one held.
    [kilobytes] = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) / 1e3


if __name__ == "__main__":
    _fold_alone(sys.argv[1])
