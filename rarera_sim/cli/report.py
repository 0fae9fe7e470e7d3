"""`rarera report`: a result as HTML, PDF or Markdown, and two results held against each other."""

from __future__ import annotations

from pathlib import Path

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import DONE, print_json, shown

KINDS = {"html": ".html", "pdf": ".pdf", "md": ".md"}


@click.command(
    epilog="""\b
Examples:
  rarera report out                              the report that `rarera run` wrote, again as out/report.html
  rarera report out --format pdf --format md     and as PDF, and as Markdown with pictures
  rarera report my-run --out results/monday      a run that was kept by Run.save
  rarera report --diff out/a out/b               what differs beyond the noise

PDF and Markdown need a Chromium or Chrome; $RARERA_CHROMIUM names one that is not found by itself.
""",
)
@click.argument("places", nargs=-1, required=True, metavar="RUN_OR_FOLDER...")
@click.option("--format", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable; html without it.")
@click.option("--out", metavar="PATH", help="Where to, without the ending; beside what it is made of without it.")
@click.option("--diff", "diffs", is_flag=True, help="Hold two reports against each other instead.")
@JSON
def report(places: tuple[str, ...], kinds: tuple[str, ...], out: str | None, diffs: bool, as_json: bool) -> int:
    """Write the report of a result, or say what differs between two.

    RUN_OR_FOLDER is a report.html, a folder that holds one, or the folder of a saved run.
    """
    if len(places) != (2 if diffs else 1):
        raise click.UsageError(f"{'--diff holds two reports' if diffs else 'give one result'}, got {len(places)}.")
    if diffs:
        from rarera_sim.reports.diff import diff_reports

        found = diff_reports(*places)
        if as_json:
            print_json(
                {
                    "same_digest": found.same_digest,
                    "about": [dict(zip(("what", "a", "b"), each, strict=True)) for each in found.about],
                    "scenario": found.scenario,
                    "only_a": list(found.only_a),
                    "only_b": list(found.only_b),
                    "measures": found.measures.to_dicts(),
                }
            )
        else:
            click.echo("\n".join(map(shown, str(found).splitlines())))
        return DONE
    from rarera_sim.experiments.run import load_run
    from rarera_sim.reports.report import report as write
    from rarera_sim.reports.stored import REPORT, read_report

    place = Path(places[0])
    result = load_run(place) if (place / "run.json").is_file() else read_report(place)
    target = Path(out) if out is not None else (place if place.is_dir() else place.parent) / Path(REPORT).stem
    written = [str(write(result, f"{target}{KINDS[kind]}")) for kind in dict.fromkeys(kinds or ("html",))]
    if as_json:
        print_json({"written": written, "digest": result.digest})
    else:
        click.echo("\n".join(map(shown, written)))
    return DONE
