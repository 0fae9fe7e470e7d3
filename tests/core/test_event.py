"""The canonical form: what is frozen, what differs, what is refused. docs/canonical.md says it in words."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import unicodedata

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rarera_sim.core.errors import BadInput, InvalidEvent
from rarera_sim.core.event import ID_BYTES, Event, canonical_json, decode, encode, identify, parse_json
from rarera_sim.core.inbox import Corrupt, Inbox, Intact

# Frozen: a change of any of these bytes is a new format, not a fix. The same vectors stand in docs/canonical.md.
GOLDEN = {
    "usual": (
        Event(
            "EWR/UA1545",
            "arrived",
            {"speed": 370.0, "delay_min": -4, "carrier": "UA"},
            source="IAH",
            sequence=7,
            time=1_357_035_000_000_000_000,
        ),
        "12d5282482c5b000c2c670a1ca835da1677a109bc0b7e79ea4bbbfa0ff7a60a8",
        b'["EWR/UA1545","arrived","IAH",7,1,"","",{"carrier":"UA","delay_min":-4,"speed":370.0}]',
    ),
    "smallest": (
        Event("s", "t", {}, source="c", sequence=1, time=0),
        "0000000000000000ac3c6f19fb35cc54fe227e1ecffccb3700f81a33196b3c8f",
        b'["s","t","c",1,1,"","",{}]',
    ),
    "extreme": (
        Event(
            "é/\U0001f600",
            "typ",
            {
                "b": [1, 1.0, True, None, -0.0, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, 2**64 - 1, -(2**63)],
                "a": {"\uffff": 1, "\U00010000": 2, '"\\\x00\x7f\u2028': ""},
            },
            source="x y",
            sequence=2**63 - 1,
            time=2**63 - 1,
            schema=3,
            causation=b"\x01" * 32,
            correlation=bytes(range(32)),
        ),
        "7fffffffffffffff767eb14de49d58d921e2a02ab4c93212cad9a2e93276fb6a",
        b'["\xc3\xa9/\xf0\x9f\x98\x80","typ","x y",9223372036854775807,3,'
        b'"0101010101010101010101010101010101010101010101010101010101010101",'
        b'"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
        b'{"a":{"\\"\\\\\\u0000\x7f\xe2\x80\xa8":"","\xef\xbf\xbf":1,"\xf0\x90\x80\x80":2},'
        b'"b":[1,1.0,true,null,-0.0,1e+16,1e-7,5e-324,1.7976931348623157e+308,'
        b"18446744073709551615,-9223372036854775808]}]",
    ),
}


def an_event(**fields):
    usual = {"stream": "EWR/UA1", "type": "arrived", "data": {"speed": 1}, "source": "IAH", "sequence": 1, "time": 5}
    return Event(**usual | fields)


finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
links = st.none() | st.binary(min_size=32, max_size=32)
events = st.builds(
    Event,
    stream=names,
    type=names,
    data=st.dictionaries(text, json_values, max_size=3),
    source=names,
    sequence=st.integers(1, 2**63 - 1),
    time=st.integers(0, 2**63 - 1),
    schema=st.integers(1, 2**63 - 1),
    causation=links,
    correlation=links,
)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_vectors_never_change(name):
    event, event_id, body = GOLDEN[name]
    assert (event.id.hex(), event.body) == (event_id, body)
    assert encode(event) == bytes.fromhex(event_id) + body
    assert decode(bytes.fromhex(event_id) + body) == event


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_another_process_gives_the_same_bytes(hash_seed):
    code = (
        "from rarera_sim.core.event import Event\n"
        "data = {k: {j: 1.5 for j in 'zyx'} for k in {'b', 'a', 'c'}}\n"
        "print(Event('s', 't', data, source='c', sequence=1, time=0).frame.hex())"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    inner = {"x": 1.5, "y": 1.5, "z": 1.5}
    assert run.stdout.strip() == Event("s", "t", dict.fromkeys("abc", inner), "c", 1, 0).frame.hex()


@settings(deadline=None)
@given(events)
def test_decoding_gives_back_what_was_encoded(event):
    frame = event.frame
    again = decode(frame)
    assert again == event
    assert (again.id, again.body) == (event.id, event.body)
    # Made anew from its fields, without the bytes it was read from: the canonical form of what was read is the same.
    assert msgspec.structs.replace(again).frame == frame


@settings(deadline=None)
@given(events)
def test_copies_have_the_same_id(event):
    for twin in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert twin.frame == event.frame


@settings(deadline=None)
@given(events, events)
def test_ids_sort_by_creation_time(one, two):
    if one.time != two.time:
        assert (one.id < two.id) == (one.time < two.time)


def test_an_event_with_a_field_replaced_gets_its_own_id():
    event = an_event()
    assert event.id != msgspec.structs.replace(event, sequence=2).id


@pytest.mark.parametrize("name", GOLDEN)
def test_every_flipped_bit_of_a_frame_is_corrupt(name):
    frame = GOLDEN[name][0].frame
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert isinstance(Inbox().receive(bytes(damaged)), Corrupt), f"bit {bit}"


@settings(deadline=None)
@given(events, st.data())
def test_any_flipped_bit_and_any_cut_is_corrupt(event, data):
    frame = event.frame
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    inbox = Inbox()
    assert isinstance(inbox.receive(bytes(damaged)), Corrupt)
    assert isinstance(inbox.receive(frame[: data.draw(st.integers(0, len(frame) - 1))]), Corrupt)
    assert isinstance(inbox.receive(frame + b" "), Corrupt)
    assert inbox.missing(event.source) == []


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_corrupt_and_never_an_exception(frame):
    assert isinstance(Inbox().receive(frame), Corrupt)


@settings(deadline=None)
@given(st.lists(json_values, max_size=9))
def test_a_body_with_a_matching_uid_and_no_event_in_it_is_corrupt(body):
    text = canonical_json(body)
    received = Inbox().receive(identify(b"\0" * 8, text) + text)
    assert isinstance(received, Corrupt)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (1.0, True),
        (0, False),
        (0, None),
        (0.0, -0.0),
        ("é", unicodedata.normalize("NFD", "é")),
        ("1", 1),
        (10**16, 1e16),
        (2**53 + 1, float(2**53)),
        (0.1 + 0.2, 0.3),
        ([], {}),
        ([1, 2], [2, 1]),
        ({"a": None}, {}),
        ("", None),
        ("a", "A"),
        ("\u212b", "\u00c5"),
    ],
)
def test_what_differs_in_the_data_differs_in_the_id(one, other):
    assert an_event(data={"v": one}).id != an_event(data={"v": other}).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"v": 1.10}, {"v": 1.1}),
        ({"v": 1e2}, {"v": 100.0}),
        ({"v": (1, 2)}, {"v": [1, 2]}),
    ],
)
def test_what_is_the_same_content_has_the_same_id(one, other):
    assert an_event(data=one).id == an_event(data=other).id


@pytest.mark.parametrize(
    "change",
    [
        {"stream": "EWR/UA2"},
        {"type": "Arrived"},
        {"source": "JFK"},
        {"sequence": 2},
        {"time": 6},
        {"schema": 2},
        {"causation": b"\0" * 32},
        {"correlation": b"\0" * 32},
    ],
)
def test_every_field_is_part_of_the_id(change):
    assert an_event(**change).id != an_event().id


def test_fields_cannot_run_into_each_other():
    assert an_event(stream="a", type="bc").id != an_event(stream="ab", type="c").id
    assert an_event(causation=b"\1" * 32).id != an_event(correlation=b"\1" * 32).id


DEEP: list[object] = []
for _ in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [None, {"x": -math.inf}],
        "\ud800",
        2**64,
        -(2**63) - 1,
        {1: "key"},
        {None: "key"},
        {"\udfff": 1},
        b"bytes",
        {1, 2},
        object(),
        1j,
        DEEP,
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_data_without_canonical_form_is_refused(value):
    with pytest.raises(InvalidEvent):
        _ = an_event(data={"v": value}).frame


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": ""},
        {"type": ""},
        {"source": ""},
        {"stream": "a\0b"},
        {"stream": "\ud800"},
        {"source": 7},
        {"type": None},
        {"sequence": 0},
        {"sequence": -1},
        {"sequence": True},
        {"sequence": 1.0},
        {"sequence": 2**63},
        {"sequence": "1"},
        {"time": -1},
        {"time": 2**63},
        {"time": 1.5},
        {"time": False},
        {"time": math.nan},
        {"schema": 0},
        {"data": []},
        {"data": None},
        {"data": "{}"},
        {"causation": b"short"},
        {"correlation": "00" * 32},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_refused_and_named(fields):
    with pytest.raises(InvalidEvent, match="data" if fields == {"stream": "\ud800"} else next(iter(fields))):
        _ = an_event(**fields).frame


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":18446744073709551616}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":"\\ud800"}',
        '{"a":"\0"}',
        '{"a":01}',
        "[1",
        "{}x",
        "",
        "[" * 100_000,
        b"\xff\xff",
        '{"a":1,5}',
    ],
    ids=lambda text: str(text[:20]),
)
def test_text_that_is_not_strict_json_is_refused(text):
    with pytest.raises(InvalidEvent):
        parse_json(text)


@settings(deadline=None)
@given(json_values)
@example(-0.0)
def test_canonical_json_is_read_back_as_it_was(value):
    text = canonical_json(value)
    assert repr(parse_json(text)) == repr(value) or isinstance(value, dict | list)
    assert canonical_json(parse_json(text)) == text


def test_a_frame_that_is_not_canonical_is_corrupt_though_its_uid_matches():
    for body in (
        b'["s","t","c",1,1,"","",{"a":1,"a":1}]',
        b'["s", "t","c",1,1,"","",{}]',
        b'["s","t","c",1,1,"","",{"b":1,"a":1}]',
        b'["s","t","c",1,1,"","",{"a":1.10}]',
        b'["s","t","c",1,1,"","",{"a":"\\u0041"}]',
        b'["s","t","c",1,1,"","",{"a":18446744073709551616}]',
        b'["s","t","c",1,1,"' + b"AB" * 32 + b'","",{}]',
    ):
        frame = identify(bytes(8), body) + body
        assert Inbox().receive(frame) == Corrupt(frame, "body is not in canonical form"), body
    body = b'["s","t","c",1,1,"","",{}]'
    assert isinstance(Inbox().receive(identify(bytes(8), body) + body), Intact)


def test_an_unverified_reading_takes_what_it_is_given():
    frame = an_event(data={"speed": 100}).frame.replace(b"100", b"900")
    assert decode(frame, verify=False).data == {"speed": 900}
    with pytest.raises(InvalidEvent, match="does not match"):
        decode(frame)


def test_a_refusal_is_bad_input_in_one_line():
    with pytest.raises(BadInput) as refused:
        decode(b"x" * ID_BYTES)
    assert "\n" not in str(refused.value)


def test_the_processor_is_what_stands_before_the_first_slash():
    assert [an_event(stream=stream).processor for stream in ("EWR/UA1/x", "EWR", "/x")] == ["EWR", "EWR", ""]
