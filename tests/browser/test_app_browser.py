"""`rarera app` as a person uses it: the address with its token, Run, Cancel, the results taken apart."""

from __future__ import annotations

import re
import socket
from types import SimpleNamespace

import pytest
from browsing import ANSWERS, PATIENCE, answers, free_port, points, shot, until

from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import parse_scenario

pytest.importorskip("playwright.sync_api")
pytest.importorskip("voila")
pytestmark = pytest.mark.browser

TOML = """
name = "small"
field = "value"
[arrivals]
kind = "poisson"
rate = 2.0
[service]
mean = 1.0
[channel]
loss = 0.05
delay_mean = 0.1
[control]
replicas_max = 10
[run]
duration = 600.0
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
"""


@pytest.fixture(scope="module")
def app(started, tmp_path_factory, browser):
    """The app of a scenario and a log: its address, its port, a page to open it in."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "small.toml").write_text(TOML)
    run(parse_scenario(TOML), 1, log_path=folder / "log.sqlite")
    port = free_port()
    command = ("app", "small.toml", "--log", "log.sqlite", "--no-browser", "--port", str(port))
    said = started("rarera_sim", *command, folder=folder)
    page = browser.new_page(viewport={"width": 1300, "height": 1300})
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    told = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\w+")
    address = until(lambda: told.search(said.read_text()), page, PATIENCE / 1000)[0]
    yield SimpleNamespace(address=address, port=port, page=page, asked=asked)
    page.close()


def test_without_its_token_nobody_gets_in(app):
    answer = app.page.goto(app.address.partition("?")[0])
    assert answer.status in (401, 403) or "login" in app.page.url
    answer = app.page.goto(f"{app.address.partition('?')[0]}?token=guessed")
    assert answer.status in (401, 403) or "login" in app.page.url
    assert app.page.locator(".rarera").count() == 0


def test_only_this_machine_can_reach_it(app):
    assert answers(app.port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only says which address we would send from
        except OSError:
            pytest.skip("this machine has no other address than its own loopback")
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("this machine has no other address than its own loopback")
    assert not answers(app.port, outside)


def test_run_moves_the_curve_and_cancel_keeps_what_is_done(app):
    page = app.page
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(app.address)
    panel = page.locator(".rarera .rarera").first
    go = panel.get_by_role("button", name="Run", exact=True)
    go.wait_for()
    page.set_default_timeout(ANSWERS)
    # Long enough that nobody sees its end.
    panel.get_by_role("tab", name="Settings").click()
    panel.get_by_text("Length and replications").click()
    box = panel.get_by_role("textbox", name="run duration", exact=True)
    box.fill("1000000")
    box.press("Enter")
    go.click()
    first = until(lambda: points(panel) > 2 and points(panel), page)
    until(lambda: points(panel) > first, page)
    shot(page, "app-running")
    panel.get_by_role("button", name="Cancel").click()
    panel.get_by_text("Cancelled: 0 of 4 runs are done and kept.").wait_for()
    box.fill("600")
    box.press("Enter")
    until(go.is_enabled, page)
    go.click()
    panel.get_by_text("Done: 4 runs.").wait_for()
    until(lambda: points(panel) == 40, page)  # 600 s, a period of 15 s each
    shot(page, "app-done")
    assert complaints == []


def test_the_results_are_taken_apart_and_the_log_is_there(app):
    page = app.page
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Take the results").click()
    page.get_by_text("Pareto front of the means").wait_for()
    shot(page, "app-compare")
    page.get_by_role("tab", name="Log", exact=True).click()
    page.get_by_text(re.compile(r"^Position \d")).wait_for()
    shot(page, "app-log")
    box = page.get_by_label("log", exact=True)
    box.fill("none.sqlite")
    box.press("Enter")
    page.get_by_role("button", name="Open").click()
    page.get_by_text(re.compile("none.sqlite")).last.wait_for()


def test_nothing_was_asked_of_another_machine_and_nothing_can_be(app):
    own = re.compile(rf"(https?://127\.0\.0\.1:{app.port}/|data:|blob:)")
    assert len(app.asked) > 20
    assert [url for url in app.asked if not own.match(url)] == []
    refused = app.page.evaluate(
        "fetch('https://example.org/', {mode: 'no-cors'}).then(() => 'fetched', error => String(error))"
    )
    assert "TypeError" in refused
    assert not any("example.org" in url for url in app.asked)
