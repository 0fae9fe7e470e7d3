"""What notebooks promise: a question and its answer, no logic of their own, public names, and little weight.

That they run, and show what is stored, is nbval's to say: `python -m pytest notebooks`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BYTES_MAX = 300_000
LINES_MAX = 32
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MACHINE = re.compile(r"/(?:home|root|tmp|Users|work)/|\.venv")


def cells(path: Path, kind: str = "") -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if kind in ("", cell["cell_type"])]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def trees(path: Path) -> Iterator[ast.Module]:
    return (ast.parse(source(cell)) for cell in cells(path, "code"))


def nodes(path: Path) -> Iterator[ast.AST]:
    return (node for tree in trees(path) for node in ast.walk(tree))


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, "a suite over nothing proves nothing"


@every_notebook
def test_it_opens_with_a_question_and_closes_with_the_answer(path: Path) -> None:
    first, *_, last = cells(path)
    assert first["cell_type"] == last["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert "**The question:**" in source(first)
    assert "?" in source(first).partition("**The question:**")[2]
    assert "## The answer" in source(last)
    assert LINK.search(source(last)), "the answer leads on to the documentation"


@every_notebook
def test_its_logic_lives_in_the_package(path: Path) -> None:
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert not [node.name for node in nodes(path) if isinstance(node, logic)]
    assert all(source(cell).count("\n") < LINES_MAX for cell in cells(path, "code")), "a cell is a few lines"


@every_notebook
def test_it_asserts_what_it_claims(path: Path) -> None:
    assert sum(isinstance(node, ast.Assert) for node in nodes(path)) >= 3


@every_notebook
def test_it_uses_public_names_only(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(name.name for name in node.names)]
            assert node.level == 0
            assert not [name for name in names if name.startswith("_")]
            assert (node.module or "").partition(".")[0] != "tests"
        elif isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.endswith("__")
            assert not private, f"{ast.unparse(node)} is not public"


@every_notebook
def test_it_is_stored_executed_and_without_errors(path: Path) -> None:
    numbers = [cell["execution_count"] for cell in cells(path, "code")]
    assert numbers == list(range(1, len(numbers) + 1)), "run from a clean kernel, from the first cell to the last"
    outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@every_notebook
def test_it_has_a_picture_worth_showing(path: Path) -> None:
    figures = [
        output["data"]["application/vnd.plotly.v1+json"]
        for cell in cells(path, "code")
        for output in cell["outputs"]
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert figures
    for figure in figures:
        layout = figure["layout"]
        assert layout["title"]["text"], "a figure says what it shows"
        # Of facets the outer axes have the titles.
        for direction in "xy":
            titles = [
                axis.get("title", {}).get("text") for name, axis in layout.items() if name[:5] == f"{direction}axis"
            ]
            labels = [trace for trace in figure["data"] if trace["type"] == "bar" or "text" in trace.get("mode", "")]
            assert any(titles) or labels, f"{layout['title']['text']}: no {direction} axis has a title"


@every_notebook
def test_it_is_light(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    notebook = json.loads(content)
    assert len(content.encode()) < BYTES_MAX
    assert "widgets" not in notebook["metadata"], "the state of a widget is megabytes and dead without a kernel"
    kept = {name for cell in notebook["cells"] for name in cell["metadata"]} - {"tags"}
    assert not kept, f"metadata of an execution: {kept}"


@every_notebook
def test_it_names_nothing_of_the_machine_it_ran_on(path: Path) -> None:
    shown = [output for cell in cells(path, "code") for output in cell["outputs"]]
    text = re.sub(r'"bdata": "[^"]*"', "", json.dumps(shown)) + "".join(source(cell) for cell in cells(path))
    assert not MACHINE.search(text), MACHINE.search(text)


@every_notebook
def test_its_links_lead_somewhere(path: Path) -> None:
    for cell in cells(path, "markdown"):
        for link in LINK.findall(source(cell)):
            assert "://" in link or (path.parent / link).is_file(), f"{link} is not there"


@every_notebook
def test_it_reads_well(path: Path) -> None:
    """Words before code: no more than three cells of code follow each other."""
    kinds = "".join(cell["cell_type"][0] for cell in cells(path))
    assert "cccc" not in kinds
