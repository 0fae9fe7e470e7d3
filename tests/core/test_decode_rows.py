"""Pages of a store read at once: the same events and the same refusals as one frame at a time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.core.errors import DamagedLog, InvalidEvent
from rarera_sim.core.event import ID_BYTES, Event, Recorded, all_intact, decode, decode_rows, encode_all, identify

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
LINKS = st.none() | st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    Event,
    NAMES,
    NAMES,
    st.dictionaries(TEXT, DATA, max_size=4),
    NAMES,
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(1, 2**63 - 1),
    LINKS,
    LINKS,
)


def a_page(count=5):
    events = [Event("s/1", "t", {"n": n}, source="c", sequence=n, time=n) for n in range(1, count + 1)]
    return [(n, event.id, event.body) for n, event in enumerate(events, start=1)]


def a_row(body, time=b"\0" * 8):
    return (3, identify(time, body), body)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=4))
def test_a_page_gives_what_decoding_each_frame_gives(events):
    rows = [(n, event.id, event.body) for n, event in enumerate(events, start=1)]
    found = list(decode_rows(rows, "the store"))
    expected = [Recorded(n, decode(event.frame)) for n, event in enumerate(events, start=1)]
    # Also by type, as 1 == 1.0 == True, and -0.0 == 0.0.
    assert repr(found) == repr(expected)
    assert found == expected
    assert [type(recorded) for recorded in found] == [Recorded] * len(rows)
    assert [recorded.event.frame for recorded in found] == [event.frame for event in events]


def afresh(event):
    """The same event, not encoded yet."""
    return msgspec.structs.replace(event)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=4))
def test_encoding_many_gives_what_encoding_each_gives(events):
    frames = encode_all([afresh(event) for event in events])
    assert frames == [event.frame for event in events]
    some = [event if n % 2 else afresh(event) for n, event in enumerate(events)]
    assert encode_all(some) == frames
    assert [event.frame for event in some] == frames


@pytest.mark.parametrize(
    "change",
    [
        {"stream": ""},
        {"type": "a\0b"},
        {"source": None},
        {"stream": type("Name", (str,), {})("s")},
        {"sequence": True},
        {"sequence": 0},
        {"sequence": 2**63},
        {"schema": 1.0},
        {"time": -1},
        {"time": 2**63},
        {"data": {"x": float("nan")}},
        {"data": {"x": "\ud800"}},
        {"data": {"x": [float("inf")]}},
        {"data": []},
        {"causation": b"short"},
        {"causation": ""},
        {"causation": "text"},
        {"correlation": b""},
    ],
)
def test_encoding_many_refuses_what_encoding_one_refuses(change):
    events = [Event("s/1", "t", {"n": n}, source="c", sequence=n, time=n) for n in range(1, 4)]
    bad = msgspec.structs.replace(events[1], **change)
    with pytest.raises(InvalidEvent) as one:
        _ = bad.frame
    with pytest.raises(InvalidEvent) as many:
        encode_all([events[0], bad, events[2]])
    assert str(many.value) == str(one.value)


def test_null_and_escapes_are_encoded_like_all_else():
    events = [Event("s\\", 't"', {"a": None, "b": "null\n", "c\0": 1}, "c", n, n) for n in range(1, 250)]
    assert encode_all(events) == [afresh(event).frame for event in events]


def test_no_rows_are_no_events():
    assert list(decode_rows([], "the store")) == []


@pytest.mark.parametrize(
    "row",
    [
        (3, bytes(ID_BYTES), b"{}"),
        (3, b"", b""),
        (3, b"short", a_page()[2][2]),
        (3, a_page()[2][1], a_page()[2][2] + b" "),
        (3, a_page()[2][1] + b"\0", a_page()[2][2]),
        (3, None, None),
        (3, "text", "text"),
        (3, 5, 5.0),
        a_row(b"[1]"),
        a_row(b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}'),
        a_row(b'["s","t","c",0,1,"","",{}]'),
        a_row(b'["s","t","c",1.0,1,"","",{}]'),
        a_row(b'["s","t","c",true,1,"","",{}]'),
        a_row(b'["s","t","c",9223372036854775808,1,"","",{}]'),
        a_row(b'["","t","c",1,1,"","",{}]'),
        a_row(b'["s\\u0000","t","c",1,1,"","",{}]'),
        a_row(b'["s","t","c\\u0000",1,1,"","",{}]'),
        a_row(b'["s","t","c",1,1,"ab","",{}]'),
        a_row(b'["s","t","c",1,1,"","xy",{}]'),
        a_row(b'["s","t","c",1,1," ","",{}]'),
        a_row(b'["s","t","c",1,1,"","",[]]'),
        a_row(b'["s","t","c",1,1,"","",{}]', time=b"\xff" * 8),
        a_row(b"\xff"),
    ],
    ids=repr,
)
def test_what_decode_refuses_is_damage_at_its_position_after_those_before_it(row):
    if type(row[1]) is bytes:
        with pytest.raises(InvalidEvent):
            decode(row[1] + row[2])
    rows = a_page()
    rows[2] = row
    found = decode_rows(rows, "the store")
    assert [next(found).position, next(found).position] == [1, 2]
    with pytest.raises(DamagedLog, match=r"^position 3 of the store: "):
        next(found)


def test_what_only_decode_can_read_is_read():
    body = b'["s","t","c",1,1,"","",{"a":18446744073709551616}]'  # beyond 64 bits: a float to decode
    row = a_row(body)
    assert decode(row[1] + row[2]).data == {"a": 2.0**64}


@pytest.mark.parametrize("bit", range(0, 8 * ID_BYTES, 7))
def test_a_flipped_bit_of_a_uid_is_not_intact(bit):
    rows = a_page()
    ids, bodies = bytearray(b"".join(row[1] for row in rows)), [row[2] for row in rows]
    assert all_intact(bytes(ids), bodies)
    ids[ID_BYTES + bit // 8] ^= 1 << bit % 8
    assert not all_intact(bytes(ids), bodies)
