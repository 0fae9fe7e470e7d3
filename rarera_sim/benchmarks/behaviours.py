"""Streams with behaviours injected into them, and how well our detectors find these.

A source sends 10 events a second (Poisson), with lognormal latencies of squared coefficient of variation 0.5 and
contents that are whole numbers about 1,000 with a deviation of 50. Ten episodes of 500 events each are spread over the
stream; after one of them, as many events as a reference takes to be itself again are not counted as false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from rarera_sim.anomalies.base import Behaviour
from rarera_sim.anomalies.defaults import default_watch
from rarera_sim.benchmarks.measure import Row

EPISODES = 10
EPISODE = 500
GRACE = 6_000
EVENTS = 200_000
QUICK_EVENTS = 100_000
RATE = 10.0
SCV = 0.5
KINDS: dict[str, Behaviour] = {
    "rate surge, x 3": Behaviour.RATE,
    "rate drop, / 3": Behaviour.RATE,
    "latency step, x 2": Behaviour.LATENCY,
    "content far off, 8 deviations": Behaviour.CONTENT,
    "content drift, to 2 deviations": Behaviour.DRIFT,
    "silence, 60 s": Behaviour.SILENCE,
    "stuck": Behaviour.STUCK,
    "looping, 20 contents": Behaviour.LOOPING,
}


class Labelled(NamedTuple):
    """A stream whose abnormal episodes are known.

    Parameters
    ----------
    times
        Of the events, s, in order.
    values
        What the detector of `KINDS` looks at: latency in s, or content.
    episodes
        First event, and the one after the last.
    """

    times: np.ndarray
    values: np.ndarray
    episodes: list[tuple[int, int]]


class Found(NamedTuple):
    """How well an injected behaviour was found.

    Parameters
    ----------
    recall
        Share of the episodes with an alert in them.
    delay
        Median of events, for silence of seconds, until the first alert of those found; NaN if none.
    false_alarms
        Alerts elsewhere, per million events.
    """

    recall: float
    delay: float
    false_alarms: float


def labelled(kind: str, chance: np.random.Generator, events: int) -> Labelled:
    """A stream with one kind of behaviour, out of `KINDS`, injected `EPISODES` times."""
    gaps = chance.exponential(1.0 / RATE, events)
    apart = events // (EPISODES + 1)
    starts = [apart * (n + 1) + int(chance.integers(0, 200)) for n in range(EPISODES)]
    episodes = [(start, start + EPISODE) for start in starts]
    sigma = math.sqrt(math.log1p(SCV))
    if KINDS[kind] is Behaviour.LATENCY:
        values = chance.lognormal(math.log(0.2), sigma, events)
    else:
        values = np.round(chance.normal(1_000.0, 50.0, events))
    for start, stop in episodes:
        if kind.startswith("rate surge"):
            gaps[start:stop] /= 3.0
        elif kind.startswith("rate drop"):
            gaps[start:stop] *= 3.0
        elif kind.startswith("latency"):
            values[start:stop] *= 2.0
        elif kind.startswith("content far"):
            values[start:stop] += 400.0
        elif kind.startswith("content drift"):
            values[start:stop] += np.linspace(0.0, 100.0, stop - start)
        elif kind.startswith("silence"):
            gaps[start] = 60.0
        elif kind == "stuck":
            values[start:stop] = values[start]
        else:
            values[start:stop] = np.resize(values[start : start + 20], stop - start)
    return Labelled(np.cumsum(gaps), values, episodes)


def find(kind: str, stream: Labelled) -> Found:
    """Run the default detector and alert policy over a stream."""
    if KINDS[kind] is Behaviour.SILENCE:
        return _find_silence(stream)
    watch = default_watch(KINDS[kind], "source")
    alerts = [
        n
        for n, (moment, value) in enumerate(zip(stream.times.tolist(), stream.values.tolist(), strict=True))
        if watch.see({"time": moment, "value": value}, n) is not None
    ]
    delays = []
    for start, stop in stream.episodes:
        inside = [n - start for n in alerts if start <= n < stop]
        delays += inside[:1]
    calm = [n for n in alerts if not any(start <= n < stop + GRACE for start, stop in stream.episodes)]
    return _found(delays, len(calm), stream)


def _find_silence(stream: Labelled) -> Found:
    """Asked every tenth of a second, as a timer would."""
    watch = default_watch(Behaviour.SILENCE, "source")
    silences = {start for start, _ in stream.episodes}
    delays, calm = [], 0
    last = 0.0
    for n, moment in enumerate(stream.times.tolist()):
        for tick in range(1, int((moment - last) * 10.0) + 1):
            if watch.judge({"time": last + tick / 10.0}, n) is not None:
                if n in silences:
                    delays.append(tick / 10.0)
                else:
                    calm += 1
        watch.see({"time": moment}, n)
        watch.judge({"time": moment}, n)
        last = moment
    return _found(delays, calm, stream)


def _found(delays: Sequence[float], calm: int, stream: Labelled) -> Found:
    delay = median(delays) if delays else math.nan
    return Found(len(delays) / len(stream.episodes), delay, calm / len(stream.times) * 1e6)


def rows(*, quick: bool, seed: int = 1) -> list[Row]:
    """Recall, delay and false alarms of every kind, and false alarms where nothing at all is injected."""
    found = []
    for number, kind in enumerate(KINDS):
        chance = np.random.default_rng([seed, number])
        result = find(kind, labelled(kind, chance, QUICK_EVENTS if quick else EVENTS))
        unit = "s" if KINDS[kind] is Behaviour.SILENCE else "events"
        delay: Any = None if math.isnan(result.delay) else result.delay
        found.append(Row(f"{kind}: recall", result.recall, "share"))
        found.append(Row(f"{kind}: delay, median", delay, unit))
        found.append(Row(f"{kind}: false alarms", result.false_alarms, "per million events"))
    return found
