"""The model answers to theory: waits of M/M/c, and Little's law in every run."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from worlds import live

from rarera_sim import theory
from rarera_sim.experiments.statistics import mean_interval
from rarera_sim.policies import Fixed
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System

# Nothing between the source and the processors takes time, so that what is left is the queue.
AT_ONCE = System(log=LogSettings(commit_window=0.0, commit_time=0.0, append_time=0.0))
SEEDS = range(1, 11)
CASES = [(1, 0.8), (2, 1.6), (5, 4.0), (10, 8.0)]


def waits(transport: str, servers: int, rate: float, seed: int, count: int = 4000) -> float:
    lived = live(
        AT_ONCE,
        transport,
        seed=seed,
        rate=rate,
        count=count,
        service=ServiceTime(distribution="exponential", mean=1.0),
        policy=Fixed(servers),
    )
    assert lived.finished
    steady = lived.journeys.slice(count // 10)
    return float(steady.select((pl.col("started_s") - pl.col("received_s")).mean()).item())


@pytest.mark.parametrize(("servers", "rate"), CASES)
def test_mean_waits_are_those_of_erlang_c(servers: int, rate: float) -> None:
    exact = theory.wait_mean(rate, 1.0, servers)
    interval = mean_interval([waits("log", servers, rate, seed) for seed in SEEDS], confidence=0.99)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= exact <= interval.high
    assert interval.high - interval.low < exact, "too wide an interval proves nothing"


def test_queue_and_log_are_the_same_queueing_system_when_nothing_goes_wrong() -> None:
    """Event by event: the same arrivals and services start and finish at the same moments."""
    service = ServiceTime(distribution="exponential", mean=1.0)
    one, other = (
        live(AT_ONCE, transport, rate=8.0, count=4000, service=service, policy=Fixed(10)).journeys
        for transport in ("queue-at-most-once", "log")
    )
    assert np.allclose(one["started_s"], other["started_s"], rtol=0.0, atol=1e-9)
    assert np.allclose(one["finished_s"], other["finished_s"], rtol=0.0, atol=1e-9)


def test_the_model_agrees_with_a_recursion_customer_by_customer() -> None:
    """Kiefer and Wolfowitz: whoever comes takes the server that is free first."""
    servers, count = 3, 5000
    service = ServiceTime(distribution="lognormal", mean=1.0, scv=2.0)
    lived = live(AT_ONCE, "queue-at-most-once", seed=7, rate=2.7, count=count, service=service, policy=Fixed(servers))
    services = service.draw(np.random.default_rng(7), count).tolist()
    free = [0.0] * servers
    for arrival, duration, finished in zip(
        lived.journeys["received_s"], services, lived.journeys["finished_s"], strict=True
    ):
        at = free.index(min(free))
        free[at] = max(free[at], arrival) + duration
        assert finished == free[at]


def test_littles_law_holds_exactly_over_a_whole_run() -> None:
    lived = live(AT_ONCE, rate=8.0, count=2000, service=ServiceTime(mean=0.4), policy=Fixed(4))
    end = max(lived.journeys["finished_s"])
    moments = [(time, 1) for time in lived.journeys["received_s"]] + [
        (time, -1) for time in lived.journeys["finished_s"]
    ]
    present, last, area = 0, 0.0, 0.0
    for time, change in sorted(moments):
        area += present * (time - last)
        present, last = present + change, time
    assert area / end == pytest.approx(len(lived.journeys) / end * lived.journeys["response_s"].mean(), rel=1e-9)


def test_another_processor_never_lengthens_the_mean_wait() -> None:
    means = [waits("log", servers, 4.0, seed=3, count=2000) for servers in (5, 6, 8)]
    assert means == sorted(means, reverse=True)


def test_twice_the_speed_and_twice_the_rate_halve_every_time() -> None:
    slow = live(AT_ONCE, rate=4.0, count=1000, service=ServiceTime(mean=1.0), policy=Fixed(5))
    fast = live(AT_ONCE, rate=8.0, count=1000, service=ServiceTime(mean=0.5), policy=Fixed(5))
    assert np.allclose(fast.journeys["response_s"], slow.journeys["response_s"] / 2.0, rtol=1e-9)
