"""`rarera log export` and `rarera log import`: archives that prove themselves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import BATCH, JSON, filters, query_of
from rarera_sim.cli.output import Progress, print_json
from rarera_sim.core.errors import BadInput

_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl"}


@click.command(
    epilog="""\b
Examples:
  rarera log export out/log.sqlite january.parquet
  rarera log export out/log.sqlite newark.jsonl --processor EWR --since 2013-01-14

The archive carries a digest of its own: `rarera log import` refuses it if a byte of it changes.
""",
)
@click.argument("url", metavar="LOG")
@click.argument("file", metavar="FILE")
@click.option("--format", "kind", type=click.Choice(["parquet", "jsonl"]), help="What FILE's name does not end in.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@filters
@JSON
def export(url: str, file: str, kind: str | None, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Write the events of LOG to FILE, as Parquet (.parquet) or JSON Lines (.jsonl): whole or not at all."""
    from rarera_sim.adapters.archive import export_jsonl, export_parquet

    kind = kind or _SUFFIXES.get(Path(file).suffix.lower())
    if kind is None:
        raise BadInput(f"archive {file!r} does not end in {' or '.join(_SUFFIXES)}; name it so, or give --format")
    written = export_parquet if kind == "parquet" else export_jsonl
    with closing(open_log(url, read_only=True)) as opened, Progress("events") as progress:
        exported = written(opened, file, query_of(given), overwrite=overwrite, progress=progress)
    if as_json:
        print_json({"events": exported.events, "digest": exported.digest})
    else:
        click.echo(f"exported {exported.events} events\ndigest {exported.digest}")


@click.command(
    "import",
    epilog="""\b
Examples:
  rarera log import january.parquet restored.sqlite
  rarera log import newark.jsonl out/log.sqlite --json

Interrupted? The same command goes on: events that LOG has already are left out.
""",
)
@click.argument("file", metavar="FILE")
@click.argument("url", metavar="LOG")
@BATCH
@JSON
def import_(file: str, url: str, batch: int, as_json: bool) -> None:
    """Append the events of an archive FILE to LOG, after all of the archive has been verified.

    A damaged archive is refused with the position of the first bad event, exit code 1, and nothing is appended.
    """
    from rarera_sim.adapters.archive import check_archive, import_archive

    check_archive(file)  # before the log is made: a bad archive leaves no empty one behind
    with closing(open_log(url)) as opened, Progress("events") as progress:
        imported = import_archive(file, opened, batch=batch, progress=progress)
        head = opened.head()
    if as_json:
        fields = {"events": imported.events, "appended": imported.appended, "head": head, "digest": imported.digest}
        print_json(fields)
    else:
        duplicates = imported.events - imported.appended
        click.echo(f"appended {imported.appended}, duplicates {duplicates}, the log is at {head}")
