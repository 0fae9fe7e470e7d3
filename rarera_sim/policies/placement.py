"""Which hardware, and where: so much work dealt out over pools, the cheapest first, so that no blow takes too much."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from rarera_sim.learning.fleets import Count, Fleet
from rarera_sim.policies.base import Pool
from rarera_sim.policies.staffing import Limits

_TOO_LITTLE = 0.02  # of a replica: what is missing less is not worth one
_SAME = 0.01  # prices that differ by less are the same
_BLOW_SHARE = 0.25  # of what may be late, that blows to spot replicas may cost
_PERIODS_MAX = 400  # in which a slow kind has to have earned its start
_FAR_LONGER = 2.0  # times the soonest start-up: who takes that long carries no more than what is always needed
_UNEVEN = 0.25  # of a kind's work, by which the fullest zone may exceed the emptiest


class Work(NamedTuple):
    """How much work is wanted, in replicas of speed 1.

    Parameters
    ----------
    least, most
        Awake: asked for below the one, given back above the other.
    kept_least, kept_most
        Awake and asleep together, where replicas can sleep.
    """

    least: float
    most: float
    kept_least: float = 0.0
    kept_most: float = 0.0


class Placed(NamedTuple):
    """Replicas by pool, and in words what decided."""

    awake: dict[str, int]
    asleep: dict[str, int]
    words: str

    @property
    def replicas(self) -> int:
        """Awake."""
        return sum(self.awake.values())


@dataclass
class _Kind:
    """A pool while it is being dealt to."""

    pool: Pool
    work: float  # of one replica, losses taken off
    cost: float  # of a unit of it
    there: int  # awake, or soon
    hidden: int  # pending that nobody counts on any more
    asleep: int
    slow: bool
    room: int
    awake: int = field(init=False)
    woken: int = 0  # of those awake: they are there at once, nearly
    surplus: float = 0.0  # work beyond what the pool may carry

    def __post_init__(self) -> None:
        self.awake = self.there


class Placement:
    """Deals work out over pools.

    - A pool's price is that of a unit of work that lasts: price / (speed * share of the time that a replica is there),
      with crashes and interruptions as they were seen. The cheapest pool is filled first.
    - Spot replicas may carry what can be lost in one blow: blows per second * (start-up + period) * share of the work
      is at most a quarter of the share that may be late.
    - What costs the same is spread over zones; a zone that costs more is used when the cheap one is full, as an outage
      a month makes too few late to pay for it: more than `price * outages * (start-up + period)` it is not worth.
    - A pool that takes longer to start than the forecast looks ahead carries what was needed in as much of the time
      as it costs of the dearest, over a time in which a start has been earned: start_up * dearest / (dearest - cost).
    - A dear replica goes when the cheap one that replaces it is ready, not when it is asked for.
    - Of a zone that is gone nothing is counted, and one replica is left there to tell when it is back; neither are
      replicas counted that should have been ready long ago.
    - What may be needed before a start-up is over, and not before a wake-up is, sleeps.

    Parameters
    ----------
    fleet
        What has been learned of the pools.
    limits
        Of all replicas awake.
    period
        Control period, s.
    ahead
        Start-up that the forecast looks ahead for, s.
    share
        Of the events that may be late.

    Examples
    --------
    >>> from rarera_sim.learning.fleets import Fleet
    >>> placement = Placement(Fleet(period=15.0), Limits(), period=15.0, ahead=60.0, share=0.008)
    >>> pools = Pool("zone-a", zone="a"), Pool("zone-b", zone="b"), Pool("large", speed=2.0, price_per_hour=2.2)
    >>> placement.place(pools, Work(9.0, 12.0), price=20.0).awake
    {'zone-a': 5, 'zone-b': 4, 'large': 0}
    """

    def __init__(self, fleet: Fleet, limits: Limits, *, period: float, ahead: float, share: float) -> None:
        self.fleet = fleet
        self.limits = limits
        self.period = period
        self.ahead = ahead
        self.share = share
        self._needed: deque[float] = deque(maxlen=_PERIODS_MAX)  # work, in the last hour or so
        self._settling: dict[str, int] = {}  # asked for only to sleep
        self._settling_next: dict[str, int] = {}
        self._decided = True

    def observe(self, time: float, pools: Iterable[Pool], *, crashed: int = 0, interrupted: int = 0) -> None:
        """Learn of the pools as they are at `time`, s, and of what was lost in the period before."""
        self._decided, self._settling = False, self._settling_next
        self.fleet.learn(time, [_count(each) for each in pools], crashed=crashed, interrupted=interrupted)

    def place(self, pools: Sequence[Pool], wanted: Work, *, price: float) -> Placed:
        """So many replicas of each pool.

        Parameters
        ----------
        pools
            As they are now.
        wanted
            Work.
        price
            Of a late event, in units of what capacity costs.
        """
        if not self._decided:  # whoever asks twice hears the same
            self._needed.append(wanted.least)
            self._decided = True
        if len(pools) == 1 and pools[0].wake_up is None:
            return self._place_alone(pools[0], wanted)
        kinds = self._kinds(pools, sleep=wanted.kept_least > 0.0)
        cheap = sorted(kinds, key=lambda kind: kind.cost)
        self._wake(cheap, wanted.least)
        self._fill(cheap, wanted.least, price)
        self._give_back(cheap, wanted.most)
        self._limit(cheap)
        asleep = self._put_to_sleep(cheap, wanted)
        return Placed({kind.pool.name: kind.awake + kind.hidden for kind in kinds}, asleep, self._words(kinds))

    def _place_alone(self, pool: Pool, wanted: Work) -> Placed:
        """The same where there is nothing to choose: in a quarter of the time."""
        hidden = min(pool.pending, self.fleet.overdue(_count(pool))) if pool.pending else 0
        work = max(1e-6, pool.speed * self.fleet.lasting(pool.spot, pool.start_up))
        awake = pool.ready + pool.pending - hidden
        least, most = (math.ceil(each / work - _TOO_LITTLE) for each in (wanted.least, wanted.most))
        awake = min(max(awake, min(least, pool.replicas_max - hidden)), most)
        return Placed({pool.name: self.limits.within(awake + hidden)}, {}, "")

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {"fleet": self.fleet.state(), "needed": list(self._needed), "settling": dict(self._settling_next)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.fleet.restore(state["fleet"])
        self._needed.extend(float(each) for each in state["needed"])
        self._settling_next = {str(name): int(count) for name, count in state["settling"].items()}

    def start_up(self, pools: Sequence[Pool]) -> float:
        """Of the kind that is asked for first, s: the cheapest, unless it takes far longer than the others."""
        soonest = min(pool.start_up for pool in pools)
        first = min(
            (self._kind(pool, gone=False, sleep=False) for pool in pools if pool.start_up <= _FAR_LONGER * soonest),
            key=lambda kind: (kind.cost, kind.pool.start_up),
        )
        return first.pool.start_up

    # What is there

    def _kinds(self, pools: Sequence[Pool], *, sleep: bool) -> list[_Kind]:
        gone = self.fleet.gone
        if gone and gone >= {pool.zone for pool in pools}:
            gone = set()  # there is nowhere else
        return [self._kind(pool, gone=pool.zone in gone, sleep=sleep) for pool in pools]

    def _kind(self, pool: Pool, *, gone: bool, sleep: bool) -> _Kind:
        settling = min(self._settling.get(pool.name, 0), pool.pending)
        pending, start_up = pool.pending - settling, pool.start_up
        lasting = self.fleet.lasting(pool.spot, start_up)
        work = max(1e-6, pool.speed * lasting)
        hidden = min(1, pending) if gone else min(pending, self.fleet.overdue(_count(pool)))
        asleep = 0 if gone else pool.asleep
        wakes = sleep and pool.wake_up is not None
        return _Kind(
            pool,
            work=work,
            cost=max(0.0, pool.price_per_hour) / work,
            there=0 if gone else pool.ready + pending - hidden,
            hidden=hidden,
            asleep=asleep,
            slow=not wakes and (sleep or start_up > self.ahead),
            room=0 if gone else pool.replicas_max - hidden,
        )

    # What shall be

    def _wake(self, kinds: Sequence[_Kind], least: float) -> None:
        missing = least - _work(kinds)
        for kind in kinds:
            if missing > _TOO_LITTLE * kind.work and kind.asleep:
                woken = min(kind.asleep, math.ceil(missing / kind.work - _TOO_LITTLE))
                kind.awake += woken
                kind.woken = woken
                missing -= woken * kind.work

    def _fill(self, kinds: Sequence[_Kind], least: float, price: float) -> None:
        """Ask for what is missing, of the cheapest that there is."""
        left = least
        spot = self._spot_share(kinds) * least
        dearest = max((kind.cost for kind in kinds if not kind.slow), default=math.inf)
        for group in _groups(kinds, _SAME + price * self.fleet.outages.mean * (self.ahead + self.period)):
            carries, first = left, group[0]
            if first.pool.spot:
                carries = min(carries, spot)
            if first.slow and any(not kind.slow for kind in kinds):
                carries = min(carries, self._base(first, dearest))
            have = _work(group)
            while have < carries - _TOO_LITTLE * first.work:
                chosen = _emptiest(group, kinds)
                if chosen is None or (first.pool.spot and have + chosen.work > spot + 1e-9 and spot < left):
                    break
                chosen.awake += 1
                have += chosen.work
            self._even_out(group, have)
            if first.pool.spot:
                spot -= min(have, carries)
                over = have - carries - first.work
                for kind in group if spot < left else ():
                    kind.surplus = max(0.0, over)
            left -= min(have, carries)

    def _spot_share(self, kinds: Sequence[_Kind]) -> float:
        """What share of the work may be lost in one blow, as often as blows come."""
        if all(kind.pool.spot for kind in kinds):
            return 1.0
        return min(1.0, _BLOW_SHARE * self.share / (self.fleet.blows.mean * (self.ahead + self.period)))

    def _base(self, kind: _Kind, dearest: float) -> float:
        """What has been needed for so long, and for so much of that time, that this kind would have paid."""
        if not kind.cost < dearest < math.inf:
            return 0.0 if dearest < math.inf else math.inf
        periods = math.ceil(kind.pool.start_up * (1.0 + kind.cost / (dearest - kind.cost)) / self.period)
        if periods > len(self._needed):
            return 0.0
        recent = sorted(islice(reversed(self._needed), periods))
        return recent[int((1.0 - kind.cost / dearest) * len(recent))]

    def _even_out(self, group: Sequence[_Kind], have: float) -> None:
        """Move towards the emptiest zone: one is asked for there, and the fullest gives one back when it is ready."""
        if len(group) < 2:
            return
        empty = _emptiest(group, group)
        full = max(group, key=lambda kind: kind.awake * kind.work)
        if empty is not None and (full.awake * full.work - empty.awake * empty.work) > max(
            2.0 * full.work, _UNEVEN * have
        ):
            empty.awake += max(1, int((have / len(group) - empty.awake * empty.work) / empty.work))

    def _give_back(self, kinds: Sequence[_Kind], most: float) -> None:
        """What is too much goes, the dearest first; who is not ready yet before who works."""
        excess = _work(kinds) - most
        if excess <= 0.0:
            return
        ready = sum([min(kind.awake, kind.pool.ready + kind.woken) * kind.work for kind in kinds if kind.there])
        while excess > 0.0:
            chosen = max(
                (kind for kind in kinds if kind.awake and kind.work * (1.0 - _TOO_LITTLE) <= excess),
                key=lambda kind: (kind.surplus > 0.0, round(kind.cost / _SAME), kind.awake * kind.work),
                default=None,
            )
            if chosen is None:
                return
            if chosen.awake <= chosen.pool.ready + chosen.woken:
                if ready - chosen.work < most - _TOO_LITTLE * chosen.work:
                    return  # who replaces it is not ready
                ready -= chosen.work
            chosen.awake -= 1
            chosen.surplus -= chosen.work
            excess -= chosen.work

    def _limit(self, kinds: Sequence[_Kind]) -> None:
        least, most = self.limits.replicas_min, self.limits.replicas_max
        total = sum(kind.awake + kind.hidden for kind in kinds)
        for kind in kinds:
            if total < least:
                more = max(0, min(least - total, kind.room - kind.awake))
                kind.awake += more
                total += more
        for kind in reversed(kinds):
            if total > most:
                fewer = min(total - most, kind.awake)
                kind.awake -= fewer
                total -= fewer

    def _put_to_sleep(self, kinds: Sequence[_Kind], wanted: Work) -> dict[str, int]:
        able = [kind for kind in kinds if kind.pool.wake_up is not None]
        if not able:
            return {}
        awake, asleep = _work(kinds), {}
        self._settling_next = {}
        settling = {kind.pool.name: min(self._settling.get(kind.pool.name, 0), kind.pool.pending) for kind in able}
        for kind in sorted(able, key=lambda kind: (kind.pool.price_asleep_per_hour / kind.work, kind.pool.name)):
            name = kind.pool.name
            # Who is awake now and shall not be falls asleep, and is no start.
            have = kind.asleep + settling[name] - min(kind.asleep, kind.awake - kind.there)
            least, most = (math.ceil(max(0.0, each - awake) / kind.work - _TOO_LITTLE) for each in wanted[2:])
            asleep[name] = max(0, min(max(have, least), most, kind.room - kind.awake))
            self._settling_next[name] = max(0, asleep[name] - max(0, have - settling[name]))
            awake += asleep[name] * kind.work
        return asleep

    def _words(self, kinds: Sequence[_Kind]) -> str:
        if len(kinds) == 1:
            return ""
        many = ", ".join(f"{kind.awake + kind.hidden} {kind.pool.name}" for kind in kinds if kind.awake + kind.hidden)
        gone = sorted(self.fleet.gone & {kind.pool.zone for kind in kinds})
        return many + (f", zone {' and '.join(gone)} gone" if gone else "")


def _count(pool: Pool) -> Count:
    return Count(pool.name, pool.zone, pool.spot, pool.ready, pool.pending, pool.start_up)


def _work(kinds: Sequence[_Kind]) -> float:
    return sum([kind.awake * kind.work for kind in kinds])


def _groups(kinds: Sequence[_Kind], same: float) -> list[list[_Kind]]:
    """Those that cost about the same and are lost alike, together; the cheapest first."""
    groups: list[list[_Kind]] = []
    for kind in kinds:
        for group in groups:
            alike = group[0].pool.spot == kind.pool.spot and group[0].slow == kind.slow
            if alike and kind.cost <= group[0].cost * (1.0 + same):
                group.append(kind)
                break
        else:
            groups.append([kind])
    return groups


def _emptiest(group: Sequence[_Kind], kinds: Sequence[_Kind]) -> _Kind | None:
    """The pool with room in the zone with the least work; the pool with least among those of one zone."""
    zones: dict[str, float] = {}
    for kind in kinds:
        zones[kind.pool.zone] = zones.get(kind.pool.zone, 0.0) + kind.awake * kind.work
    return min(
        (kind for kind in group if kind.awake < kind.room),
        key=lambda kind: (zones[kind.pool.zone], kind.awake * kind.work),
        default=None,
    )
