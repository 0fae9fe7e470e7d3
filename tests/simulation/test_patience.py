"""Who waits longer than it has patience leaves, unserved; work that has begun is finished."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from queueing import AT_ONCE, Plan, queue
from worlds import live

from rarera_sim import theory
from rarera_sim.policies import Decision
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.hardware import Crashes, Hardware, PoolSettings
from rarera_sim.simulation.line import LineSettings
from rarera_sim.simulation.services import ServiceTime, TypeServiceTime
from rarera_sim.simulation.world import System

EXPONENTIAL = Distribution(distribution="exponential", mean=2.0)


def impatient(patience: Distribution = EXPONENTIAL, **line: Any) -> System:
    return System(hardware=AT_ONCE, line=LineSettings(patience=patience, **line))


def test_as_many_leave_as_erlang_a_says() -> None:
    found = queue(impatient(), 10, rate=9.5, count=60_000)
    left = found.journeys["abandoned"]
    assert left[5_000:].mean() == pytest.approx(theory.abandonment(9.5, 1.0, 10, 0.5), rel=0.05)
    # By Little, the mean wait, of those who are served and of those who are not, is P(abandon) / theta.
    assert set((found.journeys["finished"] + left).to_list()) == {1}


@pytest.mark.parametrize("line", [{}, {"discipline": "lifo"}, {"discipline": "sjf"}, {"discipline": "priority"},
                                  {"dispatch": "jsq"}, {"dispatch": "least-work"}, {"dispatch": "random"},
                                  {"batch": 3}])  # fmt: skip
def test_nobody_waits_longer_than_it_has_patience_however_it_waits(line: dict[str, Any]) -> None:
    constant = Distribution(distribution="deterministic", mean=1.5)
    found = queue(impatient(constant, **line), 3, rate=4.0, count=3_000)
    waits = (found.journeys["started_s"] - found.journeys["received_s"]).drop_nulls()
    assert waits.max() <= 1.5 + 1e-9
    assert found.journeys["abandoned"].sum() > 100
    assert found.world.cluster.waiting == 0


def test_more_patience_loses_fewer() -> None:
    left = [
        queue(impatient(Distribution(distribution="exponential", mean=mean)), 5, rate=6.0, count=5_000)
        .journeys["abandoned"]
        .sum()
        for mean in (0.5, 2.0, 8.0)
    ]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[2]


def test_patience_does_not_end_a_service_that_has_begun() -> None:
    short = Distribution(distribution="deterministic", mean=0.5)
    found = queue(impatient(short), 1, rate=10.0, count=3, services=[2.0, 0.1, 0.1])
    assert found.journeys["finished"][0] == 1
    assert found.journeys["finished"].sum() + found.journeys["abandoned"].sum() == 3


@pytest.mark.parametrize("transport", ["log", "queue-at-most-once", "queue-at-least-once"])
def test_what_is_given_up_is_gone_from_every_transport(transport: str) -> None:
    lived = live(impatient(), transport, rate=20.0, count=400)
    assert lived.finished
    left = lived.journeys["abandoned"]
    assert left.sum() > 50
    done = lived.journeys["finished"]
    assert ((left > 0) | (done > 0) | (lived.journeys["dropped"] > 0)).all()
    assert not ((left > 0) & (done > 0)).any()
    if transport == "log":
        assert lived.ports.log.head() == 400


def test_who_was_with_a_processor_that_crashed_may_lose_patience() -> None:
    system = System(
        hardware=Hardware(start_up=5.0),
        line=LineSettings(dispatch="jsq", patience=EXPONENTIAL),
        crashes=Crashes(mtbf=20.0, detection_delay=4.0),
    )
    found = queue(system, 4, rate=3.0, count=2_000)
    assert found.world.cluster.crashes
    assert found.journeys["abandoned"].sum() > 0
    assert ((found.journeys["abandoned"] > 0) ^ (found.journeys["finished"] > 0)).all()


def test_patience_stays_when_a_policy_asks_for_another_line() -> None:
    found = queue(impatient(), Plan(Decision(3), Decision(3, dispatch="jsq"), Decision(3, discipline="sjf")),
                  rate=4.0, count=2_000)  # fmt: skip
    assert found.world.cluster.line.patience == EXPONENTIAL
    assert found.journeys["abandoned"].sum() > 100


def test_events_take_longer_on_hardware_that_is_no_good_for_their_type() -> None:
    service = ServiceTime(types={"reading": TypeServiceTime(hardware={"gpu": 0.1})})
    factors = service.factors(["cpu", "gpu"], ["reading"] * 200)
    assert set(factors) == {"gpu"}
    times = {}
    for kind in ("cpu", "gpu"):
        pool = PoolSettings(name="a", hardware=Hardware(name=kind, start_up=0.0))
        found = queue(System(pools=(pool,)), 1, rate=0.1, count=200, services=[1.0] * 200, factors=factors)
        times[kind] = (found.journeys["finished_s"] - found.journeys["started_s"]).to_numpy()
    assert np.allclose(times["cpu"], 1.0)
    assert np.allclose(times["gpu"], 0.1)
