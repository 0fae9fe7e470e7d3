"""Data faults are found by the receiver: precision and recall 1.0 for every kind, over many seeds."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.event import Event
from rarera_sim.core.incidents import Kind, incidents
from rarera_sim.core.journal import Journal
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.receiver import Acknowledge, Receiver, Resend, Tolerance, perform
from rarera_sim.core.retry import Backoff

SECOND = 10**9
KINDS = {
    "damage": Kind.DAMAGED,
    "gap": Kind.MISSING,
    "repeat": Kind.REPEATED,
    "out of order": Kind.OUT_OF_ORDER,
    "late": Kind.LATE,
    "future": Kind.FROM_THE_FUTURE,
}


class Line:
    """One source, a receiver and the log between which the faults are."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        backoff = Backoff(delay=1.0, factor=2.0, delay_max=4.0, attempts_max=4)
        self.receiver = Receiver(Journal("gate"), Tolerance(patience=1.0, late=60.0, ahead=1.0, backoff=backoff))
        self.box = Outbox(Backoff(delay=1000.0, delay_max=1000.0))
        self.now = 10_000 * SECOND
        self.sequence = 0

    def make(self, fault: str) -> tuple[int, bytes]:
        self.sequence += 1
        self.now += SECOND // 100
        created = self.now + {"late": -600, "future": 3}.get(fault, 0) * SECOND
        event = Event("EWR/1", "tick", {"n": self.sequence}, source="EWR", sequence=self.sequence, time=created)
        return self.sequence, self.box.add(event, self.now / SECOND)

    def deliver(self, frame: bytes) -> None:
        self.answer(self.receiver.receive(frame, self.now, via="EWR"))

    def answer(self, actions) -> None:
        said = perform(self.receiver, self.log.append, actions, self.now)
        for each in said:
            if isinstance(each, Acknowledge):
                self.box.acknowledge(each.sequences)
        for each in said:
            if isinstance(each, Resend):
                wanted = each.sequences or range(1, self.sequence + 1)
                for _, frame in tuple(self.box.request(wanted, self.now / SECOND)):
                    self.deliver(frame)
                self.answer(self.receiver.heard("EWR", self.sequence, self.now, asked=each.asked))

    def settle(self) -> None:
        for _ in range(40):
            self.now += SECOND // 4
            self.answer(self.receiver.due(self.now))


def lived(seed: int, faults: tuple[str, ...]) -> tuple[set[tuple[Kind, int]], list[tuple[Kind, int]], Line]:
    """What was injected, what was found, each as kind and sequence."""
    chance, line, injected = Random(seed), Line(), set()
    for _ in range(25):
        fault = chance.choice(faults) if chance.random() < 0.4 else "none"
        sequence, frame = line.make(fault)
        if fault != "none":
            injected.add((KINDS[fault], sequence))
        if fault == "damage":
            at = chance.randrange(32, len(frame))
            line.deliver(frame[:at] + bytes([frame[at] ^ (1 << chance.randrange(8))]) + frame[at + 1 :])
        elif fault == "repeat":
            line.deliver(frame)
            line.deliver(frame)
        elif fault == "out of order":
            line.deliver(line.make("none")[1])
            line.deliver(frame)
        elif fault == "gap":
            line.deliver(line.make("none")[1])
        else:
            line.deliver(frame)
        if fault != "none":
            line.settle()  # so that no fault hides another
    line.settle()
    found = [(each.kind, n) for each in incidents(line.log) for n in range(each.first or 0, (each.last or 0) + 1)]
    return injected, found, line


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_every_data_fault_is_found_and_nothing_else(first):
    for seed in range(first, first + 25):
        injected, found, line = lived(seed, tuple(KINDS))
        assert Counter(found) == Counter(injected), f"seed {seed}"
        recorded = sorted(event.sequence for _, event in line.log.read() if event.source == "EWR")
        assert recorded == list(range(1, line.sequence + 1)), f"seed {seed}"
        assert [each for each in incidents(line.log) if each.open] == [], f"seed {seed}"


@pytest.mark.parametrize("fault", KINDS)
def test_a_kind_alone_is_found_as_that_kind(fault):
    injected, found, _ = lived(7, (fault,))
    assert len(injected) >= 5
    assert Counter(found) == Counter(injected)


def test_without_faults_nothing_is_found():
    line = Line()
    for _ in range(50):
        line.deliver(line.make("none")[1])
    line.settle()
    assert incidents(line.log) == []
