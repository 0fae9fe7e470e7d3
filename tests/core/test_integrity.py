"""The chain's form is frozen, and the set that finds second places is a set."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import CHAIN_START, Runs, verify


def test_the_golden_chain_never_changes():
    assert CHAIN_START.hex() == "6972c14e98b54ca30642c200e4ced6f5178608a22df2b4edd2c0d2b9dafe123d"
    log = MemoryLog()
    log.append([Event("s", "t", {}, source="c", sequence=n, time=0) for n in (1, 2)])
    assert verify(log).head.chain.hex() == "a59b4516640bdfbd2a8e637d0e45577124efb2c466a429551074092a8ee5e195"


def test_an_empty_log_is_intact():
    verdict = verify(MemoryLog())
    assert (verdict.intact, verdict.head.position, verdict.head.chain) == (True, 0, CHAIN_START)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30)))
def test_runs_agree_with_a_set(numbers):
    runs, known = Runs(), set()
    for number in numbers:
        assert runs.add(number) == (number not in known)
        known.add(number)
    assert [n for first, last in runs.pairs for n in range(first, last + 1)] == sorted(known)
    assert all(earlier[1] + 1 < later[0] for earlier, later in zip(runs.pairs, runs.pairs[1:], strict=False))
