"""How our objects show themselves in a notebook: a line of what they are, then parts that open on a click.

The ground and the ink are the notebook's own, so that light and dark are both right; lines are a grey that shows on
either. No script: what is folded is a `details` element, which keyboards and screen readers know.

The classes stay free of HTML. `register` tells IPython by the names of the classes, so nothing is imported for it;
`import rarera_sim` does so where it runs in IPython, and `%load_ext rarera_sim.reports.html` does the same by hand.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import polars as pl
from markupsafe import Markup

from rarera_sim.core.event import Event
from rarera_sim.core.incidents import Incident
from rarera_sim.core.log import EventLog
from rarera_sim.core.time import format_timestamp
from rarera_sim.experiments.compare import Comparison
from rarera_sim.experiments.run import FRAMES, Run
from rarera_sim.experiments.scenario import Scenario
from rarera_sim.experiments.sweep import Sweep
from rarera_sim.policies import POLICIES
from rarera_sim.policies.tuning import Range
from rarera_sim.reports.tables import INTEGRITY, QUALITY, estimate

# By class, where it lives and what shows it: known by name until the first of its kind is shown.
SHOWN = {
    "rarera_sim.experiments.scenario:Scenario": "scenario_html",
    "rarera_sim.experiments.run:Run": "run_html",
    "rarera_sim.experiments.compare:Comparison": "comparison_html",
    "rarera_sim.experiments.sweep:Sweep": "sweep_html",
    "rarera_sim.core.incidents:Incident": "incident_html",
    "rarera_sim.adapters.memory:MemoryLog": "log_html",
    "rarera_sim.adapters.sqlite:SqliteLog": "log_html",
    "rarera_sim.adapters.files:FilesLog": "log_html",
    "rarera_sim.adapters.tiered:TieredLog": "log_html",
    "rarera_sim.adapters.postgres:PostgresLog": "log_html",
}

_ROWS_MAX = 20
_STYLE = """<style>
.rarera-shown { font-size: 13px; line-height: 1.45; color: inherit; max-width: 960px; }
.rarera-shown .head { border-bottom: 1px solid rgba(128,128,128,.45); padding-bottom: 3px; margin-bottom: 4px; }
.rarera-shown .kind { opacity: .72; margin-right: .6em; }
.rarera-shown summary { cursor: pointer; padding: 2px 0; }
.rarera-shown summary span { opacity: .72; margin-left: .6em; }
.rarera-shown details > div { padding: 2px 0 6px 18px; overflow-x: auto; }
.rarera-shown table { font-size: inherit; border-collapse: collapse;
  font-variant-numeric: tabular-nums; margin: 2px 0; color: inherit; }
.rarera-shown th, .rarera-shown td { text-align: left; padding: 2px 12px 2px 0; border: 0; vertical-align: top;
  background: transparent; color: inherit; border-bottom: 1px solid rgba(128,128,128,.2); }
.rarera-shown td.number, .rarera-shown th.number { text-align: right; }
.rarera-shown pre { font-size: 12px; background: transparent; color: inherit; white-space: pre-wrap; }
</style>"""


def register(shell: Any = None) -> None:
    """Tell IPython how to show our objects; without IPython, nothing happens.

    Parameters
    ----------
    shell
        The shell of IPython; the running one where it is left out.
    """
    if shell is None:
        try:
            from IPython import get_ipython
        except ImportError:
            return
        shell = get_ipython()
    if shell is None:
        return
    html = shell.display_formatter.formatters["text/html"]
    for name, renderer in SHOWN.items():
        module, _, kind = name.partition(":")
        html.for_type_by_name(module, kind, globals()[renderer])
    for policy in POLICIES.values():
        html.for_type(policy, policy_html)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext rarera_sim.reports.html` calls."""
    register(shell)


