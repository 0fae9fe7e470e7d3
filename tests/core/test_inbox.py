"""What an inbox says of frames, and of what is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.event import Event
from rarera_sim.core.inbox import Corrupt, Inbox, Intact, Order, ReceiveWindow


def a_frame(sequence, source="EWR"):
    return Event("EWR/UA1", "departed", {}, source=source, sequence=sequence, time=0).frame


def test_frames_in_order_are_next():
    inbox = Inbox()
    assert [inbox.receive(a_frame(n)).order for n in (1, 2, 3)] == [Order.NEXT] * 3
    assert inbox.missing("EWR") == []


def test_a_gap_is_named_until_it_is_filled():
    inbox = Inbox()
    assert [inbox.receive(a_frame(n)).order for n in (1, 4)] == [Order.NEXT, Order.AHEAD]
    assert inbox.missing("EWR") == [2, 3]
    assert inbox.receive(a_frame(3)).order is Order.FILLED
    assert inbox.missing("EWR") == [2]
    assert inbox.receive(a_frame(3)).order is Order.SEEN


def test_repeats_are_named_and_handed_on():
    inbox = Inbox()
    first, again = inbox.receive(a_frame(1)), inbox.receive(a_frame(1))
    assert isinstance(again, Intact)
    assert (first.event, again.order) == (again.event, Order.SEEN)


def test_sources_do_not_mix():
    inbox = Inbox()
    inbox.receive(a_frame(2, "EWR"))
    assert inbox.receive(a_frame(1, "JFK")).order is Order.NEXT
    assert (inbox.missing("EWR"), inbox.missing("JFK"), inbox.missing("never heard")) == ([1], [], [])


def test_an_inbox_goes_on_from_what_the_log_has():
    inbox = Inbox({"EWR": [(1, 3), (6, 7)]})
    assert inbox.missing("EWR") == [4, 5]
    assert [inbox.receive(a_frame(n)).order for n in (8, 2, 5)] == [Order.NEXT, Order.SEEN, Order.FILLED]


def test_damage_moves_no_window():
    inbox = Inbox()
    frame = bytearray(a_frame(9))
    frame[-1] ^= 1
    assert isinstance(inbox.receive(bytes(frame)), Corrupt)
    assert inbox.missing("EWR") == []


def test_a_jump_beyond_belief_is_held_to_be_wrong():
    inbox = Inbox()
    inbox.receive(a_frame(1))
    received = inbox.receive(a_frame(10**12))
    assert isinstance(received, Corrupt)
    assert "jumps ahead of 2" in received.reason
    assert inbox.receive(a_frame(2)).order is Order.NEXT


@given(st.lists(st.integers(1, 30), max_size=60))
def test_a_window_agrees_with_a_set(sequences):
    window, seen = ReceiveWindow(), set()
    for sequence in sequences:
        order = window.observe(sequence)
        newest = max(seen, default=0)
        if sequence in seen:
            assert order is Order.SEEN
        elif sequence == newest + 1:
            assert order is Order.NEXT
        else:
            assert order is (Order.AHEAD if sequence > newest else Order.FILLED)
        seen.add(sequence)
        assert window.next == max(seen) + 1
        assert window.missing == sorted(set(range(1, max(seen))) - seen)
