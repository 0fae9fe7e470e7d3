"""The panels without a browser: their buttons are clicked, their boxes are typed into, from plain Python."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import IncidentBook, Kind
from rarera_sim.core.journal import Journal
from rarera_sim.core.time import SECOND
from rarera_sim.core.trace import Stage, Step
from rarera_sim.experiments.compare import compare as really_compare
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import Scenario, parse_scenario
from rarera_sim.reports.panels import compare_explorer, incident_explorer, time_machine, workbench
from rarera_sim.reports.panels.compare_explorer import pareto
from rarera_sim.reports.panels.controls import SECTIONS, Controls, allowed_in
from rarera_sim.reports.panels.dashboard import Dashboard
from rarera_sim.reports.panels.job import Job
from rarera_sim.reports.panels.live import point_count

LONG = 120.0  # seconds until a test gives up; nothing takes as long

TOML = """
name = "small"
title = "Small <b>one</b>"
field = "value"

[arrivals]
kind = "poisson"
rate = 2.0

[service]
mean = 1.0

[channel]
loss = 0.05
duplication = 0.05
delay_mean = 0.1

[control]
replicas_max = 10

[run]
duration = 300.0
training = 60.0
replications = 2

[log]
storage = "memory"

[[configurations]]
transport = "log"
policy = "fixed"
parameters = { replicas = 4 }

