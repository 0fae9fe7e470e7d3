"""`rarera log read`: events out of a log, as JSON Lines."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from itertools import islice
from typing import Any

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import filters, query_of
from rarera_sim.cli.output import print_json

_FOLLOW_EVERY = 0.1  # seconds between looks at a log that is followed


@click.command(
    epilog="""\b
Examples:
  rarera log read out/log.sqlite --limit 5
  rarera log read out/log.sqlite --backwards --limit 1          the newest event
  rarera log read out/log.sqlite --processor EWR --type arrived --since 2013-01-14 --until 2013-01-15
  rarera log read out/log.sqlite --after 1000 --follow | jq .data
""",
)
@click.argument("url", metavar="LOG")
@filters
@click.option("--after", default=0, type=click.IntRange(0), metavar="POSITION", help="Start behind this position.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Stop after N events.")
@click.option("--backwards", is_flag=True, help="Newest first, down to --after.")
@click.option("--follow", "live", is_flag=True, help="Wait for new events when there are no more; end with Ctrl-C.")
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: events are always JSON Lines.")
def read(url: str, after: int, limit: int | None, backwards: bool, live: bool, **given: Any) -> None:
    """Print events in the order of their positions, one JSON object a line."""
    from rarera_sim.adapters.follow import follow
    from rarera_sim.adapters.jsonl import to_json

    if live and backwards:
        raise click.UsageError("--follow goes forwards; leave out --backwards.")
    query = query_of(given)
    with closing(open_log(url, read_only=True)) as opened:
        found = (
            islice(follow(opened, query, after=after, period=_FOLLOW_EVERY, sleep=_wait), limit)
            if live
            else opened.read(query, after=after, limit=limit, backwards=backwards)
        )
        for recorded in found:
            print_json(to_json(recorded))


def _wait(seconds: float) -> None:
    sys.stdout.flush()
    time.sleep(seconds)
