"""Events as columns of Arrow: the one table that archives and cold files hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from rarera_sim.core.event import ID_BYTES, Recorded

SCHEMA: Final = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("id", pa.binary(ID_BYTES), nullable=False),
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("stream", "processor", "type", "source")),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("body", pa.string(), nullable=False),
    ]
)


def record_batch(group: Sequence[Recorded]) -> pa.RecordBatch:
    """Events as rows of `SCHEMA`."""
    events = [event for _, event in group]
    columns: list[list[Any]] = [
        [position for position, _ in group],
        [event.id for event in events],
        [event.time for event in events],
        [event.stream for event in events],
        [event.processor for event in events],
        [event.type for event in events],
        [event.source for event in events],
        [event.sequence for event in events],
        [event.body.decode() for event in events],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
