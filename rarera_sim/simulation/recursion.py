"""The model without its messages: one queue, replicas and a policy, fast enough to tune policies on weeks of events.

The same semantics as `World` with a perfect channel, event by event: first come, first served by the idle replica of
the lowest slot; a start-up that is paid for; draining that is paid for; a policy that is asked once per period. What
lies between two decisions runs compiled where numba is installed (the extra `compiled`), so that what is left is the
policy itself. Without numba the same code runs as it is, for small loads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rarera_sim.core.errors import BadInput
from rarera_sim.policies import base as policies
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.simulation.hardware import PoolSettings
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.line import late_after
from rarera_sim.simulation.world import System

if TYPE_CHECKING:
    from rarera_sim.simulation.compiled import Pool, State

Floats = NDArray[np.float64]
Chunk = tuple[Floats, Floats]

_MINUTE = 60.0
_NONE = np.empty(0)
_UNTAKEN = np.empty(0, dtype=np.uint8)
_SYSTEM = System()
_STREAMS = Streams(1)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a policy made of a load.

    Parameters
    ----------
    events, late
        Events that arrived, and those of them whose response was beyond the bound; what was never done is late.
    replica_time
        Seconds of replicas paid for in full: starting, ready, draining and down, until the end of the load.
    cost
        US dollars for them, and for those asleep.
    launches
        Replicas started, those of the beginning included.
    crashed, interrupted
        Replicas that failed, and that their owner took back.
    periods
        One row per control period: `time_s` (its end), `arrived`, `finished`, `late` (by the period of arrival),
        `backlog`, `ready`, `pending`, `asleep`, `paid_s` (replica-seconds), `cost` (US dollars, asleep ones included),
        `wanted` (decided at its end).
    histogram
        Responses by bins of `response_edges`.
    departures
        When each event was done, seconds, NaN if never; empty unless asked for.
    allowed
        Share of late events that the objective allows.
    """

    events: int
    late: int
    replica_time: float
    cost: float
    launches: int
    crashed: int
    interrupted: int
    periods: pl.DataFrame
    histogram: NDArray[np.int64]
    response_edges: Floats
    departures: Floats
    allowed: float
    period: float

    def __repr__(self) -> str:
        return f"Outcome({self.events} events, {self.violations:.3%} late, {self.replica_time:.6g} replica-seconds)"

    @property
    def violations(self) -> float:
        """Share of the events that were late."""
        return self.late / self.events if self.events else 0.0

    @property
    def replicas_mean(self) -> float:
        """Replicas paid for at a time."""
        return self.replica_time / (self.period * self._paid.height) if self._paid.height else 0.0

    @property
    def minutes(self) -> pl.DataFrame:
        """One row per minute of arrival: `minute` (from 0), `arrived`, `late`."""
        minute = ((pl.col("time_s") - self.period / 2.0) / _MINUTE).floor().cast(pl.Int64).alias("minute")
        return self.periods.group_by(minute, maintain_order=True).agg(pl.col("arrived", "late").sum())

    @property
    def late_minutes(self) -> float:
        """Share of the minutes with arrivals in which more of them were late than the objective allows."""
        minutes = self.minutes.filter(pl.col("arrived") > 0)
        over = minutes.filter(pl.col("late") > self.allowed * pl.col("arrived"))
        return over.height / minutes.height if minutes.height else 0.0

    def response_quantile(self, share: float) -> float:
        """Response time in seconds that this share of the finished events kept, to 2 %: the bin's upper edge."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share must be from 0 to 1, got {share!r}")
        total = self.histogram.cumsum()
        place = int(np.searchsorted(total, share * total[-1]))
        return float(self.response_edges[min(place + 1, len(self.response_edges) - 1)])

    @property
    def _paid(self) -> pl.DataFrame:
        return self.periods.filter(pl.col("paid_s") > 0.0)


def evaluate(
    times: Floats,
    services: Floats,
    policy: Scaler,
    *,
    system: System = _SYSTEM,
    duration: float | None = None,
    departures: bool = False,
    drain_max: float = 3600.0,
    streams: Streams = _STREAMS,
) -> Outcome:
    """Run a policy over arrivals that are all at hand.

    Parameters
    ----------
    times
        When events arrive, seconds from the beginning, ascending, shape (events,).
    services
        What each takes at speed 1, seconds, shape (events,).
    policy
        Trained already, if it is to be.
    system
        Its hardware or pools, crashes, spot, outages, control and objective are used; messages travel at once and are
        never lost. What the evaluator does not know is refused.
    duration
        Length of the load in seconds; until the last arrival where it is left out. Whole periods are counted.
    departures
        Note when each event was done.
    drain_max
        Seconds after the load until what is not done counts as never done.
    streams
        Where crashes and interruptions come from: the same for every policy, and for the model.

    Examples
    --------
    >>> from rarera_sim.policies import Fixed
    >>> outcome = evaluate(np.arange(0.0, 60.0, 0.5), np.full(120, 1.0), Fixed(3), departures=True)
    >>> outcome.events, outcome.violations, outcome.replica_time, outcome.launches
    (120, 0.0, 180.0, 3)
    >>> outcome.departures[:3]
    array([1. , 1.5, 2. ])
    """
    if duration is None:
        duration = float(times[-1]) if len(times) else 0.0
    noted = np.full(len(times), np.nan) if departures else _NONE
    chunk = np.asarray(times, dtype=np.float64), np.asarray(services, dtype=np.float64)
    return _Run(system, duration, noted, streams).over([chunk], policy, drain_max)


def evaluate_chunks(
    chunks: Iterable[Chunk],
    policy: Scaler,
    *,
    duration: float,
    system: System = _SYSTEM,
    drain_max: float = 3600.0,
    streams: Streams = _STREAMS,
) -> Outcome:
    """Run a policy over arrivals that come in pieces: (times, services) after (times, services), as in `evaluate`."""
    return _Run(system, duration, _NONE, streams).over(chunks, policy, drain_max)


class _Run:
    """The side of a run that is Python: room for the compiled side, weather, observations, decisions."""

    def __init__(self, system: System, duration: float, departures: Floats, streams: Streams) -> None:
        # Numba takes a second to import: only who evaluates pays for it.
        from rarera_sim.simulation import compiled

        _refuse_what_is_not_modelled(system)
        self._kernel: Any = compiled
        self._system = system
        self._control = system.control
        self._objective = system.objective
        self._departures = departures
        self._periods = max(1, math.ceil(duration / system.control.period))
        self._late = np.zeros(self._periods + 1, dtype=np.int64)
        self._histogram = np.zeros(compiled.BINS, dtype=np.int64)
        self._settings = system.all_pools
        self._zones = sorted({each.zone for each in self._settings})
        self._outages = sorted(system.outages.at, key=lambda each: each.at)
        self._weather = _Weather(system, streams, duration)
        state = compiled.records(compiled.State, 1)
        state[0] = tuple(
            compiled.State(
                system.control.period,
                system.objective.bound,
                system.objective.quantile,
                system.crashes.detection_delay,
                system.spot.notice,
            )
        )
        pools = compiled.records(compiled.Pool, len(self._settings))
        for number, each in enumerate(self._settings):
            hardware = each.hardware
            wake_up = -1.0 if hardware.wake_up is None else hardware.wake_up
            zone = self._zones.index(each.zone)
            pools[number] = tuple(
                compiled.Pool(0, 0, hardware.speed, hardware.start_up, wake_up, each.replicas_max, zone, 0.0)
            )
        none = compiled.records(compiled.Slot, 0)
        self._world = compiled.World(
            state, none, pools, *(_NONE,) * 5, _UNTAKEN, compiled.records(compiled.Waiting, 1024), *(_NONE,) * 2
        )
        self._discipline = "fifo"
        self._make_room([64 // len(self._settings)] * len(self._settings))
        self._responses = np.empty(4096)
        self._last = False
        self._series: list[tuple[float, int, int, int, int, int, int, float, float, int]] = []

    def over(self, chunks: Iterable[Chunk], policy: Scaler, drain_max: float) -> Outcome:
        """Run the policy over the load."""
        period = self._control.period
        pieces = _checked(chunks, self._periods * period)
        periods_max = self._periods + math.ceil(drain_max / period)
        before, pools_before = self._seen(), self._pools()
        busy_time = running_time = 0.0
        self._obey(policy.decide(), before, pools_before, at_once=True)
        while True:
            self._advance(pieces)
            now, pools = self._seen(), self._pools()
            busy, running = now.busy_time - busy_time, now.running_time - running_time
            # As the model does: last bits can decide how many replicas a policy asks for.
            busy_time += busy
            running_time += running
            observation = self._observe(before, now, pools, min(1.0, busy / running) if running > 0.0 else 0.0)
            policy.observe(observation)
            decision = policy.decide()
            paid, cost = self._bill(pools_before, pools)
            self._series.append(
                (
                    now.now,
                    now.received,
                    observation.finished,
                    observation.backlog,
                    now.ready,
                    observation.pending,
                    sum(pool.asleep for pool in pools),
                    paid,
                    cost,
                    decision.replicas,
                )
            )
            empty = self._last and now.first + now.next == now.finished and now.next == len(self._world.arrivals)
            if len(self._series) >= (self._periods if empty else periods_max):
                return self._outcome(now)
            self._obey(decision, now, pools)
            before, pools_before = now, pools

    def _seen(self) -> State:
        seen: State = self._kernel.State(*self._world.state[0].item())
        return seen

    def _pools(self) -> list[Pool]:
        return [self._kernel.Pool(*each) for each in self._world.pools.tolist()]

    # Down: what a policy wants

    def _obey(self, decision: Decision, now: State, pools: Sequence[Pool], *, at_once: bool = False) -> None:
        names = [each.name for each in self._settings]
        wanted = dict(decision.pools) if decision.pools is not None else {names[0]: decision.replicas}
        asleep = dict(decision.asleep or {})
        for name in (*wanted, *asleep):
            if name not in names:
                raise ValueError(f"decision names no pool there is, {name!r}; there are {', '.join(names)}")
        if at_once:
            # Before anything is decided, what the scenario says is there.
            asleep = {each.name: each.asleep for each in self._settings if each.asleep} | asleep
        wanted = self._within(wanted)
        kernel = self._kernel
        changes = [(names.index(name), wanted[name], asleep.get(name, -1)) for name in wanted]
        changes += [(names.index(name), -1, count) for name, count in asleep.items() if name not in wanted]
        needed = [self._needed(pools[number], *asked) for number, *asked in changes]
        room = [pool.slots for pool in pools]
        for (number, *_), slots in zip(changes, needed, strict=True):
            room[number] = max(room[number], slots)
        if room != [pool.slots for pool in pools]:
            self._make_room(room)
        self._discipline = decision.discipline or self._discipline
        self._world.state["late_after"] = self._late_after(now)
        for number, awake, sleeping in changes:
            pool = pools[number]
            there = pool.starting + pool.ready + pool.down - pool.settling
            if awake < 0:
                awake = there
            if awake != there or sleeping >= 0:
                kernel.scale(self._world, number, awake, sleeping, at_once)

    def _late_after(self, now: State) -> float:
        """The wait after which an event is served last, s; 0: never. See `line.late_after`."""
        if self._discipline == "fifo":
            return 0.0
        if self._discipline != "late-last":
            raise BadInput(f"discipline must be fifo or late-last here, got {self._discipline!r}")
        return late_after(self._objective.bound, now.finished_time / now.finished if now.finished else 0.0)

    def _needed(self, pool: Pool, awake: int, asleep: int) -> int:
        there = pool.starting + pool.ready + pool.down + pool.draining + pool.asleep
        return there + max(0, awake) + max(0, asleep)

    def _within(self, wanted: dict[str, int]) -> dict[str, int]:
        """As the controller of the model limits what a policy asks for."""
        least, most = self._control.replicas_min, self._control.replicas_max
        allowed: dict[str, int] = {}
        for each in self._settings:
            if each.name in wanted:
                allowed[each.name] = max(0, min(wanted[each.name], each.replicas_max, most))
                most -= allowed[each.name]
        missing = least - sum(allowed.values())
        for each in self._settings:
            if missing > 0:
                more = min(missing, each.replicas_max - allowed.get(each.name, 0))
                allowed[each.name] = allowed.get(each.name, 0) + more
                missing -= more
        return allowed

    def _make_room(self, wanted: Sequence[int]) -> None:
        """Give each pool room for so many replicas, and move there who is there; the size is a power of two."""
        kernel, world = self._kernel, self._world
        rooms = [1 << max(3, (each - 1).bit_length()) for each in wanted]
        size = 1 << (sum(rooms) - 1).bit_length()
        if size > kernel.SLOTS_MAX:
            raise BadInput(f"replicas, those draining included, must be <= {kernel.SLOTS_MAX}, got {sum(wanted)}")
        slots = kernel.records(kernel.Slot, size)
        slots["done"] = slots["change"] = slots["crash"] = slots["interruption"] = slots["taken"] = np.inf
        slots["event"] = -1
        first = 0
        for number, room in enumerate(rooms):
            pool = world.pools[number]
            there = int(pool["slots"])
            slots[first : first + there] = world.slots[int(pool["first"]) : int(pool["first"]) + there]
            slots["pool"][first : first + room] = number
            slots["speed"][first : first + room] = pool["speed"]
            pool["first"], pool["slots"] = first, room
            first += room
        crashes, interruptions = self._weather.over(rooms, size)
        # Where it was among its moments, nobody needs to know: it looks again.
        slots["crash_next"] = slots["interruption_next"] = 0
        self._world = world._replace(
            slots=slots,
            idle=np.zeros(-(-size // kernel.WORD), dtype=np.int64),
            moments=np.full(2 * size, np.inf),
            winners=np.zeros(2 * size, dtype=np.int64),
            returned=_grown(world.returned, max(len(world.returned), 4 * size)),
            crashes=crashes,
            interruptions=interruptions,
        )
        kernel.restore(self._world)

    # The world between two decisions

    def _advance(self, pieces: Iterator[Chunk]) -> None:
        kernel, go_on = self._kernel, self._kernel.begin
        while True:
            outage = self._outages[0].at if self._outages else math.inf
            why = go_on(self._world, outage, self._last, self._responses, self._late, self._departures, self._histogram)
            go_on = kernel.advance
            if why == kernel.STOPPED:
                if outage > self._world.state["stop"][0]:
                    return
                gone = self._outages.pop(0)
                if gone.zone in self._zones:
                    kernel.zone_down(self._world, self._zones.index(gone.zone), gone.at + gone.duration)
            elif why == kernel.MORE_ROOM:
                self._responses = _grown(self._responses, 2 * len(self._responses))
            else:
                self._take(next(pieces, None))

    def _take(self, piece: Chunk | None) -> None:
        """More arrivals, after what waits."""
        if piece is None:
            self._last = True
            return
        world, state = self._world, self._world.state
        head = int(state["head"][0])
        times, services = piece
        if head < len(world.arrivals):
            times = np.concatenate((world.arrivals[head:], times))
            services = np.concatenate((world.services[head:], services))
        taken = np.zeros(len(times), dtype=np.uint8)
        taken[: len(world.taken) - head] = world.taken[head:]
        self._world = world._replace(arrivals=times, services=services, taken=taken)
        state["first"] += head
        for each in ("next", "fresh", "head"):
            state[each] -= head

    # Up: what a policy is told

    def _observe(self, before: State, now: State, pools: Sequence[Pool], utilisation: float) -> Observation:
        period = self._control.period
        finished = now.finished - before.finished
        finished_time = now.finished_time - before.finished_time
        scv = None
        if finished >= 2 and now.work > 0.0:
            mean = now.work / finished
            scv = max(0.0, (now.work_squares - finished * mean * mean) / (finished - 1)) / (mean * mean)
        passed = 0  # in order of arrival nobody is put last
        if now.late_after > 0.0:
            fresh = self._world.arrivals[now.fresh : now.next]
            passed = now.passed + int(np.count_nonzero(now.now - fresh > now.late_after))
        oldest = now.now
        if now.returned:
            oldest = float(self._world.returned["arrived"][now.returned - 1])
        elif now.next > now.head:
            oldest = float(self._world.arrivals[now.head])
        return Observation(
            arrival_rate=now.received / period,
            service_rate=finished / finished_time if finished and finished_time > 0.0 else 0.0,
            backlog=now.next - now.fresh + now.passed + now.returned,
            replicas=now.ready,
            pending=sum(pool.starting + pool.down for pool in pools),
            in_service=now.busy + now.draining,
            utilisation=utilisation,
            time=now.now,
            response_quantile=now.response_quantile if finished else None,
            late_share=now.late / finished if finished else None,
            price_per_hour=self._settings[0].hardware.price_per_hour,
            finished=finished,
            late=now.late,
            work_rate=finished / now.work if finished and now.work > 0.0 else 0.0,
            service_scv=scv,
            concurrency=now.begun_with + now.presence / period,
            wait_oldest=now.now - oldest,
            crashed=now.failed - before.failed,
            interrupted=now.interrupted - before.interrupted,
            pools=tuple(map(_pool, self._settings, pools)),
            discipline=self._discipline,
            late_waiting=passed,
        )

    def _bill(self, before: Sequence[Pool], now: Sequence[Pool]) -> tuple[float, float]:
        """Replica-seconds awake, and US dollars for all."""
        paid = cost = 0.0
        for settings, then, later in zip(self._settings, before, now, strict=True):
            awake, asleep = later.paid_time - then.paid_time, later.asleep_time - then.asleep_time
            paid += awake
            cost += awake * settings.hardware.price_per_hour + asleep * settings.hardware.price_asleep_per_hour
        return paid, cost / 3600.0

    def _outcome(self, now: State) -> Outcome:
        period, world = self._control.period, self._world
        # What is still here will never be done.
        kernel = self._kernel
        with_one = np.isin(world.slots["state"], (kernel.BUSY, kernel.DRAINING, kernel.HURT)) & (
            world.slots["event"] >= 0
        )
        left = (
            world.arrivals[now.head : now.next][world.taken[now.head : now.next] == 0],
            world.slots["arrived"][with_one],
            world.returned["arrived"][: now.returned],
        )
        for times in left:
            np.add.at(self._late, (times / period).astype(np.int64), 1)
        names = ("time_s", "arrived", "finished", "backlog", "ready", "pending", "asleep", "paid_s", "cost", "wanted")
        periods = pl.DataFrame(self._series, schema=list(names), orient="row")
        late = np.zeros(periods.height, dtype=np.int64)
        late[: self._periods] = self._late[: self._periods]
        # Whatever is paid for after the load belongs to who comes next.
        within = np.arange(periods.height) < self._periods
        periods = periods.with_columns(
            pl.Series("late", late),
            pl.Series("paid_s", np.where(within, periods["paid_s"].to_numpy(), 0.0)),
            pl.Series("cost", np.where(within, periods["cost"].to_numpy(), 0.0)),
        )
        return Outcome(
            events=int(periods["arrived"].sum()),
            late=int(late.sum()),
            replica_time=float(periods["paid_s"].sum()),
            cost=float(periods["cost"].sum()),
            launches=now.launches,
            crashed=now.failed,
            interrupted=now.interrupted,
            periods=periods,
            histogram=self._histogram,
            response_edges=kernel.bin_edges(),
            departures=self._departures,
            allowed=1.0 - self._objective.quantile,
            period=period,
        )


class _Weather:
    """Crashes and interruptions of every slot, from the streams that the model draws them from."""

    def __init__(self, system: System, streams: Streams, duration: float) -> None:
        self._system = system
        self._streams = streams
        # Replicas that are in service after the load may fail as well.
        self._end = duration + 7200.0

    def over(self, rooms: Sequence[int], size: int) -> tuple[Floats, Floats]:
        """Moments of pools with room for so many replicas each, shape (size, moments), infinite at the end."""
        crashes: list[Floats] = []
        interruptions: list[Floats] = []
        settings = self._system.crashes
        for number, (pool, room) in enumerate(zip(self._system.all_pools, rooms, strict=True)):
            for slot in range(1, room + 1):
                where = (pool.name, str(slot))
                # As in `Cluster`: what one kind of hardware meets does not depend on its name.
                moments = self._moments(settings.mtbf, "crashes", *(where[1:] if number == 0 else where))
                if number == 0 and slot == 1:
                    moments = np.sort(np.append(moments, settings.at))
                crashes.append(moments)
                mtbi = self._system.spot.mtbi if pool.hardware.spot else None
                interruptions.append(self._moments(mtbi, "spot", *where))
        return _padded(crashes, size), _padded(interruptions, size)

    def _moments(self, mean: float | None, *name: str) -> Floats:
        if mean is None:
            return _NONE
        generator = self._streams.generator(*name)
        moments = _NONE
        while not len(moments) or moments[-1] < self._end:
            # Added up one by one, as the model adds them up.
            more = generator.exponential(mean, 16)
            more[0] += moments[-1] if len(moments) else 0.0
            moments = np.concatenate((moments, np.cumsum(more)))
        return moments[: int(np.searchsorted(moments, self._end)) + 1]


def _padded(rows: Sequence[Floats], size: int) -> Floats:
    padded = np.full((size, max((len(row) for row in rows), default=0) + 1), np.inf)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _pool(settings: PoolSettings, pool: Pool) -> policies.Pool:
    hardware = settings.hardware
    return policies.Pool(
        name=settings.name,
        ready=pool.ready,
        pending=pool.starting + pool.down,
        asleep=pool.asleep,
        speed=hardware.speed,
        price_per_hour=hardware.price_per_hour,
        price_asleep_per_hour=hardware.price_asleep_per_hour,
        start_up=hardware.start_up,
        wake_up=hardware.wake_up,
        zone=settings.zone,
        spot=hardware.spot,
        replicas_max=settings.replicas_max,
    )


def _refuse_what_is_not_modelled(system: System) -> None:
    plain = System()
    for name in ("line", "path", "slowness"):
        if getattr(system, name) != getattr(plain, name):
            raise BadInput(f"the evaluator knows no {name}; leave it at its default, or run the model itself")
    crashes, outages = system.crashes, system.outages
    if crashes.components or crashes.check_period or crashes.attempts_max is not None:
        raise BadInput("the evaluator knows no components, health checks and dead letters; run the model itself")
    if outages.mtbf is not None:
        raise BadInput("the evaluator knows outages at stated moments only; run the model itself")
    for pool in system.all_pools:
        hardware = pool.hardware
        if hardware.threads > 1 or hardware.contention or hardware.warm_up:
            raise BadInput(f"pool {pool.name!r}: the evaluator knows replicas of one thread and one speed only")


def _checked(chunks: Iterable[Chunk], end: float) -> Iterator[Chunk]:
    """Refuse what would stop the clock or turn it back."""
    before = 0.0
    for times, services in chunks:
        if times.shape != services.shape or times.ndim != 1:
            raise BadInput(f"times and services must be two lists of one length, got {times.shape}, {services.shape}")
        if not len(times):
            continue
        if not (times[0] >= before and bool(np.all(times[1:] >= times[:-1]))):
            raise BadInput("times must be ascending, >= 0 s")
        before = float(times[-1])
        if not before < end:
            raise BadInput(f"times must be < {end:g} s, the load's duration in whole periods, got {before!r}")
        if not bool(np.all((services >= 0.0) & (services < np.inf))):
            raise BadInput("services must be finite and >= 0 s")
        yield np.ascontiguousarray(times, dtype=np.float64), np.ascontiguousarray(services, dtype=np.float64)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, dtype=array.dtype)
    grown[: len(array)] = array
    return grown
