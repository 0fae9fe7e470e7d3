"""What was learned and what was noticed: forecasts with their coverage, scores with their alerts."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots
from scipy import stats

from rarera_sim.reports.figures.look import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    POINTS_MAX,
    PURPLE,
    VERMILION,
    caption,
    faded,
    finish,
    lasting,
    percent,
    plain,
)


def forecast_fan(fan: pl.DataFrame, *, points_max: int = POINTS_MAX) -> go.Figure:
    """Forecast quantiles against what came, and beside it how often each quantile held.

    Parameters
    ----------
    fan
        time_s (when the forecast was made), quantile, forecast, actual (what came; null while it is not known):
        see `reports.frames.forecasts`. Rates in 1/s.
    points_max
        Most points sent; beyond it forecasts are drawn at even steps, and the figure says so. Coverage is of all.
    """
    levels = sorted(fan["quantile"].unique().to_list())
    count = fan.height // max(1, len(levels))
    every = max(1, math.ceil((len(levels) + 1) * count / (0.95 * points_max)))
    drawn = fan.filter(pl.int_range(pl.len()).over("quantile") % every == 0)
    divisor, unit, length = lasting(fan["time_s"])
    figure = make_subplots(rows=1, cols=2, column_widths=[0.72, 0.28], horizontal_spacing=0.11)
    for place, level in enumerate(levels):
        mine = drawn.filter(quantile=level)
        colour = (BLUE, GREEN, ORANGE, PURPLE, VERMILION)[place % 5]
        figure.add_scatter(
            x=(mine["time_s"] / divisor).to_numpy(),
            y=mine["forecast"].to_numpy(),
            mode="lines",
            line={"color": colour, "width": 1.2, "dash": ("dot", "dash", "dashdot", "solid")[place % 4]},
            fill="tonexty" if place else None,
            fillcolor=faded(colour),
            name=f"{percent(level)} forecast",
            hovertemplate=f"{percent(level)}: %{{y:.4~g}} /s at %{{x:.4~g}} {unit}<extra></extra>",
            row=1,
            col=1,
        )
    actual = drawn.filter(quantile=levels[0]) if levels else drawn
    figure.add_scatter(
        x=(actual["time_s"] / divisor).to_numpy(),
        y=actual["actual"].to_numpy(),
        mode="lines",
        line={"color": INK, "width": 1.8},
        name="what came",
        hovertemplate=f"came: %{{y:.4~g}} /s at %{{x:.4~g}} {unit}<extra></extra>",
        row=1,
        col=1,
    )
    rows = [(level, *_coverage(fan.filter(pl.col("quantile") == level))) for level in levels]
    shares = np.array([[100.0 * value for value in row] for row in rows]).reshape(-1, 4)
    figure.add_scatter(
        x=[0.0, 100.0],
        y=[0.0, 100.0],
        mode="lines",
        line={"color": INK, "width": 1.2, "dash": "dash"},
        name="as promised",
        hoverinfo="skip",
        row=1,
        col=2,
    )
    figure.add_scatter(
        x=shares[:, 0],
        y=shares[:, 1],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": shares[:, 3] - shares[:, 1],
            "arrayminus": shares[:, 1] - shares[:, 2],
            "color": BLUE,
            "width": 4,
        },
        mode="markers",
        marker={"color": BLUE, "size": 9, "symbol": "diamond"},
        name="covered",
        hovertemplate="%{y:.3~g} % covered where %{x:.3~g} % is promised<extra></extra>",
        row=1,
        col=2,
    )
    lowest = float(min([*shares[:, 0], *shares[:, 2]], default=0.0))
    least = max(0.0, math.floor(lowest / 10.0) * 10.0 - 5.0)
    figure.update_xaxes(title_text=f"time of the forecast [{unit}]", row=1, col=1)
    figure.update_yaxes(title_text="peak rate within the horizon [1/s]", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title_text="promised [%]", range=[least, 103.0], row=1, col=2)
    figure.update_yaxes(title_text="covered [%]", range=[least, 103.0], row=1, col=2)
    covers = f"Every {every}th forecast is drawn; coverage is of all." if every > 1 else ""
    if covers:
        caption(figure, covers)
    said = "; ".join(
        f"{percent(level)} covered {100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        for level, share, low, high in rows
    )
    alt = (
        f"Lines over {length}: forecast quantiles of the peak rate and "
        f"the rate that came; beside them the share covered against the share promised, with 95 % intervals. {said}. "
        f"{covers}"
    ).rstrip()
    figure.update_layout(legend_traceorder="normal")
    return finish(figure, "Forecasts and what came", alt, height=440, margin={"t": 100, "b": 90 if covers else 60})


def _coverage(fan: pl.DataFrame) -> tuple[float, float, float]:
    """Share of what came that was not above the forecast, with Wilson's 95 % interval for independent forecasts."""
    known = fan.filter(pl.col("actual").is_not_null())
    if not known.height:
        return math.nan, math.nan, math.nan
    # A forecast and its value may differ in the last bit after the logarithm and back.
    held = int((known["actual"] <= known["forecast"] * (1.0 + 1e-12)).sum())
    ends = stats.binomtest(held, known.height).proportion_ci(0.95, method="wilson")
    return held / known.height, float(ends.low), float(ends.high)


