"""A log as a table in memory, for questions that no projection asks: Polars, or pandas over the same Arrow buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import numpy as np
import polars as pl
import pyarrow as pa

from rarera_sim.adapters.sqlite import Columns, SqliteLog
from rarera_sim.core.errors import RareraError
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, all_intact, canonical_json
from rarera_sim.core.log import ALL, EventLog, Query

if TYPE_CHECKING:
    import pandas as pd

Integers = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

SCHEMA = {
    "position": pl.Int64,
    "id": pl.Binary,
    "stream": pl.String,
    "processor": pl.String,
    "type": pl.String,
    "source": pl.String,
    "sequence": pl.Int64,
    "time": pl.Int64,
    "data": pl.String,
}

# What stands between the sequence and the data of nearly every event: schema 1, no links, and the data's brace.
_USUAL = b'1,"","",{'
# A body up to its data: three names, sequence, schema, two links. From its start, so that no name can look like an end.
_to_data = re.compile(rb'\[(?:"(?:[^"\\]|\\.)*",){3}[0-9]+,[0-9]+,"[0-9a-f]*","[0-9a-f]*",(?=\{)').match
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)
_VIEW = np.dtype([("length", "<i4"), ("prefix", "V4"), ("buffer", "<i4"), ("offset", "<i4")])  # as Arrow has it
_INLINE = 12  # bytes that stand in the view itself


def to_polars(log: EventLog, query: Query = ALL, *, verify: bool = True) -> pl.DataFrame:
    """The events of a query, one a row, in order of position.

    Columns: `position`, `id`, `stream`, `processor`, `type`, `source`, `sequence`, `time` (ns since 1970, see
    `pl.from_epoch`) and `data`, the event's content as canonical JSON (`str.json_path_match`, `str.json_decode`).

    Parameters
    ----------
    verify
        Hold each event against its UID, and its columns against its content. Half of the time goes into that; without
        it damage that `verify` would find comes through.

    Raises
    ------
    DamagedLog, SkippedPosition
        As reading the log does.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "arrived", {"speed": 370.0}, source="IAH", sequence=1, time=0)])
    >>> to_polars(log).select("position", "processor", "type", "data").rows()
    [(1, 'EWR', 'arrived', '{"speed":370.0}')]
    """
    try:
        pages = _pages(log, query)
        if pages is not None:
            read = [_frame(page, verify) for page in pages]
            return pl.concat(read) if read else pl.DataFrame(schema=SCHEMA)
    except (_Unsound, RareraError, apsw.Error, pl.exceptions.PolarsError, ValueError):
        pass  # the slow way finds out which event it is, if any, and says so
    rows = [
        (
            position,
            event.id,
            event.stream,
            event.processor,
            event.type,
            event.source,
            event.sequence,
            event.time,
            canonical_json(event.data).decode(),
        )
        for position, event in log.read(query)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def to_pandas(log: EventLog, query: Query = ALL, *, verify: bool = True) -> pd.DataFrame:
    """As `to_polars`, for pandas: the columns stay in Arrow's buffers, which pandas reads as they are."""
    return to_polars(log, query, verify=verify).to_pandas(use_pyarrow_extension_array=True)


class _Unsound(Exception):
    """A page is not what it should be."""


class _Page(NamedTuple):
    """Some events, column by column; bodies a line each, `name_bytes` those of a row's stream, type and source."""

    positions: Integers
    ids: bytes
    streams: pl.Series
    processors: pl.Series
    types: pl.Series
    sources: pl.Series
    name_bytes: Integers
    sequences: Integers
    bodies: bytes


def _pages(log: EventLog, query: Query) -> Iterator[_Page] | None:
    """The events a page at a time; None where they are better read one by one."""
    if isinstance(log, SqliteLog):
        columns = log.columns(query)
        return None if columns is None else _of_sqlite(columns, log.names())
    columns_of = getattr(log, "columns", None)  # PostgreSQL's, whose driver need not be installed
    found = columns_of(query) if columns_of else None
    return None if found is None else map(_of_postgres, found)


def _of_sqlite(pages: Iterator[Columns], names: dict[int, str]) -> Iterator[_Page]:
    # What is known of a name is found out once, not for every row that has it.
    plain = pl.Series([names.get(number, "") for number in range(max(names, default=0) + 1)], dtype=pl.String)
    processors, sizes = _processors(plain), _sizes(plain)
    for page in pages:
        numbers = [_integers(text) for text in (page.streams, page.types, page.sources)]
        streams, types, sources = (plain.gather(each) for each in numbers)
        yield _Page(
            _integers(page.positions),
            page.ids,
            streams,
            processors.gather(numbers[0]),
            types,
            sources,
            np.sum([sizes[each] for each in numbers], axis=0),
            _integers(page.sequences),
            page.bodies,
        )


