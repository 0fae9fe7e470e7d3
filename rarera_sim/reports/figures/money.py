"""Money and energy: against response time, against the oracle, item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots
from scipy import stats

from rarera_sim.reports import Row
from rarera_sim.reports.figures.look import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    error_bars,
    faded,
    finish,
    finite,
    log_ticks,
    looks,
    on_axis,
    pareto,
    percent,
    plain,
)
from rarera_sim.reports.tables import written


def cost_against_p99(rows: Sequence[Row], *, bound: float, quantile: float) -> go.Figure:
    """Cost against the 99 % quantile of the response time, intervals both ways, with the bound of the objective."""
    shown = [row for row in rows if finite(row["cost"]) and finite(row["p99_s"]) and row["p99_s"] > 0.0]
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
            error_x=error_bars([row], "p99_s", look.colour, logarithmic=True),
            error_y=error_bars([row], "cost", look.colour),
            mode="markers",
            marker={"symbol": look.marker, "size": 11, "color": look.colour},
            name=plain(name),
            showlegend=False,
            text=[f"p99 {written(row, 'p99_s')} s, cost {written(row, 'cost', decimals=4)} USD"],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
        figure.add_scatter(
            x=[label[0]],
            y=[label[1]],
            mode="text",
            text=[f"\u2009{plain(name)}"],
            textposition="middle right",
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
        )
    promise = f"bound {bound:g} s" + ("" if quantile == 0.99 else f" (for {percent(quantile)})")
    figure.add_vline(x=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
    # On a logarithmic axis an annotation stands at the logarithm, a line at the number itself.
    figure.add_annotation(
        text=promise, x=math.log10(bound), y=1, yref="paper", yanchor="bottom", showarrow=False, font={"size": 12}
    )
    figure.update_yaxes(title_text="cost of the measured window [USD]")
    seconds = [bound, *(float(row["p99_s"]) for row in shown)]
    right = max([math.log10(bound), *(math.log10(x) for x, _ in labels.values())])
    left = min(map(math.log10, on_axis(shown, "p99_s", [bound])))
    figure.update_xaxes(
        title_text="response time that 99 % kept, p99 [s], logarithmic",
        type="log",
        range=[left - 0.06 * (right - left), right + 0.48 * (right - left)],
        **log_ticks(seconds),
    )
    said = "; ".join(
        f"{row['configuration']} {written(row, 'cost', decimals=4)} USD at {written(row, 'p99_s')} s" for row in shown
    )
    left_out = f" Not drawn, for want of a number: {len(rows) - len(shown)}." if len(shown) < len(rows) else ""
    alt = (
        f"Points with intervals both ways: cost in US dollars against the response time that 99 % of the finished "
        f"events kept, with the bound of {bound:g} s as a line. Down and to the left is better. {said}.{left_out}"
    )
    return finish(figure, "Cost against response time", alt, height=500, margin={"t": 76})


def _labels(rows: Sequence[Row], bound: float) -> dict[str, tuple[float, float]]:
    """Where the names stand: one column right of all points, in the order of cost, at least a line apart."""
    if not rows:
        return {}
    p99, cost = on_axis(rows, "p99_s", [bound]), on_axis(rows, "cost", [])
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


# Of fewer runs the ellipse would be wider than all that is drawn beside it.
RUNS_MIN = 5


def pareto_front(
    measures: pl.DataFrame,
    *,
    bound: float | None = None,
    oracle: pl.DataFrame | None = None,
    across: str = "p99_s",
    up: str = "cost",
) -> go.Figure:
    """Cost against response time, run by run, with ellipses that hold both means with 95 %, the front and the oracle.

    On the front is whoever no other beats in both means. Two whose ellipses overlap are not told apart by this figure;
    the paired differences may do.

    Parameters
    ----------
    measures
        One row per configuration and replication: configuration, and the two measures.
    bound
        Of the objective, seconds.
    oracle
        One row per plan that knew everything beforehand: name, and the same two measures; either may be null, and is
        then drawn as a line.
    across, up
        The measures: logarithmic to the right, linear upwards; less is better in both.

    References
    ----------
    Hotelling (1931), The generalization of Student's ratio, Annals of Mathematical Statistics 2(3), 360-378.
    """
    known = measures.filter(pl.col(across).is_finite() & (pl.col(across) > 0.0) & pl.col(up).is_finite())
    names = known["configuration"].unique(maintain_order=True).to_list()
    figure = go.Figure()
    means: dict[str, tuple[float, float]] = {}
    seconds: list[float] = [bound] if bound else []
    for name, look in looks(measures["configuration"].unique(maintain_order=True).to_list()).items():
        if name not in names:
            continue
        mine = known.filter(configuration=name)
        # On a logarithmic axis the geometric mean is the middle.
        points = np.column_stack([np.log10(mine[across].to_numpy()), mine[up].to_numpy()])
        middle = points.mean(axis=0)
        means[name] = (10.0 ** middle[0], float(middle[1]))
        seconds += mine[across].to_list()
        label = plain(name)
        outline = _ellipse(points)
        if outline is not None:
            figure.add_scatter(
                x=10.0 ** outline[:, 0],
                y=outline[:, 1],
                mode="lines",
                fill="toself",
                fillcolor=faded(look.colour, 0.18),
                line={"color": look.colour, "width": 1.2},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        # One point per run, all of them while there are few.
        runs = points if len(points) <= 200 else points[:: math.ceil(len(points) / 200)]
        figure.add_scatter(
            x=10.0 ** runs[:, 0],
            y=runs[:, 1],
            mode="markers",
            marker={"color": look.colour, "size": 4, "symbol": look.marker, "opacity": 0.6},
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[means[name][0]],
            y=[means[name][1]],
            mode="markers",
            marker={"color": look.colour, "size": 11, "symbol": look.marker},
            name=label,
            legendgroup=name,
            hovertemplate=f"{label}: %{{y:.4~g}} USD at %{{x:.4~g}} s<extra></extra>",
        )
    front = pareto(means)
    if len(front) > 1:
        corners = [means[name] for name in front]
        figure.add_scatter(
            x=[x for x, _ in corners],
            y=[y for _, y in corners],
            mode="lines",
            # Between two of the front nothing is known to be reachable but the worse of both in each.
            line={"color": INK, "width": 1.5, "dash": "dot", "shape": "hv"},
            name="Pareto front of the means",
            hoverinfo="skip",
        )
    for row in () if oracle is None else oracle.iter_rows(named=True):
        label = plain(row["name"])
        if row[across] is None:
            line = {"color": INK, "width": 1.5, "dash": "longdash"}
            figure.add_hline(y=row[up], line=line)
            figure.add_scatter(x=[None], y=[None], mode="lines", name=label, line=line)
            continue
        seconds.append(row[across])
        figure.add_scatter(
            x=[row[across]],
            y=[row[up]],
            mode="markers",
            # Hollow: the grey of a seventh configuration is nearly that of the ink.
            marker={"symbol": "star-open", "size": 15, "color": INK, "line": {"width": 2}},
            name=label,
            hovertemplate=f"{label}: %{{y:.4~g}} USD at %{{x:.4~g}} s<extra></extra>",
        )
    if bound:
        figure.add_vline(x=bound, line={"color": INK, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            text=f"bound {bound:g} s",
            x=math.log10(bound),
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"size": 12},
        )
    figure.update_xaxes(title_text=_TITLES.get(across, across), type="log", **log_ticks(seconds))
    figure.update_yaxes(title_text=_TITLES.get(up, up))
    said = "; ".join(f"{name} {y:.4g} USD at {x:.3g} s" for name, (x, y) in means.items())
    runs_least = min((known.filter(configuration=name).height for name in names), default=0)
    few = "" if runs_least >= RUNS_MIN else f" No ellipses of fewer than {RUNS_MIN} runs."
    plans = "" if oracle is None else f" With {oracle.height} plans of the oracle."
    alt = (
        "Points with 95 % ellipses of both means: cost in US dollars against response time in seconds on a logarithmic "
        f"axis. On the Pareto front: {', '.join(front) or 'none'}. {said}.{plans}{few}"
    )
    legend = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
    return finish(figure, "Pareto front of cost and response time", alt, height=500, legend=legend, margin={"t": 76})


_TITLES = {
    "p99_s": "response time that 99 % kept, p99 [s], logarithmic",
    "p95_s": "response time that 95 % kept, p95 [s], logarithmic",
    "p999_s": "response time that 99.9 % kept [s], logarithmic",
    "cost": "cost of the measured window [USD]",
    "cost_total": "cost of the measured window, energy and storage included [USD]",
}


def _ellipse(points: np.ndarray[Any, Any], confidence: float = 0.95) -> np.ndarray[Any, Any] | None:
    """Outline of the region that holds the mean of points in the plane; None where they are too few or on a line."""
    count = len(points)
    if count < RUNS_MIN:
        return None
    covariance = np.cov(points.T) / count
    values, vectors = np.linalg.eigh(covariance)
    if values.min() <= 1e-12 * values.max() or not values.max() > 0.0:
        return None
    reach = 2.0 * (count - 1) / (count - 2) * float(stats.f.ppf(confidence, 2, count - 2))
    angle = np.linspace(0.0, 2.0 * np.pi, 73)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    outline: np.ndarray[Any, Any] = points.mean(axis=0) + circle * np.sqrt(values * reach) @ vectors.T
    return outline


def regret(study: pl.DataFrame, *, setting: str = "equal") -> go.Figure:
    """What each policy costs on each trace, as a multiple of the oracle's plan, which knew everything beforehand.

    Parameters
    ----------
    study
        trace, target, setting, policy, multiple, low, high, keeps: see `experiments.study.compared`.
    setting
        Which of the study's settings is drawn; only at `equal` violations do costs compare.
    """
    chosen = study.filter(setting=setting)
    panels = chosen.select("trace", "target").unique(maintain_order=True).rows()
    policies = chosen.group_by("policy").agg(pl.col("multiple").mean()).sort("multiple", "policy")["policy"].to_list()
    figure = make_subplots(
        rows=1,
        cols=max(1, len(panels)),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        subplot_titles=[f"{plain(trace)}, {100 * target:g} % late" for trace, target in panels],
    )
    kinds = (
        ("kept the share of late events", True, "circle", BLUE),
        ("did not keep it", False, "circle-open", VERMILION),
    )
    for column, (trace, target) in enumerate(panels, start=1):
        mine = chosen.filter(trace=trace, target=target)
        for label, keeps, symbol, colour in kinds:
            rows = mine.filter(keeps=keeps).to_dicts()
            bars = [
                {"multiple": row["multiple"], "multiple_low": _not_below_zero(row["low"]), "multiple_high": row["high"]}
                for row in rows
            ]
            names: list[str | None] = [plain(row["policy"]) for row in rows]
            figure.add_scatter(
                x=[row["multiple"] for row in rows] or [None],
                y=names or [None],
                error_x=error_bars(bars, "multiple", colour) if bars else None,
                mode="markers",
                marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
                name=label,
                legendgroup=label,
                # The legend is that of the first panel: a point that is nowhere keeps it whole.
                showlegend=column == 1,
                hovertemplate="%{y}: %{x:.3~g} times the oracle<extra></extra>",
                row=1,
                col=column,
            )
        figure.add_vline(x=1.0, line={"color": INK, "width": 1.5, "dash": "dash"}, row=1, col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=[plain(name) for name in reversed(policies)], ticks="")
    figure.update_xaxes(rangemode="tozero", nticks=5)
    middle = (len(panels) + 1) // 2
    figure.update_xaxes(title_text="cost, as a multiple of the oracle's plan", row=1, col=middle)
    said = "; ".join(
        f"{row['policy']} on {row['trace']} at {100 * row['target']:g} % {row['multiple']:.2f}"
        + ("" if row["keeps"] else " (share not kept)")
        for row in chosen.iter_rows(named=True)
    )
    alt = (
        f"Points with 95 % intervals, one panel per trace and allowed share of late events: the cost of each policy "
        f"over that of the oracle's plan, at the setting {setting}. {said}."
    )
    # The legend stands clear of the names of the panels, however few policies there are.
    legend = {"y": 1.0 + 30.0 / max(60, 26 * len(policies))}
    return finish(
        figure,
        "Regret: cost against the oracle",
        alt,
        height=190 + 26 * len(policies),
        margin={"t": 124},
        legend=legend,
    )


def _not_below_zero(value: float | None) -> float | None:
    # Student's t does not know that a cost is not negative.
    return None if value is None else max(0.0, value)


_ITEMS = {
    "replicas": (BLUE, ""),
    "replicas asleep": (SKY, "/"),
    "rounding": (PURPLE, "x"),
    "energy": (ORANGE, "."),
    "storage": (GREEN, "\\"),
    "network": (GREY, "-"),
}


def cost_and_energy(costs: pl.DataFrame) -> go.Figure:
    """What was paid for, item by item, stacked; beside it the energy, and the carbon that goes with it.

    Parameters
    ----------
    costs
        configuration, item, pool, cost_usd, energy_kwh, carbon_g: `metrics.cost.cost_frame` with the configuration;
        and, where several replications were made, cost_usd_low, cost_usd_high of the sum (see `reports.frames.costs`).
    """
    names = costs["configuration"].unique(maintain_order=True).to_list()
    labels = [plain(name) for name in names]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06, column_widths=[0.66, 0.34])
    per = costs.group_by("configuration", "item", maintain_order=True).agg(
        pl.col("cost_usd", "energy_kwh", "carbon_g").sum(), pl.col("quantity").sum(), pl.col("unit").first()
    )
    for item in per["item"].unique(maintain_order=True).to_list():
        colour, pattern = _ITEMS.get(item, (COLOURS[0], "+"))
        mine = {row["configuration"]: row for row in per.filter(item=item).iter_rows(named=True)}
        rows = [mine.get(name) for name in names]
        if not any(row and row["cost_usd"] > 0.0 for row in rows):
            continue
        figure.add_bar(
            x=[row["cost_usd"] if row else 0.0 for row in rows],
            y=labels,
            orientation="h",
            name=item,
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "fgcolor": "white", "fillmode": "overlay", "size": 6},
            },
            customdata=[f"{row['quantity']:.4g} {row['unit']}" if row else "" for row in rows],
            hovertemplate=f"{item}: %{{x:.4~g}} USD, %{{customdata}}<extra></extra>",
            row=1,
            col=1,
        )
    total = {
        row["configuration"]: row
        for row in per.group_by("configuration")
        .agg(pl.col("cost_usd", "energy_kwh", "carbon_g").sum())
        .iter_rows(named=True)
    }
    dearest = max((row["cost_usd"] for row in total.values()), default=0.0)
    hungriest = max((row["energy_kwh"] for row in total.values()), default=0.0)
    words = {
        1: [f"\u2009{total[name]['cost_usd']:.4g} USD" for name in names],
        2: [f"\u2009{total[name]['energy_kwh']:.3g} kWh, {total[name]['carbon_g']:.3g} g CO2e" for name in names],
    }
    figure.add_bar(
        x=[total[name]["energy_kwh"] for name in names],
        y=labels,
        orientation="h",
        name="energy used",
        marker={"color": GREEN},
        showlegend=False,
        hovertemplate="%{x:.4~g} kWh<extra></extra>",
        row=1,
        col=2,
    )
    for column, key in ((1, "cost_usd"), (2, "energy_kwh")):
        figure.add_scatter(
            x=[total[name][key] for name in names],
            y=labels,
            mode="text",
            text=words[column],
            textposition="middle right",
            textfont={"size": 12},
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text="cost [USD]", range=[0.0, 1.25 * dearest or 1.0], nticks=6, row=1, col=1)
    figure.update_xaxes(title_text="energy [kWh]", range=[0.0, 2.5 * hungriest or 1.0], nticks=4, row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", ticklabelstandoff=6)
    figure.update_layout(barmode="stack", bargap=0.4, legend_traceorder="normal")
    said = "; ".join(
        f"{name} {total[name]['cost_usd']:.4g} USD and {total[name]['energy_kwh']:.3g} kWh" for name in names
    )
    alt = f"Stacked bars of what was paid for, item by item, and bars of the energy used. {said}."
    return finish(figure, "Cost and energy", alt, height=170 + 46 * len(names), margin={"t": 90})
