"""What a run tells while it runs, folded into a few series, and the figure that shows them."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rarera_sim.core.trace import Stage
from rarera_sim.metrics.correctness import DETECTIONS
from rarera_sim.metrics.cost import replica_cost
from rarera_sim.reports.figures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, TEMPLATE, VERMILION
from rarera_sim.simulation.control import Control
from rarera_sim.simulation.direct import Served
from rarera_sim.simulation.world import Watchers

SHOW_EVERY = 0.25  # seconds on the wall clock
PATIENCE = 3.0  # seconds that a browser is waited for
POINTS_MAX = 1000  # of each line
LEVELS = (0.5, 0.95, 0.99)
MADE_GOOD = frozenset((Stage.RESENT, Stage.REFUSED, Stage.RELEASED, Stage.REDELIVERED))
_DETECTED = frozenset(DETECTIONS) - {Stage.REDELIVERED}
_DROPPED = frozenset(
    (Stage.DROPPED, Stage.UNREADABLE, Stage.MISREAD, Stage.REJECTED, Stage.DEAD_LETTER, Stage.ABANDONED)
)

# name -> (row, column, label, colour, dash, shape)
LINES: dict[str, tuple[int, int, str, str, str, str]] = {
    "p50": (1, 1, "p50", SKY, "dot", "linear"),
    "p95": (1, 1, "p95", BLUE, "dash", "linear"),
    "p99": (1, 1, "p99", VERMILION, "solid", "linear"),
    "backlog": (1, 2, "events waiting", PURPLE, "solid", "linear"),
    "ready": (2, 1, "replicas ready", BLUE, "solid", "hv"),
    "wanted": (2, 1, "decided", GREEN, "dash", "hv"),
    "offered": (2, 1, "offered load", ORANGE, "dot", "linear"),
    "detected": (2, 2, "detected", VERMILION, "solid", "linear"),
    "made_good": (2, 2, "made good", GREEN, "dash", "linear"),
    "dropped": (2, 2, "dropped", INK, "dot", "linear"),
    "cost": (3, 1, "replicas so far", BLUE, "solid", "linear"),
    "late": (3, 2, "late in the period", VERMILION, "solid", "linear"),
}
TITLES = (
    "Response time [s]",
    "Backlog [events]",
    "Replicas, decisions, load",
    "Incidents, so far",
    "Money [USD], so far",
    "Late events [%]",
)


class Live:
    """Listens to one run. `series` holds a list per line of the figure, one number per control period.

    Parameters
    ----------
    check
        Called with every step of an event; what it raises ends the run.
    show
        Called from time to time, and not more often than people can see.
    period, service_mean
        Of the scenario, seconds.
    """

    def __init__(
        self, check: Callable[[], None], show: Callable[[Live], None], *, period: float, service_mean: float
    ) -> None:
        self._check = check
        self._show = show
        self._period = period
        self._service_mean = service_mean
        self.now = 0.0
        self.reason = ""
        self.series: dict[str, list[float]] = {name: [] for name in ("time", *LINES)}
        self._received: dict[int, float] = {}
        self._responses: list[float] = []
        self._detected = self._made_good = self._dropped = 0
        self._cost = 0.0
        self._shown = 0.0

    @property
    def watchers(self) -> Watchers:
        """What `experiments.run.run` is told to tell."""
        return Watchers(control=self._control, note=self._note, serve=self._serve)

    def _note(self, stage: str, number: int, time: float) -> None:
        self._check()
        if stage == Stage.RECEIVED:
            self._received.setdefault(number, time)
        elif stage == Stage.FINISHED:
            received = self._received.pop(number, None)
            if received is not None:
                self._responses.append(time - received)
        elif stage in _DETECTED:
            self._detected += 1
        elif stage in MADE_GOOD:
            self._made_good += 1
        elif stage in _DROPPED:
            self._dropped += 1

    def _serve(self, served: Served) -> None:
        self._check()
        self._responses.extend((served.finished - served.received).tolist())

    def _control(self, control: Control) -> None:
        self._check()
        seen, decision = control.observation, control.decision
        self.now = seen.time
        self.reason = decision.reason
        self._cost += replica_cost((seen.replicas + seen.pending) * self._period, seen.price_per_hour)
        quantiles = np.quantile(self._responses, LEVELS).tolist() if self._responses else [np.nan] * len(LEVELS)
        values = (
            seen.time,
            *quantiles,
            seen.backlog,
            seen.replicas,
            decision.replicas,
            seen.arrival_rate * self._service_mean,
            self._detected,
            self._made_good,
            self._dropped,
            self._cost,
            np.nan if seen.late_share is None else 100.0 * seen.late_share,
        )
        for series, value in zip(self.series.values(), values, strict=True):
            series.append(value)
        self._responses = []
        moment = time.monotonic()
        if moment - self._shown >= SHOW_EVERY:
            self._shown = moment
            self._show(self)


def live_figure(bound: float) -> go.FigureWidget:
    """An empty figure for the series of `Live`; `bound` is the objective's, seconds."""
    figure = make_subplots(rows=3, cols=2, shared_xaxes="all", subplot_titles=TITLES, vertical_spacing=0.1)
    for name, (row, column, label, colour, dash, shape) in LINES.items():
        figure.add_scatter(
            # Not empty: JupyterLab shows a figure of empty arrays without its traces, and never anything in them.
            x=np.zeros(1),
            y=np.full(1, np.nan),
            mode="lines",
            name=label,
            meta=name,
            line={"color": colour, "dash": dash, "width": 2, "shape": shape},
            hovertemplate=f"{label} %{{y:.4~g}} at %{{x:.4~g}} s<extra></extra>",
            row=row,
            col=column,
            legend="legend" if (row, column) == (1, 1) else f"legend{2 * row + column - 2}",
        )
    legends = {
        ("legend" if place == 0 else f"legend{place + 1}"): {
            # Between the title of its plot and the plot, where no line comes.
            "x": 0.0 if place % 2 == 0 else 0.55,
            "xanchor": "left",
            "y": (1.0, 0.633, 0.267)[place // 2],
            "yanchor": "bottom",
            "orientation": "h",
            "font": {"size": 11},
            "bgcolor": "rgba(0, 0, 0, 0)",
            "visible": place < 4,
        }
        for place in range(6)
    }
    figure.update_annotations(font={"size": 13}, yshift=18)
    for place in range(6):
        figure.layout.annotations[place].update(x=0.0 if place % 2 == 0 else 0.55, xanchor="left")
    # Said in the title: a word beside the line would lie on the curves.
    figure.layout.annotations[0].text = f"{TITLES[0]}, objective {bound:g} s dashed"
    figure.add_hline(y=bound, line={"color": INK, "width": 1, "dash": "dash"}, row=1, col=1)
    figure.update_xaxes(gridcolor=FAINT)
    figure.update_yaxes(rangemode="tozero", nticks=5)
    figure.update_xaxes(title_text="simulated time [s]", row=3)
    figure.update_layout(
        template=TEMPLATE,
        height=640,
        margin={"t": 66, "l": 50, "r": 15, "b": 50},
        meta={"alt": "Six lines over simulated time: response time, backlog, replicas, incidents, money, late events."},
        **legends,
    )
    return widget_of(figure)


def widget_of(figure: go.Figure) -> go.FigureWidget:
    """A figure as a widget that takes the width of its place.

    Plotly draws it before it has one, 700 pixels wide, and looks again when the window changes: see `look.Care`.
    """
    # Traces given to the constructor: a figure that got them later is empty in Voila.
    made = go.FigureWidget(figure)
    made._config = {"responsive": True, "autosizable": True, "displaylogo": False, "showSendToCloud": False}
    return made


class Drawing:
    """Draws series in a figure, and no faster than the browser does.

    A browser that is sent more than it can draw does nothing else: not even the click on Cancel is heard.
    """

    def __init__(self, figure: go.FigureWidget) -> None:
        self._figure = figure
        self._pending = False
        self._sent = self._next = 0.0

    def show(self, series: dict[str, list[float]], *, at_once: bool = False) -> None:
        """Draw what there is; of long series every k-th point, the newest always."""
        now = time.monotonic()
        # Where nobody looks, as in a test, no answer ever comes.
        waits = now < self._next or (self._pending and now - self._sent < PATIENCE)
        if waits and not at_once:
            return
        count = len(series["time"])
        step = -(-count // POINTS_MAX) or 1
        chosen = slice((count - 1) % step if count else 0, None, step)
        x = np.array(series["time"])[chosen]
        with self._figure.batch_update():
            for trace in self._figure.data:
                trace.x = x
                trace.y = np.array(series[trace.meta], dtype=float)[chosen]
        self._pending, self._sent = True, now
        self._figure.on_edits_completed(self._drawn)

    def _drawn(self) -> None:
        now = time.monotonic()
        self._pending = False
        # As much time for everything else as the drawing took.
        self._next = now + min(now - self._sent, PATIENCE)


def keep(figure: go.FigureWidget, *, points: bool = True, layout: bool = True) -> None:
    """Let whoever opens the page anew see what is drawn now, and not what the figure was made with.

    `points` and `layout` say what of it has changed: points are many, a line that moves is layout.
    """
    if layout:
        figure._widget_layout = deepcopy(figure._layout_obj._props)
    if points:
        figure._widget_data = deepcopy(figure._data)


def point_count(figure: go.FigureWidget) -> int:
    """How many points its first line has."""
    return 0 if figure.data[0].x is None else len(figure.data[0].x)
