"""Events as JSON Lines, for people, pipes and other programs: what `to_json` gives, `read_events` takes back.

One object a line, in UTF-8::

    {"time": "2013-01-14T12:00:00Z", "stream": "EWR/UA1545", "type": "departed", "source": "EWR", "sequence": 1,
     "data": {"delay": 2}}

`schema`, `causation` and `correlation` (UIDs in hex) may be there; an `id` has to be that of the event, so that a line
that was changed on its way is noticed; a `position` is passed over.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rarera_sim.core.errors import BadInput, InvalidEvent
from rarera_sim.core.event import ID_BYTES, Event, EventId, Recorded, parse_json
from rarera_sim.core.time import format_timestamp, parse_timestamp

_REQUIRED: Final = ("stream", "type", "data", "source", "sequence", "time")
_FIELDS: Final = (*_REQUIRED, "schema", "causation", "correlation", "id", "position")


def to_json(recorded: Recorded) -> dict[str, Any]:
    """A recorded event as a dict for any JSON writer.

    The time is text: it has more digits than the 53 bits that many readers of JSON keep of a number.

    Examples
    --------
    >>> event = Event("EWR/UA1", "departed", {"delay": 2}, source="EWR", sequence=7, time=1_357_035_000 * 10**9)
    >>> line = to_json(Recorded(1, event))
    >>> line["time"], line["source"], line["sequence"], line["data"]
    ('2013-01-01T10:10:00Z', 'EWR', 7, {'delay': 2})
    >>> from_json(line) == event
    True
    """
    position, event = recorded
    links = {"causation": event.causation, "correlation": event.correlation}
    return {
        "position": position,
        "id": event.id.hex(),
        "time": format_timestamp(event.time),
        "stream": event.stream,
        "type": event.type,
        "source": event.source,
        "sequence": event.sequence,
        "schema": event.schema,
        **{name: link.hex() for name, link in links.items() if link is not None},
        "data": event.data,
    }


def from_json(fields: Any) -> Event:
    """The event that a JSON object describes; `InvalidEvent` or `BadInput` says what is wrong with it."""
    if type(fields) is not dict:
        raise InvalidEvent(f"an event is a JSON object, got {type(fields).__name__}")
    for name in fields:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else f" (there are {', '.join(_FIELDS)})"
            raise InvalidEvent(f"unknown field {name!r}{meant}")
    for name in _REQUIRED:
        if name not in fields:
            raise InvalidEvent(f"field {name!r} is missing")
    time = fields["time"]
    event = Event(
        fields["stream"],
        fields["type"],
        fields["data"],
        source=fields["source"],
        sequence=fields["sequence"],
        time=parse_timestamp(time) if type(time) is str else time,
        schema=fields.get("schema", 1),
        causation=_link(fields, "causation"),
        correlation=_link(fields, "correlation"),
    )
    uid = event.id.hex()  # refuses what has no canonical form
    if fields.get("id", uid) != uid:
        raise InvalidEvent(f"id {fields['id']!r} is not that of this event, which is {uid}")
    return event


def read_events(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, Event]]:
    """The events of a file of JSON Lines, each with the number of its line; empty lines are passed over.

    Parameters
    ----------
    lines
        For instance a file opened with "rb".
    name
        What errors call it.

    Raises
    ------
    BadInput
        Names the line, and what is wrong there.
    """
    for number, line in enumerate(lines, start=1):
        try:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InvalidEvent("UTF-16; save it as UTF-8")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            event = from_json(parse_json(text)) if text.strip() else None
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{name}, line {number}: byte {line[error.start]:#04x} is not UTF-8; save it as UTF-8"
            ) from None
        except BadInput as error:
            raise BadInput(f"{name}, line {number}: {error}") from None
        if event is not None:
            yield number, event


def _link(fields: dict[str, Any], name: str) -> EventId | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        # Compared again, as `fromhex` passes over spaces.
        link = bytes.fromhex(value) if type(value) is str else b""
    except ValueError:
        link = b""
    if len(link) != ID_BYTES or link.hex() != value.lower():
        raise InvalidEvent(f"{name} must be a UID of {2 * ID_BYTES} hex digits, got {value!r}")
    return link
