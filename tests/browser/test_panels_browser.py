"""The panels in a real JupyterLab, as a person uses them: click, type, scrub, brush, restart, reload.

One JupyterLab is started for all of its tests, which go on where the last one ended.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from browsing import ANSWERS, PATIENCE, answers, free_port, points, shot, until

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

TOUR = Path(__file__).parents[2] / "notebooks" / "00_tour.ipynb"
SETTING = '''
from pathlib import Path

import msgspec
from rarera_sim import compare, run
from rarera_sim.experiments.scenario import parse_scenario
from rarera_sim.reports.panels import workbench, time_machine, compare_explorer, incident_explorer
from rarera_sim.simulation.misbehaviour import Misbehaviour
scenario = parse_scenario("""
name = "small"
field = "value"
[arrivals]
kind = "poisson"
rate = 2.0
[service]
mean = 1.0
[channel]
loss = 0.05
[control]
replicas_max = 10
[run]
duration = 300.0
training = 60.0
warmup = 0.0
replications = 2
[log]
storage = "memory"
[[configurations]]
transport = "log"
policy = "fixed"
parameters = { replicas = 4 }
[[configurations]]
transport = "log"
policy = "fixed"
name = "more"
parameters = { replicas = 8 }
""")
long = msgspec.structs.replace(scenario, run=msgspec.structs.replace(scenario.run, duration=100000.0, replications=9))
vigilance = msgspec.structs.replace(scenario.vigilance, behaviours=("stuck", "looping"))
stuck = Misbehaviour(kind="stuck", at=150.0, duration=60.0, factor=8.0)
run(msgspec.structs.replace(scenario, misbehaviours=(stuck,), vigilance=vigilance), 1, log_path=Path("log.sqlite"))
'''
CELLS = (
    SETTING,
    "panel = workbench(long)\npanel",
    "other = workbench(scenario)\nother",
    'machine = time_machine("log.sqlite")\nmachine',
    'accidents = incident_explorer("log.sqlite")\naccidents',
    "explorer = compare_explorer(compare(scenario, jobs=1))\nexplorer",
)


def notebook_of(sources: Sequence[str]) -> dict[str, Any]:
    cells = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for k, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where JupyterLab works: a notebook with every panel, and the tour."""
    folder = tmp_path_factory.mktemp("lab")
    for name, sources in (("panels", CELLS), ("reload", CELLS[:2])):
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook_of(sources)))
    shutil.copy(TOUR, folder / "tour.ipynb")
    settings = folder / "settings" / "overrides.json"
    settings.parent.mkdir()
    settings.write_text(
        json.dumps(
            {
                # Asks nobody whether to show news, and draws cells that nobody looks at too.
                "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
                "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
            }
        )
    )
    return folder


@pytest.fixture(scope="module")
def address(started, folder):
    port = free_port()
    started(
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=open",
        "--LabApp.expose_app_in_browser=True",
        f"--LabApp.app_settings_dir={folder / 'settings'}",
        f"--ServerApp.root_dir={folder}",
        folder=folder,
    )
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def lab(address, browser):
    """The notebook with the panels, opened in JupyterLab, every cell run."""
    context = browser.new_context(viewport={"width": 1500, "height": 1400})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    until(lambda: answers(int(address.rpartition(":")[2])), page, PATIENCE / 1000)
    page.goto(f"{address}/lab/tree/panels.ipynb?token=open")
    run_all(page)
    all_shown(page)
    page.set_default_timeout(ANSWERS)
    yield page
    context.close()


def run_all(page: Any, name: str = "panels") -> None:
    """Run every cell of this notebook, of which nothing was run before, as soon as there is a kernel."""
    # JupyterLab also opens what was open before, and shows that first.
    page.wait_for_function(
        "name => window.jupyterapp?.shell.currentWidget?.context?.path === `${name}.ipynb`", arg=name
    )
    page.evaluate(
        """async () => {
            const notebook = window.jupyterapp.shell.currentWidget;
            await notebook.context.ready;
            await notebook.sessionContext.ready;
            await window.jupyterapp.commands.execute("notebook:clear-all-cell-outputs");
            await window.jupyterapp.commands.execute("notebook:run-all-cells");
        }"""
    )


def all_shown(page: Any) -> None:
    """Wait for the last panel, or for what went wrong instead."""
    last, wrong = page.get_by_label("chosen", exact=True), page.locator(".jp-OutputArea-error")
    last.or_(wrong).first.wait_for(timeout=PATIENCE)
    assert wrong.count() == 0, wrong.first.text_content()


def errors(page: Any) -> int:
    found: int = page.locator(".jp-RenderedText[data-mime-type*='stderr'], .jp-OutputArea-error").count()
    return found


