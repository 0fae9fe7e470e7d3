"""The model held against theory, and what a result depends on."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from rarera_sim.reports.figures.look import (
    BLUE,
    INK,
    ORANGE,
    error_bars,
    finish,
    log_ticks,
    looks,
    plain,
)
from rarera_sim.reports.tables import estimate


def theory_against_model(points: pl.DataFrame, *, across: str, up: str) -> go.Figure:
    """What theory says as lines, what the model does as points with intervals, and how far they are apart.

    Parameters
    ----------
    points
        series (such as the system), at (where on the horizontal axis), theory, model, model_low, model_high.
    across, up
        What the axes show, with the unit in brackets.
    """
    names = points["series"].unique(maintain_order=True).to_list()
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.64, 0.36], vertical_spacing=0.07)
    held = 0
    for name, look in looks(names).items():
        mine = points.filter(series=name).sort("at")
        label = plain(name)
        figure.add_scatter(
            x=mine["at"].to_numpy(),
            y=mine["theory"].to_numpy(),
            mode="lines",
            line={"color": look.colour, "dash": look.dash, "width": 1.8},
            name=f"{label}, theory",
            legendgroup=name,
            hovertemplate="theory %{y:.4~g} at %{x:.4~g}<extra></extra>",
            row=1,
            col=1,
        )
        rows = mine.to_dicts()
        held += sum(
            row["model_low"] is not None and row["model_low"] <= row["theory"] <= row["model_high"] for row in rows
        )
        texts = [estimate(row["model"], row["model_low"], row["model_high"], decimals=4) for row in rows]
        figure.add_scatter(
            x=mine["at"].to_numpy(),
            y=mine["model"].to_numpy(),
            error_y=error_bars(rows, "model", look.colour, logarithmic=True),
            mode="markers",
            marker={"symbol": look.marker, "size": 9, "color": look.colour},
            name=f"{label}, model",
            legendgroup=name,
            text=texts,
            hovertemplate="model %{text} at %{x:.4~g}<extra></extra>",
            row=1,
            col=1,
        )
        apart = [
            {
                f"apart{end}": None
                if row[f"model{end}"] is None
                else 100.0 * (row[f"model{end}"] / row["theory"] - 1.0)
                for end in ("", "_low", "_high")
            }
            for row in rows
        ]
        figure.add_scatter(
            x=mine["at"].to_numpy(),
            y=[row["apart"] for row in apart],
            error_y=error_bars(apart, "apart", look.colour),
            mode="markers",
            marker={"symbol": look.marker, "size": 9, "color": look.colour},
            legendgroup=name,
            showlegend=False,
            hovertemplate="%{y:+.3~g} % at %{x:.4~g}<extra></extra>",
            row=2,
            col=1,
        )
    figure.add_hline(y=0.0, line={"color": INK, "width": 1.2, "dash": "dash"}, row=2, col=1)
    values = [*points["theory"].to_list(), *points["model"].to_list()]
    figure.update_yaxes(title_text=f"{up}, log", type="log", **log_ticks(values), row=1, col=1)
    figure.update_yaxes(title_text="apart [%]", nticks=5, row=2, col=1)
    figure.update_xaxes(title_text=across, row=2, col=1)
    alt = (
        f"Lines of what theory says and points with 95 % intervals of what the model does, {up} against {across}; "
        f"below it how far they are apart. The interval of {held} of {points.height} points holds the theory."
    )
    return finish(figure, "Theory against model", alt, height=580, margin={"t": 122})


def tornado(sensitivity: pl.DataFrame, *, measure: str, base: float) -> go.Figure:
    """What a result depends on: each parameter alone at its low and its high setting, the most influential on top.

    Parameters
    ----------
    sensitivity
        parameter, side ("low" or "high"), setting (as text), result, result_low, result_high.
    measure
        What the result is, with the unit in brackets.
    base
        The result with everything as it is.
    """
    reach = sensitivity.group_by("parameter").agg((pl.col("result") - base).abs().max().alias("reach"))
    order = reach.sort("reach", "parameter")["parameter"].to_list()
    figure = go.Figure()
    ends: list[float] = [base]
    for side, colour, pattern in (("low", BLUE, ""), ("high", ORANGE, "/")):
        found = {row["parameter"]: row for row in sensitivity.filter(side=side).iter_rows(named=True)}
        rows = [found[name] for name in order if name in found]
        if not rows:
            continue
        ends += [row[end] for row in rows for end in ("result", "result_low", "result_high") if row[end] is not None]
        figure.add_bar(
            x=[row["result"] - base for row in rows],
            base=base,
            y=[plain(row["parameter"]) for row in rows],
            orientation="h",
            name=f"{side} setting",
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "fgcolor": "white", "size": 6, "fillmode": "overlay"},
            },
            error_x=error_bars(rows, "result", INK),
            text=[
                f"{plain(row['setting'])}: {estimate(row['result'], row['result_low'], row['result_high'], decimals=4)}"
                for row in rows
            ],
            textposition="none",
            hovertemplate="%{y} at %{text}<extra></extra>",
        )
        # The settings stand in the margins, left of all bars and right of them.
        outward = [row["result"] >= base for row in rows]
        reached = [
            max(row["result"], row["result_high"] or row["result"])
            if out
            else min(row["result"], row["result_low"] or row["result"])
            for row, out in zip(rows, outward, strict=True)
        ]
        figure.add_scatter(
            x=reached,
            y=[plain(row["parameter"]) for row in rows],
            mode="text",
            text=[f"\u2009{plain(row['setting'])}\u2009" for row in rows],
            textposition=["middle right" if out else "middle left" for out in outward],
            textfont={"size": 12},
            showlegend=False,
            hoverinfo="skip",
            cliponaxis=False,
        )
    figure.add_vline(x=base, line={"color": INK, "width": 1.5})
    width = max(ends) - min(ends) or abs(base) or 1.0
    figure.update_xaxes(title_text=measure, range=[min(ends) - 0.2 * width, max(ends) + 0.2 * width], nticks=7)
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[plain(name) for name in order],
        showgrid=False,
        ticks="",
        ticklabelstandoff=6,
    )
    figure.update_layout(barmode="overlay", bargap=0.4)
    said = "; ".join(
        f"{row['parameter']} at {row['setting']} "
        f"{estimate(row['result'], row['result_low'], row['result_high'], decimals=4)}"
        for name in reversed(order)
        for row in sensitivity.filter(parameter=name).iter_rows(named=True)
    )
    alt = f"Bars from the base of {base:.4g} to {measure} with one parameter changed, most influential on top. {said}."
    return finish(figure, "What the result depends on", alt, height=170 + 40 * len(order), margin={"t": 90})
