"""What a fleet of replicas has shown of itself: how soon they come, how often they go, and all at one blow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rarera_sim.learning.failures import GammaRate, Reliability
from rarera_sim.learning.services import StartUp

_DAY = 86_400.0
_HALF_LIFE = 30.0 * _DAY  # of exposure to blows
_BLOW = 0.5  # of the spot replicas, gone in one period: more than chance takes from each alone
_CALM_LOOKS = 20  # after which a time without losses is written down
_OVERDUE = 2.0  # times what nearly all starts have taken


class Count(NamedTuple):
    """How many replicas of a pool there are, and what is said of them.

    Parameters
    ----------
    name, zone, spot
        Of the pool.
    ready, pending
        Replicas that work or could; that start, wake or are repaired.
    start_up
        Seconds that a start is believed to take.
    """

    name: str
    zone: str
    spot: bool
    ready: int
    pending: int
    start_up: float


class Fleet:
    """Learned from counts alone, period by period: what a driver tells of every pool, and no replica by its name.

    Replicas that were asked for are followed in the order in which they were asked for. A crash is made good by the
    driver, an interruption is not. Two things happen to many at once: a zone is gone when the last of its ready
    replicas has crashed, until one of them is ready again; and a blow takes half of the spot replicas or more in one
    period. How often either happens is believed at first to be once in a month, and once in a day.

    Parameters
    ----------
    period
        Control period, s, > 0.

    Examples
    --------
    >>> fleet = Fleet(period=15.0)
    >>> for period, (ready, pending) in enumerate([(8, 0), (8, 4), (8, 4), (8, 4), (12, 0)]):
    ...     fleet.learn(15.0 * period, [Count("vm", "a", False, ready, pending, 40.0)])
    >>> fleet.start_up("vm", believed=40.0).mean
    50.0
    """

    def __init__(self, period: float = 15.0) -> None:
        if not 0.0 < period < math.inf:
            raise ValueError(f"period must be > 0 s, got {period!r}")
        self.period = period
        self.crashes = Reliability(mtbf=7.0 * _DAY, weight=0.1)
        self.interruptions = GammaRate(0.5, _DAY, _HALF_LIFE)
        self.outages = GammaRate(1.0, 30.0 * _DAY, _HALF_LIFE)
        self.blows = GammaRate(1.0, _DAY, _HALF_LIFE)
        self.gone: set[str] = set()  # zones
        self._calm = self._calm_spot = self._calm_time = 0.0  # exposure without losses that is not written down yet
        self._calm_zones = 0.0
        self._looks = 0
        self._lasting: dict[tuple[bool, float], float] = {}
        self._starts: dict[str, StartUp] = {}
        self._open: dict[str, list[list[float]]] = {}  # by pool: when asked for, and how many have not come
        self._before: dict[str, Count] = {}
        self._time: float | None = None

    def learn(self, time: float, counts: Iterable[Count], *, crashed: int = 0, interrupted: int = 0) -> None:
        """Take what there is at `time`, s, and how many were lost since the last look, in all."""
        now = {each.name: each for each in counts}
        passed = 0.0 if self._time is None else time - self._time
        if not (math.isfinite(time) and 0.0 < passed <= 10.0 * self.period):
            # The first look, a gap, or a clock that was set: nothing can be said of what happened in between.
            self._before, self._time = now, time if math.isfinite(time) else self._time
            self._open = {name: [[time, float(each.pending)]] for name, each in now.items() if each.pending}
            return
        assert self._time is not None, "time has passed since a look"
        asked, self._time = self._time, time
        self._learn_losses(now, passed, crashed, interrupted)
        for name, each in now.items():
            self._follow(each, self._before.get(name), asked, time)
        self._before = now

    def start_up(self, name: str, believed: float) -> StartUp:
        """How long replicas of a pool take to be ready."""
        if name not in self._starts:
            self._starts[name] = StartUp(believed)
        return self._starts[name]

    def overdue(self, each: Count) -> int:
        """Pending replicas of a pool that should have been ready long ago, and may never be."""
        if not each.pending or self._time is None:
            return 0
        usual = max(self.start_up(each.name, each.start_up).quantile(0.95), each.start_up)
        before = self._time - _OVERDUE * (usual + self.period)
        return min(each.pending, round(sum(count for since, count in self._open.get(each.name, ()) if since < before)))

    def lasting(self, spot: bool, start_up: float) -> float:
        """Share of the time that a replica which was asked for is there, if it is replaced as soon as it is missed."""
        known = self._lasting.get((spot, start_up))
        if known is None:
            missed = (start_up + self.period) * (self.crashes.failures.mean + spot * self.interruptions.mean)
            known = self._lasting[(spot, start_up)] = 1.0 / (1.0 + missed)
        return known

    def _learn_losses(self, now: Mapping[str, Count], passed: float, crashed: int, interrupted: int) -> None:
        zones = len({each.zone for each in now.values()}) if len(now) > 1 else 1
        self._calm_time += passed
        self._calm_zones += passed * zones
        for each in now.values():
            self._calm += passed * each.ready
            if each.spot:
                self._calm_spot += passed * each.ready
        self._looks += 1
        if self.gone:
            self.gone -= {each.zone for each in now.values() if each.ready > 0}
        if crashed or interrupted or self._looks % _CALM_LOOKS == 0:
            self._write_down(now, crashed, interrupted)

    def _write_down(self, now: Mapping[str, Count], crashed: int, interrupted: int) -> None:
        known = [(self._before[name], each) for name, each in now.items() if name in self._before]
        zones = {each.zone for each in now.values()}
        struck: set[str] = set()
        for zone in zones if crashed and len(zones) > 1 else ():
            then, later = (sum(pair[place].ready for pair in known if pair[place].zone == zone) for place in (0, 1))
            if then > 0 and later == 0 and crashed >= then:
                struck.add(zone)
        self.gone |= struck
        alone = crashed - sum(then.ready for then, _ in known if then.zone in struck)
        self.crashes.learn_period(self._calm, max(0, alone))
        self.outages.learn_one(len(struck), self._calm_zones)
        if self._calm_spot or interrupted:
            spot = sum(then.ready for then, _ in known if then.spot)
            blow = interrupted >= max(2.0, _BLOW * spot)
            self.blows.learn_one(float(blow), self._calm_time)
            self.interruptions.learn_one(0.0 if blow else interrupted, self._calm_spot)
        self._calm = self._calm_spot = self._calm_time = self._calm_zones = 0.0
        self._lasting.clear()

    def _follow(self, each: Count, before: Count | None, asked: float, time: float) -> None:
        waiting = self._open.setdefault(each.name, [])
        if not waiting and not each.pending:
            return
        missing = sum(count for _, count in waiting) - each.pending
        if missing < 0:
            waiting.append([asked, -missing])
        came: float = max(0, each.ready - before.ready) if before is not None else 0
        while missing > 0:
            # The first that came were the first that were asked for; who was given up was the last.
            oldest = came > 0
            since, count = waiting[0] if oldest else waiting[-1]
            gone = min(missing, count, came) if oldest else min(missing, count)
            if oldest:
                self.start_up(each.name, each.start_up).learn_one(time - since)
                came -= gone
            waiting[0 if oldest else -1][1] -= gone
            missing -= gone
            if waiting[0 if oldest else -1][1] <= 0:
                waiting.pop(0 if oldest else -1)

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it; who was on the way then, is forgotten."""
        return {
            "crashes": self.crashes.state(),
            "interruptions": self.interruptions.state(),
            "outages": self.outages.state(),
            "blows": self.blows.state(),
            "starts": {name: [each.prior, each.state()] for name, each in self._starts.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.crashes.restore(state["crashes"])
        self.interruptions.restore(state["interruptions"])
        self.outages.restore(state["outages"])
        self.blows.restore(state["blows"])
        for name, (prior, starts) in state["starts"].items():
            self.start_up(str(name), float(prior)).restore(starts)