def panels(page: Any) -> Any:
    return page.locator(".jp-OutputArea-output .rarera")


def button(panel: Any, name: str) -> Any:
    return panel.get_by_role("button", name=name, exact=True)


def fill(panel: Any, label: str, text: str) -> Any:
    """Type into the box of a label, and Enter."""
    box = panel.get_by_label(label, exact=True).locator("visible=true").last
    box.fill(text)
    box.press("Enter")
    return box


def newest(panel: Any) -> float:
    """How far its first line has come, in simulated time; of long ones every k-th point is drawn."""
    plot = panel.locator(".js-plotly-plot").first
    found: float = plot.evaluate("plot => { const x = plot.data?.[0]?.x; return x?.length ? x[x.length - 1] : 0; }")
    return found


def test_run_all_shows_every_panel_and_no_error(lab):
    assert panels(lab).count() == len(CELLS) - 1
    assert errors(lab) == 0


def test_the_curve_moves_while_the_model_runs_and_cancel_answers_as_fast_as_anything(lab):
    panel, idle = panels(lab).nth(0), panels(lab).nth(1)
    # How long an answer takes where nothing is run: a bad seed is refused, a good one taken.
    idle_ms = [answer_ms(idle, "seed", text) for text in ("x", "1", "x", "1", "x", "1")]
    button(panel, "Run").click()
    first = until(lambda: newest(panel), lab)
    until(lambda: newest(panel) > first, lab)
    assert panel.get_by_text(re.compile(r"\d+ %")).first.is_visible()
    shot(panel, "workbench-running")
    took = cancel_ms(panel)
    print(f"Cancel {took:.0f} ms; answers of an idle kernel {median(idle_ms):.0f} ms, {max(idle_ms):.0f} ms at most")
    # The model takes the processor, the page draws: some times what an idle kernel needs, and not a slice of the run.
    assert took < 20 * max(idle_ms), (took, idle_ms)
    until(lambda: button(panel, "Run").is_enabled(), lab)


def answer_ms(panel: Any, label: str, text: str) -> float:
    """Milliseconds from typing to what is said beside the box, by the clock of the page."""
    box = panel.get_by_label(label, exact=True)
    box.fill(text)
    found: float = box.evaluate(
        """box => new Promise(done => {
            const row = box.closest(".widget-hbox"), before = row.textContent, since = performance.now();
            const look = () => row.textContent !== before
                ? done(performance.now() - since) : requestAnimationFrame(look);
            box.dispatchEvent(new Event("change", {bubbles: true}));
            look();
        })"""
    )
    return found


def cancel_ms(panel: Any) -> float:
    """Milliseconds from the click on Cancel to "Cancelled", by the clock of the page."""
    found: float = button(panel, "Cancel").evaluate(
        """button => new Promise(done => {
            const panel = button.closest(".rarera"), since = performance.now();
            const look = () => panel.textContent.includes("Cancelled:")
                ? done(performance.now() - since) : requestAnimationFrame(look);
            button.click();
            look();
        })"""
    )
    return found


def test_two_panels_at_once(lab):
    one, other = panels(lab).nth(0), panels(lab).nth(1)
    button(one, "Run").click()
    button(other, "Run").click()
    other.get_by_text("Done: 4 runs.").wait_for()
    assert other.get_by_role("cell", name="log / fixed").first.is_visible()
    button(one, "Cancel").click()
    one.get_by_text("Cancelled:").first.wait_for()
    shot(other, "workbench-done")


def test_bad_input_into_every_control_is_refused_beside_it(lab):
    panel = panels(lab).nth(1)
    panel.get_by_role("tab", name="Settings").click()
    typed = 0
    for section in panel.locator(".jupyter-widget-Collapse-header").all():
        section.click()
        rows = panel.locator(".jupyter-widget-Collapse-open .widget-hbox").filter(has=lab.locator(".widget-text"))
        rows.first.wait_for()
        for row in rows.all():
            box = row.locator("input[type=text]")
            box.fill("much")
            box.press("Enter")
        for row in rows.all():
            row.get_by_role("alert").wait_for()
            name = row.locator(".widget-label").first.text_content()
            said = row.get_by_role("alert").text_content()
            assert re.sub(r"[._]", " ", said).startswith(f"{name} must be"), said
            assert said.endswith("got much")
        typed += rows.count()
    assert typed > 40
    assert button(panel, "Run").is_disabled()
    button(panel, "Reset").click()
    until(lambda: button(panel, "Run").is_enabled(), lab)
    assert panel.get_by_role("alert").locator("visible=true").count() == 0
    fill(panel, "seed", "first")
    panel.get_by_text("seed must be a whole number").first.wait_for()
    fill(panel, "seed", "1")
    panel.get_by_role("tab", name="As TOML").click()
    fill(panel, "file", "small.txt")
    button(panel, "Save as TOML").click()
    panel.get_by_text("the file must end in .toml").wait_for()
    until(lambda: button(panel, "Run").is_enabled(), lab)


