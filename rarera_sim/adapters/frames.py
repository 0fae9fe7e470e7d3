"""A log as a table in memory, for questions that no projection asks: Polars, or pandas over the same Arrow buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

# A body up to its data: three names, sequence, schema, two links. Anchored, so that no name can look like an end.
_TO_DATA = r'^\[(?:"(?:[^"\\]|\\.)*",){3}[0-9]+,[0-9]+,"[0-9a-f]*","[0-9a-f]*",'


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
    if isinstance(log, SqliteLog) and (pages := log.columns(query)) is not None:
        try:
            read = [_page(columns, verify) for columns in pages]
            return _named(pl.concat(read), log.names(), verify) if read else pl.DataFrame(schema=SCHEMA)
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


def _page(columns: Columns, verify: bool) -> pl.DataFrame:
    """A page, its names still numbers."""
    bodies = columns.bodies.split(b"\n")
    if len(columns.ids) != columns.events * ID_BYTES or len(bodies) != columns.events:
        raise _Unsound
    if verify and not all_intact(columns.ids, bodies):
        raise _Unsound
    ids = pa.Array.from_buffers(pa.binary(ID_BYTES), columns.events, [None, pa.py_buffer(columns.ids)])
    return pl.DataFrame(
        {
            "position": _integers(columns.positions),
            "id": pl.Series(values=ids.cast(pa.large_binary())),
            "stream": _integers(columns.streams),
            "type": _integers(columns.types),
            "source": _integers(columns.sources),
            "sequence": _integers(columns.sequences),
            "body": pl.Series(bodies, dtype=pl.Binary),
        }
    )


def _named(frame: pl.DataFrame, names: dict[int, str], verify: bool) -> pl.DataFrame:
    """Numbers become names, and the body its data."""
    by_number = [names.get(number, "") for number in range(max(names, default=0) + 1)]
    plain = pl.Series(by_number, dtype=pl.String)
    processor = pl.Series([name.partition("/")[0] for name in by_number], dtype=pl.String)
    body = frame["body"].cast(pl.String)
    if verify:
        # No UID covers the columns beside the body, so what they say has to stand at its beginning.
        quoted = pl.Series([canonical_json(name).decode() for name in by_number], dtype=pl.String)
        said = [quoted.gather(frame[name]) for name in ("stream", "type", "source")]
        beginning = pl.select(pl.format("[{},{},{},{},", *said, frame["sequence"])).to_series()
        both = pl.DataFrame({"body": body, "beginning": beginning})
        if not both.select(pl.col("body").str.starts_with(pl.col("beginning")).all()).item():
            raise _Unsound
    data = body.str.replace(_TO_DATA, "").str.strip_suffix("]")
    if not data.str.starts_with("{").all():
        raise _Unsound
    return pl.DataFrame(
        {
            "position": frame["position"],
            "id": frame["id"],
            "stream": plain.gather(frame["stream"]),
            "processor": processor.gather(frame["stream"]),
            "type": plain.gather(frame["type"]),
            "source": plain.gather(frame["source"]),
            "sequence": frame["sequence"],
            "time": frame["id"].bin.slice(0, TIME_BYTES).bin.reinterpret(dtype=pl.Int64, endianness="big"),
            "data": data,
        }
    )


def _integers(text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.fromstring(text, dtype=np.int64, sep=",")
