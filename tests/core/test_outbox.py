"""What a source keeps until it is acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.event import Event
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.retry import Backoff


def an_event(sequence):
    return Event("EWR/UA1", "departed", {}, source="EWR", sequence=sequence, time=0)


@pytest.fixture
def outbox():
    return Outbox(Backoff(delay=1.0, factor=2.0, delay_max=4.0))


def due(outbox, now):
    return [sequence for sequence, _ in outbox.due(now)]


def test_a_frame_is_due_again_and_again_until_it_is_acknowledged(outbox):
    frame = outbox.add(an_event(1), now=0.0)
    assert (frame, due(outbox, 0.9)) == (an_event(1).frame, [])
    assert list(outbox.due(1.0)) == [(1, frame)]
    assert (due(outbox, 2.9), due(outbox, 3.0), outbox.next_due()) == ([], [1], 7.0)
    outbox.acknowledge([1])
    assert (due(outbox, 100.0), outbox.next_due(), len(outbox), 1 in outbox) == ([], None, 0, False)


def test_the_earliest_deadline_is_the_next_due(outbox):
    for sequence in (1, 2, 3):
        outbox.add(an_event(sequence), now=float(sequence))
    assert outbox.next_due() == 2.0
    assert due(outbox, 2.0) == [1]
    assert outbox.next_due() == 3.0
    outbox.acknowledge([2])
    assert outbox.next_due() == 4.0
    assert due(outbox, 4.0) == [1, 3]


def test_acknowledging_again_or_what_was_never_sent_changes_nothing(outbox):
    outbox.add(an_event(1), now=0.0)
    outbox.acknowledge([2, 1])
    outbox.acknowledge([1])
    assert len(outbox) == 0


def test_what_is_acknowledged_while_others_are_sent_again_is_not_sent(outbox):
    for sequence in (1, 2, 3):
        outbox.add(an_event(sequence), now=0.0)
    sent = []
    for sequence, _ in outbox.due(1.0):
        sent.append(sequence)
        outbox.acknowledge([1, 2])
    assert sent == [1, 3]


def test_what_was_not_sent_because_the_sender_stopped_is_still_due(outbox):
    for sequence in (1, 2, 3):
        outbox.add(an_event(sequence), now=0.0)
    next(outbox.due(1.0))
    assert due(outbox, 1.0) == [2, 3]


def test_a_request_sends_at_once_what_is_still_kept(outbox):
    for sequence in (1, 2):
        outbox.add(an_event(sequence), now=0.0)
    outbox.acknowledge([1])
    assert list(outbox.request([1, 2, 3], now=0.5)) == [(2, an_event(2).frame)]
    assert (due(outbox, 2.4), due(outbox, 2.5)) == ([], [2]), "the deadline counts from the last time it was sent"


def test_a_dead_letter_is_parked_not_forgotten():
    outbox = Outbox(Backoff(delay=1.0, attempts_max=2))
    frame = outbox.add(an_event(1), now=0.0)
    assert due(outbox, 1.0) == [1]
    assert (outbox.dead, outbox.next_due(), len(outbox)) == ({1: frame}, None, 1)
    assert [sequence for sequence, _ in outbox.request([1], now=9.0)] == [1]
    outbox.acknowledge([1])
    assert (outbox.dead, len(outbox)) == ({}, 0)


def test_a_delay_too_short_for_the_clock_is_an_error_of_the_driver():
    with pytest.raises(AssertionError, match="rounding"):
        Outbox(Backoff(delay=1e-9)).add(an_event(1), now=1e9)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "due", "acknowledge", "request", "wait"]), st.integers(1, 6)), max_size=40
    )
)
def test_nothing_leaves_unless_acknowledged(calls):
    outbox, kept, acknowledged, now = Outbox(Backoff(delay=1.0, attempts_max=3)), set(), set(), 0.0
    for call, number in calls:
        if call == "add" and number not in kept | acknowledged:
            outbox.add(an_event(number), now)
            kept.add(number)
        elif call == "due":
            assert {sequence for sequence, _ in outbox.due(now)} <= kept
        elif call == "acknowledge":
            outbox.acknowledge([number])
            acknowledged |= kept & {number}
            kept.discard(number)
        elif call == "request":
            assert {sequence for sequence, _ in outbox.request([number], now)} == kept & {number}
        else:
            now += number
        assert {sequence for sequence in range(1, 7) if sequence in outbox} == kept
        assert set(outbox.dead) <= kept
        waiting = kept - set(outbox.dead)
        assert (outbox.next_due() is not None) == bool(waiting)