def scenario_html(scenario: Scenario) -> str:
    """A scenario: the question, what is compared, every setting with what differs from its default marked.

    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> "nyc-flights" in scenario_html(default_scenario())
    True
    """
    objective, run = scenario.objective, scenario.run
    arrives = _source_of(scenario)
    facts = {
        "arrives": arrives,
        "objective": f"{100 * objective.quantile:g} % within {objective.bound:g} s of receipt",
        "runs": _runs(scenario.configurations, run.replications),
    }
    table = _table(
        ("configuration", "transport", "policy", "parameters"),
        [
            (each.label, each.transport, each.policy, ", ".join(f"{k}={v!r}" for k, v in each.parameters.items()))
            for each in scenario.configurations
        ],
    )
    parts = [("configurations", f"{len(scenario.configurations)}", table)]
    for field in msgspec.structs.fields(scenario):
        value = getattr(scenario, field.name)
        if isinstance(value, msgspec.Struct):
            rows, changed = _settings(value)
            if rows:
                said = f"{changed} of {len(rows)} not at their defaults" if changed else "all at their defaults"
                parts.append((field.name, said, _table(("setting", "value", "default"), rows)))
    parts.append(("as TOML", "", Markup("<pre>{}</pre>").format(scenario.to_toml())))
    warnings = scenario.warnings()
    if warnings:
        parts.insert(0, ("warnings", f"{len(warnings)}", _list(warnings)))
    return _card("Scenario", scenario.name, scenario.title, facts, parts)


def run_html(run: Run) -> str:
    """A run: what makes it, what came out, and the frames that it holds."""
    measures = run.measures
    facts = {
        "seed, version": f"{run.seed}, {run.version}",
        "digest": run.digest[:16],
        "response": _seconds(measures, ("p50_s", "p95_s", "p99_s")),
        "events": f"{measures['sent']:,} sent, {measures['lost']:,} lost, {measures['repeated']:,} repeated, "
        f"{measures['late']:,} late; state {'right' if measures['state_correct'] else 'WRONG'}",
        "cost": f"{estimate(measures['cost'], None, None, decimals=4)} USD",
    }
    numbers = [(name, _number(value)) for name, value in measures.items()]
    parts = [("measures", f"{len(numbers)}", _table(("measure", "value"), numbers, numeric={1}))]
    for name in FRAMES:
        frame: pl.DataFrame = getattr(run, name)
        parts.append((name, f"{frame.height:,} rows, {frame.width} columns", _columns(frame)))
    again = (
        f"run(scenario, seed={run.seed}, configuration=scenario.configurations[{_place(run)}])"
        if _place(run) is not None
        else f"run(scenario, seed={run.seed}, configuration=configuration)"
    )
    parts.append(("the same again", "", Markup("<pre>{}</pre>").format(again)))
    return _card("Run", run.configuration.label, run.scenario.title or run.scenario.name, facts, parts)


def comparison_html(comparison: Comparison) -> str:
    """A comparison: the results with their intervals, and what they rest on."""
    facts = {
        "runs": _runs(comparison.rows, comparison.replications),
        "events": f"{comparison.events:,}",
        "seed, version": f"{comparison.seed}, {comparison.version}",
        "digest": comparison.digest[:16],
    }
    if comparison.interrupted:
        facts["interrupted"] = "what had been finished is here"
    parts = []
    for section in (QUALITY, INTEGRITY):
        heads = ("configuration", *(column.heading for column in section.columns))
        rows = [
            (
                str(row["configuration"]),
                *(column.cell(row, comparison.replications).text for column in section.columns),
            )
            for row in comparison.rows
        ]
        numeric = set(range(1, len(heads)))
        parts.append((section.title.lower(), "", _table(heads, rows, numeric=numeric)))
    for name in ("measures", "load", "crashes", "quantiles", "differences"):
        frame: pl.DataFrame = getattr(comparison, name)
        parts.append((name, f"{frame.height:,} rows, {frame.width} columns", _columns(frame)))
    if comparison.command:
        parts.append(("the same again", "", Markup("<pre>{}</pre>").format(comparison.command)))
    return _card("Comparison", comparison.scenario.name, comparison.scenario.title, facts, parts, opened=2)


def policy_html(policy: Any) -> str:
    """A policy: its parameters as they are, what it does, where it comes from.

    >>> from rarera_sim.policies import SquareRootStaffing
    >>> "Halfin" in policy_html(SquareRootStaffing(beta=1.0))
    True
    """
    kind = type(policy)
    about = inspect.getdoc(kind) or ""
    rows = []
    for name, parameter in inspect.signature(kind).parameters.items():
        default = "" if parameter.default is parameter.empty else repr(parameter.default)
        value = repr(getattr(policy, name)) if hasattr(policy, name) else "-"
        rows.append((name, value, default))
    parts = [("parameters", f"{len(rows)}", _table(("parameter", "value", "default"), rows))]
    parts.append(("about", about.partition("\n")[0], Markup("<pre>{}</pre>").format(about)))
    names = [name for name, each in POLICIES.items() if each is kind]
    return _card("Policy", repr(policy), f"policy = {names[0]!r}" if names else "", {}, parts)


