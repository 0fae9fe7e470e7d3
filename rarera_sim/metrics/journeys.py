"""The way of every event, folded from steps: when it reached each stage first, and how often each stage was met.

A frame of journeys has one row per event, in the order of creation:

| column | is |
| --- | --- |
| `event_id` | UID, 32 bytes; null where events have no content |
| `created_s`, `received_s`, `recorded_s`, `started_s`, `finished_s` | first time at the stage, seconds since the run began; null if never |
| `response_s` | `finished_s - received_s`: from receipt until the processor is done |
| `end_to_end_s` | `finished_s - created_s`: with the network, and with what it took to make a loss good |
| one per stage, as in `COUNTS` | how often the event was there |
"""  # noqa: E501 a table

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.core.event import EventId
from rarera_sim.core.trace import Stage, Step

FIRST = (Stage.CREATED, Stage.RECEIVED, Stage.RECORDED, Stage.STARTED, Stage.FINISHED)
COUNTS = tuple(stage for name, stage in vars(Stage).items() if name.isupper())

_PLACE = {stage: place for place, stage in enumerate(FIRST)}
_GROWTH = 4096


def column_of(stage: str) -> str:
    """The column that counts a stage.

    >>> column_of(Stage.DETECTED_GAP)
    'detected_gap'
    """
    return stage.replace(" ", "_")


class Chunk(Protocol):
    """Services of events without content, as the model tells them (see `simulation.direct.Served`)."""

    @property
    def numbers(self) -> NDArray[np.int64]: ...
    @property
    def received(self) -> NDArray[np.float64]: ...
    @property
    def started(self) -> NDArray[np.float64]: ...
    @property
    def finished(self) -> NDArray[np.float64]: ...


