"""The public names of the package, which the commands are made of."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rarera_sim
from rarera_sim.core import errors


def test_all_and_dir_are_the_names_of_the_layers_each_once():
    names = [name for home in rarera_sim._HOMES.values() for name in home]
    assert sorted(names) == sorted(rarera_sim.__all__)
    assert len(set(names)) == len(names)
    assert dir(rarera_sim) == sorted([*names, "__version__"])


@pytest.mark.parametrize("name", rarera_sim.__all__)
def test_a_public_name_is_that_of_its_home(name):
    home = sys.modules[f"rarera_sim.{rarera_sim._HOME_OF[name]}"] if getattr(rarera_sim, name) is not None else None
    assert getattr(rarera_sim, name) is getattr(home, name)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(rarera_sim.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        each.module: [alias.name for alias in each.names] for each in block.body if isinstance(each, ast.ImportFrom)
    }
    homes = {f"rarera_sim.{home}": sorted(names) for home, names in rarera_sim._HOMES.items()}
    assert {home: sorted(names) for home, names in seen.items()} == homes


def test_every_situation_is_public():
    situations = {
        name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__
    }
    assert situations == set(rarera_sim._HOMES["core.errors"])


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rarera_sim.nothing


def test_importing_the_package_loads_nothing_of_it():
    code = "import sys, rarera_sim; print(*(name for name in sys.modules if name.startswith('rarera_sim.')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split() == []
