"""Panels for notebooks and for the dashboard: a scenario worked on, a log looked into, a comparison taken apart.

A panel is a `VBox` that shows itself when it is the last line of a cell. What it does it does in attributes that plain
Python can call, `panel.run.click()` and `panel.job.wait()`, so that none of it needs a browser to be tested.

Work is done in a thread that the click starts and an event ends, see `job`: a kernel that works inside of a callback
does not hear the next click.
"""

from rarera_sim.reports.panels.compare_explorer import CompareExplorer, compare_explorer
from rarera_sim.reports.panels.incident_explorer import IncidentExplorer, incident_explorer
from rarera_sim.reports.panels.time_machine import TimeMachine, time_machine
from rarera_sim.reports.panels.workbench import Workbench, workbench

__all__ = [
    "CompareExplorer",
    "IncidentExplorer",
    "TimeMachine",
    "Workbench",
    "compare_explorer",
    "incident_explorer",
    "time_machine",
    "workbench",
]
