"""Events, their identity, and the canonical bytes that decide both.

A *frame* is what travels and what is stored::

    frame = UID (32 bytes) + body            body = canonical JSON array, UTF-8
    UID   = GST (8 bytes, big endian) + SHA-256(domain + GST + body)[:24]
    body  = [stream, type, source, sequence, schema, causation, correlation, data]       links in hex, "" for none

One id does three jobs: recompute it and you know that an event is damaged, look it up and you know that it is a
repeat, compare two logs by it and you know whether two runs agree. The creation time stands in front because a
unique index over time-ordered keys costs half of one over random keys. 192 bits of SHA-256 leave 2^96 work to find
two events of one nanosecond with one id. The rule for JSON is written down in docs/canonical.md, with golden vectors
in tests/core/test_event.py.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import repeat
from operator import add
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from rarera_sim.core.errors import DamagedLog, InvalidEvent
from rarera_sim.core.time import TIMESTAMP_MAX, Timestamp, format_timestamp

EventId = bytes
Frame = bytes

ID_BYTES = 32
TIME_BYTES = 8
HASH_BYTES = ID_BYTES - TIME_BYTES
SEQUENCE_MAX = 2**63 - 1

# Separates our hashes from any other use of SHA-256 on the same bytes, and one canonical form from the next.
_DOMAIN = sha256(b"rarera.event/1\0")
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_ENVELOPE = 8
_has_null = re.compile(rb"null").search  # half of the time of `in`, which looks for bytes less cleverly

# A body as `_check_fields` wants it, checked while it is parsed. On canonical bodies it agrees with orjson to the type
# and the bit; the two differ in integers beyond 64 bits and in nesting that no canonical body has.
_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=SEQUENCE_MAX)]
_parse_body = msgspec.json.Decoder(tuple[_Name, _Name, _Name, _Count, _Count, str, str, dict[str, Any]]).decode
_times = struct.Struct(f">q{HASH_BYTES}x").iter_unpack  # of UIDs one after the other
_TOGETHER = 100  # events that `encode_all` works on at once: they stay in the processor's cache
_pack_time = struct.Struct(">q").pack
_TIME_END = b"\x80"  # times from here on are beyond 63 bits
_write = orjson.dumps
_BACKSLASH = ord("\\")
_TIME_AND_HASH = struct.Struct(f"{TIME_BYTES}s{HASH_BYTES}s")


class Event(msgspec.Struct, frozen=True, dict=True, order=False):
    """Something that happened, once, at one source.

    Parameters
    ----------
    stream
        What the event is about, and the unit of ordering. The text before the first "/" names the processor that
        it belongs to (the paper's `processor_id`): "EWR/UA1545" belongs to "EWR".
    type
        What happened, for instance "departed"; notifications go to the topic `event.<type>`.
    data
        The content: a JSON object. Treat it as frozen; the id was computed from what it held first.
    source
        Who says so. Two equal readings in one tick are two events, told apart by their sequence.
    sequence
        The source's own count of its events, from 1, without gaps.
    time
        Creation time, a GST: nanoseconds since 1970-01-01 UTC, strictly increasing per source.
    schema
        Version of the shape of `data`, per type, from 1.
    causation, correlation
        Ids of the event that caused this one, and of the conversation it belongs to.

    Examples
    --------
    >>> event = Event("EWR/UA1545", "arrived", {"speed": 370.0}, source="IAH", sequence=7, time=1_357_035_000 * 10**9)
    >>> event.processor, event.id.hex()[:16]
    ('EWR', '12d5282482c5b000')
    >>> decode(event.frame) == event
    True
    """

    stream: str
    type: str
    data: dict[str, Any]
    source: str
    sequence: int
    time: Timestamp
    schema: int = 1
    causation: EventId | None = None
    correlation: EventId | None = None

    @property
    def frame(self) -> Frame:
        """The canonical bytes: UID, then body. Raises `InvalidEvent` where the event has no canonical form."""
        # Not functools.cached_property: until Python 3.12 it takes a lock, which costs as much as the hash.
        about = self.__dict__
        kept: Frame | None = about.get("frame")
        if kept is None:
            kept = about["frame"] = _encode(self)
        return kept

    @property
    def id(self) -> EventId:
        """The UID, 32 bytes: creation time, then the hash of time, type, content and origin."""
        kept: Frame | None = self.__dict__.get("frame")
        return kept[:ID_BYTES] if kept is not None else self.frame[:ID_BYTES]

    @property
    def body(self) -> bytes:
        """Everything of the event but its time, as canonical JSON."""
        return self.frame[ID_BYTES:]

    @property
    def processor(self) -> str:
        """The part of the stream's name that says which processor the event belongs to."""
        return self.stream.partition("/")[0]

    def __repr__(self) -> str:
        return (
            f"Event({self.stream} {self.type} {self.data!r} from {self.source}#{self.sequence}"
            f" at {format_timestamp(self.time)})"
        )


class Recorded(NamedTuple):
    """An event with its place in a log: positions are dense, from 1, in commit order."""

    position: int
    event: Event


def encode(event: Event) -> Frame:
    """The frame of an event; the same event always gives the same bytes."""
    return event.frame


def encode_all(events: Sequence[Event]) -> list[Frame]:
    """The frames of many events, in two thirds of the time of `encode` for each.

    Raises
    ------
    InvalidEvent
        As `encode` does, for the first event without canonical form.

    Examples
    --------
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> encode_all([event]) == [encode(event)]
    True
    """
    frames: list[Frame] = []
    for start in range(0, len(events), _TOGETHER):
        page = events[start : start + _TOGETHER]
        kept: list[Any] = [event.__dict__.get("frame") for event in page]
        if not any(kept):
            try:
                frames += _encode_page(page)
                continue
            except (TypeError, ValueError, OverflowError, RecursionError, struct.error):
                pass  # one by one: which event it is, if any, and the words for it
        if None in kept:
            kept = [event.frame if frame is None else frame for event, frame in zip(page, kept, strict=True)]
        frames += kept
    return frames


def _encode_page(events: Sequence[Event]) -> list[Frame]:
    # What `_encode` does, a step done for all before the next, and no Python function called for an event. Whatever
    # is not as usual is left to `_encode`.
    fields = [(e.stream, e.type, e.source, e.sequence, e.schema, "", "", e.data) for e in events]
    streams, kinds, sources, sequences, schemas, _, _, data = zip(*fields, strict=True)
    numbers = (*sequences, *schemas)
    times = [event.time for event in events]
    if not (
        {*map(type, streams), *map(type, kinds), *map(type, sources)} == {str}
        and {*map(type, numbers), *map(type, times)} == {int}
        and {*map(type, data)} == {dict}
        and "" not in {*streams, *kinds, *sources}
        and min(numbers) >= 1
        and max(numbers) <= SEQUENCE_MAX
        and min(times) >= 0
    ):
        raise InvalidEvent("a field is not what it should be")
    if [e for e in events if e.causation is not None or e.correlation is not None]:
        links = [(_digits(e.causation), _digits(e.correlation)) for e in events]
        fields = [(*each[:5], *both, each[7]) for each, both in zip(fields, links, strict=True)]
    bodies = [orjson.dumps(each, option=_CANONICAL) for each in fields]
    together = b"".join(bodies)
    # An escape may be that of a NUL in a name, and null that of NaN: looked for in all bodies at once.
    if _BACKSLASH in together or _has_null(together):
        raise InvalidEvent("to be looked at one by one")
    copy = _DOMAIN.copy
    frames = []
    for event, time, body in zip(events, map(_pack_time, times), bodies, strict=True):
        digest = copy()
        digest.update(time)
        digest.update(body)
        frame = event.__dict__["frame"] = time + digest.digest()[:HASH_BYTES] + body
        frames.append(frame)
    return frames


def _digits(link: EventId | None) -> str:
    if link is None:
        return ""
    if type(link) is not bytes or len(link) != ID_BYTES:
        raise InvalidEvent("causation and correlation must be event ids")
    return link.hex()


def decode(frame: Frame, *, verify: bool = True) -> Event:
    """Read a frame back.

    Parameters
    ----------
    frame
        As made by `encode`.
    verify
        Recompute the UID and compare. Without it a damaged frame may be read as another event: that is what systems
        without content-derived ids do, and what the model's message queue does.

    Raises
    ------
    InvalidEvent
        The frame is cut short, is not JSON, has not the shape of an event, or does not match its UID.
    """
    if len(frame) <= ID_BYTES:
        raise InvalidEvent(f"frame of {len(frame)} bytes is too short; an event has more than {ID_BYTES}")
    if verify and identify(frame[:TIME_BYTES], frame[ID_BYTES:]) != frame[:ID_BYTES]:
        raise InvalidEvent("content does not match its UID")
    try:
        body = orjson.loads(frame[ID_BYTES:])
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"body is not JSON: {error}") from None
    if type(body) is not list or len(body) != _ENVELOPE:
        raise InvalidEvent(f"body is not a list of {_ENVELOPE} fields")
    stream, kind, source, sequence, schema, causation, correlation, data = body
    try:
        causation = bytes.fromhex(causation) if causation else None
        correlation = bytes.fromhex(correlation) if correlation else None
    except (TypeError, ValueError):
        raise InvalidEvent(
            f"causation and correlation must be ids in hex, got {causation!r}, {correlation!r}"
        ) from None
    event = Event(
        stream,
        kind,
        data,
        source,
        sequence,
        int.from_bytes(frame[:TIME_BYTES], "big"),
        schema,
        causation,
        correlation,
    )
    _check_fields(event)
    event.__dict__["frame"] = frame
    return event


