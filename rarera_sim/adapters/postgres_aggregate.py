"""Counts, means, quantiles and rates worked out by PostgreSQL: the same answers as :mod:`rarera_sim.core.aggregate`.

PostgreSQL filters, groups, and hands over the values of a group as one text, from the column `event` that the paper's
query reads too. The rows are not held against their UIDs; `verify` is for that.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rarera_sim.adapters.postgres import PostgresLog
from rarera_sim.core.aggregate import Aggregate, Cell, Group, Key, aggregate, groups
from rarera_sim.core.log import ALL, Query

# Values of one group that are joined at a time, as a power of 2 of positions: one text holds a gigabyte.
PIECE_BITS: Final = 16
_COLUMNS: Final = (("processor", "processor_id"), ("type", "type"), ("source", "source"))

_parse_values = msgspec.json.Decoder(list[float]).decode


def postgres_aggregate(log: PostgresLog, request: Aggregate, query: Query = ALL) -> list[Group]:
    """The groups of a query's events, as `aggregate` gives them, and refused as it refuses.

    Examples
    --------
    >>> request = Aggregate(field="speed", by=("processor", "type"), window=3600 * 10**9, quantiles=(0.5, 0.99))
    >>> postgres_aggregate(log, request, Query(types=("arrived",)))  # doctest: +SKIP
    """
    # `event` has the event's own type in place of a field of that name, and U+FFFD for NUL: such a field is not there.
    shown = request.field is None or (request.field != "type" and not {"\0", "\ufffd"} & set(request.field))
    cells = _gather(log, request, query) if shown else None
    # What is amiss, and at which position, is for the fold to find and to say.
    return aggregate(log, request, query) if cells is None else groups(cells, request, query)


def _gather(log: PostgresLog, request: Aggregate, query: Query) -> dict[Key, Cell] | None:
    """What PostgreSQL finds of each group; None if a value is no number, or the log is not whole."""
    conditions = log._conditions(query)
    if conditions is None:
        return {}
    last = log.head()
    columns = [f"{column if name in request.by else 'NULL'} AS {name}" for name, column in _COLUMNS]
    values: list[Any] = []
    if request.window is None:
        columns.append("NULL::bigint AS number")
    else:
        columns.append("gst / %s::bigint AS number")
        values.append(request.window)
    if request.field is None:
        columns += ["NULL AS piece", "NULL::jsonb AS value"]
    else:
        columns += [f"id >> {PIECE_BITS} AS piece", "event -> %s::text AS value"]
        values.append(request.field)
    where = " AND ".join(("id <= %s", *(each.test for each in conditions)))
    # As float8 and back: jsonb writes 1e308 with 309 digits. Whoever is not a number is counted, null apart.
    question = (
        "SELECT processor, type, source, number, count(*), "
        "string_agg(CASE jsonb_typeof(value) WHEN 'number' THEN (value::text::float8)::text END, ','), "
        "count(*) FILTER (WHERE jsonb_typeof(value) NOT IN ('number', 'null')) "
        f"FROM (SELECT {', '.join(columns)} FROM events WHERE {where}) AS asked "
        "GROUP BY processor, type, source, number, piece"
    )
    values += [last, *(each.value for each in conditions)]
    cells: dict[tuple[Any, ...], Cell] = {}
    others = 0
    with log._clear_errors(), log._connection.cursor(binary=True) as cursor:
        # Row by row as they come, since together they are as large as the column.
        for *key, count, text, wrong in cursor.stream(question, values):
            cell = cells.setdefault(tuple(key), Cell())
            cell.count += count
            others += wrong
            if text is not None:
                cell.values.extend(_parse_values(f"[{text}]"))
    if others:
        return None
    # A role that may not see all events cannot tell a hole.
    if not conditions and not log.restricted and sum(cell.count for cell in cells.values()) != last:
        return None
    numbers = list({number for number, *_ in cells if number is not None})
    found = log._fetch("SELECT id, name FROM processors WHERE id = ANY(%s::integer[])", (numbers,))
    names: dict[int | None, str | None] = {None: None, **dict(found)}
    if any(number not in names for number, *_ in cells):
        return None
    return {Key(names[number], kind, source, window): cell for (number, kind, source, window), cell in cells.items()}