def test_what_was_found_is_taken_elsewhere(lab, folder, browser):
    panel = panels(lab).nth(1)
    panel.get_by_role("tab", name="As code").click()
    button(panel, "Copy as code").click()
    button(panel, "Copied").wait_for()
    code = lab.evaluate("() => navigator.clipboard.readText()")
    assert "rarera_sim.compare(scenario, seed=1)" in code
    shot(panel, "workbench-code")
    panel.get_by_role("tab", name="As TOML").click()
    fill(panel, "file", "kept.toml")
    button(panel, "Save as TOML").click()
    panel.get_by_text("Saved: kept.toml").wait_for()
    assert (folder / "kept.toml").read_text() in code
    shot(panel, "workbench-toml")
    with lab.expect_download() as waiting:
        panel.get_by_role("link", name="Download").click()
    assert waiting.value.suggested_filename == "small.toml"
    button(panel, "Add to report").click()
    panel.get_by_text(re.compile("Added: ")).wait_for()
    # The page, where there is no network, answers to the pointer.
    (path,) = (each for each in (folder / "rarera-report").glob("*.html") if each.name != "index.html")
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_offline(True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "rarera-report" / "index.html").as_uri())
    page.get_by_role("link").first.click()
    dot = page.locator(".plot .point").first
    dot.scroll_into_view_if_needed()
    place = dot.bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.locator(".hoverlayer .hovertext").first.wait_for()
    assert {url.partition(":")[0] for url in asked} == {"file"}
    assert path.as_uri() in asked
    context.close()


def test_the_time_machine_is_scrubbed_by_keyboard_and_plays(lab):
    panel = panels(lab).nth(2)
    fill(panel, "position", "100")
    panel.get_by_text(re.compile(r"Position 100 of")).wait_for()
    handle = panel.get_by_role("slider", name="position")
    handle.focus()
    handle.press("ArrowRight")
    panel.get_by_text(re.compile(r"Position 101 of")).wait_for()
    button(panel, "On").click()
    panel.get_by_text(re.compile(r"Position 102 of")).wait_for()
    # The line in the figure stands there too.
    until(lambda: panel.locator(".js-plotly-plot").evaluate("plot => plot.layout.shapes[0].x0") == 102, lab)
    fill(panel, "position", "1")
    panel.get_by_text(re.compile(r"Position 1 of")).wait_for()
    button(panel, "Play").click()
    until(lambda: int(re.search(r"Position (\d+) of", panel.inner_text())[1]) > 6, lab)
    shot(panel, "time-machine-plays")
    button(panel, "Pause").click()
    button(panel, "Play").wait_for()
    for label, text, why in (
        ("position", "0", "position must be a whole number"),
        ("or moment", "yesterday", "yesterday"),
    ):
        fill(panel, label, text)
        panel.get_by_role("alert").get_by_text(why).wait_for()


def test_an_incident_leads_to_its_events(lab):
    panel = panels(lab).nth(3)
    listed = panel.get_by_label("incident", exact=True)
    assert listed.locator("option").count() > 0
    listed.locator("option").last.click()
    panel.get_by_text(re.compile("^Incident ")).wait_for()
    assert panel.get_by_role("cell", name="detected").first.is_visible()
    fill(panel, "event", "5")
    panel.get_by_text(re.compile("Through the stages: 5: ")).wait_for()
    assert panel.get_by_role("cell", name="recorded").first.is_visible()
    shot(panel, "incident-explorer")
    fill(panel, "event", "nobody#1")
    panel.get_by_role("alert").get_by_text("there is no event").wait_for()


def test_brushing_the_front_shows_the_runs_behind_it(lab):
    panel = panels(lab).nth(4)
    plot = panel.locator(".js-plotly-plot")
    plot.scroll_into_view_if_needed()
    area = plot.locator(".nsewdrag").first.bounding_box()
    lab.mouse.move(area["x"] + 3, area["y"] + 3)
    lab.mouse.down()
    lab.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2, steps=4)
    lab.mouse.move(area["x"] + area["width"] - 3, area["y"] + area["height"] - 3, steps=4)
    lab.mouse.up()
    panel.get_by_text(re.compile("2 chosen")).wait_for()
    assert panel.get_by_text("The runs behind them").is_visible()
    panel.get_by_label("chosen", exact=True).select_option("more")
    panel.get_by_text(re.compile("1 chosen")).wait_for()


