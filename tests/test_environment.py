"""Whoever installs with conda gets what whoever installs with uv or pip gets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
CONDA_NAMES: dict[str, str] = {}  # PyPI's name: conda-forge's, where they differ


def parse(requirement: str) -> tuple[str, frozenset[str]]:
    """The name and the bounds of a requirement in either notation.

    >>> parse("orjson>=3.13,<4") == parse("orjson >=3.13,<4") == ("orjson", frozenset({">=3.13", "<4"}))
    True
    """
    name, bounds = re.fullmatch(r"([A-Za-z0-9_.-]+?)\s*([<>=!~].*)?", requirement.strip()).groups()  # type: ignore[union-attr]
    return name.lower().replace("_", "-"), frozenset(bound.strip() for bound in (bounds or "").split(",") if bound)


def conda_requirements() -> dict[str, frozenset[str]]:
    return dict(parse(requirement) for requirement in CONDA["dependencies"] if isinstance(requirement, str))


def pip_requirements() -> list[str]:
    (section,) = (entry for entry in CONDA["dependencies"] if isinstance(entry, dict))
    return section["pip"]


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_conda_installs_what_the_package_needs_within_the_same_bounds(requirement: str) -> None:
    name, bounds = parse(requirement)
    assert conda_requirements().get(CONDA_NAMES.get(name, name)) == bounds


def test_conda_installs_nothing_else() -> None:
    needed = {CONDA_NAMES.get(name, name) for name, _ in map(parse, PROJECT["dependencies"])}
    assert set(conda_requirements()) - needed == {"python", "pip"}


def test_conda_takes_no_older_python() -> None:
    assert parse("python" + PROJECT["requires-python"])[1] <= conda_requirements()["python"]


def test_conda_offers_only_pythons_that_the_package_names() -> None:
    named = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    newest = max(int(version.split(".")[1]) for version in named)
    assert f"<3.{newest + 1}" in conda_requirements()["python"]


def test_conda_leaves_only_the_package_itself_to_pip() -> None:
    assert pip_requirements() == ["-e ."]


def test_every_package_is_named_once() -> None:
    names = [parse(entry)[0] for entry in CONDA["dependencies"] if isinstance(entry, str)]
    assert sorted(names) == sorted(set(names))
