"""The parametrised notebook of docs/reports.md: papermill sets its parameters, nbconvert makes a page that opens offline."""  # noqa: E501

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rarera_sim.reports.gallery import textbook

pytest.importorskip("papermill")
pytest.importorskip("nbconvert")

TEMPLATE = Path(__file__).parents[2] / "docs" / "templates" / "report.ipynb"


def test_a_notebook_becomes_a_report_with_the_parameters_it_is_given(tmp_path):
    scenario = textbook(rate=0.5, servers=1, duration=200.0)
    (tmp_path / "queue.toml").write_text(scenario.to_toml(), encoding="utf-8")
    environment = {**os.environ, "PLOTLY_RENDERER": "notebook", "IPYTHONDIR": str(tmp_path / "ipython")}

    def do(*words: str) -> None:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    given = ("-p", "scenario_file", "queue.toml", "-p", "seed", "7", "-p", "replications", "3")
    do("papermill", str(TEMPLATE), "filled.ipynb", *given, "--no-progress-bar")
    do("nbconvert", "--to", "html", "--no-input", "filled.ipynb")
    page = (tmp_path / "filled.html").read_text(encoding="utf-8")
    assert "scenario mm1, seed 7" in page
    assert "3 replications" in page
    # Plotly is inside, once, and nothing of it would be fetched.
    assert page.count("* plotly.js v") == 1
    assert not re.search(r"<script[^>]+src=[\"']https?://[^\"']*plotly", page)


def test_the_template_holds_no_output_and_marks_its_parameters():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(TEMPLATE, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1
