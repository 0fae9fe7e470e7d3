"""The site: documents, notebooks as they were stored, and the API from the docstrings. `make site` builds it, offline.

The root of the project is the source, so that links between documents, notebooks and README are the same here as on a
code host.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

project = "RARERA"
author = "The RARERA engineers"
release = version = version_of("rarera-sim")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/SOURCES.md", "docs/**", "notebooks/*.ipynb"]
exclude_patterns = ["docs/templates/**", "docs/_templates/**"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"RARERA {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["plotly.min.js", "figures.js"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Notebooks are shown as they are stored, and nothing is fetched for them.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}
nb_merge_streams = True
nb_mime_priority_overrides = [("*", "text/html", 0)]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]

autodoc_typehints = "none"  # they stand in the signature
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_rtype = False
default_role = "code"
# A docstring is written for `help()`; what Sphinx reads into it is not worth a warning each. Lexers differ by version.
# The type in a signature may be the name of several fields.
suppress_warnings = ["docutils", "misc.highlighting_failure", "ref.python"]
if tags.has("short"):  # noqa: F821 Sphinx's
    # Without the API, whose two hundred pages take most of the time.
    exclude_patterns.append("docs/api/**")
    suppress_warnings += ["toc.excluded", "myst.xref_missing"]


# Figures: the JSON that notebooks hold, drawn by a plotly.js that lies beside the pages.


def read_notebook(_: object, name: str, source: list[str]) -> None:
    """Give every stored figure an HTML form."""
    if not name.startswith("notebooks/"):
        return
    notebook = json.loads(source[0])
    for number, output in enumerate(each for cell in notebook["cells"] for each in cell.get("outputs", [])):
        figure = output.get("data", {}).pop("application/vnd.plotly.v1+json", None)
        if figure is not None:
            output["data"]["text/html"] = _figure(figure, f"figure-{number}")
    source[0] = json.dumps(notebook)


def _figure(figure: dict[str, Any], name: str) -> str:
    layout = figure["layout"]
    words = (layout.get("meta") or {}).get("alt", "A figure") if isinstance(layout.get("meta"), dict) else "A figure"
    label = json.dumps(words).replace("<", "\\u003c")
    # "</script>" inside a text would end the block.
    content = json.dumps(figure).replace("</", "<\\/")
    return (
        f'<div class="stored-figure" id="{name}" role="img" aria-label={label}></div>'
        f'<script type="application/json" data-figure="{name}">{content}</script>'
    )


def write_plotly(app: Any, error: Exception | None) -> None:
    """The one copy of plotly.js, from the package that drew the figures."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


# Docstrings: Markdown's tables and indented formulas, as reST has them.

_ROW = re.compile(r"\s*\|.*\|\s*$")
_LINE = re.compile(r"\s*\|[\s:|-]+\|\s*$")


def read_docstring(_: object, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    """Before napoleon looks at it."""
    found: list[str] = []
    at = 0
    while at < len(lines):
        if _ROW.match(lines[at]) and at + 1 < len(lines) and _LINE.match(lines[at + 1]):
            end = next((n for n in range(at, len(lines)) if not _ROW.match(lines[n])), len(lines))
            found += _table([lines[at], *lines[at + 2 : end]])
            at = end
        elif _begins_formula(lines, at):
            end = next((n for n in range(at, len(lines)) if not lines[n].startswith("    ")), len(lines))
            found += [".. code-block:: text", "", *lines[at:end], ""]
            at = end
        else:
            found.append(lines[at])
            at += 1
    lines[:] = found


def _begins_formula(lines: list[str], at: int) -> bool:
    before = lines[at - 1] if at else ""
    inside = any(set(line.strip()) == {"-"} for line in lines[:at])  # a section: napoleon knows what to do
    return (
        not inside and not before.strip() and lines[at].startswith("    ") and not lines[at].lstrip().startswith(">>>")
    )


def _table(rows: list[str]) -> list[str]:
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]
        lines += [f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)]
    return [*lines, ""]


def skip(_: object, __: str, ___: str, member: object, skipped: bool, ____: object) -> bool | None:
    """Fields of named tuples say what they are in the class's docstring, and nothing in their own."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else skipped or None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read_notebook)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.connect("autodoc-skip-member", skip)
    app.connect("build-finished", write_plotly)
