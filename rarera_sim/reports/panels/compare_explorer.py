"""`compare_explorer`: the trade of cost against time, the runs behind a point, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import polars as pl

from rarera_sim.core.errors import BadInput
from rarera_sim.reports import Compared
from rarera_sim.reports.figures import INK, TEMPLATE, VERMILION, looks
from rarera_sim.reports.panels.live import keep, widget_of
from rarera_sim.reports.panels.look import OWN_WIDTH, Panel, escaped, status, table
from rarera_sim.reports.tables import estimate, written

# measure -> (what it is called, factor to the unit, whether less is better)
AGAINST: dict[str, tuple[str, float, bool]] = {
    "p99_s": ("p99 of the response time [s]", 1.0, True),
    "on_time": ("on time [%]", 100.0, False),
    "slo_time": ("periods kept [%]", 100.0, False),
    "lost": ("events lost", 1.0, True),
}
DIFFERENCES = {"cost": ("cost [USD]", 1.0), "p99_s": ("p99 [s]", 1.0), "on_time": ("on time [%]", 100.0)}

# Of the table of single runs: measure -> heading.
COLUMNS = {
    "configuration": "configuration",
    "replication": "replication",
    "seed": "seed",
    "cost": "cost [USD]",
    "p99_s": "p99 [s]",
    "on_time": "on time [%]",
    "lost": "lost",
    "digest": "digest",
}


def compare_explorer(comparison: Compared) -> CompareExplorer:
    """A panel that takes a comparison apart.

    The figure shows what each configuration costs against how well it does, its runs as small points, and the Pareto
    front: those that no other beats in both. Whatever is brushed with the pointer, or chosen in the list, is told about
    below it: its runs, one by one, and its paired differences from one that is chosen to compare with.

    Parameters
    ----------
    comparison
        As `compare` gives it.
    """
    if not comparison.rows:
        raise BadInput("the comparison is empty: nothing was run")
    return CompareExplorer(comparison)


def pareto(costs: Sequence[float], others: Sequence[float]) -> list[int]:
    """Places of the points that no other beats: none costs as little and has as little of the other, one of it less.

    >>> pareto([1.0, 2.0, 3.0], [9.0, 5.0, 6.0])
    [0, 1]
    """
    points = list(zip(costs, others, strict=True))
    return sorted(
        (
            place
            for place, (cost, other) in enumerate(points)
            if not any(c <= cost and o <= other and (c, o) != (cost, other) for c, o in points)
        ),
        key=lambda place: points[place],
    )


class CompareExplorer(Panel):
    """See `compare_explorer`. `chosen` is the list of configurations, `measure` and `against` what is compared."""

    def __init__(self, comparison: Compared) -> None:
        self.comparison = comparison
        self._names = [str(row["configuration"]) for row in comparison.rows]
        self._looks = looks(self._names)
        possible = [name for name in AGAINST if all(row.get(name) is not None for row in comparison.rows)]
        self.measure = widgets.Dropdown(
            options=[(AGAINST[name][0], name) for name in possible],
            description="cost against",
            style={"description_width": "auto"},
            layout=OWN_WIDTH,
        )
        self.chosen = widgets.SelectMultiple(
            options=self._names,
            value=tuple(self._names[:1]),
            description="chosen",
            rows=min(12, len(self._names)),
            layout={"width": "420px"},
        )
        self.against = widgets.Dropdown(
            options=self._names, value=self._names[-1], description="against", layout={"width": "420px"}
        )
        self.status = widgets.HTML()
        self.runs = widgets.HTML()
        self.differences = widgets.HTML()
        self.figure = widget_of(self._figure())
        self.figure.data[1].on_selection(self._brushed)
        self.figure.data[1].on_deselect(lambda *_: self._choose(()))
        self.figure.data[1].on_click(self._brushed)
        self.measure.observe(lambda _: self._redraw(), "value")
        for each in (self.chosen, self.against):
            each.observe(lambda _: self._tell(), "value")
        super().__init__(
            [
                widgets.HTML(f"<h2>{escaped(comparison.scenario.title or comparison.scenario.name)}</h2>"),
                self.measure,
                self.figure,
                widgets.HBox([self.chosen, self.against], layout={"flex_flow": "row wrap"}),
                self.status,
                self.runs,
                self.differences,
            ]
        )
        self._tell()

    # The figure

    def _points(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[int]]:
        _, scale, less = AGAINST[self.measure.value]
        other = np.array([row[self.measure.value] for row in self.comparison.rows], dtype=float) * scale
        cost = np.array([row["cost"] for row in self.comparison.rows], dtype=float)
        return other, cost, pareto(cost.tolist(), (other if less else -other).tolist())

    def _runs(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]:
        runs = self.comparison.measures
        scale = AGAINST[self.measure.value][1]
        return (
            runs[self.measure.value].cast(pl.Float64).to_numpy() * scale,
            runs["cost"].cast(pl.Float64).to_numpy(),
            runs["configuration"].to_list(),
        )

    def _figure(self) -> go.Figure:
        x, y, front = self._points()
        runs_x, runs_y, of = self._runs()
        figure = go.Figure()
        figure.add_scatter(
            x=runs_x,
            y=runs_y,
            mode="markers",
            name="single runs",
            marker={"size": 5, "opacity": 0.45, "color": [self._looks[name].colour for name in of]},
            text=[escaped(name) for name in of],
            hovertemplate="%{text}: %{x:.4~g}, %{y:.4~g} USD<extra>one run</extra>",
        )
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers+text",
            name="means of configurations",
            text=[escaped(name) for name in self._names],
            textposition="top center",
            customdata=self._names,
            marker={
                "size": 13,
                "color": [self._looks[name].colour for name in self._names],
                "symbol": [self._looks[name].marker for name in self._names],
            },
            error_x=self._error(self.measure.value, AGAINST[self.measure.value][1]),
            error_y=self._error("cost", 1.0),
            selected={"marker": {"opacity": 1.0}},
            unselected={"marker": {"opacity": 0.25}, "textfont": {"color": INK}},
            hovertemplate="%{text}: %{x:.4~g}, %{y:.4~g} USD<extra>mean</extra>",
        )
        figure.add_scatter(
            x=x[front],
            y=y[front],
            mode="lines",
            name="Pareto front",
            line={"color": VERMILION, "width": 2, "dash": "dash", "shape": "hv"},
            hoverinfo="skip",
        )
        figure.update_xaxes(title_text=AGAINST[self.measure.value][0])
        figure.update_yaxes(title_text="cost of the measured window [USD]")
        figure.update_layout(
            template=TEMPLATE,
            height=460,
            dragmode="select",
            margin={"t": 66, "l": 70, "r": 20, "b": 60},
            meta={"alt": "Cost against quality, a point per configuration with intervals; the Pareto front as a line."},
        )
        return figure

    def _error(self, measure: str, scale: float) -> dict[str, Any] | None:
        rows = self.comparison.rows
        if any(row[f"{measure}_low"] is None for row in rows):
            return None
        above = np.array([(row[f"{measure}_high"] - row[measure]) * scale for row in rows])
        below = np.array([(row[measure] - row[f"{measure}_low"]) * scale for row in rows])
        return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "color": INK}

    def _redraw(self) -> None:
        fresh = self._figure()
        with self.figure.batch_update():
            for ours, new in zip(self.figure.data, fresh.data, strict=True):
                ours.x, ours.y = new.x, new.y
            self.figure.data[1].error_x = fresh.data[1].error_x
            self.figure.layout.xaxis.title.text = fresh.layout.xaxis.title.text
        keep(self.figure)

    # What is chosen

    def _brushed(self, _: Any, points: Any, __: Any) -> None:
        if points.point_inds:
            self._choose(tuple(self._names[place] for place in points.point_inds))

    def _choose(self, names: tuple[str, ...]) -> None:
        self.chosen.value = names

    def _tell(self) -> None:
        names = list(self.chosen.value)
        places = [self._names.index(name) for name in names]
        with self.figure.batch_update():
            self.figure.data[1].selectedpoints = places or None
        # Not the layout: with it the box that was brushed comes back, and chooses again what it holds.
        keep(self.figure, layout=False)
        front = [self._names[place] for place in self._points()[2]]
        if not names:
            self.status.value = status(f"Nothing is chosen. On the Pareto front: {', '.join(front)}.")
            self.runs.value = self.differences.value = ""
            return
        on = [name for name in names if name in front]
        self.status.value = status(f"{len(names)} chosen; on the Pareto front of the means: {', '.join(on) or 'none'}.")
        self.runs.value = self._runs_html(names)
        self.differences.value = self._differences_html(names, self.against.value)

    def _runs_html(self, names: list[str]) -> str:
        runs = self.comparison.measures.filter(pl.col("configuration").is_in(names))
        shown = [name for name in COLUMNS if name in runs.columns]
        rows = [
            [_cell(name, value) for name, value in zip(shown, row, strict=True)]
            for row in runs.select(shown).iter_rows()
        ]
        means = [
            (name, written(row, "cost", decimals=4), written(row, "p99_s"), written(row, "on_time", scale=100.0))
            for row in self.comparison.rows
            if (name := str(row["configuration"])) in names
        ]
        return table(
            "Chosen, means with 95 % intervals", ("configuration", "cost [USD]", "p99 [s]", "on time [%]"), means
        ) + table("The runs behind them", [COLUMNS[name] for name in shown], rows, texts=(len(shown) - 1,))

    def _differences_html(self, names: list[str], against: str) -> str:
        found = self.comparison.differences.filter(
            pl.col("configuration").is_in(names) & (pl.col("against") == against)
        )
        rows = []
        for row in found.iter_rows(named=True):
            heading, scale = DIFFERENCES.get(row["measure"], (row["measure"], 1.0))
            low, high = row["low_all"], row["high_all"]
            told = low is not None and high is not None and (low > 0.0 or high < 0.0)
            verdict = ("more" if row["difference"] > 0.0 else "less") if told else "cannot be told apart"
            rows.append(
                (
                    row["configuration"],
                    heading,
                    estimate(row["difference"], low, high, scale=scale, decimals=4),
                    verdict,
                )
            )
        if not rows:
            return f"<p>Nothing differs from itself: choose another than {escaped(against)}.</p>"
        caption = f"Paired differences from {against}, 95 % intervals for all at once"
        return table(caption, ("configuration", "measure", "difference", "what follows"), rows, texts=(1, 3))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "n/a"
    if name == "digest":
        return str(value)[:12]
    if name == "on_time":
        value = 100.0 * value
    return f"{value:.5g}" if isinstance(value, float) else str(value)
