"""CloudEvents 1.0 in and out: one event, or a batch, in structured JSON.

An event of ours becomes

| attribute | holds |
| --- | --- |
| `id` | the UID in hex, so that the other side recognises a repeat too |
| `source`, `type`, `time`, `data` | the same (a source that is no URI reference is percent-encoded) |
| `sequence` | the sequence, 19 digits: CloudEvents compares it as text |
| `rarerastream`, `rareraschema` | stream and schema; the first is how we know our own again |
| `causationid`, `correlationid` | the links in hex, where there are any |

and back the same event, to the byte: its UID is recomputed and compared.

An event of somebody else keeps every attribute it has, under the key "cloudevent" of its data, beside its own keys
(or with `data` or `data_base64` in it, where the data is not an object with keys). It goes out again as it came. It
brings no sequence as we need one, counted from 1 without gaps per source, so whoever takes it in hands one in.

References
----------
CloudEvents 1.0.2; its JSON event format 1.0.2; the extensions "sequence" and "correlation".
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson

from rarera_sim.core.errors import BadInput, InvalidEvent
from rarera_sim.core.event import SEQUENCE_MAX, Event, parse_json
from rarera_sim.core.time import Timestamp, format_timestamp, parse_timestamp

MEDIA_TYPE = "application/cloudevents+json"
MEDIA_TYPE_BATCH = "application/cloudevents-batch+json"

CloudEvent = dict[str, Any]

_OURS = "rarerastream"
_FOREIGN = "cloudevent"
_SEQUENCE_DIGITS = 19  # of the largest sequence
_REQUIRED = ("id", "source", "type")
_TEXTS = ("id", "source", "type", "subject", "time", "dataschema", "datacontenttype")
_INTEGER_MAX = 2**31 - 1

_NAME = re.compile(r"[a-z0-9]+")
# What a CloudEvents string must not hold; a lone surrogate is refused with the event's own canonical form.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9./~_:@-]+|[A-Za-z0-9/~_.-]+")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def to_cloudevent(event: Event) -> CloudEvent:
    """The event as a CloudEvent.

    Examples
    --------
    >>> event = Event("EWR/UA1", "departed", {"delay_min": 4}, source="EWR", sequence=7, time=1_357_000_000_000_000_001)
    >>> sent = to_cloudevent(event)
    >>> sent["id"] == event.id.hex(), sent["sequence"], sent["time"], sent["data"]
    (True, '0000000000000000007', '2013-01-01T00:26:40.000000001Z', {'delay_min': 4})
    >>> from_cloudevent(sent) == event
    True
    """
    foreign = _foreign_again(event)
    if foreign is not None:
        return foreign
    sent: CloudEvent = {
        "specversion": "1.0",
        "id": event.id.hex(),
        "source": event.source if _PLAIN_URI.fullmatch(event.source) else quote(event.source, safe="/"),
        "type": event.type,
        "time": format_timestamp(event.time),
        "datacontenttype": "application/json",
        "sequence": f"{event.sequence:0{_SEQUENCE_DIGITS}d}",
        _OURS: event.stream,
        "rareraschema": str(event.schema),  # an integer of CloudEvents has 32 bits
    }
    for name in ("type", _OURS):
        _check_text(name, sent[name])
    if event.causation:
        sent["causationid"] = event.causation.hex()
    if event.correlation:
        sent["correlationid"] = event.correlation.hex()
    sent["data"] = event.data
    return sent


def from_cloudevent(
    received: Mapping[str, Any],
    *,
    sequence: int | None = None,
    stream: str | None = None,
    time: Timestamp | None = None,
) -> Event:
    """The event that a CloudEvent holds.

    Parameters
    ----------
    sequence, stream, time
        For an event that is not ours, and only for one: its place among its source's events (needed, unless it has a
        `sequence` that is a number), the stream it goes to (otherwise its `subject`, or else its `source`), and when
        it was created (needed where it has no `time`; an event that has one keeps it).

    Raises
    ------
    BadInput
        It is no CloudEvent 1.0, or lacks what the parameters could give; or it is ours and its content does not match
        its UID. Attributes that others added to an event of ours are left out: no UID covers them.

    Examples
    --------
    >>> received = {"specversion": "1.0", "id": "A-1", "source": "/mycontext", "type": "com.example.made",
    ...             "time": "2018-04-05T17:31:00Z", "comexampleother": 5, "data": {"speed": 4}}
    >>> event = from_cloudevent(received, sequence=1)
    >>> event.stream, event.data["speed"], event.data["cloudevent"]["id"]
    ('/mycontext', 4, 'A-1')
    >>> to_cloudevent(event) == received
    True
    >>> from_cloudevent({**received, "specversion": "0.3"}, sequence=1)
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: specversion must be '1.0', got '0.3'
    """
    attributes = _check(received)
    if _OURS in attributes:
        if (sequence, stream, time) != (None, None, None):
            raise BadInput("sequence, stream and time are for events that are not ours; this one brings its own")
        return _ours(attributes, received)
    return _foreign(attributes, received, sequence, stream, time)


def dump_cloudevent(event: Event) -> bytes:
    """Structured JSON, to be sent as `MEDIA_TYPE`."""
    return orjson.dumps(to_cloudevent(event))


def load_cloudevent(text: str | bytes, **numbering: Any) -> Event:
    """Read structured JSON; the parameters are those of `from_cloudevent`.

    >>> load_cloudevent('{"specversion": "1.0", "id": "1", "id": "2"}')
    Traceback (most recent call last):
    rarera_sim.core.errors.InvalidEvent: key 'id' stands twice in one JSON object
    """
    return from_cloudevent(parse_json(text), **numbering)


def dump_batch(events: Iterable[Event]) -> bytes:
    """A JSON array, to be sent as `MEDIA_TYPE_BATCH`."""
    return orjson.dumps([to_cloudevent(event) for event in events])


def load_batch(
    text: str | bytes, *, numbering: Callable[[str, str], int] | None = None, time: Timestamp | None = None
) -> list[Event]:
    """Read a JSON array; all of it or, where one is bad, nothing, and no number is used up.

    Parameters
    ----------
    numbering
        Gives the sequence of an event that is not ours from its source and id: see `Numbering`.
    time
        Creation time of those that have none.
    """
    batch = parse_json(text)
    if not isinstance(batch, list):
        raise BadInput(f"a batch of CloudEvents must be a JSON array, got {type(batch).__name__}")
    # Twice, first with any number: whoever numbers must not hear of a batch that is refused.
    for each in batch:
        _load_one(each, (lambda *_: 1) if numbering else None, time)
    return [_load_one(each, numbering, time) for each in batch]


class Numbering:
    """Counts the events of each foreign source, and gives the same event the same number again.

    Source and id together say which event it is, so a repeat becomes the same event of ours, and the log refuses it.
    Memory grows with the number of ids; whoever restarts hands in what was given.

    >>> numbering = Numbering()
    >>> numbering("/a", "A-1"), numbering("/a", "A-2"), numbering("/b", "A-1"), numbering("/a", "A-1")
    (1, 2, 1, 1)
    """

    def __init__(self, given: Mapping[tuple[str, str], int] | None = None) -> None:
        self.given = dict(given or {})
        self._last: dict[str, int] = {}
        for (source, _), number in self.given.items():
            self._last[source] = max(number, self._last.get(source, 0))

    def __call__(self, source: str, event_id: str) -> int:
        number = self.given.get((source, event_id))
        if number is None:
            number = self._last[source] = self._last.get(source, 0) + 1
            self.given[source, event_id] = number
        return number


def _load_one(received: Any, numbering: Callable[[str, str], int] | None, time: Timestamp | None) -> Event:
    attributes = _check(received)
    if _OURS in attributes:
        return _ours(attributes, received)
    sequence = numbering(attributes["source"], attributes["id"]) if numbering else None
    return _foreign(attributes, received, sequence, None, time)


def _ours(attributes: CloudEvent, received: Mapping[str, Any]) -> Event:
    try:
        event = Event(
            attributes[_OURS],
            attributes["type"],
            received["data"],
            unquote(attributes["source"], errors="strict"),
            _number(attributes["sequence"]),
            parse_timestamp(attributes["time"]),
            _number(attributes["rareraschema"]),
            _link(attributes.get("causationid")),
            _link(attributes.get("correlationid")),
        )
        event_id = event.id
    except KeyError as error:
        raise BadInput(f"attribute {error} is missing from an event with {_OURS}") from None
    except InvalidEvent:
        raise
    except ValueError as error:
        raise BadInput(f"an event with {_OURS} is not as we write it: {error}") from None
    if event_id.hex() != attributes["id"]:
        raise InvalidEvent(f"content does not match its UID {attributes['id']!r}")
    return event


def _foreign(
    attributes: CloudEvent,
    received: Mapping[str, Any],
    sequence: int | None,
    stream: str | None,
    time: Timestamp | None,
) -> Event:
    if sequence is None:
        text = attributes.get("sequence", "")
        if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _SEQUENCE_DIGITS):
            raise BadInput(f"event {attributes['id']!r} of {attributes['source']!r} has no sequence; hand one in")
        sequence = int(text)
    if "time" in attributes:
        time = _parse_time(attributes["time"])
    elif time is None:
        raise BadInput(f"event {attributes['id']!r} of {attributes['source']!r} has no time; hand one in")
    data = received.get("data")
    if isinstance(data, dict) and data and _FOREIGN not in data:
        data = {**data, _FOREIGN: attributes}
    else:
        payload = {name: received[name] for name in ("data", "data_base64") if name in received}
        data = {_FOREIGN: {**attributes, **payload}}
    event = Event(
        str(attributes.get("subject", attributes["source"])) if stream is None else stream,
        attributes["type"],
        data,
        attributes["source"],
        sequence,
        time,
    )
    _ = event.frame  # what has no canonical form is refused here, and not when it is appended
    return event


def _foreign_again(event: Event) -> CloudEvent | None:
    """What a foreign event came as; None for one of ours."""
    _ = event.frame  # an event without canonical form is refused in our words
    kept = event.data.get(_FOREIGN)
    if type(kept) is not dict or _OURS in kept:
        return None
    again = dict(kept)
    rest = {name: value for name, value in event.data.items() if name != _FOREIGN}
    if rest:
        again["data"] = rest
    try:
        made = from_cloudevent(again, sequence=event.sequence, stream=event.stream, time=event.time)
    except BadInput:
        return None
    # Data of ours may look like this by chance. It is foreign if, and only if, taking it in gives this very event.
    if made.id == event.id:
        return again
    return None


def _check(received: Any) -> CloudEvent:
    """The attributes of a CloudEvent 1.0, without its data."""
    if not isinstance(received, Mapping):
        raise BadInput(f"a CloudEvent must be a JSON object, got {type(received).__name__}")
    # The JSON format says that an attribute which is null is one that is not set.
    attributes = {
        name: value for name, value in received.items() if value is not None and name not in ("data", "data_base64")
    }
    if attributes.get("specversion") != "1.0":
        raise BadInput(f"specversion must be '1.0', got {attributes.get('specversion')!r}")
    for name in _REQUIRED:
        if name not in attributes:
            raise BadInput(f"attribute {name!r} is missing")
    for name, value in attributes.items():
        if type(name) is not str or not _NAME.fullmatch(name):
            raise BadInput(f"the name of an attribute must be lower-case letters and digits, got {name!r}")
        if type(value) is str:
            _check_text(name, value)
        elif name in _TEXTS or not (
            type(value) is bool or (type(value) is int and -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX)
        ):
            allowed = "text" if name in _TEXTS else "text, true, false or an integer of 32 bits"
            raise BadInput(f"attribute {name!r} must be {allowed}, got {value!r}")
        if name in _TEXTS and not value:
            raise BadInput(f"attribute {name!r} must not be empty")
    if "time" in attributes:
        _parse_time(attributes["time"])
    if received.get("data_base64") is not None:
        if received.get("data") is not None:
            raise BadInput("data and data_base64 are both there; an event has one of them")
        _check_base64(received["data_base64"])
    return attributes


def _check_text(name: str, text: str) -> None:
    found = _CONTROL.search(text)
    if found:
        raise BadInput(f"attribute {name!r} must have no control characters, got {found[0]!r} in {text!r}")


def _check_base64(text: Any) -> None:
    try:
        good = b64encode(b64decode(text, validate=True)).decode() == text
    except (TypeError, ValueError):
        good = False
    if not good:
        raise BadInput("data_base64 must be text in base64")


def _parse_time(text: str) -> Timestamp:
    form = _RFC3339.fullmatch(text)
    if not form:
        raise BadInput(f"time must be RFC 3339, e.g. 2013-01-14T12:00:00Z, got {text!r}")
    date, clock, fraction, zone = form.groups()
    # A timestamp counts whole nanoseconds; what somebody wrote beyond them is kept with the attribute.
    return parse_timestamp(f"{date}T{clock}{(fraction or '')[:10]}{zone.upper()}")


def _number(text: Any) -> int:
    if type(text) is not str or not (text.isascii() and text.isdigit() and len(text) <= _SEQUENCE_DIGITS):
        raise ValueError(f"{text!r} is not a number from 1 to {SEQUENCE_MAX}")
    return int(text)


def _link(text: Any) -> bytes | None:
    if text is None:
        return None
    if type(text) is not str:
        raise ValueError(f"{text!r} is not a UID in hex")
    return bytes.fromhex(text)
