"""Figures of results: frames in, a Plotly figure out; one look, with the text for those who cannot see it.

Every figure has a transparent ground and reads on light and dark pages. A configuration has the same colour, dash and
marker in all of them, so none depends on colour alone. `figure.layout.meta["alt"]` says in words what it shows.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from rarera_sim.reports import Row
from rarera_sim.reports.tables import estimate, written

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
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
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


def thinned(load: pl.DataFrame, points_max: int = POINTS_MAX) -> tuple[pl.DataFrame, int]:
    """What `backlog_and_replicas` draws of a load, in at most `points_max` points, and how many periods one covers.

    Of the periods that share a point it keeps the largest backlog, since that is what hurts, and the mean of the rest.
    """
    series = 3
    configurations = load["configuration"].n_unique()
    drawn = load.select("configuration", "time_s", "offered_load", "ready", "backlog")
    if load.height * series <= points_max:
        return drawn, 1
    longest = int(load.group_by("configuration").len()["len"].max() or 0)  # type: ignore[arg-type]
    periods = math.ceil(longest / max(1, points_max // (series * configurations)))
    place = pl.int_range(pl.len()).over("configuration") // periods
    thin = drawn.group_by("configuration", place.alias("place"), maintain_order=True).agg(
        pl.col("time_s").first(), pl.col("offered_load").mean(), pl.col("ready").mean(), pl.col("backlog").max()
    )
    return thin.drop("place"), periods


def backlog_and_replicas(
    load: pl.DataFrame, crashes: pl.DataFrame | None = None, *, points_max: int = POINTS_MAX
) -> go.Figure:
    """Over time, one row per configuration: replicas beside the load offered to them, and the backlog.

    Parameters
    ----------
    load
        One row per configuration and control period: configuration, time_s, offered_load, ready, backlog.
    crashes
        configuration, replica, down_s; each is marked.
    points_max
        Most points sent to the browser; beyond it control periods share points, and the figure says so.
    """
    drawn, periods = thinned(load, points_max)
    names = drawn["configuration"].unique(maintain_order=True).to_list()
    divisor, unit = _time_unit(float(drawn["time_s"].max() or 0.0))  # type: ignore[arg-type]
    figure = make_subplots(
        rows=len(names),
        cols=2,
        shared_xaxes="all",
        shared_yaxes="columns",
        vertical_spacing=0.32 / len(names) ** 1.1,
        horizontal_spacing=0.11,
        subplot_titles=[title for name in names for title in (_text(name), "")],
    )
    for place, name in enumerate(names, start=1):
        mine = drawn.filter(configuration=name)
        time = (mine["time_s"] / divisor).to_numpy()
        shared = {"x": time, "mode": "lines", "showlegend": place == 1}
        lines: tuple[tuple[int, str, str, dict[str, Any], dict[str, Any]], ...] = (
            (1, "ready", "replicas ready", {"color": BLUE, "width": 2, "shape": "hv"}, {}),
            (
                1,
                "offered_load",
                "offered load (busy replicas needed)",
                {"color": ORANGE, "width": 1.5, "dash": "dot"},
                {},
            ),
            (2, "backlog", "backlog", {"color": VERMILION, "width": 1.5}, {"fill": "tozeroy"}),
        )
        for column, key, label, line, more in lines:
            values = mine[key].to_numpy()
            hover = f"{label} %{{y:.4~g}} at %{{x:.4~g}} {unit}<extra></extra>"
            figure.add_scatter(
                y=values,
                name=label,
                legendgroup=key,
                line=line,
                hovertemplate=hover,
                row=place,
                col=column,
                **shared,
                **more,
            )
        if crashes is not None and (mine_down := crashes.filter(configuration=name)).height:
            figure.add_scatter(
                x=(mine_down["down_s"] / divisor).to_numpy(),
                y=np.zeros(mine_down.height),
                mode="markers",
                marker={"symbol": "x", "size": 9, "color": VERMILION, "line": {"color": "white", "width": 1}},
                name="processor crashes",
                legendgroup="crashes",
                showlegend=crashes["configuration"][0] == name,
                cliponaxis=False,
                text=[_text(replica) for replica in mine_down["replica"]],
                hovertemplate=f"%{{text}} crashes at %{{x:.4~g}} {unit}<extra></extra>",
                row=place,
                col=1,
            )
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_yaxes(rangemode="tozero", nticks=4)
    middle = (len(names) + 1) // 2
    figure.update_yaxes(title_text="replicas", row=middle, col=1)
    figure.update_yaxes(title_text="events waiting", row=middle, col=2)
    covers = f"Each point covers {periods} control periods: largest backlog, means of the rest." if periods > 1 else ""
    figure.update_xaxes(title_text=f"simulated time [{unit}]", row=len(names))
    if covers:
        figure.add_annotation(
            text=covers,
            x=0,
            xref="paper",
            xanchor="left",
            y=0,
            yref="paper",
            yanchor="top",
            yshift=-50,
            showarrow=False,
        )
    peaks = drawn.group_by("configuration", maintain_order=True).agg(pl.col("backlog").max())
    said = "; ".join(f"{name} {backlog:,.0f}" for name, backlog in peaks.rows())
    alt = (
        f"Lines over {drawn['time_s'].max() / divisor:.3g} {unit} of simulated time, one row for each of {len(names)} "  # type: ignore[operator]
        f"configurations: on the left the replicas ready and the offered load, on the right the backlog of waiting "
        f"events. {covers}{' ' if covers else ''}Largest backlog: {said}."
    )
    # The rows are 118 px high each; the legend stands clear of the name of the first, however many there are.
    legend = {"y": 1.0 + 26.0 / (118 * len(names))}
    margin = {"t": 118, "b": 90 if covers else 60}
    height = margin["t"] + margin["b"] + 118 * len(names)
    return _finish(figure, "Backlog and replicas over time", alt, height=height, legend=legend, margin=margin)


def latency_quantiles(quantiles: pl.DataFrame, *, bound: float, quantile: float) -> go.Figure:
    """Response time by quantile on a logarithmic axis, with intervals, beside the objective.

    Parameters
    ----------
    quantiles
        configuration, quantile, response_s, response_s_low, response_s_high.
    bound, quantile
        The objective: this share within so many seconds.
    """
    names = quantiles["configuration"].unique(maintain_order=True).to_list()
    levels = sorted(set(quantiles["quantile"].to_list()) | {quantile})
    figure = go.Figure()
    for place, (name, look) in enumerate(looks(names).items()):
        mine = quantiles.filter(configuration=name)
        response = mine["response_s"].cast(pl.Float64).to_numpy()
        # Side by side, so that intervals of equal quantiles do not hide each other.
        across = np.array([_nines(level) for level in mine["quantile"]]) + 0.022 * (place - (len(names) - 1) / 2)
        figure.add_scatter(
            x=across,
            y=response,
            error_y=_error(mine.to_dicts(), "response_s", look.colour, logarithmic=True),
            mode="lines+markers",
            name=_text(name),
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 8},
            text=[
                f"{_percent(level)} within {estimate(mean, low, high)} s"
                for _, level, mean, low, high in mine.select(
                    "configuration", "quantile", "response_s", "response_s_low", "response_s_high"
                ).iter_rows()
            ],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    promise = f"objective: {_percent(quantile)} within {bound:g} s"
    figure.add_hline(y=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
    figure.add_scatter(
        x=[_nines(quantile)],
        y=[bound],
        mode="markers",
        marker={"symbol": "star-open", "size": 16, "color": INK, "line": {"width": 2}},
        name=promise,
        hovertemplate=f"{promise}<extra></extra>",
    )
    figure.update_xaxes(
        title_text="share of the finished events [%], scale of nines",
        tickvals=[_nines(level) for level in levels],
        ticktext=[f"{100 * level:.6g}" for level in levels],
        tickangle=0,
    )
    seconds = [bound, *quantiles["response_s"].drop_nulls().drop_nans().to_list()]
    figure.update_yaxes(title_text="response time [s], logarithmic", type="log", **_log_ticks(seconds))
    at = quantiles.filter(pl.col("quantile") == quantile)
    values = at.select("configuration", "response_s", "response_s_low", "response_s_high").iter_rows()
    said = "; ".join(f"{name} {estimate(mean, low, high)}" for name, mean, low, high in values)
    alt = (
        f"Lines on a logarithmic axis: response time in seconds that a share of the finished events kept, from "
        f"{_percent(levels[0])} to {_percent(levels[-1])}, for {len(names)} configurations, against the bound of "
        f"{bound:g} s." + (f" At {_percent(quantile)}: {said}." if said else "")
    )
    legend = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
    return _finish(figure, "Response time by quantile", alt, height=520, legend=legend, margin={"t": 60})


def cost_against_p99(rows: Sequence[Row], *, bound: float, quantile: float) -> go.Figure:
    """Cost against the 99 % quantile of the response time, intervals both ways, with the bound of the objective."""
    shown = [row for row in rows if _finite(row["cost"]) and _finite(row["p99_s"]) and row["p99_s"] > 0.0]
    look_of = looks([str(row["configuration"]) for row in rows])
    figure = go.Figure()
    labels = _labels(shown, bound)
    for row in shown:
        name = str(row["configuration"])
        look, label = look_of[name], labels[name]
        # A line to a label in a column of its own: labels beside the points would lie on each other where points do.
        figure.add_scatter(
            x=[row["p99_s"], label[0]],
            y=[row["cost"], label[1]],
            mode="lines",
            hoverinfo="skip",
            line={"color": look.colour, "width": 1, "dash": "dot"},
            opacity=0.8,
            showlegend=False,
        )
    for row in shown:
        name = str(row["configuration"])
        look, label = look_of[name], labels[name]
        figure.add_scatter(
            x=[row["p99_s"]],
            y=[row["cost"]],
            error_x=_error([row], "p99_s", look.colour, logarithmic=True),
            error_y=_error([row], "cost", look.colour),
            mode="markers",
            marker={"symbol": look.marker, "size": 11, "color": look.colour},
            name=_text(name),
            showlegend=False,
            text=[f"p99 {written(row, 'p99_s')} s, cost {written(row, 'cost', decimals=4)} USD"],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
        figure.add_scatter(
            x=[label[0]],
            y=[label[1]],
            mode="text",
            text=[f"\u2009{_text(name)}"],
            textposition="middle right",
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
        )
    promise = f"bound {bound:g} s" + ("" if quantile == 0.99 else f" (for {_percent(quantile)})")
    figure.add_vline(x=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
    # On a logarithmic axis an annotation stands at the logarithm, a line at the number itself.
    figure.add_annotation(
        text=promise, x=math.log10(bound), y=1, yref="paper", yanchor="bottom", showarrow=False, font={"size": 12}
    )
    figure.update_yaxes(title_text="cost of the measured window [USD]")
    seconds = [bound, *(float(row["p99_s"]) for row in shown)]
    right = max([math.log10(bound), *(math.log10(x) for x, _ in labels.values())])
    left = min(map(math.log10, _within(shown, "p99_s", [bound])))
    figure.update_xaxes(
        title_text="response time that 99 % kept, p99 [s], logarithmic",
        type="log",
        range=[left - 0.06 * (right - left), right + 0.48 * (right - left)],
        **_log_ticks(seconds),
    )
    said = "; ".join(
        f"{row['configuration']} {written(row, 'cost', decimals=4)} USD at {written(row, 'p99_s')} s" for row in shown
    )
    left_out = f" Not drawn, for want of a number: {len(rows) - len(shown)}." if len(shown) < len(rows) else ""
    alt = (
        f"Points with intervals both ways: cost in US dollars against the response time that 99 % of the finished "
        f"events kept, with the bound of {bound:g} s as a line. Down and to the left is better. {said}.{left_out}"
    )
    return _finish(figure, "Cost against response time", alt, height=500, margin={"t": 76})


def funnel(rows: Sequence[Row]) -> go.Figure:
    """What became of the events: sent, recorded and in the state on the left; lost, repeated, damaged on the right."""
    names = [_text(row["configuration"]) for row in rows]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04, column_widths=[0.5, 0.5])
    bars = (
        (1, "sent", "sent", GREY, "", [row["sent"] for row in rows]),
        (1, "recorded", "recorded", SKY, "/", [row["recorded"] for row in rows]),
        (1, "", "in the state", BLUE, "x", [_minus(row["sent"], row["lost"]) for row in rows]),
        (2, "lost", "lost", VERMILION, "", [row["lost"] for row in rows]),
        (2, "repeated", "repeated", ORANGE, "/", [row["repeated"] for row in rows]),
        (2, "damaged", "damaged content applied", PURPLE, "x", [row["damaged"] for row in rows]),
    )
    for place, (column, key, label, colour, pattern, values) in enumerate(bars):
        texts = [
            written(row, key, decimals=1) if key else estimate(value, None, None, decimals=0)
            for row, value in zip(rows, values, strict=True)
        ]
        figure.add_bar(
            x=np.array(values, dtype=float),
            y=names,
            orientation="h",
            name=label,
            error_x=_error(rows, key, INK) if key else None,
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "fgcolor": "white", "fillmode": "overlay", "size": 6},
            },
            offsetgroup=place % 3,  # the first of the left panel is at the height of the first of the right
            legendgroup=label,
            customdata=texts,
            hovertemplate=f"{label}: %{{customdata}} events<extra></extra>",
            row=1,
            col=column,
        )
        if column == 2:
            # The numbers stand where the intervals end; a zero, whose bar cannot be seen, has one too.
            figure.add_scatter(
                x=[row[f"{key}_high"] if row[f"{key}_high"] is not None else row[key] for row in rows],
                y=names,
                orientation="h",
                mode="text",
                text=[f"\u2009{text}" for text in texts],
                textposition="middle right",
                textfont={"size": 12},
                offsetgroup=place % 3,
                legendgroup=label,
                showlegend=False,
                hoverinfo="skip",
                cliponaxis=False,
                row=1,
                col=2,
            )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", ticklabelstandoff=6)
    figure.update_xaxes(title_text="events", rangemode="tozero", nticks=5, tickformat=",d")
    most = max((row[f"{key}_high"] or row[key] or 0.0) for row in rows for key in ("lost", "repeated", "damaged"))
    # Room for the numbers beside the longest bars.
    figure.update_xaxes(range=[0.0, 1.4 * most if most > 0.0 else 1.0], col=2)
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05, scattermode="group", scattergap=0.25)
    said = "; ".join(
        f"{row['configuration']} lost {written(row, 'lost', decimals=1)}, repeated "
        f"{written(row, 'repeated', decimals=1)}, damaged {written(row, 'damaged', decimals=1)}"
        for row in rows
    )
    alt = (
        "Grouped bars, one group per configuration: on the left events sent, recorded and in the state (sent less "
        f"lost); on the right events lost, repeated and applied with damaged content. {said}."
    )
    return _finish(figure, "From sent to state: lost, repeated, damaged", alt, height=150 + 72 * len(rows))


def _finish(figure: go.Figure, title: str, alt: str, *, height: int, **layout: Any) -> go.Figure:
    return figure.update_layout(template=TEMPLATE, title_text=title, meta={"alt": alt}, height=height, **layout)


def _text(name: object) -> str:
    # Plotly reads a small HTML in every text: a name with < or & in it must stay a name.
    return html.escape(str(name), quote=False)


def _percent(level: float) -> str:
    return f"{100 * level:.6g} %"


def _nines(level: float) -> float:
    """Where a quantile stands: 90 % at 1, 99 % at 2, 99.9 % at 3, so that the tail has room."""
    return -math.log10(max(1.0 - level, 1e-9))


def _time_unit(longest: float) -> tuple[float, str]:
    return (3600.0, "h") if longest > 2 * 3600 else (60.0, "min") if longest > 600 else (1.0, "s")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _minus(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else whole - part


def _error(rows: Sequence[Row], measure: str, colour: str, *, logarithmic: bool = False) -> Mapping[str, Any] | None:
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


def _log_ticks(values: Sequence[float]) -> Mapping[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, written as plain numbers."""
    positive = [value for value in values if value > 0.0] or [1.0]
    decades = range(math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def _within(rows: Sequence[Row], measure: str, more: Sequence[float]) -> list[float]:
    """Every positive number that has to be on an axis: means, ends of intervals, and what else there is."""
    ends = (row[key] for row in rows for key in (measure, f"{measure}_low", f"{measure}_high"))
    return [float(end) for end in ends if _finite(end) and end > 0.0] + list(more)


def _labels(rows: Sequence[Row], bound: float) -> dict[str, tuple[float, float]]:
    """Where the names stand: one column right of all points, in the order of cost, at least a line apart."""
    if not rows:
        return {}
    p99, cost = _within(rows, "p99_s", [bound]), _within(rows, "cost", [])
    left, right = math.log10(min(p99)), math.log10(max(p99))
    x = 10.0 ** (right + 0.12 * max(right - left, 0.5))
    low, high = min(cost), max(cost)
    apart = max(high - low, 0.02 * abs(high), 1e-9) / max(12, len(rows))
    order = sorted(rows, key=lambda row: float(row["cost"]))
    places = [float(row["cost"]) for row in order]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + apart)
    # Then down again where the stack rises above the plot.
    top = max(high, low + apart * (len(places) - 1))
    for k in range(len(places) - 1, -1, -1):
        ceiling = top if k == len(places) - 1 else places[k + 1] - apart
        places[k] = min(places[k], ceiling)
    return {str(row["configuration"]): (x, place) for row, place in zip(order, places, strict=True)}
