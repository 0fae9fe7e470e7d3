"""`rarera study`: every policy against an oracle, on several traces."""

from __future__ import annotations

from pathlib import Path

import click

from rarera_sim.cli.output import Progress
from rarera_sim.core.errors import BadInput

PAGE = Path("docs/scheduling.md")


@click.command(
    epilog="""\b
Examples:
  rarera study                                   the short study: a day or two of each trace, and write the page
  rarera study --full                            as long as the table in that page says: hours
""",
)
@click.option("--full", is_flag=True, help="All test days, three draws of each trace, forty tries for each tuning.")
@click.option(
    "--folder", default="out/study", type=Path, show_default=True, metavar="DIR", help="Where results are kept."
)
@click.option("--out", default=str(PAGE), type=Path, show_default=True, metavar="FILE", help="The page to write.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes.  [default: one for each core]")
def study(full: bool, folder: Path, out: Path, workers: int | None) -> None:
    """Tune every policy on some days, try it on others, and compare it with a plan that knows the future.

    What is done is kept as it goes: a study that was interrupted goes on where it was.
    """
    from rarera_sim.experiments.study import FULL, SHORT, write_study
    from rarera_sim.reports.chromium import chromium
    from rarera_sim.reports.scheduling import write_pictures

    drawn = chromium() is not None
    if not drawn:
        click.echo("no Chromium here to draw pictures: the page will have none", err=True)

    if not out.parent.is_dir():
        # Now, and not after hours of simulating.
        raise BadInput(f"there is no folder {out.parent} to write {out.name} in: go to the checkout, or say --out")
    with Progress("policies") as progress:
        write_study(
            out,
            folder,
            FULL if full else SHORT,
            workers=workers,
            progress=progress,
            draw=lambda rows: write_pictures(rows, out) if drawn else [],
        )
    click.echo(out)
