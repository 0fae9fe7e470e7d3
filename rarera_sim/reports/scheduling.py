"""The pictures of docs/scheduling.md: regret, cost against late events, and behaviour beside the best baseline."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import polars as pl

from rarera_sim.experiments.situations import AT, SITUATIONS, Contender, behaviour
from rarera_sim.experiments.study import MIX_TARGET, OURS, compared, rival_of
from rarera_sim.reports import figures
from rarera_sim.reports.chromium import images

_RIVAL_OF = "bursty"


def pictures(rows: pl.DataFrame) -> dict[str, go.Figure]:
    """Figures of a study's rows (`experiments.study.run_study`), by name."""
    plain = compared(rows).filter(mix="plain", fixed="{}")
    usual = plain.filter(target=MIX_TARGET)
    rival = rival_of(rows, _RIVAL_OF)
    contenders = [Contender(OURS, OURS, {}), *([rival] if rival else [])]
    return {
        "study-regret": figures.regret(usual),
        "study-cost-and-late": figures.lateness_and_cost(usual, ours=OURS, target=MIX_TARGET),
        "study-behaviour": figures.behaviour_in_situations(behaviour(contenders), SITUATIONS, at=AT),
    }


def write_pictures(rows: pl.DataFrame, page: Path) -> list[str]:
    """Write them as SVG into `figures` beside the page; the lines of the page that show them."""
    folder = page.parent / "figures"
    folder.mkdir(exist_ok=True)
    drawn = pictures(rows)
    lines: list[str] = []
    for name, content in images(drawn, "svg", width=900).items():
        (folder / f"{name}.svg").write_bytes(content)
        alt = drawn[name].layout.meta["alt"].replace("[", "(").replace("]", ")")
        lines += [f"![{alt}]({folder.name}/{name}.svg)", "", *_NOTES.get(name, []), ""]
    return lines


_NOTES = {
    "study-behaviour": [
        "Above: what `rarera` does when something happens, beside the best baseline of `bursty` with the setting that",
        "it has there at equal violations. One draw of an hour each: a picture, and no comparison.",
    ]
}
