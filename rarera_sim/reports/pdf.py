"""The report as a PDF: the page itself, printed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rarera_sim.experiments.run import Run
from rarera_sim.reports import Compared
from rarera_sim.reports.chromium import write_pdf
from rarera_sim.reports.page import render


def write_report_pdf(comparison: Compared, path: str | os.PathLike[str], *, runs: Sequence[Run] = ()) -> Path:
    """Print the report to a PDF, as its style for paper wants it.

    Raises
    ------
    BadInput
        There is no Chromium to print it.
    """
    return write_pdf(render(comparison, runs=runs, paper=True), path)
