"""Over time: what was asked of the processors, what was decided, what came of it."""

from __future__ import annotations

import math
import textwrap
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
    ORANGE,
    POINTS_MAX,
    VERMILION,
    caption,
    finish,
    lasting,
    plain,
)


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
    divisor, unit, length = lasting(drawn["time_s"])
    figure = make_subplots(
        rows=len(names),
        cols=2,
        shared_xaxes="all",
        shared_yaxes="columns",
        vertical_spacing=0.32 / len(names) ** 1.1,
        horizontal_spacing=0.11,
        subplot_titles=[title for name in names for title in (plain(name), "")],
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
                text=[plain(replica) for replica in mine_down["replica"]],
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
        f"Lines over {length} of simulated time, one row for each of {len(names)} "
        f"configurations: on the left the replicas ready and the offered load, on the right the backlog of waiting "
        f"events. {covers}{' ' if covers else ''}Largest backlog: {said}."
    )
    # The rows are 118 px high each; the legend stands clear of the name of the first, however many there are.
    legend = {"y": 1.0 + 26.0 / (118 * len(names))}
    margin = {"t": 118, "b": 90 if covers else 60}
    height = margin["t"] + margin["b"] + 118 * len(names)
    return finish(figure, "Backlog and replicas over time", alt, height=height, legend=legend, margin=margin)


