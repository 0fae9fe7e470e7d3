"""The page: one HTML file that opens offline, asks no network for anything, and says how it came about."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import plotly.graph_objects as go
import polars as pl
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.run import Run
from rarera_sim.experiments.statistics import mean_interval
from rarera_sim.policies import POLICIES
from rarera_sim.reports import Compared, frames
from rarera_sim.reports.bibliography import bibliography
from rarera_sim.reports.figures import (
    CONFIG,
    availability_timeline,
    backlog_and_replicas,
    cost_against_p99,
    cost_and_energy,
    funnel,
    latency_breakdown,
    latency_quantiles,
    pareto_front,
    replicas_and_decisions,
    response_distribution,
    response_over_time,
    thinned,
)
from rarera_sim.reports.figures.money import RUNS_MIN
from rarera_sim.reports.stored import PLACE, json_script, packed, parquet
from rarera_sim.reports.tables import EFFORT, INTEGRITY, QUALITY, Section, estimate, footnote
from rarera_sim.reports.words import summary

SECTIONS = (QUALITY, INTEGRITY, EFFORT)
TRANSPORTS = {
    "queue-at-most-once": "A traditional message queue: a memory of fixed size that drops the oldest event when it is "
    "full. A message is forgotten as soon as it is handed out, so a crash of its processor loses it.",
    "queue-at-least-once": "A traditional message queue: a memory of fixed size that drops the oldest event when it is "
    "full. A message handed out and not acknowledged in time is handed out again, so it can be applied twice.",
    "log": "An event log. Sources keep an event until the log has acknowledged it; the log stores each event once, "
    "whatever the network repeats; the state is rebuilt from the log.",
}
DIFFERENCES = {"cost": ("cost [USD]", 1.0, 4), "p99_s": ("p99 [s]", 1.0, 2), "on_time": ("on time [%]", 100.0, 3)}


class Exhibit(NamedTuple):
    """A figure, its name, and the numbers that it draws."""

    name: str
    figure: go.Figure
    data: pl.DataFrame

    @property
    def title(self) -> str:
        return str(self.figure.layout.title.text)

    @property
    def alt(self) -> str:
        return str(self.figure.layout.meta["alt"])

    @property
    def height(self) -> int:
        return int(self.figure.layout.height)

    @property
    def drawn(self) -> Markup:
        """What Plotly needs, without the title: a page has a heading of its own, which a screen reader finds."""
        figure = json.loads(self.figure.to_json())
        layout = figure["layout"]
        layout.pop("title", None)
        layout["margin"] = {**layout.get("margin", {}), "t": max(40, (self.figure.layout.margin.t or 90) - 36)}
        return _script(figure)

    @property
    def csv(self) -> str:
        return _download(self.data.write_csv(float_precision=4).encode(), "text/csv")

    @property
    def parquet(self) -> str:
        return _download(parquet(self.data), "application/vnd.apache.parquet")


def write_page(comparison: Compared, path: str | os.PathLike[str], *, runs: Sequence[Run] = ()) -> Path:
    """Write the report of a comparison, whole or not at all; the path it was written to.

    The same comparison gives the same bytes.

    Parameters
    ----------
    runs
        Runs to look into more closely: each adds its response over time, by stage and in full, its decisions, its
        processors and its costs.

    Raises
    ------
    BadInput
        If it cannot be written there. What was there before is then still there.
    """
    path = Path(path)
    # Beside the target, so that the last step is a rename within one file system: a reader sees the old or the new.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = render(comparison, runs=runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"report {str(path)!r} cannot be written: {error.strerror or error}") from error
    return path


def render(comparison: Compared, *, runs: Sequence[Run] = (), paper: bool = False) -> str:
    """The report as text; for `paper`, without what only a screen can use."""
    rows = comparison.rows
    environment = jinja2.Environment(
        autoescape=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tied"] = _tied
    source = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    toml = comparison.scenario.to_toml()
    return environment.from_string(source).render(
        comparison=comparison,
        scenario=comparison.scenario,
        summary=summary(comparison),
        footnote=footnote(comparison),
        sections=SECTIONS,
        cells=lambda section: _cells(comparison, section),
        results=_download(pl.DataFrame(list(rows), infer_schema_length=None).write_csv().encode(), "text/csv"),
        replications=_download(comparison.measures.write_csv().encode(), "text/csv"),
        differences=differences(comparison),
        exhibits=exhibits(comparison, runs),
        transports={name: TRANSPORTS.get(name, "") for name in _once(row["transport"] for row in rows)},
        policies={name: policy_words(name) for name in _once(row["policy"] for row in rows)},
        literature=literature(comparison),
        again=again(comparison),
        toml=toml,
        toml_download=_download(toml.encode(), "application/toml"),
        place=PLACE,
        data="" if paper else json_script(packed(comparison)),
        paper=paper,
        config=_script(CONFIG),
        plotly=_library(),
    )


def _cells(comparison: Compared, section: Section) -> list[tuple[str, list[Any]]]:
    return [
        (str(row["configuration"]), [column.cell(row, comparison.replications) for column in section.columns])
        for row in comparison.rows
    ]


def differences(comparison: Compared) -> list[tuple[str, str, str, str, str]]:
    """Each paired difference in words: configuration, against, measure, difference, and what follows from it."""
    shown = []
    seen: set[tuple[str, str, str]] = set()
    for row in comparison.differences.iter_rows(named=True):
        one, other, measure = str(row["configuration"]), str(row["against"]), row["measure"]
        if (other, one, measure) in seen:
            continue  # the same, the other way round
        seen.add((one, other, measure))
        heading, scale, decimals = DIFFERENCES.get(measure, (measure, 1.0, 4))
        low, high = row["low_all"], row["high_all"]
        if low is None or high is None:
            verdict = "cannot be told"
        elif low > 0.0:
            verdict = "more"
        elif high < 0.0:
            verdict = "less"
        else:
            verdict = "cannot be told apart"
        difference = estimate(row["difference"], low, high, scale=scale, decimals=decimals)
        shown.append((one, other, heading, difference, verdict))
    return shown


def exhibits(comparison: Compared, runs: Sequence[Run] = ()) -> list[Exhibit]:
    """The figures of a report with their data: those of the comparison, then those of each run."""
    rows, objective = comparison.rows, comparison.scenario.objective
    promise = {"bound": objective.bound, "quantile": objective.quantile}
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    shown = [
        Exhibit(
            "backlog-and-replicas",
            backlog_and_replicas(comparison.load, comparison.crashes),
            thinned(comparison.load)[0],
        ),
        Exhibit("response-time-by-quantile", latency_quantiles(comparison.quantiles, **promise), comparison.quantiles),
        Exhibit("cost-against-response-time", cost_against_p99(rows, **promise), _columns(frame, ("cost", "p99_s"))),
    ]
    # Of fewer runs there is no ellipse, and the figure before it says all.
    if comparison.replications >= ELLIPSE_MIN:
        measures = comparison.measures.select("configuration", "replication", "cost", "p99_s")
        shown.append(Exhibit("pareto-front", pareto_front(measures, bound=objective.bound), measures))
    shown.append(
        Exhibit(
            "from-sent-to-state",
            funnel(rows),
            _columns(frame, ("sent", "recorded", "lost", "repeated", "late", "damaged")),
        )
    )
    for number, run in enumerate(runs, start=1):
        shown += _looked_into(run, number)
    if runs:
        paid = frames.costs(runs)
        shown.append(Exhibit("cost-and-energy", cost_and_energy(paid), paid))
    return shown


ELLIPSE_MIN = RUNS_MIN


def _looked_into(run: Run, number: int) -> Iterator[Exhibit]:
    objective, label = run.scenario.objective, run.configuration.label
    promise: dict[str, Any] = {"bound": objective.bound, "quantile": objective.quantile}
    last = float(run.load["time_s"].max() or 0.0)  # type: ignore[arg-type]
    # About a hundred windows, of whole control periods.
    period = run.scenario.control.period
    windows = frames.response_windows(run.journeys, window=period * max(1, round(last / period / 100.0)))
    times = run.journeys.select(pl.lit(label).alias("configuration"), pl.col("response_s"))
    stages = frames.stage_times(run.journeys)
    drawn = (
        (
            "response-over-time",
            response_over_time(windows, alarms=frames.alarms(run.load, objective.quantile), **promise),
            windows,
        ),
        ("response-by-stage", latency_breakdown(stages), stages),
        ("response-distribution", response_distribution(times, **promise), times),
        ("replicas-and-decisions", replicas_and_decisions(run.load, run.crashes), run.load),
        ("availability", availability_timeline(run.leases, run.crashes), run.leases),
    )
    for name, figure, data in drawn:
        figure.update_layout(title_text=f"{figure.layout.title.text}, {escape(label)}")
        yield Exhibit(f"{name}-{number}", figure, data)


def literature(comparison: Compared) -> list[tuple[str, str]]:
    """The bibliography: each entry, and what of ours cites it."""
    statistics = (mean_interval,) if comparison.replications > 1 else ()
    drawn = (pareto_front,) if comparison.replications >= ELLIPSE_MIN else ()
    names = _once(row["policy"] for row in comparison.rows)
    return [(entry.text, ", ".join(entry.cited_by)) for entry in bibliography(names, (*statistics, *drawn))]


def again(comparison: Compared) -> str:
    """The one command that makes the comparison again from the scenario that the report holds."""
    words = ["rarera", "run", "--scenario", f"{comparison.scenario.name}.toml"]
    return shlex.join([*words, "--seed", str(comparison.seed), "--replications", str(comparison.replications)])


def _columns(frame: pl.DataFrame, measures: Sequence[str]) -> pl.DataFrame:
    return frame.select("configuration", *(f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")))


def _script(value: Mapping[str, Any]) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _library() -> Markup:
    # Inside a script element only this ends it; in JavaScript it can stand in a string or a pattern alone, where the
    # backslash changes nothing. Plotly's present version has none.
    return Markup(get_plotlyjs().replace("</script", "<\\/script"))


def _download(content: bytes, kind: str) -> str:
    charset = ";charset=utf-8" if kind.startswith("text/") or kind.endswith("toml") else ""
    return f"data:{kind}{charset};base64,{base64.b64encode(content).decode()}"


def policy_words(name: str) -> str:
    """The first sentence of what a policy's class says of itself."""
    policy = POLICIES.get(name)
    return (inspect.getdoc(policy) or "").partition("\n")[0] if policy else ""


def _tied(text: str) -> str:
    """The same text, in which a line does not begin with ±, % or the slash of a configuration's name."""
    for sign in "±%/":
        text = text.replace(f" {sign}", f"\u00a0{sign}")
    return text


def _once(names: Any) -> list[str]:
    return list(dict.fromkeys(map(str, names)))