def decode_canonical(frame: Frame) -> Event | None:
    """The event of a frame that is intact and in canonical form, in half of the time of `decode`; None otherwise.

    A source may hash what has no canonical form (a key twice, spaces), which `decode` alone would let pass: here the
    fields are written again and compared. What exactly is wrong with a frame, `decode` finds the words for.

    Examples
    --------
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> decode_canonical(event.frame) == event, decode_canonical(event.frame + b" ")
    (True, None)
    """
    time, body = frame[:TIME_BYTES], frame[ID_BYTES:]
    digest = _DOMAIN.copy()  # `identify`, without the call
    digest.update(time)
    digest.update(body)
    if digest.digest()[:HASH_BYTES] != frame[TIME_BYTES:ID_BYTES] or time >= _TIME_END:
        return None
    try:
        fields = _parse_body(body)
        if _write(fields, option=_CANONICAL) != body:
            return None
        stream, kind, source, sequence, schema, causation, correlation, data = fields
        # A NUL in a name is written as an escape, and a backslash in the body is found faster.
        if _BACKSLASH in body and "\0" in f"{stream}{kind}{source}":
            return None
        if causation or correlation:
            links = _link(causation), _link(correlation)
            if causation + correlation != "".join([link.hex() for link in links if link]):
                return None  # digits that are not lower case, or spaces between them
            event = Event(stream, kind, data, source, sequence, int.from_bytes(time, "big"), schema, *links)
        else:
            event = Event(stream, kind, data, source, sequence, int.from_bytes(time, "big"), schema)
    except (TypeError, ValueError, RecursionError):
        return None
    event.__dict__["frame"] = frame
    return event


