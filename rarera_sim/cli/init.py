"""`rarera init`: a scenario to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from rarera_sim.cli.output import shown
from rarera_sim.core.errors import BadInput


@click.command(
    epilog="""\b
Examples:
  rarera init                                    write scenario.toml, with comments
  rarera init mine.toml && rarera run --scenario mine.toml --quick
""",
)
@click.argument("file", default="scenario.toml", metavar="[FILE.toml]")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def init(file: str, force: bool) -> None:
    """Write a small scenario with comments, to begin with and to change: scenario.toml without FILE."""
    from rarera_sim.experiments.scenario import starter_scenario_text

    path = Path(file)
    if path.suffix != ".toml":
        raise BadInput(f"a scenario is a file that ends in .toml, got {file!r}")
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as target:
            target.write(starter_scenario_text())
    except FileExistsError:
        raise BadInput(f"{file!r} is there already; --force replaces it") from None
    click.echo(shown(str(path)))
    click.echo(f"rarera run --scenario {shown(str(path))} --quick", err=True)
