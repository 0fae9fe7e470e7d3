"""The command `rarera`: every command is one public call, so that whoever outgrows it finds the same in Python.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check did not hold, 2 bad input, 130
interrupted. What a command does not need it does not import: `rarera --help` answers before Polars would be loaded.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from rarera_sim.core.errors import BadInput, Conflict, DamagedLog, RareraError
from rarera_sim.core.time import format_timestamp, parse_timestamp

if TYPE_CHECKING:
    from typing import Protocol

    from rarera_sim.core.event import Event, Recorded
    from rarera_sim.core.integrity import Auditable, Head
    from rarera_sim.core.lineage import Lineage
    from rarera_sim.core.log import EventLog, Query
    from rarera_sim.core.trace import Step
    from rarera_sim.experiments.scenario import Scenario

    class Log(EventLog, Auditable, Protocol):
        """What every log can do that `open_log` opens."""


DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

POLICIES = ("fixed", "peak", "hpa", "hpa-rate", "erlang-c", "square-root", "predictive", "price-aware")
BENCHMARKS = Path("docs/benchmarks.md")
QUICK = 2  # replications, the fewest that have an interval

_PLAIN_EVERY = 10.0  # seconds between lines of progress where there is no terminal
_FOLLOW_EVERY = 0.1  # seconds between looks at a log that is followed
_POSITION_DIGITS = 15
_SHOWN_MAX = 20


class _Rarera(click.Group):
    """A group whose reader may leave: `rarera log read LOG | head` is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still in the buffer would fail again when the interpreter flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code; whatever is wrong is one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(arguments, prog_name="rarera", standalone_mode=False, obj=arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return DONE
    except click.ClickException as error:
        return _complain(error.format_message(), BAD_INPUT)
    except BadInput as error:
        return _complain(str(error), BAD_INPUT)
    except RareraError as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    return code if type(code) is int else DONE


def _complain(message: str, code: int) -> int:
    click.echo(f"rarera: {_shown(' '.join(message.split()))}", err=True)
    return code


# --- kinds of values ------------------------------------------------------------------------------------------------


class _Time(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if type(value) is int else parse_timestamp(value)
        except BadInput as error:
            self.fail(str(error), param, ctx)


class _Head(click.ParamType):  # type: ignore[type-arg]
    """POSITION or POSITION:CHAIN, as `rarera log verify` prints it."""

    name = "position[:chain]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head | int:
        position, colon, chain_hex = str(value).partition(":")
        if not position.isascii() or not position.isdecimal() or len(position) > _POSITION_DIGITS:
            self.fail(f"{value!r} does not begin with a position", param, ctx)
        if not colon:
            return int(position)
        from rarera_sim.core.integrity import Head

        chain_value = _unhex(chain_hex)
        if chain_value is None:
            self.fail(f"the chain in {value!r} is not 64 hex digits", param, ctx)
        return Head(int(position), chain_value)


TIME = _Time()
HEAD = _Head()


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a `Query`."""
    for option in (
        click.option("--until", type=TIME, help="Created at this time or before."),
        click.option("--since", type=TIME, help="Created at this time or after."),
        click.option("--source", "sources", multiple=True, metavar="NAME", help="Only from this source; repeatable."),
        click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only of this stream; repeatable."),
        click.option("--type", "types", multiple=True, metavar="NAME", help="Only of this type; repeatable."),
        click.option("--processor", "processors", multiple=True, metavar="NAME", help="Only of this one; repeatable."),
    ):
        command = option(command)
    return command


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
_BATCH = click.option(
    "--batch",
    default=1_000,
    type=click.IntRange(1, 1_000_000),
    show_default=True,
    metavar="N",
    help="Events per append.",
)
_FIELD = click.option("--field", default="speed", show_default=True, metavar="NAME", help="Numeric field of the data.")


# --- rarera ---------------------------------------------------------------------------------------------------------


@click.group(
    cls=_Rarera,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  rarera run                                     the main job: real flights, queue against log, all policies
  rarera run --quick --policy hpa --policy predictive
  rarera log verify out/log.sqlite               is the log what it was given?
  rarera log state out/log.sqlite --as-of 2013-01-14T12:00Z
  rarera bench log                               time the log against its peers

Exit codes: 0 done, 1 a check did not hold, 2 bad input, 130 interrupted.
""",
)
@click.version_option(package_name="rarera-sim", prog_name="rarera", message="%(prog)s %(version)s")
def cli() -> None:
    """Event-driven systems that lose nothing and keep their response time: run the comparison, ask the log."""


@cli.command(
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
    type=click.Choice(POLICIES),
    help=f"Compare only these on the log; repeatable: {', '.join(POLICIES)}.",
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
@click.option("--quick", is_flag=True, help=f"{QUICK} replications: a first look, with wide intervals.")
@_JSON
def run(
    scenario_file: str | None,
    trace_file: str | None,
    policies: tuple[str, ...],
    seed: int,
    replications: int | None,
    jobs: int | None,
    out: str,
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
        click.echo(f"rarera: note: {_shown(warning)}", err=True)

    from rarera_sim.experiments.compare import compare
    from rarera_sim.experiments.workload import prepared
    from rarera_sim.reports.page import write_page

    prepared(scenario)  # a bad trace is refused before the folder is made; the runs find it ready
    folder.mkdir(parents=True, exist_ok=True)
    with _Progress("runs") as progress:
        comparison = compare(
            scenario, seed=seed, replications=replications, jobs=jobs, folder=folder, progress=progress
        )
    if comparison.interrupted and not comparison.rows:
        raise KeyboardInterrupt
    comparison = replace(comparison, command=shlex.join(["rarera", *click.get_current_context().obj]))
    report = write_page(comparison, folder / "report.html")
    result = comparison.to_json()
    if as_json:
        _print_json(result)
    else:
        from rarera_sim.reports.tables import results_table

        _print_table(results_table(comparison))
        about = ("scenario", "seed", "version", "digest")
        click.echo("   ".join(f"{name} {_shown(str(result[name]))}" for name in about))
    click.echo(_shown(str(report)), err=as_json)
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


@cli.command(
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
@_JSON
def bench(name: str | None, quick: bool, long_: bool, as_json: bool) -> None:
    """Time our parts against their peers: medians of CPU time, both sides in the same rounds.

    Without NAME all benchmarks, one after the other; with --json then one object a line.
    """
    from rarera_sim.benchmarks import names, run_bench, table, write_markdown

    known = names()
    if name is not None and name not in known:
        raise click.UsageError(f"There is no benchmark {name!r}{_meant(name, known)} (there are {', '.join(known)}).")
    publish = name is None and not quick
    if publish and not BENCHMARKS.parent.is_dir():
        # Now, and not after minutes of timing.
        raise BadInput(f"there is no folder {BENCHMARKS.parent} to write {BENCHMARKS.name} in: go to the checkout")
    results = []
    for each in known if name is None else [name]:
        with _Progress(each) as progress:
            results.append(run_bench(each, quick=quick, long=long_, progress=progress))
        if as_json:
            _print_json(results[-1])
        else:
            _print_table(table(results[-1]))
    if publish:
        write_markdown(results, BENCHMARKS)
        click.echo(BENCHMARKS, err=as_json)


# --- rarera log -----------------------------------------------------------------------------------------------------


@cli.group(
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

Every command but append and copy leaves LOG as it is.
""",
)
def log() -> None:
    """Ask an event log, check it, copy it, append to it."""


@log.command(
    epilog="""\b
One event per line:
  {"stream": "EWR/UA1545", "type": "departed", "data": {"delay": 2}, "source": "EWR", "sequence": 1,
   "time": "2013-01-14T12:00:00Z"}
`data` is a JSON object, `sequence` the source's own count from 1, `time` ISO 8601 with a zone or whole
nanoseconds. Optional are `schema` (a number), `causation` and `correlation` (UIDs in hex). The lines of
`rarera log read` fit as they are: a `position` is passed over, an `id` has to match the event.

\b
Examples:
  rarera log append new.sqlite events.jsonl
  rarera log read old.sqlite --since 2013-02-01 | rarera log append new.sqlite
""",
)
@click.argument("url", metavar="LOG")
@click.argument("file", type=click.File("rb"), default="-")
@_BATCH
@_JSON
def append(url: str, file: IO[bytes], batch: int, as_json: bool) -> None:
    """Append events from FILE, or from stdin: JSON Lines, read strictly.

    A batch of N events is appended whole or not at all; a bad line is named and nothing of its batch is appended.
    Events that are in LOG already are counted and left out, so appending a file again is safe.
    """
    from rarera_sim.adapters.jsonl import read_events
    from rarera_sim.adapters.memory import MemoryLog

    batches = _batches(read_events(file, file.name), batch)
    # Read and tried before the log is made: a bad first batch leaves no empty log behind.
    ready = list(islice(batches, 1))
    for numbered in ready:
        _append(MemoryLog(), numbered, file.name)
    seen = appended = 0
    with closing(_open(url)) as opened:
        try:
            for numbered in chain(ready, batches):
                appended += _append(opened, numbered, file.name)
                seen += len(numbered)
        except BadInput as error:
            before = f"; the {seen} events before this batch are in the log" if seen else ""
            raise BadInput(f"{error}{before}") from None
        head = opened.head()
    if as_json:
        _print_json({"appended": appended, "duplicates": seen - appended, "head": head})
    else:
        click.echo(f"appended {appended}, duplicates {seen - appended}, the log is at {head}")


@log.command(
    epilog="""\b
Examples:
  rarera log read out/log.sqlite --limit 5
  rarera log read out/log.sqlite --backwards --limit 1          the newest event
  rarera log read out/log.sqlite --processor EWR --type arrived --since 2013-01-14 --until 2013-01-15
  rarera log read out/log.sqlite --after 1000 --follow | jq .data
""",
)
@click.argument("url", metavar="LOG")
@_filters
@click.option("--after", default=0, type=click.IntRange(0), metavar="POSITION", help="Start behind this position.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Stop after N events.")
@click.option("--backwards", is_flag=True, help="Newest first, down to --after.")
@click.option("--follow", is_flag=True, help="Wait for new events when there are no more; end with Ctrl-C.")
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: events are always JSON Lines.")
def read(url: str, after: int, limit: int | None, backwards: bool, follow: bool, **filters: Any) -> None:
    """Print events in the order of their positions, one JSON object a line."""
    from rarera_sim.adapters.jsonl import to_json

    if follow and backwards:
        raise click.UsageError("--follow goes forwards; leave out --backwards.")
    query = _query(filters)
    with closing(_open(url, read_only=True)) as opened:
        found = (
            islice(_followed(opened, query, after), limit)
            if follow
            else opened.read(query, after=after, limit=limit, backwards=backwards)
        )
        for recorded in found:
            _print_json(to_json(recorded))


@log.command(
    "query",
    epilog="""\b
Examples:
  rarera log query out/log.sqlite --processor EWR --type arrived
  rarera log query out/log.sqlite --type departed --field delay --since 2013-01-14T06:00Z --until 2013-01-14T10:00Z
""",
)
@click.argument("url", metavar="LOG")
@_FIELD
@_filters
@_JSON
def query_(url: str, field: str, as_json: bool, **filters: Any) -> None:
    """How many events match, and the mean of a field over those that carry it."""
    from rarera_sim.core.projection import summarise

    query = _query(filters)
    with closing(_open(url, read_only=True)) as opened:
        summary = summarise(opened, field, query)
    if as_json:
        _print_json({"field": field, "count": summary.count, "mean": summary.mean})
    else:
        click.echo(f"count  {summary.count}\nmean   {_number(summary.mean)}   ({_shown(field)})")


@log.command(
    epilog="""\b
Examples:
  rarera log state out/log.sqlite
  rarera log state out/log.sqlite --as-of 2013-01-14T12:00Z     what was true then
  rarera log state out/log.sqlite --upto 1000                   what was known after 1000 events
""",
)
@click.argument("url", metavar="LOG")
@click.option("--as-of", type=TIME, help="Only events created at this time or before, whenever they were recorded.")
@click.option("--upto", type=click.IntRange(0), metavar="POSITION", help="Only events up to this position.")
@_FIELD
@_JSON
def state(url: str, as_of: int | None, upto: int | None, field: str, as_json: bool) -> None:
    """The state at a moment: events per processor and type, and the mean of a field over those that carry it."""
    from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
    from rarera_sim.core.projection import Tally, rebuild

    with closing(_open(url, read_only=True)) as opened:
        head = opened.head()
        position = head if upto is None else min(upto, head)
        snapshots = SqliteSnapshots(opened) if isinstance(opened, SqliteLog) else None
        tally = rebuild(Tally(field), opened, as_of=as_of, upto=position, snapshots=snapshots)
    rows: list[tuple[str, str, int, float | None]] = [
        (processor, kind, tally[processor][kind][0], Tally.mean(tally, processor, kind))
        for processor in sorted(tally)
        for kind in sorted(tally[processor])
    ]
    if as_json:
        names = ("processor", "type", "count", "mean")
        moment = None if as_of is None else format_timestamp(as_of)
        cells = [dict(zip(names, row, strict=True)) for row in rows]
        _print_json({"as_of": moment, "position": position, "field": field, "rows": cells})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("processor", "type")
    table.add_column("count", justify="right")
    table.add_column(Text(f"mean {_shown(field)}"), justify="right")
    for processor, kind, count, mean in rows:
        table.add_row(Text(_shown(processor)), Text(_shown(kind)), str(count), _number(mean))
    _print_table(table)
    click.echo(f"position {position} of {head}" + (f", as of {format_timestamp(as_of)}" if as_of is not None else ""))


@log.command(
    epilog="""\b
Examples:
  rarera log verify out/log.sqlite
  rarera log verify out/log.sqlite --head 18900:5d41...   the head it had when it was last looked at

A log whose last events are gone is a perfectly good shorter log: only a head kept elsewhere tells.
""",
)
@click.argument("url", metavar="LOG")
@click.option("--head", "known", type=HEAD, help="A head that this log had earlier, kept elsewhere.")
@_JSON
def verify(url: str, known: Head | int | None, as_json: bool) -> int:
    """Is LOG what it was given? Every event against its UID, its place and the chain of all before it.

    Prints the head, which is worth keeping elsewhere; else the first bad position and why, with exit code 1.
    """
    from rarera_sim.core.integrity import CHAIN_START, Head, Verdict
    from rarera_sim.core.integrity import verify as verify_log

    try:
        with closing(_open(url, read_only=True)) as opened:
            verdict = verify_log(opened, expected_head=known)
    except DamagedLog as damage:
        verdict = Verdict(False, Head(0, CHAIN_START), None, str(damage))
    if as_json:
        _print_json(
            {
                "intact": verdict.intact,
                "head": _head(verdict.head),
                "position": verdict.position,
                "reason": verdict.reason,
            }
        )
    elif verdict.intact:
        click.echo(f"intact, {verdict.head.position} events\nhead {_head(verdict.head)}")
    else:
        where = "" if verdict.position is None else f" at position {verdict.position}"
        click.echo(f"not intact{where}: {_shown(verdict.reason)}\ngood up to {_head(verdict.head)}")
    return DONE if verdict.intact else FAILED


@log.command(
    epilog="""\b
EVENT is one of
  EWR#17          number 17 of the source EWR
  4711            a position, up to 15 digits
  12d5282482c5    the first digits of a UID, as many as it takes

\b
Examples:
  rarera log trace out/log.sqlite EWR#17
  rarera log trace out/log.sqlite 4711 --json
""",
)
@click.argument("url", metavar="LOG")
@click.argument("event")
@_JSON
def trace(url: str, event: str, as_json: bool) -> None:
    """Where one event came from, what happened to it on its way, what caused it and what it caused."""
    from rarera_sim.adapters.jsonl import to_json
    from rarera_sim.core.lineage import find_event, lineage

    with closing(_open(url, read_only=True)) as opened:
        recorded = find_event(opened, event)
        found = lineage(opened, recorded.event.id)
        # A journey is kept beside the log by the model, in stores that have a place for it.
        steps_of = getattr(opened, "steps_of", None)
        steps: list[Step] = steps_of(recorded.event.id) if steps_of else []
    if not as_json:
        _print_lineage(found, steps)
        return
    missing = found.cause_missing
    _print_json(
        {
            "event": to_json(recorded),
            "journey": [{"time_s": step.time, "stage": step.stage, "where": step.where} for step in steps],
            "causes": [to_json(cause) for cause in found.causes],
            "cause_missing": missing.hex() if missing else None,
            "effects": [{"depth": depth, **to_json(effect)} for depth, effect in found.effects],
            "correlation": found.correlation.hex(),
            "conversation": list(found.conversation),
        }
    )


@log.command(
    epilog="""\b
Examples:
  rarera log copy out/log.sqlite backup.sqlite
  rarera log copy out/log.sqlite sqlite:////mnt/archive/log.db --json

Interrupted? The same command goes on where it stopped. What is copied are the events, not snapshots.
""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@_BATCH
@_JSON
def copy(source: str, target: str, batch: int, as_json: bool) -> int:
    """Copy all events FROM one log TO another, and prove both equal.

    TO is made if it is not there, else it has to be an earlier copy of FROM. Both logs are read again and held against
    their UIDs and chain: exit code 1 if they are not intact and the same.
    """
    from rarera_sim.adapters.archive import copy_log

    with closing(_open(source, read_only=True)) as origin, closing(_open(target)) as copied:
        try:
            with _Progress("events") as progress:
                count, head = copy_log(origin, copied, batch=batch, progress=progress)
        except DamagedLog as damage:
            if not as_json:
                raise
            _print_json({"equal": False, "reason": str(damage)})
            return FAILED
    if as_json:
        _print_json({"equal": True, "copied": count, "head": _head(head)})
    else:
        click.echo(f"copied {count} events, equal up to position {head.position}\nhead {_head(head)}")
    return DONE


def _open(url: str, *, read_only: bool = False) -> Log:
    from rarera_sim.adapters.urls import open_log

    return open_log(url, read_only=True) if read_only else open_log(url)


def _append(log: EventLog, numbered: list[tuple[int, Event]], name: str) -> int:
    try:
        return len(log.append([event for _, event in numbered]))
    except (BadInput, Conflict) as error:
        first, last = numbered[0][0], numbered[-1][0]
        raise BadInput(f"{name}, lines {first} to {last}: {error}; none of them was appended") from None


def _query(filters: dict[str, Any]) -> Query:
    from rarera_sim.core.log import Query

    return Query(**filters)


def _followed(log: EventLog, query: Query, after: int) -> Iterator[Recorded]:
    from rarera_sim.core.subscription import Subscription

    subscription = Subscription(log, query, after=after)
    while True:
        recorded = subscription.poll()
        if recorded is None:
            sys.stdout.flush()
            time.sleep(_FOLLOW_EVERY)
            subscription.ring()
        else:
            subscription.ack(recorded)
            yield recorded


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


# --- what people see ------------------------------------------------------------------------------------------------


class _Progress:
    """How far a job is, on stderr: a bar with the time left on a terminal, else a line every ten seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        self._started = self._told = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("left"), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif now - self._told >= _PLAIN_EVERY:
            self._told = now
            left = f", about {(total - done) * (now - self._started) / done:.0f} s left" if done else ""
            click.echo(f"{done} of {total} {self._what}{left}", err=True)


def _print_lineage(lineage: Lineage, steps: Sequence[Step]) -> None:
    position, event = lineage.recorded
    lines = [
        f"{event.type}  {event.stream}",
        f"  UID       {event.id.hex()}",
        f"  from      {event.source}#{event.sequence}, created {format_timestamp(event.time)}",
        f"  recorded  position {position}",
        f"  data      {event.data}",
    ]
    lines += ["journey", *(f"  {step.time:12.3f} s  {step.stage}  ({step.where})" for step in steps)] if steps else []
    if lineage.causes or lineage.cause_missing:
        lines += ["caused by", *(f"  {_brief(cause)}" for cause in lineage.causes)]
    if lineage.cause_missing:
        lines.append(f"  {lineage.cause_missing.hex()}, which is not in this log")
    if lineage.effects:
        lines += ["caused", *("  " * depth + _brief(effect) for depth, effect in lineage.effects)]
    if len(lineage.conversation) > 1:
        shown = ", ".join(map(str, lineage.conversation[:_SHOWN_MAX]))
        more = ", ..." if len(lineage.conversation) > _SHOWN_MAX else ""
        lines += [f"conversation of {len(lineage.conversation)} events", f"  positions {shown}{more}"]
    for line in lines:
        click.echo(_shown(line))


def _brief(recorded: Recorded) -> str:
    position, event = recorded
    return f"position {position}: {event.type}  {event.stream}, {event.source}#{event.sequence}"


def _print_json(value: Any) -> None:
    import orjson

    # Past the text layer: JSON is UTF-8 whatever the terminal's encoding is.
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


def _print_table(table: Any) -> None:
    from rich.console import Console

    # A pipe has no width: without one rich would cut columns to fit 80.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _shown(text: str) -> str:
    """Text for a terminal: what a log or a file name holds must not move the cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _head(head: Head) -> str:
    return f"{head.position}:{head.chain.hex()}"


def _unhex(text: str) -> bytes | None:
    """32 bytes from 64 hex digits; `bytes.fromhex` alone would pass over spaces."""
    try:
        return bytes.fromhex(text) if len(text) == 64 and text.isalnum() else None
    except ValueError:
        return None


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
