"""`report`: what came out, for people, as one file of the kind that its name says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.compare import Comparison
from rarera_sim.experiments.run import Run
from rarera_sim.reports import Compared
from rarera_sim.reports.markdown import write_markdown
from rarera_sim.reports.page import write_page
from rarera_sim.reports.pdf import write_report_pdf
from rarera_sim.reports.stored import alone

WRITERS = {".html": write_page, ".pdf": write_report_pdf, ".md": write_markdown}


def report(result: Compared | Run, path: str | os.PathLike[str] = "report.html", *, runs: Sequence[Run] = ()) -> Path:
    """Write the report of a comparison or of a run; the path it was written to.

    Summary in words, tables and figures with intervals and their data, method, provenance, literature. The same result
    gives the same report.

    Parameters
    ----------
    path
        Its end says which kind: `.html` (one file, opens offline), `.pdf`, or `.md` with a folder of pictures beside
        it. PDF and pictures need a Chromium.
    runs
        Runs to look into more closely.

    Raises
    ------
    BadInput
        The kind is none of those, there is no Chromium, or it cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> from rarera_sim.reports.gallery import textbook
    >>> from rarera_sim.experiments.run import run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = report(run(textbook(rate=0.5, servers=1, duration=600.0)), f"{folder}/queue.html")
    ...     "M/M/1" in path.read_text(), path.stat().st_size > 1_000_000
    (False, True)
    """
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise BadInput(f"the path of a report must end in {', '.join(WRITERS)}, got {str(path)!r}")
    if isinstance(result, Run):
        return writer(alone(result), path, runs=(result, *runs))
    if not isinstance(result, Comparison) and not hasattr(result, "rows"):
        raise BadInput(f"a report is made of a Comparison or a Run, got {type(result).__name__}")
    return writer(result, path, runs=runs)
