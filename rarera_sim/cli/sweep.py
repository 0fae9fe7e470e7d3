"""`rarera sweep`: a scenario at many settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import DONE, INTERRUPTED, Progress, number, print_json, print_table
from rarera_sim.core.errors import BadInput

_RANGE = re.compile(r"(.+?)\.\.(.+?)(?: (log))?")
_DESIGNS = ("factorial", "latin-hypercube", "sobol", "saltelli")


class _Field(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """PATH=V,V,... or PATH=LOW..HIGH, with " log" behind for steps of equal ratio."""

    name = "path=values"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        path, equals, text = str(value).partition("=")
        if not equals or not path.strip() or not text.strip():
            self.fail(f"{value!r} is not PATH=VALUE,VALUE,... or PATH=LOW..HIGH", param, ctx)
        between = _RANGE.fullmatch(text.strip())
        if between:
            from rarera_sim.policies.tuning import Range

            low, high = _value(between[1]), _value(between[2])
            whole = type(low) is int and type(high) is int
            scale: Any = between[3] or ("int" if whole else "linear")
            return path.strip(), Range(low, high, scale)
        return path.strip(), [_value(each) for each in text.split(",")]


def _value(text: str) -> Any:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@click.command(
    epilog="""\b
Examples:
  rarera sweep hardware.start_up=5,30,60 control.period=5,15
  rarera sweep hardware.start_up=5..60 control.period=5..60 --design sobol --samples 64 --measure cost
  rarera sweep 'configurations[*].parameters.replicas=8..20' --design latin-hypercube --samples 20 --scenario mine.toml
  rarera sweep hardware.name=c5-large,c5-large-spot --dask tcp://scheduler:8786

What is done is kept in OUT/cache: the same command again, or one with more, does only what is new.
""",
)
@click.argument("fields", nargs=-1, required=True, type=_Field(), metavar="PATH=VALUES...")
@click.option("--scenario", "scenario_file", metavar="FILE.toml", help="What to vary; the flights without it.")
@click.option("--design", type=click.Choice(_DESIGNS), default="factorial", show_default=True, help="Which points.")
@click.option("--samples", type=click.IntRange(2), metavar="N", help="Points of a drawn design.")
@click.option("--measure", default="p99_s", show_default=True, metavar="NAME", help="What the summary is about.")
@click.option("--configuration", metavar="NAME", help="Which one it is about; the first without it.")
@click.option("--seed", default=1, type=click.IntRange(0, 2**63 - 1), show_default=True, metavar="N")
@click.option("--replications", type=click.IntRange(1), metavar="N", help="Runs of each point.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes at once; one per core without it.")
@click.option("--dask", metavar="ADDRESS", help="Let the workers of this Dask scheduler do the runs.")
@click.option("--out", default="out", type=Path, show_default=True, metavar="DIR", help="Folder for the frames.")
@JSON
def sweep(
    fields: tuple[tuple[str, Any], ...],
    scenario_file: str | None,
    design: Any,
    samples: int | None,
    measure: str,
    configuration: str | None,
    seed: int,
    replications: int | None,
    jobs: int | None,
    dask: str | None,
    out: Path,
    as_json: bool,
) -> int:
    """Run a scenario at many settings of its fields and tell which of them matters.

    Writes sweep.parquet (a row per point and configuration) and sweep-runs.parquet (a row per run).
    """
    from rarera_sim.experiments.scenario import default_scenario, load_scenario
    from rarera_sim.experiments.sweep import sweep as swept

    scenario = load_scenario(scenario_file) if scenario_file is not None else default_scenario()
    values = dict(fields)
    if len(values) < len(fields):
        raise BadInput(f"a field is there twice: {', '.join(path for path, _ in fields)}")
    labels = [each.label for each in scenario.configurations]
    if configuration is not None and configuration not in labels:
        raise BadInput(f"--configuration must be one of {', '.join(map(repr, labels))}, got {configuration!r}")
    with Progress("runs") as progress:
        done = swept(
            scenario,
            values,
            design=design,
            samples=samples,
            seed=seed,
            replications=replications,
            jobs=jobs,
            cache=out / "cache",
            dask=dask,
            progress=progress,
        )
    if not done.replications:
        raise KeyboardInterrupt
    points, runs = out / "sweep.parquet", out / "sweep-runs.parquet"
    out.mkdir(parents=True, exist_ok=True)
    done.points.write_parquet(points)
    done.runs.write_parquet(runs)
    matters, swings = done.sensitivity(measure, configuration), done.tornado(measure, configuration)
    if as_json:
        print_json(
            {
                "scenario": scenario.name,
                "design": design,
                "seed": seed,
                "replications": done.replications,
                "version": done.version,
                "digest": done.digest,
                "measure": measure,
                "sensitivity": matters.to_dicts(),
                "tornado": swings.to_dicts(),
                "points": done.points.to_dicts(),
            }
        )
    else:
        print_table(_table(f"{measure}, {configuration or labels[0]}: which field matters", matters))
        print_table(_table("and how far each one alone swings it", swings))
        click.echo(repr(done))
    click.echo(points, err=as_json)
    return INTERRUPTED if done.interrupted else DONE


def _table(title: str, frame: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for name in frame.columns:
        table.add_column(name)
    for row in frame.iter_rows():
        table.add_row(*(Text(number(each) if isinstance(each, float) else str(each)) for each in row))
    return table
