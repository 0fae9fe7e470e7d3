"""Our parts timed against their peers: what `rarera bench` prints and `make bench` writes to docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rarera_sim.benchmarks.measure import Progress, machine

# Each module has `TITLE`, `ABOUT` and `run(quick=, long=, progress=)`, which gives the rows.
_BENCHES = {
    "log": "rarera_sim.benchmarks.log",
    "measures": "rarera_sim.benchmarks.measures",
    "detectors": "rarera_sim.benchmarks.detectors",
    "policies": "rarera_sim.benchmarks.policies",
    "simulation": "rarera_sim.benchmarks.simulation",
}


def names() -> list[str]:
    """The benchmarks there are."""
    return list(_BENCHES)


def run_bench(
    name: str, *, quick: bool = False, long: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Run one benchmark.

    Parameters
    ----------
    quick
        Few events and rounds: shows that it works, its figures say little.
    long
        The curves go on to where only patience helps.
    progress
        Called with what is done and what there is to do.

    Returns
    -------
    dict
        `bench`, `machine`, `rows`; each row as :class:`rarera_sim.benchmarks.measure.Row` has it.
    """
    rows = import_module(_BENCHES[name]).run(quick=quick, long=long, progress=progress or _look_away)
    return {"bench": name, "machine": machine(), "rows": [row._asdict() for row in rows]}


def _look_away(*_: int) -> None:
    """Nobody wants to know."""


def table(result: dict[str, Any]) -> Table:
    """A result for the terminal."""
    drawn = Table(title=import_module(_BENCHES[result["bench"]]).TITLE, caption=_machine(result), title_justify="left")
    for heading in _HEADINGS:
        drawn.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    for row in result["rows"]:
        tone = {True: "green", False: "red", None: ""}[row["met"]]
        drawn.add_row(*(Text(cell) for cell in _cells(row)[:-1]), Text(_cells(row)[-1], style=tone))
    return drawn


def write_markdown(results: Sequence[dict[str, Any]], path: Path | str) -> None:
    """The page docs/benchmarks.md."""
    parts = ["# Benchmarks\n\nWritten by `make bench` (`rarera bench`); edits are lost. What is counted, and how:\n"]
    parts.append(_in_words(import_module("rarera_sim.benchmarks.measure")) + "\n")
    for result in results:
        module = import_module(_BENCHES[result["bench"]])
        parts.append(f"\n## {module.TITLE}\n\n`rarera bench {result['bench']}` on {_machine(result)}.\n")
        parts.append(_in_words(module) + "\n")
        lines = [_HEADINGS, ("---", "---:", "---", "---", "---:", "---", "---"), *map(_cells, result["rows"])]
        parts.append("\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n")
    Path(path).write_text("\n".join(parts), encoding="utf-8")


_HEADINGS = ("case", "value", "unit", "against", "ratio", "aim", "met")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    value, ratio, aim = row["value"], row["ratio"], row["aim"]
    return (
        row["case"],
        "" if value is None else f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}",
        row["unit"],
        row["against"],
        "" if ratio is None else f"{ratio:.2f}",
        "" if aim is None else f"at least {aim:g}" if _has_peer(row) else f"at most {aim:g}",
        {True: "yes", False: "NO", None: ""}[row["met"]],
    )


def _has_peer(row: dict[str, Any]) -> bool:
    return bool(row["against"])


def _machine(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in result["machine"].items())


def _in_words(module: Any) -> str:
    """A module's docstring without its first line, which is a title."""
    return str(module.__doc__).partition("\n")[2].strip()
