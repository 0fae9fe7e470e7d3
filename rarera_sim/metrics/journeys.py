"""The way of every event, folded from steps: when it reached each stage first, and how often each stage was met.

A frame of journeys has one row per event, in the order of creation:

| column | is |
| --- | --- |
| `event_id` | UID, 32 bytes |
| `created_s`, `received_s`, `recorded_s`, `started_s`, `finished_s` | first time at the stage, seconds since the run began; null if never |
| `response_s` | `finished_s - received_s`: from receipt until the processor is done |
| `end_to_end_s` | `finished_s - created_s`: with the network, and with what it took to make a loss good |
| one per stage, as in `COUNTS` | how often the event was there |
"""  # noqa: E501 a table

from __future__ import annotations

import polars as pl

from rarera_sim.core.event import EventId
from rarera_sim.core.trace import Stage, Step

FIRST = (Stage.CREATED, Stage.RECEIVED, Stage.RECORDED, Stage.STARTED, Stage.FINISHED)
COUNTS = tuple(stage for name, stage in vars(Stage).items() if name.isupper())

_PLACE = {stage: place for place, stage in enumerate(FIRST)}
_COUNT = {stage: len(FIRST) + place for place, stage in enumerate(COUNTS)}


def column_of(stage: str) -> str:
    """The column that counts a stage.

    >>> column_of(Stage.DETECTED_GAP)
    'detected_gap'
    """
    return stage.replace(" ", "_")


class Journeys:
    """A tracer that keeps the way of every event: some 0.4 kB each.

    Examples
    --------
    >>> journeys = Journeys()
    >>> for time, stage in ((0.0, Stage.CREATED), (0.5, Stage.RECEIVED), (2.0, Stage.FINISHED)):
    ...     journeys(Step(time, stage, b"id", "here"))
    >>> journeys.frame().select("response_s", "end_to_end_s", "finished").row(0)
    (1.5, 2.0, 1)
    """

    def __init__(self) -> None:
        self._rows: dict[EventId, list[float | int | None]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, step: Step) -> None:
        time, stage, event_id, _ = step
        row = self._rows.get(event_id)
        if row is None:
            row = self._rows[event_id] = [None] * len(FIRST) + [0] * len(COUNTS)
        place = _PLACE.get(stage)
        if place is not None and row[place] is None:
            row[place] = time
        row[_COUNT[stage]] += 1  # type: ignore[operator]

    def frame(self) -> pl.DataFrame:
        """All journeys so far; columns in the module's docstring."""
        columns = list(zip(*self._rows.values(), strict=True)) or [()] * (len(FIRST) + len(COUNTS))
        table: dict[str, pl.Series] = {"event_id": pl.Series(list(self._rows), dtype=pl.Binary)}
        for stage in FIRST:
            table[f"{column_of(stage)}_s"] = pl.Series(columns[_PLACE[stage]], dtype=pl.Float64)
        for stage in COUNTS:
            table[column_of(stage)] = pl.Series(columns[_COUNT[stage]], dtype=pl.Int64)
        return pl.DataFrame(table).with_columns(
            response_s=pl.col("finished_s") - pl.col("received_s"),
            end_to_end_s=pl.col("finished_s") - pl.col("created_s"),
        )


def between(journeys: pl.DataFrame, since: float, until: float) -> pl.DataFrame:
    """The events created in [since, until), seconds."""
    return journeys.filter(pl.col("created_s").is_between(since, until, closed="left"))


def quantiles(times: pl.Series, levels: tuple[float, ...]) -> list[float | None]:
    """Quantiles of the times that are not null, interpolated; None where there is none.

    >>> quantiles(pl.Series([1.0, None, 3.0]), (0.5,))
    [2.0]
    """
    return [times.quantile(level, "linear") for level in levels]
