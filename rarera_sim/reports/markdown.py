"""The report as Markdown with pictures beside it: for a repository, a wiki, a paper that is being written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from rarera_sim.experiments.run import Run
from rarera_sim.reports import Compared
from rarera_sim.reports.chromium import images
from rarera_sim.reports.page import SECTIONS, Exhibit, again, differences, exhibits, literature, policy_words
from rarera_sim.reports.tables import footnote
from rarera_sim.reports.words import summary


def write_markdown(comparison: Compared, path: str | os.PathLike[str], *, runs: Sequence[Run] = ()) -> Path:
    """Write the report as Markdown; its pictures (SVG) and data (CSV, Parquet) lie in a folder of the same name beside it.

    Raises
    ------
    BadInput
        There is no Chromium to draw the pictures.
    """  # noqa: E501 a line that says it all
    path = Path(path)
    beside = path.with_suffix("")
    shown = exhibits(comparison, runs)
    pictures = images({each.name: each.figure for each in shown}, "svg")
    beside.mkdir(parents=True, exist_ok=True)
    for each in shown:
        (beside / f"{each.name}.svg").write_bytes(pictures[each.name])
        each.data.write_csv(beside / f"{each.name}.csv")
        each.data.write_parquet(beside / f"{each.name}.parquet")
    (beside / f"{_file_of(comparison)}.toml").write_text(comparison.scenario.to_toml(), encoding="utf-8")
    results = pl.DataFrame(list(comparison.rows), infer_schema_length=None)
    results.write_csv(beside / "results.csv")
    path.write_text(markdown(comparison, shown, beside.name), encoding="utf-8")
    return path


def markdown(comparison: Compared, shown: Sequence[Exhibit], folder: str) -> str:
    """The text, with pictures that lie in `folder`."""
    scenario = comparison.scenario
    parts = [f"# {_text(scenario.title or scenario.name)}", _text(scenario.description), "## Summary"]
    parts += [_text(paragraph) for paragraph in summary(comparison)]
    parts += ["## Results", footnote(comparison)]
    for section in SECTIONS:
        heads = ["configuration", *(column.heading for column in section.columns)]
        rows = [
            [str(row["configuration"]), *(column.cell(row, comparison.replications).text for column in section.columns)]
            for row in comparison.rows
        ]
        parts += [f"### {section.title}", _table(heads, rows)]
    parts.append(f"[Results as CSV](<{folder}/results.csv>)")
    if told := differences(comparison):
        parts += [
            "### Paired differences",
            "Configuration minus the one it is held against, replication by replication. Where the interval contains "
            "0, the two cannot be told apart; the intervals of one configuration against all others hold at once.",
            _table(["configuration", "against", "measure", "difference", "verdict"], told),
        ]
    parts.append("## Figures")
    for each in shown:
        parts += [
            f"### {_text(each.title)}",
            f"![{_text(each.alt).replace('[', '(').replace(']', ')')}](<{folder}/{each.name}.svg>)",
            f"{_text(each.alt)} Data: [CSV](<{folder}/{each.name}.csv>), [Parquet](<{folder}/{each.name}.parquet>).",
        ]
    several = comparison.replications > 1
    parts += [
        "## Method and assumptions",
        _text(
            f"A discrete-event simulation that plays events again: {comparison.trace_origin}. All configurations meet "
            "the same events, the same faults of the network and the same service times. "
            + (
                f"Numbers are means over {comparison.replications} replications with 95 % intervals."
                if several
                else "One replication was made, so there are no intervals."
            )
        ),
        "\n".join(
            f"- **{_text(name)}**: {_text(policy_words(name))}"
            for name in dict.fromkeys(str(row["policy"]) for row in comparison.rows)
        ),
        "## Provenance",
        _table(
            ["what", "value"],
            [
                ["scenario", scenario.name],
                ["seed", str(comparison.seed)],
                ["version", comparison.version],
                ["digest", comparison.digest],
                ["replications", f"{comparison.replications}{', then interrupted' if comparison.interrupted else ''}"],
                ["command", comparison.command],
            ],
        ),
        f"The same again, where [the scenario](<{folder}/{_file_of(comparison)}.toml>) lies: `{again(comparison)}`",
        "## Literature",
        "\n".join(f"- {_text(entry)} *({_text(cited)})*" for entry, cited in literature(comparison))
        or "None was named.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _file_of(comparison: Compared) -> str:
    """The name of a scenario as the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in comparison.scenario.name)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|").replace("\n", " ")


def _text(text: str) -> str:
    """Text that stays text: what comes from a scenario must not become markup of the page that shows it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
