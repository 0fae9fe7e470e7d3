"""Loads: parts that follow one another, draws, hardware; and that giving up what is lost changes no result."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.loads import TRACES, Days, Load, available, load_of, load_of_run
from rarera_sim.experiments.mixes import MIXES, Driven
from rarera_sim.experiments.run import run, trained_policy
from rarera_sim.experiments.scenario import Configuration, default_scenario
from rarera_sim.experiments.study import QUICK, jobs_of
from rarera_sim.experiments.tuning import Limits, Lost
from rarera_sim.experiments.workload import prepared
from rarera_sim.policies import Fixed, Observation, Pool
from rarera_sim.policies.base import Decision
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome, evaluate

HOURS = Days(0.0, 0.05, 0.06, 0.08)


def test_the_parts_of_a_trace_follow_one_another_and_see_only_the_past() -> None:
    tune, test = (load_of("calendar", part, days=HOURS) for part in ("tune", "test"))
    assert tune.duration == pytest.approx(0.01 * 86_400)
    assert test.times.min() >= 0.0
    assert test.times.max() < test.duration
    assert len(test.history) == int(0.06 * 86_400 // 15)
    ending = np.histogram(tune.times, np.arange(tune.duration % 15.0, tune.duration + 1.0, 15.0))[0] / 15.0
    assert test.history[-len(ending) :].tolist() == pytest.approx(ending.tolist())


def test_another_seed_is_another_draw_and_the_same_one_the_same() -> None:
    first, again, other = (load_of("calendar", "tune", seed, days=HOURS) for seed in (1, 1, 2))
    assert np.array_equal(first.times, again.times)
    assert np.array_equal(first.services, again.services)
    assert len(first.times) != len(other.times)


def test_history_ends_where_the_run_begins() -> None:
    load = load_of("calendar", "tune", days=HOURS)
    moments = [each.time for each in load.observations]
    assert moments[-1] == 0.0
    assert np.allclose(np.diff(moments), 15.0)


@pytest.mark.parametrize("name", [name for name in TRACES if name not in ("bursty", "calendar", "nasa")])
def test_recorded_traces_are_read(name: str) -> None:
    if not available(name):
        pytest.skip("no shared/traces beside the checkout")
    load = load_of(name, "test")
    assert len(load.times) == len(load.services) > 1000
    assert (load.services > 0.0).all()
    assert (load.services > load.system.objective.bound).mean() < 0.01, "no policy could keep the objective"


def test_an_unknown_trace_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown trace 'nsa'"):
        load_of("nsa", "tune")


def test_an_unknown_mix_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown mix 'flood'"):
        load_of("calendar", "tune", days=HOURS, mix="flood")


# Playing


@pytest.fixture(params=list(MIXES))
def load(request: pytest.FixtureRequest) -> Load:
    return load_of("calendar", "test", days=HOURS, mix=request.param)


def play(load: Load, replicas: int, limits: Limits | None = None) -> Outcome | Lost:
    return load.play(Driven(Fixed(replicas), load.system.pools, prepared=replicas + 5), limits)


def whole(load: Load, replicas: int) -> Outcome:
    outcome = play(load, replicas)
    assert isinstance(outcome, Outcome)
    return outcome


def test_who_is_not_lost_is_played_to_the_end(load: Load) -> None:
    outcome = whole(load, 20)
    again = play(load, 20, Limits(outcome.violations, outcome.cost * (1 + 1e-9)))
    assert isinstance(again, Outcome), "on the limit is within it"
    assert (again.violations, again.cost) == (outcome.violations, outcome.cost)


def test_who_is_lost_would_have_lost(load: Load) -> None:
    outcome = whole(load, 16)
    assert outcome.violations > 0.0
    late = play(load, 16, Limits(violations=0.5 * outcome.violations))
    assert isinstance(late, Lost)
    assert 0.5 * outcome.violations < late.violations <= outcome.violations
    dear = play(load, 16, Limits(cost=0.5 * outcome.cost))
    assert isinstance(dear, Lost)
    assert dear.cost == float("inf")


# Driving a policy that knows of no pools


class Script:
    """Decides what it is told to, and keeps what it sees."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def decide(self) -> Decision:
        return self.decision


def seen(*pools: Pool) -> Observation:
    return Observation(1.0, 1.0, 0, sum(pool.ready for pool in pools), pools=pools)


def test_a_zone_that_is_gone_is_asked_for_one_replica_until_it_is_back() -> None:
    driven = Driven(Fixed(8), MIXES["zone-outage"].pools)
    there, gone = Pool("zone-a", ready=4), Pool("zone-a", pending=4)
    asked = []
    for a in [there, *[gone] * 8, there]:
        driven.observe(seen(a, Pool("zone-b", ready=4)))
        asked.append(driven.decide().pools)
    both, other = {"zone-a": 4, "zone-b": 4}, {"zone-a": 1, "zone-b": 8}
    # 75 s is what a start-up takes; after a period more it is gone.
    assert asked == [*[both] * 6, *[other] * 3, both]


