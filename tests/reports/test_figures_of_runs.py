"""Figures of runs, learners and studies: what is drawn is what the frames say, with its interval and its words."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from rarera_sim.experiments.run import run
from rarera_sim.experiments.study import Effort, Job, run_study
from rarera_sim.experiments.study import compared as held_against_the_oracle
from rarera_sim.reports import frames
from rarera_sim.reports.figures import (
    FIGURES,
    anomaly_timeline,
    availability_timeline,
    causation_tree,
    cost_and_energy,
    forecast_fan,
    latency_breakdown,
    pareto_front,
    regret,
    replicas_and_decisions,
    response_distribution,
    response_over_time,
    theory_against_model,
    tornado,
)
from rarera_sim.reports.figures.look import sent
from rarera_sim.reports.figures.money import _ellipse
from rarera_sim.reports.gallery import delays, planted, textbook

PROMISE = {"bound": 2.0, "quantile": 0.95}


@pytest.fixture(scope="module")
def outcome():
    """M/M/2 for ten minutes, one event in three too late for the objective."""
    return run(textbook(rate=1.6, servers=2, duration=600.0))


def of_a_run(outcome) -> dict:
    windows = frames.response_windows(outcome.journeys, window=60.0)
    times = outcome.journeys.select(pl.lit("mine").alias("configuration"), "response_s")
    return {
        "over time": response_over_time(windows, alarms=frames.alarms(outcome.load, 0.95), **PROMISE),
        "stages": latency_breakdown(frames.stage_times(outcome.journeys)),
        "distribution": response_distribution(times, **PROMISE),
        "decisions": replicas_and_decisions(outcome.load, outcome.crashes),
        "costs": cost_and_energy(frames.costs([outcome])),
        "availability": availability_timeline(outcome.leases, outcome.crashes),
        "forecasts": forecast_fan(frames.forecasts([1.0, 2.0, 3.0] * 20, period=15.0, horizon=30.0, day=3600.0)),
        "anomalies": anomaly_timeline(*planted()),
        "causation": causation_tree(delays()),
        "theory": theory_against_model(points(), across="load", up="wait [s]"),
        "tornado": tornado(sensitivities(), measure="p99 [s]", base=5.0),
        "pareto": pareto_front(clouds(), bound=2.0),
    }


def points() -> pl.DataFrame:
    columns = {"series": ["M/M/1"] * 2, "at": [0.5, 0.8], "theory": [2.0, 5.0], "model": [2.1, 4.8]}
    return pl.DataFrame(columns | {"model_low": [1.9, 4.4], "model_high": [2.3, 4.9]})


def sensitivities() -> pl.DataFrame:
    columns = {"parameter": ["a", "a", "b", "b"], "side": ["low", "high"] * 2, "setting": ["1", "2", "3", "4"]}
    results = [4.8, 5.3, 1.0, 9.0]
    ends = {"result_low": [each - 0.1 for each in results], "result_high": [each + 0.1 for each in results]}
    return pl.DataFrame(columns | {"result": results} | ends)


def clouds(runs: int = 8) -> pl.DataFrame:
    random = np.random.default_rng(1)
    rows = [
        (name, k, cost + random.normal(0.0, 0.05), p99 * math.exp(random.normal(0.0, 0.05)))
        for name, cost, p99 in (("cheap", 1.0, 3.0), ("quick", 2.0, 1.0), ("beaten", 2.5, 3.5))
        for k in range(runs)
    ]
    return pl.DataFrame(rows, schema=["configuration", "replication", "cost", "p99_s"], orient="row")


def test_every_figure_has_words_a_title_and_the_look_of_all(outcome):
    for name, figure in of_a_run(outcome).items():
        alt = figure.layout.meta["alt"]
        assert len(alt) > 80, name
        assert not {"None", "nan", "inf"} & set(alt.replace(",", " ").replace(".", " ").split()), (name, alt)
        assert figure.layout.title.text, name
        assert figure.layout.height > 0, name
        assert figure.layout.template.layout.paper_bgcolor == "rgba(0, 0, 0, 0)", name
        json.loads(figure.to_json())


def test_every_axis_with_numbers_says_what_it_shows(outcome):
    for name, figure in of_a_run(outcome).items():
        titles = [axis.title.text for axis in figure.select_xaxes()] + [
            axis.title.text for axis in figure.select_yaxes()
        ]
        assert any(title for title in titles), name
    assert "[s]" in of_a_run(outcome)["over time"].layout.yaxis.title.text


def test_the_gallery_knows_every_figure():
    assert len(FIGURES) == 19
    for function in FIGURES.values():
        assert function.__doc__


@pytest.mark.parametrize("points_max", [400, 2000])
def test_long_runs_share_points_and_say_so(points_max):
    count = 5000
    time = np.arange(count) * 15.0
    load = pl.DataFrame(
        {
            "time_s": time,
            "offered_load": np.sin(time) + 2.0,
            "ready": np.arange(count) % 7,
            "wanted": np.arange(count) % 7,
            "reason": ["so"] * count,
        }
    )
    windows = pl.DataFrame({"time_s": time, "quantile": [0.99] * count, "response_s": time + 1.0}).with_columns(
        response_s_low=pl.col("response_s") - 0.5, response_s_high=pl.col("response_s") + 0.5, events=pl.lit(9)
    )
    samples = pl.DataFrame(
        {"source": ["one"] * count, "time_s": time, "value": time, "score": time % 100.0}
    ).with_columns(level=pl.lit(200.0), alert=pl.lit(value=False))
    fan = pl.DataFrame({"time_s": time, "quantile": [0.9] * count, "forecast": [2.0] * count, "actual": [1.0] * count})
    leases = pl.DataFrame({"pool": ["p"] * count, "slot": np.arange(count) % 9, "since": time, "until": time + 10.0})
    crashes = pl.DataFrame(
        schema={"pool": pl.String, "replica": pl.Int64, "down_s": pl.Float64, "up_s": pl.Float64, "cause": pl.String}
    )
    made = {
        "decisions": replicas_and_decisions(load, points_max=points_max),
        "over time": response_over_time(windows, points_max=points_max, **PROMISE),
        "anomalies": anomaly_timeline(samples, points_max=points_max),
        "fan": forecast_fan(fan, points_max=points_max),
        "availability": availability_timeline(
            leases.with_columns(asleep=pl.lit(value=False)), crashes, points_max=points_max
        ),
        "distribution": response_distribution(
            pl.DataFrame({"configuration": ["one"] * count, "response_s": time + 1.0}), points_max=points_max, **PROMISE
        ),
    }
    for name, figure in made.items():
        assert sent(figure) <= 1.1 * points_max + 20, (name, sent(figure))
        said = " ".join(annotation.text for annotation in figure.layout.annotations)
        assert (said and said.rstrip(".") in figure.layout.meta["alt"]) or name == "availability", name


def test_sharing_points_keeps_the_worst_window_and_the_highest_score():
    count = 3000
    spike = pl.Series([1.0] * count)
    spike[1234] = 99.0
    windows = pl.DataFrame({"time_s": np.arange(count) * 1.0, "quantile": [0.99] * count, "response_s": spike})
    windows = windows.with_columns(response_s_low=None, response_s_high=None, events=pl.lit(1))
    figure = response_over_time(windows, points_max=300, **PROMISE)
    assert max(figure.data[0].y) == 99.0
    samples = pl.DataFrame(
        {"source": ["one"] * count, "time_s": np.arange(count) * 1.0, "value": spike, "score": spike}
    )
    figure = anomaly_timeline(samples.with_columns(level=pl.lit(50.0), alert=pl.col("score") > 50.0), points_max=300)
    assert max(next(trace for trace in figure.data if trace.name == "score").y) == 99.0
    assert len(next(trace for trace in figure.data if trace.name == "alert").x) == 1


def test_windows_hold_the_events_that_finished_in_them(outcome):
    windows = frames.response_windows(outcome.journeys, window=60.0, quantiles=(0.5,))
    assert windows["events"].sum() == outcome.journeys["response_s"].drop_nulls().len()
    first = outcome.journeys.filter(pl.col("finished_s") < 60.0)["response_s"]
    assert windows["response_s"][0] == pytest.approx(first.median())


def test_the_interval_of_a_quantile_holds_it_as_often_as_it_says():
    random = np.random.default_rng(5)
    held, count = 0, 400
    for _ in range(count):
        journeys = pl.DataFrame({"finished_s": [1.0] * 60, "response_s": random.exponential(1.0, 60)})
        low, high = (
            frames.response_windows(journeys, window=10.0, quantiles=(0.5,))
            .select("response_s_low", "response_s_high")
            .row(0)
        )
        held += low <= math.log(2.0) <= high
    assert held >= 0.93 * count


def test_too_few_events_have_no_interval():
    journeys = pl.DataFrame({"finished_s": [1.0] * 30, "response_s": np.arange(30.0)})
    assert frames.response_windows(journeys, window=10.0, quantiles=(0.99,))["response_s_high"].to_list() == [None]


def test_the_stages_add_up_to_the_whole_way(outcome):
    stages = frames.stage_times(outcome.journeys)
    everything = stages.filter(group="all events")
    done = outcome.journeys.drop_nulls("finished_s")
    assert everything["seconds"].sum() == pytest.approx((done["finished_s"] - done["created_s"]).mean())
    figure = latency_breakdown(stages)
    bars = figure.data[0]
    assert bars.base[1] == pytest.approx(bars.x[0])
    assert bars.x[-1] == pytest.approx(everything["seconds"].sum())


def test_the_tail_is_the_share_that_took_longer(outcome):
    times = outcome.journeys.select(pl.lit("mine").alias("configuration"), "response_s")
    figure = response_distribution(times, **PROMISE)
    tail = [trace for trace in figure.data if trace.name == "mine"][1]
    seconds = times["response_s"].drop_nulls()
    middle = len(tail.x) // 2
    assert tail.y[middle] == pytest.approx((seconds > tail.x[middle]).mean())
    assert figure.layout.yaxis2.type == "log"


def test_what_never_finished_takes_longer_than_anything():
    times = pl.DataFrame({"configuration": ["mine"] * 4, "response_s": [1.0, 1.5, None, None]})
    figure = response_distribution(times, **PROMISE)
    within = next(trace for trace in figure.data if trace.name == "mine")
    assert list(within.y) == [0.25, 0.5]
    assert "50 % of 4 took longer than 2 s or never finished" in figure.layout.meta["alt"]


def test_who_is_beaten_in_both_is_not_on_the_front():
    alt = pareto_front(clouds()).layout.meta["alt"]
    assert "On the Pareto front: quick, cheap." in alt
    assert "beaten" in alt


def test_the_ellipse_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(3)
    held, count = 0, 400
    for _ in range(count):
        cloud = random.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 2.0]], 8)
        outline = _ellipse(cloud) - cloud.mean(axis=0)
        # The true mean is inside where the outline, in its direction, is farther from the middle.
        true = -cloud.mean(axis=0)
        covariance = np.linalg.inv(np.cov(cloud.T))
        held += true @ covariance @ true <= outline[0] @ covariance @ outline[0]
    assert 0.92 * count <= held <= 0.98 * count


def test_few_runs_have_no_ellipse_and_it_is_said():
    figure = pareto_front(clouds(runs=3))
    assert not any(trace.fill == "toself" for trace in figure.data)
    assert "No ellipses of fewer than 5 runs." in figure.layout.meta["alt"]


def test_the_oracle_is_drawn_as_a_point_or_as_a_line():
    oracle = pl.DataFrame({"name": ["plan", "work alone"], "cost": [0.5, 0.3], "p99_s": [1.5, None]})
    figure = pareto_front(clouds(), oracle=oracle)
    names = [trace.name for trace in figure.data]
    assert {"plan", "work alone"} <= set(names)
    assert figure.layout.shapes[-1].y0 == 0.3


def test_regret_draws_what_a_study_found(tmp_path):
    effort = Effort(0.25, 1 / 24, 1 / 24, tries=1, tries_after=1, steps=1, rounds=1, seeds=(1,))
    jobs = [Job("calendar", name, effort, (0.05,)) for name in ("oracle", "erlang-c", "square-root")]
    study = held_against_the_oracle(run_study(jobs, tmp_path, workers=0))
    figure = regret(study)
    drawn = {name: x for trace in figure.data for name, x in zip(trace.y, trace.x, strict=True) if name}
    equal = study.filter(setting="equal")
    assert drawn == dict(zip(equal["policy"], equal["multiple"], strict=True))
    assert [len(trace.x) > 0 for trace in figure.data if trace.showlegend] == [True, True], "or a legend has a hole"


def test_costs_are_stacked_to_their_sum(outcome):
    figure = cost_and_energy(frames.costs([outcome]))
    stacked = sum(trace.x[0] for trace in figure.data if trace.type == "bar" and trace.xaxis == "x")
    assert stacked == pytest.approx(outcome.measures["cost_total"])


def test_a_processor_that_is_down_is_not_up():
    leases = pl.DataFrame({"pool": ["p", "p"], "slot": [1, 2], "since": [0.0, 0.0], "until": [100.0, 60.0]})
    crashes = pl.DataFrame({"pool": ["p"], "replica": [1], "down_s": [20.0], "up_s": [30.0], "cause": ["crash"]})
    figure = availability_timeline(leases.with_columns(asleep=pl.lit(value=False)), crashes)
    up = next(trace for trace in figure.data if trace.name == "processors up")
    assert list(zip(up.x, up.y, strict=True)) == [(0.0, 2), (20.0, 1), (30.0, 2), (60.0, 1)]


def test_coverage_is_the_share_that_was_not_above():
    fan = pl.DataFrame(
        {"time_s": [1.0, 2.0, 3.0, 4.0], "quantile": [0.5] * 4, "forecast": [2.0] * 4, "actual": [1.0, 2.0, 3.0, None]}
    )
    figure = forecast_fan(fan)
    covered = next(trace for trace in figure.data if trace.name == "covered")
    assert covered.y[0] == pytest.approx(200.0 / 3.0)
    assert covered.error_y.array[0] > 0.0


def test_a_forecast_knows_nothing_of_what_comes():
    rates = [1.0, 2.0, 3.0, 2.0] * 30
    all_of_it = frames.forecasts(rates, period=15.0, horizon=30.0, day=3600.0)
    before = frames.forecasts(rates[:60], period=15.0, horizon=30.0, day=3600.0)
    upto = all_of_it.filter(pl.col("time_s") <= 60 * 15.0)
    assert upto["forecast"].to_list() == before["forecast"].to_list()
    assert before["actual"].null_count() == 2 * 3


def test_an_interval_that_misses_the_theory_is_counted():
    assert (
        "The interval of 1 of 2 points holds the theory."
        in theory_against_model(points(), across="load", up="wait [s]").layout.meta["alt"]
    )


def test_the_most_influential_is_on_top():
    figure = tornado(sensitivities(), measure="p99 [s]", base=5.0)
    assert list(figure.layout.yaxis.categoryarray) == ["a", "b"]
    low = figure.data[0]
    assert (low.base, list(low.x)) == (5.0, [pytest.approx(-0.2), pytest.approx(-4.0)])


def test_a_long_tree_is_cut_and_says_so():
    tree = delays()
    figure = causation_tree(tree, nodes_max=4)
    assert f"{tree.height - 4} further events are left out." in figure.layout.meta["alt"]
    assert sum(len(trace.x) for trace in figure.data if trace.mode == "markers+text") == 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "at once"),
        (1e-9, "+1 ns"),
        (2.5e-5, "+25 us"),
        (0.04, "+40 ms"),
        (90.5, "+90.5 s"),
        (11_701.0, "+11,701 s"),
    ],
)
def test_times_of_a_tree_are_no_fractions(seconds, said):
    tree = delays().head(1).with_columns(time_s=pl.lit(seconds))
    [words] = [trace.text[0] for trace in causation_tree(tree).data if trace.text]
    assert words.endswith(f"  {said}")


def test_names_from_outside_stay_text():
    evil = "<b>x</b><script>alert(1)</script>"
    rows = clouds().with_columns(configuration=pl.lit(evil))
    tree = delays().with_columns(type=pl.lit(evil), label=pl.lit(evil))
    for figure in (pareto_front(rows), causation_tree(tree)):
        for trace in figure.data:
            texts = trace.text if isinstance(trace.text, (list, tuple)) else [trace.text]
            assert not any("<" in str(text) for text in (trace.name, *texts))
