"""Who may import whom, and what no module may do: kept by reading the code, importing none of it.

A rule is a function that looks at one module and yields what is wrong with it. Each rule has a planted module that
breaks it, so that a rule that has gone blind is noticed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "rarera_sim"

# What each layer may import of ours, beside itself. Layers that do not exist yet stand here as well.
LAYERS: dict[str, set[str]] = {
    "core": set(),
    "theory": set(),
    "adapters": {"core"},
    "metrics": {"core"},
    "learning": {"core"},
    "policies": {"core", "learning", "theory"},
    "anomalies": {"core", "learning", "theory"},
    # Neither adapters nor metrics: it is handed `Ports` and a `Tracer`.
    "simulation": {"core", "policies", "anomalies"},
}
LAYERS["experiments"] = set(LAYERS)
LAYERS["live"] = set(LAYERS) - {"experiments"}
LAYERS["reports"] = set(LAYERS)
LAYERS["benchmarks"] = set(LAYERS) - {"reports"}
LAYERS["cli"] = set(LAYERS)
TOP = {"", "__main__"}  # the package itself gathers the public names, `python -m` starts the command

# Third-party packages of the layers that must stay small; the others are free, but for TECHNOLOGY.
LIBRARIES: dict[str, set[str]] = {
    "core": {"msgspec", "orjson", "cryptography"},
    "theory": set(),
    "learning": {"river", "numpy"},  # numpy for distributions on a grid
    "policies": set(),
    "anomalies": {"river"},
}
LAZY = {"cryptography"}  # of an extra: imported by the function that needs it

# The only layers that may know a technology.
TECHNOLOGY: dict[str, set[str]] = {
    "simpy": {"simulation", "experiments", "benchmarks"},
    "apsw": {"adapters", "benchmarks"},
    "psycopg": {"adapters", "benchmarks"},
    "psycopg_pool": {"adapters", "benchmarks"},
    "redis": {"adapters", "benchmarks"},
    "river": {"learning", "anomalies", "benchmarks"},
    "plotly": {"reports"},
    "jinja2": {"reports"},
    "ipywidgets": {"reports"},
    "anywidget": {"reports"},
    "click": {"cli"},
}

# Time, chance and I/O come in as values.
CLOCKS = {"time", "sched", "random", "secrets", "uuid"}
FILES = {"os", "io", "sys", "pathlib", "tempfile", "shutil", "logging", "sqlite3", "importlib", "ctypes"}
OTHERS = {"socket", "ssl", "select", "selectors", "urllib", "http", "subprocess", "multiprocessing"}
WAITING = {"asyncio", "threading", "concurrent", "queue", "signal"}
TEXT_ONLY = {"urllib.parse"}  # takes addresses apart and opens none
IMPURE = CLOCKS | FILES | OTHERS | WAITING
PURE = {"core", "theory", "learning", "policies", "anomalies"}
# What takes the clock and chance away from policies and detectors has to know them.
TEST_KITS = {"rarera_sim.learning.checks"}

UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
WASTEBASKETS = {"utils", "util", "common", "helpers", "helper", "misc"}


class Module(NamedTuple):
    name: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        return layer_of(self.name)


class Import(NamedTuple):
    name: str
    line: int
    lazy: bool


def layer_of(name: str) -> str:
    """The part of a dotted name below the package: "" for the package itself."""
    return name.split(".")[1] if "." in name else ""


def imports_of(module: Module) -> Iterator[Import]:
    """Everything a module imports, by its full name, under `if TYPE_CHECKING` and inside functions as well."""
    top = set(module.tree.body)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, node not in top)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            names = [f"{source}.{alias.name}" for alias in node.names] if source == "rarera_sim" else [source]
            for name in names:
                yield Import(name, node.lineno, node not in top)


def calls_of(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call by the text of what is called, such as "datetime.now"."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


# The rules


def imports_point_down(module: Module) -> Iterator[str]:
    if module.layer in TOP:
        return
    if module.layer not in LAYERS:
        yield f"{module.layer!r} is no layer; give it a place in LAYERS and in docs/architecture.md"
        return
    for found in imports_of(module):
        if found.name.startswith("."):
            yield f"line {found.line} imports {found.name}; write the full name, which says what layer it is"
        if not found.name.startswith("rarera_sim."):
            continue
        layer = layer_of(found.name)
        if layer not in {module.layer, "__version__"} | LAYERS[module.layer]:
            yield f"line {found.line} imports {found.name}; {module.layer} may know {sorted(LAYERS[module.layer])}"


def small_layers_stay_small(module: Module) -> Iterator[str]:
    allowed = LIBRARIES.get(module.layer)
    for found in imports_of(module):
        root = found.name.split(".")[0]
        if allowed is None or root == "rarera_sim" or root in sys.stdlib_module_names:
            continue
        if root not in allowed:
            yield f"line {found.line} imports {root}; {module.layer} may use {sorted(allowed)}"
        elif root in LAZY and not found.lazy:
            yield f"line {found.line} imports {root} for everybody; only the function that needs it may"


def each_technology_is_known_to_few(module: Module) -> Iterator[str]:
    for found in imports_of(module):
        layers = TECHNOLOGY.get(found.name.split(".")[0])
        if layers is not None and module.layer not in layers | TOP:
            yield f"line {found.line} imports {found.name}; only {sorted(layers)} may"


def time_and_chance_come_in_as_values(module: Module) -> Iterator[str]:
    if module.name in TEST_KITS:
        return
    pure = module.layer in PURE
    forbidden = IMPURE if pure else CLOCKS if module.layer == "simulation" else set()
    for found in imports_of(module):
        if found.name.split(".")[0] in forbidden and found.name not in TEXT_ONLY:
            yield f"line {found.line} imports {found.name}"
    for name, call in calls_of(module):
        owner, _, verb = name.rpartition(".")
        if forbidden and owner.split(".")[-1] in ("datetime", "date") and verb in ("now", "utcnow", "today"):
            yield f"line {call.lineno} asks the machine for the time"
        if pure and name in ("open", "input"):
            yield f"line {call.lineno} calls {name}()"
        if verb == "default_rng" and not (call.args or call.keywords):
            yield f"line {call.lineno} draws from a generator without a seed"


def every_module_says_what_it_is_for(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "has no docstring"


def nothing_is_a_wastebasket(module: Module) -> Iterator[str]:
    for part in module.name.split("."):
        if part in WASTEBASKETS:
            yield f"is called {part!r}; what is in it belongs to the layer that needs it"


def only_commands_print(module: Module) -> Iterator[str]:
    if module.layer in ("cli", "benchmarks", "__main__"):
        return
    for name, call in calls_of(module):
        if name == "print":
            yield f"line {call.lineno} prints"


def data_are_never_code(module: Module) -> Iterator[str]:
    for found in imports_of(module):
        if found.name.split(".")[0] in UNSAFE_MODULES:
            yield f"line {found.line} imports {found.name}"
    for name, call in calls_of(module):
        if name in UNSAFE_CALLS:
            yield f"line {call.lineno} calls {name}()"


Rule = Callable[[Module], Iterator[str]]
RULES: list[Rule] = [
    imports_point_down,
    small_layers_stay_small,
    each_technology_is_known_to_few,
    time_and_chance_come_in_as_values,
    every_module_says_what_it_is_for,
    nothing_is_a_wastebasket,
    only_commands_print,
    data_are_never_code,
]


def modules() -> Iterator[Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("rarera_sim", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    assert [f"{module.name}: {wrong}" for module in modules() for wrong in rule(module)] == []


def test_the_layers_form_no_circle() -> None:
    left = dict(LAYERS)
    while left:
        lowest = {layer for layer, below in left.items() if not below & set(left)}
        assert lowest, f"these layers import each other in a circle: {sorted(left)}"
        left = {layer: below for layer, below in left.items() if layer not in lowest}


def test_there_is_code_to_look_at() -> None:
    assert {"core", "adapters", "policies"} <= {module.layer for module in modules()}


# The rules themselves

PLANTED: list[tuple[Rule, str, str]] = [
    (imports_point_down, "core.log", "from rarera_sim.adapters.memory import MemoryLog"),
    (imports_point_down, "core.log", "from ..adapters import memory"),
    (imports_point_down, "core.log", "def f():\n    from rarera_sim import policies"),
    (imports_point_down, "adapters.sqlite", "import rarera_sim.simulation.kernel"),
    (imports_point_down, "learning.rates", "from rarera_sim.policies.base import Observation"),
    (imports_point_down, "policies.hpa", "from rarera_sim.simulation import kernel"),
    (imports_point_down, "policies.hpa", "from rarera_sim import Event"),
    (imports_point_down, "metrics.load", "from rarera_sim.simulation.transport import Work"),
    (imports_point_down, "simulation.gateway", "from rarera_sim.adapters.memory import MemoryLog"),
    (imports_point_down, "simulation.world", "from rarera_sim.metrics.load import Load"),
    (imports_point_down, "simulation.world", "from rarera_sim.experiments.scenario import Scenario"),
    (imports_point_down, "experiments.run", "from rarera_sim.reports import page"),
    (imports_point_down, "live.worker", "from rarera_sim.experiments.run import run"),
    (imports_point_down, "reports.page", "from rarera_sim.cli import main"),
    (imports_point_down, "benchmarks.log", "from rarera_sim.reports import tables"),
    (imports_point_down, "theory", "from rarera_sim.core.errors import BadInput"),
    (imports_point_down, "attic.log", "pass"),
    (small_layers_stay_small, "core.event", "import numpy as np"),
    (small_layers_stay_small, "core.sealing", "from cryptography.hazmat.primitives import hashes"),
    (small_layers_stay_small, "theory", "from scipy import special"),
    (small_layers_stay_small, "learning.rates", "import polars"),
    (each_technology_is_known_to_few, "policies.hpa", "import simpy"),
    (each_technology_is_known_to_few, "experiments.run", "import apsw"),
    (each_technology_is_known_to_few, "simulation.world", "from plotly import graph_objects"),
    (time_and_chance_come_in_as_values, "core.time", "import time"),
    (time_and_chance_come_in_as_values, "core.outbox", "from random import random"),
    (time_and_chance_come_in_as_values, "core.bus", "def f():\n    import asyncio"),
    (time_and_chance_come_in_as_values, "core.log", "open('x')"),
    (time_and_chance_come_in_as_values, "core.time", "from datetime import datetime\ndatetime.now()"),
    (time_and_chance_come_in_as_values, "policies.hpa", "from time import monotonic"),
    (time_and_chance_come_in_as_values, "simulation.kernel", "import random"),
    (time_and_chance_come_in_as_values, "simulation.services", "import numpy as np\nnp.random.default_rng()"),
    (every_module_says_what_it_is_for, "core.log", "x = 1"),
    (nothing_is_a_wastebasket, "core.utils", "x = 1"),
    (nothing_is_a_wastebasket, "reports.common.tables", "x = 1"),
    (only_commands_print, "experiments.run", "def f():\n    print('x')"),
    (data_are_never_code, "adapters.files", "import pickle"),
    (data_are_never_code, "experiments.scenario", "import yaml\nyaml.load('x')"),
    (data_are_never_code, "reports.page", "eval('1')"),
]
HARMLESS: list[tuple[str, str]] = [
    ("", '"""All names."""\nfrom rarera_sim.core.event import Event\nfrom rarera_sim.reports import page'),
    ("core.sealing", '"""Seals."""\ndef f():\n    from cryptography.hazmat.primitives import hashes'),
    ("core.time", '"""Time."""\ndef f(clock):\n    return clock.now()'),
    ("adapters.sqlite", '"""SQLite."""\nimport time\nimport apsw\nfrom rarera_sim.core.log import ALL'),
    ("policies.queueing", '"""Staffing."""\nfrom rarera_sim import theory\nfrom rarera_sim.policies import base'),
    ("experiments.run", '"""Runs."""\nfrom rarera_sim import __version__\nfrom rarera_sim.adapters import memory'),
    ("cli", '"""The command."""\nimport click\nfrom rarera_sim.reports import page\nprint("x")'),
]


def planted(name: str, text: str) -> Module:
    return Module(f"rarera_sim.{name}" if name else "rarera_sim", ast.parse(text))


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED, ids=[f"{r.__name__}-{n}" for r, n, _ in PLANTED])
def test_a_module_that_breaks_the_rule_is_found(rule: Rule, name: str, text: str) -> None:
    assert list(rule(planted(name, text)))


@pytest.mark.parametrize(("name", "text"), HARMLESS)
def test_a_module_that_breaks_no_rule_is_left_alone(name: str, text: str) -> None:
    assert list(chain.from_iterable(rule(planted(name, text)) for rule in RULES)) == []


def test_every_rule_has_a_planted_module() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
