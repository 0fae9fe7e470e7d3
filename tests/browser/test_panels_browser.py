"""The panels in a real JupyterLab, as a person uses them: click, type, scrub, brush.

One JupyterLab is started for all of its tests, which go on where the last one ended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
]
PATIENCE = 180_000  # ms until a test gives up: a loaded machine imports slowly,
ANSWERS = 60_000  # and answers sooner

SETTING = '''
import msgspec
from rarera_sim import compare, run
from rarera_sim.experiments.scenario import parse_scenario
from rarera_sim.reports.panels import workbench, time_machine, compare_explorer
scenario = parse_scenario("""
name = "small"
field = "value"
[arrivals]
kind = "poisson"
rate = 2.0
[service]
mean = 1.0
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
transport = "log"
policy = "fixed"
name = "more"
parameters = { replicas = 8 }
""")
long = msgspec.structs.replace(scenario, run=msgspec.structs.replace(scenario.run, duration=100000.0, replications=9))
run(scenario, 1, log_path="log.sqlite")
'''
CELLS = (
    SETTING,
    "panel = workbench(long)\npanel",
    "other = workbench(scenario)\nother",
    'machine = time_machine("log.sqlite")\nmachine',
    "explorer = compare_explorer(compare(scenario, jobs=1))\nexplorer",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Starts servers, and ends them with all that they started."""
    processes: list[subprocess.Popen[bytes]] = []
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }

    def start(*command: str, folder: Path) -> Path:
        said = folder / "server.log"
        with said.open("wb") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=folder,
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return said

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def browser(chromium):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield browser
        browser.close()


def until(true: Callable[[], Any], page: Any, seconds: float = 60.0) -> Any:
    """What is true in the end; the page goes on meanwhile."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(50)
    return found


@pytest.fixture(scope="module")
def lab(started, browser, tmp_path_factory):
    """A notebook with the panels, opened in JupyterLab, every cell run."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for k, source in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "panels.ipynb").write_text(json.dumps(notebook))
    # Asks nobody whether to show news.
    settings = folder / "settings" / "overrides.json"
    settings.parent.mkdir()
    settings.write_text(
        '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'
    )
    port = free_port()
    started(
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=open",
        "--LabApp.expose_app_in_browser=True",
        f"--LabApp.app_settings_dir={settings.parent}",
        f"--ServerApp.root_dir={folder}",
        folder=folder,
    )
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    page.set_default_timeout(PATIENCE)
    until(lambda: _answers(port), page, PATIENCE / 1000)
    page.goto(f"http://127.0.0.1:{port}/lab/tree/panels.ipynb?token=open")
    run_all(page)
    page.set_default_timeout(ANSWERS)
    yield page
    page.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_all(page: Any) -> None:
    """Run every cell as soon as there is a kernel, and wait until the last panel is there."""
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.sessionContext")
    page.evaluate(
        """async () => {
            const context = window.jupyterapp.shell.currentWidget.sessionContext;
            await context.ready;
            await window.jupyterapp.commands.execute("notebook:run-all-cells");
        }"""
    )
    page.get_by_label("chosen", exact=True).wait_for(timeout=PATIENCE)


def panels(page: Any) -> Any:
    return page.locator(".jp-OutputArea-output .rarera")


def points(panel: Any) -> int:
    """How many points the first line of its figure has, as the browser sees it."""
    found: int = panel.locator(".js-plotly-plot").first.evaluate("plot => plot.data?.[0]?.x?.length ?? 0")
    return found


def test_run_all_shows_every_panel_and_no_error(lab):
    assert panels(lab).count() == 4
    assert lab.locator(".jp-RenderedText[data-mime-type*='stderr'], .jp-OutputArea-error").count() == 0


def test_bad_input_is_refused_beside_the_control(lab):
    panel = panels(lab).nth(0)
    panel.get_by_role("tab", name="Settings").click()
    panel.get_by_text("Faults of network and machines").click()
    box = panel.get_by_label("channel loss", exact=True)
    box.fill("1.5")
    box.press("Enter")
    panel.get_by_text("channel.loss must be 0 to 1, got 1.5").first.wait_for()
    assert panel.get_by_role("button", name="Run", exact=True).is_disabled()
    box.fill("0.05")
    box.press("Enter")
    until(lambda: panel.get_by_role("button", name="Run", exact=True).is_enabled(), lab)


def test_the_curve_moves_while_the_model_runs_and_cancel_answers(lab):
    panel = panels(lab).nth(0)
    panel.get_by_role("button", name="Run", exact=True).click()
    first = until(lambda: points(panel) > 3 and points(panel), lab)
    until(lambda: points(panel) > first, lab)
    assert panel.get_by_text(re.compile(r"\d+ %")).first.is_visible()
    # The clock of the page: from the click to the answer, nothing of the test in between.
    took = panel.get_by_role("button", name="Cancel").evaluate(
        """button => new Promise(done => {
            const panel = button.closest(".rarera"), since = performance.now();
            const look = () => panel.textContent.includes("Cancelled:")
                ? done(performance.now() - since) : requestAnimationFrame(look);
            button.click();
            look();
        })"""
    )
    assert took < 1000 * bound(), f"{took:.0f} ms"
    until(lambda: panel.get_by_role("button", name="Run", exact=True).is_enabled(), lab)


def bound() -> float:
    """Seconds that Cancel may take: 0.3 on a machine that has nothing else to do, more where it has."""
    return 0.3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) + 0.2


def test_two_panels_at_once(lab):
    one, other = panels(lab).nth(0), panels(lab).nth(1)
    one.get_by_role("button", name="Run", exact=True).click()
    other.get_by_role("button", name="Run", exact=True).click()
    other.get_by_text("Done: 4 runs.").wait_for()
    assert other.get_by_role("cell", name="log / fixed").first.is_visible()
    one.get_by_role("button", name="Cancel").click()
    one.get_by_text("Cancelled:").first.wait_for()


def test_the_time_machine_is_scrubbed_by_keyboard_and_plays(lab):
    panel = panels(lab).nth(2)
    box = panel.get_by_label("position", exact=True).last
    box.fill("100")
    box.press("Enter")
    panel.get_by_text(re.compile(r"Position 100 of")).wait_for()
    handle = panel.get_by_role("slider").first
    handle.focus()
    handle.press("ArrowRight")
    panel.get_by_text(re.compile(r"Position 101 of")).wait_for()
    panel.get_by_role("button", name="On").click()
    panel.get_by_text(re.compile(r"Position 102 of")).wait_for()
    panel.get_by_role("button", name="Play").click()
    panel.get_by_role("button", name="Pause").click()
    panel.get_by_role("button", name="Play").wait_for()
    box.fill("0")
    box.press("Enter")
    panel.get_by_text("position must be a whole number").wait_for()


def test_brushing_the_front_shows_the_runs_behind_it(lab):
    panel = panels(lab).nth(3)
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
    nameless = lab.evaluate(
        """() => [...document.querySelectorAll('.rarera input, .rarera select, .rarera textarea, .rarera button')]
            .filter(each => each.offsetParent && !each.closest('.js-plotly-plot'))
            .filter(each => !(each.labels?.length && each.labels[0].textContent.trim()) && !each.textContent.trim()
                && !each.title && !each.getAttribute('aria-label'))
            .map(each => each.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_words_can_be_read_in_light_and_in_dark(lab, theme, tmp_path):
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
            return [...document.querySelectorAll('.rarera td, .rarera th, .rarera p, .rarera h2, .rarera .rarera-note')]
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
    lab.screenshot(path=tmp_path / "panels.png")  # for whoever wants to look
