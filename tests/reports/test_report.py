"""Reports: read back to the last bit, held against each other, as HTML, PDF and Markdown, with their literature."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from rarera_sim.cli.report import report as command
from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.compare import compare
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import Configuration
from rarera_sim.policies import POLICIES
from rarera_sim.reports import chromium
from rarera_sim.reports.bibliography import bibliography, references
from rarera_sim.reports.diff import LESS, MORE, SAME, diff_reports
from rarera_sim.reports.gallery import textbook
from rarera_sim.reports.report import report
from rarera_sim.reports.stored import FRAMES, alone, read_report

drawn = pytest.mark.skipif(chromium.chromium() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def comparison():
    configurations = tuple(
        Configuration(transport="log", policy="fixed", parameters={"replicas": servers}, name=f"{servers} replicas")
        for servers in (2, 3)
    )
    scenario = textbook(rate=1.5, servers=2, duration=300.0, configurations=configurations)
    return compare(scenario, replications=3, jobs=1)


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    return report(comparison, tmp_path_factory.mktemp("out") / "report.html")


def test_a_report_is_read_back_to_the_last_bit(comparison, written):
    for place in (written, written.parent):
        again = read_report(place)
        assert again.scenario == comparison.scenario
        assert again.rows == comparison.rows
        assert (again.digest, again.seed, again.events) == (comparison.digest, comparison.seed, comparison.events)
        for name in FRAMES:
            assert_frame_equal(getattr(again, name), getattr(comparison, name))


def test_a_report_of_what_was_read_is_the_same_report(written, tmp_path):
    assert report(read_report(written), tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_a_run_and_its_folder_make_a_report(comparison, tmp_path):
    outcome = run(comparison.scenario, 1)
    outcome.save(tmp_path / "run")
    assert read_report(tmp_path / "run").rows == alone(outcome).rows
    page = report(outcome, tmp_path / "run.html").read_text(encoding="utf-8")
    for name in ("response-over-time-1", "response-by-stage-1", "response-distribution-1", "cost-and-energy"):
        assert f'id="{name}"' in page
    assert "so there are no intervals" in page


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<p>hello</p>", "no report of this program"),
        ('<script type="application/json" id="report-data">{"format":1}</script>', "no whole report"),
        ('<script type="application/json" id="report-data">{"format":2}</script>', "format 2"),
        ('<script type="application/json" id="report-data">[</script>', "no whole report"),
    ],
)
def test_what_is_no_report_is_one_clear_error(tmp_path, content, words):
    (tmp_path / "report.html").write_text(content)
    with pytest.raises(BadInput, match=words):
        read_report(tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_report(tmp_path / "missing.html")


def test_a_kind_that_does_not_exist_is_refused(comparison, tmp_path):
    with pytest.raises(BadInput, match=r"must end in \.html, \.pdf, \.md"):
        report(comparison, tmp_path / "report.docx")
    with pytest.raises(BadInput, match="Comparison or a Run, got int"):
        report(3, tmp_path / "report.html")


def test_equal_reports_differ_in_nothing(comparison, written):
    found = diff_reports(comparison, written)
    assert found.same_digest
    assert set(found.measures["verdict"]) == {SAME}
    assert str(found) == "Both did the same: their digests are equal."


def test_what_differs_beyond_the_noise_is_said_and_no_more(comparison):
    random = pl.Series([0.0, 1e-3, -1e-3] * 2)
    other = replace(
        comparison,
        digest="other",
        measures=comparison.measures.with_columns(pl.col("cost") * 2.0, p50_s=pl.col("p50_s") + random),
    )
    found = diff_reports(comparison, other)
    verdicts = {row["measure"]: row["verdict"] for row in found.measures.iter_rows(named=True)}
    assert verdicts["cost"] == MORE
    assert verdicts["p50_s"] == "cannot be told apart"
    assert verdicts["p99_s"] == SAME
    assert set(found.measures["paired"]) == {True}
    assert "cost is more in b" in str(found)
    assert diff_reports(other, comparison).measures.filter(measure="cost")["verdict"].unique().to_list() == [LESS]


def test_other_seeds_are_not_paired(comparison):
    other = replace(comparison, digest="x", measures=comparison.measures.with_columns(pl.col("seed") + 1))
    found = diff_reports(comparison, other)
    assert set(found.measures["paired"]) == {False}
    assert not found.changed.height


def test_one_replication_calls_nothing_different(comparison):
    one, other = (alone(run(comparison.scenario, seed)) for seed in (1, 2))
    found = diff_reports(one, other)
    assert not found.changed.height
    assert "nothing is called different" in str(found)


def test_another_scenario_is_shown_line_by_line(comparison):
    scenario = msgspec.structs.replace(comparison.scenario, configurations=comparison.scenario.configurations[:1])
    other = replace(comparison, scenario=scenario, rows=comparison.rows[:1], digest="x")
    found = diff_reports(comparison, other)
    assert "3 replicas" in found.scenario
    assert found.only_a == ["3 replicas"]
    assert "only in a: 3 replicas" in str(found)


def test_every_policy_that_names_literature_is_in_the_bibliography():
    for name, policy in POLICIES.items():
        found = references(policy.__doc__)
        cited = {entry.text for entry in bibliography([name])}
        if found and found != ["See the module."]:
            assert set(found) <= cited, name
        for text in cited:
            assert "\n" not in text
            assert not text.startswith(("and ", "for the", "Journal of"))


def test_the_literature_stands_on_the_page(comparison, written):
    page = written.read_text(encoding="utf-8")
    assert 'id="literature"' in page
    rows = [dict(row, policy="square-root") for row in comparison.rows]
    assert any("Halfin" in entry.text for entry in bibliography([rows[0]["policy"]]))


def test_the_one_command_stands_on_the_page(comparison, written):
    page = written.read_text(encoding="utf-8")
    assert f"rarera run --scenario {comparison.scenario.name}.toml --seed 1 --replications 3" in page


@drawn
def test_a_pdf_is_printed(written):
    result = CliRunner().invoke(command, [str(written), "--format", "pdf"], standalone_mode=False)
    assert result.exception is None
    content = written.with_suffix(".pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 3
    assert len(content) > 50_000


@drawn
def test_markdown_has_its_pictures_and_data(comparison, tmp_path):
    text = report(comparison, tmp_path / "report.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(<([^>]+)>\)", text)
    assert len(targets) >= 14
    for target in targets:
        assert (tmp_path / target).stat().st_size > 0
    assert (tmp_path / "report" / "cost-against-response-time.svg").read_bytes().startswith(b"<svg")
    assert "## Summary" in text
    assert "rarera run --scenario" in text


@drawn
def test_a_picture_is_of_the_kind_that_its_name_says(compare, tmp_path):
    from rarera_sim.reports.figures import funnel

    figure = funnel(compare(5, periods=4).rows)
    path = chromium.write_image(figure, tmp_path / "funnel.png", scale=1.0)
    assert path.read_bytes().startswith(b"\x89PNG")
    width = int.from_bytes(path.read_bytes()[16:20], "big")
    assert width == 1000
    with pytest.raises(BadInput, match=r"\.png or \.svg"):
        chromium.write_image(figure, tmp_path / "funnel.jpg")


def test_without_chromium_it_is_said_what_is_missing(comparison, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for name in ("report.pdf", "report.md"):
        with pytest.raises(BadInput, match="no Chromium or Chrome was found"):
            report(comparison, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_command_holds_two_reports_against_each_other(written):
    result = CliRunner().invoke(command, ["--diff", str(written), str(written)], standalone_mode=False)
    assert result.output == "Both did the same: their digests are equal.\n"
    result = CliRunner().invoke(command, ["--diff", str(written), str(written), "--json"], standalone_mode=False)
    assert '"same_digest":true' in result.output


@pytest.mark.parametrize("arguments", [["--diff", "one"], ["one", "two"]])
def test_the_command_says_how_many_it_wants(arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "got" in result.output
