"""`rarera log copy`: one log into another, both proved equal."""

from __future__ import annotations

from contextlib import closing

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import BATCH, JSON
from rarera_sim.cli.output import DONE, FAILED, Progress, head_text, print_json
from rarera_sim.core.errors import DamagedLog


@click.command(
    epilog="""\b
Examples:
  rarera log copy out/log.sqlite backup.sqlite
  rarera log copy out/log.sqlite files:///backup --json

Interrupted? The same command goes on where it stopped. What is copied are the events, not snapshots.
""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@BATCH
@JSON
def copy(source: str, target: str, batch: int, as_json: bool) -> int:
    """Copy all events FROM one log TO another, and prove both equal.

    TO is made if it is not there, else it has to be an earlier copy of FROM. Both logs are read again and held against
    their UIDs and chain: exit code 1 if they are not intact and the same.
    """
    from rarera_sim.adapters.archive import copy_log

    with closing(open_log(source, read_only=True)) as origin, closing(open_log(target)) as copied:
        try:
            with Progress("events read") as progress:
                count, head = copy_log(origin, copied, batch=batch, progress=progress)
        except DamagedLog as damage:
            if not as_json:
                raise
            print_json({"equal": False, "reason": str(damage)})
            return FAILED
    if as_json:
        print_json({"equal": True, "copied": count, "head": head_text(head)})
    else:
        click.echo(f"copied {count} events, equal up to position {head.position}\nhead {head_text(head)}")
    return DONE
