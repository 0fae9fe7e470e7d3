"""What a scenario says arrives is what arrives: drawn, replayed, spliced, resampled, or read from a log."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.time import SECOND
from rarera_sim.experiments.data import data_folder
from rarera_sim.experiments.resampling import replicate, resample, splice
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import (
    Configuration,
    Piece,
    RunSettings,
    Scenario,
    TraceSettings,
    load_scenario,
)
from rarera_sim.experiments.traces import Trace
from rarera_sim.experiments.workload import prepared, sample_of, services_of
from rarera_sim.simulation.arrivals import Calendar, Content, Mmpp, Poisson, Sinusoid
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.services import ServiceTime, TypeServiceTime

HPA = (Configuration(transport="log", policy="hpa"),)
HOUR = 3_600 * SECOND


def drawn(**changes: Any) -> Scenario:
    scenario = Scenario(
        name="drawn",
        arrivals=Mmpp(rates=(1.0, 5.0), stays=(100.0, 50.0)),
        run=RunSettings(duration=900.0, training=450.0),
        configurations=HPA,
    )
    return msgspec.structs.replace(scenario, **changes)


def replayed(**trace: Any) -> Scenario:
    return Scenario(name="replayed", trace=TraceSettings(compression=1.0, **trace), configurations=HPA)


@pytest.fixture
def file(tmp_path: Any) -> str:
    """One event a minute for ten hours: what it counts is the hour."""
    rows = [f"{minute * 60},{minute // 60},{'even' if minute % 2 else 'odd'}" for minute in range(600)]
    path = tmp_path / "hours.csv"
    path.write_text("\n".join(["time,hour,type", *rows]) + "\n")
    return str(path)


def at(hour: int) -> str:
    return f"1970-01-01T{hour:02}:00:00Z"


# Drawn


def test_drawn_arrivals_are_each_seeds_own_and_the_same_again() -> None:
    first, again, other = (prepared(drawn(), seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.origin == "generated: mmpp, seed 1"
    assert first.workload.times[0] >= 0
    assert first.workload.times[-1] < first.workload.duration == 900.0
    assert len(first.history) == 450 // 15
    assert first.scenario.run.warmup == 90.0


def test_policies_learn_from_the_part_of_the_process_that_was_before_the_run() -> None:
    waves = Sinusoid(rate=50.0, amplitude=1.0, period=900.0, peak=0.0)
    ready = prepared(drawn(arrivals=waves, run=RunSettings(duration=900.0, training=450.0)))
    # Half a wave of training ends in the trough, where the run begins.
    assert ready.history[0] > 80
    assert ready.history[-1] < 10
    counts = np.histogram(ready.workload.times, bins=60, range=(0, 900.0))[0]
    assert counts[0] < 200 < counts[30]
    assert ready.day == 900.0


def test_a_row_of_a_drawn_workload_is_created_on_the_clock_of_the_run() -> None:
    arrivals = prepared(drawn()).workload.arrivals
    for number in (0, 5, len(arrivals) - 1):
        assert arrivals[number].created / SECOND == pytest.approx(arrivals[number].time, abs=1e-6)
        assert arrivals[number].time == prepared(drawn()).workload.times[number]


def test_a_whole_week_is_prepared_without_an_object_for_each_event() -> None:
    ready = prepared(drawn(arrivals=Calendar(rate=20.0), run=RunSettings(duration=604_800.0, training=0.0)))
    assert len(ready.workload) == pytest.approx(20 * 604_800, rel=0.05)
    assert ready.history == ()


def test_a_run_in_which_nothing_comes_is_refused() -> None:
    with pytest.raises(BadInput, match=r"arrivals: none fell within run.duration = 0.1 s"):
        prepared(drawn(arrivals=Poisson(rate=1e-6), run=RunSettings(duration=0.1)))
    with pytest.raises(BadInput, match="arrivals: arrivals must be at most"):
        prepared(drawn(arrivals=Poisson(rate=1e9), run=RunSettings(duration=1e9)))
    with pytest.raises(BadInput, match=r"run.warmup is 1000 s and leaves nothing to measure"):
        prepared(drawn(run=RunSettings(duration=900.0, warmup=1000.0)))


def test_nan_never_reaches_the_clock() -> None:
    with pytest.raises(BadInput, match=r"arrivals.rate is nan; a number must be finite"):
        prepared(drawn(arrivals=Poisson(rate=float("nan"))))


def test_the_shipped_textbook_scenario_says_what_the_textbook_says() -> None:
    scenario = load_scenario(data_folder() / "scenarios" / "mm10.toml")
    assert scenario.warnings() == []
    core_off = msgspec.structs.replace(scenario.configurations[0], transport="direct")
    outcomes = [run(scenario, seed, core_off) for seed in range(1, 7)]
    # Erlang C: .6687315241 s of waiting and 1 s of service; six hours at rho .9 know it to about a twelfth.
    responses = [outcome.measures["mean_s"] for outcome in outcomes]
    assert np.mean(responses) == pytest.approx(1.6687315241, rel=0.08)
    assert len({outcome.digest for outcome in outcomes}) == 6
    short = msgspec.structs.replace(scenario, run=RunSettings(duration=300.0, training=0.0))
    with_core = run(short, 1)
    assert with_core.state == with_core.intended
    assert with_core.measures["lost"] == with_core.measures["repeated"] == 0


# Services


def test_plain_services_are_the_same_numbers_as_ever() -> None:
    ready = prepared(drawn())
    plain = ready.scenario.service.draw(Streams(3).generator("service"), len(ready.workload))
    np.testing.assert_array_equal(services_of(ready, Streams(3)), plain)


def test_sizes_drive_services_and_the_mean_is_filled_in() -> None:
    content = Content(data={"tokens": Distribution(mean=100.0, scv=1.0)}, whole=("tokens",))
    service = ServiceTime(distribution="deterministic", size_field="tokens", per_unit=0.02, fixed=0.5)
    ready = prepared(drawn(content=content, service=service))
    times = services_of(ready, Streams(1))
    np.testing.assert_allclose(times, 0.5 + 0.02 * ready.workload.column("tokens"))
    assert ready.scenario.service.mean == pytest.approx(times.mean())
    with pytest.raises(BadInput, match=r"service.size_field 'words': event 0 has None; a finite number >= 0 is needed"):
        prepared(drawn(content=content, service=msgspec.structs.replace(service, size_field="words")))


def test_types_are_filled_in_and_filling_in_again_changes_nothing() -> None:
    content = Content(types={"ask": 1.0, "tell": 1.0})
    service = ServiceTime(mean=1.0, types={"ask": TypeServiceTime(distribution="exponential", mean=5.0)})
    ready = prepared(drawn(content=content, service=service))
    times = services_of(ready, Streams(1))
    assert ready.scenario.service.mean == pytest.approx(times.mean(), rel=0.15)
    again = prepared(msgspec.structs.replace(ready.scenario, trace=TraceSettings()))
    assert again.scenario.service == ready.scenario.service
    kinds = ready.workload.types()
    assert times[kinds == "ask"].mean() == pytest.approx(5.0, rel=0.2)
    assert times[kinds == "tell"].mean() == pytest.approx(1.0, rel=0.2)


def test_services_are_learned_from_a_column(file: str) -> None:
    service = ServiceTime(distribution="empirical", file=file, column="hour")
    ready = prepared(drawn(service=service))
    assert set(services_of(ready, Streams(1)).tolist()) <= set(range(10))
    assert ready.scenario.service.mean == 4.5
    for column, message in (("houre", "has no numeric column 'houre'; there are: hour"), ("type", "type")):
        with pytest.raises(BadInput, match=message):
            sample_of(file, column)


# Replayed


def test_pieces_of_a_trace_are_joined_in_their_order(file: str) -> None:
    pieces = (Piece(since=at(8), until=at(9)), Piece(since=at(2), until=at(4)))
    ready = prepared(replayed(file=file, splice=pieces, since=at(5)))
    hours = [arrival.data["hour"] for arrival in ready.workload.arrivals]
    assert hours == [8] * 60 + [2] * 60 + [3] * 60
    assert ready.workload.duration == 3 * 3_600
    assert np.diff(ready.workload.times) == pytest.approx([60.0] * 179)
    # What policies learn from is the past as it was.
    assert len(ready.history) == 5 * 240


def test_blocks_drawn_again_keep_their_place_in_the_hour_and_are_each_seeds_own(file: str) -> None:
    scenario = replayed(file=file, since=at(0), until=at(10), resample=3_600.0)
    first, other = prepared(scenario, 1), prepared(scenario, 2)
    assert first.digest != other.digest
    hours = np.array([arrival.data["hour"] for arrival in first.workload.arrivals]).reshape(10, 60)
    assert (hours == hours[:, :1]).all()
    assert len(set(hours[:, 0])) < 10
    assert first.workload.duration == 36_000.0


def test_each_event_several_times_within_its_jitter(file: str) -> None:
    ready = prepared(replayed(file=file, since=at(1), until=at(9), copies=20, jitter=30.0))
    assert len(ready.workload) == pytest.approx(20 * 480, rel=0.01)
    offset = (ready.workload.times + 30.0) % 60.0
    assert offset.min() >= 0
    assert np.histogram(offset, bins=6)[0] == pytest.approx(1_600, rel=0.1)
    assert np.mean(ready.history) == pytest.approx(20 / 60)


def test_a_plain_trace_is_the_same_for_every_seed(file: str) -> None:
    assert prepared(replayed(file=file), 1) is prepared(replayed(file=file), 2)


def test_an_existing_log_is_a_trace(tmp_path: Any) -> None:
    path = tmp_path / "log.sqlite"
    events = [
        Event(f"a/{n % 3}", "reading", {"value": n, "odd": n % 2 == 1, "name": f"n{n}"}, "s", n, n * HOUR)
        for n in range(1, 51)
    ]
    with SqliteLog(path) as log:
        log.append(events)
    ready = prepared(replayed(url=f"sqlite:///{path}", since="1970-01-01T10:00:00Z"))
    assert [arrival.data for arrival in ready.workload.arrivals] == [event.data for event in events[9:]]
    assert ready.workload.arrivals[0].stream == events[9].stream
    assert sample_of(f"sqlite:///{path}", "value").tolist() == list(range(1, 51))
    with pytest.raises(BadInput, match="nowhere"):
        prepared(replayed(url=f"sqlite:///{tmp_path}/nowhere.sqlite"))


# The functions themselves


def trace(times: list[int]) -> Trace:
    frame = pl.DataFrame({"time": times, "source": "a", "stream": "a/1", "type": "x", "n": times})
    return Trace("t", frame, origin="a test")


def test_a_last_short_block_stays_where_it_is() -> None:
    made = resample(trace(list(range(25))), 0, 25, 10, np.random.default_rng(1))
    assert made.frame["time"].to_list() == list(range(25))
    assert made.frame["n"].to_list()[20:] == [20, 21, 22, 23, 24]
    assert resample(trace([1, 2]), 0, 3, 10, np.random.default_rng(1)).frame["n"].to_list() == [1, 2]


def test_nothing_is_moved_before_the_beginning_of_time() -> None:
    made = replicate(trace([0, 5]), 100, 10, np.random.default_rng(1))
    assert len(made) == 200
    assert made.frame["time"].min() == 0
    joined, end = splice(trace([0, 5]), [(0, 6), (0, 6)], 100)
    assert (joined.frame["time"].to_list(), end) == ([100, 105, 106, 111], 112)