def log_html(log: EventLog) -> str:
    """An event log: how long it is, whose events it holds, and the last ones. Reads those, and no others."""
    head = log.head()
    facts = {"head": f"position {head:,}"}
    parts: list[tuple[str, str, Markup]] = []
    if head:
        last = list(log.read(after=max(0, head - 5)))
        first = next(iter(log.read(limit=1)), None)
        if first is not None and last:
            times = (format_timestamp(each.event.time) for each in (first, last[-1]))
            facts["created"] = " to ".join(times)
        sources = log.sequences()
        facts["sources"] = f"{len(sources):,}"
        rows = [_event_row(position, event) for position, event in last]
        heads = ("position", "stream", "type", "source#sequence", "created", "data")
        parts.append(("last events", f"{len(rows)} of {head:,}", _table(heads, rows)))
        ranges = [
            (source, ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in islice(spans, 5)))
            for source, spans in islice(sources.items(), _ROWS_MAX)
        ]
        more = f", the first {_ROWS_MAX}" if len(sources) > _ROWS_MAX else ""
        parts.append(("sources", f"{len(sources):,}{more}", _table(("source", "sequences"), ranges)))
    return _card("EventLog", repr(log), "", facts, parts)


def incident_html(incident: Incident) -> str:
    """An incident: what was the matter with whose event, and how it went on from there."""
    where = "unknown"
    if incident.source is not None:
        where = incident.source
        if incident.first is not None:
            where += f"#{incident.first}" + (f" to #{incident.last}" if incident.last != incident.first else "")
    facts = {"status": incident.status, "kind": incident.kind.value, "reason": incident.reason, "of": where}
    if incident.outcome:
        facts["outcome"] = incident.outcome
    life = [
        (name.replace("_", " "), format_timestamp(moment), _after(moment - incident.detected))
        for name in ("detected", "traced", "compensated", "given_up", "due")
        if (moment := getattr(incident, name)) is not None
    ]
    parts = [("life", f"{len(life)} steps", _table(("step", "when", "after"), life))]
    about = [("opened by", incident.opening.hex())]
    if incident.event_id is not None:
        about.append(("event", incident.event_id.hex()))
    if incident.position is not None:
        about.append(("position", f"{incident.position:,}"))
    if incident.frame is not None:
        about.append(("in quarantine", f"{len(incident.frame):,} bytes"))
    parts.append(("identities", "", _table(("what", "value"), about)))
    return _card("Incident", incident.id, "", facts, parts, opened=1)


def sweep_html(sweep: Sweep) -> str:
    """A sweep: what was varied, what came out of the first points, and what it rests on."""
    knobs = {each.path: each.values for each in sweep.knobs}
    facts = {
        "varied": "; ".join(f"{path}: {_values(values)}" for path, values in knobs.items()),
        "runs": f"{sweep.points['point'].n_unique() if sweep.points.width else 0} points of a {sweep.design} design, "
        + _runs(sweep.scenario.configurations, sweep.replications),
        "seed, version": f"{sweep.seed}, {sweep.version}",
        "digest": sweep.digest[:16],
    }
    if sweep.interrupted:
        facts["interrupted"] = "what had been finished is here"
    asked = [name for name in ("mean_s", "p99_s", "on_time", "cost") if name in sweep.points.columns]
    heads = [*knobs, "configuration", *asked]
    rows = [
        [
            *(_number(row[path]) for path in knobs),
            row["configuration"],
            *(estimate(row[name], row.get(f"{name}_low"), row.get(f"{name}_high")) for name in asked),
        ]
        for row in sweep.points.head(_ROWS_MAX).iter_rows(named=True)
    ]
    # Words stand to the left: the configurations, and knobs that are names.
    numeric = {k for k, head in enumerate(heads) if head in asked or _all_numbers(knobs.get(head, ("",)))}
    left = sweep.points.height - len(rows)
    parts = [("results", f"{left:,} more in points" if left else "", _table(heads, rows, numeric=numeric))]
    for name in ("points", "runs"):
        frame: pl.DataFrame = getattr(sweep, name)
        parts.append((name, f"{frame.height:,} rows, {frame.width} columns", _columns(frame)))
    return _card("Sweep", sweep.scenario.name, sweep.scenario.title, facts, parts, opened=1)


