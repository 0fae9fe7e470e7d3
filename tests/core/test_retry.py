"""Back-off as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.retry import Backoff, DeadLetter


def test_delays_grow_to_the_longest():
    backoff = Backoff(delay=1.0, factor=2.0, delay_max=5.0)
    assert [backoff.after(attempt, now=100.0) for attempt in (1, 2, 3, 4, 5)] == [101, 102, 104, 105, 105]


def test_jitter_only_shortens_and_is_handed_in():
    backoff = Backoff(delay=1.0, jitter=0.5)
    assert [backoff.after(1, now=0.0, u=u) for u in (0.0, 0.5)] == [1.0, 0.75]


def test_the_last_attempt_ends_in_a_dead_letter():
    backoff = Backoff(attempts_max=2)
    assert isinstance(backoff.after(1, now=0.0), float)
    assert backoff.after(2, now=0.0) == DeadLetter(attempts=2)


@given(st.integers(1, 10**9), st.floats(1, 1000), st.floats(1e-6, 1e6), st.floats(0, 0.99))
def test_trying_for_ever_never_overflows_nor_waits_longer_than_allowed(attempt, factor, delay, u):
    backoff = Backoff(delay=delay, factor=factor, delay_max=2e6, jitter=1.0)
    assert 0 <= backoff.after(attempt, now=0.0, u=u) <= 2e6


@pytest.mark.parametrize(
    "fields",
    [
        {"delay": 0.0},
        {"delay": float("nan")},
        {"delay": 2.0, "delay_max": 1.0},
        {"factor": 0.5},
        {"factor": 1e9},
        {"factor": float("nan")},
        {"jitter": 1.5},
        {"attempts_max": 0},
    ],
    ids=str,
)
def test_a_back_off_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Backoff(**fields)
