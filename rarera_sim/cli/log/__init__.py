"""`rarera log`: ask an event log, check it, copy it, append to it."""

from __future__ import annotations

import click

from rarera_sim.cli.lazy import Commands

COMMANDS = Commands(
    {
        "append": "rarera_sim.cli.log.append:append",
        "checkpoint": "rarera_sim.cli.log.checkpoint:checkpoint",
        "copy": "rarera_sim.cli.log.copy:copy",
        "erase": "rarera_sim.cli.log.erase:erase",
        "export": "rarera_sim.cli.log.archive:export",
        "import": "rarera_sim.cli.log.archive:import_",
        "key": "rarera_sim.cli.log.key:key",
        "query": "rarera_sim.cli.log.query:query",
        "read": "rarera_sim.cli.log.read:read",
        "state": "rarera_sim.cli.log.state:state",
        "trace": "rarera_sim.cli.log.trace:trace",
        "upgrade": "rarera_sim.cli.log.upgrade:upgrade",
        "verify": "rarera_sim.cli.log.verify:verify",
    }
)


@click.group(
    commands=COMMANDS,
    epilog="""\b
LOG is a path that ends in .sqlite or .db, or a URL: sqlite:///FILE, files:///FOLDER, tiered:///FOLDER,
postgresql://USER@HOST/DATABASE. Four slashes make a path absolute.
TIME is ISO 8601 with a zone (2013-01-14T12:00Z), a date (midnight UTC), or nanoseconds since 1970.

\b
Examples:
  rarera log state out/log.sqlite
  rarera log query out/log.sqlite --processor EWR --type arrived --since 2013-01-14 --until 2013-01-15
  rarera log trace out/log.sqlite EWR#17
  rarera log read out/log.sqlite --type departed | rarera log append departures.sqlite

Only append, copy, import, upgrade and erase change a log.
""",
)
def log() -> None:
    """Ask an event log, check it, copy it, append to it, forget somebody in it."""
