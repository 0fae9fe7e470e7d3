"""The panels on one page, for people without notebooks: what `rarera app` shows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from rarera_sim.core.errors import RareraError
from rarera_sim.experiments.scenario import Scenario, default_scenario, load_scenario
from rarera_sim.reports.panels.compare_explorer import compare_explorer
from rarera_sim.reports.panels.incident_explorer import incident_explorer
from rarera_sim.reports.panels.look import OWN_WIDTH, Panel, status
from rarera_sim.reports.panels.time_machine import time_machine
from rarera_sim.reports.panels.workbench import workbench

# How `rarera app` tells the notebook that Voila runs what it was asked for.
SCENARIO, LOG, FOLDER = "RARERA_APP_SCENARIO", "RARERA_APP_LOG", "RARERA_APP_FOLDER"


class Dashboard(Panel):
    """A workbench, and beside it what takes its results and a log apart.

    Parameters
    ----------
    scenario
        What the workbench begins with.
    log
        Path or URL of the log that is offered first.
    """

    def __init__(self, scenario: Scenario, log: str = "") -> None:
        self.workbench = workbench(scenario)
        self.take = widgets.Button(description="Take the results of the workbench", layout=OWN_WIDTH)
        self.source = widgets.Text(
            value=log,
            description="log",
            placeholder="out/log.sqlite",
            continuous_update=False,
            layout={"width": "420px"},
        )
        self.look = widgets.Button(description="Open", tooltip="Open the log of this path or URL")
        self.compared, self.times, self.incidents = (widgets.VBox() for _ in range(3))
        self.take.on_click(lambda _: self._take())
        self.look.on_click(lambda _: self._open())
        tabs = widgets.Tab(
            [
                self.workbench,
                widgets.VBox([self.take, self.compared]),
                widgets.VBox([widgets.HBox([self.source, self.look]), self.times, self.incidents]),
            ],
            titles=("Workbench", "Compare", "Log"),
        )
        super().__init__([widgets.HTML("<h1>RARERA</h1>"), tabs])
        if log:
            self._open()

    def _take(self) -> None:
        comparison = self.workbench.comparison
        if comparison is None:
            self.compared.children = [widgets.HTML(status("Nothing was run yet: run something in the workbench."))]
        else:
            _fill(self.compared, lambda: compare_explorer(comparison))

    def _open(self) -> None:
        source = self.source.value.strip()
        self.incidents.children = ()
        if _fill(self.times, lambda: time_machine(source)):
            _fill(self.incidents, lambda: incident_explorer(source))


def dashboard() -> Dashboard:
    """The dashboard of the scenario and the log that the environment names; of the main job's scenario without."""
    if folder := os.environ.get(FOLDER):
        os.chdir(folder)
    scenario = os.environ.get(SCENARIO)
    return Dashboard(load_scenario(Path(scenario)) if scenario else default_scenario(), os.environ.get(LOG, ""))


def _fill(box: Any, make: Callable[[], Any]) -> bool:
    try:
        box.children = [make()]
    except (RareraError, OSError) as error:
        box.children = [widgets.HTML(status(str(error), bad=True))]
        return False
    return True
