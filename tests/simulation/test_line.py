"""How events wait: orders, dispatch, batches, hedging, held against theory and against one another."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from queueing import AT_ONCE, Plan, queue

from rarera_sim import theory
from rarera_sim.experiments.statistics import mean_interval
from rarera_sim.policies import Decision
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.hardware import Hardware, PoolSettings
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.line import EventClass, LineSettings
from rarera_sim.simulation.service_path import ServicePath
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System

LONG_WAY = LineSettings(overhead=1e-300)  # adds nothing, and yet is not plain


def recursion(received: np.ndarray, services: np.ndarray, servers: int) -> list[float]:
    """Kiefer and Wolfowitz: whoever comes takes the server that is free first."""
    free = [0.0] * servers
    finished = []
    for arrival, service in zip(received.tolist(), services.tolist(), strict=True):
        at = free.index(min(free))
        free[at] = max(free[at], arrival) + service
        finished.append(free[at])
    return finished


@pytest.mark.parametrize("line", [LineSettings(), LONG_WAY], ids=["short", "long"])
@pytest.mark.parametrize(("servers", "rate"), [(1, 0.8), (3, 2.7), (10, 9.0)])
def test_both_ways_agree_with_the_recursion_to_the_bit(line: LineSettings, servers: int, rate: float) -> None:
    services = np.random.default_rng(5).lognormal(-0.35, 0.8, 5000)
    ran = queue(System(line=line), servers, rate=rate, count=5000, services=services)
    assert ran.journeys["finished_s"].to_list() == recursion(ran.journeys["received_s"].to_numpy(), services, servers)


def test_what_observations_say_does_not_depend_on_the_way() -> None:
    seen = []
    for line in (LineSettings(), LONG_WAY):
        plan = Plan(Decision(3), Decision(6), Decision(2), Decision(4))
        queue(System(line=line, hardware=Hardware(start_up=7.0)), plan, rate=2.5, count=600)
        seen.append(plan.seen)
    assert len(seen[0]) == len(seen[1]) > 10
    for short, long in zip(*seen, strict=True):
        for name in short.__dataclass_fields__:
            ours, theirs = getattr(short, name), getattr(long, name)
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9) if isinstance(ours, float) else ours == theirs, (
                name
            )


# The table of REFERENCE: 16 servers, rho .9, scv .5, mean service 1; p99 of the response.
P99 = {"central": 4.1, "jsq": 5.1, "power-of-two": 7.5, "round-robin": 14.7, "random": 39.9}


def test_dispatch_costs_what_it_is_known_to_cost() -> None:
    count = 40_000
    services = ServiceTime(distribution="lognormal", mean=1.0, scv=0.5).draw(np.random.default_rng(3), count)
    found = {}
    for dispatch in P99:
        ran = queue(System(line=LineSettings(dispatch=dispatch)), 16, rate=14.4, count=count, services=services)
        found[dispatch] = ran.quantile(0.99, warmup=count // 10)
    assert list(found) == sorted(found, key=found.__getitem__)
    for dispatch, expected in P99.items():
        tolerance = 0.35 if dispatch == "random" else 0.15
        assert found[dispatch] == pytest.approx(expected, rel=tolerance), found


@pytest.mark.parametrize("dispatch", ["least-work", "by-key", "hedged", "jsq"])
def test_every_dispatch_finishes_every_event_once(dispatch: str) -> None:
    ran = queue(System(line=LineSettings(dispatch=dispatch, hedge_after=0.5)), 4, rate=2.0, count=2000)
    assert ran.journeys["finished"].to_list() == [1] * 2000


def test_least_work_waits_no_longer_than_the_shortest_line() -> None:
    services = ServiceTime(distribution="hyperexponential", mean=1.0, scv=4.0).draw(np.random.default_rng(3), 8000)
    mean = {
        dispatch: queue(System(line=LineSettings(dispatch=dispatch)), 4, rate=3.2, count=8000, services=services)
        for dispatch in ("random", "jsq", "least-work")
    }
    waits = [ran.responses.mean() for ran in mean.values()]
    assert waits == sorted(waits, reverse=True)


def test_a_hedge_helps_where_a_replica_is_slow() -> None:
    """Two of eight replicas are ten times as slow: without a second try a quarter of the events suffers."""
    pools = (
        PoolSettings(name="good", hardware=AT_ONCE),
        PoolSettings(name="bad", hardware=Hardware(start_up=0.0, speed=0.1)),
    )
    tails = []
    for line in (LineSettings(dispatch="random"), LineSettings(dispatch="hedged", hedge_after=2.0)):
        plan = Plan(Decision(8, pools={"good": 6, "bad": 2}))
        tails.append(queue(System(line=line, pools=pools), plan, rate=1.0, count=4000).quantile(0.95))
    assert tails[1] < tails[0] / 2


def test_one_key_stays_with_one_replica() -> None:
    plan = Plan(Decision(4))
    path = ServicePath(hot_max=100, hot_time=0.0, cold_time=1.0)
    hits = {}
    for dispatch in ("by-key", "random"):
        ran = queue(System(line=LineSettings(dispatch=dispatch), path=path), plan, rate=0.5, count=2000, mean=0.1)
        hits[dispatch] = ran.world.cluster.finished_time
    # 97 streams: each is cold once by key, and once at each of four replicas at random.
    assert hits["random"] - hits["by-key"] == pytest.approx(3 * 97, abs=3)


# Orders


def test_shortest_first_cuts_the_mean_and_the_shortest_rest_still_more() -> None:
    services = ServiceTime(distribution="hyperexponential", mean=1.0, scv=6.0).draw(np.random.default_rng(1), 10_000)
    means = {
        order: queue(System(line=LineSettings(discipline=order)), 1, rate=0.7, count=10_000, services=services)
        for order in ("fifo", "sjf", "srpt")
    }
    found = [ran.responses.mean() for ran in means.values()]
    assert found == sorted(found, reverse=True)
    assert found[2] < found[0] / 2


def test_the_shortest_rest_is_what_theory_says_for_two_sizes() -> None:
    """M/G/1 SRPT with sizes 1 and 3 by Schrage and Miller's integral, worked out in `srpt_mean`."""
    count, rate = 40_000, 0.4
    services = np.where(np.random.default_rng(2).random(count) < 0.5, 1.0, 3.0)
    ran = queue(System(line=LineSettings(discipline="srpt")), 1, rate=rate, count=count, services=services)
    assert ran.responses[2000:].mean() == pytest.approx(srpt_mean(rate, {1.0: 0.5, 3.0: 0.5}), rel=0.06)


