"""How we time: ours and its peers in the same rounds, CPU time, ratios formed inside a round, then medians.

A shared machine is half as fast in one second as in the next. Both sides of a ratio taken in one round see the same
second, so that the ratio holds where the microseconds do not; every second round goes the other way round.

What is counted is CPU time of this process, user and system, all threads (`time.process_time`). Embedded databases
do their work in it. A database server does not: there the client's CPU is one row, and time by the clock another.
Python's garbage collector runs as it does for a user, after a full collection before each measurement.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Progress = Callable[[int, int], None]


class Cost(NamedTuple):
    """Seconds that one measurement took."""

    cpu: float
    wall: float


class Row(NamedTuple):
    """One line of a benchmark.

    Parameters
    ----------
    case
        What was done.
    value, unit
        Our cost, the median of the rounds; None where the case could not be run, `against` then says why.
    against
        The peer; empty where the case is held against its aim alone.
    ratio
        The peer's cost divided by ours, the median of the rounds: 2 is twice as fast.
    aim
        The least ratio wanted, or without a peer the most that `value` may be. None where the row only informs.
    met
        Whether it is; None without an aim or a value.
    """

    case: str
    value: float | None
    unit: str
    against: str = ""
    ratio: float | None = None
    aim: float | None = None
    met: bool | None = None


def cost_of(work: Callable[[], object]) -> Cost:
    """Run something once, from a clean heap."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def in_rounds(
    actions: Mapping[str, Callable[[], Cost]], rounds: int, step: Callable[[], None] = lambda: None
) -> dict[str, list[Cost]]:
    """Costs of each action, one per round; an action sets up and cleans up outside of what it counts."""
    costs: dict[str, list[Cost]] = {name: [] for name in actions}
    for number in range(rounds):
        for name in list(actions)[:: -1 if number % 2 else 1]:
            costs[name].append(actions[name]())
            step()
    return costs


def against(
    case: str, ours: list[Cost], peer: str, theirs: list[Cost], *, events: int, aim: float | None, clock: str = "cpu"
) -> Row:
    """Our cost per event against a peer's in the same rounds.

    >>> against("append", [Cost(2e-6, 0), Cost(4e-6, 0)], "peer", [Cost(4e-6, 0), Cost(8e-6, 0)], events=1, aim=1.5)
    Row(case='append', value=3.0, unit='us/event', against='peer', ratio=2.0, aim=1.5, met=True)
    """
    spent = [getattr(cost, clock) for cost in ours]
    ratio = median(getattr(cost, clock) / mine for cost, mine in zip(theirs, spent, strict=True))
    unit = "us/event" if clock == "cpu" else "us/event by the clock"
    value = median(spent) / events * 1e6
    return Row(case, value, unit, peer, ratio, aim, None if aim is None else ratio >= aim)


def at_most(case: str, value: float, unit: str, aim: float) -> Row:
    """A figure held against its aim alone."""
    return Row(case, value, unit, aim=aim, met=value <= aim)


def absent(case: str, unit: str, why: str, aim: float | None = None) -> Row:
    """A case that cannot be run here."""
    return Row(case, None, unit, f"not run: {why}", aim=aim)


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that says whose machine it is."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
