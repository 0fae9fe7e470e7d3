"""The report: one HTML file that opens offline, asks no network for anything, and says how it came about."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import plotly.graph_objects as go
import polars as pl
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from rarera_sim.core.errors import BadInput
from rarera_sim.policies import POLICIES
from rarera_sim.reports import Compared
from rarera_sim.reports.figures import (
    CONFIG,
    backlog_and_replicas,
    cost_against_p99,
    funnel,
    latency_quantiles,
    thinned,
)
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
    """A figure with its data, as the page shows it."""

    name: str
    title: str
    alt: str
    height: int
    figure: Markup
    data: str


def write_page(comparison: Compared, path: str | os.PathLike[str]) -> Path:
    """Write the report of a comparison, whole or not at all; the path it was written to.

    The same comparison gives the same bytes.

    Raises
    ------
    BadInput
        If it cannot be written there. What was there before is then still there.
    """
    path = Path(path)
    # Beside the target, so that the last step is a rename within one file system: a reader sees the old or the new.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = render(comparison)
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


def render(comparison: Compared) -> str:
    """The report as text."""
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
        results=_download(pl.DataFrame(list(rows), infer_schema_length=None).write_csv(), "text/csv"),
        replications=_download(comparison.measures.write_csv(), "text/csv"),
        differences=_differences(comparison),
        exhibits=_exhibits(comparison),
        transports={name: TRANSPORTS.get(name, "") for name in _once(row["transport"] for row in rows)},
        policies={name: _policy(name) for name in _once(row["policy"] for row in rows)},
        toml=toml,
        toml_download=_download(toml, "application/toml"),
        config=_script(CONFIG),
        plotly=_library(),
    )


def _cells(comparison: Compared, section: Section) -> list[tuple[str, list[Any]]]:
    return [
        (str(row["configuration"]), [column.cell(row, comparison.replications) for column in section.columns])
        for row in comparison.rows
    ]


def _differences(comparison: Compared) -> list[tuple[str, str, str, str, str]]:
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


def _exhibits(comparison: Compared) -> list[Exhibit]:
    rows, objective = comparison.rows, comparison.scenario.objective
    promise = {"bound": objective.bound, "quantile": objective.quantile}
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return [
        _exhibit(
            "backlog-and-replicas",
            backlog_and_replicas(comparison.load, comparison.crashes),
            thinned(comparison.load)[0],
        ),
        _exhibit("response-time-by-quantile", latency_quantiles(comparison.quantiles, **promise), comparison.quantiles),
        _exhibit("cost-against-response-time", cost_against_p99(rows, **promise), _columns(frame, ("cost", "p99_s"))),
        _exhibit(
            "from-sent-to-state",
            funnel(rows),
            _columns(frame, ("sent", "recorded", "lost", "repeated", "damaged")),
        ),
    ]


def _columns(frame: pl.DataFrame, measures: Sequence[str]) -> pl.DataFrame:
    return frame.select("configuration", *(f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")))


def _exhibit(name: str, figure: go.Figure, data: pl.DataFrame) -> Exhibit:
    title, alt, height = figure.layout.title.text, figure.layout.meta["alt"], figure.layout.height
    # The page has a heading of its own, which a screen reader finds.
    figure.update_layout(title_text=None, margin_t=max(40, (figure.layout.margin.t or 90) - 36))
    drawn = _script(json.loads(figure.to_json()))
    return Exhibit(name, title, alt, height, drawn, _download(data.write_csv(float_precision=4), "text/csv"))


def _script(value: Mapping[str, Any]) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _library() -> Markup:
    # Inside a script element only this ends it; in JavaScript it can stand in a string or a pattern alone, where the
    # backslash changes nothing. Plotly's present version has none.
    return Markup(get_plotlyjs().replace("</script", "<\\/script"))


def _download(text: str, kind: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _policy(name: str) -> str:
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