def decode_rows(rows: Sequence[tuple[int, EventId, bytes]], where: object) -> Iterator[Recorded]:
    """A page of what a store keeps, (position, UID, body), each event held against its UID: `decode` for many.

    Parameters
    ----------
    rows
        All are decoded before the first is given; best some hundred at a time, which stay in the processor's cache.
    where
        Names the store in the error.

    Raises
    ------
    DamagedLog
        A row is not what was recorded; raised when its turn comes, so that the events before it are given.

    Examples
    --------
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> list(decode_rows([(1, event.id, event.body)], "the store")) == [Recorded(1, event)]
    True
    """
    try:
        return _decode_page(rows) if rows else iter(())
    except (TypeError, ValueError, RecursionError, struct.error):
        # `decode` decides which row it is, if any, and finds the words.
        return (Recorded(position, _decode_row(position, event_id, body, where)) for position, event_id, body in rows)


def _decode_page(rows: Sequence[tuple[int, EventId, bytes]]) -> Iterator[Recorded]:
    # What `decode` does in half of its time: no Python function is called for an event, and a step done for all of a
    # page costs less than all steps done for one event. Any failure is left to `decode`.
    positions, ids, bodies = zip(*rows, strict=True)
    together = b"".join(ids)
    if {*map(len, ids)} != {ID_BYTES} or not all_intact(together, bodies):
        raise InvalidEvent("content does not match its UID")
    times = [time for (time,) in _times(together)]
    events = [
        Event(stream, kind, data, source, sequence, time, schema, _link(causation), _link(correlation))
        if causation or correlation
        else Event(stream, kind, data, source, sequence, time, schema)
        for (stream, kind, source, sequence, schema, causation, correlation, data), time in zip(
            map(_parse_body, bodies), times, strict=True
        )
    ]
    # No NUL in a name without an escape, and a backslash in all bodies is found faster than a NUL in three names.
    if min(times) < 0 or (
        _BACKSLASH in b"".join(bodies) and any("\0" in e.stream or "\0" in e.type or "\0" in e.source for e in events)
    ):
        raise InvalidEvent("time beyond its range, or a name with NUL")
    for event, frame in zip(events, map(add, ids, bodies), strict=True):
        event.__dict__["frame"] = frame
    # A Recorded made by its own `__new__`, which is Python, costs twice as much.
    return map(tuple.__new__, repeat(Recorded), zip(positions, events, strict=True))


def all_intact(ids: bytes, bodies: Sequence[bytes]) -> bool:
    """Whether each body is that of its UID; the UIDs stand one after the other."""
    copy = _DOMAIN.copy
    for (time, expected), body in zip(_TIME_AND_HASH.iter_unpack(ids), bodies, strict=True):
        digest = copy()
        digest.update(time)
        digest.update(body)
        if digest.digest()[:HASH_BYTES] != expected:
            return False
    return True