def srpt_mean(rate: float, sizes: dict[float, float]) -> float:
    """Mean response: E[T] = sum p(x) (W(x) + R(x)), Schrage and Miller (1966)."""

    def below(x: float) -> float:
        return rate * sum(p * s for s, p in sizes.items() if s <= x)

    def strictly(t: float) -> float:
        return rate * sum(p * s for s, p in sizes.items() if s < t)

    total = 0.0
    for x, share in sizes.items():
        second = sum(p * s * s for s, p in sizes.items() if s <= x)
        beyond = x * x * sum(p for s, p in sizes.items() if s > x)
        # Of equal sizes the first that came goes first: those behind it count as if they were longer.
        wait = rate * (second + beyond) / (2 * (1 - strictly(x)) * (1 - below(x)))
        steps = np.linspace(0.0, x, 3001)[1:] - x / 6000
        rest = float(np.mean([1 / (1 - strictly(t)) for t in steps])) * x
        total += share * (wait + rest)
    return total


CLASSES = (EventClass(share=0.3, deadline=2.0), EventClass(share=0.7, deadline=60.0))


@pytest.mark.parametrize("preemptive", [False, True])
def test_urgent_events_wait_as_cobham_says(preemptive: bool) -> None:
    """M/M/1 with two classes, mean service 1: Cobham (1954); preemptive-resume: White and Christie (1958)."""
    rate, count = 0.8, 40_000
    line = LineSettings(discipline="priority", preemptive=preemptive, classes=CLASSES)
    ran = queue(System(line=line), 1, rate=rate, count=count)
    urgent = pl.Series(Streams(1).generator("classes").random(count) < 0.3)
    high = rate * 0.3
    if preemptive:
        expected = 1 / (1 - high), 1 / (1 - high) + rate / ((1 - high) * (1 - rate))
    else:
        expected = 1 + rate / (1 - high), 1 + rate / ((1 - high) * (1 - rate))
    found = ran.responses.filter(urgent).mean(), ran.responses.filter(~urgent).mean()
    assert found[0] == pytest.approx(expected[0], rel=0.05)
    assert found[1] == pytest.approx(expected[1], rel=0.12)


def test_earliest_deadline_keeps_more_deadlines() -> None:
    urgent = pl.Series(Streams(1).generator("classes").random(10_000) < 0.3)
    kept = {}
    for order in ("fifo", "edf"):
        ran = queue(System(line=LineSettings(discipline=order, classes=CLASSES)), 1, rate=0.85, count=10_000)
        bound = urgent.replace_strict({True: 2.0, False: 60.0}, return_dtype=pl.Float64)
        kept[order] = float((ran.responses <= bound).mean())
    assert kept["edf"] > kept["fifo"] + 0.05


