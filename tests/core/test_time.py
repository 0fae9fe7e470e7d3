"""Global timestamps and the hybrid clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.errors import BadInput, ClockFault
from rarera_sim.core.time import (
    SECOND,
    TIMESTAMP_MAX,
    HybridClock,
    format_timestamp,
    from_datetime,
    from_seconds,
    parse_timestamp,
    to_datetime,
    to_seconds,
)

timestamps = st.integers(0, TIMESTAMP_MAX)


@given(st.lists(st.tuples(st.integers(0, 300), st.none() | st.integers(0, 300)), max_size=50))
def test_a_clock_increases_and_is_never_behind_what_it_heard_nor_far_from_physical_time(happenings):
    physical = 0
    clock = HybridClock(lambda: physical, drift_max=100)
    last = 0
    for reading, heard in happenings:
        physical = reading
        before = clock.last
        try:
            now = clock.now() if heard is None else clock.hear(heard)
        except ClockFault:
            assert clock.last == before
            assert max(before, heard or 0) + 1 - physical > 100
            continue
        assert now > last
        assert now > (heard if heard is not None else -1)
        assert now - physical <= 100
        last = now


def test_a_clock_follows_physical_time_where_it_can():
    readings = iter([100, 500, 499, 499, 700])
    clock = HybridClock(lambda: next(readings))
    assert [clock.now() for _ in range(5)] == [100, 500, 501, 502, 700]


def test_a_step_back_beyond_the_bound_is_reported_and_changes_nothing():
    physical = [1_000]
    clock = HybridClock(lambda: physical[0], drift_max=50)
    assert clock.now() == 1_000
    physical[0] = 900
    with pytest.raises(ClockFault, match="stepped back"):
        clock.now()
    assert clock.last == 1_000
    physical[0] = 960
    assert clock.now() == 1_001


def test_a_peer_far_in_the_future_is_reported_and_not_followed():
    clock = HybridClock(lambda: 1_000, drift_max=50)
    with pytest.raises(ClockFault, match="peer's reading 1050"):
        clock.hear(1_050)
    assert clock.hear(1_049) == 1_050


def test_the_next_incarnation_goes_on_after_the_last_reading():
    clock = HybridClock(lambda: 10, last=20)
    assert clock.now() == 21


@pytest.mark.parametrize("drift_max", [0, -1])
def test_a_bound_that_is_none_is_refused(drift_max):
    with pytest.raises(ValueError, match="drift_max"):
        HybridClock(lambda: 0, drift_max=drift_max)


@given(timestamps)
def test_text_keeps_every_nanosecond(timestamp):
    assert parse_timestamp(format_timestamp(timestamp)) == timestamp
    assert parse_timestamp(str(timestamp)) == timestamp


@given(timestamps)
def test_a_datetime_keeps_every_microsecond(timestamp):
    assert from_datetime(to_datetime(timestamp)) == timestamp // 1_000 * 1_000


@given(st.datetimes(datetime(1970, 1, 2), datetime(2262, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_in_every_time_zone(moment, minutes):
    moment = moment.replace(tzinfo=UTC)
    assert from_datetime(moment.astimezone(timezone(timedelta(minutes=minutes)))) == from_datetime(moment)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2013-01-14", 1_358_121_600),
        (" 2013-01-14T00:00Z ", 1_358_121_600),
        ("2013-01-14T00:00:00.5Z", 1_358_121_600.5),
        ("2013-01-14T00:00:00,5Z", 1_358_121_600.5),
        ("2013-01-13T19:00-05:00", 1_358_121_600),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_iso_8601_is_read(text, seconds):
    assert parse_timestamp(text) == from_seconds(seconds)
    assert to_seconds(parse_timestamp(text)) == seconds


def test_a_decimal_comma_keeps_nanoseconds_too():
    assert parse_timestamp("1970-01-01T00:00:00,123456789Z") == 123_456_789


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2013-01-14T12:00", "no time zone"),
        ("20130114T12", "no time zone"),
        ("yesterday", "ISO 8601"),
        ("", "ISO 8601"),
        ("nan", "ISO 8601"),
        ("-1", "ISO 8601"),
        ("1e9", "ISO 8601"),
        ("2013-13-01", "ISO 8601"),
        ("1969-12-31T23:59:59Z", "outside"),
        ("9999-01-01", "outside"),
        ("9223372036854775808", "outside"),
        ("2013-01-14T00:00:00.1234567891Z", "nine decimals"),
    ],
)
def test_a_time_that_means_no_moment_is_refused(text, reason):
    with pytest.raises(BadInput, match=reason):
        parse_timestamp(text)


def test_a_naive_datetime_is_refused():
    with pytest.raises(BadInput, match="time zone"):
        from_datetime(datetime(2013, 1, 14))


def test_the_last_timestamp_is_in_2262():
    assert format_timestamp(TIMESTAMP_MAX) == "2262-04-11T23:47:16.854775807Z"
    assert format_timestamp(SECOND) == "1970-01-01T00:00:01Z"