def _link(digits: str) -> EventId | None:
    event_id = bytes.fromhex(digits)
    if digits and len(event_id) != ID_BYTES:
        raise InvalidEvent("causation and correlation must be event ids")
    return event_id or None


def _decode_row(position: int, event_id: EventId, body: bytes, where: object) -> Event:
    try:
        return decode(event_id + body)
    except (InvalidEvent, TypeError) as error:
        raise DamagedLog(f"position {position} of {where}: {error}") from None


def identify(time: bytes, body: bytes) -> EventId:
    """The UID of a body created at `time` (8 bytes, big endian)."""
    digest = _DOMAIN.copy()
    digest.update(time)
    digest.update(body)
    return time + digest.digest()[:HASH_BYTES]


def parse_json(text: str | bytes) -> Any:
    """Read JSON the strict way: duplicate keys, NaN, infinities and what has no canonical form are refused.

    For what people hand in. Frames need no such care: whatever they say, their UID says whether it was meant.
    """
    import json

    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except InvalidEvent:
        raise
    except (ValueError, RecursionError) as error:  # ValueError alone, for an integer of thousands of digits
        raise InvalidEvent(f"not JSON: {error}") from None
    canonical_json(value)
    return value


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces and shortest numbers; `InvalidEvent` for what JSON cannot say.

    >>> canonical_json({"b": 1.0, "a": [1, True, -0.0, None, "é"]}).decode()
    '{"a":[1,true,-0.0,null,"é"],"b":1.0}'
    """
    try:
        text = orjson.dumps(value, option=_CANONICAL)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"data has no canonical JSON: {error}") from None
    # orjson writes NaN and the infinities as null without a word, so a null has to prove itself.
    if _has_null(text):
        _refuse_non_finite(value)
    return text


def canonical_body(event: Event) -> bytes:
    """The one byte string that says everything of an event but its time."""
    causation, correlation = event.causation, event.correlation
    return canonical_json(
        (
            event.stream,
            event.type,
            event.source,
            event.sequence,
            event.schema,
            causation.hex() if causation else "",
            correlation.hex() if correlation else "",
            event.data,
        )
    )


def _encode(event: Event) -> Frame:
    _check_fields(event)
    body = canonical_body(event)
    time = event.time.to_bytes(TIME_BYTES, "big")
    digest = _DOMAIN.copy()  # `identify`, without the call and a copy
    digest.update(time)
    digest.update(body)
    return time + digest.digest()[:HASH_BYTES] + body


def _check_fields(event: Event) -> None:
    # One expression for the usual case, as this stands on the hot path; the words are found only when it fails.
    stream, kind, source, causation, correlation = (
        event.stream,
        event.type,
        event.source,
        event.causation,
        event.correlation,
    )
    if not (
        type(stream) is type(kind) is type(source) is str
        and stream
        and kind
        and source
        and type(event.sequence) is type(event.time) is type(event.schema) is int
        and 1 <= event.sequence <= SEQUENCE_MAX
        and 0 <= event.time <= TIMESTAMP_MAX
        and 1 <= event.schema <= SEQUENCE_MAX
        and type(event.data) is dict
        and (causation is None or (type(causation) is bytes and len(causation) == ID_BYTES))
        and (correlation is None or (type(correlation) is bytes and len(correlation) == ID_BYTES))
        and "\0" not in stream
        and "\0" not in kind
        and "\0" not in source
    ):
        raise InvalidEvent(_what_is_wrong(event))


def _what_is_wrong(event: Event) -> str:
    for name in ("stream", "type", "source"):
        text = getattr(event, name)
        if type(text) is not str or not text or "\0" in text:
            return f"{name} must be a non-empty string without NUL, got {text!r}"
    for name, lowest, highest in (
        ("sequence", 1, SEQUENCE_MAX),
        ("schema", 1, SEQUENCE_MAX),
        ("time", 0, TIMESTAMP_MAX),
    ):
        number = getattr(event, name)
        if type(number) is not int or not lowest <= number <= highest:
            return f"{name} must be an integer from {lowest} to {highest}, got {number!r}"
    for name in ("causation", "correlation"):
        link = getattr(event, name)
        if link is not None and (type(link) is not bytes or len(link) != ID_BYTES):
            return f"{name} must be an event id of {ID_BYTES} bytes or None, got {link!r}"
    return f"data must be a JSON object, got {type(event.data).__name__}"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidEvent(f"key {twice!r} stands twice in one JSON object")
    return found


def _refuse_constant(name: str) -> Any:
    raise InvalidEvent(f"{name} is not JSON; a missing number is null")


def _refuse_non_finite(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidEvent(f"data holds {value!r}, which JSON cannot say; a missing number is null")
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item)
