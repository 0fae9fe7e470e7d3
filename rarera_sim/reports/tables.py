"""Tables of results: how a number is written with its uncertainty, which columns there are, what each means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from rarera_sim.reports import Compared, Row

UNKNOWN = "n/a"


def estimate(
    mean: float | None, low: float | None, high: float | None, *, scale: float = 1.0, decimals: int = 2
) -> str:
    """A mean with its interval, in as many digits as the interval makes sense of.

    Parameters
    ----------
    mean, low, high
        The mean and the ends of its interval; None or NaN where there is none.
    scale
        Factor to the unit that is written, e.g. 100 for a share in per cent.
    decimals
        Most decimals written.

    Examples
    --------
    >>> estimate(3.2149, 3.163, 3.267)
    '3.21 ±0.05'
    >>> estimate(120.4, 80.2, 190.9)
    '120 [80, 191]'
    >>> estimate(0.99431, 0.99418, 0.99444, scale=100)
    '99.43 ±0.01'
    >>> estimate(18900.0, 18900.0, 18900.0), estimate(12.3456, None, None), estimate(None, None, None)
    ('18,900', '12.35', 'n/a')
    """
    if mean is None or not math.isfinite(mean):
        return UNKNOWN
    mean *= scale
    # Five digits at most; a count of thousands needs no tenths, while 0.4 lost on average must not become none.
    decimals = max(0, min(decimals, 4 - _magnitude(mean)))
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return _number(mean, 0 if mean % 1 == 0 else decimals)
    low, high = low * scale, high * scale
    width = high - low
    if width <= 1e-12 * abs(mean):
        return _number(mean, 0 if mean % 1 == 0 else decimals)
    # The half-width in two digits where it begins with 1 or 2, which one digit would change by up to a third.
    decimals = max(0, min(decimals, -_magnitude(width / 6)))
    if abs((high - mean) - (mean - low)) <= 0.02 * width:
        smallest = 10.0**-decimals
        half = f"±{_number(width / 2, decimals)}" if width / 2 >= smallest / 2 else f"±<{_number(smallest, decimals)}"
        return f"{_number(mean, decimals)} {half}"
    return f"{_number(mean, decimals)} [{_number(low, decimals)}, {_number(high, decimals)}]"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _number(value: float, decimals: int) -> str:
    text = f"{value:,.{max(0, decimals)}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


class Cell(NamedTuple):
    """What a table shows at one place; the tone ("good", "bad", "open", "") only adds colour to what the words say."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """One measure in a table.

    Parameters
    ----------
    measure
        Its key in a row.
    heading
        With the unit in brackets.
    meaning
        For the glossary: one sentence.
    scale, decimals
        See `estimate`.
    """

    measure: str
    heading: str
    meaning: str
    scale: float = 1.0
    decimals: int = 2

    def cell(self, row: Row, replications: int) -> Cell:
        """What this column shows of one configuration."""
        if self.measure == "slo_met":
            return {True: Cell("yes", "good"), False: Cell("no", "bad")}.get(row["slo_met"], Cell("unclear", "open"))
        if self.measure == "state_correct":
            if row["state_correct"] is None:
                return Cell(UNKNOWN)
            if row["state_correct"]:
                return Cell("yes", "good")
            return Cell("WRONG" if replications == 1 else f"WRONG in {row['state_wrong']} of {replications}", "bad")
        return Cell(written(row, self.measure, scale=self.scale, decimals=self.decimals))


def written(row: Row, measure: str, *, scale: float = 1.0, decimals: int = 2) -> str:
    """A measure of a row with its interval.

    >>> written({"cost": 12.5, "cost_low": 12.3, "cost_high": 12.7}, "cost")
    '12.50 ±0.20'
    """
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    return estimate(row[measure], low, high, scale=scale, decimals=decimals)


@dataclass(frozen=True)
class Section:
    """Columns that belong together."""

    title: str
    columns: Sequence[Column]


QUALITY = Section(
    "Quality of service",
    (
        Column("p50_s", "p50 [s]", "Response time that half of the finished events kept."),
        Column("p95_s", "p95 [s]", "Response time that 95 % of the finished events kept."),
        Column("p99_s", "p99 [s]", "Response time that 99 % of the finished events kept."),
        Column(
            "on_time",
            "on time [%]",
            "Share of all events sent that finished within the bound of the objective; lost events count against it.",
            100.0,
            3,
        ),
        Column(
            "availability",
            "available [%]",
            "Share of the time with at least one processor running.",
            100.0,
            3,
        ),
        Column("cost", "cost [USD]", "Price of all machines over the measured window, start-up included.", decimals=4),
        Column(
            "slo_met",
            "SLO met",
            "Whether the share of events on time reaches the objective (SLO: service level objective); unclear where "
            "its interval lies on both sides of the objective.",
        ),
    ),
)
INTEGRITY = Section(
    "Integrity of the events",
    (
        Column("sent", "sent", "Events that the sources made in the measured window.", decimals=1),
        Column("recorded", "recorded", "Events that the log stored, or the queue accepted.", decimals=1),
        Column("lost", "lost", "Events that never reached the state.", decimals=1),
        Column("repeated", "repeated", "Events applied to the state more than once.", decimals=1),
        Column("late", "late", "Events that finished, but beyond the bound of the objective.", decimals=1),
        Column("damaged", "damaged", "Events whose damaged content was applied to the state.", decimals=1),
        Column(
            "detected",
            "detected",
            "Faults that the system noticed: damage, gaps, repeats, overdue acknowledgements, failed processors.",
            decimals=1,
        ),
        Column(
            "compensated",
            "compensated",
            "Faults noticed and made good: events resent and recorded, repeats refused, work delivered again.",
            decimals=1,
        ),
        Column(
            "state_correct",
            "state correct",
            "Whether the state rebuilt at the end equals the intended one, in every replication.",
        ),
    ),
)
EFFORT = Section(
    "Resources, and what the network did",
    (
        Column("replicas_mean", "replicas", "Processors running, average over time."),
        Column("launches", "launches", "Processors started.", decimals=1),
        Column(
            "processor_availability",
            "processor up [%]",
            "Running time of the processors over running time plus failed time.",
            100.0,
            3,
        ),
        Column(
            "slo_time",
            "periods kept [%]",
            "Share of the control periods whose events kept the objective.",
            100.0,
        ),
        Column(
            "end_to_end_p99_s",
            "end-to-end p99 [s]",
            "Time from an event's creation to its finish that 99 % of the finished events kept; the network is in it.",
        ),
        Column("frames_lost", "frames lost", "Frames that the network lost.", decimals=1),
        Column("frames_repeated", "frames repeated", "Frames that the network delivered twice.", decimals=1),
        Column("frames_damaged", "frames damaged", "Frames in which the network flipped a bit.", decimals=1),
    ),
)


def results_table(comparison: Compared) -> RenderableType:
    """The results for a terminal: tables that use the width they are given, from 80 columns on."""
    return _Results(comparison)


class _Results:
    """Split by the width of the console, which is known only when it prints."""

    def __init__(self, comparison: Compared) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for section in (QUALITY, INTEGRITY):
            yield from _tables(self.comparison, section, options.max_width)
        yield Text(footnote(self.comparison), style="dim")


def footnote(comparison: Compared) -> str:
    """How to read the tables: the objective and the intervals, or why there are none."""
    objective = comparison.scenario.objective
    promise = f"SLO: {100 * objective.quantile:g} % of the events sent finish within {objective.bound:g} s of receipt. "
    if comparison.replications == 1:
        return promise + "One replication: no intervals."
    return promise + f"Means of {comparison.replications} replications with 95 % intervals."


def _tables(comparison: Compared, section: Section, width: int) -> Iterator[Table]:
    """A section in as few tables as hold it: a number is never cut off, and no line is folded."""
    names = [str(row["configuration"]) for row in comparison.rows]
    columns = [
        (column.heading, [column.cell(row, comparison.replications) for row in comparison.rows])
        for column in section.columns
    ]
    room = width - 2 - max(map(cell_len, ["configuration", *names]))
    # Two columns of the terminal between each and the next, and one at either end.
    widths = [2 + max(map(cell_len, [heading, *(cell.text for cell in cells)])) for heading, cells in columns]
    for count in range(1, len(columns) + 1):
        size = math.ceil(len(columns) / count)
        starts = range(0, len(columns), size)
        if all(sum(widths[start : start + size]) <= room for start in starts):
            break
    for start in starts:
        title = section.title if start == 0 else f"{section.title}, continued"
        yield _table(title, names, columns[start : start + size])


def _table(title: str, names: Sequence[str], columns: Sequence[tuple[str, Sequence[Cell]]]) -> Table:
    # Units stand in square brackets, and names come from a scenario file: as Text neither is taken for markup.
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("configuration")
    for heading, _ in columns:
        table.add_column(Text(heading), justify="right")
    tones = {"good": "green", "bad": "bold red", "open": "yellow", "": ""}
    for name, *cells in zip(names, *(cells for _, cells in columns), strict=True):
        table.add_row(Text(name), *(Text(cell.text, style=tones[cell.tone]) for cell in cells))
    return table
