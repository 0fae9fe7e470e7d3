"""Two reports held against each other: what differs in the question, and in the answer beyond the noise."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from scipy import stats

from rarera_sim.experiments.statistics import paired_interval
from rarera_sim.reports import Compared
from rarera_sim.reports.page import SECTIONS
from rarera_sim.reports.stored import read_report
from rarera_sim.reports.tables import estimate

CONFIDENCE = 0.95
SAME, MORE, LESS, OPEN, UNKNOWN = "the same", "more", "less", "cannot be told apart", "cannot be told"


@dataclass(frozen=True)
class ReportDifference:
    """What is different between two reports, `a` and `b`.

    Parameters
    ----------
    about
        What makes a report and differs: what, in a, in b.
    scenario
        The difference of the two scenarios, line by line, as `diff -u` writes it; "" where they are equal.
    only_a, only_b
        Configurations that one of them has.
    measures
        One row per configuration that both have and measure: configuration, measure, a, b, difference (b - a), low,
        high, paired, verdict: what b has, beyond the noise. Where replications had the same seeds under the same
        scenario the intervals are of paired differences, else Welch's; where there is one replication, there are none.
    same_digest
        Whether both did exactly the same.
    """

    about: Sequence[tuple[str, str, str]]
    scenario: str
    only_a: Sequence[str]
    only_b: Sequence[str]
    measures: pl.DataFrame
    same_digest: bool

    @property
    def changed(self) -> pl.DataFrame:
        """The measures that differ beyond the noise."""
        return self.measures.filter(pl.col("verdict").is_in([MORE, LESS]))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        # Imported here, as the page's escaping is all that it takes.
        from markupsafe import Markup

        return Markup("<pre>{}</pre>").format(str(self))

    def _lines(self) -> Iterator[str]:
        if self.same_digest:
            yield "Both did the same: their digests are equal."
            return
        yield from (f"{what}: {a} -> {b}" for what, a, b in self.about)
        if self.scenario:
            yield "scenario:"
            yield from (f"  {line}" for line in self.scenario.splitlines())
        for which, names in (("a", self.only_a), ("b", self.only_b)):
            if names:
                yield f"only in {which}: {', '.join(names)}"
        changed = self.changed
        known = self.measures.filter(pl.col("low").is_not_null())
        if not self.measures.height:
            yield "No configuration is in both."
        elif not known.height and not self.measures.filter(pl.col("verdict") != SAME).height:
            yield "All measures are the same."
        elif not known.height:
            yield "One replication gives no intervals: nothing is called different."
        elif not changed.height:
            yield f"No measure differs beyond the noise ({known.height} compared)."
        for row in changed.iter_rows(named=True):
            gap = estimate(row["difference"], row["low"], row["high"], decimals=4)
            how = "paired" if row["paired"] else "not paired"
            yield (
                f"{row['configuration']}: {row['measure']} is {row['verdict']} in b, {row['a']:.6g} -> {row['b']:.6g}, "
                f"difference {gap} ({how})"
            )
        rest = known.height - changed.height
        if changed.height and rest:
            yield f"{rest} further measures cannot be told apart, or are the same."
        if changed.height:
            yield (
                f"Each interval holds with 95 % by itself: of {known.height} that do not differ, "
                f"{0.05 * known.height:.0f} would be called different."
            )


def diff_reports(a: Compared | str | Path, b: Compared | str | Path) -> ReportDifference:
    """Hold two comparisons, or the reports of two, against each other.

    Parameters
    ----------
    a, b
        Comparisons, or what `reports.stored.read_report` reads: reports, or folders that hold one.
    """
    one, other = (read_report(each) if isinstance(each, (str, Path)) else each for each in (a, b))
    before, after = (each.scenario.to_toml().splitlines() for each in (one, other))
    names = [list(dict.fromkeys(str(row["configuration"]) for row in each.rows)) for each in (one, other)]
    about = [
        (what, str(getattr(one, what)), str(getattr(other, what)))
        for what in ("seed", "replications", "version", "events", "trace_origin", "interrupted")
        if getattr(one, what) != getattr(other, what)
    ]
    both = [name for name in names[0] if name in names[1]]
    return ReportDifference(
        about,
        "\n".join(difflib.unified_diff(before, after, "a", "b", lineterm="", n=1)),
        [name for name in names[0] if name not in names[1]],
        [name for name in names[1] if name not in names[0]],
        _measures(one.measures, other.measures, both, same_load=_load_of(one) == _load_of(other)),
        one.digest == other.digest,
    )


def _load_of(comparison: Compared) -> tuple[str, int, str]:
    """What says, as far as a report knows, whether two runs of one seed met the same weather."""
    return comparison.trace_origin, comparison.events, comparison.scenario.name


def _measures(a: pl.DataFrame, b: pl.DataFrame, both: Sequence[str], *, same_load: bool) -> pl.DataFrame:
    rows: list[tuple[str, str, float, float, float, float | None, float | None, bool, str]] = []
    for name in both:
        ours, theirs = (frame.filter(pl.col("configuration") == name) for frame in (a, b))
        common = ours.join(theirs, on="seed", how="inner", suffix="_b")
        paired = same_load and common.height == ours.height == theirs.height
        for measure in _COMPARED:
            if measure not in ours.columns or measure not in theirs.columns:
                continue
            left, right = (
                (common[measure].to_list(), common[f"{measure}_b"].to_list())
                if paired
                else (ours[measure].to_list(), theirs[measure].to_list())
            )
            if None in left or None in right or not left or not right:
                continue
            means = math.fsum(left) / len(left), math.fsum(right) / len(right)
            low, high = _interval(left, right, paired=paired)
            verdict = SAME if sorted(left) == sorted(right) else _verdict(low, high)
            rows.append((name, measure, *means, means[1] - means[0], low, high, paired, verdict))
    schema = {
        "configuration": pl.String,
        "measure": pl.String,
        **dict.fromkeys(("a", "b", "difference", "low", "high"), pl.Float64),
        "paired": pl.Boolean,
        "verdict": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


_COMPARED = tuple(
    column.measure
    for section in SECTIONS
    for column in section.columns
    if column.measure not in ("slo_met", "state_correct")
)


def _interval(a: Sequence[float], b: Sequence[float], *, paired: bool) -> tuple[float | None, float | None]:
    """Of b - a, with 95 %."""
    if min(len(a), len(b)) < 2:
        return None, None
    if paired:
        return paired_interval(b, a, confidence=CONFIDENCE)[1:]
    if len({*a}) == len({*b}) == 1:
        return b[0] - a[0], b[0] - a[0]
    ends = stats.ttest_ind(b, a, equal_var=False).confidence_interval(CONFIDENCE)
    return float(ends.low), float(ends.high)


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return MORE if low > 0.0 else LESS if high < 0.0 else OPEN
