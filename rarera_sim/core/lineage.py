"""Where an event came from and what came of it: the links that events carry, followed both ways.

An event names its cause (`causation`) and the conversation that it belongs to (`correlation`, by custom the UID of
the event that began it). Neither can lead in a circle: an id is a hash over the ids that it names.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, EventId, Recorded
from rarera_sim.core.log import EventLog, Query

_HEX: Final = frozenset("0123456789abcdef")
_POSITION_DIGITS: Final = 15
_MATCHES_MAX: Final = 20


class Effect(NamedTuple):
    """An event that another led to: directly at depth 1, through one in between at depth 2."""

    depth: int
    recorded: Recorded


@dataclass(frozen=True)
class Lineage:
    """The relations of one event within a log.

    Parameters
    ----------
    recorded
        The event itself.
    causes
        What caused it, then what caused that, back to the first that is recorded.
    cause_missing
        The cause that the last of these names and that is not in this log; None if the chain begins here.
    effects
        What it caused, as a tree written line by line: each effect is followed by its own, one deeper. Effects of
        one event stand in order of position.
    correlation
        The id of the conversation: the one that the event names, else its own, as it may have begun one.
    conversation
        Positions of all events of the conversation, this one included.
    """

    recorded: Recorded
    causes: tuple[Recorded, ...]
    cause_missing: EventId | None
    effects: tuple[Effect, ...]
    correlation: EventId
    conversation: Sequence[int]


def lineage(log: EventLog, event_id: EventId) -> Lineage:
    """What caused an event, what it caused, and the conversation it belongs to; reads the log once.

    Of the events read only the links are kept, about 210 bytes for each event that names a cause.

    Raises
    ------
    BadInput
        No event of the log has this id.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> late = Event("EWR/UA1", "departed", {"delay": 95}, source="EWR", sequence=1, time=1)
    >>> missed = Event("EWR/UA7", "delayed", {}, source="UA", sequence=1, time=2, causation=late.id)
    >>> booked = Event("UA/8812", "rebooked", {}, source="UA", sequence=2, time=3, causation=missed.id)
    >>> log = MemoryLog()
    >>> _ = log.append([late, missed, booked])
    >>> [(effect.depth, effect.recorded.event.type) for effect in lineage(log, late.id).effects]
    [(1, 'delayed'), (2, 'rebooked')]
    >>> [recorded.event.type for recorded in lineage(log, booked.id).causes]
    ['delayed', 'departed']
    """
    recorded = log.find(event_id)
    if recorded is None:
        raise BadInput(f"no event of this log has the UID {event_id.hex()}")
    correlation = recorded.event.correlation or event_id
    children: dict[EventId, list[EventId]] = {}
    conversation = array("q")
    for position, event in log.read():
        # Not only later positions: a log has its events in the order they reached it, and an effect may overtake.
        if event.causation is not None:
            children.setdefault(event.causation, []).append(event.id)
        if event.correlation == correlation or event.id == correlation:
            conversation.append(position)
    causes, missing = _causes(log, recorded)
    return Lineage(recorded, causes, missing, _effects(log, event_id, children), correlation, conversation)


def _causes(log: EventLog, recorded: Recorded) -> tuple[tuple[Recorded, ...], EventId | None]:
    causes: list[Recorded] = []
    wanted = recorded.event.causation
    while wanted is not None:
        cause = log.find(wanted)
        if cause is None:
            break
        causes.append(cause)
        wanted = cause.event.causation
    return tuple(causes), wanted


def _effects(log: EventLog, event_id: EventId, children: dict[EventId, list[EventId]]) -> tuple[Effect, ...]:
    # By hand and not by recursion: a chain of causes may be longer than Python's stack.
    effects = []
    waiting = [(1, child) for child in reversed(children.get(event_id, ()))]
    while waiting:
        depth, child = waiting.pop()
        recorded = log.find(child)
        assert recorded is not None, "an event that was just read is in the log"
        effects.append(Effect(depth, recorded))
        waiting.extend((depth + 1, grandchild) for grandchild in reversed(children.get(child, ())))
    return tuple(effects)


def find_event(log: EventLog, name: str) -> Recorded:
    """The one event that a person means.

    Parameters
    ----------
    name
        `SOURCE#SEQUENCE`; or a position, of up to 15 digits; or the beginning of a UID in hex, as much as it takes.

    Raises
    ------
    BadInput
        There is no such event, or several UIDs begin so.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=7, time=1_357_035_000 * 10**9)])
    >>> find_event(log, "EWR#7") == find_event(log, "1") == find_event(log, "12d5282482c5")
    True
    """
    source, hash_sign, number = name.rpartition("#")
    digits = name.lower()
    found: Iterable[Recorded]
    if source and hash_sign and _is_number(number):
        sequence = int(number)
        found = (each for each in log.read(Query(sources=(source,))) if each.event.sequence == sequence)
    elif _is_number(digits):
        position = int(digits)
        found = log.read(after=position - 1, upto=position) if position else ()
    elif digits and len(digits) <= 2 * ID_BYTES and _HEX.issuperset(digits):
        # A UID begins with the creation time, so its beginning is a range of times, which logs have an index for.
        times = 2 * TIME_BYTES
        first, last = (int(digits[:times].ljust(times, digit), 16) for digit in "0f")
        found = (each for each in log.read(Query(since=first, until=last)) if each.event.id.hex().startswith(digits))
    else:
        raise BadInput(f"{name!r} names no event; give SOURCE#SEQUENCE, a position or the beginning of a UID")
    matches = list(islice(found, _MATCHES_MAX + 1))
    if not matches:
        raise BadInput(f"there is no event {name!r} in this log")
    if len(matches) > 1:
        count = len(matches) if len(matches) <= _MATCHES_MAX else f"more than {_MATCHES_MAX}"
        uids = " and ".join(each.event.id.hex() for each in matches[:2])
        raise BadInput(f"{name!r} fits {count} events, such as {uids}")
    return matches[0]


def _is_number(text: str) -> bool:
    # Beyond 15 digits it is rather a UID without a letter in its first half; no log is that long.
    return text.isascii() and text.isdecimal() and len(text) <= _POSITION_DIGITS
