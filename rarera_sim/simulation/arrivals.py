"""When events come into being, and what they say: a replayed trace or a drawn one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rarera_sim.core.time import SECOND, Timestamp
from rarera_sim.simulation.kernel import Streams


class Arrival(NamedTuple):
    """One event to come: `time` in model seconds, `created` its GST."""

    time: float
    created: Timestamp
    source: str
    stream: str
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """All arrivals of a run in order, and the span they were cut from.

    Parameters
    ----------
    arrivals
        Ascending by time.
    duration
        Length in model seconds; arrivals lie in [0, duration).
    epoch
        GST of model time 0.
    compression
        Seconds of GST per model second.
    """

    arrivals: Sequence[Arrival]
    duration: float
    epoch: Timestamp = 0
    compression: float = 1.0

    def __len__(self) -> int:
        return len(self.arrivals)


def replay(
    rows: Iterable[tuple[Timestamp, str, str, str, dict[str, Any]]],
    *,
    since: Timestamp,
    until: Timestamp,
    compression: float,
) -> Workload:
    """A trace as it was, `compression` times as fast.

    Parameters
    ----------
    rows
        (time, source, stream, type, data), ascending by time.
    since, until
        The part of the trace to replay, until left out.
    """
    if not compression > 0:
        raise ValueError(f"compression must be > 0, got {compression!r}")
    arrivals = [
        Arrival((time - since) / SECOND / compression, time, source, stream, kind, data)
        for time, source, stream, kind, data in rows
        if since <= time < until
    ]
    return Workload(arrivals, (until - since) / SECOND / compression, since, compression)


def poisson(streams: Streams, *, rate: float, count: int, sources: int = 1, processors: int = 1) -> Workload:
    """`count` arrivals with exponential gaps of mean 1 / `rate` seconds, dealt to sources and processors in turn."""
    if not rate > 0:
        raise ValueError(f"rate must be > 0 1/s, got {rate!r}")
    times = streams.generator("arrivals").exponential(1.0 / rate, count).cumsum().tolist()
    arrivals = [
        Arrival(
            time,
            round(time * SECOND),
            f"source-{number % sources}",
            f"processor-{number % processors}/{number % 97}",
            "reading",
            {"value": number},
        )
        for number, time in enumerate(times)
    ]
    return Workload(arrivals, times[-1] if times else 0.0)
