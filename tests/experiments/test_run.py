"""A run is its scenario, its seed and the version: same three, same bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import polars as pl
import pytest

from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.integrity import verify
from rarera_sim.core.projection import Tally, rebuild
from rarera_sim.experiments.compare import compare, seed_of
from rarera_sim.experiments.run import load_run, run
from rarera_sim.experiments.scenario import Configuration, Scenario, default_scenario, parse_scenario
from rarera_sim.experiments.workload import prepared
from rarera_sim.simulation.producer import SourceSettings

replace = msgspec.structs.replace


def one_day(*configurations: Configuration, storage: str = "memory") -> Scenario:
    """Half a day of flights after half a day of warm-up."""
    scenario = default_scenario()
    return replace(
        scenario,
        trace=replace(scenario.trace, train_from="2013-01-30T08:00:00Z", until="2013-02-06T08:00:00Z"),
        run=replace(scenario.run, warmup=720.0, replications=3),
        log=replace(scenario.log, storage=storage),
        configurations=configurations or scenario.configurations,
    )


LOG = Configuration(transport="log", policy="erlang-c")
QUEUE = Configuration(transport="queue-at-least-once", policy="erlang-c")


def test_the_same_scenario_and_seed_give_the_same_digest_and_another_seed_another() -> None:
    first, again, other = (run(one_day(LOG), seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.journeys.equals(again.journeys)
    assert not first.journeys.equals(other.journeys)


def test_memory_and_sqlite_give_the_same_run() -> None:
    memory, sqlite = (run(one_day(LOG, storage=storage), 1) for storage in ("memory", "sqlite"))
    assert memory.journeys.equals(sqlite.journeys)
    assert memory.measures == sqlite.measures
    assert memory.state == sqlite.state


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_digest_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    code = (
        "from rarera_sim.experiments.run import run\n"
        "from rarera_sim.experiments.scenario import parse_scenario\n"
        "import sys\n"
        "print(run(parse_scenario(sys.stdin.read()), 1).digest)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=one_day(LOG).to_toml(),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == run(one_day(LOG), 1).digest


def test_queue_and_log_meet_the_same_weather() -> None:
    """What the network did to first transmissions, and the service times, are the same event by event."""
    scenario = one_day(LOG, QUEUE)
    log, queue = (run(scenario, 1, configuration).journeys for configuration in (LOG, QUEUE))
    assert log["event_id"].equals(queue["event_id"])
    untouched = (log["resent"] == 0) & (queue["resent"] == 0)
    assert untouched.sum() > 0.9 * len(log)
    for column in ("frame_lost", "frame_repeated", "frame_damaged", "received_s"):
        assert log[column].filter(untouched).equals(queue[column].filter(untouched)), column


def test_the_kept_log_gives_the_state_and_the_journeys_again(tmp_path) -> None:
    outcome = run(one_day(LOG), 1, log_path=tmp_path / "log.sqlite")
    with SqliteLog(tmp_path / "log.sqlite", read_only=True) as log:
        assert verify(log).intact
        assert rebuild(Tally("speed"), log) == outcome.state == outcome.intended
        assert log.head() == len(outcome.journeys)
        event_id = outcome.journeys["event_id"][100]
        stages = [step.stage for step in log.steps_of(event_id)]
    assert [stage for stage in stages if stage in ("created", "received", "recorded", "started", "finished")] == [
        "created",
        "received",
        "recorded",
        "started",
        "finished",
    ]


def test_history_ends_where_the_run_begins_and_holds_every_event_before_it() -> None:
    ready = prepared(one_day(LOG))
    observations = list(ready.observations())
    assert observations[-1].time == 0.0
    period = ready.scenario.control.period
    events = sum(observation.arrival_rate for observation in observations) * period
    assert events == pytest.approx(len(observations) / 96 * 2_600, rel=0.05)  # some 2,600 flights' events a day
    assert observations[1].time - observations[0].time == period


def test_a_trace_that_nobody_divided_trains_on_the_first_part_and_keeps_eight_processors_busy(tmp_path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("time_s,value\n" + "".join(f"{second},{second % 7}\n" for second in range(0, 40_000, 10)))
    scenario = replace(
        one_day(LOG),
        trace=replace(
            default_scenario().trace,
            name=None,
            file=str(path),
            train_from=None,
            since=None,
            until=None,
            compression=None,
        ),
        run=replace(default_scenario().run, warmup=None),
        field="value",
    )
    ready = prepared(scenario)
    assert len(ready.workload) == pytest.approx(2_400, abs=2)
    assert len(ready.workload) / ready.workload.duration * scenario.service.mean == pytest.approx(8.0, rel=0.01)
    outcome = run(scenario, 1)
    assert outcome.measures["state_correct"]
    assert outcome.measures["lost"] == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "has a header and no rows"),
        ("5\n", "less than one control period"),
        ("5\n5\n5\n", "less than one control period"),
    ],
)
def test_a_trace_too_small_to_be_replayed_is_one_clear_error(tmp_path, rows: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("time_s\n" + rows)
    trace = replace(
        default_scenario().trace, name=None, file=str(path), train_from=None, since=None, until=None, compression=None
    )
    with pytest.raises(BadInput, match=message):
        prepared(replace(one_day(LOG), trace=trace))


def test_a_window_without_events_is_one_clear_error() -> None:
    scenario = one_day(LOG)
    trace = replace(scenario.trace, since="2014-01-01T00:00:00Z", until="2014-01-02T00:00:00Z")
    with pytest.raises(BadInput, match="has no events from 2014-01-01T00:00:00Z"):
        prepared(replace(scenario, trace=trace))
    with pytest.raises(BadInput, match="leaves nothing to measure"):
        prepared(replace(scenario, run=replace(scenario.run, warmup=1440.0)))


# Comparisons


def test_the_number_of_processes_changes_no_number() -> None:
    scenario = one_day(LOG, QUEUE)
    told: list[tuple[int, int]] = []
    one = compare(scenario, replications=2, jobs=1)
    two = compare(scenario, replications=2, jobs=2, progress=lambda done, all_: told.append((done, all_)))
    assert one.digest == two.digest
    assert one.rows == two.rows
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rows_have_means_with_intervals_and_say_whether_the_state_is_right() -> None:
    comparison = compare(one_day(LOG, QUEUE), replications=3, jobs=1)
    log, queue = comparison.rows
    assert (log["lost"], log["repeated"], log["state_correct"], log["state_wrong"]) == (0.0, 0.0, True, 0)
    assert (queue["state_correct"], queue["state_wrong"]) == (False, 3)
    for row in comparison.rows:
        for name in ("p50_s", "p95_s", "p99_s", "availability", "cost", "sent", "detected", "compensated"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    ours = comparison.measures.filter(pl.col("configuration") == log["configuration"])["cost"]
    assert log["cost"] == pytest.approx(ours.mean())
    assert log["sent"] == comparison.events


def test_differences_are_paired_and_wider_where_they_hold_for_all() -> None:
    other = Configuration(transport="log", policy="fixed", parameters={"replicas": 14})
    comparison = compare(one_day(LOG, other, QUEUE), replications=3, jobs=1)
    for row in comparison.differences.iter_rows(named=True):
        assert row["low_all"] <= row["low"] <= row["difference"] <= row["high"] <= row["high_all"]
    back_and_forth = comparison.differences.filter(pl.col("measure") == "cost")
    assert back_and_forth["difference"].sum() == pytest.approx(0.0, abs=1e-9)


def test_one_replication_has_no_interval() -> None:
    (row,) = compare(one_day(LOG), replications=1, jobs=1).rows
    assert (row["cost_low"], row["cost_high"]) == (None, None)
    assert row["cost"] > 0.0


def test_seeds_of_replications_do_not_meet() -> None:
    seeds = {seed_of(seed, replication) for seed in range(20) for replication in range(20)}
    assert len(seeds) == 400
    assert seed_of(7, 0) == 7


@pytest.mark.parametrize(
    ("options", "message"), [({"seed": -1}, "seed"), ({"replications": 0}, "replications"), ({"jobs": 0}, "jobs")]
)
def test_impossible_comparisons_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compare(one_day(LOG), **options)


# What is kept, and what it costs


def test_a_saved_run_is_read_back_as_it_was(tmp_path) -> None:
    outcome = run(one_day(LOG), 1)
    outcome.save(tmp_path / "kept")
    again = load_run(tmp_path / "kept")
    for name in ("journeys", "load", "crashes", "costs", "leases", "processors"):
        assert getattr(again, name).equals(getattr(outcome, name)), name
    for name in ("scenario", "configuration", "seed", "version", "digest", "measures", "state", "intended"):
        assert getattr(again, name) == getattr(outcome, name), name
    assert run(again.scenario, again.seed, again.configuration).digest == outcome.digest


def test_a_changed_file_of_a_saved_run_is_noticed(tmp_path) -> None:
    run(one_day(LOG), 1).save(tmp_path)
    path = tmp_path / "load.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"load\.parquet is not what was saved"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1}'])
def test_what_is_no_saved_run_is_one_clear_error(tmp_path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"holds no saved run|is not a run of format 1"):
        load_run(tmp_path)


def test_costs_are_itemised_and_their_replicas_are_the_cost() -> None:
    outcome = run(one_day(LOG), 1)
    costs = dict(zip(outcome.costs["item"], outcome.costs["cost_usd"], strict=True))
    assert costs["replicas"] == pytest.approx(outcome.measures["cost"], rel=1e-9)
    assert sum(costs.values()) == pytest.approx(outcome.measures["cost_total"])
    assert costs["energy"] == 0.0, "the price of the hardware includes it"
    assert outcome.measures["energy_kwh"] > 0.0
    assert costs["network"] > 0.0
    assert outcome.costs["quantity"].min() >= 0.0


def test_what_is_packed_pays_for_its_length_on_the_line() -> None:
    packed = replace(one_day(LOG), source=SourceSettings(compression="zlib"))
    plain, small = (
        dict(outcome.costs.select("item", "quantity").iter_rows()) for outcome in (run(one_day(LOG), 1), run(packed, 1))
    )
    assert 0.0 < small["network"] < 0.7 * plain["network"]
    assert small["storage"] == pytest.approx(plain["storage"], rel=0.01), "logs keep what was packed for the way"


def test_without_a_transport_the_same_arrivals_make_a_queueing_system() -> None:
    direct = Configuration(transport="direct", policy="fixed", parameters={"replicas": 14})
    outcome = run(one_day(direct), 1)
    assert outcome.measures["lost"] == 0
    assert outcome.journeys["finished"].to_list() == [1] * len(outcome.journeys)
    assert outcome.journeys["created_s"].equals(outcome.journeys["received_s"])
    log = run(one_day(Configuration(transport="log", policy="fixed", parameters={"replicas": 14})), 1)
    assert log.journeys["created_s"].equals(outcome.journeys["created_s"])


def test_pools_of_the_catalogue_are_filled_in_and_paid_for() -> None:
    text = one_day(LOG).to_toml()
    pools = '\n[[pools]]\nname = "{0}"\nzone = "{1}"\n[pools.hardware]\nname = "{0}"\n'
    text += pools.format("c5-large", "a") + pools.format("c5-large-spot", "b")
    text = text.replace("pools = []\n", "")
    scenario = parse_scenario(text)
    assert [pool.hardware.price_per_hour for pool in scenario.pools] == [0.085, 0.035]
    assert [pool.hardware.spot for pool in scenario.pools] == [False, True]
    outcome = run(scenario, 1)
    assert outcome.costs["pool"].unique().sort().to_list() == ["", "c5-large", "c5-large-spot"]
    assert outcome.measures["cost"] > 0.0
    assert outcome.measures["state_correct"]


def test_a_new_field_at_its_default_changes_no_digest() -> None:
    """The digest hashes what differs from the defaults."""
    scenario = one_day(LOG)
    said = replace(scenario, slowness=replace(scenario.slowness, factor=7.0))
    assert run(scenario, 1).digest == run(replace(scenario, pools=()), 1).digest != run(said, 1).digest
