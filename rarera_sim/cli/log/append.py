"""`rarera log append`: events from JSON Lines into a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import BATCH, JSON
from rarera_sim.cli.output import print_json
from rarera_sim.core.errors import BadInput, Conflict

if TYPE_CHECKING:
    from rarera_sim.core.event import Event
    from rarera_sim.core.log import EventLog


@click.command(
    epilog="""\b
One event per line:
  {"stream": "EWR/UA1545", "type": "departed", "data": {"delay": 2}, "source": "EWR", "sequence": 1,
   "time": "2013-01-14T12:00:00Z"}
`data` is a JSON object, `sequence` the source's own count from 1, `time` ISO 8601 with a zone or whole
nanoseconds. Optional are `schema` (a number), `causation` and `correlation` (UIDs in hex). The lines of
`rarera log read` fit as they are: a `position` is passed over, an `id` has to match the event.

\b
Examples:
  rarera log append new.sqlite events.jsonl
  rarera log read old.sqlite --since 2013-02-01 | rarera log append new.sqlite
""",
)
@click.argument("url", metavar="LOG")
@click.argument("file", type=click.File("rb"), default="-")
@BATCH
@JSON
def append(url: str, file: IO[bytes], batch: int, as_json: bool) -> None:
    """Append events from FILE, or from stdin: JSON Lines, read strictly.

    A batch of N events is appended whole or not at all; a bad line is named and nothing of its batch is appended.
    Events that are in LOG already are counted and left out, so appending a file again is safe.
    """
    from rarera_sim.adapters.jsonl import read_events
    from rarera_sim.adapters.memory import MemoryLog

    batches = _batches(read_events(file, file.name), batch)
    # Read and tried before the log is made: a bad first batch leaves no empty log behind.
    ready = list(islice(batches, 1))
    for numbered in ready:
        _append(MemoryLog(), numbered, file.name)
    seen = appended = 0
    with closing(open_log(url)) as opened:
        try:
            for numbered in chain(ready, batches):
                appended += _append(opened, numbered, file.name)
                seen += len(numbered)
        except BadInput as error:
            before = f"; the {seen} events before this batch are in the log" if seen else ""
            raise BadInput(f"{error}{before}") from None
        head = opened.head()
    if as_json:
        print_json({"appended": appended, "duplicates": seen - appended, "head": head})
    else:
        click.echo(f"appended {appended}, duplicates {seen - appended}, the log is at {head}")


def _append(log: EventLog, numbered: list[tuple[int, Event]], name: str) -> int:
    try:
        return len(log.append([event for _, event in numbered]))
    except (BadInput, Conflict) as error:
        first, last = numbered[0][0], numbered[-1][0]
        raise BadInput(f"{name}, lines {first} to {last}: {error}; none of them was appended") from None


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
