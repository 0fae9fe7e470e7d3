"""Kinds of hardware with prices, and how parts fail: from data/hardware.toml, with source and date of each figure."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from typing import Any

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.data import data_folder
from rarera_sim.simulation.hardware import Component, Hardware, Prices

_HOUR = 3600.0


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((data_folder() / "hardware.toml").read_text(encoding="utf-8"))


@cache
def hardware_kinds() -> dict[str, Hardware]:
    """All kinds, by name.

    >>> hardware_kinds()["m5-large"].price_per_hour
    0.096
    """
    return {
        row["name"]: Hardware(
            name=row["name"],
            price_per_hour=row["price_per_hour"],
            start_up=row["start_up_s"],
            speed=row["speed"],
            wake_up=row.get("wake_up_s"),
            price_asleep_per_hour=row.get("price_asleep_per_hour", 0.0),
            spot=row["spot"],
            billing_period=row["billing_period_s"],
            billing_min=row["billing_min_s"],
            idle_w=row["idle_w"],
            busy_w=row["busy_w"],
            asleep_w=row["asleep_w"],
        )
        for row in _table()["hardware"]
    }


def hardware(name: str) -> Hardware:
    """One kind."""
    kinds = hardware_kinds()
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"no hardware {name!r} in the catalogue{meant} (it has {', '.join(kinds)})")
    return kinds[name]


@cache
def prices() -> Prices:
    """What energy, storage and network cost.

    >>> prices() == Prices()
    True
    """
    row = {name: value for name, value in _table()["prices"].items() if name != "date"}
    return Prices(**row)


@cache
def components() -> tuple[Component, ...]:
    """The parts of a machine and how they fail, times in seconds.

    >>> [part.name for part in components()]
    ['cpu', 'ssd', 'network']
    """
    return tuple(
        Component(name=row["name"], mtbf=row["mtbf_h"] * _HOUR, mttr=row["mttr_h"] * _HOUR)
        for row in _table()["component"]
    )
