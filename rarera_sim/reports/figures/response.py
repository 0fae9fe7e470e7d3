"""Response times: by quantile, over time, by stage, and all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from rarera_sim.reports.figures.look import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    POINTS_MAX,
    PURPLE,
    VERMILION,
    band,
    caption,
    error_bars,
    finish,
    lasting,
    log_ticks,
    looks,
    nines,
    percent,
    plain,
)
from rarera_sim.reports.tables import estimate


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
        across = np.array([nines(level) for level in mine["quantile"]]) + 0.022 * (place - (len(names) - 1) / 2)
        figure.add_scatter(
            x=across,
            y=response,
            error_y=error_bars(mine.to_dicts(), "response_s", look.colour, logarithmic=True),
            mode="lines+markers",
            name=plain(name),
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 8},
            text=[
                f"{percent(level)} within {estimate(mean, low, high)} s"
                for _, level, mean, low, high in mine.select(
                    "configuration", "quantile", "response_s", "response_s_low", "response_s_high"
                ).iter_rows()
            ],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    promise = f"objective: {percent(quantile)} within {bound:g} s"
    figure.add_hline(y=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
    figure.add_scatter(
        x=[nines(quantile)],
        y=[bound],
        mode="markers",
        marker={"symbol": "star-open", "size": 16, "color": INK, "line": {"width": 2}},
        name=promise,
        hovertemplate=f"{promise}<extra></extra>",
    )
    figure.update_xaxes(
        title_text="share of the finished events [%], scale of nines",
        tickvals=[nines(level) for level in levels],
        ticktext=[f"{100 * level:.6g}" for level in levels],
        tickangle=0,
    )
    seconds = [bound, *quantiles["response_s"].drop_nulls().drop_nans().to_list()]
    figure.update_yaxes(title_text="response time [s], logarithmic", type="log", **log_ticks(seconds))
    at = quantiles.filter(pl.col("quantile") == quantile)
    values = at.select("configuration", "response_s", "response_s_low", "response_s_high").iter_rows()
    said = "; ".join(f"{name} {estimate(mean, low, high)}" for name, mean, low, high in values)
    alt = (
        f"Lines on a logarithmic axis: response time in seconds that a share of the finished events kept, from "
        f"{percent(levels[0])} to {percent(levels[-1])}, for {len(names)} configurations, against the bound of "
        f"{bound:g} s." + (f" At {percent(quantile)}: {said}." if said else "")
    )
    legend = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
    return finish(figure, "Response time by quantile", alt, height=520, legend=legend, margin={"t": 60})


# Quantiles from the middle to the tail, told apart by dash as well.
_OVER_TIME = ((BLUE, "solid"), (ORANGE, "dash"), (VERMILION, "solid"), (PURPLE, "dot"), (GREEN, "dashdot"))


def response_over_time(
    windows: pl.DataFrame,
    *,
    bound: float,
    quantile: float,
    alarms: pl.DataFrame | None = None,
    points_max: int = POINTS_MAX,
) -> go.Figure:
    """Quantiles of the response time over time on a logarithmic axis, with the objective and when it was broken.

    Parameters
    ----------
    windows
        time_s, quantile, response_s, response_s_low, response_s_high, events: see `reports.frames.response_windows`.
    bound, quantile
        The objective: this share within so many seconds.
    alarms
        time_s, what: each is marked above the lines.
    points_max
        Most points sent; beyond it windows share points, which then show the largest of them, and the figure says so.
    """
    levels = sorted(windows["quantile"].unique().to_list())
    count = windows.height // max(1, len(levels))
    # A line and the two edges of its band.
    every = max(1, math.ceil(3 * len(levels) * count / (0.9 * points_max)))
    if every > 1:
        place = (pl.int_range(pl.len()).over("quantile") // every).alias("place")
        shared = windows.group_by("quantile", place, maintain_order=True)
        windows = shared.agg(pl.col("time_s").first(), pl.exclude("time_s", "quantile", "place").max()).drop("place")
    divisor, unit, length = lasting(windows["time_s"])
    figure = go.Figure()
    for level, (colour, dash) in zip(levels, _OVER_TIME, strict=False):
        mine = windows.filter(quantile=level)
        time = (mine["time_s"] / divisor).to_numpy()
        name = f"{percent(level)} kept"
        low, high = (mine[f"response_s_{end}"].to_numpy() for end in ("low", "high"))
        if np.isfinite(np.asarray(low, dtype=float)).any():
            band(figure, time, low, high, colour, group=name)
        figure.add_scatter(
            x=time,
            y=mine["response_s"].to_numpy(),
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2},
            name=name,
            legendgroup=name,
            hovertemplate=f"{name} %{{y:.3~g}} s at %{{x:.4~g}} {unit}<extra></extra>",
        )
    figure.add_hline(y=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
    promise = f"objective: {percent(quantile)} within {bound:g} s"
    figure.add_scatter(x=[None], y=[None], mode="lines", name=promise, line={"color": INK, "dash": "dash"})
    values = [bound, *windows["response_s"].drop_nulls().to_list(), *windows["response_s_high"].drop_nulls().to_list()]
    top = 1.5 * max(values)
    alarmed = 0 if alarms is None else alarms.height
    if alarms is not None and alarmed:
        kept = alarms.gather_every(max(1, math.ceil(alarmed / (0.1 * points_max))))
        figure.add_scatter(
            x=(kept["time_s"] / divisor).to_numpy(),
            y=np.full(kept.height, top),
            mode="markers",
            marker={"symbol": "triangle-down", "size": 9, "color": VERMILION},
            name="objective broken",
            text=[plain(what) for what in kept["what"]],
            hovertemplate=f"%{{text}}, %{{x:.4~g}} {unit}<extra></extra>",
            cliponaxis=False,
        )
    figure.update_yaxes(title_text="response time [s], logarithmic", type="log", **log_ticks(values))
    figure.update_xaxes(title_text=f"simulated time [{unit}]")
    covers = f"Each point covers {every} windows and shows the largest of them." if every > 1 else ""
    if covers:
        caption(figure, covers)
    highest = windows.group_by("quantile").agg(pl.col("response_s").max()).drop_nulls().sort("quantile").rows()
    worst = "; ".join(f"{percent(level)} kept at most {seconds:.3g} s" for level, seconds in highest)
    alt = (
        f"Lines over {length} of simulated time on a logarithmic "
        f"axis: response time that shares of the finished events kept, with 95 % intervals as bands, against the bound "
        f"of {bound:g} s. In the worst window, {worst}. Alarms: {alarmed}. {covers}"
    ).rstrip()
    return finish(figure, "Response time over time", alt, height=440, margin={"t": 96, "b": 90 if covers else 60})


STAGES = {"network": GREY, "recording": PURPLE, "waiting": VERMILION, "service": BLUE}


def latency_breakdown(stages: pl.DataFrame) -> go.Figure:
    """Where the time goes, as a waterfall: each stage begins where the one before it ends, and the sum is the last.

    Parameters
    ----------
    stages
        group, stage, seconds, seconds_low, seconds_high, in order: see `reports.frames.stage_times`. Means, as only
        means add up.
    """
    groups = stages["group"].unique(maintain_order=True).to_list()
    figure = make_subplots(
        rows=1,
        cols=len(groups),
        shared_yaxes=True,
        subplot_titles=[plain(group) for group in groups],
        horizontal_spacing=0.14 / len(groups),
    )
    said = []
    for column, group in enumerate(groups, start=1):
        mine = stages.filter(group=group)
        seconds = mine["seconds"].to_numpy()
        begins = np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
        total = float(seconds.sum())
        rows = mine.to_dicts()
        names = [*mine["stage"].to_list(), "end to end"]
        texts = [estimate(row["seconds"], row["seconds_low"], row["seconds_high"]) for row in rows]
        figure.add_bar(
            x=[*seconds, total],
            y=names,
            base=[*begins, 0.0],
            orientation="h",
            error_x=_without_last(error_bars(rows, "seconds", INK)),
            marker={"color": [*(STAGES.get(name, ORANGE) for name in names[:-1]), GREEN]},
            text=[*(f"{each} s" for each in texts), f"{total:.3g} s"],
            textposition="none",
            hovertemplate="%{y}: %{text}<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        # The words stand where the intervals end: beside the bar, so that a bar of no width has its number too.
        ends = [
            begin + (row["seconds"] if row["seconds_high"] is None else row["seconds_high"])
            for begin, row in zip(begins, rows, strict=True)
        ]
        figure.add_scatter(
            x=[*ends, total],
            y=names,
            mode="text",
            text=[f"\u2002{each} s" for each in (*texts, f"{total:.3g}")],
            textposition="middle right",
            textfont={"size": 12},
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
            row=1,
            col=column,
        )
        figure.update_xaxes(range=[0.0, 1.45 * max(total, max(ends)) or 1.0], row=1, col=column)
        said.append(
            f"{group}: " + ", ".join(f"{row['stage']!s} {each} s" for row, each in zip(rows, texts, strict=True))
        )
    figure.update_xaxes(title_text="mean time [s]", nticks=5)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", ticklabelstandoff=6)
    figure.update_layout(bargap=0.35)
    alt = (
        "Waterfall of bars: the mean time from an event's creation to its finish, stage by stage, each beginning where "
        f"the one before it ends. {'; '.join(said)}."
    )
    return finish(figure, "Where the time goes", alt, height=330, margin={"t": 84})


def _without_last(bars: Any) -> Any:
    """Error bars of all stages and none of the sum, whose interval cannot be had from theirs."""
    if bars is None:
        return None
    return {**bars, **{side: np.append(bars[side], np.nan) for side in ("array", "arrayminus")}}


def response_distribution(
    times: pl.DataFrame, *, bound: float, quantile: float, points_max: int = POINTS_MAX
) -> go.Figure:
    """All response times: the share that finished within x on the left, and the share that took longer, logarithmic.

    The bands hold for the whole curve at once with 95 % (Dvoretzky, Kiefer and Wolfowitz).

    Parameters
    ----------
    times
        configuration, response_s; nulls never finished and count as longer than any time.
    bound, quantile
        The objective: this share within so many seconds.
    points_max
        Most points sent; beyond it the curves are drawn at as many ranks, denser in the tail, and the figure says so.

    References
    ----------
    Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, Annals of Probability 18(3).
    """
    names = times["configuration"].unique(maintain_order=True).to_list()
    # Two panels; in each, a curve and two edges.
    ranks_max = max(2, points_max // (6 * len(names)))
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    thinned = False
    said, least = [], 1.0
    for name, look in looks(names).items():
        mine = times.filter(configuration=name)["response_s"]
        total = len(mine)
        seconds = np.sort(mine.drop_nulls().to_numpy())
        if not len(seconds):
            continue
        ranks = _ranks(len(seconds), ranks_max)
        thinned = thinned or len(ranks) < len(seconds)
        x, share = seconds[ranks - 1], ranks / total
        half = math.sqrt(math.log(2.0 / 0.05) / (2.0 * total))
        least = min(least, 0.5 / total)
        label = plain(name)
        for column, longer in ((1, False), (2, True)):
            # Longer than x: the event of this rank is not, hence the last one of all is not drawn on the right.
            y = 1.0 - share if longer else share
            low, high = np.clip(y - half, 0.0, 1.0), np.clip(y + half, 0.0, 1.0)
            if longer:
                low = np.maximum(low, 0.25 / total)
                y = np.where(y > 0.0, y, np.nan)
            band(figure, x, low, high, look.colour, group=name, row=1, col=column)
            words = "took longer than" if longer else "finished within"
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": look.colour, "dash": look.dash, "width": 2, "shape": "hv"},
                name=label,
                legendgroup=name,
                showlegend=not longer,
                hovertemplate=f"%{{y:.4~g}} {words} %{{x:.4~g}} s<extra>{label}</extra>",
                row=1,
                col=column,
            )
        late = 1.0 - float((seconds <= bound).sum()) / total
        said.append(f"{name}: {100 * late:.3g} % of {total:,} took longer than {bound:g} s or never finished")
    for column in (1, 2):
        figure.add_vline(x=bound, line={"color": INK, "width": 1.5, "dash": "dash"}, row=1, col=column)
        allowed = 1.0 - quantile if column == 2 else quantile
        figure.add_scatter(
            x=[bound],
            y=[allowed],
            mode="markers",
            marker={"symbol": "star-open", "size": 14, "color": INK, "line": {"width": 2}},
            name=f"objective: {percent(quantile)} within {bound:g} s",
            showlegend=column == 1,
            hoverinfo="skip",
            row=1,
            col=column,
        )
    values = [bound, *times["response_s"].drop_nulls().to_list()]
    figure.update_xaxes(title_text="response time [s], logarithmic", type="log", **_decades(values))
    figure.update_yaxes(title_text="share finished within", range=[0.0, 1.02], row=1, col=1)
    exponents = range(math.floor(math.log10(least)), 1)
    figure.update_yaxes(
        title_text="share that took longer",
        type="log",
        range=[math.log10(least), 0.05],
        tickvals=[10.0**power for power in exponents],
        ticktext=[f"{10.0**power:g}" for power in exponents],
        row=1,
        col=2,
    )
    drawn = "Drawn at a choice of ranks, all of the largest." if thinned else ""
    if drawn:
        caption(figure, drawn)
    alt = (
        "Two panels of stepped lines: the share of the events that finished within a time, and on a logarithmic axis "
        f"the share that took longer, with 95 % bands for the whole curve. {'; '.join(said)}. {drawn}"
    ).rstrip()
    return finish(
        figure, "Distribution of the response time", alt, height=460, margin={"t": 100, "b": 90 if drawn else 60}
    )


def _ranks(count: int, ranks_max: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Ranks from 1 to `count`: evenly from below, and as evenly on the logarithm of what is left above."""
    if count <= ranks_max:
        return np.arange(1, count + 1)
    half = ranks_max // 2
    body = np.linspace(1, count, half).round()
    tail = count - np.geomspace(1, count, half).round() + 1
    return np.unique(np.concatenate([body, tail]).clip(1, count)).astype(np.int64)


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """As `log_ticks`, but whole decades where there are more than three of them."""
    positive = [value for value in values if value > 0.0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    if high - low <= 2:
        return dict(log_ticks(values))
    ticks = [10.0**power for power in range(low, high + 1)]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}
