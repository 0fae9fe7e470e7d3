"""Policies against one another: what being late less costs, and how they behave when something happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from rarera_sim.reports.figures.look import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    finish,
    lasting,
    log_ticks,
    looks,
    pareto,
    plain,
)

_LEAST_LATE = 1e-5  # drawn for nothing late: a logarithmic axis has no zero
_FAR = 8.0  # multiples beyond it are left out: the others would share a corner


def lateness_and_cost(study: pl.DataFrame, *, ours: str, target: float = 0.01) -> go.Figure:
    """Cost against the share of late events, one panel per trace: every policy as tuned on other days, and the front.

    Parameters
    ----------
    study
        trace, target, setting, policy, multiple, violations: see `experiments.study.compared`; without faults.
    ours
        The policy that stands out.
    target
        Which of the allowed shares is drawn.
    """
    chosen = study.filter(pl.col("setting").is_in(["tuned", "plan"]), target=target)
    traces = chosen["trace"].unique(maintain_order=True).to_list()
    figure = make_subplots(
        rows=1,
        cols=max(1, len(traces)),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        subplot_titles=[plain(trace) for trace in traces],
    )
    of_ours = pl.col("policy") == ours
    of_plan = pl.col("setting") == "plan"
    last = pl.col("policy").str.ends_with("+ late-last")
    kinds = [
        ("served in order of arrival", ~of_ours & ~of_plan & ~last, "circle", GREY),
        ("late ones served last", ~of_ours & ~of_plan & last, "diamond", ORANGE),
        ("plans that know the future", of_plan, "star", GREEN),
        (ours, of_ours, "square", BLUE),
    ]
    kinds = [kind for kind in kinds if not chosen.filter(kind[1]).is_empty()]
    said: list[str] = []
    for column, trace in enumerate(traces, start=1):
        panel = chosen.filter(pl.col("multiple") <= _FAR, trace=trace)
        for label, which, symbol, colour in kinds:
            mine = panel.filter(which)
            figure.add_scatter(
                x=mine["multiple"].to_list() or [None],
                y=[100.0 * max(_LEAST_LATE, late) for late in mine["violations"]] or [None],
                mode="markers",
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 1, "color": INK}},
                name=plain(label),
                legendgroup=label,
                showlegend=column == 1,
                text=[plain(policy) for policy in mine["policy"]],
                hovertemplate="%{text}: %{x:.3~g} times the plan, %{y:.3~g} % late<extra></extra>",
                row=1,
                col=column,
            )
        rivals = panel.filter(~of_plan)
        points = {row["policy"]: (row["multiple"], row["violations"]) for row in rivals.iter_rows(named=True)}
        front = pareto(points)
        figure.add_scatter(
            x=[points[name][0] for name in front],
            y=[100.0 * max(_LEAST_LATE, points[name][1]) for name in front],
            mode="lines",
            line={"color": INK, "width": 1.5, "dash": "dot", "shape": "hv"},
            name="nobody is better in both",
            legendgroup="front",
            showlegend=column == 1,
            hoverinfo="skip",
            row=1,
            col=column,
        )
        figure.add_hline(y=100.0 * target, line={"color": INK, "width": 1.2, "dash": "dash"}, row=1, col=column)
        said.append(f"{trace}: {', '.join(front)}")
    late = [100.0 * max(_LEAST_LATE, value) for value in chosen["violations"]]
    figure.update_yaxes(type="log", **log_ticks(late))
    none = f", none at {100 * _LEAST_LATE:g}" if min(late, default=1.0) <= 100.0 * _LEAST_LATE else ""
    figure.update_yaxes(title_text=f"late events [%], log{none}", row=1, col=1)
    figure.update_xaxes(nticks=5, rangemode="tozero")
    figure.update_xaxes(title_text="cost, as a multiple of the oracle's plan", row=1, col=(len(traces) + 1) // 2)
    alt = (
        "Points, one panel per trace: cost as a multiple of the oracle's plan against the share of late events, each "
        f"policy as tuned on other days; the allowed share of {100 * target:g} % as a line. Nobody is better in both "
        f"than, from the cheapest on, {'; '.join(said)}. Beyond {_FAR:g} times the plan nothing is drawn."
    )
    legend = {"y": 1.0 + 30.0 / 300}
    return finish(figure, "Cost and late events", alt, height=470, margin={"t": 130}, legend=legend)


def behaviour_in_situations(periods: pl.DataFrame, situations: Mapping[str, str], *, at: float) -> go.Figure:
    """What policies do when something happens: replicas on the left, what comes of it on the right.

    Parameters
    ----------
    periods
        situation, policy, time_s, needed, ready, late, spot: see `experiments.situations.behaviour`.
    situations
        What happens, in words, by situation.
    at
        When it happens, seconds.
    """
    names = periods["situation"].unique(maintain_order=True).to_list()
    policies = periods["policy"].unique(maintain_order=True).to_list()
    divisor, unit, length = lasting(periods["time_s"])
    figure = make_subplots(
        rows=len(names),
        cols=2,
        shared_xaxes="all",
        vertical_spacing=0.3 / len(names) ** 1.1,
        horizontal_spacing=0.09,
        subplot_titles=[
            title for name in names for title in (f"{plain(name)}: {plain(situations[name])}", _right(name))
        ],
    )
    for place, name in enumerate(names, start=1):
        here = periods.filter(situation=name)
        first = here.filter(policy=policies[0])
        figure.add_scatter(
            x=(first["time_s"] / divisor).to_numpy(),
            y=first["needed"].to_numpy(),
            mode="lines",
            line={"color": GREY, "width": 1.2, "dash": "dot"},
            name="busy replicas needed",
            legendgroup="needed",
            showlegend=place == 1,
            hovertemplate=f"needed: %{{y:.3~g}} at %{{x:.4~g}} {unit}<extra></extra>",
            row=place,
            col=1,
        )
        for policy, look in looks(policies).items():
            mine = here.filter(policy=policy)
            for column, values, word in (
                (1, mine["ready"], "ready"),
                (2, mine["spot"] if name == "price" else 100.0 * mine["late"], "spot" if name == "price" else "% late"),
            ):
                figure.add_scatter(
                    x=(mine["time_s"] / divisor).to_numpy(),
                    y=values.to_numpy(),
                    mode="lines",
                    line={"color": look.colour, "dash": look.dash, "width": 1.8, "shape": "hv"},
                    name=plain(policy),
                    legendgroup=policy,
                    showlegend=place == 1 and column == 1,
                    hovertemplate=f"{plain(policy)}: %{{y:.3~g}} {word} at %{{x:.4~g}} {unit}<extra></extra>",
                    row=place,
                    col=column,
                )
        for column in (1, 2):
            figure.add_vline(x=at / divisor, line={"color": INK, "width": 1.2, "dash": "dot"}, row=place, col=column)
    figure.update_annotations(xanchor="left", font={"size": 13})
    for number, note in enumerate(figure.layout.annotations):
        note.x = 0.0 if number % 2 == 0 else 0.545
    figure.update_yaxes(rangemode="tozero", nticks=4)
    figure.update_yaxes(title_text="replicas", row=(len(names) + 1) // 2, col=1)
    figure.update_xaxes(title_text=f"simulated time [{unit}]", row=len(names))
    said = "; ".join(_said(periods.filter(situation=name), name, policies) for name in names)
    alt = (
        f"Lines over {length}, one row per situation, each of which begins at {at / divisor:.3g} {unit}: on the left "
        f"the replicas ready and those that the load needs, on the right the share of late events, of the price the "
        f"spot replicas. {said}."
    )
    margin = {"t": 118, "b": 60}
    legend = {"y": 1.0 + 30.0 / (130 * len(names))}
    return finish(
        figure,
        "Behaviour when something happens",
        alt,
        height=margin["t"] + margin["b"] + 130 * len(names),
        margin=margin,
        legend=legend,
    )


def _right(situation: str) -> str:
    return "spot replicas" if situation == "price" else "late events [%]"


def _said(periods: pl.DataFrame, situation: str, policies: Sequence[str]) -> str:
    """Late events, and replicas on average, in words."""
    found = periods.group_by("policy").agg(pl.col("late").mean(), pl.col("ready").mean())
    of = {row["policy"]: row for row in found.iter_rows(named=True)}
    words = (f"{policy} {of[policy]['late']:.2%} late with {of[policy]['ready']:.1f} replicas" for policy in policies)
    return f"{situation}: {', '.join(words)}"