def _of_postgres(page: Sequence[Any]) -> _Page:
    positions, ids, *texts, sequences, bodies = page
    names = [_lines(text) for text in texts]
    streams, types, sources = names
    name_bytes = np.sum([_sizes(name) for name in names], axis=0)
    return _Page(
        _eights(positions),
        ids,
        streams,
        _processors(streams),
        types,
        sources,
        name_bytes,
        _eights(sequences),
        bodies,
    )


def _processors(streams: pl.Series) -> pl.Series:
    return streams.str.split_exact("/", 1).struct.field("field_0")


def _sizes(names: pl.Series) -> Integers:
    return names.str.len_bytes().to_numpy().astype(np.int64)


def _frame(page: _Page, verify: bool) -> pl.DataFrame:
    """A page as it is shown: nothing is copied but names and numbers, Arrow's views point into what was read."""
    text, count = page.bodies, len(page.positions)
    letters = np.frombuffer(text, dtype=np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(text))
    names = (page.streams, page.types, page.sources)
    if {len(ends), len(page.ids) / ID_BYTES, len(page.sequences), *(len(name) for name in names)} != {count}:
        raise _Unsound
    text.decode()  # whoever makes a view of it promises that it is UTF-8
    starts = np.append(0, ends[:-1] + 1)
    if verify and not all_intact(page.ids, text.split(b"\n")):
        raise _Unsound
    data = _data_starts(page, letters, starts, ends, verify)
    if not ((letters[ends - 1] == ord("]")) & (letters[data] == ord("{"))).all():
        raise _Unsound
    id_starts = np.arange(0, len(page.ids), ID_BYTES)
    return pl.DataFrame(
        {
            "position": page.positions,
            "id": _views(page.ids, id_starts, id_starts + ID_BYTES, pa.binary_view()),
            "stream": page.streams,
            "processor": page.processors,
            "type": page.types,
            "source": page.sources,
            "sequence": page.sequences,
            "time": _eights(page.ids)[:: ID_BYTES // TIME_BYTES].copy(),
            "data": _views(text, data, ends - 1, pa.string_view()),
        },
        schema=SCHEMA,
    )


def _data_starts(page: _Page, letters: Bytes, starts: Integers, ends: Integers, verify: bool) -> Integers:
    """Where the data of each body begins."""
    names = [page.streams, page.types, page.sources]
    digits = np.searchsorted(_POWERS, page.sequences, side="right") + 1
    at = starts + page.name_bytes + digits + len('["","","",,')
    usual = at + len(_USUAL) < ends
    within = np.where(usual, at, 0)
    for offset, letter in enumerate(_USUAL):
        usual &= letters[within + offset] == letter
    if verify:
        # No UID covers the columns beside the body, so what they say has to stand at its beginning.
        beginning = pl.select(pl.format('["{}","{}","{}",{},', *names, pl.Series(page.sequences))).to_series()
        body = _views(page.bodies, starts, ends, pa.string_view())
        both = pl.DataFrame({"body": body, "beginning": beginning})
        usual &= both.select(pl.col("body").str.starts_with(pl.col("beginning"))).to_series().to_numpy()
    data = np.where(usual, at + len(_USUAL) - 1, starts)
    for row in np.flatnonzero(~usual).tolist():
        found = _to_data(page.bodies, int(starts[row]), int(ends[row]))
        if not found:
            raise _Unsound
        if verify:
            said = [*(name[row] for name in names), int(page.sequences[row])]
            if not found[0].startswith(canonical_json(said)[:-1] + b","):
                raise _Unsound
        data[row] = found.end()
    return data


def _views(text: bytes, starts: Integers, ends: Integers, kind: Any) -> pl.Series:
    """The pieces of a text from each start to its end, as a column that points into it."""
    views = np.zeros(len(starts), dtype=_VIEW)
    letters = np.frombuffer(text, dtype=np.uint8)
    views["length"] = ends - starts
    views["offset"] = starts
    # The first four bytes stand in the view too, and a short piece stands there whole.
    at = np.minimum(starts[:, None] + np.arange(4), len(text) - 1)
    views["prefix"] = letters[at].view("V4")[:, 0]
    short = np.flatnonzero(views["length"] <= _INLINE)
    if len(short):
        offsets = np.arange(_INLINE)
        at = np.minimum(starts[short, None] + offsets, len(text) - 1)
        pieces = np.where(offsets < views["length"][short, None], letters[at], 0)
        views.view(np.uint8).reshape(-1, _VIEW.itemsize)[short, 4:] = pieces
    array = pa.Array.from_buffers(kind, len(starts), [None, pa.py_buffer(views), pa.py_buffer(text)])
    return pl.Series(values=array)


def _lines(text: str) -> pl.Series:
    return pl.Series([text]).str.split("\n").explode()


def _integers(text: str) -> Integers:
    return np.fromstring(text, dtype=np.int64, sep=",")


def _eights(numbers: bytes) -> Integers:
    return np.frombuffer(numbers, dtype=">i8").astype(np.int64)
