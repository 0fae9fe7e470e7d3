"""How much of the beginning to leave out of every run: chosen once, from pilot runs that are not used otherwise."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import numpy as np
import polars as pl

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import Scenario
from rarera_sim.experiments.statistics import warmup_cut
from rarera_sim.experiments.workload import prepared

_STEPS = 200  # that a run is cut into


def with_warmup(scenario: Scenario, *, pilots: int = 5, seed: int = 1) -> Scenario:
    """The scenario with `run.warmup` as MSER-5 finds it in the mean response of pilot runs.

    One moment for all configurations, the latest that one of them needs: what is compared is measured over the same
    events. Where load follows the hour, as in a trace, there is no steady state to wait for, and the cut only says how
    long the empty start is felt.

    Parameters
    ----------
    pilots
        Runs of each configuration, with seeds that no replication has.

    Examples
    --------
    >>> from rarera_sim.experiments.scenario import Configuration, RunSettings
    >>> from rarera_sim.simulation.arrivals import Poisson
    >>> mm3 = Scenario(
    ...     name="mm3",
    ...     arrivals=Poisson(rate=2.7),
    ...     run=RunSettings(duration=2000.0, training=0.0),
    ...     configurations=(Configuration(transport="direct", policy="fixed", parameters={"replicas": 3}),),
    ... )
    >>> 0.0 < with_warmup(mm3).run.warmup <= 1000.0
    True
    """
    if type(pilots) is not int or pilots < 1:
        raise BadInput(f"pilots must be >= 1, got {pilots!r}")
    duration = prepared(scenario, seed).workload.duration
    latest = 0.0
    for configuration in scenario.configurations:
        series = [
            _responses(run(scenario, _pilot_seed(seed, number), configuration).journeys, duration)
            for number in range(pilots)
        ]
        latest = max(latest, warmup_cut(series) * duration / _STEPS)
    return msgspec.structs.replace(scenario, run=msgspec.structs.replace(scenario.run, warmup=latest))


def _pilot_seed(seed: int, number: int) -> int:
    return int.from_bytes(sha256(f"pilot\0{seed}\0{number}".encode()).digest()[:7], "big")


def _responses(journeys: pl.DataFrame, duration: float) -> list[float]:
    """Mean response of the events received in each step; where there are none, that of the step before."""
    done = journeys.filter(pl.col("response_s").is_not_null() & (pl.col("received_s") < duration))
    places = (done["received_s"].to_numpy() / duration * _STEPS).astype(np.int64)
    counts = np.bincount(places, minlength=_STEPS)
    sums = np.bincount(places, weights=done["response_s"].to_numpy(), minlength=_STEPS)
    means: list[float] = []
    for total, count in zip(sums.tolist(), counts.tolist(), strict=True):
        means.append(total / count if count else means[-1] if means else 0.0)
    return means
