"""Sources that misbehave in a run: found, reported as incidents, held back, answered with capacity or a safe policy."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pytest

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.incidents import Kind, incidents
from rarera_sim.core.projection import Tally
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import Scenario, parse_scenario
from rarera_sim.simulation.arrivals import Arrival, Content, Workload
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.misbehaviour import Misbehaviour, misbehaved

BEGIN, LENGTH, HOLD = 300.0, 60.0, 100.0

SCENARIO = """
name = "vigilance"
field = "value"
[arrivals]
kind = "poisson"
rate = 20.0
[service]
mean = 0.1
[control]
replicas_max = 40
[run]
duration = 500.0
training = 60.0
warmup = 0.0
[log]
storage = "memory"
[vigilance]
behaviours = ["rate", "silence", "stuck", "looping", "content"]
hold = 100.0
[[configurations]]
transport = "log"
policy = "guarded"
parameters = { policy = { name = "fixed", replicas = 5 }, safe = { name = "fixed", replicas = 9 } }
"""


def scenario(kind: str | None = None, **changes: object) -> Scenario:
    made = parse_scenario(SCENARIO)
    each = () if kind is None else (Misbehaviour(kind=kind, at=BEGIN, duration=LENGTH, factor=8.0),)
    vigilance = msgspec.structs.replace(made.vigilance, **changes)
    return msgspec.structs.replace(made, misbehaviours=each, vigilance=vigilance)


def watched(asked: Scenario, transport: str = "log"):
    ports = Ports(MemoryLog(), MemoryBus(), Tally(asked.field), MemoryLog())
    configuration = msgspec.structs.replace(asked.configurations[0], transport=transport)
    return run(asked, 1, configuration, ports=ports), ports


@cache
def misbehaving(kind: str):
    """Run once, and looked at from several sides."""
    return watched(scenario(kind))


def test_nothing_is_found_where_nothing_is_wrong():
    outcome, ports = watched(scenario())
    assert outcome.alerts.is_empty()
    assert ports.incidents.head() == 0


@pytest.mark.parametrize(
    ("kind", "behaviour", "remedy", "delay"),
    [
        ("stuck", "stuck", "quarantine", 2.0),
        ("looping", "looping", "quarantine", 10.0),
        ("surge", "rate", "capacity", 10.0),
        ("silence", "silence", "", 5.0),
        ("shift", "content", "", 5.0),
    ],
)
def test_a_misbehaving_source_is_found_soon_and_answered(kind, behaviour, remedy, delay):
    outcome, ports = misbehaving(kind)
    first = outcome.alerts.filter(behaviour=behaviour).row(0, named=True)
    assert BEGIN <= first["time"] <= BEGIN + delay
    assert (first["source"], first["remedy"]) == ("source-0", remedy)
    assert outcome.alerts["time"].min() >= BEGIN, "no alarm before"
    (opened,) = (each for each in incidents(ports.incidents) if each.id == first["incident"])
    assert (opened.kind, opened.source) == (Kind.ABNORMAL, "source-0")
    assert outcome.measures["lost"] == 0
    assert outcome.state == outcome.intended


def test_a_quarantine_records_everything_and_passes_it_on_later():
    outcome, ports = misbehaving("stuck")
    alert = outcome.alerts.filter(remedy="quarantine").row(0, named=True)
    assert alert["until"] == pytest.approx(alert["time"] + HOLD)
    inside = outcome.journeys.filter(
        (outcome.journeys["recorded_s"] > alert["time"]) & (outcome.journeys["recorded_s"] < alert["until"])
    )
    assert inside.height > 1000
    assert inside["recorded_s"].null_count() == 0, "the log has them all the same"
    assert inside["started_s"].min() >= alert["until"], "and nobody gets them before"
    (incident,) = (each for each in incidents(ports.incidents) if each.id == alert["incident"])
    assert incident.status == "compensated"
    assert incident.outcome.startswith("quarantine for 100 s, then ")
    assert f" {inside.height} " in incident.outcome or f" {inside.height + 1} " in incident.outcome
    # By model time, as generated events are dated by it.
    assert incident.compensated - incident.detected == pytest.approx(HOLD * 1e9)
    assert incident.due == incident.compensated


def test_a_source_that_speaks_again_ends_the_incident_of_its_silence():
    outcome, ports = misbehaving("silence")
    alert = outcome.alerts.filter(behaviour="silence").row(0, named=True)
    (incident,) = (each for each in incidents(ports.incidents) if each.id == alert["incident"])
    assert (incident.status, incident.outcome) == ("compensated", "it speaks again")
    assert incident.compensated / 1e9 == pytest.approx(BEGIN + LENGTH, abs=2.0)
    assert (
        outcome.alerts.height
        == outcome.alerts.filter(behaviour="silence").height + outcome.alerts.filter(behaviour="rate").height
    ), "the end of a run is no silence"


def test_a_surge_gets_more_capacity_for_a_while():
    outcome, _ = watched(scenario("surge", factor=2.0))
    alert = outcome.alerts.filter(remedy="capacity").row(0, named=True)
    before = outcome.load.filter(outcome.load["time_s"] < alert["time"])
    during = outcome.load.filter((outcome.load["time_s"] > alert["time"]) & (outcome.load["time_s"] < alert["until"]))
    for part, awake in ((before, 5), (during, 10)):
        assert set((part["ready"] + part["pending"]).to_list()) == {awake}
        assert set(part["wanted"].to_list()) == {5}, "the policy is not asked"


def test_a_drift_makes_a_guarded_policy_fall_back():
    quiet = msgspec.structs.replace(
        scenario("shift", behaviours=("drift",)),
        misbehaviours=(Misbehaviour(kind="drift", at=BEGIN, duration=150.0, factor=12.0),),
        content=Content(data={"value": Distribution(mean=50.0, scv=0.04)}),
    )
    outcome, _ = watched(quiet)
    alert = outcome.alerts.row(0, named=True)
    assert alert["time"] > BEGIN
    assert alert["remedy"] == "safe policy"
    reasons = outcome.load.filter(outcome.load["reason"].str.starts_with("The safe policy decides"))
    assert reasons["wanted"].unique().to_list() == [9]


def test_without_remedies_findings_are_all_there_is():
    outcome, ports = watched(scenario("stuck", remedies=False))
    assert outcome.alerts["remedy"].unique().to_list() == [""]
    assert all(each.open and each.due is None for each in incidents(ports.incidents))


def test_a_queue_cannot_hold_anything_back():
    outcome, _ = watched(scenario("stuck"), transport="queue-at-least-once")
    assert outcome.alerts.filter(behaviour="stuck")["remedy"].unique().to_list() == [""]
    with pytest.raises(BadInput, match="vigilance watches what events say"):
        watched(scenario("stuck"), transport="direct")


def test_what_is_watched_and_how_it_misbehaves_are_part_of_a_scenario():
    asked = scenario("looping")
    assert parse_scenario(asked.to_toml()) == asked
    with pytest.raises(BadInput, match=r"vigilance.factor must be > 1, got 0.5"):
        parse_scenario(asked.to_toml().replace("factor = 1.5", "factor = 0.5"))
    closed = asked.to_toml().replace(
        'kind = "poisson"\nrate = 20.0', 'kind = "closed"\nusers = 3\nthink = { mean = 1.0 }'
    )
    with pytest.raises(BadInput, match="misbehaviours need arrivals that do not wait"):
        parse_scenario(closed)
    assert watched(asked)[0].digest == watched(asked)[0].digest


def test_incidents_of_a_kept_run_are_kept_beside_its_log(tmp_path):
    from rarera_sim.adapters.urls import open_log

    run(scenario("stuck"), 1, log_path=str(tmp_path / "log.sqlite"))
    with open_log(str(tmp_path / "log.incidents.sqlite"), read_only=True) as kept:
        assert {each.kind for each in incidents(kept)} == {Kind.ABNORMAL}


# Misbehaviour by itself


def a_workload(count: int = 4_000, seed: int = 1) -> Workload:
    generator = random.Random(seed)
    rows, time = [], 0.0
    for _ in range(count):
        time += generator.expovariate(10.0)
        source = generator.choice(["EWR", "JFK"])
        rows.append(
            Arrival(time, round(time * 2e9), source, f"{source}/1", "seen", {"value": generator.gauss(50.0, 5.0)})
        )
    return Workload(rows, duration=time + 1.0, compression=2.0)


def changed(kind: str, **more: float) -> tuple[Workload, Workload]:
    plain = a_workload()
    each = Misbehaviour(kind=kind, source="EWR", at=100.0, duration=100.0, **more)
    return plain, misbehaved(plain, [each], "value", Streams(3))


def within(workload: Workload, source: str = "EWR") -> list[Arrival]:
    return [row for row in workload.arrivals if row.source == source and 100.0 <= row.time < 200.0]


@pytest.mark.parametrize("kind", ["silence", "surge", "stuck", "looping", "shift", "drift"])
def test_others_and_other_times_are_left_alone(kind):
    plain, other = changed(kind)
    assert within(plain) != within(other)
    for outside in (lambda row: row.source == "JFK", lambda row: not 100.0 <= row.time < 200.0):
        assert list(filter(outside, plain.arrivals)) == list(filter(outside, other.arrivals))
    times = [row.time for row in other.arrivals]
    assert times == sorted(times)


def test_each_kind_does_what_it_says():
    plain, silent = changed("silence")
    assert within(silent) == []
    _, surge = changed("surge", factor=4.0)
    assert len(within(surge)) == 4 * len(within(plain))
    gaps = np.diff([row.time for row in within(surge)])
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.1), "as irregular as before"
    assert all(row.created == pytest.approx(row.time * 2e9, abs=2) for row in surge.arrivals)
    before = [row.data["value"] for row in plain.arrivals if row.source == "EWR" and row.time < 100.0]
    _, stuck = changed("stuck")
    assert {row.data["value"] for row in within(stuck)} == {before[-1]}
    _, looping = changed("looping", length=7)
    assert Counter(row.data["value"] for row in within(looping)).keys() == set(before[-7:])
    assert [row.data["value"] for row in within(looping)][:14] == before[-7:] * 2
    _, shift = changed("shift", factor=3.0)
    sizes = [b.data["value"] - a.data["value"] for a, b in zip(within(plain), within(shift), strict=True)]
    assert np.allclose(sizes, 3.0 * np.std(before))
    _, drift = changed("drift", factor=3.0)
    sizes = [b.data["value"] - a.data["value"] for a, b in zip(within(plain), within(drift), strict=True)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(3.0 * np.std(before), rel=0.02)
    assert sizes[0] < 0.1
