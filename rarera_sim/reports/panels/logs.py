"""What a panel that looks into a log is given: the log itself, its name, or a comparison that kept one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Recorded
from rarera_sim.core.log import EventLog
from rarera_sim.core.time import Timestamp, format_timestamp
from rarera_sim.experiments.compare import Comparison
from rarera_sim.experiments.run import Run


def log_of(source: Any) -> EventLog:
    """The log that somebody means.

    >>> log_of("memory:").head()
    0
    >>> log_of(7)
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: an event log is needed, or its path or URL, got 7
    """
    if isinstance(source, Run):
        raise BadInput("a run keeps no log; give it log_path=..., and that path here")
    if isinstance(source, Comparison):
        if source.log_path is None:
            raise BadInput("this comparison kept no log; give compare a folder=...")
        source = source.log_path
    if isinstance(source, str | os.PathLike):
        return open_log(source, create=False) if str(source) != "memory:" else open_log(source)
    if hasattr(source, "read") and hasattr(source, "head") and hasattr(source, "find"):
        log: EventLog = source
        return log
    raise BadInput(f"an event log is needed, or its path or URL, got {source!r:.80}")


def incidents_beside(source: Any, log: EventLog) -> EventLog:
    """The log in which the incidents are: a run with `log_path` writes those that it notices into one beside its log.

    Parameters
    ----------
    source
        What `log_of` was given, and `log`, what it gave.
    """
    if isinstance(source, Comparison):
        source = source.log_path
    if isinstance(source, str | os.PathLike) and "://" not in str(source):
        beside = Path(source).with_suffix(".incidents.sqlite") if str(source) != "memory:" else None
        if beside is not None and beside.is_file():
            return open_log(beside, create=False)
    return log


def moment(time: Timestamp | None) -> str:
    """A GST as people read it."""
    return "" if time is None else format_timestamp(time)


def named(recorded: Recorded) -> str:
    """An event in a line."""
    event = recorded.event
    return f"{recorded.position}: {event.stream} {event.type}"