def replicas_and_decisions(
    load: pl.DataFrame, crashes: pl.DataFrame | None = None, *, points_max: int = POINTS_MAX
) -> go.Figure:
    """One run: replicas ready against the load offered to them, every change of the policy's mind, and why.

    Parameters
    ----------
    load
        One row per control period: time_s, offered_load, ready, wanted, reason, see `metrics.load`.
    crashes
        replica, down_s, cause; each is marked.
    points_max
        Most points sent; beyond it control periods share points, and the figure says so.
    """
    changes = load.filter(pl.col("wanted") != pl.col("wanted").shift(1))
    every = max(1, math.ceil(3 * load.height / (0.6 * points_max)))
    lines = load
    if every > 1:
        place = (pl.int_range(pl.len()) // every).alias("place")
        shared = load.group_by(place, maintain_order=True)
        lines = shared.agg(pl.col("time_s").first(), pl.col("offered_load", "ready", "wanted").mean())
    told_max = int(0.2 * points_max)
    told = changes.gather_every(max(1, math.ceil(changes.height / told_max)))
    divisor, unit, length = lasting(load["time_s"])
    time = (lines["time_s"] / divisor).to_numpy()
    figure = go.Figure()
    for key, label, line in (
        ("offered_load", "offered load (busy replicas needed)", {"color": ORANGE, "width": 1.8, "dash": "dot"}),
        ("wanted", "wanted by the policy", {"color": GREEN, "width": 1.2, "dash": "dash", "shape": "hv"}),
        ("ready", "replicas ready", {"color": BLUE, "width": 2.2, "shape": "hv"}),
    ):
        figure.add_scatter(
            x=time,
            y=lines[key].to_numpy(),
            mode="lines",
            name=label,
            line=line,
            hovertemplate=f"{label} %{{y:.4~g}} at %{{x:.4~g}} {unit}<extra></extra>",
        )
    figure.add_scatter(
        x=(told["time_s"] / divisor).to_numpy(),
        y=told["wanted"].to_numpy(),
        mode="markers",
        marker={"symbol": "circle-open", "size": 5, "color": GREEN},
        name="decision changed",
        text=[_wrapped(reason) for reason in told["reason"]],
        hovertemplate=f"%{{y}} replicas: %{{text}}<br>at %{{x:.4~g}} {unit}<extra></extra>",
    )
    if crashes is not None and crashes.height:
        shown = crashes.gather_every(max(1, math.ceil(crashes.height / (0.1 * points_max))))
        figure.add_scatter(
            x=(shown["down_s"] / divisor).to_numpy(),
            y=np.zeros(shown.height),
            mode="markers",
            marker={"symbol": "x", "size": 8, "color": VERMILION},
            name="processor crashes",
            text=[plain(f"processor {replica}") for replica in shown["replica"]],
            hovertemplate=f"%{{text}} crashes at %{{x:.4~g}} {unit}<extra></extra>",
            cliponaxis=False,
        )
    figure.update_yaxes(title_text="replicas", rangemode="tozero")
    figure.update_xaxes(title_text=f"simulated time [{unit}]")
    notes = [f"Lines: means of {every} control periods a point."] if every > 1 else []
    if told.height < changes.height:
        notes.append(f"Decisions: {told.height:,} of {changes.height:,} changes are marked.")
    if notes:
        caption(figure, " ".join(notes))
    short = load.filter(pl.col("ready") < pl.col("offered_load")).height / max(1, load.height)
    alt = (
        f"Lines over {length}: replicas ready, replicas that the policy "
        f"wanted and the offered load. The policy changed its mind {changes.height:,} times; fewer were ready than the "
        f"load needs in {100 * short:.3g} % of the control periods; at most {load['ready'].max()!s} were ready. "
        f"{' '.join(notes)}"
    ).rstrip()
    return finish(figure, "Replicas, load and decisions", alt, height=430, margin={"t": 100, "b": 90 if notes else 60})


def _wrapped(reason: object, width: int = 60) -> str:
    """A long reason in lines, so that the box that shows it stays within the figure."""
    return "<br>".join(textwrap.wrap(plain(reason), width)) or "no reason given"


def availability_timeline(
    leases: pl.DataFrame, crashes: pl.DataFrame, *, until: float | None = None, points_max: int = POINTS_MAX
) -> go.Figure:
    """When each processor was there, asleep and down, and below it how many were up at a time.

    Parameters
    ----------
    leases
        pool, slot, since, until, asleep; seconds.
    crashes
        pool, replica (slot), down_s, up_s (null: never came up), cause.
    until
        End of the run, seconds; the last time that is known where it is left out.
    points_max
        Most points sent; beyond it the longest leases are drawn, and the figure says so.
    """
    end = until if until is not None else float(leases["until"].max() or 0.0)  # type: ignore[arg-type]
    divisor, unit, _ = lasting(pl.Series([end]))
    slots = leases.select("pool", "slot").unique().sort("pool", "slot").rows()
    line_of = {slot: line for line, slot in enumerate(slots)}
    kept_max = int(0.6 * points_max) // 3
    kept = leases if leases.height <= kept_max else leases.sort(pl.col("until") - pl.col("since")).tail(kept_max)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    for asleep, label, colour, width in ((False, "paid for", BLUE, 4), (True, "asleep", GREY, 3)):
        mine = kept.filter(asleep=asleep)
        x, y = _bars(mine.select("pool", "slot", "since", "until").rows(), line_of, divisor)
        if x:
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": colour, "width": width, "dash": "dot" if asleep else "solid"},
                name=label,
                hoverinfo="skip",
                row=1,
                col=1,
            )
    rows = [
        (row["pool"], row["replica"], row["down_s"], row["up_s"] if row["up_s"] is not None else row["down_s"])
        for row in crashes.iter_rows(named=True)
    ]
    x, y = _bars(rows, line_of, divisor)
    figure.add_scatter(
        x=x or [None],
        y=y or [None],
        mode="lines+markers",
        line={"color": VERMILION, "width": 6},
        marker={"symbol": "x", "size": 6, "color": VERMILION},
        name="down, from its crash on",
        text=[plain(cause) for cause in crashes["cause"] for _ in range(3)],
        hovertemplate=f"%{{text}} at %{{x:.4~g}} {unit}<extra></extra>",
        row=1,
        col=1,
    )
    times, up = _up(leases, crashes, end)
    every = max(1, math.ceil(len(times) / (0.3 * points_max)))
    if every > 1:
        # Of the times that share a point the fewest: that is what hurts.
        starts = np.arange(0, len(times), every)
        times, up = times[starts], np.minimum.reduceat(up, starts)
    figure.add_scatter(
        x=times / divisor,
        y=up,
        mode="lines",
        line={"color": GREEN, "width": 1.8, "shape": "hv"},
        fill="tozeroy",
        name="processors up",
        hovertemplate=f"%{{y}} up at %{{x:.4~g}} {unit}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_yaxes(
        title_text="processor (slot)",
        range=[len(slots) - 0.5, -0.5],
        tickvals=list(range(0, len(slots), max(1, len(slots) // 8))),
        ticktext=[str(slots[k][1]) for k in range(0, len(slots), max(1, len(slots) // 8))],
        row=1,
        col=1,
    )
    figure.update_yaxes(title_text="up", rangemode="tozero", nticks=4, row=2, col=1)
    figure.update_xaxes(title_text=f"simulated time [{unit}]", row=2, col=1)
    notes = []
    if kept.height < leases.height:
        notes.append(f"The {kept.height:,} longest of {leases.height:,} leases are drawn.")
    if every > 1:
        notes.append(f"Up: the fewest of {every} changes a point.")
    if notes:
        caption(figure, " ".join(notes))
    alt = (
        f"Above, one line for each of {len(slots)} processors over {end / divisor:.3g} {unit}: when it was paid for, "
        f"asleep, and down after a crash; below, how many were up. {crashes.height} crashes; at least "
        f"{int(up.min()) if len(up) else 0} and at most {int(up.max()) if len(up) else 0} were up. {' '.join(notes)}"
    ).rstrip()
    height = 300 + min(420, 10 * len(slots)) + (30 if notes else 0)
    return finish(figure, "Processors up and down", alt, height=height, margin={"t": 90, "b": 90 if notes else 60})


def _bars(
    rows: Sequence[tuple[Any, Any, float, float]], line_of: dict[tuple[Any, Any], int], divisor: float
) -> tuple[list[float | None], list[float | None]]:
    """Horizontal bars as one line with gaps: a trace each would be thousands."""
    x: list[float | None] = []
    y: list[float | None] = []
    for pool, slot, since, until in rows:
        line = line_of.get((pool, slot))
        if line is not None:
            x += [since / divisor, until / divisor, None]
            y += [line, line, None]
    return x, y


def _up(leases: pl.DataFrame, crashes: pl.DataFrame, end: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Times at which the number of processors that are paid for, awake and not down changes, and the number after."""
    awake = leases.filter(~pl.col("asleep"))
    # One that never came up was down until it was released.
    released = crashes.join(awake, left_on=["pool", "replica"], right_on=["pool", "slot"], how="inner").filter(
        pl.col("down_s").is_between(pl.col("since"), pl.col("until"))
    )
    again = released.select(pl.min_horizontal(pl.col("up_s").fill_null(pl.col("until")), "until")).to_series()
    changes = np.concatenate(
        [
            np.column_stack([awake["since"].to_numpy(), np.ones(awake.height)]),
            np.column_stack([awake["until"].to_numpy(), -np.ones(awake.height)]),
            np.column_stack([released["down_s"].to_numpy(), -np.ones(released.height)]),
            np.column_stack([again.to_numpy(), np.ones(released.height)]),
        ]
    )
    times, place = np.unique(changes[:, 0], return_inverse=True)
    up = np.cumsum(np.bincount(place, changes[:, 1]))
    inside = times < end
    return times[inside], np.round(up[inside])