[[configurations]]
transport = "queue-at-most-once"
policy = "hpa"
"""


@pytest.fixture
def scenario() -> Scenario:
    return parse_scenario(TOML)


@pytest.fixture
def panel(scenario, tmp_path):
    made = workbench(scenario, folder=tmp_path / "report")
    yield made
    if made.job is not None:
        made.job.cancel()
        assert made.job.wait(LONG)


def long(scenario: Scenario) -> Scenario:
    """One that nobody waits for the end of."""
    return msgspec.structs.replace(
        scenario, run=msgspec.structs.replace(scenario.run, duration=1_000_000.0, replications=50)
    )


# Controls


def test_every_number_of_a_scenario_has_a_control_with_its_range(scenario):
    controls = Controls(scenario)
    for tables in SECTIONS.values():
        for table in tables:
            settings = getattr(scenario, table)
            if settings is None or table == "trace":
                continue
            for allowed in allowed_in(type(settings)):
                control = controls[f"{table}.{allowed.path}"]
                assert control.value == getattr(settings, allowed.path)
                assert control.box.description
                if allowed.kind in ("float", "int"):
                    assert control.slider is not None
                    assert control.allowed.range in control.note.value.replace("&gt;", ">")
    assert controls.scenario == scenario


@pytest.mark.parametrize("text", ["1.5", "-0.1", "nan", "inf", "much", "", "1e999", "<script>"])
@pytest.mark.parametrize("path", ["channel.loss", "objective.quantile"])
def test_bad_input_is_refused_beside_the_control_and_changes_nothing(scenario, path, text):
    controls = Controls(scenario)
    control = controls[path]
    before = control.value
    control.box.value = text
    control.box.value = text
    assert control.value == before
    assert path in control.note.value
    assert 'role="alert"' in control.note.value
    assert "<script>" not in control.note.value
    assert controls.problem == control.refused
    control.box.value = "0.5"
    assert (control.value, control.refused, controls.problem) == (0.5, "", "")


def test_every_number_box_refuses_words_and_what_is_out_of_range(scenario):
    controls = Controls(scenario)
    for title in SECTIONS:
        controls._make(title)
    numbers = [each for each in controls._made.values() if each.slider is not None]
    assert len(numbers) > 50
    for control in numbers:
        for text in ("abc", "-1", "1e400"):
            control.box.value = text
            assert control.refused, (control.allowed.path, text)
        control.set(control.value)
    assert controls.scenario == scenario


def test_slider_and_number_box_say_the_same(scenario):
    controls = Controls(scenario)
    control = controls["service.mean"]
    control.slider.value = 2.0
    assert (control.value, control.box.value) == (2.0, "2")
    control.box.value = "123"
    assert control.slider.value == 123.0


def test_what_may_be_empty_may_be_empty(scenario):
    control = Controls(scenario)["crashes.mtbf"]
    control.box.value = "600"
    assert (control.value, control.slider.disabled) == (600.0, False)
    control.box.value = ""
    assert (control.value, control.slider.disabled, control.refused) == (None, True, "")


def test_what_does_not_go_together_is_said_beside_the_control(scenario):
    controls = Controls(scenario)
    controls["control.replicas_min"].box.value = "11"
    assert "more than replicas_max" in controls["control.replicas_min"].refused
    assert controls.problem
    controls["control.replicas_min"].box.value = "2"
    assert (controls.problem, controls["control.replicas_min"].refused) == ("", "")


# The workbench


def test_a_run_gives_what_compare_gives(panel, scenario):
    panel.run.click()
    assert panel.job.wait(LONG)
    assert panel.job.error is None
    assert panel.comparison.digest == really_compare(scenario, jobs=1).digest
    assert not panel.comparison.interrupted
    assert point_count(panel.figure) == 20  # 300 s, a period of 15 s each
    assert "log / fixed" in panel.results.value
    assert panel.progress.value == 1.0
    assert "Done: 4 runs" in panel.status.value


def test_watching_a_run_does_not_change_it(panel, scenario):
    panel.run.click()
    assert panel.job.wait(LONG)
    assert panel.experiment.outcomes[0].digest == run(scenario, 1).digest


def test_cancel_ends_a_run_in_the_middle_and_keeps_what_is_done(scenario, tmp_path):
    panel = workbench(scenario, folder=tmp_path)
    panel.run.click()
    assert panel.job.wait(LONG)
    panel = workbench(long(scenario), folder=tmp_path)
    panel.run.click()
    while panel.experiment.live is None or panel.experiment.live.now == 0.0:
        assert panel.job.running
    panel.cancel.click()
    assert "Cancelled: 0 of 100 runs" in panel.status.value  # before the model has ended
    assert panel.job.wait(LONG)
    assert panel.job.cancelled
    assert panel.experiment.live.now < 1_000_000.0
    assert not panel.run.disabled
    assert panel.cancel.disabled
    assert panel.comparison is None


def test_what_was_done_before_a_cancel_is_not_done_again(panel):
    panel.experiment = None
    panel.run.click()
    while len(panel.experiment.outcomes) < 1:
        assert panel.job.running
    panel.cancel.click()
    assert panel.job.wait(LONG)
    done = len(panel.experiment.outcomes)
    if done < 4:
        assert panel.comparison.interrupted
    digests = [each.digest for each in panel.experiment.outcomes]
    panel.run.click()
    assert panel.job.wait(LONG)
    assert panel.experiment._before == done
    assert [each.digest for each in panel.experiment.outcomes[:done]] == digests


def test_two_panels_at_once_do_not_disturb_each_other(panel, scenario, tmp_path):
    other = workbench(scenario, seed=2, folder=tmp_path)
    panel.run.click()
    other.run.click()
    assert panel.job.wait(LONG)
    assert other.job.wait(LONG)
    assert panel.comparison.digest == really_compare(scenario, jobs=1).digest
    assert other.comparison.digest == really_compare(scenario, seed=2, jobs=1).digest


def test_reset_goes_back_to_the_scenario(panel, scenario):
    panel.controls["channel.loss"].box.value = "0.5"
    panel.choices[0].box.value = False
    assert panel.scenario != scenario
    panel.reset.click()
    assert panel.scenario == scenario
    assert panel.controls["channel.loss"].box.value == "0.05"


def test_without_faults_there_are_none(panel):
    panel.faults.value = panel.faults.options[1]
    assert panel.scenario.channel.loss == 0.0
    assert panel.scenario.service.mean == 1.0


def test_configurations_are_chosen_and_added(panel):
    panel.transport.value, panel.policy.value = "log", "erlang-c"
    panel.add.click()
    assert [each.label for each in panel.scenario.configurations][-1] == "log / erlang-c"
    panel.add.click()
    assert len(panel.choices) == 3
    for choice in panel.choices:
        choice.box.value = False
    assert panel.run.disabled
    assert "choose one at least" in panel.choice_note.value


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "9999999999999999999999"])
def test_a_bad_seed_is_refused_beside_its_box(panel, text):
    panel.seed.value = "7"
    panel.seed.value = text
    assert panel.run.disabled
    assert "seed must be a whole number" in panel.seed_note.value
    panel.seed.value = "3"
    assert not panel.run.disabled


def test_the_code_does_what_run_does(panel):
    panel.controls["channel.loss"].box.value = "0.25"
    found: dict[str, object] = {}
    exec(panel.code.value.replace("rarera_sim.compare(", "(lambda *a, **k: (a, k))("), found)
    assert found["scenario"] == panel.scenario
    assert found["comparison"][1] == {"seed": 1}


def test_the_toml_is_saved_and_nothing_else_overwritten(panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel.save.click()
    assert parse_scenario(Path("small.toml").read_text()) == panel.scenario
    panel.controls["channel.loss"].box.value = "0.25"
    panel.save.click()
    assert "is there already" in panel.toml_note.value
    assert tomllib.loads(Path("small.toml").read_text())["channel"]["loss"] == 0.05
    panel.toml_name.value = "small.txt"
    panel.save.click()
    assert "must end in .toml" in panel.toml_note.value


def test_toml_is_applied_or_refused(panel):
    panel.toml.value = panel.toml.value.replace("loss = 0.05", "loss = 5")
    panel.apply.click()
    assert "channel.loss" in panel.toml_note.value
    assert panel.scenario.channel.loss == 0.05
    panel.toml.value = panel.toml.value.replace("loss = 5", "loss = 0.125")
    panel.apply.click()
    assert panel.scenario.channel.loss == 0.125


def test_results_are_added_to_a_report(panel, tmp_path):
    assert panel.report.disabled
    panel.run.click()
    assert panel.job.wait(LONG)
    panel.report.click()
    (page,) = panel.kept
    assert page.is_file()
    assert page.name in (tmp_path / "report" / "index.html").read_text()
    assert "<b>" not in (tmp_path / "report" / "index.html").read_text()


def test_what_goes_wrong_in_a_run_is_said(panel, monkeypatch):
    def fails(*_, **__):
        raise BadInput("the disk is full")

    monkeypatch.setattr("rarera_sim.reports.panels.experiment.do", fails)
    panel.run.click()
    assert panel.job.wait(LONG)
    assert "the disk is full" in panel.status.value
    assert not panel.run.disabled


def test_names_from_a_file_are_text_and_not_html(panel):
    assert "Small &lt;b&gt;one" in panel.title.value


def test_a_job_that_fails_ends_all_the_same():
    def fails(_):
        raise OSError("gone")

    job = Job(fails)
    assert job.wait(LONG)
    assert isinstance(job.error, OSError)
    assert not job.cancelled


# The time machine


def flights() -> MemoryLog:
    """A thousand events, every tenth of them late, and two incidents."""
    log = MemoryLog()
    events = [
        Event(f"P{k % 3}/s", "made", {"speed": float(k)}, source="S", sequence=k + 1, time=_when(k) * SECOND)
        for k in range(1000)
    ]
    log.append(events)
    book = IncidentBook(Journal("gate"))
    number, opened = book.detect(Kind.MISSING, 500 * SECOND, reason="hole", source="S", first=41, last=41)
    log.append([*opened, book.compensate(number, 700 * SECOND, "sent again")])
    log.append(book.detect(Kind.DAMAGED, 600 * SECOND, reason="a bit is wrong")[1])
    log.save_steps([Step(1.0, Stage.CREATED, events[40].id, "source"), Step(3.5, Stage.FINISHED, events[40].id, "p")])
    return log


def _when(k: int) -> int:
    return k - 200 if k % 10 == 0 and k >= 300 else k


def test_as_known_and_as_of_are_what_rebuild_gives():
    from rarera_sim.core.projection import Tally, rebuild

    log = flights()
    machine = time_machine(log)
    for position in (1, 37, 499, 500, 501, 750, 1000, log.head()):
        machine.position.value = position
        now = max(event.time for _, event in log.read(upto=position))
        assert machine.known == rebuild(Tally("speed"), log, upto=position), position
        assert machine.true == rebuild(Tally("speed"), log, as_of=now), position


def test_late_events_make_the_two_states_differ_and_it_is_said():
    machine = time_machine(flights())
    machine.position.value = 250
    assert machine.known != machine.true
    assert re.search(r"[1-9]\d* events of before are not known yet", machine.status.value)


@pytest.mark.parametrize("text", ["0", "1e3", "-1", "x", "99999", ""])
def test_a_position_that_is_not_there_is_refused(text):
    machine = time_machine(flights())
    machine.position.value = 10
    machine.box.value = text
    assert machine.position.value == 10
    assert "whole number 1 to" in machine.box_note.value


def test_a_moment_leads_to_what_was_known_then():
    machine = time_machine(flights())
    machine.when.value = "1970-01-01T00:00:10Z"
    assert machine.position.value == 11
    machine.when.value = "yesterday"
    assert 'role="alert"' in machine.box_note.value


def test_it_plays_and_pauses():
    machine = time_machine(flights())
    machine.position.value = 990
    machine.play.click()
    assert machine.play.description == "Pause"
    assert machine.job.wait(LONG)
    assert machine.position.value == machine.position.max
    assert machine.play.description == "Play"
    machine.play.click()  # from the beginning
    machine.play.click()
    assert machine.job.wait(LONG)
    assert machine.job.cancelled
    assert machine.position.value < 100


def test_open_incidents_stand_beside_their_moment():
    machine = time_machine(flights())
    machine.position.value = 550
    assert "hole" in machine.causes.value
    machine.position.value = 800
    assert "hole" not in machine.causes.value
    assert "a bit is wrong" in machine.causes.value


def test_a_log_that_holds_nothing_is_refused():
    with pytest.raises(BadInput, match="log is empty"):
        time_machine(MemoryLog())


def test_a_file_that_is_not_there_is_refused_and_not_made(tmp_path):
    with pytest.raises(BadInput):
        time_machine(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


# Incidents


def test_an_incident_leads_to_its_source_stages_and_end():
    panel = incident_explorer(flights())
    assert len(panel.listed.options) == 2
    panel.kind.value = "missing"
    assert panel.listed.value == "gate-1"
    for word in ("hole", "source S, sequences 41 to 41", "sent again", "200.000"):
        assert word in panel.life.value
    assert "finished" in panel.trace.value
    assert "2.500" in panel.trace.value
    panel.kind.value = "all"
    panel.state.value = "detected"
    assert "a bit is wrong" in panel.life.value
    assert "never recorded" in panel.trace.value


def test_any_event_can_be_named_and_a_wrong_name_is_refused():
    panel = incident_explorer(flights())
    panel.event.value = "S#5"
    assert "5: P1/s made" in panel.trace.value
    panel.event.value = "nobody#1"
    assert "there is no event" in panel.event_note.value


def test_incidents_are_found_beside_the_log_of_a_run(tmp_path):
    from rarera_sim.adapters.sqlite import SqliteLog

    path = tmp_path / "log.sqlite"
    with SqliteLog(path) as log, SqliteLog(tmp_path / "log.incidents.sqlite") as beside:
        log.append([Event("P/s", "made", {"speed": 1.0}, source="S", sequence=7, time=SECOND)])
        beside.append(
            IncidentBook(Journal("gate")).detect(Kind.ABNORMAL, SECOND, reason="stuck", source="S", first=7)[1]
        )
    panel = incident_explorer(path)
    assert panel.listed.value == "gate-1"
    assert "Through the stages: 1: P/s made" in panel.trace.value
    assert [each.id for each in time_machine(path).incidents] == ["gate-1"]


# Comparisons


def test_the_front_holds_what_nobody_beats():
    assert pareto([3.0, 1.0, 2.0, 2.0], [1.0, 3.0, 2.0, 2.5]) == [1, 2, 0]
    assert pareto([1.0, 1.0], [1.0, 1.0]) == [0, 1]


def test_brushing_shows_the_runs_behind_a_point(compare):
    panel = compare_explorer(compare(5, periods=8))
    points = type("Points", (), {"point_inds": [0, 2]})()
    panel._brushed(None, points, None)
    assert panel.chosen.value == ("queue at-most-once / hpa", "log / peak")
    assert panel.runs.value.count("<td>queue at-most-once / hpa</td>") == 1 + 5
    assert "Paired differences from log / price-aware" in panel.differences.value
    assert "cannot be told apart" in panel.differences.value or "more" in panel.differences.value


def test_the_measure_against_cost_can_be_changed(compare):
    panel = compare_explorer(compare(5, periods=8))
    before = list(panel.figure.data[1].x)
    panel.measure.value = "on_time"
    assert list(panel.figure.data[1].x) != before
    assert panel.figure.layout.xaxis.title.text == "on time [%]"


def test_one_replication_has_no_intervals_and_is_shown(compare):
    panel = compare_explorer(compare(1, periods=8))
    assert panel.figure.data[1].error_x.array is None
    assert "Paired differences" in panel.differences.value


# The dashboard


def test_the_dashboard_takes_results_and_opens_logs(scenario, tmp_path):
    run(scenario, 1, log_path=tmp_path / "log.sqlite")
    panel = Dashboard(scenario)
    panel.take.click()
    assert "Nothing was run yet" in panel.compared.children[0].value
    panel.workbench.run.click()
    assert panel.workbench.job.wait(LONG)
    panel.take.click()
    assert "Pareto front" in panel.compared.children[0].status.value
    panel.source.value = str(tmp_path / "none.sqlite")
    panel.look.click()
    assert 'role="alert"' in panel.times.children[0].value
    panel.source.value = str(tmp_path / "log.sqlite")
    panel.look.click()
    assert "Position" in panel.times.children[0].status.value
    assert "No incident" in panel.incidents.children[0].status.value


# The commands


def test_init_writes_a_scenario_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    from rarera_sim.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert parse_scenario(Path("scenario.toml").read_text()).name == "mine"
    Path("scenario.toml").write_text("mine")
    assert main(["init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("scenario.toml").read_text() == "mine"
    assert main(["init", "--force"]) == 0
    assert main(["init", "scenario.txt"]) == 2
    assert not Path("scenario.txt").exists()


def test_the_app_refuses_a_bad_scenario_before_anything_starts(tmp_path, capsys):
    from rarera_sim.cli import main

    (tmp_path / "bad.toml").write_text("name = 1")
    assert main(["app", str(tmp_path / "bad.toml")]) == 2
    assert "name" in capsys.readouterr().err


def test_the_app_listens_on_this_machine_and_asks_for_a_token():
    from rarera_sim.cli.app import arguments

    told = arguments(port=1, theme="light", browser=True, token=True)
    assert "--Voila.ip=127.0.0.1" in told
    assert "--Voila.auto_token=True" in told
    assert Path(told[0]).is_file()
    assert "--Voila.auto_token=True" not in arguments(port=1, theme="light", browser=True, token=False)
