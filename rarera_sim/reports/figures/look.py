"""How every figure looks: one template, colours that all eyes tell apart, and how numbers become bars and ticks."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl

from rarera_sim.reports import Row

# Okabe and Ito's colours, told apart with every kind of colour blindness; yellow is left out (unreadable on white),
# grey stands for black (unreadable on dark).
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F7F7F",
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star")
# The grey with the best contrast on white (4.5 to 1) that keeps 4 to 1 on the dark of JupyterLab.
INK = "#767676"
FAINT = "rgba(128, 128, 128, 0.25)"
POINTS_MAX = 20_000
# Plotly's own menu offers to upload a figure; results stay where they are. The template says so once more, for
# whoever shows a figure without this.
CONFIG = {"showSendToCloud": False, "displaylogo": False, "responsive": True}

_AXIS = {
    "gridcolor": FAINT,
    "zerolinecolor": FAINT,
    "linecolor": INK,
    "ticks": "outside",
    "tickcolor": FAINT,
    "automargin": True,
    "title": {"standoff": 8},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 13, "color": INK},
        # At the top, and not half way down the margin, where legends of several lines reach.
        "title": {
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 10},
            "font": {"size": 16},
        },
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "colorway": list(COLOURS),
        "margin": {"l": 60, "r": 20, "t": 90, "b": 60},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": INK, "activecolor": BLUE, "remove": ["sendChartToCloud"]},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


class Look(NamedTuple):
    """How a configuration is drawn, wherever it is drawn."""

    colour: str
    dash: str
    marker: str


def looks(configurations: Sequence[str]) -> dict[str, Look]:
    """A look for each. Seven colours, six dashes and eight markers: no two of 168 are alike in all three."""
    return {
        name: Look(COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)], MARKERS[k % len(MARKERS)])
        for k, name in enumerate(configurations)
    }


def finish(figure: go.Figure, title: str, alt: str, *, height: int, **layout: Any) -> go.Figure:
    return figure.update_layout(template=TEMPLATE, title_text=title, meta={"alt": alt}, height=height, **layout)


def plain(name: object) -> str:
    # Plotly reads a small HTML in every text: a name with < or & in it must stay a name.
    return html.escape(str(name), quote=False)


def percent(level: float) -> str:
    return f"{100 * level:.6g} %"


def nines(level: float) -> float:
    """Where a quantile stands: 90 % at 1, 99 % at 2, 99.9 % at 3, so that the tail has room."""
    return -math.log10(max(1.0 - level, 1e-9))


def time_unit(longest: float) -> tuple[float, str]:
    return (3600.0, "h") if longest > 2 * 3600 else (60.0, "min") if longest > 600 else (1.0, "s")


def lasting(times: pl.Series) -> tuple[float, str, str]:
    """Seconds in the unit that fits the last of the times, that unit, and how long it is in words.

    >>> lasting(pl.Series([0.0, 1800.0]))
    (60.0, 'min', '30 min')
    """
    last = times.max()
    longest = float(last) if isinstance(last, (int, float)) else 0.0
    divisor, unit = time_unit(longest)
    return divisor, unit, f"{longest / divisor:.3g} {unit}"


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def minus(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else whole - part


def error_bars(
    rows: Sequence[Row], measure: str, colour: str, *, logarithmic: bool = False
) -> Mapping[str, Any] | None:
    """Error bars from the ends of intervals, None where there are none."""
    means, low, high = (
        np.array([row[f"{measure}{end}"] for row in rows], dtype=float) for end in ("", "_low", "_high")
    )
    below, above = means - low, high - means
    if not np.isfinite(below).any():
        return None
    # What did not vary has no bar, rather than a bar of no length that looks like a tick.
    below, above = (np.where(high > low, side, np.nan) for side in (below, above))
    if logarithmic:
        # An end at or below 0 has no place on a logarithmic axis: the bar then ends a decade below. Hovering tells.
        below = np.minimum(below, 0.9 * means)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def log_ticks(values: Sequence[float]) -> Mapping[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, or closer where there is hardly one, written as plain numbers.

    >>> log_ticks([2.0, 7.0])["ticktext"][8:14]
    ['1', '1.5', '2', '3', '4', '5']
    """
    positive = [value for value in values if value > 0.0] or [1.0]
    factors = (1, 2, 5) if max(positive) > 6.0 * min(positive) else (1, 1.5, 2, 3, 4, 5, 6, 8)
    decades = range(math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def on_axis(rows: Sequence[Row], measure: str, more: Sequence[float]) -> list[float]:
    """Every positive number that has to be on an axis: means, ends of intervals, and what else there is."""
    ends = (row[key] for row in rows for key in (measure, f"{measure}_low", f"{measure}_high"))
    return [float(end) for end in ends if finite(end) and end > 0.0] + list(more)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those that no other beats in both numbers, from the least of the first on.

    >>> pareto({"dear": (1.0, 9.0), "cheap": (3.0, 2.0), "beaten": (3.0, 9.5)})
    ['dear', 'cheap']
    """
    front: list[str] = []
    for name in sorted(points, key=lambda name: points[name]):
        if not front or points[name][1] < points[front[-1]][1]:
            front.append(name)
    return front


def band(figure: go.Figure, x: Any, low: Any, high: Any, colour: str, *, group: str, **where: Any) -> None:
    """An interval along a line, as a band without a name; it comes and goes with the line in the legend.

    Where an end is missing the band has a gap: a polygon for each stretch, as `tonexty` would span the gaps.
    """
    x, low, high = (np.asarray(values, dtype=float) for values in (x, low, high))
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    across: list[float | None] = []
    up: list[float | None] = []
    for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        across += [*x[stretch].tolist(), *x[stretch][::-1].tolist(), None]
        up += [*high[stretch].tolist(), *low[stretch][::-1].tolist(), None]
    figure.add_scatter(
        x=across,
        y=up,
        mode="lines",
        line={"width": 0, "color": colour},
        fill="toself",
        fillcolor=faded(colour),
        hoverinfo="skip",
        legendgroup=group,
        showlegend=False,
        **where,
    )


def faded(colour: str, share: float = 0.22) -> str:
    """A colour of the palette that lets through what is behind it.

    >>> faded("#0072B2")
    'rgba(0, 114, 178, 0.22)'
    """
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {share:g})"


def caption(figure: go.Figure, words: str, *, shift: int = -50) -> None:
    """A sentence below the axes, such as how many values share a point."""
    about = {"x": 0, "xref": "paper", "xanchor": "left", "y": 0, "yref": "paper", "yanchor": "top"}
    figure.add_annotation(text=words, yshift=shift, showarrow=False, align="left", font={"size": 12}, **about)


def sent(figure: go.Figure) -> int:
    """How many points a figure sends to the browser."""
    return sum(max(len(trace[key]) for key in ("x", "y") if trace[key] is not None) for trace in figure.data)
