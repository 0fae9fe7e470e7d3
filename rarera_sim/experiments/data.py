"""Where the files that ship with the package lie: beside it in a checkout, inside it once installed."""

from __future__ import annotations

from pathlib import Path


def data_folder() -> Path:
    """The folder `data` of the project, or what a wheel holds of it."""
    installed = Path(__file__).parents[1] / "_data"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "data"
