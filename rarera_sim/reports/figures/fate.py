"""What became of events: lost, repeated, late; and what led to what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from rarera_sim.reports import Row
from rarera_sim.reports.figures.look import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    caption,
    error_bars,
    finish,
    looks,
    minus,
    plain,
)
from rarera_sim.reports.tables import estimate, written

TROUBLES = ("lost", "repeated", "late", "damaged")


def funnel(rows: Sequence[Row]) -> go.Figure:
    """What became of the events: intended against recorded on the left; lost, repeated, late, damaged on the right."""
    names = [plain(row["configuration"]) for row in rows]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04, column_widths=[0.5, 0.5])
    bars = (
        (1, "sent", "intended: sent", GREY, "", [row["sent"] for row in rows]),
        (1, "recorded", "recorded", SKY, "/", [row["recorded"] for row in rows]),
        (1, "", "in the state", BLUE, "x", [minus(row["sent"], row["lost"]) for row in rows]),
        (2, "lost", "lost", VERMILION, "", [row["lost"] for row in rows]),
        (2, "repeated", "repeated", ORANGE, "/", [row["repeated"] for row in rows]),
        (2, "late", "late", GREEN, ".", [row["late"] for row in rows]),
        (2, "damaged", "damaged content applied", PURPLE, "x", [row["damaged"] for row in rows]),
    )
    # The first of the left panel is at the height of the first of the right.
    groups = [sum(each[0] == bar[0] for each in bars[:place]) for place, bar in enumerate(bars)]
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
            error_x=error_bars(rows, key, INK) if key else None,
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "fgcolor": "white", "fillmode": "overlay", "size": 6},
            },
            offsetgroup=groups[place],
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
                offsetgroup=groups[place],
                legendgroup=label,
                showlegend=False,
                hoverinfo="skip",
                cliponaxis=False,
                row=1,
                col=2,
            )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", ticklabelstandoff=6)
    figure.update_xaxes(title_text="events", rangemode="tozero", nticks=5, tickformat=",d")
    most = max((row[f"{key}_high"] or row[key] or 0.0) for row in rows for key in TROUBLES)
    # Room for the numbers beside the longest bars.
    figure.update_xaxes(range=[0.0, 1.4 * most if most > 0.0 else 1.0], col=2)
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05, scattermode="group", scattergap=0.25)
    said = "; ".join(
        f"{row['configuration']} " + ", ".join(f"{key} {written(row, key, decimals=1)}" for key in TROUBLES)
        for row in rows
    )
    alt = (
        "Grouped bars, one group per configuration: on the left events sent, recorded and in the state (sent less "
        f"lost); on the right events lost, repeated, late and applied with damaged content. {said}."
    )
    return finish(
        figure, "From sent to state: lost, repeated, late, damaged", alt, height=190 + 84 * len(rows), margin={"t": 126}
    )


def _later(seconds: float) -> str:
    """In a unit in which it is no fraction: sources count in nanoseconds, and people do not."""
    unit, scale = next(
        (each for each in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)) if abs(seconds) >= each[1]), ("ns", 1e-9)
    )
    number = seconds / scale
    written = f"{number:,.0f}" if abs(number) >= 1000.0 else f"{number:.4g}"
    return f"+{written} {unit}" if seconds else "at once"


def causation_tree(tree: pl.DataFrame, *, nodes_max: int = 120) -> go.Figure:
    """What one event led to, as a tree written line by line: each event one step right of its cause.

    Parameters
    ----------
    tree
        number, parent (null for the first), depth, label, type, time_s: see `reports.frames.causation`.
    nodes_max
        Most events drawn, in the order of the tree; the figure says how many are left out.
    """
    drawn = tree.head(nodes_max)
    left_out = tree.height - drawn.height
    depth, line = drawn["depth"].to_numpy(), np.arange(drawn.height)
    line_of = dict(zip(drawn["number"].to_list(), line.tolist(), strict=True))
    figure = go.Figure()
    x: list[float | None] = []
    y: list[float | None] = []
    for row, at in zip(drawn.iter_rows(named=True), line.tolist(), strict=True):
        if row["parent"] in line_of:
            # Down from the cause, then right to the event.
            x += [row["depth"] - 1, row["depth"] - 1, row["depth"], None]
            y += [line_of[row["parent"]], at, at, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": INK, "width": 1.2}, hoverinfo="skip", showlegend=False, name="led to"
    )
    types = drawn["type"].unique(maintain_order=True).to_list()
    for place, (kind, look) in enumerate(looks(types).items()):
        of_kind = (drawn["type"] == kind).to_numpy()
        figure.add_scatter(
            x=depth[of_kind],
            y=line[of_kind],
            mode="markers+text",
            marker={"symbol": MARKERS[place % len(MARKERS)], "size": 12, "color": look.colour},
            text=[
                f"\u2002{plain(row['label'])}  {_later(row['time_s'])}"
                for row in drawn.filter(pl.Series(of_kind)).iter_rows(named=True)
            ],
            textposition="middle right",
            name=plain(kind),
            cliponaxis=False,
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    # The words stand right of the deepest event.
    deepest = int(depth.max()) if len(depth) else 0
    words = drawn["label"].str.len_chars().max() or 0
    room = deepest + 0.6 + 0.012 * (words + 14) * max(3, deepest + 1)  # type: ignore[operator]
    figure.update_xaxes(
        range=[-0.3, room],
        tickvals=list(range(deepest + 1)),
        title_text="steps from the first cause",
        gridcolor=FAINT,
        zeroline=False,
    )
    figure.update_yaxes(visible=False, range=[drawn.height - 0.4, -0.6])
    more = f"{left_out:,} further events are left out." if left_out else ""
    if more:
        caption(figure, more)
    first = drawn["label"][0] if drawn.height else "nothing"
    alt = (
        f"Tree of {drawn.height} events, each one step right of the event that caused it. It begins with {first} and "
        f"is {deepest} steps deep. {more}"
    ).rstrip()
    margin = {"t": 96, "b": 90 if more else 60}
    return finish(
        figure, "What led to what", alt, height=margin["t"] + margin["b"] + 26 * max(4, drawn.height), margin=margin
    )
