"""CloudEvents in and out: nothing is lost either way, and what is none is refused in one clear line."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.cloudevents import (
    Numbering,
    dump_batch,
    dump_cloudevent,
    from_cloudevent,
    load_batch,
    load_cloudevent,
    to_cloudevent,
)
from rarera_sim.core.errors import BadInput, InvalidEvent
from rarera_sim.core.event import Event

FOREIGN = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "https://github.com/cloudevents/spec/pull",
    "type": "com.github.pull_request.opened",
    "time": "2018-04-05T17:31:00Z",
    "data": {"speed": 1},
}


def an_event(sequence=1, **data):
    return Event("EWR/UA1", "departed", data, source="EWR", sequence=sequence, time=1_357_000_000_000_000_001)


def changed(**attributes):
    """`FOREIGN` with these attributes; None takes one away."""
    return {name: value for name, value in {**FOREIGN, **attributes}.items() if value is not None}


# Ours


def test_the_golden_event_never_changes():
    event = msgspec.structs.replace(
        an_event(7, speed=370.0), source="IAH gate é", schema=2, causation=bytes(32), correlation=b"\xff" * 32
    )
    assert json.loads(dump_cloudevent(event)) == {
        "specversion": "1.0",
        "id": "12d5084f703480017f14681c3568193571b5ca41a7f0db62b867d3427fb680c2",
        "source": "IAH%20gate%20%C3%A9",
        "type": "departed",
        "time": "2013-01-01T00:26:40.000000001Z",
        "datacontenttype": "application/json",
        "sequence": "0000000000000000007",
        "rarerastream": "EWR/UA1",
        "rareraschema": "2",
        "causationid": "00" * 32,
        "correlationid": "ff" * 32,
        "data": {"speed": 370.0},
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
links = st.none() | st.binary(min_size=32, max_size=32)
events = st.builds(
    Event,
    texts,
    texts,
    st.dictionaries(st.sampled_from(["speed", "cloudevent", "data", "specversion", ""]), json_values, max_size=3),
    source=texts | st.sampled_from(["a b", "a%20b", "%", "http://a/b?c#d", "/a:b", "1:b", "urn:x:y", "é", "//"]),
    sequence=st.integers(1, 2**63 - 1),
    time=st.integers(0, 2**63 - 1),
    schema=st.integers(1, 2**63 - 1),
    causation=links,
    correlation=links,
)


@given(events)
def test_an_event_of_ours_comes_back_to_the_byte(event):
    assert from_cloudevent(to_cloudevent(event)).frame == event.frame
    assert load_cloudevent(dump_cloudevent(event)).frame == event.frame


@given(st.lists(events, max_size=4))
def test_a_batch_of_ours_comes_back_to_the_byte(batch):
    assert [event.frame for event in load_batch(dump_batch(batch))] == [event.frame for event in batch]


@given(events)
def test_what_we_send_is_a_cloudevent(event):
    for name, value in to_cloudevent(event).items():
        assert name.isascii()
        assert name.isalnum()
        assert name == name.lower()
        assert name == "data" or (type(value) is str and value)
    assert to_cloudevent(event)["source"].isascii()


def test_sequences_compare_as_text_the_way_they_do_as_numbers():
    numbers = [1, 2, 9, 10, 99, 100, 2**31, 2**63 - 1]
    sent = [to_cloudevent(an_event(number))["sequence"] for number in numbers]
    assert sent == sorted(sent)


@pytest.mark.parametrize("name", ["type", "stream", "source"])
def test_a_control_character_goes_where_it_may_and_is_refused_where_it_may_not(name):
    event = msgspec.structs.replace(an_event(), **{name: "a\nb"})
    if name == "source":  # percent-encoded, as it is a URI
        assert from_cloudevent(to_cloudevent(event)) == event
    else:
        with pytest.raises(BadInput, match="no control characters"):
            to_cloudevent(event)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00" * 32},
        {"source": "JFK"},
        {"type": "arrived"},
        {"time": "2013-01-01T00:26:40Z"},
        {"sequence": "0000000000000000002"},
        {"rarerastream": "EWR/UA2"},
        {"rareraschema": "2"},
        {"causationid": "00" * 32},
        {"data": {"speed": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_event_of_ours_that_was_changed_on_its_way_is_refused(change):
    with pytest.raises(InvalidEvent, match="does not match its UID"):
        from_cloudevent({**to_cloudevent(an_event(speed=1.0)), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": "x"},
        {"sequence": 1},
        {"sequence": "٣"},
        {"sequence": "9" * 30},
        {"sequence": None},
        {"rareraschema": "0"},
        {"rareraschema": None},
        {"causationid": "xy"},
        {"causationid": 7},
        {"time": None},
        {"source": "%ff"},
        {"data": [1]},
        {"data": None},
    ],
)
def test_an_event_of_ours_that_lacks_something_is_refused(change):
    sent = {**to_cloudevent(an_event(speed=1.0)), **change}
    with pytest.raises(BadInput):
        from_cloudevent({name: value for name, value in sent.items() if value is not None})


def test_what_others_add_on_the_way_does_no_harm():
    event = an_event(speed=1.0)
    assert from_cloudevent({**to_cloudevent(event), "traceparent": "00-1-2-03", "partitionkey": None}) == event


def test_an_event_of_ours_takes_no_numbers_from_outside():
    with pytest.raises(BadInput, match="brings its own"):
        from_cloudevent(to_cloudevent(an_event()), sequence=1)


# Other people's

attribute_names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in {*FOREIGN, "subject", "dataschema", "datacontenttype", "rarerastream"}
)
attribute_values = (
    st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.booleans() | st.integers(-(2**31), 2**31 - 1)
)
payloads = st.one_of(
    st.just({}),
    json_values.map(lambda value: {"data": value}),
    st.dictionaries(st.sampled_from(["cloudevent", "data", "a"]), json_values).map(lambda value: {"data": value}),
    st.sampled_from(["", "AAAA", "/+8="]).map(lambda text: {"data_base64": text}),
)
times = st.sampled_from(
    [
        "2018-04-05T17:31:00Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T19:31:00+02:00",
        "2018-04-05T17:31:00.5-00:00",
        "2018-04-05T17:31:00.123456789123Z",
    ]
)
optional = st.fixed_dictionaries(
    {},
    optional={
        "time": times,
        "subject": texts,
        "dataschema": st.just("https://example.org/schema"),
        "datacontenttype": st.sampled_from(["application/json", "text/xml"]),
    },
)
foreign = st.builds(
    lambda id, source, type, more, extensions, payload: {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        **extensions,
        **more,
        **payload,
    },
    texts,
    texts,
    texts,
    optional,
    st.dictionaries(attribute_names, attribute_values, max_size=3),
    payloads,
)


@given(foreign, st.integers(1, 2**63 - 1))
def test_an_event_of_somebody_else_goes_out_as_it_came(received, sequence):
    event = from_cloudevent(received, sequence=sequence, time=5)
    sent = to_cloudevent(event)
    assert json.dumps(sent, sort_keys=True) == json.dumps(received, sort_keys=True)
    assert from_cloudevent(sent, sequence=sequence, time=5).frame == event.frame
    assert load_cloudevent(dump_cloudevent(event), sequence=sequence, time=5).frame == event.frame


def test_an_event_of_somebody_else_is_used_like_any_other():
    received = changed(subject="123", comexampleextension1="value", comexampleothervalue=5, dataschema="/s")
    event = from_cloudevent(received, sequence=3)
    assert (event.stream, event.type, event.source) == ("123", received["type"], received["source"])
    assert (event.sequence, event.time, event.data["speed"]) == (3, 1_522_949_460 * 10**9, 1)
    assert event.data["cloudevent"]["comexampleothervalue"] == 5
    assert from_cloudevent(received, sequence=3, stream="EWR/1").stream == "EWR/1"
    assert from_cloudevent(changed(sequence="12")).sequence == 12
    assert from_cloudevent(changed(time=None), sequence=1, time=9).time == 9
    assert from_cloudevent(FOREIGN, sequence=1, time=9).time == event.time


def test_data_of_ours_that_looks_foreign_is_still_ours():
    event = an_event(cloudevent={**FOREIGN, "data": 1})
    assert to_cloudevent(event)["rarerastream"] == "EWR/UA1"
    assert from_cloudevent(to_cloudevent(event)).frame == event.frame


@pytest.mark.parametrize(
    ("received", "message"),
    [
        ([], "must be a JSON object, got list"),
        ({}, "specversion must be '1.0', got None"),
        (changed(specversion="0.3"), "specversion must be '1.0', got '0.3'"),
        (changed(specversion=1.0), "specversion must be '1.0', got 1.0"),
        (changed(id=None), "attribute 'id' is missing"),
        (changed(source=None), "attribute 'source' is missing"),
        (changed(type=None), "attribute 'type' is missing"),
        (changed(id=""), "attribute 'id' must not be empty"),
        (changed(id=7), "attribute 'id' must be text, got 7"),
        (changed(subject=""), "attribute 'subject' must not be empty"),
        (changed(time="yesterday"), "time must be RFC 3339"),
        (changed(time="2018-04-05"), "time must be RFC 3339"),
        (changed(time="2018-04-05T17:31:00"), "time must be RFC 3339"),
        (changed(time="1522949460000000000"), "time must be RFC 3339"),
        (changed(time="2018-02-30T17:31:00Z"), "is not ISO 8601"),
        (changed(time="2018-04-05T17:31:60Z"), "is not ISO 8601"),
        (changed(time="1969-04-05T17:31:00Z"), "is outside 1970"),
        (changed(time=5), "attribute 'time' must be text, got 5"),
        (changed(data_base64="AAAA"), "data and data_base64 are both there"),
        (changed(data=None, data_base64="A"), "data_base64 must be text in base64"),
        (changed(data=None, data_base64="AB=="), "data_base64 must be text in base64"),
        (changed(data=None, data_base64=[1]), "data_base64 must be text in base64"),
        (changed(Upper="x"), "must be lower-case letters and digits, got 'Upper'"),
        (changed(under_score="x"), "must be lower-case letters and digits, got 'under_score'"),
        (changed(other=1.5), "attribute 'other' must be text, true, false or an integer of 32 bits, got 1.5"),
        (changed(other=2**31), "an integer of 32 bits, got 2147483648"),
        (changed(other={"a": 1}), "an integer of 32 bits, got {'a': 1}"),
        (changed(other="a\nb"), "attribute 'other' must have no control characters"),
        (changed(data={"speed": 2**64}), "no canonical JSON"),
        (changed(data={"speed": "\ud800"}), "no canonical JSON"),
        (changed(type="\ud800"), "no canonical JSON"),
    ],
)
def test_what_is_no_cloudevent_is_refused_in_one_line(received, message):
    with pytest.raises(BadInput) as caught:
        from_cloudevent(received, sequence=1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (FOREIGN, "has no sequence; hand one in"),
        (changed(sequence="one"), "has no sequence; hand one in"),
        (changed(sequence="9" * 30), "has no sequence; hand one in"),
        (changed(sequence="0"), "sequence must be an integer from 1"),
        (changed(sequence="1", time=None), "has no time; hand one in"),
    ],
)
def test_what_nobody_handed_in_is_named(received, message):
    with pytest.raises(BadInput, match=message):
        from_cloudevent(received)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"specversion": "1.0", "specversion": "1.0"}', "'specversion' stands twice"),
        (json.dumps(FOREIGN).replace("1}", '1, "speed": 2}'), "'speed' stands twice"),
        (json.dumps(FOREIGN).replace("1}", "NaN}"), "NaN is not JSON"),
    ],
)
def test_text_that_is_no_cloudevent_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        load_cloudevent(text, sequence=1)


# Batches


def test_a_batch_numbers_each_source_and_a_repeat_stays_one():
    batch = [
        changed(id="1"),
        changed(id="2"),
        changed(id="1"),
        changed(id="1", source="/b"),
        to_cloudevent(an_event(9)),
    ]
    numbering = Numbering()
    events = load_batch(json.dumps(batch), numbering=numbering)
    assert [event.sequence for event in events] == [1, 2, 1, 1, 9]
    assert events[0].id == events[2].id
    again = Numbering(numbering.given)
    assert [event.id for event in load_batch(json.dumps(batch), numbering=again)] == [event.id for event in events]
    assert again("/b", "2") == 2


def test_a_batch_with_one_bad_event_gives_none_and_uses_up_no_number():
    numbering = Numbering()
    with pytest.raises(BadInput, match="attribute 'type' is missing"):
        load_batch(json.dumps([FOREIGN, changed(type=None)]), numbering=numbering)
    assert numbering.given == {}
    with pytest.raises(BadInput, match="has no sequence"):
        load_batch(json.dumps([FOREIGN]))
    assert load_batch(json.dumps([changed(time=None)]), numbering=numbering, time=4)[0].time == 4
    assert load_batch("[]") == []
    with pytest.raises(BadInput, match="must be a JSON array, got dict"):
        load_batch(json.dumps(FOREIGN))
