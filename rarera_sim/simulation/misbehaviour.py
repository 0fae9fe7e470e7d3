"""Sources that fall silent, surge, are stuck, loop, or say other things than usual: what detectors are held against.

The events stay intact. What is wrong is how many there are, when, and what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from rarera_sim.core.time import SECOND
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.quantities import Count, Name, Positive, PositiveSeconds, Seconds, Settings

MisbehaviourKind = Literal["silence", "surge", "stuck", "looping", "shift", "drift"]


class Misbehaviour(Settings, frozen=True, kw_only=True):
    """For a while a source is not itself.

    | kind | the events of the source in this time |
    | --- | --- |
    | `silence` | are not there |
    | `surge` | come `factor` times as often, evenly spread: each brings others with its content |
    | `stuck` | say what the last one before said |
    | `looping` | say again and again what the last `length` before said |
    | `shift` | say more by `factor` standard deviations, in the scenario's field |
    | `drift` | the same, but it grows to that from nothing |

    Parameters
    ----------
    source
        Whose events; None for all sources, each for itself.
    at, duration
        When it begins and how long it lasts, seconds since the run began.
    """

    kind: MisbehaviourKind
    source: Name | None = None
    at: Seconds
    duration: PositiveSeconds
    factor: Positive = 4.0
    length: Count = 20


def misbehaved(workload: Workload, settings: Iterable[Misbehaviour], field: str, streams: Streams) -> Workload:
    """The workload as it is when its sources misbehave; one after the other, in the order given.

    Parameters
    ----------
    field
        The numeric field that `shift` and `drift` change.

    Examples
    --------
    >>> rows = [Arrival(float(n), n, "gate", "gate/1", "seen", {"value": n}) for n in range(10)]
    >>> stuck = Misbehaviour(kind="stuck", at=3.0, duration=4.0)
    >>> told = misbehaved(Workload(rows, 10.0), [stuck], "value", Streams(1))
    >>> [row.data["value"] for row in told.arrivals]
    [0, 1, 2, 2, 2, 2, 2, 7, 8, 9]
    """
    for number, each in enumerate(settings):
        rows = list(workload.arrivals)
        for source in sorted({row.source for row in rows}) if each.source is None else [each.source]:
            rows = _changed(rows, source, each, field, workload, streams.generator("misbehaviour", str(number), source))
        workload = replace(workload, arrivals=rows)
    return workload


def _changed(
    rows: Sequence[Arrival],
    source: str,
    settings: Misbehaviour,
    field: str,
    workload: Workload,
    generator: np.random.Generator,
) -> list[Arrival]:
    until = settings.at + settings.duration
    before = [row for row in rows if row.source == source and row.time < settings.at]
    during = [row for row in rows if row.source == source and settings.at <= row.time < until]
    others = [row for row in rows if row.source != source or not settings.at <= row.time < until]
    match settings.kind:
        case "silence":
            during = []
        case "surge":
            during += _surplus(during, settings, workload, generator)
        case "stuck" | "looping":
            heard = before[-1:] if settings.kind == "stuck" else before[-settings.length :]
            if heard:
                during = [row._replace(data=heard[n % len(heard)].data) for n, row in enumerate(during)]
        case "shift" | "drift":
            size = settings.factor * _deviation(before, field)
            slope = 0.0 if settings.kind == "shift" else 1.0 / settings.duration
            grown = [1.0 + slope * (row.time - until) for row in during]
            during = [_raised(row, field, size * share) for row, share in zip(during, grown, strict=True)]
    return sorted([*others, *during], key=lambda row: row.time)


def _surplus(
    during: Sequence[Arrival], settings: Misbehaviour, workload: Workload, generator: np.random.Generator
) -> list[Arrival]:
    """What a surge brings: in all `factor` times as many, which begin within the span of the workload."""
    count = round((settings.factor - 1.0) * len(during))
    if count <= 0:
        return []
    latest = min(settings.at + settings.duration, workload.duration)
    times = np.sort(settings.at + (latest - settings.at) * generator.random(count)).tolist()
    models = [during[n % len(during)] for n in range(count)]
    return [
        model._replace(time=time, created=model.created + round((time - model.time) * workload.compression * SECOND))
        for model, time in zip(models, times, strict=True)
    ]


def _deviation(rows: Sequence[Arrival], field: str) -> float:
    values = [value for row in rows if (value := _number(row, field)) is not None]
    return float(np.std(values)) if values else 0.0


def _raised(row: Arrival, field: str, by: float) -> Arrival:
    value = _number(row, field)
    return row if value is None else row._replace(data={**row.data, field: value + by})


def _number(row: Arrival, field: str) -> float | None:
    value = row.data.get(field)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