def anomaly_timeline(
    timeline: pl.DataFrame, changes: pl.DataFrame | None = None, *, points_max: int = POINTS_MAX
) -> go.Figure:
    """What was seen, what a detector made of it, where it alerted, and where the world changed.

    Parameters
    ----------
    timeline
        source, time_s, value, score, level, alert: `anomalies.timeline_frame` with the source and with seconds, see
        `reports.frames.timeline`. One row of panels per source.
    changes
        source, time_s, what: drifts that were noticed, or abnormalities that were planted.
    points_max
        Most points sent; beyond it samples share points, which keep the highest score, and the figure says so.
    """
    sources = timeline["source"].unique(maintain_order=True).to_list()
    every = max(1, math.ceil(3 * timeline.height / (0.9 * points_max)))
    drawn = timeline
    if every > 1:
        place = (pl.int_range(pl.len()).over("source") // every).alias("place")
        shared = timeline.group_by("source", place, maintain_order=True)
        drawn = shared.agg(
            pl.col("time_s").first(),
            pl.col("value").get(pl.col("score").arg_max()),
            pl.col("score", "level", "alert").max(),
        )
    divisor, unit, length = lasting(timeline["time_s"])
    figure = make_subplots(
        rows=2 * len(sources),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.16 / (2 * len(sources)),
        row_heights=[0.58, 0.42] * len(sources),
    )
    for number, source in enumerate(sources):
        mine = drawn.filter(source=source)
        time = (mine["time_s"] / divisor).to_numpy()
        above, below = 2 * number + 1, 2 * number + 2
        lines = (
            (above, "value", "value", {"color": BLUE, "width": 1.4}),
            (below, "score", "score", {"color": PURPLE, "width": 1.4}),
            (below, "level", "level that alerts", {"color": INK, "width": 1.4, "dash": "dash", "shape": "hv"}),
        )
        for row, key, label, line in lines:
            figure.add_scatter(
                x=time,
                y=mine[key].to_numpy(),
                mode="lines",
                line=line,
                name=label,
                legendgroup=key,
                showlegend=number == 0,
                hovertemplate=f"{label} %{{y:.4~g}} at %{{x:.4~g}} {unit}<extra></extra>",
                row=row,
                col=1,
            )
        alerts = mine.filter("alert")
        figure.add_scatter(
            # An empty one has no place in the legend, which is of all sources.
            x=(alerts["time_s"] / divisor).to_list() or [None],
            y=alerts["value"].to_list() or [None],
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": VERMILION, "line": {"width": 1, "color": "white"}},
            name="alert",
            legendgroup="alert",
            showlegend=number == 0,
            hovertemplate=f"alert at %{{x:.4~g}} {unit}: %{{y:.4~g}}<extra></extra>",
            row=above,
            col=1,
        )
        ours = [] if changes is None else changes.filter(source=source).rows(named=True)
        for at, what in ((each["time_s"], each["what"]) for each in ours[:50]):
            for row in (above, below):
                figure.add_vline(x=at / divisor, line={"color": ORANGE, "width": 1.5, "dash": "dot"}, row=row, col=1)
            figure.add_annotation(
                text=plain(what),
                x=at / divisor,
                y=1,
                yref="y domain" if above == 1 else f"y{above} domain",
                xref="x" if above == 1 else f"x{above}",
                showarrow=False,
                xanchor="left",
                yanchor="bottom",
                font={"size": 11},
            )
        figure.update_yaxes(title_text=plain(source), nticks=4, row=above, col=1)
        figure.update_yaxes(title_text="score", rangemode="tozero", nticks=3, row=below, col=1)
    figure.update_xaxes(title_text=f"time [{unit}]", row=2 * len(sources), col=1)
    covers = f"Each point covers {every} samples and shows the one with the highest score." if every > 1 else ""
    if covers:
        caption(figure, covers)
    said = "; ".join(f"{source} {timeline.filter(source=source)['alert'].sum()}" for source in sources)
    marked = 0 if changes is None else changes.height
    alt = (
        f"For each of {len(sources)} sources two panels over {length}"
        f": the values with the alerts, and the scores with the level from which there is an alert. "
        f"Alerts: {said}. Changes marked: {marked}. {covers}"
    ).rstrip()
    margin = {"t": 96, "b": 90 if covers else 60}
    height = margin["t"] + margin["b"] + 270 * len(sources)
    return finish(figure, "Anomalies and drift", alt, height=height, margin=margin)
