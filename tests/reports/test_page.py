"""The page: one file, whole or not there, with everything in it and nothing that escapes from it."""

from __future__ import annotations

import base64
import io
import os
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import polars as pl
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.policies import POLICIES
from rarera_sim.reports.figures import thinned
from rarera_sim.reports.page import render, write_page
from rarera_sim.reports.tables import EFFORT, INTEGRITY, QUALITY
from rarera_sim.reports.words import summary


class Page(HTMLParser):
    """The elements of a page, and its text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.mute = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.mute = tag if tag in ("script", "style") else self.mute

    def handle_endtag(self, tag):
        self.mute = "" if tag == self.mute else self.mute

    def handle_data(self, data):
        self.text += "" if self.mute else data.replace("\u00a0", " ")

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(compare) -> Page:
    return Page(render(compare(5, periods=96)))


def downloads(page: Page) -> dict[str, bytes]:
    found = {}
    for link in page.all("a"):
        if "download" in link and link.get("href"):
            found[link["download"]] = base64.b64decode(unquote(link["href"]).partition("base64,")[2])
    return found


def test_the_summary_and_every_cell_are_on_the_page(compare, page):
    comparison = compare(5, periods=96)
    for paragraph in summary(comparison):
        assert paragraph in page.text
    for section in (QUALITY, INTEGRITY, EFFORT):
        for column in section.columns:
            assert column.heading in page.text
            assert column.meaning in page.text
            for row in comparison.rows:
                assert column.cell(row, 5).text in page.text


def test_how_it_came_about_is_on_the_page(compare, page):
    comparison = compare(5, periods=96)
    for value in (
        comparison.scenario.name,
        str(comparison.seed),
        comparison.version,
        comparison.digest,
        comparison.command,
        comparison.log_path,
        comparison.trace_origin,
        comparison.scenario.to_toml(),
    ):
        assert value in page.text


def test_every_transport_and_policy_of_the_run_is_explained(compare):
    comparison = compare(5, periods=4)
    for row, policy in zip(comparison.rows, [*POLICIES][-len(comparison.rows) :], strict=True):
        row["policy"] = policy
    assert "See the scenario." not in Page(render(comparison)).text
    comparison.rows[2]["policy"] = "homegrown"
    assert "See the scenario." in Page(render(comparison)).text


def test_tables_have_captions_and_headers_and_figures_have_words(page):
    assert len(page.all("caption")) == len(page.all("table"))
    scopes = [cell.get("scope") for cell in page.all("th")]
    assert set(scopes) == {"row", "col"}
    plots = [div for div in page.all("div") if div.get("class") == "plot"]
    assert len(plots) == 5
    assert all(plot["role"] == "img" and len(plot["aria-label"]) > 50 for plot in plots)
    assert {tag for tag, _ in page.elements} >= {"header", "main", "nav", "footer", "figure", "figcaption"}
    assert page.all("html")[0]["lang"] == "en"


def test_ids_are_unique_and_what_refers_to_them_finds_them(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_nothing_refers_to_another_file(page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value[:80])


def test_the_library_is_there_once(compare):
    assert render(compare(5, periods=4)).count("* plotly.js v") == 1


def test_the_data_of_each_figure_can_be_had_as_csv(compare, page):
    comparison = compare(5, periods=96)
    files = downloads(page)
    shown = ("backlog-and-replicas", "response-time-by-quantile", "cost-against-response-time", "pareto-front")
    names = [f"flights-{name}" for name in (*shown, "from-sent-to-state")]
    assert set(files) == {
        "flights-results.csv",
        "flights-replications.csv",
        "flights.toml",
        *(f"{name}.csv" for name in names),
        *(f"{name}.parquet" for name in names),
    }
    read = {name: pl.read_csv(io.BytesIO(content)) for name, content in files.items() if name.endswith(".csv")}
    for name in names:
        exact = pl.read_parquet(io.BytesIO(files[f"{name}.parquet"]))
        assert exact.columns == read[f"{name}.csv"].columns
        assert exact.height == read[f"{name}.csv"].height
    assert read["flights-results.csv"]["cost"].to_list() == [row["cost"] for row in comparison.rows]
    assert read["flights-backlog-and-replicas.csv"].height == thinned(comparison.load)[0].height
    assert read["flights-replications.csv"].height == comparison.measures.height
    assert files["flights.toml"].decode() == comparison.scenario.to_toml()


def test_the_same_comparison_gives_the_same_bytes(compare):
    assert render(compare(5, periods=96)) == render(compare(5, periods=96))


EVIL = "</script/ x><!--<script ></script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


def test_everything_that_comes_from_outside_is_escaped(compare):
    comparison = compare(5, periods=4)
    comparison.scenario.title = comparison.scenario.description = comparison.scenario.name = EVIL
    comparison.scenario.to_toml = lambda: EVIL
    comparison.command = comparison.trace_origin = comparison.log_path = comparison.version = comparison.digest = EVIL
    rename = {"log / peak": EVIL}
    comparison.rows[2] |= {"configuration": EVIL, "transport": EVIL, "policy": EVIL}
    for name in ("load", "quantiles", "crashes", "differences"):
        frame = getattr(comparison, name)
        setattr(comparison, name, frame.with_columns(pl.col("configuration").replace(rename)))
    comparison.crashes = comparison.crashes.with_columns(replica=pl.lit(EVIL))
    text = render(comparison)
    page = Page(text)
    data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(data) == 6
    assert not any("<" in each for each in data)
    assert not page.all("img")
    assert len(page.all("script")) == 8
    assert "alert(1)</script>" not in text
    assert EVIL in page.text
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_one_replication_and_no_differences_make_a_page(compare):
    comparison = compare(1, periods=4)
    comparison.differences = comparison.differences.clear()
    comparison.crashes = comparison.crashes.clear()
    comparison.log_path = None
    comparison.interrupted = True
    page = Page(render(comparison))
    assert "This run was interrupted" in page.text
    assert "so there are no intervals" in page.text
    assert "Paired differences" not in page.text
    assert "recorded log" not in page.text


def test_numbers_that_do_not_exist_make_a_page(compare):
    comparison = compare(5, periods=4)
    for measure in ("p50_s", "p95_s", "p99_s", "end_to_end_p99_s"):
        comparison.rows[0] |= {measure: None, f"{measure}_low": None, f"{measure}_high": None}
    ends = [f"response_s{end}" for end in ("", "_low", "_high")]
    first = pl.col("configuration") == comparison.rows[0]["configuration"]
    comparison.quantiles = comparison.quantiles.with_columns(pl.when(~first).then(pl.col(ends)))
    page = Page(render(comparison))
    assert "n/a" in page.text
    assert not re.search(r"\b(None|nan)\b", page.text)


def test_a_page_is_written_with_its_folder_and_nothing_is_left_beside_it(compare, tmp_path):
    path = write_page(compare(5, periods=4), tmp_path / "out" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert os.listdir(path.parent) == ["report.html"]


def test_a_disk_that_fails_leaves_the_old_page(compare, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"report '.*report.html' cannot be written: No space left"):
        write_page(compare(5, periods=4), path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_page_that_cannot_be_written_there_is_one_clear_error(compare, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "report.html"):
        with pytest.raises(BadInput, match="cannot be written"):
            write_page(compare(5, periods=4), path)
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupt_while_writing_leaves_nothing(compare, tmp_path, monkeypatch):
    def interrupt(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_page(compare(5, periods=4), tmp_path / "report.html")
    assert os.listdir(tmp_path) == []