def test_the_mean_wait_does_not_depend_on_an_order_that_does_not_look_at_sizes() -> None:
    means = [
        queue(System(line=LineSettings(discipline=order)), 2, rate=1.6, count=20_000).responses.mean()
        for order in ("fifo", "lifo")
    ]
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_sizes_are_learned_by_class() -> None:
    """Two classes of different length: what is learned of them does nearly what knowing every size does."""
    count = 8000
    short = Streams(1).generator("classes").random(count) < 0.3
    services = np.where(short, 0.2, 1.5)
    means = {}
    for order, sizes in (("fifo", "true"), ("sjf", "learned"), ("sjf", "true")):
        line = LineSettings(discipline=order, sizes=sizes, classes=CLASSES)
        means[order, sizes] = queue(System(line=line), 1, rate=0.75, count=count, services=services).responses.mean()
    assert means["sjf", "learned"] < 0.9 * means["fifo", "true"]
    assert means["sjf", "learned"] == pytest.approx(means["sjf", "true"], rel=0.02)


# Batches, threads, what a service needs beside


def test_a_batch_shares_its_overhead() -> None:
    """Overhead as long as the work: alone it is too much, in batches it is borne."""
    means = []
    for batch in (1, 16):
        line = LineSettings(overhead=0.5, batch=batch)
        means.append(queue(System(line=line), 1, rate=1.2, count=3000, mean=0.5).responses.mean())
    assert means[0] > 100 > 10 > means[1]


def test_threads_without_contention_are_as_many_replicas() -> None:
    one = queue(System(hardware=Hardware(threads=4)), 2, rate=7.0, count=4000)
    other = queue(System(), 8, rate=7.0, count=4000)
    assert np.allclose(one.journeys["finished_s"], other.journeys["finished_s"])


def test_contention_is_why_one_thread_per_processor_is_better() -> None:
    crowded = queue(System(hardware=Hardware(threads=4, contention=0.5)), 1, rate=1.5, count=3000, mean=1.0)
    alone = queue(System(), 4, rate=1.5, count=3000, mean=1.0)
    assert crowded.responses.mean() > 1.5 * alone.responses.mean()


def test_commands_hold_their_thread_until_the_answer_is_there() -> None:
    command = ServicePath(coupling="command", serialisation=0.05, round_trip=0.2)
    times = [queue(System(path=path), 1, rate=0.01, count=200).responses for path in (ServicePath(), command)]
    assert (times[1] - times[0]).mean() == pytest.approx(0.25, abs=0.01)


def test_a_replica_is_slow_until_it_is_warm() -> None:
    system = System(hardware=Hardware(start_up=0.0, warm_up=100.0, warm_up_speed=0.25))
    moments = [0.0, 50.0, 200.0]
    workload = Workload([Arrival(time, round(time * 1e9), "s", "p/1", "t", {}) for time in moments], 201.0)
    ran = queue(system, 1, workload=workload, services=[1.0, 1.0, 1.0])
    assert ran.responses.to_list() == pytest.approx([4.0, 1.0 / 0.625, 1.0])


# What changes in a run


def test_a_policy_may_change_the_dispatch_and_the_batch_while_it_runs() -> None:
    plan = Plan(
        Decision(4),
        Decision(4, dispatch="jsq"),
        Decision(4, dispatch="sjf", batch=3),
        Decision(4, dispatch="random"),
        Decision(4, dispatch="fifo", batch=1),
    )
    ran = queue(System(), plan, rate=3.6, count=2000)
    assert ran.journeys["finished"].to_list() == [1] * 2000
    assert ran.world.cluster.line.dispatch == "central"


def test_an_unknown_dispatch_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="dispatch must be one of central, fifo"):
        queue(System(), Plan(Decision(1), Decision(1, dispatch="magic")), count=100)


# Metamorphic


@pytest.mark.parametrize("dispatch", ["central", "jsq", "round-robin"])
def test_twice_the_rates_halve_every_time(dispatch: str) -> None:
    services = np.random.default_rng(1).exponential(1.0, 2000)
    slow = queue(System(line=LineSettings(dispatch=dispatch)), 4, rate=3.2, count=2000, services=services)
    fast = queue(System(line=LineSettings(dispatch=dispatch)), 4, rate=6.4, count=2000, services=services / 2)
    assert np.allclose(fast.responses, slow.responses / 2, rtol=1e-9)


def test_another_replica_never_lengthens_a_wait() -> None:
    """Event by event, not only on average: with one line in order of arrival it holds on every path."""
    before = None
    for replicas in (3, 4, 5, 8):
        started = queue(System(), replicas, rate=2.8, count=4000).journeys["started_s"]
        assert before is None or (started <= before + 1e-9).all()
        before = started


def test_waits_are_those_of_erlang_c() -> None:
    waits = []
    for seed in range(1, 13):
        journeys = queue(System(), 10, rate=9.0, count=20_000, seed=seed).journeys[2000:]
        waits.append(float((journeys["started_s"] - journeys["received_s"]).mean()))
    interval = mean_interval(waits, confidence=0.99)
    assert interval.low <= theory.wait_mean(9.0, 1.0, 10) <= interval.high
    assert interval.high - interval.low < 0.4
