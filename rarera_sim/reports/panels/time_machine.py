"""`time_machine`: the state of a log at any moment, as it was and as it was known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Recorded
from rarera_sim.core.incidents import Incident, incidents
from rarera_sim.core.projection import Projection, Tally, fold
from rarera_sim.core.time import SECOND, parse_timestamp
from rarera_sim.reports.figures import BLUE, GREY, INK, POINTS_MAX, TEMPLATE, VERMILION
from rarera_sim.reports.panels.job import Job
from rarera_sim.reports.panels.live import keep, widget_of
from rarera_sim.reports.panels.logs import incidents_beside, log_of, moment
from rarera_sim.reports.panels.look import Panel, note, status, table

EVENTS_MAX = 200_000
AROUND = 4  # events shown before and after the moment
ROWS_MAX = 40
PLAY_EVERY = 0.25  # seconds
_EVERY = 500  # positions between remembered states


def time_machine(source: Any, *, projection: Projection[Any] | None = None, field: str = "speed") -> TimeMachine:
    """A panel that goes to any moment of a log.

    At each position it shows the state twice: *as known*, what the events that had been recorded by then make, and
    *as of*, what was true at that time, whenever we learned of it. Late events make the two differ.

    Parameters
    ----------
    source
        A log, its path or URL, or a comparison that kept one. At most 200,000 events are looked at.
    projection
        What makes a state of events; `Tally(field)` where it is left out.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "late", {}, source="EWR", sequence=s, time=t) for s, t in ((2, 20), (1, 10))])
    >>> machine = time_machine(log)
    >>> machine.position.value = 1
    >>> machine.known, machine.true
    ({'EWR': {'late': [1, 0, 0]}}, {'EWR': {'late': [2, 0, 0]}})
    """
    log = log_of(source)
    return TimeMachine(log, projection or Tally(field), incidents(incidents_beside(source, log)))


class TimeMachine(Panel):
    """See `time_machine`. `position` is the scrubber; `known` and `true` are the two states."""

    def __init__(self, log: Any, projection: Projection[Any], noticed: Sequence[Incident]) -> None:
        self._projection = projection
        self.events: list[Recorded] = list(islice(log.read(), EVENTS_MAX))
        if not self.events:
            raise BadInput("the log is empty: there is no moment to go to")
        self.cut = log.head() > len(self.events)
        self.incidents = noticed
        self._times = np.array([each.event.time for each in self.events])
        self._newest = np.maximum.accumulate(self._times)
        self._remembered: list[Any] = []  # the state before each _EVERY-th position
        self._remember()
        last = len(self.events)
        self.position = widgets.IntSlider(
            min=1, max=last, value=last, description="position", readout=False, layout={"width": "60%"}
        )
        self.box = widgets.Text(
            value=str(last), description="position", continuous_update=False, layout={"width": "220px"}
        )
        self.box_note = widgets.HTML()
        self.when = widgets.Text(description="or moment", continuous_update=False, layout={"width": "420px"})
        self.play = widgets.Button(
            description="Play", tooltip="Go on from here; again to pause", layout={"width": "90px"}
        )
        self.job: Job | None = None
        self.back = widgets.Button(description="Back", layout={"width": "90px"})
        self.on = widgets.Button(description="On", layout={"width": "90px"})
        self.status = widgets.HTML()
        self.states = widgets.HTML()
        self.around = widgets.HTML()
        self.causes = widgets.HTML()
        self.figure = self._figure()
        self.position.observe(lambda _: self._go(), "value")
        self.box.observe(self._typed, "value")
        self.when.observe(self._moment, "value")
        # Not `widgets.Play`, whose buttons have no names for a screen reader.
        self.play.on_click(self._play)
        self.back.on_click(lambda _: self._step(-1))
        self.on.on_click(lambda _: self._step(1))
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                widgets.HTML("<h2>Time machine</h2>"),
                widgets.HBox([self.play, self.position, self.back, self.on], layout=wrap),
                widgets.HBox([self.box, self.when, self.box_note], layout=wrap),
                self.status,
                self.figure,
                widgets.HBox([self.states, widgets.VBox([self.around, self.causes])], layout={"flex_flow": "row wrap"}),
            ]
        )
        self._go()

    def _remember(self) -> None:
        state = self._projection.initial()
        for place, (_, event) in enumerate(self.events):
            if place % _EVERY == 0:
                self._remembered.append(deepcopy(state))
            state = self._projection.apply(state, event)

    def _figure(self) -> go.FigureWidget:
        step = -(-len(self.events) // (POINTS_MAX // 2))
        places = np.arange(0, len(self.events), step)
        first = self._times.min()
        ages = (self._times - first) / SECOND
        figure = go.Figure()
        figure.add_scattergl(
            x=places + 1,
            y=ages[places],
            mode="markers",
            marker={"size": 4, "color": BLUE, "opacity": 0.6},
            name="events",
            hovertemplate="position %{x}, created at %{y:.1f} s<extra></extra>",
        )
        known = np.searchsorted(self._newest, [each.detected for each in self.incidents])
        figure.add_scatter(
            x=np.minimum(known + 1, len(self.events)),
            y=np.array([(each.detected - first) / SECOND for each in self.incidents]),
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": VERMILION},
            name="incidents detected",
            text=[f"{each.kind}: {each.reason}" for each in self.incidents],
            hovertemplate="%{text}<extra></extra>",
        )
        figure.add_vline(x=1, line={"color": INK, "width": 2})
        figure.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"})
        figure.update_xaxes(title_text="position in the log: when we learned of it")
        figure.update_yaxes(title_text="created [s after the first]")
        figure.update_layout(
            template=TEMPLATE,
            height=330,
            margin={"t": 56, "l": 60, "r": 15, "b": 50},
            meta={"alt": "Events by position and creation time; a point below others was late. Lines show the moment."},
        )
        return widget_of(figure)

    # Where we are

    def _step(self, by: int) -> None:
        self.position.value = min(self.position.max, max(1, self.position.value + by))

    def _play(self, _: Any) -> None:
        """Go on by a two-hundredth of the log at a time, or stop doing so."""
        if self.job is not None and self.job.running:
            self.job.cancel()
            return
        if self.position.value == self.position.max:
            self.position.value = 1
        self.play.description = "Pause"
        self.job = Job(self._go_on, self._paused)

    def _go_on(self, job: Job) -> None:
        step = max(1, self.position.max // 200)
        while self.position.value < self.position.max:
            job.check()
            self._step(step)
            time.sleep(PLAY_EVERY)

    def _paused(self, _: Job) -> None:
        self.play.description = "Play"

    def _typed(self, change: Any) -> None:
        text = change["new"].strip()
        if text.isascii() and text.isdecimal() and 1 <= int(text) <= self.position.max:
            self._refuse("")
            self.position.value = int(text)
        else:
            self._refuse(f"position must be a whole number 1 to {self.position.max}, got {text[:40] or 'nothing'}")

    def _moment(self, change: Any) -> None:
        try:
            when = parse_timestamp(change["new"].strip())
        except BadInput as error:
            self._refuse(str(error))
            return
        self._refuse("")
        # The last position that was recorded when nothing newer had come.
        place = int(np.searchsorted(self._newest, when, side="right"))
        self.position.value = min(self.position.max, max(1, place))

    def _refuse(self, why: str) -> None:
        self.box_note.value = note(why, bad=True) if why else ""

    # What is there

    def states_at(self, position: int) -> tuple[Any, Any]:
        """As known after so many positions, and as of the newest creation time among them."""
        start = position // _EVERY
        start = min(start, len(self._remembered) - 1)
        known = fold(
            self._projection,
            (event for _, event in self.events[start * _EVERY : position]),
            deepcopy(self._remembered[start]),
        )
        now = self._newest[position - 1]
        true = fold(self._projection, (self.events[place].event for place in np.flatnonzero(self._times <= now)))
        return known, true

    def incidents_at(self, position: int) -> Sequence[Incident]:
        """Those that were detected and not yet ended then, the newest first."""
        now = self._newest[position - 1]
        return [
            each
            for each in reversed(self.incidents)
            if each.detected <= now and all(end is None or end > now for end in (each.compensated, each.given_up))
        ]

    def _go(self) -> None:
        position = self.position.value
        now = int(self._newest[position - 1])
        self.known, self.true = self.states_at(position)
        unknown = int((self._times[position:] <= now).sum())
        self.box.value = str(position)
        late = f"; {unknown:,} events of before are not known yet" if unknown else ""
        cut = f" Only the first {len(self.events):,} events of the log are looked at." if self.cut else ""
        self.status.value = status(f"Position {position:,} of {self.position.max:,}, {moment(now)}{late}.{cut}")
        self.states.value = _states_html(self.known, self.true)
        self.around.value = self._around_html(position)
        self.causes.value = self._causes_html(position)
        with self.figure.batch_update():
            self.figure.layout.shapes[0].update(x0=position, x1=position)
            age = (now - int(self._times.min())) / SECOND
            self.figure.layout.shapes[1].update(y0=age, y1=age)
        keep(self.figure, points=False)

    def _around_html(self, position: int) -> str:
        low, high = max(0, position - 1 - AROUND), min(len(self.events), position + AROUND)
        rows, marks = [], []
        for place in range(low, high):
            number, event = self.events[place]
            behind = (int(self._newest[place]) - event.time) / SECOND
            rows.append(
                (
                    number,
                    event.stream,
                    event.type,
                    moment(event.time),
                    f"{behind:,.1f}" if behind else "",
                    _short(event.data),
                )
            )
            marks.append("now" if place == position - 1 else "later" if place >= position else "")
        headings = ("position", "stream", "type", "created", "late by [s]", "data")
        return table("Events around it", headings, rows, texts=(1, 2, 3, 5), marks=marks)

    def _causes_html(self, position: int) -> str:
        if not self.incidents:
            return "<p>No incident is written down in this log.</p>"
        rows = [
            (each.id, each.kind, each.source or "unknown", _which(each), each.reason, moment(each.detected))
            for each in self.incidents_at(position)[:10]
        ]
        if not rows:
            return "<p>No incident is open at this moment.</p>"
        headings = ("incident", "kind", "source", "sequences", "cause", "detected")
        return table("Open incidents", headings, rows, texts=(1, 2, 4, 5))


def _which(incident: Incident) -> str:
    if incident.first is None:
        return ""
    return str(incident.first) if incident.first == incident.last else f"{incident.first} to {incident.last}"


def _states_html(known: Any, true: Any) -> str:
    """Both states side by side, line by line."""
    ours, theirs = dict(_lines(known)), dict(_lines(true))
    names = list(dict.fromkeys([*theirs, *ours]))
    # What differs is what one looks for.
    names.sort(key=lambda name: ours.get(name) == theirs.get(name))
    rows = [(name, ours.get(name, "none"), theirs.get(name, "none")) for name in names[:ROWS_MAX]]
    marks = ["now" if known != true else "" for _, known, true in rows]
    caption = "State" if len(names) <= ROWS_MAX else f"State, {ROWS_MAX} of {len(names)} lines, those that differ first"
    return table(caption, ("what", "as known", "as of"), rows, marks=marks)


def _lines(state: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(state, dict):
        return [line for key, value in state.items() for line in _lines(value, f"{name} {key}".strip())]
    return [(name or "value", _short(state))]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
