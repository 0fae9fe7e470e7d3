"""`rarera validate`: the model against what is known to be right."""

from __future__ import annotations

from pathlib import Path

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import DONE, FAILED, Progress, print_json
from rarera_sim.core.errors import BadInput

PAGE = Path("docs/validation.md")


@click.command(
    epilog="""\b
Examples:
  rarera validate                                all of it, and write docs/validation.md
  rarera validate --quick                        the same with fewer customers; nothing is written
""",
)
@click.option("--quick", is_flag=True, help="Fewer customers: shows that it works; nothing is written.")
@click.option("--seed", default=1, type=click.IntRange(0, 2**63 - 1), show_default=True, metavar="N")
@click.option("--out", type=Path, metavar="FILE", help=f"Instead of {PAGE}.")
@JSON
def validate(quick: bool, seed: int, out: Path | None, as_json: bool) -> int:
    """Hold the model against recursions, formulas, Ciw, laws and its own statistics.

    Exit code 1 where something does not hold.
    """
    from rarera_sim.experiments.validation import FULL, SHORT
    from rarera_sim.experiments.validation import validate as validated

    page = out or (None if quick else PAGE)
    if page is not None and not page.parent.is_dir():
        # Now, and not after minutes of simulating.
        raise BadInput(f"there is no folder {page.parent} to write {page.name} in: go to the checkout, or say --out")
    with Progress("per cent") as progress:
        done = validated(SHORT if quick else FULL, seed=seed, progress=progress)
    if page is not None:
        page.write_text(done.to_markdown(), encoding="utf-8")
    if as_json:
        sections = [
            {"title": section.title, "checks": [check._asdict() for check in section.checks]}
            for section in done.sections
        ]
        print_json({"seed": seed, "failed": done.failed, "sections": sections})
    else:
        for section in done.sections:
            held = sum(check.holds for check in section.checks)
            click.echo(f"{section.title}: {held} of {len(section.checks)} hold")
        for problem in done.failed:
            click.echo(problem, err=True)
        if page is not None:
            click.echo(page)
    return FAILED if done.failed else DONE
