"""RARERA: an event log that loses nothing, and a workbench that proves it.

The public names, grouped by layer. Each is imported when it is first used, so that `import rarera_sim` and the command
line start without numpy, polars and plotly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rarera_sim.adapters.urls import open_log
    from rarera_sim.core.event import Event, Recorded, decode, encode
    from rarera_sim.core.inbox import Corrupt, Inbox, Intact
    from rarera_sim.core.integrity import Head, verify
    from rarera_sim.core.log import ALL, EventLog, Query
    from rarera_sim.core.projection import Materialised, Projection, Tally, fold, rebuild, summarise
    from rarera_sim.core.snapshot import Snapshot
    from rarera_sim.core.subscription import Subscription
    from rarera_sim.core.time import HybridClock, format_timestamp, parse_timestamp
    from rarera_sim.experiments.compare import Comparison, compare
    from rarera_sim.experiments.run import Run, run
    from rarera_sim.experiments.scenario import (
        Configuration,
        Scenario,
        default_scenario,
        load_scenario,
        parse_scenario,
    )
    from rarera_sim.experiments.traces import Trace, read_trace, shipped
    from rarera_sim.policies import Decision, Observation, check_policy, make_policy
    from rarera_sim.reports.page import write_page

_HOMES: dict[str, tuple[str, ...]] = {
    "core.event": ("Event", "Recorded", "decode", "encode"),
    "core.inbox": ("Corrupt", "Inbox", "Intact"),
    "core.integrity": ("Head", "verify"),
    "core.log": ("ALL", "EventLog", "Query"),
    "core.projection": ("Materialised", "Projection", "Tally", "fold", "rebuild", "summarise"),
    "core.snapshot": ("Snapshot",),
    "core.subscription": ("Subscription",),
    "core.time": ("HybridClock", "format_timestamp", "parse_timestamp"),
    "adapters.urls": ("open_log",),
    "policies": ("Decision", "Observation", "check_policy", "make_policy"),
    "experiments.traces": ("Trace", "read_trace", "shipped"),
    "experiments.scenario": ("Configuration", "Scenario", "default_scenario", "load_scenario", "parse_scenario"),
    "experiments.run": ("Run", "run"),
    "experiments.compare": ("Comparison", "compare"),
    "reports.page": ("write_page",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALL",
    "Comparison",
    "Configuration",
    "Corrupt",
    "Decision",
    "Event",
    "EventLog",
    "Head",
    "HybridClock",
    "Inbox",
    "Intact",
    "Materialised",
    "Observation",
    "Projection",
    "Query",
    "Recorded",
    "Run",
    "Scenario",
    "Snapshot",
    "Subscription",
    "Tally",
    "Trace",
    "check_policy",
    "compare",
    "decode",
    "default_scenario",
    "encode",
    "fold",
    "format_timestamp",
    "load_scenario",
    "make_policy",
    "open_log",
    "parse_scenario",
    "parse_timestamp",
    "read_trace",
    "rebuild",
    "run",
    "shipped",
    "summarise",
    "verify",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rarera-sim")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
