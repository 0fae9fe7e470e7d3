"""How policies behave in one situation each: a burst, a crash of everything, the loss of spot, a drift, a new price.

An hour of drawn arrivals after two hours of history, with one thing that happens after twenty minutes. For pictures:
who is better is what the study says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.experiments.loads import Load
from rarera_sim.experiments.mixes import MIXES, Driven
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.generators import DAY
from rarera_sim.simulation.hardware import Outage, Outages, PoolSettings
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System

Floats = NDArray[np.float64]

AT = 1200.0  # when it happens, seconds
_DURATION, _HISTORY, _RATE = 3600.0, 7200.0, 60.0
_SERVICE = ServiceTime(mean=0.2, scv=0.5)
_DEARER = 4.0

SITUATIONS: dict[str, str] = {
    "burst": "2.5 times the arrivals, for six minutes",
    "crash": "every replica crashes",
    "spot loss": "no spot replicas for ten minutes",
    "drift": "services become 1.75 times as long",
    "price": f"spot costs {_DEARER:g} times as much, more than on-demand",
}


@dataclass(frozen=True)
class Contender:
    """A policy with its settings, and how it is driven.

    Parameters
    ----------
    name
        What pictures call it.
    policy
        One of `policies.POLICIES`.
    parameters
        Its own.
    discipline
        In which order events are served, unless it says so itself; None: as they arrive.
    factor
        Head-room, see `mixes.Driven`.
    """

    name: str
    policy: str
    parameters: Mapping[str, Any]
    discipline: str | None = None
    factor: float = 1.0


def behaviour(
    contenders: Sequence[Contender], situations: Sequence[str] = tuple(SITUATIONS), *, seed: int = 1
) -> pl.DataFrame:
    """What each contender did in each situation.

    Returns
    -------
    polars.DataFrame
        situation, policy, time_s (end of a control period), needed (busy replicas that the arrivals of the period
        need), ready, late (share of the events that arrived in it), spot (replicas of the kind that is lost or gets
        dear; null where there is none).
    """
    frames = [_played(situation, contender, seed) for situation in situations for contender in contenders]
    return pl.concat(frames)


def load_in(situation: str, seed: int = 1) -> Load:
    """The arrivals, and what happens to the hardware."""
    streams = Streams(seed)
    generator = streams.generator("situations", situation, "arrivals")
    rates = np.full(int(_DURATION), _RATE)
    if situation == "burst":
        rates[int(AT) : int(AT) + 360] *= 2.5
    counts = generator.poisson(rates)
    times = np.sort(np.repeat(np.arange(len(rates), dtype=float), counts) + generator.random(int(counts.sum())))
    services = _SERVICE.draw(streams.generator("situations", situation, "services"), len(times))
    if situation == "drift":
        services = services * (1.0 + 0.75 * np.clip((times - AT) / 1200.0, 0.0, 1.0))
    period = ControlSettings().period
    history = generator.poisson(_RATE * period, int(_HISTORY / period)) / period
    pools: tuple[PoolSettings, ...] = ()
    outages = Outages()
    if situation == "crash":
        # Gone for a second; the start-up follows.
        outages = Outages(at=(Outage(zone="a", at=AT, duration=1.0),))
    if situation in ("spot loss", "price"):
        on_demand, spot = MIXES["spot"].pools
        pools = on_demand, PoolSettings(name=spot.name, hardware=spot.hardware, zone="spot")
    if situation == "spot loss":
        outages = Outages(at=(Outage(zone="spot", at=AT, duration=600.0),))
    system = System(
        pools=pools, outages=outages, control=ControlSettings(), objective=Objective(quantile=0.99, bound=2.0)
    )
    return Load(situation, "test", seed, times, services, _DURATION, DAY, history, _SERVICE.mean, _SERVICE.scv, system)


def _played(situation: str, contender: Contender, seed: int) -> pl.DataFrame:
    load = load_in(situation, seed)
    policy = load.trained(contender.policy, dict(contender.parameters))
    if situation == "price":
        policy = _Repriced(policy)
    driven = Driven(policy, load.system.pools, factor=contender.factor, discipline=contender.discipline)
    seen = _Seen(driven)
    outcome = load.play(seen)
    assert isinstance(outcome, Outcome), "without limits nothing is given up"
    periods = outcome.periods.head(load.periods)
    number = np.minimum((load.times / load.system.control.period).astype(np.int64), load.periods - 1)
    needed = np.bincount(number, load.services, load.periods) / load.system.control.period
    return periods.select(
        pl.lit(situation).alias("situation"),
        pl.lit(contender.name).alias("policy"),
        "time_s",
        pl.Series("needed", needed),
        "ready",
        (pl.col("late") / pl.col("arrived").clip(1)).alias("late"),
        pl.Series("spot", seen.spot[: load.periods], dtype=pl.Int64),
    )


class _Repriced:
    """Tells a policy another price of spot from `AT` on."""

    def __init__(self, policy: Scaler) -> None:
        self._policy = policy

    def observe(self, observation: Observation) -> None:
        if observation.time >= AT:
            pools = tuple(
                replace(pool, price_per_hour=_DEARER * pool.price_per_hour) if pool.spot else pool
                for pool in observation.pools
            )
            observation = replace(observation, pools=pools)
        self._policy.observe(observation)

    def decide(self) -> Decision:
        return self._policy.decide()


class _Seen:
    """Notes how many spot replicas there are."""

    def __init__(self, policy: Scaler) -> None:
        self._policy = policy
        self.spot: list[int | None] = []

    def observe(self, observation: Observation) -> None:
        spot = [pool.ready for pool in observation.pools if pool.spot]
        self.spot.append(sum(spot) if spot else None)
        self._policy.observe(observation)

    def decide(self) -> Decision:
        return self._policy.decide()
