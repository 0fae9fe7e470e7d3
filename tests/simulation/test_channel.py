"""Every kind of fault happens, at its rate, and moves no other kind's weather.

A rate lies within five standard errors of what was asked for, at the seeds given.
"""

from __future__ import annotations

import re
from math import sqrt
from typing import Any

import numpy as np
import pytest
import simpy

from rarera_sim.core.trace import Stage
from rarera_sim.simulation.channel import (
    Channel,
    Faults,
    LossBursts,
    Partition,
    Partitions,
    Weather,
    flip,
    overwrite,
)
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.kernel import Streams, after

COUNT = 40_000
FRAME = bytes(range(100))


class Carried:
    """A channel after it was given frames, one each `gap` seconds."""

    def __init__(self, faults: Faults, *, count: int = COUNT, gap: float = 1.0, seed: int = 1) -> None:
        self.arrived: list[tuple[float, bytes, int]] = []
        self.notes: list[tuple[str, int]] = []
        self.replies: list[float] = []
        env = simpy.Environment()
        self.channel = Channel(
            env,
            faults,
            Streams(seed),
            lambda arrived: self.arrived.append((env.now, *arrived)),
            lambda stage, number, _: self.notes.append((stage, number)),
        )

        def send(number: int) -> None:
            self.channel.send(FRAME, number)
            self.channel.reply(lambda _: self.replies.append(env.now), None)
            if number + 1 < count:
                after(env, gap, send, number + 1)

        send(0)
        env.run()

    def noted(self, stage: str) -> int:
        return sum(each == stage for each, _ in self.notes)

    @property
    def delays(self) -> np.ndarray:
        return np.array([moment - number for moment, _, number in self.arrived])


def near(share: float, count: int = COUNT) -> Any:
    return pytest.approx(share * count, abs=5 * sqrt(count * share * (1 - share)))


def test_a_network_without_faults_does_nothing_to_a_frame() -> None:
    carried = Carried(Faults(), count=1_000)
    assert [each[1:] for each in carried.arrived] == [(FRAME, number) for number in range(1_000)]
    assert carried.channel.counts == {
        "sent": 1_000,
        "lost": 0,
        "repeated": 0,
        "damaged": 0,
        "corrupted": 0,
        "cut off": 0,
    }
    assert carried.notes == []
    assert carried.channel.bytes == 100_000


@pytest.mark.parametrize(
    ("field", "count", "stage"),
    [
        ("loss", "lost", Stage.FRAME_LOST),
        ("duplication", "repeated", Stage.FRAME_REPEATED),
        ("damage", "damaged", Stage.FRAME_DAMAGED),
        ("corruption", "corrupted", Stage.FRAME_DAMAGED),
    ],
)
def test_a_fault_happens_at_its_rate_and_is_counted_and_noted(field: str, count: str, stage: str) -> None:
    carried = Carried(Faults(**{field: 0.07}))
    assert carried.channel.counts[count] == near(0.07)
    assert carried.noted(stage) == carried.channel.counts[count]
    others = {"lost", "repeated", "damaged", "corrupted", "cut off"} - {count}
    assert all(carried.channel.counts[other] == 0 for other in others)
    changed = sum(frame != FRAME for _, frame, _ in carried.arrived)
    assert changed == (carried.channel.counts[count] if stage == Stage.FRAME_DAMAGED else 0)
    kept = COUNT + (count == "repeated") * carried.noted(stage) - (count == "lost") * carried.noted(stage)
    assert len(carried.arrived) == kept


def test_losses_in_bursts_have_their_share_and_their_length() -> None:
    bursts = LossBursts(enter=0.01, leave=0.2, loss=1.0)
    faults = Faults(bursts=bursts)
    weather = Weather(faults, Streams(1), "sent")
    lost = np.array([weather.draw().lost for _ in range(200_000)])
    assert faults.loss_mean == pytest.approx(0.01 / 0.21)
    # Frames of one stretch are alike: a stretch counts once, hence a standard error of sqrt(1 / stretches).
    stretches = int((np.diff(lost.astype(int)) == 1).sum())
    assert lost.mean() == pytest.approx(faults.loss_mean, rel=5 * sqrt(2 / stretches))
    assert lost.sum() / stretches == pytest.approx(5.0, rel=5 / sqrt(stretches))
    assert stretches == pytest.approx(200_000 * 0.01 * 0.2 / 0.21, rel=0.12)


def test_bursts_that_lose_half_beside_a_loss_of_their_own_have_both() -> None:
    carried = Carried(Faults(loss=0.02, bursts=LossBursts(enter=0.05, leave=0.5, loss=0.5)))
    expected = 0.02 * 0.5 / 0.55 + 0.5 * 0.05 / 0.55
    assert carried.channel.counts["lost"] / COUNT == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "delay",
    [
        Distribution(distribution="lognormal", mean=0.2, scv=3.0),
        Distribution(distribution="uniform", mean=0.2, scv=0.2),
        Distribution(distribution="pareto", mean=0.2, scv=2.0),
    ],
    ids=lambda delay: delay.distribution,
)
def test_a_delay_has_its_distribution(delay: Distribution) -> None:
    delays = Carried(Faults(delay_min=0.1, delay=delay)).delays
    assert delays.min() > 0.1
    assert delays.mean() == pytest.approx(0.3, rel=0.03)
    assert (delays - 0.1).var() / 0.04 == pytest.approx(delay.scv, rel=0.25)


