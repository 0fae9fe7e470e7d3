"""What each switch for a faster or smaller log brings.

The paper's measures for response time, as far as they lie in how events are stored: batching and compression of frames,
events held in memory before they go to the disk, hot and cold tiers. Each is an option of a log's URL, and is measured
here with and without, over flights of about 190 bytes. "ratio" is the cost without divided by the cost with it.

What they cost beside: compression, CPU, and a block that is read for one event. `buffer_bytes`, durability: what an
append acknowledged is lost if the process ends before a flush. `durability=normal`: a power cut may take the newest.
Batches: the first event of one waits for the last. Tiers: a move, which the append that begins a new warm log waits
for, and an index over all events in memory. Where time goes by the clock, the disk is that of the temporary folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

from rarera_sim.adapters.codecs import Codec, Plain, Zstd, blocks, pack, train, unpack
from rarera_sim.adapters.urls import open_log
from rarera_sim.benchmarks.measure import Cost, Progress, Row, absent, against, cost_of, in_rounds
from rarera_sim.benchmarks.workload import flights
from rarera_sim.core.event import Event, Frame

TITLE = "The paper's measures, with and without"
ABOUT = __doc__

_SMALL = "segment_bytes=250000"
_ALONE = "each frame alone, plain"


class Size(NamedTuple):
    """How much is measured."""

    events: int
    rounds: int


QUICK = Size(2_000, 1)
FULL = Size(20_000, 3)
LONG = Size(100_000, 5)


def run(*, quick: bool, long: bool, progress: Progress) -> list[Row]:
    size = QUICK if quick else LONG if long else FULL
    parts: list[Callable[[list[Event], int], list[Row]]] = [_frames, _batches, _buffers, _segments, _tiers]
    if find_spec("zstandard") is None:
        return [absent(TITLE, "", "the package zstandard is missing: install rarera-sim[zstd]")]
    events = list(flights(size.events))
    for event in events:
        _ = event.frame
    rows = []
    for done, part in enumerate(parts):
        progress(done, len(parts))
        rows += part(events, size.rounds)
    progress(len(parts), len(parts))
    return rows


def _frames(events: list[Event], rounds: int) -> list[Row]:
    """Frames on their way: so many in a block, and how it is compressed."""
    frames = [event.frame for event in events]
    plain = sum(map(len, frames)) / len(frames)
    rows = [Row(f"frames: {_ALONE}", plain, "bytes/event")]
    for count in (1, 16, 64, 1_024):
        packed = blocks(frames, count)
        dictionary = train(packed[:: max(1, len(packed) // 4_000)])
        for name, made in (("plain", Plain()), ("zstd", Zstd()), ("zstd and dictionary", Zstd(dictionary))):
            case = f"frames: {count:,} in a block, {name}"
            small = [made.compress(block) for block in packed]
            size = (sum(map(len, small)) + len(made.dictionary)) / len(frames)
            rows.append(_smaller(case, size, _ALONE, plain))
            if count not in (1, 64):
                continue  # time changes little between these
            there = in_rounds({"": partial(_cost, partial(_pack_all, frames, count, made))}, rounds)[""]
            back = in_rounds({"": partial(_cost, partial(_unpack_all, small, packed, made))}, rounds)[""]
            for what, costs in (("making it", there), ("the way back", back)):
                rows.append(Row(f"{case}: {what}", _per_event(costs, len(frames)), "us/event"))
    return rows


def _pack_all(frames: Sequence[Frame], count: int, made: Codec) -> None:
    for at in range(0, len(frames), count):
        made.compress(pack(frames[at : at + count]))


def _unpack_all(small: list[bytes], packed: list[bytes], made: Codec) -> None:
    for block, whole in zip(small, packed, strict=True):
        unpack(made.decompress(block, len(whole)))


def _batches(events: list[Event], rounds: int) -> list[Row]:
    """How many events one append takes: each is forced to the disk once."""
    some = events[: len(events) // 20]
    actions = {f"{count:,} at a time": partial(_appending, "files", some, count) for count in (1, 10, 100, 1_000)}
    return _by_the_clock("files: append, ", actions, "1 at a time", len(some), rounds)


def _buffers(events: list[Event], rounds: int) -> list[Row]:
    """Where an acknowledged event is: on the disk, with the operating system, in the process."""
    some = events[: len(events) // 20]
    switches = ("durability=full", "durability=normal", "buffer_bytes=65536", "durability=normal&buffer_bytes=65536")
    actions = {switch: partial(_appending, f"files?{switch}", some, 1) for switch in switches}
    return _by_the_clock("files: append, 1 at a time, ", actions, switches[0], len(some), rounds)


def _by_the_clock(
    case: str, actions: Mapping[str, Callable[[], Cost]], base: str, events: int, rounds: int
) -> list[Row]:
    costs = in_rounds(actions, rounds)
    rows = []
    for name, spent in costs.items():
        peer = "" if name == base else base
        for clock in ("wall", "cpu"):
            row = against(case + name, spent, peer, costs[base], events=events, aim=None, clock=clock)
            rows.append(row if peer else row._replace(ratio=None))
    return rows


def _segments(events: list[Event], rounds: int) -> list[Row]:
    """Closed segments: plain, and sealed with large and small blocks, with a dictionary and without."""
    switches = [
        "compression=none",
        "compression=zstd",
        "compression=zstd&dictionary_bytes=0",
        *(f"compression=zstd&block_events={count}" for count in (1, 16, 1_024)),
        "compression=zstd&level=12",
    ]
    # So small that most of them are closed.
    return _at_rest([f"files?{switch}&{_SMALL}" for switch in switches], events, rounds)


def _tiers(events: list[Event], rounds: int) -> list[Row]:
    """All hot, all warm, all but the newest cold."""
    count, tenth = len(events), len(events) // 10
    cold = f"hot=0&warm={tenth}"
    switches = (f"hot={count}&warm={count}", f"hot=0&warm={count}", cold, f"{cold}&cold=parquet")
    return _at_rest([f"tiered?{switch}" for switch in switches], events, rounds)


def _at_rest(urls: list[str], events: list[Event], rounds: int) -> list[Row]:
    """Bytes on the disk, and what it takes to read all events, and one here and there."""
    rows = []
    base: dict[str, float] = {}
    random = Random(1)
    wanted = [random.choice(events).id for _ in range(300)]
    for url in urls:
        with _folder() as folder:
            appended = _fill(folder, url, events, 100)
            size = _bytes_in(folder) / len(events)
            with _opened(folder, url) as log:
                read = in_rounds({"": partial(_cost, partial(_read_all, log))}, rounds)[""]
                found = in_rounds({"": partial(_cost, partial(_find_all, log, wanted))}, rounds)[""]
        figures = (
            ("on the disk", size, "bytes/event"),
            ("append, 100 at a time", appended.cpu / len(events) * 1e6, "us/event"),
            ("read all", _per_event(read, len(events)), "us/event"),
            ("find one by its UID", _per_event(found, len(wanted)), "us/event"),
        )
        for what, value, unit in figures:
            row = Row(f"{_short(url)}: {what}", value, unit)
            without = base.setdefault(what, value)
            rows.append(row if url == urls[0] else row._replace(against=_short(urls[0]), ratio=without / value))
    return rows


def _short(url: str) -> str:
    return url.removesuffix(f"&{_SMALL}")


def _smaller(case: str, value: float, peer: str, without: float) -> Row:
    return Row(case, value, "bytes/event", peer, without / value)


def _cost(work: Callable[[], object]) -> Cost:
    return cost_of(work)


def _per_event(costs: list[Cost], events: int) -> float:
    return median(cost.cpu for cost in costs) / events * 1e6


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _opened(folder: Path, url: str) -> Any:
    scheme, _, switch = url.partition("?")
    return open_log(f"{scheme}:///{folder}/log?{switch}")


def _appending(url: str, events: list[Event], batch: int) -> Cost:
    with _folder() as folder:
        return _fill(folder, url, events, batch)


def _fill(folder: Path, url: str, events: list[Event], batch: int) -> Cost:
    log = _opened(folder, url)

    def work() -> None:
        for at in range(0, len(events), batch):
            log.append(events[at : at + batch])
        log.close()

    return cost_of(work)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read_all(log: Any) -> None:
    for _ in log.read():
        pass


def _find_all(log: Any, wanted: list[bytes]) -> None:
    for event_id in wanted:
        assert log.find(event_id), "an event that was appended is there"


def _print_all() -> None:
    for row in run(quick=False, long=False, progress=lambda *_: None):
        ratio = "" if row.ratio is None else f"{row.ratio:8.2f} x {row.against}"
        print(f"{row.case:<75} {row.value or 0:10.2f} {row.unit:<24}{ratio}")


if __name__ == "__main__":
    _print_all()
