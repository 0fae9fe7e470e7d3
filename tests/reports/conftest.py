"""The comparison that the report tests are run on: see example.py."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

make = runpy.run_path(str(Path(__file__).with_name("example.py")))["comparison"]


@pytest.fixture(scope="session")
def compare() -> Callable[..., SimpleNamespace]:
    """Makes a comparison: `compare(replications=5, periods=672)`."""
    return make
