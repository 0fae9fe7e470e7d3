"""What an inbox says of frames, and of what is missing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rarera_sim.core.errors import InvalidEvent
from rarera_sim.core.event import ID_BYTES, Event, canonical_body, decode, identify
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


def what_decode_says(frame):
    """What the inbox must say of a frame: the event, or the reason, by the two steps that it does at once."""
    try:
        event = decode(frame)
    except InvalidEvent as error:
        return str(error)
    return event if canonical_body(event) == frame[ID_BYTES:] else "body is not in canonical form"


NAMES = st.sampled_from(["s", "a/b", "", "\0", "a\\b", "\u00e9", 5, None])
NUMBERS = st.sampled_from([1, 0, -1, 2**63 - 1, 2**63, True, 1.0, "1", None])
LINKS = st.sampled_from(["", "ab" * 32, "AB" * 32, "ab" * 31, "zz" * 32, " " * 2 + "ab" * 31, None])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


USUAL: dict[str, Any] = {
    "names": ("s", "t", "c"),
    "numbers": (1, 1),
    "links": ("", ""),
    "data": {},
    "time": bytes(8),
    "spaces": False,
    "sort": True,
    "cut": 0,
}


@settings(max_examples=500, deadline=None)
@example(**USUAL)
@example(**USUAL | {"time": b"\x80" + bytes(7)})
@example(**USUAL | {"names": ("s", "\0", "c")})
@example(**USUAL | {"links": ("AB" * 32, "")})
@example(**USUAL | {"data": {"b": 1, "a": 1}, "sort": False})
@given(
    names=st.tuples(*[st.just("s") | NAMES] * 3),
    numbers=st.tuples(*[st.just(1) | NUMBERS] * 2),
    links=st.tuples(*[st.just("") | LINKS] * 2),
    data=st.dictionaries(st.text(max_size=2), VALUES, max_size=3) | VALUES,
    time=st.sampled_from([bytes(8), b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7)]),
    spaces=st.booleans(),
    sort=st.booleans(),
    cut=st.integers(0, 3),
)
def test_an_inbox_takes_what_decodes_and_is_canonical_and_nothing_else(
    names, numbers, links, data, time, spaces, sort, cut
):
    separators = (", ", ": ") if spaces else (",", ":")
    try:
        body = json.dumps(
            [*names, *numbers, *links, data], ensure_ascii=False, separators=separators, sort_keys=sort
        ).encode()
    except UnicodeEncodeError:
        return
    frame = identify(time, body) + body
    frame = frame[: len(frame) - cut]
    found, expected = Inbox().receive(frame), what_decode_says(frame)
    if isinstance(found, Intact):
        assert found.event == expected
        assert repr(found.event) == repr(expected)
        assert found.event.frame == frame
    elif "jumps ahead" not in found.reason:
        assert found.reason == expected
