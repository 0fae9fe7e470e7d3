"""Mixes of faults and hardware under which policies are compared, and how a policy drives them that knows of no pools.

Whoever has run an autoscaler in more than one zone has spread its replicas; whoever may put them to sleep has kept some
asleep. A comparison with a policy that knows of pools is fair only if the others are driven as well as that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.policies.tuning import Range
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.hardware import Crashes, Hardware, Outage, Outages, PoolSettings, Spot
from rarera_sim.simulation.world import System

_PLAIN = Hardware()
_NO_CRASHES = Crashes()
_NO_SPOT = Spot()
_HOUR = 3600.0
_OUTAGE = 600.0
_OUTAGE_AT = 14.0 / 24.0  # of a day: in the afternoon, when there is much to do


@dataclass(frozen=True)
class Mix:
    """What replicas run on, and what happens to them.

    Parameters
    ----------
    name, about
        What it is called, and what it is, in a line.
    pools
        In which hardware may be asked for; of none, there is one kind.
    crashes, spot
        How replicas fail.
    outage
        The zone that is gone for ten minutes of every day.
    """

    name: str
    about: str
    pools: tuple[PoolSettings, ...] = ()
    crashes: Crashes = _NO_CRASHES
    spot: Spot = _NO_SPOT
    outage: str | None = None

    def system(self, control: ControlSettings, objective: Objective, *, duration: float, day: float) -> System:
        """Everything but the load."""
        at: tuple[Outage, ...] = ()
        if self.outage is not None:
            moments = [(number + _OUTAGE_AT) * day for number in range(math.ceil(duration / day))]
            # Of a part of a day, the middle.
            moments = [moment for moment in moments if moment < duration] or [duration / 2.0]
            at = tuple(Outage(zone=self.outage, at=moment, duration=_OUTAGE) for moment in moments)
        return System(
            hardware=self.pools[0].hardware if self.pools else _PLAIN,
            pools=self.pools,
            crashes=self.crashes,
            spot=self.spot,
            outages=Outages(at=at),
            control=control,
            objective=objective,
        )

    def settings(self, replicas_max: int) -> dict[str, Range]:
        """What an operator has to choose here who drives a policy that knows of no pools, see `Driven`."""
        if len(self.pools) > 1 and self.outage is None:
            return {"pool": Range(0, len(self.pools) - 1, "int")}
        if self.pools and self.pools[0].hardware.wake_up is not None:
            return {"prepared": Range(0, replicas_max, "int")}
        return {}


def _pool(name: str, **hardware: Any) -> PoolSettings:
    zone = hardware.pop("zone", "a")
    return PoolSettings(name=name, hardware=Hardware(name=name, **hardware), zone=zone)


_PRICE = _PLAIN.price_per_hour

MIXES: dict[str, Mix] = {
    "plain": Mix("plain", "one kind of hardware, and nothing fails"),
    "crashes": Mix(
        "crashes",
        "a replica crashes every four hours; that is noticed after 10 s, and the start-up follows",
        crashes=Crashes(mtbf=4.0 * _HOUR),
    ),
    "spot": Mix(
        "spot",
        "beside the usual hardware the same at 40 % of the price, taken back every two hours with 30 s of notice",
        pools=(_pool("on-demand"), _pool("spot", price_per_hour=0.4 * _PRICE, spot=True)),
        spot=Spot(mtbi=2.0 * _HOUR, notice=30.0),
    ),
    "two-kinds": Mix(
        "two-kinds",
        "beside the usual hardware one of twice the speed for 1.7 times the price that starts in 90 s",
        pools=(_pool("small"), _pool("large", speed=2.0, price_per_hour=1.7 * _PRICE, start_up=90.0)),
    ),
    "zone-outage": Mix(
        "zone-outage",
        "two zones, of which one is gone for ten minutes every afternoon",
        pools=(_pool("zone-a", zone="a"), _pool("zone-b", zone="b")),
        outage="a",
    ),
    "warm-pool": Mix(
        "warm-pool",
        "replicas may sleep at a tenth of the price, and wake in 5 s",
        pools=(_pool("warm", wake_up=5.0, price_asleep_per_hour=0.1 * _PRICE),),
    ),
}


class Driven:
    """A policy as an operator drives it who knows what hardware there is, where the policy itself does not.

    What a policy says of pools and of sleep is done as it says. Where it says a number only:

    - its replicas are spread evenly over the zones; one in which nothing has become ready for a start-up and two
      periods is out, and asked for one replica until that is ready (as a topology spread with a fallback does);
    - of several kinds in one zone they are of the kind chosen by `pool`;
    - where replicas can sleep, as many more do as make `prepared` in all (a warm pool of a cloud's scaling group).

    Parameters
    ----------
    pools
        What there is; empty for one kind.
    pool
        Number of the kind that is used.
    prepared
        Replicas that are there in all, awake and asleep, as long as fewer are awake.
    factor
        Head-room: the replicas wanted are multiplied by it.
    discipline
        In which order waiting events are served, unless the policy says so; None: as they arrive.
    period
        Control period, s.

    Examples
    --------
    >>> from rarera_sim.policies import Fixed
    >>> Driven(Fixed(5), MIXES["zone-outage"].pools).decide().pools
    {'zone-a': 3, 'zone-b': 2}
    >>> Driven(Fixed(5), MIXES["warm-pool"].pools, prepared=8).decide().asleep
    {'warm': 3}
    """

    def __init__(
        self,
        policy: Scaler,
        pools: tuple[PoolSettings, ...] = (),
        *,
        pool: int = 0,
        prepared: int = 0,
        factor: float = 1.0,
        discipline: str | None = None,
        period: float = 15.0,
    ) -> None:
        self._policy = policy
        self._pools = pools
        self._pool = pools[pool] if pools else None
        self._prepared = prepared
        self._factor = factor
        self._discipline = discipline
        self._period = period
        self._zones = {each.name: 0 for each in pools} if len({each.zone for each in pools}) > 1 else {}

    def observe(self, observation: Observation) -> None:
        """Tell the policy, at the price of the kind that is used; and see which zones are there."""
        if self._pool is not None and self._pool is not self._pools[0]:
            observation = replace(observation, price_per_hour=self._pool.hardware.price_per_hour)
        for each in observation.pools if self._zones else ():
            missing = each.ready == 0 and each.pending > 0
            self._zones[each.name] = self._zones[each.name] + 1 if missing else 0
        self._policy.observe(observation)

    def decide(self) -> Decision:
        """What the policy says, spread, prepared and multiplied."""
        decision = self._policy.decide()
        replicas, pools, asleep = decision.replicas, decision.pools, decision.asleep
        if self._factor != 1.0:
            replicas = max(1, self._times(replicas))
            pools = None if pools is None else {name: self._times(count) for name, count in pools.items()}
        if pools is None and self._pool is not None:
            pools = self._spread(replicas) if self._zones else {self._pool.name: replicas}
            if asleep is None and self._pool.hardware.wake_up is not None:
                asleep = {self._pool.name: max(0, self._prepared - replicas)}
        return replace(
            decision,
            replicas=replicas,
            pools=pools,
            asleep=asleep,
            discipline=decision.discipline or self._discipline,
        )

    def _times(self, replicas: int) -> int:
        return math.ceil(replicas * self._factor - 1e-9)

    def _spread(self, replicas: int) -> Mapping[str, int]:
        """Evenly over the zones that are there, the first of them more where it does not come out even."""
        starts = {each.name: each.hardware.start_up for each in self._pools}
        out = {name for name, periods in self._zones.items() if periods * self._period > starts[name] + self._period}
        if len(out) == len(self._zones):
            out = set()
        there = [name for name in self._zones if name not in out]
        each, more = divmod(replicas, len(there))
        return {name: 1 if name in out else each + (there.index(name) < more) for name in self._zones}