def _all_numbers(values: tuple[Any, ...] | Range) -> bool:
    return isinstance(values, Range) or all(isinstance(value, int | float) for value in values)


def _runs(configurations: Sequence[Any], replications: int) -> str:
    return f"{_many(len(configurations), 'configuration')}, {_many(replications, 'replication')} each"


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _values(values: tuple[Any, ...] | Range) -> str:
    if isinstance(values, Range):
        return f"{values.low:g} to {values.high:g}"
    return ", ".join(_number(value) for value in values)


# What they are made of


def _card(
    kind: str,
    name: str,
    title: str,
    facts: Mapping[str, str],
    parts: Iterable[tuple[str, str, Markup]],
    *,
    opened: int = 0,
) -> str:
    said = "" if title == name else title
    head = Markup('<div class="head"><span class="kind">{}</span><b>{}</b> {}</div>').format(kind, name, said)
    body = _table((), list(facts.items())) if facts else Markup("")
    folded = Markup("").join(
        Markup("<details{}><summary>{}<span>{}</span></summary><div>{}</div></details>").format(
            Markup(" open") if number < opened else "", heading, said, content
        )
        for number, (heading, said, content) in enumerate(parts)
    )
    return Markup('{}<div class="rarera-shown">{}{}{}</div>').format(Markup(_STYLE), head, body, folded)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numeric: set[int] = frozenset()) -> Markup:  # type: ignore[assignment]
    aligned = [Markup(' class="number"') if place in numeric else "" for place in range(len(heads))]
    top = Markup("<thead><tr>{}</tr></thead>").format(
        Markup("").join(Markup('<th scope="col"{}>{}</th>').format(*each) for each in zip(aligned, heads, strict=True))
    )
    lines = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<th scope="row">{}</th>').format(cell)
                if place == 0
                else Markup("<td{}>{}</td>").format(Markup(' class="number"') if place in numeric else "", cell)
                for place, cell in enumerate(row)
            )
        )
        for row in rows
    )
    return Markup("<table>{}<tbody>{}</tbody></table>").format(top if heads else "", lines)


def _list(items: Iterable[str]) -> Markup:
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(item) for item in items))


def _columns(frame: pl.DataFrame) -> Markup:
    first = frame.row(0) if frame.height else [None] * frame.width
    rows = [
        (name, str(kind), _number(value)) for name, kind, value in zip(frame.columns, frame.dtypes, first, strict=True)
    ]
    return _table(("column", "type", "first value"), rows)


def _settings(settings: msgspec.Struct) -> tuple[list[tuple[str, str, str]], int]:
    """Every setting with its default beside it where it differs, and how many differ."""
    rows, changed = [], 0
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        differs = default is not msgspec.NODEFAULT and value != default
        changed += differs
        rows.append((field.name, _short(value), _short(default) if differs else ""))
    return rows, changed


def _source_of(scenario: Scenario) -> str:
    if scenario.arrivals is not None:
        return _short(scenario.arrivals)
    trace = scenario.trace
    return f"trace {trace.name or trace.file or trace.url or 'as shipped'}"


def _short(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        said = msgspec.to_builtins(value)
        kind = f"{said.pop('kind')}, " if "kind" in said else ""
        value = kind + ", ".join(f"{name} = {each}" for name, each in said.items())
    return textwrap.shorten(str(value), 120, placeholder=" ...")


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return textwrap.shorten(value.hex() if isinstance(value, bytes) else str(value), 60, placeholder=" ...")


def _seconds(measures: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name.removesuffix('_s')} {estimate(measures[name], None, None)} s" for name in names)


def _place(run: Run) -> int | None:
    return next((k for k, each in enumerate(run.scenario.configurations) if each == run.configuration), None)


def _event_row(position: int, event: Event) -> tuple[str, ...]:
    identity = f"{event.source}#{event.sequence}"
    return (
        f"{position:,}",
        event.stream,
        event.type,
        identity,
        format_timestamp(event.time),
        textwrap.shorten(str(event.data), 80, placeholder=" ..."),
    )


def _after(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:+.3g} s" if nanoseconds else ""
