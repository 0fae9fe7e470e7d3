"""Global timestamps (GST): integer nanoseconds since a shared epoch, strictly increasing per node.

The shared epoch is 1970-01-01T00:00:00 UTC, because every tool that will ever look at a log knows it. 63 bits of
nanoseconds reach the year 2262. Leap seconds are smeared or stepped by whoever provides the physical time, not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from rarera_sim.core.errors import BadInput, ClockFault

Timestamp = int

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
TIMESTAMP_MAX = 2**63 - 1

_FRACTION = re.compile(r"[.,]([0-9]+)")  # ISO 8601 allows either


class Clock(Protocol):
    """Tells the global timestamp; a driver decides what moves it."""

    def now(self) -> Timestamp: ...


class HybridClock:
    """A hybrid logical clock: physical time where possible, one more than the last reading where not.

        l' = max(physical, l + 1)             on a local event
        l' = max(physical, l + 1, heard + 1)  on hearing a peer

    Readings are strictly increasing, never behind anything heard, and ahead of physical time by no more than
    `drift_max`: a step of the physical clock or a peer beyond that bound raises `ClockFault` and changes nothing.
    The logical part lives in the nanoseconds themselves, as physical clocks tick coarser than events arrive.

    Parameters
    ----------
    physical
        Returns physical time in ns since the epoch.
    drift_max
        Largest allowed distance in ns between a reading and physical time.

    Examples
    --------
    >>> ticks = iter([100, 100, 90, 200])
    >>> clock = HybridClock(lambda: next(ticks), drift_max=50)
    >>> clock.now(), clock.now(), clock.now()
    (100, 101, 102)
    >>> clock.hear(240)
    241

    References
    ----------
    Kulkarni, Demirbas, Madappa, Avva, Leone (2014), Logical Physical Clocks, OPODIS, section 4.
    """

    def __init__(self, physical: Callable[[], Timestamp], *, drift_max: int = SECOND, last: Timestamp = 0) -> None:
        if drift_max <= 0:
            raise ValueError(f"drift_max must be > 0 ns, got {drift_max!r}")
        self._physical = physical
        self._drift_max = drift_max
        self._last = last

    @property
    def last(self) -> Timestamp:
        """The newest reading given out; hand it to the next incarnation of this node."""
        return self._last

    def now(self) -> Timestamp:
        return self._advance(self._last + 1, "this node's own last reading")

    def hear(self, timestamp: Timestamp) -> Timestamp:
        """Take a peer's reading into account and give one that is later than both."""
        return self._advance(max(self._last, timestamp) + 1, f"a peer's reading {timestamp}")

    def _advance(self, at_least: Timestamp, reason: str) -> Timestamp:
        physical = self._physical()
        if at_least - physical > self._drift_max:
            raise ClockFault(
                f"{reason} is {(at_least - physical) / SECOND:.3f} s ahead of physical time {physical}; "
                f"the bound is {self._drift_max / SECOND:.3f} s: the physical clock stepped back or the peer is wrong"
            )
        self._last = max(physical, at_least)
        return self._last


def from_seconds(seconds: float) -> Timestamp:
    """Whole nanoseconds nearest to `seconds`."""
    return round(seconds * SECOND)


def to_seconds(timestamp: Timestamp) -> float:
    return timestamp / SECOND


def to_datetime(timestamp: Timestamp) -> datetime:
    """The UTC time of a timestamp, cut to microseconds, which is what `datetime` holds."""
    seconds, nanoseconds = divmod(timestamp, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)


def from_datetime(moment: datetime) -> Timestamp:
    """The timestamp of an aware datetime; a naive one is refused, as nobody can say which moment it means."""
    if moment.tzinfo is None:
        raise BadInput(f"time {moment.isoformat()} has no time zone; write e.g. {moment.isoformat()}Z")
    whole = int(moment.replace(microsecond=0).timestamp())
    return _within_range(whole * SECOND + moment.microsecond * MICROSECOND, moment.isoformat())


def format_timestamp(timestamp: Timestamp) -> str:
    """ISO 8601 in UTC with as many decimals as the timestamp has.

    >>> format_timestamp(1_357_000_000_000_000_000), format_timestamp(1_500_000_000)
    ('2013-01-01T00:26:40Z', '1970-01-01T00:00:01.5Z')
    """
    seconds, nanoseconds = divmod(timestamp, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{nanoseconds:09d}".rstrip("0") if nanoseconds else "") + "Z"


def parse_timestamp(text: str) -> Timestamp:
    """Read ISO 8601 with a time zone, a bare date (midnight UTC), or integer nanoseconds.

    >>> parse_timestamp("2013-01-01T00:26:40Z") == parse_timestamp("1357000000000000000")
    True
    >>> format_timestamp(parse_timestamp("2013-01-01T01:00:00.123456789+01:00"))
    '2013-01-01T00:00:00.123456789Z'
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,19}", text):
        return _within_range(int(text), text)
    # datetime holds microseconds: the fraction is read by hand so that nanoseconds survive.
    fraction = _FRACTION.search(text)
    nanoseconds = 0
    if fraction:
        if len(fraction[1]) > 9:
            raise BadInput(f"time {text!r} has more than nine decimals; a timestamp counts whole nanoseconds")
        nanoseconds = int(fraction[1].ljust(9, "0"))
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError:
        raise BadInput(f"time {text!r} is not ISO 8601; write e.g. 2013-01-14T12:00Z or 2013-01-14") from None
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        moment = moment.replace(tzinfo=UTC)
    return _within_range(from_datetime(moment) + nanoseconds, text)


def _within_range(timestamp: Timestamp, text: str) -> Timestamp:
    if not 0 <= timestamp <= TIMESTAMP_MAX:
        raise BadInput(f"time {text} is outside 1970-01-01T00:00:00Z .. 2262-04-11T23:47:16.854775807Z")
    return timestamp
