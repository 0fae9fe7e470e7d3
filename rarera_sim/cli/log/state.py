"""`rarera log state`: what the events up to a moment make."""

from __future__ import annotations

from contextlib import closing

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import FIELD, JSON, TIME
from rarera_sim.cli.output import number, print_json, print_table, shown
from rarera_sim.core.time import format_timestamp


@click.command(
    epilog="""\b
Examples:
  rarera log state out/log.sqlite
  rarera log state out/log.sqlite --as-of 2013-01-14T12:00Z     what was true then
  rarera log state out/log.sqlite --upto 1000                   what was known after 1000 events
""",
)
@click.argument("url", metavar="LOG")
@click.option("--as-of", type=TIME, help="Only events created at this time or before, whenever they were recorded.")
@click.option("--upto", type=click.IntRange(0), metavar="POSITION", help="Only events up to this position.")
@FIELD
@JSON
def state(url: str, as_of: int | None, upto: int | None, field: str, as_json: bool) -> None:
    """The state at a moment: events per processor and type, and the mean of a field over those that carry it."""
    from rarera_sim.adapters.stores import snapshots_of
    from rarera_sim.core.projection import Tally, rebuild

    with closing(open_log(url, read_only=True)) as opened:
        head = opened.head()
        position = head if upto is None else min(upto, head)
        tally = rebuild(Tally(field), opened, as_of=as_of, upto=position, snapshots=snapshots_of(opened))
    rows: list[tuple[str, str, int, float | None]] = [
        (processor, kind, tally[processor][kind][0], Tally.mean(tally, processor, kind))
        for processor in sorted(tally)
        for kind in sorted(tally[processor])
    ]
    if as_json:
        names = ("processor", "type", "count", "mean")
        moment = None if as_of is None else format_timestamp(as_of)
        cells = [dict(zip(names, row, strict=True)) for row in rows]
        print_json({"as_of": moment, "position": position, "field": field, "rows": cells})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("processor", "type")
    table.add_column("count", justify="right")
    table.add_column(Text(f"mean {shown(field)}"), justify="right")
    for processor, kind, count, mean in rows:
        table.add_row(Text(shown(processor)), Text(shown(kind)), str(count), number(mean))
    print_table(table)
    click.echo(f"position {position} of {head}" + (f", as of {format_timestamp(as_of)}" if as_of is not None else ""))
