"""RARERA: an event log that loses nothing, and a workbench that proves it.

The public names, grouped by layer. Each is imported when it is first used, so that `import rarera_sim` and the command
line start without numpy, polars and plotly.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rarera_sim.adapters.archive import copy_log, export_jsonl, export_parquet, import_archive
    from rarera_sim.adapters.checkpoints import read_checkpoint, write_checkpoint
    from rarera_sim.adapters.follow import follow
    from rarera_sim.adapters.keys import FileKeys, MemoryKeys, new_key, new_signer, read_keyring
    from rarera_sim.adapters.stores import aggregate_log, snapshots_of, upgrade_log
    from rarera_sim.adapters.urls import open_log
    from rarera_sim.core.aggregate import Aggregate
    from rarera_sim.core.errors import (
        BadInput,
        BusyLog,
        ClockFault,
        Conflict,
        DamagedLog,
        InvalidEvent,
        RareraError,
        Refused,
        SkippedPosition,
        StorageFailed,
        UnknownFormat,
        UnknownKey,
        Unreachable,
        WrongPosition,
    )
    from rarera_sim.core.event import Event, Recorded, decode, encode
    from rarera_sim.core.group import Group
    from rarera_sim.core.inbox import Corrupt, Inbox, Intact
    from rarera_sim.core.incidents import Incident, Kind, incident_life, incidents
    from rarera_sim.core.integrity import Head, verify
    from rarera_sim.core.journal import Journal
    from rarera_sim.core.lineage import find_event, lineage
    from rarera_sim.core.log import ALL, EventLog, Query
    from rarera_sim.core.merkle import MerkleCheckpoint, take_checkpoint, verify_checkpoint
    from rarera_sim.core.outbox import Outbox
    from rarera_sim.core.projection import Materialised, Projection, Tally, fold, rebuild, summarise
    from rarera_sim.core.publisher import LocalBoard, Publisher
    from rarera_sim.core.receiver import Receiver, Tolerance, perform
    from rarera_sim.core.sealing import Erased, Unsealed, erase_subject, replay_erasures, seal, unseal
    from rarera_sim.core.signing import (
        Ed25519Signer,
        Ed25519Verifier,
        HmacKey,
        Keyring,
        id_check,
        sign_id,
        unwrap,
        wrap,
    )
    from rarera_sim.core.snapshot import Snapshot
    from rarera_sim.core.subscription import Subscription
    from rarera_sim.core.time import HybridClock, format_timestamp, parse_timestamp
    from rarera_sim.experiments.compare import Comparison, compare
    from rarera_sim.experiments.run import Run, run
    from rarera_sim.experiments.scenario import Configuration, Scenario, default_scenario, load_scenario, parse_scenario
    from rarera_sim.experiments.sweep import Sweep, sweep
    from rarera_sim.experiments.traces import Trace, read_trace, shipped
    from rarera_sim.policies import Decision, Observation, check_policy, make_policy
    from rarera_sim.reports.chromium import write_image
    from rarera_sim.reports.diff import diff_reports
    from rarera_sim.reports.page import write_page
    from rarera_sim.reports.panels.compare_explorer import compare_explorer
    from rarera_sim.reports.panels.incident_explorer import incident_explorer
    from rarera_sim.reports.panels.time_machine import time_machine
    from rarera_sim.reports.panels.workbench import workbench
    from rarera_sim.reports.report import report
    from rarera_sim.reports.stored import read_report

_HOMES: dict[str, tuple[str, ...]] = {
    # what can go wrong
    "core.errors": (
        "BadInput",
        "BusyLog",
        "ClockFault",
        "Conflict",
        "DamagedLog",
        "InvalidEvent",
        "RareraError",
        "Refused",
        "SkippedPosition",
        "StorageFailed",
        "UnknownFormat",
        "UnknownKey",
        "Unreachable",
        "WrongPosition",
    ),
    # events, logs, states
    "core.event": ("Event", "Recorded", "decode", "encode"),
    "core.inbox": ("Corrupt", "Inbox", "Intact"),
    "core.integrity": ("Head", "verify"),
    "core.log": ("ALL", "EventLog", "Query"),
    "core.aggregate": ("Aggregate",),
    "core.projection": ("Materialised", "Projection", "Tally", "fold", "rebuild", "summarise"),
    "core.snapshot": ("Snapshot",),
    "core.time": ("HybridClock", "format_timestamp", "parse_timestamp"),
    "core.lineage": ("find_event", "lineage"),
    # delivery
    "core.outbox": ("Outbox",),
    "core.subscription": ("Subscription",),
    "core.group": ("Group",),
    "core.publisher": ("LocalBoard", "Publisher"),
    # incidents
    "core.journal": ("Journal",),
    "core.receiver": ("Receiver", "Tolerance", "perform"),
    "core.incidents": ("Incident", "Kind", "incident_life", "incidents"),
    # integrity, signatures, sealing
    "core.merkle": ("MerkleCheckpoint", "take_checkpoint", "verify_checkpoint"),
    "core.signing": ("Ed25519Signer", "Ed25519Verifier", "HmacKey", "Keyring", "id_check", "sign_id", "unwrap", "wrap"),
    "core.sealing": ("Erased", "Unsealed", "erase_subject", "replay_erasures", "seal", "unseal"),
    # stores
    "adapters.urls": ("open_log",),
    "adapters.stores": ("aggregate_log", "snapshots_of", "upgrade_log"),
    "adapters.follow": ("follow",),
    "adapters.archive": ("copy_log", "export_jsonl", "export_parquet", "import_archive"),
    "adapters.keys": ("FileKeys", "MemoryKeys", "new_key", "new_signer", "read_keyring"),
    "adapters.checkpoints": ("read_checkpoint", "write_checkpoint"),
    # policies, experiments, reports
    "policies": ("Decision", "Observation", "check_policy", "make_policy"),
    "experiments.traces": ("Trace", "read_trace", "shipped"),
    "experiments.scenario": ("Configuration", "Scenario", "default_scenario", "load_scenario", "parse_scenario"),
    "experiments.run": ("Run", "run"),
    "experiments.compare": ("Comparison", "compare"),
    "experiments.sweep": ("Sweep", "sweep"),
    "reports.page": ("write_page",),
    "reports.report": ("report",),
    "reports.stored": ("read_report",),
    "reports.diff": ("diff_reports",),
    "reports.chromium": ("write_image",),
    "reports.panels.compare_explorer": ("compare_explorer",),
    "reports.panels.incident_explorer": ("incident_explorer",),
    "reports.panels.time_machine": ("time_machine",),
    "reports.panels.workbench": ("workbench",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALL",
    "Aggregate",
    "BadInput",
    "BusyLog",
    "ClockFault",
    "Comparison",
    "Configuration",
    "Conflict",
    "Corrupt",
    "DamagedLog",
    "Decision",
    "Ed25519Signer",
    "Ed25519Verifier",
    "Erased",
    "Event",
    "EventLog",
    "FileKeys",
    "Group",
    "Head",
    "HmacKey",
    "HybridClock",
    "Inbox",
    "Incident",
    "Intact",
    "InvalidEvent",
    "Journal",
    "Keyring",
    "Kind",
    "LocalBoard",
    "Materialised",
    "MemoryKeys",
    "MerkleCheckpoint",
    "Observation",
    "Outbox",
    "Projection",
    "Publisher",
    "Query",
    "RareraError",
    "Receiver",
    "Recorded",
    "Refused",
    "Run",
    "Scenario",
    "SkippedPosition",
    "Snapshot",
    "StorageFailed",
    "Subscription",
    "Sweep",
    "Tally",
    "Tolerance",
    "Trace",
    "UnknownFormat",
    "UnknownKey",
    "Unreachable",
    "Unsealed",
    "WrongPosition",
    "aggregate_log",
    "check_policy",
    "compare",
    "compare_explorer",
    "copy_log",
    "decode",
    "default_scenario",
    "diff_reports",
    "encode",
    "erase_subject",
    "export_jsonl",
    "export_parquet",
    "find_event",
    "fold",
    "follow",
    "format_timestamp",
    "id_check",
    "import_archive",
    "incident_explorer",
    "incident_life",
    "incidents",
    "lineage",
    "load_scenario",
    "make_policy",
    "new_key",
    "new_signer",
    "open_log",
    "parse_scenario",
    "parse_timestamp",
    "perform",
    "read_checkpoint",
    "read_keyring",
    "read_report",
    "read_trace",
    "rebuild",
    "replay_erasures",
    "report",
    "run",
    "seal",
    "shipped",
    "sign_id",
    "snapshots_of",
    "summarise",
    "sweep",
    "take_checkpoint",
    "time_machine",
    "unseal",
    "unwrap",
    "upgrade_log",
    "verify",
    "verify_checkpoint",
    "workbench",
    "wrap",
    "write_checkpoint",
    "write_image",
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


# In a notebook, objects show themselves.
if (_ipython := sys.modules.get("IPython")) and _ipython.get_ipython():
    import_module("rarera_sim.reports.html").register()
