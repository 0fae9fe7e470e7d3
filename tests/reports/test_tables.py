"""Tables: numbers with their uncertainty, whole at every width."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from rarera_sim.reports.tables import EFFORT, INTEGRITY, QUALITY, Column, estimate, results_table


def printed(comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(results_table(comparison))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("values", "more", "text"),
    [
        ((3.2149, 3.163, 3.267), {}, "3.21 ±0.05"),
        ((1234.5, 1200.0, 1269.0), {"decimals": 1}, "1,234 ±34"),
        ((10.0, 8.76, 11.24), {}, "10.0 ±1.2"),
        ((5.0, 4.0, 9.0), {}, "5.0 [4.0, 9.0]"),
        ((0.4, -0.7, 1.5), {"decimals": 1}, "0.4 ±1.1"),
        ((0.99998, 0.999979, 0.999981), {"scale": 100, "decimals": 3}, "99.998 ±<0.001"),
        ((18900.0, 18900.0, 18900.0), {"decimals": 1}, "18,900"),
        ((0.0, 0.0, 0.0), {}, "0"),
        ((-0.001, -0.5, 0.498), {}, "0.0 ±0.5"),
        ((12.3456, None, None), {}, "12.35"),
        ((7.0, None, None), {"decimals": 1}, "7"),
        ((0.2, None, None), {"decimals": 1}, "0.2"),
        ((3.0, math.nan, math.nan), {}, "3"),
        ((None, None, None), {}, "n/a"),
        ((math.nan, None, None), {}, "n/a"),
        ((math.inf, None, None), {}, "n/a"),
    ],
)
def test_a_mean_is_written_in_the_digits_that_its_interval_supports(values, more, text):
    assert estimate(*values, **more) == text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("replications", [1, 5])
def test_every_number_is_whole_at_every_width(compare, width, replications):
    comparison = compare(replications)
    text = printed(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    tables = sum(line.strip().startswith("configuration") for line in text.splitlines())
    for row in comparison.rows:
        assert sum(line.strip().startswith(row["configuration"]) for line in text.splitlines()) == tables
    for section in (QUALITY, INTEGRITY):
        for column in section.columns:
            assert column.heading in text
            for row in comparison.rows:
                assert column.cell(row, replications).text in text


def test_a_wrong_state_is_marked_in_words(compare):
    text = printed(compare(5), 120)
    assert text.count("WRONG in 5 of 5") == 2
    assert printed(compare(1), 120).count("WRONG") == 2


@pytest.mark.parametrize(("met", "text"), [(True, "yes"), (False, "no"), (None, "unclear")])
def test_an_objective_is_met_or_not_or_unclear(met, text):
    assert Column("slo_met", "SLO met", "").cell({"slo_met": met}, 5).text == text


def test_a_name_is_no_markup(compare):
    comparison = compare(5)
    comparison.rows[0]["configuration"] = "[red]mine[/red]"
    assert "[red]mine[/red]" in printed(comparison, 120)


def test_the_objective_and_the_meaning_of_the_intervals_are_said_below(compare):
    assert "99 % of the events sent finish within 30 s" in printed(compare(5), 120)
    assert "Means of 5 replications with 95 % intervals" in printed(compare(5), 120)
    assert "One replication: no intervals" in printed(compare(1), 120)


def test_every_column_has_a_meaning_of_its_own():
    columns = [column for section in (QUALITY, INTEGRITY, EFFORT) for column in section.columns]
    assert len({column.meaning for column in columns}) == len(columns)
    assert all(column.meaning.endswith(".") for column in columns)
