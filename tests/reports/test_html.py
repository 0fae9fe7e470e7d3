"""How objects show themselves in a notebook: what they are, folded parts, nothing that escapes."""

from __future__ import annotations

import importlib
import re
from html.parser import HTMLParser

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import IncidentBook, Kind, incident_life
from rarera_sim.core.journal import Journal
from rarera_sim.experiments.compare import compare as run_all
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import default_scenario
from rarera_sim.experiments.sweep import sweep
from rarera_sim.policies import POLICIES, make_policy
from rarera_sim.reports import html
from rarera_sim.reports.gallery import textbook

EVIL = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    """Complains of an element that is closed without being open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        del attributes
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    made = interactive.InteractiveShell(ipython_dir=str(tmp_path_factory.mktemp("ipython")))
    html.register(made)
    return made


def events():
    return [
        Event("EWR/UA1", "departed", {"note": EVIL}, source="EWR", sequence=number, time=number * 10**9)
        for number in (1, 2, 3, 5)
    ]


def shown_by(shell, value) -> str:
    data, _ = shell.display_formatter.format(value)
    return data.get("text/html", "")


def test_a_scenario_shows_its_question_and_what_differs_from_the_defaults(shell):
    text = shown_by(shell, default_scenario())
    Balanced(text)
    assert "nyc-flights" in text
    assert "not at their defaults" in text
    assert "99 % within 30 s of receipt" in text


def test_a_run_and_a_comparison_show_their_results(shell):
    scenario = textbook(rate=0.5, servers=1, duration=200.0)
    outcome, comparison = run(scenario), run_all(scenario, replications=2, jobs=1)
    for value in (outcome, comparison):
        text = shown_by(shell, value)
        Balanced(text)
        assert value.digest[:16] in text
        assert "log / fixed" in text
        assert text.count("<details") >= 5


def test_a_sweep_shows_what_was_varied_and_what_came_of_it(shell):
    scenario = textbook(rate=0.5, servers=1, duration=200.0)
    swept = sweep(scenario, {"service.mean": [0.5, 1.0], "arrivals.rate": [0.2, 0.4]}, replications=2, jobs=1)
    text = shown_by(shell, swept)
    Balanced(text)
    assert "service.mean: 0.5, 1; arrivals.rate: 0.2, 0.4" in text
    assert "4 points of a factorial design, 1 configuration, 2 replications each" in text
    assert '<th scope="col" class="number">mean_s</th>' in text
    assert '<th scope="col">configuration</th>' in text
    assert f"<td>{scenario.configurations[0].label}</td>" in text
    assert swept.digest[:16] in text
    assert text.count("<tr>") > 4 + len(swept.points.columns)


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_shows_its_parameters(shell, name):
    policy = make_policy(name, {"replicas": 3} if name == "fixed" else None, **SURROUNDINGS)
    text = shown_by(shell, policy)
    Balanced(text)
    assert "parameters" in text
    assert type(policy).__name__ in text


SURROUNDINGS = {
    "period": 15.0,
    "start_up": 60.0,
    "bound": 2.0,
    "quantile": 0.99,
    "price_per_hour": 0.1,
    "day": 86_400.0,
    "replicas_min": 1,
    "replicas_max": 50,
    "service_rate": 5.0,
    "service_scv": 1.0,
}


def test_a_log_shows_its_head_and_last_events_and_reads_no_more(shell, tmp_path):
    with SqliteLog(tmp_path / "log.sqlite") as kept:
        for log in (MemoryLog(), kept):
            assert "position 0" in shown_by(shell, log)
            log.append(events())
            text = shown_by(shell, log)
            Balanced(text)
            assert "EWR#5" in text
            assert "1 to 3, 5" in text
            assert EVIL not in text


def test_an_incident_shows_its_life(shell):
    log = MemoryLog()
    book = IncidentBook(Journal("gate"))
    incident, made = book.detect(Kind.MISSING, 5 * 10**9, reason=EVIL, source="EWR", first=7, last=8)
    log.append([*made, book.compensate(incident, 9 * 10**9, "sent again")])
    text = shown_by(shell, incident_life(log, incident))
    Balanced(text)
    assert "EWR#7 to #8" in text
    assert "compensated" in text
    assert "+4 s" in text
    assert EVIL not in text


def test_every_class_that_is_known_by_name_exists():
    for name, renderer in html.SHOWN.items():
        assert callable(getattr(html, renderer))
        module, _, kind = name.partition(":")
        assert hasattr(importlib.import_module(module), kind), name


def test_nothing_in_it_is_a_script_or_a_colour_of_its_own(shell):
    text = shown_by(shell, default_scenario())
    assert "<script" not in text
    # Ground and ink are the notebook's: only greys that are half transparent are ours.
    colours = re.findall(r"(?:rgba?\([^)]*\)|#[0-9a-fA-F]{3,6}\b)", text.partition("</style>")[0])
    assert set(colours) <= {"rgba(128,128,128,.45)", "rgba(128,128,128,.2)"}


def test_without_ipython_nothing_happens():
    html.register(None)
