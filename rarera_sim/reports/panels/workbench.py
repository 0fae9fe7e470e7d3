"""`workbench`: change a scenario by hand, run it, watch it, keep what came out."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from dataclasses import replace as with_fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import anywidget
import ipywidgets as widgets
import msgspec
import traitlets

from rarera_sim.core.errors import BadInput, RareraError
from rarera_sim.experiments.compare import Comparison
from rarera_sim.experiments.scenario import Configuration, Scenario, default_scenario, parse_scenario
from rarera_sim.policies import POLICIES
from rarera_sim.reports.page import write_page
from rarera_sim.reports.panels.controls import FAULTS, Controls
from rarera_sim.reports.panels.experiment import Experiment
from rarera_sim.reports.panels.job import Job
from rarera_sim.reports.panels.live import Drawing, Live, keep, live_figure
from rarera_sim.reports.panels.look import Panel, escaped, note, status, table
from rarera_sim.reports.tables import EFFORT, INTEGRITY, QUALITY, Section
from rarera_sim.simulation.world import TransportKind

REPORTS = Path("rarera-report")
_WITH, _WITHOUT = "as set below", "none of them"


def workbench(scenario: Scenario | None = None, *, seed: int = 1, folder: Path | str = REPORTS) -> Workbench:
    """A panel in which a scenario is changed, run, watched and kept.

    Parameters
    ----------
    scenario
        What it begins with, and goes back to on Reset; the main job's where it is left out.
    seed
        Of the first replication.
    folder
        Where "Add to report" writes.

    Examples
    --------
    >>> import rarera_sim.experiments.scenario as scenarios
    >>> panel = workbench(scenarios.parse_scenario(scenarios.starter_scenario_text()))
    >>> panel.controls["channel.loss"].box.value = "2"
    >>> panel.controls["channel.loss"].refused, panel.run.disabled
    ('channel.loss must be 0 to 1, got 2', True)

    `panel.run.click(); panel.job.wait()` runs it, `panel.comparison` is then what came out.
    """
    return Workbench(scenario or default_scenario(), seed=seed, folder=Path(folder))


class Copy(anywidget.AnyWidget):
    """A button that puts a text on the clipboard; where that is not allowed it selects the text instead."""

    text = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("Copy").tag(sync=True)
    _esm = """
    export default { render({ model, el }) {
      const button = document.createElement("button");
      button.className = "jupyter-button widget-button";
      button.style.width = "auto";
      const say = text => { button.textContent = text; };
      say(model.get("label"));
      button.addEventListener("click", async () => {
        try { await navigator.clipboard.writeText(model.get("text")); say("Copied"); }
        catch { say("Not allowed: select it and copy"); }
        setTimeout(() => say(model.get("label")), 2000);
      });
      el.appendChild(button);
    } };
    """


@dataclass
class Choice:
    """A configuration that can be ticked."""

    configuration: Configuration
    box: Any


class Workbench(Panel):
    """See `workbench`.

    Attributes for whoever drives it from Python: `controls`, `choices`, `run`, `cancel`, `reset`, `job`, `scenario`,
    `comparison`, `figure`.
    """

    def __init__(self, scenario: Scenario, *, seed: int, folder: Path) -> None:
        self._base = scenario
        self._folder = folder
        self._memory = TemporaryDirectory(prefix="rarera-runs-")  # of runs that need not be done again
        self.job: Job | None = None
        self.experiment: Experiment | None = None
        self.kept: list[Path] = []
        self.controls = Controls(scenario, self._refresh)
        self.choices: list[Choice] = []

        self.run = widgets.Button(description="Run", button_style="primary", tooltip="Run what is set")
        self.cancel = widgets.Button(description="Cancel", disabled=True, tooltip="Stop; what is done is kept")
        self.reset = widgets.Button(description="Reset", tooltip="Everything as the scenario says")
        self.progress = widgets.FloatProgress(min=0.0, max=1.0, layout={"width": "260px"})
        self.progress_text = widgets.HTML()
        self.status = widgets.HTML()
        self.title = widgets.HTML()
        self.seed = widgets.Text(
            value=str(seed), description="seed", continuous_update=False, layout={"width": "200px"}
        )
        self.seed_note = widgets.HTML()
        self.faults = widgets.RadioButtons(options=[_WITH, _WITHOUT], description="faults", layout={"width": "auto"})
        self.figure = live_figure(scenario.objective.bound)
        self._drawing = Drawing(self.figure)
        self.live_text = widgets.HTML()
        self.results = widgets.HTML()
        self.choice_box = widgets.VBox()
        self.choice_note = widgets.HTML()
        self.transport = widgets.Dropdown(options=_transports(scenario), value="log", description="transport")
        self.policy = widgets.Dropdown(options=list(POLICIES), value="hpa", description="policy")
        self.add = widgets.Button(description="Add", tooltip="Add this configuration to those that can be run")
        self.code = widgets.Textarea(description="Python", disabled=False, rows=12, layout={"width": "100%"})
        self.copy_code = Copy(label="Copy as code")
        self.toml = widgets.Textarea(description="TOML", rows=18, layout={"width": "100%"}, continuous_update=False)
        self.apply = widgets.Button(description="Apply", tooltip="Set everything as this TOML says")
        self.toml_name = widgets.Text(value=f"{scenario.name}.toml", description="file", continuous_update=False)
        self.save = widgets.Button(description="Save as TOML", layout={"width": "auto"})
        self.download = widgets.HTML()
        self.toml_note = widgets.HTML()
        self.report = widgets.Button(
            description="Add to report",
            disabled=True,
            layout={"width": "auto"},
            tooltip="Write a page with these results, and list it beside the earlier ones",
        )
        self.report_note = widgets.HTML()

        self.run.on_click(self._run)
        self.cancel.on_click(self._cancel)
        self.reset.on_click(self._reset)
        self.add.on_click(self._add)
        self.apply.on_click(self._apply)
        self.save.on_click(self._save)
        self.report.on_click(self._report)
        for each in (self.seed, self.faults):
            each.observe(lambda _: self._refresh(), "value")
        self._choose(scenario)
        self._refresh()
        super().__init__(self._laid_out())

    def _laid_out(self) -> list[Any]:
        setting = widgets.Tab(
            [
                widgets.VBox(
                    [
                        self.choice_box,
                        self.choice_note,
                        widgets.HBox([self.transport, self.policy, self.add], layout={"flex_flow": "row wrap"}),
                    ]
                ),
                widgets.VBox([self.faults, self.controls.widget]),
                widgets.VBox(
                    [
                        self.toml,
                        widgets.HBox([self.apply, self.toml_name, self.save, self.download], layout=_WRAP),
                        self.toml_note,
                    ]
                ),
                widgets.VBox([self.code, self.copy_code]),
            ],
            titles=("Configurations", "Settings", "As TOML", "As code"),
        )
        self.tabs = setting
        return [
            self.title,
            setting,
            widgets.HBox([self.run, self.cancel, self.reset, self.seed, self.seed_note], layout=_WRAP),
            widgets.HBox([self.progress, self.progress_text], layout=_WRAP),
            self.status,
            self.live_text,
            self.figure,
            self.results,
            widgets.HBox([self.report, self.report_note], layout=_WRAP),
        ]

    # What is set

    @property
    def scenario(self) -> Scenario:
        """What would be run now."""
        chosen = tuple(each.configuration for each in self.choices if each.box.value)
        scenario = msgspec.structs.replace(self.controls.scenario, configurations=chosen)
        if self.faults.value == _WITHOUT:
            scenario = msgspec.structs.replace(scenario, **{name: type(getattr(scenario, name))() for name in FAULTS})
        return scenario

    @property
    def comparison(self) -> Comparison | None:
        """What came out so far, as `compare` gives it; None before the first run is done."""
        found = self.experiment.comparison() if self.experiment else None
        return found and with_fields(found, command=f"rarera run --scenario {self.toml_name.value} --seed {found.seed}")

    def _seed(self) -> int:
        text = self.seed.value.strip()
        if not (text.isascii() and text.isdecimal() and int(text) < 2**63):
            raise BadInput(f"seed must be a whole number from 0 to 2^63 - 1, got {text[:40] or 'nothing'}")
        return int(text)

    def _choose(self, scenario: Scenario) -> None:
        self.choices = []
        for configuration in scenario.configurations:
            self._offer(configuration)
        self.choice_box.children = [each.box for each in self.choices]

    def _offer(self, configuration: Configuration) -> None:
        box = widgets.Checkbox(value=True, description=configuration.label, indent=False, layout={"width": "auto"})
        box.observe(lambda _: self._refresh(), "value")
        self.choices.append(Choice(configuration, box))

    def _add(self, _: Any) -> None:
        configuration = Configuration(transport=self.transport.value, policy=self.policy.value)
        there = next((each for each in self.choices if each.configuration.label == configuration.label), None)
        try:
            if there is None:
                _stands(self.controls.scenario, configuration)
                self._offer(configuration)
                self.choice_box.children = [each.box for each in self.choices]
            else:
                there.box.value = True
        except BadInput as error:
            self.choice_note.value = note(_plain(error), bad=True)
            return
        self._refresh()

    def _refresh(self) -> None:
        """Say what holds now, and whether it can be run."""
        scenario = self.scenario
        problem = self.controls.problem
        if not scenario.configurations:
            self.choice_note.value = note("choose one at least", bad=True)
            problem = problem or "no configuration is chosen"
        else:
            runs = len(scenario.configurations) * scenario.run.replications
            self.choice_note.value = note(f"{len(scenario.configurations)} chosen, {runs} runs")
        try:
            seed = self._seed()
            self.seed_note.value = note("whole number ≥ 0: another one is another weather")
            self.seed.remove_class("rarera-refused")
        except BadInput as error:
            self.seed_note.value = note(str(error), bad=True)
            self.seed.add_class("rarera-refused")
            problem, seed = problem or str(error), 1
        busy = self.job is not None and self.job.running
        self.run.disabled = bool(problem) or busy
        name = escaped(scenario.title or scenario.name)
        self.title.value = f"<h2>{name}</h2>"
        if problem:
            self.status.value = status(f"Cannot run: {problem}", bad=True)
            return
        if not busy:
            doubts = "; ".join(scenario.warnings())
            self.status.value = status(f"Note: {doubts}" if doubts else "Ready.")
        text = scenario.to_toml()
        self.toml.value = text
        self.code.value = self.copy_code.text = code_of(scenario, seed)
        encoded = base64.b64encode(text.encode()).decode()
        self.download.value = (
            f'<a download="{escaped(scenario.name)}.toml" href="data:application/toml;base64,{encoded}">Download</a>'
        )

    def _apply(self, _: Any) -> None:
        try:
            scenario = parse_scenario(self.toml.value, place="this TOML")
        except BadInput as error:
            self.toml_note.value = note(str(error), bad=True)
            return
        self._set(scenario)
        self.toml_note.value = note("Applied.")

    def _reset(self, _: Any) -> None:
        if self.job is not None:
            self.job.cancel()
        self._set(self._base)
        self.toml_note.value = ""

    def _set(self, scenario: Scenario) -> None:
        self.faults.value = _WITH
        self._choose(scenario)
        self.controls.reset(scenario)

    # Running

    def _run(self, _: Any) -> None:
        if self.run.disabled:
            return
        self.run.disabled, self.cancel.disabled, self.report.disabled = True, False, True
        self.results.value = self.report_note.value = ""
        self.progress.value, self.progress.bar_style = 0.0, ""
        self.status.value = status("Reading what arrives, and training the policies.")
        self.experiment = Experiment(
            self.scenario, self._seed(), memory=self._memory, shown=self._show, done=self._tabulate
        )
        bound = self.experiment.scenario.objective.bound
        self.figure.layout.shapes[0].update(y0=bound, y1=bound)
        self.job = Job(self.experiment, self._ended)

    def _cancel(self, _: Any) -> None:
        if self.job is None or not self.job.running:
            return
        # The answer comes from here, at once; the model ends at its next step.
        self.job.cancel()
        self.cancel.disabled = True
        assert self.experiment is not None, "a job has an experiment"
        done, count = len(self.experiment.outcomes), len(self.experiment.tasks)
        self.status.value = status(f"Cancelled: {done} of {count} runs are done and kept.")

    def _show(self, live: Live) -> None:
        experiment, job = self.experiment, self.job
        if experiment is None or experiment.live is not live or (job is not None and job.stopping):
            return
        self._drawing.show(live.series)
        self.progress.value = experiment.progress
        left = experiment.time_left
        shown = f"{100 * experiment.progress:.0f} %" + (f", about {_clock(left)} left" if left is not None else "")
        self.progress_text.value = note(shown)
        task = experiment.task
        assert task is not None, "something is run"
        about = (
            f"{task.configuration.label}, replication {task.replication + 1} of {experiment.scenario.run.replications}"
        )
        self.status.value = status(f"Running {about}.")
        self.live_text.value = f"<p>At {live.now:,.0f} s: {escaped(live.reason or 'no word')}</p>"

    def _tabulate(self) -> None:
        assert self.experiment is not None, "something was run"
        self.results.value = results_html(self.experiment.rows(), self.experiment.scenario)

    def _ended(self, job: Job) -> None:
        experiment = self.experiment
        assert experiment is not None, "a job has an experiment"
        done, count = len(experiment.outcomes), len(experiment.tasks)
        if experiment.live is not None:
            self._drawing.show(experiment.live.series, at_once=True)
        keep(self.figure)
        if isinstance(job.error, RareraError):
            self.status.value = status(_plain(job.error), bad=True)
        elif job.error is not None:
            self.status.value = status(f"This should not have happened: {job.error!r}", bad=True)
        elif job.cancelled:
            self.status.value = status(f"Cancelled: {done} of {count} runs are done and kept.")
        else:
            self.status.value = status(f"Done: {count} runs.")
        self.progress.value = experiment.progress
        self.progress.bar_style = "success" if done == count else "warning"
        self.progress_text.value = note(f"{done} of {count} runs")
        self.cancel.disabled = True
        self.report.disabled = done == 0
        self.run.disabled = bool(self.controls.problem) or not self.scenario.configurations

    # Keeping

    def _save(self, _: Any) -> None:
        path = Path(self.toml_name.value.strip() or "scenario.toml")
        text = self.scenario.to_toml()
        try:
            if path.suffix != ".toml":
                raise BadInput(f"the file must end in .toml, got {path.name}")
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise BadInput(f"{path} is there already and says something else; choose another name")
            path.write_text(text, encoding="utf-8")
        except (BadInput, OSError, ValueError) as error:
            self.toml_note.value = note(str(error), bad=True)
            return
        self.toml_note.value = note(f"Saved: {path}")

    def _report(self, _: Any) -> None:
        comparison = self.comparison
        if comparison is None:
            return
        path = self._folder / f"{len(self.kept) + 1:02d}-{comparison.digest[:8]}.html"
        try:
            write_page(comparison, path)
            self.kept.append(path)
            links = "".join(f'<li><a href="{each.name}">{escaped(each.stem)}</a></li>' for each in self.kept)
            heading = escaped(comparison.scenario.title or comparison.scenario.name)
            (self._folder / "index.html").write_text(
                f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
                f'<meta name="color-scheme" content="light dark"><h1>{heading}</h1><ol>{links}</ol></html>',
                encoding="utf-8",
            )
        except (BadInput, OSError) as error:
            self.report_note.value = note(str(error), bad=True)
            return
        self.report_note.value = note(f"Added: {path}, listed in {self._folder / 'index.html'}")


def code_of(scenario: Scenario, seed: int) -> str:
    """Python that does what Run does.

    >>> print(code_of(default_scenario(), seed=7).splitlines()[-1])
    comparison = rarera_sim.compare(scenario, seed=7)
    """
    toml = scenario.to_toml().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return (
        f'import rarera_sim\n\nscenario = rarera_sim.parse_scenario("""\\\n{toml}""")\n'
        f"comparison = rarera_sim.compare(scenario, seed={seed})\n"
    )


def results_html(rows: list[dict[str, Any]], scenario: Scenario) -> str:
    """Tables of results, each number with its interval over the replications."""
    objective = scenario.objective
    promise = f"{100 * objective.quantile:g} % within {objective.bound:g} s"
    return "".join(_section(section, rows, promise) for section in (QUALITY, INTEGRITY, EFFORT)) + (
        "<p>Means over the replications with 95 % intervals; one replication has none.</p>"
    )


def _section(section: Section, rows: list[dict[str, Any]], promise: str) -> str:
    headings = ["configuration", "runs", *(column.heading for column in section.columns)]
    cells = [
        [row["configuration"], row["runs"], *(column.cell(row, row["runs"]).text for column in section.columns)]
        for row in rows
    ]
    return table(f"{section.title} ({promise})", headings, cells)


def _stands(scenario: Scenario, configuration: Configuration) -> None:
    """Refuse a configuration that the scenario cannot have."""
    parse_scenario(msgspec.structs.replace(scenario, configurations=(configuration,)).to_toml(), place="configuration")


def _transports(scenario: Scenario) -> list[str]:
    # Without content there is nothing for a log or a queue to carry, and `direct` is for arrivals without.
    kinds = list(get_args(TransportKind))
    return kinds if scenario.arrivals is not None else [kind for kind in kinds if kind != "direct"]


def _plain(error: Exception) -> str:
    return str(error).removeprefix("scenario: ").removeprefix("configuration: ")


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


_WRAP = {"flex_flow": "row wrap", "align_items": "center"}
