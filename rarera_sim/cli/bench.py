"""`rarera bench`: our parts timed against their peers."""

from __future__ import annotations

from pathlib import Path

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import Progress, meant, print_json, print_table
from rarera_sim.core.errors import BadInput

BENCHMARKS = Path("docs/benchmarks.md")


@click.command(
    epilog="""\b
Examples:
  rarera bench log                               one benchmark, as a table
  rarera bench log --json                        {"bench": ..., "machine": ..., "rows": [...]}
  rarera bench                                   all of them, and write docs/benchmarks.md
""",
)
@click.argument("name", required=False)
@click.option("--quick", is_flag=True, help="Fewer rounds: shows that it works; nothing is written to docs.")
@click.option("--long", "long_", is_flag=True, help="Longer curves, where only patience helps.")
@JSON
def bench(name: str | None, quick: bool, long_: bool, as_json: bool) -> None:
    """Time our parts against their peers: medians of CPU time, both sides in the same rounds.

    Without NAME all benchmarks, one after the other; with --json then one object a line.
    """
    from rarera_sim.benchmarks import names, run_bench, table, write_markdown

    known = names()
    if name is not None and name not in known:
        raise click.UsageError(f"There is no benchmark {name!r}{meant(name, known)} (there are {', '.join(known)}).")
    publish = name is None and not quick
    if publish and not BENCHMARKS.parent.is_dir():
        # Now, and not after minutes of timing.
        raise BadInput(f"there is no folder {BENCHMARKS.parent} to write {BENCHMARKS.name} in: go to the checkout")
    results = []
    for each in known if name is None else [name]:
        with Progress(each) as progress:
            results.append(run_bench(each, quick=quick, long=long_, progress=progress))
        if as_json:
            print_json(results[-1])
        else:
            print_table(table(results[-1]))
    if publish:
        write_markdown(results, BENCHMARKS)
        click.echo(BENCHMARKS, err=as_json)
