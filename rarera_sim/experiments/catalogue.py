"""Kinds of hardware with their prices, from data/hardware.toml, where each figure's source and date stand."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from typing import Any

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.data import data_folder
from rarera_sim.simulation.hardware import Hardware


@cache
def hardware_kinds() -> dict[str, Hardware]:
    """All kinds, by name.

    >>> hardware_kinds()["m5-large"].price_per_hour
    0.096
    """
    table: dict[str, Any] = tomllib.loads((data_folder() / "hardware.toml").read_text(encoding="utf-8"))
    return {
        row["name"]: Hardware(
            name=row["name"],
            price_per_hour=row["price_per_hour"],
            start_up=row["start_up_s"],
            speed=row["speed"],
        )
        for row in table["hardware"]
    }


def hardware(name: str) -> Hardware:
    """One kind."""
    kinds = hardware_kinds()
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"no hardware {name!r} in the catalogue{meant} (it has {', '.join(kinds)})")
    return kinds[name]
