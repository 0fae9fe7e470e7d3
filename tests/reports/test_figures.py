"""Figures: what is drawn is what the frames say, and it can be told apart without colour."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from rarera_sim.reports.figures import (
    CONFIG,
    backlog_and_replicas,
    cost_against_p99,
    funnel,
    latency_quantiles,
    looks,
    thinned,
)

OBJECTIVE = {"bound": 30.0, "quantile": 0.99}


def all_of(comparison):
    return {
        "load": backlog_and_replicas(comparison.load, comparison.crashes),
        "quantiles": latency_quantiles(comparison.quantiles, **OBJECTIVE),
        "cost": cost_against_p99(comparison.rows, **OBJECTIVE),
        "funnel": funnel(comparison.rows),
    }


def points(figure) -> int:
    return sum(len(trace.x) for trace in figure.data)


@pytest.mark.parametrize("replications", [1, 5])
def test_every_figure_says_in_words_what_it_shows_and_names_its_units(compare, replications):
    for figure in all_of(compare(replications, periods=96)).values():
        alt = figure.layout.meta["alt"]
        assert "log / predictive" in alt
        assert "None" not in alt
        assert "nan" not in alt
        assert figure.layout.title.text
        assert figure.layout.template.layout.paper_bgcolor == "rgba(0, 0, 0, 0)"


def test_no_figure_offers_to_upload_itself(compare):
    assert CONFIG["showSendToCloud"] is False
    for figure in all_of(compare(5, periods=96)).values():
        assert "sendChartToCloud" in figure.layout.template.layout.modebar.remove


def test_configurations_differ_by_more_than_colour():
    made = looks([f"configuration {k}" for k in range(40)])
    assert len(set(made.values())) == 40
    assert len({(look.dash, look.marker) for look in list(made.values())[:7]}) == 7


def test_the_load_is_drawn_as_it_is_while_it_is_small(compare):
    comparison = compare(1, periods=96)
    drawn, periods = thinned(comparison.load)
    assert periods == 1
    assert drawn.height == comparison.load.height
    figure = backlog_and_replicas(comparison.load)
    backlogs = [trace for trace in figure.data if trace.legendgroup == "backlog"]
    for trace, row in zip(backlogs, comparison.rows, strict=True):
        mine = comparison.load.filter(configuration=row["configuration"])
        np.testing.assert_array_equal(trace.y, mine["backlog"].to_numpy())


@pytest.mark.parametrize("points_max", [50, 997, 4000])
def test_a_long_run_shares_points_and_says_so(compare, points_max):
    load = compare(1, periods=672).load
    figure = backlog_and_replicas(load, points_max=points_max)
    assert points(figure) <= points_max
    _, periods = thinned(load, points_max)
    said = f"Each point covers {periods} control periods"
    assert any(said in annotation.text for annotation in figure.layout.annotations)
    assert said in figure.layout.meta["alt"]


def test_sharing_points_keeps_the_largest_backlog(compare):
    load = compare(1, periods=672).load
    drawn, _ = thinned(load, 1000)
    largest = pl.col("backlog").max()
    by = {"by": "configuration", "maintain_order": True}
    assert drawn.group_by(**by).agg(largest).equals(load.group_by(**by).agg(largest))


def test_at_most_twenty_thousand_points_are_sent(compare):
    load = compare(1, periods=2000).load
    assert load.height * 3 > 20_000
    assert points(backlog_and_replicas(load)) <= 20_000


def test_the_quantiles_carry_their_intervals_and_the_objective(compare):
    figure = latency_quantiles(compare(5, periods=96).quantiles, **OBJECTIVE)
    line = next(trace for trace in figure.data if trace.name == "log / peak")
    mine = compare(5, periods=96).quantiles.filter(configuration="log / peak")
    np.testing.assert_allclose(line.y + line.error_y.array, mine["response_s_high"])
    np.testing.assert_allclose(line.y - line.error_y.arrayminus, mine["response_s_low"])
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.shapes[0].y0 == 30.0
    assert figure.data[-1].name == "objective: 99 % within 30 s"


def test_an_interval_that_reaches_zero_stays_on_the_logarithmic_axis(compare):
    quantiles = compare(5, periods=96).quantiles.with_columns(response_s_low=pl.lit(-1.0))
    for line in latency_quantiles(quantiles, **OBJECTIVE).data[:-1]:
        assert (line.y - line.error_y.arrayminus > 0.0).all()


def test_one_replication_draws_no_intervals(compare):
    for figure in all_of(compare(1, periods=96)).values():
        for trace in figure.data:
            assert getattr(trace, "error_x", None) is None or trace.error_x.array is None
            assert getattr(trace, "error_y", None) is None or trace.error_y.array is None


def test_labels_of_equal_costs_do_not_overlap(compare):
    rows = compare(5, periods=96).rows
    for row in rows:
        row |= {"cost": 100.0, "cost_low": 99.0, "cost_high": 101.0}
    labels = [trace for trace in cost_against_p99(rows, **OBJECTIVE).data if trace.mode == "text"]
    places = sorted(trace.y[0] for trace in labels)
    assert len(labels) == len(rows)
    # A line is 17 of the 364 px that are left of 500: a twentieth of what is shown.
    shown = max(places[-1], 101.0) - min(places[0], 99.0)
    assert min(np.diff(places)) >= shown / 20


def test_a_configuration_without_a_number_is_left_out_and_counted(compare):
    rows = compare(5, periods=96).rows
    rows[0] |= {"p99_s": None, "p99_s_low": None, "p99_s_high": None}
    figure = cost_against_p99(rows, **OBJECTIVE)
    assert sum(trace.mode == "markers" for trace in figure.data) == len(rows) - 1
    assert "Not drawn, for want of a number: 1." in figure.layout.meta["alt"]


def test_the_funnel_counts_what_reached_the_state(compare):
    rows = compare(5, periods=96).rows
    bars = {trace.name: trace for trace in funnel(rows).data if trace.type == "bar"}
    np.testing.assert_allclose(bars["in the state"].x, [row["sent"] - row["lost"] for row in rows])
    np.testing.assert_allclose(bars["repeated"].x, [row["repeated"] for row in rows])
    assert len({trace.marker.pattern.shape for trace in list(bars.values())[:3]}) == 3


def test_a_name_with_markup_stays_a_name(compare):
    comparison = compare(5, periods=96)
    names = {"log / peak": "<b>&lt;"}
    for row in comparison.rows:
        row["configuration"] = names.get(row["configuration"], row["configuration"])
    rename = pl.col("configuration").replace(names)
    comparison.load, comparison.quantiles, comparison.crashes = (
        frame.with_columns(rename) for frame in (comparison.load, comparison.quantiles, comparison.crashes)
    )
    for figure in all_of(comparison).values():
        drawn = json.loads(figure.to_json())
        del drawn["layout"]["meta"]
        assert "&lt;b&gt;&amp;lt;" in json.dumps(drawn)
        assert "<b>" not in json.dumps(drawn)
