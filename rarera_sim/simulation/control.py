"""The one loop: what is goes up to a policy once per period, what shall be comes down to the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from rarera_sim.core.trace import Stage
from rarera_sim.policies.base import Decision, Observation, Pool, Scaler
from rarera_sim.simulation.cluster import Cluster
from rarera_sim.simulation.cluster import Pool as ClusterPool
from rarera_sim.simulation.direct import DirectTransport, Served
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.line import late_after
from rarera_sim.simulation.processor import State
from rarera_sim.simulation.quantities import Count, CountOrNone, PositiveSeconds, Quantile, Seconds, Settings
from rarera_sim.simulation.transport import Transport


class ControlSettings(Settings, frozen=True, kw_only=True):
    """How often a policy is asked, and within which limits it is followed.

    Parameters
    ----------
    period
        Seconds between decisions.
    replicas_min, replicas_max
        Fewest and most replicas awake, whatever a policy wants; the most wins.
    alarm
        Response time in seconds at which an alarm goes off: `alarm_replicas` more are started at once, the policy
        unasked, and kept for `alarm_hold` seconds. None: there is no alarm.
    alarm_period
        Seconds between looks at the oldest event that waits and at those that have finished.
    """

    period: PositiveSeconds = 15.0
    replicas_min: Count = 1
    replicas_max: CountOrNone = 100
    alarm: PositiveSeconds | None = None
    alarm_replicas: Count = 1
    alarm_hold: Seconds = 300.0
    alarm_period: PositiveSeconds = 1.0


class Objective(Settings, frozen=True, kw_only=True):
    """What is promised: this share of the responses within so many seconds of their receipt.

    Parameters
    ----------
    quantile
        Share of the events, between 0 and 1.
    bound
        Response time allowed, seconds.
    """

    quantile: Quantile = 0.99
    bound: PositiveSeconds = 30.0


class Control(NamedTuple):
    """One period: what was observed at its end and what was decided."""

    observation: Observation
    decision: Decision
    down: int


class Controller:
    """Asks a policy once per period and does what it says.

    Parameters
    ----------
    tell
        Called with every `Control`.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: ControlSettings,
        objective: Objective,
        policy: Scaler,
        cluster: Cluster,
        transport: Transport,
        tell: Callable[[Control], None],
    ) -> None:
        self._env = env
        self._settings = settings
        self._objective = objective
        self.policy = policy
        self._cluster = cluster
        self._transport = transport
        self._direct = transport if isinstance(transport, DirectTransport) else None
        self._tell = tell
        self._received_at: dict[int, float] = {}
        self._waiting_since: dict[int, float] = {}  # by number, oldest first
        self._again: dict[int, float] = {}  # the same of those that wait once more
        self._inside: set[int] = set()
        self._responses: list[float] = []
        self._served: list[NDArray[np.float64]] = []  # responses, too
        self._seen = _Totals()
        self._pools_told: dict[int, Pool] = {}
        self._received = 0  # since the run began
        self._received_sum = 0.0  # of the moments
        self._left = 0
        self._left_sum = 0.0
        self._area = 0.0  # of events over time, until the last look
        self._looked_at_responses = 0
        self._floor = 0
        self._floor_until = 0.0
        self._obey(policy.decide(), at_once=True)
        after(env, settings.period, self._act)
        if settings.alarm is not None:
            after(env, settings.alarm_period, self._listen)

    # What happens to events

    def hears(self) -> dict[str, Callable[[int], None]]:
        """What to call with the number of an event that is at a stage: receipts and finishes make rates and times."""
        finished = self._finish if self._direct is None else self._finish_direct
        return {
            Stage.RECEIVED: self._receive,
            Stage.STARTED: self._begin,
            Stage.FINISHED: finished,
            Stage.MISREAD: finished,
            Stage.RELEASED: self._wait_again,
            Stage.REDELIVERED: self._wait_again,
            Stage.DROPPED: self._leave,
            Stage.UNREADABLE: self._leave,
            Stage.REJECTED: self._leave,
            Stage.DEAD_LETTER: self._leave if self._direct is None else self._leave_direct,
            Stage.ABANDONED: self._leave if self._direct is None else self._leave_direct,
        }

    def hears_all(self) -> dict[str, Callable[[Sequence[int], Sequence[float]], None]]:
        """The same for many events, each with the moment at which it was there."""
        return {Stage.RECEIVED: self._receive_all, Stage.STARTED: self._begin_all, Stage.FINISHED: self._finish_all}

    def serve(self, served: Served) -> None:
        """Hear of services that took the short way."""
        self._served.append(served.finished - served.received)
        self._left += len(served.finished)
        self._left_sum += float(served.finished.sum())

    def _receive(self, number: int) -> None:
        now = self._env._now
        self._received += 1
        self._received_sum += now
        self._received_at[number] = now
        self._waiting_since[number] = now
        self._inside.add(number)

    def _receive_all(self, numbers: Sequence[int], moments: Sequence[float]) -> None:
        come = dict(zip(numbers, moments, strict=True))
        self._received += len(numbers)
        for moment in moments:
            self._received_sum += moment
        self._received_at.update(come)
        self._waiting_since.update(come)
        self._inside.update(numbers)

    def _begin(self, number: int) -> None:
        self._waiting_since.pop(number, None)
        if self._again:
            self._again.pop(number, None)

    def _begin_all(self, numbers: Sequence[int], _: Sequence[float]) -> None:
        waiting, again = self._waiting_since, self._again
        for number in numbers:
            waiting.pop(number, None)
            if again:
                again.pop(number, None)

    def _finish_all(self, numbers: Sequence[int], moments: Sequence[float]) -> None:
        received_at, inside, responses = self._received_at, self._inside, self._responses
        for number, moment in zip(numbers, moments, strict=True):
            received = received_at.pop(number, None)
            if received is not None:
                responses.append(moment - received)
            if number in inside:
                inside.remove(number)
                self._left += 1
                self._left_sum += moment

    def _finish(self, number: int) -> None:
        received = self._received_at.pop(number, None)
        if received is not None:
            self._responses.append(self._env._now - received)
        self._leave(number)

    def _leave(self, number: int) -> None:
        if number in self._inside:
            self._inside.remove(number)
            self._left += 1
            self._left_sum += self._env._now
            self._begin(number)

    def _finish_direct(self, number: int) -> None:
        assert self._direct is not None, "without a transport"
        self._responses.append(self._env._now - self._direct.received_at(number))
        self._leave_direct(number)

    def _leave_direct(self, _: int) -> None:
        self._left += 1
        self._left_sum += self._env._now

    def _came(self, number: int) -> float:
        if self._direct is not None:
            return self._direct.received_at(number)
        return self._received_at.get(number, self._env._now)

    def _wait_again(self, number: int) -> None:
        received = self._received_at.get(number)
        if received is not None:
            self._again[number] = received

    # The loop

    def _act(self, _: object) -> None:
        self._transport.settle()
        observation = self._observe()
        self.policy.observe(observation)
        decision = self.policy.decide()
        self._tell(Control(observation, decision, self._cluster.down))
        self._obey(decision)
        after(self._env, self._settings.period, self._act)

    def _obey(self, decision: Decision, *, at_once: bool = False) -> None:
        cluster, pools = self._cluster, self._cluster.pools
        line = cluster.line
        if decision.dispatch is not None:
            line = line.asked(decision.dispatch)
        if decision.discipline is not None:
            line = line.asked(decision.discipline)
        if decision.batch is not None:
            line = line.of(decision.batch)
        if line != cluster.line:
            cluster.ask(line, self._came)
        if line.discipline == "late-last":
            mean = cluster.finished_time / cluster.finished if cluster.finished else 0.0
            cluster.set_late_after(late_after(self._objective.bound, mean))
        first = pools[0].settings.name
        names = [pool.settings.name for pool in pools]
        wanted = dict(decision.pools) if decision.pools is not None else {first: decision.replicas}
        for name in [*wanted, *(decision.asleep or {})]:
            if name not in names:
                raise ValueError(f"decision names no pool there is, {name!r}; there are {', '.join(names)}")
        asleep = None if decision.asleep is None else dict(decision.asleep)
        if at_once:
            # Before anything is decided, what the scenario says is there.
            asleep = {pool.settings.name: pool.settings.asleep for pool in pools if pool.settings.asleep} | (
                asleep or {}
            )
        cluster.scale(self._within(wanted), asleep, at_once=at_once)

    def _within(self, wanted: dict[str, int]) -> dict[str, int]:
        """The same, neither more nor fewer in all than the limits allow, nor than a pool has."""
        most = self._settings.replicas_max
        least = min(self._settings.replicas_min, most)
        if self._env.now < self._floor_until:
            least = min(most, max(least, self._floor))
        allowed: dict[str, int] = {}
        for pool in self._cluster.pools:
            name = pool.settings.name
            if name in wanted:
                allowed[name] = max(0, min(wanted[name], pool.settings.replicas_max, most))
                most -= allowed[name]
        missing = least - sum(allowed.values())
        for pool in self._cluster.pools:
            if missing > 0:
                name = pool.settings.name
                more = min(missing, pool.settings.replicas_max - allowed.get(name, 0))
                allowed[name] = allowed.get(name, 0) + more
                missing -= more
        return allowed

    # The alarm

    def _listen(self, _: object) -> None:
        settings = self._settings
        assert settings.alarm is not None, "an alarm is set"
        self._transport.settle()
        new = [*self._responses, *(float(each.max()) for each in self._served)][self._looked_at_responses :]
        self._looked_at_responses = len(self._responses) + len(self._served)
        slowest = max([self._wait_oldest(), *new])
        if slowest > settings.alarm and self._env.now >= self._floor_until:
            self._raise(self._awake() + settings.alarm_replicas, self._env.now + settings.alarm_hold)
        after(self._env, settings.alarm_period, self._listen)

    def add_capacity(self, factor: float, until: float) -> None:
        """Have at least so many times the replicas that are awake until then, the policy unasked; within the limits."""
        floor = self._floor if self._env.now < self._floor_until else 0
        self._raise(max(floor, ceil(self._awake() * factor)), max(self._floor_until, until))

    def _awake(self) -> int:
        return sum(pool.awake for pool in self._cluster.pools)

    def _raise(self, floor: int, until: float) -> None:
        self._floor, self._floor_until = floor, until
        self._cluster.scale(self._within({pool.settings.name: pool.awake for pool in self._cluster.pools}))

    # What is

    def _wait_oldest(self) -> float:
        if self._direct is not None:
            moments = iter([] if self._direct.oldest is None else [self._direct.oldest])
        else:
            moments = _oldest(self._waiting_since, self._again)
        return self._env.now - min(moments, default=self._env.now)

    def _observe(self) -> Observation:
        cluster, period = self._cluster, self._settings.period
        if self._direct is not None:
            self._received, self._received_sum = self._direct.received()
        in_service, busy_time = cluster.work_now()
        totals = _Totals(
            self._received,
            cluster.finished,
            cluster.finished_time,
            cluster.finished_work,
            cluster.squares,
            busy_time,
            cluster.running_time,
            cluster.failed,
            cluster.interrupted,
            self._area_until_now(),
        )
        new = _Totals._make(now - before for now, before in zip(totals, self._seen, strict=True))
        self._seen = totals
        responses: list[float] | NDArray[np.float64] = self._responses
        if self._served:
            responses = np.concatenate([*self._served, np.array(self._responses)])
        bound = self._objective.bound
        count = len(responses)
        late = int((np.asarray(responses) > bound).sum()) if count else 0
        observation = Observation(
            arrival_rate=new.received / period,
            # From finished services only, so that one long service under way does not look like a slow machine.
            service_rate=new.finished / new.finished_time if new.finished and new.finished_time > 0.0 else 0.0,
            backlog=self._transport.waiting + cluster.waiting,
            replicas=cluster.ready,
            # A crashed processor is being started again: for a policy it is one that is still to come.
            pending=cluster.starting + cluster.down,
            in_service=in_service,
            utilisation=min(1.0, new.busy / new.running) if new.running > 0.0 else 0.0,
            time=self._env.now,
            response_quantile=_quantile(np.sort(responses), self._objective.quantile) if count else None,
            late_share=late / count if count else None,
            price_per_hour=cluster.pools[0].settings.hardware.price_per_hour,
            finished=count,
            late=late,
            work_rate=new.finished / new.work if new.finished and new.work > 0.0 else 0.0,
            service_scv=_scv(new.finished, new.work, new.squares),
            concurrency=max(0.0, new.area) / period,
            wait_oldest=self._wait_oldest(),
            crashed=new.failed,
            interrupted=new.interrupted,
            pools=self._pools(),
            discipline=cluster.line.discipline if cluster.line.dispatch == "central" else None,
            late_waiting=cluster.late_waiting,
        )
        self._responses = []
        self._served = []
        self._looked_at_responses = 0
        return observation

    def _area_until_now(self) -> float:
        """Events in the system over time since the run began: each from its receipt until it left, or until now."""
        now = self._env.now
        return (self._received * now - self._received_sum) - (self._left * now - self._left_sum)

    def _pools(self) -> tuple[Pool, ...]:
        return tuple([self._pool(pool) for pool in self._cluster.pools])

    def _pool(self, pool: ClusterPool) -> Pool:
        counts = pool.ready, pool.pending, pool.counts[State.ASLEEP]
        told = self._pools_told.get(pool.number)
        if told is not None and (told.ready, told.pending, told.asleep) == counts:
            return told  # as most of the time
        settings, hardware = pool.settings, pool.settings.hardware
        told = self._pools_told[pool.number] = Pool(
            settings.name,
            *counts,
            speed=hardware.speed,
            price_per_hour=hardware.price_per_hour,
            price_asleep_per_hour=hardware.price_asleep_per_hour,
            start_up=hardware.start_up,
            wake_up=hardware.wake_up,
            zone=settings.zone,
            spot=hardware.spot,
            replicas_max=settings.replicas_max,
        )
        return told


class _Totals(NamedTuple):
    """Counted since the run began; the difference of two is a period."""

    received: int = 0
    finished: int = 0
    finished_time: float = 0.0
    work: float = 0.0
    squares: float = 0.0
    busy: float = 0.0
    running: float = 0.0
    failed: int = 0
    interrupted: int = 0
    area: float = 0.0


def _quantile(values: NDArray[np.float64], level: float) -> float:
    """What `numpy.quantile` gives for sorted values, to the bit, in a tenth of its time."""
    place = level * (len(values) - 1)
    below = int(place)
    low = float(values[below])
    high = float(values[min(below + 1, len(values) - 1)])
    share = place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1.0 - share)


def _scv(count: int, total: float, squares: float) -> float | None:
    """Squared coefficient of variation from sums, of the sample."""
    if count < 2 or not total > 0.0:
        return None
    mean = total / count
    return max(0.0, (squares - count * mean * mean) / (count - 1)) / (mean * mean)


def _oldest(waiting: dict[int, float], again: dict[int, float]) -> Iterator[float]:
    yield from again.values()
    for moment in waiting.values():
        yield moment
        return
