"""Two hundred seeds, each with its own mix of faults: the log loses and repeats nothing, and its state is right."""

from __future__ import annotations

import random

import pytest
from worlds import Lived, live

from rarera_sim.core.integrity import verify
from rarera_sim.core.trace import Stage
from rarera_sim.metrics.correctness import correctness
from rarera_sim.policies import Fixed
from rarera_sim.simulation.channel import Faults
from rarera_sim.simulation.hardware import Crashes, Hardware
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System

SEEDS = 200
FAULTS = ("loss", "duplication", "damage", "reordering", "crashes")


def swarm(seed: int) -> System:
    """Which faults are on is drawn, too: those that hide behind one another show themselves when one is off."""
    chance = random.Random(seed)
    on = {fault for fault in FAULTS if chance.random() < 0.6}

    def share(fault: str) -> float:
        return chance.uniform(0.02, 0.4) if fault in on else 0.0

    return System(
        channel=Faults(
            loss=share("loss"),
            duplication=share("duplication"),
            damage=share("damage"),
            reordering=share("reordering"),
            reordering_delay=chance.uniform(0.1, 5.0),
            delay_mean=chance.uniform(0.0, 0.5),
        ),
        log=LogSettings(
            commit_window=chance.choice((0.0, 0.02, 1.0)),
            batch_max=chance.choice((1, 7, 500)),
            gap_patience=chance.choice((0.1, 1.0)),
        ),
        hardware=Hardware(start_up=chance.uniform(0.0, 5.0)),
        crashes=Crashes(
            mtbf=chance.uniform(10.0, 60.0) if "crashes" in on else None, detection_delay=chance.uniform(0.0, 5.0)
        ),
    )


def check(lived: Lived) -> None:
    found = correctness(lived.journeys, bound=30.0)
    assert lived.finished, "something is still under way an hour later"
    assert found["recorded"] == found["sent"] == len(lived.events)
    assert (found["lost"], found["repeated"], found["damaged"]) == (0, 0, 0)
    assert found["compensated"] == found["detected"]
    assert lived.rebuilt == lived.world.state == lived.intended
    assert verify(lived.ports.log).intact  # type: ignore[arg-type]
    assert {event.id for _, event in lived.ports.log.read()} == {event.id for event in lived.events}


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_the_log_loses_nothing_and_repeats_nothing(first: int) -> None:
    for seed in range(first, first + 20):
        try:
            check(live(swarm(seed), seed=seed, count=120))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_swarm_meets_every_fault_and_every_answer() -> None:
    """A fault that never happens proves nothing."""
    met = dict.fromkeys(
        (
            Stage.FRAME_LOST,
            Stage.FRAME_REPEATED,
            Stage.FRAME_DAMAGED,
            Stage.DETECTED_DAMAGE,
            Stage.DETECTED_GAP,
            Stage.DETECTED_REPEAT,
            Stage.DETECTED_OVERDUE,
            Stage.DETECTED_CRASH,
            Stage.RESENT,
            Stage.REFUSED,
            Stage.RELEASED,
        ),
        0,
    )
    for seed in range(20):
        journeys = live(swarm(seed), seed=seed, count=120).journeys
        for stage in met:
            met[stage] += int(journeys[stage.replace(" ", "_")].sum())
    assert all(met.values()), met


def test_no_fault_means_nothing_to_detect() -> None:
    lived = live(System(), count=500)
    found = correctness(lived.journeys, bound=30.0)
    assert (found["detected"], found["late"]) == (0, 0)
    check(lived)


@pytest.mark.parametrize("transport", ["queue-at-most-once", "queue-at-least-once"])
def test_queues_lose_or_repeat_under_the_same_weather(transport: str) -> None:
    """The weather is bad enough to be noticed: what the log stands is not for free."""
    faults = System(
        channel=Faults(loss=0.05, duplication=0.05, damage=0.05),
        crashes=Crashes(mtbf=20.0),
        hardware=Hardware(start_up=2.0),
    )
    lived = live(faults, transport, count=500)
    found = correctness(lived.journeys, bound=30.0)
    assert found["repeated"] > 0
    assert found["damaged"] > 0
    assert (found["lost"] > 0) == (transport == "queue-at-most-once") or found["lost"] > 0
    assert lived.world.state != lived.intended


def test_at_most_once_loses_at_least_what_the_network_loses() -> None:
    lived = live(System(channel=Faults(loss=0.1)), "queue-at-most-once", count=500)
    found = correctness(lived.journeys, bound=30.0)
    assert found["lost"] == found["frames_lost"] > 20
    assert found["repeated"] == 0


def test_at_least_once_repeats_what_the_network_repeats() -> None:
    lived = live(System(channel=Faults(duplication=0.1)), "queue-at-least-once", count=500)
    found = correctness(lived.journeys, bound=30.0)
    assert found["lost"] == 0
    assert found["repeated"] == found["frames_repeated"] > 20


def test_a_full_queue_drops_the_oldest() -> None:
    from rarera_sim.simulation.queue import QueueSettings
    from rarera_sim.simulation.services import ServiceTime

    lived = live(
        System(queue=QueueSettings(memory_max=10)),
        "queue-at-most-once",
        rate=10.0,
        count=100,
        service=ServiceTime(distribution="deterministic", mean=1.0),
        policy=Fixed(1),
    )
    dropped = lived.journeys["dropped"].to_list()
    assert sum(dropped) == correctness(lived.journeys, 30.0)["lost"] > 50
    assert dropped[-10:] == [0] * 10, "the newest are kept"


def test_a_crashed_processor_gives_its_work_to_another() -> None:
    crashes, hardware = Crashes(at=(10.0, 40.0), detection_delay=2.0), Hardware(start_up=5.0)
    lived = live(System(crashes=crashes, hardware=hardware), rate=9.0, count=600)
    assert len(lived.world.cluster.crashes) == 2
    assert lived.journeys["released"].sum() >= 1
    check(lived)