def test_the_plain_delay_is_the_least_and_an_exponential() -> None:
    delays = Carried(Faults(delay_min=0.1, delay_mean=0.3)).delays
    assert delays.min() >= 0.1
    assert delays.mean() == pytest.approx(0.3, abs=5 * 0.2 / sqrt(COUNT))


def test_held_frames_are_overtaken() -> None:
    hold = Distribution(distribution="exponential", mean=5.0)
    for faults in (Faults(reordering=0.1, reordering_delay=5.0), Faults(reordering=0.1, hold=hold)):
        delays = Carried(faults).delays
        assert (delays > 0).sum() == near(0.1)
        assert delays[delays > 0].mean() == pytest.approx(5.0, rel=0.1)
        carried = Carried(faults)
        numbers = np.array([number for _, _, number in carried.arrived])
        assert (np.diff(numbers) < 0).mean() > 0.05


def test_frames_queue_for_the_line_by_their_length() -> None:
    # 100 bytes at 50 bytes/s take 2 s, one frame comes each second: the n-th waits for all before it.
    carried = Carried(Faults(bandwidth=50.0), count=10)
    assert [moment for moment, _, _ in carried.arrived] == pytest.approx([2.0 * (n + 1) for n in range(10)])
    # Twice the bandwidth, or half the bytes, and nobody waits.
    assert Carried(Faults(bandwidth=100.0), count=10).delays == pytest.approx([1.0] * 10)
    assert carried.channel.bytes == 1_000


def test_copies_and_lost_frames_take_their_part_of_the_line() -> None:
    carried = Carried(Faults(bandwidth=50.0, duplication=1.0), count=10)
    assert carried.channel.bytes == 2_000
    assert max(moment for moment, _, _ in carried.arrived) == pytest.approx(40.0)
    assert Carried(Faults(bandwidth=50.0, loss=1.0), count=10).channel.bytes == 1_000


@pytest.mark.parametrize(
    ("direction", "frames", "replies"),
    [("both", 90, 90), ("to-system", 90, 100), ("to-sources", 100, 90)],
)
def test_a_partition_cuts_off_its_direction_for_its_time(direction: Any, frames: int, replies: int) -> None:
    carried = Carried(Faults(partitions=(Partition(since=20.0, until=30.0, direction=direction),)), count=100)
    assert (len(carried.arrived), len(carried.replies)) == (frames, replies)
    assert carried.channel.counts["cut off"] == carried.noted(Stage.FRAME_LOST) == 100 - frames
    cut = set(range(100)) - {number for _, _, number in carried.arrived}
    assert cut == (set(range(20, 30)) if frames == 90 else set())


def test_partitions_by_chance_take_their_share_of_the_time() -> None:
    random = Partitions(gap_mean=90.0, length_mean=10.0, direction="to-system")
    carried = Carried(Faults(partitions_random=random))
    cut = carried.channel.counts["cut off"]
    partitions = COUNT / 100
    assert cut / COUNT == pytest.approx(0.1, rel=5 * sqrt(2 / partitions))
    assert len(carried.replies) == COUNT


def test_one_kind_of_fault_moves_no_other_kinds_weather() -> None:
    plain = Faults(loss=0.1, duplication=0.1, damage=0.1, delay_mean=0.5, reordering=0.1, reordering_delay=2.0)
    more = Faults(
        **{name: getattr(plain, name) for name in ("loss", "duplication", "damage", "delay_mean", "reordering")},
        reordering_delay=2.0,
        corruption=0.5,
        partitions=(Partition(since=0.0, until=5.0),),
    )
    first, second = Weather(plain, Streams(1), "sent"), Weather(more, Streams(1), "sent")
    for _ in range(10_000):
        assert first.draw()[:6] == second.draw()[:6]


def test_damage_always_changes_something() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.5, 0.999999, 1.0):
        assert flip(FRAME, share) != FRAME
        assert overwrite(FRAME, share, FRAME[-4:]) != FRAME
        assert len(overwrite(FRAME, share, rng.bytes(4))) == len(FRAME)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(delay_min=2.0), "delay_mean is 0.0 s, less than delay_min, 2.0 s"),
        (Faults(delay_mean=2.0, delay=Distribution()), "delay_mean is 2.0 s, and delay says another"),
        (Faults(delay=Distribution(distribution="erlang", scv=2.0)), r"delay.scv must be in \(0, 1\]"),
        (Faults(bursts=LossBursts(enter=0.1, leave=0.0)), "bursts.leave must be > 0"),
        (Faults(partitions=(Partition(since=2.0, until=1.0),)), r"partitions\[0\] must have since < until, got 2.0"),
    ],
)
def test_what_cannot_be_is_said(faults: Faults, message: str) -> None:
    assert re.match(message, faults.problem() or "")