def test_every_control_can_be_reached_and_has_a_name(lab):
    panels(lab).nth(1).get_by_role("tab", name="Settings").click()
    nameless = """() => [...document.querySelectorAll(
            '.rarera input, .rarera select, .rarera textarea, .rarera button, .rarera [role=slider]')]
        .filter(each => each.offsetParent && !each.closest('.js-plotly-plot'))
        .filter(each => !(each.labels?.length && each.labels[0].textContent.trim()) && !each.textContent.trim()
            && !each.title && !each.getAttribute('aria-label') || each.tabIndex < 0)
        .map(each => each.outerHTML.slice(0, 120))"""
    until(lambda: not lab.evaluate(nameless), lab, 10)
    assert lab.evaluate(nameless) == []


def test_figures_take_the_width_of_their_place(lab):
    wide = lab.evaluate(
        """() => [...document.querySelectorAll('.rarera .js-plotly-plot')].filter(each => each.offsetParent)
            .map(each => each.querySelector('.main-svg').getBoundingClientRect().width / each.offsetWidth)"""
    )
    assert len(wide) == 4
    assert min(wide) > 0.97
    assert max(wide) < 1.03


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_words_can_be_read_in_light_and_in_dark(lab, theme):
    lab.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    light = "true" if theme.endswith("Light") else "false"
    lab.locator(f"body[data-jp-theme-light='{light}']").wait_for(state="attached")
    lab.wait_for_timeout(300)
    contrasts = lab.evaluate(
        """() => {
            const luminance = rgb => rgb.map(part => part / 255)
                .map(part => part <= 0.04 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
                .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
            const numbers = text => text.match(/[\\d.]+/g).map(Number);
            const ground = each => {
                for (; each; each = each.parentElement) {
                    const colour = numbers(getComputedStyle(each).backgroundColor);
                    if (colour.length < 4 || colour[3] > 0) return luminance(colour.slice(0, 3));
                }
                return 1;
            };
            return [...document.querySelectorAll(
                '.rarera td, .rarera th, .rarera p, .rarera h2, .rarera .rarera-note, .rarera button:enabled')]
                .filter(each => each.offsetParent && each.textContent.trim())
                .map(each => {
                    const ink = luminance(numbers(getComputedStyle(each).color).slice(0, 3)), paper = ground(each);
                    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
                    return [each.textContent.slice(0, 30), contrast];
                });
        }"""
    )
    assert contrasts
    assert [each for each in contrasts if each[1] < 4.0] == []
    for place, name in enumerate(("workbench", "workbench-done", "time-machine", "incidents", "compare")):
        shot(panels(lab).nth(place), f"{name}-{'light' if light == 'true' else 'dark'}")


def turn_to(page: Any, address: str, name: str) -> None:
    """Leave this notebook, its kernel too, and run another."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.goto(f"{address}/lab/tree/{name}.ipynb?token=open")
    run_all(page, name)


def test_a_reload_of_the_page_does_not_stop_a_run(lab, address):
    turn_to(lab, address, "reload")
    panel = panels(lab).first
    button(panel, "Run").click()
    until(lambda: points(panel) > 3, lab)
    lab.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    lab.reload()
    # The kernel went on: what was drawn is there, moves on, and answers.
    button(panel, "Cancel").wait_for(timeout=PATIENCE)
    first = until(lambda: newest(panel), lab)
    until(lambda: newest(panel) > first, lab)
    button(panel, "Cancel").click()
    panel.get_by_text("Cancelled:").first.wait_for()
    fill(panel, "seed", "x")
    panel.get_by_text("seed must be a whole number").first.wait_for()
    assert errors(lab) == 0


def test_after_a_restart_of_the_kernel_everything_runs_again(lab):
    lab.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    run_all(lab, "reload")
    panel = panels(lab).first
    button(panel, "Run").click()
    until(lambda: points(panel) > 3, lab)
    button(panel, "Cancel").click()
    panel.get_by_text("Cancelled:").first.wait_for()
    assert errors(lab) == 0


def test_the_tour_runs_without_an_error(lab, address):
    turn_to(lab, address, "tour")
    cells = """() => window.jupyterapp.shell.currentWidget.content.model.cells.length && [...Array(
        window.jupyterapp.shell.currentWidget.content.model.cells.length).keys()]
        .map(k => window.jupyterapp.shell.currentWidget.content.model.cells.get(k)).filter(each => each.type === "code")
        .map(each => [each.executionCount, each.outputs.toJSON().map(output => output.output_type)])"""
    until(lambda: all(count for count, _ in lab.evaluate(cells)), lab, PATIENCE / 1000)
    assert len(lab.evaluate(cells)) > 10
    assert not [kinds for _, kinds in lab.evaluate(cells) if "error" in kinds or "stream" in kinds]
    # Each figure is drawn where it is looked at.
    lab.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached")
    shot(lab, "tour")
