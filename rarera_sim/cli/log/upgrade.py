"""`rarera log upgrade`: a log of an earlier version, in the format of this one."""

from __future__ import annotations

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import print_json


@click.command(
    epilog="""\b
Examples:
  rarera log upgrade out/log.sqlite
  rarera log upgrade sqlite:///old.sqlite --json

Copy what matters first (`rarera log copy`): there is no way back, and an older version no longer reads LOG.
""",
)
@click.argument("url", metavar="LOG")
@JSON
def upgrade(url: str, as_json: bool) -> None:
    """Bring LOG to the format that this version writes, all or nothing.

    A LOG of a newer format is refused with the version that it needs. Nobody else may be writing to LOG meanwhile.
    """
    from rarera_sim.adapters.stores import upgrade_log

    before, now = upgrade_log(url)
    if as_json:
        print_json({"before": before, "now": now})
    elif before == now:
        click.echo(f"already format {now}")
    else:
        click.echo(f"upgraded from format {before} to {now}")