def test_replicas_that_are_let_go_sleep_while_fewer_are_awake_than_prepared() -> None:
    pools = MIXES["warm-pool"].pools
    assert Driven(Fixed(5), pools, prepared=12).decide().asleep == {"warm": 7}
    assert Driven(Fixed(15), pools, prepared=12).decide().asleep == {"warm": 0}


def test_the_kind_that_is_chosen_is_asked_for_at_its_price() -> None:
    policy = Script(Decision(3))
    driven = Driven(policy, MIXES["spot"].pools, pool=1)
    driven.observe(seen(Pool("on-demand", ready=1), Pool("spot", ready=2)))
    assert policy.seen[0].price_per_hour == MIXES["spot"].pools[1].hardware.price_per_hour
    assert driven.decide().pools == {"spot": 3}


def test_what_a_policy_says_of_pools_is_done_as_it_says() -> None:
    decision = Decision(3, pools={"on-demand": 1, "spot": 2}, asleep={"spot": 4}, discipline="fifo")
    driven = Driven(Script(decision), MIXES["spot"].pools, pool=1, discipline="late-last")
    assert driven.decide() == decision


def test_head_room_is_a_factor_on_what_is_wanted() -> None:
    assert Driven(Fixed(10), factor=1.25).decide().replicas == 13
    assert Driven(Fixed(10), factor=0.01).decide().replicas == 1
    decision = Decision(4, pools={"on-demand": 2, "spot": 2})
    assert Driven(Script(decision), MIXES["spot"].pools, factor=1.5).decide().pools == {"on-demand": 3, "spot": 3}


# Mixes really are what they say


def test_each_mix_does_what_it_says() -> None:
    found = {name: whole(load_of("calendar", "test", days=HOURS, mix=name), 30) for name in MIXES}
    assert found["plain"].crashed == found["plain"].interrupted == 0
    assert found["crashes"].crashed > 0
    assert found["zone-outage"].crashed >= 15, "half of them"
    assert found["warm-pool"].periods["asleep"].max() == 5
    asleep = found["warm-pool"].cost / found["plain"].cost
    assert asleep == pytest.approx(1.0 + 5 * 0.1 / 30, rel=0.01)


def test_spot_replicas_are_cheaper_and_taken_back() -> None:
    load = load_of("calendar", "test", days=HOURS, mix="spot")
    outcome = load.play(Driven(Fixed(30), load.system.pools, pool=1))
    assert isinstance(outcome, Outcome)
    assert outcome.interrupted > 0
    assert outcome.cost == pytest.approx(0.4 * whole(load, 30).cost, rel=0.05)


def test_a_policy_is_told_of_the_hardware_that_it_runs_on() -> None:
    load = load_of("calendar", "test", days=HOURS, mix="two-kinds")
    large = load.on(load.system.pools[1].hardware)
    assert large.surroundings["service_rate"] == 2.0 * load.surroundings["service_rate"]
    assert large.surroundings["start_up"] == 90.0
    assert large.observations[0].service_rate == 2.0 * load.observations[0].service_rate


def test_outages_come_every_afternoon() -> None:
    days = replace(HOURS, tune=0.05, test=2.05)
    at = [each.at for each in load_of("flights", "tune", days=days, mix="zone-outage").system.outages.at]
    day = TRACES["flights"].day
    assert at == [14.0 / 24.0 * day, 38.0 / 24.0 * day]


def test_what_no_capacity_can_keep_is_not_asked_for() -> None:
    load = load_of("flights", "test")
    share = float(np.mean(load.services > TRACES["flights"].bound))
    assert 0.9 * TRACES["flights"].unavoidable < share <= TRACES["flights"].unavoidable
    assert [job.targets for job in jobs_of(QUICK, traces=("flights",), policies=("hpa",))] == [(0.01,), (0.01,)]


@pytest.mark.parametrize("policy", ["erlang-c", "rarera"])
def test_the_load_of_a_run_is_that_of_the_run(policy: str) -> None:
    """With crashes, sleepers, and late events last where the policy wants it."""
    flights = default_scenario()
    trace = msgspec.structs.replace(flights.trace, until="2013-02-06T20:00:00Z")
    configuration = Configuration(transport="direct", policy=policy)
    scenario = msgspec.structs.replace(flights, trace=trace, configurations=(configuration,))
    load, lived = load_of_run(scenario, 1), run(scenario, 1)
    assert lived.crashes.height > 0
    outcome = evaluate(
        load.times,
        load.services,
        trained_policy(prepared(scenario, 1), configuration),
        system=load.system,
        duration=load.duration,
        streams=Streams(1),
        departures=True,
        drain_max=scenario.run.drain_max,
    )
    assert np.array_equal(outcome.departures, lived.journeys["finished_s"].to_numpy())
