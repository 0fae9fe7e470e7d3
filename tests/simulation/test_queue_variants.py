"""A full queue drops, rejects or blocks; dead letters leave every transport; conservation holds in all of them."""

from __future__ import annotations

import pytest
from queueing import check_conservation, check_littles_law
from worlds import live

from rarera_sim.core.trace import Stage
from rarera_sim.policies import Fixed
from rarera_sim.simulation.channel import Faults
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.queue import QueueSettings
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System

SLOW = ServiceTime(distribution="deterministic", mean=1.0)


def overloaded(full: str, transport: str = "queue-at-most-once"):
    system = System(queue=QueueSettings(memory_max=10, full=full))
    return live(system, transport, rate=10.0, count=100, service=SLOW, policy=Fixed(1)).journeys


def test_a_queue_that_rejects_keeps_the_oldest() -> None:
    journeys = overloaded("reject")
    rejected = journeys["rejected"].to_list()
    assert sum(rejected) > 50
    assert rejected[:10] == [0] * 10, "the first find room"
    assert (journeys["finished"] + journeys["rejected"]).to_list() == [1] * 100
    assert journeys["dropped"].sum() == 0


def test_a_queue_that_blocks_loses_nothing_and_makes_wait() -> None:
    journeys = overloaded("block")
    assert journeys["finished"].to_list() == [1] * 100
    assert journeys["finished_s"].to_list() == sorted(journeys["finished_s"]), "in order"
    assert (journeys["recorded_s"] - journeys["received_s"]).max() > 50.0
    assert journeys["rejected"].sum() == journeys["dropped"].sum() == 0


def test_a_source_that_insists_sends_what_was_rejected_again() -> None:
    journeys = overloaded("reject", "queue-at-least-once")
    assert journeys["rejected"].sum() > 50
    assert (journeys["finished"] >= 1).all()
    assert journeys["resent"].sum() >= journeys["rejected"].sum()


@pytest.mark.parametrize("transport", ["log", "queue-at-least-once", "queue-at-most-once"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_arrived_is_done_and_lost_and_in_the_system(transport: str, seed: int) -> None:
    system = System(
        channel=Faults(loss=0.1, duplication=0.1, damage=0.1, delay_mean=0.2),
        crashes=Crashes(mtbf=30.0, detection_delay=1.0),
        hardware=Hardware(start_up=2.0),
        queue=QueueSettings(memory_max=15),
    )
    lived = live(system, transport, seed=seed, rate=9.0, count=300)
    check_conservation(lived.journeys, lived.finished)
    check_littles_law(lived.journeys)


@pytest.mark.parametrize("transport", ["log", "queue-at-least-once"])
def test_dead_letters_are_not_tried_again_and_stay_in_the_log(transport: str) -> None:
    crashes = Crashes(mtbf=4.0, detection_delay=0.1, attempts_max=2)
    system = System(crashes=crashes, hardware=Hardware(start_up=0.5), queue=QueueSettings(visibility_timeout=2.0))
    lived = live(system, transport, rate=2.0, count=200, service=SLOW)
    dead = lived.journeys["dead_letter"]
    assert dead.sum() == lived.world.cluster.dead > 3
    assert lived.finished
    if transport == "log":
        assert (dead + lived.journeys["finished"]).to_list() == [1] * 200
        assert lived.ports.log.head() == 200, "whoever wants to try again finds them there"
        assert Stage.DEAD_LETTER
    check_conservation(lived.journeys, lived.finished)
