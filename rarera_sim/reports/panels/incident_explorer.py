"""`incident_explorer`: from an incident to its source, its way through the stages, and what was done about it."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from rarera_sim.core.errors import BadInput, RareraError
from rarera_sim.core.event import Recorded
from rarera_sim.core.incidents import Incident, incident_life, incidents
from rarera_sim.core.lineage import find_event, lineage
from rarera_sim.core.log import EventLog
from rarera_sim.core.time import SECOND
from rarera_sim.reports.panels.logs import incidents_beside, log_of, moment, named
from rarera_sim.reports.panels.look import Panel, escaped, note, status, table

ALL = "all"
SHOWN_MAX = 500
EFFECTS_MAX = 50


def incident_explorer(source: Any) -> IncidentExplorer:
    """A panel that leads from what was noticed to where it came from and what became of it.

    Parameters
    ----------
    source
        A log, its path or URL, or a comparison that kept one. Journeys through the stages are shown where they are kept
        beside the log, and incidents are looked for beside it too, where a run writes them.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.incidents import IncidentBook, Kind
    >>> from rarera_sim.core.journal import Journal
    >>> log = MemoryLog()
    >>> _ = log.append(IncidentBook(Journal("gate")).detect(Kind.MISSING, 5, reason="hole", source="EWR", first=7)[1])
    >>> panel = incident_explorer(log)
    >>> panel.listed.options
    (('gate-1: missing of EWR, traced', 'gate-1'),)
    """
    log = log_of(source)
    return IncidentExplorer(log, incidents_beside(source, log))


class IncidentExplorer(Panel):
    """See `incident_explorer`. `listed` is the list of incidents, `event` the box in which any event can be named."""

    def __init__(self, log: EventLog, noticed: EventLog) -> None:
        self._log = log
        self._noticed = noticed
        self.incidents = incidents(noticed)
        kinds = list(dict.fromkeys(each.kind.value for each in self.incidents))
        states = list(dict.fromkeys(each.status for each in self.incidents))
        self.kind = widgets.Dropdown(options=[ALL, *kinds], description="kind")
        self.state = widgets.Dropdown(options=[ALL, *states], description="state")
        self.listed = widgets.Select(options=[], description="incident", rows=8, layout={"width": "560px"})
        self.event = widgets.Text(
            description="event",
            placeholder="SOURCE#SEQUENCE, a position, or the beginning of a UID",
            continuous_update=False,
            layout={"width": "560px"},
        )
        self.event_note = widgets.HTML()
        self.status = widgets.HTML()
        self.life = widgets.HTML()
        self.trace = widgets.HTML()
        for each in (self.kind, self.state):
            each.observe(lambda _: self._list(), "value")
        self.listed.observe(lambda _: self._show_incident(), "value")
        self.event.observe(lambda change: self._show_event(change["new"]), "value")
        self._list()
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                widgets.HTML("<h2>Incidents</h2>"),
                widgets.HBox([self.kind, self.state], layout=wrap),
                self.listed,
                self.status,
                self.life,
                widgets.HBox([self.event, self.event_note], layout=wrap),
                self.trace,
            ]
        )

    def _list(self) -> None:
        found = [
            each
            for each in self.incidents
            if self.kind.value in (ALL, each.kind.value) and self.state.value in (ALL, each.status)
        ]
        shown = found[:SHOWN_MAX]
        self.listed.options = [
            (f"{each.id}: {each.kind.value} of {each.source or 'an unknown source'}, {each.status}", each.id)
            for each in shown
        ]
        if shown:
            self.listed.value = shown[0].id
        more = f" The first {SHOWN_MAX} are listed." if len(found) > len(shown) else ""
        if not self.incidents:
            self.status.value = status("No incident is written down in this log; an event can be named all the same.")
        else:
            self.status.value = status(f"{len(found):,} of {len(self.incidents):,} incidents.{more}")
        self._show_incident()

    def _show_incident(self) -> None:
        if self.listed.value is None:
            self.life.value = self.trace.value = ""
            return
        incident = incident_life(self._noticed, self.listed.value)
        self.life.value = _life_html(incident)
        name = _event_of(incident)
        self.event_note.value = ""
        if name is None:
            self.trace.value = "<p>Its event was never recorded: there is no way to show.</p>"
        else:
            self._show_event(name)

    def _show_event(self, name: str) -> None:
        """The way of an event, what caused it and what it caused."""
        name = name.strip()
        if not name:
            return
        try:
            recorded = find_event(self._log, name)
            self.event_note.value = ""
        except RareraError as error:
            self.event_note.value = note(str(error), bad=True)
            return
        self.trace.value = _stages_html(self._log, recorded) + _lineage_html(self._log, recorded)


def _event_of(incident: Incident) -> str | None:
    if incident.position is not None:
        return str(incident.position)
    if incident.source is not None and incident.first is not None:
        return f"{incident.source}#{incident.first}"
    return None


def _life_html(incident: Incident) -> str:
    steps = [
        ("detected", incident.detected, f"{incident.kind.value}: {incident.reason}"),
        ("traced", incident.traced, f"source {incident.source}, sequences {incident.first} to {incident.last}"),
        ("compensated", incident.compensated, incident.outcome),
        ("given up", incident.given_up, incident.outcome),
    ]
    rows = [
        (name, moment(time), f"{(time - incident.detected) / SECOND:,.3f}", what)
        for name, time, what in steps
        if time is not None
    ]
    if incident.open:
        due = f"due {moment(incident.due)}" if incident.due is not None else "a person has to decide"
        rows.append(("open", "", "", due))
    return table(f"Incident {incident.id}", ("step", "when", "after [s]", "what"), rows, texts=(1, 3))


def _stages_html(log: Any, recorded: Recorded) -> str:
    steps_of = getattr(log, "steps_of", None)
    steps = steps_of(recorded.event.id) if steps_of is not None else []
    caption = f"Through the stages: {named(recorded)}"
    if not steps:
        return f"<p>{escaped(caption)}: its journey was not kept beside the log.</p>"
    first = steps[0].time
    rows = [(step.stage, f"{step.time:,.3f}", f"{step.time - first:,.3f}", step.where) for step in steps]
    return table(caption, ("stage", "at [s]", "after [s]", "where"), rows, texts=(3,))


def _lineage_html(log: EventLog, recorded: Recorded) -> str:
    try:
        found = lineage(log, recorded.event.id)
    except BadInput as error:
        return f"<p>{escaped(error)}</p>"
    rows: list[tuple[object, ...]] = [("cause", _line(each)) for each in reversed(found.causes)]
    rows.append(("this", _line(recorded)))
    rows += [("effect", " " * 2 * each.depth + _line(each.recorded)) for each in found.effects[:EFFECTS_MAX]]
    if found.cause_missing is not None:
        rows.insert(0, ("cause", f"{found.cause_missing.hex()[:16]}..., which is not in this log"))
    marks = ["now" if kind == "this" else "" for kind, _ in rows]
    return table("What caused it, and what it caused", ("", "event"), rows, texts=(1,), marks=marks)


def _line(recorded: Recorded) -> str:
    return f"{named(recorded)}, {moment(recorded.event.time)}"