class Journeys:
    """Keeps the way of every event: 40 bytes each where nothing goes wrong, and its UID.

    Parameters
    ----------
    spill
        A folder for Parquet files, to which journeys are written instead of being kept: memory then does not grow with
        their number. `scan` reads them.
    spill_count
        Events in a file, and newest events that are kept besides.

    Examples
    --------
    >>> journeys = Journeys()
    >>> for time, stage in ((0.0, Stage.CREATED), (0.5, Stage.RECEIVED), (2.0, Stage.FINISHED)):
    ...     journeys(Step(time, stage, b"id", "here"))
    >>> journeys.frame().select("response_s", "end_to_end_s", "finished").row(0)
    (1.5, 2.0, 1)
    """

    def __init__(self, spill: Path | None = None, spill_count: int = 500_000) -> None:
        self._base = 0  # events before this one are in files
        self._late: dict[str, list[tuple[int, float]]] = {}  # what happened to them since, by stage
        self._spill_count = spill_count
        self._first = [array("d") for _ in FIRST]
        self._room = 0
        self._count = 0
        # Repeated visits to the stages that come once as a rule, and all visits to the others; by number.
        self._more: dict[str, dict[int, int]] = {stage: {} for stage in COUNTS}
        self._numbers: dict[EventId, int] = {}
        self._chunks: list[Chunk] = []
        self._kept: list[Chunk] = []
        self._kept_count = 0
        self._spill = spill
        self._files = 0

    def __len__(self) -> int:
        return self._count

    def __call__(self, step: Step) -> None:
        """A step of an event that is known by its UID."""
        time, stage, event_id, _ = step
        number = self._numbers.get(event_id)
        if number is None:
            number = self._numbers[event_id] = len(self._numbers)
        self.note(stage, number, time)

    def note(self, stage: str, number: int, time: float) -> None:
        """An event, by its number in the order of creation, is at a stage."""
        if number >= self._count:
            self._grow(number + 1)
        place = number - self._base
        if place < 0:
            self._late.setdefault(stage, []).append((number, time))
            return
        column = _PLACE.get(stage)
        if column is not None:
            first = self._first[column]
            if first[place] != first[place]:  # NaN: not yet
                first[place] = time
                return
        more = self._more[stage]
        more[number] = more.get(number, 0) + 1

    def notes(self, stage: str, numbers: Sequence[int], times: Sequence[float]) -> None:
        """Events have been at a stage, each at its time: `note` for many."""
        column = _PLACE.get(stage)
        if column is None or self._spill is not None:
            for number, time in zip(numbers, times, strict=True):
                self.note(stage, number, time)
            return
        if isinstance(numbers, range) and numbers and numbers.start == self._count and numbers.step == 1:
            # As events are made: nobody has heard of them before.
            self._grow(numbers.stop)
            self._first[column][numbers.start : numbers.stop] = array("d", times)
            return
        if (largest := max(numbers, default=-1)) >= self._count:
            self._grow(largest + 1)
        first, more = self._first[column], self._more[stage]
        for number, time in zip(numbers, times, strict=True):
            if first[number] != first[number]:  # NaN: not yet
                first[number] = time
            else:
                more[number] = more.get(number, 0) + 1

    def serve(self, chunk: Chunk) -> None:
        """Services of events without content, in any order."""
        if not self._spill:
            self._chunks.append(chunk)
            return
        # Small files are slow to read, so that some are gathered.
        self._kept.append(chunk)
        self._kept_count += len(chunk.numbers)
        if self._kept_count >= self._spill_count:
            self._write()

    def _write(self) -> None:
        assert self._spill is not None, "nowhere to write"
        kept, self._kept, self._kept_count = self._kept, [], 0
        if kept:
            table = _table_of(kept)
            table.write_parquet(self._spill / f"journeys-{self._files:06d}.parquet", compression="lz4")
            self._files += 1

    def scan(self) -> pl.LazyFrame:
        """What was spilled, whatever is not yet being spilled first.

        Of events without content `number`, `received_s`, `started_s`, `finished_s`, `response_s`, in order of finish;
        else the columns of `frame` with `number` instead of the UID, in order of creation.
        """
        assert self._spill is not None, "nothing was spilled"
        if self._kept or self._files:
            self._write()
            return pl.scan_parquet(self._spill / "journeys-*.parquet")
        while self._base < self._count:
            self._write_oldest(min(self._spill_count, self._count - self._base))
        self._mend()
        return pl.scan_parquet(self._spill / "events-*.parquet")

    def _write_oldest(self, count: int) -> None:
        assert self._spill is not None, "nowhere to write"
        firsts = [np.frombuffer(first)[:count].copy() for first in self._first]
        more = {}
        for stage, counts in self._more.items():
            mine = [number for number in counts if number < self._base + count]
            more[stage] = {number - self._base: counts.pop(number) for number in mine}
        table = _frame_of(firsts, more, {"number": pl.Series(np.arange(self._base, self._base + count))})
        table.write_parquet(self._spill / f"events-{self._base:012d}.parquet", compression="lz4")
        for first in self._first:
            del first[:count]
        self._base += count
        self._room -= count

    def _mend(self) -> None:
        """Add what happened to events whose journeys had been written."""
        assert self._spill is not None, "nowhere to write"
        late, self._late = self._late, {}
        if not late:
            return
        for path in sorted(self._spill.glob("events-*.parquet")):
            table = pl.read_parquet(path)
            begin, end = int(table["number"][0]), int(table["number"][-1])
            changed = False
            firsts = [table[f"{column_of(stage)}_s"].to_numpy().copy() for stage in FIRST]
            counts = {stage: table[column_of(stage)].to_numpy().copy() for stage in COUNTS}
            for stage, notes in late.items():
                for number, time in notes:
                    if begin <= number <= end:
                        changed = True
                        counts[stage][number - begin] += 1
                        column = _PLACE.get(stage)
                        if column is not None and np.isnan(firsts[column][number - begin]):
                            firsts[column][number - begin] = time
            if changed:
                _frame_of(firsts, counts, {"number": table["number"]}).write_parquet(path, compression="lz4")

    def _grow(self, count: int) -> None:
        self._count = count
        if self._spill is not None and count - self._base >= 2 * self._spill_count:
            self._write_oldest(self._spill_count)
        if count - self._base > self._room:
            fresh = array("d", [nan]) * (max(_GROWTH, (count - self._base) // 4) + count - self._base - self._room)
            for first in self._first:
                first.extend(fresh)
            self._room = len(self._first[0])

    def frame(self, ids: Sequence[EventId] | None = None, arrivals: NDArray[np.float64] | None = None) -> pl.DataFrame:
        """All journeys so far; columns in the module's docstring.

        Parameters
        ----------
        ids
            UID of each event by its number, where they were noted by number.
        arrivals
            Arrival times of events without content: they are created, received and recorded then.
        """
        assert not self._base, "what was spilled is read by `scan`"
        count = self._count if arrivals is None else len(arrivals)
        if ids is None and arrivals is None:
            ids = list(self._numbers)
        if count > self._count:
            self._grow(count)
        firsts = [np.frombuffer(first)[:count].copy() for first in self._first]
        if arrivals is not None:
            for stage in (Stage.CREATED, Stage.RECEIVED, Stage.RECORDED):
                firsts[_PLACE[stage]][:] = arrivals
            for chunk in self._chunks:
                firsts[_PLACE[Stage.STARTED]][chunk.numbers] = chunk.started
                firsts[_PLACE[Stage.FINISHED]][chunk.numbers] = chunk.finished
        known = pl.Series(ids if ids is not None else [None] * count, dtype=pl.Binary)
        return _frame_of(firsts, self._more, {"event_id": known})


def _frame_of(
    firsts: Sequence[NDArray[np.float64]], more: Mapping[str, Any], table: dict[str, pl.Series]
) -> pl.DataFrame:
    """A frame of journeys: when each stage was reached first, and how often besides, by place, or how often in all."""
    for stage, place in _PLACE.items():
        table[f"{column_of(stage)}_s"] = pl.Series(firsts[place], nan_to_null=True)
    for stage in COUNTS:
        visits = more[stage]
        if isinstance(visits, dict):
            counts = np.zeros(len(firsts[0]), dtype=np.int64)
            if visits:
                counts[np.fromiter(visits, np.int64, len(visits))] = np.fromiter(visits.values(), np.int64, len(visits))
            if stage in _PLACE:
                counts += ~np.isnan(firsts[_PLACE[stage]])
            visits = counts
        table[column_of(stage)] = pl.Series(visits)
    return pl.DataFrame(table).with_columns(
        response_s=pl.col("finished_s") - pl.col("received_s"),
        end_to_end_s=pl.col("finished_s") - pl.col("created_s"),
    )


def _table_of(chunks: Iterable[Chunk]) -> pl.DataFrame:
    chunks = list(chunks)
    table = {
        "number": np.concatenate([chunk.numbers for chunk in chunks]),
        "received_s": np.concatenate([chunk.received for chunk in chunks]),
        "started_s": np.concatenate([chunk.started for chunk in chunks]),
        "finished_s": np.concatenate([chunk.finished for chunk in chunks]),
    }
    return pl.DataFrame(table).with_columns(response_s=pl.col("finished_s") - pl.col("received_s"))


def between(journeys: pl.DataFrame, since: float, until: float) -> pl.DataFrame:
    """The events created in [since, until), seconds."""
    return journeys.filter(pl.col("created_s").is_between(since, until, closed="left"))


def quantiles(times: pl.Series, levels: tuple[float, ...]) -> list[float | None]:
    """Quantiles of the times that are not null, interpolated; None where there is none.

    >>> quantiles(pl.Series([1.0, None, 3.0]), (0.5,))
    [2.0]
    """
    return [times.quantile(level, "linear") for level in levels]
