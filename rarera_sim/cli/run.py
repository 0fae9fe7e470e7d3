"""`rarera run`: the main job."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import DONE, INTERRUPTED, Progress, meant, print_json, print_table, shown
from rarera_sim.core.errors import BadInput

if TYPE_CHECKING:
    from rarera_sim.experiments.scenario import Scenario

QUICK = 2  # replications, the fewest that have an interval


class _Policy(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from rarera_sim.policies import POLICIES

        if value not in POLICIES:
            self.fail(
                f"there is no policy {value!r}{meant(value, POLICIES)} (there are {', '.join(POLICIES)})", param, ctx
            )
        return str(value)


class _PolicyOption(click.Option):
    """Its help names the policies, which are loaded for that, and not for the help of others."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from rarera_sim.policies import POLICIES

        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1].removesuffix('.')}: {', '.join(POLICIES)}.")


@click.command(
    epilog="""\b
Examples:
  rarera run                                     a week of New York flights, 60 times as fast
  rarera run --quick --seed 7 --out out/seven
  rarera run --policy hpa --policy predictive    compare these two on the log
  rarera run --trace taxi.csv --time-column pickup --time-unit s --source-column cab
  rarera run --json > result.json                the numbers; progress stays on stderr
""",
)
@click.option("--scenario", "scenario_file", metavar="FILE.toml", help="What to run; the flights without it.")
@click.option("--trace", "trace_file", metavar="FILE", help="Replay these events: .csv, .parquet or .jsonl.")
@click.option("--time-column", metavar="C", help="Column of the trace that holds the time.")
@click.option("--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="Unit of times that are numbers.")
@click.option("--source-column", metavar="C", help="Column that says who reports.")
@click.option("--stream-column", metavar="C", help="Column that says what an event is about.")
@click.option("--type-column", metavar="C", help="Column that says what happened.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    cls=_PolicyOption,
    type=_Policy(),
    help="Compare only these on the log; repeatable.",
)
@click.option(
    "--seed",
    default=1,
    type=click.IntRange(0, 2**63 - 1),
    show_default=True,
    metavar="N",
    help="Of all chance in the run; another one is another weather.",
)
@click.option("--replications", type=click.IntRange(1), metavar="N", help="Runs per configuration.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes at once; one per core without it.")
@click.option("--out", default="out", show_default=True, metavar="DIR", help="Folder for the report and the log.")
@click.option("--cache", type=Path, metavar="DIR", help="Keep finished runs here, and take from here what is done.")
@click.option("--dask", metavar="ADDRESS", help="Run on this Dask cluster, tcp://HOST:PORT, instead of here.")
@click.option("--quick", is_flag=True, help=f"{QUICK} replications: a first look, with wide intervals.")
@JSON
def run(
    scenario_file: str | None,
    trace_file: str | None,
    policies: tuple[str, ...],
    seed: int,
    replications: int | None,
    jobs: int | None,
    out: str,
    cache: Path | None,
    dask: str | None,
    quick: bool,
    as_json: bool,
    **columns: str | None,
) -> int:
    """Compare message queue and event log, and the policies, on one load under the same weather.

    Prints the results with 95 % intervals and writes a report, whose path comes last. The same seed, scenario and
    version give the same digest.
    """
    if trace_file is None and (given := [name for name, value in columns.items() if value is not None]):
        raise click.UsageError(f"--{given[0].replace('_', '-')} is about a trace; name it with --trace FILE.")
    scenario = _scenario(scenario_file, trace_file, columns, policies, quick)
    folder = _folder(out)
    for warning in scenario.warnings():
        click.echo(f"rarera: note: {shown(warning)}", err=True)

    from rarera_sim.experiments.compare import compare
    from rarera_sim.experiments.workload import prepared
    from rarera_sim.reports.page import write_page

    prepared(scenario)  # a bad trace is refused before the folder is made; the runs find it ready
    folder.mkdir(parents=True, exist_ok=True)
    with Progress("runs") as progress:
        comparison = compare(
            scenario,
            seed=seed,
            replications=replications,
            jobs=jobs,
            folder=folder,
            progress=progress,
            cache=cache,
            dask=dask,
        )
    if comparison.interrupted and not comparison.rows:
        raise KeyboardInterrupt
    comparison = replace(comparison, command=shlex.join(["rarera", *click.get_current_context().obj]))
    report = write_page(comparison, folder / "report.html")
    result = comparison.to_json()
    if as_json:
        print_json(result)
    else:
        from rarera_sim.reports.tables import results_table

        print_table(results_table(comparison))
        about = ("scenario", "seed", "version", "digest")
        click.echo("   ".join(f"{name} {shown(str(result[name]))}" for name in about))
    click.echo(shown(str(report)), err=as_json)
    return INTERRUPTED if comparison.interrupted else DONE


def _scenario(
    file: str | None, trace: str | None, columns: dict[str, str | None], policies: tuple[str, ...], quick: bool
) -> Scenario:
    """The scenario that the options describe; bad ones end here, before anything is written."""
    from msgspec.structs import replace as changed_to

    from rarera_sim.experiments.scenario import (
        Configuration,
        TraceSettings,
        default_scenario,
        load_scenario,
        parse_scenario,
    )

    scenario = load_scenario(file) if file is not None else default_scenario()
    run, configurations = scenario.run, scenario.configurations
    if quick:
        run = changed_to(run, replications=QUICK)
    if policies:
        chosen = [each for each in configurations if each.transport != "log" or each.policy in policies]
        there = {each.policy for each in chosen if each.transport == "log"}
        new = [name for name in dict.fromkeys(policies) if name not in there]
        configurations = (*chosen, *(Configuration(transport="log", policy=name) for name in new))
    changed = changed_to(scenario, run=run, configurations=configurations)
    if trace is not None:
        name = Path(trace).stem[:100] or "trace"
        about = {"name": name, "title": f"A queue, a log and policies under {name}", "description": ""}
        # The shipped warm-up is a day of its own trace; without one a tenth of the run is left out.
        settings = TraceSettings(file=trace, load=scenario.trace.load, **columns)  # type: ignore[arg-type]
        changed = changed_to(changed, trace=settings, run=changed_to(run, warmup=None), **about)
    # Read again, so that what the options made passes the same checks as what stands in a file.
    return scenario if changed == scenario else parse_scenario(changed.to_toml(), place="the options")


def _folder(name: str) -> Path:
    """A folder that can be written to; it is not made yet, as a bad trace shall leave nothing behind."""
    folder = Path(name)
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except (OSError, ValueError) as error:
        raise BadInput(f"--out {name!r} is no folder's name: {error}") from None
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"--out {name!r} cannot be written to: {there} is no folder or allows no writing")
    return folder
